"""Events of changes, which are committed in the transaction of the change itself.

A store keeps an *outbox*: one compact row per transaction, an ``EventBatch``, which names each kind once and
the serial numbers under it. Readers see one ``Event`` per device.

Subscribers get every committed event at least once and in the order of the commits; ``Event.id`` is the same
with each delivery of an event.
"""

# ruff: noqa: S105 - kinds of events about tokens are no passwords

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import attrs
import msgspec

from pyade.core.exports import Exportable
from pyade.core.fleet.assignment import NO_PROFILE
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import Change, DeviceRecord
from pyade.core.values import OpenStrEnum
from pyade.errors import StoreError
from pyade.text import short_repr


class EventKind(OpenStrEnum):
    """What happened; a kind that a newer pyade wrote is kept as it is.

    Attributes:
        ADDED: A device was reported for the first time.
        MODIFIED: Something about a device differs.
        RELEASED: Apple no longer lists a device for this server.
        RETURNED: A released device is listed again.
        DELETED: A device was deleted here.
        RESTORED: A device that was deleted here is visible again.
        PURGED: A device that was released long ago was removed from the store.
        ASSIGNED: Apple assigned a profile to a device; ``profile_uuid`` says which.
        UNASSIGNED: Apple removed the profile from a device, as requested.
        ASSIGNMENT_FAILED: Apple did not do it; ``result`` says why.
        THROTTLED: Apple accepts no change of this device before ``not_before``.
        ASSIGNMENT_ERROR: A profile could not be assigned to devices; ``profile`` and ``error`` say more.
        TOKEN_EXPIRING: A server token is about to expire.
        TOKEN_SUSPENDED: An administrator must act before the token works again; ``reason`` says why.
        TOKEN_RESUMED: A suspended token works again.
        TOKEN_ACCOUNT_CHANGED: Apple names another MDM server or organization for a token than before;
            ``reason`` says which.
        TOKEN_REMOVED: A token was removed from the store, and its devices with it.
        ENROLLMENT_DECIDED: A Mac requested its enrollment profile; ``outcome`` and ``reason`` say what it
            got.
        REQUESTS_REFUSED: Requests for enrollment profiles were refused that have no event each; ``refused``
            says how many for each reason, ``since`` the start of the count.
        CREDENTIAL_REDEEMED: A client used the one-time credential of a profile to order a certificate;
            ``outcome`` and ``reason`` say whether the order was what the profile asked for.
        REGISTRATION_COMPLETED: The user of a Mac finished its registration.
        SETUP_PROBLEM: The accounts of a Mac that awaits its final configuration differ from those of its
            profile; ``problems`` says what it gets instead.
        SETUP_RELEASED: A Mac that awaited its final configuration was released from Setup Assistant.
        MESSAGE_TOO_LARGE: A Mac sent a message of more than 16 MiB, which was not read; ``bytes`` says how
            many.
    """

    ADDED = "added"
    MODIFIED = "modified"
    RELEASED = "released"
    RETURNED = "returned"
    DELETED = "deleted"
    RESTORED = "restored"
    PURGED = "purged"
    ASSIGNED = "assigned"
    UNASSIGNED = "unassigned"
    ASSIGNMENT_FAILED = "assignment_failed"
    THROTTLED = "throttled"
    ASSIGNMENT_ERROR = "assignment_error"
    TOKEN_EXPIRING = "token_expiring"
    TOKEN_SUSPENDED = "token_suspended"
    TOKEN_RESUMED = "token_resumed"
    TOKEN_ACCOUNT_CHANGED = "token_account_changed"
    TOKEN_REMOVED = "token_removed"
    ENROLLMENT_DECIDED = "enrollment_decided"
    REQUESTS_REFUSED = "requests_refused"
    CREDENTIAL_REDEEMED = "credential_redeemed"
    REGISTRATION_COMPLETED = "registration_completed"
    SETUP_PROBLEM = "setup_problem"
    SETUP_RELEASED = "setup_released"
    MESSAGE_TOO_LARGE = "message_too_large"


@attrs.frozen(kw_only=True)
class Event(Exportable):
    """One thing that happened and was committed.

    Attributes:
        id: Unique in the store, the same with each delivery, and the position after which reading goes on.
            Its format depends on the store.
        kind: What happened.
        token_name: The token it belongs to.
        serial_number: The device; None if it concerns the token as a whole.
        at: When, UTC, by the clock of the program that wrote it.
        details: More about it, plain JSON values; times are ISO 8601 texts.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    id: str
    kind: EventKind
    token_name: str
    serial_number: str | None = None
    at: datetime
    details: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class EventGroup:
    """Events of one transaction that differ in nothing but the device.

    Attributes:
        kind: What happened.
        serials: To which devices, in order; ``(None,)`` for the token as a whole.
        details: As in ``Event``.
    """

    kind: EventKind
    serials: tuple[str | None, ...] = (None,)
    details: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class EventBatch:
    """What one transaction writes to the outbox: one row.

    Attributes:
        token_name: The token.
        at: When, UTC.
        groups: What happened, in order.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    token_name: str
    at: datetime
    groups: tuple[EventGroup, ...]

    def expand(self, row_id: str, *, after: int = -1) -> Iterator[Event]:
        """Yield the events.

        Args:
            row_id: The store's id of the row; it becomes the first part of every id.
            after: Leave out the events up to this index.
        """
        index = 0
        for group in self.groups:
            skipped = min(max(after + 1 - index, 0), len(group.serials))
            for position in range(skipped, len(group.serials)):
                yield Event(
                    id=f"{row_id}.{index + position}",
                    kind=group.kind,
                    token_name=self.token_name,
                    serial_number=group.serials[position],
                    at=self.at,
                    details=group.details,
                )
            index += len(group.serials)


