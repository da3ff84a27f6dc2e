"""Pages arrive in any order; the stores hold what a simple model of the rules holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pyade.core.fleet.device import Device, OpType, ProfileStatus
from pyade.core.fleet.records import Source
from pyade.storage import MemoryStore, SQLiteStore, Store
from pyade.testing.store_examples import example_token

START = datetime(2025, 1, 1, tzinfo=UTC)

# Few serials and few seconds, so that duplicates, ties and late events are common.
serials = st.sampled_from(["A", "B", "C", "Ü"])
seconds = st.integers(0, 6)
tags = st.sampled_from([None, "red", "blue"])


@attrs.frozen
class Event:
    """One record of a sync page; its time is None if it could not be read."""

    serial: str
    op_type: str
    at: int | None
    tag: str | None


@attrs.frozen
class SyncPage:
    events: list[Event]
    twice: bool


@attrs.frozen
class FullList:
    """A full list that begins at a time, in pages; it may be cut short before its end."""

    since: int
    pages: list[list[tuple[str, str | None]]]
    complete: bool


Action: TypeAlias = SyncPage | FullList

events = st.builds(
    Event,
    serials,
    st.sampled_from(["added", "modified", "deleted"]),
    st.one_of(seconds, seconds, seconds, st.none()),
    tags,
)
sync_pages = st.builds(SyncPage, st.lists(events, max_size=5), st.booleans())
full_lists = st.builds(
    FullList, seconds, st.lists(st.lists(st.tuples(serials, tags), max_size=4), max_size=3), st.booleans()
)
stories = st.lists(st.one_of(sync_pages, sync_pages, full_lists), max_size=10)


class Model:
    """The rules in their simplest form: dictionaries by serial number."""

    def __init__(self) -> None:
        self.tag: dict[str, str | None] = {}
        self.newest: dict[str, int] = {}
        self.here: dict[str, bool] = {}
        self.lists: dict[str, int] = {}
        self.list_number = 0
        self.list_since = 0

    def apply(self, action: Action) -> None:
        if isinstance(action, SyncPage):
            for event in action.events * (2 if action.twice else 1):
                self.apply_event(event)
            return
        self.list_number += 1
        for page in action.pages:
            self.list_since = action.since
            for serial, tag in page:
                self.lists[serial] = self.list_number
                if self.newest.get(serial, -1) <= action.since:
                    self.tag[serial] = tag
                    self.here[serial] = True
        if action.complete:
            for serial in self.here:
                is_listed = self.lists.get(serial) == self.list_number
                if not is_listed and self.newest.get(serial, -1) <= action.since:
                    self.here[serial] = False

    def apply_event(self, event: Event) -> None:
        newest = self.newest.get(event.serial)
        if newest is not None and event.at is not None and event.at < newest:
            return
        is_listed = self.list_number > 0 and self.lists.get(event.serial) == self.list_number
        speaks = is_listed or self.here.get(event.serial) is False
        if speaks and event.at is not None and event.at < self.list_since:
            return
        if event.op_type == "deleted":
            self.here[event.serial] = False
            self.tag[event.serial] = event.tag or self.tag.get(event.serial)
        else:
            self.here[event.serial] = True
            self.tag[event.serial] = event.tag
        if event.at is not None:
            self.newest[event.serial] = event.at

    def state(self) -> dict[str, tuple[bool, int | None, str | None, str | None]]:
        return {
            serial: (here, self.newest.get(serial), self.tag[serial], "assigned" if here else None)
            for serial, here in self.here.items()
        }


def state_of(store: Store) -> dict[str, tuple[bool, int | None, str | None, str | None]]:
    return {
        record.serial_number: (
            not record.is_released,
            None if record.op_date is None else (record.op_date - START) // timedelta(seconds=1),
            record.device.asset_tag,
            record.device.profile_status,
        )
        for record in store.devices("hq", released=None)
    }


def apply(store: Store, action: Action, now: datetime) -> None:
    state = store.sync_state("hq")
    if isinstance(action, SyncPage):
        page = [
            Device(
                serial_number=event.serial,
                asset_tag=event.tag,
                profile_status=ProfileStatus.ASSIGNED,
                op_type=OpType(event.op_type),
                op_date=None if event.at is None else START + timedelta(seconds=event.at),
            )
            for event in action.events
        ]
        for _ in range(2 if action.twice else 1):
            state, _ = store.commit_page("hq", page, source=Source.SYNC, state=state, now=now)
        return
    since = START + timedelta(seconds=action.since)
    state = attrs.evolve(state, full_sync=state.full_sync + 1, listing_since=since)
    for listed in action.pages:
        page = [
            Device(serial_number=serial, asset_tag=tag, profile_status=ProfileStatus.ASSIGNED)
            for serial, tag in listed
        ]
        state, _ = store.commit_page("hq", page, source=Source.FETCH, state=state, now=now)
    if action.complete:
        store.finish_full_sync("hq", state=state, now=now)
    else:
        store.save_sync_state("hq", attrs.evolve(state, listing_since=None))


@given(story=stories)
def test_any_interleaving_matches_the_model(story: list[Action]) -> None:
    model = Model()
    with MemoryStore() as memory, SQLiteStore(":memory:") as sqlite:
        for store in (memory, sqlite):
            store.add_token(example_token())
        for number, action in enumerate(story):
            model.apply(action)
            for store in (memory, sqlite):
                apply(store, action, START + timedelta(hours=number))
                assert state_of(store) == model.state()
            assert list(memory.devices("hq", released=None)) == list(sqlite.devices("hq", released=None))
            assert memory.count_devices("hq") == sqlite.count_devices("hq")
            assert memory.sync_state("hq") == sqlite.sync_state("hq")


@given(page=st.lists(events, max_size=8), cuts=st.lists(st.integers(0, 8), max_size=4))
def test_page_boundaries_do_not_matter(page: list[Event], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(page)]
    with MemoryStore() as whole, MemoryStore() as parts:
        for store in (whole, parts):
            store.add_token(example_token())
        apply(whole, SyncPage(page, twice=False), START)
        for start, end in pairwise(edges):
            apply(parts, SyncPage(page[start:end], twice=False), START)
        assert list(whole.devices("hq", released=None)) == list(parts.devices("hq", released=None))
