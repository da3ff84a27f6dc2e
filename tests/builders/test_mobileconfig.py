"""The enrollment profile: which payloads it holds, what is in them, and what keeps them stable."""

from __future__ import annotations

import plistlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from tests.cases import each

from pyade.builders.linter import check_enrollment_profile, check_update
from pyade.builders.mobileconfig import build_enrollment_profile
from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer, TargetMac
from pyade.core.macos.identity import (
    IdentityChoice,
    IdentityKind,
    IdentityPolicy,
    IdentityRefusal,
    choose_identity,
    decide_identity,
)
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Severity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError

SILICON, T2, T1, INTEL, VIRTUAL, UNKNOWN = (
    "Mac14,2",
    "MacBookPro16,1",
    "MacBookPro14,3",
    "iMac19,1",
    "VirtualMac2,1",
    "Toaster1,1",
)
PRODUCTS = (SILICON, T2, T1, INTEL, VIRTUAL, UNKNOWN)
VERSIONS = (
    *("10.9", "10.10", "10.11", "10.13", "10.13.4", "10.14.6", "10.15", "11.0", "12.7"),
    *("13.0", "13.0.1", "13.1", "13.7", "14.0", "14.1", "15.4", "26.0", "27.0", None),
)


def mac(product: str = SILICON, version: str | None = "15.4", serial: str = "C02ABC123") -> TargetMac:
    return TargetMac(serial_number=serial, product=product, version=version)


def payload(plist: dict[str, Any], *types: str) -> dict[str, Any]:
    """Return the only payload of these types."""
    [found] = [part for part in plist["PayloadContent"] if part["PayloadType"] in types]
    return dict(found)


def identity(plist: dict[str, Any]) -> dict[str, Any]:
    return payload(plist, "com.apple.security.acme", "com.apple.security.scep")


@each("accepts_unattested", [False, True])
@each("version", VERSIONS)
@each("product", PRODUCTS)
def test_every_mac_gets_what_the_schema_allows(
    product: str,
    version: str | None,
    accepts_unattested: bool,
    profile: EnrollmentProfile,
    service: MdmService,
    acme: AcmeIssuer,
    scep: ScepIssuer,
    root_der: bytes,
    violations: Any,
) -> None:
    """Each payload keeps Apple's rules on each macOS and chip, and the prose of the ACME schema, too."""
    target = mac(product, version)
    acme = attrs.evolve(acme, accepts_unattested=accepts_unattested)
    scep = attrs.evolve(scep, retries=3, retry_delay_s=20, ca_fingerprint=bytes(32), key_size=4096)
    service = attrs.evolve(service, pinned_certificates=[root_der], description="Manages this Mac")
    data = build_enrollment_profile(profile, service, target, acme=acme, scep=scep)
    plist = plistlib.loads(data, fmt=plistlib.FMT_XML)
    assert violations(plist, target.version) == []
    assert [p for p in check_enrollment_profile(plist, mac=target) if p.severity is Severity.ERROR] == []

    found = identity(plist)
    at_least = MacOSVersion.of(version) if version else MacOSVersion.of("10.9")
    wants_acme = at_least >= MacOSVersion.of("13.1") and product != UNKNOWN
    assert found["PayloadType"] == f"com.apple.security.{'acme' if wants_acme else 'scep'}"
    if wants_acme:
        from_14 = at_least >= MacOSVersion.of("14")
        assert found["Attest"] is (from_14 and product == SILICON)
        assert found["HardwareBound"] is (
            from_14 and (product == SILICON or (product == T2 and accepts_unattested))
        )
        key = (found["KeyType"], found["KeySize"], found["UsageFlags"])
        assert key == (("ECSECPrimeRandom", 384, 1) if found["HardwareBound"] else ("RSA", 2048, 5))


