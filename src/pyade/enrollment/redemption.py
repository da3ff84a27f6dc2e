"""Decide for a certificate authority whether a Mac may have a certificate for a key; redeem its credential.

The rules of this file:

1. The first request with a credential uses it up, even if the rest of the request is wrong. Of all callers on
   all nodes, only one gets it.
2. The same request again within ``REPEAT_WINDOW`` gets the same outcome and writes no second record:
   authorities and clients repeat a request whose response they lost. Two requests are the same if everything
   but the signature is: an EC key signs differently each time.
3. A request must match what the profile asked for: subject, kind and size of the key. It must be signed with
   its own key.

Source: RFC 8894, 2.3; RFC 2985, 5.4.1; Apple, ``com.apple.security.scep`` and ``com.apple.security.acme``.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AttributeOID, NameOID

from pyade.core.arguments import check_arguments
from pyade.core.fleet.enrollment import OneTime, OneTimeKind, can_redeem, digest_of, redeemed_one_time
from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.input_limits import check_size, malformed, reading
from pyade.core.macos.identity import KeyType
from pyade.core.secret import Secret, masked
from pyade.crypto import ber
from pyade.crypto.signatures import SHA1, is_signed
from pyade.enrollment.steps import write_audit
from pyade.errors import TrustError
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger

_log = logger(__name__)


@check_arguments
def redeem_scep_request(store: EnrollmentStore, request: bytes, *, now: datetime) -> str:
    """Check a SCEP certificate request against the profile of its challenge, and redeem the challenge.

    The challenge is used up even if the rest of the request is wrong: another request with the same challenge
    is refused. An identical request gets the same outcome for two minutes.

    Args:
        store: The store of the enrollment service.
        request: PKCS #10 in DER, as the authority decrypted it; at most 64 KiB and 300 elements.
        now: The time, UTC.

    Returns:
        The serial number of the Mac that the certificate is for.

    Raises:
        TrustError: The request cannot be read; or its challenge is unknown, expired or used, or its subject,
            key or signature is not what the profile asked for.

    Source: RFC 8894, 2.3; RFC 2985, 5.4.1.
    """
    request = masked(request)
    wanted = _CertificateRequest.read(request)
    if wanted.challenge is None:
        raise malformed("the certificate request has no challenge that can be read")
    return _redeem(store, OneTimeKind.SCEP_CHALLENGE, wanted.challenge, wanted, now).serial_number


@check_arguments(but=("identifier",))
def redeem_client_identifier(
    store: EnrollmentStore, identifier: str | Secret, *, now: datetime, request: bytes | None = None
) -> OneTime:
    """Redeem the client identifier that a Mac sent in an ACME order.

    Args:
        store: The store of the enrollment service.
        identifier: The ``permanent-identifier`` of the order.
        now: The time, UTC.
        request: The certificate request that finalizes the order: PKCS #10 in DER, at most 64 KiB. It is
            compared with what the profile asked for; the same request gets the same outcome for two minutes.
            None where only the identifier is known: then each call uses it up.

    Returns:
        What it was issued for, with the ``serial_number`` with which the authority compares the attestation,
        and in ``value`` whether the profile asked for an attestation (``attest``).

    Raises:
        TrustError: The identifier is unknown, expired or used; or *request* cannot be read, or its subject,
            key or signature is not what the profile asked for.

    Source: Apple, ``com.apple.security.acme``, ``ClientIdentifier``.
    """
    if not isinstance(identifier, str | Secret):
        raise malformed("the client identifier is not a text")
    identifier, request = Secret(identifier), masked(request)
    wanted = None if request is None else _CertificateRequest.read(request)
    return _redeem(store, OneTimeKind.ACME_CLIENT_IDENTIFIER, identifier, wanted, now)


@check_arguments
def may_issue(
    store: EnrollmentStore,
    serial_number: str,
    now: datetime,
    *,
    within: timedelta | None = None,
    request: bytes | None = None,
) -> bool:
    """Return True if a Mac may have a certificate from the ACME server; this redeems nothing.

    It may if the newest profile issued to it has an ACME identity whose client identifier can still be
    redeemed, and no other key redeemed it. The source of the identifiers must give them a lifetime, as
    ``one_time`` and ``serial_number`` do.

    Args:
        store: The store of the enrollment service.
        serial_number: The Mac's serial number from its attestation.
        now: The time, UTC.
        within: Maximum age of that profile; None for the lifetime of its client identifier, by default an
            hour for a Mac that enrolls and 30 days for a renewal.
        request: The certificate request, PKCS #10 in DER: it is compared with what the profile asked for, and
            the same request is allowed again for two minutes. None where it is not known yet: then the
            identifier must not have been redeemed.

    Raises:
        TrustError: *request* cannot be read.
    """
    request = masked(request)
    wanted = None if request is None else _CertificateRequest.read(request)
    enrollment = store.enrollment(serial_number)
    if enrollment is None or (within is not None and now - enrollment.issued_at > within):
        return False
    by = "" if wanted is None else wanted.digest
    return any(
        one.kind is OneTimeKind.ACME_CLIENT_IDENTIFIER
        and can_redeem(one, by=by, now=now)
        and (wanted is None or not wanted.objection(one))
        for one in store.one_times(serial_number, redeemed=True)
    )


def subject_of(pairs: tuple[tuple[str, str], ...]) -> list[list[str]]:
    """Return *pairs* of a profile's ``Subject`` as they are stored: dotted object identifier and value."""
    return [[_OIDS.get(name, name), value] for name, value in pairs]


