"""Decide from state which device needs which profile, and what the outcome of a request means.

The rules of this file, all pure:

1. A successful attempt of pyade is the newest record of a device until Apple reports something newer, which
   removes the attempt from the record, or contradicts it. Before that the device is not sent again.
2. ``removed`` and ``empty`` mean that there is no profile, whatever ``profile_uuid`` says. So does an
   assignment to this server that is newer than the assignment of the profile.
3. A device that was throttled, or that failed, is not sent before its ``not_before``: an earlier attempt
   would extend the wait. One that this server cannot access is not sent until Apple shows it again, or an
   administrator asks for it.
4. An attempt whose effect is unknown is due again immediately, and the details are read before it is sent.
5. If the details that are read after Apple's response contradict it, the details are believed: the device is
   due again after ``RECHECK``, ``MAX_CONTRADICTIONS`` times a day.

Source: Apple, device assignment, "Assign a profile". Rules 2, 3 and 5 are observed: other MDM servers lost
profiles, kept devices throttled, and believed a success that had no effect. The figures of rule 5 are this
project's choice.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import Final

import attrs

from pyade.core.fleet.device import Device, DeviceResult, ProfileStatus
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import DeviceRecord

NO_PROFILE = ""
"""Instead of a ``profile_uuid``: no profile, as after removing it on purpose."""

COOLDOWN = timedelta(hours=24)
"""The wait after ``FAILED``, and after ``THROTTLED`` without a time.

Apple advised a product that retried every hour, and so kept two thousand Macs throttled, to wait a day
without any attempt. Below protocol version 9 a throttled device has the result ``FAILED``.
"""

RECHECK = timedelta(minutes=10)
"""The wait after details that contradict Apple's response: the details may be late."""

MAX_CONTRADICTIONS = 3
"""After so many contradictions within 24 hours a device waits until the first is a day old."""


_OF_ONE: Final = {"are": "is", "were": "was"}


class Reason(enum.StrEnum):
    """Why a device needs a request.

    Attributes:
        NO_PROFILE: Apple shows none for it.
        REMOVED: Its profile was removed: in the portal, by moving it, or by pyade.
        OTHER_PROFILE: It has another profile.
        REASSIGNED: It was assigned to this server after its profile was, and may be unable to fetch it.
        RETRY: The last attempt did not succeed, and its wait is over.
        UNCERTAIN: The effect of the last attempt is unknown: the details are read first.
        UNWANTED: It has a profile and should have none.
        UNKNOWN: An administrator named it, and the store does not know it.
    """

    NO_PROFILE = "had no profile"
    REMOVED = "had lost the profile"
    OTHER_PROFILE = "had another profile"
    REASSIGNED = "were assigned to the server again"
    RETRY = "are tried again"
    UNCERTAIN = "may have it already, or not"
    UNWANTED = "should have none"
    UNKNOWN = "are not known to the store"

    def of(self, count: int) -> str:
        """Return the reason as the predicate of *count* devices: ``were assigned``, and ``was`` of one."""
        verb, _, rest = self.value.partition(" ")
        return f"{_OF_ONE.get(verb, verb) if count == 1 else verb} {rest}"


class Risk(enum.StrEnum):
    """Why a Mac would fail to enroll.

    Attributes:
        NOTHING_CHOSEN: No rule and no default gives it a profile.
        NOT_ACCESSIBLE: Apple lists it, and says that this server has no access to it.
        NOT_CONFIRMED: Apple's response said that it has the profile, its details say that it has not.
        NOT_DONE: Apple did not assign the profile, for example because the device is throttled.
        REQUEST_FAILED: The request that was to assign the profile failed, or its profile was refused.
        NOT_REACHED: The newest assignment ended, or was cut short, before it was sent.
    """

    NOTHING_CHOSEN = "no rule and no default gives them a profile"
    NOT_ACCESSIBLE = "Apple lists them, and says that this server has no access to them"
    NOT_CONFIRMED = "Apple answered otherwise than their details show"
    NOT_DONE = "Apple did not give them their profile"
    REQUEST_FAILED = "the request that was to give them their profile failed"
    NOT_REACHED = "the newest assignment ended before their turn"


