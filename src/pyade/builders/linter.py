"""Check enrollment profiles, pyade's own and those of other programs.

An error is what macOS refuses, or what leaves the Mac without management or without a usable identity.
Everything else is a warning: macOS ignores it, or works with it. Settings have Apple's names, such as
``com.apple.mdm.ServerURL``. A problem never contains a secret.

The rules of this file. "Apple" is the schema of the payload; if Apple only documents the allowed values,
the table assumes that macOS refuses others.

====  =====================================================  ========================  ======================
Rule  What is required                                       What macOS does           Source
====  =====================================================  ========================  ======================
1     Required keys are present; types and values are those  refuses                   Apple
      of the schema, texts those of XML
1a    No key that the schema does not have                   ignores it                inferred
1b    Identifier with a dot, UUID of 8-4-4-4-12              works (Jamf Pro's has     Apple wants the form
                                                             no dot)                   only; observed
2     Not encrypted                                          cannot read it            inferred: no key yet
3     TargetDeviceType of a Mac, or of any device            refuses others            Apple
4     PayloadScope System                                    works: Setup Assistant    inferred
                                                             has no user
5     No consent, removal date or removal passcode           stops, or removes itself  Apple
6     One ``com.apple.mdm``; UUIDs, identifiers used once    refuses                   Apple
7     The named identity is in the profile                   refuses                   Apple
7a    No second identity                                     works; if one fails, the  Apple: "multiple"
                                                             whole profile fails
8     Pins name certificates of the profile                  connects to nothing       Apple
8a    No pins before 10.13                                   ignores them              Apple
9     Absolute https URLs (SCEP: also http) without user     refuses                   Apple; RFC 9110, 4.2.4
      name and password
9a    No fragment in them; SCEP over https; CheckInURL in    works                     inferred
      the domain of ServerURL
10    AccessRights not 0, 2 only with 1, 128 only with 64    refuses                   Apple
10a   No right above 4096                                    ignores it                inferred
10b   AccessRights is there                                  works, without rights     Apple
11    The user channel is declared                           works, without users      Apple ("must")
11a   Each capability once, and known                        works                     Apple
12    No ManagedAppleID, no EnrollmentMode                   enrolls a user, not the   Apple; inferred for
                                                             Mac                       this enrollment
12a   No AssignedManagedAppleID, no RequiredAppIDForMDM      ignores them              Apple
13    ACME: a valid combination of key size, kind of key,    refuses                   Apple
      HardwareBound and Attest
13a   ACME, SCEP: RSA keys of 2048 bits or more              works with 1024           Apple; NIST SP 800-57
13b   ACME: UsageFlags 1 for a curve, and always a           works: the server may     Apple; its own example
      signature; no unknown bits                             override                  has 5 for a curve
13c   ACME: Attest false on a T2                             ignores it                Apple
13d   ACME: Attest is present below macOS 14                 refuses                   Apple
14    ACME only on a Mac that supports it                    refuses                   ``core.macos.identity``
14a   The Mac's version and model are known                  works, if supported       inferred
15    SCEP: a Subject with a value                           gets a certificate with   observed: NanoMDM,
                                                             an empty subject, and     issue 81
                                                             does not use it
15a   ACME: a Subject with a value                           the server may set one    Apple
15b   Subjects are arrays of pairs, ExtendedKeyUsage dotted  refuses                   Apple
      object identifiers
16    SCEP: fingerprint of 20 or 32 bytes                    stops before the request  Apple; observed
16a   SCEP: Retries and RetryDelay not negative; Key Usage   works                     inferred
      of 1 and 4; a challenge; no fingerprint of 16 bytes
17    Keys cannot be copied or used by every app             works                     Apple
18    Certificates and PKCS #12 can be read                  refuses                   Apple
18a   The Mac generates the private key, it is not sent in   works                     inferred
      PKCS #12
====  =====================================================  ========================  ======================

The rules of ``check_update`` are in Apple's schema of ``com.apple.mdm``.

Source: Apple, profile payloads ``TopLevel``, ``CommonPayloadKeys``, ``com.apple.mdm``,
``com.apple.security.acme``, ``com.apple.security.scep`` and the certificate payloads.
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
from pyade.builders.payload_keys import UNWRITABLE, WRITABLE, check_texts, check_url, valid_values
from pyade.builders.payloads import PER_USER_CONNECTIONS, TargetMac
from pyade.core.arguments import check_arguments
from pyade.core.certificate_values import check_der, pem_problem
from pyade.core.macos.identity import ACME_FROM, HARDWARE_KEYS_FROM, KeyType
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, error, warning

Payload = Mapping[str, Any]

ACME: Final = "com.apple.security.acme"
SCEP: Final = "com.apple.security.scep"
PKCS12: Final = "com.apple.security.pkcs12"


def check_acme(payload: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    """Yield the problems of an ACME identity by rules 9, 13 to 15b and 17."""
    yield from check_url(f"{ACME}.DirectoryURL", payload.get("DirectoryURL", "https://-"))  # rules 9, 9a
    yield from _check_subject(ACME, payload)
    if "Subject" in payload and _is_empty(payload["Subject"]):  # rule 15a
        allowed = "a name with a value: macOS does not use a certificate with an empty name"
        yield warning(f"{ACME}.Subject", "", allowed, "add a CN, unless the server sets the name")
    bound, attest = payload.get("HardwareBound", False), payload.get("Attest", False)
    yield from _check_acme_key(payload, bound=bound, attest=attest)
    usages = payload.get("ExtendedKeyUsage", [])
    yield from check_texts(f"{ACME}.ExtendedKeyUsage", usages)
    for usage in usages:
        if isinstance(usage, str) and _DOTTED.fullmatch(usage) is None:  # rule 15b
            yield error(
                f"{ACME}.ExtendedKeyUsage", usage, "dotted object identifiers", "use 1.3.6.1.5.5.7.3.2"
            )
    if not bound:
        yield from _check_key_protection(ACME, payload, mac)
    if mac is not None:
        yield from _check_acme_support(mac, bound=bound, attest=attest)
    version = None if mac is None else mac.version
    # Rule 13d
    if "Attest" not in payload and version is None:
        yield warning(
            f"{ACME}.Attest", "", "present: macOS below 14 requires it, with the value false", "add it"
        )
    elif "Attest" not in payload and version is not None and version < HARDWARE_KEYS_FROM:
        yield error(f"{ACME}.Attest", "", f"present, with the value false, on macOS {version}", "add it")


def _check_acme_key(payload: Payload, *, bound: bool, attest: bool) -> Iterator[Problem]:
    is_curve, usage = payload.get("KeyType") == KeyType.EC, payload.get("UsageFlags", 1)
    size = payload.get("KeySize", 384 if is_curve else 2048)
    # Rules 13 and 13a
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
    if is_curve and usage != 1:  # rule 13b
        allowed = "1 for a curve, which can only sign; the server may set another usage"
        yield warning(f"{ACME}.UsageFlags", usage, allowed, "use 1")
    elif not usage & 1 or usage & ~0x15:  # 0x10, key agreement, was in Apple's schema of 2022
        yield warning(f"{ACME}.UsageFlags", usage, "1 (signing) or 5 (and encryption)", "use 5")


def _check_acme_support(mac: TargetMac, *, bound: bool, attest: bool) -> Iterator[Problem]:
    if mac.version is None:  # rule 14a
        yield warning(ACME, "", f"a Mac with a known macOS version: ACME needs {ACME_FROM}", "use SCEP")
        return
    if mac.version < ACME_FROM:  # rule 14
        yield error(ACME, mac.version, f"macOS {ACME_FROM} and later", "use SCEP")
    if mac.version < HARDWARE_KEYS_FROM:
        for key, value in (("HardwareBound", bound), ("Attest", attest)):
            if value:
                allowed = f"false on macOS {mac.version}, true only from {HARDWARE_KEYS_FROM.major}"
                yield error(f"{ACME}.{key}", True, allowed, "use false")
        return
    if mac.chip is ChipClass.UNKNOWN:  # rule 14a
        yield warning(ACME, mac.product, "a known model: its chip decides about keys", "use SCEP")
        return
    # Rule 14
    if bound and mac.chip not in (ChipClass.APPLE_SILICON, ChipClass.T2):
        allowed = f"false: {mac.product} ({mac.chip}) has no Secure Enclave"
        yield error(f"{ACME}.HardwareBound", True, allowed, "use false")
    if attest and mac.chip is ChipClass.T2:  # rule 13c
        yield warning(f"{ACME}.Attest", True, "false: a T2 ignores it and sends no attestation", "use false")
    elif attest and mac.chip is not ChipClass.APPLE_SILICON:
        yield error(f"{ACME}.Attest", True, f"false: {mac.product} ({mac.chip}) cannot attest", "use false")


def check_scep(payload: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    """Yield the problems of a SCEP identity by rules 9, 13a and 15 to 17."""
    if "PayloadContent" not in payload:
        return
    problems: list[Problem] = []
    where = f"{SCEP}.PayloadContent"
    content = valid_values(where, payload["PayloadContent"], payload_keys.SCEP, problems)
    yield from problems
    yield from check_url(f"{where}.URL", content.get("URL", "https://-"), schemes=("https", "http"))  # rule 9
    if content.get("URL", "").lower().startswith("http:"):  # rule 9a
        yield warning(
            f"{where}.URL", "", "https: over http only the challenge of the profile protects", "use https"
        )
    yield from _check_subject(where, content)
    is_readable = "Subject" in content or "Subject" not in payload["PayloadContent"]
    if is_readable and _is_empty(content.get("Subject", ())):  # rule 15
        allowed = "a name with a value: macOS does not use a certificate with an empty name"
        yield error(f"{where}.Subject", "", allowed, "add a CN, such as the serial number")
    if "Keysize" not in payload["PayloadContent"]:  # rule 13a
        yield warning(f"{where}.Keysize", "", f"present: {_SAFE_SIZE}", "use 2048 or 4096")
    elif content.get("Keysize") == 1024:
        yield warning(f"{where}.Keysize", 1024, _SAFE_SIZE, "use 2048 or 4096")
    if content.get("Key Usage", 0) & ~5:  # rule 16a
        yield warning(f"{where}.Key Usage", content["Key Usage"], "1 (signing), 4 (encryption) or 5", "use 5")
    yield from _check_scep_server(where, content)
    yield from _check_key_protection(where, content, mac)


def _check_scep_server(where: str, content: Payload) -> Iterator[Problem]:
    """Yield the problems by rules 16 and 16a."""
    for key in ("Retries", "RetryDelay"):
        if content.get(key, 0) < 0:  # rule 16a
            yield warning(f"{where}.{key}", content[key], "0 or more", "use 0 or more")
    length = len(content.get("CAFingerprint", bytes(32)))
    if length not in (16, 20, 32):  # rule 16
        allowed = "20 (SHA-1) or 32 (SHA-256) bytes"
        yield error(
            f"{where}.CAFingerprint", f"{length} bytes", allowed, "use the digest as bytes, not as text"
        )
    if length == 16:  # rule 16a
        yield warning(
            f"{where}.CAFingerprint", "16 bytes", "SHA-1 or SHA-256: MD5 proves nothing", "use SHA-256"
        )


def check_certificate(payload: Payload, _mac: TargetMac | None) -> Iterator[Problem]:
    """Yield the problems by rule 18."""
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
        form = "PEM" if is_pem else "DER"  # rule 18
        yield error(setting, f"{len(content)} bytes", f"a certificate in {form}", f"convert it to {form}")


def check_pkcs12(payload: Payload, _mac: TargetMac | None) -> Iterator[Problem]:
    """Yield the problems by rules 18 and 18a."""
    content = payload.get("PayloadContent")
    if content is not None and not _is_pkcs12(content):  # rule 18
        yield error(f"{PKCS12}.PayloadContent", f"{len(content)} bytes", "an identity in PKCS #12", "add it")
    # Rule 18a
    yield warning(PKCS12, "", "an identity whose private key the Mac generates", "use ACME or SCEP")


def _is_pkcs12(content: bytes) -> bool:
    """Return True if *content* has the form of PKCS #12; checking more needs its password."""
    try:
        return bool(pkcs12.Pfx.load(content, strict=True)["version"].native == "v3")
    except (ValueError, TypeError, KeyError):
        return False


