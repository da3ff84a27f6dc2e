"""A Mac requests its profile and gets it, an order, or a refusal that shows no reason."""

from __future__ import annotations

import base64
import json
import logging
import plistlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest
from tests.cases import each
from tests.enrollment.conftest import (
    ACME,
    ADA,
    HOST,
    LEGACY,
    MACHINE,
    MODERN,
    PROFILE,
    SCEP,
    Organization,
    identity_of,
    payloads_of,
)

from pyade.core.fleet.device import Device, DeviceFamily, OpType
from pyade.core.fleet.enrollment import OneTimeKind, Registration, digest_of
from pyade.core.macos.identity import IdentityKind, IdentityPolicy
from pyade.core.macos.updates import BetaProgram, Latest, SoftwareUpdatePolicy, UpdateCatalogue
from pyade.core.profile.accounts import User
from pyade.core.profile.profile import DefinedProfile
from pyade.enrollment import (
    EnrollmentLimits,
    EnrollmentOutcome,
    EnrollmentRequest,
    EnrollmentResponse,
    FinalConfiguration,
    PlatformSso,
)
from pyade.enrollment.credentials import Credential, serial_number, static
from pyade.errors import PolicyError, ProfileError
from pyade.testing import FrozenClock
from pyade.testing.mac import CmsForm, DeviceAuthority
from pyade.testing.store_examples import NOW, example_token

SERIAL = MACHINE["SERIAL"]
SSO = PlatformSso(
    profile_url=f"https://{HOST}/sso.mobileconfig",
    manifest_url=f"https://{HOST}/sso.plist",
    auth_url=f"https://{HOST}/sso",
    verify=lambda token: ADA if token == "good" else None,
)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def verifier(name: str, password: str) -> User | None:
    return ADA if (name, password) == ("ada", "pass:word") else None


# Enrollment without a user


def test_a_mac_gets_the_profile_of_its_token(organization: Organization) -> None:
    answer = organization.enroll()
    assert answer.headers["Content-Type"] == "application/x-apple-aspen-config"
    assert answer.headers["Cache-Control"] == "no-store"
    payloads = payloads_of(answer)
    assert payloads["com.apple.mdm"]["ServerURL"] == f"https://{HOST}/mdm"
    acme = payloads["com.apple.security.acme"]
    assert acme["PayloadUUID"] == payloads["com.apple.mdm"]["IdentityCertificateUUID"]
    assert (acme["HardwareBound"], acme["Attest"], acme["KeySize"]) == (True, True, 384)
    decision = answer.decision
    assert (decision.outcome, decision.serial_number, decision.token_name) == (
        EnrollmentOutcome.ENROLL,
        SERIAL,
        "hq",
    )
    stored = organization.store.enrollment(SERIAL)
    assert stored is not None
    assert (stored.profile_name, stored.identity, stored.version) == (
        "Standard Mac",
        IdentityKind.ACME,
        "14.1",
    )
    assert (stored.registration, stored.user, stored.awaiting) == (Registration.NOT_NEEDED, None, None)


def test_assigned_profile_takes_precedence_over_the_default(organization: Organization) -> None:
    defined = DefinedProfile(profile_uuid="P1", profile=LEGACY, digest="d", defined_at=NOW)
    organization.store.save_profile("hq", defined)
    organization.add(
        Device(
            serial_number=SERIAL, device_family=DeviceFamily.MAC, profile_uuid="P1", op_type=OpType.MODIFIED
        )
    )
    assert organization.enroll(authenticate=verifier).status == 401
    assert organization.enroll(authorization=basic("ada", "pass:word"), authenticate=verifier).status == 200
    stored = organization.store.enrollment(SERIAL)
    assert stored is not None
    assert (stored.profile_name, stored.profile_uuid, stored.user) == ("Legacy Mac", "P1", ADA)


@pytest.mark.parametrize("form", [CmsForm.APPLE, CmsForm()])
def test_every_form_of_signature_is_accepted(organization: Organization, form: CmsForm) -> None:
    assert organization.enroll(organization.signed(form=form)).status == 200


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"VERSION": "22A380", "OS_VERSION": None}, "scep"),
        ({"VERSION": "22C65", "OS_VERSION": None}, "acme"),
        ({"VERSION": "x", "OS_VERSION": None}, "scep"),
        ({"PRODUCT": "Fridge1,1"}, "scep"),
        ({"PRODUCT": "MacBookPro16,1"}, "acme"),
        ({"PRODUCT": "VirtualMac2,1"}, "acme"),
    ],
)
def test_identity_depends_on_version_and_chip(
    organization: Organization, keys: dict[str, Any], kind: str
) -> None:
    assert identity_of(organization.enroll(organization.signed(**keys)))[0] == kind
    stored = organization.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.identity == IdentityKind(kind.upper())


