"""Tests of leases: one worker at a time writes for a token."""
# ruff: noqa: S101, S106 - a test suite; it has no secrets

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import attrs
import pytest

from pyade.core.fleet.device import Device, DeviceResult, OpType
from pyade.core.fleet.lease import Lease, LeaseHolder
from pyade.core.fleet.records import Source, SyncState
from pyade.errors import LeaseHeldError, LeaseLostError, StoreError, UnknownTokenError
from pyade.storage.protocol import Store
from pyade.testing.clock import FrozenClock
from pyade.testing.store_examples import (
    LEASED_WRITES,
    NOW,
    attempt_with,
    commit,
    event,
    example_token,
    fleet_of,
    serials_of,
)

THREADS = 8


class LeasePromises:
    """A lease excludes other workers until it expires or is released, and is never valid again."""

    shared: bool
    durable: bool

    def test_one_worker_at_a_time(self, store: Store) -> None:
        """The error names the holder and the expiry; a second worker gets the lease after the release."""
        first = store.acquire_lease("hq", "worker-1", seconds=60)
        assert first == Lease(
            token_name="hq", owner="worker-1", fence=first.fence, expires_at=NOW + timedelta(seconds=60)
        )
        with pytest.raises(LeaseHeldError) as caught:
            store.acquire_lease("hq", "worker-2")
        assert (caught.value.owner, caught.value.expires_at) == ("worker-1", first.expires_at)
        store.release_lease(first)
        assert store.acquire_lease("hq", "worker-2").fence > first.fence

    def test_lease_holder_can_be_read(self, store: Store, clock: FrozenClock) -> None:
        """Reading acquires no lease, and returns the remaining time, which no clock difference affects."""
        assert store.held_lease("hq") is None
        lease = store.acquire_lease("hq", "worker-1", seconds=60)
        clock.advance(20)
        assert store.held_lease("hq") == LeaseHolder(owner="worker-1", remaining=timedelta(seconds=40))
        with pytest.raises(LeaseHeldError) as caught:
            store.acquire_lease("hq", "worker-2")
        assert caught.value.remaining_s == 40
        store.release_lease(lease)
        assert store.held_lease("hq") is None
        store.acquire_lease("hq", "worker-1", seconds=60)
        clock.advance(60)
        assert store.held_lease("hq") is None

    def test_tokens_have_leases_of_their_own(self, store: Store) -> None:
        """A lease on one token neither blocks another token nor allows to write for it."""
        store.add_token(example_token("other"))
        mine = store.acquire_lease("hq", "worker-1")
        theirs = store.acquire_lease("other", "worker-2")
        assert mine.fence != theirs.fence
        with pytest.raises(LeaseLostError):
            store.save_sync_state("other", SyncState(), lease=mine)
        store.save_sync_state("other", SyncState(), lease=theirs)

    def test_lease_ends_by_itself(self, store: Store, clock: FrozenClock) -> None:
        """After the expiry the next worker gets the lease, and the former holder cannot write."""
        lost = store.acquire_lease("hq", "worker-1", seconds=60)
        clock.advance(59.999)
        with pytest.raises(LeaseHeldError):
            store.acquire_lease("hq", "worker-2")
        clock.advance(0.001)
        current = store.acquire_lease("hq", "worker-2")
        assert current.fence > lost.fence
        with pytest.raises(LeaseLostError):
            store.renew_lease(lost)
        store.release_lease(lost)
        with pytest.raises(LeaseHeldError):
            store.acquire_lease("hq", "worker-1")
        store.save_sync_state("hq", SyncState(), lease=current)

    def test_expired_lease_is_lost_even_if_no_other_worker_acquired_it(
        self, store: Store, clock: FrozenClock
    ) -> None:
        """An expired lease can neither be renewed nor used."""
        lease = store.acquire_lease("hq", "worker-1", seconds=60)
        clock.advance(60)
        with pytest.raises(LeaseLostError):
            store.renew_lease(lease)
        with pytest.raises(LeaseLostError):
            store.save_sync_state("hq", SyncState(), lease=lease)
        assert store.acquire_lease("hq", "worker-1").fence > lease.fence

    def test_renewal_prolongs_the_lease(self, store: Store, clock: FrozenClock) -> None:
        """A renewal counts from now and keeps the fence; the older lease object stays valid too."""
        lease = store.acquire_lease("hq", "worker-1", seconds=60)
        clock.advance(40)
        renewed = store.renew_lease(lease, seconds=30)
        assert renewed == attrs.evolve(lease, expires_at=NOW + timedelta(seconds=70))
        clock.advance(29)
        store.save_sync_state("hq", SyncState(), lease=lease)
        clock.advance(1)
        with pytest.raises(LeaseLostError):
            store.renew_lease(renewed)

    def test_same_owner_replaces_its_lease(self, store: Store) -> None:
        """A restarted worker gets its lease without waiting, and its former lease is lost."""
        former = store.acquire_lease("hq", "worker-1")
        current = store.acquire_lease("hq", "worker-1")
        assert current.fence > former.fence
        with pytest.raises(LeaseLostError):
            store.save_sync_state("hq", SyncState(), lease=former)
        store.save_sync_state("hq", SyncState(), lease=current)

    @pytest.mark.parametrize("write", LEASED_WRITES.values(), ids=LEASED_WRITES.keys())
    def test_write_with_a_lost_lease_writes_nothing(
        self, store: Store, clock: FrozenClock, write: Callable[[Store, Lease], object]
    ) -> None:
        """Each write of a run first checks its lease, in the transaction of the write."""
        commit(store, *fleet_of(2), source=Source.FETCH, full_sync=1, listing_since=NOW)
        lost = store.acquire_lease("hq", "worker-1", seconds=60)
        clock.advance(60)
        store.acquire_lease("hq", "worker-2", seconds=60)
        before = _stored_data(store)
        with pytest.raises(LeaseLostError):
            write(store, lost)
        assert _stored_data(store) == before

    @pytest.mark.parametrize("write", LEASED_WRITES.values(), ids=LEASED_WRITES.keys())
    def test_write_with_a_good_lease_is_made(
        self, store: Store, write: Callable[[Store, Lease], object]
    ) -> None:
        """The holder of the lease can write."""
        commit(store, *fleet_of(2), source=Source.FETCH, full_sync=1, listing_since=NOW)
        lease = store.acquire_lease("hq", "worker-1")
        before = _stored_data(store)
        write(store, lease)
        assert _stored_data(store) != before

    def test_lost_lease_is_reported_before_a_conflict(self, store: Store) -> None:
        """A worker that lost the lease must stop instead of retrying after a conflict."""
        lease = store.acquire_lease("hq", "worker-1")
        store.release_lease(lease)
        commit(store, *fleet_of(1))
        with pytest.raises(LeaseLostError):
            store.commit_page("hq", fleet_of(2), source=Source.SYNC, state=SyncState(), now=NOW, lease=lease)

    @pytest.mark.parametrize("seconds", [0, -1, 601, float("nan"), float("inf")])
    def test_duration_has_limits(self, store: Store, seconds: float) -> None:
        """A lease lasts more than 0 and at most 600 seconds."""
        with pytest.raises(StoreError, match="600"):
            store.acquire_lease("hq", "worker-1", seconds=seconds)
        lease = store.acquire_lease("hq", "worker-1", seconds=600)
        with pytest.raises(StoreError, match="600"):
            store.renew_lease(lease, seconds=seconds)

    def test_clock_that_was_set_back_blocks_no_worker(self, store: Store, clock: FrozenClock) -> None:
        """A lease with an impossibly late expiry was acquired before the clock was set back, and is void."""
        lost = store.acquire_lease("hq", "worker-1", seconds=60)
        clock.advance(days=-1)
        current = store.acquire_lease("hq", "worker-2")
        with pytest.raises(LeaseLostError):
            store.renew_lease(lost)
        store.save_sync_state("hq", SyncState(), lease=current)

    def test_lease_ends_with_its_token(self, store: Store) -> None:
        """A later token of the same name does not inherit the lease, and fences keep increasing."""
        lost = store.acquire_lease("hq", "worker-1")
        store.remove_token("hq", now=NOW)
        store.release_lease(lost)
        with pytest.raises(UnknownTokenError):
            store.renew_lease(lost)
        store.add_token(example_token())
        with pytest.raises(LeaseLostError):
            store.save_sync_state("hq", SyncState(), lease=lost)
        assert store.acquire_lease("hq", "worker-2").fence > lost.fence

    def test_replaced_token_keeps_its_lease(self, store: Store) -> None:
        """Renewing a token does not release its lease."""
        lease = store.acquire_lease("hq", "worker-1")
        store.replace_token(example_token())
        store.save_sync_state("hq", SyncState(), lease=lease)

    def test_lease_counts_in_every_store_of_the_same_data(self, make_store: Callable[[], Store]) -> None:
        """Stores that share data share one lease per token, also after one of them was closed."""
        if not self.shared:
            pytest.skip("this store is not shared")
        with make_store() as one:
            one.add_token(example_token())
            with make_store() as other:
                lease = other.acquire_lease("hq", "worker-1")
                with pytest.raises(LeaseHeldError):
                    one.acquire_lease("hq", "worker-2")
            with pytest.raises(LeaseHeldError):
                one.acquire_lease("hq", "worker-2")
            one.save_sync_state("hq", SyncState(), lease=lease)

    def test_fences_keep_increasing_after_a_restart(self, make_store: Callable[[], Store]) -> None:
        """A reopened store never issues a fence again, even if the lease was released."""
        if not self.durable:
            pytest.skip("this store is not durable")
        with make_store() as store:
            store.add_token(example_token())
            lost = store.acquire_lease("hq", "worker-1")
            store.release_lease(lost)
        with make_store() as store:
            assert store.acquire_lease("hq", "worker-1").fence > lost.fence
            with pytest.raises(LeaseLostError):
                store.save_sync_state("hq", SyncState(), lease=lost)

    def test_threads_share_a_lease_one_after_the_other(self, store: Store) -> None:
        """Of eight threads with the same token one works at a time, and each gets its turn."""
        start, working, rounds = threading.Barrier(THREADS), threading.Lock(), 3
        fences: list[int] = []

        def work(number: int) -> None:
            start.wait()
            for turn in range(rounds):
                lease = acquire_until_it_succeeds(store, f"worker-{number}")
                try:
                    assert working.acquire(blocking=False), "two workers hold the lease"
                    fences.append(lease.fence)
                    state = store.sync_state("hq")
                    page = [Device(serial_number=f"{number}-{turn}")]
                    store.commit_page("hq", page, source=Source.SYNC, state=state, now=NOW, lease=lease)
                    working.release()
                finally:  # else the others would wait for ever: the clock does not move
                    store.release_lease(lease)

        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(work, number) for number in range(THREADS)]:
                done.result()
        assert fences == sorted(set(fences))
        assert len(serials_of(store)) == store.sync_state("hq").revision == THREADS * rounds

    def test_threads_that_lost_their_lease_write_nothing(self, store: Store, clock: FrozenClock) -> None:
        """Seven threads with expired leases write nothing while the current holder writes."""
        lost = []
        for number in range(THREADS - 1):
            lost.append(store.acquire_lease("hq", f"worker-{number}", seconds=1))
            clock.advance(1)
        held = store.acquire_lease("hq", "holder")
        start = threading.Barrier(THREADS)

        def write(lease: Lease) -> int:
            start.wait()
            written = 0
            for number in range(5):
                page = [event(f"{lease.owner}-{number}", OpType.ADDED, number)]
                try:
                    state = store.sync_state("hq")
                    store.commit_page("hq", page, source=Source.SYNC, state=state, now=NOW, lease=lease)
                except LeaseLostError:
                    continue
                written += 1
            return written

        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(write, [*lost, held])) == [0] * (THREADS - 1) + [5]
        assert serials_of(store) == [f"holder-{number}" for number in range(5)]

    def test_attempts_and_profiles_of_the_holder_are_kept(self, store: Store) -> None:
        """Writes under a lease stay after the lease ends."""
        commit(store, *fleet_of(1))
        lease = store.acquire_lease("hq", "worker-1")
        attempt = attempt_with(DeviceResult.SUCCESS)
        store.record_attempts("hq", {"C02000000": attempt}, now=NOW, lease=lease)
        store.release_lease(lease)
        record = store.device("hq", "C02000000")
        assert record is not None
        assert record.attempt == attempt


def acquire_until_it_succeeds(store: Store, owner: str) -> Lease:
    """Return the lease of ``hq`` as soon as it is free."""
    while True:
        try:
            return store.acquire_lease("hq", owner)
        except LeaseHeldError:
            continue


def _stored_data(store: Store) -> tuple[object, ...]:
    return store.sync_state("hq"), list(store.devices("hq", released=None)), store.profiles("hq")
