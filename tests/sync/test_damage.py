"""A damaged row suspends its token; the report names the token, and all other tokens go on."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.operations.test_scheduler import SchedulerWorld

from pyade.apple.client import Client
from pyade.assignment import Assigner
from pyade.core.fleet.enrollment import Enrollment, OneTime, OneTimeKind
from pyade.core.fleet.events import EventKind
from pyade.core.fleet.lease import LEASE_SECONDS, Lease
from pyade.core.fleet.records import Source
from pyade.core.macos.identity import IdentityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.enrollment.admission import load_context
from pyade.errors import DamagedRecordError
from pyade.operations import (
    Stage,
    TokenService,
    assign_token,
    doctor,
    due_tokens,
    overview,
    overview_html,
    register_tasks,
    sync_token,
)
from pyade.storage import SecretBox, SQLiteStore
from pyade.sync import DeviceActions, Syncer, bypass_code_name, send_reminders
from pyade.testing import FrozenClock

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")
SERIAL = "C02SHARED001"
NAMES = ("a", "b", "c")
KEY = SecretBox.generate_key()


def not_ascii(text: str) -> bytes:
    return f"{text[:20]}hush-é-hush-é-hush{text[20:]}".encode()


def not_utf8(text: str) -> bytes:
    return text[:20].encode() + b"hush-\xff-hush-\xfe-hush" + text[20:].encode()


def cut(text: str) -> bytes:
    return text[: len(text) // 2].encode()


OF_TOKEN = "token_id = (SELECT id FROM {}token WHERE name = 'b')"
ROWS = {
    "token.document": "name = 'b'",
    "token.secrets": "name = 'b'",
    "token.state": "name = 'b'",
    "token.default_profile": "name = 'b'",
    "device.document": OF_TOKEN,
    "device_group.document": OF_TOKEN,
    "profile.document": OF_TOKEN,
    "event.document": "token_name = 'b'",
    "enrollment.document": f"serial_number = '{SERIAL}'",
    "secret.value": "name = 'key pair of b'",
    "one_time.value": f"serial_number = '{SERIAL}'",
}
SEALED = ("token.secrets", "secret.value")
STOPPED = tuple(ROWS)[:7]
"""Columns that a sync or an assignment of the token reads."""

CASES = [
    pytest.param(column, damage, id=f"{column}-{damage.__name__}")
    for column in ROWS
    for damage in (not_ascii, not_utf8, cut)
    if damage is not not_ascii or column in SEALED
]
STOPPING = [case for case in CASES if case.values[0] in STOPPED]
SHORTER = [
    pytest.param(*case.values, id=case.id, marks=[] if case.values[1] is cut else [pytest.mark.slow])
    for case in STOPPING
]
"""One kind of damage per column, and the others in the slow run."""

ON_DRIVERS = [pytest.param("threads", *case.values, id=f"threads-{case.id}") for case in STOPPING] + [
    pytest.param(kind, *case.values, id=f"{kind}-{case.id}", marks=case.marks)
    for kind in ("asyncio", "trio")
    for case in SHORTER
]


@attrs.define(kw_only=True)
class DamagedStoreWorld(SchedulerWorld):
    """A scheduler's world whose tokens a, b and c are in a file that tests damage."""

    path: Path
    damaged: str = ""

    def damage(self, column: str, how: Callable[[str], bytes]) -> None:
        """Replace the value of *column* with one that no store writes."""
        table, _, name = column.partition(".")
        where = ROWS[column].format("")
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            rows = connection.execute(f"SELECT {name} FROM {table} WHERE {where}").fetchall()
            assert rows
            value = how(rows[0][0])
            self.damaged = value.decode(errors="replace")
            written = f"CAST(x'{value.hex()}' AS TEXT)"
            connection.execute(f"UPDATE {table} SET {name} = {written} WHERE {where}")

    def stored(self, column: str) -> list[tuple[Any, ...]]:
        table, _, name = column.partition(".")
        where = ROWS[column].format("")
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(f"SELECT CAST({name} AS BLOB) FROM {table} WHERE {where}").fetchall()

    def assert_unquoted(self, *texts: str) -> None:
        """Check that no part of the damaged value is in *texts*."""
        width = min(16, len(self.damaged))
        parts = {self.damaged[start : start + width] for start in range(len(self.damaged) - width + 1)}
        assert "" not in parts
        for text in texts:
            assert not [part for part in parts if part in text]

    def token_events_of(self, name: str) -> list[EventKind]:
        return [event.kind for event in self.token_events() if event.token_name == name]


