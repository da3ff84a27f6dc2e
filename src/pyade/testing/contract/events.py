"""Tests of events, positions of subscribers, sessions and secrets."""
# ruff: noqa: S101, S106 - a test suite; it has no secrets

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import attrs
import pytest

from pyade.core.fleet.device import Device, DeviceResult, OpType
from pyade.core.fleet.events import Event, EventBatch, EventGroup, EventKind
from pyade.core.fleet.records import Source, SyncState
from pyade.core.secret import Secret
from pyade.errors import LeaseLostError, StoreClosedError, StoreConflictError, StoreError, UnknownTokenError
from pyade.storage.protocol import Store
from pyade.sync.subscription import Subscription
from pyade.testing.store_examples import (
    NOW,
    BreakingDevices,
    BreakingState,
    InjectedError,
    attempt_with,
    commit,
    event,
    example_token,
    fleet_of,
)

CLOSED_CALLS: dict[str, Callable[[Store], object]] = {
    "events": lambda store: store.events(),
    "add_event": lambda store: store.add_event("hq", EventKind.TOKEN_RESUMED, now=NOW),
    "position": lambda store: store.position("audit"),
    "save_position": lambda store: store.save_position("audit", ""),
    "prune_events": lambda store: store.prune_events(NOW),
    "load_session": lambda store: store.load_session("key"),
    "save_session": lambda store: store.save_session("key", "session"),
    "secret": lambda store: store.secret("key"),
    "save_secret": lambda store: store.save_secret("key", None),
    "secret_names": lambda store: store.secret_names(),
}


def kinds_and_serials(store: Store, after: str | None = None) -> list[tuple[str, str | None]]:
    """Return kind and serial number of the events after *after*."""
    return [(happened.kind.value, happened.serial_number) for happened in store.events(after)]


def last_id(store: Store) -> str | None:
    """Return the id of the newest event; None if there is none."""
    newest: str | None = None
    for happened in read_in_batches(store, 500):
        newest = happened.id
    return newest


def read_in_batches(store: Store, limit: int) -> Iterator[Event]:
    """Yield all events, read *limit* at a time."""
    after = None
    while found := store.events(after, limit=limit):
        assert len(found) <= limit
        yield from found
        after = found[-1].id


