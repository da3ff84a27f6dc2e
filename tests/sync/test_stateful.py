"""Apple, a syncer, an assigner and an oracle, driven together in any order, with faults and kills."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pyade.core.fleet.events import EventKind
from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PyadeError
from pyade.sync import SyncOutcome
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

ENDPOINTS = (
    "POST /server/devices",
    "POST /devices/sync",
    "POST /profile/devices",
    "POST /devices",
    "POST /profile",
    "DELETE /profile/devices",
    "GET /session",
)
FAULTS = {
    "good": None,
    "lost before": Fault.dropped(effect=False),
    "lost after": Fault.dropped(effect=True),
    "slow": Fault.slow(400),
    "500 after": Fault.server_error(effect=True),
    "429": Fault.rate_limited(7_200),
    "gateway": Fault.html(),
    "cut short": Fault.answered(body=b'{"devices": [{"serial_number": "GHO'),
    "wrong types": Fault.answered(json={"devices": 7, "cursor": [], "more_to_follow": "no"}),
    "expired": Fault.refused("EXPIRED_CURSOR"),
    "invalid": Fault.refused("INVALID_CURSOR"),
    "terms": Fault.refused("T_C_NOT_SIGNED"),
    "same cursor": Fault.repeated_cursor(),
}
DEFAULT, PICKED = (
    EnrollmentProfile(name=name, url="https://mdm.contoso.example/enroll", department=name)
    for name in ("Standard", "Sales")
)
PRESENT = {EventKind.ADDED, EventKind.RETURNED, EventKind.RESTORED}
GONE = {EventKind.RELEASED, EventKind.DELETED, EventKind.PURGED}
LIMITS = {
    "full_sync_at": timedelta(days=7),
    "recovery_at": timedelta(hours=24),
    "run_at": timedelta(minutes=15),
}
NUMBERS = st.sampled_from([0, 0, 0, 1, 1, *range(2, 8)])
"""Most rules use the same device, so that its records interact."""
WILD = st.sampled_from(["2031-01-01T00:00:00Z", "1970-01-01T00:00:00Z", ""])
"""Impossible dates; "" means no date."""


class _KilledError(BaseException):
    """The process is killed, as far as the running code can see."""


class OrderMachine(RuleBasedStateMachine):
    """Apple's portal with its lists and changes, and a syncer.

    The oracle is ``owned``: what was done in the portal, without pages, cursors and events.

    ``unclear`` are devices whose state a sync of changes cannot know: Apple sent nothing about them, left
    them out (``hidden``), or they were deleted here. A complete full list settles them.

    After a run without an error the store equals Apple, whatever lists, changes, repeats and dates Apple
    sent, in whatever order.
    """

    def __init__(self, new_world: Callable[[], World]) -> None:
        super().__init__()
        self.world = new_world()
        self.world.page_size(2)
        self.world.policy = SyncPolicy(min_release_count=4)
        apple = self.world.apple
        self.serials = apple.add_devices(8, organization=apple.organization())
        self.owned: set[str] = set()
        self.unclear: set[str] = set()
        self.hidden: set[str] = set()
        self.picked: set[str] = set()
        self.starts: dict[str, list[datetime]] = {name: [] for name in LIMITS}

    # In the portal

    @rule(numbers=st.sets(NUMBERS, min_size=1))
    def assign_in_portal(self, numbers: set[int]) -> None:
        serials = [self.serials[number] for number in sorted(numbers)]
        self.world.apple.assign("hq", serials)
        self.owned.update(serials)

    @rule(number=NUMBERS, announce=st.booleans())
    def unassign_in_portal(self, number: int, announce: bool) -> None:
        serial = self.serials[number]
        if serial in self.owned:
            self.world.apple.unassign([serial], announce=announce)
            self.owned.discard(serial)
            self.picked.discard(serial)
            self.unclear |= set() if announce else {serial}

    @rule(number=NUMBERS)
    def edit_in_portal(self, number: int) -> None:
        self.world.apple.edit_device(self.serials[number], asset_tag=f"{self.world.clock()}")

    @rule(number=NUMBERS)
    def repeat_record(self, number: int) -> None:
        serial = self.serials[number]
        if any(operation.serial_number == serial for operation in self.world.apple.server("hq").operations):
            self.world.apple.faults.repeat_records([serial], "hq")

    @rule(number=NUMBERS, which=st.integers(0, 30), date=st.one_of(st.none(), st.none(), WILD))
    def repeat_old_record(self, number: int, which: int, date: str | None) -> None:
        """Repeat any earlier record, with its own date or another one."""
        operations = self.world.apple.server("hq").operations
        found = [one for one in operations if one.serial_number == self.serials[number]]
        if found:
            old = found[-1 - which % len(found)]
            operations.append(old if date is None else old._replace(op_date=date))

    @rule(number=NUMBERS, date=WILD, leaves=st.booleans())
    def send_change_with_impossible_date(self, number: int, date: str, leaves: bool) -> None:
        serial = self.serials[number]
        if serial not in self.owned:
            return
        if leaves:
            self.unassign_in_portal(number, announce=True)
        else:
            self.edit_in_portal(number)
        operations = self.world.apple.server("hq").operations
        operations[-1] = operations[-1]._replace(op_date=date)

    @rule(hours=st.sampled_from([0.25, 1, 24, 168]))
    def advance_time(self, hours: float) -> None:
        self.world.later(hours=hours)

    # Here

    @rule(
        hours=st.sampled_from([0, 0.25, 0.25, 1, 24, 168]),
        full=st.sampled_from([None, True, False]),
        automatic=st.booleans(),
        force=st.booleans(),
    )
    def sync(self, hours: float, full: bool | None, automatic: bool, force: bool) -> None:
        self.world.later(hours=hours)
        try:
            report = self.world.sync(full=full, automatic=automatic, force=force)
        except PyadeError:
            assert self.world.state.running_since is None
            return
        if report.outcome is SyncOutcome.RELEASE_HELD:
            # Announced devices are stored; devices removed without an event stay until the release is forced.
            assert self.owned - self.unclear <= set(self.world.listed())
            return
        if not report.is_complete:
            return
        if report.action in (SyncAction.FULL, SyncAction.RECOVERY) and not any(
            "without a last page" in note for note in report.notes
        ):
            self.unclear = set(self.hidden)
        listed, at_apple = self.world.listed(), self.world.at_apple()
        for serial in set(self.serials) - self.unclear:
            assert (serial in listed) == (serial in self.owned), serial
            assert listed.get(serial) == at_apple.get(serial), serial
            if serial in self.owned:
                tag = self.world.apple.device(serial).get("asset_tag")
                assert self.world.record(serial).device.asset_tag == tag

    # Invariants

    @invariant()
    def check_limits(self) -> None:
        for name, distance in LIMITS.items():
            starts, at = self.starts[name], getattr(self.world.state, name)
            if at is not None and at not in starts:
                starts.append(at)
            assert all(b - a >= distance for a, b in pairwise(starts)), name

    @invariant()
    def events_match_the_store(self) -> None:
        events = self.world.store.events(limit=100_000)
        assert len({event.id for event in events}) == len(events)
        present: set[str] = set()
        for event in events:
            if event.serial_number is not None and event.kind in PRESENT:
                present.add(event.serial_number)
            elif event.serial_number is not None and event.kind in GONE:
                present.discard(event.serial_number)
        assert present == set(self.world.listed())

    @invariant()
    def separate_operations_by_a_second(self) -> None:
        """Operations of the same second have no defined order."""
        self.world.later(seconds=1)

    def teardown(self) -> None:
        """Both sides are equal in the end."""
        self.in_step()
        assert set(self.world.listed()) == self.owned
        self.events_match_the_store()

    def in_step(self) -> None:
        for _ in range(2):
            for _ in range(4):
                if self.world.later(days=7).sync(full=True, force=True).is_complete:
                    break
        assert self.world.listed() == self.world.at_apple()


class FleetMachine(OrderMachine):
    """Adds faults of each kind, an assigner, and kills."""

    @rule(numbers=st.sets(NUMBERS, max_size=3))
    def hide_devices_from_changes(self, numbers: set[int]) -> None:
        hidden = {self.serials[number] for number in numbers}
        self.world.apple.faults.hide_from_sync(hidden, "hq")
        # Skipped changes may be lost for good, even when the device is shown again.
        self.unclear |= self.hidden | hidden
        self.hidden = hidden

    @rule(endpoint=st.sampled_from(ENDPOINTS), names=st.lists(st.sampled_from(sorted(FAULTS)), max_size=5))
    def script_fault(self, endpoint: str, names: list[str]) -> None:
        self.world.apple.script(endpoint, *[FAULTS[name] for name in names])

    @rule(number=NUMBERS, result=st.sampled_from(["FAILED", "THROTTLED", "NEW", None]))
    def script_device_result(self, number: int, result: str | None) -> None:
        self.world.apple.faults.device_result([self.serials[number]], result)

    @rule(after=st.integers(1, 3), full=st.booleans())
    def kill_sync(self, after: int, full: bool) -> None:
        pages = iter(range(1, 100))

        def kill() -> None:
            if next(pages) == after:
                raise _KilledError

        self.world.on_page = kill
        try:
            self.world.sync(full=full)
        except (PyadeError, _KilledError):
            assert self.world.state.running_since is None
        finally:
            self.world.on_page = lambda: None

    @rule()
    def run(self) -> None:
        try:
            report = self.world.run(DEFAULT)
        except PyadeError:
            return
        assert report.total == len(self.world.listed())

    @rule(number=NUMBERS)
    def pick(self, number: int) -> None:
        serial = self.serials[number]
        is_known = serial in self.world.listed() and serial in self.owned
        try:
            self.world.assign(PICKED, [serial])
        except PyadeError:
            return
        if is_known:
            self.picked.add(serial)

    @rule(number=NUMBERS)
    def delete_here(self, number: int) -> None:
        serial = self.serials[number]
        if self.world.store.device("hq", serial) is not None:
            self.world.store.delete_device("hq", serial, now=self.world.clock())
            self.unclear.add(serial)
            self.picked.discard(serial)

    def teardown(self) -> None:
        """Without further faults both sides become equal, and every Mac gets its profile."""
        for endpoint in ENDPOINTS:
            self.world.apple.script(endpoint)
        self.world.apple.faults.device_result(self.serials, None, times=0)
        self.world.apple.faults.hide_from_sync([], "hq")
        self.in_step()
        for _ in range(3):
            self.world.later(hours=25).run(DEFAULT)
            self.in_step()
        listed = self.world.listed()
        assert set(listed) == self.owned
        assert all(status == "assigned" for status, _ in listed.values())
        individual = {one.profile_uuid for one in self.world.store.profiles("hq") if one.individual}
        assert all(listed[serial][1] in individual for serial in self.picked)
        self.events_match_the_store()


@pytest.mark.hypothesis
@pytest.mark.parametrize("kind", [OrderMachine, FleetMachine])
def test_any_order_of_operations_ends_with_both_sides_equal(
    new_world: Callable[[], World], kind: type[OrderMachine]
) -> None:
    class Machine(kind):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            super().__init__(new_world)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
