"""Fetch and sync pages with their cursors, and the keys that each protocol version returns.

Behaviour that Apple's pages do not describe was observed or, failing that, chosen.

Source: Apple, device assignment, "Get a list of devices", "Sync the list of devices", "Assign a profile" and
the pages Device, Profile and AccountDetail.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from pyade.testing.apple.answers import RefusedError
from pyade.testing.apple.model import AppleSettings, Identifiers, Operation, Record, Server, timestamp

_DEVICE_KEYS_SINCE: Mapping[str, int] = {
    "device_family": 2,
    "os": 2,
    "mdm_migration_deadline": 8,
    "bluetooth_mac_address": 10,
    "wifi_mac_address": 10,
    "ethernet_mac_address": 10,
    "eid": 10,
    "imei": 10,
    "meid": 10,
    "is_replacement_device": 10,
    "released_by_replacement": 10,
}
_PROFILE_KEYS_SINCE: Mapping[str, int] = {
    "auto_advance_setup": 2,
    "await_device_configured": 2,
    "is_multi_user": 2,
    "support_email_address": 2,
}
_ACCOUNT_KEYS_SINCE: Mapping[str, int] = {
    "org_id": 3,
    "org_id_hash": 3,
    "org_type": 3,
    "org_version": 3,
    "urls": 3,
}
_HIGHEST = 10


def visible_device(record: Record, version: int) -> Record:
    """Return the keys of a device *record* that protocol *version* returns."""
    if version >= _HIGHEST:
        return record
    shown = _keys_of_version(record, _DEVICE_KEYS_SINCE, version)
    if version < 7 and shown.get("os") == "iPadOS":
        shown["os"] = "iOS"
    return shown


def visible_profile(profile: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the keys of a profile that protocol *version* returns."""
    return _keys_of_version(profile, _PROFILE_KEYS_SINCE, version)


