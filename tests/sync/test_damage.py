"""One damaged row in the file or database: its token is named and suspended, and all others go on."""

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
from tests.operations.test_scheduler import House

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
class Mill(House):
    """A house with the tokens a, b and c in a file that damage is written into."""

    path: Path
    damaged: str = ""

    def damage(self, column: str, how: Callable[[str], bytes]) -> None:
        """Write into the file what no store wrote."""
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


def fill(house: House) -> None:
    """Add three tokens with devices, profiles and an enrollment."""
    house.add(*NAMES)
    for name in NAMES:
        house.store.set_default_profile(name, PROFILE)
    house.apple.add_devices(server="b", serials=[SERIAL])
    store: Any = house.store
    enrollment = Enrollment(
        serial_number=SERIAL,
        token_name="b",
        udid="00000000-0000-4000-8000-000000000001",
        product="Mac15,12",
        build="24A335",
        profile_name="Standard Mac",
        identity=IdentityKind.SCEP,
        issued_at=house.clock(),
    )
    store.save_enrollment(enrollment)
    sign_in = OneTime.of(
        OneTimeKind.WEB_VIEW,
        "state",
        serial_number=SERIAL,
        expires_at=house.clock() + 30 * DAY,
        value={"machine": {"PRODUCT": "Mac15,12"}, "host": "mdm.contoso.example"},
    )
    store.save_one_time(sign_in, now=house.clock(), keep=3)
    store.save_secret("key pair of b", "-----BEGIN PRIVATE KEY----- not a real one, and long enough to cut")


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[Mill]:
    path, clock = tmp_path / "ade.db", FrozenClock(datetime.now(UTC))
    with SQLiteStore(path, keys=[KEY], clock=clock) as store:
        mill = Mill(kind="threads", store=store, path=path, clock=clock)
        fill(mill)
        mill.run(days=0.01)
        mill.reports.clear()
        yield mill


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
def test_the_error_names_the_token_and_quotes_nothing(
    mill: Mill, column: str, damage: Callable[[str], bytes]
) -> None:
    mill.damage(column, damage)
    with pytest.raises(DamagedRecordError) as caught:
        READERS[column](mill.store)
    assert caught.value.token_name == "b"
    assert "'b'" in str(caught.value)
    for error in chain(caught.value):
        mill.assert_unquoted(str(error), repr(error.args), *getattr(error, "__notes__", ()))


@pytest.mark.parametrize(("kind", "column", "damage"), ON_DRIVERS)
def test_a_scheduler_parks_a_damaged_token_and_goes_on_with_the_others(
    mill: Mill, kind: str, column: str, damage: Callable[[str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    mill.kind = kind
    mill.after(HOUR, lambda: mill.damage(column, damage))
    mill.after(HOUR, lambda: mill.apple.add_devices(2, server="a"))
    mill.after(HOUR, caplog.clear)
    caplog.set_level(logging.INFO)
    mill.run(days=3.5)
    for name in "ac":
        assert mill.listed(name) == mill.at_apple(name)
        assert len(mill.syncs(name)) == 3
        assert mill.token_state(name).stage is Stage.WAITING
        assert not mill.token_events_of(name)
    state = mill.token_state("b")
    assert state.stage is Stage.SUSPENDED
    assert state.reason.startswith("DamagedRecordError")
    assert "'b'" in state.reason
    assert len(mill.starts("b")) <= 2
    is_stored = column != "token.state"
    assert mill.token_events_of("b") == [EventKind.TOKEN_SUSPENDED] * is_stored
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    told = [text for text in warnings if "until an administrator acts" in text or "suspended" in text]
    assert len(told) == 1
    assert told[0].startswith("b: ")
    assert all(text.startswith("b: ") for text in warnings)
    assert len(warnings) <= 5
    mill.assert_unquoted(caplog.text, str(state), *(str(event.details) for event in mill.token_events()))


def test_nothing_is_written_over_a_sync_state_that_cannot_be_read(mill: Mill) -> None:
    mill.damage("token.state", cut)
    before = mill.stored("token.state")
    mill.run(days=2)
    assert sync_token(mill.store, mill.client, "b", clock=mill.clock) == mill.clock() + DAY
    assert mill.stored("token.state") == before


@pytest.mark.slow
@pytest.mark.parametrize(("column", "damage"), [case for case in CASES if case.values[0] not in STOPPED])
def test_damage_that_no_sync_meets_parks_nothing(
    mill: Mill, column: str, damage: Callable[[str], bytes]
) -> None:
    mill.damage(column, damage)
    mill.run(days=1.5)
    assert [state.stage for state in mill.look] == [Stage.WAITING] * 3
    assert [len(mill.syncs(name)) for name in NAMES] == [1, 1, 1]


@pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])
def test_a_token_that_was_stored_anew_goes_on_within_minutes(mill: Mill, kind: str) -> None:
    mill.kind = kind
    token = mill.store.token("b")
    mill.damage("token.secrets", not_ascii)
    mill.run(days=1.5)
    assert not mill.syncs("b")
    mill.after(HOUR, lambda: mill.store.replace_token(token))
    mill.run(days=0.1)
    assert mill.token_events_of("b") == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]
    assert mill.token_state("b").stage is Stage.WAITING
    assert len(mill.syncs("b")) == 1


