"""A Mac asks for its profile and gets it, an order, or a refusal that shows no reason."""

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
    Desk,
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


# The plain flow


def test_a_mac_gets_the_profile_of_its_token(desk: Desk) -> None:
    answer = desk.enroll()
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
    stored = desk.store.enrollment(SERIAL)
    assert stored is not None
    assert (stored.profile_name, stored.identity, stored.version) == (
        "Standard Mac",
        IdentityKind.ACME,
        "14.1",
    )
    assert (stored.registration, stored.user, stored.awaiting) == (Registration.NOT_NEEDED, None, None)


def test_the_assigned_profile_comes_before_the_default(desk: Desk) -> None:
    defined = DefinedProfile(profile_uuid="P1", profile=LEGACY, digest="d", defined_at=NOW)
    desk.store.save_profile("hq", defined)
    desk.add(
        Device(
            serial_number=SERIAL, device_family=DeviceFamily.MAC, profile_uuid="P1", op_type=OpType.MODIFIED
        )
    )
    assert desk.enroll(authenticate=verifier).status == 401
    assert desk.enroll(authorization=basic("ada", "pass:word"), authenticate=verifier).status == 200
    stored = desk.store.enrollment(SERIAL)
    assert stored is not None
    assert (stored.profile_name, stored.profile_uuid, stored.user) == ("Legacy Mac", "P1", ADA)


@pytest.mark.parametrize("form", [CmsForm.APPLE, CmsForm()])
def test_every_form_of_signature_is_taken(desk: Desk, form: CmsForm) -> None:
    assert desk.enroll(desk.signed(form=form)).status == 200


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
def test_the_identity_follows_version_and_chip(desk: Desk, keys: dict[str, Any], kind: str) -> None:
    assert identity_of(desk.enroll(desk.signed(**keys)))[0] == kind
    stored = desk.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.identity == IdentityKind(kind.upper())


# Who may not


def _released(desk: Desk) -> None:
    desk.add(Device(serial_number=SERIAL, op_type=OpType.DELETED, op_date=NOW))


def _hidden_here(desk: Desk) -> None:
    desk.store.delete_device("hq", SERIAL, now=desk.clock())


def _without_profile(desk: Desk) -> None:
    desk.store.set_default_profile("hq", None)


REFUSED: dict[str, tuple[Callable[[Desk], object], dict[str, Any], dict[str, Any], str]] = {
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
        lambda desk: desk.store.set_default_profile("hq", MODERN), {}, {}, "sign in",
    ),
}  # fmt: skip


def dump(desk: Desk) -> tuple[object, ...]:
    store = desk.store
    return (
        list(store.enrollments()),
        store.one_times(SERIAL),
        list(store.devices("hq", released=None)),
        store.sync_states(),
        store.profiles("hq"),
    )


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_nothing_and_changes_nothing_but_the_record(desk: Desk, case: str) -> None:
    prepare, keys, options, reason = REFUSED[case]
    prepare(desk)
    before = dump(desk)
    answer = desk.enroll(desk.signed(**keys), **options)
    assert answer.status == 403
    assert answer.body == b"This Mac cannot be enrolled. Contact your organization.\n"
    assert reason in answer.decision.reason
    assert dump(desk) == before
    (event,) = desk.events()
    assert event.details["outcome"] == "refuse"
    assert reason in event.details["reason"]
    assert event.serial_number == keys.get("SERIAL", SERIAL)


