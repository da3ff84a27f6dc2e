"""Two schedulers in two processes over PostgreSQL run through days of portal work, faults and kills.

One simulated clock, served on loopback, gives both nodes and the store the time and wakes them; it advances
when all nodes wait. ``PYADE_NODES_DAYS`` and ``PYADE_NODES_TOKENS`` set the size, ``PYADE_NODES_SEED`` the
random events.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from multiprocessing.connection import Connection, Listener
from random import Random
from typing import TYPE_CHECKING

import attrs
import pytest

from pyade.core.fleet.device import Device
from pyade.core.fleet.events import Event, EventKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.storage import PostgresStore
from pyade.testing import FakeApple, Fault, RequestRecord
from pyade.testing.apple.sessions import SESSION_LIFETIME
from pyade.testing.http.wire import ServedResponse, WireRequest

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

DAYS = int(os.environ.get("PYADE_NODES_DAYS", "10"))
TOKENS = int(os.environ.get("PYADE_NODES_TOKENS", "20"))
SEED = int(os.environ.get("PYADE_NODES_SEED", "1"))
QUIET_DAYS = 3
KILLS = DAYS // 3
NODES = ("north", "south")
PAGES = ("POST /server/devices", "POST /devices/sync")
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")
CURSOR_CODES = ("EXPIRED_CURSOR", "INVALID_CURSOR")

WORKER = """
import sys
import threading
from datetime import datetime, timedelta
from multiprocessing import connection
from random import Random

from pyade import Client, Scheduler, SessionCache
from pyade.core import Pace
from pyade.storage import PostgresStore

node, number, port, base_url, dsn, schema = sys.argv[1:]
local, stop = threading.local(), threading.Event()

def ask(*words):
    if not hasattr(local, "line"):
        local.line = connection.Client(("127.0.0.1", int(port)))
        local.line.send(int(number))
    local.line.send(words)
    answer = local.line.recv()
    if answer is None and words[0] == "wait":
        stop.set()
    return answer

class NodeClient(Client):
    def __exit__(self, *error):
        super().__exit__(*error)
        ask("end")

def client_for(token):
    ask("begin")
    return NodeClient(
        token,
        base_url=base_url,
        sessions=sessions,
        user_agent=f"{token.name}/{number}",
        clock=clock,
        sleep=lambda seconds: ask("sleep", seconds),
        random=lambda: 0.5,
    )

def clock():
    return ask("now")

with PostgresStore(dsn, schema=schema, clock=clock) as store:
    sessions = SessionCache(store)
    Scheduler(
        store,
        client_for,
        pace=Pace(look_every=timedelta(hours=6)),
        clock=clock,
        wait=lambda seconds: ask("wait", seconds),
        random=Random(node).random,
    ).run(stop)
