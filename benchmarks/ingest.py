"""Measure full lists: read into objects, stored for the first time, and again without a change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from bare import BareClient, BarePage, BareStore
from bare import rows as rows_of
from fleet import Fleet, token
from pyade import Client, Syncer, SyncReport
from pyade.storage import MemoryStore, SQLiteStore, Store
from pyade.testing import FrozenClock
from setting import Setting
from stores import clock_at, postgres
from table import Row, interleaved, timed

_DEVICES = 200_000
_READ = "httpx and msgspec into an attrs class of 13 fields"
_INSERT = "the same bare read, one executemany and commit a page"


def rows(setting: Setting) -> Iterator[Row]:
    """Measure a fleet that was not synced yet."""
    fleet = Fleet(setting.size(_DEVICES))
    url = f"{setting.address}{fleet.name}"
    with BareClient(url) as bare, Client(token(), base_url=url, clock=clock_at()) as client:
        for _ in bare.pages():
            pass  # the server prepares its pages
        yield _fetch(fleet, bare, client)
        yield from _sqlite(setting, fleet, bare, url)
        yield _memory(fleet, bare, url)
        yield _postgres(fleet, bare, url)


def _fetch(fleet: Fleet, bare: BareClient, client: Client) -> Row:
    def read() -> float:
        return timed(lambda: _check(fleet, sum(len(page.devices) for _, page in bare.pages())))

    def fetch() -> float:
        return timed(lambda: _check(fleet, sum(1 for _ in client.iter_devices())))

    one, other = interleaved(read, fetch)
    what = f"fetch {fleet.size:,} devices as Device objects"
    return Row(what=what, yardstick=_READ, bare=one, pyade=other, reach=1.5)


def _sqlite(setting: Setting, fleet: Fleet, bare: BareClient, url: str) -> Iterator[Row]:
    files: list[tuple[Path, Path]] = []

    def insert() -> float:
        files.append((setting.new_file(), setting.new_file()))
        return _insert(bare, BareStore(files[-1][0]))

    def sync() -> float:
        with SQLiteStore(files[-1][1]) as store:
            return _first_sync(fleet, store, url)

    one, other = interleaved(insert, sync)
    what = f"first sync of {fleet.size:,} into SQLite, durable"
    yield Row(what=what, yardstick=f"{_INSERT}, synchronous=FULL", bare=one, pyade=other, reach=1.3)
    yield _weekly(fleet, bare, url, *files[-1])


def _memory(fleet: Fleet, bare: BareClient, url: str) -> Row:
    def sync() -> float:
        with MemoryStore() as store:
            return _first_sync(fleet, store, url)

    one, other = interleaved(lambda: _insert(bare, BareStore(":memory:")), sync)
    what = f"first sync of {fleet.size:,} into memory"
    note = (
        "SQLite writes 7 columns and an index by group where the bare table has 3: a quarter; groups, events"
    )
    yardstick = f"{_INSERT}, into :memory:"
    return Row(what=what, yardstick=yardstick, bare=one, pyade=other, reach=1.3, note=note)


def _weekly(fleet: Fleet, bare: BareClient, url: str, bare_file: Path, file: Path) -> Row:
    """Measure a full list without a change."""
    bare_store, clock, number = BareStore(bare_file), clock_at(), 1

    def mark() -> float:
        nonlocal number
        number += 1
        return timed(read)

    def read() -> None:
        for _, page in bare.pages():
            _mark_page(bare_store, page, number)

    with SQLiteStore(file) as store:

        def sync() -> float:
            clock.advance(days=8)
            return _sync(url, store, clock, lambda report: report.changes.unchanged == fleet.size, full=True)

        one, other = interleaved(mark, sync)
    bare_store.close()
    return Row(
        what=f"weekly full list that finds nothing new, {fleet.size:,}",
        yardstick="the bare read, a SELECT of the page's serials, a durable UPDATE of them",
        bare=one,
        pyade=other,
        reach=1.5,
    )


def _mark_page(bare_store: BareStore, page: BarePage, number: int) -> None:
    serials = [device.serial_number for device in page.devices]
    marks = ", ".join("?" * len(serials))
    query = f"SELECT serial_number, document FROM device WHERE serial_number IN ({marks})"
    if len(bare_store.database.execute(query, serials).fetchall()) != len(serials):
        raise SystemExit("a device is missing")
    bare_store.database.execute(
        f"UPDATE device SET list = ? WHERE serial_number IN ({marks})", (number, *serials)
    )


def _postgres(fleet: Fleet, bare: BareClient, url: str) -> Row:
    what = f"PostgreSQL, first sync of {fleet.size:,}"
    yardstick = "the bare read, COPY into a staging table, one merge; same transactions"
    try:
        with postgres() as dsn:
            one, other = interleaved(lambda: _copy(bare, dsn), lambda: _into_postgres(fleet, url, dsn))
    except LookupError as missing:
        return Row(what=what, yardstick=yardstick, reach=1.5, note=f"not measured: {missing}")
    return Row(what=what, yardstick=yardstick, bare=one, pyade=other, reach=1.5)


def _copy(bare: BareClient, dsn: str) -> float:
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(dsn, autocommit=True) as connection:
        columns = '(serial_number text COLLATE "C" PRIMARY KEY, profile_status text, document json)'
        connection.execute("DROP TABLE IF EXISTS bare_device, bare_cursor")
        connection.execute(f"CREATE TABLE bare_device {columns}")
        connection.execute("CREATE TABLE bare_cursor AS SELECT ''::text AS value")
        connection.execute("CREATE TEMP TABLE staging (LIKE bare_device) ON COMMIT DELETE ROWS")

        def store(found: Sequence[tuple[str, str | None, str]], after: str) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                with cursor.copy("COPY staging FROM STDIN") as copy:
                    for row in found:
                        copy.write_row(row)
                cursor.execute(_MERGE)
                cursor.execute("UPDATE bare_cursor SET value = %s", (after,))

        seconds = timed(lambda: _read_all(bare, store))
        connection.execute("DROP TABLE bare_device, bare_cursor")
    return seconds


_MERGE = """
    INSERT INTO bare_device SELECT * FROM staging ON CONFLICT (serial_number) DO UPDATE SET
        profile_status = excluded.profile_status, document = excluded.document
