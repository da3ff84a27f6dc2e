"""Which profile a Mac may enroll with, and how often, with any clocks and devices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyade.core import Attempt, Device, EnrollmentProfile, ProfileStatus
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.records import Source
from pyade.core.macos.identity import IdentityKind
from pyade.core.profile.profile import DefinedProfile
from pyade.enrollment.admission import load_context, wait_of, with_issue
from pyade.enrollment.settings import EnrollmentLimits
from pyade.storage import MemoryStore
from pyade.testing.store_examples import example_token

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SERIAL = "C02EXAMPLE01"
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.example.com/enroll")
HOUR = timedelta(hours=1)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """Open a store that knows a token and the profile ``P1``."""
    with MemoryStore() as made:
        made.add_token(example_token())
        made.save_profile(
            "hq", DefinedProfile(profile_uuid="P1", profile=PROFILE, digest="d", defined_at=NOW)
        )
        yield made


def add(store: MemoryStore, device: Device) -> None:
    state = store.sync_state("hq")
    store.commit_page("hq", [device], source=Source.FETCH, state=state, now=NOW)


@pytest.mark.parametrize("uuid", ["P1", "p1"])
@pytest.mark.parametrize("status", [ProfileStatus.ASSIGNED, ProfileStatus.PUSHED, None])
def test_mac_enrolls_with_the_profile_that_apple_shows(
    store: MemoryStore, status: ProfileStatus | None, uuid: str
) -> None:
    """Also if its state is not known."""
    add(store, Device(serial_number=SERIAL, profile_uuid=uuid, profile_status=status))
    assert load_context(store, SERIAL).profile_uuid == "P1"


@pytest.mark.parametrize("status", [ProfileStatus.REMOVED, ProfileStatus.EMPTY])
def test_removed_profile_does_not_count(store: MemoryStore, status: ProfileStatus) -> None:
    """Apple still shows its id."""
    add(store, Device(serial_number=SERIAL, profile_uuid="P1", profile_status=status))
    assert "has no profile" in load_context(store, SERIAL).refusal


def test_profile_from_before_the_move_to_this_server_counts(store: MemoryStore) -> None:
    """The Mac is here, so it could fetch the profile."""
    device = Device(
        serial_number=SERIAL,
        profile_uuid="P1",
        profile_status=ProfileStatus.PUSHED,
        profile_assign_time=NOW - HOUR,
        device_assigned_date=NOW,
    )
    add(store, device)
    assert load_context(store, SERIAL).profile_uuid == "P1"


@pytest.mark.parametrize(("given_uuid", "shown"), [("P1", ProfileStatus.EMPTY), ("", ProfileStatus.ASSIGNED)])
def test_assignment_counts_before_apple_shows_the_profile(
    store: MemoryStore, given_uuid: str, shown: ProfileStatus
) -> None:
    """So does a removal."""
    add(store, Device(serial_number=SERIAL, profile_uuid="P1", profile_status=shown))
    attempt = Attempt(
        profile_uuid=given_uuid, result=DeviceResult.SUCCESS, attempted_at=NOW + HOUR, not_before=None
    )
    store.record_attempts("hq", {SERIAL: attempt}, now=NOW + HOUR)
    place = load_context(store, SERIAL)
    assert (place.profile_uuid or "") == given_uuid
    assert bool(place.refusal) is not bool(given_uuid)


def enrollment(*issues: datetime) -> Enrollment:
    return Enrollment(
        serial_number=SERIAL,
        token_name="hq",
        udid="U",
        product="Mac14,2",
        build="24E248",
        profile_name="Standard Mac",
        identity=IdentityKind.ACME,
        issued_at=NOW,
        recent_issues=issues,
    )


@given(
    limit=st.integers(1, 5),
    seconds=st.lists(st.integers(-30, 30), min_size=20, max_size=20),
)
def test_limit_applies_to_nodes_whose_clocks_differ(limit: int, seconds: list[int]) -> None:
    """And to overlapping requests: profiles that another request stored with a slightly later time count."""
    limits = EnrollmentLimits(profiles=limit)
    known = enrollment()
    given_profiles = 0
    for offset in seconds:
        now = NOW + timedelta(seconds=offset)
        if wait_of(known, limits, now) is None:
            given_profiles += 1
            known = attrs.evolve(known, recent_issues=with_issue(known, limits, now))
            assert known.recent_issues == tuple(sorted(known.recent_issues))
    assert given_profiles == limit


def test_clock_that_was_set_back_blocks_no_mac() -> None:
    """Times further ahead than the window do not count."""
    limits = EnrollmentLimits(profiles=1)
    assert wait_of(enrollment(NOW + HOUR), limits, NOW) is None
    assert with_issue(enrollment(NOW + HOUR), limits, NOW) == (NOW,)
    assert wait_of(enrollment(NOW), limits, NOW) == HOUR
    assert wait_of(enrollment(NOW), limits, NOW + HOUR) is None
