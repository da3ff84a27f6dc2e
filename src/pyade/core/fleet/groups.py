"""Groups of devices that are equal in all that decides about them, so that a store can count them.

A fleet of any size has few groups: Macs of one model with the same profile wait for, or lack, the same. A
store counts the groups, and reads only the devices of those groups that a question is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import attrs

from pyade.core.fleet.assignment import NO_PROFILE, Reason, Risk, profile_of, risk_of
from pyade.core.fleet.device import Device, DeviceResult, ProfileStatus
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import DeviceRecord
from pyade.text import short_repr


@attrs.frozen(kw_only=True)
class DeviceGroup:
    """What the devices of a group have in common.

    Attributes:
        model: Apple's marketing name.
        device_family: Apple's product family.
        is_mac: As ``Device.is_mac``.
        profile_status: Whether they have a profile, as Apple reports it.
        profile_uuid: As Apple shows it.
        attempted: The profile of the newest attempt to assign one; None if there is none.
        given: The profile that they would get now, as ``profile_of`` returns it; "" for none.
        is_open: True if the newest attempt is not known to have succeeded, so that the next run checks each
            device.
        is_reassigned: They were assigned to this server after their profile was assigned.
        risk: Why they would fail to enroll whatever profile is chosen for them; None if they would not.
        is_released: Apple no longer lists them.
        is_hidden: They were deleted here.
        is_replacement: They replace other devices.
        has_implausible_date: The date of their newest operation cannot be right.
        migration_deadline: Until when they must have moved to this server, UTC.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    model: str | None = None
    device_family: str | None = None
    is_mac: bool = True
    profile_status: str | None = None
    profile_uuid: str | None = None
    attempted: str | None = None
    given: str = NO_PROFILE
    is_open: bool = False
    is_reassigned: bool = False
    risk: Risk | None = None
    is_released: bool = False
    is_hidden: bool = False
    is_replacement: bool = False
    has_implausible_date: bool = False
    migration_deadline: datetime | None = None

    @property
    def is_listed(self) -> bool:
        """True if Apple lists them and they were not deleted here."""
        return not (self.is_released or self.is_hidden)

    @property
    def is_without_profile(self) -> bool:
        """True for Macs that Apple lists and that have no profile."""
        return self.is_listed and self.is_mac and self.given == NO_PROFILE

    def has_profile(self, wanted_uuid: str) -> bool:
        """Return True if they have the wanted profile, or none where ``NO_PROFILE`` is wanted."""
        return self.given.casefold() == wanted_uuid.casefold()

    def why_not(self, wanted_uuid: str) -> Reason:
        """Return why they need a request so that they have the wanted profile, as ``needs_profile`` does.

        Only for groups that are not open and do not have the profile.
        """
        if wanted_uuid == NO_PROFILE:
            return Reason.UNWANTED
        if self.given != NO_PROFILE:
            return Reason.OTHER_PROFILE
        if self.profile_status == ProfileStatus.REMOVED:
            return Reason.REMOVED
        return Reason.REASSIGNED if self.is_reassigned else Reason.NO_PROFILE

    def risk_if(self, *, is_chosen: bool, is_stopped: bool) -> Risk | None:
        """Return why their enrollment would fail, as ``risk_of`` does for each of them.

        Args:
            is_chosen: True if a rule or a default gives them a profile.
            is_stopped: True if the newest assignment of the token ended early.
        """
        if not self.is_without_profile:
            return None
        if self.risk is not None or is_chosen:
            return self.risk or (Risk.NOT_REACHED if is_stopped else None)
        return Risk.NOTHING_CHOSEN


GROUPED_BY: Final[Callable[[Device], tuple[Any, ...]]] = attrgetter(
    *("model", "device_family", "os", "profile_status", "profile_uuid", "is_reassigned"),
    *("is_replacement_device", "mdm_migration_deadline"),
)
"""Returns all fields of a device that ``group_of`` uses; its other input is pyade's own record."""


def group_of(record: DeviceRecord) -> DeviceGroup:
    """Return the group that *record* belongs to."""
    device, attempt = record.device, record.attempt
    return DeviceGroup(
        model=device.model,
        device_family=None if device.device_family is None else str(device.device_family),
        is_mac=device.is_mac,
        profile_status=None if device.profile_status is None else str(device.profile_status),
        profile_uuid=device.profile_uuid,
        attempted=None if attempt is None else attempt.profile_uuid,
        given=profile_of(record),
        is_open=attempt is not None and not _is_settled(attempt),
        is_reassigned=device.is_reassigned,
        risk=risk_of(record, is_chosen=True),
        is_released=record.is_released,
        is_hidden=record.is_hidden,
        is_replacement=bool(device.is_replacement_device),
        has_implausible_date=record.op_date_sent is not None,
        migration_deadline=device.mdm_migration_deadline,
    )


def _is_settled(attempt: Attempt) -> bool:
    is_done = attempt.result == DeviceResult.SUCCESS and attempt.profile_uuid != NO_PROFILE
    return is_done and not attempt.is_unread and attempt.not_before is None


def status_counts(groups: Mapping[DeviceGroup, int]) -> Mapping[str, int]:
    """Return how many devices Apple lists by profile status, and how many are released.

    Returns:
        A mapping with Apple's ``profile_status`` as the key, "" if it is unknown, and ``"released"`` for the
        released ones, which is always there. Other statuses without a device are left out, but asking for
        one returns 0. Hidden devices are not counted.
    """
    counts = Counter({"released": 0})
    for group, count in groups.items():
        if not group.is_hidden:
            counts["released" if group.is_released else group.profile_status or ""] += count
    return counts