"""


@attrs.define(eq=False)
class Node:
    """A process as the clock sees it: working unless it, or each of its jobs, waits."""

    name: str
    jobs: int = 0
    sleeping: int = 0
    waits: bool = False
    process: subprocess.Popen[str] | None = None

    @property
    def is_idle(self) -> bool:
        return self.waits or 0 < self.jobs == self.sleeping


@attrs.define(eq=False)
class Alarm:
    """A waiting node or job."""

    at: datetime
    node: Node
    is_job: bool
    rung: threading.Event = attrs.Factory(threading.Event)


class SimulatedClock:
    """The time of all nodes, which advances to the next alarm or diary entry when all nodes are idle."""

    def __init__(self, until: Callable[[datetime], datetime]) -> None:
        self.now = datetime(2025, 1, 1, tzinfo=UTC)
        self.until = until(self.now)
        self.over = threading.Event()
        self.diary: list[tuple[datetime, Callable[[], object]]] = []
        self.nodes: dict[int, Node] = {}
        self._alarms: list[Alarm] = []
        self._lock = threading.RLock()
        self._listener = Listener(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.address[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def __call__(self) -> datetime:
        return self.now

    def close(self) -> None:
        self._listener.close()

    def enter(self, number: int, node: Node) -> None:
        """Start to wait for *node*."""
        with self._lock:
            self.nodes[number] = node

    def leave(self, number: int) -> None:
        """Remove a dead node."""
        with self._lock:
            node = self.nodes.pop(number)
            for alarm in [alarm for alarm in self._alarms if alarm.node is node]:
                self._alarms.remove(alarm)
                alarm.rung.set()
            self._advance_if_idle()

    def _serve(self) -> None:
        while True:
            try:
                line = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_node, args=(line,), daemon=True).start()

    def _serve_node(self, line: Connection) -> None:
        with line:
            try:
                node = self.nodes.get(line.recv(), Node("dead"))
                while True:
                    word, *values = line.recv()
                    line.send(self._answer(node, word, *values))
            except (EOFError, OSError):
                return  # the process ended, or was killed

    def _answer(self, node: Node, word: str, seconds: float = 0) -> datetime | None:
        """Return the time, after the requested wait; None when the test is over."""
        if word in ("wait", "sleep"):
            alarm = Alarm(self.now + timedelta(seconds=seconds), node, is_job=word == "sleep")
            with self._lock:
                if node not in self.nodes.values() or self.over.is_set():
                    return None
                self._alarms.append(alarm)
                self._set_idle(alarm, is_idle=True)
                self._advance_if_idle()
            alarm.rung.wait()
            return None if self.over.is_set() else self.now
        if word in ("begin", "end"):
            with self._lock:
                node.jobs += 1 if word == "begin" else -1
                self._advance_if_idle()
        return self.now

    def _set_idle(self, alarm: Alarm, *, is_idle: bool) -> None:
        if alarm.is_job:
            alarm.node.sleeping += 1 if is_idle else -1
        else:
            alarm.node.waits = is_idle

    def _advance_if_idle(self) -> None:
        while self._alarms and all(node.is_idle for node in self.nodes.values()):
            self.now = min([alarm.at for alarm in self._alarms] + [entry[0] for entry in self.diary])
            for entry in sorted(self.diary, key=lambda entry: entry[0]):
                if entry[0] <= self.now:
                    self.diary.remove(entry)
                    entry[1]()
            if self.now >= self.until:
                self.over.set()
            for alarm in list(self._alarms):
                if alarm.at <= self.now or self.over.is_set():
                    self._alarms.remove(alarm)
                    self._set_idle(alarm, is_idle=False)
                    alarm.rung.set()


class WatchedApple(FakeApple):
    """A fake Apple that calls ``on_request`` after each request."""

    on_request: Callable[[WireRequest], object] = staticmethod(lambda request: None)

    def handle(self, request: WireRequest) -> ServedResponse:
        outcome = super().handle(request)
        self.on_request(request)
        return outcome


class Simulation:
    """All state of one test: Apple, the store, the nodes, and the diary."""

    def __init__(self, place: PostgresSchema, stack: ExitStack) -> None:
        self.chance = Random(SEED)
        self.place, self.stack = place, stack
        self.clock = SimulatedClock(lambda start: start + timedelta(days=DAYS))
        stack.callback(self.clock.close)
        self.apple = WatchedApple(clock=self.clock, seed=SEED)
        self.apple.settings.page_default = self.apple.settings.page_maximum = 4
        self.apple.settings.single_session = True
        self.store = stack.enter_context(
            PostgresStore(place.dsn, schema=place.schema, clock=self.clock, max_connections=2)
        )
        self.names = [f"token-{number:02}" for number in range(TOKENS)]
        self.arrivals: Counter[tuple[str, str]] = Counter()
        self.departures: Counter[tuple[str, str]] = Counter()
        self.renewals: Counter[str] = Counter()
        self.killed: list[datetime] = []
        self.numbers = count(1)
        self.pages_left = 0
        for index, name in enumerate(self.names):
            organization = f"Organization {index // 2}"
            if index % 2 == 0:
                self.apple.add_organization(organization)
            self.apple.add_server(name, organization=organization)
            self.add_devices(name, self.chance.randint(0, 9))
            self.store.add_token(self.apple.token(name, name=name))
            self.store.set_default_profile(name, PROFILE)
        self.apple.on_request = self.after_request

    # Events

    def write(self) -> None:
        """Fill the diary with random acts and faults."""
        seconds = (DAYS - QUIET_DAYS) * 86_400
        acts = [self.portal] * 3 + [self.fault] * 4 + [self.break_token]
        for _ in range(4 * TOKENS * (DAYS - QUIET_DAYS) // 10):
            at = self.clock.now + timedelta(seconds=self.chance.uniform(0, seconds))
            self.clock.diary.append((at, self.chance.choice(acts)))
        for _ in range(KILLS):
            at = self.clock.now + timedelta(seconds=self.chance.uniform(0, seconds))
            self.clock.diary.append((at, self.kill_soon))
        # Faults whose request never came must not disturb the quiet days.
        end = self.clock.until - timedelta(days=QUIET_DAYS)
        self.clock.diary.append((end, self.end_faults))

    def portal(self) -> None:
        """Do random work in the portal."""
        name = self.chance.choice(self.names)
        serials = sorted(self.apple.server(name).devices)
        act = self.chance.choice(["add", "add", "take", "move", "again", "edit"])
        if act == "add":
            self.add_devices(name, self.chance.randint(1, 6))
        elif not serials:
            return
        elif act == "take":
            self.apple.unassign(chosen := self.chance.sample(serials, 1))
            self.departures.update((name, serial) for serial in chosen)
        elif act == "move":
            number = self.names.index(name) ^ 1
            other = self.names[number] if number < TOKENS else name
            if other != name:
                self.apple.move(chosen := serials[:2], other)
                self.departures.update((name, serial) for serial in chosen)
                self.arrivals.update((other, serial) for serial in chosen)
        elif act == "again":
            self.apple.assign(name, serials[:1])
        else:
            self.apple.edit_device(serials[0], asset_tag=f"A{self.chance.randint(0, 99)}")

    def add_devices(self, name: str, number: int) -> None:
        serials = self.apple.add_devices(number, server=name)
        self.arrivals.update((name, serial) for serial in serials)

    def fault(self) -> None:
        """Let some of the next requests go wrong."""
        faults = [
            Fault.dropped(effect=False),
            Fault.dropped(effect=True),
            Fault.unreachable(),
            Fault.rate_limited(self.chance.choice([None, 1, 30, 7_200])),
            Fault.server_error(self.chance.choice([500, 503]), effect=self.chance.random() < 0.5),
            Fault.html(502, effect=True),
            Fault.refused("UNAUTHORIZED"),
            Fault.refused("T_C_NOT_SIGNED"),
        ]
        endpoint = self.chance.choice([*PAGES, "POST /profile/devices", "POST /devices", "GET /session", "*"])
        if endpoint == "POST /devices/sync":
            faults += [Fault.refused(code) for code in CURSOR_CODES]
            faults += [Fault.repeated_cursor(), Fault.empty(), Fault.answered(body=b'{"devices": [{"ser')]
        self.apple.script(endpoint, *self.chance.choices(faults, k=self.chance.randint(1, 5)))

    def break_token(self) -> None:
        """Break something about a token until an administrator fixes it."""
        name = self.chance.choice(self.names)
        organization = self.apple.server(name).organization
        act = self.chance.choice(["terms", "renewal", "session", "forgotten", "expired", "cursors"])
        soon = self.clock.now + timedelta(hours=self.chance.uniform(0.1, 40))
        # Fixed before the quiet days begin.
        soon = min(soon, self.clock.until - timedelta(days=QUIET_DAYS))
        if act == "terms":
            self.apple.faults.change_terms(organization)
            self.clock.diary.append((soon, lambda: self.apple.faults.accept_terms(organization)))
        elif act == "renewal":
            self.apple.generate_token(name)
            self.clock.diary.append((soon, lambda: self.renew(name)))
        elif act == "session":
            self.apple.faults.expire_sessions(name)
        elif act == "forgotten":
            self.apple.faults.forget_sessions(name)
        elif act == "expired":
            self.apple.faults.expire_cursors(name)
        else:
            self.apple.faults.forget_cursors(name)

    def renew(self, name: str) -> None:
        self.renewals[name] += 1
        self.store.replace_token(self.apple.token(name, name=name))

    def end_faults(self) -> None:
        for endpoint in (*PAGES, "POST /profile/devices", "POST /devices", "GET /session", "*"):
            self.apple.script(endpoint)

    # The nodes

    def start(self, name: str) -> None:
        number = next(self.numbers)
        node = Node(name)
        self.clock.enter(number, node)
        arguments = [name, str(number), str(self.clock.port), self.base_url, self.place.dsn]
        node.process = self.stack.enter_context(
            subprocess.Popen([sys.executable, "-c", WORKER, *arguments, self.place.schema], text=True)
        )
        # After any failure the test must not wait for a process that does not end.
        self.stack.callback(node.process.kill)

    def kill_soon(self) -> None:
        """Kill the node that asks for the page after the next few."""
        self.pages_left = self.chance.randint(1, 5)

    def after_request(self, request: WireRequest) -> None:
        if not self.pages_left or request.endpoint not in PAGES:
            return
        self.pages_left -= 1
        number = int(request.headers.get("user-agent", "").rpartition("/")[2])
        node = self.clock.nodes.get(number)
        if self.pages_left == 0 and node is not None and node.process is not None:
            self.killed.append(self.clock.now)
            node.process.kill()
            self.start(node.name)
            self.clock.leave(number)

    def run(self) -> list[Event]:
        """Run the diary, and return the events that a reader saw meanwhile, up to the last."""
        seen: list[Event] = []
        with self.apple.serve() as web:
            self.base_url = web.base_url
            for name in NODES:
                self.start(name)
            while True:
                is_over = self.clock.over.wait(0.05)
                while found := self.store.events(seen[-1].id if seen else None, limit=7):
                    seen.extend(found)
                assert all(node.process is None or not node.process.poll() for node in self.alive())
                if is_over and all(node.process.poll() == 0 for node in self.alive() if node.process):
                    break
            while found := self.store.events(seen[-1].id if seen else None, limit=7):
                seen.extend(found)
        return seen

    def alive(self) -> list[Node]:
        return list(self.clock.nodes.values())

    # Checks of Apple's records

    def requests(self, name: str, *endpoints: str) -> list[RequestRecord]:
        return [
            request
            for request in self.apple.requests
            if request.headers["user-agent"].partition("/")[0] == name and request.endpoint in endpoints
        ]


@pytest.fixture
def simulation(postgres: PostgresSchema) -> Iterator[Simulation]:
    with ExitStack() as stack:
        yield Simulation(postgres, stack)


def starts_of(simulation: Simulation, times: list[datetime]) -> list[datetime]:
    """Return when runs began: after silence, unless the run of a killed node is taken over."""
    starts = times[:1]
    for before, at in pairwise(times):
        is_killed = any(starts[-1] <= killed <= at for killed in simulation.killed)
        limit = starts[-1] + timedelta(minutes=15) if is_killed else before + timedelta(minutes=5)
        if at >= limit:
            starts.append(at)
    return starts


def check_runs(simulation: Simulation, name: str) -> None:
    starts = starts_of(simulation, [request.at for request in simulation.requests(name, *PAGES)])
    assert all(b - a >= timedelta(minutes=15) for a, b in pairwise(starts)), (name, starts, simulation.killed)
    refused = sum(
        request.status != 200
        for request in simulation.requests(name, *PAGES, "GET /session", "POST /devices")
    )
    assert len(starts) <= DAYS + 1 + simulation.renewals[name] + len(simulation.killed) + refused, name


def check_lists(simulation: Simulation, name: str) -> None:
    """A full list at most every 7 days; one for a lost cursor at most every 24 hours, counted separately."""
    full_at = recovered_at = datetime.min.replace(tzinfo=UTC)
    is_lost = is_asking = False
    for request in simulation.requests(name, *PAGES):
        if request.code.strip('"') in CURSOR_CODES:
            is_lost = True
        if request.path != "/server/devices" or "cursor" in request.body:
            continue
        if not is_asking:
            if request.at - full_at >= timedelta(days=7):
                full_at = request.at
            else:
                assert is_lost, (name, request)
                assert request.at - recovered_at >= timedelta(hours=24), (name, request)
                recovered_at = request.at
            is_lost = False
        # Until the first page is committed it is the same list, however often it is asked for.
        is_asking = request.status != 200 or request.at in simulation.killed


def check_sessions(simulation: Simulation, name: str) -> None:
    """A new session is requested only when none is valid any more, by one node."""
    window = SESSION_LIFETIME
    others = ("GET /session", "POST /profile/devices", "POST /devices", "POST /profile")
    requests = simulation.requests(name, *PAGES, *others)
    opened = [r.at for r in requests if r.path == "/session" and r.status == 200]
    for at in opened:
        failures = [r for r in requests if at <= r.at < at + window and r.status != 200]
        kills = [killed for killed in simulation.killed if at <= killed < at + window]
        assert sum(at <= other < at + window for other in opened) <= 1 + len(failures) + len(kills), name


def check_events(simulation: Simulation, events: list[Event]) -> None:
    """Each change once: additions and releases alternate, end with the store's state, and never repeat."""
    assert len({event.id for event in events}) == len(events)
    present: dict[tuple[str, str], bool] = {}
    came: Counter[tuple[str, str]] = Counter()
    went: Counter[tuple[str, str]] = Counter()
    for event in events:
        key = event.token_name, event.serial_number or ""
        if event.kind in (EventKind.ADDED, EventKind.RETURNED):
            assert not present.get(key), event
            assert (event.kind is EventKind.ADDED) == (key not in present), event
            present[key] = True
            came[key] += 1
        elif event.kind is EventKind.RELEASED:
            assert present[key], event
            present[key] = False
            went[key] += 1
        elif event.serial_number is not None:
            assert key in present, event
    assert came <= simulation.arrivals
    assert went <= simulation.departures
    listed = {
        (name, record.serial_number) for name in simulation.names for record in simulation.store.devices(name)
    }
    assert {key for key, is_present in present.items() if is_present} == listed


