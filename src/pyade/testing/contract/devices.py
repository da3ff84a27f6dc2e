"""Tests of devices: pages, full syncs, reading and attempts."""
# ruff: noqa: S101, S105, S106 - a test suite; it has no secrets

from __future__ import annotations

import itertools
from collections import Counter
from datetime import timedelta
from typing import Any

import attrs
import msgspec
import pytest

from pyade.core.fleet.device import Device, DeviceList, DeviceResult, OpType, ProfileStatus, read_device
from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.fleet.groups import DeviceGroup, group_of
from pyade.core.fleet.records import ChangeCounts, DeviceRecord, Source, SyncState
from pyade.errors import StoreError
from pyade.storage.protocol import Store
from pyade.testing.store_examples import (
    NOW,
    BreakingDevices,
    BreakingState,
    InjectedError,
    attempt_with,
    commit,
    event,
    example_device,
    example_token,
    fleet_of,
    record_of,
    serials_of,
)


class PagePromises:
    """A page and the state after it are one transaction, and the newest record wins."""

    def test_device_round_trip(self, store: Store) -> None:
        """A device is read back with every field, unknown values, extra keys and microseconds."""
        commit(store, example_device(), source=Source.FETCH, full_sync=3, listing_since=NOW)
        assert store.device("hq", "C02FULL00001") == DeviceRecord(
            token_name="hq", device=example_device(), first_seen_at=NOW, updated_at=NOW, full_sync=3
        )

    def test_device_round_trip_of_a_bare_serial(self, store: Store) -> None:
        """A device of which Apple sent only the serial number has no other values."""
        commit(store, Device(serial_number="c02 é"))
        assert record_of(store, "c02 é").device == Device(serial_number="c02 é")
        assert store.device("hq", "C02 É") is None

    def test_page_and_state_are_committed_together(self, store: Store) -> None:
        """One call stores the devices and the cursor after them."""
        state, counts = store.commit_page(
            "hq", fleet_of(3), source=Source.FETCH, state=SyncState(cursor="next"), now=NOW
        )
        assert counts == ChangeCounts(added=3)
        assert state == SyncState(cursor="next", revision=1)
        assert store.sync_state("hq") == state
        assert len(serials_of(store)) == 3

    def test_page_that_breaks_leaves_no_cursor(self, store: Store) -> None:
        """If the devices cannot be stored, neither is the state."""
        commit(store, *fleet_of(1), cursor="before")
        devices = BreakingDevices(*fleet_of(5))
        with pytest.raises((InjectedError, StoreError)):
            store.commit_page(
                "hq", devices, source=Source.FETCH, state=SyncState(cursor="after", revision=1), now=NOW
            )
        assert store.sync_state("hq") == SyncState(cursor="before", revision=1)
        assert serials_of(store) == ["C02000000"]

    def test_state_that_breaks_leaves_no_page(self, store: Store) -> None:
        """If the state cannot be stored, neither are the devices."""
        commit(store, *fleet_of(1), cursor="before")
        with pytest.raises((InjectedError, StoreError)):
            store.commit_page(
                "hq", fleet_of(5), source=Source.FETCH, state=BreakingState(revision=1), now=NOW
            )
        assert store.sync_state("hq") == SyncState(cursor="before", revision=1)
        assert serials_of(store) == ["C02000000"]

    def test_text_that_breaks_leaves_no_page(self, store: Store) -> None:
        """If the last value of a write cannot be stored, none of the write is."""
        commit(store, *fleet_of(1), cursor="before")
        state = SyncState(cursor="after", last_error="\ud800", revision=1)
        with pytest.raises(StoreError, match="Unicode"):
            store.commit_page("hq", fleet_of(5), source=Source.FETCH, state=state, now=NOW)
        group = EventGroup(EventKind.TOKEN_EXPIRING, details={"reason": object()})
        with pytest.raises(StoreError, match="JSON"):
            store.save_sync_state(
                "hq", SyncState(cursor="after", revision=1), events=EventBatch("hq", NOW, (group,))
            )
        assert store.sync_state("hq") == SyncState(cursor="before", revision=1)
        assert serials_of(store) == ["C02000000"]

    def test_text_with_a_nul_character_is_refused(self, store: Store) -> None:
        """Not every database can store NUL, so every store refuses it, in searches too."""
        device = Device(serial_number="C\0")
        with pytest.raises(StoreError, match="NUL"):
            store.commit_page("hq", [device], source=Source.FETCH, state=SyncState(), now=NOW)
        with pytest.raises(StoreError, match="NUL"):
            store.device("hq", "C\0")
        with pytest.raises(StoreError, match="NUL"):
            store.add_token(example_token("nul\0"))
        assert serials_of(store) == []
        inside = Device(serial_number="C", asset_tag="\0", extra={"k\0": "\0"})
        commit(store, inside)
        assert record_of(store, "C").device == inside

    def test_store_works_after_a_failure(self, store: Store) -> None:
        """A failed write does not block the next one."""
        with pytest.raises((InjectedError, StoreError)):
            store.commit_page("hq", BreakingDevices(), source=Source.FETCH, state=SyncState(), now=NOW)
        assert commit(store, *fleet_of(2)) == ChangeCounts(added=2)

    def test_empty_page_stores_the_state(self, store: Store) -> None:
        """A page without devices stores its cursor."""
        assert commit(store, cursor="moved") == ChangeCounts()
        assert store.sync_state("hq").cursor == "moved"

    def test_replay_changes_nothing(self, store: Store) -> None:
        """A page that arrives twice changes nothing the second time."""
        page = [
            event("A", OpType.ADDED, 1, asset_tag="one"),
            event("B", OpType.DELETED, 2),
            event("C", OpType.MODIFIED, 3, profile_status=ProfileStatus.REMOVED),
        ]
        commit(store, *page)
        before = list(store.devices("hq", released=None))
        assert commit(store, *page, seconds=60) == ChangeCounts(unchanged=3)
        assert list(store.devices("hq", released=None)) == before

    def test_page_of_the_first_list_may_contain_known_devices(self, store: Store) -> None:
        """If a page of the first list mixes known and new devices, only the new ones are added, each once."""
        first = SyncState(full_sync=1, listing_since=NOW)
        store.add_token(example_token("other"))
        for name, page in (("other", _listed(B="Mac", X="Mac")), ("hq", _listed(A="Mac", B="Mac"))):
            store.commit_page(name, page, source=Source.FETCH, state=first, now=NOW)
        for page, expected in (
            (_listed(C="iMac", A="Mac", D="Mac"), ChangeCounts(added=2, unchanged=1)),
            (_listed(B="iMac", E="Mac"), ChangeCounts(added=1, modified=1)),
            (_listed(E="Mac", F="Mac"), ChangeCounts(added=1, unchanged=1)),
            (_listed(A="Mac", F="Mac"), ChangeCounts(unchanged=2)),
        ):
            state = store.sync_state("hq")
            _, counts = store.commit_page("hq", page, source=Source.FETCH, state=state, now=NOW)
            assert counts == expected
        every = {"A": "Mac", "B": "iMac", "C": "iMac", "D": "Mac", "E": "Mac", "F": "Mac"}
        records = {record.serial_number: record for record in store.devices("hq")}
        assert {serial: record.device.model for serial, record in records.items()} == every
        assert {record.full_sync for record in records.values()} == {1}
        assert store.device_groups("hq") == Counter(map(group_of, records.values()))
        events = [(one.kind, one.serial_number) for one in store.events() if one.token_name == "hq"]
        added = [(EventKind.ADDED, serial) for serial in "ABCDEF"]
        assert events == [*added[:4], (EventKind.MODIFIED, "B"), *added[4:]]
        assert serials_of(store, name="other") == ["B", "X"]

    def test_newest_operation_wins_across_pages(self, store: Store) -> None:
        """An older event that arrives later is dropped; of two in one second, the later arrival wins."""
        commit(store, event("A", OpType.MODIFIED, 10, asset_tag="new"))
        assert commit(store, event("A", OpType.DELETED, 9)) == ChangeCounts(stale=1)
        assert record_of(store, "A").device.asset_tag == "new"
        commit(store, event("A", OpType.MODIFIED, 10, asset_tag="tie"))
        assert record_of(store, "A").device.asset_tag == "tie"

    def test_one_serial_may_come_several_times_in_a_page(self, store: Store) -> None:
        """Records of one page are applied in their order."""
        page = [event("A", OpType.DELETED, 1), event("A", OpType.ADDED, 2), event("A", OpType.MODIFIED, 0)]
        assert commit(store, *page) == ChangeCounts(released=1, returned=1, stale=1)
        assert not record_of(store, "A").is_released

    def test_list_does_not_overwrite_newer_events(self, store: Store) -> None:
        """An event after the start of a full list overrides the list."""
        commit(store, event("A", OpType.DELETED, 10), event("B", OpType.MODIFIED, -10, asset_tag="old"))
        listed = [Device(serial_number="A"), Device(serial_number="B", asset_tag="listed")]
        commit(store, *listed, source=Source.FETCH, full_sync=1, listing_since=NOW)
        assert record_of(store, "A").is_released
        assert record_of(store, "B").device.asset_tag == "listed"
        assert record_of(store, "B").op_date == event("B", OpType.MODIFIED, -10).op_date

    def test_ties_are_stored_with_their_page(self, store: Store) -> None:
        """Two operations of one second are a tie, across pages too; the returned state contains the tie."""
        page = [event("A", OpType.ADDED, 1), event("A", OpType.DELETED, 1), event("B", OpType.ADDED, 1)]
        state, _ = store.commit_page("hq", page, source=Source.SYNC, state=SyncState(), now=NOW)
        assert dict(state.ties) == {"A": True}
        later = event("B", OpType.MODIFIED, 1, asset_tag="other")
        state, _ = store.commit_page("hq", [later], source=Source.SYNC, state=state, now=NOW)
        assert dict(state.ties) == {"A": True, "B": False}
        assert store.sync_state("hq") == state
        settled = attrs.evolve(state, ties={})
        state, _ = store.commit_page(
            "hq", [Device(serial_number="A")], source=Source.DETAILS, state=settled, now=NOW
        )
        assert (dict(state.ties), dict(store.sync_state("hq").ties)) == ({}, {})
        assert not record_of(store, "A").is_released

    def test_list_is_newer_than_events_from_before_it(self, store: Store) -> None:
        """An event that arrives again after the list changes nothing, in a later page and a later state."""
        start = NOW - timedelta(hours=1)
        listed = [Device(serial_number="A", asset_tag="listed")]
        commit(store, *listed, source=Source.FETCH, full_sync=1, listing_since=start)
        assert store.sync_state("hq").listed_at == start
        store.finish_full_sync("hq", state=store.sync_state("hq"), now=NOW)
        old = [event("A", OpType.MODIFIED, -7200, asset_tag="old"), event("A", OpType.DELETED, -7200)]
        assert commit(store, *old) == ChangeCounts(stale=2)
        assert (record_of(store, "A").device.asset_tag, record_of(store, "A").is_released) == (
            "listed",
            False,
        )
        assert commit(store, event("A", OpType.DELETED, -60)) == ChangeCounts(released=1)

    def test_impossible_operation_date_is_replaced_by_the_arrival_time(self, store: Store) -> None:
        """The sent date is stored separately, and makes no later operation stale."""
        wild = NOW + timedelta(days=2000)
        device = event("A", OpType.ADDED, 0).changed(op_date=wild)
        commit(store, device)
        record = record_of(store, "A")
        assert (record.op_date, record.op_date_sent) == (NOW + timedelta(minutes=5), wild)
        later = event("A", OpType.MODIFIED, 3600, asset_tag="later")
        assert commit(store, later, seconds=3600) == ChangeCounts(modified=1)
        assert record_of(store, "A").op_date_sent is None

    def test_serial_numbers_belong_to_their_token(self, store: Store) -> None:
        """Two tokens have separate records of the same serial number."""
        store.add_token(example_token("other"))
        commit(store, event("A", OpType.ADDED, 1))
        commit(store, event("A", OpType.DELETED, 1), name="other")
        assert not record_of(store, "A").is_released
        assert record_of(store, "A", "other").is_released
        assert record_of(store, "A", "other").token_name == "other"

    def test_page_may_be_large(self, store: Store) -> None:
        """A page may be larger than Apple's 1000 devices."""
        assert commit(store, *fleet_of(2500)) == ChangeCounts(added=2500)
        assert commit(store, *fleet_of(2500)) == ChangeCounts(unchanged=2500)


