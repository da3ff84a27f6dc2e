"""The variables in account names: how they are written, where each may stand, and what was meant otherwise.

The rules of this file:

1. A variable is written ``{{name}}``; letter case does not count. No other text is replaced.
2. A variable that is unknown, or not meant for that field, is an error: its text must never become a name.
3. So is one that is written in another way, such as ``%partialupn%`` or ``{{ partialupn }}``; the error says
   how it is written.

Source: specification, "Create an Apple enrollment profile", Account Settings; Microsoft Intune, variables
for local accounts of macOS.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator
from typing import Final

from pyade.core.problems import Problem

ACCOUNT_NAME_VARIABLES: Final = (
    "partialupn",
    "serialNumber",
    "managedDeviceName",
    "onPremisesSamAccountName",
)
"""The variables of account names. Source: specification, Account Settings; Microsoft Intune."""

FULL_NAME_VARIABLES: Final = ("username", "serialNumber", "onPremisesSamAccountName")
"""The variables of full names."""

DEVICE_NAME_VARIABLES: Final = ("serialNumber", "partialupn", "username", "onPremisesSamAccountName")
"""The variables of a device name, which is what ``{{managedDeviceName}}`` stands for."""

ALL_VARIABLES: Final = tuple(dict.fromkeys(ACCOUNT_NAME_VARIABLES + FULL_NAME_VARIABLES))
"""Every variable, as it is written."""

USER_VARIABLES: Final = frozenset({"partialupn", "username", "onpremisessamaccountname"})
"""Those that only a Mac with a user has a value for, in lower case."""

VARIABLE: Final = re.compile(r"\{\{([A-Za-z]+)\}\}")
"""How a variable is written; letter case does not count."""


def check_variables(
    setting: str, text: str, allowed: tuple[str, ...], *, has_user: bool = True
) -> Iterator[Problem]:
    """Yield what is wrong with the variables in a name: their text must never become an account.

    Args:
        setting: Where the name is set.
        text: The name.
        allowed: The variables that it may hold.
        has_user: False if there is no user affinity, so that a user's variables have no value.
    """
    spellings = {name.lower() for name in allowed}
    names = ", ".join(map(written, allowed))
    for match in VARIABLE.finditer(text):
        name = match[1].lower()
        if name not in spellings:
            fix = _advice(_meant(name), spellings)
            yield Problem(setting, match[0][:_SHOWN], f"one of {names}", fix)
        elif name in USER_VARIABLES and not has_user:
            fix = "set user_affinity, or use {{serialNumber}} or a fixed name"
            yield Problem(setting, match[0], "no variable of a user where there is none", fix)
    if (marked := _mistyped(text)) is not None:
        shown, name = marked
        allowed_text = f"variables, which are {names}"
        yield Problem(setting, shown[:_SHOWN], allowed_text, _advice(name, spellings))


def has_variables(text: str) -> bool:
    """Return True if something in *text* is a variable, or was meant to be one."""
    return VARIABLE.search(text) is not None or _mistyped(text) is not None


def names_device(*texts: str) -> bool:
    """Return True if one of *texts* asks for the name of the device, which the caller has to give."""
    return any(match[1].lower() == "manageddevicename" for one in texts for match in VARIABLE.finditer(one))


def written(name: str) -> str:
    """Return how the variable *name* is written."""
    return f"{{{{{name}}}}}"


def without_variables(text: str) -> str:
    """Return *text* with an ``a`` in the place of whatever stands in double braces.

    Each part up to a closing pair is looked at once: an expression would look for the end of ``{{{{{{{{``
    anew from every brace.
    """
    *closed, rest = text.split("}}")
    parts = (part.partition("{{") for part in closed)
    return "".join(f"{before}a" if opened else before + "}}" for before, opened, _ in parts) + rest


def _mistyped(text: str) -> tuple[str, str] | None:
    """Return the first variable that is written in another way, and which one was meant, "" if none is near.

    Double braces are never part of a name; other signs are, unless what stands in them is a variable.
    """
    rest = VARIABLE.sub("", text)
    for match in _MARKED.finditer(rest[:_LOOKED_AT]):
        name = _meant(match[1] or match[2])
        if name or "{{" in match[0] or "}}" in match[0]:
            return match[0], name
    return (text, "") if "{{" in rest or "}}" in rest else None


@functools.lru_cache(maxsize=256)
def _meant(text: str) -> str:
    """Return the variable that *text* names or comes near to, as it is written; "" if there is none."""
    letters = "".join(filter(str.isalpha, text.lower()))
    name = _OTHER_NAMES.get(letters, letters)
    near = difflib.get_close_matches(name, _SPELLINGS, n=1, cutoff=0.8)
    return _SPELLINGS[near[0]] if near else ""


def _advice(name: str, allowed: set[str]) -> str:
    if not name:
        return "use one of these"
    if name.lower() in allowed:
        return f"write {written(name)}"
    return f"{written(name)} is not for this name: use one of these"


_SHOWN: Final = 80
_SPELLINGS: Final = {name.lower(): name for name in ALL_VARIABLES}
# What other servers, and Intune's names of devices, call them.
_OTHER_NAMES: Final = {
    "devicename": "manageddevicename",
    "samaccountname": "onpremisessamaccountname",
    "serial": "serialnumber",
    "upn": "partialupn",
    "userprincipalname": "username",
}
# Everything is bounded, so that no text costs more than its length.
_LOOKED_AT: Final = 1000
_MARKED: Final = re.compile(
    r"[%${<\[#]{1,4} {0,2}([A-Za-z][A-Za-z _.-]{1,39})[%}>\]]{1,4}|[${]{1,2} ?([A-Za-z]{3,40})"
)