class EventPromises:
    """Every committed change makes an event, in the order of the commits, and nothing else does."""

    def test_new_store_has_no_events(self, store: Store) -> None:
        """Adding a token makes no event."""
        assert list(store.events()) == []

    def test_event_says_what_happened_to_which_device(self, store: Store) -> None:
        """An event has kind, token, device and time."""
        commit(store, *fleet_of(1), seconds=7)
        (only,) = store.events()
        expected = Event(
            id=only.id,
            kind=EventKind.ADDED,
            token_name="hq",
            serial_number="C02000000",
            at=NOW + timedelta(seconds=7),
        )
        assert only == expected

    def test_page_makes_an_event_per_change_in_its_order(self, store: Store) -> None:
        """New, changed, released and returned devices make different events, unchanged ones make none."""
        commit(store, *(event(serial, OpType.ADDED, 0) for serial in "ABCD"))
        start = last_id(store)
        commit(
            store,
            event("B", OpType.MODIFIED, 10, color="red"),
            event("A", OpType.DELETED, 10),
            event("C", OpType.ADDED, 0),
            event("D", OpType.MODIFIED, -10),
            event("A", OpType.ADDED, 11),
            event("E", OpType.ADDED, 11),
        )
        assert kinds_and_serials(store, start) == [
            ("modified", "B"),
            ("released", "A"),
            ("returned", "A"),
            ("added", "E"),
        ]

    def test_events_of_a_page_agree_with_its_counts(self, store: Store) -> None:
        """The number of events of each kind equals the counts."""
        commit(store, *fleet_of(30))
        start = last_id(store)
        changed = (device.changed(model="Mac mini") for device in fleet_of(40)[20:])
        counts = commit(store, *changed, source=Source.FETCH)
        kinds = [kind for kind, _ in kinds_and_serials(store, start)]
        assert (kinds.count("added"), kinds.count("modified")) == (counts.added, counts.modified) == (10, 10)

    def test_finished_full_sync_makes_an_event_per_released_device(self, store: Store) -> None:
        """Devices that the list did not contain make the event ``released``; hidden ones make none."""
        commit(store, *fleet_of(3), source=Source.FETCH, full_sync=1, listing_since=NOW)
        store.delete_device("hq", "C02000001", now=NOW)
        start = last_id(store)
        state = attrs.evolve(store.sync_state("hq"), full_sync=2, listing_since=NOW)
        store.finish_full_sync("hq", state=state, now=NOW)
        assert sorted(kinds_and_serials(store, start), key=str) == [
            ("released", "C02000000"),
            ("released", "C02000002"),
        ]

    def test_deleting_restoring_and_purging_make_one_event_each(self, store: Store) -> None:
        """A change of the caller makes an event; repeating it does not."""
        commit(store, *(event(serial, OpType.ADDED, 0) for serial in "AB"))
        start = last_id(store)
        store.delete_device("hq", "A", now=NOW)
        store.delete_device("hq", "A", now=NOW)
        store.delete_device("hq", "UNKNOWN", now=NOW)
        commit(store, event("A", OpType.MODIFIED, 5, color="red"))
        commit(store, Device(serial_number="A"), source=Source.DETAILS)
        commit(store, event("B", OpType.DELETED, 10))
        store.purge_released("hq", now=NOW + timedelta(days=40))
        store.purge_released("hq", now=NOW + timedelta(days=40))
        assert kinds_and_serials(store, start) == [
            ("deleted", "A"),
            ("restored", "A"),
            ("released", "B"),
            ("purged", "B"),
        ]

    def test_attempts_make_events_with_their_outcome(self, store: Store) -> None:
        """The outcome is in the details; attempts that were not stored make no event."""
        commit(store, *fleet_of(3))
        start = last_id(store)
        attempts = {
            "C02000000": attempt_with(DeviceResult.SUCCESS, seconds=1),
            "C02000001": attempt_with(DeviceResult.NOT_ACCESSIBLE, seconds=1),
            "C02000002": attempt_with(DeviceResult.THROTTLED, seconds=1, hours_to_wait=24),
            "UNKNOWN": attempt_with(DeviceResult.SUCCESS, seconds=1),
        }
        for _ in range(2):
            store.record_attempts("hq", attempts, now=NOW + timedelta(seconds=2))
        outcome = {happened.serial_number: happened for happened in store.events(start)}
        assert len(store.events(start)) == len(outcome) == 3
        assert outcome["C02000000"].kind == EventKind.ASSIGNED
        assert outcome["C02000000"].details == {"profile_uuid": "P1", "result": "SUCCESS"}
        assert outcome["C02000001"].kind == EventKind.ASSIGNMENT_FAILED
        assert outcome["C02000001"].details["result"] == "NOT_ACCESSIBLE"
        assert outcome["C02000002"].kind == EventKind.THROTTLED
        wait = (NOW + timedelta(hours=24, seconds=1)).isoformat()
        assert outcome["C02000002"].details["not_before"] == wait

    def test_refused_write_makes_no_event(self, store: Store) -> None:
        """A write that fails, conflicts or lost its lease makes no event."""
        lease = store.acquire_lease("hq", "me")
        store.release_lease(lease)
        old = store.sync_state("hq")
        commit(store, *fleet_of(1))
        before = store.events()
        state = store.sync_state("hq")
        broken: dict[type[Exception], dict[str, Any]] = {
            StoreConflictError: {"state": old},
            LeaseLostError: {"state": state, "lease": lease},
        }
        for error, arguments in broken.items():
            with pytest.raises(error):
                store.commit_page("hq", fleet_of(9), source=Source.SYNC, now=NOW, **arguments)
        page, breaking = BreakingDevices(*fleet_of(9)), BreakingState(revision=state.revision)
        attempts = {"C02000000": attempt_with(DeviceResult.FAILED)}
        with pytest.raises(InjectedError):
            store.commit_page("hq", page, source=Source.SYNC, now=NOW, state=state)
        with pytest.raises(InjectedError):
            store.commit_page("hq", fleet_of(9), source=Source.SYNC, now=NOW, state=breaking)
        with pytest.raises(LeaseLostError):
            store.record_attempts("hq", attempts, now=NOW, lease=lease)
        assert store.events() == before

    @pytest.mark.parametrize("limit", [1, 7, 25, 1000])
    def test_reading_in_portions_misses_and_repeats_nothing(self, store: Store, limit: int) -> None:
        """Every id is a valid position, not only the last one of a batch, and ids never change."""
        for number in range(3):
            commit(store, *(Device(serial_number=f"{number}-{device:02}") for device in range(25)))
        read = list(read_in_batches(store, limit))
        assert [found.serial_number for found in read] == [
            f"{number}-{device:02}" for number in range(3) for device in range(25)
        ]
        assert len({found.id for found in read}) == 75
        assert read == list(store.events())
        assert list(store.events(read[-1].id)) == []

    def test_events_of_all_tokens_come_in_the_order_of_the_commits(self, store: Store) -> None:
        """All tokens share one order, and events stay after their token was removed."""
        store.add_token(example_token("other"))
        for number in range(4):
            name = "hq" if number % 2 else "other"
            commit(store, Device(serial_number=f"S{number}"), name=name, seconds=-number)
        store.remove_token("other", now=NOW)
        found = [(happened.token_name, happened.serial_number) for happened in store.events()]
        assert found == [("other", "S0"), ("hq", "S1"), ("other", "S2"), ("hq", "S3"), ("other", None)]
        assert store.events()[-1].kind is EventKind.TOKEN_REMOVED

    def test_event_of_a_sync_state(self, store: Store) -> None:
        """Events of a state are stored in its transaction; a refused state stores none."""
        suspended = EventBatch(
            "hq", NOW, (EventGroup(EventKind.TOKEN_SUSPENDED, details={"reason": "terms"}),)
        )
        state = store.save_sync_state("hq", SyncState(suspended="terms"), events=suspended)
        assert state.suspended == "terms"
        with pytest.raises(StoreConflictError):
            store.save_sync_state("hq", SyncState(), events=suspended)
        lease = store.acquire_lease("hq", "worker")
        store.release_lease(lease)
        with pytest.raises(LeaseLostError):
            store.save_sync_state("hq", state, events=suspended, lease=lease)
        (happened,) = store.events()
        assert (happened.kind, happened.serial_number, happened.at) == (EventKind.TOKEN_SUSPENDED, None, NOW)
        assert happened.details == {"reason": "terms"}

    def test_event_about_a_token(self, store: Store) -> None:
        """An event of the caller is read back with its details and without a device."""
        details = {"reason": "Bedingungen", "days": 3, "nested": [None, 1.5]}
        store.add_event("hq", EventKind.TOKEN_SUSPENDED, now=NOW, details=details)
        store.add_event("hq", EventKind.TOKEN_RESUMED, now=NOW)
        suspended, resumed = store.events()
        assert (suspended.kind, suspended.serial_number, suspended.details) == (
            "token_suspended",
            None,
            details,
        )
        assert (resumed.kind, resumed.token_name, resumed.details) == ("token_resumed", "hq", {})
        with pytest.raises(UnknownTokenError, match="unknown"):
            store.add_event("unknown", EventKind.TOKEN_SUSPENDED, now=NOW)
        with pytest.raises(StoreError, match="JSON"):
            store.add_event("hq", EventKind.TOKEN_SUSPENDED, now=NOW, details={"at": object()})
        assert len(store.events()) == 2

    @pytest.mark.parametrize("after", ["x", "1", "x.1.y", "1.x", ".1", "٣.1", f"{'9' * 40}.1x"])
    def test_malformed_event_id_is_refused(self, store: Store, after: str) -> None:
        """``events`` and ``save_position`` refuse a text that is not an event id."""
        with pytest.raises(StoreError):
            store.events(after)
        with pytest.raises(StoreError):
            store.save_position("audit", after)

    def test_limit_below_one_is_refused(self, store: Store) -> None:
        """An empty result would look like the end of the events."""
        with pytest.raises(StoreError, match="limit"):
            store.events(limit=0)

    def test_readers_beside_writers_miss_nothing(self, store: Store) -> None:
        """A reader that continues after its last event sees every commit once, however writers interleave."""
        writers, pages, size = 4, 5, 7
        for writer in range(writers):
            store.add_token(example_token(f"token-{writer}"))
        start = threading.Barrier(writers + 1)

        def write(writer: int) -> None:
            start.wait()
            for page in range(pages):
                devices = [Device(serial_number=f"{writer}-{page}-{number}") for number in range(size)]
                commit(store, *devices, name=f"token-{writer}")

        seen: list[Event] = []

        def read_on() -> None:
            while found := store.events(seen[-1].id if seen else None, limit=5):
                seen.extend(found)

        with ThreadPoolExecutor(writers) as pool:
            done = [pool.submit(write, writer) for writer in range(writers)]
            start.wait()
            while not all(future.done() for future in done):
                read_on()
            for future in done:
                future.result()
        read_on()
        assert seen == list(store.events())
        for writer in range(writers):
            own = [found.serial_number for found in seen if found.token_name == f"token-{writer}"]
            assert own == [f"{writer}-{page}-{number}" for page in range(pages) for number in range(size)]


