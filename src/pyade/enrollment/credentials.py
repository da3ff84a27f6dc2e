"""What lets one Mac order one certificate: the challenge of SCEP, the client identifier of ACME.

A *source* is asked for each profile. ``one_time`` is the default: a random secret that the store knows by its
digest, that expires, and that a newer profile of the same Mac revokes. The certificate authority hands what
a Mac presented to ``redeem_scep_request`` or ``redeem_client_identifier``, and of all callers, on all nodes,
one gets it.

Source: Apple, ``com.apple.security.scep`` and ``com.apple.security.acme``; RFC 8894, 2.3.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AttributeOID, NameOID

from pyade.core.enrollment import OneTime, OneTimeKind, digest_of
from pyade.core.events import EventBatch, EventGroup, EventKind
from pyade.core.identity import IdentityKind
from pyade.core.kinds import checks_kinds
from pyade.core.machine_info import MachineInfo
from pyade.core.secret import Secret, masked
from pyade.core.untrusted import check_size, malformed, reading
from pyade.core.user import User
from pyade.crypto import ber
from pyade.errors import PolicyError, TrustError, UnknownTokenError
from pyade.flow import Hook
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger

_MAX_ELEMENTS: Final = 300  # a Mac's request has about 50

_log = logger("pyade.enrollment")


@attrs.frozen(kw_only=True)
class CredentialRequest:
    """For what a credential is asked.

    Attributes:
        kind: The protocol.
        machine: The Mac.
        user: Who signed in; None without user affinity.
    """

    kind: IdentityKind
    machine: MachineInfo
    user: User | None


@checks_kinds
@attrs.frozen(kw_only=True)
class Credential:
    """A secret for one profile.

    Attributes:
        secret: What the profile holds; a text that is given is made a ``Secret``.
        lifetime: How long it can be redeemed here; None if somebody else checks it, such as the authority.

    Raises:
        PolicyError: *secret* is empty, or *lifetime* not longer than zero.
    """

    secret: Secret = attrs.field(repr=False, converter=Secret)
    lifetime: timedelta | None = None

    def __attrs_post_init__(self) -> None:
        if not self.secret:
            raise PolicyError("the secret of the credential is empty: give one that nobody can guess")
        if self.lifetime is not None:
            _check_lifetime(self.lifetime)


CredentialSource: TypeAlias = Hook[Credential]
"""Called with a ``CredentialRequest`` for each profile; a coroutine function for the asynchronous service."""


def one_time(lifetime: timedelta = timedelta(hours=1)) -> Callable[[CredentialRequest], Credential]:
    """Return a source of random secrets, each to be redeemed here once.

    Args:
        lifetime: From the profile to the order of the certificate, which are seconds to minutes apart.

    Raises:
        PolicyError: *lifetime* is not longer than zero.
    """
    _check_lifetime(lifetime)

    def source(_: CredentialRequest) -> Credential:
        return Credential(secret=secrets.token_urlsafe(32), lifetime=lifetime)

    return source


def static(secret: str | Secret) -> Callable[[CredentialRequest], Credential]:
    """Return a source of always the same secret, which the authority checks itself.

    Whoever reads one profile can then order any certificate: prefer ``one_time`` where the authority can ask.

    Args:
        secret: Secret.

    Raises:
        PolicyError: *secret* is empty.
    """
    secret = Secret(secret)
    credential = Credential(secret=secret)
    return lambda _: credential


def serial_number(request: CredentialRequest) -> Credential:
    """Return the Mac's serial number, as ACME servers want it that compare it with the attestation.

    It is no secret: all protection comes from the attestation.
    """
    return Credential(secret=request.machine.serial_number)


@checks_kinds
def redeem_scep_request(store: EnrollmentStore, request: bytes, *, now: datetime) -> str:
    """Check a certificate request of SCEP against the profile that it came from, and use its challenge up.

    The challenge is used up whatever the rest of the request says: of two requests with the same one, the
    second is refused.

    Args:
        store: Where the enrollment service keeps what it issued.
        request: PKCS #10 in DER, as the authority decrypted it; at most 64 KiB and 300 elements.
        now: UTC.

    Returns:
        The serial number of the Mac that the certificate is for.

    Raises:
        PolicyError: *now* has no time zone.
        TrustError: It cannot be read; or its challenge is unknown, expired or used, or subject, key or
            signature are not what the profile asked for.

    Source: RFC 8894, 2.3; RFC 2985, 5.4.1.
    """
    request = masked(request)
    check_size(request, "the certificate request")
    with reading("the certificate request"):
        ber.parse(request, max_elements=_MAX_ELEMENTS)
        csr = x509.load_der_x509_csr(request)
        names = _pairs(csr.subject)
        public_key = csr.public_key()
    challenge = _challenge_of(csr)
    if challenge is None:
        raise malformed("the certificate request has no challenge that can be read")
    issued = _redeem(store, OneTimeKind.SCEP_CHALLENGE, challenge, now)
    # No earlier: with a key of their own making, strangers choose how long this takes.
    reason = "" if _is_signed(csr) else "the certificate request is not signed with its own key"
    reason = reason or _difference(issued, names, public_key)
    _note(store, issued, now, reason)
    if reason:
        raise TrustError(reason)
    return issued.serial_number


@checks_kinds(but=("identifier", "now"))
def redeem_client_identifier(store: EnrollmentStore, identifier: str | Secret, *, now: datetime) -> OneTime:
    """Use up the client identifier that a Mac named in an ACME order.

    Args:
        store: Where the enrollment service keeps what it issued.
        identifier: The ``permanent-identifier`` of the order.
        now: UTC.

    Returns:
        What it was issued for: ``serial_number``, with which the authority compares the attestation, and in
        ``value`` whether one was asked for (``attest``).

    Raises:
        PolicyError: *now* has no time zone.
        TrustError: It is unknown, expired, or was used.

    Source: Apple, ``com.apple.security.acme``, ``ClientIdentifier``.
    """
    if not isinstance(identifier, str | Secret):
        raise malformed("the client identifier is no text")
    identifier = Secret(identifier)
    issued = _redeem(store, OneTimeKind.ACME_CLIENT_IDENTIFIER, identifier, now)
    _note(store, issued, now, "")
    return issued


def subject_of(pairs: tuple[tuple[str, str], ...]) -> list[list[str]]:
    """Return *pairs* of a profile's ``Subject`` as they are kept: dotted object identifier and value."""
    return [[_OIDS.get(name, name), value] for name, value in pairs]


