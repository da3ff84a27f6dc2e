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


@attrs.frozen
class PrimaryAccount:
    """The account that the user gets in Setup Assistant: an administrator, unless the profile says otherwise.

    Attributes:
        account_name: The account name to prefill, with variables such as ``{{partialupn}}``; "" lets the
            user type it.
        full_name: The full name to prefill, with variables such as ``{{username}}``; "" lets the user type
            it.
        restrict_editing: True if the user may not change what is prefilled; off on a Mac where one of the
            names cannot be filled in as it is.

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


def check_account_name(setting: str, value: str, rest: str) -> Iterator[Problem]:
    """Yield what is wrong with an account name, which is a Unix one.

    Args:
        setting: Where it is set.
        value: The name as it was given.
        rest: The name without its variables.

    Source: the signs are those of Apple's "User Management" for Mac OS X Server. Observed: reserved names,
    244 bytes as the limit of a record, at least one letter, and no period or hyphen at the beginning.
    """
    size = len(rest.encode(errors="surrogatepass"))
    if _NOT_IN_ACCOUNT_NAMES.search(rest) or rest.lower() in _RESERVED or size > _LONGEST:
        yield Problem(
            setting,
            value[:_SHOWN],
            "an account name without space, colon and slash that macOS does not use itself",
            'use a name such as "localadmin"',
        )
    elif not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", rest) or not re.search("[A-Za-z]", rest):
        yield Problem(
            setting,
            value[:_SHOWN],
            "ASCII letters, of which it needs one, digits, _, . and -, the last two not at the beginning",
            "macOS may change or refuse it",
            Severity.WARNING,
        )


def check_full_name(setting: str, value: str) -> Iterator[Problem]:
    """Yield what is wrong with a full name; an empty one is none."""
    if _NOT_IN_FULL_NAMES.search(value) or (value and not value.strip()):
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


# Accounts of macOS itself without "_" before their names, and a folder in /Users; in any letter case.
_RESERVED: Final = ("root", "daemon", "nobody", "guest", "shared")
_LONGEST: Final = 244
# Among them control characters, and what no property list can hold.
_NOT_IN_ACCOUNT_NAMES: Final = re.compile(r"[\s:/\\\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_NOT_IN_FULL_NAMES: Final = re.compile(r"[:\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
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
