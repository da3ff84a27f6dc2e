"""Local accounts that a profile sets up on a Mac, and the rules of their names.

The rules are checked with the profile, and again when the variables in a name have their values.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator
from typing import Final
from xml.parsers.expat import ExpatError

import attrs

from pyade.core.problems import Problem, Severity
from pyade.core.versions import MacOSVersion

ACCOUNTS_FROM: Final = MacOSVersion(10, 11)
PREFILL_FROM: Final = MacOSVersion(10, 15)
MANAGED_USER_FROM: Final = MacOSVersion(11)

ACCOUNT_NAME_VARIABLES: Final = (
    "partialupn",
    "serialNumber",
    "managedDeviceName",
    "onPremisesSamAccountName",
)
"""The variables of account names. Source: specification, Account Settings; Microsoft Intune."""

FULL_NAME_VARIABLES: Final = ("username", "serialNumber", "onPremisesSamAccountName")
"""The variables of full names."""

USER_VARIABLES: Final = frozenset({"partialupn", "username", "onpremisessamaccountname"})
"""Those that only a Mac with a user has a value for, in lower case."""

VARIABLE: Final = re.compile(r"\{\{([A-Za-z]+)\}\}")
"""How a variable is written; letter case does not count."""


@attrs.frozen
class PrimaryAccount:
    """The account that the user gets in Setup Assistant: an administrator, unless the profile says otherwise.

    Attributes:
        account_name: The account name to prefill, with variables such as ``{{partialupn}}``; "" lets the
            user type it.
        full_name: The full name to prefill, with variables such as ``{{username}}``; "" lets the user type
            it.
        restrict_editing: True if the user may not change what is prefilled.

    Source: specification, "Create an Apple enrollment profile", Account Settings.
    """

    account_name: str = ""
    full_name: str = ""
    restrict_editing: bool = True


@attrs.frozen
class AdministratorAccount:
    """An administrator that the Mac gets beside the user's account.

    Attributes:
        short_name: The account name; variables as in a primary account, those of a user only with user
            affinity.
        full_name: The full name, with variables; "" means the short name.
        hidden: True if the login window and the settings do not show it.
        password_hash: Secret. The property list with the key ``SALTED-SHA512-PBKDF2``.

    Source: Apple, ``AccountConfiguration``, ``AutoSetupAdminAccounts``.
    """

    short_name: str
    full_name: str = ""
    hidden: bool = False
    password_hash: bytes = attrs.field(default=b"", repr=False)


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
    spellings = {name.lower(): name for name in allowed}
    names = ", ".join(f"{{{{{name}}}}}" for name in allowed)
    for match in VARIABLE.finditer(text):
        name = match[1].lower()
        if name not in spellings:
            yield Problem(setting, match[0][:_SHOWN], f"one of {names}", "use one of these")
        elif name in USER_VARIABLES and not has_user:
            fix = "set user_affinity, or use {{serialNumber}} or a fixed name"
            yield Problem(setting, match[0], "no variable of a user where there is none", fix)
    rest = VARIABLE.sub("", text)
    if "{{" in rest or "}}" in rest:
        yield Problem(setting, text[:_SHOWN], f"variables, which are {names}", "correct it")


def without_variables(text: str) -> str:
    """Return *text* with an ``a`` in the place of whatever stands in double braces.

    Each part up to a closing pair is looked at once: an expression would look for the end of ``{{{{{{{{``
    anew from every brace.
    """
    *closed, rest = text.split("}}")
    parts = (part.partition("{{") for part in closed)
    return "".join(f"{before}a" if opened else before + "}}" for before, opened, _ in parts) + rest


def check_account_name(setting: str, value: str, rest: str) -> Iterator[Problem]:
    """Yield what is wrong with an account name, which is a Unix one.

    Args:
        setting: Where it is set.
        value: The name as it was given.
        rest: The name without its variables.
    """
    if re.search(r"[\s:/\\\x00-\x1f\x7f]", rest) or rest in _RESERVED:
        yield Problem(
            setting,
            value[:_SHOWN],
            "an account name without space, colon and slash that macOS does not use itself",
            'use a name such as "localadmin"',
        )
    elif not re.fullmatch(r"[a-z_][a-z0-9_.-]*", rest):
        yield Problem(
            setting,
            value[:_SHOWN],
            "usually lower-case ASCII letters, digits, _, . and -, beginning with a letter",
            "macOS may change or refuse it",
            Severity.WARNING,
        )


def check_full_name(setting: str, value: str) -> Iterator[Problem]:
    """Yield what is wrong with a full name; an empty one is none."""
    if re.search(r"[:\x00-\x1f\x7f]", value) or (value and not value.strip()):
        allowed = "a name without colon and control characters"
        yield Problem(setting, value[:_SHOWN], allowed, 'or "" for none')


def is_password_hash(data: bytes) -> bool:
    """Return True if *data* has the form that macOS reads; never say what is in it.

    Source: Apple, ``passwordHash``.
    """
    try:
        content = plistlib.loads(data)
    except _UNREADABLE:
        return False
    inner = content.get("SALTED-SHA512-PBKDF2") if isinstance(content, dict) and len(content) == 1 else None
    return isinstance(inner, dict) and (
        isinstance(inner.get("entropy"), bytes)
        and isinstance(inner.get("salt"), bytes)
        and isinstance(inner.get("iterations"), int)
    )


_RESERVED: Final = ("root", "daemon", "nobody")
_SHOWN: Final = 80
# What plistlib lets through of the errors of the parsers and of its own on content that is no property list.
_UNREADABLE: Final = (
    ValueError,
    ExpatError,
    AttributeError,
    LookupError,
    TypeError,
    ArithmeticError,
    RecursionError,
)
