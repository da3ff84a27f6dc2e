"""The pytest suite that every ``Store`` must pass.

::

    class TestRedisStore(StoreContract):
        @pytest.fixture
        def make_store(self, tmp_path, clock):
            return lambda: RedisStore(..., clock=clock)

``clock`` is a ``FrozenClock`` that the suite moves; the store must use it for its leases.

A store that encrypts secrets must also pass ``pyade.testing.contract.encryption.EncryptionContract``.

``EnrollmentContract`` of ``pyade.testing.contract.enrollments`` is the suite for ``EnrollmentStore``. They
never sleep, read a real clock or use a network; pyade's pytest plugin lets a failed ``assert`` show its
values; with ``-p no:pyade``, put ``pytest.register_assert_rewrite("pyade.testing.contract")`` into your
``conftest.py``.
"""
# ruff: noqa: S101, S106 - a test suite; its secrets are made up

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import attrs
import pytest

from pyade.core.fleet.device import Device, DeviceResult, OpType
from pyade.core.fleet.records import Source, SyncPhase, SyncState
from pyade.core.secret import Secret
from pyade.errors import (
    DuplicateTokenError,
    StoreClosedError,
    StoreConflictError,
    TokenError,
    UnknownTokenError,
)
from pyade.storage.protocol import Store
from pyade.testing.clock import FrozenClock
from pyade.testing.contract.deletions import DeletionPromises, OwnershipPromises
from pyade.testing.contract.devices import AttemptPromises, FullSyncPromises, PagePromises, ReadingPromises
from pyade.testing.contract.events import EventPromises, SubscriberPromises
from pyade.testing.contract.leases import THREADS, LeasePromises
from pyade.testing.store_examples import (
    CALLS,
    NOW,
    attempt_with,
    commit,
    commit_until_it_succeeds,
    defined_profile,
    event,
    example_device,
    example_profile,
    example_token,
    fleet_of,
    record_of,
    serials_of,
)

__all__ = ["StoreContract"]


