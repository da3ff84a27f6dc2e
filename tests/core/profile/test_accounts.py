"""What variables in account names stand for, and what they must never become."""

from __future__ import annotations

import contextlib
import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.profile.accounts import NameVariables, User
from pyade.errors import PolicyError, ProfileError

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
        ("{{username}}", "ada@contoso.com"),
        ("{{username}} ({{serialNumber}})", "ada@contoso.com (C02ABC123)"),
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
    """So that an administrator can fill it in."""
    with pytest.raises(ProfileError, match=source):
        names.account_name(text)


@each(
    ("text", "fix"),
    [
        ("%partialupn%", "write {{partialupn}}"),
        ("{partialupn}", "write {{partialupn}}"),
        ("{{ partialupn }}", "write {{partialupn}}"),
        ("{{partialupn}", "write {{partialupn}}"),
        ("{{partialupn", "write {{partialupn}}"),
        ("${partialUPN}", "write {{partialupn}}"),
        ("$partialupn", "write {{partialupn}}"),
        ("[partialupn]", "write {{partialupn}}"),
        ("<partial upn>", "write {{partialupn}}"),
        ("{{partial_upn}}", "write {{partialupn}}"),
        ("{{upn}}", "write {{partialupn}}"),
        ("mac-{{SERIAL}}", "write {{serialNumber}}"),
        ("{{serialnumbr}}", "write {{serialNumber}}"),
        ("%username%", "{{username}} is not for this name: use one of these"),
        ("{username}", "{{username}} is not for this name: use one of these"),
        ("{{mail}}", "use one of these"),
        ("{{", "use one of these"),
    ],
)
def test_a_mistyped_variable_is_an_error_that_says_how_it_is_written(text: str, fix: str) -> None:
    """The Mac would call its account so."""
    with pytest.raises(ProfileError) as caught:
        NAMES.account_name(text)
    [problem] = caught.value.problems
    assert problem.fix == fix


@each("text", ["{username}", "%username%", "$USERNAME", "{{ username }}", "{{userPrincipalName}}"])
def test_the_variables_of_full_names_are_looked_for_in_full_names(text: str) -> None:
    """There most signs are allowed, so that nothing else would notice."""
    with pytest.raises(ProfileError, match=r"write \{\{username\}\}"):
        NAMES.full_name(text)


@each("text", ["Ada {IT}", "50% off", "Ada <ada>", "[Lab] Mac", "$100", "Ada #1"])
def test_signs_are_part_of_a_full_name_where_no_variable_is_meant(text: str) -> None:
    """A user may have such a name."""
    assert NAMES.full_name(text) == text


def test_any_variable_may_have_another_value() -> None:
    """By one way for all of them, in any letter case; an unknown one is named."""
    values = {
        "USERNAME": "Ada Lovelace",
        "partialUPN": "lovelace",
        "serialnumber": "S1",
        "managedDeviceName": "lab",
        "onPremisesSamAccountName": "al",
    }
    names = attrs.evolve(NAMES, values=values)
    assert names.full_name("{{username}} {{serialNumber}}") == "Ada Lovelace S1"
    account = names.account_name("{{partialupn}}.{{managedDeviceName}}.{{onPremisesSamAccountName}}")
    assert account == "lovelace.lab.al"
    assert NameVariables(values={"username": "Ada"}).full_name("{{username}}") == "Ada"
    with pytest.raises(PolicyError, match=r"'mail' is no variable: use partialupn"):
        NameVariables(values={"mail": "ada"})


def test_all_missing_values_are_named_together() -> None:
    """The administrator can fix all in one go."""
    with pytest.raises(ProfileError) as caught:
        NameVariables().full_name("{{username}} {{serialNumber}}")
    assert len(caught.value.problems) == 2


@each(
    "value",
    [
        "contoso\\john",
        "Ada's Mac",
        "a/b",
        "a:b",
        "a\nb",
        "root",
        "Root",
        "GUEST",
        "a" * 245,
        "a\ufffe",
        "a\x00",
        "MacBook\u00a0Pro",
    ],
)
def test_a_value_that_is_no_account_name_is_refused(value: str) -> None:
    """A device name may hold anything; a short name may not."""
    with pytest.raises(ProfileError, match="account name without space"):
        NameVariables(device_name=value).account_name("{{managedDeviceName}}")


def test_variables_in_a_value_are_not_replaced() -> None:
    """What a user is called is no template."""
    names = NameVariables(user=User(upn="{{serialNumber}}"), serial_number="SECRET")
    assert names.full_name("{{username}}") == "{{serialNumber}}"


@given(upn=st.text(max_size=40), full_name=st.text(max_size=40), device_name=st.text(max_size=40))
def test_any_user_gives_a_usable_name_or_a_typed_error(upn: str, full_name: str, device_name: str) -> None:
    """Whatever the identity provider and the Mac call themselves."""
    user = User(upn=upn, full_name=full_name)
    names = NameVariables(user=user, device_name=device_name, values={"username": full_name})
    for text in ("{{partialupn}}", "{{managedDeviceName}}", "mac-{{partialupn}}"):
        with contextlib.suppress(ProfileError):
            name = names.account_name(text)
            assert re.fullmatch(r"[^\s:/\\\x00-\x1f\x7f]+", name)
            assert name.lower() not in ("root", "daemon", "nobody", "guest", "shared")
    with contextlib.suppress(ProfileError):
        assert ":" not in names.full_name("{{username}}")