@attrs.frozen(kw_only=True)
class _CertificateRequest:
    """The parts of a certificate request that are checked."""

    names: tuple[tuple[str, str], ...]
    public_key: object
    csr: x509.CertificateSigningRequest
    challenge: Secret | None
    digest: str

    @classmethod
    def read(cls, request: bytes) -> _CertificateRequest:
        """Read PKCS #10 in DER; raise a ``TrustError`` if it is malformed."""
        check_size(request, "the certificate request")
        with reading("the certificate request"):
            ber.parse(request, max_elements=_MAX_ELEMENTS)
            csr = x509.load_der_x509_csr(request)
            return cls(
                names=tuple((part.oid.dotted_string, str(part.value)) for part in csr.subject),
                public_key=csr.public_key(),
                csr=csr,
                challenge=_challenge_of(csr),
                digest=hashlib.sha256(csr.tbs_certrequest_bytes).hexdigest(),  # rule 2
            )

    def objection(self, issued: OneTime) -> str:
        """Return how it differs from what the profile asked for; "" if it does not.

        The signature is checked here, only after a credential was found: a sender chooses the key, and with
        it how long that check takes.
        """
        if not _is_signed(self.csr):  # rule 3
            return "the certificate request is not signed with its own key"
        wanted = [(str(name), str(value)) for name, value in issued.value.get("subject", ())]
        # The order does not matter: some clients sort the attributes.
        if sorted(self.names) != sorted(wanted):
            return f"the subject is {str(list(self.names))[:80]!a}, the profile asked for {wanted}"
        bits = issued.value.get("key_size")
        if issued.value.get("key_type") == KeyType.EC:
            if not isinstance(self.public_key, ec.EllipticCurvePublicKey) or (
                self.public_key.curve.name != _CURVES.get(str(bits))
            ):
                return f"the key is not on the curve P-{bits}, as the profile asked for"
        elif not isinstance(self.public_key, rsa.RSAPublicKey) or self.public_key.key_size != bits:
            return f"the key is not an RSA key of {bits} bits, as the profile asked for"
        return ""


def _redeem(
    store: EnrollmentStore,
    kind: OneTimeKind,
    secret: Secret,
    wanted: _CertificateRequest | None,
    now: datetime,
) -> OneTime:
    # Without a request, a random value makes every call a different one.
    by = secrets.token_hex(32) if wanted is None else wanted.digest
    found = store.redeem_one_time(kind, digest_of(secret), by=by, now=now)  # rule 1
    if found is None:
        raise TrustError(f"this {kind.value.replace('_', ' ')} is unknown, has expired, or was used before")
    objection = "" if wanted is None else wanted.objection(found)
    if not found.redeemed_by:  # rule 2
        _record_redemption(store, found, now, objection)
        found = redeemed_one_time(found, by=by, now=now)
    if objection:
        raise TrustError(objection)
    return found


def _record_redemption(store: EnrollmentStore, issued: OneTime, now: datetime, refusal: str) -> None:
    """Log and store that a credential was redeemed; unknown credentials are not recorded."""
    outcome = "refuse" if refusal else "issue"
    _log.info(
        "%s: %s: %s: %s", issued.serial_number[:40], issued.kind, outcome, refusal or "as the profile asked"
    )
    details = {"outcome": outcome, "kind": issued.kind.value, **({"reason": refusal} if refusal else {})}
    group = EventGroup(EventKind.CREDENTIAL_REDEEMED, (issued.serial_number,), details)
    enrollment = store.enrollment(issued.serial_number)
    write_audit(store, EventBatch(enrollment.token_name if enrollment else "", now, (group,)))


def _challenge_of(csr: x509.CertificateSigningRequest) -> Secret | None:
    # These errors may quote the challenge: the caller's error must not be chained to them.
    try:
        return Secret(csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value.decode())
    except (x509.AttributeNotFound, ValueError):
        return None


def _is_signed(csr: x509.CertificateSigningRequest) -> bool:
    try:
        if csr.is_signature_valid:
            return True
        digest = csr.signature_hash_algorithm
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    # cryptography refuses every request under SHA-1. Here the signature only proves possession of the key.
    is_sha1 = isinstance(digest, hashes.SHA1)
    return is_sha1 and is_signed(csr.public_key(), SHA1, csr.signature, csr.tbs_certrequest_bytes)


_MAX_ELEMENTS: Final = 300  # a Mac's request has about 50
_CURVES: Final = {"256": "secp256r1", "384": "secp384r1"}
_OIDS: Final[Mapping[str, Any]] = {
    name: oid.dotted_string
    for name, oid in {
        "C": NameOID.COUNTRY_NAME,
        "L": NameOID.LOCALITY_NAME,
        "ST": NameOID.STATE_OR_PROVINCE_NAME,
        "O": NameOID.ORGANIZATION_NAME,
        "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "CN": NameOID.COMMON_NAME,
    }.items()
}
