"""The linter: one table of the faults of a profile, with the problem for each."""

from __future__ import annotations

import copy
import plistlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each
from tests.keys import RSA_KEYS

from pyade.builders import payload_keys
from pyade.builders.linter import check_enrollment_profile, check_update
from pyade.builders.mobileconfig import build_enrollment_profile
from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer, TargetMac
from pyade.core.problems import Problem, Severity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError

Plist = dict[str, Any]
Change = Callable[[Plist], object]
MDM, ACME, SCEP = "com.apple.mdm", "com.apple.security.acme", "com.apple.security.scep"
ROOT, PEM, PKCS12 = "com.apple.security.root", "com.apple.security.pem", "com.apple.security.pkcs12"
CONTENT = f"{SCEP}.PayloadContent"


@pytest.fixture
def plist(profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer, root_der: bytes) -> Plist:
    """A good profile with an ACME identity and a pinned root."""
    service = attrs.evolve(service, pinned_certificates=[root_der])
    mac = TargetMac(serial_number="C02ABC123", product="Mac14,2", version="15.4")
    return dict(plistlib.loads(build_enrollment_profile(profile, service, mac, acme=acme)))


@pytest.fixture
def scep_plist(profile: EnrollmentProfile, service: MdmService, scep: ScepIssuer) -> Plist:
    """A good profile with a SCEP identity."""
    mac = TargetMac(serial_number="C02ABC123", product="Mac14,2", version="13.0")
    return dict(plistlib.loads(build_enrollment_profile(profile, service, mac, scep=scep)))


def part(plist: Plist, payload_type: str) -> Plist:
    found: Plist = next(part for part in plist["PayloadContent"] if part["PayloadType"] == payload_type)
    return found


def put(payload_type: str | None, **values: Any) -> Change:
    """Set keys of a payload, of the profile itself for None; ``...`` removes one."""

    def change(plist: Plist) -> None:
        target = plist if payload_type is None else part(plist, payload_type)
        target = target["PayloadContent"] if payload_type == SCEP else target
        for key, value in values.items():
            name = key.replace("_", " ")
            target.pop(name, None)
            if value is not ...:
                target[name] = value

    return change


