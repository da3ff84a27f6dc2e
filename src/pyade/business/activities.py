"""Flows that change many devices: start an activity, wait for its end, return an outcome per serial number.

The rules of this file:

1. ``COMPLETED`` does not mean success: the log decides for each device; without a log, the device record.
2. If Apple reports an issue with a device, read the device: one that is already as requested has not failed.
3. After a lost response, poll the devices for a minute before anything is sent again, because Apple has no
   list of activities. Then send those that show no change once more. Never send a release twice.
4. Every wait has a deadline; after it the outcome says what can be resumed.
5. The log is a CSV file with a preamble and one row per device. Skip what precedes the row with
   ``serial_number``, accept rows of different lengths, blanks around cells, and columns in any order.

The flows yield ``Now``, ``Wait``, ``SendCall`` and ``Download``.

Source: Apple, Apple Business API, "Create an OrgDeviceActivity", ``OrgDeviceActivity``, and the linkage
endpoints. Observed: how late effects show; that an assignment to the same service is an issue; that a device
without a service is answered with 404 or with an empty id; the contents of the log, of which Apple documents
only that it exists.
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
from pyade.business.paging import Page, PageReader
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
"""Maximum size of a log; the log of 1,000 devices has some hundred kilobytes."""

MAX_DEVICES = 10_000
"""Maximum number of devices in a log; Apple accepts 1,000 per activity."""

_SERIAL, _STATUS, _SUB_STATUS = "serial_number", "operation_status", "operation_substatus"


def read_log(content: bytes, activity_id: str | None = None) -> Mapping[str, DeviceOutcome] | None:
    """Return the outcome of each serial number in the log; None if it is another file, or cannot be read.

    The log is read completely or not at all: a device whose row cannot be read must not look like a device
    without a row. If a device has several rows, a failure wins.

    Args:
        content: The file, at most 4 MiB and 10,000 devices.
        activity_id: The activity that the log belongs to.
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
                continue  # rule 5
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
"""Up to this number of devices are read one by one; for more, the list of the service is read."""

_ASSIGNING = (
    ActivityType.ASSIGN_DEVICES,
    ActivityType.ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE,
)


def applied_serials(request: ActivityRequest, serials: Iterable[str]) -> Flow[frozenset[str]]:
    """Return those of *serials* that are as *request* wants them, as far as Apple shows the change yet."""
    asked = tuple(serials)
    if request.activity_type in _ASSIGNING and request.service_id is not None and len(asked) > FEW:
        listed = yield from _read_all_pages(calls.list_service_serials(request.service_id))
        return frozenset(asked).intersection(listed)
    found: set[str] = set()
    for serial in asked:
        if (yield from _is_applied(request, serial)):
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
        # Apple also answers this for a device without a service; reading the device decides.
        yield from ask(SendCall(calls.device(serial_number)))
        return None


