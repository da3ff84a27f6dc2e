"""The pytest suite that every ``EnrollmentStore`` must pass.

::

    class TestRedisEnrollments(EnrollmentContract):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda: RedisStore(...)
"""
# ruff: noqa: S101, S107 - a test suite; the name of a token is not a password

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from pyade.core.fleet.enrollment import (
    REPEAT_WINDOW,
    Enrollment,
    Installed,
    OneTime,
    OneTimeKind,
    Registration,
    digest_of,
)
from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.macos.identity import IdentityKind
from pyade.core.problems import Problem, Severity
from pyade.core.profile.accounts import User
from pyade.errors import StoreClosedError, StoreConflictError, StoreError, UnknownTokenError
from pyade.storage.protocol import EnrollmentStore
from pyade.testing.store_examples import NOW, example_token

SERIAL = "C02ENROLL001"
HOUR = timedelta(hours=1)
THREADS = 8


def example_enrollment(serial_number: str = SERIAL, **changes: Any) -> Enrollment:
    """Return an enrollment with every value set."""
    values: dict[str, Any] = {
        "serial_number": serial_number,
        "token_name": "hq",
        "udid": "564D6C7A-1111-2222-3333-444455556666",
        "product": "Mac14,2",
        "build": "23B74",
        "version": "14.1",
        "profile_name": "Standard Mac",
        "profile_uuid": "P1",
        "identity": IdentityKind.ACME,
        "installed": Installed(
            identity=IdentityKind.SCEP, product="Mac13,1", udid="X", build="21G115", version="12.6"
        ),
        "user": User(upn="ada@contoso.example", full_name="Ada"),
        "registration": Registration.PENDING,
        "registered_at": NOW,
        "issued_at": NOW,
        "recent_issues": (NOW - HOUR, NOW),
        "awaiting": {"phase": "awaiting", "outstanding": ["Wi-Fi"]},
        "problems": (Problem("product", "Mac99,1", "a model", "update pyade", Severity.WARNING),),
    }
    return Enrollment(**{**values, **changes})


def one_time(
    secret: str,
    *,
    kind: OneTimeKind = OneTimeKind.SCEP_CHALLENGE,
    serial_number: str = SERIAL,
    expires_at: datetime = NOW + HOUR,
) -> OneTime:
    """Return the stored record of *secret*."""
    return OneTime.of(
        kind, secret, serial_number=serial_number, expires_at=expires_at, value={"subject": ["O", "Contoso"]}
    )


def decided(token_name: str = "hq", serial_number: str = SERIAL) -> EventBatch:
    """Return an event batch with one enrollment decision."""
    group = EventGroup(EventKind.ENROLLMENT_DECIDED, (serial_number,), {"outcome": "enroll"})
    return EventBatch(token_name, NOW, (group,))