MALFORMED: dict[str, Callable[[Desk], bytes]] = {
    "nothing": lambda _: b"",
    "an unsigned message": lambda desk: desk.machine(),
    "half of a message": lambda desk: desk.signed()[:-100],
    "a message and more": lambda desk: desk.signed() + b"\0",
    "too much": lambda desk: desk.signed() + bytes(100_000),
    "a signed message without a serial number": lambda desk: desk.signed(SERIAL=None),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_cannot_be_read_is_answered_so(desk: Desk, case: str) -> None:
    before = dump(desk)
    answer = desk.enroll(MALFORMED[case](desk))
    assert (answer.status, answer.decision.outcome) == (400, EnrollmentOutcome.MALFORMED)
    assert answer.decision.serial_number == ""
    assert str(answer.decision) == f"unknown Mac: malformed: {answer.decision.reason}"
    assert dump(desk) == before
    (event,) = desk.events()
    assert (event.token_name, event.serial_number) == ("", None)


def test_a_device_of_another_authority_is_not_trusted(desk: Desk) -> None:
    untrusted = DeviceAuthority.generate().issue()
    answer = desk.enroll(untrusted.sign(desk.machine()))
    assert (answer.status, answer.decision.outcome) == (403, EnrollmentOutcome.REFUSE)
    assert answer.decision.serial_number == "", "nothing that it said can be trusted"


def test_a_mac_of_two_tokens_belongs_to_the_newest(desk: Desk) -> None:
    desk.store.add_token(example_token("other"))
    desk.store.set_default_profile("other", attrs.evolve(PROFILE, name="Other"))
    assigned = NOW + timedelta(days=1)
    desk.add(
        Device(serial_number=SERIAL, device_family=DeviceFamily.MAC, device_assigned_date=assigned),
        token_name="other",
    )
    assert desk.enroll().decision.token_name == "other"


def test_untrusted_input_stays_in_its_line_of_the_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    forged = "X\n2026-01-01 root: all is well\u2028\u202e"
    with caplog.at_level(logging.DEBUG, logger="pyade.enrollment"):
        desk.enroll(desk.signed(SERIAL=forged, PRODUCT=forged, VERSION=forged))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("pyade.enrollment.")]
    assert told
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize(("age", "count"), [(364, 0), (366, 1)])
def test_a_device_certificate_that_has_ended_is_reported(
    desk: Desk, authority: DeviceAuthority, age: int, count: int
) -> None:
    """It is not refused: Apple does not say that devices renew in time."""
    device = authority.issue(now=NOW - timedelta(days=age))
    answer = desk.enroll(device.sign(desk.machine()))
    assert answer.status == 200
    assert [problem.setting for problem in answer.decision.problems] == ["device_certificate"] * count
    assert len(desk.events()[-1].details.get("problems", ())) == count


# The same Mac again


def test_a_repeated_request_gets_a_fresh_profile_and_revokes_the_credential_before(desk: Desk) -> None:
    body = desk.signed()
    kind, first = identity_of(desk.enroll(body))
    _, second = identity_of(desk.enroll(body))
    assert kind == "acme"
    assert first != second
    assert [one.digest for one in desk.store.one_times(SERIAL)] == [digest_of(second)]
    taken = desk.store.take_one_time(OneTimeKind.ACME_CLIENT_IDENTIFIER, digest_of(first), now=desk.clock())
    assert taken is None


def test_a_mac_that_changes_its_protocol_revokes_the_other_credential(desk: Desk) -> None:
    desk.enroll()
    _, challenge = identity_of(desk.enroll(desk.signed(OS_VERSION="12.6", VERSION="21G115")))
    assert [one.digest for one in desk.store.one_times(SERIAL)] == [digest_of(challenge)]


def test_a_serial_number_gets_so_many_profiles_and_no_more(desk: Desk) -> None:
    limits = EnrollmentLimits(profiles=3, window=timedelta(hours=1))
    for _ in range(3):
        assert desk.enroll(limits=limits).status == 200
        desk.later(minutes=10)
    answer = desk.enroll(limits=limits)
    assert (answer.status, answer.decision.outcome) == (429, EnrollmentOutcome.LIMITED)
    assert answer.headers["Retry-After"] == str(30 * 60)
    desk.later(minutes=29, seconds=59)
    assert desk.enroll(limits=limits).headers["Retry-After"] == "1"
    assert desk.later(seconds=1).enroll(limits=limits).status == 200
    assert desk.enroll(limits=limits).status == 429


