"""Who may enroll, with which profile: the decisions that need nothing but what is stored.

Source: specification, "Limitations", "Create an Apple enrollment profile" and "Distribute devices".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from pyade.core.affinity import AffinityKind
from pyade.core.enrollment import Enrollment
from pyade.core.inventory import DeviceRecord, owner_of
from pyade.core.profile import EnrollmentProfile
from pyade.core.versions import MacOSVersion
from pyade.enrollment.settings import EnrollmentLimits
from pyade.storage.enrollments import EnrollmentStore


@attrs.frozen(kw_only=True)
class Place:
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


def find_place(store: EnrollmentStore, serial_number: str) -> Place:
    """Return where the Mac of that serial number stands.

    A Mac enrolls if Apple lists it for a token of ours, nobody deleted it here, and a profile is assigned to
    it or a default is set.
    """
    records: Sequence[DeviceRecord] = tuple(store.records_of([serial_number]))
    if not records:
        return Place(refusal="no token of ours knows this serial number")
    record = owner_of(records)
    if record is None:
        return Place(refusal="the device was released: Apple lists it for no server of ours")
    enrollment = store.enrollment(serial_number)
    place = Place(record=record, enrollment=enrollment)
    if record.is_hidden:
        return attrs.evolve(place, refusal="the device was deleted here: restore it to let it enroll")
    uuid = record.device.profile_uuid
    defined = {one.profile_uuid: one.profile for one in store.profiles(record.token_name)}
    if uuid in defined:
        return attrs.evolve(place, profile=defined[uuid], profile_uuid=uuid)
    default = store.default_profile(record.token_name)
    if default is None:
        why = "the device has a profile that was not defined here" if uuid else "the device has no profile"
        return attrs.evolve(place, refusal=f"{why}, and its token has no default: assign one")
    return attrs.evolve(place, profile=default)


def affinity_of(profile: EnrollmentProfile, version: MacOSVersion | None) -> AffinityKind:
    """Return how the user signs in on that version; one that cannot be read is taken for a current one."""
    return profile.user_affinity.kind if version is None else profile.user_affinity.on(version)


def wait_of(enrollment: Enrollment | None, limits: EnrollmentLimits, now: datetime) -> timedelta | None:
    """Return how long a Mac must wait for its next profile; None if it may have one now."""
    if enrollment is None:
        return None
    # What lies ahead was stored before a clock was moved back.
    recent = sorted(at for at in enrollment.recent_issues if now - limits.window < at <= now)
    if len(recent) < limits.profiles:
        return None
    return recent[-limits.profiles] + limits.window - now


def with_issue(
    enrollment: Enrollment | None, limits: EnrollmentLimits, now: datetime
) -> tuple[datetime, ...]:
    """Return when the Mac was given profiles lately, with this one."""
    known = enrollment.recent_issues if enrollment else ()
    return (*(at for at in known if now - limits.window < at <= now), now)[-limits.profiles :]
