"""Changes of many devices as flows: started, followed to their end, and an outcome for every serial number.

Rules of this file:

1. ``COMPLETED`` is not success: the log decides for each device and, where there is none, the device itself.
2. A device for which Apple reports an issue is looked at: one that is as wanted already is no failure.
3. After a lost answer nothing is sent again before the devices were watched for a minute: Apple has no list
   of activities. Then those that show no change are sent once more. A release never is.
4. Nothing waits for ever: after the deadline the outcome says what can be resumed.

The flows yield ``Now``, ``Wait``, ``SendCall`` and ``Download``.

Source: Apple, Apple Business API, "Create an OrgDeviceActivity", ``OrgDeviceActivity``; how late effects
show, and that an assignment to the same service is an issue, is observed.

What the devices themselves say about a change, and about their service.

Source: Apple, Apple Business API, the linkage endpoints; that a device without a service is answered with 404
or with an empty id is observed.

The log of an activity: a CSV file with a preamble, one row per device.

What stands before the row with ``serial_number`` is skipped. Rows have different lengths, cells have blanks
around them, and columns come in any order.

Source: observed; Apple documents that there is a log and not what is in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

import attrs

from pyade.apple.batches import chunks, distinct
from pyade.apple.http.calls import Call, SendCall, may_have_acted
from pyade.business import calls
from pyade.business.paging import Page, Walk
from pyade.business.resources import (
    Activity,
    AssignmentStatus,
    ManagementService,
    MigrationStatus,
    OrgDevice,
)
from pyade.core.fleet.outcomes import (
    ActivityOutcome,
    ActivityRequest,
    ActivityStatus,
    ActivitySubStatus,
    ActivityType,
    DeviceOutcome,
    OperationStatus,
)
from pyade.core.secret import Secret
from pyade.errors import (
    ActivityError,
    AppleError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TransportError,
)
from pyade.flow import Flow, Now, Step, Wait, ask

MAX_LOG_BYTES = 4 * 1024 * 1024
"""How long a log may be; one of 1,000 devices has some hundred kilobytes."""

MAX_DEVICES = 10_000
"""Devices of one activity at most; Apple takes 1,000."""

_SERIAL, _STATUS, _SUB_STATUS = "serial_number", "operation_status", "operation_substatus"


def read_log(content: bytes, activity_id: str | None = None) -> Mapping[str, DeviceOutcome] | None:
    """Return what the log says about each serial number; None if it is not such a log, or cannot be read.

    It is read whole or not at all: a device whose row cannot be read must not look as if it were not
    mentioned. Of several rows of one device the worst counts.

    Args:
        content: The file, at most 4 MiB and 10,000 devices.
        activity_id: What the log is of.
    """
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", errors="replace", newline="")
        rows = csv.reader(text)
        columns: dict[str, int] | None = None
        found: dict[str, DeviceOutcome] = {}
        for row in rows:
            cells = [cell.strip() for cell in row]
            if columns is None:
                names = [cell.lower() for cell in cells]
                if _SERIAL in names and _STATUS in names:
                    columns = {name: index for index, name in enumerate(names)}
                continue
            serial, status, sub_status = (
                _cell(cells, columns, name) for name in (_SERIAL, _STATUS, _SUB_STATUS)
            )
            before = found.get(serial)
            if serial and (before is None or before.is_done):
                result = OperationStatus(status or OperationStatus.MISSING)
                found[serial] = DeviceOutcome(result, sub_status, activity_id)
                if len(found) > MAX_DEVICES:
                    return None
    except csv.Error:
        return None
    return None if columns is None else found


def _cell(cells: list[str], columns: Mapping[str, int], name: str) -> str:
    index = columns.get(name, len(cells))
    return cells[index] if index < len(cells) else ""


T = TypeVar("T")

FEW = 20
"""Up to so many devices are asked one by one; for more the list of the service is read."""

_ASSIGNING = (
    ActivityType.ASSIGN_DEVICES,
    ActivityType.ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE,
)


def shown(request: ActivityRequest, serials: Iterable[str]) -> Flow[frozenset[str]]:
    """Return which of *serials* are as *request* wants them, as far as Apple shows it yet."""
    asked = tuple(serials)
    if request.activity_type in _ASSIGNING and request.service_id is not None and len(asked) > FEW:
        listed = yield from _whole_list(calls.list_service_serials(request.service_id))
        return frozenset(asked).intersection(listed)
    found: set[str] = set()
    for serial in asked:
        if (yield from _is_as_wanted(request, serial)):
            found.add(serial)
    return frozenset(found)


def service_flow(call: Call[T | None], serial_number: str) -> Flow[T | None]:
    """Return the service of a device, read with *call*; None if it has none.

    Raises:
        NotFoundError: The device is not in the organization.
    """
    try:
        return (yield from ask(SendCall(call)))
    except NotFoundError:
        # Said of a device without a service, too: the device itself tells which it is.
        yield from ask(SendCall(calls.device(serial_number)))
        return None


def find_service_flow(name: str) -> Flow[ManagementService]:
    """Return the service with that name, in any letter case.

    Raises:
        NotFoundError: There is none; the error lists those that are there.
        ConflictError: There are several.
    """
    services = yield from _whole_list(calls.list_services())
    found = [service for service in services if (service.server_name or "").casefold() == name.casefold()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(repr(service.server_name) for service in services[:20]) or "none"
    if not found:
        raise NotFoundError(
            "find a service", 0, "", f"no service {name!r}; there are {names}", "check the name"
        )
    ids = ", ".join(service.id for service in found)
    raise ConflictError("find a service", 0, "", f"{len(found)} services {name!r}: {ids}", "use the id")


def _whole_list(call: Call[Page[T]]) -> Flow[list[T]]:
    found: list[T] = []
    walk = Walk(call)
    while walk.call is not None:
        found.extend(walk.take((yield from ask(SendCall(walk.call)))))
    return found


def _is_as_wanted(request: ActivityRequest, serial: str) -> Flow[bool]:
    try:
        if request.activity_type in _ASSIGNING:
            assigned = yield from ask(SendCall(calls.assigned_service_id(serial)))
            return assigned == request.service_id
        device = yield from ask(SendCall(calls.device(serial)))
    except NotFoundError:
        return False
    return _shows(request, device)


def _shows(request: ActivityRequest, device: OrgDevice) -> bool:
    match request.activity_type:
        case ActivityType.UNASSIGN_DEVICES:
            return device.status == AssignmentStatus.UNASSIGNED
        case ActivityType.UPDATE_MDM_MIGRATION_DEADLINE:
            shows, wanted = device.mdm_migration_deadline_date_time, request.mdm_migration_deadline
            return shows is not None and wanted is not None and abs((shows - wanted).total_seconds()) < 1
        case ActivityType.CANCEL_MDM_MIGRATION:
            return device.mdm_migration_status not in (MigrationStatus.REQUESTED, MigrationStatus.STARTED)
        case ActivityType.RELEASE_DEVICES:
            return device.released_from_org_date_time is not None
    return False


SETTLE = timedelta(seconds=60)
"""How long devices are watched for a change that should show."""

LOG_WAIT = timedelta(seconds=30)
"""How long the log may be missing after the end of an activity (observed: some seconds)."""

DEADLINE_S = 600.0
"""Seconds within which an activity must end, unless the caller says otherwise; small ones take ten."""

POLL_S = 5.0
MAX_POLL_S = 30.0

Failure: TypeAlias = AppleError | TransportError
Devices: TypeAlias = Mapping[str, DeviceOutcome]


@attrs.frozen
class Download(Step[bytes]):
    """Fetch the log at *address* without an access token."""

    address: Secret


def activity_flow(
    request: ActivityRequest, serials: Iterable[str], *, deadline_s: float, confirm: bool = False
) -> Flow[ActivityOutcome]:
    """Carry *request* out for any number of devices and return what became of each.

    Args:
        request: What to do.
        serials: The devices; sent in parts of 1000.
        deadline_s: Seconds within which all of it must end.
        confirm: Must be True to release devices.

    Raises:
        InvalidRequestError: Something cannot be sent, or is not confirmed; nothing was.
        AppleError: The first part was refused; nothing was done.
        TransportError: The first part never reached Apple.
        ActivityError: A part did not end in time, was lost, or a later one was refused.
    """
    operation = calls.create_activity(request, ()).operation
    wanted = distinct(operation, serials)
    now = yield from ask(Now())
    if request.activity_type == ActivityType.RELEASE_DEVICES and confirm is not True:
        step = "a released device leaves the organization for ever: pass confirm=True"
        raise InvalidRequestError(operation, 0, "", "confirm is not True", step)
    if problem := request.problem(now):
        raise InvalidRequestError(operation, 0, "", problem, "correct it")
    ends_at = now + timedelta(seconds=deadline_s)
    outcome = ActivityOutcome(
        request=request, devices=dict.fromkeys(wanted, DeviceOutcome(OperationStatus.NOT_SENT))
    )
    is_first = True
    for part in chunks(wanted):
        failure: Failure | None
        try:
            devices, failure = yield from _part(request, part, ends_at)
        except (AppleError, TransportError) as error:
            if is_first:
                raise
            devices, failure = {}, error
        outcome = outcome.with_devices(devices)
        _raise_if_open(operation, outcome, failure)
        is_first = False
    return outcome


def resume_flow(outcome: ActivityOutcome, *, deadline_s: float) -> Flow[ActivityOutcome]:
    """Go on with what had not ended: ask for its activities again, look at its devices again.

    Devices that were not sent stay so.

    Raises:
        ActivityError: It has still not ended, or that cannot be found out.
    """
    request, operation = outcome.request, f"resume {outcome.request.activity_type}"
    ends_at = (yield from ask(Now())) + timedelta(seconds=deadline_s)
    parts: dict[str | None, list[str]] = {}
    for serial in outcome.serials(OperationStatus.PENDING, OperationStatus.LOST):
        parts.setdefault(outcome.devices[serial].activity_id, []).append(serial)
    for activity_id, part in parts.items():
        try:
            if activity_id is None:
                devices, failure = (yield from _watch(request, part, ends_at, OperationStatus.LOST)), None
            else:
                activity = yield from ask(SendCall(calls.activity(activity_id)))
                devices, failure = yield from _follow(request, part, activity, ends_at)
        except (AppleError, TransportError) as error:
            raise ActivityError(operation, str(error), outcome) from error
        outcome = outcome.with_devices(devices)
        _raise_if_open(operation, outcome, failure)
    return outcome


def log_flow(activity: Activity) -> Flow[Devices]:
    """Return what the log of an ended activity says about each device; empty if it has none."""
    ends_at = (yield from ask(Now())) + LOG_WAIT
    return (yield from _log(activity, ends_at)) or {}


def _raise_if_open(operation: str, outcome: ActivityOutcome, failure: Failure | None) -> None:
    if failure is not None:
        raise ActivityError(operation, str(failure), outcome) from failure
    if outcome.serials(OperationStatus.PENDING):
        raise ActivityError(operation, "the deadline was reached before its end", outcome)
    if outcome.serials(OperationStatus.LOST):
        raise ActivityError(operation, "an answer was lost, and the change does not show", outcome)


def _part(
    request: ActivityRequest, part: tuple[str, ...], ends_at: datetime
) -> Flow[tuple[Devices, Failure | None]]:
    """Send one part; after a lost answer watch the devices, and send once more what shows no change."""
    try:
        activity = yield from ask(SendCall(calls.create_activity(request, part)))
    except (AppleError, TransportError) as error:
        if not may_have_acted(error):
            raise
        lost = error
    else:
        return (yield from _follow(request, part, activity, ends_at))
    now = yield from ask(Now())
    try:
        devices = yield from _watch(request, part, min(ends_at, now + SETTLE), OperationStatus.LOST)
    except (AppleError, TransportError):
        # What matters to the caller is that Apple may have acted, not that looking failed.
        return dict.fromkeys(part, DeviceOutcome(OperationStatus.LOST)), lost
    rest = tuple(serial for serial, device in devices.items() if not device.is_done)
    now = yield from ask(Now())
    if not rest:
        return devices, None
    if request.activity_type == ActivityType.RELEASE_DEVICES or now >= ends_at:
        return devices, lost
    try:
        activity = yield from ask(SendCall(calls.create_activity(request, rest)))
    except (AppleError, TransportError) as error:
        return devices, error
    followed, failure = yield from _follow(request, rest, activity, ends_at)
    return {**devices, **followed}, failure


def _follow(
    request: ActivityRequest, part: Iterable[str], activity: Activity, ends_at: datetime
) -> Flow[tuple[Devices, Failure | None]]:
    """Follow *activity* to its end, and return the outcome of each device of *part*.

    Returns:
        The devices, and the error that kept the end from being seen.
    """
    started = yield from ask(Now())
    failure: Failure | None = None
    while activity.is_in_progress:
        now = yield from ask(Now())
        if now >= ends_at or failure is not None:
            pending = DeviceOutcome(OperationStatus.PENDING, activity_id=activity.id)
            return dict.fromkeys(part, pending), failure
        # The longer it took so far, the longer it will take.
        pause = min(MAX_POLL_S, max(POLL_S, (now - started).total_seconds() / 4))
        yield from ask(Wait(min(pause, (ends_at - now).total_seconds())))
        try:
            activity = yield from ask(SendCall(calls.activity(activity.id)))
        except (AppleError, TransportError) as error:
            failure = error
    return (yield from _settle(request, tuple(part), activity, ends_at)), None


def _settle(
    request: ActivityRequest, part: tuple[str, ...], activity: Activity, ends_at: datetime
) -> Flow[Devices]:
    """Return the outcome of each device of *part*, whose *activity* has ended."""
    log = yield from _log(activity, ends_at)
    if log is None:
        is_over = activity.status != ActivityStatus.COMPLETED
        now = yield from ask(Now())
        until = now if is_over else min(ends_at, now + SETTLE)
        try:
            return (yield from _watch(request, part, until, OperationStatus.UNKNOWN, activity.id))
        except (AppleError, TransportError):
            return dict.fromkeys(part, DeviceOutcome(OperationStatus.UNKNOWN, activity_id=activity.id))
    missing = DeviceOutcome(OperationStatus.MISSING, activity_id=activity.id)
    devices = {serial: log.get(serial, missing) for serial in part}
    issues = tuple(serial for serial, device in devices.items() if not device.is_done)
    if issues:
        try:
            unchanged = yield from shown(request, issues)
        except (AppleError, TransportError):
            return devices
        for serial in unchanged:
            devices[serial] = attrs.evolve(devices[serial], status=OperationStatus.UNCHANGED)
    return devices


def _watch(
    request: ActivityRequest,
    part: Iterable[str],
    until: datetime,
    otherwise: OperationStatus,
    activity_id: str | None = None,
) -> Flow[Devices]:
    """Look at the devices again and again until all show the change; after *until* they are *otherwise*."""
    left, pause = tuple(part), POLL_S
    devices = dict.fromkeys(left, DeviceOutcome(otherwise, activity_id=activity_id))
    while True:
        done = yield from shown(request, left)
        devices |= dict.fromkeys(done, DeviceOutcome(OperationStatus.SUCCESS, activity_id=activity_id))
        left = tuple(serial for serial in left if serial not in done)
        now = yield from ask(Now())
        if not left or now >= until:
            return devices
        yield from ask(Wait(min(pause, (until - now).total_seconds())))
        pause = min(MAX_POLL_S, 2 * pause)


def _log(activity: Activity, ends_at: datetime) -> Flow[Devices | None]:
    """Return the log of *activity*, which has ended; None if there is none that can be read."""
    until = min(ends_at, (yield from ask(Now())) + LOG_WAIT)
    tries_left = 2
    while True:
        try:
            if activity.download_url:
                content = yield from ask(Download(activity.download_url))
                return read_log(content, activity.id)
        except (AppleError, TransportError):
            tries_left -= 1
        has_none = (
            activity.status != ActivityStatus.COMPLETED
            or activity.sub_status == ActivitySubStatus.COMPLETED_POST_PROCESSING_FAILED
        )
        now = yield from ask(Now())
        if not tries_left or now >= until or (has_none and not activity.download_url):
            return None
        yield from ask(Wait(POLL_S))
        # The address expires soon: reading the activity again gives a fresh one.
        try:
            activity = yield from ask(SendCall(calls.activity(activity.id)))
        except (AppleError, TransportError):
            return None
