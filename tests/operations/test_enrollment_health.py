"""The problems ``doctor`` reports about Macs that were given a profile: one per kind, as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest
from tests.enrollment.test_final_configuration import give_profile
from tests.operations.test_health import PROFILE, HealthWorld, only_problem

from pyade.core import AdministratorAccount, PrimaryAccount, User, UserAffinity
from pyade.core.problems import Problem, Severity
from pyade.crypto import hash_password
from pyade.enrollment import FinalConfiguration
from pyade.enrollment.final_configuration_state import problems_of
from pyade.operations import doctor
from pyade.storage import MemoryStore

HASH = hash_password("correct horse", salt=bytes(32), iterations=20_000)
ACCOUNTS = attrs.evolve(
    PROFILE,
    user_affinity=UserAffinity.modern("https://mdm.contoso.example/signin"),
    primary_account=PrimaryAccount("{{onPremisesSamAccountName}}", "{{username}}"),
    administrator=AdministratorAccount("localadmin", password_hash=HASH),
)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def world(request: pytest.FixtureRequest) -> Iterator[HealthWorld]:
    world = HealthWorld(kind=request.param)
    with world.store:
        yield world


def set_up_accounts(world: HealthWorld, serial: str, **user: Any) -> FinalConfiguration:
    """Let a Mac get as far as its AccountConfiguration."""
    enrollment = give_profile(
        world.store,
        ACCOUNTS,
        serial=serial,
        profile_uuid=None,
        user=User(upn="john@contoso.example", **user),
    )
    world.store.save_enrollment(attrs.evolve(enrollment, issued_at=world.clock()))
    final = FinalConfiguration(world.store, clock=world.clock)
    final.token_updated(serial, awaiting=True)
    final.work_left(serial, ())
    command = final.next_command(serial)
    assert command is not None
    final.answered(serial, command.command_uuid, "Acknowledged")
    return final


def release(final: FinalConfiguration, serial: str) -> None:
    command = final.next_command(serial)
    assert command is not None
    final.answered(serial, command.command_uuid, "Acknowledged")


def test_unusable_name_is_reported_once_for_all_its_macs(world: HealthWorld) -> None:
    """For 30 days after the last answer, or until the Mac enrolls again."""
    first, second, third = world.serials
    for serial in (first, second):
        release(set_up_accounts(world, serial, on_premises_account_name=f"contoso\\{serial}"), serial)
    release(set_up_accounts(world, third, on_premises_account_name="john"), third)
    problem = only_problem(world.diagnose(), "enrollments.primary_account.account_name")
    assert (problem.severity, problem.value) == (Severity.WARNING, ", ".join(sorted((first, second))))
    assert problem.allowed.startswith("2 Macs with values such as 'contoso\\")
    assert "the user's on_premises_account_name" in problem.fix
    assert "restrict_editing is off there" in problem.fix
    assert world.diagnose().is_healthy

    FinalConfiguration(world.store, clock=world.clock).authenticated(first)
    assert only_problem(world.diagnose(), "enrollments.primary_account.account_name").value == second
    world.clock.advance(days=29, hours=23)
    assert "enrollments" in str(world.diagnose(asks=False))
    world.clock.advance(hours=2)
    assert "enrollments" not in str(world.diagnose(asks=False))


def test_waiting_mac_is_reported_until_its_release(world: HealthWorld) -> None:
    """The problem names the Mac and what it waits for."""
    serial = world.serials[0]
    set_up_accounts(world, serial, on_premises_account_name="john")
    assert "enrollments" not in str(world.diagnose())
    world.clock.advance(days=40)
    problem = only_problem(world.diagnose(asks=False), "enrollments.await_final_configuration")
    assert problem.value == serial
    stored = world.store.enrollment(serial)
    assert stored is not None
    assert [one.setting for one in problems_of(stored, world.clock())] == ["await_final_configuration"]


def test_account_errors_of_a_mac_are_reported(world: HealthWorld) -> None:
    """Like the problems found before."""
    serial = world.serials[0]
    give_profile(world.store, ACCOUNTS, serial=serial, profile_uuid=None)
    final = FinalConfiguration(world.store, clock=world.clock)
    final.token_updated(serial, awaiting=True)
    final.work_left(serial, ())
    command = final.next_command(serial)
    assert command is not None
    final.answered(serial, command.command_uuid, "Error")
    assert (
        "1 Mac with the value 'Error'"
        in only_problem(world.diagnose(), "enrollments.AccountConfiguration").allowed
    )


def test_variable_that_the_caller_must_fill_is_a_reminder(world: HealthWorld) -> None:
    """For profiles in use, and in the profile's plan."""
    account = PrimaryAccount("{{managedDeviceName}}")
    world.default(user_affinity=UserAffinity.legacy(), primary_account=account)
    found = only_problem(world.diagnose(check_ws_trust=lambda: ""), "{{managedDeviceName}}")
    assert (found.severity, "device_name=" in found.fix) == (Severity.NOTE, True)
    profile = world.store.default_profile("hq")
    assert profile is not None
    assert "device_name" in profile.plan("15.4").row("primary_account.account_name").why
    assert "device_name" not in ACCOUNTS.plan("15.4").row("primary_account.account_name").why
    admin = AdministratorAccount("a-{{manageddevicename}}", password_hash=HASH)
    assert "device_name" in attrs.evolve(PROFILE, administrator=admin).plan("15.4").row("administrator").why
    world.default(administrator=admin)
    assert only_problem(world.diagnose(), "{{managedDeviceName}}").severity is Severity.NOTE