def test_the_quickstart_macs_get_scep_and_acme(
    profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer, scep: ScepIssuer
) -> None:
    """The first one is the last macOS without ACME."""
    old = plistlib.loads(
        build_enrollment_profile(profile, service, mac(version="13.0"), acme=acme, scep=scep)
    )
    new = plistlib.loads(
        build_enrollment_profile(profile, service, mac(version="15.4"), acme=acme, scep=scep)
    )
    content = payload(old, "com.apple.security.scep")["PayloadContent"]
    assert content == {
        "URL": "https://scep.contoso.com/scep",
        "Name": "Contoso",
        "Challenge": "one-time-challenge",
        "Subject": [[["O", "Contoso"]], [["CN", "C02ABC123"]]],
        "Keysize": 2048,
        "Key Type": "RSA",
        "Key Usage": 5,
        "KeyIsExtractable": False,
        "AllowAllAppsAccess": False,
    }
    found = payload(new, "com.apple.security.acme")
    assert {key: value for key, value in found.items() if not key.startswith("Payload")} == {
        "DirectoryURL": "https://acme.contoso.com/directory",
        "ClientIdentifier": "one-time-client",
        "KeyType": "ECSECPrimeRandom",
        "KeySize": 384,
        "HardwareBound": True,
        "Attest": True,
        "Subject": [[["O", "Contoso"]], [["CN", "C02ABC123"]]],
        "UsageFlags": 1,
        "ExtendedKeyUsage": ["1.3.6.1.5.5.7.3.2"],
        "KeyIsExtractable": False,
        "AllowAllAppsAccess": False,
    }


def test_the_mdm_payload_says_what_the_service_is(
    profile: EnrollmentProfile, service: MdmService, scep: ScepIssuer
) -> None:
    """Apple's keys, with the identity of the same profile."""
    plist = plistlib.loads(build_enrollment_profile(profile, service, mac(version="12.0"), scep=scep))
    found = payload(plist, "com.apple.mdm")
    assert found["IdentityCertificateUUID"] == identity(plist)["PayloadUUID"]
    assert {key: value for key, value in found.items() if not key.startswith(("Payload", "Identity"))} == {
        "Topic": "com.apple.mgmt.External.0c1d2e3f",
        "ServerURL": "https://mdm.contoso.com/server",
        "CheckInURL": "https://mdm.contoso.com/checkin",
        "AccessRights": 8191,
        "SignMessage": True,
        "ServerCapabilities": ["com.apple.mdm.per-user-connections"],
        "CheckOutWhenRemoved": True,
        "UseDevelopmentAPNS": False,
    }


def test_what_a_service_turns_on_or_off_is_turned(
    profile: EnrollmentProfile, service: MdmService, scep: ScepIssuer
) -> None:
    """The other value of each switch than in the test above."""
    service = attrs.evolve(
        service, sign_message=False, check_out_when_removed=False, development_push=True, access_rights=3
    )
    plist = plistlib.loads(build_enrollment_profile(profile, service, mac(version="12.0"), scep=scep))
    found = payload(plist, "com.apple.mdm")
    switches = ("SignMessage", "CheckOutWhenRemoved", "UseDevelopmentAPNS", "AccessRights")
    assert [found[key] for key in switches] == [False, False, True, 3]


@each(
    ("key", "before", "first"),
    [
        ("Retries", "10.9.5", "10.10"),
        ("RetryDelay", "10.9.5", "10.10"),
        ("AllowAllAppsAccess", "10.9.5", "10.10"),
        ("Key Usage", "10.10.5", "10.11"),
        ("ServerURLPinningCertificateUUIDs", "10.12.6", "10.13"),
        ("CheckInURLPinningCertificateUUIDs", "10.12.6", "10.13"),
        ("PinningRevocationCheckRequired", "10.12.6", "10.13"),
        ("KeyIsExtractable", "10.13.3", "10.13.4"),
        ("TargetDeviceType", "10.14.6", "10.15"),
    ],
)
def test_a_key_is_there_from_its_first_macos_on(
    key: str,
    before: str,
    first: str,
    profile: EnrollmentProfile,
    service: MdmService,
    scep: ScepIssuer,
    root_der: bytes,
) -> None:
    """Neither sooner nor later than Apple's schema says, and pyade's own linter finds nothing in either."""
    service = attrs.evolve(service, pinned_certificates=[root_der])
    scep = attrs.evolve(scep, retries=3, retry_delay_s=20)
    for version, wanted in ((before, False), (first, True)):
        target = mac(INTEL, version)
        data = build_enrollment_profile(profile, service, target, scep=scep)
        assert (f"<key>{key}</key>".encode() in data) is wanted
        assert check_enrollment_profile(plistlib.loads(data), mac=target) == ()


def test_check_in_goes_to_the_server_url_unless_another_is_given(
    profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer
) -> None:
    """Apple's default, so the key is left out."""
    service = attrs.evolve(service, check_in_url="")
    plist = plistlib.loads(build_enrollment_profile(profile, service, mac(), acme=acme))
    assert "CheckInURL" not in payload(plist, "com.apple.mdm")


