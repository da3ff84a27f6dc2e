"""A linter for enrollment profiles, pyade's own and those of other programs.

An error is what macOS refuses, or what leaves the Mac without management or without an identity that it can
use. All else is a warning: macOS ignores it, or works with it. Settings are named as Apple names them,
``com.apple.mdm.ServerURL``. Secrets are never part of a problem.

The rules of this file. "Apple" is the schema of the payload; where Apple says only what a value must be,
macOS is taken to refuse another one.

====  =====================================================  ========================  ======================
Rule  What must be                                           What macOS does           Source
====  =====================================================  ========================  ======================
1     Keys that are required are there; types and values     refuses                   Apple
      are those of the schema, texts those of XML
1a    No key that the schema does not have                   ignores it                inferred
1b    Identifier with a dot, UUID of 8-4-4-4-12              works (Jamf Pro's has     Apple wants the form
                                                             no dot)                   only; observed
2     Not encrypted                                          cannot read it            inferred: no key yet
3     TargetDeviceType of a Mac, or of any device            refuses others            Apple
4     PayloadScope System                                    works: Setup Assistant    inferred
                                                             has no user
5     No consent, removal date or removal passcode           stops, or removes itself  Apple
6     One ``com.apple.mdm``; UUIDs, identifiers used once    refuses                   Apple
7     The identity that is named is in the profile           refuses                   Apple
7a    No other identity beside it                            works; if one fails, all  Apple: "multiple"
                                                             of the profile fails
8     Pins name certificates of the profile                  connects to nothing       Apple
8a    No pins before 10.13                                   ignores them              Apple
9     Absolute https addresses (SCEP: http, too) without     refuses                   Apple; RFC 9110, 4.2.4
      user name and password
9a    No fragment in them; SCEP over https; CheckInURL of    works                     inferred
      the domain of ServerURL
10    AccessRights not 0, 2 only with 1, 128 only with 64    refuses                   Apple
10a   No right above 4096                                    ignores it                inferred
10b   AccessRights is there                                  works, without rights     Apple
11    The user channel is declared                           works, without users      Apple ("must")
11a   Each capability once, and known                        works                     Apple
12    No ManagedAppleID, no EnrollmentMode                   enrolls a user, not the   Apple; inferred for
                                                             Mac                       this enrollment
12a   No AssignedManagedAppleID, no RequiredAppIDForMDM      ignores them              Apple
13    ACME: size and kind of key, HardwareBound and Attest   refuses                   Apple
      as they go together
13a   ACME, SCEP: RSA keys of 2048 bits or more              works with 1024           Apple; NIST SP 800-57
13b   ACME: UsageFlags 1 for a curve, and always a           works: the server may     Apple; its own example
      signature; no unknown bits                             override                  has 5 for a curve
13c   ACME: Attest false on a T2                             ignores it                Apple
13d   ACME: Attest is there below macOS 14                   refuses                   Apple
14    ACME on a Mac that can do it                           refuses                   ``core.identity``
14a   The Mac's version and model are known                  works, if it can do it    inferred
15    SCEP: a Subject with a value                           gets a certificate with   observed: NanoMDM,
                                                             an empty subject, and     issue 81
                                                             does not use it
15a   ACME: a Subject with a value                           the server may give one   Apple
15b   Subjects are arrays of pairs, ExtendedKeyUsage object  refuses                   Apple
      identifiers in dots
16    SCEP: fingerprint of 20 or 32 bytes                    stops before the request  Apple; observed
16a   SCEP: Retries and RetryDelay not negative; Key Usage   works                     inferred
      of 1 and 4; a challenge; no fingerprint of 16 bytes
17    Keys cannot be copied or used by every app             works                     Apple
18    Certificates and PKCS #12 can be read                  refuses                   Apple
18a   The private key is made on the Mac, not sent in        works                     inferred
      PKCS #12
====  =====================================================  ========================  ======================

What ``check_update`` checks has its rules in Apple's schema of ``com.apple.mdm``.

Source: Apple, profile payloads ``TopLevel``, ``CommonPayloadKeys``, ``com.apple.mdm``,
``com.apple.security.acme``, ``com.apple.security.scep`` and the certificate payloads.

The checks of identities and certificates in an enrollment profile: one function per kind of payload.

The rules that they name are those of ``builders.checks``.

Source: Apple, profile payloads ``com.apple.security.acme``, ``com.apple.security.scep`` and the certificate
payloads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from asn1crypto import pkcs12
from cryptography import x509

from pyade.builders import payload_keys
from pyade.builders.payload_keys import (
    UNWRITABLE,
    WRITABLE,
    check_texts,
    check_url,
    error,
    good_values,
    warning,
)
from pyade.builders.payloads import PER_USER_CONNECTIONS, TargetMac
from pyade.core.arguments import check_arguments
from pyade.core.certificate_values import check_der, pem_problem
from pyade.core.macos.identity import ACME_FROM, HARDWARE_KEYS_FROM, KeyType
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem

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


@check_arguments(but=("plist",))
def check_enrollment_profile(plist: Payload, *, mac: TargetMac | None = None) -> tuple[Problem, ...]:
    """Return everything that is wrong with an enrollment profile for Automated Device Enrollment.

    Args:
        plist: The profile as ``plistlib`` reads it; of a signed one the content.
        mac: The Mac that it is for; with it the rules of its macOS version and chip are checked, too.

    Returns:
        All problems, errors and warnings; empty if the profile is in order.
    """
    if not isinstance(plist, Mapping):
        form = type(plist).__name__
        return (error("profile", form, "a dictionary", "give what plistlib reads from the file"),)
    problems: list[Problem] = []
    top = good_values("", plist, {**payload_keys.COMMON, **payload_keys.TOP_LEVEL}, problems)
    problems += _names("", top)
    problems += _top_level(top)
    payloads: list[Payload] = []
    for payload in top.get("PayloadContent", ()):
        if not isinstance(payload, Mapping):
            problems.append(error("PayloadContent", payload, "an array of dictionaries", "remove it"))
            continue
        payload_type = str(payload.get("PayloadType", ""))
        keys = payload_keys.BY_TYPE.get(payload_type)
        cleaned = good_values(
            payload_type, payload, {**payload_keys.COMMON, **(keys or {})}, problems, known=keys is not None
        )
        payloads.append(cleaned)
        problems += _names(f"{payload_type}.", cleaned)
        if payload_type in _CHECKS:
            problems += _CHECKS[payload_type](cleaned, mac)
    problems += _across(top, payloads)
    return tuple(problems)


def check_update(old: Payload, new: Payload) -> tuple[Problem, ...]:
    """Return what forbids that *new* replaces the enrollment profile *old* on an enrolled Mac.

    Args:
        old: The profile that the Mac has, as ``plistlib`` reads it.
        new: The one that is to replace it.

    Source: Apple, ``com.apple.mdm``: "When updating the payload, …" of each key.
    """
    problems: list[Problem] = []
    before, after = _mdm(old), _mdm(new)
    if old.get("PayloadIdentifier") != new.get("PayloadIdentifier"):
        fix = "keep the identifier: macOS would add a second profile instead of replacing the first"
        problems.append(error("PayloadIdentifier", new.get("PayloadIdentifier"), "the same as before", fix))
    for key in ("Topic", "ServerURL", "CheckInURL", "EnrollmentMode", "AssignedManagedAppleID"):
        if before.get(key) != after.get(key):
            fix = f"keep {before[key]!r}" if before.get(key) else "leave it out, as before"
            if key.endswith("URL") and before.get(key):
                fix = "keep the address"
            problems.append(error(f"{_MDM}.{key}", after.get(key), "the same as before", fix))
    if _has_user_channel(before) != _has_user_channel(after):
        allowed = f"{PER_USER_CONNECTIONS} neither added nor removed by an update"
        problems.append(error(f"{_MDM}.ServerCapabilities", "", allowed, "keep what the Mac enrolled with"))
    # Without the key the server had no rights.
    rights_before, rights_after = before.get("AccessRights", 0), after.get("AccessRights")
    if isinstance(rights_before, int) and isinstance(rights_after, int) and rights_after & ~rights_before:
        allowed = f"no right that {rights_before} does not hold"
        problems.append(
            error(f"{_MDM}.AccessRights", rights_after, allowed, "only a new enrollment adds rights")
        )
    return tuple(problems)


def _names(prefix: str, payload: Payload) -> Iterator[Problem]:
    """Yield what is unusual about the names that every payload has: rule 1b."""
    for key, is_usual, allowed in _USUAL_NAMES:
        if key in payload and not is_usual(payload[key]):
            yield warning(f"{prefix}{key}", payload[key], allowed, "keep it if Macs enrolled with it")


def _is_reverse_dns(text: str) -> bool:
    labels = text.split(".")
    return len(labels) > 1 and all(re.fullmatch(r"[\w-]+", label) for label in labels)


def _top_level(top: Payload) -> Iterator[Problem]:
    """Yield what breaks rules 2 to 5."""
    if top.get("IsEncrypted"):
        yield error(
            "IsEncrypted", True, "false: a new Mac has no key for it", "send the profile in clear over TLS"
        )
    if top.get("TargetDeviceType", 5) not in (0, 5):
        yield error("TargetDeviceType", top["TargetDeviceType"], "5 (Mac) or 0 (any)", "use 5")
    if top.get("PayloadScope", "System") != "System":
        yield warning(
            "PayloadScope", top["PayloadScope"], "System: the enrollment is the device's", "use System"
        )
    for key, fix in _UNWANTED.items():
        if top.get(key):
            yield warning(key, "", "absent in Automated Device Enrollment", fix)


def _mdm_payload(payload: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    """Yield what breaks rules 8a to 12a."""
    for key in ("ServerURL", "CheckInURL"):
        if key in payload:
            yield from check_url(f"{_MDM}.{key}", payload[key])
    if not _same_domain(payload.get("ServerURL", ""), payload.get("CheckInURL", "")):
        allowed = "a host of the same domain as ServerURL"
        yield warning(
            f"{_MDM}.CheckInURL", _host(payload["CheckInURL"]), allowed, "make sure that both are yours"
        )
    yield from _access_rights(payload)
    yield from _capabilities(payload)
    yield from _account_driven(payload)
    if mac is not None and mac.version is not None and mac.version < _PINNING_FROM:
        for key in payload:
            if key.endswith("PinningCertificateUUIDs"):
                yield warning(f"{_MDM}.{key}", "", f"macOS 10.13; {mac.version} ignores it", "remove it")


def _account_driven(payload: Payload) -> Iterator[Problem]:
    """Yield what breaks rules 12 and 12a."""
    allowed = "absent: it belongs to enrollments that are driven by an account"
    for key in ("EnrollmentMode", "ManagedAppleID"):
        if key in payload:
            yield error(f"{_MDM}.{key}", payload[key], allowed, "remove it")
    for key in ("AssignedManagedAppleID", "RequiredAppIDForMDM"):
        if key in payload:
            yield warning(f"{_MDM}.{key}", payload[key], f"{allowed}, and is ignored here", "remove it")


def _access_rights(payload: Payload) -> Iterator[Problem]:
    setting = f"{_MDM}.AccessRights"
    rights = payload.get("AccessRights", 8191)
    if rights < 1:
        yield error(setting, rights, "1 to 8191", "add up the rights that you need; 8191 is all of them")
        return
    if rights > 8191:
        yield warning(setting, rights, "1 to 8191: there are no rights above 4096", "8191 is all of them")
    if rights & 2 and not rights & 1:
        yield error(setting, rights, "2 (install profiles) only with 1 (inspect profiles)", "add 1")
    if rights & 128 and not rights & 64:
        yield error(
            setting, rights, "128 (install provisioning profiles) only with 64 (inspect them)", "add 64"
        )


def _capabilities(payload: Payload) -> Iterator[Problem]:
    setting = f"{_MDM}.ServerCapabilities"
    capabilities = payload.get("ServerCapabilities", [])
    yield from check_texts(setting, capabilities)
    if not _has_user_channel(payload):
        allowed = f"{PER_USER_CONNECTIONS} among them: without it no user of the Mac is managed"
        yield warning(setting, "", allowed, "add it; an update never can")
    for capability, count in Counter(map(str, capabilities)).items():
        if count > 1:
            yield warning(setting, capability, "each capability once", "remove the others")
        if capability not in payload_keys.CAPABILITIES:
            yield warning(
                setting, capability, "a capability that Apple documents for Macs", "check the spelling"
            )


def _across(top: Payload, payloads: list[Payload]) -> Iterator[Problem]:
    """Yield what breaks rules 6 to 8."""
    types = Counter(str(payload.get("PayloadType", "")) for payload in payloads)
    if types[_MDM] != 1:
        yield error("PayloadContent", types[_MDM], f"exactly one {_MDM} payload", "remove or add one")
    for key in ("PayloadUUID", "PayloadIdentifier"):
        seen = Counter(str(part[key]) for part in (top, *payloads) if key in part)
        for value, count in seen.items():
            if count > 1:
                yield error(key, value, "used once in the profile", "give each payload its own")
    identities = [str(part.get("PayloadUUID")) for part in payloads if part.get("PayloadType") in _IDENTITIES]
    certificates = [
        str(part.get("PayloadUUID")) for part in payloads if part.get("PayloadType") in _CERTIFICATES
    ]
    if len(identities) > 1:
        allowed = "one identity: if the Mac cannot get one of them, it installs nothing of the profile"
        yield warning("PayloadContent", len(identities), allowed, "choose before the profile is made")
    for payload in payloads:
        if payload.get("PayloadType") == _MDM:
            yield from _references(payload, identities, certificates)


def _references(payload: Payload, identities: list[str], certificates: list[str]) -> Iterator[Problem]:
    reference = payload.get("IdentityCertificateUUID")
    if reference is not None and identities.count(reference) != 1:
        allowed = "the PayloadUUID of the ACME, SCEP or PKCS #12 payload in this profile"
        yield error(f"{_MDM}.IdentityCertificateUUID", reference, allowed, "use that UUID")
    for key in ("ServerURLPinningCertificateUUIDs", "CheckInURLPinningCertificateUUIDs"):
        for pin in payload.get(key, ()):
            if pin not in certificates:
                allowed = "the PayloadUUID of a certificate payload in this profile"
                yield error(f"{_MDM}.{key}", pin, allowed, "add the certificate, or remove the pin")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _same_domain(server_url: str, check_in_url: str) -> bool:
    """Return False if the hosts share no domain but the last label; True if either is unknown."""
    server, check_in = _host(server_url).split("."), _host(check_in_url).split(".")
    return [""] in (server, check_in) or server[-2:] == check_in[-2:]


def _mdm(plist: Payload) -> Payload:
    content = plist.get("PayloadContent")
    for payload in content if isinstance(content, list) else ():
        if isinstance(payload, Mapping) and payload.get("PayloadType") == _MDM:
            return payload
    return {}


def _has_user_channel(payload: Payload) -> bool:
    capabilities = payload.get("ServerCapabilities")
    return isinstance(capabilities, list) and PER_USER_CONNECTIONS in capabilities


_MDM = "com.apple.mdm"
_IDENTITIES = frozenset({ACME, SCEP, PKCS12})
_CERTIFICATES = frozenset({"com.apple.security.root", "com.apple.security.pkcs1", "com.apple.security.pem"})
_CHECKS: dict[str, Callable[[Payload, TargetMac | None], Iterator[Problem]]] = {
    _MDM: _mdm_payload,
    ACME: check_acme,
    SCEP: check_scep,
    PKCS12: check_pkcs12,
    **dict.fromkeys(_CERTIFICATES, check_certificate),
}
_UNWANTED = {
    "ConsentText": "ask for consent before the enrollment: Setup Assistant would stop at it",
    "RemovalDate": "remove it: the enrollment would end by itself",
    "DurationUntilRemoval": "remove it: the enrollment would end by itself",
    "HasRemovalPasscode": "remove it: the profile's locked setting decides",
}
_USUAL_NAMES: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("PayloadIdentifier", _is_reverse_dns, "usually a reverse DNS name: com.example.mdm"),
    ("PayloadUUID", payload_keys.UUID.fullmatch, "usually a UUID, 8-4-4-4-12"),
)
_PINNING_FROM = MacOSVersion.of("10.13")
