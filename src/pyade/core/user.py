"""Who a Mac is set up for, and what the variables in account names stand for.

The rules of this file:

1. A value is never searched for variables; how they are written is in ``core.variables``.
2. A variable that is unknown, not meant for that field or without a value is an error: its text must never
   become an account.
3. What comes out is held to the rules of account names and full names.
4. The caller may give any variable another value than its usual one, by one way for all.

Source: specification, "Create an Apple enrollment profile", Account Settings; Microsoft Intune, variables
for local accounts of macOS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from pyade.core.accounts import check_account_name, check_full_name
from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem, Severity
from pyade.core.variables import (
    ACCOUNT_NAME_VARIABLES,
    ALL_VARIABLES,
    FULL_NAME_VARIABLES,
    VARIABLE,
    check_variables,
)
from pyade.errors import PolicyError, ProfileError


@checks_kinds
@attrs.frozen(kw_only=True)
class User:
    """The person a Mac enrolls for, as the identity provider knows them.

    Attributes:
        upn: User principal name, such as ``ada@contoso.com``.
        full_name: Display name; "" if it is not known.
        on_premises_account_name: Account name in the local directory (``sAMAccountName``); "" if there is
            none.
        is_enrollment_manager: True for a device enrollment manager, whose account enrolls no Mac by itself.
    """

    upn: str
    full_name: str = ""
    on_premises_account_name: str = ""
    is_enrollment_manager: bool = False


@checks_kinds
@attrs.frozen(kw_only=True)
class NameVariables:
    """What the variables in account names stand for on one Mac.

    Attributes:
        user: Who signed in; None without user affinity. ``{{username}}`` is the user principal name,
            ``{{partialupn}}`` what is before its @, as in Intune.
        serial_number: Serial number of the Mac; "" if no name uses it.
        device_name: The name that the Mac has in management; "" if no name uses it.
        values: Other values by the names of variables, such as ``{"username": "Ada Lovelace"}``; they win.
            Letter case does not count.

    Raises:
        PolicyError: *values* names no variable.
    """

    user: User | None = None
    serial_number: str = ""
    device_name: str = ""
    values: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        known = {name.lower() for name in ALL_VARIABLES}
        for name in self.values:
            if name.lower() not in known:
                raise PolicyError(f"values: {name[:40]!r} is no variable: use {', '.join(ALL_VARIABLES)}")

    def account_name(self, text: str, *, setting: str = "account_name") -> str:
        """Return the account name that *text* stands for.

        Args:
            text: With the variables ``{{partialupn}}``, ``{{serialNumber}}``, ``{{managedDeviceName}}`` and
                ``{{onPremisesSamAccountName}}``.
            setting: How an error names it.

        Raises:
            ProfileError: A variable cannot be replaced, or macOS could not use the result.
        """
        name, problems = self.replaced(text, setting, ACCOUNT_NAME_VARIABLES)
        if name and not problems:
            problems = tuple(check_account_name(setting, name, name))
        return _if_good(name, problems)

    def full_name(self, text: str, *, setting: str = "full_name") -> str:
        """Return the full name that *text* stands for.

        Args:
            text: With the variables ``{{username}}``, ``{{serialNumber}}`` and
                ``{{onPremisesSamAccountName}}``.
            setting: How an error names it.

        Raises:
            ProfileError: A variable cannot be replaced, or macOS could not use the result.
        """
        name, problems = self.replaced(text, setting, FULL_NAME_VARIABLES)
        return _if_good(name, problems or tuple(check_full_name(setting, name)))

    def replaced(self, text: str, setting: str, allowed: tuple[str, ...]) -> tuple[str, tuple[Problem, ...]]:
        """Return *text* with each variable replaced, and an error for each that cannot be; then it is "".

        Args:
            text: The name.
            setting: Where it is set.
            allowed: The variables that it may hold.
        """
        values = self._values()
        problems = list(check_variables(setting, text, allowed))
        known = {name.lower() for name in allowed}
        for match in VARIABLE.finditer(text):
            name = match[1].lower()
            if name in known and not values[name].strip():
                source = SOURCES[name]
                fix = f"give {source}, or take the variable out of the profile"
                problems.append(Problem(setting, match[0], f"a variable whose value is known: {source}", fix))
        if problems:
            return "", tuple(problems)
        return VARIABLE.sub(lambda match: values[match[1].lower()], text), ()

    def _values(self) -> dict[str, str]:
        user = self.user or User(upn="")
        return {
            "partialupn": user.upn.partition("@")[0],
            "username": user.upn,
            "onpremisessamaccountname": user.on_premises_account_name,
            "serialnumber": self.serial_number,
            "manageddevicename": self.device_name,
            **{name.lower(): value for name, value in self.values.items()},
        }


def _if_good(name: str, problems: tuple[Problem, ...]) -> str:
    errors = tuple(problem for problem in problems if problem.severity is Severity.ERROR)
    if errors:
        raise ProfileError(errors)
    return name


SOURCES: Final = {
    "partialupn": "the user's upn",
    "username": "the user's upn",
    "onpremisessamaccountname": "the user's on_premises_account_name",
    "serialnumber": "serial_number",
    "manageddevicename": "device_name, as of FinalConfiguration",
}
"""Where the value of each variable comes from, by its name in lower case."""
