"""Local accounts that a profile sets up on a Mac, the rules of their names, and the variables in them.

The rules are checked with the profile, and again when the variables in a name have their values.

The rules of this file:

1. A variable is written ``{{name}}``; letter case does not count. No other text is replaced.
2. A variable that is unknown, not allowed in that field or without a value is an error: its text must never
   become an account.
3. So is one that is written in another way, such as ``%partialupn%`` or ``{{ partialupn }}``; the error says
   how it is written.
4. The value of a variable is never searched for variables.
5. A name with its values follows the rules of account names and full names.
6. The caller may give every variable another value than its usual one, in one place, ``values``.

Source: specification, "Create an Apple enrollment profile", Account Settings; Microsoft Intune, variables
for local accounts of macOS.
"""

from __future__ import annotations

import difflib
import functools
import plistlib
import re
from collections.abc import Iterator, Mapping
from typing import Final
from xml.parsers.expat import ExpatError

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity
from pyade.errors import PolicyError, ProfileError

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
    """An administrator account that the Mac gets in addition to the user's account.

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
    """Yield the problems of an account name, which is a Unix one.

    Args:
        setting: The setting with the name.
        value: The name as it was given.
        rest: The name without its variables.

    Source: the characters are those of Apple's "User Management" for Mac OS X Server. Observed: the reserved
    names, 244 bytes as the limit of a record, at least one letter, and no period or hyphen at the beginning.
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
    """Yield the problems of a full name; "" means none and has no problem."""
    if _NOT_IN_FULL_NAMES.search(value) or (value and not value.strip()):
        allowed = "a name without colon and control characters"
        yield Problem(setting, value[:_SHOWN], allowed, 'or "" for none')