def profile_of(record: DeviceRecord) -> str:
    """Return the ``profile_uuid`` that the device would get now, as far as is known; "" for none."""
    device, attempt = record.device, record.attempt
    if attempt is not None and attempt.result == DeviceResult.SUCCESS:  # rule 1
        assigned_at = device.profile_assign_time
        is_superseded = assigned_at is not None and assigned_at > attempt.attempted_at
        if attempt.profile_uuid != NO_PROFILE or not is_superseded:
            return attempt.profile_uuid
    return NO_PROFILE if device.is_reassigned else device.shown_profile or NO_PROFILE  # rule 2


def needs_profile(
    record: DeviceRecord, wanted_uuid: str, now: datetime, *, asked: bool = False
) -> Reason | None:
    """Return why *record* needs a request so that it has the wanted profile; None if it needs none now.

    ``op_type`` does not count: a Mac that was assigned to the same server again arrives as ``modified``
    (observed).

    Args:
        record: The stored record.
        wanted_uuid: The profile that it should have; ``NO_PROFILE`` for none.
        now: UTC.
        asked: True if an administrator named the device: it is then tried although it was not accessible.
    """
    if record.is_released or has_profile(record, wanted_uuid) or not (asked or is_reachable(record)):
        return None
    if waits_until(record, now) is not None:  # rule 3
        return None
    return _why(record, wanted_uuid)


def _why(record: DeviceRecord, wanted_uuid: str) -> Reason:
    attempt, status = record.attempt, record.device.profile_status
    if attempt is not None and _is_same(attempt.profile_uuid, wanted_uuid):
        if attempt.result == DeviceResult.REQUEST_FAILED:
            return Reason.UNCERTAIN  # rule 4
        if wanted_uuid != NO_PROFILE and (
            attempt.result != DeviceResult.NOT_CONFIRMED or attempt.contradicted
        ):
            return Reason.RETRY
    if wanted_uuid == NO_PROFILE:
        return Reason.UNWANTED
    if profile_of(record) != NO_PROFILE:
        return Reason.OTHER_PROFILE
    if status == ProfileStatus.REMOVED:
        return Reason.REMOVED
    return Reason.REASSIGNED if record.device.is_reassigned else Reason.NO_PROFILE


def has_profile(record: DeviceRecord, wanted_uuid: str) -> bool:
    """Return True if the device has the wanted profile, or none where ``NO_PROFILE`` is wanted."""
    return _is_same(profile_of(record), wanted_uuid)


def is_reachable(record: DeviceRecord) -> bool:
    """Return False if Apple said that this server has no access, and has not shown the device since."""
    return record.attempt is None or record.attempt.result != DeviceResult.NOT_ACCESSIBLE


def waits_until(record: DeviceRecord, now: datetime) -> datetime | None:
    """Return the time before which the device must not be sent; None if it may be sent now."""
    attempt = record.attempt
    if attempt is None or attempt.not_before is None or attempt.not_before <= now:
        return None
    # After a clock was set back a wait may end in years; it counts for twice its length at most.
    wait = attempt.not_before - attempt.attempted_at
    return attempt.not_before if attempt.not_before - now <= 2 * wait else None


def failed_alone(attempt: Attempt) -> bool:
    """Return True if the request failed with the device alone in it, so that the device had to wait."""
    had_to_wait = attempt.not_before is not None and attempt.not_before > attempt.attempted_at
    return had_to_wait and attempt.result == DeviceResult.REQUEST_FAILED


def risk_of(record: DeviceRecord, *, is_chosen: bool, is_stopped: bool = False) -> Risk | None:
    """Return why the enrollment of a Mac would fail; None if it has a profile, or gets one in the next run.

    Args:
        record: The stored record.
        is_chosen: True if a rule or a default gives it a profile.
        is_stopped: True if the newest assignment of the token ended early.

    Source: specification, "Create an Apple enrollment profile".
    """
    if not is_without_profile(record):
        return None
    attempt = record.attempt
    if attempt is not None and not _is_overtaken(attempt):
        risk = _RISKS.get(attempt.result, Risk.NOT_DONE)
        if risk is not None:
            return risk
    if not is_chosen:
        return Risk.NOTHING_CHOSEN
    return Risk.NOT_REACHED if is_stopped else None


