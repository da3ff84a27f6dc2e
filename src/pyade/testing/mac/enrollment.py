"""Read an enrollment profile as macOS does: verify its signature, check it, and say how a Mac enrolls.

Written without ``pyade.crypto`` and ``pyade.builders``, as an independent check of what they write.

Source: Apple, profile payloads ``TopLevel``, ``com.apple.mdm``, ``com.apple.security.acme`` and
``com.apple.security.scep``; RFC 5652, 5; that Macs accept CMS with the profile in it was observed.
"""

from __future__ import annotations

import hashlib
import plistlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from xml.parsers.expat import ExpatError

import attrs
from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pyade.core.macos.identity import ACME_FROM, HARDWARE_KEYS_FROM
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.testing.errors import MacError
from pyade.testing.mac.cms import DIGESTS
from pyade.text import short_repr


def read_signed(message: bytes) -> tuple[bytes, x509.Certificate]:
    """Return the signed content, and the certificate of the signer, whose chain is not verified.

    Raises:
        MacError: The message cannot be read, or its signature does not match its content.
    """
    try:
        return _read(message)
    except InvalidSignature:
        raise MacError("the signature of the profile does not match its content") from None
    except (KeyError, LookupError, TypeError, ValueError) as error:
        raise MacError(f"the signed profile cannot be read: {error}") from error


def _read(message: bytes) -> tuple[bytes, x509.Certificate]:
    info = cms.ContentInfo.load(message, strict=True)
    if info["content_type"].native != "signed_data":
        raise MacError(f"the profile is {info['content_type'].native} instead of signed data")
    signed = info["content"]
    content = signed["encap_content_info"]["content"].native
    if content is None:
        raise MacError("the signed message does not contain the profile")
    (signer,) = signed["signer_infos"]
    certificate = _signer_certificate(signed["certificates"], signer["sid"])
    digest = signer["digest_algorithm"]["algorithm"].native
    _verify(certificate.public_key(), signer["signature"].native, _signed_bytes(signer, content), digest)
    return content, certificate


def _signer_certificate(bag: Any, identifier: Any) -> x509.Certificate:
    number = identifier.chosen["serial_number"].native
    issuer = identifier.chosen["issuer"]
    for entry in bag:
        if entry.chosen.serial_number == number and entry.chosen.issuer == issuer:
            return x509.load_der_x509_certificate(entry.chosen.dump())
    raise MacError("the certificate of the signer is not in the message")


def _signed_bytes(signer: Any, content: bytes) -> bytes:
    """Return the bytes that the signature covers; check that signed attributes match *content*."""
    attributes = {entry["type"].native: entry["values"] for entry in signer["signed_attrs"]}
    if not attributes:
        return content
    digest = hashlib.new(signer["digest_algorithm"]["algorithm"].native, content).digest()
    if [value.native for value in attributes["message_digest"]] != [digest]:
        raise MacError("the signed digest of the profile does not match its content")
    encoded: bytes = signer["signed_attrs"].untag().dump()
    return encoded


def _verify(key: object, signature: bytes, data: bytes, digest: str) -> None:
    if digest not in DIGESTS:
        raise MacError(f"a Mac does not know the digest {digest}")
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), DIGESTS[digest])
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(DIGESTS[digest]))
    else:
        raise MacError("the profile is signed with a key that is neither RSA nor elliptic-curve")