# Refusals


def _released(organization: Organization) -> None:
    organization.add(Device(serial_number=SERIAL, op_type=OpType.DELETED, op_date=NOW))


def _hidden_here(organization: Organization) -> None:
    organization.store.delete_device("hq", SERIAL, now=organization.clock())


def _without_profile(organization: Organization) -> None:
    organization.store.set_default_profile("hq", None)


REFUSED: dict[str, tuple[Callable[[Organization], object], dict[str, Any], dict[str, Any], str]] = {
    "an unknown serial number": (lambda _: None, {"SERIAL": "UNKNOWN"}, {}, "no stored token has"),
    "a released device": (_released, {}, {}, "released"),
    "a hidden device": (_hidden_here, {}, {}, "hidden here"),
    "a device without a profile": (_without_profile, {}, {}, "no profile"),
    "an iPad": (lambda _: None, {"PRODUCT": "iPad13,18"}, {}, "not a Mac"),
    "one that must be attested and cannot": (
        lambda _: None,
        {"PRODUCT": "MacBookPro16,1"},
        {"identity": IdentityPolicy(require_attestation=True)},
        "attested key",
    ),
    "one that no issuer serves": (lambda _: None, {"OS_VERSION": "13.0"}, {"scep": None}, "SCEP"),
    "one without a license": (lambda _: None, {}, {"is_licensed": lambda _: False}, "has no license"),
    "one that the caller objects to": (lambda _: None, {}, {"check": lambda _: "stolen"}, "stolen"),
    "one that is too old and cannot update": (
        lambda _: None,
        {},
        {"updates": SoftwareUpdatePolicy(minimum="15.0", refuse_older=True)},
        "below the required",
    ),
    "one whose user has not signed in": (
        lambda organization: organization.store.set_default_profile("hq", MODERN), {}, {}, "sign in",
    ),
}  # fmt: skip


def dump(organization: Organization) -> tuple[object, ...]:
    store = organization.store
    return (
        list(store.enrollments()),
        store.one_times(SERIAL),
        list(store.devices("hq", released=None)),
        store.sync_states(),
        store.profiles("hq"),
    )


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_shows_no_reason_and_writes_only_its_record(organization: Organization, case: str) -> None:
    prepare, keys, options, reason = REFUSED[case]
    prepare(organization)
    before = dump(organization)
    answer = organization.enroll(organization.signed(**keys), **options)
    assert answer.status == 403
    assert answer.body == b"This Mac cannot be enrolled. Contact your organization.\n"
    assert reason in answer.decision.reason
    assert dump(organization) == before
    (event,) = organization.events()
    assert event.details["outcome"] == "refuse"
    assert reason in event.details["reason"]
    assert event.serial_number == keys.get("SERIAL", SERIAL)