class SubscriberPromises:
    """A subscriber loses no event, whatever happens between commit and delivery."""

    def test_position_of_a_subscriber(self, store: Store) -> None:
        """Each subscriber has its own position; None removes it."""
        commit(store, *fleet_of(2))
        first, second = store.events()
        assert store.position("audit") is None
        store.save_position("audit", "")
        assert store.position("audit") == ""
        store.save_position("audit", first.id)
        store.save_position("mirror", second.id)
        assert (store.position("audit"), store.position("mirror")) == (first.id, second.id)
        store.save_position("audit", None)
        assert (store.position("audit"), store.position("mirror")) == (None, second.id)

    def test_subscriber_that_fails_or_crashes_loses_none(self, make_store: Callable[[], Store]) -> None:
        """After a failure, or a crash between commit and delivery, every event still arrives in order."""
        seen: list[Event] = []

        def handle(happened: Event) -> None:
            if len(seen) == 3 and happened.serial_number == "C02000003":
                seen.append(happened)  # the handler fails after it received the event
                raise InjectedError
            seen.append(happened)

        store = make_store()
        store.add_token(example_token())
        commit(store, *fleet_of(5))
        with pytest.raises(InjectedError):
            Subscription(store, "audit", handle).deliver()
        commit(store, Device(serial_number="LATE"))
        if getattr(self, "durable", True):
            store.close()
            store = make_store()
        with store:
            assert Subscription(store, "audit", handle).deliver() == 3
            commit(store, Device(serial_number="LATER"))
            assert Subscription(store, "audit", handle).deliver() == 1
            expected = list(store.events())
        assert seen.pop(3) == expected[3]
        assert seen == expected

    def test_prune_removes_old_events_that_every_subscriber_has_read(self, store: Store) -> None:
        """Recent events stay, and so do those that a subscriber has not read."""
        for number in range(4):
            commit(store, Device(serial_number=f"S{number}"), seconds=number)
        ids = [happened.id for happened in store.events()]
        store.save_position("slow", ids[0])
        store.save_position("fast", ids[3])
        soon = NOW + timedelta(hours=1)
        store.prune_events(soon)
        assert kinds_and_serials(store, ids[0]) == [("added", "S1"), ("added", "S2"), ("added", "S3")]
        store.save_position("slow", ids[2])
        store.prune_events(NOW + timedelta(seconds=1))
        assert (
            kinds_and_serials(store)
            == kinds_and_serials(store, ids[0])
            == [("added", "S1"), ("added", "S2"), ("added", "S3")]
        )
        store.prune_events(soon)
        assert kinds_and_serials(store) == [("added", "S2"), ("added", "S3")]
        store.save_position("slow", "")
        store.prune_events(soon)
        assert kinds_and_serials(store, ids[2]) == [("added", "S3")]
        store.save_position("slow", None)
        store.save_position("fast", None)
        store.prune_events(soon)
        assert list(store.events()) == []

    def test_ids_are_not_given_twice(self, store: Store) -> None:
        """A position stays valid after its event and all earlier ones were pruned."""
        commit(store, *fleet_of(3))
        old = last_id(store)
        store.prune_events(NOW + timedelta(days=1))
        assert list(store.events(old)) == []
        commit(store, Device(serial_number="NEXT"))
        assert kinds_and_serials(store, old) == kinds_and_serials(store) == [("added", "NEXT")]
        assert last_id(store) != old

    def test_reopened_store_holds_events_and_positions(self, make_store: Callable[[], Store]) -> None:
        """Ids, order and positions are the same after a restart."""
        if not getattr(self, "durable", True):
            pytest.skip("this store is not durable")
        with make_store() as store:
            store.add_token(example_token())
            commit(store, *fleet_of(3))
            written = store.events()
            store.save_position("audit", written[1].id)
            store.save_session("key", "session")
            store.save_secret("key pair", "PEM")
        with make_store() as store:
            assert store.events() == written
            assert store.position("audit") == written[1].id
            assert store.load_session("key") == Secret("session")
            assert store.secret("key pair") == Secret("PEM")

    @pytest.mark.parametrize("call", CLOSED_CALLS.values(), ids=CLOSED_CALLS.keys())
    def test_closed_store_reads_no_events(self, store: Store, call: Callable[[Store], object]) -> None:
        """Every call after ``close`` raises ``StoreClosedError``."""
        store.close()
        with pytest.raises(StoreClosedError):
            call(store)

    # Sessions and secrets

    def test_session_round_trip(self, store: Store) -> None:
        """The newest session of a key is read back."""
        assert store.load_session("a") is None
        store.save_session("a", "one")
        store.save_session("b", "other")
        store.save_session("a", "two")
        assert (store.load_session("a"), store.load_session("b")) == (Secret("two"), Secret("other"))

    def test_secret_round_trip(self, store: Store) -> None:
        """A secret is read back until it is removed; sessions are separate."""
        pem = "-----BEGIN PRIVATE KEY-----\nÜ\n"
        store.save_session("key", "session")
        assert store.secret("key") is None
        store.save_secret("key", pem)
        assert (store.secret("key"), store.load_session("key")) == (Secret(pem), Secret("session"))
        store.save_secret("key", None)
        store.save_secret("key", None)
        assert (store.secret("key"), store.load_session("key")) == (None, Secret("session"))

    def test_names_of_secrets(self, store: Store) -> None:
        """Names with a prefix are sorted; sessions are excluded, and the prefix is not a pattern."""
        store.save_session("key of a session", "session")
        for name in ("key of ß", "key of b", "a key", "key%of", "Key of c"):
            store.save_secret(name, "secret")
        assert list(store.secret_names("key of ")) == ["key of b", "key of ß"]
        assert list(store.secret_names("key%")) == ["key%of"]
        assert list(store.secret_names()) == ["Key of c", "a key", "key of b", "key of ß", "key%of"]
        store.save_secret("key of b", None)
        assert list(store.secret_names("key of ")) == ["key of ß"]
