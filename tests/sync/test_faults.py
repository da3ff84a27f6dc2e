"""Random histories: after faults end, the store equals Apple, and every Mac has its profile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PyadeError
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

FETCH, SYNC, ASSIGN = "POST /server/devices", "POST /devices/sync", "POST /profile/devices"
FAULTS = {
    "lost before": Fault.dropped(effect=False),
    "lost after": Fault.dropped(effect=True),
    "unreachable": Fault.unreachable(),
    "500": Fault.server_error(),
    "500 after": Fault.server_error(effect=True),
    "429": Fault.rate_limited(30),
    "page of a gateway": Fault.html(),
    "empty": Fault.empty(),
    "cut short": Fault.answered(body=b'{"devices": [{"serial_nu'),
    "wrong types": Fault.answered(json={"devices": 7, "cursor": [], "more_to_follow": "no"}),
    "no cursor": Fault.answered(json={"devices": [], "cursor": "", "more_to_follow": True}),
    "terms": Fault.refused("T_C_NOT_SIGNED"),
    "denied": Fault.refused("ACCESS_DENIED"),
    "expired": Fault.refused("EXPIRED_CURSOR"),
    "invalid": Fault.refused("INVALID_CURSOR"),
    "same cursor": Fault.repeated_cursor(),
    "good": None,
}
ENDPOINTS = (FETCH, SYNC, ASSIGN, "POST /devices", "POST /profile", "DELETE /profile/devices", "GET /session")
PROFILES = tuple(
    EnrollmentProfile(name=name, url="https://mdm.contoso.example/enroll", department=name)
    for name in ("Standard", "Sales")
)

ACTIONS = st.one_of(
    st.tuples(
        st.just("fault"),
        st.sampled_from(ENDPOINTS),
        st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=6),
    ),
    st.tuples(st.just("result"), st.integers(0, 11), st.sampled_from(["FAILED", "THROTTLED", "NEW", None])),
    st.tuples(st.sampled_from(["unassign", "assign", "edit"]), st.integers(0, 11)),
    st.tuples(st.just("later"), st.sampled_from([1, 900, 3_600, 86_400, 604_800])),
    st.tuples(st.just("sync"), st.sampled_from(["", "full", "automatic"])),
    st.tuples(st.just("run"), st.sampled_from([0, 1])),
    st.tuples(st.just("pick"), st.integers(0, 11)),
)
LIMITS = {
    "full_sync_at": timedelta(days=7),
    "recovery_at": timedelta(hours=24),
    "run_at": timedelta(minutes=15),
}


class History:
    """Carries out a script, at Apple and in the store."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.picked: set[str] = set()
        self.starts: dict[str, list[datetime]] = {name: [] for name in LIMITS}
        world.page_size(3)
        self.serials = world.apple.add_devices(12, organization=world.apple.organization())
        world.apple.assign("hq", self.serials[:8])

    def record_run(self) -> None:
        """Record when full syncs, recoveries and runs began."""
        for name, starts in self.starts.items():
            at = getattr(self.world.state, name)
            if at is not None and at not in starts:
                starts.append(at)

    def fault(self, endpoint: str, names: list[str]) -> None:
        self.world.apple.script(endpoint, *[FAULTS[name] for name in names])

    def result(self, number: int, word: str | None) -> None:
        self.world.apple.faults.device_result([self.serials[number]], word)

    def unassign(self, number: int) -> None:
        if self.serials[number] in self.world.at_apple():
            self.world.apple.unassign([self.serials[number]])
            self.picked.discard(self.serials[number])

    def assign(self, number: int) -> None:
        self.world.apple.assign("hq", [self.serials[number]])

    def edit(self, number: int) -> None:
        self.world.apple.edit_device(self.serials[number], asset_tag=f"{self.world.clock():%s}")

    def later(self, seconds: int) -> None:
        self.world.later(seconds=seconds)

    def sync(self, how: str) -> None:
        self.world.sync(full=how == "full", automatic=how == "automatic")

    def run(self, number: int) -> None:
        report = self.world.run(PROFILES[number])
        assert report.total == len(self.world.listed())

    def pick(self, number: int) -> None:
        serial = self.serials[number]
        is_known = serial in self.world.listed() and serial in self.world.at_apple()
        try:
            self.world.assign(PROFILES[1], [serial])
        finally:
            if is_known and self.picked_uuids():
                self.picked.add(serial)

    def picked_uuids(self) -> set[str]:
        return {one.profile_uuid for one in self.world.store.profiles("hq") if one.individual}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, max_size=25))
def test_history_ends_with_store_and_apple_equal(
    new_world: Callable[[], World], script: list[tuple[Any, ...]]
) -> None:
    """Errors on the way are typed; after them, syncs and runs at allowed times settle everything."""
    world = new_world()
    history = History(world)
    for name, *arguments in script:
        try:
            getattr(history, name)(*arguments)
        except PyadeError:
            assert world.state.running_since is None
        history.record_run()
        # Operations of the same instant have no defined order.
        world.later(seconds=1)
    for endpoint in ENDPOINTS:
        world.apple.script(endpoint)
    world.apple.faults.device_result(history.serials, None, times=0)
    _in_step(world)
    for _ in range(3):
        world.later(hours=25).run(PROFILES[0])
        _in_step(world)
    assert all(status == "assigned" for status, _ in world.listed().values())
    listed = world.listed()
    assert all(listed[serial][1] in history.picked_uuids() for serial in history.picked)
    report = world.run()
    assert (report.plan.satisfied, report.results) == (len(world.listed()), {})
    for name, distance in LIMITS.items():
        assert all(b - a >= distance for a, b in pairwise(history.starts[name])), name


def _in_step(world: World) -> None:
    """Sync when it is allowed, at most three times, until nothing is left; then both sides are equal."""
    for _ in range(3):
        if world.later(hours=24).sync().is_complete:
            break
    assert world.listed() == world.at_apple()
