"""What ``doctor`` says of Macs that were given a profile: one problem per kind, as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest
from tests.enrollment.test_final_configuration import give_profile
from tests.operations.test_health import PROFILE, Ward, the

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
def ward(request: pytest.FixtureRequest) -> Iterator[Ward]:
    ward = Ward(kind=request.param)
    with ward.store:
        yield ward


def set_up(ward: Ward, serial: str, **user: Any) -> FinalConfiguration:
    """Let a Mac go as far as its AccountConfiguration."""
    enrollment = give_profile(
        ward.store,
        ACCOUNTS,
        serial=serial,
        profile_uuid=None,
        user=User(upn="john@contoso.example", **user),
    )
    ward.store.save_enrollment(attrs.evolve(enrollment, issued_at=ward.clock()))
    final = FinalConfiguration(ward.store, clock=ward.clock)
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


def test_a_name_that_is_unusable_is_told_once_for_all_macs_that_have_it(ward: Ward) -> None:
    """For 30 days after the last answer, or until the Mac enrolls anew."""
    first, second, third = ward.serials
    for serial in (first, second):
        release(set_up(ward, serial, on_premises_account_name=f"contoso\\{serial}"), serial)
    release(set_up(ward, third, on_premises_account_name="john"), third)
    problem = the(ward.look(), "enrollments.primary_account.account_name")
    assert (problem.severity, problem.value) == (Severity.WARNING, ", ".join(sorted((first, second))))
    assert problem.allowed.startswith("2 Macs with values such as 'contoso\\")
    assert "the user's on_premises_account_name" in problem.fix
    assert "restrict_editing is off there" in problem.fix
    assert ward.look().is_healthy

    FinalConfiguration(ward.store, clock=ward.clock).authenticated(first)
    assert the(ward.look(), "enrollments.primary_account.account_name").value == second
    ward.clock.advance(days=29, hours=23)
    assert "enrollments" in str(ward.look(asks=False))
    ward.clock.advance(hours=2)
    assert "enrollments" not in str(ward.look(asks=False))


def test_a_mac_that_still_waits_counts_for_ever(ward: Ward) -> None:
    """It is named until it is let go, with what it waits for."""
    serial = ward.serials[0]
    set_up(ward, serial, on_premises_account_name="john")
    assert "enrollments" not in str(ward.look())
    ward.clock.advance(days=40)
    problem = the(ward.look(asks=False), "enrollments.await_final_configuration")
    assert problem.value == serial
    stored = ward.store.enrollment(serial)
    assert stored is not None
    assert [one.setting for one in problems_of(stored, ward.clock())] == ["await_final_configuration"]


def test_what_a_mac_answers_against_its_accounts_is_told(ward: Ward) -> None:
    """As much as what was wrong before."""
    serial = ward.serials[0]
    give_profile(ward.store, ACCOUNTS, serial=serial, profile_uuid=None)
    final = FinalConfiguration(ward.store, clock=ward.clock)
    final.token_updated(serial, awaiting=True)
    final.work_left(serial, ())
    command = final.next_command(serial)
    assert command is not None
    final.answered(serial, command.command_uuid, "Error")
    assert "1 Mac with the value 'Error'" in the(ward.look(), "enrollments.AccountConfiguration").allowed


def test_a_variable_that_the_caller_has_to_fill_is_a_reminder(ward: Ward) -> None:
    """In use, and in the plan of the profile."""
    account = PrimaryAccount("{{managedDeviceName}}")
    ward.default(user_affinity=UserAffinity.legacy(), primary_account=account)
    found = the(ward.look(check_ws_trust=lambda: ""), "{{managedDeviceName}}")
    assert (found.severity, "device_name=" in found.fix) == (Severity.INFO, True)
    profile = ward.store.default_profile("hq")
    assert profile is not None
    assert "device_name" in profile.plan("15.4").row("primary_account.account_name").why
    assert "device_name" not in ACCOUNTS.plan("15.4").row("primary_account.account_name").why
    admin = AdministratorAccount("a-{{manageddevicename}}", password_hash=HASH)
    assert "device_name" in attrs.evolve(PROFILE, administrator=admin).plan("15.4").row("administrator").why
    ward.default(administrator=admin)
    assert the(ward.look(), "{{managedDeviceName}}").severity is Severity.INFO


def test_states_that_cannot_be_read_are_named_and_hide_no_others(ward: Ward) -> None:
    first, second, _ = ward.serials
    set_up(ward, second, on_premises_account_name="contoso\\John")
    broken = give_profile(ward.store, ACCOUNTS, serial=first, profile_uuid=None)
    ward.store.save_enrollment(attrs.evolve(broken, awaiting={"phase": "awaiting"}))
    diagnosis = ward.look()
    assert the(diagnosis, "the final configuration of 1 Mac cannot be read").value == first
    assert the(diagnosis, "enrollments.primary_account.account_name").value == second
    assert not diagnosis.is_healthy


def test_a_store_without_enrollments_is_looked_at_all_the_same() -> None:
    """The device-facing side is no part of such a store."""

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


def test_problems_count_from_the_last_word() -> None:
    """Not from when the profile was given."""
    ward = Ward(kind="sync")
    with ward.store:
        serial = ward.serials[0]
        final = set_up(ward, serial, on_premises_account_name=" ")
        ward.clock.advance(days=20)
        release(final, serial)
        ward.clock.advance(days=20)
        stored = ward.store.enrollment(serial)
        assert stored is not None
        assert len(problems_of(stored, ward.clock())) == 1
        assert problems_of(stored, ward.clock() + timedelta(days=10)) == ()
        assert problems_of(attrs.evolve(stored, awaiting=None), ward.clock()) == ()


def test_what_was_doubtful_when_a_profile_was_given_is_told_for_30_days(ward: Ward) -> None:
    """Such as a model that is not known, whose Macs get less than they may be able to do."""
    doubt = Problem("product", "", "a model that pyade knows", "update pyade", Severity.WARNING)
    for serial, product in zip(ward.serials[:2], ("Mac99,1", "Mac99,2"), strict=True):
        enrollment = give_profile(ward.store, PROFILE, serial=serial, profile_uuid=None)
        issued = attrs.evolve(
            enrollment, issued_at=ward.clock(), problems=(attrs.evolve(doubt, value=product),)
        )
        ward.store.save_enrollment(issued)
    problem = the(ward.look(), "enrollments.product")
    assert problem.value == ", ".join(ward.serials[:2])
    assert problem.allowed.startswith("2 Macs with values such as 'Mac99,1'")
    ward.clock.advance(30 * 24 * 3600)
    assert not [one for one in ward.look(asks=False).problems if "enrollments" in one.setting]
