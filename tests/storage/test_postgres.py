"""What only the PostgreSQL store does: schemas, migrations, locks, and errors without secrets."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString

import attrs
import pytest

from pyade.core.fleet.device import Device
from pyade.core.fleet.records import Source, SyncState
from pyade.errors import (
    LeaseHeldError,
    LeaseLostError,
    StoreConflictError,
    StoreError,
)
from pyade.testing.store_examples import NOW, commit, example_token, fleet_of, serials_of

psycopg = pytest.importorskip("psycopg")

from psycopg import sql  # noqa: E402

from pyade.storage.postgres import (  # noqa: E402
    PostgresDatabase,
    PostgresStore,
)

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

UNREACHABLE = "host=127.0.0.1 port=1 user=somebody password=pass-word dbname=ade"


@pytest.fixture
def make_store(postgres: PostgresSchema) -> Callable[..., PostgresStore]:
    def make(**options: Any) -> PostgresStore:
        return PostgresStore(postgres.dsn, **{"schema": postgres.schema, **options})

    return make


@pytest.fixture
def store(make_store: Callable[..., PostgresStore]) -> Iterator[PostgresStore]:
    with make_store() as store:
        store.add_token(example_token())
        yield store


@attrs.frozen
class Raw:
    """A connection beside the store."""

    connection: Any
    schema: str

    def execute(self, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        query = sql.SQL(statement).format(schema=sql.Identifier(self.schema))
        cursor = self.connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def raw_session(place: PostgresSchema) -> Iterator[Raw]:
    with psycopg.connect(place.dsn) as connection:
        yield Raw(connection, place.schema)


@pytest.fixture
def free_port() -> Callable[[], socket.socket]:
    """Return a function that starts a server which accepts connections and never answers."""
    return lambda: socket.create_server(("127.0.0.1", 0))


# Schemas


def test_stores_of_two_schemas_share_nothing(postgres: PostgresSchema, store: PostgresStore) -> None:
    schema = f"{postgres.schema}_\"2' "
    try:
        with PostgresStore(postgres.dsn, schema=schema) as other:
            assert other.tokens() == ()
            other.add_token(example_token("other"))
            other.acquire_lease("other", "a worker")
        assert [token.name for token in store.tokens()] == ["hq"]
    finally:
        with raw_session(attrs.evolve(postgres, schema=schema)) as session:
            session.execute("DROP SCHEMA {schema} CASCADE")


def test_nodes_that_start_together_migrate_once(make_store: Callable[..., PostgresStore]) -> None:
    start = threading.Barrier(8)

    def open_store(_: int) -> PostgresStore:
        start.wait()
        return make_store()

    with ThreadPoolExecutor(8) as pool, ExitStack() as stack:
        stores = [stack.enter_context(store) for store in pool.map(open_store, range(8))]
        stores[0].add_token(example_token())
        assert [store.token("hq").name for store in stores] == ["hq"] * 8


def test_schema_may_exist_beforehand(
    postgres: PostgresSchema, make_store: Callable[..., PostgresStore]
) -> None:
    with raw_session(postgres) as session:
        session.execute("CREATE SCHEMA {schema}")
    with make_store() as store:
        assert store.tokens() == ()


def test_tables_of_another_program_are_refused(
    postgres: PostgresSchema, make_store: Callable[..., PostgresStore]
) -> None:
    with raw_session(postgres) as session:
        session.execute("CREATE SCHEMA {schema}")
        session.execute("CREATE TABLE {schema}.device (id bigint)")
    with pytest.raises(StoreError, match="device"):
        make_store()
    with raw_session(postgres) as session:
        assert session.execute("SELECT to_regclass('pyade_store')") == [(None,)]


@pytest.mark.parametrize("schema", ["", "nul\0", "x" * 64], ids=["empty", "nul", "long"])
def test_impossible_schema_is_refused(postgres: PostgresSchema, schema: str) -> None:
    with pytest.raises(StoreError, match="schema"):
        PostgresStore(postgres.dsn, schema=schema)


# Texts


def test_tables_are_human_readable(postgres: PostgresSchema, store: PostgresStore) -> None:
    commit(store, Device(serial_number="Ö1", model="MacBook Air", profile_uuid="ABC"))
    with raw_session(postgres) as session:
        ((serial, model, name, document),) = session.execute(
            "SELECT serial_number, alike.model, token.name, device.document->>'model' FROM {schema}.device"
            " JOIN {schema}.device_group AS alike ON alike.id = group_id"
            " JOIN {schema}.token ON token.id = device.token_id"
        )
    assert (serial, model, name, document) == ("Ö1", "MacBook Air", "hq", "MacBook Air")


def test_database_with_another_encoding_is_refused(postgres: PostgresSchema) -> None:
    name = f"{postgres.schema}_latin1"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
        try:
            with pytest.raises(StoreError, match="LATIN1: create one with UTF8"):
                PostgresStore(psycopg.conninfo.make_conninfo(postgres.dsn, dbname=name))
        finally:
            connection.execute(f"DROP DATABASE {name}")


def test_text_that_is_not_unicode_is_refused(store: PostgresStore) -> None:
    with pytest.raises(StoreError, match="Unicode"):
        store.device("hq", "\ud800")
    with pytest.raises(StoreError):
        commit(store, Device(serial_number="A", asset_tag="\ud800"))
    assert serials_of(store, released=None) == []


# Locks and leases


def test_writers_of_one_token_wait_for_each_other_and_not_for_other_tokens(
    postgres: PostgresSchema, make_store: Callable[..., PostgresStore]
) -> None:
    with make_store(timeout_s=1) as store, raw_session(postgres) as session:
        store.add_token(example_token())
        store.add_token(example_token("other"))
        session.execute("SELECT 1 FROM {schema}.token WHERE name = %s FOR UPDATE", "hq")
        commit(store, *fleet_of(2), name="other")
        assert store.sync_state("hq") == SyncState()
        with pytest.raises(StoreError, match="another worker was writing"):
            commit(store, *fleet_of(2))
        session.connection.rollback()
        commit(store, *fleet_of(2))


def test_writer_that_waited_sees_what_the_other_wrote(postgres: PostgresSchema, store: PostgresStore) -> None:
    old = store.sync_state("hq")
    with ThreadPoolExecutor(1) as pool, raw_session(postgres) as session:
        session.execute("UPDATE {schema}.token SET revision = revision + 1")
        late = pool.submit(store.save_sync_state, "hq", old)
        while not _has_waiting_session(session):
            pass
        session.connection.commit()
        with pytest.raises(StoreConflictError):
            late.result()


def test_stalled_worker_loses_its_transaction(
    make_store: Callable[..., PostgresStore],
) -> None:
    with make_store() as other, make_store(timeout_s=1) as store:
        store.add_token(example_token())

        class Sleeper(SyncState):
            def __getattribute__(self, name: str) -> Any:
                if name == "cursor":
                    commit(other, *fleet_of(1), cursor="other")  # waits until the server ends the sleeper's
                return super().__getattribute__(name)

        with pytest.raises(StoreError):
            store.commit_page("hq", fleet_of(3), source=Source.SYNC, state=Sleeper(), now=NOW)
        assert store.sync_state("hq").cursor == "other"
        assert len(serials_of(store)) == 1


def test_leases_use_the_server_clock(postgres: PostgresSchema, store: PostgresStore) -> None:
    before = _server_time(postgres)
    lease = store.acquire_lease("hq", "one", seconds=60)
    assert before <= lease.expires_at - timedelta(seconds=60) <= _server_time(postgres)
    with pytest.raises(LeaseHeldError, match="one"):
        store.acquire_lease("hq", "two")
    assert store.renew_lease(lease, seconds=120).expires_at > lease.expires_at
    store.release_lease(lease)
    assert store.acquire_lease("hq", "two").fence > lease.fence
    with pytest.raises(LeaseLostError):
        commit_with(store, lease)
    assert serials_of(store) == []


def test_leases_use_a_given_clock(make_store: Callable[..., PostgresStore]) -> None:
    times = [NOW]
    with make_store(clock=lambda: times[0]) as store:
        store.add_token(example_token())
        lease = store.acquire_lease("hq", "one")
        assert lease.expires_at == NOW + timedelta(seconds=60)
        times[0] += timedelta(seconds=60)
        with pytest.raises(LeaseLostError, match="ended"):
            commit_with(store, lease)
        assert store.acquire_lease("hq", "two").fence > lease.fence


def commit_with(store: PostgresStore, lease: Any) -> None:
    state = store.sync_state("hq")
    store.commit_page("hq", fleet_of(1), source=Source.SYNC, state=state, now=NOW, lease=lease)


def _server_time(place: PostgresSchema) -> Any:
    with raw_session(place) as session:
        return session.execute("SELECT clock_timestamp()")[0][0]


def _has_waiting_session(session: Raw) -> bool:
    ((count,),) = session.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))",
        session.connection.info.backend_pid,
    )
    return bool(count)


# Connections and errors


def test_connection_dropped_by_the_server_is_replaced(postgres: PostgresSchema, store: PostgresStore) -> None:
    terminate(postgres)
    assert store.token("hq") == example_token()


def test_warm_pool_works_immediately_after_a_server_restart(
    postgres: PostgresSchema, make_store: Callable[..., PostgresStore]
) -> None:
    with make_store(max_connections=8, timeout_s=3) as store:
        store.add_token(example_token())
        everybody = threading.Barrier(8)
        database = database_of(postgres, max_connections=8, timeout_s=3)

        def hold(_: int) -> None:
            with database.reading() as session:
                everybody.wait()
                session.rows("SELECT 1")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(hold, range(8)))
        assert terminate(postgres) >= 8
        for _ in range(20):
            with database.reading() as session:
                assert session.rows("SELECT 1") == [(1,)]
        assert store.token("hq") == example_token()
        database.close()


def terminate(place: PostgresSchema) -> int:
    """End the connections of all stores, as a restart of the server does, and return how many there were."""
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND datname = current_database()"
            " AND pid <> pg_backend_pid()"
            " AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"  # of the fixture
        )
        return int(ended.rowcount)


def database_of(place: PostgresSchema, **options: Any) -> PostgresDatabase:
    options = {"schema": place.schema, "max_connections": 2, "timeout_s": 30, "clock": None, **options}
    return PostgresDatabase(place.dsn, **options)


def test_unresponsive_server_is_given_up_in_time(free_port: Callable[[], socket.socket]) -> None:
    with free_port() as silent:
        host, port = silent.getsockname()
        with pytest.raises(StoreError, match="timeout"):
            PostgresStore(f"host={host} port={port} user=u dbname=d", timeout_s=1)


def test_connection_that_dies_inside_a_write_leaves_nothing(
    postgres: PostgresSchema, store: PostgresStore
) -> None:
    class Killer(SyncState):
        def __getattribute__(self, name: str) -> Any:
            if name == "cursor":
                with raw_session(postgres) as session:
                    session.execute(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                        " WHERE state = 'idle in transaction' AND pid <> pg_backend_pid()"
                        " AND query LIKE '%%' || %s || '%%'",
                        postgres.schema,
                    )
            return super().__getattribute__(name)

    with pytest.raises(StoreError):
        store.commit_page("hq", fleet_of(3), source=Source.SYNC, state=Killer(), now=NOW)
    assert serials_of(store, released=None) == []
    assert store.sync_state("hq") == SyncState()
    commit(store, *fleet_of(3))


@pytest.mark.parametrize(
    "dsn",
    [
        UNREACHABLE,
        "postgresql://somebody:pass-word@127.0.0.1:1/ade",
        "postgresql://somebody:x@pass-word@127.0.0.1:1/ade",
        "postgresql://somebody:pass-word",
        "postgresql://somebody:1/pass-word@host/ade",
        "pass-word",
        "host=h password=pass-word port=pass-word",
        "host=\ud800 password=pass-word",
    ],
)
def test_error_of_an_unreachable_server_hides_the_password(dsn: str) -> None:
    with pytest.raises(StoreError) as caught:
        PostgresStore(dsn)
    shown = f"{caught.value} {caught.value.__cause__}"
    assert "pass-word" not in shown
    assert "127.0.0.1" in shown or "DSN" in shown


def test_caller_without_a_connection_gets_an_error(postgres: PostgresSchema) -> None:
    database = database_of(postgres, max_connections=1, timeout_s=1)
    with database.reading(), pytest.raises(StoreError, match="no connection within 1 seconds"):
        database.reading().__enter__()
    database.close()


def test_error_names_the_missing_rights_of_a_user(postgres: PostgresSchema) -> None:
    role = f"{postgres.schema}_role"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        try:
            connection.execute(f"CREATE ROLE {role}")
        except psycopg.errors.InsufficientPrivilege:
            pytest.skip("the user of this server may not create roles")
        try:
            with pytest.raises(StoreError, match="permission denied for database"):
                PostgresStore(
                    psycopg.conninfo.make_conninfo(postgres.dsn, options=f"-c role={role}"),
                    schema=postgres.schema,
                )
        finally:
            connection.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE {schema}.token ADD CHECK (name = 'hq')",
        "ALTER TABLE {schema}.token ALTER secrets TYPE varchar(10)",
        "ALTER TABLE {schema}.token ALTER secrets TYPE integer USING 0",
        """
        CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no %%', NEW.secrets; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON {schema}.token EXECUTE FUNCTION {schema}.refuse()
        """,
    ],
)
def test_no_error_quotes_a_row(
    postgres: PostgresSchema, make_store: Callable[..., PostgresStore], statement: LiteralString
) -> None:
    with make_store() as store:
        with raw_session(postgres) as session:
            session.execute(statement.replace("EXECUTE", "FOR EACH ROW EXECUTE"))
        with pytest.raises(StoreError) as caught:
            store.add_token(example_token("other"))
        assert not [word for word in ("CK_other", "consumer-secret", "access-") if word in str(caught.value)]
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_representation_names_database_and_schema(postgres: PostgresSchema, store: PostgresStore) -> None:
    assert postgres.schema in repr(store)
    assert "password" not in repr(store)


def test_error_of_a_missing_extra_says_what_to_install() -> None:
    program = """
import sys
sys.modules["psycopg"] = None
import pyade.storage
try:
    pyade.storage.PostgresStore
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(
        "PostgresStore needs the extra 'postgres': run pip install 'PATH[postgres]'"
    )


def test_storage_has_no_other_lazy_names() -> None:
    import pyade.storage

    assert pyade.storage.PostgresStore is PostgresStore
    with pytest.raises(AttributeError, match="OracleStore"):
        getattr(pyade.storage, "OracleStore")  # noqa: B009 - a type checker would refuse the attribute