def fill(world: SchedulerWorld) -> None:
    """Add three tokens with devices, profiles and an enrollment."""
    world.add(*NAMES)
    for name in NAMES:
        world.store.set_default_profile(name, PROFILE)
    world.apple.add_devices(server="b", serials=[SERIAL])
    store: Any = world.store
    enrollment = Enrollment(
        serial_number=SERIAL,
        token_name="b",
        udid="00000000-0000-4000-8000-000000000001",
        product="Mac15,12",
        build="24A335",
        profile_name="Standard Mac",
        identity=IdentityKind.SCEP,
        issued_at=world.clock(),
    )
    store.save_enrollment(enrollment)
    sign_in = OneTime.of(
        OneTimeKind.WEB_VIEW,
        "state",
        serial_number=SERIAL,
        expires_at=world.clock() + 30 * DAY,
        value={"machine": {"PRODUCT": "Mac15,12"}, "host": "mdm.contoso.example"},
    )
    store.save_one_time(sign_in, now=world.clock(), keep=3)
    store.save_secret("key pair of b", "-----BEGIN PRIVATE KEY----- not a real one, and long enough to cut")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DamagedStoreWorld]:
    path, clock = tmp_path / "ade.db", FrozenClock(datetime.now(UTC))
    with SQLiteStore(path, keys=[KEY], clock=clock) as store:
        world = DamagedStoreWorld(kind="threads", store=store, path=path, clock=clock)
        fill(world)
        world.run(days=0.01)
        world.reports.clear()
        yield world


READERS: dict[str, Callable[[Any], object]] = {
    "token.document": lambda store: store.token("b"),
    "token.secrets": lambda store: store.token("b"),
    "token.state": lambda store: store.sync_state("b"),
    "token.default_profile": lambda store: store.default_profile("b"),
    "device.document": lambda store: list(store.devices("b")),
    "device_group.document": lambda store: store.device_groups("b"),
    "profile.document": lambda store: store.profiles("b"),
    "event.document": lambda store: store.events(limit=10_000),
    "enrollment.document": lambda store: load_context(store, SERIAL),
    "secret.value": lambda store: TokenService(store, Client).keypair("b"),
}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        yield from chain(error.__cause__)
        yield from chain(error.__context__)


@pytest.mark.parametrize(("column", "damage"), [case for case in CASES if case.values[0] in READERS])
def test_error_names_the_token_without_quoting_its_data(
    world: DamagedStoreWorld, column: str, damage: Callable[[str], bytes]
) -> None:
    world.damage(column, damage)
    with pytest.raises(DamagedRecordError) as caught:
        READERS[column](world.store)
    assert caught.value.token_name == "b"
    assert "'b'" in str(caught.value)
    for error in chain(caught.value):
        world.assert_unquoted(str(error), repr(error.args), *getattr(error, "__notes__", ()))


