"""Decide whether Macs that completed Setup Assistant can enroll without a wipe, and say how.

``profiles renew -type enrollment`` makes such a Mac request its profile from Apple again. Screens and
accounts of the profile do not apply to it, as it has users already. Who may run it is stated in one place,
``renewal``: the specification requires a local administrator and sudo, which works on every version; from
macOS 15 a Mac that no server manages needs neither.

Source: specification, "Distribute devices", Existing Macs; Apple, "Migrating managed devices" and the manual
page of ``profiles``. What each macOS shows is observed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.fleet.assignment import NO_PROFILE, profile_of
from pyade.core.fleet.device import DeviceResult, ProfileStatus
from pyade.core.fleet.records import DeviceRecord
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.plan_rows import (
    ENFORCED_FROM,
    RENEW_BY_ANYONE_FROM,
    RENEW_COMMAND,
    RENEW_FROM,
    renewal,
)
from pyade.errors import PolicyError
from pyade.text import short_repr


@attrs.frozen(kw_only=True)
class ExistingMac:
    """Whether a Mac that is set up already can enroll now.

    Attributes:
        problems: Each condition that is not met, with what to do; empty if the Mac can enroll.
        migration_deadline: The deadline to move it to this server, UTC; None if none was set.
        notes: What else to know, in sentences.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    problems: tuple[Problem, ...]
    migration_deadline: datetime | None
    notes: tuple[str, ...]

    @property
    def is_eligible(self) -> bool:
        """True if every condition is met."""
        return not self.problems


@check_arguments
def check_existing_mac(
    record: DeviceRecord | None, *, version: MacOSVersion | str | None = None
) -> ExistingMac:
    """Return whether a Mac can enroll with ``profiles renew``, and each reason why not.

    Args:
        record: The stored record; None if the store has none.
        version: Version of macOS; None if it is unknown, and then it is not checked.

    Raises:
        VersionError: The text is not a version.

    Source: specification, "Distribute devices", Existing Macs.
    """
    release = None if version is None else MacOSVersion.of(version)
    deadline = None if record is None else record.device.mdm_migration_deadline
    return ExistingMac(
        problems=tuple(_unmet(record, release)),
        migration_deadline=deadline,
        notes=tuple(_notes(release, deadline)),
    )


@check_arguments
def renew_instructions(
    version: MacOSVersion | str, affinity: UserAffinity, *, is_enrolled: bool = False
) -> str:
    """Return the steps to enroll a Mac that is set up already, as numbered lines for its user.

    Args:
        version: Version of macOS, 10.13 or later.
        affinity: Of the profile that is assigned.
        is_enrolled: True if a server manages the Mac now.

    Raises:
        PolicyError: The version cannot enroll without a wipe.
        VersionError: The text is not a version.

    Source: specification, "Distribute devices", Existing Macs; Apple, "What's new for enterprise in macOS
    Sequoia".
    """
    release = MacOSVersion.of(version)
    if release < RENEW_FROM:
        raise PolicyError(
            f"macOS {release} cannot enroll without a wipe: update it to {RENEW_FROM} or later, or wipe it"
        )
    steps = (*_start(release, is_enrolled=is_enrolled), *_consent(release), *_end(affinity, release))
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))


def _unmet(record: DeviceRecord | None, version: MacOSVersion | None) -> Iterator[Problem]:
    if version is not None and version < RENEW_FROM:
        allowed = f"macOS {RENEW_FROM} and later"
        yield Problem("version", str(version), allowed, "update the Mac, or wipe it and set it up again")
    if record is None:
        fix = "assign the Mac to this server in Apple Business Manager or Apple School Manager, then sync"
        yield Problem("serial_number", "", "a Mac that Apple lists for this server", fix)
        return
    serial, device = record.serial_number, record.device
    if record.is_released:
        fix = "assign the Mac to this server again in Apple Business Manager or Apple School Manager"
        yield Problem("serial_number", serial, "a Mac that Apple still lists for this server", fix)
    elif record.is_hidden:
        allowed = "a Mac that was not deleted here"
        yield Problem("serial_number", serial, allowed, "run a full sync, which brings it back")
    if not device.is_mac:
        family = str(device.device_family or device.os)
        yield Problem("device_family", family, "a Mac", "profiles renew is for Macs only")
    if _has_no_profile(record):
        allowed = "a Mac to which an enrollment profile is assigned"
        status, attempt = device.profile_status, record.attempt
        shown = f"{status or ''}; last attempt of pyade: {attempt.result}" if attempt else str(status or "")
        yield Problem("profile_status", shown, allowed, "assign a profile, or set a default")