def test_a_clock_that_was_set_back_blocks_no_mac(desk: Desk) -> None:
    limits = EnrollmentLimits(profiles=1)
    desk.enroll(limits=limits)
    desk.clock = FrozenClock(NOW - timedelta(days=30))
    assert desk.enroll(limits=limits).status == 200


def test_what_expires_is_kept_as_long_as_the_source_says(desk: Desk) -> None:
    source = lambda _: Credential(secret="s" * 40, lifetime=timedelta(minutes=5))  # noqa: E731
    assert identity_of(desk.enroll(acme_credential=source)) == ("acme", "s" * 40)
    (kept,) = desk.store.one_times(SERIAL)
    assert kept.expires_at == NOW + timedelta(minutes=5)
    assert kept.value["attest"] is True


def test_what_others_check_is_not_kept(desk: Desk) -> None:
    assert identity_of(desk.enroll(acme_credential=static("shared"))) == ("acme", "shared")
    assert not desk.store.one_times(SERIAL)


def test_a_serial_number_as_client_identifier_is_kept_like_any_other(desk: Desk) -> None:
    assert identity_of(desk.enroll(acme_credential=serial_number)) == ("acme", SERIAL)
    (kept,) = desk.store.one_times(SERIAL)
    assert (kept.digest, kept.expires_at) == (digest_of(SERIAL), NOW + timedelta(hours=1))
    desk.run(lambda service: service.renew(SERIAL), acme_credential=serial_number)
    (kept,) = desk.store.one_times(SERIAL)
    assert (kept.digest, kept.expires_at) == (digest_of(SERIAL), NOW + timedelta(days=30))


# Users


def test_legacy_asks_for_name_and_password(desk: Desk) -> None:
    desk.store.set_default_profile("hq", LEGACY)
    for authorization in (None, "Basic", "Basic !!", basic("ada", "wrong"), basic("", "x"), "Bearer good"):
        answer = desk.enroll(authorization=authorization, authenticate=verifier)
        assert (answer.status, answer.decision.outcome) == (401, EnrollmentOutcome.SIGN_IN)
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert not list(desk.store.enrollments())
    answer = desk.enroll(authorization=basic("ada", "pass:word"), authenticate=verifier)
    assert (answer.status, answer.decision.user) == (200, ADA.upn)
    stored = desk.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.registration is Registration.PENDING


