"""Different profiles of one name are told in the report that notices it, and by doctor while it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pyade.assignment import Assigner, AssignReport, AsyncAssigner
from pyade.assignment.rules import AssignmentPolicy, Rule
from pyade.core.profile.accounts import AdministratorAccount
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.crypto import hash_password
from pyade.operations import doctor

if TYPE_CHECKING:
    from tests.worlds import World

URL = "https://mdm.contoso.example/enroll"
STD = EnrollmentProfile(name="Std", url=URL)
OTHER = attrs.evolve(STD, department="Lab")
ALL_LAB = AssignmentPolicy([Rule(profile=OTHER, asset_tag="LAB-*")])
NO_RULES = AssignmentPolicy()


def work(world: World, name: str, *args: Any, policy: AssignmentPolicy = NO_RULES) -> AssignReport:
    async def waiting(client: Any) -> AssignReport:
        assigner = AsyncAssigner(client, world.store, policy=policy, clock=world.clock)
        answer: AssignReport = await getattr(assigner, name)(*args)
        return answer

    def blocking(client: Any) -> AssignReport:
        assigner = Assigner(client, world.store, policy=policy, clock=world.clock)
        answer: AssignReport = getattr(assigner, name)(*args)
        return answer

    return world.do(blocking, waiting)


def told(report: AssignReport) -> list[str]:
    return [warning.value for warning in report.warnings if warning.setting == "name"]


def found(world: World) -> list[str]:
    problems = doctor(world.store, clock=world.clock).problems
    return [problem.value for problem in problems if problem.setting == "token hq.name"]


@pytest.fixture
def serials(world: World) -> tuple[str, ...]:
    serials = world.apple.add_devices(3, server="hq")
    assert world.sync().is_complete
    return serials


def test_the_default_and_a_rule(world: World, serials: tuple[str, ...]) -> None:
    """Also where no device follows one of them yet."""
    report = work(world, "run", STD, policy=ALL_LAB)
    assert told(report) == found(world) == ["Std"]
    assert "rule 'asset tag LAB-*' and the token's default" in str(report.warnings[0])
    assert "different profiles have this name" in str(report)
    named = AssignmentPolicy([Rule(profile=attrs.evolve(OTHER, name="Lab"), asset_tag="LAB-*")])
    assert told(work(world, "run", policy=named)) == found(world) == []


@pytest.mark.parametrize(
    "change",
    [
        {"user_affinity": UserAffinity.legacy()},
        {"administrator": AdministratorAccount("localadmin", password_hash=hash_password("correct horse"))},
        {"managed_user": "ada"},
    ],
)
def test_profiles_that_differ_only_in_what_apple_does_not_see(
    world: World, serials: tuple[str, ...], change: dict[str, Any]
) -> None:
    """Apple has one profile for both, so that all their Macs would get the settings of one."""
    rule = Rule(profile=attrs.evolve(STD, **change), asset_tag="LAB-*")
    assert told(work(world, "run", STD, policy=AssignmentPolicy([rule]))) == found(world) == ["Std"]


def test_two_rules(world: World, serials: tuple[str, ...]) -> None:
    rules = [
        Rule(profile=STD, asset_tag="A-*"),
        Rule(profile=attrs.evolve(OTHER, name="STD"), asset_tag="B-*"),
    ]
    assert told(work(world, "run", policy=AssignmentPolicy(rules))) == found(world) == ["Std"]


def test_the_default_and_a_picked_profile(world: World, serials: tuple[str, ...]) -> None:
    """Until the default is renamed, or the picked one is replaced."""
    assert told(work(world, "run", STD)) == []
    assert told(work(world, "assign", OTHER, serials[:1])) == found(world) == ["Std"]
    assert told(work(world, "run")) == found(world) == ["Std"]
    assert told(work(world, "replace", OTHER, attrs.evolve(OTHER, name="Lab"))) == []
    assert told(work(world, "run")) == found(world) == []


def test_a_renamed_default_ends_it_before_the_next_run(world: World, serials: tuple[str, ...]) -> None:
    assert told(work(world, "run", STD, policy=ALL_LAB)) == found(world) == ["Std"]
    world.store.set_default_profile("hq", attrs.evolve(STD, name="Standard"))
    assert found(world) == []


def test_two_picked_profiles(world: World, serials: tuple[str, ...]) -> None:
    work(world, "assign", STD, serials[:1])
    assert told(work(world, "assign", OTHER, serials[1:2])) == found(world) == ["Std"]
    assert told(work(world, "run")) == found(world) == ["Std"]
    assert told(work(world, "replace", OTHER, STD)) == []
    assert told(work(world, "run")) == found(world) == []
    assert told(work(world, "assign", OTHER, serials[:2])) == [], "the last of the other ones is moved"


def test_a_successor_has_the_name_of_what_it_follows(world: World, serials: tuple[str, ...]) -> None:
    """The default's, also while devices wait for it, and that of a picked one."""
    work(world, "run", STD)
    world.apple.faults.throttle(serials[:1], world.clock())
    assert told(work(world, "run", OTHER)) == found(world) == []
    assert told(work(world, "run")) == found(world) == []
    picked = attrs.evolve(STD, name="Picked")
    work(world, "assign", picked, serials[:1])
    work(world, "replace", picked, attrs.evolve(picked, department="New"))
    assert told(work(world, "run")) == found(world) == []


def test_equal_content_is_one_profile(world: World, serials: tuple[str, ...]) -> None:
    work(world, "run", STD, policy=AssignmentPolicy([Rule(profile=STD, asset_tag="x")]))
    assert told(work(world, "assign", STD, serials[:1])) == found(world) == []
    assert told(work(world, "run")) == []


def test_a_preview_tells_it_and_keeps_nothing(world: World, serials: tuple[str, ...]) -> None:
    plan: Any = work(world, "preview", STD, policy=ALL_LAB)
    assert told(plan) == ["Std"]
    assert not world.state.same_names
