"""Stores that break a promise fail the contract suite, each at the test of that promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import attrs
import pytest

from pyade.core.device import Device
from pyade.core.events import Event, EventKind, change_groups
from pyade.core.inventory import ChangeCounts, Source, SyncState
from pyade.core.lease import Lease
from pyade.storage import MemoryStore, Store

SUITE = """
import pytest
from pyade.testing.contract import StoreContract

class TestBroken(StoreContract):
    shared = False

    @pytest.fixture
    def make_store(self, broken, clock):
        return lambda: broken(clock=clock)
"""


class CursorFirst(MemoryStore):
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


class PageFirst(MemoryStore):
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


class LastWriterWins(MemoryStore):
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


class LastArrivalWins(MemoryStore):
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
        undated = [attrs.evolve(device, op_date=None) for device in devices]
        return super().commit_page(token_name, undated, source=source, state=state, now=now, lease=lease)


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


class ForgetsDeletions(MemoryStore):
    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        self._shelf(token_name).devices.pop(serial_number, None)


class TellsBeforeItWrites(MemoryStore):
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
        self._emit(token_name, now, change_groups((EventKind.ADDED, "A") for _ in range(len(devices))))
        return super().commit_page(token_name, devices, source=source, state=state, now=now, lease=lease)


class RemembersTooMuch(MemoryStore):
    """Moves the position on when events are read, not when they were handled."""

    def events(self, after: str | None = None, *, limit: int = 1000) -> Sequence[Event]:
        found = super().events(after, limit=limit)
        for subscriber in tuple(self._positions) if found else ():
            self.save_position(subscriber, found[-1].id)
        return found

    def save_position(self, subscriber: str, after: str | None) -> None:
        if after is None or after >= (self.position(subscriber) or ""):
            super().save_position(subscriber, after)


class Forgetful(MemoryStore):
    """Sound, but not durable, which it claims to be."""


class Recorder:
    """A pytest plugin that hands the broken store to the suite and notes what failed."""

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
            CursorFirst,
            {"test_page_that_breaks_leaves_no_cursor", "test_page_and_state_are_committed_together"},
        ),
        (PageFirst, {"test_state_that_breaks_leaves_no_page"}),
        (LastWriterWins, {"test_older_revision_is_refused"}),
        (
            LastArrivalWins,
            {"test_newest_operation_wins_across_pages", "test_list_does_not_overwrite_newer_events"},
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
                "test_modified_does_not_bring_it_back_but_added_does",
                "test_full_list_brings_it_back_if_it_began_later",
            },
        ),
        (TellsBeforeItWrites, {"test_refused_write_makes_no_event"}),
        (RemembersTooMuch, {"test_subscriber_that_fails_or_crashes_loses_none"}),
        (
            Forgetful,
            {"test_reopened_store_holds_everything", "test_reopened_store_holds_events_and_positions"},
        ),
    ],
)
def test_broken_store_is_found_out(
    broken: type[MemoryStore], expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        # No store here breaks what these say of many devices, and they take half of the time.
        "not large and not many_devices and not unlisted_devices and not iteration_ends",
        "--import-mode=importlib",
        f"--rootdir={tmp_path}",
    ]
    assert pytest.main([*options, str(module)], plugins=[recorder]) == pytest.ExitCode.TESTS_FAILED
    assert recorder.failed >= expected
    assert recorder.passed > 40, "the suite tells promises apart"