@attrs.frozen(kw_only=True)
class FakeEnrollment:
    """How a Mac would enroll with a profile.

    Attributes:
        profile: The whole profile; holds secrets.
        signer: Certificate that signed it, whose chain is not verified; None for an unsigned profile.
        topic: The topic of the push certificate.
        server_url: Where the Mac would poll for commands.
        check_in_url: Where it would check in.
        identity: How it would get its certificate: ``acme``, ``scep`` or ``pkcs12``.
        issuer_url: The directory of the ACME server, or the address of the SCEP server; "" for PKCS #12.
        subject: The subject of the certificate that it would request, as pairs such as ``("CN", "C02...")``.
        key_type: ``RSA`` or ``ECSECPrimeRandom``; "" for PKCS #12.
        key_size: Bits, or the size of the curve; 0 for PKCS #12.
        hardware_bound: True if the key would be generated in the Secure Enclave.
        attest: True if Apple would attest it.
        credential: Secret. The client identifier of ACME or the challenge of SCEP; "" if there is none.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    profile: Mapping[str, Any] = attrs.field(repr=False, hash=False)
    signer: x509.Certificate | None
    topic: str
    server_url: str
    check_in_url: str
    identity: Literal["acme", "scep", "pkcs12"]
    issuer_url: str = ""
    subject: tuple[tuple[str, str], ...] = ()
    key_type: str = ""
    key_size: int = 0
    hardware_bound: bool = False
    attest: bool = False
    credential: str = attrs.field(default="", repr=False)


def read_enrollment(data: bytes, *, version: MacOSVersion, chip: ChipClass) -> FakeEnrollment:
    """Return how a Mac of that version and chip would enroll.

    Args:
        data: The profile, signed or not.
        version: Version of macOS.
        chip: Determines which keys the Mac can hold.

    Raises:
        MacError: The signature is wrong, or macOS would not install the profile.
    """
    content, signer = (data, None) if data.lstrip().startswith(b"<?xml") else read_signed(data)
    try:
        profile = plistlib.loads(content, fmt=plistlib.FMT_XML)
        fields = _read_fields(profile, version, chip)
    except (AttributeError, ExpatError, TypeError, ValueError) as error:
        raise MacError(f"the profile cannot be read: {error}") from error
    return FakeEnrollment(profile=profile, signer=signer, **fields)


def _read_fields(profile: Any, version: MacOSVersion, chip: ChipClass) -> dict[str, Any]:
    payloads = _payloads(profile)
    services = [payload for payload in payloads if payload["PayloadType"] == "com.apple.mdm"]
    _require(len(services) == 1, f"{len(services)} payloads com.apple.mdm, exactly one is needed")
    mdm = services[0]
    _check_mdm(mdm, [payload["PayloadUUID"] for payload in payloads if payload["PayloadType"] in _TRUST])
    identities = [payload for payload in payloads if payload["PayloadType"] in _IDENTITIES]
    named = [payload for payload in identities if payload["PayloadUUID"] == mdm["IdentityCertificateUUID"]]
    _require(
        len(identities) == len(named) == 1, "IdentityCertificateUUID names no identity, or one of several"
    )
    return {
        "topic": mdm["Topic"],
        "server_url": mdm["ServerURL"],
        "check_in_url": mdm.get("CheckInURL", mdm["ServerURL"]),
        **_IDENTITIES[named[0]["PayloadType"]](named[0], version, chip),
    }


def _payloads(profile: Any) -> list[dict[str, Any]]:
    _require(isinstance(profile, dict), "the profile is not a dictionary")
    _require_keys("the profile", profile, _COMMON)
    _require(profile["PayloadType"] == "Configuration", "PayloadType is not Configuration")
    _require(profile.get("TargetDeviceType", 0) in (0, 5), "TargetDeviceType is not for Macs")
    payloads = profile.get("PayloadContent")
    _require(
        isinstance(payloads, list) and all(isinstance(payload, dict) for payload in payloads),
        "PayloadContent is not an array of dictionaries",
    )
    for payload in payloads:
        _require_keys("a payload", payload, _COMMON)
        if payload["PayloadType"] in _TRUST:
            _require_keys(payload["PayloadType"], payload, {"PayloadContent": bytes})
            x509.load_der_x509_certificate(payload["PayloadContent"])
    for key in ("PayloadUUID", "PayloadIdentifier"):
        values = [part[key] for part in (profile, *payloads)]
        _require(len(set(values)) == len(values), f"{key} is not unique")
    return list(payloads)


def _check_mdm(mdm: dict[str, Any], trusted: list[str]) -> None:
    _require_keys("com.apple.mdm", mdm, {"IdentityCertificateUUID": str, "Topic": str, "ServerURL": str})
    _require(_UUID.fullmatch(mdm["IdentityCertificateUUID"]), "IdentityCertificateUUID is not a UUID")
    _require(mdm["Topic"].startswith("com.apple.mgmt."), "Topic does not begin with com.apple.mgmt.")
    for key in ("ServerURL", "CheckInURL"):
        _require(mdm.get(key, "https://").startswith("https://"), f"{key} is not https")
    rights = mdm.get("AccessRights", 0)
    _require(type(rights) is int and 1 <= rights <= 8191, "AccessRights is not from 1 to 8191")
    _require(not rights & 2 or rights & 1, "AccessRights has 2 without 1")
    _require(not rights & 128 or rights & 64, "AccessRights has 128 without 64")
    _require("com.apple.mdm.per-user-connections" in mdm.get("ServerCapabilities", ()), "no user channel")
    for key in _FORBIDDEN:
        _require(key not in mdm, f"{key} is not for Automated Device Enrollment")
    for key in ("ServerURLPinningCertificateUUIDs", "CheckInURLPinningCertificateUUIDs"):
        _require(set(mdm.get(key, ())) <= set(trusted), f"{key} names no certificate of the profile")


def _acme(payload: dict[str, Any], version: MacOSVersion, chip: ChipClass) -> dict[str, Any]:
    _require_keys("com.apple.security.acme", payload, _ACME)
    kind, size, is_bound = payload["KeyType"], payload["KeySize"], payload["HardwareBound"]
    attest = payload.get("Attest", False)
    _require(version >= ACME_FROM, f"macOS {version} has no ACME")
    _require(payload["DirectoryURL"].startswith("https://"), "DirectoryURL is not https")
    _require(
        (kind == "RSA" and 1024 <= size <= 4096 and size % 8 == 0)
        or (kind == "ECSECPrimeRandom" and size in (192, 256, 384, 521)),
        f"{kind} has no keys of size {size}",
    )
    _require(
        not is_bound or (kind != "RSA" and size in (256, 384)), "the Secure Enclave cannot hold this key"
    )
    has_enclave = chip in (ChipClass.APPLE_SILICON, ChipClass.T2) and version >= HARDWARE_KEYS_FROM
    _require(has_enclave or not is_bound, f"{chip} with macOS {version} binds no key to its hardware")
    _require(has_enclave or not attest, f"{chip} with macOS {version} attests no key")
    _require(is_bound or not attest, "Attest is true without HardwareBound")
    _require(
        version >= HARDWARE_KEYS_FROM or "Attest" in payload,
        "macOS before 14 needs Attest: false",
    )
    return {
        "identity": "acme",
        "issuer_url": payload["DirectoryURL"],
        "subject": _subject(payload["Subject"]),
        "key_type": kind,
        "key_size": size,
        "hardware_bound": is_bound,
        "attest": attest and chip is ChipClass.APPLE_SILICON,
        "credential": payload["ClientIdentifier"],
    }


def _scep(payload: dict[str, Any], _version: MacOSVersion, _chip: ChipClass) -> dict[str, Any]:
    _require_keys("com.apple.security.scep", payload, {"PayloadContent": dict})
    content = payload["PayloadContent"]
    _require_keys("com.apple.security.scep", content, {"URL": str})
    size = content.get("Keysize", 1024)
    _require(re.match("https?://", content["URL"]), "URL is neither http nor https")
    _require(size in (1024, 2048, 4096), f"Keysize {size} is none of 1024, 2048 and 4096")
    _require(content.get("Key Type", "RSA") == "RSA", "Key Type is not RSA")
    _require(isinstance(content.get("Challenge", ""), str), "Challenge is not a text")
    return {
        "identity": "scep",
        "issuer_url": content["URL"],
        "subject": _subject(content.get("Subject", [])),
        "key_type": "RSA",
        "key_size": size,
        "credential": content.get("Challenge", ""),
    }


def _pkcs12(payload: dict[str, Any], _version: MacOSVersion, _chip: ChipClass) -> dict[str, Any]:
    _require_keys("com.apple.security.pkcs12", payload, {"PayloadContent": bytes})
    return {"identity": "pkcs12"}


def _subject(names: Any) -> tuple[tuple[str, str], ...]:
    return tuple(_subject_pairs(names))


def _subject_pairs(names: Any) -> Iterator[tuple[str, str]]:
    _require(isinstance(names, list), "Subject is not an array")
    for name in names:
        _require(isinstance(name, list), "Subject is not an array of arrays")
        for pair in name:
            _require(
                isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair),
                "Subject holds something other than pairs of texts",
            )
            _require(
                pair[0] in ("C", "L", "ST", "O", "OU", "CN") or re.fullmatch(r"\d+(\.\d+)+", pair[0]),
                f"Subject has the attribute {pair[0]!r}",
            )
            yield pair[0], pair[1]


def _require_keys(where: str, values: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for key, kind in kinds.items():
        _require(type(values.get(key)) is kind, f"{key} of {where} is missing or not of type {kind.__name__}")
        _require(kind is not str or values[key].strip(), f"{key} of {where} is empty")


def _require(fact: object, otherwise: str) -> None:
    if not fact:
        raise MacError(f"macOS would not install the profile: {otherwise}")


_COMMON: Final = {"PayloadType": str, "PayloadVersion": int, "PayloadIdentifier": str, "PayloadUUID": str}
_ACME: Final = {
    "DirectoryURL": str,
    "ClientIdentifier": str,
    "KeyType": str,
    "KeySize": int,
    "HardwareBound": bool,
    "Subject": list,
}
_IDENTITIES: Final = {
    "com.apple.security.acme": _acme,
    "com.apple.security.scep": _scep,
    "com.apple.security.pkcs12": _pkcs12,
}
_TRUST: Final = ("com.apple.security.root", "com.apple.security.pkcs1")
_FORBIDDEN: Final = ("EnrollmentMode", "AssignedManagedAppleID", "ManagedAppleID", "RequiredAppIDForMDM")
_UUID: Final = re.compile(r"[0-9A-Za-z]{8}(-[0-9A-Za-z]{4}){3}-[0-9A-Za-z]{12}")
