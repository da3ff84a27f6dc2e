"""Two Procrastinate workers in two processes share twenty tokens; one is killed in the middle of a sync.

The processes run as users run them, by Procrastinate's command line. They and the store read the time from a
file, so that the test decides when a lease ends; the heartbeats of the workers are real, and short.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import pytest

from pyade.core.fleet.device import Device
from pyade.core.profile.profile import EnrollmentProfile
from pyade.storage import PostgresStore
from pyade.testing import FakeApple, FrozenClock
from pyade.testing.http.wire import ServedResponse, WireRequest

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")

TOKENS, DEVICES, PAGE = 20, 11, 4
NODES = ("north", "south")
PAGES = ("POST /server/devices", "POST /devices/sync")
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")
STALLED_SECONDS = 2.0

NODE = """
import os
from datetime import datetime
from pathlib import Path

import procrastinate
from pyade import Client
from pyade.storage import PostgresStore
from pyade.operations import register_tasks

base_url, dsn, schema, clock_file, node = os.environ["PYADE_TEST_NODE"].split("|")

def clock():
    return datetime.fromisoformat(Path(clock_file).read_text())

def client_for(token):
    return Client(token, base_url=base_url, user_agent=f"{token.name}/{node}", clock=clock)

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=dsn, kwargs={"options": f"-c search_path={schema}"}),
    worker_defaults={
        "concurrency": 2,
        "fetch_job_polling_interval": 0.1,
        "update_heartbeat_interval": 0.2,
        "stalled_worker_timeout": STALLED_SECONDS,
    },
)
store = PostgresStore(dsn, schema=schema, clock=clock)
register_tasks(app, store, client_for, clock=clock, cron="* * * * * *")
""".replace("STALLED_SECONDS", str(STALLED_SECONDS))

IDLE: LiteralString = """
    SELECT count(*) = 0 FROM procrastinate_jobs AS job
    WHERE task_name <> 'pyade.tick' AND (
        (status = 'doing' AND worker_id <> %(dead)s)
        OR (status = 'todo' AND coalesce(scheduled_at, now()) <= now() AND NOT EXISTS (
            SELECT FROM procrastinate_jobs AS other WHERE other.lock = job.lock AND other.status = 'doing'
        ))
    )
"""
STALLED: LiteralString = """
    SELECT coalesce(min(last_heartbeat) < now() - make_interval(secs => %(seconds)s), false)
    FROM procrastinate_workers
"""
OLDEST: LiteralString = "SELECT id FROM procrastinate_workers ORDER BY last_heartbeat LIMIT 1"
TICKS: LiteralString = """
    SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'pyade.tick' AND status = 'succeeded'
"""
LEFT: LiteralString = """
    SELECT coalesce(array_agg(DISTINCT args ->> 'token_name'), '{}') FROM procrastinate_jobs
    WHERE status = 'doing' AND task_name <> 'pyade.tick'
