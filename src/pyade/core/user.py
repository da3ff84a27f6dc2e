"""Who a Mac is set up for, and what the variables in account names stand for.

The rules of this file:

1. A variable is written ``{{name}}``; letter case does not count. No other text is replaced, and a value is
   never searched for variables.
2. A variable that is unknown, not meant for that field or without a value is an error: its text must never
   become an account.
3. What comes out is held to the rules of account names and full names.

Source: specification, "Create an Apple enrollment profile", Account Settings; Microsoft Intune, variables
for local accounts of macOS.
"""

from __future__ import annotations

from typing import Final

import attrs

from pyade.core.accounts import (
    ACCOUNT_NAME_VARIABLES,
    FULL_NAME_VARIABLES,
    VARIABLE,
    check_account_name,
    check_full_name,
    check_variables,
)
from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem, Severity
from pyade.errors import ProfileError


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
        user: Who signed in; None without user affinity.
        serial_number: Serial number of the Mac; "" if no name uses it.
        device_name: The name that the Mac has in management; "" if no name uses it.
    """

    user: User | None = None
    serial_number: str = ""
    device_name: str = ""

    def account_name(self, text: str, *, setting: str = "account_name") -> str:
        """Return the account name that *text* stands for.

        Args:
            text: With the variables ``{{partialupn}}``, ``{{serialNumber}}``, ``{{managedDeviceName}}`` and
                ``{{onPremisesSamAccountName}}``.
            setting: How an error names it.

        Raises:
            ProfileError: A variable cannot be replaced, or macOS could not use the result.
        """
        name = self._replaced(text, setting, ACCOUNT_NAME_VARIABLES)
        problems = check_account_name(setting, name, name) if name else ()
        return _if_good(name, *problems)

    def full_name(self, text: str, *, setting: str = "full_name") -> str:
        """Return the full name that *text* stands for.

        Args:
            text: With the variables ``{{username}}``, ``{{serialNumber}}`` and
                ``{{onPremisesSamAccountName}}``.
            setting: How an error names it.

        Raises:
            ProfileError: A variable cannot be replaced, or macOS could not use the result.
        """
        name = self._replaced(text, setting, FULL_NAME_VARIABLES)
        return _if_good(name, *check_full_name(setting, name))

    def _replaced(self, text: str, setting: str, allowed: tuple[str, ...]) -> str:
        """Return *text* with each variable replaced, or raise for all that cannot be."""
        values = self._values()
        problems = list(check_variables(setting, text, allowed))
        known = {name.lower() for name in allowed}
        for match in VARIABLE.finditer(text):
            name = match[1].lower()
            if name in known and not values[name].strip():
                source = _SOURCES[name]
                fix = f"give {source}, or take the variable out of the profile"
                problems.append(Problem(setting, match[0], f"a variable whose value is known: {source}", fix))
        _if_good("", *problems)
        return VARIABLE.sub(lambda match: values[match[1].lower()], text)

    def _values(self) -> dict[str, str]:
        user = self.user or User(upn="")
        return {
            "partialupn": user.upn.partition("@")[0],
            "username": user.full_name,
            "onpremisessamaccountname": user.on_premises_account_name,
            "serialnumber": self.serial_number,
            "manageddevicename": self.device_name,
        }


def _if_good(name: str, *problems: Problem) -> str:
    errors = tuple(problem for problem in problems if problem.severity is Severity.ERROR)
    if errors:
        raise ProfileError(errors)
    return name


_SOURCES: Final = {
    "partialupn": "the user's upn",
    "username": "the user's full_name",
    "onpremisessamaccountname": "the user's on_premises_account_name",
    "serialnumber": "serial_number",
    "manageddevicename": "device_name",
}
