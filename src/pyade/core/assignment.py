"""Which device needs which profile, decided from state, and what came of asking for it.

The rules of this file, all pure:

1. A successful attempt of ours is the newest word on a device until Apple says something newer, which
   removes the attempt from the record. Before that the device is not sent again.
2. ``removed`` and ``empty`` mean that there is no profile, whatever ``profile_uuid`` says. So does an
   assignment to this server that is newer than the assignment of the profile.
3. A device that is throttled, or that failed, is left alone until its time has come: trying earlier would
   make it longer. One that this server cannot reach is left alone until Apple lists it again.
4. What is not known to have happened is due again at once.

Source: Apple, device assignment, "Assign a profile". Rules 2 and 3 are observed: other MDM servers lost
profiles and kept devices throttled without them.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import attrs

from pyade.core.device import DeviceResult, ProfileStatus
from pyade.core.inventory import Attempt, DeviceRecord
from pyade.text import printable

NO_PROFILE = ""
"""In the place of a ``profile_uuid``: no profile at all, as after removing it on purpose."""

COOLDOWN = timedelta(hours=24)
"""How long a device is left alone that failed, or that was throttled without a time.

Apple's advice to a product that retried every hour, and so kept two thousand Macs throttled, was a day
without any attempt. Below protocol version 9 a throttled device reads ``FAILED``.
"""


@attrs.frozen(kw_only=True)
class DeviceResults:
    """What Apple did for each device of a request; every serial that was asked for is in it.

    Attributes:
        results: Serial number to result, in the order of the request.
        profile_uuid: The profile in question, where there is one.
        retry_after_s: Seconds before a throttled device may be tried again, if Apple said so (version 10).
    """

    results: Mapping[str, DeviceResult] = attrs.field(hash=False)
    profile_uuid: str | None = None
    retry_after_s: float | None = None

    def serials(self, *wanted: DeviceResult) -> tuple[str, ...]:
        """Return the serial numbers with one of the *wanted* results, in the order of the request."""
        return tuple(serial for serial, result in self.results.items() if result in wanted)

    @property
    def succeeded(self) -> tuple[str, ...]:
        """The serial numbers for which Apple did what was asked."""
        return self.serials(DeviceResult.SUCCESS)

    @property
    def is_complete(self) -> bool:
        """True if Apple did what was asked for every device."""
        return all(result == DeviceResult.SUCCESS for result in self.results.values())

    def summary(self) -> str:
        """Return the counts in words: ``998 SUCCESS, 2 FAILED``."""
        counts = Counter(self.results.values())
        words = (f"{count} {result}" for result, count in counts.most_common())
        return printable(", ".join(words) or "no devices")

    @classmethod
    def joined(cls, parts: Iterable[DeviceResults]) -> DeviceResults:
        """Return one object for the chunks of one request; the longest wait of any chunk counts."""
        results: dict[str, DeviceResult] = {}
        uuid: str | None = None
        waits: list[float] = []
        for part in parts:
            results.update(part.results)
            uuid = part.profile_uuid or uuid
            if part.retry_after_s is not None:
                waits.append(part.retry_after_s)
        return cls(results=results, profile_uuid=uuid, retry_after_s=max(waits, default=None))


class Reason(enum.StrEnum):
    """Why a device needs a request.

    Attributes:
        NO_PROFILE: Apple shows none for it.
        REMOVED: Its profile was removed: in the portal, by moving it, or by us.
        OTHER_PROFILE: It has another profile.
        REASSIGNED: It was assigned to this server after its profile was, and may be unable to fetch it.
        RETRY: The last attempt did not succeed, and its time has come.
        UNWANTED: It has a profile and should have none.
    """

    NO_PROFILE = "had no profile"
    REMOVED = "had lost the profile"
    OTHER_PROFILE = "had another profile"
    REASSIGNED = "were assigned to the server again"
    RETRY = "are tried again"
    UNWANTED = "should have none"


def profile_of(record: DeviceRecord) -> str:
    """Return the ``profile_uuid`` that the device would get now, as far as is known; "" for none."""
    device, attempt = record.device, record.attempt
    if attempt is not None and attempt.result == DeviceResult.SUCCESS:
        assigned_at = device.profile_assign_time
        is_superseded = assigned_at is not None and assigned_at > attempt.attempted_at
        if attempt.profile_uuid != NO_PROFILE or not is_superseded:
            return attempt.profile_uuid
    has_one = device.profile_status in (ProfileStatus.ASSIGNED, ProfileStatus.PUSHED)
    return (device.profile_uuid or NO_PROFILE) if has_one and not _is_reassigned(record) else NO_PROFILE


def needs_profile(record: DeviceRecord, wanted_uuid: str, now: datetime) -> Reason | None:
    """Return why *record* needs a request so that it has the wanted profile; None if it needs none now.

    Args:
        record: What the store knows.
        wanted_uuid: The profile that it should have; ``NO_PROFILE`` for none.
        now: UTC.

    ``op_type`` does not count: a Mac that was assigned to the same server again arrives as ``modified``
    (observed).
    """
    if record.is_released or has_profile(record, wanted_uuid) or not is_reachable(record):
        return None
    if waits_until(record, now) is not None:
        return None
    return Reason.UNWANTED if wanted_uuid == NO_PROFILE else _why(record, wanted_uuid)


def _why(record: DeviceRecord, wanted_uuid: str) -> Reason:
    attempt, status = record.attempt, record.device.profile_status
    if attempt is not None and _is_same(attempt.profile_uuid, wanted_uuid):
        return Reason.RETRY
    if profile_of(record) != NO_PROFILE:
        return Reason.OTHER_PROFILE
    if status == ProfileStatus.REMOVED:
        return Reason.REMOVED
    return Reason.REASSIGNED if _is_reassigned(record) else Reason.NO_PROFILE


def has_profile(record: DeviceRecord, wanted_uuid: str) -> bool:
    """Return True if the device has the wanted profile, or none where ``NO_PROFILE`` is wanted."""
    return _is_same(profile_of(record), wanted_uuid)


def is_reachable(record: DeviceRecord) -> bool:
    """Return False if Apple said that this server has no access, and has not listed the device since."""
    return record.attempt is None or record.attempt.result != DeviceResult.NOT_ACCESSIBLE


def waits_until(record: DeviceRecord, now: datetime) -> datetime | None:
    """Return the time before which the device must be left alone; None if it may be tried now."""
    attempt = record.attempt
    if attempt is None or attempt.not_before is None or attempt.not_before <= now:
        return None
    # After a clock was moved back a wait may end in years; it is believed for twice its length.
    wait = attempt.not_before - attempt.attempted_at
    return attempt.not_before if attempt.not_before - now <= 2 * wait else None


def is_at_risk(record: DeviceRecord) -> bool:
    """Return True for a Mac that has no profile: without a default, its enrollment will fail.

    Source: specification, "Create an Apple enrollment profile".
    """
    return not record.is_released and record.device.is_mac and profile_of(record) == NO_PROFILE


def outcome(
    result: DeviceResult,
    *,
    profile_uuid: str,
    attempted_at: datetime,
    answered_at: datetime,
    retry_after_s: float | None = None,
) -> Attempt:
    """Return what to remember of one device's result, with the time before which it is left alone.

    Args:
        result: What Apple did; an unknown word counts as ``FAILED``.
        profile_uuid: What was sent; ``NO_PROFILE`` for a removal.
        attempted_at: When the request was about to be sent, UTC.
        answered_at: When the answer had come, UTC; waits count from here.
        retry_after_s: The least time that Apple asked to wait for throttled devices, seconds.

    Source: Apple, device assignment, "Assign a profile"; the wait after ``FAILED`` is observed.
    """
    # A time that has passed already means "due at once", and keeps the attempt when newer events come in:
    # nobody else knows what was wanted for the device.
    not_before: datetime | None = attempted_at
    if result == DeviceResult.NOT_ACCESSIBLE or (
        result == DeviceResult.SUCCESS and profile_uuid != NO_PROFILE
    ):
        not_before = None
    elif result == DeviceResult.THROTTLED:
        not_before = answered_at + (COOLDOWN if retry_after_s is None else timedelta(seconds=retry_after_s))
    elif result not in _SETTLED_OR_UNKNOWN:
        not_before = answered_at + COOLDOWN
    return Attempt(profile_uuid=profile_uuid, result=result, attempted_at=attempted_at, not_before=not_before)


def _is_reassigned(record: DeviceRecord) -> bool:
    device = record.device
    return (
        device.device_assigned_date is not None
        and device.profile_assign_time is not None
        and device.device_assigned_date > device.profile_assign_time
    )


def _is_same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


_SETTLED_OR_UNKNOWN = (
    DeviceResult.SUCCESS,
    DeviceResult.MISSING,
    DeviceResult.REQUEST_FAILED,
    DeviceResult.NOT_SENT,
)