@pytest.mark.parametrize(("kind", "column", "damage"), ON_DRIVERS)
def test_scheduler_suspends_a_damaged_token_and_runs_the_others(
    world: DamagedStoreWorld,
    kind: str,
    column: str,
    damage: Callable[[str], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    world.kind = kind
    world.after(HOUR, lambda: world.damage(column, damage))
    world.after(HOUR, lambda: world.apple.add_devices(2, server="a"))
    world.after(HOUR, caplog.clear)
    caplog.set_level(logging.INFO)
    world.run(days=3.5)
    for name in "ac":
        assert world.listed(name) == world.at_apple(name)
        assert len(world.syncs(name)) == 3
        assert world.token_state(name).stage is Stage.WAITING
        assert not world.token_events_of(name)
    state = world.token_state("b")
    assert state.stage is Stage.SUSPENDED
    assert state.reason.startswith("DamagedRecordError")
    assert "'b'" in state.reason
    assert len(world.starts("b")) <= 2
    is_stored = column != "token.state"
    assert world.token_events_of("b") == [EventKind.TOKEN_SUSPENDED] * is_stored
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    reported = [text for text in warnings if "until an administrator acts" in text or "suspended" in text]
    assert len(reported) == 1
    assert reported[0].startswith("b: ")
    assert all(text.startswith("b: ") for text in warnings)
    assert len(warnings) <= 5
    world.assert_unquoted(caplog.text, str(state), *(str(event.details) for event in world.token_events()))


def test_unreadable_sync_state_is_not_overwritten(world: DamagedStoreWorld) -> None:
    world.damage("token.state", cut)
    before = world.stored("token.state")
    world.run(days=2)
    assert sync_token(world.store, world.client, "b", clock=world.clock) == world.clock() + DAY
    assert world.stored("token.state") == before


@pytest.mark.slow
@pytest.mark.parametrize(("column", "damage"), [case for case in CASES if case.values[0] not in STOPPED])
def test_damage_that_no_sync_reads_suspends_nothing(
    world: DamagedStoreWorld, column: str, damage: Callable[[str], bytes]
) -> None:
    world.damage(column, damage)
    world.run(days=1.5)
    assert [state.stage for state in world.statuses] == [Stage.WAITING] * 3
    assert [len(world.syncs(name)) for name in NAMES] == [1, 1, 1]


@pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])
def test_token_that_was_stored_again_resumes_within_minutes(world: DamagedStoreWorld, kind: str) -> None:
    world.kind = kind
    token = world.store.token("b")
    world.damage("token.secrets", not_ascii)
    world.run(days=1.5)
    assert not world.syncs("b")
    world.after(HOUR, lambda: world.store.replace_token(token))
    world.run(days=0.1)
    assert world.token_events_of("b") == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]
    assert world.token_state("b").stage is Stage.WAITING
    assert len(world.syncs("b")) == 1


def test_token_resumes_when_all_its_data_can_be_read(world: DamagedStoreWorld) -> None:
    world.damage("token.default_profile", cut)
    world.run(days=2.5)
    assert world.token_events_of("b") == [EventKind.TOKEN_SUSPENDED]
    world.store.set_default_profile("b", PROFILE)
    world.run(days=1.5)
    assert world.token_events_of("b") == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]
    assert world.listed("b") == world.at_apple("b")


class DamagedLeaseStore(SQLiteStore):
    """A store that cannot read the lease of token b while a test says so."""

    is_damaged = True

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        if self.is_damaged and token_name == "b":
            raise DamagedRecordError("the lease of token 'b' cannot be read", token_name="b")
        return super().acquire_lease(token_name, owner, seconds=seconds)


@pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])
def test_suspended_token_waits_a_day_even_if_its_suspension_cannot_be_stored(
    world: DamagedStoreWorld, kind: str
) -> None:
    asked: list[datetime] = []
    with DamagedLeaseStore(world.path, keys=[KEY], clock=world.clock) as store:
        store.replace_token(attrs.evolve(store.token("b"), access_token_expiry=world.clock() + 5 * DAY))
        other = attrs.evolve(world, store=store, kind=kind)
        other.apple = world.apple
        other.on_client = lambda token: asked.append(world.clock()) if token.name == "b" else None
        other.run(days=3.5)
        assert other.token_state("b").stage is Stage.SUSPENDED
        assert "the lease of token 'b'" in other.token_state("b").reason
        assert [len(other.syncs(name)) for name in NAMES] == [3, 0, 3]
        assert len(asked) <= 5
        assert min(b - a for a, b in pairwise(asked)) >= DAY / 2
        store.is_damaged = False
        other.run(days=0.1)
        assert other.token_state("b").stage is Stage.WAITING
        assert len(other.syncs("b")) == 1


