"""Tests of devices that are hidden, purged, or known to two tokens."""
# ruff: noqa: S101, S105 - a test suite; it has no secrets

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import attrs
import pytest

from pyade.core.fleet.device import Device, DeviceResult, OpType, ProfileStatus
from pyade.core.fleet.records import ChangeCounts, Source, owner_of
from pyade.storage.protocol import Store
from pyade.testing.store_examples import (
    NOW,
    attempt_with,
    commit,
    commit_until_it_succeeds,
    event,
    example_token,
    fleet_of,
    record_of,
    serials_of,
)

DAY = 86_400.0


class DeletionPromises:
    """A hidden device stays hidden until Apple adds it again or lists it, or the caller restores it."""

    def test_deleted_device_is_hidden_while_apple_lists_it(self, store: Store) -> None:
        """It is neither iterated nor counted, whatever the filter; its record has the time of deletion."""
        commit(store, *fleet_of(3))
        before = record_of(store, "C02000001")
        _delete(store, "C02000001", seconds=5)
        shown = ["C02000000", "C02000002"]
        for released, expected in ((False, shown), (True, []), (None, shown)):
            assert serials_of(store, released=released) == expected
            serials = [device.serial_number for device in fleet_of(3)]
            assert serials_of(store, released=released, serials=serials) == expected
        assert store.count_devices("hq") == {"": 2, "released": 0}
        deleted_at = NOW + timedelta(seconds=5)
        assert record_of(store, "C02000001") == attrs.evolve(before, deleted_at=deleted_at)

    def test_deleting_a_released_device_removes_it(self, store: Store) -> None:
        """Deleting a device that Apple released removes its record."""
        commit(store, *fleet_of(2), event("C02000000", OpType.DELETED, 1))
        _delete(store, "C02000000")
        assert store.device("hq", "C02000000") is None
        assert store.count_devices("hq") == {"": 1, "released": 0}

    def test_deleting_again_changes_nothing(self, store: Store) -> None:
        """The first deletion time stays, and deleting an unknown device does nothing."""
        commit(store, *fleet_of(1))
        for seconds in (1, 2):
            _delete(store, "C02000000", seconds=seconds)
        _delete(store, "UNKNOWN")
        assert record_of(store, "C02000000").deleted_at == NOW + timedelta(seconds=1)
        assert store.device("hq", "UNKNOWN") is None

    def test_added_restores_a_hidden_device_but_modified_does_not(self, store: Store) -> None:
        """A change is stored while the device stays hidden; a new assignment to the server shows it again."""
        commit(store, event("A", OpType.ADDED, 0))
        _delete(store, "A", seconds=10)
        modified = event("A", OpType.MODIFIED, 20, asset_tag="new")
        assert commit(store, modified) == ChangeCounts(unchanged=1)
        assert serials_of(store, released=None) == []
        assert record_of(store, "A").device.asset_tag == "new"
        assert commit(store, event("A", OpType.ADDED, 30), seconds=40) == ChangeCounts(returned=1)
        assert serials_of(store) == ["A"]
        record = record_of(store, "A")
        assert (record.deleted_at, record.first_seen_at) == (None, NOW)

    def test_event_from_before_the_deletion_does_not_restore_the_device(self, store: Store) -> None:
        """Neither a repeated ``added`` nor an older one that arrives late restores it."""
        page = [event("A", OpType.ADDED, 5)]
        commit(store, *page)
        _delete(store, "A", seconds=10)
        assert commit(store, *page) == ChangeCounts(unchanged=1)
        assert commit(store, event("A", OpType.ADDED, 4)) == ChangeCounts(stale=1)
        assert serials_of(store) == []

    def test_hidden_and_released_device_is_restored_when_added(self, store: Store) -> None:
        """A device that left and was assigned again is a new assignment, even within one second."""
        commit(store, event("A", OpType.ADDED, 0))
        _delete(store, "A", seconds=1)
        assert commit(store, event("A", OpType.DELETED, 2)) == ChangeCounts(unchanged=1)
        assert serials_of(store, released=None) == []
        assert store.count_devices("hq") == {"released": 0}
        assert commit(store, event("A", OpType.ADDED, 2)) == ChangeCounts(returned=1)
        assert serials_of(store) == ["A"]

    @pytest.mark.parametrize(("began", "returns"), [(-1, False), (0, False), (1, True)])
    def test_full_list_restores_the_device_if_it_began_later(
        self, store: Store, began: float, returns: bool
    ) -> None:
        """A list that began before the deletion does not restore the device."""
        commit(store, *fleet_of(1))
        _delete(store, "C02000000")
        since = NOW + timedelta(seconds=began)
        counts = commit(store, *fleet_of(1), source=Source.FETCH, full_sync=1, listing_since=since)
        assert counts == ChangeCounts(returned=int(returns), unchanged=int(not returns))
        assert serials_of(store) == ["C02000000"] * returns
        _, counts = store.finish_full_sync("hq", state=store.sync_state("hq"), now=NOW)
        assert counts == ChangeCounts()
        assert not record_of(store, "C02000000").is_released

    def test_full_list_restores_the_device_although_an_event_is_newer(self, store: Store) -> None:
        """The list restores the device, and the newer event keeps its values."""
        commit(store, *fleet_of(1))
        _delete(store, "C02000000")
        commit(store, event("C02000000", OpType.MODIFIED, 60, asset_tag="newer"))
        listing: dict[str, Any] = {
            "source": Source.FETCH,
            "full_sync": 1,
            "listing_since": NOW + timedelta(seconds=30),
        }
        assert commit(store, *fleet_of(1), **listing) == ChangeCounts(returned=1)
        assert record_of(store, "C02000000").device.asset_tag == "newer"
        assert serials_of(store) == ["C02000000"]

    def test_full_list_does_not_restore_a_device_released_since(self, store: Store) -> None:
        """A list that began before Apple released the device does not restore it."""
        commit(store, *fleet_of(1))
        _delete(store, "C02000000")
        commit(store, event("C02000000", OpType.DELETED, 60))
        listing: dict[str, Any] = {"full_sync": 1, "listing_since": NOW + timedelta(seconds=30)}
        assert commit(store, *fleet_of(1), source=Source.FETCH, **listing) == ChangeCounts(stale=1)
        assert serials_of(store, released=None) == []
        assert record_of(store, "C02000000").is_released

    def test_details_restore_a_hidden_device(self, store: Store) -> None:
        """Apple's details restore the device; a response without details does not."""
        commit(store, event("A", OpType.ADDED, 0))
        _delete(store, "A", seconds=1)
        gone = Device(serial_number="A", response_status=DeviceResult.NOT_ACCESSIBLE)
        assert commit(store, gone, source=Source.DETAILS) == ChangeCounts(unchanged=1)
        assert serials_of(store) == []
        details = Device(serial_number="A", model="Mac", response_status=DeviceResult.SUCCESS)
        assert commit(store, details, source=Source.DETAILS) == ChangeCounts(returned=1)
        assert serials_of(store) == ["A"]
        assert record_of(store, "A").device.model == "Mac"

    def test_outcome_of_an_assignment_does_not_restore_a_hidden_device(self, store: Store) -> None:
        """The outcome of an assignment that began before the deletion is stored; the device stays hidden."""
        commit(store, *fleet_of(1))
        _delete(store, "C02000000")
        attempt = attempt_with(DeviceResult.SUCCESS, seconds=1)
        details = Device(serial_number="C02000000", profile_status=ProfileStatus.ASSIGNED)
        store.record_attempts("hq", {"C02000000": attempt}, details=[details], now=NOW)
        assert serials_of(store) == []
        assert record_of(store, "C02000000").attempt == attempt

    def test_hidden_devices_do_not_count_as_released(self, store: Store) -> None:
        """A full list without them releases hidden devices but does not count them."""
        commit(store, *fleet_of(3), source=Source.FETCH, full_sync=1, listing_since=NOW)
        _delete(store, "C02000000")
        later = NOW + timedelta(hours=1)
        state = attrs.evolve(store.sync_state("hq"), full_sync=2, listing_since=later)
        assert store.count_unlisted("hq", state) == 2
        _, counts = store.finish_full_sync("hq", state=state, now=later)
        assert counts == ChangeCounts(released=2)
        assert record_of(store, "C02000000").is_released
        assert serials_of(store, released=None) == ["C02000001", "C02000002"]

    def test_unlisted_devices_are_counted_before_they_are_released(self, store: Store) -> None:
        """The number is what finishing the full list would release; counting changes nothing."""
        commit(store, *fleet_of(1201), source=Source.FETCH, full_sync=1, listing_since=NOW)
        commit(store, event("C02000007", OpType.MODIFIED, 60), event("C02000008", OpType.DELETED, 60))
        state = attrs.evolve(
            store.sync_state("hq"), full_sync=2, listing_since=NOW + timedelta(seconds=30), cursor="next"
        )
        state, _ = store.commit_page("hq", fleet_of(5), source=Source.FETCH, state=state, now=NOW)
        assert store.count_unlisted("hq", state) == 1201 - 5 - 2
        assert len(serials_of(store)) == 1200
        _, counts = store.finish_full_sync("hq", state=state, now=NOW)
        assert counts == ChangeCounts(released=1201 - 5 - 2)
        assert store.count_unlisted("hq", state) == 0

    @pytest.mark.parametrize(("seconds", "purged"), [(30 * DAY - 0.001, 0), (30 * DAY, 1), (45 * DAY, 1)])
    def test_released_devices_are_purged_after_30_days(
        self, store: Store, seconds: float, purged: int
    ) -> None:
        """Devices that were released 30 days ago or earlier are removed, of this token only."""
        store.add_token(example_token("other"))
        for name in ("hq", "other"):
            commit(store, event("OLD", OpType.DELETED, 0), event("HERE", OpType.ADDED, 0), name=name)
        commit(store, event("NEW", OpType.DELETED, 0), seconds=20 * DAY)
        assert store.purge_released("hq", now=NOW + timedelta(seconds=seconds)) == purged
        assert sorted(serials_of(store, released=None)) == ["HERE", "NEW", "OLD"][: 3 - purged]
        assert serials_of(store, name="other", released=True) == ["OLD"]
        assert store.purge_released("hq", now=NOW + timedelta(seconds=seconds)) == 0

    def test_returned_devices_are_not_purged(self, store: Store) -> None:
        """The days count from the last release; a device that returned is not purged."""
        commit(store, event("A", OpType.DELETED, 0), event("B", OpType.DELETED, 0))
        commit(store, event("A", OpType.ADDED, 1), event("B", OpType.ADDED, 1))
        commit(store, event("B", OpType.DELETED, 2), seconds=20 * DAY)
        assert store.purge_released("hq", now=NOW + timedelta(days=40)) == 0
        assert store.purge_released("hq", now=NOW + timedelta(days=50)) == 1
        assert serials_of(store, released=None) == ["A"]

    def test_purge_removes_devices_that_were_hidden_and_then_released(self, store: Store) -> None:
        """A hidden device is purged after Apple released it; one that Apple lists stays hidden."""
        commit(store, *fleet_of(2))
        for serial in ("C02000000", "C02000001"):
            _delete(store, serial)
        commit(store, event("C02000000", OpType.DELETED, 1))
        assert store.purge_released("hq", now=NOW + timedelta(days=400)) == 1
        assert store.device("hq", "C02000000") is None
        assert record_of(store, "C02000001").is_hidden

    def test_threads_that_delete_and_sync_lose_no_change(self, store: Store) -> None:
        """Four threads delete and four sync changes of the same devices: all end hidden and up to date."""
        fleet = fleet_of(40)
        commit(store, *fleet)
        start = threading.Barrier(8)

        def remove(share: int) -> None:
            start.wait()
            for device in fleet[share::4]:
                _delete(store, device.serial_number)

        def change(share: int) -> None:
            start.wait()
            page = [
                event(device.serial_number, OpType.MODIFIED, 1, asset_tag="new") for device in fleet[share::4]
            ]
            for half in (page[:5], page[5:]):
                commit_until_it_succeeds(store, half)

        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(job, share) for share in range(4) for job in (remove, change)]
            for job in jobs:
                job.result()
        assert serials_of(store, released=None) == []
        records = [record_of(store, device.serial_number) for device in fleet]
        assert all(record.is_hidden and record.device.asset_tag == "new" for record in records)