def check_token_events(simulation: Simulation, events: list[Event]) -> None:
    """A token is suspended once per reason, resumed once, and stored as the last event says."""
    reasons = dict.fromkeys(simulation.names, "")
    for event in events:
        if event.kind is EventKind.TOKEN_SUSPENDED:
            reason = event.details["reason"].partition(":")[0]
            assert reason != reasons[event.token_name], event
            reasons[event.token_name] = reason
        elif event.kind is EventKind.TOKEN_RESUMED:
            assert reasons[event.token_name], event
            reasons[event.token_name] = ""
    assert any(event.kind is EventKind.TOKEN_RESUMED for event in events)
    assert set(reasons.values()) == {""}
    assert not [name for name, state in simulation.store.sync_states().items() if state.suspended]


@pytest.mark.slow
@pytest.mark.skipif(
    "PYADE_NODES_TOKENS" not in os.environ,
    reason="takes half a minute or more: PYADE_NODES_TOKENS=20 runs it, as nox -s slow does",
)
def test_two_nodes_lose_nothing_and_keep_the_limits(simulation: Simulation) -> None:
    simulation.write()
    seen = simulation.run()
    for name in simulation.names:
        check_runs(simulation, name)
        check_lists(simulation, name)
        check_sessions(simulation, name)
        records = {record.serial_number: record for record in simulation.store.devices(name)}
        expected = simulation.apple.server(name).devices
        assert records.keys() == expected.keys(), name
        for serial, found in expected.items():
            device = Device.from_apple(dict(found.record))
            stored = records[serial].device
            assert (stored.profile_status, stored.profile_uuid) == (
                device.profile_status,
                device.profile_uuid,
            ), (name, serial)
            assert stored.asset_tag == device.asset_tag
            assert device.profile_status == "assigned", (name, serial)
    assert seen == list(simulation.store.events(limit=1_000_000))
    check_events(simulation, seen)
    check_token_events(simulation, seen)
    assert {r.headers["user-agent"].partition("/")[2] for r in simulation.apple.requests} >= {"1", "2"}
    assert simulation.killed
