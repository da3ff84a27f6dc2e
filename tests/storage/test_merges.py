"""A page given as bytes has the same effect as a page given as devices."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pyade.apple.responses import DevicePage
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.groups import group_of
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import ChangeCounts, Source
from pyade.core.values import format_time
from pyade.storage import MemoryStore, SyncState
from pyade.testing.store_examples import NOW, example_token

SECONDS = st.integers(0, 400)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["MacBook Pro", "iMac", None, 5]),
        "device_family": st.sampled_from(["Mac", "iPad"]),
        "os": st.sampled_from(["OSX", "iOS", 7]),
        "profile_status": st.sampled_from(["empty", "assigned", "removed", "levitating"]),
        "profile_uuid": st.sampled_from(["A1", "a1", "B2"]),
        "profile_assign_time": SECONDS.map(lambda seconds: format_time(NOW + timedelta(seconds=seconds))),
        "device_assigned_date": SECONDS.map(lambda seconds: format_time(NOW + timedelta(seconds=seconds))),
        "mdm_migration_deadline": st.sampled_from(["2026-09-01T00:00:00Z", "soon"]),
        "is_replacement_device": st.booleans(),
        "op_type": st.sampled_from(["added", "modified", "deleted"]),
        "op_date": SECONDS.map(lambda seconds: format_time(NOW + timedelta(seconds=seconds))),
        "new_key": st.integers(0, 1),
    },
)
PAGES = st.tuples(
    st.sampled_from(Source), st.lists(st.tuples(st.sampled_from("ABCD"), VALUES), max_size=5), st.booleans()
)
ATTEMPTS = st.builds(
    Attempt,
    profile_uuid=st.sampled_from(["", "A1", "B2"]),
    result=st.sampled_from([DeviceResult.SUCCESS, DeviceResult.FAILED, DeviceResult.REQUEST_FAILED]),
    attempted_at=SECONDS.map(lambda seconds: NOW + timedelta(seconds=seconds)),
)
DELETIONS = st.sampled_from("ABCD")
STORIES = st.lists(st.one_of(PAGES, st.tuples(st.sampled_from("ABCD"), ATTEMPTS), DELETIONS), max_size=8)


class HistoryStore:
    """A store to which a history is applied, in bytes or in devices."""

    def __init__(self, *, in_bytes: bool) -> None:
        self.store = MemoryStore()
        self.store.add_token(example_token())
        self.in_bytes = in_bytes
        self.state = SyncState()
        self.counts: list[ChangeCounts] = []

    def apply(self, step: Any, number: int) -> None:
        now = NOW + timedelta(seconds=100 * number)
        if isinstance(step, str):
            self.store.delete_device("hq", step, now=now)
            return
        if isinstance(step[1], Attempt):
            self.store.record_attempts("hq", {step[0]: step[1]}, now=now)
            return
        source, records, begins = step
        body = {"devices": [{"serial_number": serial, **values} for serial, values in records]}
        page = DevicePage.decode(json.dumps(body | {"cursor": "c", "more_to_follow": False}).encode())
        if begins and source is Source.FETCH:
            self.state = attrs.evolve(self.state, full_sync=self.state.full_sync + 1, listing_since=now)
        devices = page.devices if self.in_bytes else tuple(page.devices)
        self.state, counts = self.store.commit_page("hq", devices, source=source, state=self.state, now=now)
        self.counts.append(counts)

    def contents(self) -> tuple[object, ...]:
        records = [record for serial in "ABCD" if (record := self.store.device("hq", serial)) is not None]
        assert self.store.device_groups("hq") == Counter(map(group_of, records))
        return self.counts, self.state, records, [attrs.evolve(one, id="") for one in self.store.events()]


@given(STORIES)
def test_page_of_bytes_equals_a_page_of_devices(history: list[Any]) -> None:
    by_bytes, by_devices = HistoryStore(in_bytes=True), HistoryStore(in_bytes=False)
    for number, step in enumerate(history):
        by_bytes.apply(step, number)
        by_devices.apply(step, number)
    assert by_bytes.contents() == by_devices.contents()


def test_newer_bytes_of_equal_records_are_kept() -> None:
    """A record written again after an event has other bytes than Apple's list, once."""
    history_store = HistoryStore(in_bytes=True)
    history_store.apply((Source.SYNC, [("A", {"os": "OSX", "model": "iMac", "op_type": "added"})], False), 1)
    listed = (Source.FETCH, [("A", {"os": "OSX", "model": "iMac"})], True)
    history_store.apply(listed, 2)
    assert history_store.counts[-1] == ChangeCounts(unchanged=1)
    with history_store.store._database.reading() as session:
        ((document,),) = session.rows("SELECT document FROM device")
    assert document == '{"serial_number": "A", "os": "OSX", "model": "iMac"}'