def found(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return sorted((problem.severity.value, problem.setting) for problem in problems)


def error(*settings: str) -> list[tuple[str, str]]:
    return sorted(("error", setting) for setting in settings)


def warning(*settings: str) -> list[tuple[str, str]]:
    return sorted(("warning", setting) for setting in settings)


def test_a_good_profile_has_no_problem(plist: Plist, scep_plist: Plist) -> None:
    """Neither errors nor warnings, with the Mac at hand or not."""
    mac = TargetMac(serial_number="C02ABC123", product="Mac14,2", version="15.4")
    assert check_enrollment_profile(plist) == ()
    assert check_enrollment_profile(plist, mac=mac) == ()
    assert check_enrollment_profile(scep_plist) == ()


def duplicate(payload_type: str, **values: Any) -> Change:
    def change(plist: Plist) -> None:
        plist["PayloadContent"].append({**part(plist, payload_type), **values})

    return change


def drop(payload_type: str) -> Change:
    return lambda plist: plist["PayloadContent"].remove(part(plist, payload_type))


UUID = "00000000-0000-4000-8000-000000000000"
NO_VALUE: list[Any] = [[], [[["CN", " "]]]]
MALFORMED: list[Any] = [[7], [[]], [["x"]]]
SCEP_CONTENT: Plist = {
    "URL": "https://scep.contoso.com/",
    "Subject": [[["CN", "C02ABC123"]]],
    "Challenge": "one-time",
    "Keysize": 2048,
    "KeyIsExtractable": False,
}


def add_scep(plist: Plist) -> None:
    """A second identity, of another kind than the attested one."""
    identity = {"PayloadType": SCEP, "PayloadVersion": 1, "PayloadContent": SCEP_CONTENT}
    plist["PayloadContent"].append({**identity, "PayloadIdentifier": "com.contoso.scep", "PayloadUUID": UUID})


@each(
    ("change", "expected"),
    [
        # 6 to 8: what refers to what
        (drop(MDM), error("PayloadContent")),
        (
            duplicate(MDM, PayloadUUID=UUID, PayloadIdentifier="com.contoso.second"),
            error("PayloadContent"),
        ),
        (put(MDM, IdentityCertificateUUID=UUID), error(f"{MDM}.IdentityCertificateUUID")),
        (put(MDM, IdentityCertificateUUID="ACME"), error(f"{MDM}.IdentityCertificateUUID")),
        (put(MDM, IdentityCertificateUUID=...), error(f"{MDM}.IdentityCertificateUUID")),
        (drop(ACME), error(f"{MDM}.IdentityCertificateUUID")),
        (
            duplicate(ACME, PayloadUUID=UUID, PayloadIdentifier="com.contoso.second"),
            warning("PayloadContent"),
        ),
        (add_scep, warning("PayloadContent")),
        (
            drop(ROOT),
            error(f"{MDM}.ServerURLPinningCertificateUUIDs", f"{MDM}.CheckInURLPinningCertificateUUIDs"),
        ),
        (put(MDM, ServerURLPinningCertificateUUIDs=[7]), error(f"{MDM}.ServerURLPinningCertificateUUIDs")),
        (duplicate(ROOT), error("PayloadIdentifier", "PayloadUUID")),
        (put(MDM, PayloadIdentifier="com.contoso.mdm"), error("PayloadIdentifier")),
        # 9 and 9a: addresses
        (put(MDM, ServerURL="http://mdm.contoso.com/"), error(f"{MDM}.ServerURL")),
        (put(MDM, ServerURL="mdm.contoso.com"), error(f"{MDM}.ServerURL")),
        (put(MDM, ServerURL="https:///server"), error(f"{MDM}.ServerURL")),
        (put(MDM, Topic="com.apple.mgmt.a\x00"), error(f"{MDM}.Topic")),
        (put(MDM, ServerURL="https://mdm.contoso.com/ x"), error(f"{MDM}.ServerURL")),
        (put(MDM, ServerURL="https://mdm.contoso.com/#x"), warning(f"{MDM}.ServerURL")),
        (put(MDM, ServerURL="https://a:b@mdm.contoso.com/"), error(f"{MDM}.ServerURL")),
        (put(MDM, ServerURL="https://mdm.contoso.com:port/"), error(f"{MDM}.ServerURL")),
        (put(MDM, CheckInURL="https://[::1/"), error(f"{MDM}.CheckInURL")),
        (put(MDM, ServerURL="https://mdm.contoso.com:8443/"), []),
        (put(MDM, CheckInURL=...), []),
        (put(MDM, CheckInURL="https://checkin.contoso.com/"), []),
        (put(MDM, CheckInURL="https://mdm.fabrikam.com/"), warning(f"{MDM}.CheckInURL")),
        (put(ACME, DirectoryURL="http://acme.contoso.com/"), error(f"{ACME}.DirectoryURL")),
        # 10 to 10b: rights
        *[(put(MDM, AccessRights=n), error(f"{MDM}.AccessRights")) for n in (0, -1, 2, 128, True, "8191")],
        (put(MDM, AccessRights=8192 + 8191), warning(f"{MDM}.AccessRights")),
        (put(MDM, AccessRights=8192 + 2), error(f"{MDM}.AccessRights") + warning(f"{MDM}.AccessRights")),
        *[(put(MDM, AccessRights=n), []) for n in (1, 3, 192, 8191)],
        (put(MDM, AccessRights=...), warning(f"{MDM}.AccessRights")),
        # 11 and 11a: capabilities
        (put(MDM, ServerCapabilities=...), warning(f"{MDM}.ServerCapabilities")),
        (put(MDM, ServerCapabilities=["com.apple.mdm.token"]), warning(f"{MDM}.ServerCapabilities")),
        (
            put(MDM, ServerCapabilities=["com.apple.mdm.per-user-connections"] * 2),
            warning(f"{MDM}.ServerCapabilities"),
        ),
        (
            put(MDM, ServerCapabilities=["com.apple.mdm.per-user-connections", "com.apple.mdm.new"]),
            warning(f"{MDM}.ServerCapabilities"),
        ),
        (
            put(MDM, ServerCapabilities=["com.apple.mdm.per-user-connections", 7]),
            error(f"{MDM}.ServerCapabilities") + warning(f"{MDM}.ServerCapabilities"),
        ),
        # 12 and 12a: what belongs to other kinds of enrollment
        (put(MDM, EnrollmentMode="ADDE"), error(f"{MDM}.EnrollmentMode")),
        (put(MDM, AssignedManagedAppleID="a@b.ch"), warning(f"{MDM}.AssignedManagedAppleID")),
        (put(MDM, ManagedAppleID="a@b.ch"), error(f"{MDM}.ManagedAppleID")),
        (put(MDM, RequiredAppIDForMDM=7), warning(f"{MDM}.RequiredAppIDForMDM")),
        # 13 to 13d, 15a, 15b and 17: ACME
        (put(ACME, KeySize=512), error(f"{ACME}.HardwareBound", f"{ACME}.KeySize")),
        (put(ACME, KeySize=521), error(f"{ACME}.HardwareBound")),
        (put(ACME, KeySize=256), []),
        (put(ACME, KeyType="RSA", KeySize=2048), error(f"{ACME}.HardwareBound")),
        (put(ACME, HardwareBound=False), error(f"{ACME}.Attest")),
        *[(put(ACME, HardwareBound=False, Attest=False, KeySize=size), []) for size in (192, 256, 384, 521)],
        (put(ACME, Attest=...), warning(f"{ACME}.Attest")),
        (put(ACME, HardwareBound=...), error(f"{ACME}.Attest", f"{ACME}.HardwareBound")),
        (put(ACME, KeyType="rsa"), error(f"{ACME}.HardwareBound", f"{ACME}.KeyType")),
        *[
            (
                put(ACME, KeyType="RSA", KeySize=size, HardwareBound=False, Attest=False),
                expected,
            )
            for size, expected in (
                (512, error(f"{ACME}.KeySize")),
                (1024, warning(f"{ACME}.KeySize")),
                (2047, error(f"{ACME}.KeySize")),
                (2048, []),
                (3072, []),
                (4096, []),
                (8192, error(f"{ACME}.KeySize")),
            )
        ],
        (put(ACME, UsageFlags=5), warning(f"{ACME}.UsageFlags")),
        *[
            (
                put(ACME, KeyType="RSA", KeySize=2048, HardwareBound=False, Attest=False, UsageFlags=flags),
                warning(f"{ACME}.UsageFlags"),
            )
            for flags in (0, 2, 4, 7)
        ],
        (put(ACME, KeyType="RSA", KeySize=2048, HardwareBound=False, Attest=False, UsageFlags=5), []),
        (put(ACME, UsageFlags=..., ExtendedKeyUsage=...), []),
        (put(ACME, ExtendedKeyUsage=["clientAuth"]), error(f"{ACME}.ExtendedKeyUsage")),
        (put(ACME, ExtendedKeyUsage=[7]), error(f"{ACME}.ExtendedKeyUsage")),
        (put(ACME, Subject=[["CN", "x"]]), error(f"{ACME}.Subject", f"{ACME}.Subject")),
        *[(put(ACME, Subject=wrong), error(f"{ACME}.Subject")) for wrong in MALFORMED],
        (put(ACME, Subject=[[["CN", "x", "y"]]]), error(f"{ACME}.Subject")),
        (put(ACME, Subject=[[["CN", "x\x00"]]]), error(f"{ACME}.Subject")),
        (put(ACME, Subject=[[["CN", "x"], ["2.5.4.5", "y"]]]), []),
        *[(put(ACME, Subject=value), warning(f"{ACME}.Subject")) for value in NO_VALUE],
        (put(ACME, Subject=[[["OU", ""]], [["CN", "x"]]]), []),
        (put(ACME, ClientIdentifier=""), error(f"{ACME}.ClientIdentifier")),
        (put(ACME, KeyIsExtractable=True), []),
        (
            put(ACME, HardwareBound=False, Attest=False, KeyIsExtractable=True, AllowAllAppsAccess=True),
            warning(f"{ACME}.AllowAllAppsAccess", f"{ACME}.KeyIsExtractable"),
        ),
        # 1 to 5: the profile itself
        (put(None, TargetDeviceType=0), []),
        (put(None, TargetDeviceType=...), []),
        (put(None, TargetDeviceType=1), error("TargetDeviceType")),
        (put(None, TargetDeviceType=9), error("TargetDeviceType")),
        (put(None, PayloadScope="User"), warning("PayloadScope")),
        (put(None, PayloadScope="system"), error("PayloadScope")),
        (put(None, IsEncrypted=True), error("IsEncrypted")),
        (put(None, ConsentText={"default": "?"}), warning("ConsentText")),
        (put(None, RemovalDate=datetime(2030, 1, 1, tzinfo=UTC)), warning("RemovalDate")),
        (put(None, DurationUntilRemoval=3600), warning("DurationUntilRemoval")),
        (put(None, DurationUntilRemoval="3600"), error("DurationUntilRemoval")),
        (put(None, HasRemovalPasscode=True), warning("HasRemovalPasscode")),
        (put(None, PayloadVersion=2), error("PayloadVersion")),
        (put(None, PayloadVersion=True), error("PayloadVersion")),
        (put(None, PayloadUUID="1"), warning("PayloadUUID")),
        (put(None, PayloadUUID=""), error("PayloadUUID")),
        (put(None, PayloadIdentifier="contoso"), warning("PayloadIdentifier")),
        (put(MDM, PayloadIdentifier="mdm"), warning(f"{MDM}.PayloadIdentifier")),
        (put(None, PayloadIdentifier=" "), error("PayloadIdentifier")),
        (put(None, PayloadType=...), error("PayloadType")),
        (put(None, PayloadRemovalDisallowed=1), error("PayloadRemovalDisallowed")),
        (put(None, Colour="blue"), warning("Colour")),
        (lambda plist: plist["PayloadContent"].append("x"), error("PayloadContent")),
        # 1 and 18: the rest of the mdm payload, and certificates
        (put(MDM, Topic="com.contoso"), error(f"{MDM}.Topic")),
        (put(MDM, SignMessage="yes"), error(f"{MDM}.SignMessage")),
        (put(ROOT, PayloadContent=b"0\x00"), error(f"{ROOT}.PayloadContent")),
        (put(ROOT, PayloadContent="text"), error(f"{ROOT}.PayloadContent")),
    ],
)
def test_what_is_wrong_is_found(change: Change, expected: list[tuple[str, str]], plist: Plist) -> None:
    """Exactly that, and nothing beside it; "PayloadContent" also stands for the list as a whole."""
    plist = copy.deepcopy(plist)
    change(plist)
    assert [(severity, name) for severity, name in found(check_enrollment_profile(plist)) if name] == expected


@each(
    ("change", "expected"),
    [
        (put(SCEP, URL="http://scep.contoso.com/"), warning(f"{CONTENT}.URL")),
        (put(SCEP, URL="ldap://scep.contoso.com/"), error(f"{CONTENT}.URL")),
        (put(SCEP, URL=...), error(f"{CONTENT}.URL")),
        (put(SCEP, Keysize=1024), warning(f"{CONTENT}.Keysize")),
        (put(SCEP, Keysize=...), warning(f"{CONTENT}.Keysize")),
        (put(SCEP, Keysize=3072), error(f"{CONTENT}.Keysize")),
        (put(SCEP, Keysize=4096), []),
        (put(SCEP, Key_Type="EC"), error(f"{CONTENT}.Key Type")),
        (put(SCEP, Key_Usage=2), warning(f"{CONTENT}.Key Usage")),
        (put(SCEP, Key_Usage=0), []),
        (put(SCEP, CAFingerprint=bytes(20)), []),
        (put(SCEP, CAFingerprint=bytes(16)), warning(f"{CONTENT}.CAFingerprint")),
        (put(SCEP, CAFingerprint=bytes(40)), error(f"{CONTENT}.CAFingerprint")),
        (put(SCEP, CAFingerprint="ab" * 32), error(f"{CONTENT}.CAFingerprint")),
        (put(SCEP, Retries=-1), warning(f"{CONTENT}.Retries")),
        (put(SCEP, RetryDelay=-1), warning(f"{CONTENT}.RetryDelay")),
        *[
            (put(SCEP, Subject=empty), error(f"{CONTENT}.Subject"))
            for empty in (..., [], [[["O", ""]], [["CN", ""]]])
        ],
        (put(SCEP, Subject=[[["O", "Contoso"]]]), []),
        (put(SCEP, Subject="CN=x"), error(f"{CONTENT}.Subject")),
        (put(SCEP, Challenge=...), warning(f"{CONTENT}.Challenge")),
        (put(SCEP, Challenge=b"secret"), error(f"{CONTENT}.Challenge")),
        (put(SCEP, KeyIsExtractable=...), warning(f"{CONTENT}.KeyIsExtractable")),
        (put(SCEP, AllowAllAppsAccess=True), warning(f"{CONTENT}.AllowAllAppsAccess")),
        (put(SCEP, KeySize=2048), warning(f"{CONTENT}.KeySize")),
        (lambda plist: part(plist, SCEP).pop("PayloadContent"), error(CONTENT)),
        (lambda plist: part(plist, SCEP).update(PayloadContent=[]), error(CONTENT)),
    ],
)
def test_what_is_wrong_with_scep_is_found(
    change: Change, expected: list[tuple[str, str]], scep_plist: Plist
) -> None:
    """The nested dictionary, whose key names contain spaces, rules 9, 13a and 15 to 17; http is possible."""
    plist = copy.deepcopy(scep_plist)
    change(plist)
    problems = check_enrollment_profile(plist)
    assert found(problems) == sorted(expected)
    assert "secret" not in str(problems)


def on(product: str, version: str | None) -> TargetMac:
    return TargetMac(serial_number="C02ABC123", product=product, version=version)


SOFTWARE = {"HardwareBound": False, "Attest": False}
WITHOUT_ATTEST = {"HardwareBound": False, "Attest": ...}
UNATTESTED = {"HardwareBound": True, "Attest": False}


@each(
    ("mac", "values", "expected"),
    [
        (on("Mac14,2", "14.0"), {}, []),
        (on("Mac14,2", "13.0"), SOFTWARE, error(ACME)),
        (on("Mac14,2", "13.1"), SOFTWARE, []),
        (on("Mac14,2", "13.6"), UNATTESTED, error(f"{ACME}.HardwareBound")),
        (on("Mac14,2", "13.6"), {}, error(f"{ACME}.Attest", f"{ACME}.HardwareBound")),
        (on("Mac14,2", None), SOFTWARE, warning(ACME)),
        (on("Mac14,2", "13.6"), WITHOUT_ATTEST, error(f"{ACME}.Attest")),
        (on("Mac14,2", "14.0"), WITHOUT_ATTEST, []),
        (on("Mac14,2", None), WITHOUT_ATTEST, warning(ACME, f"{ACME}.Attest")),
        (on("Macmini8,1", "14.0"), UNATTESTED, []),
        (on("Macmini8,1", "14.0"), {}, warning(f"{ACME}.Attest")),
        (on("iMac19,1", "14.0"), SOFTWARE, []),
        (on("iMac19,1", "14.0"), UNATTESTED, error(f"{ACME}.HardwareBound")),
        (on("MacBookPro14,3", "14.0"), {}, error(f"{ACME}.Attest", f"{ACME}.HardwareBound")),
        (on("VirtualMac2,1", "15.0"), {}, error(f"{ACME}.Attest", f"{ACME}.HardwareBound")),
        (on("Toaster1,1", "15.0"), SOFTWARE, warning(ACME)),
    ],
)
def test_the_mac_must_be_able_to_do_it(
    mac: TargetMac, values: Plist, expected: list[tuple[str, str]], plist: Plist
) -> None:
    """The matrix of macOS versions and chips in Apple's ACME schema: rules 13c to 14a."""
    plist = copy.deepcopy(plist)
    put(ACME, **values)(plist)
    assert found(check_enrollment_profile(plist, mac=mac)) == expected


def test_pinning_is_ignored_by_old_macs(scep_plist: Plist, root_der: bytes) -> None:
    """It came with 10.13."""
    root = {
        "PayloadType": ROOT,
        "PayloadVersion": 1,
        "PayloadIdentifier": "com.contoso.root",
        "PayloadUUID": UUID,
        "PayloadContent": root_der,
    }
    scep_plist["PayloadContent"].append(root)
    part(scep_plist, MDM)["ServerURLPinningCertificateUUIDs"] = [UUID]
    expected = warning(f"{MDM}.ServerURLPinningCertificateUUIDs")
    assert found(check_enrollment_profile(scep_plist, mac=on("iMac19,1", "10.12"))) == expected
    assert check_enrollment_profile(scep_plist, mac=on("iMac19,1", "10.13")) == ()


def test_other_certificate_payloads_are_checked(plist: Plist, root_der: bytes) -> None:
    """PEM as text bytes, and never with a private key in it."""
    text = x509.load_der_x509_certificate(root_der).public_bytes(Encoding.PEM)
    part(plist, ROOT).update(PayloadType=PEM, PayloadContent=text)
    assert check_enrollment_profile(plist) == ()
    part(plist, PEM)["PayloadContent"] = text + b"-----BEGIN PRIVATE KEY-----"
    assert found(check_enrollment_profile(plist)) == error(f"{PEM}.PayloadContent")
    part(plist, PEM)["PayloadContent"] = root_der
    assert found(check_enrollment_profile(plist)) == error(f"{PEM}.PayloadContent")


@each("kind", [ROOT, PEM])
@each("label", ["TRUSTED CERTIFICATE", "X509 CRL", "CERTIFICATE REQUEST", "EC PRIVATE KEY"])
def test_a_certificate_payload_names_what_it_holds_instead(
    kind: str, label: str, plist: Plist, root_der: bytes
) -> None:
    """In PEM and where DER is needed, and also behind a good certificate."""
    good = x509.load_der_x509_certificate(root_der).public_bytes(Encoding.PEM)
    for content in (good.replace(b" CERTIFICATE", f" {label}".encode()), good + _block(label)):
        changed = copy.deepcopy(plist)
        part(changed, ROOT).update(PayloadType=kind, PayloadContent=content)
        (problem,) = check_enrollment_profile(changed)
        assert (problem.setting, problem.value) == (f"{kind}.PayloadContent", f"BEGIN {label}")


def _block(label: str) -> bytes:
    return f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()


def test_an_identity_may_come_as_pkcs12(plist: Plist, root_der: bytes) -> None:
    """It is allowed, but then the private key travels in the profile; what is none leaves no identity."""
    made = pkcs12.serialize_key_and_certificates(
        b"mac", RSA_KEYS[0], None, None, BestAvailableEncryption(b"hunter2")
    )
    identity = part(plist, ACME)
    common = {key: value for key, value in identity.items() if key.startswith("Payload")}
    plist["PayloadContent"].remove(identity)
    plist["PayloadContent"].append(
        {**common, "PayloadType": PKCS12, "PayloadContent": made, "Password": "hunter2"}
    )
    assert found(check_enrollment_profile(plist)) == warning(PKCS12)
    for content in (b"", b"p12", made[:-1], root_der):
        part(plist, PKCS12).update(PayloadContent=content)
        problems = check_enrollment_profile(plist)
        assert found(problems) == [*error(f"{PKCS12}.PayloadContent"), *warning(PKCS12)]
        assert "hunter2" not in str(problems)
    part(plist, PKCS12).update(PayloadContent=made, Password=7)
    assert found(check_enrollment_profile(plist)) == [*error(f"{PKCS12}.Password"), *warning(PKCS12)]


def test_payloads_of_other_kinds_are_left_alone(plist: Plist) -> None:
    """But for the keys that every payload needs."""
    other = {"PayloadType": "com.apple.wifi.managed", "PayloadVersion": 1, "SSID_STR": "x"}
    plist["PayloadContent"].append(other)
    assert found(check_enrollment_profile(plist)) == error(
        "com.apple.wifi.managed.PayloadIdentifier", "com.apple.wifi.managed.PayloadUUID"
    )


def test_problems_show_no_secret_and_no_endless_value(plist: Plist) -> None:
    """A password in an address is one, too."""
    put(MDM, ServerURL="https://a:hunter2@mdm.contoso.com/", Topic="x" * 5000)(plist)
    put(ACME, ClientIdentifier=["hunter2"], DirectoryURL="http://acme.contoso.com/hunter2/dir")(plist)
    text = "\n".join(map(str, check_enrollment_profile(plist)))
    assert "hunter2" not in text
    assert "'http://acme.contoso.com'" in text
    assert len(text) < 1200


@each("plist", [[], None, b"", "text"])
def test_a_file_without_a_dictionary_is_no_profile(plist: Any) -> None:
    """A property list may be one of those, too."""
    assert found(check_enrollment_profile(plist)) == error("profile")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda plist: None, []),
        (put(None, PayloadIdentifier="com.contoso.other"), error("PayloadIdentifier")),
        (put(None, PayloadUUID=UUID, PayloadDisplayName="New"), []),
        (put(MDM, Topic="com.apple.mgmt.other"), error(f"{MDM}.Topic")),
        (put(MDM, ServerURL="https://mdm2.contoso.com/"), error(f"{MDM}.ServerURL")),
        (put(MDM, CheckInURL="https://mdm2.contoso.com/"), error(f"{MDM}.CheckInURL")),
        (put(MDM, CheckInURL=...), error(f"{MDM}.CheckInURL")),
        (put(MDM, EnrollmentMode="BYOD"), error(f"{MDM}.EnrollmentMode")),
        (put(MDM, AssignedManagedAppleID="a@b.ch"), error(f"{MDM}.AssignedManagedAppleID")),
        (put(MDM, ServerCapabilities=[]), error(f"{MDM}.ServerCapabilities")),
        (put(MDM, AccessRights=1), []),
        (put(MDM, AccessRights=...), []),
        (put(MDM, IdentityCertificateUUID=UUID, SignMessage=False), []),
    ],
)
def test_an_update_may_not_change_what_a_mac_holds_on_to(
    change: Change, expected: list[tuple[str, str]], plist: Plist
) -> None:
    """Identifier, topic, addresses, user channel and mode stay."""
    new = copy.deepcopy(plist)
    change(new)
    assert found(check_update(plist, new)) == expected


