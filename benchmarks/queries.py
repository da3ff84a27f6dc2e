"""Measure reads of a fleet without work to do: is an assignment due, the overview, the Macs at risk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from bare import devices
from fleet import PAGE, PROFILE_UUID, START, Fleet, serial, token
from pyade import Assigner, Client, doctor
from pyade.apple import DevicePage
from pyade.assignment import devices_at_risk
from pyade.core.fleet.device import DeviceResult
from pyade.operations import overview
from pyade.storage import Attempt, Source, SQLiteStore
from setting import Setting
from stores import assign_all, clock_at, fill
from table import Row, interleaved, timed

_DEVICES = 200_000
_TABLE = """
    CREATE TABLE device (
        serial_number TEXT PRIMARY KEY, device_family TEXT, os TEXT, model TEXT, profile_status TEXT,
        profile_uuid TEXT, released_at TEXT, deleted_at TEXT, attempt_uuid TEXT, attempt_result TEXT,
        document TEXT
    )
"""
_INSERT = """
    INSERT INTO device (serial_number, device_family, os, model, profile_status, profile_uuid, document)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_DECISION = """
    SELECT serial_number, device_family, os, model, profile_status, profile_uuid, attempt_uuid, attempt_result
    FROM device WHERE released_at IS NULL AND deleted_at IS NULL
"""
_COUNT = """
    SELECT released_at IS NOT NULL, coalesce(profile_status, ''), count(*)
    FROM device WHERE deleted_at IS NULL GROUP BY 1, 2
"""


def rows(setting: Setting) -> Iterator[Row]:
    """Measure a fleet with its profile, then with a few Macs that lost it."""
    fleet = Fleet(setting.size(_DEVICES), True)
    with SQLiteStore(setting.new_file()) as store, closing(_bare(setting, fleet)) as bare:
        fill(store, fleet)
        assign_all(store)
        yield _nothing_due(setting, fleet, store, bare, "as in Apple's list")
        bare.execute("UPDATE device SET attempt_uuid = profile_uuid, attempt_result = 'SUCCESS'")
        _store_attempts(fleet, store)
        yield _nothing_due(setting, fleet, store, bare, "after attempts")
        yield from _reports(fleet, store, bare)


def _bare(setting: Setting, fleet: Fleet) -> sqlite3.Connection:
    """Return a plain table of the fleet: a row for each device, with Apple's record and a few columns."""
    connection = sqlite3.connect(setting.new_file(), isolation_level=None)
    connection.execute(_TABLE)
    connection.execute("BEGIN")
    for content in fleet.listed():
        connection.executemany(
            _INSERT,
            [
                (
                    *(device.serial_number, device.device_family, device.os, device.model),
                    *(device.profile_status, device.profile_uuid, document),
                )
                for device, document in devices(content)
            ],
        )
    connection.execute("COMMIT")
    return connection


def _nothing_due(
    setting: Setting, fleet: Fleet, store: SQLiteStore, bare: sqlite3.Connection, how: str
) -> Row:
    clock = clock_at()
    with Client(token(), base_url=f"{setting.address}{fleet.name}", clock=clock) as client:
        assigner = Assigner(client, store, clock=clock)

        def run() -> None:
            report = assigner.run()
            if report.plan.satisfied != fleet.size:
                raise SystemExit(f"not what was to be measured: {report}")

        one, other = interleaved(
            lambda: timed(lambda: bare.execute(_DECISION).fetchall()), lambda: timed(run)
        )
    return Row(
        what=f"assignment run with nothing due, {fleet.size:,}, {how}",
        yardstick="SELECT of 8 columns of a plain table, fetched once",
        bare=one,
        pyade=other,
        reach=1.5,
    )


def _store_attempts(fleet: Fleet, store: SQLiteStore) -> None:
    """Store a successful attempt to assign the profile for each device."""
    attempt = Attempt(profile_uuid=PROFILE_UUID, result=DeviceResult.SUCCESS, attempted_at=START)
    for first in range(0, fleet.size, PAGE):
        serials = map(serial, range(first, min(first + PAGE, fleet.size)))
        store.record_attempts(token().name, dict.fromkeys(serials, attempt), now=START)


def _reports(fleet: Fleet, store: SQLiteStore, bare: sqlite3.Connection) -> Iterator[Row]:
    """Measure the reports while a few Macs have no profile and no default gives them one."""
    name, clock = token().name, clock_at()
    store.set_default_profile(name, None)
    at_risk = fleet.size // PAGE
    page = DevicePage.decode(Fleet(fleet.size).changes(1, at_risk))
    store.commit_page(
        name, page.devices, source=Source.SYNC, state=store.sync_state(name), now=clock.advance(hours=3)
    )
    works: dict[str, Callable[[], int]] = {
        "overview": lambda: overview(store, now=clock())[0].at_risk,
        "doctor": lambda: at_risk if doctor(store, clock=clock).problems else 0,
        "devices_at_risk": lambda: sum(1 for _ in devices_at_risk(store, name)),
    }
    for what, work in works.items():
        if work() != at_risk:
            raise SystemExit(f"{what} finds {work()} of {at_risk} at risk")
        one, other = interleaved(lambda: timed(lambda: bare.execute(_COUNT).fetchall()), partial(timed, work))
        yield Row(
            what=f"{what}, {fleet.size:,}, {at_risk} of them at risk",
            yardstick="SELECT count(*) of a plain table, by status",
            bare=one,
            pyade=other,
            reach=2,
        )
