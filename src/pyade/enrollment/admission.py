"""Decide from the store alone whether a Mac may enroll, with which profile, and how often.

Source: specification, "Limitations", "Create an Apple enrollment profile" and "Distribute devices".
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import attrs

from pyade.core.fleet.assignment import NO_PROFILE, profile_of
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.records import DeviceRecord, owner_of
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.enrollment.settings import EnrollmentLimits
from pyade.errors import DamagedRecordError, PolicyError, UnknownTokenError
from pyade.storage.protocol import EnrollmentStore


@attrs.frozen(kw_only=True)
class DeviceContext:
    """What the store knows about a serial number before the decision.

    Attributes:
        record: Its device record, from the token that owns it; None if no stored token owns it.
        profile: The profile that it gets; None if there is none.
        profile_uuid: Apple's id of that profile; None for a default that was not sent to Apple yet.
        refusal: Why it may not enroll, as text; "" if it may.
        enrollment: Its enrollment so far; None if it has none.
    """

    record: DeviceRecord | None = None
    profile: EnrollmentProfile | None = None
    profile_uuid: str | None = None
    refusal: str = ""
    enrollment: Enrollment | None = None

    @property
    def token_name(self) -> str:
        """The token that owns the serial number; "" if none does."""
        return "" if self.record is None else self.record.token_name


def load_context(store: EnrollmentStore, serial_number: str) -> DeviceContext:
    """Return the device context of a serial number.

    A Mac may enroll if Apple lists it for a stored token, it is not hidden here, and a profile is assigned to
    it or its token has a default.
    """
    records = _records_of(store, serial_number)
    if not records:
        return DeviceContext(refusal="no stored token has this serial number")
    record = owner_of(records)
    if record is None:
        return DeviceContext(refusal="the device was released: Apple lists it for no stored token")
    enrollment = _enrollment_of(store, record)
    context = DeviceContext(record=record, enrollment=enrollment)
    if record.is_hidden:
        return attrs.evolve(context, refusal="the device is hidden here: restore it to let it enroll")
    uuid = _usable_profile_uuid(record)
    # Apple may write the same id in another case.
    spellings = dict.fromkeys((uuid, uuid.upper(), uuid.lower())) if uuid else {}
    lookups = (store.defined_profile(record.token_name, spelling) for spelling in spellings)
    found = next((one for one in lookups if one is not None), None)
    if found is not None:
        return attrs.evolve(context, profile=found.profile, profile_uuid=found.profile_uuid)
    default = store.default_profile(record.token_name)
    if default is None:
        why = "the device has a profile that was not defined here" if uuid else "the device has no profile"
        return attrs.evolve(context, refusal=f"{why}, and its token has no default: assign one")
    return attrs.evolve(context, profile=default)


def _records_of(store: EnrollmentStore, serial_number: str) -> Sequence[DeviceRecord]:
    """Return the records of all tokens for a Mac, without unreadable ones.

    Raises:
        DamagedRecordError: The Mac has records, and none of them can be read.
    """
    try:
        return tuple(store.records_of([serial_number]))
    except DamagedRecordError as error:
        damaged = error
    names: list[str] = []
    names += (token.name for token in store.tokens(damaged=lambda error: names.append(error.token_name)))
    found = []
    for name in sorted(names):
        with suppress(DamagedRecordError, UnknownTokenError):
            record = store.device(name, serial_number)
            found += [] if record is None else [record]
    if not found:
        raise damaged
    return found


def _enrollment_of(store: EnrollmentStore, record: DeviceRecord) -> Enrollment | None:
    try:
        return store.enrollment(record.serial_number)
    except DamagedRecordError as error:
        reason = f"token {record.token_name!r}, {record.serial_number}: {error}"
    raise DamagedRecordError(reason, token_name=record.token_name)


def _usable_profile_uuid(record: DeviceRecord) -> str:
    """Return the ``profile_uuid`` with which a Mac may enroll; "" if it has none, or it was taken away.

    A profile that was assigned before the Mac moved to this server counts: the Mac could fetch it.
    """
    device, attempt = record.device, record.attempt
    is_taken_away = device.shown_profile == NO_PROFILE or (
        attempt is not None and attempt.result == DeviceResult.SUCCESS
    )
    return profile_of(record) or ("" if is_taken_away else device.profile_uuid or "")


def require_enrolled(enrollment: Enrollment | None, serial_number: str) -> Enrollment:
    """Return *enrollment*; raise a ``PolicyError`` if it is None."""
    if enrollment is None:
        raise PolicyError(f"{serial_number[:80]!r} is not enrolled: no profile was ever issued to it")
    return enrollment


def affinity_of(profile: EnrollmentProfile, version: MacOSVersion | None) -> AffinityKind:
    """Return how the user signs in on *version*; None (unreadable) counts as a current version."""
    return profile.user_affinity.kind if version is None else profile.user_affinity.on(version)


def wait_of(enrollment: Enrollment | None, limits: EnrollmentLimits, now: datetime) -> timedelta | None:
    """Return how long a Mac must wait for its next profile; None if it may have one now."""
    if enrollment is None:
        return None
    recent = sorted(_issues_in_window(enrollment, limits, now))
    if len(recent) < limits.profiles:
        return None
    return recent[-limits.profiles] + limits.window - now


def with_issue(
    enrollment: Enrollment | None, limits: EnrollmentLimits, now: datetime
) -> tuple[datetime, ...]:
    """Return the times of the Mac's recent profiles, with *now* added."""
    known = _issues_in_window(enrollment, limits, now) if enrollment else ()
    return tuple(sorted((*known, now)))[-limits.profiles :]


def _issues_in_window(
    enrollment: Enrollment, limits: EnrollmentLimits, now: datetime
) -> tuple[datetime, ...]:
    """Return the issues within one window before or after *now*.

    Times in the future count because clocks of nodes differ and requests overlap. A time further ahead than
    the window was stored before a clock was set back, and is ignored.
    """
    return tuple(at for at in enrollment.recent_issues if abs(at - now) < limits.window)
