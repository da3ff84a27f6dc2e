"""Macs in use: whether they can enroll without a wipe, and the steps for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from tests.cases import each

from pyade.core.fleet.assignment import NO_PROFILE
from pyade.core.fleet.device import Device, DeviceFamily, DeviceResult, ProfileStatus
from pyade.core.fleet.existing_macs import check_existing_mac, renew_instructions
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import DeviceRecord
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PolicyError, VersionError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEVICE = Device(
    serial_number="C02ABC123",
    device_family=DeviceFamily.MAC,
    profile_status=ProfileStatus.PUSHED,
    profile_uuid="88FC4E378CEF4B48A5AE0CEB1CF4E4E1",
)
RECORD = DeviceRecord(token_name="hq", device=DEVICE, first_seen_at=NOW, updated_at=NOW)
VERSIONS = ("10.13", "10.15.7", "11.0", "12.7", "13.0", "14.0", "15.0", "26.1")
MODERN = UserAffinity.modern("https://mdm.contoso.com/signin")


def with_device(**changes: Any) -> DeviceRecord:
    return attrs.evolve(RECORD, device=DEVICE.changed(**changes))


@each("version", [*VERSIONS, None])
@each("status", [ProfileStatus.ASSIGNED, ProfileStatus.PUSHED])
def test_a_mac_that_meets_every_condition_can_enroll(version: str | None, status: ProfileStatus) -> None:
    """10.13 and later, listed by Apple, with a profile."""
    check = check_existing_mac(with_device(profile_status=status), version=version)
    assert check.is_eligible
    assert check.problems == ()
    assert check.migration_deadline is None
    assert not any("deadline" in note for note in check.notes)


@each(
    ("record", "version", "settings"),
    [
        (None, "14.0", {"serial_number"}),
        (None, "10.12", {"serial_number", "version"}),
        (RECORD, "10.12.6", {"version"}),
        (attrs.evolve(RECORD, released_at=NOW), "14.0", {"serial_number"}),
        (attrs.evolve(RECORD, deleted_at=NOW), "14.0", {"serial_number"}),
        (with_device(profile_status=ProfileStatus.EMPTY), "14.0", {"profile_status"}),
        (with_device(profile_status=ProfileStatus.REMOVED), "14.0", {"profile_status"}),
        (with_device(profile_status=None), "14.0", {"profile_status"}),
        (with_device(profile_status=ProfileStatus("held")), "14.0", {"profile_status"}),
        (with_device(device_family=DeviceFamily.IPAD), "14.0", {"device_family"}),
        (
            attrs.evolve(with_device(profile_status=ProfileStatus.EMPTY), released_at=NOW),
            "10.12",
            {"version", "serial_number", "profile_status"},
        ),
    ],
)
def test_each_condition_that_is_not_met_has_its_reason(
    record: DeviceRecord | None, version: str, settings: set[str]
) -> None:
    """All together, each with its fix."""
    check = check_existing_mac(record, version=version)
    assert not check.is_eligible
    assert {problem.setting for problem in check.problems} == settings
    assert all(problem.allowed and problem.fix for problem in check.problems)


def attempted(result: DeviceResult, uuid: str = "AB" * 16, **device: Any) -> DeviceRecord:
    """A Mac for which our newest attempt ended so."""
    attempt = Attempt(profile_uuid=uuid, result=result, attempted_at=NOW)
    return attrs.evolve(with_device(**device), attempt=attempt)


@each(
    ("record", "is_eligible"),
    [
        (attempted(DeviceResult.SUCCESS, profile_status=ProfileStatus.EMPTY, profile_uuid=None), True),
        (attempted(DeviceResult.SUCCESS, profile_status=ProfileStatus.REMOVED), True),
        (attempted(DeviceResult.SUCCESS, NO_PROFILE), False),  # removed by us, not yet in Apple's list
        (attempted(DeviceResult.NOT_CONFIRMED, profile_status=ProfileStatus.EMPTY), False),
        (attempted(DeviceResult.THROTTLED, profile_status=ProfileStatus.EMPTY), False),
        (attempted(DeviceResult.THROTTLED), True),  # it keeps the profile that it has
        (with_device(profile_uuid=None), True),  # Apple shows one without saying which
        (with_device(device_assigned_date=NOW, profile_assign_time=NOW - timedelta(days=1)), False),
    ],
)
def test_our_newest_attempt_counts_where_apple_has_said_nothing_newer(
    record: DeviceRecord, is_eligible: bool
) -> None:
    """Until the next sync the store has Apple's older record only."""
    check = check_existing_mac(record, version="14.0")
    assert check.is_eligible is is_eligible
    assert {problem.setting for problem in check.problems} == (set() if is_eligible else {"profile_status"})


