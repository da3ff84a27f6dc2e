"""Outcomes of requests for many devices: assignments of profiles, and activities of the Apple Business API.

Apple's response to an assignment may be wrong; the details of a device that are read afterwards are
authoritative. An activity is a change that Apple School Manager or Apple Business carries out in the
background.

Source: Apple, Apple Business API, ``OrgDeviceActivity`` and "Create an OrgDeviceActivity"; the columns of the
log and its values are observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from pyade.core.fleet.device import Device, DeviceResult
from pyade.core.values import OpenStrEnum, format_time
from pyade.text import printable, short_repr


@attrs.frozen(kw_only=True)
class Attempt:
    """The newest attempt to assign a profile to a device.

    Attributes:
        profile_uuid: The profile that was sent.
        result: What Apple did.
        attempted_at: When the request was about to be sent, UTC.
        not_before: No further attempt before this time, UTC; None if the next run may try.
        contradicted: When the device's details contradicted Apple's response to an attempt, within a day,
            UTC.
        is_unread: True if Apple reported success, or that the device is not accessible, and its details could
            not be read afterwards, or said nothing about a profile.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    profile_uuid: str
    result: DeviceResult
    attempted_at: datetime
    not_before: datetime | None = None
    contradicted: tuple[datetime, ...] = ()
    is_unread: bool = False

    def agrees_with(self, device: Device) -> bool:
        """Return True if Apple shows *device* with the profile of this attempt."""
        return device.shows(self.profile_uuid)

    def is_contradicted_by(self, device: Device) -> bool:
        """Return True if the details of *device*, read after the attempt, contradict Apple's response.

        A device with details is accessible. A profile that another program assigned after a removal is no
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

        The contradictions of *before* are kept until the details confirm a success.
        """
        is_confirmed = self.result == DeviceResult.SUCCESS and not self.is_unread
        if before is None or self.contradicted or is_confirmed:
            return self
        return attrs.evolve(self, contradicted=before.contradicted) if before.contradicted else self

    def not_confirmed(self) -> Attempt:
        """Return this attempt as one that is due: a time in the past keeps it until it is settled."""
        return attrs.evolve(self, result=DeviceResult.NOT_CONFIRMED, not_before=self.attempted_at)


def group_by_attempt(attempts: Mapping[str, Attempt]) -> list[tuple[Attempt, list[str]]]:
    """Return each attempt with its serial numbers: devices of one request mostly share one attempt."""
    found: dict[int, tuple[Attempt, list[str]]] = {}
    for serial, attempt in attempts.items():
        known = found.get(id(attempt))
        if known is None:
            known = found[id(attempt)] = (attempt, [])
        known[1].append(serial)
    return list(found.values())


@attrs.frozen(kw_only=True)
class AssignmentFailure:
    """The newest error that prevented the assignment of a profile to devices that should have it.

    Attributes:
        profile: Name of the profile, or a text in parentheses if it has none.
        error: What Apple or the network reported, in words.
        at: When, UTC.
        devices: How many devices did not get it then.
    """

    profile: str
    error: str
    at: datetime
    devices: int


@attrs.frozen(kw_only=True)
class DeviceResults:
    """What Apple did for each device of a request; it contains every requested serial number.

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
        """The serial numbers for which Apple did what was requested."""
        return self.serials(DeviceResult.SUCCESS)

    @property
    def is_complete(self) -> bool:
        """True if Apple did what was requested for every device."""
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


MAX_MIGRATION_DAYS = 90
"""How far ahead a migration deadline may be. Source: Apple, ``OrgDeviceActivityType``."""


class ActivityType(OpenStrEnum):
    """What an activity does; ``RELEASE_DEVICES`` is of Apple Business only."""

    ASSIGN_DEVICES = "ASSIGN_DEVICES"
    UNASSIGN_DEVICES = "UNASSIGN_DEVICES"
    ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE = "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE"
    UPDATE_MDM_MIGRATION_DEADLINE = "UPDATE_MDM_MIGRATION_DEADLINE"
    CANCEL_MDM_MIGRATION = "CANCEL_MDM_MIGRATION"
    RELEASE_DEVICES = "RELEASE_DEVICES"


class ActivityStatus(OpenStrEnum):
    """The status of an activity; ``COMPLETED`` does not mean success."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


class ActivitySubStatus(OpenStrEnum):
    """The sub-status of an activity.

    Attributes:
        SUBMITTED: Accepted.
        PRE_PROCESSING: Working.
        PENDING: Working.
        PROCESSING: Working.
        POST_PROCESSING: The log is being written.
        STOPPING: Working.
        COMPLETED_WITH_SUCCESS: Every device was done.
        COMPLETED_WITH_ERROR: Some or all devices failed.
        COMPLETED_WITH_FAILURE: Some devices failed.
        COMPLETED_POST_PROCESSING_FAILED: Done, and there will be no log.
    """

    SUBMITTED = "SUBMITTED"
    PRE_PROCESSING = "PRE_PROCESSING"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    POST_PROCESSING = "POST_PROCESSING"
    STOPPING = "STOPPING"
    COMPLETED_WITH_SUCCESS = "COMPLETED_WITH_SUCCESS"
    COMPLETED_WITH_ERROR = "COMPLETED_WITH_ERROR"
    COMPLETED_WITH_FAILURE = "COMPLETED_WITH_FAILURE"
    COMPLETED_POST_PROCESSING_FAILED = "COMPLETED_POST_PROCESSING_FAILED"