def is_password_hash(data: bytes) -> bool:
    """Return True if *data* has the format that macOS reads; nothing of it is shown.

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


# Accounts of macOS itself without a leading "_", and a folder in /Users; in any letter case.
_RESERVED: Final = ("root", "daemon", "nobody", "guest", "shared")
_LONGEST: Final = 244
# Includes control characters, and characters that no property list can contain.
_NOT_IN_ACCOUNT_NAMES: Final = re.compile(r"[\s:/\\\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_NOT_IN_FULL_NAMES: Final = re.compile(r"[:\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_SHOWN: Final = 80
# The errors that plistlib and its parsers raise on content that is no property list.
_UNREADABLE: Final = (
    ValueError,
    ExpatError,
    AttributeError,
    LookupError,
    TypeError,
    ArithmeticError,
    RecursionError,
)


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
"""The variables that only have a value on a Mac with a user, in lower case."""

VARIABLE: Final = re.compile(r"\{\{([A-Za-z]+)\}\}")
"""How a variable is written; letter case does not count."""


def check_variables(
    setting: str, text: str, allowed: tuple[str, ...], *, has_user: bool = True
) -> Iterator[Problem]:
    """Yield the problems of the variables in a name: their text must never become an account.

    Args:
        setting: The setting with the name.
        text: The name.
        allowed: The variables that it may contain.
        has_user: False if there is no user affinity, so that a user's variables have no value.
    """
    spellings = {name.lower() for name in allowed}
    names = ", ".join(map(written, allowed))
    for match in VARIABLE.finditer(text):
        name = match[1].lower()
        if name not in spellings:  # rule 2
            fix = _advice(_meant(name), spellings)
            yield Problem(setting, match[0][:_SHOWN], f"one of {names}", fix)
        elif name in USER_VARIABLES and not has_user:
            fix = "set user_affinity, or use {{serialNumber}} or a fixed name"
            yield Problem(setting, match[0], "no variable of a user where there is none", fix)
    if (marked := _mistyped(text)) is not None:  # rule 3
        shown, name = marked
        allowed_text = f"variables, which are {names}"
        yield Problem(setting, shown[:_SHOWN], allowed_text, _advice(name, spellings))


def has_variables(text: str) -> bool:
    """Return True if *text* contains a variable, or a misspelt one."""
    return VARIABLE.search(text) is not None or _mistyped(text) is not None


def names_device(*texts: str) -> bool:
    """Return True if one of *texts* contains ``{{managedDeviceName}}``, whose value the caller must give."""
    return any(match[1].lower() == "manageddevicename" for one in texts for match in VARIABLE.finditer(one))


def written(name: str) -> str:
    """Return the spelling of the variable *name*."""
    return f"{{{{{name}}}}}"


def without_variables(text: str) -> str:
    """Return *text* with an ``a`` instead of each text in double braces.

    Each part up to a closing pair is read once: a regular expression would search for the end of
    ``{{{{{{{{`` again from every brace.
    """
    *closed, rest = text.split("}}")
    parts = (part.partition("{{") for part in closed)
    return "".join(f"{before}a" if opened else before + "}}" for before, opened, _ in parts) + rest


def _mistyped(text: str) -> tuple[str, str] | None:
    """Return the first misspelt variable, and the one that was meant, "" if none is similar.

    Double braces are never part of a name; other brackets are, unless they enclose a variable.
    """
    rest = VARIABLE.sub("", text)
    for match in _MARKED.finditer(rest[:_SEARCHED]):
        name = _meant(match[1] or match[2])
        if name or "{{" in match[0] or "}}" in match[0]:
            return match[0], name
    return (text, "") if "{{" in rest or "}}" in rest else None


@functools.lru_cache(maxsize=256)
def _meant(text: str) -> str:
    """Return the spelling of the variable that *text* names or is similar to; "" if there is none."""
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


_SPELLINGS: Final = {name.lower(): name for name in ALL_VARIABLES}
# Names of the variables in other servers, and in Intune's device names.
_OTHER_NAMES: Final = {
    "devicename": "manageddevicename",
    "samaccountname": "onpremisessamaccountname",
    "serial": "serialnumber",
    "upn": "partialupn",
    "userprincipalname": "username",
}
# All repetitions are bounded, so that the time is linear in the length of a text.
_SEARCHED: Final = 1000
_MARKED: Final = re.compile(
    r"[%${<\[#]{1,4} {0,2}([A-Za-z][A-Za-z _.-]{1,39})[%}>\]]{1,4}|[${]{1,2} ?([A-Za-z]{3,40})"
)


@check_arguments
@attrs.frozen(kw_only=True)
class User:
    """The user for whom a Mac enrolls, as known to the identity provider.

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


@check_arguments
@attrs.frozen(kw_only=True)
class NameVariables:
    """The values of the variables in account names on one Mac.

    Attributes:
        user: The user who signed in; None without user affinity. ``{{username}}`` is the user principal name,
            ``{{partialupn}}`` the part before its @, as in Intune.
        serial_number: Serial number of the Mac; "" if no name uses it.
        device_name: The name that the Mac has in management; "" if no name uses it.
        values: Other values by the names of variables, such as ``{"username": "Ada Lovelace"}``; they take
            precedence. Letter case does not count.

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
        """Return *text* as an account name, with the values of its variables.

        Args:
            text: With the variables ``{{partialupn}}``, ``{{serialNumber}}``, ``{{managedDeviceName}}`` and
                ``{{onPremisesSamAccountName}}``.
            setting: The setting that an error names.

        Raises:
            ProfileError: A variable cannot be replaced, or macOS could not use the result.
        """
        name, problems = self.replaced(text, setting, ACCOUNT_NAME_VARIABLES)
        if name and not problems:
            problems = tuple(check_account_name(setting, name, name))  # rule 5
        return _checked_name(name, problems)

    def full_name(self, text: str, *, setting: str = "full_name") -> str:
        """Return *text* as a full name, with the values of its variables.

        Args:
            text: With the variables ``{{username}}``, ``{{serialNumber}}`` and
                ``{{onPremisesSamAccountName}}``.
            setting: The setting that an error names.

        Raises:
            ProfileError: A variable cannot be replaced, or macOS could not use the result.
        """
        name, problems = self.replaced(text, setting, FULL_NAME_VARIABLES)
        return _checked_name(name, problems or tuple(check_full_name(setting, name)))

    def replaced(self, text: str, setting: str, allowed: tuple[str, ...]) -> tuple[str, tuple[Problem, ...]]:
        """Return *text* with the values of its variables, and the problems of those; "" if there are any.

        Args:
            text: The name.
            setting: The setting with the name.
            allowed: The variables that it may contain.
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
        return VARIABLE.sub(lambda match: values[match[1].lower()], text), ()  # rules 1 and 4

    def _values(self) -> dict[str, str]:
        user = self.user or User(upn="")
        return {
            "partialupn": user.upn.partition("@")[0],
            "username": user.upn,
            "onpremisessamaccountname": user.on_premises_account_name,
            "serialnumber": self.serial_number,
            "manageddevicename": self.device_name,
            **{name.lower(): value for name, value in self.values.items()},  # rule 6
        }


def _checked_name(name: str, problems: tuple[Problem, ...]) -> str:
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
"""The source of each variable's value, by its name in lower case."""
