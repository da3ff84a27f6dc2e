"""What variables in account names stand for, and what they must never become."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.user import NameVariables, User
from pyade.errors import ProfileError

ADA = User(upn="ada@contoso.com", full_name="Ada Lovelace", on_premises_account_name="alovelace")
NAMES = NameVariables(user=ADA, serial_number="C02ABC123", device_name="contoso-ada")


@each(
    ("text", "name"),
    [
        ("{{partialupn}}", "ada"),
        ("{{PartialUPN}}", "ada"),
        ("mac-{{serialNumber}}", "mac-C02ABC123"),
        ("{{managedDeviceName}}", "contoso-ada"),
        ("{{onPremisesSamAccountName}}", "alovelace"),
        ("{{OnPremisesSamAccountName}}-{{partialupn}}", "alovelace-ada"),
        ("localadmin", "localadmin"),
        ("", ""),
    ],
)
def test_account_names(text: str, name: str) -> None:
    """The variables of account names, in any letter case."""
    assert NAMES.account_name(text) == name


@each(
    ("text", "name"),
    [
        ("{{username}}", "Ada Lovelace"),
        ("{{username}} ({{serialNumber}})", "Ada Lovelace (C02ABC123)"),
        ("{{onPremisesSamAccountName}}", "alovelace"),
        ("Admin", "Admin"),
        ("", ""),
    ],
)
def test_full_names(text: str, name: str) -> None:
    """The variables of full names."""
    assert NAMES.full_name(text) == name


@each("text", ["{{username}}", "{{mail}}", "{{ partialupn }}", "{{partialupn", "a}}"])
def test_what_is_no_variable_of_an_account_name_is_refused(text: str) -> None:
    """The text itself must never become an account."""
    with pytest.raises(ProfileError) as caught:
        NAMES.account_name(text, setting="primary_account.account_name")
    [problem] = caught.value.problems
    assert problem.setting == "primary_account.account_name"
    assert "{{partialupn}}" in problem.allowed


@pytest.mark.parametrize("text", ["{{partialupn}}", "{{managedDeviceName}}"])
def test_a_full_name_has_variables_of_its_own(text: str) -> None:
    """As in Intune."""
    with pytest.raises(ProfileError, match=r"one of {{username}}, {{serialNumber}}"):
        NAMES.full_name(text)


@each(
    ("names", "text", "source"),
    [
        (NameVariables(), "{{partialupn}}", "the user's upn"),
        (NameVariables(user=User(upn="@contoso.com")), "{{partialupn}}", "the user's upn"),
        (NameVariables(user=ADA), "{{serialNumber}}", "serial_number"),
        (NameVariables(user=ADA, device_name=" "), "{{managedDeviceName}}", "device_name"),
        (NameVariables(user=User(upn="a@b")), "{{onPremisesSamAccountName}}", "on_premises_account_name"),
    ],
)
def test_a_variable_without_a_value_says_where_it_would_come_from(
    names: NameVariables, text: str, source: str
) -> None:
    """So that somebody can fill it in."""
    with pytest.raises(ProfileError, match=source):
        names.account_name(text)


def test_all_missing_values_are_named_at_once() -> None:
    """One round for whoever fixes it."""
    with pytest.raises(ProfileError) as caught:
        NameVariables().full_name("{{username}} {{serialNumber}}")
    assert len(caught.value.problems) == 2


@each("value", ["contoso\\john", "Ada's Mac", "a/b", "a:b", "a\nb", "root", "a\x00", "MacBook\u00a0Pro"])
def test_a_value_that_is_no_account_name_is_refused(value: str) -> None:
    """A device name may hold anything; a short name may not."""
    with pytest.raises(ProfileError, match="account name without space"):
        NameVariables(device_name=value).account_name("{{managedDeviceName}}")


def test_a_value_with_a_variable_in_it_is_not_looked_at_again() -> None:
    """What a user is called is no template."""
    names = NameVariables(user=User(upn="x@y", full_name="{{serialNumber}}"), serial_number="SECRET")
    assert names.full_name("{{username}}") == "{{serialNumber}}"


@given(upn=st.text(max_size=40), full_name=st.text(max_size=40), device_name=st.text(max_size=40))
def test_any_user_gives_a_usable_name_or_a_typed_error(upn: str, full_name: str, device_name: str) -> None:
    """Whatever the identity provider and the Mac call themselves."""
    names = NameVariables(user=User(upn=upn, full_name=full_name), device_name=device_name)
    for text in ("{{partialupn}}", "{{managedDeviceName}}", "mac-{{partialupn}}"):
        with contextlib.suppress(ProfileError):
            name = names.account_name(text)
            assert re.fullmatch(r"[^\s:/\\\x00-\x1f\x7f]+", name)
            assert name not in ("root", "daemon", "nobody")
    with contextlib.suppress(ProfileError):
        assert ":" not in names.full_name("{{username}}")