def test_tick_skips_a_job_whose_lease_cannot_be_read(
    world: DamagedStoreWorld, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    from procrastinate import App
    from procrastinate.testing import InMemoryConnector

    from pyade.operations.job_queue import Queue

    with DamagedLeaseStore(world.path, keys=[KEY], clock=world.clock) as store:
        queue = Queue(App(connector=InMemoryConnector()), store, world.clock)
        assert [queue._is_lease_free(name) for name in NAMES] == [True, False, True]


def test_unreadable_default_can_be_replaced(world: DamagedStoreWorld) -> None:
    world.damage("token.default_profile", not_utf8)
    with world.client(world.store.token("b")) as client:
        with pytest.raises(DamagedRecordError):
            Assigner(client, world.store, clock=world.clock).run()
        Assigner(client, world.store, clock=world.clock).run(default=PROFILE)
    assert world.store.default_profile("b") == PROFILE


def test_node_without_the_key_suspends_a_token_only_once(
    world: DamagedStoreWorld,
) -> None:
    token = world.store.token("b")
    with SQLiteStore(
        world.path, keys=[SecretBox.generate_key()], clock=world.clock, allow_unreadable_secrets=True
    ) as straggler:
        other = DamagedStoreWorld(kind="threads", store=straggler, path=world.path, clock=world.clock)

        def sync() -> None:
            with world.client(token) as client:
                Syncer(client, world.store, clock=world.clock).sync()

        for hours in range(1, 6):
            other.after(hours * HOUR, sync)
        other.run(days=0.5)
    assert world.token_events_of("b") == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]