@pytest.mark.parametrize("locked", [False, True])
def test_a_locked_profile_cannot_be_removed(
    locked: bool, profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer
) -> None:
    """PayloadRemovalDisallowed goes with locked enrollment; the profile is for the whole Mac."""
    profile = attrs.evolve(profile, locked=locked)
    plist = plistlib.loads(build_enrollment_profile(profile, service, mac(), acme=acme))
    assert plist["PayloadRemovalDisallowed"] is locked
    assert (
        plist["PayloadScope"],
        plist["TargetDeviceType"],
        plist["PayloadType"],
        plist["PayloadVersion"],
    ) == (
        "System",
        5,
        "Configuration",
        1,
    )


def test_trust_is_in_the_profile_once(
    profile: EnrollmentProfile,
    service: MdmService,
    acme: AcmeIssuer,
    root_der: bytes,
    intermediate_der: bytes,
) -> None:
    """The anchors of the ADE profile cover only the first connection, so they come along, but once."""
    profile = attrs.evolve(profile, anchor_certificates=[root_der])
    service = attrs.evolve(
        service,
        certificates=[intermediate_der, root_der],
        pinned_certificates=[intermediate_der],
        pinning_needs_revocation_check=True,
    )
    plist = plistlib.loads(build_enrollment_profile(profile, service, mac(), acme=acme))
    assert [part["PayloadType"].removeprefix("com.apple.") for part in plist["PayloadContent"]] == [
        "security.root",
        "security.pkcs1",
        "security.acme",
        "mdm",
    ]
    assert [part["PayloadContent"] for part in plist["PayloadContent"][:2]] == [root_der, intermediate_der]
    pins = [payload(plist, "com.apple.security.pkcs1")["PayloadUUID"]]
    found = payload(plist, "com.apple.mdm")
    assert found["ServerURLPinningCertificateUUIDs"] == pins
    assert found["CheckInURLPinningCertificateUUIDs"] == pins
    assert found["PinningRevocationCheckRequired"] is True


def test_equal_facts_give_equal_bytes(
    profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer
) -> None:
    """So that a profile can be compared, cached and signed again."""
    data = build_enrollment_profile(profile, service, mac(), acme=acme)
    assert build_enrollment_profile(profile, service, mac(), acme=acme) == data
    assert data.startswith(b"<?xml")


def uuids(data: bytes) -> dict[str, str]:
    plist = plistlib.loads(data)
    return {part["PayloadIdentifier"]: part["PayloadUUID"] for part in (plist, *plist["PayloadContent"])}


def test_a_renewed_profile_replaces_the_old_one(
    profile: EnrollmentProfile,
    service: MdmService,
    acme: AcmeIssuer,
    root_der: bytes,
    intermediate_der: bytes,
) -> None:
    """Another challenge, macOS, authority order or lock changes no identifier and no UUID."""
    service = attrs.evolve(service, certificates=[root_der, intermediate_der])
    old = build_enrollment_profile(profile, service, mac(version="14.0"), acme=acme)
    new = build_enrollment_profile(
        attrs.evolve(profile, locked=True),
        attrs.evolve(service, certificates=[intermediate_der, root_der]),
        mac(version="26.0"),
        acme=attrs.evolve(acme, client_identifier="another-secret"),
    )
    assert uuids(old) == uuids(new)
    assert all(str(UUID(value)).upper() == value for value in uuids(old).values())
    assert check_update(plistlib.loads(old), plistlib.loads(new)) == ()


@each("version", VERSIONS)
@each("product", PRODUCTS)
@each(
    "policy",
    [
        IdentityPolicy(curve_size=256, rsa_key_size=4096),
        IdentityPolicy(scep_only=True),
        IdentityPolicy(acme_only_attested=True),
    ],
)
def test_every_decision_makes_a_profile_that_the_schema_allows(
    policy: IdentityPolicy,
    product: str,
    version: str | None,
    profile: EnrollmentProfile,
    service: MdmService,
    acme: AcmeIssuer,
    scep: ScepIssuer,
    violations: Any,
) -> None:
    """With both issuers and with each alone; exactly one identity is in it."""
    target = mac(product, version)
    for issuers in ({"acme": acme, "scep": scep}, {"acme": acme}, {"scep": scep}):
        decision = decide_identity(
            target.version, target.chip, acme="acme" in issuers, scep="scep" in issuers, policy=policy
        )
        if isinstance(decision, IdentityRefusal):
            assert "scep" not in issuers
            continue
        data = build_enrollment_profile(profile, service, target, choice=decision, **issuers)
        plist = plistlib.loads(data)
        assert violations(plist, target.version) == []
        assert identity(plist)["PayloadType"] == f"com.apple.security.{decision.kind.lower()}"


