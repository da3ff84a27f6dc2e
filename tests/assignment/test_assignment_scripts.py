"""Random scripts of faults around assignments, checked against the fake Apple's own state.

After each run every Mac that the store knows and Apple lists is assigned, or waits with a time, or is at risk
with a reason; after the faults, every Mac gets its selected profile.

``PYADE_ASSIGNMENT_SCRIPTS`` is the number of scripts; ``PYADE_FAULT_SEED`` is the first seed, to repeat a
failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import attrs
import httpx
import pytest
from tests.sync.interceptor import Answer, Interceptor, failing_definition_of, failing_for, server_error

from pyade.assignment import AssignmentPolicy, AssignReport, Rule, risks
from pyade.core.fleet.assignment import waits_until
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PyadeError
from pyade.operations import doctor, overview
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

SCRIPTS = int(os.environ.get("PYADE_ASSIGNMENT_SCRIPTS", "2000"))
FIRST_SEED = int(os.environ.get("PYADE_FAULT_SEED", "0"))
FAST = 40
BATCHES = (0, *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(1, 9)))
URL = "https://mdm.contoso.example/enroll"
STANDARD, LAB, KIOSK = (EnrollmentProfile(name=name, url=URL) for name in ("Standard", "Lab", "Kiosk"))
POLICY = AssignmentPolicy([Rule(profile=LAB, asset_tag="LAB*")])
ASSIGN, DETAILS, DEFINE = "POST /profile/devices", "POST /devices", "POST /profile"


class _DiedError(BaseException):
    """The worker died, as far as the running code can see."""


def answers() -> dict[str, Callable[[], httpx.Response]]:
    return {
        "500": server_error,
        "400 of a profile": lambda: httpx.Response(400, text="LOCALE_INVALID"),
        "400 NOT_FOUND": lambda: httpx.Response(400, text="NOT_FOUND"),
        "404 PROFILE_NOT_FOUND": lambda: httpx.Response(404, text="PROFILE_NOT_FOUND"),
        "404 page": lambda: httpx.Response(404, html="<html>404</html>"),
        "403 page": lambda: httpx.Response(403, html="<html>403</html>"),
        "200 page": lambda: httpx.Response(200, html="<html>200</html>"),
    }


SINGLE: dict[str, Callable[[], Fault]] = {
    "lost before": lambda: Fault.dropped(effect=False),
    "lost after": lambda: Fault.dropped(effect=True),
    "500 after": lambda: Fault.server_error(effect=True),
    "502 page": lambda: Fault.html(502),
    "429": lambda: Fault.rate_limited(1_800),
    "terms": lambda: Fault.refused("T_C_NOT_SIGNED"),
    "unreachable": Fault.unreachable,
    "slow": lambda: Fault.slow(400),
    "cut": lambda: Fault.answered(body=b'{"devices": {"C'),
}


@attrs.define
class Script:
    """One script: a fleet, its selected profiles, and at least two faults."""

    world: World
    seed: int
    chance: Random = attrs.field(init=False)
    serials: list[str] = attrs.field(init=False)
    picked: set[str] = attrs.Factory(set)
    lasting: list[Answer] = attrs.Factory(list)
    faults: list[str] = attrs.Factory(list)
    losses: int = 0
    runs: int = 0
    report: AssignReport | None = None

    def __attrs_post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.serials = []
        self.new_macs(self.chance.randint(2, 9))

    def new_macs(self, count: int) -> None:
        for _ in range(count):
            tag: dict[str, Any] = {"asset_tag": "LAB-1"} if self.chance.random() < 0.3 else {}
            self.serials += self.world.apple.add_devices(1, server="hq", **tag)

    def intercept(self) -> Interceptor:
        def answer(request: httpx.Request, body: Any) -> httpx.Response | None:
            found = (one(request, body) for one in self.lasting)
            return next((response for response in found if response is not None), None)

        return Interceptor(self.world, answer)

    def play(self) -> None:
        for _ in range(self.chance.randint(2, 5)):
            self.portal()
            self.sync()
            for _ in range(self.chance.randint(1, 3)):
                self.fault()
            self.act()
            self.world.later(minutes=self.chance.choice([1, 10, 11, 60, 1_440, 1_441]))
            if self.chance.random() < 0.4:
                self.lasting.clear()
        while len(self.faults) < 2:
            self.fault()
            self.sync()
            self.act()
            self.world.later(minutes=15)

    def portal(self) -> None:
        self.world.later(seconds=1)
        if self.chance.random() < 0.3:
            self.new_macs(1)
        serial = self.chance.choice(self.serials)
        act = self.chance.random()
        if act < 0.3:
            self.world.apple.assign("hq", [serial])  # assigned again: removes the profile
        elif act < 0.4:
            self.world.apple.unassign([serial])
            self.world.apple.assign("hq", [serial])
            self.picked.discard(serial)
        elif act < 0.5:
            self.faults.append("profiles lost")
            self.world.apple.server("hq").profiles.clear()
            self.losses += 1
        self.world.later(seconds=1)

    def sync(self) -> None:
        """Bring the store up to date, so that a run decides on current data."""
        self.clear()
        for _ in range(3):
            if self.world.later(minutes=16).sync().is_complete:
                return
        raise AssertionError("the store is not in step with Apple")

    def clear(self) -> None:
        for endpoint in (ASSIGN, DETAILS, DEFINE, "DELETE /profile/devices", "GET /profile", "GET /session"):
            self.world.apple.script(endpoint)

    def fault(self) -> None:
        chance = self.chance
        kind = chance.choice(["serial", "profile", "swallow", "result", "single", "single", "details"])
        some = chance.sample(self.serials, k=chance.randint(1, min(3, len(self.serials))))
        name, answer = chance.choice(list(answers().items()))
        if kind == "serial":
            self.lasting.append(failing_for(some, answer))
        elif kind == "profile":
            self.lasting.append(failing_definition_of(chance.choice(["Standard", "Lab", "Kiosk"]), answer))
        elif kind == "swallow":
            name = chance.choice(["SUCCESS", "NOT_ACCESSIBLE"])
            self.lasting.append(self.ignoring(name, chance.randint(1, 3)))
        elif kind == "result":
            results = ["FAILED", "THROTTLED", "NOT_ACCESSIBLE", "NEW", None]
            self.world.apple.faults.device_result(some, chance.choice(results), times=chance.choice([1, 2]))
        else:
            name, make = chance.choice(list(SINGLE.items()))
            endpoint = DETAILS if kind == "details" else chance.choice([ASSIGN, DEFINE, "GET /session"])
            self.world.apple.script(endpoint, *[make() for _ in range(chance.choice([1, 5, 20]))])
        self.faults.append(f"{kind} {name}")

    def ignoring(self, word: str, times: int) -> Answer:
        left = [times]

        def handle(request: httpx.Request, body: Any) -> httpx.Response | None:
            if (request.method, request.url.path) != ("POST", "/profile/devices") or not left[0]:
                return None
            left[0] -= 1
            return httpx.Response(
                200,
                json={"profile_uuid": body["profile_uuid"], "devices": dict.fromkeys(body["devices"], word)},
            )

        return handle

    def act(self) -> None:
        intercept, chance = self.intercept(), self.chance.random()
        if chance < 0.15:
            self.faults.append("the worker died")
            self.die(intercept)
            if self.world.state.assigning_since is None:
                return  # it died before the first request: that was no run
        elif chance < 0.35:
            self.pick(intercept)
            return
        else:
            try:
                self.run(intercept)
            except PyadeError as error:
                self.report = error.report
        self.check()

    def pick(self, intercept: Interceptor) -> None:
        some = self.chance.sample(self.serials, k=1)
        try:
            intercept.assign(KIOSK, some)
        except PyadeError as error:
            # A profile that could not be defined is not remembered: the caller got an error.
            if error.report is None or not error.report.plan.total:
                return
        self.picked.update(some)

    def run(self, intercept: Interceptor) -> None:
        self.runs += 1
        report = intercept.run(policy=POLICY, default=STANDARD)
        assert report.total == len(self.world.listed())

    def die(self, intercept: Interceptor) -> None:
        def die(*_arguments: Any, **_named: Any) -> None:
            raise _DiedError

        with patch.object(type(self.world.store), "record_attempts", die):
            try:
                self.run(intercept)
            except (PyadeError, _DiedError):
                self.world.later(minutes=2)

    def check(self) -> None:
        """Check that each Mac is assigned at Apple, or waiting, or at risk with a reason."""
        store, now = self.world.store, self.world.clock()
        at_risk = {record.serial_number: risk for record, risk in risks(store, "hq", POLICY)}
        truth = self.world.at_apple()
        for record in store.devices("hq"):
            serial, attempt = record.serial_number, record.attempt
            if serial not in truth:
                continue
            waits = waits_until(record, now) is not None or (attempt is not None and attempt.is_unread)
            is_assigned = truth[serial][0] == "assigned"
            assert is_assigned or waits or serial in at_risk, (self.seed, self.faults, record)
        if at_risk:
            (shown,) = overview(store, now=now)
            # It does not know the rules: Macs that only a rule selects count as unselected.
            assert shown.at_risk >= len(at_risk)
            assert any(
                "would fail to enroll" in str(problem)
                for problem in doctor(store, clock=lambda: now).problems
            )

    def settle(self) -> None:
        """Without further faults every Mac ends with its profile."""
        self.lasting.clear()
        self.clear()
        self.world.apple.faults.device_result(self.serials, None, times=0)
        for _ in range(3):
            self.sync()
            self.world.later(hours=25)
            self.intercept().run(policy=POLICY, default=STANDARD)
        profiles = {one.profile_uuid: one.profile.name for one in self.world.store.profiles("hq")}
        names = {
            serial: profiles[uuid or ""] if status == "assigned" else status
            for serial, (status, uuid) in self.world.at_apple().items()
        }
        selected_profile = {serial: self.selected_profile(serial) for serial in self.serials}
        assert names == selected_profile, (self.seed, self.faults)
        assert self.world.state.assignment_errors == {}, (self.seed, self.faults)
        assert list(risks(self.world.store, "hq", POLICY)) == []
        assert self.intercept().run(policy=POLICY).plan.unread == ()

    def selected_profile(self, serial: str) -> str:
        if serial in self.picked:
            return "Kiosk"
        tag = self.world.record(serial).device.asset_tag or ""
        return "Lab" if tag.startswith("LAB") else "Standard"


def play(new_world: Callable[[], World], seed: int) -> None:
    script = Script(new_world(), seed)
    try:
        script.play()
        script.settle()
    except Exception as error:
        error.add_note(f"PYADE_FAULT_SEED={seed}: {script.faults}")
        raise
    assert len(script.faults) >= 2


@pytest.mark.parametrize("batch", BATCHES)
def test_no_mac_is_forgotten_after_any_fault(new_world: Callable[[], World], batch: int) -> None:
    if batch == 0:
        seeds = range(FIRST_SEED, FIRST_SEED + min(FAST, SCRIPTS))
    else:
        seeds = range(FIRST_SEED + FAST + batch - 1, FIRST_SEED + SCRIPTS, len(BATCHES) - 1)
    for seed in seeds:
        play(new_world, seed)
