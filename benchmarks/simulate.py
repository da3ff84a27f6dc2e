"""Simulate a week of a few tokens, and extrapolate the capacity that many tokens need.

::

    python benchmarks/simulate.py                              # 20 tokens with 5,000 Macs each
    python benchmarks/simulate.py --tokens 4 --devices 500     # a small one
    python benchmarks/simulate.py --latency-s 3                # if Apple answers slowly

The rules of this file:

1. The real scheduler works with a ``PostgresStore``, ``FakeApple`` and a ``FrozenClock``: first the import of
   all tokens and the day after it, on which Apple reports the changes of the import, then seven days of a
   fleet that changes every day.
2. It counts requests and the bytes of their bodies, write transactions and write-ahead log of PostgreSQL, and
   the time that a worker is busy, without the time of the fake.
3. There is a checkpoint before each run of a token, so that PostgreSQL logs each touched page as a whole: of
   10,000 tokens, no two share a page between two checkpoints.
4. Everything else is arithmetic, which is printed with its numbers (``extrapolate``). Each assumption is a
   constant in one of the two files.

``docs/scale.md`` quotes the output.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import attrs
import httpx

from extrapolate import Counts, Measured, extrapolated
from fleet import START, Fleet
from fleet import token as example_token
from pyade import Client, Scheduler, SessionCache, Token
from pyade.core.fleet.schedule import Pace
from pyade.operations import due_tokens
from pyade.storage import PostgresStore, SQLiteStore
from pyade.sync import SyncReport
from pyade.testing import FakeApple, FrozenClock
from stores import PROFILE, fill, postgres

YEARS_IN_USE = 4
"""Years after which a Mac is replaced; determines how many are added and released each day."""

ERASED_PER_YEAR = 1
"""How often per year a Mac is erased or repaired and enrolls again, which Apple reports as a change."""

_SCHEMA = "pyade_simulation"
# On the first day Apple reports the profiles that the import assigned. Each interval is a day plus the
# jitter, so seven runs of each token take a little more than a week.
_FIRST_DAY = timedelta(days=1, hours=2)
_WEEK = timedelta(days=7, hours=2)


class Metered(httpx.BaseTransport):
    """A transport of the fake that counts requests, for one run of one token."""

    def __init__(self, inner: httpx.BaseTransport, counts: Counts) -> None:
        self._inner, self._counts = inner, counts
        self._busy, self._cpu = time.perf_counter(), time.thread_time()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* to the fake, whose time is not counted."""
        sent = len(request.read())
        busy, cpu = time.perf_counter(), time.thread_time()
        response = self._inner.handle_request(request)
        self._busy += time.perf_counter() - busy
        self._cpu += time.thread_time() - cpu
        self._counts.requests[f"{request.method} {request.url.path}"] += 1
        self._counts.sent += sent
        self._counts.received += len(response.content)
        return response

    def close(self) -> None:
        """Add the time of the run to the counts."""
        self._counts.busy_s += time.perf_counter() - self._busy
        self._counts.cpu_s += time.thread_time() - self._cpu