def test_a_token_goes_on_once_all_of_it_can_be_read(mill: Mill) -> None:
    mill.damage("token.default_profile", cut)
    mill.run(days=2.5)
    assert mill.token_events_of("b") == [EventKind.TOKEN_SUSPENDED]
    mill.store.set_default_profile("b", PROFILE)
    mill.run(days=1.5)
    assert mill.token_events_of("b") == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]
    assert mill.listed("b") == mill.at_apple("b")


class LeaseDamaged(SQLiteStore):
    """A store that cannot read the lease of token b, for as long as a test says so."""

    is_damaged = True

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        if self.is_damaged and token_name == "b":
            raise DamagedRecordError("the lease of token 'b' cannot be read", token_name="b")
        return super().acquire_lease(token_name, owner, seconds=seconds)


@pytest.mark.parametrize("kind", ["threads", "asyncio", "trio"])
def test_a_token_is_left_alone_for_a_day_also_where_that_cannot_be_stored(mill: Mill, kind: str) -> None:
    asked: list[datetime] = []
    with LeaseDamaged(mill.path, keys=[KEY], clock=mill.clock) as store:
        store.replace_token(attrs.evolve(store.token("b"), access_token_expiry=mill.clock() + 5 * DAY))
        other = attrs.evolve(mill, store=store, kind=kind)
        other.apple = mill.apple
        other.on_client = lambda token: asked.append(mill.clock()) if token.name == "b" else None
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