def test_two_macs_and_two_organizations_share_no_uuid(
    profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer
) -> None:
    """A UUID is globally unique."""
    other = attrs.evolve(service, identifier="com.fabrikam.mdm")
    all_uuids = [
        value
        for data in (
            build_enrollment_profile(profile, service, mac(serial="A"), acme=acme),
            build_enrollment_profile(profile, service, mac(serial="B"), acme=acme),
            build_enrollment_profile(profile, other, mac(serial="A"), acme=acme),
        )
        for value in uuids(data).values()
    ]
    assert len(set(all_uuids)) == len(all_uuids) == 9


def test_a_switch_of_issuer_is_another_payload_of_the_same_profile(
    profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer, scep: ScepIssuer
) -> None:
    """A Mac that was enrolled with SCEP gets an ACME identity beside nothing else."""
    old = uuids(build_enrollment_profile(profile, service, mac(version="13.0"), scep=scep))
    new = uuids(build_enrollment_profile(profile, service, mac(version="14.0"), acme=acme))
    assert old.keys() ^ new.keys() == {"com.contoso.mdm.scep", "com.contoso.mdm.acme"}
    assert old["com.contoso.mdm"] == new["com.contoso.mdm"]


def test_a_caller_may_decide_for_scep(
    profile: EnrollmentProfile, service: MdmService, scep: ScepIssuer
) -> None:
    """Where a policy says so."""
    choice = IdentityChoice(kind=IdentityKind.SCEP, reason="our policy")
    plist = plistlib.loads(build_enrollment_profile(profile, service, mac(), scep=scep, choice=choice))
    assert identity(plist)["PayloadType"] == "com.apple.security.scep"


@each("version", VERSIONS)
@each("product", PRODUCTS)
def test_without_a_choice_it_is_what_the_service_would_give(
    product: str,
    version: str | None,
    profile: EnrollmentProfile,
    service: MdmService,
    acme: AcmeIssuer,
    scep: ScepIssuer,
) -> None:
    """With both issuers and with each alone: the same identity, or the same reason why there is none."""
    target = mac(product, version)
    for issuers in ({"acme": acme, "scep": scep}, {"acme": acme}, {"scep": scep}, {}):
        decided = decide_identity(target.version, target.chip, acme="acme" in issuers, scep="scep" in issuers)
        if isinstance(decided, IdentityRefusal):
            with pytest.raises(ProfileError, match=re.escape(decided.reason)):
                build_enrollment_profile(profile, service, target, **issuers)
        else:
            chosen = build_enrollment_profile(profile, service, target, choice=decided, **issuers)
            assert build_enrollment_profile(profile, service, target, **issuers) == chosen