def _check_lifetime(lifetime: timedelta) -> None:
    if lifetime <= timedelta(0):
        raise PolicyError(f"lifetime {lifetime}: it must be longer than zero")


def _redeem(store: EnrollmentStore, kind: OneTimeKind, secret: Secret, now: datetime) -> OneTime:
    if now.tzinfo is None:
        raise PolicyError(f"now {now.isoformat()} has no time zone: use UTC")
    found = store.take_one_time(kind, digest_of(secret), now=now)
    if found is None:
        raise TrustError(f"this {kind.value.replace('_', ' ')} is unknown, has expired, or was used before")
    return found


def _difference(issued: OneTime, names: list[tuple[str, str]], public_key: object) -> str:
    """Return in what a certificate request differs from what the profile asked for; "" for nothing."""
    wanted = [(str(name), str(value)) for name, value in issued.value.get("subject", ())]
    # In any order: some clients sort the attributes.
    if sorted(names) != sorted(wanted):
        return f"the subject is {str(names)[:80]!a}, the profile asked for {wanted}"
    bits = issued.value.get("key_size")
    if not isinstance(public_key, rsa.RSAPublicKey) or public_key.key_size != bits:
        return f"the key is no RSA key of {bits} bits, as the profile asked for"
    return ""


def _note(store: EnrollmentStore, issued: OneTime, now: datetime, refusal: str) -> None:
    """Write the record of a credential that was used up; a guess at one is not worth a row."""
    verdict = "refuse" if refusal else "issue"
    _log.info(
        "%s: %s: %s: %s", issued.serial_number[:40], issued.kind, verdict, refusal or "as the profile asked"
    )
    details = {"verdict": verdict, "kind": issued.kind.value, **({"reason": refusal} if refusal else {})}
    group = EventGroup(EventKind.CREDENTIAL_REDEEMED, (issued.serial_number,), details)
    enrollment = store.enrollment(issued.serial_number)
    events = EventBatch(enrollment.token_name if enrollment else "", now, (group,))
    try:
        store.add_audit(events)
    except UnknownTokenError:
        store.add_audit(attrs.evolve(events, token_name=""))  # it was removed meanwhile


def _challenge_of(csr: x509.CertificateSigningRequest) -> Secret | None:
    # What is raised here may quote it, and must not hang on another error.
    try:
        return Secret(csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value.decode())
    except (x509.AttributeNotFound, ValueError):
        return None


def _pairs(name: x509.Name) -> list[tuple[str, str]]:
    return [(part.oid.dotted_string, str(part.value)) for part in name]


def _is_signed(csr: x509.CertificateSigningRequest) -> bool:
    try:
        return csr.is_signature_valid
    except InvalidSignature:
        return False


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