def visible_account(account: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the keys of the account detail that protocol *version* returns."""
    return _keys_of_version(account, _ACCOUNT_KEYS_SINCE, version)


def _keys_of_version(source: Mapping[str, Any], since: Mapping[str, int], version: int) -> dict[str, Any]:
    return {key: value for key, value in source.items() if since.get(key, 0) <= version}


_CURSOR_LIFETIME = timedelta(days=7)


@attrs.frozen(kw_only=True)
class Cursor:
    """The position that a cursor value stands for.

    Attributes:
        server: The server whose devices it lists.
        issued_at: UTC.
        log_position: The index in the server's operations where a sync continues.
        snapshot: The devices of the current fetch; None after its last page and for a sync.
        offset: The index in the snapshot where the fetch continues.
    """

    server: Server
    issued_at: datetime
    log_position: int
    snapshot: tuple[Operation, ...] | None = attrs.field(default=None, repr=False)
    offset: int = 0


class Pager:
    """Answers fetch and sync requests, and stores every cursor that it issued."""

    def __init__(self, settings: AppleSettings, identifiers: Identifiers) -> None:
        self._settings = settings
        self._identifiers = identifiers
        self._cursors: dict[str, Cursor] = {}

    def forget(self, server: Server | None = None) -> None:
        """Drop every cursor of *server*, or all cursors."""
        self._cursors = {
            value: cursor for value, cursor in self._cursors.items() if server not in (None, cursor.server)
        }

    def expire(self, server: Server | None = None) -> None:
        """Make every cursor of *server*, or all cursors, older than Apple accepts."""
        for value, cursor in self._cursors.items():
            if server in (None, cursor.server):
                self._cursors[value] = attrs.evolve(
                    cursor, issued_at=datetime.min.replace(tzinfo=cursor.issued_at.tzinfo)
                )

    def fetch(
        self,
        server: Server,
        body: dict[str, Any],
        version: int,
        now: datetime,
        *,
        repeat_cursor: bool = False,
    ) -> dict[str, Any]:
        """Return one page of the devices that were assigned to *server* when the fetch began.

        Raises:
            RefusedError: The cursor or the limit is not valid.
        """
        value = _cursor_value(body)
        limit = self._limit(body)
        if value:
            start = self._find(value, server, now)
            if start.snapshot is None:
                raise RefusedError(400, "EXHAUSTED_CURSOR")
        else:
            start = Cursor(
                server=server, issued_at=now, log_position=len(server.operations), snapshot=server.snapshot()
            )
        snapshot = start.snapshot or ()
        end = min(start.offset + limit, len(snapshot))
        page = snapshot[start.offset : end]
        more = end < len(snapshot)
        following = attrs.evolve(
            start, issued_at=now, snapshot=snapshot if more else None, offset=end if more else 0
        )
        return self._page(
            [visible_device(operation.record, version) for operation in page],
            cursor=value if value and repeat_cursor else self._store_cursor(following, end),
            more=more or bool(value and repeat_cursor),
            fetched_until=snapshot[end - 1].op_date if more else timestamp(now),
        )

    def sync(
        self,
        server: Server,
        body: dict[str, Any],
        version: int,
        now: datetime,
        *,
        repeat_cursor: bool = False,
    ) -> dict[str, Any]:
        """Return one page of the operations on devices of *server* since the cursor.

        Raises:
            RefusedError: The cursor or the limit is not valid.
        """
        value = _cursor_value(body)
        if not value:
            raise RefusedError(400, "CURSOR_REQUIRED")
        start = self._find(value, server, now)
        limit = self._limit(body)
        page, end = _operations(server, start.log_position, limit)
        more = end < len(server.operations)
        following = Cursor(server=server, issued_at=now, log_position=end)
        return self._page(
            [_with_operation(operation, version) for operation in page],
            cursor=value if repeat_cursor else self._store_cursor(following, end),
            more=more or repeat_cursor,
            fetched_until=page[-1].op_date if page else timestamp(now),
        )

    def _page(self, devices: list[Record], *, cursor: str, more: bool, fetched_until: str) -> dict[str, Any]:
        return {
            "devices": devices,
            "fetched_until": fetched_until,
            "cursor": cursor,
            "more_to_follow": more,
        }

    def _find(self, value: str, server: Server, now: datetime) -> Cursor:
        cursor = self._cursors.get(value)
        if cursor is None or cursor.server is not server:
            raise RefusedError(400, "INVALID_CURSOR")
        if now - cursor.issued_at > _CURSOR_LIFETIME:
            raise RefusedError(400, "EXPIRED_CURSOR")
        return cursor

    def _store_cursor(self, cursor: Cursor, position: int) -> str:
        value = self._identifiers.cursor(cursor.issued_at, position, length=self._settings.cursor_length)
        self._cursors[value] = cursor
        return value

    def _limit(self, body: dict[str, Any]) -> int:
        limit = body.get("limit")
        if limit is None:
            return self._settings.page_default
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise RefusedError(400, "MALFORMED_REQUEST_BODY")
        return min(max(1, limit), self._settings.page_maximum)


def _cursor_value(body: dict[str, Any]) -> str:
    value = body.get("cursor")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusedError(400, "MALFORMED_REQUEST_BODY")
    return value


def _operations(server: Server, start: int, limit: int) -> tuple[list[Operation], int]:
    """Return up to *limit* operations from *start* that sync reports, and the start of the next page."""
    if not server.hidden_from_sync:
        page = server.operations[start : start + limit]
        return page, start + len(page)
    page = []
    for position in range(start, len(server.operations)):
        if server.operations[position].serial_number in server.hidden_from_sync:
            continue
        if len(page) == limit:
            return page, position
        page.append(server.operations[position])
    return page, len(server.operations)


def _with_operation(operation: Operation, version: int) -> Record:
    return {
        **visible_device(operation.record, version),
        "op_type": operation.op_type,
        "op_date": operation.op_date,
    }