def split_id(event_id: str) -> tuple[str, int]:
    """Return the row and the index of an event's id.

    Raises:
        StoreError: *event_id* is no id of an event.
    """
    row_id, dot, index = event_id.rpartition(".")
    if not (row_id and dot and index.isascii() and index.isdigit()):
        raise StoreError(f"{event_id[:80]!r} is no id of an event: give one that events() returned")
    return row_id, int(index)


def position_of(after: str | None) -> tuple[int, int]:
    """Return the transaction and the row that the id of an event names; (0, 0) for the start.

    Raises:
        StoreError: *after* is no id of an event.
    """
    if not after:
        return 0, 0
    parts = _ROW_ID.fullmatch(split_id(after)[0])
    if parts is None:
        raise StoreError(
            f"{after[:80]!r} is no id of an event of this store: give one that events() returned"
        )
    return int(parts[1]), int(parts[2])


def encode_groups(groups: Iterable[EventGroup]) -> str:
    """Return the text that a database keeps for *groups*."""
    try:
        return _encode([(group.kind.value, group.serials, group.details) for group in groups]).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        kind = type(exc).__name__
    raise StoreError(f"the details of an event have no JSON form: {kind}")


def decode_groups(text: str) -> tuple[EventGroup, ...]:
    """Return the groups of a text made by ``encode_groups``."""
    try:
        return tuple(
            EventGroup(EventKind(kind), serials, details) for kind, serials, details in _decoder.decode(text)
        )
    except msgspec.DecodeError as exc:
        raise StoreError(f"a stored event cannot be read: {exc}") from exc


def change_groups(changes: Iterable[tuple[str, str]]) -> tuple[EventGroup, ...]:
    """Return the events of changes in their order, neighbours of one kind together.

    Args:
        changes: Pairs of change (``Change``, or an ``EventKind``) and serial number. What changed nothing
            makes no event.
    """
    news = [one for one in changes if one[0] not in (Change.UNCHANGED, Change.STALE)]
    return tuple(
        EventGroup(EventKind(change), tuple(map(itemgetter(1), run)))
        for change, run in groupby(news, itemgetter(0))
    )


def attempt_groups(
    before: Mapping[str, DeviceRecord],
    after: Mapping[str, DeviceRecord],
    attempts: Mapping[str, Attempt],
) -> tuple[EventGroup, ...]:
    """Return the events of attempts to assign that were stored, and of the details read after them.

    Args:
        before: The records as they were, by serial number. Devices that are alike may share one.
        after: The records that are written (``fleet.merging.merge_attempts``).
        attempts: The attempts by serial number; those that were not stored make no event.
    """
    outcomes: dict[tuple[EventKind, str, str, str | None], list[str]] = {}
    serials_of: dict[Any, list[str] | None] = {}  # devices that share record and attempt share an event
    for serial, attempt in attempts.items():
        known, record = before.get(serial), after.get(serial)
        shared = (id(known), id(record), id(attempt))
        if shared not in serials_of:
            serials_of[shared] = None
            if record is not None and record.attempt == attempt.after(
                None if known is None else known.attempt
            ):
                wait = attempt.not_before.isoformat() if attempt.not_before else None
                key = (_kind_of(attempt), attempt.profile_uuid, attempt.result.value, wait)
                serials_of[shared] = outcomes.setdefault(key, [])
        serials = serials_of[shared]
        if serials is not None:
            serials.append(serial)
    groups = list(change_groups(_details_changes(before, after, attempts)))
    for (kind, profile_uuid, result, wait), alike in outcomes.items():
        details = {"profile_uuid": profile_uuid, "result": result}
        groups.append(EventGroup(kind, tuple(alike), details | ({"not_before": wait} if wait else {})))
    return tuple(groups)


def _details_changes(
    before: Mapping[str, DeviceRecord], after: Mapping[str, DeviceRecord], attempts: Mapping[str, Attempt]
) -> Iterator[tuple[str, str]]:
    for serial, record in after.items():
        known = before.get(serial)
        if known is None:
            yield Change.ADDED, serial
        elif record.is_hidden:
            continue  # hidden devices make no events until they are restored
        elif known.is_released and not record.is_released:
            yield Change.RETURNED, serial
        elif serial not in attempts and known.device != record.device:
            # The event of the assignment itself already says what the details show.
            yield Change.MODIFIED, serial


def _kind_of(attempt: Attempt) -> EventKind:
    if attempt.result == DeviceResult.SUCCESS:
        return EventKind.UNASSIGNED if attempt.profile_uuid == NO_PROFILE else EventKind.ASSIGNED
    throttled = attempt.result == DeviceResult.THROTTLED
    return EventKind.THROTTLED if throttled else EventKind.ASSIGNMENT_FAILED


_ROW_ID = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(list[tuple[str, tuple[str | None, ...], dict[str, Any]]])