class Simulation:
    """The simulated tokens, and the counts; call ``run`` once."""

    def __init__(self, dsn: str, tokens: int, devices: int) -> None:
        import psycopg  # noqa: PLC0415 - an extra

        self.tokens, self.devices = tokens, devices
        self.counts = self.imported = Counts()
        self.sizes_before: Mapping[str, int] = {}
        self._clock = FrozenClock(START)
        self._fake = FakeApple(clock=self._clock)
        self._database = psycopg.connect(dsn, autocommit=True)
        self._database.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
        self.store = PostgresStore(dsn, schema=_SCHEMA, clock=self._clock)
        self._sessions = SessionCache(self.store)
        self._stop = threading.Event()
        self._day = 0
        for number in range(tokens):
            server = self._fake.add_server(f"server {number}")
            self._fake.add_devices(devices, server=server)
            token = self._fake.token(server, name=f"token {number}")
            self.store.add_token(token)
            self.store.set_default_profile(token.name, PROFILE)
        self._mark = self._database_marks()

    def run(self) -> None:
        """Import all tokens, and simulate a week."""
        Scheduler(  # rule 1
            self.store,
            self._client_for,
            pace=Pace(look_every=timedelta(minutes=10)),
            clock=self._clock,
            wait=self._wait,
            random=random.Random(1).random,
            max_concurrent=1,  # rule 2: one worker is measured
            on_report=self._count_run,
        ).run(self._stop)
        self._count_database()

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of each table with its indexes."""
        query = (
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = %s::regnamespace"
        )
        return dict(self._database.execute(query, (_SCHEMA,)).fetchall())

    def close(self) -> None:
        """Remove the stored data."""
        self.store.close()
        self._database.execute(f"DROP SCHEMA {_SCHEMA} CASCADE")
        self._database.close()

    def _client_for(self, token: Token) -> Client:
        self._database.execute("CHECKPOINT")  # rule 3
        transport = Metered(self._fake.transport(), self.counts)
        return Client(token, transport=transport, sessions=self._sessions, clock=self._clock)

    def _count_run(self, report: object) -> None:
        if isinstance(report, SyncReport):
            self.counts.runs[report.action.value] += 1

    def _wait(self, seconds: float) -> None:
        """Advance the clock while nothing is due."""
        now = self._clock.advance(seconds)
        if self.counts is self.imported and now >= START + _FIRST_DAY:
            self._count_database()
            self.counts, self.sizes_before = Counts(), self.sizes()
        if (now - START) // timedelta(days=1) > self._day:
            self._day += 1
            self._change()
        if now >= START + _FIRST_DAY + _WEEK:
            self._stop.set()

    def _change(self) -> None:
        """Add, release and enroll the Macs of one day in the fake."""
        replaced = math.ceil(self.devices / (365 * YEARS_IN_USE))
        erased = math.ceil(self.devices * ERASED_PER_YEAR / 365)
        for server in self._fake.servers.values():
            known = list(server.devices)
            self._fake.release(known[:replaced])
            for serial in known[replaced : replaced + erased]:
                self._fake.activate(serial)
            self._fake.add_devices(replaced, server=server)

    def _database_marks(self) -> tuple[int, int]:
        """Return the number of the next write transaction, and the position in the write-ahead log."""
        query = (
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
            " pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
        )
        ((transaction, position),) = self._database.execute(query).fetchall()
        return transaction, position

    def _count_database(self) -> None:
        before, self._mark = self._mark, self._database_marks()
        self.counts.transactions += self._mark[0] - before[0]
        self.counts.log += self._mark[1] - before[1]


def search_seconds(dsn: str, tokens: int = 1_000) -> float:
    """Return the seconds of one search for due tokens, per token in the store."""
    schema = f"{_SCHEMA}_search"
    import psycopg  # noqa: PLC0415 - an extra

    with PostgresStore(dsn, schema=schema) as store:
        for number in range(tokens):
            token = attrs.evolve(example_token(), name=f"token {number}")
            store.add_token(token)
            state = attrs.evolve(
                store.sync_state(token.name), cursor="c" * 100, run_at=START, succeeded_at=START
            )
            store.save_sync_state(token.name, state)
        start = time.perf_counter()
        due_tokens(store, now=START + timedelta(hours=1), early=False)
        seconds = time.perf_counter() - start
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
    return seconds / tokens


def sqlite_bytes(devices: int) -> float:
    """Return the bytes of a SQLite file per device in it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ade.db"
        with SQLiteStore(file) as store:
            fill(store, Fleet(devices, True))
        return file.stat().st_size / devices


def main() -> None:
    """Simulate, and print the counts and the extrapolation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--devices", type=int, default=5_000, help="number of Macs of each token")
    parser.add_argument(
        "--latency-s", type=float, default=1.0, help="seconds that each of Apple's responses takes"
    )
    arguments = parser.parse_args()
    logging.getLogger("pyade").setLevel(logging.ERROR)
    with postgres() as dsn:
        simulation = Simulation(dsn, arguments.tokens, arguments.devices)
        simulation.run()
        found = Measured(
            tokens=arguments.tokens,
            devices=arguments.devices,
            imported=simulation.imported,
            week=simulation.counts,
            before=simulation.sizes_before,
            after=simulation.sizes(),
            sqlite=sqlite_bytes(min(20_000, arguments.tokens * arguments.devices)),
            search_s=search_seconds(dsn),
        )
        simulation.close()
    print(*found.lines(), "", *extrapolated(found, latency_s=arguments.latency_s), sep="\n")  # rule 4


if __name__ == "__main__":
    main()
