"""The checks of identities and certificates in an enrollment profile: one function per kind of payload.

The rules that they name are those of ``builders.checks``.

Source: Apple, profile payloads ``com.apple.security.acme``, ``com.apple.security.scep`` and the certificate
payloads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from asn1crypto import pkcs12
from cryptography import x509

from pyade.builders import payload_keys
from pyade.builders.key_checks import (
    UNWRITABLE,
    WRITABLE,
    check_texts,
    check_url,
    error,
    good_values,
    warning,
)
from pyade.builders.payloads import TargetMac
from pyade.core.certificate_values import check_der, pem_problem
from pyade.core.identity import ACME_FROM, HARDWARE_KEYS_FROM, KeyType
from pyade.core.models import ChipClass
from pyade.core.problems import Problem
from pyade.core.versions import MacOSVersion

Payload = Mapping[str, Any]

ACME: Final = "com.apple.security.acme"
SCEP: Final = "com.apple.security.scep"
PKCS12: Final = "com.apple.security.pkcs12"


def check_acme(payload: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    """Yield what breaks rules 13 to 15b and 17 of an ACME identity."""
    yield from check_url(f"{ACME}.DirectoryURL", payload.get("DirectoryURL", "https://-"))
    yield from _subject(ACME, payload)
    if "Subject" in payload and _is_empty(payload["Subject"]):
        allowed = "a name with a value: macOS does not use a certificate with an empty one"
        yield warning(f"{ACME}.Subject", "", allowed, "add a CN, unless the server sets the name")
    bound, attest = payload.get("HardwareBound", False), payload.get("Attest", False)
    yield from _acme_key(payload, bound=bound, attest=attest)
    usages = payload.get("ExtendedKeyUsage", [])
    yield from check_texts(f"{ACME}.ExtendedKeyUsage", usages)
    for usage in usages:
        if isinstance(usage, str) and _DOTTED.fullmatch(usage) is None:
            yield error(
                f"{ACME}.ExtendedKeyUsage", usage, "object identifiers in dots", "use 1.3.6.1.5.5.7.3.2"
            )
    if not bound:
        yield from _key_protection(ACME, payload, mac)
    if mac is not None:
        yield from _acme_on(mac, bound=bound, attest=attest)
    version = None if mac is None else mac.version
    if "Attest" not in payload and version is None:
        yield warning(
            f"{ACME}.Attest", "", "present: macOS below 14 wants it, with the value false", "add it"
        )
    elif "Attest" not in payload and version is not None and version < HARDWARE_KEYS_FROM:
        yield error(f"{ACME}.Attest", "", f"present, with the value false, on macOS {version}", "add it")


def _acme_key(payload: Payload, *, bound: bool, attest: bool) -> Iterator[Problem]:
    is_curve, usage = payload.get("KeyType") == KeyType.EC, payload.get("UsageFlags", 1)
    size = payload.get("KeySize", 384 if is_curve else 2048)
    if is_curve and size not in (192, 256, 384, 521):
        yield error(f"{ACME}.KeySize", size, "192, 256, 384 or 521 for a curve", "use 384")
    if payload.get("KeyType") == KeyType.RSA:
        if size % 8 or not 1024 <= size <= 4096:
            yield error(f"{ACME}.KeySize", size, "a multiple of 8 from 1024 to 4096 for RSA", "use 2048")
        elif size < 2048:
            yield warning(f"{ACME}.KeySize", size, _SAFE_SIZE, "use 2048")
    if bound and not (is_curve and size in (256, 384)):
        fix = f"use KeyType {KeyType.EC} and KeySize 384"
        yield error(f"{ACME}.HardwareBound", True, "only for curves of 256 or 384", fix)
    if attest and not bound:
        yield error(f"{ACME}.Attest", True, "only with HardwareBound true", "set both or neither")
    if is_curve and usage != 1:
        allowed = "1 for a curve, which only signs; the server may set another usage"
        yield warning(f"{ACME}.UsageFlags", usage, allowed, "use 1")
    elif not usage & 1 or usage & ~0x15:  # 0x10, key agreement, was in Apple's schema of 2022
        yield warning(f"{ACME}.UsageFlags", usage, "1 (signing) or 5 (and encryption)", "use 5")


def _acme_on(mac: TargetMac, *, bound: bool, attest: bool) -> Iterator[Problem]:
    if mac.version is None:
        yield warning(ACME, "", f"a Mac whose macOS version is known: ACME needs {ACME_FROM}", "use SCEP")
        return
    if mac.version < ACME_FROM:
        yield error(ACME, mac.version, f"macOS {ACME_FROM} and later", "use SCEP")
    if mac.version < HARDWARE_KEYS_FROM:
        for key, value in (("HardwareBound", bound), ("Attest", attest)):
            if value:
                allowed = f"false on macOS {mac.version}, true only from {HARDWARE_KEYS_FROM.major}"
                yield error(f"{ACME}.{key}", True, allowed, "use false")
        return
    if mac.chip is ChipClass.UNKNOWN:
        yield warning(ACME, mac.product, "a known model, whose keys are known", "use SCEP")
        return
    if bound and mac.chip not in (ChipClass.APPLE_SILICON, ChipClass.T2):
        allowed = f"false: {mac.product} ({mac.chip}) has no Secure Enclave for it"
        yield error(f"{ACME}.HardwareBound", True, allowed, "use false")
    if attest and mac.chip is ChipClass.T2:
        yield warning(f"{ACME}.Attest", True, "false: a T2 ignores it and sends no attestation", "use false")
    elif attest and mac.chip is not ChipClass.APPLE_SILICON:
        yield error(f"{ACME}.Attest", True, f"false: {mac.product} ({mac.chip}) cannot attest", "use false")


def check_scep(payload: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    """Yield what breaks rules 9, 13a and 15 to 17 of a SCEP identity."""
    if "PayloadContent" not in payload:
        return
    problems: list[Problem] = []
    where = f"{SCEP}.PayloadContent"
    content = good_values(where, payload["PayloadContent"], payload_keys.SCEP, problems)
    yield from problems
    yield from check_url(f"{where}.URL", content.get("URL", "https://-"), schemes=("https", "http"))
    if content.get("URL", "").lower().startswith("http:"):
        yield warning(
            f"{where}.URL", "", "https: over http the profile's challenge is all that protects", "use https"
        )
    yield from _subject(where, content)
    is_readable = "Subject" in content or "Subject" not in payload["PayloadContent"]
    if is_readable and _is_empty(content.get("Subject", ())):
        allowed = "a name with a value: macOS does not use a certificate with an empty one"
        yield error(f"{where}.Subject", "", allowed, "add a CN, such as the serial number")
    if "Keysize" not in payload["PayloadContent"]:
        yield warning(f"{where}.Keysize", "", f"present: {_SAFE_SIZE}", "use 2048 or 4096")
    elif content.get("Keysize") == 1024:
        yield warning(f"{where}.Keysize", 1024, _SAFE_SIZE, "use 2048 or 4096")
    if content.get("Key Usage", 0) & ~5:
        yield warning(f"{where}.Key Usage", content["Key Usage"], "1 (signing), 4 (encryption) or 5", "use 5")
    yield from _scep_server(where, content)
    yield from _key_protection(where, content, mac)


def _scep_server(where: str, content: Payload) -> Iterator[Problem]:
    """Yield what breaks rules 16 and 16a."""
    for key in ("Retries", "RetryDelay"):
        if content.get(key, 0) < 0:
            yield warning(f"{where}.{key}", content[key], "0 or more", "correct it")
    length = len(content.get("CAFingerprint", bytes(32)))
    if length not in (16, 20, 32):
        allowed = "20 (SHA-1) or 32 (SHA-256) bytes"
        yield error(
            f"{where}.CAFingerprint", f"{length} bytes", allowed, "use the digest as bytes, not as text"
        )
    if length == 16:
        yield warning(
            f"{where}.CAFingerprint", "16 bytes", "SHA-1 or SHA-256: MD5 proves nothing", "use SHA-256"
        )


def check_certificate(payload: Payload, _mac: TargetMac | None) -> Iterator[Problem]:
    """Yield what breaks rule 18."""
    setting = f"{payload['PayloadType']}.PayloadContent"
    content: bytes | None = payload.get("PayloadContent")
    if content is None:
        return
    is_pem = payload["PayloadType"] == "com.apple.security.pem"
    if is_pem:
        problem = pem_problem(setting, content.decode("ascii", "replace"))
    else:
        problem = next(check_der(setting, content), None)
    if problem is not None:
        yield problem
        return
    try:
        if is_pem:
            x509.load_pem_x509_certificates(content)
        else:
            x509.load_der_x509_certificate(content)
    except ValueError:
        form = "PEM" if is_pem else "DER"
        yield error(setting, f"{len(content)} bytes", f"a certificate in {form}", f"convert it to {form}")


def check_pkcs12(payload: Payload, _mac: TargetMac | None) -> Iterator[Problem]:
    """Yield what breaks rules 18 and 18a."""
    content = payload.get("PayloadContent")
    if content is not None and not _is_pkcs12(content):
        yield error(f"{PKCS12}.PayloadContent", f"{len(content)} bytes", "an identity in PKCS #12", "add it")
    yield warning(PKCS12, "", "an identity whose private key is made on the Mac", "use ACME or SCEP")


def _is_pkcs12(content: bytes) -> bool:
    """Return True if *content* has the form of PKCS #12; only with its password can more be known."""
    try:
        return bool(pkcs12.Pfx.load(content, strict=True)["version"].native == "v3")
    except (ValueError, TypeError, KeyError):
        return False


