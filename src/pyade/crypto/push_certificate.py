"""The Apple MDM push certificate: its topic, and its validity.

A Mac stores the topic when it enrolls. A renewed certificate keeps the topic; a new certificate has another
one, and every Mac would have to enroll again.

Source: Apple, ``com.apple.mdm``, ``Topic``; specification, "Prerequisites".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem, Severity
from pyade.core.secret import masked
from pyade.crypto.certificates import Passphrase, is_pair, read_certificate_pem, split_chain
from pyade.errors import SigningError

TOPIC_PREFIX: Final = "com.apple.mgmt."
WARN_WITHIN: Final = timedelta(days=30)
MAX_DER_BYTES: Final = 64 * 1024


def _check_pair(instance: PushCertificate, _attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SigningError(
            "a key of this kind cannot belong to a push certificate: an RSA or EC key is needed"
        )
    if not is_pair(instance.certificate, value):
        raise SigningError("the private key does not belong to the certificate")


def _check_topic(
    _instance: PushCertificate, _attribute: attrs.Attribute[Any], value: x509.Certificate
) -> None:
    if not _topic_of(value):
        raise SigningError(
            f"the certificate has no topic {TOPIC_PREFIX}… in its subject: use the Apple MDM push certificate"
            " of identity.apple.com/pushcert, not one for an app"
        )


@check_arguments(but=("certificate", "private_key", "data", "now"))
@attrs.frozen(kw_only=True)
class PushCertificate:
    """An Apple MDM push certificate, with its private key if the caller sends push notifications.

    Attributes:
        certificate: From Apple's push certificates portal.
        private_key: Secret; None if it is stored elsewhere.

    Raises:
        SigningError: It is not an MDM push certificate, or the key belongs to another certificate.
    """

    certificate: x509.Certificate = attrs.field(validator=_check_topic)
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = attrs.field(
        default=None, repr=False, eq=False, validator=_check_pair
    )

    @classmethod
    def load(cls, data: bytes, passphrase: Passphrase = None) -> Self:
        """Return the push certificate from a file.

        Args:
            data: PEM with the certificate and optionally its key, in any order, at most 256 KiB; or only the
                certificate, as DER.
            passphrase: For an encrypted key; None for one that is not.

        Raises:
            SigningError: The file cannot be read, the passphrase is wrong, or the file has no MDM push
                certificate, or none that belongs to its key.
        """
        data, passphrase = masked(data), masked(passphrase)
        if _is_der(data):
            return cls(certificate=_read_der(data))
        key, certificates = read_certificate_pem(data, passphrase)
        if key is None:
            fitting = (certificate for certificate in certificates if _topic_of(certificate))
            return cls(certificate=next(fitting, certificates[0]))
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise SigningError(
                "a key of this kind cannot belong to a push certificate: an RSA or EC key is needed"
            )
        return cls(certificate=split_chain(key, certificates)[0], private_key=key)

    @property
    def topic(self) -> str:
        """The required ``MdmService.topic``, ``com.apple.mgmt.…``."""
        return _topic_of(self.certificate)

    @property
    def expires_at(self) -> datetime:
        """When it expires, UTC."""
        return self.certificate.not_valid_after_utc

    def check(
        self, *, now: datetime, topic: str | None = None, development_push: bool = False
    ) -> tuple[Problem, ...]:
        """Return the problems of the certificate now and within 30 days, each with its fix.

        Args:
            now: The current time, UTC.
            topic: ``MdmService.topic``, with which Macs enroll; None to skip that check.
            development_push: ``MdmService.development_push``.

        Raises:
            SigningError: *now* has no time zone.

        Source: Apple, ``com.apple.mdm``, ``Topic`` and ``UseDevelopmentAPNS``.
        """
        if now.tzinfo is None:
            raise SigningError(f"now {now.isoformat()} has no time zone: use UTC")
        problems = list(self._validity(now))
        if topic is not None and topic != self.topic:
            fix = "use the renewed certificate, not a new one: enrolled Macs never change the topic"
            problems.append(Problem("topic", topic[:80], f"{self.topic}, as in the push certificate", fix))
        if development_push:
            allowed = "false with certificates of identity.apple.com/pushcert"
            problems.append(Problem("development_push", "True", allowed, "use false"))
        return tuple(problems)

    def _validity(self, now: datetime) -> Iterator[Problem]:
        given = f"{self.expires_at:%Y-%m-%d %H:%M} UTC"
        if now >= self.expires_at:
            allowed = "a push certificate that is still valid: Macs no longer receive pushes from this server"
            yield Problem("push_certificate", given, allowed, _RENEW)
        elif now >= self.expires_at - WARN_WITHIN:
            days = (self.expires_at - now) // timedelta(days=1)
            allowed = f"more than 30 days of validity; {days} are left"
            yield Problem("push_certificate", given, allowed, _RENEW, Severity.WARNING)
        start = self.certificate.not_valid_before_utc
        if now < start:
            given = f"{start:%Y-%m-%d %H:%M} UTC"
            allowed = "a push certificate that is already valid"
            yield Problem("push_certificate", given, allowed, "check the clock of this machine")


def _is_der(data: object) -> bool:
    """Return True if *data* begins with a SEQUENCE; ``read_pem`` refuses other types than bytes."""
    return isinstance(data, bytes) and data[:1] == b"\x30"


def _read_der(data: bytes) -> x509.Certificate:
    if len(data) > MAX_DER_BYTES:
        raise SigningError(f"the certificate has {len(data)} bytes, at most {MAX_DER_BYTES} are allowed")
    try:
        return x509.load_der_x509_certificate(data)
    except ValueError as exc:
        raise SigningError(
            "the file is not a DER certificate: convert a PKCS #12 file (.p12) to PEM"
        ) from exc


def _topic_of(certificate: x509.Certificate) -> str:
    """Return the topic in the subject; "" if there is none, or several."""
    try:
        found = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    except ValueError:
        return ""
    topics = [str(attribute.value) for attribute in found]
    is_topic = len(topics) == 1 and topics[0].startswith(TOPIC_PREFIX) and topics[0] != TOPIC_PREFIX
    return topics[0] if is_topic else ""


_RENEW: Final = (
    "renew this certificate (do not create a new one, whose topic would differ) at"
    " identity.apple.com/pushcert with the Apple ID that created it"
)