def test_an_update_may_not_add_rights(plist: Plist) -> None:
    """Taking away is fine, adding needs a new enrollment."""
    old = copy.deepcopy(plist)
    put(MDM, AccessRights=3)(old)
    put(MDM, AccessRights=17)(plist)
    assert found(check_update(old, plist)) == error(f"{MDM}.AccessRights")
    put(MDM, AccessRights=...)(old)
    assert found(check_update(old, plist)) == error(f"{MDM}.AccessRights")


def test_an_update_without_an_mdm_payload_changes_everything(plist: Plist) -> None:
    """Both directions are compared without a crash."""
    lost = (f"{MDM}.{key}" for key in ("CheckInURL", "ServerCapabilities", "ServerURL", "Topic"))
    assert found(check_update(plist, {"PayloadContent": 7})) == error("PayloadIdentifier", *lost)
    assert check_update({}, {"PayloadContent": ["x", {"PayloadType": 7}]}) == ()


def test_a_certificate_that_is_no_bytes_is_refused() -> None:
    """PEM text is the usual mistake."""
    with pytest.raises(ProfileError, match=r"certificates\[0\]: bytes, not str"):
        MdmService(
            identifier="com.contoso.mdm",
            organization="Contoso",
            server_url="https://mdm.contoso.com/",
            topic="com.apple.mgmt.x",
            certificates=["-----BEGIN CERTIFICATE-----"],  # type: ignore[list-item]
        )