"""


def _into_postgres(fleet: Fleet, url: str, dsn: str) -> float:
    import psycopg  # noqa: PLC0415 - an extra

    from pyade.storage import PostgresStore  # noqa: PLC0415 - an extra

    schema = f"pyade_benchmark_{uuid4().hex}"
    with PostgresStore(dsn, schema=schema) as store:
        seconds = _first_sync(fleet, store, url)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
    return seconds


def _insert(bare: BareClient, bare_store: BareStore) -> float:
    seconds = timed(lambda: _read_all(bare, bare_store.add))
    bare_store.close()
    return seconds


def _read_all(bare: BareClient, store: Callable[[Sequence[tuple[str, str | None, str]], str], None]) -> None:
    for content, page in bare.pages():
        store(rows_of(content, page), page.cursor)


def _first_sync(fleet: Fleet, store: Store, url: str) -> float:
    store.add_token(token())
    return _sync(url, store, clock_at(), lambda report: report.changes.added == fleet.size)


def _sync(
    url: str,
    store: Store,
    clock: FrozenClock,
    is_right: Callable[[SyncReport], bool],
    *,
    full: bool | None = None,
) -> float:
    with Client(token(), base_url=url, clock=clock) as client:
        reports: list[SyncReport] = []
        syncer = Syncer(client, store, clock=clock)
        seconds = timed(lambda: reports.append(syncer.sync(full=full)))
    if not is_right(reports[0]):
        raise SystemExit(f"not what was to be measured: {reports[0]}")
    return seconds


def _check(fleet: Fleet, found: int) -> None:
    if found != fleet.size:
        raise SystemExit(f"{found:,} devices were read, {fleet.size:,} were expected")