class OperationStatus(OpenStrEnum):
    """The outcome for one device; upper-case values are those of Apple's log, lower-case ones pyade's own.

    Attributes:
        SUCCESS: Done: the log says so or, without a log, the device shows it.
        ISSUE: Not done; the sub-status says why.
        UNCHANGED: Apple reports an issue, and the device was as wanted already.
        MISSING: The log does not mention the device: it is not in the organization.
        UNKNOWN: There is no log, and the device does not show the change.
        PENDING: The activity had not ended; ``resume_activity`` asks again.
        LOST: The response to the request was lost, and the device does not show the change; check it again.
        NOT_SENT: An earlier part failed, and this one was not sent.
    """

    SUCCESS = "SUCCESS"
    ISSUE = "ISSUE"
    UNCHANGED = "unchanged"
    MISSING = "missing"
    UNKNOWN = "unknown"
    PENDING = "pending"
    LOST = "lost"
    NOT_SENT = "not_sent"


@attrs.frozen(kw_only=True)
class ActivityRequest:
    """What an activity is to do, without the devices.

    Attributes:
        activity_type: What to do.
        service_id: The device management service: where devices go or, to unassign, where they are.
        mdm_migration_deadline: When Apple enforces a migration that the user postponed, UTC.
    """

    activity_type: ActivityType
    service_id: str | None = None
    mdm_migration_deadline: datetime | None = None

    def body(self, serials: Iterable[str]) -> dict[str, Any]:
        """Return the JSON of the request.

        Source: Apple, "Create an OrgDeviceActivity".
        """
        attributes: dict[str, Any] = {"activityType": str(self.activity_type)}
        if self.mdm_migration_deadline is not None:
            deadline = format_time(self.mdm_migration_deadline)
            attributes["activityTypeMetadata"] = {"mdmMigrationDeadlineDateTime": deadline}
        relationships: dict[str, Any] = {
            "devices": {"data": [{"type": "orgDevices", "id": serial} for serial in serials]}
        }
        if self.service_id is not None:
            relationships["mdmServer"] = {"data": {"type": "mdmServers", "id": self.service_id}}
        data = {"type": "orgDeviceActivities", "attributes": attributes, "relationships": relationships}
        return {"data": data}

    def problem(self, now: datetime) -> str:
        """Return in words what Apple would refuse; "" if nothing is wrong."""
        if self.service_id is not None and not self.service_id:
            return "service_id '': the id of a device management service is needed"
        deadline = self.mdm_migration_deadline
        if deadline is None:
            return ""
        if deadline.tzinfo is None:
            return f"mdm_migration_deadline {deadline.isoformat()}: a time with a time zone is needed"
        if deadline > now + timedelta(days=MAX_MIGRATION_DAYS):
            return (
                f"mdm_migration_deadline {deadline.isoformat()}: at most {MAX_MIGRATION_DAYS} days ahead"
                " is allowed"
            )
        return ""


@attrs.frozen
class DeviceOutcome:
    """The outcome for one device.

    Attributes:
        status: What happened.
        sub_status: Apple's reason, such as ``INVALID_INPUT``; "" if there is none.
        activity_id: The activity that it was part of; None if none is known.
    """

    status: OperationStatus
    sub_status: str = ""
    activity_id: str | None = None

    @property
    def is_done(self) -> bool:
        """True if the device is as wanted."""
        return self.status in (OperationStatus.SUCCESS, OperationStatus.UNCHANGED)


@attrs.frozen(kw_only=True)
class ActivityOutcome:
    """The outcome for every device of a request.

    Attributes:
        request: What was requested.
        devices: Serial number to outcome, in the order of the request.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    request: ActivityRequest
    devices: Mapping[str, DeviceOutcome] = attrs.field(hash=False)

    def serials(self, *wanted: OperationStatus) -> tuple[str, ...]:
        """Return the serial numbers with one of the *wanted* statuses, in the order of the request."""
        return tuple(serial for serial, device in self.devices.items() if device.status in wanted)

    @property
    def succeeded(self) -> tuple[str, ...]:
        """The devices that are as wanted now."""
        return tuple(serial for serial, device in self.devices.items() if device.is_done)

    @property
    def failed(self) -> Mapping[str, DeviceOutcome]:
        """The devices that are not as wanted, or whose state is unknown."""
        return {serial: device for serial, device in self.devices.items() if not device.is_done}

    @property
    def is_complete(self) -> bool:
        """True if every device is as wanted now."""
        return not self.failed

    @property
    def activity_ids(self) -> tuple[str, ...]:
        """The activities that the devices were part of; Apple keeps them for 30 days."""
        ids = (device.activity_id for device in self.devices.values())
        return tuple(dict.fromkeys(activity_id for activity_id in ids if activity_id))

    def summary(self) -> str:
        """Return the counts in words: ``998 SUCCESS, 2 ISSUE (INVALID_INPUT)``."""
        words = (
            f"{device.status} ({device.sub_status})" if device.sub_status else str(device.status)
            for device in self.devices.values()
        )
        counts = Counter(words)
        return printable(", ".join(f"{count} {word}" for word, count in counts.most_common()) or "no devices")

    def with_devices(self, devices: Mapping[str, DeviceOutcome]) -> ActivityOutcome:
        """Return this outcome with the newer outcomes of *devices*."""
        return attrs.evolve(self, devices={**self.devices, **devices})