@each("version", [*VERSIONS, None])
def test_the_plan_and_the_check_say_the_same_about_sudo_and_administrators(version: str | None) -> None:
    """The specification's way works everywhere; from 15 there is a shorter one."""
    [note] = [note for note in check_existing_mac(RECORD, version=version).notes if "sudo" in note]
    assert "sudo profiles renew -type enrollment, run by a local administrator" in note
    assert ("without sudo" in note) is (version is None or version.startswith(("15", "26")))
    if version is not None:
        plan = EnrollmentProfile(name="P", url="https://mdm.contoso.com/enroll").plan(version)
        words = note.removeprefix("It enrolls ").removesuffix(".")
        assert words in plan.row("(Macs in use)").why


def test_a_migration_deadline_is_carried_and_proves_nothing() -> None:
    """Passed or not: new Macs have one, too."""
    deadline = datetime(2020, 5, 6, 7, 8, tzinfo=UTC)
    check = check_existing_mac(with_device(mdm_migration_deadline=deadline), version="26.0")
    assert check.is_eligible
    assert check.migration_deadline == deadline
    [note] = [note for note in check.notes if "2020-05-06 07:08 UTC" in note]
    assert "proves nothing" in note
    assert any("AccountConfiguration" in note for note in check.notes)


def test_a_version_that_is_no_version_is_a_typed_error() -> None:
    """In both functions."""
    with pytest.raises(VersionError):
        check_existing_mac(RECORD, version="Tahoe")
    with pytest.raises(VersionError):
        renew_instructions("Tahoe", UserAffinity.none())


def test_macos_before_10_13_has_no_instructions() -> None:
    """Only a wipe, or an update first."""
    with pytest.raises(
        PolicyError, match=r"macOS 10\.12\.6 cannot enroll without a wipe: update it to 10\.13"
    ):
        renew_instructions("10.12.6", UserAffinity.none())


@each("is_enrolled", [False, True])
@each("affinity", [UserAffinity.none(), UserAffinity.legacy(), MODERN])
@each("version", VERSIONS)
def test_the_steps_of_each_macos(version: str, affinity: UserAffinity, is_enrolled: bool) -> None:
    """Numbered without a gap; the command, the consent that this macOS asks for, and the sign-in last."""
    lines = renew_instructions(version, affinity, is_enrolled=is_enrolled).splitlines()
    assert [line.split(". ")[0] for line in lines] == [str(number + 1) for number in range(len(lines))]
    text = "\n".join(lines)
    major = int(version.split(".", maxsplit=1)[0])
    assert "profiles renew -type enrollment" in text
    assert ("sudo" in text) is (major < 15 or is_enrolled)
    assert ("System Preferences" in text) is (major < 13)
    assert ("Remote Management" in text) is (major >= 14)
    assert ("Device Enrollment" in text) is (major < 14)
    assert ("comes again" in text) is (major in (11, 12, 13))
    has_user = affinity != UserAffinity.none()
    assert ("Company Portal" in lines[-1]) is has_user
    assert ("on the page that opens" in text) is (affinity == MODERN and version != "10.13")
    assert ("where the Mac asks" in text) is (has_user and not (affinity == MODERN and version != "10.13"))


def test_the_instructions_of_the_specification() -> None:
    """Word for word what a user of macOS 12 is sent."""
    assert renew_instructions("12.7", MODERN) == (
        "1. Sign in to the Mac with a local administrator account.\n"
        "2. Open Terminal and run: sudo profiles renew -type enrollment\n"
        "3. Enter the password of the local administrator account.\n"
        "4. Open the notification Device Enrollment and select Details; it comes again if it was closed.\n"
        "5. In System Preferences, select Profiles and allow the enrollment.\n"
        "6. Sign in with your work or school account on the page that opens.\n"
        "7. Follow the prompts until the management profile, certificates and policies are installed.\n"
        "8. To see that it worked, run: profiles status -type enrollment, or look at Profiles in System"
        " Preferences.\n"
        "9. Sign in to the Company Portal app: this registers the Mac, and finishes the enrollment."
    )