class FullSyncPromises:
    """A complete full list releases the devices that it did not contain."""

    def test_finished_list_releases_devices_missing_from_it(self, store: Store) -> None:
        """Unlisted devices are released but kept; those with a newer event are not released."""
        commit(store, *fleet_of(3), source=Source.FETCH, full_sync=1, listing_since=NOW - timedelta(days=7))
        commit(store, event("NEW", OpType.ADDED, 10))
        commit(store, *fleet_of(1), source=Source.FETCH, full_sync=2, listing_since=NOW, cursor="end")
        state, counts = store.finish_full_sync("hq", state=store.sync_state("hq"), now=NOW)
        assert counts == ChangeCounts(released=2)
        assert state.listing_since is None
        assert state.cursor == "end"
        assert store.sync_state("hq") == state
        assert serials_of(store) == ["C02000000", "NEW"]
        assert serials_of(store, released=True) == ["C02000001", "C02000002"]
        assert record_of(store, "C02000001").released_at == NOW

    def test_many_devices_are_released_in_one_call(self, store: Store) -> None:
        """An empty list releases every device."""
        commit(store, *fleet_of(1200), source=Source.FETCH, full_sync=1, listing_since=NOW)
        _, counts = store.finish_full_sync("hq", state=_next_list(store), now=NOW)
        assert counts == ChangeCounts(released=1200)
        assert serials_of(store) == []

    def test_finish_that_breaks_releases_nothing(self, store: Store) -> None:
        """If the state cannot be stored, no device is released."""
        commit(store, *fleet_of(2), source=Source.FETCH, full_sync=1, listing_since=NOW)
        state = BreakingState(revision=1, full_sync=2, listing_since=NOW)
        with pytest.raises((InjectedError, StoreError)):
            store.finish_full_sync("hq", state=state, now=NOW)
        assert len(serials_of(store)) == 2
        assert store.sync_state("hq").full_sync == 1

    def test_list_that_was_not_begun_cannot_finish(self, store: Store) -> None:
        """Without a current list no device is known to be missing, so none is released."""
        commit(store, *fleet_of(2), source=Source.FETCH, full_sync=1)
        with pytest.raises(StoreError, match="full list"):
            store.finish_full_sync("hq", state=attrs.evolve(store.sync_state("hq"), full_sync=2), now=NOW)
        assert len(serials_of(store)) == 2

    def test_released_device_returns(self, store: Store) -> None:
        """A released device that Apple lists again keeps its record."""
        commit(store, example_device(), source=Source.FETCH, full_sync=1, listing_since=NOW)
        store.finish_full_sync("hq", state=_next_list(store), now=NOW)
        assert commit(store, event("C02FULL00001", OpType.ADDED, 5), seconds=9) == ChangeCounts(returned=1)
        record = record_of(store, "C02FULL00001")
        assert not record.is_released
        assert record.first_seen_at == NOW


