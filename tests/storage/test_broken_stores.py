"""Stores that break a promise fail the contract suite, each at the test of that promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path

import attrs
import pytest

from pyade.core.fleet.device import Device
from pyade.core.fleet.events import Event, EventBatch, EventKind, change_groups
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.records import ChangeCounts, DeviceRecord, Source, SyncState
from pyade.core.token import Token
from pyade.errors import DamagedRecordError
from pyade.storage import MemoryStore, Session, SQLStore, Store, Table, Value
from pyade.storage.sqlite import SQLiteDatabase

pytestmark = pytest.mark.slow

SUITE = """
import pytest
from pyade.testing.contract import StoreContract

class TestBroken(StoreContract):
    shared = False

    @pytest.fixture
    def make_store(self, broken, clock):
        return lambda: broken(clock=clock)
"""


class StoresCursorBeforePage(MemoryStore):
    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        saved = self.save_sync_state(token_name, state)
        return super().commit_page(token_name, devices, source=source, state=saved, now=now, lease=lease)


class StoresPageBeforeCursor(MemoryStore):
    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        stored = self.sync_state(token_name)
        _, counts = super().commit_page(
            token_name, devices, source=source, state=stored, now=now, lease=lease
        )
        return self.save_sync_state(token_name, attrs.evolve(state, revision=stored.revision + 1)), counts


class IgnoresRevisions(MemoryStore):
    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        latest = attrs.evolve(state, revision=self.sync_state(token_name).revision)
        return super().commit_page(token_name, devices, source=source, state=latest, now=now, lease=lease)


class IgnoresOperationDates(MemoryStore):
    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        undated = [device.changed(op_date=None) for device in devices]
        return super().commit_page(token_name, undated, source=source, state=state, now=now, lease=lease)


class ForgetsTies(MemoryStore):
    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        after, counts = super().commit_page(
            token_name, devices, source=source, state=state, now=now, lease=lease
        )
        with self._writing(token_name) as locked:
            locked.save_state(attrs.evolve(after, ties={}, listed_at=None))
        return attrs.evolve(after, ties={}, listed_at=None), counts


class IgnoresTheLease(MemoryStore):
    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        return super().commit_page(token_name, devices, source=source, state=state, now=now)


class BrokenSQLStore(SQLStore):
    """A store that gives the broken stores below access to its database."""

    make_database: type[SQLiteDatabase] = SQLiteDatabase

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self.database = self.make_database(":memory:", busy_timeout_s=0, clock=clock)
        super().__init__(self.database)


class RenewsWithAnyToken(MemoryStore):
    def add_or_renew_token(self, token: Token, *, force: bool = False) -> Token:
        return super().add_or_renew_token(token, force=True)


class ForgetsDeletions(BrokenSQLStore):
    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        with self.database.writing() as session:
            session.rows("DELETE FROM {}device WHERE serial_number = ?", (serial_number,))


class ReadsEveryGroup(MemoryStore):
    def devices(
        self,
        token_name: str,
        *,
        serials: Sequence[str] | None = None,
        groups: Collection[DeviceGroup] | None = None,
        released: bool | None = False,
    ) -> Iterator[DeviceRecord]:
        return super().devices(token_name, serials=serials, released=released)


class ReadsGroupAfterGroup(MemoryStore):
    """Returns a device twice if its group changes meanwhile."""

    def devices(
        self,
        token_name: str,
        *,
        serials: Sequence[str] | None = None,
        groups: Collection[DeviceGroup] | None = None,
        released: bool | None = False,
    ) -> Iterator[DeviceRecord]:
        def read(*some: DeviceGroup) -> Iterator[DeviceRecord]:
            return super(ReadsGroupAfterGroup, self).devices(
                token_name, serials=serials, groups=None if groups is None else some, released=released
            )

        return read() if groups is None else chain.from_iterable(map(read, groups))


class SharesReleasedDevices(MemoryStore):
    def shared_serials(self, token_name: str, *, serials: Sequence[str] | None = None) -> Sequence[str]:
        asked = [one.serial_number for one in self.devices(token_name, serials=serials)]
        known = Counter(record.serial_number for record in self.records_of(asked))
        return tuple(serial for serial, count in sorted(known.items()) if count > 1)


class EmitsEventsBeforeWriting(MemoryStore):
    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        groups = change_groups((EventKind.ADDED, "A") for _ in range(len(devices)))
        self.add_audit(EventBatch(token_name, now, groups))
        return super().commit_page(token_name, devices, source=source, state=state, now=now, lease=lease)


class SavesPositionWhenReading(BrokenSQLStore):
    """Moves the position forward when events are read, instead of when they were handled."""

    def events(
        self,
        after: str | None = None,
        *,
        limit: int = 1000,
        damaged: Callable[[DamagedRecordError], None] | None = None,
    ) -> Sequence[Event]:
        found = super().events(after, limit=limit, damaged=damaged)
        with self.database.reading() as session:
            subscribers = [name for (name,) in session.rows("SELECT name FROM {}subscriber")]
        for subscriber in subscribers if found else ():
            self.save_position(subscriber, found[-1].id)
        return found

    def save_position(self, subscriber: str, after: str | None) -> None:
        if after is None or after >= (self.position(subscriber) or ""):
            super().save_position(subscriber, after)


class LosesDataOnClose(MemoryStore):
    """Correct, but not durable, although it claims to be."""


class CommitsFailedTransactions(SQLiteDatabase):
    """A backend that breaks rule 1 of ``storage.database``."""

    @contextmanager
    def writing(self) -> Iterator[Session]:
        failure = None
        with super().writing() as session:
            try:
                yield session
            except Exception as error:  # noqa: BLE001 - raised again after the commit
                failure = error
        if failure is not None:
            raise failure


class LosesMicroseconds(SQLiteDatabase):
    """A backend whose time type has no microseconds."""

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with super().writing() as session:
            yield Rounding(session)


@attrs.frozen
class Rounding:
    session: Session

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[object, ...]]:
        return self.session.rows(statement, [_rounded(value) for value in values])

    def insert(self, table: Table, rows: Sequence[Sequence[Value]]) -> bool:
        return self.session.insert(table, [[_rounded(value) for value in row] for row in rows])

    def update(self, table: Table, rows: Sequence[Sequence[Value]]) -> None:
        self.session.update(table, [[_rounded(value) for value in row] for row in rows])

    def has_table(self, name: str) -> bool:
        return self.session.has_table(name)

    def now(self) -> datetime:
        return self.session.now()


def _rounded(value: Value) -> Value:
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


class StoreCommittingFailedTransactions(BrokenSQLStore):
    make_database = CommitsFailedTransactions


class StoreLosingMicroseconds(BrokenSQLStore):
    make_database = LosesMicroseconds


class Recorder:
    """A pytest plugin that gives the broken store to the suite and records the failed tests."""

    def __init__(self, make_store: Callable[..., Store]) -> None:
        self.make_store = make_store
        self.failed: set[str] = set()
        self.passed = 0

    @pytest.fixture
    def broken(self) -> Callable[..., Store]:
        return self.make_store

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid.partition("::TestBroken::")[2].partition("[")[0])
        elif report.when == "call":
            self.passed += report.passed


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (
            StoresCursorBeforePage,
            {"test_page_that_breaks_leaves_no_cursor", "test_page_and_state_are_committed_together"},
        ),
        (StoresPageBeforeCursor, {"test_state_that_breaks_leaves_no_page"}),
        (IgnoresRevisions, {"test_older_revision_is_refused"}),
        (
            IgnoresOperationDates,
            {"test_newest_operation_wins_across_pages", "test_list_does_not_overwrite_newer_events"},
        ),
        (
            ForgetsTies,
            {
                "test_ties_are_stored_with_their_page",
                "test_list_is_newer_than_events_from_before_it",
            },
        ),
        (
            IgnoresTheLease,
            {
                "test_write_with_a_lost_lease_writes_nothing",
                "test_threads_that_lost_their_lease_write_nothing",
            },
        ),
        (
            ForgetsDeletions,
            {
                "test_added_restores_a_hidden_device_but_modified_does_not",
                "test_full_list_restores_the_device_if_it_began_later",
            },
        ),
        (ReadsEveryGroup, {"test_devices_of_groups"}),
        (ReadsGroupAfterGroup, {"test_device_that_changes_its_group_comes_once"}),
        (SharesReleasedDevices, {"test_shared_serials"}),
        (RenewsWithAnyToken, {"test_token_of_another_server_is_refused"}),
        (EmitsEventsBeforeWriting, {"test_refused_write_makes_no_event"}),
        (SavesPositionWhenReading, {"test_subscriber_that_fails_or_crashes_loses_none"}),
        (
            LosesDataOnClose,
            {"test_reopened_store_holds_everything", "test_reopened_store_holds_events_and_positions"},
        ),
        (StoreCommittingFailedTransactions, {"test_text_that_breaks_leaves_no_page"}),
        (StoreLosingMicroseconds, {"test_profiles_round_trip_oldest_first"}),
    ],
)
def test_contract_suite_detects_a_broken_store(
    broken: Callable[..., Store], expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Options for this run, such as coverage, are not meant for the run inside it.
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    module = tmp_path / "test_suite.py"
    module.write_text(SUITE)
    recorder = Recorder(broken)
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-k",
        # No store here breaks the promises about many devices, whose tests take half of the time.
        "not large and not many_devices and not unlisted_devices and not iteration_ends",
        "--import-mode=importlib",
        f"--rootdir={tmp_path}",
    ]
    assert pytest.main([*options, str(module)], plugins=[recorder]) == pytest.ExitCode.TESTS_FAILED
    assert recorder.failed >= expected
    assert recorder.passed > 40, "the suite distinguishes promises"
