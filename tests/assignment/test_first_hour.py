"""What a caller forgot before an assignment is said in the plan and in the report, with the next step."""

from __future__ import annotations

from tests.worlds import World

from pyade.assignment import Assigner, AssignmentPlan, AssignmentPolicy, AsyncAssigner, Rule
from pyade.core.problems import Severity
from pyade.core.profile.profile import EnrollmentProfile

NOT_SYNCED = "devices: nothing is synced yet, so no device is known (call Syncer(apple, store).sync() first)"
NO_PROFILE = (
    "default: 2 Macs without a profile: no rule and no default gives one "
    "(call run(default=profile), or pass policy= with rules)"
)


def preview(
    world: World, default: EnrollmentProfile | None = None, policy: AssignmentPolicy | None = None
) -> AssignmentPlan:
    async def async_work(client: object) -> AssignmentPlan:
        assigner = AsyncAssigner(client, world.store, policy=policy, clock=world.clock)  # type: ignore[arg-type]
        return await assigner.preview(default)

    return world.do(
        lambda client: Assigner(client, world.store, policy=policy, clock=world.clock).preview(default),
        async_work,
    )


def test_before_the_first_sync_it_says_to_sync(world: World, profile: EnrollmentProfile) -> None:
    world.apple.add_devices(2, server="hq")
    for plan in (preview(world, profile), world.run(profile).plan):
        (warning,) = plan.warnings
        assert str(warning) == NOT_SYNCED
        assert warning.severity is Severity.WARNING
        assert f"warning: {NOT_SYNCED}" in str(plan)


def test_an_empty_fleet_that_was_synced_has_no_warning(world: World, profile: EnrollmentProfile) -> None:
    assert world.sync().is_complete
    assert preview(world, profile).warnings == ()
    assert world.run(profile).warnings == ()


def test_without_a_default_and_rules_it_says_how_to_give_a_profile(
    world: World, profile: EnrollmentProfile
) -> None:
    world.fleet(2)
    for plan in (preview(world), world.run().plan):
        assert list(map(str, plan.warnings)) == [NO_PROFILE]
    assert preview(world, profile).warnings == ()
    assert preview(world, policy=AssignmentPolicy([Rule(profile=profile, model="iMac")])).warnings == ()