class ReadingPromises:
    """Devices are read lazily and in order while other writers commit."""

    def test_unknown_device_is_none(self, store: Store) -> None:
        """``device`` returns None for an unknown serial number."""
        assert store.device("hq", "C02") is None

    def test_devices_come_each_once(self, store: Store) -> None:
        """An iteration returns more devices than one batch holds."""
        fleet = [*fleet_of(2001), Device(serial_number="c02"), Device(serial_number="é")]
        commit(store, *reversed(fleet))
        assert sorted(serials_of(store)) == sorted(device.serial_number for device in fleet)

    @pytest.mark.parametrize("serial", ["", "  ", "C" * 201])
    def test_device_without_a_usable_serial_number_is_refused(self, store: Store, serial: str) -> None:
        """A device that could not be read back is not stored."""
        with pytest.raises(StoreError, match="serial_number"):
            commit(store, Device(serial_number="A"), Device(serial_number=serial))
        assert serials_of(store) == []

    @pytest.mark.parametrize(
        "values",
        [{"model": 5}, {"extra": {"serial_number": "B"}}, {"model": "Mac", "extra": {"model": "iMac"}}],
    )
    def test_device_that_would_be_read_as_another_is_refused(
        self, store: Store, values: dict[str, Any]
    ) -> None:
        """A device built by a program must not be in another group than after reading it back."""
        with pytest.raises(StoreError, match="extra"):
            commit(store, Device(serial_number="C", **values))
        commit(store, Device(serial_number="A", extra={"model": 5}))
        assert store.device_groups("hq") == Counter([group_of(record_of(store, "A"))])

    def test_groups_are_those_of_the_records(self, store: Store) -> None:
        """``device_groups`` counts ``group_of`` of each record, released and hidden ones included."""
        commit(store, example_device(), *fleet_of(3), source=Source.FETCH, full_sync=1, listing_since=NOW)
        commit(store, event("C02000001", OpType.DELETED, 5), event("NEW", OpType.ADDED, 5))
        store.delete_device("hq", "C02000002", now=NOW)
        store.record_attempts("hq", {"NEW": attempt_with(DeviceResult.FAILED)}, now=NOW)
        everyone = [
            *store.devices("hq", released=None),
            *(record for record in [store.device("hq", "C02000002")] if record is not None),
        ]
        assert store.device_groups("hq") == Counter(map(group_of, everyone))
        assert sum(store.device_groups("hq").values()) == 5

    def test_devices_of_groups(self, store: Store) -> None:
        """``groups`` filters by group; released and hidden devices are treated as without it."""
        for serial, model in zip("ABCDEF", itertools.cycle(("Mac mini", "iMac", "Mac Pro"))):
            commit(store, event(serial, OpType.ADDED, 1, model=model))
        commit(store, event("B", OpType.DELETED, 2))
        store.delete_device("hq", "A", now=NOW)
        every = tuple(store.device_groups("hq"))
        assert sorted(serials_of(store, groups=every)) == ["C", "D", "E", "F"]
        assert serials_of(store, groups=every, released=True) == ["B"]
        assert sorted(serials_of(store, groups=every, released=None)) == ["B", "C", "D", "E", "F"]
        minis = {group for group in every if group.model == "Mac mini"}
        assert serials_of(store, groups=minis) == ["D"]
        assert serials_of(store, groups=minis, serials=["A", "C", "D"]) == ["D"]
        assert serials_of(store, groups=[DeviceGroup(model="Xserve")]) == []
        assert serials_of(store, groups=[]) == []

    def test_devices_of_groups_are_those_of_their_token(self, store: Store) -> None:
        """A group returns no device of another token, even if the groups are equal."""
        store.add_token(example_token("other"))
        commit(store, *fleet_of(2))
        commit(store, Device(serial_number="X", model="Mac"), name="other")
        groups = store.device_groups("hq")
        assert store.device_groups("other").keys() == groups.keys()
        assert serials_of(store, name="other", groups=tuple(groups)) == ["X"]

    def test_devices_of_many_groups_come_each_once(self, store: Store) -> None:
        """There may be more groups, and more devices in a group, than one batch holds."""
        fleet = [device.changed(model=f"Mac {n % 3}") for n, device in enumerate(fleet_of(2500))]
        commit(store, *fleet)
        found = serials_of(store, groups=tuple(store.device_groups("hq")))
        assert sorted(found) == [device.serial_number for device in fleet]
        commit(store, *(device.changed(model=f"Mac {n}") for n, device in enumerate(fleet[:1200])))
        found = serials_of(store, groups=tuple(store.device_groups("hq")))
        assert sorted(found) == [device.serial_number for device in fleet]

    def test_serials_in_groups(self, store: Store) -> None:
        """``serials_in`` returns the serial numbers of groups in the order of ``devices``."""
        commit(store, *(device.changed(model=f"Mac {n % 3}") for n, device in enumerate(fleet_of(9))))
        groups = sorted(store.device_groups("hq"), key=lambda group: group.model or "")
        assert list(store.serials_in("hq", groups[:2])) == serials_of(store, groups=groups[:2])
        assert len(list(store.serials_in("hq", groups))) == 9
        assert list(store.serials_in("hq", ())) == []

    def test_device_that_changes_its_group_comes_once(self, store: Store) -> None:
        """A device that moves between requested groups during an iteration is returned once."""
        fleet = fleet_of(2200)
        commit(store, *(device.changed(model=f"Mac {n % 2}") for n, device in enumerate(fleet)))
        seen = []
        for number, record in enumerate(store.devices("hq", groups=tuple(store.device_groups("hq")))):
            seen.append(record.serial_number)
            if number % 700 == 0:
                second = number // 700 + 1
                commit(store, event(record.serial_number, OpType.MODIFIED, second, model="Mac 1"))
                commit(store, event("C02002199", OpType.MODIFIED, second, model=f"Mac {second % 2}"))
        assert sorted(seen) == [device.serial_number for device in fleet]

    @pytest.mark.parametrize(
        ("released", "expected"), [(False, ["A", "C"]), (True, ["B", "D"]), (None, ["A", "B", "C", "D"])]
    )
    def test_devices_by_release(self, store: Store, released: bool | None, expected: list[str]) -> None:
        """``released`` selects listed devices, released ones or both, with and without ``serials``."""
        for serial, kind in zip("ABCD", itertools.cycle((OpType.ADDED, OpType.DELETED))):
            commit(store, event(serial, kind, 1))
        assert serials_of(store, released=released) == expected
        assert serials_of(store, released=released, serials=list("DCBAX")) == expected

    def test_devices_of_serials(self, store: Store) -> None:
        """``serials`` selects devices, sorted and each once; unknown ones are left out."""
        commit(store, *fleet_of(1500))
        wanted = [device.serial_number for device in fleet_of(1400)]
        assert serials_of(store, serials=[*reversed(wanted), *wanted, "unknown"]) == wanted
        assert serials_of(store, serials=[]) == []

    def test_store_may_be_written_during_an_iteration(self, store: Store) -> None:
        """An iteration returns each device of its start once, as before or after a concurrent change."""
        commit(store, *fleet_of(1200))
        seen = []
        for number, record in enumerate(store.devices("hq", released=None)):
            seen.append(record.serial_number)
            if number % 400 == 0:
                commit(
                    store, event("C02000001", OpType.MODIFIED, number), event(f"D{number}", OpType.ADDED, 0)
                )
                commit(store, event("C02001199", OpType.DELETED, number))
        assert len(set(seen)) == len(seen)
        assert set(seen) >= {device.serial_number for device in fleet_of(1200)}

    def test_iteration_ends_with_its_token(self, store: Store) -> None:
        """If the token is removed during an iteration, the iteration ends early."""
        commit(store, *fleet_of(3000))
        iteration = store.devices("hq")
        assert next(iteration).serial_number == "C02000000"
        store.remove_token("hq", now=NOW)
        assert len(list(iteration)) < 2999

    def test_counts(self, store: Store) -> None:
        """Listed devices are counted by profile status ("" if unknown), released ones separately."""
        assert store.count_devices("hq") == {"released": 0}
        for serial, status in zip("ABC", ("empty", "empty", "levitating"), strict=True):
            commit(store, Device(serial_number=serial, profile_status=ProfileStatus(status)))
        commit(store, Device(serial_number="D"))
        commit(store, event("E", OpType.DELETED, 0))
        assert store.count_devices("hq") == {"empty": 2, "levitating": 1, "": 1, "released": 1}
        assert store.count_devices("hq")["assigned"] == 0