def find_service_flow(name: str) -> Flow[ManagementService]:
    """Return the service with that name, in any letter case.

    Raises:
        NotFoundError: There is no such service; the error lists the existing ones.
        ConflictError: There are several services with that name.
    """
    services = yield from _read_all_pages(calls.list_services())
    found = [service for service in services if (service.server_name or "").casefold() == name.casefold()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(repr(service.server_name) for service in services[:20]) or "none"
    if not found:
        raise NotFoundError(
            "find a service", 0, "", f"no service {name!r}; existing services: {names}", "check the name"
        )
    ids = ", ".join(service.id for service in found)
    raise ConflictError("find a service", 0, "", f"{len(found)} services {name!r}: {ids}", "use the id")


def _read_all_pages(call: Call[Page[T]]) -> Flow[list[T]]:
    found: list[T] = []
    pages = PageReader(call)
    while pages.call is not None:
        found.extend(pages.take((yield from ask(SendCall(pages.call)))))
    return found


def _is_applied(request: ActivityRequest, serial: str) -> Flow[bool]:
    try:
        if request.activity_type in _ASSIGNING:
            assigned = yield from ask(SendCall(calls.assigned_service_id(serial)))
            return assigned == request.service_id
        device = yield from ask(SendCall(calls.device(serial)))
    except NotFoundError:
        return False
    return _matches(request, device)


def _matches(request: ActivityRequest, device: OrgDevice) -> bool:
    match request.activity_type:
        case ActivityType.UNASSIGN_DEVICES:
            return device.status == AssignmentStatus.UNASSIGNED
        case ActivityType.UPDATE_MDM_MIGRATION_DEADLINE:
            actual, wanted = device.mdm_migration_deadline_date_time, request.mdm_migration_deadline
            return actual is not None and wanted is not None and abs((actual - wanted).total_seconds()) < 1
        case ActivityType.CANCEL_MDM_MIGRATION:
            return device.mdm_migration_status not in (MigrationStatus.REQUESTED, MigrationStatus.STARTED)
        case ActivityType.RELEASE_DEVICES:
            return device.released_from_org_date_time is not None
    return False


SETTLE = timedelta(seconds=60)
"""How long devices are polled for a change that should show."""

LOG_WAIT = timedelta(seconds=30)
"""How long to wait for the log after the end of an activity (observed: some seconds)."""

DEADLINE_S = 600.0
"""Default number of seconds within which an activity must end; a small activity takes ten."""

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
    """Carry out *request* for any number of devices and return the outcome of each.

    Args:
        request: The change.
        serials: Serial numbers of the devices; sent in batches of 1000.
        deadline_s: Seconds within which all batches must end.
        confirm: Must be True to release devices.

    Raises:
        InvalidRequestError: A value cannot be sent, or a release is not confirmed; nothing was sent.
        AppleError: Apple refused the first batch; nothing was changed.
        TransportError: The first batch never reached Apple.
        ActivityError: A batch did not end in time, its response was lost, or Apple refused a later batch.
    """
    operation = calls.create_activity(request, ()).operation
    wanted = distinct(operation, serials)
    now = yield from ask(Now())
    if request.activity_type == ActivityType.RELEASE_DEVICES and confirm is not True:
        step = "a released device leaves the organization permanently: pass confirm=True"
        raise InvalidRequestError(operation, 0, "", "confirm is not True", step)
    if problem := request.problem(now):
        raise InvalidRequestError(operation, 0, "", problem, "correct the request")
    ends_at = now + timedelta(seconds=deadline_s)  # rule 4
    outcome = ActivityOutcome(
        request=request, devices=dict.fromkeys(wanted, DeviceOutcome(OperationStatus.NOT_SENT))
    )
    is_first = True
    for batch in chunks(wanted):
        failure: Failure | None
        try:
            devices, failure = yield from _run_batch(request, batch, ends_at)
        except (AppleError, TransportError) as error:
            if is_first:
                raise
            devices, failure = {}, error
        outcome = outcome.with_devices(devices)
        _raise_if_open(operation, outcome, failure)
        is_first = False
    return outcome


def resume_flow(outcome: ActivityOutcome, *, deadline_s: float) -> Flow[ActivityOutcome]:
    """Continue to wait for what had not ended: read its activities and its devices again.

    Devices that were not sent are not sent now either.

    Raises:
        ActivityError: It has still not ended, or its state cannot be read.
    """
    request, operation = outcome.request, f"resume {outcome.request.activity_type}"
    ends_at = (yield from ask(Now())) + timedelta(seconds=deadline_s)
    batches: dict[str | None, list[str]] = {}
    for serial in outcome.serials(OperationStatus.PENDING, OperationStatus.LOST):
        batches.setdefault(outcome.devices[serial].activity_id, []).append(serial)
    for activity_id, batch in batches.items():
        try:
            if activity_id is None:
                polled = yield from _poll_devices(request, batch, ends_at, OperationStatus.LOST)
                devices, failure = polled, None
            else:
                activity = yield from ask(SendCall(calls.activity(activity_id)))
                devices, failure = yield from _poll_activity(request, batch, activity, ends_at)
        except (AppleError, TransportError) as error:
            raise ActivityError(operation, str(error), outcome) from error
        outcome = outcome.with_devices(devices)
        _raise_if_open(operation, outcome, failure)
    return outcome


def log_flow(activity: Activity) -> Flow[Devices]:
    """Return the outcome of each device from the log of an ended activity; empty if it has no log."""
    ends_at = (yield from ask(Now())) + LOG_WAIT
    return (yield from _fetch_log(activity, ends_at)) or {}


def _raise_if_open(operation: str, outcome: ActivityOutcome, failure: Failure | None) -> None:
    if failure is not None:
        raise ActivityError(operation, str(failure), outcome) from failure
    if outcome.serials(OperationStatus.PENDING):
        raise ActivityError(operation, "the deadline passed before the activity ended", outcome)
    if outcome.serials(OperationStatus.LOST):
        raise ActivityError(operation, "a response was lost, and the devices do not show the change", outcome)


def _run_batch(
    request: ActivityRequest, batch: tuple[str, ...], ends_at: datetime
) -> Flow[tuple[Devices, Failure | None]]:
    """Send one batch; after a lost response poll the devices, and resend those that show no change once."""
    try:
        activity = yield from ask(SendCall(calls.create_activity(request, batch)))
    except (AppleError, TransportError) as error:
        if not may_have_acted(error):
            raise
        lost = error
    else:
        return (yield from _poll_activity(request, batch, activity, ends_at))
    now = yield from ask(Now())
    try:
        until = min(ends_at, now + SETTLE)
        devices = yield from _poll_devices(request, batch, until, OperationStatus.LOST)  # rule 3
    except (AppleError, TransportError):
        # Report that Apple may have acted, not that polling failed.
        return dict.fromkeys(batch, DeviceOutcome(OperationStatus.LOST)), lost
    rest = tuple(serial for serial, device in devices.items() if not device.is_done)
    now = yield from ask(Now())
    if not rest:
        return devices, None
    if request.activity_type == ActivityType.RELEASE_DEVICES or now >= ends_at:  # rule 3
        return devices, lost
    try:
        activity = yield from ask(SendCall(calls.create_activity(request, rest)))
    except (AppleError, TransportError) as error:
        return devices, error
    polled, failure = yield from _poll_activity(request, rest, activity, ends_at)
    return {**devices, **polled}, failure


def _poll_activity(
    request: ActivityRequest, batch: Iterable[str], activity: Activity, ends_at: datetime
) -> Flow[tuple[Devices, Failure | None]]:
    """Poll *activity* until its end, and return the outcome of each device of *batch*.

    Returns:
        The outcomes, and the error that stopped the polling, None if there was none.
    """
    started = yield from ask(Now())
    failure: Failure | None = None
    while activity.is_in_progress:
        now = yield from ask(Now())
        if now >= ends_at or failure is not None:  # rule 4
            pending = DeviceOutcome(OperationStatus.PENDING, activity_id=activity.id)
            return dict.fromkeys(batch, pending), failure
        # The longer an activity has taken, the longer it is likely to take.
        pause = min(MAX_POLL_S, max(POLL_S, (now - started).total_seconds() / 4))
        yield from ask(Wait(min(pause, (ends_at - now).total_seconds())))
        try:
            activity = yield from ask(SendCall(calls.activity(activity.id)))
        except (AppleError, TransportError) as error:
            failure = error
    return (yield from _read_outcomes(request, tuple(batch), activity, ends_at)), None


def _read_outcomes(
    request: ActivityRequest, batch: tuple[str, ...], activity: Activity, ends_at: datetime
) -> Flow[Devices]:
    """Return the outcome of each device of *batch*, whose *activity* has ended."""
    log = yield from _fetch_log(activity, ends_at)
    if log is None:  # rule 1
        is_over = activity.status != ActivityStatus.COMPLETED
        now = yield from ask(Now())
        until = now if is_over else min(ends_at, now + SETTLE)
        try:
            return (yield from _poll_devices(request, batch, until, OperationStatus.UNKNOWN, activity.id))
        except (AppleError, TransportError):
            return dict.fromkeys(batch, DeviceOutcome(OperationStatus.UNKNOWN, activity_id=activity.id))
    missing = DeviceOutcome(OperationStatus.MISSING, activity_id=activity.id)
    devices = {serial: log.get(serial, missing) for serial in batch}
    issues = tuple(serial for serial, device in devices.items() if not device.is_done)
    if issues:
        try:
            unchanged = yield from applied_serials(request, issues)  # rule 2
        except (AppleError, TransportError):
            return devices
        for serial in unchanged:
            devices[serial] = attrs.evolve(devices[serial], status=OperationStatus.UNCHANGED)
    return devices


def _poll_devices(
    request: ActivityRequest,
    batch: Iterable[str],
    until: datetime,
    otherwise: OperationStatus,
    activity_id: str | None = None,
) -> Flow[Devices]:
    """Poll the devices until all show the change; those that do not by *until* get the status *otherwise*."""
    left, pause = tuple(batch), POLL_S
    devices = dict.fromkeys(left, DeviceOutcome(otherwise, activity_id=activity_id))
    while True:
        done = yield from applied_serials(request, left)
        devices |= dict.fromkeys(done, DeviceOutcome(OperationStatus.SUCCESS, activity_id=activity_id))
        left = tuple(serial for serial in left if serial not in done)
        now = yield from ask(Now())
        if not left or now >= until:
            return devices
        yield from ask(Wait(min(pause, (until - now).total_seconds())))
        pause = min(MAX_POLL_S, 2 * pause)


def _fetch_log(activity: Activity, ends_at: datetime) -> Flow[Devices | None]:
    """Return the log of *activity*, which has ended; None if there is no log, or it cannot be read."""
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
        # The address expires soon; reading the activity again returns a new one.
        try:
            activity = yield from ask(SendCall(calls.activity(activity.id)))
        except (AppleError, TransportError):
            return None
