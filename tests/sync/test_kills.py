"""A process that syncs a fleet over HTTP is killed at random points; its successor loses nothing.

``PYADE_TEST_KILLS`` is how often the large fleet is killed; three times by default.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pyade.core.fleet.device import Device
from pyade.storage import PostgresStore, SQLiteStore
from pyade.storage.protocol import Store
from pyade.sync import SyncOutcome
from pyade.testing import FakeApple, FrozenClock

PAGE = 250
KILLS = int(os.environ.get("PYADE_TEST_KILLS", "3"))

# Prints a line per page, and the outcome last. All clocks of one process stand still.
WORKER = """
import sys
from datetime import datetime
from pyade import Client, Syncer
from pyade.storage import PostgresStore, SQLiteStore

base_url, place, schema, now = sys.argv[1:]

def clock():
    return datetime.fromisoformat(now)

def tell(progress):
    print(progress.pages, flush=True)

with PostgresStore(place, schema=schema, clock=clock) if schema else SQLiteStore(place, clock=clock) as store:
    with Client(store.token("hq"), base_url=base_url, clock=clock) as apple:
        print(Syncer(apple, store, clock=clock, progress=tell).sync(automatic=True).outcome.name, flush=True)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Return where the store is: path or DSN, and for PostgreSQL the schema."""
    if request.param == "sqlite":
        return str(tmp_path / "ade.db"), ""
    postgres = request.getfixturevalue("postgres")
    return postgres.dsn, postgres.schema


def open_store(place: tuple[str, str], clock: FrozenClock) -> Store:
    where, schema = place
    return PostgresStore(where, schema=schema, clock=clock) if schema else SQLiteStore(where, clock=clock)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "kills", "pages"),
    [
        (6_000, 1, 6),  # 24 pages, so that the only kill happens before the end
        (20_000, KILLS, 2 * 20_000 // PAGE // (KILLS + 1)),
    ],
)
def test_killed_syncs_lose_nothing_and_repeat_at_most_a_page_each(
    place: tuple[str, str], devices: int, kills: int, pages: int
) -> None:
    clock = FrozenClock()
    apple = FakeApple(clock=clock)
    apple.settings.page_maximum = apple.settings.page_default = PAGE
    server = apple.add_server("hq")
    serials = apple.add_devices(devices, server="hq")
    with open_store(place, clock) as store:
        store.add_token(apple.token("hq", name="hq"))
    chance, killed = random.Random(), 0
    with apple.serve() as web:

        def worker() -> subprocess.Popen[str]:
            command = [sys.executable, "-c", WORKER, web.base_url, *place, clock().isoformat()]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        for number in range(kills):
            killed += kill(worker(), chance, pages=pages)
            if number == kills // 2:
                apple.unassign(serials[:5])
            # Not the 15 minutes of a limit: the lease of a process that was killed lasts a minute.
            clock.advance(seconds=60)
        with open_store(place, clock) as store:
            if store.sync_state("hq").succeeded_at is not None:
                clock.advance(hours=24)
        with worker() as last:
            output, _ = last.communicate(timeout=300)
        assert output.split()[-1] == SyncOutcome.CAUGHT_UP.name
    with open_store(place, clock) as store:
        records = {record.serial_number: record.device for record in store.devices("hq")}
    expected = {serial: Device.from_apple(dict(found.record)) for serial, found in server.devices.items()}
    assert records == expected
    asked = [
        (request.path, request.body["cursor"])
        for request in apple.requests
        if isinstance(request.body, dict) and "cursor" in request.body
    ]
    assert len(asked) - len(set(asked)) <= killed
    assert killed > 0


def kill(process: subprocess.Popen[str], chance: random.Random, *, pages: int) -> bool:
    """Kill *process* after at most *pages* pages; return False if it had already ended."""
    assert process.stdout is not None
    with process:
        for _ in range(chance.randint(0, pages)):
            if not process.stdout.readline():
                break
        try:
            process.wait(timeout=chance.uniform(0, 0.05))
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False
