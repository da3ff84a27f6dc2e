"""The outbox in PostgreSQL, where transactions are numbered in one order and commit in another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString

import attrs
import pytest

from pyade.core.fleet.device import Device
from pyade.core.fleet.events import Event, EventGroup, EventKind, encode_groups
from pyade.errors import StoreError
from pyade.testing.store_examples import NOW, commit, example_token, fleet_of

psycopg = pytest.importorskip("psycopg")

from psycopg import sql  # noqa: E402

from pyade.storage.postgres import PostgresStore  # noqa: E402 - it needs psycopg

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema


@pytest.fixture
def make_store(postgres: PostgresSchema) -> Callable[[], PostgresStore]:
    return lambda: PostgresStore(postgres.dsn, schema=postgres.schema)


@pytest.fixture
def store(make_store: Callable[[], PostgresStore]) -> Iterator[PostgresStore]:
    with make_store() as store:
        store.add_token(example_token())
        yield store


@attrs.frozen
class Writer:
    """A transaction of another worker."""

    connection: Any
    schema: str

    def emit(self, token_name: str) -> None:
        statement = "INSERT INTO {}.event (at, token_name, document) VALUES (%s, %s, %s)"
        groups = encode_groups((EventGroup(EventKind.TOKEN_SUSPENDED),))
        self.execute(statement, NOW, token_name, groups)

    def execute(self, statement: LiteralString, *values: object) -> None:
        self.connection.execute(sql.SQL(statement).format(sql.Identifier(self.schema)), values)


@pytest.fixture
def slow_writer(postgres: PostgresSchema, store: PostgresStore) -> Iterator[Writer]:
    """Return an open transaction that has written an event, so that the event has its number."""
    with psycopg.connect(postgres.dsn) as connection:
        writer = Writer(connection, postgres.schema)
        writer.emit("slow")
        yield writer


def names(events: object) -> list[str]:
    assert isinstance(events, tuple)
    return [event.serial_number or event.token_name for event in events]


def read_on(store: PostgresStore, after: str | None, *, limit: int = 1000) -> list[Event]:
    found: list[Event] = []
    while events := store.events(found[-1].id if found else after, limit=limit):
        found.extend(events)
    return found


def test_event_that_commits_late_is_not_lost(store: PostgresStore, slow_writer: Writer) -> None:
    commit(store, *fleet_of(2))
    assert store.events() == ()  # the slow one has the smaller number and may still commit
    slow_writer.connection.commit()
    assert names(store.events()) == ["slow", "C02000000", "C02000001"]


def test_reader_between_two_commits_loses_nothing(
    postgres: PostgresSchema, store: PostgresStore, slow_writer: Writer
) -> None:
    slow_writer.connection.commit()
    (first,) = store.events()
    slow_writer.emit("slower")
    commit(store, *fleet_of(1))
    assert store.events(first.id) == ()
    slow_writer.connection.commit()
    commit(store, *fleet_of(2))
    assert names(store.events(first.id)) == ["slower", "C02000000", "C02000001"]


def test_rolled_back_change_delays_no_event(store: PostgresStore, slow_writer: Writer) -> None:
    commit(store, *fleet_of(1))
    slow_writer.connection.rollback()
    assert names(store.events()) == ["C02000000"]


def test_pruning_keeps_unsettled_events(store: PostgresStore, slow_writer: Writer) -> None:
    commit(store, *fleet_of(1))
    store.save_position("subscriber", "")
    store.prune_events(NOW + timedelta(days=1))
    slow_writer.connection.commit()
    assert names(store.events()) == ["slow", "C02000000"]


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_long_outbox_is_read_in_parts(store: PostgresStore, limit: int) -> None:
    for number in range(60):
        commit(store, *(Device(serial_number=f"{number:02}-{part}") for part in range(3)))
    everything = read_on(store, None, limit=limit)
    assert [event.serial_number for event in everything] == [
        f"{number:02}-{part}" for number in range(60) for part in range(3)
    ]
    assert len({event.id for event in everything}) == 180
    for index in (0, 1, 2, 149, 150, 178):
        assert read_on(store, everything[index].id, limit=limit) == everything[index + 1 :]


def test_order_is_numeric(postgres: PostgresSchema, store: PostgresStore) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        writer = Writer(connection, postgres.schema)
        for number in (20, 3, 100):
            writer.emit(str(number))
            writer.execute(
                "UPDATE {}.event SET transaction_number = %s WHERE token_name = %s", number, str(number)
            )
    assert names(store.events()) == ["3", "20", "100"]
    assert names(store.events("20-1.0")) == ["100"]


def test_readers_beside_eight_writers_see_each_event_once_in_order(
    store: PostgresStore, make_store: Callable[[], PostgresStore]
) -> None:
    writers, pages = 8, 6
    for writer in range(writers):
        store.add_token(example_token(f"token-{writer}"))

    def write(writer: int) -> None:
        for page in range(pages):
            commit(store, Device(serial_number=f"{page}"), name=f"token-{writer}")

    seen: list[Event] = []
    with make_store() as reader, ThreadPoolExecutor(writers) as pool:
        done = [pool.submit(write, writer) for writer in range(writers)]
        while not all(future.done() for future in done):
            seen.extend(read_on(reader, seen[-1].id if seen else None))
        for future in done:
            future.result()
        seen.extend(read_on(reader, seen[-1].id if seen else None))
    assert seen == read_on(store, None)
    assert set(Counter((event.token_name, event.serial_number) for event in seen).values()) == {1}
    for writer in range(writers):
        of_token = [event.serial_number for event in seen if event.token_name == f"token-{writer}"]
        assert of_token == [str(page) for page in range(pages)]


@pytest.mark.parametrize("after", ["1.0", "1-.0", "-1.0", "a-1.0", "1-1", "99999999999999999999-1.0"])
def test_id_of_another_store_is_refused(store: PostgresStore, after: str) -> None:
    with pytest.raises(StoreError, match="no id of an event"):
        store.events(after)
    with pytest.raises(StoreError, match="no id of an event"):
        store.save_position("subscriber", after)
