"""When a lease is valid, who may take it, and the error for others."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.fleet.lease import Lease, check_free, check_held, expiry
from pyade.errors import LeaseHeldError, LeaseLostError, StoreError

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def lease(owner: str = "worker-1", fence: int = 7, *, seconds: float = 60) -> Lease:
    return Lease(token_name="hq", owner=owner, fence=fence, expires_at=NOW + timedelta(seconds=seconds))


@each(("seconds", "current"), [(-1, False), (0, False), (0.000001, True), (600, True), (600.000001, False)])
def test_lease_counts_until_it_ends_and_never_longer_than_one_may_last(seconds: float, current: bool) -> None:
    assert lease(seconds=seconds).is_current(NOW) is current


@each("stored", [None, lease(seconds=0), lease("me"), lease(seconds=9999)])
def test_free_lease_may_be_taken(stored: Lease | None) -> None:
    check_free(stored, "me", now=NOW)


def test_held_lease_says_by_whom_and_until_when() -> None:
    with pytest.raises(
        LeaseHeldError, match="'hq' is worked on by 'worker-1' until 2025-06-01T00:01:00"
    ) as caught:
        check_free(lease(), "me", now=NOW)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.owner, error.expires_at) == ("worker-1", NOW + timedelta(minutes=1))
    assert str(error) == str(caught.value)


def test_renewal_of_a_lease_counts_for_the_older_object() -> None:
    check_held(lease(seconds=300), lease(seconds=-60), now=NOW)


@each(
    ("stored", "reason"),
    [
        (None, "released or taken over"),
        (lease(fence=8), "taken over"),
        (lease(seconds=0), "ended at 2025-06-01"),
    ],
)
def test_lost_lease_says_how(stored: Lease | None, reason: str) -> None:
    with pytest.raises(LeaseLostError, match=reason):
        check_held(stored, lease(), now=NOW)


@given(seconds=st.floats())
def test_duration_is_bounded(seconds: float) -> None:
    if 0 < seconds <= 600:
        assert NOW <= expiry(seconds, now=NOW) <= NOW + timedelta(seconds=600)
    else:
        with pytest.raises(StoreError, match="600"):
            expiry(seconds, now=NOW)
