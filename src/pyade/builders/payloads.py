"""The settings of an enrollment profile, and one function per payload.

Nothing is checked here; ``builders.linter`` checks the finished document, so each rule is written once.

Source: Apple, profile payloads ``TopLevel``, ``com.apple.mdm``, ``com.apple.security.acme``,
``com.apple.security.scep``, ``com.apple.security.root`` and ``com.apple.security.pkcs1``.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

import attrs
from cryptography import x509

from pyade.builders.payload_keys import without_newer_keys
from pyade.core.arguments import check_arguments
from pyade.core.macos.identity import IdentityChoice, KeyType
from pyade.core.macos.models import ChipClass, classify_product
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem
from pyade.core.secret import Secret, masked
from pyade.errors import ProfileError

PER_USER_CONNECTIONS = "com.apple.mdm.per-user-connections"
"""The server also answers for each user of a Mac; Macs require it."""


def _version(value: MacOSVersion | str | None) -> MacOSVersion | None:
    return None if value is None else MacOSVersion.of(value)


def _texts(values: str | Iterable[str]) -> tuple[str, ...]:
    # Without this check a single text would be read as an iterable of letters.
    return (values,) if isinstance(values, str) else tuple(values)


def _certificates(values: Iterable[bytes] | bytes) -> tuple[bytes, ...]:
    certificates: tuple[object, ...] = (values,) if isinstance(values, bytes) else tuple(values)
    problems = tuple(
        Problem(
            f"certificates[{index}]", "", f"bytes, not {type(der).__name__}", "pass the certificate in DER"
        )
        for index, der in enumerate(certificates)
        if not isinstance(der, bytes)
    )
    if problems:
        raise ProfileError(problems)
    return tuple(der for der in certificates if isinstance(der, bytes))


def _pairs(values: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(values)


@check_arguments
@attrs.frozen(kw_only=True)
class TargetMac:
    """The Mac that a profile is built for, as its MachineInfo describes it.

    Attributes:
        serial_number: Serial number.
        product: Model identifier, such as ``Mac14,2``.
        version: Version of macOS; None if it could not be read.
    """

    serial_number: str
    product: str
    version: MacOSVersion | None = attrs.field(converter=_version)

    @property
    def chip(self) -> ChipClass:
        """The kind of chip, from the model; it decides which keys this Mac can store."""
        return classify_product(self.product)


@check_arguments(but=("certificates", "pinned_certificates"))
@attrs.frozen(kw_only=True)
class MdmService:
    """The device management service that Macs enroll with; the same for every Mac.

    Attributes:
        identifier: Reverse DNS name of the profile. It must stay the same during an enrollment: macOS
            replaces a profile with the same identifier and adds one with another.
        organization: Name that the user sees.
        server_url: https URL for MDM commands. It can never change for an enrolled Mac.
        check_in_url: https URL for check-ins; "" for *server_url*. It can never change for an enrolled Mac.
        topic: Topic of the push certificate, ``com.apple.mgmt.…``. It can never change for an enrolled Mac.
        access_rights: Sum of Apple's rights, 1 to 8191 (all); an update can only remove rights.
        sign_message: True if Macs sign each request with ``Mdm-Signature``. False requires a server that sees
            the TLS client certificate.
        capabilities: ``ServerCapabilities``; name only those that the server supports.
        check_out_when_removed: True if Macs should try to notify the server when they are unenrolled.
        development_push: True for the development push service; False with certificates of Apple's portal.
        certificates: Certificates (DER) that Macs must trust for this service, roots and intermediates. The
            anchors of the enrollment profile are added.
        pinned_certificates: Certificates (DER) that the two URLs are pinned to; empty for no pinning.
        pinning_needs_revocation_check: True if a pinned connection requires a positive revocation check.
        display_name: Name of the profile; "" for one with *organization* in it.
        description: What the profile does, for the user.
    """

    identifier: str
    organization: str
    server_url: str
    check_in_url: str = ""
    topic: str
    access_rights: int = 8191
    sign_message: bool = True
    capabilities: tuple[str, ...] = attrs.field(default=(PER_USER_CONNECTIONS,), converter=_texts)
    check_out_when_removed: bool = True
    development_push: bool = False
    certificates: tuple[bytes, ...] = attrs.field(default=(), converter=_certificates)
    pinned_certificates: tuple[bytes, ...] = attrs.field(default=(), converter=_certificates)
    pinning_needs_revocation_check: bool = False
    display_name: str = ""
    description: str = ""


@check_arguments
@attrs.frozen(kw_only=True)
class AcmeIssuer:
    """An ACME server that issues device certificates.

    Attributes:
        directory_url: https URL of its directory.
        client_identifier: Secret. Lets one Mac order one certificate; create a new one for each profile, as
            ``EnrollmentService`` does.
        subject: Attribute and value pairs, such as ``("CN", "…")``, outermost first; empty for the
            organization and the serial number.
        accepts_unattested: True if it issues certificates for hardware-bound keys without an attestation.
    """

    directory_url: str
    client_identifier: Secret = attrs.field(default=Secret(""), repr=False, converter=Secret)
    subject: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_pairs)
    accepts_unattested: bool = False


@check_arguments
@attrs.frozen(kw_only=True)
class ScepIssuer:
    """A SCEP server that issues device certificates.

    Attributes:
        url: Its address; http is allowed, https is recommended.
        challenge: Secret. Lets one Mac request one certificate; create a new one for each profile, as
            ``EnrollmentService`` does. "" for a server that authenticates Macs in another way.
        name: Name of the certificate authority, if the server has several.
        ca_fingerprint: SHA-1 or SHA-256 fingerprint of the authority's certificate; b"" for none.
        key_size: Bits of the RSA key, 2048 or 4096.
        key_usage: 1 for signing, 4 for encryption, 5 for both; some authorities refuse both together.
        subject: As for ``AcmeIssuer``.
        retries: Number of retries of a Mac after PENDING; None for Apple's 3.
        retry_delay_s: Seconds between retries; None for Apple's 10.
    """

    url: str
    challenge: Secret = attrs.field(default=Secret(""), repr=False, converter=Secret)
    name: str = ""
    ca_fingerprint: bytes = b""
    key_size: int = 2048
    key_usage: int = 5
    subject: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_pairs)
    retries: int | None = None
    retry_delay_s: int | None = None


def payload_uuid(identifier: str, serial_number: str, slot: str) -> str:
    """Return the UUID of a payload, which is always the same for an identifier, Mac and slot.

    macOS replaces a payload with the same identifier and UUID and adds one with another, so the UUID depends
    on nothing that changes between copies of a profile, such as a challenge.

    Args:
        identifier: Identifier of the profile.
        serial_number: Serial number of the Mac.
        slot: Position in the profile, such as "mdm".
    """
    return str(uuid.uuid5(_NAMESPACE, f"{identifier}\0{serial_number}\0{slot}")).upper()


def top_level(
    service: MdmService, mac: TargetMac, *, locked: bool, payloads: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the profile that contains *payloads*; *locked* forbids its removal.

    Source: Apple, profile payload ``TopLevel``.
    """
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": service.identifier,
        "PayloadUUID": payload_uuid(service.identifier, mac.serial_number, "profile"),
        "PayloadDisplayName": service.display_name or f"Device management by {service.organization}",
        "PayloadOrganization": service.organization,
        "PayloadScope": "System",
        "PayloadRemovalDisallowed": locked,
        "TargetDeviceType": 5,
        "PayloadContent": payloads,
    }
    if service.description:
        profile["PayloadDescription"] = service.description
    return without_newer_keys(mac.version, profile, _SINCE)