class OwnershipPromises:
    """The records of a device of all tokens can be read together, and determine its owner."""

    def test_records_of_all_tokens(self, store: Store) -> None:
        """Records are sorted by serial number and token name, each once, released and hidden ones too."""
        for name in ("zoo", "Axe"):
            store.add_token(example_token(name))
            commit(store, event("B", OpType.DELETED, 1), event("A", OpType.ADDED, 1), name=name)
        commit(store, event("B", OpType.ADDED, 1), event("C", OpType.ADDED, 1))
        _delete(store, "B")
        found = [
            (record.serial_number, record.token_name) for record in store.records_of(["B", "B", "A", "X"])
        ]
        assert found == [("A", "Axe"), ("A", "zoo"), ("B", "Axe"), ("B", "hq"), ("B", "zoo")]
        assert list(store.records_of([])) == []

    def test_records_of_many_serials(self, store: Store) -> None:
        """The call accepts more serial numbers than one batch holds."""
        commit(store, *fleet_of(1500))
        wanted = [device.serial_number for device in fleet_of(1400)]
        assert [record.serial_number for record in store.records_of(wanted[::-1])] == wanted

    def test_shared_serials(self, store: Store) -> None:
        """The serial numbers that this and another token list, sorted."""
        commit(store, *(event(serial, OpType.ADDED, 1) for serial in "GFEDCBA"))
        assert store.shared_serials("hq") == ()
        for name in ("zoo", "Axe"):
            store.add_token(example_token(name))
        assert store.shared_serials("hq") == ()
        commit(store, *(event(serial, OpType.ADDED, 1) for serial in "XDCBA"), name="zoo")
        commit(store, *(event(serial, OpType.ADDED, 1) for serial in "EA"), name="Axe")
        commit(store, event("B", OpType.DELETED, 2))
        commit(store, event("C", OpType.DELETED, 2), name="zoo")
        _delete(store, "D")
        assert store.shared_serials("hq") == ("A", "E")
        assert store.shared_serials("zoo") == ("A", "D")
        assert store.shared_serials("hq", serials=["X", "E", "E", "F", "C"]) == ("E",)
        assert store.shared_serials("hq", serials=[]) == ()

    def test_many_shared_serials(self, store: Store) -> None:
        """The result may be larger than one batch."""
        store.add_token(example_token("zoo"))
        wanted = tuple(device.serial_number for device in fleet_of(1400))
        for name in ("hq", "zoo"):
            commit(store, *fleet_of(1400), name=name)
        assert store.shared_serials("hq") == wanted
        assert store.shared_serials("hq", serials=wanted[::-1]) == wanted

    @pytest.mark.parametrize("order", [("hq", "other"), ("other", "hq")])
    def test_moved_device_belongs_to_the_newest_assignment(
        self, store: Store, order: tuple[str, str]
    ) -> None:
        """The server of the latest assignment owns the device, whichever server is synced first."""
        store.add_token(example_token("other"))
        assigned: dict[str, dict[str, Any]] = {
            "hq": {"seconds": 900, "device_assigned_date": NOW - timedelta(days=9)},
            "other": {"seconds": 100, "device_assigned_date": NOW},
        }
        for name in order:
            commit(store, event("A", OpType.MODIFIED, **assigned[name]), name=name)
        owner = owner_of(store.records_of(["A"]))
        assert owner is not None
        assert owner.token_name == "other"
        commit(store, event("A", OpType.DELETED, 1000), name="other")
        owner = owner_of(store.records_of(["A"]))
        assert owner is not None
        assert owner.token_name == "hq"


def _delete(store: Store, serial_number: str, *, seconds: float = 0) -> None:
    store.delete_device("hq", serial_number, now=NOW + timedelta(seconds=seconds))