def test_what_is_not_the_best_is_said_and_a_wrong_choice_is_refused(
    profile: EnrollmentProfile,
    service: MdmService,
    acme: AcmeIssuer,
    scep: ScepIssuer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the log: an unknown model as a warning, a missing issuer, which every Mac meets, as information."""
    caplog.set_level("INFO", logger="pyade")
    build_enrollment_profile(profile, service, mac(), acme=acme)
    assert not caplog.messages
    build_enrollment_profile(profile, service, mac(version="14.0"), scep=scep)
    build_enrollment_profile(profile, service, mac(UNKNOWN), acme=acme)
    build_enrollment_profile(profile, service, mac(UNKNOWN), acme=acme, scep=scep)
    first, second, third = caplog.messages
    assert first.startswith("C02ABC123: SCEP: no ACME issuer is configured")
    assert second.startswith("C02ABC123: ACME with software key RSA-2048: no SCEP issuer is configured")
    assert third.startswith("C02ABC123: SCEP: the model is unknown")
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "WARNING"]
    with pytest.raises(ProfileError, match=r"scep: .*no SCEP issuer .* macOS 13\.0 has no ACME.*pass scep="):
        build_enrollment_profile(profile, service, mac(version="13.0"), acme=acme)
    choice = choose_identity("15.4", ChipClass.APPLE_SILICON)
    with pytest.raises(ProfileError, match=r"acme: an issuer for ACME with attested .*pass acme="):
        build_enrollment_profile(profile, service, mac(), scep=scep, choice=choice)


def test_all_problems_come_at_once(profile: EnrollmentProfile, acme: AcmeIssuer) -> None:
    """Each named as Apple names it, with what is allowed."""
    service = MdmService(
        identifier="contoso",
        organization="Contoso",
        server_url="http://mdm.contoso.com",
        check_in_url="https://user:hunter2@mdm.contoso.com/",
        topic="com.example",
        access_rights=2,
        capabilities=[],
        certificates=[b"no certificate"],
    )
    broken = attrs.evolve(acme, directory_url="acme.contoso.com", client_identifier=" ")
    with pytest.raises(ProfileError) as caught:
        build_enrollment_profile(profile, service, mac(serial=""), acme=broken)
    assert {problem.setting for problem in caught.value.problems} == {
        "serial_number",
        "com.apple.mdm.ServerURL",
        "com.apple.mdm.CheckInURL",
        "com.apple.mdm.Topic",
        "com.apple.mdm.AccessRights",
        "com.apple.security.acme.DirectoryURL",
        "com.apple.security.acme.ClientIdentifier",
        "com.apple.security.pkcs1.PayloadContent",
    }
    assert "hunter2" not in str(caught.value)


@each(
    ("change", "setting"),
    [
        ({"key_size": 1024}, "Keysize"),
        ({"key_size": 3072}, "Keysize"),
        ({"key_usage": 2}, "Key Usage"),
        ({"ca_fingerprint": b"12"}, "CAFingerprint"),
        ({"retries": -1}, "Retries"),
        ({"url": "ftp://scep.contoso.com"}, "URL"),
        ({"subject": [("X", "y")]}, "Subject"),
        ({"subject": [("CN", "")]}, "Subject"),
        ({"subject": [("CN", "a\x00b")]}, "Subject"),
        ({"challenge": "s3cret\x07"}, "Challenge"),
        ({"challenge": "s3cret\ud800"}, "Challenge"),
    ],
)
def test_a_scep_value_that_is_not_allowed_is_refused(
    change: dict[str, Any], setting: str, profile: EnrollmentProfile, service: MdmService, scep: ScepIssuer
) -> None:
    """Keys of 1024 bits, which Apple still takes, among them."""
    with pytest.raises(ProfileError) as caught:
        build_enrollment_profile(profile, service, mac(version="13.0"), scep=attrs.evolve(scep, **change))
    [problem] = caught.value.problems
    assert problem.setting == f"com.apple.security.scep.PayloadContent.{setting}"
    assert "s3cret" not in str(problem)


def test_secrets_are_not_shown(acme: AcmeIssuer, scep: ScepIssuer) -> None:
    """Neither the challenge nor the client identifier."""
    assert "one-time" not in repr(acme) + repr(scep)


def test_own_subjects_may_use_object_identifiers(
    profile: EnrollmentProfile, service: MdmService, scep: ScepIssuer
) -> None:
    """2.5.4.5 is the serial number, which has no short name."""
    scep = attrs.evolve(scep, subject=[("CN", "Mac"), ("2.5.4.5", "C02ABC123")])
    plist = plistlib.loads(build_enrollment_profile(profile, service, mac(version="13.0"), scep=scep))
    assert identity(plist)["PayloadContent"]["Subject"] == [[["CN", "Mac"]], [["2.5.4.5", "C02ABC123"]]]


@pytest.mark.skipif(shutil.which("plistutil") is None, reason="plistutil (libplist) is not installed")
def test_plistutil_reads_it(
    profile: EnrollmentProfile, service: MdmService, acme: AcmeIssuer, root_der: bytes, tmp_path: Path
) -> None:
    """A reader that is not Python's."""
    service = attrs.evolve(service, certificates=[root_der])
    data = build_enrollment_profile(profile, service, mac(), acme=acme)
    source, target = tmp_path / "enroll.mobileconfig", tmp_path / "enroll.bin"
    source.write_bytes(data)
    subprocess.run(["plistutil", "-i", source, "-f", "bin", "-o", target], check=True, capture_output=True)
    assert plistlib.loads(target.read_bytes()) == plistlib.loads(data)
