"""Older tables are migrated to newer ones: completely or not at all, once, and never backwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.fleet.records import SyncState
from pyade.errors import StoreError, StoreVersionError
from pyade.storage import Database, SQLiteStore, SQLStore
from pyade.storage.sqlite import SQLiteDatabase
from pyade.storage.tables import MIGRATIONS, migrate
from pyade.testing.store_examples import NOW, commit, example_device, example_token, serials_of

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

ONE_MORE = (*MIGRATIONS, ("CREATE TABLE {}first (id {id})", "CREATE TABLE {}second (id {id})"))
A_BROKEN_ONE_MORE = (*MIGRATIONS, ("CREATE TABLE {}first (id {id})", "NO SUCH STATEMENT"))


@pytest.fixture(params=["sqlite", "postgres"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Return a function that opens the same database again."""
    opened: list[Database] = []

    def make() -> Database:
        opened.append(make_database())
        return opened[-1]

    if request.param == "sqlite":

        def make_database() -> Database:
            return SQLiteDatabase(str(tmp_path / "ade.db"), busy_timeout_s=30, clock=lambda: NOW)

    else:
        place: PostgresSchema = request.getfixturevalue("postgres")
        from pyade.storage.postgres import PostgresDatabase

        def make_database() -> Database:
            return PostgresDatabase(
                place.dsn, schema=place.schema, max_connections=2, timeout_s=30, clock=lambda: NOW
            )

    yield make
    for database in opened:
        database.close()


def has_tables(database: Database, *names: str) -> list[bool]:
    with database.reading() as session:
        return [session.has_table(name) for name in names]


def version_of(database: Database) -> int:
    with database.reading() as session:
        return int(session.rows("SELECT version FROM {}pyade_store")[0][0])


def test_new_store_has_the_newest_version(open_database: Callable[[], Database]) -> None:
    SQLStore(open_database()).close()
    assert version_of(open_database()) == len(MIGRATIONS)


def test_newer_tables_are_refused_and_unchanged(open_database: Callable[[], Database]) -> None:
    with SQLStore(open_database()) as store:
        store.add_token(example_token())
    migrate(open_database(), ONE_MORE)
    with pytest.raises(StoreVersionError, match=rf"version {len(ONE_MORE)}, .*upgrade pyade"):
        SQLStore(open_database())
    assert version_of(open_database()) == len(ONE_MORE)


def test_older_tables_migrate_once_and_keep_their_content(open_database: Callable[[], Database]) -> None:
    with SQLStore(open_database()) as store:
        store.add_token(example_token())
        commit(store, example_device())
    database = open_database()
    migrate(database, ONE_MORE)
    migrate(database, ONE_MORE)
    assert version_of(database) == len(ONE_MORE)
    assert has_tables(database, "first", "second", "device", "third") == [True, True, True, False]
    with database.reading() as session:
        assert session.rows("SELECT serial_number FROM {}device") == [("C02FULL00001",)]


BACK_TO_VERSION_1 = (
    """UPDATE {}token SET state = CAST(REPLACE(REPLACE(CAST(state AS text), '"suspended":', '"parked":'),
    '"suspended_with":', '"parked_with":') AS {json})""",
    """UPDATE {}event SET document =
    CAST(REPLACE(CAST(document AS text), '"token_suspended"', '"token_parked"') AS {json})""",
    "UPDATE {}pyade_store SET version = 1",
)


def test_parked_tokens_of_version_1_are_suspended(open_database: Callable[[], Database]) -> None:
    reason = 'TermsError: "parked": "token_parked"'
    suspension = EventBatch("hq", NOW, (EventGroup(EventKind.TOKEN_SUSPENDED, details={"reason": reason}),))
    with SQLStore(open_database()) as store:
        store.add_token(example_token())
        store.add_token(example_token("other"))
        state = store.save_sync_state(
            "hq", SyncState(suspended=reason, suspended_with="fingerprint"), events=suspension
        )
    database = open_database()
    with database.writing() as session:
        for statement in BACK_TO_VERSION_1:
            session.rows(statement)
    with SQLStore(database) as store:
        assert store.sync_state("hq") == state
        assert [(event.kind, event.details) for event in store.events()] == [
            (EventKind.TOKEN_SUSPENDED, {"reason": reason})
        ]
        assert store.sync_state("other") == SyncState()


def test_failed_migration_leaves_the_old_version_usable(open_database: Callable[[], Database]) -> None:
    with SQLStore(open_database()) as store:
        store.add_token(example_token())
    with pytest.raises(StoreError):
        migrate(open_database(), A_BROKEN_ONE_MORE)
    assert has_tables(open_database(), "first") == [False]
    with SQLStore(open_database()) as store:
        assert store.tokens() == (example_token(),)


def test_tables_of_other_programs_are_unchanged(open_database: Callable[[], Database]) -> None:
    database = open_database()
    with database.writing() as session:
        database.take_turns(session)
        session.rows("CREATE TABLE {}token (theirs {integer})")
    with pytest.raises(StoreError, match=r"a table token already.*choose another place"):
        SQLStore(database)
    assert has_tables(open_database(), "token", "device", "pyade_store") == [True, False, False]


CRASH_IN_MIGRATION = """
import os, sys
from datetime import UTC, datetime
from pyade.storage.tables import MIGRATIONS, migrate
from pyade.storage.sqlite import SQLiteDatabase

class Crashing(tuple):
    def __iter__(self):
        yield "CREATE TABLE {}first (id {id})"
        yield "DELETE FROM {}token"
        os._exit(9)

database = SQLiteDatabase(sys.argv[1], busy_timeout_s=30, clock=lambda: datetime.now(UTC))
migrate(database, (*MIGRATIONS, Crashing()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_new", [False, True], ids=["an older file", "a new file"])
def test_crash_in_a_migration_does_not_block_later_starts(tmp_path: Path, is_new: bool) -> None:
    path = tmp_path / "ade.db"
    if not is_new:
        with SQLiteStore(path) as store:
            store.add_token(example_token())
            commit(store, example_device())
    command = [sys.executable, "-c", CRASH_IN_MIGRATION, str(path)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    with SQLiteStore(path) as store:
        if is_new:
            store.add_token(example_token())
            commit(store, example_device())
        assert serials_of(store) == ["C02FULL00001"]
    database = SQLiteDatabase(str(path), busy_timeout_s=30, clock=lambda: NOW)
    assert has_tables(database, "first") == [False]
    database.close()