def _check_subject(where: str, payload: Payload) -> Iterator[Problem]:
    """Yield the problems by rule 15b."""
    for pair in _attribute_pairs(payload.get("Subject", ())):
        # Rule 15b
        if not _is_pair(pair) or (pair[0] not in _SHORT_NAMES and not _DOTTED.fullmatch(pair[0])):
            allowed = "arrays of pairs: C, L, ST, O, OU, CN or a dotted object identifier, and a text"
            yield error(f"{where}.Subject", pair, allowed, "correct the pair")
        elif UNWRITABLE.search(pair[1]):
            yield error(f"{where}.Subject", pair[0], *WRITABLE)


def _is_empty(subject: Iterable[Any]) -> bool:
    """Return True if no attribute of a subject has a value; a malformed attribute counts as a value."""
    return not any(not _is_pair(pair) or pair[1].strip() for pair in _attribute_pairs(subject))


def _attribute_pairs(subject: Iterable[Any]) -> Iterator[Any]:
    for name in subject:
        yield from name if isinstance(name, list) and name else [name]


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(item, str) for item in pair)


def _check_key_protection(where: str, values: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    is_old = mac is not None and mac.version is not None and mac.version < _EXTRACTABLE_FROM
    # Rule 17
    if values.get("KeyIsExtractable", not is_old):
        allowed = "false: a copy of the key can impersonate the Mac"
        yield warning(f"{where}.KeyIsExtractable", "", allowed, "use false")
    if values.get("AllowAllAppsAccess", False):
        yield warning(f"{where}.AllowAllAppsAccess", "", "false: only macOS needs the key", "use false")


_SHORT_NAMES = frozenset({"C", "L", "ST", "O", "OU", "CN"})
_DOTTED = re.compile(r"[0-9]+(\.[0-9]+)+")
_SAFE_SIZE = "2048 bits or more: macOS accepts 1024, its default for SCEP, but that is not safe"
_EXTRACTABLE_FROM = MacOSVersion.of("10.13.4")


@check_arguments(but=("plist",))
def check_enrollment_profile(plist: Payload, *, mac: TargetMac | None = None) -> tuple[Problem, ...]:
    """Return all problems of an enrollment profile for Automated Device Enrollment.

    Args:
        plist: The profile, parsed by ``plistlib``; for a signed profile its content.
        mac: The Mac that it is for, to also check the rules for its macOS version and chip.

    Returns:
        All problems, errors and warnings; empty if there are none.
    """
    if not isinstance(plist, Mapping):
        form = type(plist).__name__
        return (error("profile", form, "a dictionary", "pass the file, parsed by plistlib"),)
    problems: list[Problem] = []
    top = valid_values("", plist, {**payload_keys.COMMON, **payload_keys.TOP_LEVEL}, problems)  # rules 1, 1a
    problems += _check_names("", top)
    problems += _check_top_level(top)
    payloads: list[Payload] = []
    for payload in top.get("PayloadContent", ()):
        if not isinstance(payload, Mapping):
            problems.append(error("PayloadContent", payload, "an array of dictionaries", "remove it"))
            continue
        payload_type = str(payload.get("PayloadType", ""))
        keys = payload_keys.BY_TYPE.get(payload_type)
        cleaned = valid_values(
            payload_type, payload, {**payload_keys.COMMON, **(keys or {})}, problems, known=keys is not None
        )
        payloads.append(cleaned)
        problems += _check_names(f"{payload_type}.", cleaned)
        if payload_type in _CHECKS:
            problems += _CHECKS[payload_type](cleaned, mac)
    problems += _check_across_payloads(top, payloads)
    return tuple(problems)


def check_update(old: Payload, new: Payload) -> tuple[Problem, ...]:
    """Return the problems that prevent *new* from replacing the enrollment profile *old* on an enrolled Mac.

    Args:
        old: The profile that the Mac has, parsed by ``plistlib``.
        new: The profile that shall replace it.

    Source: Apple, ``com.apple.mdm``: "When updating the payload, …" of each key.
    """
    problems: list[Problem] = []
    before, after = _mdm_payload(old), _mdm_payload(new)
    if old.get("PayloadIdentifier") != new.get("PayloadIdentifier"):
        fix = "keep the identifier: macOS would add a second profile instead of replacing the first"
        problems.append(error("PayloadIdentifier", new.get("PayloadIdentifier"), "the same as before", fix))
    for key in ("Topic", "ServerURL", "CheckInURL", "EnrollmentMode", "AssignedManagedAppleID"):
        if before.get(key) != after.get(key):
            fix = f"keep {before[key]!r}" if before.get(key) else "remove it, as before"
            if key.endswith("URL") and before.get(key):
                fix = "keep the address"
            problems.append(error(f"{_MDM}.{key}", after.get(key), "the same as before", fix))
    if _has_user_channel(before) != _has_user_channel(after):
        allowed = f"{PER_USER_CONNECTIONS} neither added nor removed by an update"
        problems.append(error(f"{_MDM}.ServerCapabilities", "", allowed, "keep what the Mac enrolled with"))
    # Without the key the server has no rights.
    rights_before, rights_after = before.get("AccessRights", 0), after.get("AccessRights")
    if isinstance(rights_before, int) and isinstance(rights_after, int) and rights_after & ~rights_before:
        allowed = f"no right that {rights_before} does not have"
        problems.append(
            error(f"{_MDM}.AccessRights", rights_after, allowed, "only a new enrollment adds rights")
        )
    return tuple(problems)


def _check_names(prefix: str, payload: Payload) -> Iterator[Problem]:
    """Yield warnings for unusual identifiers and UUIDs, by rule 1b."""
    for key, is_usual, allowed in _USUAL_NAMES:
        if key in payload and not is_usual(payload[key]):  # rule 1b
            yield warning(f"{prefix}{key}", payload[key], allowed, "keep it if Macs enrolled with it")


def _is_reverse_dns(text: str) -> bool:
    labels = text.split(".")
    return len(labels) > 1 and all(re.fullmatch(r"[\w-]+", label) for label in labels)


def _check_top_level(top: Payload) -> Iterator[Problem]:
    """Yield the problems by rules 2 to 5."""
    if top.get("IsEncrypted"):  # rule 2
        yield error(
            "IsEncrypted", True, "false: a new Mac has no key", "send the profile unencrypted over TLS"
        )
    if top.get("TargetDeviceType", 5) not in (0, 5):  # rule 3
        yield error("TargetDeviceType", top["TargetDeviceType"], "5 (Mac) or 0 (any)", "use 5")
    if top.get("PayloadScope", "System") != "System":  # rule 4
        yield warning(
            "PayloadScope", top["PayloadScope"], "System: the enrollment is the device's", "use System"
        )
    for key, fix in _UNWANTED.items():  # rule 5
        if top.get(key):
            yield warning(key, "", "absent in Automated Device Enrollment", fix)


def _check_mdm(payload: Payload, mac: TargetMac | None) -> Iterator[Problem]:
    """Yield the problems by rules 8a to 12a."""
    for key in ("ServerURL", "CheckInURL"):  # rules 9, 9a
        if key in payload:
            yield from check_url(f"{_MDM}.{key}", payload[key])
    if not _same_domain(payload.get("ServerURL", ""), payload.get("CheckInURL", "")):  # rule 9a
        allowed = "a host of the same domain as ServerURL"
        yield warning(
            f"{_MDM}.CheckInURL", _host(payload["CheckInURL"]), allowed, "make sure that both are yours"
        )
    yield from _check_access_rights(payload)
    yield from _check_capabilities(payload)
    yield from _check_account_driven(payload)
    if mac is not None and mac.version is not None and mac.version < _PINNING_FROM:  # rule 8a
        for key in payload:
            if key.endswith("PinningCertificateUUIDs"):
                yield warning(f"{_MDM}.{key}", "", f"macOS 10.13; {mac.version} ignores it", "remove it")


def _check_account_driven(payload: Payload) -> Iterator[Problem]:
    """Yield the problems by rules 12 and 12a."""
    allowed = "absent: it is only for account-driven enrollment"
    for key in ("EnrollmentMode", "ManagedAppleID"):  # rule 12
        if key in payload:
            yield error(f"{_MDM}.{key}", payload[key], allowed, "remove it")
    for key in ("AssignedManagedAppleID", "RequiredAppIDForMDM"):  # rule 12a
        if key in payload:
            yield warning(f"{_MDM}.{key}", payload[key], f"{allowed}, and macOS ignores it", "remove it")


def _check_access_rights(payload: Payload) -> Iterator[Problem]:
    setting = f"{_MDM}.AccessRights"
    rights = payload.get("AccessRights", 8191)
    # Rule 10; valid_values reports a missing key by rule 10b.
    if rights < 1:
        yield error(setting, rights, "1 to 8191", "use the sum of the rights that you need; 8191 is all")
        return
    if rights > 8191:  # rule 10a
        yield warning(setting, rights, "1 to 8191: there are no rights above 4096", "use 8191 for all rights")
    if rights & 2 and not rights & 1:
        yield error(setting, rights, "2 (install profiles) only with 1 (inspect profiles)", "add 1")
    if rights & 128 and not rights & 64:
        yield error(
            setting, rights, "128 (install provisioning profiles) only with 64 (inspect them)", "add 64"
        )


def _check_capabilities(payload: Payload) -> Iterator[Problem]:
    setting = f"{_MDM}.ServerCapabilities"
    capabilities = payload.get("ServerCapabilities", [])
    yield from check_texts(setting, capabilities)
    if not _has_user_channel(payload):  # rule 11
        allowed = f"{PER_USER_CONNECTIONS} among them: without it no user of the Mac is managed"
        yield warning(setting, "", allowed, "add it now; an update cannot add it")
    for capability, count in Counter(map(str, capabilities)).items():  # rule 11a
        if count > 1:
            yield warning(setting, capability, "each capability once", "remove the others")
        if capability not in payload_keys.CAPABILITIES:
            yield warning(
                setting, capability, "a capability that Apple documents for Macs", "check the spelling"
            )


def _check_across_payloads(top: Payload, payloads: list[Payload]) -> Iterator[Problem]:
    """Yield the problems between payloads, by rules 6 to 8."""
    types = Counter(str(payload.get("PayloadType", "")) for payload in payloads)
    if types[_MDM] != 1:  # rule 6
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
    if len(identities) > 1:  # rule 7a
        allowed = "one identity: if the Mac cannot get one of them, it does not install the profile"
        yield warning("PayloadContent", len(identities), allowed, "remove all but one")
    for payload in payloads:
        if payload.get("PayloadType") == _MDM:
            yield from _check_references(payload, identities, certificates)


def _check_references(payload: Payload, identities: list[str], certificates: list[str]) -> Iterator[Problem]:
    reference = payload.get("IdentityCertificateUUID")
    if reference is not None and identities.count(reference) != 1:  # rule 7
        allowed = "the PayloadUUID of the ACME, SCEP or PKCS #12 payload in this profile"
        yield error(f"{_MDM}.IdentityCertificateUUID", reference, allowed, "use that UUID")
    for key in ("ServerURLPinningCertificateUUIDs", "CheckInURLPinningCertificateUUIDs"):
        for pin in payload.get(key, ()):
            if pin not in certificates:  # rule 8
                allowed = "the PayloadUUID of a certificate payload in this profile"
                yield error(f"{_MDM}.{key}", pin, allowed, "add the certificate, or remove the pin")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _same_domain(server_url: str, check_in_url: str) -> bool:
    """Return False if the last two labels of the hosts differ; True if a host is unknown."""
    server, check_in = _host(server_url).split("."), _host(check_in_url).split(".")
    return [""] in (server, check_in) or server[-2:] == check_in[-2:]


def _mdm_payload(plist: Payload) -> Payload:
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
    _MDM: _check_mdm,
    ACME: check_acme,
    SCEP: check_scep,
    PKCS12: check_pkcs12,
    **dict.fromkeys(_CERTIFICATES, check_certificate),
}
_UNWANTED = {
    "ConsentText": "ask for consent before the enrollment: Setup Assistant would stop here",
    "RemovalDate": "remove it: the enrollment would end automatically",
    "DurationUntilRemoval": "remove it: the enrollment would end automatically",
    "HasRemovalPasscode": "remove it: the setting locked of the profile decides",
}
_USUAL_NAMES: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("PayloadIdentifier", _is_reverse_dns, "usually a reverse DNS name: com.example.mdm"),
    ("PayloadUUID", payload_keys.UUID.fullmatch, "usually a UUID, 8-4-4-4-12"),
)
_PINNING_FROM = MacOSVersion.of("10.13")