def mdm_payload(service: MdmService, mac: TargetMac, *, identity_uuid: str) -> dict[str, Any]:
    """Return the ``com.apple.mdm`` payload, which uses the identity of the payload *identity_uuid*.

    Source: Apple, profile payload ``com.apple.mdm``.
    """
    payload = {
        **_common(service, mac, "com.apple.mdm", slot="mdm", name="Device management"),
        "IdentityCertificateUUID": identity_uuid,
        "Topic": service.topic,
        "ServerURL": service.server_url,
        "AccessRights": service.access_rights,
        "SignMessage": service.sign_message,
        "ServerCapabilities": list(service.capabilities),
        "CheckOutWhenRemoved": service.check_out_when_removed,
        "UseDevelopmentAPNS": service.development_push,
    }
    if service.check_in_url:
        payload["CheckInURL"] = service.check_in_url
    if service.pinned_certificates:
        pins = [
            payload_uuid(service.identifier, mac.serial_number, certificate_slot(der))
            for der in service.pinned_certificates
        ]
        payload["ServerURLPinningCertificateUUIDs"] = pins
        payload["CheckInURLPinningCertificateUUIDs"] = list(pins)
        payload["PinningRevocationCheckRequired"] = service.pinning_needs_revocation_check
    return without_newer_keys(mac.version, payload, _SINCE)