def test_the_tick_leaves_a_job_alone_whose_lease_cannot_be_read(
    mill: Mill, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    from procrastinate import App
    from procrastinate.testing import InMemoryConnector

    from pyade.operations.job_queue import Queue

    with LeaseDamaged(mill.path, keys=[KEY], clock=mill.clock) as store:
        queue = Queue(App(connector=InMemoryConnector()), store, mill.clock)
        assert [queue._is_lease_free(name) for name in NAMES] == [True, False, True]


def test_a_default_that_cannot_be_read_is_replaced_by_a_new_one(mill: Mill) -> None:
    mill.damage("token.default_profile", not_utf8)
    with mill.client(mill.store.token("b")) as client:
        with pytest.raises(DamagedRecordError):
            Assigner(client, mill.store, clock=mill.clock).run()
        Assigner(client, mill.store, clock=mill.clock).run(default=PROFILE)
    assert mill.store.default_profile("b") == PROFILE


def test_a_node_without_the_key_tells_of_a_token_once_and_does_not_fight_those_that_have_it(
    mill: Mill,
) -> None:
    token = mill.store.token("b")
    with SQLiteStore(
        mill.path, keys=[SecretBox.generate_key()], clock=mill.clock, allow_unreadable_secrets=True
    ) as straggler:
        other = Mill(kind="threads", store=straggler, path=mill.path, clock=mill.clock)

        def sync() -> None:
            with mill.client(token) as client:
                Syncer(client, mill.store, clock=mill.clock).sync()

        for hours in range(1, 6):
            other.after(hours * HOUR, sync)
        other.run(days=0.5)
    assert mill.token_events_of("b") == [EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED]


@pytest.mark.parametrize(("column", "damage"), SHORTER)
def test_the_workers_tick_parks_a_damaged_token_and_goes_on_with_the_others(
    mill: Mill, column: str, damage: Callable[[str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    mill.damage(column, damage)
    store, clock = mill.store, mill.clock
    for _ in range(2):
        clock.advance(days=1)
        names = due_tokens(store, now=clock())
        assert {"a", "c"} <= {*names}
        for name in NAMES:  # also a job that was deferred before the damage
            again_at = sync_token(store, mill.client, name, clock=clock)
            assert again_at == clock() + DAY
            assign_token(store, mill.client, name, clock=clock)
        send_reminders(store, now=clock())
    assert due_tokens(store, now=clock()) == ()
    is_stored = column != "token.state"
    assert mill.token_events_of("b") == [EventKind.TOKEN_SUSPENDED] * is_stored
    for name in "ac":
        assert store.sync_state(name).succeeded_at == clock()
        assert not mill.token_events_of(name)
    mill.assert_unquoted(caplog.text)


def test_the_tick_of_an_app_defers_the_others_and_warns_once(
    mill: Mill, caplog: pytest.LogCaptureFixture
) -> None:
    procrastinate = pytest.importorskip("procrastinate", reason="the extra workers is not installed")
    connector = pytest.importorskip("procrastinate.testing").InMemoryConnector()
    app = procrastinate.App(connector=connector)
    tick, *_ = register_tasks(app, mill.store, mill.client, clock=mill.clock)
    mill.damage("token.secrets", cut)
    mill.damage("token.state", cut)
    mill.clock.advance(days=1)
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
def test_doctor_and_overview_say_which_token_is_damaged_and_what_to_do(
    mill: Mill, column: str, damage: Callable[[str], bytes]
) -> None:
    mill.damage(column, damage)
    serials = [*mill.listed("a"), *mill.listed("c")]
    diagnosis = doctor(mill.store, mill.client, expected_serials=serials, clock=mill.clock)
    assert not diagnosis.is_healthy
    errors = [one for one in diagnosis.problems if one.severity.value == "error"]
    assert {one.setting for one in errors} <= {"token b", "secrets"}
    assert any(FINDINGS[column] in str(one) for one in errors if one.setting == "token b")
    assert ("secrets" in {one.setting for one in errors}) == (column == "token.secrets")
    ones = {one.name: one for one in overview(mill.store, now=mill.clock())}
    assert list(ones) == list(NAMES)
    assert [ones[name].total for name in "ac"] == [3, 3]
    text = str(ones["b"])
    if column != "profile.document":  # an overview shows none
        assert "Cannot be read" in text
        assert FINDINGS[column] in text
        assert "Cannot be read" in overview_html(ones.values())
    mill.assert_unquoted(str(diagnosis), text)


@pytest.mark.parametrize("damage", [cut, not_utf8])
def test_a_device_that_cannot_be_read_is_told_from_the_sync_on_that_met_it(
    mill: Mill, damage: Callable[[str], bytes]
) -> None:
    """Doctor and overview count devices without reading each of them."""

    def told() -> list[bool]:
        diagnosis = doctor(mill.store, mill.client, clock=mill.clock)
        shown = next(one for one in overview(mill.store, now=mill.clock()) if one.name == "b")
        assert shown.total == 4
        mill.assert_unquoted(str(diagnosis), shown.suspended)
        return ["the record of a device of token 'b'" in text for text in (str(diagnosis), shown.suspended)]

    mill.damage("device.document", damage)
    mill.clock.advance(days=8)
    assert told() == [False, False]
    with mill.client(mill.store.token("b")) as client, pytest.raises(DamagedRecordError):
        Syncer(client, mill.store, clock=mill.clock).sync(full=True)
    assert told() == [True, True]


def test_doctor_names_secrets_that_no_key_opens(mill: Mill) -> None:
    mill.damage("secret.value", not_ascii)
    (problem,) = (one for one in doctor(mill.store, clock=mill.clock).problems if one.setting == "secrets")
    assert "'key pair of b'" in str(problem)
    assert "keys=" in problem.fix


def test_doctor_says_that_a_purchased_device_cannot_be_read(mill: Mill) -> None:
    mill.damage("device.document", cut)
    serial, *_ = mill.listed("a")
    problems = doctor(mill.store, expected_serials=[serial, SERIAL], clock=mill.clock).problems
    of_purchase = [one for one in problems if one.setting == "expected_serials"]
    assert any("of token 'b'" in one.allowed for one in of_purchase)
    assert not any(serial in one.value for one in of_purchase)


def share(mill: Mill, serial: str) -> None:
    """Let token b know a device of token a's, too."""
    record = mill.store.device("a", serial)
    assert record is not None
    older = record.device.changed(device_assigned_date=None)
    state = mill.store.sync_state("b")
    mill.store.commit_page("b", [older], source=Source.SYNC, state=state, now=mill.clock())


def test_a_damaged_record_of_another_token_holds_up_no_assignment(mill: Mill) -> None:
    serial, *_ = mill.listed("a")
    share(mill, serial)
    mill.damage("device.document", not_utf8)
    other = attrs.evolve(PROFILE, name="Another Mac")
    with mill.client(mill.store.token("a")) as client:
        report = Assigner(client, mill.store, clock=mill.clock).run(default=other)
    assert len(report.results) == 3
    assert not mill.token_events_of("a")


def test_a_mac_enrolls_with_what_can_be_read_of_it(mill: Mill) -> None:
    serial, *_ = mill.listed("a")
    share(mill, serial)
    mill.damage("device.document", cut)
    store: Any = mill.store
    assert load_context(store, serial).token_name == "a"
    with pytest.raises(DamagedRecordError) as caught:
        load_context(store, SERIAL)
    assert caught.value.token_name == "b"


def test_a_bypass_code_that_cannot_be_read_names_the_token(mill: Mill) -> None:
    mill.store.save_secret(bypass_code_name(SERIAL), "not-a-code-but-a-text-of-some-length")
    with contextlib.closing(sqlite3.connect(mill.path)) as connection, connection:
        statement = "UPDATE secret SET value = substr(value, 1, 40) WHERE name = ?"
        connection.execute(statement, (bypass_code_name(SERIAL),))
    with mill.client(mill.store.token("b")) as client, pytest.raises(DamagedRecordError) as caught:
        DeviceActions(client, mill.store, clock=mill.clock).lock(SERIAL)
    assert caught.value.token_name == "b"


# PostgreSQL holds neither invalid UTF-8 nor, in a column of documents, what is no JSON.

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
class PostgresMill(Mill):
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
def test_on_postgresql_a_damaged_token_is_parked_and_the_others_go_on(
    postgres: Any,
    tmp_path: Path,
    column: str,
    damage: Callable[[str], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = pytest.importorskip("pyade.storage.postgres")
    clock = FrozenClock(datetime.now(UTC))
    with storage.PostgresStore(postgres.dsn, schema=postgres.schema, keys=[KEY], clock=clock) as store:
        mill = PostgresMill(kind="threads", store=store, path=tmp_path, clock=clock, place=postgres)
        fill(mill)
        mill.run(days=0.01)
        mill.damage(column, damage)
        caplog.clear()
        for kind in ("threads", "asyncio"):
            mill.kind = kind
            mill.run(days=1.1)
            assert mill.token_state("b").stage is Stage.SUSPENDED
            assert "'b'" in mill.token_state("b").reason
        for name in "ac":
            assert len(mill.syncs(name)) == 3
        clock.advance(days=1)
        assert {"a", "c"} <= {*due_tokens(store, now=clock())}
        for name in NAMES:
            sync_token(store, mill.client, name, clock=clock)
        assert [store.sync_state(name).succeeded_at for name in "ac"] == [clock(), clock()]
        assert mill.token_events_of("b") == [EventKind.TOKEN_SUSPENDED] * (column != "token.state")
        with pytest.raises(DamagedRecordError) as caught:
            READERS[column](store)
        assert caught.value.token_name == "b"
        mill.assert_unquoted(caplog.text, *map(str, chain(caught.value)))