class AttemptPromises:
    """The outcome of each attempt to assign is kept until a newer record of Apple supersedes it."""

    def test_attempts_round_trip(self, store: Store) -> None:
        """The outcome of each attempt is stored; that of an unknown serial number is ignored."""
        commit(store, *fleet_of(3))
        known = {
            "C02000000": attempt_with(DeviceResult.THROTTLED, hours_to_wait=24),
            "C02000001": attempt_with(DeviceResult("NEW_RESULT")),
        }
        store.record_attempts("hq", {**known, "X": attempt_with(DeviceResult.FAILED)}, now=NOW)
        for serial, attempt in known.items():
            assert record_of(store, serial).attempt == attempt
        assert record_of(store, "C02000002").attempt is None
        assert store.device("hq", "X") is None

    def test_attempt_does_not_release(self, store: Store) -> None:
        """Only Apple's lists release a device, not ``NOT_ACCESSIBLE``."""
        commit(store, *fleet_of(1))
        store.record_attempts("hq", {"C02000000": attempt_with(DeviceResult.NOT_ACCESSIBLE)}, now=NOW)
        assert not record_of(store, "C02000000").is_released

    def test_details_are_merged_before_the_attempt(self, store: Store) -> None:
        """The details that were read after an assignment are stored with the outcome."""
        commit(store, *fleet_of(1))
        read = Device(
            serial_number="C02000000",
            profile_status=ProfileStatus.ASSIGNED,
            profile_uuid="P1",
            profile_assign_time=NOW,
            response_status=DeviceResult.SUCCESS,
        )
        attempt = attempt_with(DeviceResult.SUCCESS)
        store.record_attempts("hq", {"C02000000": attempt}, details=[read], now=NOW)
        record = record_of(store, "C02000000")
        assert record.attempt == attempt
        assert record.device == read.changed(response_status=None)
        assert record.op_date == NOW

    def test_attempts_that_break_leave_nothing(self, store: Store) -> None:
        """If the details cannot be stored, neither are the outcomes."""
        commit(store, *fleet_of(1))
        before = record_of(store, "C02000000")
        details = BreakingDevices(before.device.changed(asset_tag="new"))
        with pytest.raises((InjectedError, StoreError)):
            store.record_attempts(
                "hq", {"C02000000": attempt_with(DeviceResult.SUCCESS)}, details=details, now=NOW
            )
        assert record_of(store, "C02000000") == before

    def test_newer_event_supersedes_an_attempt_but_not_a_cooldown(self, store: Store) -> None:
        """A newer event supersedes the outcome, but the time of the next attempt stays."""
        commit(store, *fleet_of(2))
        store.record_attempts(
            "hq",
            {
                "C02000000": attempt_with(DeviceResult.SUCCESS),
                "C02000001": attempt_with(DeviceResult.THROTTLED, hours_to_wait=1),
            },
            now=NOW,
        )
        commit(store, *(event(device.serial_number, OpType.MODIFIED, 5) for device in fleet_of(2)))
        overtaken = record_of(store, "C02000000").attempt
        assert overtaken is not None, "only the attempt knows what was wanted"
        assert overtaken.result == DeviceResult.NOT_CONFIRMED
        assert record_of(store, "C02000001").attempt == attempt_with(DeviceResult.THROTTLED, hours_to_wait=1)


def _listed(**models: str) -> DeviceList:
    """Return a page of a full list as decoded from Apple: devices with their JSON, by serial number."""
    texts = [f'{{"serial_number": "{serial}", "model": "{model}"}}' for serial, model in models.items()]
    return DeviceList(map(read_device, texts), [msgspec.Raw(text.encode()) for text in texts])


def _next_list(store: Store) -> SyncState:
    """Return the state of a full list that began an hour later and was empty."""
    state = store.sync_state("hq")
    return attrs.evolve(state, full_sync=state.full_sync + 1, listing_since=NOW + timedelta(hours=1))