def _subject(where: str, payload: Payload) -> Iterator[Problem]:
    """Yield what breaks rule 15b."""
    for pair in _pairs(payload.get("Subject", ())):
        if not _is_pair(pair) or (pair[0] not in _SHORT_NAMES and not _DOTTED.fullmatch(pair[0])):
            allowed = "arrays of pairs: C, L, ST, O, OU, CN or an object identifier in dots, and a text"
            yield error(f"{where}.Subject", pair, allowed, "correct it")
        elif UNWRITABLE.search(pair[1]):
            yield error(f"{where}.Subject", pair[0], *WRITABLE)


def _is_empty(subject: Iterable[Any]) -> bool:
    """Return True if no attribute of a subject has a value; what is malformed may have one."""
    return not any(not _is_pair(pair) or pair[1].strip() for pair in _pairs(subject))


def _pairs(subject: Iterable[Any]) -> Iterator[Any]:
    for name in subject:
        yield from name if isinstance(name, list) and name else [name]


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(item, str) for item in pair)


def _key_protection(where: str, values: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    is_old = mac is not None and mac.version is not None and mac.version < _EXTRACTABLE_FROM
    if values.get("KeyIsExtractable", not is_old):
        yield warning(f"{where}.KeyIsExtractable", "", "false: a copied key is a copied Mac", "use false")
    if values.get("AllowAllAppsAccess", False):
        yield warning(f"{where}.AllowAllAppsAccess", "", "false: only macOS needs the key", "use false")


_SHORT_NAMES = frozenset({"C", "L", "ST", "O", "OU", "CN"})
_DOTTED = re.compile(r"[0-9]+(\.[0-9]+)+")
_SAFE_SIZE = "2048 bits or more: macOS takes 1024, its default for SCEP, but these are not safe"
_EXTRACTABLE_FROM = MacOSVersion.of("10.13.4")
