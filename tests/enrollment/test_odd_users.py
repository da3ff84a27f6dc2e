"""Users and hooks with unusual values: no Mac loses its accounts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.enrollment.conftest import ADA, LEGACY, MACHINE, MODERN, Organization
from tests.enrollment.test_final_configuration import (
    NOW,
    SERIAL,
    WITH_ACCOUNTS,
    begin,
    command_in,
    give_profile,
)

from pyade.core import AdministratorAccount, PrimaryAccount, User
from pyade.core.problems import Problem
from pyade.core.profile.accounts import NameVariables
from pyade.core.profile.setup_accounts import local_accounts
from pyade.crypto.signing import Signer
from pyade.enrollment import FinalConfiguration
from pyade.operations.health import enrollment_problems
from pyade.storage import MemoryStore, SQLiteStore
from pyade.testing import FrozenClock
from pyade.testing.mac import DeviceAuthority, DeviceIdentity
from pyade.testing.store_examples import example_token

LONG = "a" * 256


@pytest.mark.parametrize("way", ["web view", "password"])
@pytest.mark.parametrize(
    "names",
    [
        {"full_name": "Ada \ud83d"},
        {"on_premises_account_name": "\udc00ada"},
        {"full_name": LONG, "on_premises_account_name": "\ud800"},
    ],
)
def test_name_that_cannot_be_stored_does_not_stop_the_enrollment(
    organization: Organization, names: dict[str, str], way: str
) -> None:
    """It counts as not known: with a problem in the decision, the record, the event and doctor."""
    user = User(upn=ADA.upn, **names)  # type: ignore[arg-type]
    if way == "web view":
        organization.store.set_default_profile("hq", MODERN)
        organization.open()
        answer = organization.close(organization.identity.states[-1], user)
    else:
        organization.store.set_default_profile("hq", LEGACY)
        basic = "Basic " + base64.b64encode(b"ada:secret").decode()
        answer = organization.enroll(authorization=basic, authenticate=lambda name, password: user)
    assert answer.status == 200
    enrollment = organization.store.enrollment(MACHINE["SERIAL"])
    assert enrollment is not None
    assert enrollment.user == User(upn=ADA.upn)
    assert [one.setting for one in enrollment.problems] == [f"user.{name}" for name in names]
    assert answer.decision.problems == enrollment.problems
    event = organization.events()[-1]
    assert [str(one) for one in enrollment.problems] == event.details["problems"]
    assert isinstance(organization.store, MemoryStore)
    problems = enrollment_problems(organization.store, organization.clock())
    assert [one.setting for one in problems] == [f"enrollments.user.{name}" for name in names]


def test_name_that_cannot_be_stored_does_not_stop_the_enrollment_with_a_database(
    tmp_path: Path, authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer
) -> None:
    """The longest name that is kept is returned unchanged."""
    with SQLiteStore(tmp_path / "ade.db") as store:
        organization = Organization(kind="sync", authority=authority, mac=mac, signer=signer, store=store)
        store.set_default_profile("hq", MODERN)
        organization.open()
        user = User(upn=ADA.upn, full_name=LONG[1:], on_premises_account_name="ada\ud83d")
        assert organization.close(organization.identity.states[-1], user).status == 200
        enrollment = store.enrollment(MACHINE["SERIAL"])
        assert enrollment is not None
        assert enrollment.user == User(upn=ADA.upn, full_name=LONG[1:])
        [problem] = enrollment.problems
        assert problem.value == "ada\\ud83d"


def problems_after_time_limit(**hooks: Any) -> tuple[Problem, ...]:
    """Return the problems of a Mac whose accounts were made at the time limit, with failing hooks."""
    with MemoryStore() as store:
        store.add_token(example_token())
        clock = FrozenClock(NOW)
        profile = attrs.evolve(WITH_ACCOUNTS, administrator=AdministratorAccount("a-{{managedDeviceName}}"))
        give_profile(store, profile)
        final = FinalConfiguration(store, **{"device_name": "desk7", **hooks}, clock=clock)
        begin(final)
        while (command := final.next_command(SERIAL)) is None:
            clock.advance(minutes=1)
        assert command_in(command)["AutoSetupAdminAccounts"]
        return final.progress(SERIAL).problems


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("administrator", True, "what administrator returned is True: an AdministratorAccount, or None is"),
        ("administrator", "hunter2", "what administrator returned is a text"),
        ("device_name", True, "what device_name returned is True: a text is allowed"),
        ("device_name", b"hunter2", "what device_name returned is bytes: a text is allowed"),
        ("variables", 5, "NameVariables: values is 5: a mapping"),
        ("variables", {"displayName": "hunter2"}, "values: 'displayName' is no variable: use partialupn,"),
    ],
)
def test_hook_result_of_another_type_is_reported_with_the_allowed_ones(
    name: str, answer: Any, words: str
) -> None:
    """The report does not only say that the hook failed, which it did not; a returned text is not shown."""
    found = problems_after_time_limit(**{name: lambda _: answer})
    assert found[0].setting == name
    assert found[0].allowed.startswith(words)
    assert "hunter2" not in str(found)


def test_problem_of_a_value_from_the_caller_names_the_caller() -> None:
    """Not the user, whose values are correct."""
    [problem] = problems_after_time_limit(variables=lambda _: {"partialUPN": "o'hara"})
    assert problem.fix.startswith("correct what variables returns; ")


@pytest.mark.parametrize("size", [80, 244, 300])
def test_final_name_of_an_administrator_is_shown_in_full(size: int) -> None:
    """However long the unusable name was: the administrator logs in with the final name."""
    profile = attrs.evolve(
        WITH_ACCOUNTS, administrator=AdministratorAccount("{{managedDeviceName}}" + "x" * 90)
    )
    names = NameVariables(user=ADA, serial_number=SERIAL, device_name=":" * size)
    accounts = local_accounts(profile, names)
    assert accounts.administrator is not None
    name = accounts.administrator.short_name
    assert name == SERIAL + "x" * 90
    [problem] = accounts.problems
    assert problem.value.endswith(f", sent as {name}")


def test_administrator_is_not_managed_instead_of_a_user_with_the_same_name() -> None:
    """The user takes another name, and the account that Setup Assistant makes with it is managed."""
    profile = attrs.evolve(
        WITH_ACCOUNTS,
        primary_account=PrimaryAccount("{{partialupn}}", ""),
        managed_user="{{partialupn}}",
    )
    names = NameVariables(user=User(upn="LocalAdmin@contoso.example"), serial_number=SERIAL)
    accounts = local_accounts(profile, names)
    assert accounts.managed_user == ""
    assert [one.setting for one in accounts.problems] == ["primary_account.account_name", "managed_user"]
    assert "the account that Setup Assistant makes is managed" in accounts.problems[1].fix