class StoreContract(
    PagePromises,
    FullSyncPromises,
    ReadingPromises,
    AttemptPromises,
    DeletionPromises,
    OwnershipPromises,
    LeasePromises,
    EventPromises,
    SubscriberPromises,
):
    """Subclass it, override the fixture ``make_store``, and name the subclass ``Test...``.

    Attributes:
        durable: False if a store loses its data when it is closed.
        shared: False if two open stores do not see each other's writes.
    """

    durable: bool = True
    shared: bool = True

    @pytest.fixture
    def clock(self) -> FrozenClock:
        """Return the clock for the leases of every store of the test; it starts at ``NOW``."""
        return FrozenClock(NOW)

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        """Return a function that opens a store: empty the first time, then with the same data.

        Request the fixture ``clock`` as well, and pass it to the store.
        """
        raise NotImplementedError("override the fixture make_store")

    @pytest.fixture
    def store(self, make_store: Callable[[], Store]) -> Iterator[Store]:
        """Open a store that holds the token ``hq``."""
        with make_store() as store:
            store.add_token(example_token())
            yield store

    # Tokens

    def test_new_store_is_empty(self, make_store: Callable[[], Store]) -> None:
        """A new store holds no tokens."""
        with make_store() as store:
            assert store.tokens() == ()

    def test_token_round_trip(self, store: Store) -> None:
        """A stored token is read back with every field."""
        assert store.token("hq") == example_token()

    def test_token_round_trip_without_optional_values(self, store: Store) -> None:
        """A value that is absent stays absent."""
        token = attrs.evolve(
            example_token("bare"),
            access_token_expiry=None,
            server_uuid=None,
            org_id=None,
            org_name=None,
            scope_tags=(),
        )
        store.add_token(token)
        assert store.token("bare") == token

    def test_tokens_are_sorted_by_name(self, store: Store) -> None:
        """``tokens`` returns all, by name."""
        for name in ("zürich", "aachen", "Zoo"):
            store.add_token(example_token(name))
        assert [token.name for token in store.tokens()] == ["Zoo", "aachen", "hq", "zürich"]

    def test_token_name_is_taken_once(self, store: Store) -> None:
        """A second token of the same name is refused without a change, and the error contains no secret."""
        other = attrs.evolve(example_token(), access_secret="other-secret")
        with pytest.raises(DuplicateTokenError) as caught:
            store.add_token(other)
        assert "-secret" not in str(caught.value)
        assert store.token("hq") == example_token()

    def test_replaced_token_keeps_what_belongs_to_it(self, store: Store) -> None:
        """A renewal keeps cursor, devices and profiles."""
        commit(store, example_device(), cursor="kept")
        store.save_profile("hq", defined_profile("A"))
        store.set_default_profile("hq", example_profile())
        renewed = attrs.evolve(example_token(), access_token="new-token", scope_tags=())
        store.replace_token(renewed)
        assert store.token("hq") == renewed
        assert store.sync_state("hq").cursor == "kept"
        assert serials_of(store) == ["C02FULL00001"]
        assert store.profiles("hq") == (defined_profile("A"),)
        assert store.default_profile("hq") == example_profile()

    def test_token_is_added_or_renewed(self, store: Store) -> None:
        """A new name is added; a token of an existing name is renewed and keeps its data, repeatedly.

        The scope tags of the new token replace the old ones, if it has any.
        """
        commit(store, example_device(), cursor="kept")
        fresh = attrs.evolve(example_token("new"), scope_tags=())
        assert store.add_or_renew_token(fresh) == store.token("new") == fresh
        later = attrs.evolve(
            example_token(),
            access_token="new-token",
            access_token_expiry=NOW + timedelta(days=700),
            server_uuid=None,
            scope_tags=(),
        )
        renewed = example_token().renew(later)
        assert renewed.scope_tags == example_token().scope_tags
        for _ in range(2):
            assert store.add_or_renew_token(later) == store.token("hq") == renewed
        assert store.add_or_renew_token(attrs.evolve(later, scope_tags={"APAC"})).scope_tags == {"APAC"}
        assert store.sync_state("hq").cursor == "kept"
        assert serials_of(store) == ["C02FULL00001"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"consumer_key": "CK_other", "server_uuid": None},
            {"server_uuid": "0" * 32},
            {"org_id": "7654321"},
            {"apple_id": "jo@contoso.com"},
            {"access_token_expiry": NOW},
        ],
        ids=["consumer_key", "server_uuid", "org_id", "apple_id", "access_token_expiry"],
    )
    def test_token_of_another_server_is_refused(self, store: Store, changes: dict[str, Any]) -> None:
        """A token of another server is refused with the name of the field, and stored with ``force``."""
        other = attrs.evolve(example_token(), access_token="other-token", **changes)
        with pytest.raises(TokenError, match=next(iter(changes))) as caught:
            store.add_or_renew_token(other)
        assert "other-token" not in str(caught.value)
        assert store.token("hq") == example_token()
        assert store.add_or_renew_token(other, force=True).access_token == other.access_token
        assert store.token("hq").access_token == other.access_token

    def test_threads_add_or_renew_one_token(self, store: Store) -> None:
        """Of several threads one adds and the others renew: the token that expires last stays."""
        start = threading.Barrier(THREADS)

        def work(number: int) -> None:
            token = attrs.evolve(
                example_token("new"),
                access_token_expiry=NOW + timedelta(days=number),
                access_token=f"{number}",
            )
            start.wait()
            with suppress(TokenError):  # older than the token that another thread stored
                store.add_or_renew_token(token)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        assert store.token("new").access_token == Secret(f"{THREADS - 1}")

    def test_token_that_was_renewed_meanwhile_is_not_replaced(self, store: Store) -> None:
        """A change of a token that was renewed since it was read is refused, so the renewal stays."""
        read = store.token("hq")
        store.replace_token(attrs.evolve(read, access_token="renewed"), instead_of=read)
        with pytest.raises(StoreConflictError, match="'hq'"):
            store.replace_token(attrs.evolve(read, org_name="Fabrikam"), instead_of=read)
        assert (store.token("hq").access_token.reveal(), store.token("hq").org_name) == (
            "renewed",
            read.org_name,
        )

    def test_removing_a_token_removes_all_its_data(self, store: Store) -> None:
        """A new token of the same name starts empty, and other tokens keep their data."""
        store.add_token(example_token("other"))
        for name in ("hq", "other"):
            commit(store, example_device(), name=name, cursor=f"cursor of {name}")
            store.save_profile(name, defined_profile("A"))
            store.set_default_profile(name, example_profile())
        store.remove_token("hq", now=NOW)
        store.add_token(example_token())
        assert store.sync_state("hq") == SyncState()
        assert store.device("hq", "C02FULL00001") is None
        assert serials_of(store, released=None) == []
        assert store.profiles("hq") == ()
        assert store.default_profile("hq") is None
        assert store.sync_state("other").cursor == "cursor of other"
        assert serials_of(store, "other") == ["C02FULL00001"]
        assert store.profiles("other") == (defined_profile("A"),)
        assert store.default_profile("other") == example_profile()

    def test_secrets_are_not_shown(self, store: Store) -> None:
        """The ``repr`` of a store contains no secret."""
        assert "access-secret" not in repr(store)

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
    def test_unknown_token_is_an_error(self, store: Store, call: Callable[[Store, str], object]) -> None:
        """Each call with the name of an unknown token raises ``UnknownTokenError``."""
        with pytest.raises(UnknownTokenError, match="unknown"):
            call(store, "unknown")

    # Sync state

    def test_sync_states_of_all_tokens(self, store: Store) -> None:
        """One read returns the state of every token, also of one that was never synced."""
        store.add_token(example_token("another"))
        saved = store.save_sync_state("hq", SyncState(cursor="c"))
        assert list(store.sync_states().items()) == [("another", SyncState()), ("hq", saved)]

    def test_sync_state_before_the_first_run(self, store: Store) -> None:
        """Before the first run the state is ``SyncState()``."""
        assert store.sync_state("hq") == SyncState()

    @pytest.mark.parametrize(
        "cursor", ["x" * 1000, "ö" * 5000, "", "quote'\"\\\n"], ids=["1000", "5000", "empty", "odd"]
    )
    def test_sync_state_round_trip(self, store: Store, cursor: str) -> None:
        """A state is read back with every field and the next revision, whatever the length of the cursor."""
        times = iter(NOW + timedelta(hours=hours) for hours in range(10))
        state = SyncState(
            phase=SyncPhase.SYNC,
            cursor=cursor,
            full_sync=7,
            full_sync_at=next(times),
            recovery_at=next(times),
            listing_since=next(times),
            run_at=next(times),
            running_since=next(times),
            continues=True,
            succeeded_at=next(times),
            last_error="Übertragung abgebrochen",
            repeats=3,
            unreadable=4,
        )
        stored = store.save_sync_state("hq", state)
        assert stored == attrs.evolve(state, revision=1)
        assert store.sync_state("hq") == stored

    def test_older_revision_is_refused(self, store: Store) -> None:
        """A writer whose state another one replaced gets ``StoreConflictError`` from every write."""
        commit(store, *fleet_of(1), cursor="first", full_sync=1, listing_since=NOW)
        old = SyncState(cursor="late", full_sync=2, listing_since=NOW)
        late = event("LATE", OpType.ADDED, 0)
        with pytest.raises(StoreConflictError):
            store.save_sync_state("hq", old)
        with pytest.raises(StoreConflictError):
            store.commit_page("hq", [late], source=Source.SYNC, state=old, now=NOW)
        with pytest.raises(StoreConflictError):
            store.finish_full_sync("hq", state=old, now=NOW)
        assert store.sync_state("hq").cursor == "first"
        assert serials_of(store, released=None) == ["C02000000"]

    # Profiles

    def test_profiles_round_trip_oldest_first(self, store: Store) -> None:
        """Profiles are read back with every field, ordered by the time of their definition."""
        profiles = (
            defined_profile("B", days=-1, individual=True),
            defined_profile("C"),
            defined_profile("A", days=0.5),
        )
        for profile in reversed(profiles):
            store.save_profile("hq", profile)
        assert store.profiles("hq") == profiles
        assert [store.defined_profile("hq", one.profile_uuid) for one in profiles] == list(profiles)
        assert store.defined_profile("hq", profiles[0].profile_uuid.lower()) is None

    def test_same_profile_uuid_replaces(self, store: Store) -> None:
        """Saving a profile again replaces it."""
        store.save_profile("hq", defined_profile("A"))
        store.save_profile("hq", defined_profile("A", days=1, individual=True))
        assert store.profiles("hq") == (defined_profile("A", days=1, individual=True),)

    def test_default_profile(self, store: Store) -> None:
        """There is no default profile before one is set and after it is removed."""
        assert store.default_profile("hq") is None
        store.set_default_profile("hq", example_profile())
        assert store.default_profile("hq") == example_profile()
        store.set_default_profile("hq", None)
        assert store.default_profile("hq") is None

    def test_profiles_belong_to_their_token(self, store: Store) -> None:
        """Each token has its own profiles."""
        store.add_token(example_token("other"))
        store.save_profile("hq", defined_profile("A"))
        store.set_default_profile("hq", example_profile())
        assert store.profiles("other") == ()
        assert store.default_profile("other") is None

    # Lifetime

    def test_closed_store_raises_an_error(self, store: Store) -> None:
        """Every call after ``close`` raises ``StoreClosedError``; closing again does nothing."""
        commit(store, *fleet_of(1))
        iteration = store.devices("hq")
        store.close()
        store.close()
        for call in CALLS.values():
            with pytest.raises(StoreClosedError):
                call(store, "hq")
        with pytest.raises(StoreClosedError):
            store.tokens()
        with pytest.raises(StoreClosedError):
            store.add_token(example_token("late"))
        with pytest.raises(StoreClosedError):
            store.add_or_renew_token(example_token())
        with pytest.raises(StoreClosedError):
            next(iteration)

    def test_reopened_store_holds_everything(self, make_store: Callable[[], Store]) -> None:
        """All data is there when the store is opened again."""
        if not self.durable:
            pytest.skip("this store is not durable")
        with make_store() as store:
            store.add_token(example_token())
            commit(store, example_device(), cursor="x" * 1000, full_sync=2)
            store.record_attempts("hq", {"C02FULL00001": attempt_with(DeviceResult.FAILED)}, now=NOW)
            store.save_profile("hq", defined_profile("A"))
            store.set_default_profile("hq", example_profile())
            state, record = store.sync_state("hq"), record_of(store, "C02FULL00001")
        with make_store() as store:
            assert store.tokens() == (example_token(),)
            assert store.sync_state("hq") == state
            assert list(store.devices("hq")) == [record]
            assert store.profiles("hq") == (defined_profile("A"),)
            assert store.default_profile("hq") == example_profile()

    def test_two_stores_share_their_data(self, make_store: Callable[[], Store]) -> None:
        """Each store sees the writes of the other, and the later writer gets a conflict."""
        if not self.shared:
            pytest.skip("this store is not shared")
        with make_store() as one, make_store() as other:
            one.add_token(example_token())
            state = other.sync_state("hq")
            commit(one, *fleet_of(1), cursor="one")
            with pytest.raises(StoreConflictError):
                other.commit_page("hq", fleet_of(2), source=Source.FETCH, state=state, now=NOW)
            assert serials_of(other) == ["C02000000"]
            commit(other, *fleet_of(3), cursor="other")
            assert one.sync_state("hq").cursor == "other"
            assert len(serials_of(one)) == 3

    def test_other_threads_may_use_the_store(self, store: Store) -> None:
        """A store that was opened in one thread works in another."""
        with ThreadPoolExecutor(1) as pool:
            pool.submit(commit, store, *fleet_of(600)).result()
            assert pool.submit(serials_of, store).result() == serials_of(store)

    def test_threads_do_not_lose_pages(self, store: Store) -> None:
        """Writers that retry after a conflict lose no page, and readers see only complete pages."""
        writers, pages, size = THREADS, 4, 20
        start = threading.Barrier(writers + 1)

        def write(writer: int) -> None:
            start.wait()
            for page in range(pages):
                devices = [Device(serial_number=f"W{writer}-{page}-{number}") for number in range(size)]
                commit_until_it_succeeds(store, devices)

        with ThreadPoolExecutor(writers) as pool:
            done = [pool.submit(write, writer) for writer in range(writers)]
            start.wait()
            while not all(future.done() for future in done):
                assert sum(store.count_devices("hq").values()) % size == 0
            for future in done:
                future.result()
        assert store.sync_state("hq").revision == writers * pages
        assert len(serials_of(store)) == writers * pages * size
