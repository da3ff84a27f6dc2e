"""Who may enroll, with which profile: the decisions that need nothing but what is stored.

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
    """Where a serial number stands with the organization.

    Attributes:
        record: What Apple said of it, as its owner's token knows it; None if it is none of ours.
        profile: The profile that it gets; None if there is none.
        profile_uuid: Apple's id of it; None for a default that was not sent to Apple yet.
        refusal: Why it may not enroll, in words; "" if it may.
        enrollment: Its enrollment so far.
    """

    record: DeviceRecord | None = None
    profile: EnrollmentProfile | None = None
    profile_uuid: str | None = None
    refusal: str = ""
    enrollment: Enrollment | None = None

    @property
    def token_name(self) -> str:
        """The token that it belongs to; "" if it belongs to none."""
        return "" if self.record is None else self.record.token_name


def load_context(store: EnrollmentStore, serial_number: str) -> DeviceContext:
    """Return where the Mac of that serial number stands.

    A Mac enrolls if Apple lists it for a token of ours, nobody deleted it here, and a profile is assigned to
    it or a default is set.
    """
    records = _records_of(store, serial_number)
    if not records:
        return DeviceContext(refusal="no token of ours knows this serial number")
    record = owner_of(records)
    if record is None:
        return DeviceContext(refusal="the device was released: Apple lists it for no server of ours")
    enrollment = _enrollment_of(store, record)
    context = DeviceContext(record=record, enrollment=enrollment)
    if record.is_hidden:
        return attrs.evolve(context, refusal="the device was deleted here: restore it to let it enroll")
    uuid = _assigned_to(record)
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
    """Return what all tokens know about a Mac; what cannot be read counts only where nothing else is there.

    Raises:
        DamagedRecordError: No record of the Mac can be read.
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


def _assigned_to(record: DeviceRecord) -> str:
    """Return the ``profile_uuid`` that a Mac may come with; "" if it has none, or has lost it.

    A profile that was assigned before the Mac came to this server counts: here it is, so it could fetch it.
    """
    device, attempt = record.device, record.attempt
    is_taken_away = device.shown_profile == NO_PROFILE or (
        attempt is not None and attempt.result == DeviceResult.SUCCESS
    )
    return profile_of(record) or ("" if is_taken_away else device.profile_uuid or "")


def require_enrolled(enrollment: Enrollment | None, serial_number: str) -> Enrollment:
    """Return *enrollment*, or raise a ``PolicyError`` where there is none."""
    if enrollment is None:
        raise PolicyError(f"{serial_number[:80]!r} is not enrolled: it was never given a profile")
    return enrollment


def affinity_of(profile: EnrollmentProfile, version: MacOSVersion | None) -> AffinityKind:
    """Return how the user signs in on that version; one that cannot be read is taken for a current one."""
    return profile.user_affinity.kind if version is None else profile.user_affinity.on(version)


def wait_of(enrollment: Enrollment | None, limits: EnrollmentLimits, now: datetime) -> timedelta | None:
    """Return how long a Mac must wait for its next profile; None if it may have one now."""
    if enrollment is None:
        return None
    recent = sorted(_counted(enrollment, limits, now))
    if len(recent) < limits.profiles:
        return None
    return recent[-limits.profiles] + limits.window - now


def with_issue(
    enrollment: Enrollment | None, limits: EnrollmentLimits, now: datetime
) -> tuple[datetime, ...]:
    """Return when the Mac was given profiles lately, with this one."""
    known = _counted(enrollment, limits, now) if enrollment else ()
    return tuple(sorted((*known, now)))[-limits.profiles :]


def _counted(enrollment: Enrollment, limits: EnrollmentLimits, now: datetime) -> tuple[datetime, ...]:
    """Return the issues that count: also those ahead, as clocks of nodes differ and requests overlap.

    What lies further ahead than the window was stored before a clock was moved back.
    """
    return tuple(at for at in enrollment.recent_issues if abs(at - now) < limits.window)