def _has_no_profile(record: DeviceRecord) -> bool:
    """Return True if no profile is assigned to a Mac, by Apple's newest record or pyade's newest attempt."""
    attempt, device = record.attempt, record.device
    is_ours = attempt is not None and attempt.result == DeviceResult.SUCCESS
    # Apple may show that a profile is assigned without saying which.
    is_shown = device.profile_status in (ProfileStatus.ASSIGNED, ProfileStatus.PUSHED)
    if is_shown and not device.profile_uuid and not is_ours:
        return False
    return profile_of(record) == NO_PROFILE


def _notes(version: MacOSVersion | None, deadline: datetime | None) -> Iterator[str]:
    if version is None or version >= RENEW_FROM:
        yield f"It enrolls {renewal(version)}."
    yield "The profile's screens and accounts do not apply: the Mac has users already."
    if version is not None and version >= ENFORCED_FROM:
        yield (
            "Once online, macOS asks for the enrollment by itself if it was skipped in Setup Assistant;"
            " Not Now puts it off for 8 hours."
        )
    if deadline is not None:
        yield (
            f"Apple has a migration deadline of {deadline:%Y-%m-%d %H:%M} UTC for it. A deadline that has"
            " passed proves nothing: neither that the Mac moved, nor that an enrollment is a migration, as"
            " new Macs may have one, too. Only an enrollment here shows that it moved."
        )
        yield "In a migration AccountConfiguration fails; the release of the Mac must not wait for it."


def _start(version: MacOSVersion, *, is_enrolled: bool) -> Iterator[str]:
    if version >= RENEW_BY_ANYONE_FROM and not is_enrolled:
        yield "Sign in to the Mac; the account need not be an administrator."
        yield f"Open Terminal and run: {RENEW_COMMAND}"
        return
    yield "Sign in to the Mac with a local administrator account."
    yield f"Open Terminal and run: sudo {RENEW_COMMAND}"
    yield "Enter the password of the local administrator account."


def _consent(version: MacOSVersion) -> Iterator[str]:
    if version >= ENFORCED_FROM:
        yield (
            "Follow Remote Management, which fills the screen; it is also in System Settings as Enroll in"
            " Remote Management."
        )
        return
    again = "; it comes again if it was closed" if version >= MacOSVersion(11) else ""
    yield f"Open the notification Device Enrollment and select Details{again}."
    yield f"In {_settings(version)}, select Profiles and allow the enrollment."


def _end(affinity: UserAffinity, version: MacOSVersion) -> Iterator[str]:
    kind = affinity.on(version)
    if kind is AffinityKind.MODERN:
        yield "Sign in with your work or school account on the page that opens."
    elif kind is AffinityKind.LEGACY:
        yield "Enter name and password of your work or school account where the Mac asks for them."
    yield "Follow the prompts until the management profile, certificates and policies are installed."
    yield f"To see that it worked, run: {_STATUS}, or look at Profiles in {_settings(version)}."
    if kind is not AffinityKind.NONE:
        yield "Sign in to the Company Portal app: this registers the Mac, and finishes the enrollment."


def _settings(version: MacOSVersion) -> str:
    return "System Settings" if version >= _SETTINGS_FROM else "System Preferences"


_STATUS: Final = "profiles status -type enrollment"
_SETTINGS_FROM: Final = MacOSVersion(13)
