"""The minimal implementations that pyade is compared with: a client that reads pages, a table to store them.

They send the same bodies to the same server and decode its responses into a class of 13 fields. They have no
limits, handle no errors and merge nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import httpx
import msgspec

from fleet import PAGE

_HEADERS = {"X-ADM-Auth-Session": "benchmark-session", "Content-Type": "application/json;charset=UTF8"}


@attrs.define
class BareDevice:
    """The 13 keys that Apple returns for a Mac with a profile."""

    serial_number: str
    model: str | None = None
    description: str | None = None
    color: str | None = None
    device_family: str | None = None
    os: str | None = None
    profile_status: str | None = None
    device_assigned_date: str | None = None
    device_assigned_by: str | None = None
    bluetooth_mac_address: str | None = None
    wifi_mac_address: str | None = None
    profile_uuid: str | None = None
    profile_assign_time: str | None = None


class BarePage(msgspec.Struct):
    """One page, with an object for each record."""

    devices: list[BareDevice]
    cursor: str
    more_to_follow: bool


class _Documents(msgspec.Struct):
    devices: list[msgspec.Raw]


_page = msgspec.json.Decoder(BarePage).decode
_documents = msgspec.json.Decoder(_Documents).decode


class BareClient:
    """An HTTP client with a fixed session."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, headers=_HEADERS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def post(self, path: str, body: dict[str, Any]) -> bytes:
        """Send *body* and return the body of the response."""
        return self._http.post(path, content=msgspec.json.encode(body)).content

    def pages(self) -> Iterator[tuple[bytes, BarePage]]:
        """Iterate over the full list: the bytes of each page, and the decoded page."""
        body: dict[str, Any] = {"limit": PAGE}
        while True:
            content = self.post("server/devices", body)
            page = _page(content)
            yield content, page
            if not page.more_to_follow:
                return
            body["cursor"] = page.cursor


def devices(content: bytes) -> Iterator[tuple[BareDevice, str]]:
    """Iterate over the devices of a page, each with its own JSON."""
    documents = (str(document, "utf-8") for document in _documents(content).devices)
    return zip(_page(content).devices, documents, strict=True)


def rows(content: bytes, page: BarePage) -> list[tuple[str, str | None, str]]:
    """Return serial number, status and the record's own JSON of each device of a page."""
    documents = _documents(content).devices
    return [
        (device.serial_number, device.profile_status, str(document, "utf-8"))
        for device, document in zip(page.devices, documents, strict=True)
    ]


class BareStore:
    """A table of devices and a cursor in SQLite, as durable as pyade's, or in memory."""

    def __init__(self, path: Path | str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = FULL")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS device ("
            "serial_number TEXT PRIMARY KEY, profile_status TEXT, document TEXT, list INTEGER, outcome TEXT)"
        )
        self.database.execute("CREATE TABLE IF NOT EXISTS cursor (value TEXT)")
        self.database.execute("INSERT INTO cursor VALUES ('')")

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block in a transaction, and commit it."""
        self.database.execute("BEGIN IMMEDIATE")
        yield self.database
        self.database.execute("COMMIT")

    def add(self, found: Sequence[tuple[str, str | None, str]], cursor: str = "") -> None:
        """Store the devices of a page with the cursor that follows it."""
        with self.transaction() as database:
            database.executemany(
                "INSERT INTO device (serial_number, profile_status, document, list) VALUES (?, ?, ?, 1)",
                found,
            )
            database.execute("UPDATE cursor SET value = ?", (cursor,))