MALFORMED: dict[str, Callable[[Organization], bytes]] = {
    "nothing": lambda _: b"",
    "an unsigned message": lambda organization: organization.machine(),
    "half of a message": lambda organization: organization.signed()[:-100],
    "a message and more": lambda organization: organization.signed() + b"\0",
    "too much": lambda organization: organization.signed() + bytes(100_000),
    "a signed message without a serial number": lambda organization: organization.signed(SERIAL=None),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_unreadable_request_gets_status_400(organization: Organization, case: str) -> None:
    before = dump(organization)
    answer = organization.enroll(MALFORMED[case](organization))
    assert (answer.status, answer.decision.outcome) == (400, EnrollmentOutcome.MALFORMED)
    assert answer.decision.serial_number == ""
    assert str(answer.decision) == f"unknown Mac: malformed: {answer.decision.reason}"
    assert dump(organization) == before
    (event,) = organization.events()
    assert (event.token_name, event.serial_number) == ("", None)


def test_a_device_of_another_authority_is_not_trusted(organization: Organization) -> None:
    untrusted = DeviceAuthority.generate().issue()
    answer = organization.enroll(untrusted.sign(organization.machine()))
    assert (answer.status, answer.decision.outcome) == (403, EnrollmentOutcome.REFUSE)
    assert answer.decision.serial_number == "", "nothing that it said can be trusted"


def test_mac_of_two_tokens_belongs_to_the_newest(organization: Organization) -> None:
    organization.store.add_token(example_token("other"))
    organization.store.set_default_profile("other", attrs.evolve(PROFILE, name="Other"))
    assigned = NOW + timedelta(days=1)
    organization.add(
        Device(serial_number=SERIAL, device_family=DeviceFamily.MAC, device_assigned_date=assigned),
        token_name="other",
    )
    assert organization.enroll().decision.token_name == "other"


def test_untrusted_input_cannot_forge_log_lines(
    organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    forged = "X\n2026-01-01 root: all is well\u2028\u202e"
    with caplog.at_level(logging.DEBUG, logger="pyade.enrollment"):
        organization.enroll(organization.signed(SERIAL=forged, PRODUCT=forged, VERSION=forged))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pyade.enrollment.")]
    assert lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(("age", "count"), [(364, 0), (366, 1)])
def test_expired_device_certificate_is_reported(
    organization: Organization, authority: DeviceAuthority, age: int, count: int
) -> None:
    """It is not refused: Apple does not say that devices renew in time."""
    device = authority.issue(now=NOW - timedelta(days=age))
    answer = organization.enroll(device.sign(organization.machine()))
    assert answer.status == 200
    assert [problem.setting for problem in answer.decision.problems] == ["device_certificate"] * count
    assert len(organization.events()[-1].details.get("problems", ())) == count


# The same Mac again


def test_a_repeated_request_gets_a_fresh_profile_and_revokes_the_credential_before(
    organization: Organization,
) -> None:
    body = organization.signed()
    kind, first = identity_of(organization.enroll(body))
    _, second = identity_of(organization.enroll(body))
    assert kind == "acme"
    assert first != second
    assert [one.digest for one in organization.store.one_times(SERIAL)] == [digest_of(second)]
    taken = organization.store.take_one_time(
        OneTimeKind.ACME_CLIENT_IDENTIFIER, digest_of(first), now=organization.clock()
    )
    assert taken is None


def test_a_mac_that_changes_its_protocol_revokes_the_other_credential(organization: Organization) -> None:
    organization.enroll()
    _, challenge = identity_of(organization.enroll(organization.signed(OS_VERSION="12.6", VERSION="21G115")))
    assert [one.digest for one in organization.store.one_times(SERIAL)] == [digest_of(challenge)]


def test_serial_number_gets_a_limited_number_of_profiles(organization: Organization) -> None:
    limits = EnrollmentLimits(profiles=3, window=timedelta(hours=1))
    for _ in range(3):
        assert organization.enroll(limits=limits).status == 200
        organization.later(minutes=10)
    answer = organization.enroll(limits=limits)
    assert (answer.status, answer.decision.outcome) == (429, EnrollmentOutcome.LIMITED)
    assert answer.headers["Retry-After"] == str(30 * 60)
    organization.later(minutes=29, seconds=59)
    assert organization.enroll(limits=limits).headers["Retry-After"] == "1"
    assert organization.later(seconds=1).enroll(limits=limits).status == 200
    assert organization.enroll(limits=limits).status == 429


def test_a_clock_that_was_set_back_blocks_no_mac(organization: Organization) -> None:
    limits = EnrollmentLimits(profiles=1)
    organization.enroll(limits=limits)
    organization.clock = FrozenClock(NOW - timedelta(days=30))
    assert organization.enroll(limits=limits).status == 200


def test_credential_is_stored_as_long_as_the_source_says(organization: Organization) -> None:
    source = lambda _: Credential(secret="s" * 40, lifetime=timedelta(minutes=5))  # noqa: E731
    assert identity_of(organization.enroll(acme_credential=source)) == ("acme", "s" * 40)
    (kept,) = organization.store.one_times(SERIAL)
    assert kept.expires_at == NOW + timedelta(minutes=5)
    assert kept.value["attest"] is True


def test_externally_checked_credential_is_not_stored(organization: Organization) -> None:
    assert identity_of(organization.enroll(acme_credential=static("shared"))) == ("acme", "shared")
    assert not organization.store.one_times(SERIAL)


def test_serial_number_as_client_identifier_is_stored_like_any_other(organization: Organization) -> None:
    assert identity_of(organization.enroll(acme_credential=serial_number)) == ("acme", SERIAL)
    (kept,) = organization.store.one_times(SERIAL)
    assert (kept.digest, kept.expires_at) == (digest_of(SERIAL), NOW + timedelta(hours=1))
    organization.run(lambda service: service.renew(SERIAL), acme_credential=serial_number)
    (kept,) = organization.store.one_times(SERIAL)
    assert (kept.digest, kept.expires_at) == (digest_of(SERIAL), NOW + timedelta(days=30))


# Users


def test_legacy_authentication_requests_name_and_password(organization: Organization) -> None:
    organization.store.set_default_profile("hq", LEGACY)
    for authorization in (None, "Basic", "Basic !!", basic("ada", "wrong"), basic("", "x"), "Bearer good"):
        answer = organization.enroll(authorization=authorization, authenticate=verifier)
        assert (answer.status, answer.decision.outcome) == (401, EnrollmentOutcome.SIGN_IN)
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert not list(organization.store.enrollments())
    answer = organization.enroll(authorization=basic("ada", "pass:word"), authenticate=verifier)
    assert (answer.status, answer.decision.user) == (200, ADA.upn)
    stored = organization.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.registration is Registration.PENDING


def test_below_10_15_modern_falls_back_to_legacy(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    old = organization.signed(OS_VERSION=None, VERSION="18G103", PRODUCT="MacBookPro15,1")
    assert organization.enroll(old, authenticate=verifier).status == 401
    assert (
        organization.enroll(old, authorization=basic("ada", "pass:word"), authenticate=verifier).status == 200
    )


@pytest.mark.twins
def test_hooks_may_be_coroutine_functions_for_the_asynchronous_service(organization: Organization) -> None:
    organization.store.set_default_profile("hq", LEGACY)

    async def authenticate(name: str, password: str) -> User | None:
        return verifier(name, password)

    def call() -> EnrollmentResponse:
        return organization.enroll(authorization=basic("ada", "pass:word"), authenticate=authenticate)

    if organization.kind == "sync":
        with pytest.raises(PolicyError, match="authenticate is asynchronous"):
            call()
    else:
        assert call().status == 200


def test_device_enrollment_manager_cannot_enroll(organization: Organization) -> None:
    organization.store.set_default_profile("hq", LEGACY)
    manager = attrs.evolve(ADA, is_enrollment_manager=True)
    answer = organization.enroll(authorization=basic("ada", "x"), authenticate=lambda *_: manager)
    assert answer.status == 403
    assert "enrollment manager" in answer.decision.reason


@pytest.mark.parametrize("profile", [PROFILE, LEGACY])
def test_the_license_is_the_users_or_the_devices(organization: Organization, profile: Any) -> None:
    organization.store.set_default_profile("hq", profile)
    asked: list[EnrollmentRequest] = []

    def is_licensed(request: EnrollmentRequest) -> bool:
        asked.append(request)
        return False

    answer = organization.enroll(
        authorization=basic("ada", "pass:word"), authenticate=verifier, is_licensed=is_licensed
    )
    whose = "the device" if profile is PROFILE else "the user"
    assert answer.decision.reason == f"{whose} has no license"
    (request,) = asked
    assert (request.user, request.record.serial_number) == (None if profile is PROFILE else ADA, SERIAL)


# The web view


def test_a_user_signs_in_and_the_profile_is_released_once(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    answer = organization.open()
    assert (answer.status, answer.decision.outcome) == (302, EnrollmentOutcome.SIGN_IN)
    (state,) = organization.identity.states
    assert answer.headers["Location"].endswith(state)
    assert state not in str(answer.decision)
    assert [one.digest for one in organization.store.one_times(SERIAL)] == [digest_of(state)]
    answer = organization.later(minutes=5).close(state)
    assert payloads_of(answer)["com.apple.mdm"]
    assert (answer.decision.user, answer.decision.registration) == (ADA.upn, "pending")
    again = organization.close(state)
    assert (again.status, "used before" in again.decision.reason) == (403, True)
    assert [one.kind for one in organization.store.one_times(SERIAL)] == [OneTimeKind.ACME_CLIENT_IDENTIFIER]


def test_a_sign_in_expires(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    organization.open(limits=EnrollmentLimits(sign_in_lifetime=timedelta(minutes=10)))
    answer = organization.later(minutes=10).close(organization.identity.states[0])
    assert (answer.status, "expired" in answer.decision.reason) == (403, True)
    assert not list(organization.store.enrollments())


def test_sign_in_must_end_on_the_host_where_it_began(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    organization.open(host=HOST.upper())
    answer = organization.close(organization.identity.states[0], host=f"evil.{HOST}")
    assert (answer.status, "started on" in answer.decision.reason) == (403, True)
    assert organization.open(host=f"other.{HOST}").status == 403
    assert organization.close("never given").status == 403
    assert not list(organization.store.enrollments())


def test_sign_in_is_valid_for_the_mac_that_began_it(organization: Organization) -> None:
    """The sender of the state gets that Mac's profile, whatever serial number it claims."""
    organization.store.set_default_profile("hq", MODERN)
    organization.add(Device(serial_number="C02TEST00002", device_family=DeviceFamily.MAC))
    organization.open(organization.header(SERIAL="C02TEST00002"))
    answer = organization.close(organization.identity.states[0])
    assert answer.decision.serial_number == "C02TEST00002"
    assert organization.store.enrollment(SERIAL) is None


def test_admission_is_checked_again_after_the_sign_in(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    for _ in range(2):
        organization.open()
    _released(organization)
    assert "released" in organization.close(organization.identity.states[0]).decision.reason
    manager = attrs.evolve(ADA, is_enrollment_manager=True)
    assert organization.close(organization.identity.states[1], manager).status == 403


def test_mac_has_a_limited_number_of_open_sign_ins(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    limits = EnrollmentLimits(sign_ins=2)
    for _ in range(3):
        organization.open(limits=limits)
        organization.later(seconds=1)
    assert [organization.close(state).status for state in organization.identity.states] == [403, 200, 200]


def test_web_view_without_its_header_gets_a_readable_page(organization: Organization) -> None:
    answer = organization.run(lambda service: service.open_web_view(None, host=HOST))
    assert (answer.status, answer.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert b"Setup Assistant" in answer.body
    assert organization.open("no base64").status == 400


def test_profile_that_no_longer_needs_a_user_is_given_immediately(organization: Organization) -> None:
    answer = organization.open()
    assert (answer.status, answer.decision.user) == (200, "")
    assert not organization.identity.states


def test_without_an_identity_provider_no_user_signs_in(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    assert "sign_in=" in organization.open(sign_in=None).decision.reason


# Orders


UPDATES = SoftwareUpdatePolicy(minimum="15.1", build="24B83")
CAN: dict[str, Any] = {"MDM_CAN_REQUEST_SOFTWARE_UPDATE": True, "SOFTWARE_UPDATE_DEVICE_ID": "J413AP"}


def test_outdated_mac_is_ordered_to_update_in_both_flows(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    before = dump(organization)
    for answer in (
        organization.enroll(organization.signed(**CAN), updates=UPDATES),
        organization.open(organization.header(**CAN), updates=UPDATES),
    ):
        assert (answer.status, answer.headers["Content-Type"]) == (403, "application/json")
        body = json.loads(answer.body)
        assert body["code"] == "com.apple.softwareupdate.required"
        assert body["details"] == {"OSVersion": "15.1", "BuildVersion": "24B83"}
        assert answer.decision.outcome is EnrollmentOutcome.UPDATE
    assert dump(organization) == before
    organization.store.set_default_profile("hq", PROFILE)
    updated = organization.signed(**CAN, OS_VERSION="15.1", VERSION="24B83")
    assert organization.enroll(updated, updates=UPDATES).status == 200


def test_only_a_mac_that_supports_updates_is_ordered_to_update(organization: Organization) -> None:
    assert organization.enroll(updates=UPDATES).status == 200


def test_catalogue_decides_which_versions_can_be_required(organization: Organization) -> None:
    entry = {"ProductVersion": "15.3", "Build": "24D60", "SupportedDevices": ["J413AP"]}
    catalogue = UpdateCatalogue.from_pmv({"PublicAssetSets": {"macOS": [entry]}})
    policy = SoftwareUpdatePolicy(latest=Latest.ANY)
    response = organization.enroll(organization.signed(**CAN), updates=policy, catalogue=lambda: catalogue)
    assert json.loads(response.body)["details"]["OSVersion"] == "15.3"
    other = organization.signed(**{**CAN, "SOFTWARE_UPDATE_DEVICE_ID": "J999AP"})
    assert organization.enroll(other, updates=policy, catalogue=lambda: catalogue).status == 200


def test_token_of_a_beta_program_is_only_in_the_response(organization: Organization) -> None:
    program = BetaProgram(description="Seeds", token="secret-of-the-program")
    policy = SoftwareUpdatePolicy(minimum="26.4", beta_program=program)
    answer = organization.enroll(
        organization.signed(**CAN, OS_VERSION="14.6", VERSION="23G80"), updates=policy
    )
    details = json.loads(answer.body)["details"]
    assert details["RequireBetaProgram"]["Token"] == "secret-of-the-program"
    assert "secret-of-the-program" not in repr(answer) + str(organization.events())


def test_platform_sso_is_ordered_first_and_its_token_is_the_sign_in(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    first = organization.enroll(
        organization.signed(MDM_CAN_REQUEST_PSSO_CONFIG=True, OS_VERSION="26.0"), platform_sso=SSO
    )
    assert (first.status, first.decision.outcome) == (403, EnrollmentOutcome.PLATFORM_SSO)
    body = json.loads(first.body)
    assert (body["code"], body["details"]["AuthURL"]) == ("com.apple.psso.required", SSO.auth_url)
    again = organization.signed(OS_VERSION="26.0")
    assert organization.enroll(again, authorization="Bearer bad", platform_sso=SSO).status == 403
    answer = organization.enroll(again, authorization="Bearer good", platform_sso=SSO)
    assert (answer.status, answer.decision.user) == (200, ADA.upn)
    assert (
        organization.enroll(organization.signed(MDM_CAN_REQUEST_PSSO_CONFIG=True)).decision.outcome
        is EnrollmentOutcome.REFUSE
    )


# After the enrollment


@pytest.mark.twins
def test_renewal_keeps_the_identity_type(organization: Organization) -> None:
    organization.enroll(organization.signed(OS_VERSION="12.6", VERSION="21G115"))
    answer = organization.run(lambda service: service.renew(SERIAL, version="15.1"))
    kind, challenge = identity_of(answer)
    assert (kind, answer.decision.outcome) == ("scep", EnrollmentOutcome.RENEW)
    assert [one.digest for one in organization.store.one_times(SERIAL)] == [digest_of(challenge)]
    assert (
        identity_of(organization.enroll(organization.signed(OS_VERSION="15.1", VERSION="24B83")))[0] == "acme"
    )
    assert identity_of(organization.run(lambda service: service.renew(SERIAL)))[0] == "acme"
    with pytest.raises(PolicyError, match="enrolled with ACME and must keep it"):
        organization.run(lambda service: service.renew(SERIAL), acme=None)
    organization.add(Device(serial_number="NEW"))
    with pytest.raises(PolicyError, match="not enrolled"):
        organization.run(lambda service: service.renew("NEW"))
    with pytest.raises(PolicyError, match="no stored token"):
        organization.run(lambda service: service.renew("UNKNOWN"))


@pytest.mark.twins
def test_renewal_reports_kept_values_and_reasons(organization: Organization) -> None:
    organization.enroll(organization.signed(OS_VERSION="12.6", VERSION="21G115"))
    answer = organization.run(lambda service: service.renew(SERIAL, version="15.1"))
    assert answer.decision.reason.startswith(
        "the Mac keeps SCEP, with which it enrolled; if it enrolled again"
    )
    assert organization.events()[-1].details["reason"] == answer.decision.reason
    organization.enroll()
    answer = organization.run(lambda service: service.renew(SERIAL), identity=IdentityPolicy(scep_only=True))
    assert identity_of(answer)[0] == "acme"
    assert "scep_only is for Macs that enroll" in answer.decision.reason
    for policy in (IdentityPolicy(require_attestation=True), IdentityPolicy(acme_only_attested=True)):
        organization.enroll(organization.signed(PRODUCT="iMac19,1"))
        with pytest.raises(
            PolicyError, match=r"enrolled with ACME and must keep it: the policy .* no Secure Enclave"
        ):
            organization.run(lambda service: service.renew(SERIAL), identity=policy)


@pytest.mark.twins
def test_problems_stay_with_the_mac_until_its_next_profile(organization: Organization) -> None:
    def problems() -> list[tuple[str, str]]:
        stored = organization.store.enrollment(SERIAL)
        return [(one.setting, one.value) for one in stored.problems] if stored else []

    organization.enroll(organization.signed(PRODUCT="Mac14,2x"))
    assert problems() == [("product", "Mac14,2x")]
    organization.run(lambda service: service.renew(SERIAL))
    assert problems() == [("product", "Mac14,2x")]
    organization.enroll(organization.signed(VERSION="99A1", OS_VERSION=None))
    assert problems() == [("version", "99A1")]
    organization.run(lambda service: service.renew(SERIAL, version="15.1"))
    assert problems() == []
    organization.enroll(organization.signed(PRODUCT="Macmini8,1"))
    assert problems() == [("product", "Macmini8,1")]  # Apple's record says MacBook Air
    organization.enroll()
    assert problems() == []


def test_refusal_of_an_unknown_model_reports_the_model_as_unknown(organization: Organization) -> None:
    new = organization.signed(PRODUCT="Mac99x,1")
    refused = organization.enroll(new, identity=IdentityPolicy(require_attestation=True))
    assert refused.status == 403
    assert [(one.setting, one.value) for one in refused.decision.problems] == [("product", "Mac99x,1")]
    assert "a model of a Mac that pyade knows" in organization.events()[-1].details["problems"][0]


@pytest.mark.twins
def test_acme_only_attested_gives_scep_to_all_others(organization: Organization) -> None:
    policy = IdentityPolicy(acme_only_attested=True)
    assert identity_of(organization.enroll(identity=policy))[0] == "acme"
    others: list[dict[str, Any]] = [
        {"PRODUCT": "MacBookPro16,1"},
        {"PRODUCT": "iMac19,1"},
        {"OS_VERSION": "13.6"},
    ]
    for words in others:
        answer = organization.enroll(organization.signed(**words), identity=policy)
        assert identity_of(answer)[0] == "scep"
        assert answer.decision.reason.startswith("the policy wants ACME for attested keys alone")
    bound = attrs.evolve(ACME, accepts_unattested=True)
    assert identity_of(
        organization.enroll(organization.signed(PRODUCT="MacBookPro16,1"), identity=policy, acme=bound)
    )[0] == ("scep")


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        ({"acme_only_attested": True}, "scep"),
        ({"acme_only_attested": True}, "acme"),
        ({"scep_only": True}, "scep"),
        ({"require_attestation": True}, "acme"),
    ],
)
def test_policy_with_a_missing_issuer_is_refused_at_creation(
    organization: Organization, policy: dict[str, bool], missing: str
) -> None:
    with pytest.raises(PolicyError, match=f"identity has {next(iter(policy))}.*give {missing}="):
        organization.service(identity=IdentityPolicy(**policy), **{missing: None})


def test_forged_request_does_not_change_the_renewal_of_an_enrolled_mac(organization: Organization) -> None:
    organization.enroll()
    FinalConfiguration(organization.store, clock=organization.clock).authenticated(SERIAL)
    forged = organization.signed(PRODUCT="iMac14,1", VERSION="21G115", OS_VERSION="12.6", UDID="another")
    assert identity_of(organization.enroll(forged))[0] == "scep"
    renewed = payloads_of(organization.run(lambda service: service.renew(SERIAL)))["com.apple.security.acme"]
    assert (renewed["HardwareBound"], renewed["Attest"]) == (True, True)


def test_renewals_do_not_count_against_the_limit_of_the_mac(organization: Organization) -> None:
    limits = EnrollmentLimits(profiles=2)
    organization.enroll(limits=limits)
    for _ in range(3):
        assert organization.run(lambda service: service.renew(SERIAL), limits=limits).status == 200
    assert organization.enroll(limits=limits).status == 200


@pytest.mark.twins
def test_registration_is_pending_until_it_is_reported(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    organization.open()
    organization.close(organization.identity.states[0])
    pending = [one.serial_number for one in organization.store.enrollments(registration=Registration.PENDING)]
    assert pending == [SERIAL]
    organization.later(hours=1)
    for _ in range(2):
        organization.run(lambda service: service.registration_completed(SERIAL))
    assert not list(organization.store.enrollments(registration=Registration.PENDING))
    stored = organization.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.registered_at == NOW + timedelta(hours=1)
    done = [event for event in organization.store.events() if event.kind == "registration_completed"]
    assert [(event.serial_number, event.details) for event in done] == [(SERIAL, {"user": ADA.upn})]
    with pytest.raises(PolicyError, match="not enrolled"):
        organization.run(lambda service: service.registration_completed("UNKNOWN"))


@pytest.mark.twins
def test_a_registration_names_the_user_of_the_profile_that_was_installed(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    organization.open()
    organization.close(organization.identity.states[-1])
    FinalConfiguration(organization.store, clock=organization.clock).authenticated(SERIAL)
    organization.open()
    organization.close(organization.identity.states[-1], User(upn="eve@contoso.example"))
    organization.run(lambda service: service.registration_completed(SERIAL))
    done = [event.details for event in organization.store.events() if event.kind == "registration_completed"]
    assert done == [{"user": ADA.upn}]


@pytest.mark.twins
def test_a_forged_request_does_not_change_the_registration_of_an_enrolled_mac(
    organization: Organization,
) -> None:
    organization.store.set_default_profile("hq", MODERN)
    organization.open()
    organization.close(organization.identity.states[-1])
    final = FinalConfiguration(organization.store, clock=organization.clock)
    final.authenticated(SERIAL)

    def registration() -> tuple[str, Any]:
        stored = organization.store.enrollment(SERIAL)
        assert stored is not None
        return stored.registration, stored.registered_at

    organization.store.set_default_profile("hq", PROFILE)
    assert organization.enroll().decision.registration == "not needed"  # of the requested profile
    assert registration() == ("pending", None)
    organization.store.set_default_profile("hq", MODERN)
    organization.run(lambda service: service.registration_completed(SERIAL))
    organization.later(seconds=1).open()
    forged = organization.close(organization.identity.states[-1], User(upn="eve@contoso.example"))
    assert forged.decision.registration == "pending"
    assert registration() == ("complete", NOW)
    renewed = organization.run(lambda service: service.renew(SERIAL))
    assert renewed.decision.registration == "complete"
    assert registration() == ("complete", NOW)
    # It was the Mac itself: it is erased, and enrolls again.
    final.authenticated(SERIAL)
    assert registration() == ("pending", None)


@pytest.mark.twins
def test_late_or_repeated_authenticate_does_not_undo_a_registration(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    organization.open()
    organization.close(organization.identity.states[-1])
    final = FinalConfiguration(organization.store, clock=organization.clock)
    organization.later(minutes=5).run(lambda service: service.registration_completed(SERIAL))
    for _ in range(2):
        final.authenticated(SERIAL)
        stored = organization.store.enrollment(SERIAL)
        assert stored is not None
        assert (stored.registration, stored.installed) == (Registration.COMPLETE, stored.newest)


def test_newest_profile_counts_after_a_check_out(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    organization.open()
    organization.close(organization.identity.states[-1])
    final = FinalConfiguration(organization.store, clock=organization.clock)
    final.authenticated(SERIAL)
    organization.run(lambda service: service.registration_completed(SERIAL))
    final.received(SERIAL, plistlib.dumps({"MessageType": "CheckOut", "UDID": "A"}))
    gone = organization.store.enrollment(SERIAL)
    assert gone is not None
    assert (gone.installed, gone.registration) == (None, Registration.COMPLETE)
    organization.open()
    organization.close(organization.identity.states[-1])
    pending = [one.serial_number for one in organization.store.enrollments(registration=Registration.PENDING)]
    assert pending == [SERIAL]


def test_profile_that_holds_the_mac_starts_the_wait(organization: Organization) -> None:
    organization.store.set_default_profile("hq", attrs.evolve(PROFILE, await_final_configuration=True))
    organization.enroll()
    stored = organization.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.awaiting is not None
    assert stored.awaiting["phase"] == "not awaiting"


# Arguments of the service


def test_issuer_is_required(organization: Organization) -> None:
    with pytest.raises(PolicyError, match="acme=, scep="):
        organization.service(acme=None, scep=None)


def test_release_after_must_be_positive(organization: Organization) -> None:
    with pytest.raises(PolicyError, match="release_after"):
        organization.service(release_after=timedelta(0))


def test_profile_that_cannot_be_made_stores_nothing(organization: Organization) -> None:
    broken = attrs.evolve(ACME, directory_url="http://plain.example")
    with pytest.raises(ProfileError, match="DirectoryURL"):
        organization.enroll(acme=broken)
    assert not list(organization.store.enrollments())
    assert not organization.store.one_times(SERIAL)


@each("wrong", [{"profiles": 0}, {"sign_ins": 0}, {"window": timedelta(0)}])
def test_invalid_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=next(iter(wrong))):
        EnrollmentLimits(**wrong)


def test_a_plain_scep_server_serves_every_mac(organization: Organization) -> None:
    assert identity_of(organization.enroll(acme=None, scep=SCEP))[0] == "scep"