def test_single_values_are_taken_as_such(root_der: bytes) -> None:
    """One capability is not a list of letters, one certificate no list of numbers."""
    service = MdmService(
        identifier="com.contoso.mdm",
        organization="Contoso",
        server_url="https://mdm.contoso.com/",
        topic="com.apple.mgmt.x",
        certificates=root_der,
        capabilities="com.apple.mdm.per-user-connections",
    )
    assert service.certificates == (root_der,)
    assert service.capabilities == ("com.apple.mdm.per-user-connections",)


PYTHON = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list,
    "dictionary": dict,
    "data": bytes,
    "date": datetime,
    "real": float,
}


def test_the_linter_knows_every_key_of_the_schema(schema_rules: Plist) -> None:
    """With type, presence and range; ``Key Type`` and ``Key Usage`` have theirs in Apple's prose."""
    tables = {
        "CommonPayloadKeys": payload_keys.COMMON,
        "TopLevel": {**payload_keys.COMMON, **payload_keys.TOP_LEVEL},
        **payload_keys.BY_TYPE,
    }
    assert tables.keys() == schema_rules.keys()
    nested = schema_rules[SCEP]["keys"]["PayloadContent"]["keys"]
    compared = [(payload_keys.SCEP, nested), *((tables[name], schema_rules[name]["keys"]) for name in tables)]
    for table, keys in compared:
        assert {
            name: (key.type, key.required, list(key.allowed))
            for name, key in table.items()
            if name not in ("Key Type", "Key Usage")
        } == {
            name: (PYTHON[key["type"]], key.get("required", False), key.get("allowed", []))
            for name, key in keys.items()
            if name not in ("Key Type", "Key Usage")
        }


junk = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
ALL_KEYS = sorted(
    {
        *payload_keys.COMMON,
        *payload_keys.TOP_LEVEL,
        *payload_keys.SCEP,
        *(key for keys in payload_keys.BY_TYPE.values() for key in keys),
    }
)


payloads = st.builds(
    lambda values, name: {**values, "PayloadType": name},
    st.dictionaries(st.sampled_from(ALL_KEYS), junk, max_size=6),
    st.sampled_from(sorted(payload_keys.BY_TYPE)),
)


@given(
    top=st.dictionaries(st.sampled_from(ALL_KEYS), junk, max_size=5),
    content=st.lists(junk | payloads, max_size=3),
)
def test_the_linter_survives_any_property_list(top: Plist, content: list[Any]) -> None:
    """Whatever another program wrote, it gets problems and no crash."""
    plist = {**top, "PayloadContent": content}
    problems = check_enrollment_profile(plist, mac=on("Mac14,2", "15.0"))
    assert any(problem.severity is Severity.ERROR for problem in problems)
    check_update(plist, top)
    check_update(top, plist)
