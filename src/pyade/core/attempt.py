"""What came of giving a profile: to one device, and as a whole.

Apple's answer to an attempt is a belief; what its details show afterwards is a fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

from pyade.core.device import Device, DeviceResult


@attrs.frozen(kw_only=True)
class Attempt:
    """The newest attempt to assign a profile to a device.

    Attributes:
        profile_uuid: The profile that was sent.
        result: What Apple did.
        attempted_at: When the request was about to be sent, UTC.
        not_before: No further attempt before this time, UTC; None if the next run may try.
        contradicted: When Apple's details contradicted its answer to an attempt, within a day, UTC.
        is_unread: True if Apple said that it is done, or that the device is not accessible, and its details
            could not be read afterwards, or said nothing about a profile.
    """

    profile_uuid: str
    result: DeviceResult
    attempted_at: datetime
    not_before: datetime | None = None
    contradicted: tuple[datetime, ...] = ()
    is_unread: bool = False

    def agrees_with(self, device: Device) -> bool:
        """Return True if Apple shows of *device* what this attempt wanted."""
        return device.shows(self.profile_uuid)

    def is_contradicted_by(self, device: Device) -> bool:
        """Return True if the details of *device*, read after the attempt, say that Apple's answer is not so.

        To be shown at all is to be accessible. What another program assigned after our removal is no
        contradiction.
        """
        if self.result == DeviceResult.NOT_ACCESSIBLE:
            return True
        if self.result != DeviceResult.SUCCESS or device.shown_profile is None or self.agrees_with(device):
            return False
        assigned_at = device.profile_assign_time
        return bool(self.profile_uuid) or assigned_at is None or assigned_at <= self.attempted_at

    def after(self, before: Attempt | None) -> Attempt:
        """Return this attempt as the one that follows *before*.

        What was contradicted is forgotten only with a success that the details confirm.
        """
        is_confirmed = self.result == DeviceResult.SUCCESS and not self.is_unread
        if before is None or self.contradicted or is_confirmed:
            return self
        return attrs.evolve(self, contradicted=before.contradicted) if before.contradicted else self

    def not_confirmed(self) -> Attempt:
        """Return this attempt as one that is due: a time that has passed keeps it until it is settled."""
        return attrs.evolve(self, result=DeviceResult.NOT_CONFIRMED, not_before=self.attempted_at)


def together(attempts: Mapping[str, Attempt]) -> list[tuple[Attempt, list[str]]]:
    """Return each attempt of *attempts* with its serial numbers: devices of one request mostly share one."""
    found: dict[int, tuple[Attempt, list[str]]] = {}
    for serial, attempt in attempts.items():
        known = found.get(id(attempt))
        if known is None:
            known = found[id(attempt)] = (attempt, [])
        known[1].append(serial)
    return list(found.values())


@attrs.frozen(kw_only=True)
class AssignmentFailure:
    """The newest error that kept a profile from devices which should have it.

    Attributes:
        profile: Name of the profile, or in parentheses what takes its place.
        error: What Apple or the network answered, in words.
        at: When, UTC.
        devices: How many devices did not get it then.
    """

    profile: str
    error: str
    at: datetime
    devices: int
