"""A stand-in for Apple's device certificate authority, and the device identities that it issues.

The certificates resemble genuine ones: the authority expired in 2014, devices have RSA keys of 1024 bits and
certificates signed with SHA-1. They are built with asn1crypto, since cryptography does not sign with SHA-1.

Source: certificates of genuine devices (observed).
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import attrs
from asn1crypto import core, keys
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pyade.core.arguments import check_arguments
from pyade.enrollment.device_trust import DeviceTrust
from pyade.testing.mac.cms import (
    CmsForm,
    Digest,
    KeyKind,
    PrivateKey,
    new_key,
    sign,
    sign_message,
    signature_algorithm,
)

_AUTHORITY_STARTS: Final = datetime(2007, 4, 16, 22, 54, 46, tzinfo=UTC)
_AUTHORITY_ENDS: Final = datetime(2014, 4, 16, 22, 54, 46, tzinfo=UTC)
_APPLE_DEVICE: Final = "1.2.840.113635.100.6.10.4"


@check_arguments
@attrs.frozen(kw_only=True)
class DeviceIdentity:
    """The private key and certificate of a device.

    Attributes:
        private_key: Secret.
        certificate: Does not contain the serial number of the device, like genuine ones.
        chain: The certificate of the authority.
    """

    private_key: PrivateKey = attrs.field(repr=False, eq=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]

    def sign(self, content: bytes, *, form: CmsForm = CmsForm.APPLE) -> bytes:
        """Return *content*, such as a MachineInfo property list, in a signed CMS message.

        Args:
            content: Included in the message unchanged.
            form: The format of the message; by default that of a Mac.
        """
        return sign_message(content, self.private_key, self.certificate, self.chain, form)


@check_arguments
@attrs.frozen(kw_only=True)
class DeviceAuthority:
    """A certificate authority that stands in for "Apple iPhone Device CA".

    Attributes:
        private_key: Secret.
        certificate: Self-signed; it expired in 2014, as Apple's did.
    """

    private_key: PrivateKey = attrs.field(repr=False, eq=False)
    certificate: x509.Certificate

    @classmethod
    def generate(cls, *, common_name: str = "Stand-in iPhone Device CA", key: KeyKind = "rsa1024") -> Self:
        """Return a new authority.

        Args:
            common_name: The common name of its certificate.
            key: ``rsa1024`` as Apple's, ``rsa2048``, ``p256`` or ``p384``.
        """
        private_key = new_key(key)
        name = {
            "country_name": "US",
            "organization_name": "pyade",
            "organizational_unit_name": "Stand-in iPhone",
            "common_name": common_name,
        }
        certificate = _certificate(
            subject=asn1.Name.build(name),
            issuer=asn1.Name.build(name),
            key=private_key,
            issuer_key=private_key,
            digest="sha1",
            validity=(_AUTHORITY_STARTS, _AUTHORITY_ENDS),
            extensions=[
                ("basic_constraints", {"ca": True}, True),
                ("key_usage", {"digital_signature", "key_cert_sign", "crl_sign"}, True),
                ("key_identifier", _key_identifier(private_key), False),
            ],
        )
        return cls(private_key=private_key, certificate=certificate)

    @property
    def trust(self) -> DeviceTrust:
        """A ``DeviceTrust`` that accepts only devices of this authority."""
        return DeviceTrust((self.certificate,))

    def issue(
        self,
        *,
        key: KeyKind = "rsa1024",
        digest: Digest = "sha1",
        days: int = 365,
        now: datetime | None = None,
    ) -> DeviceIdentity:
        """Return the identity of a new device.

        Args:
            key: The key of the device: ``rsa1024`` as Macs have, ``rsa2048``, ``p256`` or ``p384``.
            digest: The digest with which the authority signs the certificate.
            days: Validity in days.
            now: Start of the validity, UTC; None reads the clock.
        """
        private_key = new_key(key)
        starts = (now or datetime.now(UTC)).replace(microsecond=0)
        authority = asn1.Certificate.load(self.certificate.public_bytes(Encoding.DER))
        certificate = _certificate(
            subject=asn1.Name.build({"common_name": str(uuid.uuid4()).upper()}),
            issuer=authority.subject,
            key=private_key,
            issuer_key=self.private_key,
            digest=digest,
            validity=(starts, starts + timedelta(days=days)),
            extensions=[
                ("basic_constraints", {"ca": False}, True),
                ("key_usage", {"digital_signature", "key_encipherment"}, True),
                ("extended_key_usage", ["server_auth", "client_auth"], True),
                ("authority_key_identifier", {"key_identifier": authority.key_identifier}, False),
                ("key_identifier", _key_identifier(private_key), False),
                (_APPLE_DEVICE, core.ParsableOctetString(core.Null().dump()), False),
            ],
        )
        return DeviceIdentity(private_key=private_key, certificate=certificate, chain=(self.certificate,))


def _certificate(
    *,
    subject: asn1.Name,
    issuer: asn1.Name,
    key: PrivateKey,
    issuer_key: PrivateKey,
    digest: Digest,
    validity: tuple[datetime, datetime],
    extensions: list[tuple[str, Any, bool]],
) -> x509.Certificate:
    algorithm = {"algorithm": signature_algorithm(issuer_key, digest)}
    tbs = asn1.TbsCertificate(
        {
            "version": "v3",
            "serial_number": x509.random_serial_number(),
            "signature": algorithm,
            "issuer": issuer,
            "validity": {
                "not_before": asn1.Time("utc_time", validity[0]),
                "not_after": asn1.Time("utc_time", validity[1]),
            },
            "subject": subject,
            "subject_public_key_info": keys.PublicKeyInfo.load(_public_key(key)),
            "extensions": [
                {"extn_id": name, "critical": is_critical, "extn_value": value}
                for name, value, is_critical in extensions
            ],
        }
    )
    signed = asn1.Certificate(
        {
            "tbs_certificate": tbs,
            "signature_algorithm": algorithm,
            "signature_value": sign(issuer_key, tbs.dump(), digest),
        }
    )
    return x509.load_der_x509_certificate(signed.dump())


def _public_key(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key_identifier(key: PrivateKey) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