@pytest.mark.parametrize(("column", "damage"), SHORTER)
def test_worker_tick_suspends_a_damaged_token_and_runs_the_others(
    world: DamagedStoreWorld, column: str, damage: Callable[[str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    world.damage(column, damage)
    store, clock = world.store, world.clock
    for _ in range(2):
        clock.advance(days=1)
        names = due_tokens(store, now=clock())
        assert {"a", "c"} <= {*names}
        for name in NAMES:  # also a job that was deferred before the damage
            again_at = sync_token(store, world.client, name, clock=clock)
            assert again_at == clock() + DAY
            assign_token(store, world.client, name, clock=clock)
        send_reminders(store, now=clock())
    assert due_tokens(store, now=clock()) == ()
    is_stored = column != "token.state"
    assert world.token_events_of("b") == [EventKind.TOKEN_SUSPENDED] * is_stored
    for name in "ac":
        assert store.sync_state(name).succeeded_at == clock()
        assert not world.token_events_of(name)
    world.assert_unquoted(caplog.text)


def test_tick_of_an_app_defers_the_other_tokens_and_warns_once(
    world: DamagedStoreWorld, caplog: pytest.LogCaptureFixture
) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    connector = pytest.importorskip("procrastinate.testing").InMemoryConnector()
    app = procrastinate.App(connector=connector)
    tick, *_ = register_tasks(app, world.store, world.client, clock=world.clock)
    world.damage("token.secrets", cut)
    world.damage("token.state", cut)
    world.clock.advance(days=1)
    with app.open():
        for timestamp in (0, 60):
            tick(timestamp=timestamp)
    waiting = [job["args"].get("token_name") for job in connector.jobs.values()]
    assert sorted(waiting) == ["a", "c"]
    assert [r.getMessage()[:3] for r in caplog.records if "an administrator" in r.getMessage()] == ["b: "]


FINDINGS = {
    "token.document": "store.replace_token()",
    "token.secrets": "store.replace_token()",
    "token.state": "add it again",
    "token.default_profile": "restore a backup",
    "device_group.document": "restore a backup",
    "profile.document": "restore a backup",
}


@pytest.mark.parametrize(("column", "damage"), [case for case in SHORTER if case.values[0] in FINDINGS])
def test_doctor_and_overview_name_the_damaged_token_and_the_next_step(
    world: DamagedStoreWorld, column: str, damage: Callable[[str], bytes]
) -> None:
    world.damage(column, damage)
    serials = [*world.listed("a"), *world.listed("c")]
    diagnosis = doctor(world.store, world.client, expected_serials=serials, clock=world.clock)
    assert not diagnosis.is_healthy
    errors = [one for one in diagnosis.problems if one.severity.value == "error"]
    assert {one.setting for one in errors} <= {"token b", "secrets"}
    assert any(FINDINGS[column] in str(one) for one in errors if one.setting == "token b")
    assert ("secrets" in {one.setting for one in errors}) == (column == "token.secrets")
    ones = {one.name: one for one in overview(world.store, now=world.clock())}
    assert list(ones) == list(NAMES)
    assert [ones[name].total for name in "ac"] == [3, 3]
    text = str(ones["b"])
    if column != "profile.document":  # an overview shows none
        assert "Cannot be read" in text
        assert FINDINGS[column] in text
        assert "Cannot be read" in overview_html(ones.values())
    world.assert_unquoted(str(diagnosis), text)


@pytest.mark.parametrize("damage", [cut, not_utf8])
def test_unreadable_device_is_reported_after_a_sync_has_read_it(
    world: DamagedStoreWorld, damage: Callable[[str], bytes]
) -> None:
    """Doctor and overview count devices without reading each of them."""

    def reported() -> list[bool]:
        diagnosis = doctor(world.store, world.client, clock=world.clock)
        shown = next(one for one in overview(world.store, now=world.clock()) if one.name == "b")
        assert shown.total == 4
        world.assert_unquoted(str(diagnosis), shown.suspended)
        return ["the record of a device of token 'b'" in text for text in (str(diagnosis), shown.suspended)]

    world.damage("device.document", damage)
    world.clock.advance(days=8)
    assert reported() == [False, False]
    with world.client(world.store.token("b")) as client, pytest.raises(DamagedRecordError):
        Syncer(client, world.store, clock=world.clock).sync(full=True)
    assert reported() == [True, True]


def test_doctor_names_secrets_that_no_key_decrypts(world: DamagedStoreWorld) -> None:
    world.damage("secret.value", not_ascii)
    (problem,) = (one for one in doctor(world.store, clock=world.clock).problems if one.setting == "secrets")
    assert "'key pair of b'" in str(problem)
    assert "keys=" in problem.fix


def test_doctor_reports_an_unreadable_purchased_device(world: DamagedStoreWorld) -> None:
    world.damage("device.document", cut)
    serial, *_ = world.listed("a")
    problems = doctor(world.store, expected_serials=[serial, SERIAL], clock=world.clock).problems
    of_purchase = [one for one in problems if one.setting == "expected_serials"]
    assert any("of token 'b'" in one.allowed for one in of_purchase)
    assert not any(serial in one.value for one in of_purchase)


def share(world: DamagedStoreWorld, serial: str) -> None:
    """Let token b list a device of token a, too."""
    record = world.store.device("a", serial)
    assert record is not None
    older = record.device.changed(device_assigned_date=None)
    state = world.store.sync_state("b")
    world.store.commit_page("b", [older], source=Source.SYNC, state=state, now=world.clock())


def test_damaged_record_of_another_token_does_not_stop_an_assignment(world: DamagedStoreWorld) -> None:
    serial, *_ = world.listed("a")
    share(world, serial)
    world.damage("device.document", not_utf8)
    other = attrs.evolve(PROFILE, name="Another Mac")
    with world.client(world.store.token("a")) as client:
        report = Assigner(client, world.store, clock=world.clock).run(default=other)
    assert len(report.results) == 3
    assert not world.token_events_of("a")


def test_mac_enrolls_with_its_readable_records(world: DamagedStoreWorld) -> None:
    serial, *_ = world.listed("a")
    share(world, serial)
    world.damage("device.document", cut)
    store: Any = world.store
    assert load_context(store, serial).token_name == "a"
    with pytest.raises(DamagedRecordError) as caught:
        load_context(store, SERIAL)
    assert caught.value.token_name == "b"


def test_error_of_an_unreadable_bypass_code_names_the_token(world: DamagedStoreWorld) -> None:
    world.store.save_secret(bypass_code_name(SERIAL), "not-a-code-but-a-text-of-some-length")
    with contextlib.closing(sqlite3.connect(world.path)) as connection, connection:
        statement = "UPDATE secret SET value = substr(value, 1, 40) WHERE name = ?"
        connection.execute(statement, (bypass_code_name(SERIAL),))
    with world.client(world.store.token("b")) as client, pytest.raises(DamagedRecordError) as caught:
        DeviceActions(client, world.store, clock=world.clock).lock(SERIAL)
    assert caught.value.token_name == "b"


# PostgreSQL stores no invalid UTF-8 and, in a column of documents, no invalid JSON.

OTHER_SHAPE = {
    "token.document": '{"hush-hush-hush-hush": 1}',
    "token.secrets": '{"hush-hush-hush-hush": 1}',
    "token.state": '["hush-hush-hush-hush"]',
    "token.default_profile": '{"hush-hush-hush-hush": 1}',
    "device.document": '{"hush-hush-hush-hush": 1}',
    "device_group.document": '["hush-hush-hush-hush"]',
    "profile.document": '["hush-hush-hush-hush"]',
}


@attrs.define(kw_only=True)
class DamagedPostgresWorld(DamagedStoreWorld):
    place: Any

    def damage(self, column: str, how: Callable[[str], bytes]) -> None:
        import psycopg
        from psycopg import sql

        table, _, name = column.partition(".")
        self.damaged = OTHER_SHAPE[column]
        schema = sql.Identifier(self.place.schema)
        names = {"table": sql.Identifier(self.place.schema, table), "name": sql.Identifier(name)}
        where: sql.Composable = sql.SQL("name = 'b'")
        if ROWS[column] == OF_TOKEN:
            where = sql.SQL("token_id = (SELECT id FROM {}.token WHERE name = 'b')").format(schema)
        with psycopg.connect(self.place.dsn) as connection:
            if column == "token.secrets":
                select = sql.SQL("SELECT {name} FROM {table} WHERE ").format(**names) + where
                ((value,),) = connection.execute(select).fetchall()
                self.damaged = how(value).decode()
            update = sql.SQL("UPDATE {table} SET {name} = %s WHERE ").format(**names) + where
            assert connection.execute(update, (self.damaged,)).rowcount > 0


@pytest.mark.parametrize(("column", "damage"), [case for case in STOPPING if case.values[1] is not not_utf8])
def test_postgresql_suspends_a_damaged_token_and_runs_the_others(
    postgres: Any,
    tmp_path: Path,
    column: str,
    damage: Callable[[str], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = pytest.importorskip("pyade.storage.postgres")
    clock = FrozenClock(datetime.now(UTC))
    with storage.PostgresStore(postgres.dsn, schema=postgres.schema, keys=[KEY], clock=clock) as store:
        world = DamagedPostgresWorld(kind="threads", store=store, path=tmp_path, clock=clock, place=postgres)
        fill(world)
        world.run(days=0.01)
        world.damage(column, damage)
        caplog.clear()
        for kind in ("threads", "asyncio"):
            world.kind = kind
            world.run(days=1.1)
            assert world.token_state("b").stage is Stage.SUSPENDED
            assert "'b'" in world.token_state("b").reason
        for name in "ac":
            assert len(world.syncs(name)) == 3
        clock.advance(days=1)
        assert {"a", "c"} <= {*due_tokens(store, now=clock())}
        for name in NAMES:
            sync_token(store, world.client, name, clock=clock)
        assert [store.sync_state(name).succeeded_at for name in "ac"] == [clock(), clock()]
        assert world.token_events_of("b") == [EventKind.TOKEN_SUSPENDED] * (column != "token.state")
        with pytest.raises(DamagedRecordError) as caught:
            READERS[column](store)
        assert caught.value.token_name == "b"
        world.assert_unquoted(caplog.text, *map(str, chain(caught.value)))