def acme_payload(
    service: MdmService, mac: TargetMac, issuer: AcmeIssuer, choice: IdentityChoice
) -> dict[str, Any]:
    """Return the ``com.apple.security.acme`` payload.

    ``Attest`` and ``HardwareBound`` are always there: macOS below 14 requires both, with the value false.

    Source: Apple, profile payload ``com.apple.security.acme``.
    """
    return {
        **_common(service, mac, "com.apple.security.acme", slot="acme", name="Device identity"),
        "DirectoryURL": issuer.directory_url,
        "ClientIdentifier": masked(issuer.client_identifier.reveal()),
        "KeyType": str(choice.key_type),
        "KeySize": choice.key_size,
        "HardwareBound": choice.hardware_bound,
        "Attest": choice.attest,
        "Subject": _subject(service, mac, issuer.subject),
        # An EC key can only sign.
        "UsageFlags": 1 if choice.key_type is KeyType.EC else 5,
        "ExtendedKeyUsage": [_CLIENT_AUTHENTICATION],
        "KeyIsExtractable": False,
        "AllowAllAppsAccess": False,
    }


def scep_payload(service: MdmService, mac: TargetMac, issuer: ScepIssuer) -> dict[str, Any]:
    """Return the ``com.apple.security.scep`` payload; two of Apple's key names contain a space.

    Source: Apple, profile payload ``com.apple.security.scep``.
    """
    content: dict[str, Any] = {
        "URL": issuer.url,
        "Subject": _subject(service, mac, issuer.subject),
        "Keysize": issuer.key_size,
        "Key Type": "RSA",
        "Key Usage": issuer.key_usage,
        "KeyIsExtractable": False,
        "AllowAllAppsAccess": False,
    }
    optional = {
        "Challenge": masked(issuer.challenge.reveal()) or None,
        "Name": issuer.name or None,
        "CAFingerprint": issuer.ca_fingerprint or None,
        "Retries": issuer.retries,
        "RetryDelay": issuer.retry_delay_s,
    }
    content.update({key: value for key, value in optional.items() if value is not None})
    return {
        **_common(service, mac, "com.apple.security.scep", slot="scep", name="Device identity"),
        "PayloadContent": without_newer_keys(mac.version, content, _SINCE),
    }


def certificate_payload(service: MdmService, mac: TargetMac, der: bytes) -> dict[str, Any]:
    """Return the payload that installs the certificate *der* on a Mac, as a root if it is self-signed.

    Source: Apple, profile payloads ``com.apple.security.root`` and ``com.apple.security.pkcs1``.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        is_root = certificate.subject == certificate.issuer
    except ValueError:
        is_root = False
    kind = "root" if is_root else "pkcs1"
    return {
        **_common(
            service,
            mac,
            f"com.apple.security.{kind}",
            slot=certificate_slot(der),
            name="Root certificate" if is_root else "Certificate",
        ),
        "PayloadContent": der,
    }


def certificate_slot(der: bytes) -> str:
    """Return the slot of a certificate, independent of its position in the list."""
    return f"certificate.{hashlib.sha256(der).hexdigest()[:32]}"


def _common(
    service: MdmService, mac: TargetMac, payload_type: str, *, slot: str, name: str
) -> dict[str, Any]:
    return {
        "PayloadType": payload_type,
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{service.identifier}.{slot}",
        "PayloadUUID": payload_uuid(service.identifier, mac.serial_number, slot),
        "PayloadDisplayName": name,
        "PayloadOrganization": service.organization,
    }


def subject_pairs(
    service: MdmService, mac: TargetMac, subject: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Return the subject of a Mac's certificate: that of the issuer, else organization and serial number."""
    return subject or (("O", service.organization), ("CN", mac.serial_number))


def _subject(
    service: MdmService, mac: TargetMac, subject: tuple[tuple[str, str], ...]
) -> list[list[list[str]]]:
    return [[list(pair)] for pair in subject_pairs(service, mac, subject)]


_NAMESPACE = uuid.UUID("7c0d1f1e-3f55-5d0b-9b5d-6f2f0f8a6a11")
_CLIENT_AUTHENTICATION = "1.3.6.1.5.5.7.3.2"
_SINCE = {
    "Retries": MacOSVersion.of("10.10"),
    "RetryDelay": MacOSVersion.of("10.10"),
    "AllowAllAppsAccess": MacOSVersion.of("10.10"),
    "Key Usage": MacOSVersion.of("10.11"),
    "ServerURLPinningCertificateUUIDs": MacOSVersion.of("10.13"),
    "CheckInURLPinningCertificateUUIDs": MacOSVersion.of("10.13"),
    "PinningRevocationCheckRequired": MacOSVersion.of("10.13"),
    "KeyIsExtractable": MacOSVersion.of("10.13.4"),
    "TargetDeviceType": MacOSVersion.of("10.15"),
}
