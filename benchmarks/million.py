"""Measure a store of a million devices: changes of a few, and the release of those that a list lacks."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from bare import BareStore
from fleet import PAGE, START, Fleet, changed_at, record, serial, token
from pyade import Client, Syncer
from pyade.apple import DevicePage
from pyade.storage import ChangeCounts, Source, SQLiteStore, SyncState
from setting import Setting
from stores import FIRST_LIST, clock_at, fill
from table import Row, interleaved, timed

_DEVICES = 1_000_000
_FEW = 1_000


def rows(setting: Setting) -> Iterator[Row]:
    """Measure work that should not depend on the number of stored devices."""
    # One page of devices that are gone, and at least one of devices that are still listed.
    large, small = Fleet(max(2 * PAGE, setting.size(_DEVICES)), True), Fleet(_FEW, True)
    with SQLiteStore(setting.new_file()) as store:
        state = fill(store, large, gone=1)
        yield from _gone(setting, large, store, state)
        yield _changes(setting, large, small, store)


def _gone(setting: Setting, fleet: Fleet, store: SQLiteStore, state: SyncState) -> Iterator[Row]:
    bare = BareStore(setting.new_file())
    for first in range(0, fleet.size, PAGE):
        serials = map(serial, range(first, min(first + PAGE, fleet.size)))
        bare.add([(one, "assigned", record(one, fleet.assigned)) for one in serials])
    with bare.transaction() as database:
        database.execute("UPDATE device SET list = 2")
        marks = ", ".join("?" * PAGE)
        database.execute(
            f"UPDATE device SET list = 1 WHERE serial_number IN ({marks})", [*map(serial, range(PAGE))]
        )
        database.execute("CREATE INDEX device_list ON device (list)")
    query = "SELECT serial_number FROM device WHERE list < 2"

    def count() -> None:
        if store.count_unlisted(token().name, state) != PAGE:
            raise SystemExit("not the expected number of unlisted devices")

    one, other = interleaved(
        lambda: timed(lambda: bare.database.execute(query).fetchall(), times=20),
        lambda: timed(count, times=20),
    )
    what = f"find the {PAGE:,} that are gone of {fleet.size:,}"
    yield Row(
        what=what, yardstick="one SELECT over an index of the list's number", bare=one, pyade=other, reach=1.5
    )

    def mark() -> float:
        # SQLite writes nothing for a row whose values do not change.
        bare.database.execute("UPDATE device SET outcome = NULL WHERE list < 2")
        release = "UPDATE device SET outcome = '2026-01-01T12:00:00.000000+00:00' WHERE list < 2"
        return timed(lambda: bare.database.execute(release))

    def release() -> float:
        nonlocal state
        seconds = timed(lambda: _release(store, state))
        state = _list_them_again(store, fleet)
        return seconds

    one, other = interleaved(mark, release)
    bare.close()
    _release(store, state)
    yardstick = "one durable UPDATE over an index of the list's number"
    note = "each record is read, released and written, with an event"
    yield Row(what=f"{what}, and release them", yardstick=yardstick, bare=one, pyade=other, note=note)


def _release(store: SQLiteStore, state: SyncState) -> None:
    _, changes = store.finish_full_sync(token().name, state=state, now=START)
    if changes.released != PAGE:
        raise SystemExit(f"not the expected number of released devices: {changes}")


def _list_them_again(store: SQLiteStore, fleet: Fleet) -> SyncState:
    """Undo the release, and return the state to release with again."""
    found, page = store.sync_state(token().name), DevicePage.decode(fleet.page(0))
    before = attrs.evolve(found, full_sync=1, listing_since=FIRST_LIST)
    state, _ = store.commit_page(
        token().name, page.devices, source=Source.FETCH, state=before, now=FIRST_LIST
    )
    return attrs.evolve(state, full_sync=2, listing_since=START)


def _changes(setting: Setting, large: Fleet, small: Fleet, store: SQLiteStore) -> Row:
    with SQLiteStore(setting.new_file()) as other_store:
        fill(other_store, small)
        in_small, in_large = _Changing(setting, small, other_store), _Changing(setting, large, store)
        in_small.sync()
        in_large.sync()
        one, other = interleaved(in_small.sync, in_large.sync)
    return Row(
        what=f"{_FEW:,} changes in a store of {large.size:,} devices",
        yardstick=f"pyade: in a store of {small.size:,}",
        bare=one,
        pyade=other,
        reach=2,
    )


class _Changing:
    """A store in which a thousand devices change each hour."""

    def __init__(self, setting: Setting, fleet: Fleet, store: SQLiteStore) -> None:
        self._url, self._store, self._hour = f"{setting.address}{fleet.name}", store, 0

    def sync(self) -> float:
        """Sync the next page of changes, and return the seconds that it takes."""
        self._hour += 1
        clock = clock_at(changed_at(self._hour) - START)
        with Client(token(), base_url=self._url, clock=clock) as client:
            client.account()  # opens the connection
            syncer = Syncer(client, self._store, clock=clock)
            return timed(lambda: self._check(syncer.sync().changes))

    def _check(self, changes: ChangeCounts) -> None:
        if changes.modified + changes.returned != _FEW:
            raise SystemExit(f"not the expected number of changed devices: {changes}")