def test_below_10_15_modern_falls_back_to_legacy(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    old = desk.signed(OS_VERSION=None, VERSION="18G103", PRODUCT="MacBookPro15,1")
    assert desk.enroll(old, authenticate=verifier).status == 401
    assert desk.enroll(old, authorization=basic("ada", "pass:word"), authenticate=verifier).status == 200


@pytest.mark.twins
def test_hooks_may_be_coroutine_functions_for_the_asynchronous_service(desk: Desk) -> None:
    desk.store.set_default_profile("hq", LEGACY)

    async def authenticate(name: str, password: str) -> User | None:
        return verifier(name, password)

    def call() -> EnrollmentResponse:
        return desk.enroll(authorization=basic("ada", "pass:word"), authenticate=authenticate)

    if desk.kind == "sync":
        with pytest.raises(PolicyError, match="authenticate is asynchronous"):
            call()
    else:
        assert call().status == 200


def test_a_device_enrollment_manager_enrolls_nothing(desk: Desk) -> None:
    desk.store.set_default_profile("hq", LEGACY)
    manager = attrs.evolve(ADA, is_enrollment_manager=True)
    answer = desk.enroll(authorization=basic("ada", "x"), authenticate=lambda *_: manager)
    assert answer.status == 403
    assert "enrollment manager" in answer.decision.reason


@pytest.mark.parametrize("profile", [PROFILE, LEGACY])
def test_the_license_is_the_users_or_the_devices(desk: Desk, profile: Any) -> None:
    desk.store.set_default_profile("hq", profile)
    asked: list[EnrollmentRequest] = []

    def is_licensed(request: EnrollmentRequest) -> bool:
        asked.append(request)
        return False

    answer = desk.enroll(
        authorization=basic("ada", "pass:word"), authenticate=verifier, is_licensed=is_licensed
    )
    whose = "the device" if profile is PROFILE else "the user"
    assert answer.decision.reason == f"{whose} has no license"
    (request,) = asked
    assert (request.user, request.record.serial_number) == (None if profile is PROFILE else ADA, SERIAL)


# The web view


def test_a_user_signs_in_and_the_profile_is_released_once(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    answer = desk.open()
    assert (answer.status, answer.decision.outcome) == (302, EnrollmentOutcome.SIGN_IN)
    (state,) = desk.identity.states
    assert answer.headers["Location"].endswith(state)
    assert state not in str(answer.decision)
    assert [one.digest for one in desk.store.one_times(SERIAL)] == [digest_of(state)]
    answer = desk.later(minutes=5).close(state)
    assert payloads_of(answer)["com.apple.mdm"]
    assert (answer.decision.user, answer.decision.registration) == (ADA.upn, "pending")
    again = desk.close(state)
    assert (again.status, "used before" in again.decision.reason) == (403, True)
    assert [one.kind for one in desk.store.one_times(SERIAL)] == [OneTimeKind.ACME_CLIENT_IDENTIFIER]


def test_a_sign_in_expires(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    desk.open(limits=EnrollmentLimits(sign_in_lifetime=timedelta(minutes=10)))
    answer = desk.later(minutes=10).close(desk.identity.states[0])
    assert (answer.status, "expired" in answer.decision.reason) == (403, True)
    assert not list(desk.store.enrollments())


def test_a_sign_in_ends_where_it_began(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    desk.open(host=HOST.upper())
    answer = desk.close(desk.identity.states[0], host=f"evil.{HOST}")
    assert (answer.status, "started on" in answer.decision.reason) == (403, True)
    assert desk.open(host=f"other.{HOST}").status == 403
    assert desk.close("never given").status == 403
    assert not list(desk.store.enrollments())


def test_a_sign_in_of_one_mac_is_for_that_mac(desk: Desk) -> None:
    """The sender of the state gets the profile of the Mac that began, whatever it claims."""
    desk.store.set_default_profile("hq", MODERN)
    desk.add(Device(serial_number="C02TEST00002", device_family=DeviceFamily.MAC))
    desk.open(desk.header(SERIAL="C02TEST00002"))
    answer = desk.close(desk.identity.states[0])
    assert answer.decision.serial_number == "C02TEST00002"
    assert desk.store.enrollment(SERIAL) is None


def test_the_gates_hold_after_the_sign_in_too(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    for _ in range(2):
        desk.open()
    _released(desk)
    assert "released" in desk.close(desk.identity.states[0]).decision.reason
    manager = attrs.evolve(ADA, is_enrollment_manager=True)
    assert desk.close(desk.identity.states[1], manager).status == 403


def test_a_mac_has_only_so_many_sign_ins_under_way(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    limits = EnrollmentLimits(sign_ins=2)
    for _ in range(3):
        desk.open(limits=limits)
        desk.later(seconds=1)
    assert [desk.close(state).status for state in desk.identity.states] == [403, 200, 200]


def test_a_web_view_without_its_header_gets_a_page_for_people(desk: Desk) -> None:
    answer = desk.run(lambda service: service.open_web_view(None, host=HOST))
    assert (answer.status, answer.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert b"Setup Assistant" in answer.body
    assert desk.open("no base64").status == 400


def test_a_profile_that_needs_no_user_any_more_is_given_at_once(desk: Desk) -> None:
    answer = desk.open()
    assert (answer.status, answer.decision.user) == (200, "")
    assert not desk.identity.states


def test_without_an_identity_provider_no_user_signs_in(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    assert "sign_in=" in desk.open(sign_in=None).decision.reason


# Orders


UPDATES = SoftwareUpdatePolicy(minimum="15.1", build="24B83")
CAN: dict[str, Any] = {"MDM_CAN_REQUEST_SOFTWARE_UPDATE": True, "SOFTWARE_UPDATE_DEVICE_ID": "J413AP"}


def test_a_mac_that_is_too_old_is_told_to_update_in_both_flows(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    before = dump(desk)
    for answer in (
        desk.enroll(desk.signed(**CAN), updates=UPDATES),
        desk.open(desk.header(**CAN), updates=UPDATES),
    ):
        assert (answer.status, answer.headers["Content-Type"]) == (403, "application/json")
        body = json.loads(answer.body)
        assert body["code"] == "com.apple.softwareupdate.required"
        assert body["details"] == {"OSVersion": "15.1", "BuildVersion": "24B83"}
        assert answer.decision.outcome is EnrollmentOutcome.UPDATE
    assert dump(desk) == before
    desk.store.set_default_profile("hq", PROFILE)
    updated = desk.signed(**CAN, OS_VERSION="15.1", VERSION="24B83")
    assert desk.enroll(updated, updates=UPDATES).status == 200


def test_only_a_mac_that_can_act_on_it_is_told(desk: Desk) -> None:
    assert desk.enroll(updates=UPDATES).status == 200


def test_the_catalogue_decides_what_can_be_asked_for(desk: Desk) -> None:
    entry = {"ProductVersion": "15.3", "Build": "24D60", "SupportedDevices": ["J413AP"]}
    catalogue = UpdateCatalogue.from_pmv({"PublicAssetSets": {"macOS": [entry]}})
    policy = SoftwareUpdatePolicy(latest=Latest.ANY)
    told = desk.enroll(desk.signed(**CAN), updates=policy, catalogue=lambda: catalogue)
    assert json.loads(told.body)["details"]["OSVersion"] == "15.3"
    other = desk.signed(**{**CAN, "SOFTWARE_UPDATE_DEVICE_ID": "J999AP"})
    assert desk.enroll(other, updates=policy, catalogue=lambda: catalogue).status == 200


def test_the_token_of_a_beta_program_is_in_the_answer_alone(desk: Desk) -> None:
    program = BetaProgram(description="Seeds", token="secret-of-the-program")
    policy = SoftwareUpdatePolicy(minimum="26.4", beta_program=program)
    answer = desk.enroll(desk.signed(**CAN, OS_VERSION="14.6", VERSION="23G80"), updates=policy)
    details = json.loads(answer.body)["details"]
    assert details["RequireBetaProgram"]["Token"] == "secret-of-the-program"
    assert "secret-of-the-program" not in repr(answer) + str(desk.events())


def test_platform_sso_comes_first_and_its_token_is_the_sign_in(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    first = desk.enroll(desk.signed(MDM_CAN_REQUEST_PSSO_CONFIG=True, OS_VERSION="26.0"), platform_sso=SSO)
    assert (first.status, first.decision.outcome) == (403, EnrollmentOutcome.PLATFORM_SSO)
    body = json.loads(first.body)
    assert (body["code"], body["details"]["AuthURL"]) == ("com.apple.psso.required", SSO.auth_url)
    again = desk.signed(OS_VERSION="26.0")
    assert desk.enroll(again, authorization="Bearer bad", platform_sso=SSO).status == 403
    answer = desk.enroll(again, authorization="Bearer good", platform_sso=SSO)
    assert (answer.status, answer.decision.user) == (200, ADA.upn)
    assert (
        desk.enroll(desk.signed(MDM_CAN_REQUEST_PSSO_CONFIG=True)).decision.outcome
        is EnrollmentOutcome.REFUSE
    )


# Afterwards


@pytest.mark.twins
def test_a_renewal_keeps_the_kind_of_identity(desk: Desk) -> None:
    desk.enroll(desk.signed(OS_VERSION="12.6", VERSION="21G115"))
    answer = desk.run(lambda service: service.renew(SERIAL, version="15.1"))
    kind, challenge = identity_of(answer)
    assert (kind, answer.decision.outcome) == ("scep", EnrollmentOutcome.RENEW)
    assert [one.digest for one in desk.store.one_times(SERIAL)] == [digest_of(challenge)]
    assert identity_of(desk.enroll(desk.signed(OS_VERSION="15.1", VERSION="24B83")))[0] == "acme"
    assert identity_of(desk.run(lambda service: service.renew(SERIAL)))[0] == "acme"
    with pytest.raises(PolicyError, match="enrolled with ACME and must keep it"):
        desk.run(lambda service: service.renew(SERIAL), acme=None)
    desk.add(Device(serial_number="NEW"))
    with pytest.raises(PolicyError, match="not enrolled"):
        desk.run(lambda service: service.renew("NEW"))
    with pytest.raises(PolicyError, match="no stored token"):
        desk.run(lambda service: service.renew("UNKNOWN"))


@pytest.mark.twins
def test_a_renewal_says_what_was_kept_and_why(desk: Desk) -> None:
    desk.enroll(desk.signed(OS_VERSION="12.6", VERSION="21G115"))
    answer = desk.run(lambda service: service.renew(SERIAL, version="15.1"))
    assert answer.decision.reason.startswith(
        "the Mac keeps SCEP, with which it enrolled; if it enrolled again"
    )
    assert desk.events()[-1].details["reason"] == answer.decision.reason
    desk.enroll()
    answer = desk.run(lambda service: service.renew(SERIAL), identity=IdentityPolicy(scep_only=True))
    assert identity_of(answer)[0] == "acme"
    assert "scep_only is for Macs that enroll" in answer.decision.reason
    for policy in (IdentityPolicy(require_attestation=True), IdentityPolicy(acme_only_attested=True)):
        desk.enroll(desk.signed(PRODUCT="iMac19,1"))
        with pytest.raises(
            PolicyError, match=r"enrolled with ACME and must keep it: the policy .* no Secure Enclave"
        ):
            desk.run(lambda service: service.renew(SERIAL), identity=policy)


@pytest.mark.twins
def test_what_is_doubtful_stays_with_the_mac_until_its_next_profile(desk: Desk) -> None:
    def problems() -> list[tuple[str, str]]:
        stored = desk.store.enrollment(SERIAL)
        return [(one.setting, one.value) for one in stored.problems] if stored else []

    desk.enroll(desk.signed(PRODUCT="Mac14,2x"))
    assert problems() == [("product", "Mac14,2x")]
    desk.run(lambda service: service.renew(SERIAL))
    assert problems() == [("product", "Mac14,2x")]
    desk.enroll(desk.signed(VERSION="99A1", OS_VERSION=None))
    assert problems() == [("version", "99A1")]
    desk.run(lambda service: service.renew(SERIAL, version="15.1"))
    assert problems() == []
    desk.enroll(desk.signed(PRODUCT="Macmini8,1"))
    assert problems() == [("product", "Macmini8,1")]  # Apple's record says MacBook Air
    desk.enroll()
    assert problems() == []


def test_a_refusal_of_an_unknown_model_says_that_it_is_unknown(desk: Desk) -> None:
    new = desk.signed(PRODUCT="Mac99x,1")
    refused = desk.enroll(new, identity=IdentityPolicy(require_attestation=True))
    assert refused.status == 403
    assert [(one.setting, one.value) for one in refused.decision.problems] == [("product", "Mac99x,1")]
    assert "a model of a Mac that pyade knows" in desk.events()[-1].details["problems"][0]


@pytest.mark.twins
def test_acme_only_attested_gives_scep_to_all_others(desk: Desk) -> None:
    policy = IdentityPolicy(acme_only_attested=True)
    assert identity_of(desk.enroll(identity=policy))[0] == "acme"
    others: list[dict[str, Any]] = [
        {"PRODUCT": "MacBookPro16,1"},
        {"PRODUCT": "iMac19,1"},
        {"OS_VERSION": "13.6"},
    ]
    for words in others:
        answer = desk.enroll(desk.signed(**words), identity=policy)
        assert identity_of(answer)[0] == "scep"
        assert answer.decision.reason.startswith("the policy wants ACME for attested keys alone")
    bound = attrs.evolve(ACME, accepts_unattested=True)
    assert identity_of(desk.enroll(desk.signed(PRODUCT="MacBookPro16,1"), identity=policy, acme=bound))[
        0
    ] == ("scep")


@pytest.mark.parametrize(
    ("policy", "missing"),
    [
        ({"acme_only_attested": True}, "scep"),
        ({"acme_only_attested": True}, "acme"),
        ({"scep_only": True}, "scep"),
        ({"require_attestation": True}, "acme"),
    ],
)
def test_a_policy_that_wants_an_issuer_that_is_not_there_is_refused_at_once(
    desk: Desk, policy: dict[str, bool], missing: str
) -> None:
    with pytest.raises(PolicyError, match=f"identity has {next(iter(policy))}.*give {missing}="):
        desk.service(identity=IdentityPolicy(**policy), **{missing: None})


def test_a_forged_request_does_not_change_what_an_enrolled_mac_renews_with(desk: Desk) -> None:
    desk.enroll()
    FinalConfiguration(desk.store, clock=desk.clock).authenticated(SERIAL)
    forged = desk.signed(PRODUCT="iMac14,1", VERSION="21G115", OS_VERSION="12.6", UDID="another")
    assert identity_of(desk.enroll(forged))[0] == "scep"
    renewed = payloads_of(desk.run(lambda service: service.renew(SERIAL)))["com.apple.security.acme"]
    assert (renewed["HardwareBound"], renewed["Attest"]) == (True, True)


def test_renewals_do_not_count_against_the_limit_of_the_mac(desk: Desk) -> None:
    limits = EnrollmentLimits(profiles=2)
    desk.enroll(limits=limits)
    for _ in range(3):
        assert desk.run(lambda service: service.renew(SERIAL), limits=limits).status == 200
    assert desk.enroll(limits=limits).status == 200


@pytest.mark.twins
def test_registration_is_pending_until_it_is_reported(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    desk.open()
    desk.close(desk.identity.states[0])
    pending = [one.serial_number for one in desk.store.enrollments(registration=Registration.PENDING)]
    assert pending == [SERIAL]
    desk.later(hours=1)
    for _ in range(2):
        desk.run(lambda service: service.registration_completed(SERIAL))
    assert not list(desk.store.enrollments(registration=Registration.PENDING))
    stored = desk.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.registered_at == NOW + timedelta(hours=1)
    done = [event for event in desk.store.events() if event.kind == "registration_completed"]
    assert [(event.serial_number, event.details) for event in done] == [(SERIAL, {"user": ADA.upn})]
    with pytest.raises(PolicyError, match="not enrolled"):
        desk.run(lambda service: service.registration_completed("UNKNOWN"))


@pytest.mark.twins
def test_a_registration_names_the_user_of_the_profile_that_was_installed(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    desk.open()
    desk.close(desk.identity.states[-1])
    FinalConfiguration(desk.store, clock=desk.clock).authenticated(SERIAL)
    desk.open()
    desk.close(desk.identity.states[-1], User(upn="eve@contoso.example"))
    desk.run(lambda service: service.registration_completed(SERIAL))
    done = [event.details for event in desk.store.events() if event.kind == "registration_completed"]
    assert done == [{"user": ADA.upn}]


@pytest.mark.twins
def test_a_forged_request_does_not_change_the_registration_of_an_enrolled_mac(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    desk.open()
    desk.close(desk.identity.states[-1])
    final = FinalConfiguration(desk.store, clock=desk.clock)
    final.authenticated(SERIAL)

    def registration() -> tuple[str, Any]:
        stored = desk.store.enrollment(SERIAL)
        assert stored is not None
        return stored.registration, stored.registered_at

    desk.store.set_default_profile("hq", PROFILE)
    assert desk.enroll().decision.registration == "not needed"  # of the profile that was asked for
    assert registration() == ("pending", None)
    desk.store.set_default_profile("hq", MODERN)
    desk.run(lambda service: service.registration_completed(SERIAL))
    desk.later(seconds=1).open()
    forged = desk.close(desk.identity.states[-1], User(upn="eve@contoso.example"))
    assert forged.decision.registration == "pending"
    assert registration() == ("complete", NOW)
    renewed = desk.run(lambda service: service.renew(SERIAL))
    assert renewed.decision.registration == "complete"
    assert registration() == ("complete", NOW)
    # It was the Mac itself: it is erased, and enrolls anew.
    final.authenticated(SERIAL)
    assert registration() == ("pending", None)


@pytest.mark.twins
def test_an_authenticate_that_comes_late_or_twice_does_not_undo_a_registration(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    desk.open()
    desk.close(desk.identity.states[-1])
    final = FinalConfiguration(desk.store, clock=desk.clock)
    desk.later(minutes=5).run(lambda service: service.registration_completed(SERIAL))
    for _ in range(2):
        final.authenticated(SERIAL)
        stored = desk.store.enrollment(SERIAL)
        assert stored is not None
        assert (stored.registration, stored.installed) == (Registration.COMPLETE, stored.newest)


def test_after_a_check_out_the_newest_profile_is_what_counts(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    desk.open()
    desk.close(desk.identity.states[-1])
    final = FinalConfiguration(desk.store, clock=desk.clock)
    final.authenticated(SERIAL)
    desk.run(lambda service: service.registration_completed(SERIAL))
    final.received(SERIAL, plistlib.dumps({"MessageType": "CheckOut", "UDID": "A"}))
    gone = desk.store.enrollment(SERIAL)
    assert gone is not None
    assert (gone.installed, gone.registration) == (None, Registration.COMPLETE)
    desk.open()
    desk.close(desk.identity.states[-1])
    pending = [one.serial_number for one in desk.store.enrollments(registration=Registration.PENDING)]
    assert pending == [SERIAL]


def test_a_profile_that_holds_the_mac_begins_to_await(desk: Desk) -> None:
    desk.store.set_default_profile("hq", attrs.evolve(PROFILE, await_final_configuration=True))
    desk.enroll()
    stored = desk.store.enrollment(SERIAL)
    assert stored is not None
    assert stored.awaiting is not None
    assert stored.awaiting["phase"] == "not awaiting"


# What the service is told


def test_some_issuer_is_needed(desk: Desk) -> None:
    with pytest.raises(PolicyError, match="acme=, scep="):
        desk.service(acme=None, scep=None)


def test_a_release_that_no_mac_could_wait_for_is_refused_at_once(desk: Desk) -> None:
    with pytest.raises(PolicyError, match="release_after"):
        desk.service(release_after=timedelta(0))


def test_a_profile_that_cannot_be_made_stores_nothing(desk: Desk) -> None:
    broken = attrs.evolve(ACME, directory_url="http://plain.example")
    with pytest.raises(ProfileError, match="DirectoryURL"):
        desk.enroll(acme=broken)
    assert not list(desk.store.enrollments())
    assert not desk.store.one_times(SERIAL)


@each("wrong", [{"profiles": 0}, {"sign_ins": 0}, {"window": timedelta(0)}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match=next(iter(wrong))):
        EnrollmentLimits(**wrong)


def test_a_plain_scep_server_serves_every_mac(desk: Desk) -> None:
    assert identity_of(desk.enroll(acme=None, scep=SCEP))[0] == "scep"