def test_unreadable_states_are_named_and_hide_no_others(world: HealthWorld) -> None:
    first, second, _ = world.serials
    set_up_accounts(world, second, on_premises_account_name="contoso\\John")
    broken = give_profile(world.store, ACCOUNTS, serial=first, profile_uuid=None)
    world.store.save_enrollment(attrs.evolve(broken, awaiting={"phase": "awaiting"}))
    diagnosis = world.diagnose()
    assert only_problem(diagnosis, "the final configuration of 1 Mac cannot be read").value == first
    assert only_problem(diagnosis, "enrollments.primary_account.account_name").value == second
    assert not diagnosis.is_healthy


def test_store_without_enrollments_is_checked_too() -> None:
    """Such a store lacks the device-facing side."""

    class Inventory:
        def __init__(self, store: MemoryStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            if name == "enrollments":
                raise AttributeError(name)
            return getattr(self._store, name)

    with MemoryStore() as store:
        inventory: Any = Inventory(store)
        assert "a server token is needed" in str(doctor(inventory))


def test_age_of_problems_counts_from_the_last_answer() -> None:
    """Not from when the profile was given."""
    world = HealthWorld(kind="sync")
    with world.store:
        serial = world.serials[0]
        final = set_up_accounts(world, serial, on_premises_account_name=" ")
        world.clock.advance(days=20)
        release(final, serial)
        world.clock.advance(days=20)
        stored = world.store.enrollment(serial)
        assert stored is not None
        assert len(problems_of(stored, world.clock())) == 1
        assert problems_of(stored, world.clock() + timedelta(days=10)) == ()
        assert problems_of(attrs.evolve(stored, awaiting=None), world.clock()) == ()


def test_problems_of_an_enrollment_are_reported_for_30_days(world: HealthWorld) -> None:
    """Such as an unknown model, whose Macs may get less than they support."""
    doubt = Problem("product", "", "a model that pyade knows", "update pyade", Severity.WARNING)
    for serial, product in zip(world.serials[:2], ("Mac99,1", "Mac99,2"), strict=True):
        enrollment = give_profile(world.store, PROFILE, serial=serial, profile_uuid=None)
        issued = attrs.evolve(
            enrollment, issued_at=world.clock(), problems=(attrs.evolve(doubt, value=product),)
        )
        world.store.save_enrollment(issued)
    problem = only_problem(world.diagnose(), "enrollments.product")
    assert problem.value == ", ".join(world.serials[:2])
    assert problem.allowed.startswith("2 Macs with values such as 'Mac99,1'")
    world.clock.advance(30 * 24 * 3600)
    assert not [one for one in world.diagnose(asks=False).problems if "enrollments" in one.setting]
