"""Different profiles with one name are reported by the run that finds them, and by ``doctor`` meanwhile."""

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
    async def async_work(client: Any) -> AssignReport:
        assigner = AsyncAssigner(client, world.store, policy=policy, clock=world.clock)
        answer: AssignReport = await getattr(assigner, name)(*args)
        return answer

    def sync_work(client: Any) -> AssignReport:
        assigner = Assigner(client, world.store, policy=policy, clock=world.clock)
        answer: AssignReport = getattr(assigner, name)(*args)
        return answer

    return world.do(sync_work, async_work)


def warned_names(report: AssignReport) -> list[str]:
    return [warning.value for warning in report.warnings if warning.setting == "name"]


def problem_names(world: World) -> list[str]:
    problems = doctor(world.store, clock=world.clock).problems
    return [problem.value for problem in problems if problem.setting == "token hq.name"]


@pytest.fixture
def serials(world: World) -> tuple[str, ...]:
    serials = world.apple.add_devices(3, server="hq")
    assert world.sync().is_complete
    return serials


def test_default_and_rule_with_one_name_are_reported(world: World, serials: tuple[str, ...]) -> None:
    """Also if no device follows one of them yet."""
    report = work(world, "run", STD, policy=ALL_LAB)
    assert warned_names(report) == problem_names(world) == ["Std"]
    assert "rule 'asset tag LAB-*' and the token's default" in str(report.warnings[0])
    assert "different profiles have this name" in str(report)
    named = AssignmentPolicy([Rule(profile=attrs.evolve(OTHER, name="Lab"), asset_tag="LAB-*")])
    assert warned_names(work(world, "run", policy=named)) == problem_names(world) == []


@pytest.mark.parametrize(
    "change",
    [
        {"user_affinity": UserAffinity.legacy()},
        {"administrator": AdministratorAccount("localadmin", password_hash=hash_password("correct horse"))},
        {"managed_user": "ada"},
    ],
)
def test_profiles_that_differ_only_in_local_settings_are_reported(
    world: World, serials: tuple[str, ...], change: dict[str, Any]
) -> None:
    """Apple has one profile for both, so that all their Macs would get the settings of one."""
    rule = Rule(profile=attrs.evolve(STD, **change), asset_tag="LAB-*")
    assert (
        warned_names(work(world, "run", STD, policy=AssignmentPolicy([rule])))
        == problem_names(world)
        == ["Std"]
    )


def test_two_rules_with_one_name_are_reported(world: World, serials: tuple[str, ...]) -> None:
    rules = [
        Rule(profile=STD, asset_tag="A-*"),
        Rule(profile=attrs.evolve(OTHER, name="STD"), asset_tag="B-*"),
    ]
    assert warned_names(work(world, "run", policy=AssignmentPolicy(rules))) == problem_names(world) == ["Std"]


def test_default_and_picked_profile_with_one_name_are_reported(
    world: World, serials: tuple[str, ...]
) -> None:
    """Until the default is renamed, or the picked profile is replaced."""
    assert warned_names(work(world, "run", STD)) == []
    assert warned_names(work(world, "assign", OTHER, serials[:1])) == problem_names(world) == ["Std"]
    assert warned_names(work(world, "run")) == problem_names(world) == ["Std"]
    assert warned_names(work(world, "replace", OTHER, attrs.evolve(OTHER, name="Lab"))) == []
    assert warned_names(work(world, "run")) == problem_names(world) == []


def test_renaming_the_default_removes_the_problem_before_the_next_run(
    world: World, serials: tuple[str, ...]
) -> None:
    assert warned_names(work(world, "run", STD, policy=ALL_LAB)) == problem_names(world) == ["Std"]
    world.store.set_default_profile("hq", attrs.evolve(STD, name="Standard"))
    assert problem_names(world) == []


def test_two_picked_profiles_with_one_name_are_reported(world: World, serials: tuple[str, ...]) -> None:
    work(world, "assign", STD, serials[:1])
    assert warned_names(work(world, "assign", OTHER, serials[1:2])) == problem_names(world) == ["Std"]
    assert warned_names(work(world, "run")) == problem_names(world) == ["Std"]
    assert warned_names(work(world, "replace", OTHER, STD)) == []
    assert warned_names(work(world, "run")) == problem_names(world) == []
    assert warned_names(work(world, "assign", OTHER, serials[:2])) == [], (
        "the last of the other ones is moved"
    )


def test_new_version_of_a_profile_may_keep_its_name(world: World, serials: tuple[str, ...]) -> None:
    """A new version of the default, also while devices wait for it, and of a picked profile."""
    work(world, "run", STD)
    world.apple.faults.throttle(serials[:1], world.clock())
    assert warned_names(work(world, "run", OTHER)) == problem_names(world) == []
    assert warned_names(work(world, "run")) == problem_names(world) == []
    picked = attrs.evolve(STD, name="Picked")
    work(world, "assign", picked, serials[:1])
    work(world, "replace", picked, attrs.evolve(picked, department="New"))
    assert warned_names(work(world, "run")) == problem_names(world) == []


def test_equal_content_counts_as_one_profile(world: World, serials: tuple[str, ...]) -> None:
    work(world, "run", STD, policy=AssignmentPolicy([Rule(profile=STD, asset_tag="x")]))
    assert warned_names(work(world, "assign", STD, serials[:1])) == problem_names(world) == []
    assert warned_names(work(world, "run")) == []


def test_preview_reports_the_names_and_stores_nothing(world: World, serials: tuple[str, ...]) -> None:
    plan: Any = work(world, "preview", STD, policy=ALL_LAB)
    assert warned_names(plan) == ["Std"]
    assert not world.state.same_names