"""


class WatchedApple(FakeApple):
    """A fake Apple that answers only after ``gate`` opens, and calls ``on_request`` before each response."""

    on_request: Callable[[WireRequest], object] = staticmethod(lambda request: None)

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(clock=clock)
        self.gate = threading.Event()

    def handle(self, request: WireRequest) -> ServedResponse:
        self.gate.wait(60)
        outcome = super().handle(request)
        self.on_request(request)
        return outcome


class QueueSimulation:
    """All state of one test: Apple, the store, the queue and the workers."""

    def __init__(self, place: PostgresSchema, folder: Path, stack: ExitStack) -> None:
        import psycopg

        self.place, self.folder, self.stack = place, folder, stack
        # A queue has its own clock, which is the real one.
        self.clock = FrozenClock(datetime.now(UTC))
        self.apple = WatchedApple(self.clock)
        self.apple.settings.page_default = self.apple.settings.page_maximum = PAGE
        store = PostgresStore(place.dsn, schema=place.schema, clock=self.clock, max_connections=2)
        self.store = stack.enter_context(store)
        options = f"-c search_path={place.schema}"
        self.database = stack.enter_context(psycopg.connect(place.dsn, autocommit=True, options=options))
        app = procrastinate.App(
            connector=procrastinate.SyncPsycopgConnector(conninfo=place.dsn, kwargs={"options": options})
        )
        with app.open():
            app.schema_manager.apply_schema()
        self.names = [f"token-{number:02}" for number in range(TOKENS)]
        for name in self.names:
            self.apple.add_devices(DEVICES, server=self.apple.add_server(name))
            self.store.add_token(self.apple.token(name, name=name))
            self.store.set_default_profile(name, PROFILE)
        self.nodes: dict[str, subprocess.Popen[str]] = {}
        self.killed: WireRequest | None = None
        self.was_killed = threading.Event()
        self.seen: Counter[str] = Counter()
        self.apple.on_request = self.after_request
        self.pass_time(seconds=0)

    def start(self, base_url: str) -> None:
        (self.folder / "node.py").write_text(NODE)
        for node in NODES:
            place = (base_url, self.place.dsn, self.place.schema, str(self.folder / "clock"), node)
            path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
            log = self.stack.enter_context((self.folder / f"{node}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", "procrastinate", "--app", "node.app", "worker"],
                env={**os.environ, "PYADE_TEST_NODE": "|".join(place), "PYTHONPATH": path},
                stderr=log,
                text=True,
            )
            self.nodes[node] = self.stack.enter_context(process)
            # After any failure the test must not wait for a process that does not end.
            self.stack.callback(process.kill)

    def after_request(self, request: WireRequest) -> None:
        """Kill the worker that fetches the third page of a list, before the response is sent."""
        if self.killed is None and request.endpoint in PAGES:
            name, _, node = request.headers["user-agent"].partition("/")
            self.seen[name] += 1
            if self.seen[name] == 3:
                self.killed = request
                self.nodes[node].kill()
                self.was_killed.set()

    def pass_time(self, *, seconds: float) -> None:
        """Advance the clock of the nodes and the store, and the scheduled jobs by the same time."""
        self.clock.advance(seconds)
        new = self.folder / "new"
        new.write_text(self.clock().isoformat())
        new.replace(self.folder / "clock")
        self.database.execute(
            "UPDATE procrastinate_jobs SET scheduled_at = scheduled_at - %s WHERE status = 'todo'",
            (timedelta(seconds=seconds),),
        )

    def ask(self, query: LiteralString, **values: object) -> Any:
        row = self.database.execute(query, values).fetchone()
        assert row is not None
        return row[0]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, "\n".join(log.read_text() for log in self.folder.glob("*.log"))
            time.sleep(0.02)

    def settle(self, dead: int = 0) -> None:
        """Wait until the queue ticked twice and all but the *dead* worker have nothing to do."""
        enough = self.ask(TICKS) + 2
        self.wait_until(lambda: self.ask(TICKS) >= enough and self.ask(IDLE, dead=dead))

    def is_done(self, name: str) -> bool:
        """Return True if the store equals Apple for a token, and each device has its profile."""
        records = {record.serial_number: record.device for record in self.store.devices(name)}
        listed = self.apple.server(name).devices.items()
        expected = {serial: Device.from_apple(dict(found.record)) for serial, found in listed}
        return records.keys() == expected.keys() and all(
            (record.profile_status, record.profile_uuid) == ("assigned", expected[serial].profile_uuid)
            for serial, record in records.items()
        )

    def requests(self, name: str, *endpoints: str) -> list[Any]:
        return [
            request
            for request in self.apple.requests
            if request.headers["user-agent"].startswith(f"{name}/") and request.endpoint in endpoints
        ]


@pytest.fixture
def simulation(postgres: PostgresSchema, tmp_path: Path) -> Iterator[QueueSimulation]:
    with ExitStack() as stack:
        yield QueueSimulation(postgres, tmp_path, stack)


@pytest.mark.slow
def test_worker_continues_where_another_was_killed(simulation: QueueSimulation) -> None:
    with simulation.apple.serve() as web:
        simulation.start(web.base_url)
        simulation.wait_until(
            lambda: simulation.ask("SELECT count(*) FROM procrastinate_workers") == len(NODES)
        )
        simulation.apple.gate.set()
        simulation.wait_until(simulation.was_killed.is_set)
        assert simulation.killed is not None
        victim, _, dead_node = simulation.killed.headers["user-agent"].partition("/")
        (alive_node,) = set(NODES) - {dead_node}

        # The other worker may not use the tokens of the dead one until their leases end.
        simulation.wait_until(lambda: simulation.ask(STALLED, seconds=STALLED_SECONDS))
        simulation.settle(dead=simulation.ask(OLDEST))
        left = simulation.ask(LEFT)
        assert victim in left
        before = len(simulation.requests(victim, *PAGES))

        for _ in range(8):
            simulation.pass_time(seconds=60)
            simulation.settle()
            if all(simulation.is_done(name) for name in simulation.names):
                break
        alive = simulation.nodes[alive_node]
        alive.terminate()
        assert alive.wait(timeout=60) == 0, (simulation.folder / f"{alive_node}.log").read_text()

    assert [name for name in simulation.names if not simulation.is_done(name)] == []
    assert simulation.ask("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'") == 0
    # The other worker continued with the first page that was not stored.
    following = simulation.requests(victim, *PAGES)[before:]
    assert {request.headers["user-agent"] for request in following} == {f"{victim}/{alive_node}"}
    assert following[0].body["cursor"] == simulation.requests(victim, *PAGES)[before - 1].body["cursor"]
    for name in simulation.names:
        pages = simulation.requests(name, *PAGES)
        asked = Counter((request.path, request.body.get("cursor")) for request in pages)
        assert sum(asked.values()) - len(asked) <= (name in left), name
        # All that time belongs to one run: one full list, and no second start within the 15 minutes. Its
        # first page is requested again if the kill happened before it was stored.
        assert sum("cursor" not in request.body for request in pages) in (1, 1 + (name in left)), name
        sent = Counter(
            serial
            for request in simulation.requests(name, "POST /profile/devices")
            for serial in request.body["devices"]
        )
        assert set(sent.values()) == {1} or name in left, (name, sent)