class EnrollmentContract:
    """Subclass it, override the fixture ``make_store``, and name the subclass ``Test...``.

    Attributes:
        durable: False if a store loses its data when it is closed.
    """

    durable: bool = True

    @pytest.fixture
    def make_store(self) -> Callable[[], EnrollmentStore]:
        """Return a function that opens a store: empty the first time, then with the same data."""
        raise NotImplementedError("override the fixture make_store")

    @pytest.fixture
    def store(self, make_store: Callable[[], EnrollmentStore]) -> Iterator[EnrollmentStore]:
        """Open a store that holds the token ``hq``."""
        with make_store() as store:
            store.add_token(example_token())
            yield store

    # Enrollments

    def test_enrollment_round_trip(self, store: EnrollmentStore) -> None:
        """An enrollment is read back with every value and its revision."""
        assert store.enrollment(SERIAL) is None
        saved = store.save_enrollment(example_enrollment())
        assert saved == attrs.evolve(example_enrollment(), revision=1)
        assert store.enrollment(SERIAL) == saved

    def test_enrollment_round_trip_without_optional_values(self, store: EnrollmentStore) -> None:
        """A value that is absent stays absent."""
        bare = example_enrollment(
            version="",
            profile_uuid=None,
            user=None,
            registered_at=None,
            recent_issues=(),
            awaiting=None,
            installed=None,
            problems=(),
        )
        assert store.save_enrollment(bare) == attrs.evolve(bare, revision=1)
        assert store.enrollment(SERIAL) == attrs.evolve(bare, revision=1)

    def test_secret_of_another_mac_is_refused(self, store: EnrollmentStore) -> None:
        """The same secret for two Macs is an error, and the first Mac keeps it."""
        store.save_enrollment(example_enrollment(), credential=one_time("same"), is_new=True)
        other = example_enrollment("C02ENROLL002")
        twin = one_time("same", serial_number="C02ENROLL002")
        with pytest.raises(StoreError):
            store.save_enrollment(other, credential=twin, is_new=True, events=decided())
        assert store.enrollment("C02ENROLL002") is None
        assert store.events() == ()
        assert len(store.one_times(SERIAL)) == 1

    def test_second_of_two_writers_gets_a_conflict(self, store: EnrollmentStore) -> None:
        """A write based on an older revision stores nothing, also no credential and no event."""
        first = store.save_enrollment(example_enrollment(), credential=one_time("kept"), is_new=True)
        second = store.save_enrollment(attrs.evolve(first, profile_name="Second"))
        for old in (first, example_enrollment()):
            with pytest.raises(StoreConflictError, match="revision"):
                store.save_enrollment(old, credential=one_time("lost"), is_new=True, events=decided())
        assert store.enrollment(SERIAL) == second
        assert [one.digest for one in store.one_times(SERIAL)] == [digest_of("kept")]
        assert not store.events()

    def test_enrollment_read_before_its_deletion_is_not_stored(self, store: EnrollmentStore) -> None:
        """The enrollment has a revision, and the store has none."""
        saved = store.save_enrollment(example_enrollment())
        store.delete_enrollment(SERIAL)
        with pytest.raises(StoreConflictError, match="revision 0, not 1"):
            store.save_enrollment(saved, credential=one_time("lost"), is_new=True, events=decided())
        assert store.enrollment(SERIAL) is None
        assert not store.events()
        assert not store.one_times(SERIAL)

    def test_new_profile_revokes_credentials_of_both_kinds_but_no_sign_in(
        self, store: EnrollmentStore
    ) -> None:
        """Only of this Mac; a change without a new profile revokes nothing."""
        for kind in OneTimeKind:
            store.save_one_time(one_time(f"of {kind}", kind=kind), now=NOW, keep=3)
        other = one_time("of another", serial_number="C02ENROLL002")
        store.save_one_time(other, now=NOW, keep=3)
        saved = store.save_enrollment(example_enrollment())
        assert len(store.one_times(SERIAL)) == len(OneTimeKind)
        store.save_enrollment(saved, is_new=True)
        assert [one.kind for one in store.one_times(SERIAL)] == [OneTimeKind.WEB_VIEW]
        assert store.one_times("C02ENROLL002") == (other,)

    def test_enrollments_come_by_serial_number_and_registration(self, store: EnrollmentStore) -> None:
        """All enrollments, or those with a pending registration; deleted ones are gone."""
        for number in range(1_200):
            pending = Registration.PENDING if number % 3 == 0 else Registration.COMPLETE
            store.save_enrollment(example_enrollment(f"S{number:04}", registration=pending))
        found = [one.serial_number for one in store.enrollments()]
        assert found == [f"S{number:04}" for number in range(1_200)]
        waiting = [one.serial_number for one in store.enrollments(registration=Registration.PENDING)]
        assert waiting == found[::3]
        for serial in waiting[1:]:
            store.delete_enrollment(serial)
        assert [one.serial_number for one in store.enrollments(registration=Registration.PENDING)] == [
            "S0000"
        ]
        store.delete_enrollment("unknown")

    def test_an_event_commits_with_its_enrollment(self, store: EnrollmentStore) -> None:
        """Event and enrollment are stored together; without the token neither is."""
        store.save_enrollment(example_enrollment(), events=decided())
        (happened,) = store.events()
        assert (happened.kind, happened.serial_number, happened.token_name) == (
            EventKind.ENROLLMENT_DECIDED, SERIAL, "hq",
        )  # fmt: skip
        with pytest.raises(UnknownTokenError):
            store.save_enrollment(example_enrollment("S2"), credential=one_time("x"), events=decided("gone"))
        assert store.enrollment("S2") is None
        assert not store.one_times(SERIAL)

    def test_audit_of_an_unknown_mac(self, store: EnrollmentStore) -> None:
        """A Mac without a token is audited too; a named token must exist."""
        store.add_audit(decided("", "UNKNOWN"))
        store.add_audit(decided())
        with pytest.raises(UnknownTokenError):
            store.add_audit(decided("gone"))
        with pytest.raises(StoreError, match="JSON"):
            store.add_audit(
                EventBatch("", NOW, (EventGroup(EventKind.ENROLLMENT_DECIDED, (None,), {"x": object()}),))
            )
        assert [(event.token_name, event.serial_number) for event in store.events()] == [
            ("", "UNKNOWN"), ("hq", SERIAL),
        ]  # fmt: skip

    # One-time secrets

    def test_secret_can_be_taken_once(self, store: EnrollmentStore) -> None:
        """The record is returned whole and once, only by its kind and digest."""
        kept = one_time("secret")
        store.save_one_time(kept, now=NOW, keep=3)
        assert store.take_one_time(OneTimeKind.WEB_VIEW, kept.digest, now=NOW) is None
        assert store.take_one_time(kept.kind, digest_of("another"), now=NOW) is None
        assert store.take_one_time(kept.kind, kept.digest, now=NOW) == kept
        assert store.take_one_time(kept.kind, kept.digest, now=NOW) is None

    def test_expired_secret_cannot_be_taken(self, store: EnrollmentStore) -> None:
        """An expired secret is invalid, even if the clock is set back afterwards."""
        kept = one_time("secret")
        store.save_one_time(kept, now=NOW, keep=3)
        assert store.take_one_time(kept.kind, kept.digest, now=NOW + HOUR) is None
        assert store.take_one_time(kept.kind, kept.digest, now=NOW) is None

    def test_redeemed_secret_is_returned_only_to_the_same_request(self, store: EnrollmentStore) -> None:
        """For two minutes, whatever its own expiry; other requests and ``one_times`` do not get it."""
        kept = one_time("secret", expires_at=NOW + timedelta(seconds=1))
        store.save_one_time(kept, now=NOW, keep=3)
        assert store.redeem_one_time(OneTimeKind.WEB_VIEW, kept.digest, by="one", now=NOW) is None
        assert store.redeem_one_time(kept.kind, digest_of("another"), by="one", now=NOW) is None
        assert store.redeem_one_time(kept.kind, kept.digest, by="one", now=NOW) == kept
        ends = NOW + REPEAT_WINDOW
        again = attrs.evolve(kept, redeemed_by="one", expires_at=ends)
        for now in (NOW, ends - timedelta(microseconds=1)):
            assert store.redeem_one_time(kept.kind, kept.digest, by="one", now=now) == again
            assert store.redeem_one_time(kept.kind, kept.digest, by="two", now=now) is None
        assert store.one_times(SERIAL) == ()
        assert store.one_times(SERIAL, redeemed=True) == (again,)
        assert store.redeem_one_time(kept.kind, kept.digest, by="one", now=ends) is None
        assert store.redeem_one_time(kept.kind, kept.digest, by="one", now=NOW) is None
        assert store.one_times(SERIAL, redeemed=True) == ()

    def test_redeemed_secret_cannot_be_taken_and_is_revoked(self, store: EnrollmentStore) -> None:
        """The next profile and the deletion revoke it; a new credential may have the same secret."""
        kept = one_time("serial", kind=OneTimeKind.ACME_CLIENT_IDENTIFIER)
        saved = store.save_enrollment(example_enrollment(), credential=kept, is_new=True)
        assert store.redeem_one_time(kept.kind, kept.digest, by="one", now=NOW) == kept
        saved = store.save_enrollment(saved, credential=kept, is_new=True)
        assert store.one_times(SERIAL) == (kept,)
        assert store.redeem_one_time(kept.kind, kept.digest, by="two", now=NOW) == kept
        assert store.take_one_time(kept.kind, kept.digest, now=NOW) is None
        store.save_enrollment(saved, credential=kept, is_new=True)
        store.redeem_one_time(kept.kind, kept.digest, by="three", now=NOW)
        store.delete_enrollment(SERIAL)
        assert store.redeem_one_time(kept.kind, kept.digest, by="three", now=NOW) is None

    def test_one_of_many_requests_redeems_a_secret(self, store: EnrollmentStore) -> None:
        """Threads of two requests for the same secret: one request gets it, each time it asks."""
        for number in range(10):
            kept = one_time(f"secret {number}")
            store.save_one_time(kept, now=NOW, keep=20)
            with ThreadPoolExecutor(THREADS) as pool:
                jobs = {
                    by: [
                        pool.submit(store.redeem_one_time, kept.kind, kept.digest, by=by, now=NOW)
                        for _ in range(THREADS // 2)
                    ]
                    for by in ("one", "two")
                }
                found = {by: [job.result() for job in given] for by, given in jobs.items()}
            (winner,) = (by for by, results in found.items() if any(results))
            assert all(found[winner])
            assert sum(one is not None and not one.redeemed_by for one in found[winner]) == 1

    def test_only_the_newest_secrets_of_a_mac_are_kept(self, store: EnrollmentStore) -> None:
        """For each kind; those of other Macs stay, and expired ones are removed."""
        store.save_one_time(one_time("old", serial_number="OTHER", expires_at=NOW + HOUR), now=NOW, keep=1)
        store.save_one_time(one_time("web", kind=OneTimeKind.WEB_VIEW), now=NOW, keep=1)
        for number in range(5):
            later = NOW + HOUR + timedelta(microseconds=number)
            store.save_one_time(one_time(f"secret {number}", expires_at=later), now=NOW, keep=3)
        left = [one.digest for one in store.one_times(SERIAL)]
        assert left == [digest_of(name) for name in ("web", "secret 2", "secret 3", "secret 4")]
        assert len(store.one_times("OTHER")) == 1
        store.save_one_time(one_time("new", expires_at=NOW + 3 * HOUR), now=NOW + 2 * HOUR, keep=3)
        assert [one.digest for one in store.one_times(SERIAL)] == [digest_of("new")]
        assert not store.one_times("OTHER")

    def test_new_profile_revokes_the_credentials_of_the_previous_one(self, store: EnrollmentStore) -> None:
        """Of both kinds and only of this Mac; a current sign-in continues."""
        other = store.save_enrollment(example_enrollment("OTHER"), is_new=True)
        assert other.revision == 1
        theirs = one_time("theirs", serial_number="OTHER")
        store.save_one_time(theirs, now=NOW, keep=1)
        store.save_one_time(one_time("web", kind=OneTimeKind.WEB_VIEW), now=NOW, keep=1)
        saved = store.save_enrollment(example_enrollment(), credential=one_time("first"), is_new=True)
        newer = one_time("newer", kind=OneTimeKind.ACME_CLIENT_IDENTIFIER)
        saved = store.save_enrollment(saved, credential=newer, is_new=True)
        assert {one.digest for one in store.one_times(SERIAL)} == {digest_of("web"), newer.digest}
        saved = store.save_enrollment(saved)
        assert len(store.one_times(SERIAL)) == 2
        store.save_enrollment(saved, is_new=True)
        assert {one.digest for one in store.one_times(SERIAL)} == {digest_of("web")}
        assert store.one_times("OTHER") == (theirs,)
        store.delete_enrollment(SERIAL)
        assert not store.one_times(SERIAL)

    def test_one_of_many_threads_takes_a_secret(self, store: EnrollmentStore) -> None:
        """Of threads that take the same secret concurrently one gets it."""
        for number in range(10):
            kept = one_time(f"secret {number}")
            store.save_one_time(kept, now=NOW, keep=20)
            with ThreadPoolExecutor(THREADS) as pool:
                jobs = [
                    pool.submit(store.take_one_time, kept.kind, kept.digest, now=NOW) for _ in range(THREADS)
                ]
                assert sum(job.result() is not None for job in jobs) == 1

    def test_one_of_many_threads_stores_the_first_profile(self, store: EnrollmentStore) -> None:
        """Of threads that store the first profile of a Mac one succeeds, with only its own credential."""

        def save(number: int) -> bool:
            try:
                store.save_enrollment(
                    example_enrollment(profile_name=f"Profile {number}"),
                    credential=one_time(f"secret {number}"),
                    is_new=True,
                    events=decided(),
                )
            except StoreConflictError:
                return False
            return True

        with ThreadPoolExecutor(THREADS) as pool:
            winners = [number for number, won in enumerate(pool.map(save, range(THREADS))) if won]
        (winner,) = winners
        stored = store.enrollment(SERIAL)
        assert stored is not None
        assert stored.profile_name == f"Profile {winner}"
        assert [one.digest for one in store.one_times(SERIAL)] == [digest_of(f"secret {winner}")]
        assert len(store.events()) == 1

    def test_enrollments_outlive_the_store(self, make_store: Callable[[], EnrollmentStore]) -> None:
        """All data is there after reopening; a closed store raises ``StoreClosedError``."""
        if not self.durable:
            pytest.skip("this store is not durable")
        with make_store() as store:
            store.save_enrollment(example_enrollment(), credential=one_time("kept"), is_new=True)
        with pytest.raises(StoreClosedError):
            store.enrollment(SERIAL)
        with make_store() as store:
            assert store.enrollment(SERIAL) == attrs.evolve(example_enrollment(), revision=1)
            assert store.take_one_time(OneTimeKind.SCEP_CHALLENGE, digest_of("kept"), now=NOW) is not None