def is_without_profile(record: DeviceRecord) -> bool:
    """Return True for a Mac that Apple lists and that has no profile."""
    return not record.is_released and record.device.is_mac and profile_of(record) == NO_PROFILE


def outcome(
    result: DeviceResult,
    *,
    profile_uuid: str,
    attempted_at: datetime,
    answered_at: datetime,
    retry_after_s: float | None = None,
) -> Attempt:
    """Return the attempt to store for one device's result, with the time before which it is not sent again.

    Args:
        result: What Apple did; an unknown value counts as ``FAILED``.
        profile_uuid: What was sent; ``NO_PROFILE`` for a removal.
        attempted_at: When the request was about to be sent, UTC.
        answered_at: When the response had arrived, UTC; waits count from here.
        retry_after_s: The shortest wait that Apple asked for with throttled devices, seconds.

    Source: Apple, device assignment, "Assign a profile"; the wait after ``FAILED`` is observed.
    """
    # Rule 4: a time in the past means "due immediately", and keeps the attempt when newer events arrive: only
    # the attempt holds what was wanted for the device.
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


def confirmed(attempt: Attempt, device: Device | None, before: Attempt | None, now: datetime) -> Attempt:
    """Return *attempt* as the details that were read after it confirm or contradict it.

    Args:
        attempt: The attempt with Apple's response.
        device: The details; None if they could not be read. If they say nothing about a profile they are
            read once more, then Apple's response is believed.
        before: The previous attempt, which may have been contradicted, too.
        now: UTC.
    """
    if device is None or (not attempt.is_unread and _says_nothing(device, attempt)):
        is_unread = attempt.result in (DeviceResult.SUCCESS, DeviceResult.NOT_ACCESSIBLE)
        return attrs.evolve(attempt, is_unread=is_unread)
    attempt = attrs.evolve(attempt, is_unread=False) if attempt.is_unread else attempt
    if device.details_result != DeviceResult.SUCCESS:
        return attempt
    if attempt.result != DeviceResult.SUCCESS and attempt.agrees_with(device):
        return outcome(
            DeviceResult.SUCCESS,
            profile_uuid=attempt.profile_uuid,
            attempted_at=attempt.attempted_at,
            answered_at=now,
        )
    if not attempt.is_contradicted_by(device):
        return attempt
    earlier = () if before is None else before.contradicted
    times = (*(one for one in earlier if now - COOLDOWN < one <= now), now)[-MAX_CONTRADICTIONS:]
    is_last = len(times) == MAX_CONTRADICTIONS
    not_before = times[0] + COOLDOWN if is_last else now + RECHECK
    # Rule 5
    return attrs.evolve(attempt, result=DeviceResult.NOT_CONFIRMED, not_before=not_before, contradicted=times)


def _says_nothing(device: Device, attempt: Attempt) -> bool:
    """Return True if details neither confirm nor contradict *attempt*."""
    if attempt.result == DeviceResult.NOT_ACCESSIBLE:
        return device.details_result not in (DeviceResult.SUCCESS, DeviceResult.NOT_ACCESSIBLE)
    return device.details_result != DeviceResult.SUCCESS or device.shown_profile is None


def _is_overtaken(attempt: Attempt) -> bool:
    """Return True if something newer happened to the device, such as a removal of its profile."""
    return attempt.result == DeviceResult.NOT_CONFIRMED and not attempt.contradicted


def _is_same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


_RISKS = {
    DeviceResult.SUCCESS: None,
    DeviceResult.NOT_ACCESSIBLE: Risk.NOT_ACCESSIBLE,
    DeviceResult.NOT_CONFIRMED: Risk.NOT_CONFIRMED,
    DeviceResult.REQUEST_FAILED: Risk.REQUEST_FAILED,
    DeviceResult.NOT_SENT: Risk.REQUEST_FAILED,
}
_SETTLED_OR_UNKNOWN = (
    DeviceResult.SUCCESS,
    DeviceResult.MISSING,
    DeviceResult.REQUEST_FAILED,
    DeviceResult.NOT_SENT,
)
