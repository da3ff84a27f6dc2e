"""Determine the accounts that one Mac gets from a profile: a wrong name does not prevent the others.

``AccountConfiguration`` works only while the Mac awaits, and once: a missing account cannot be added later.

The rules of this file:

1. The administrator is always sent. If its name has a variable without a usable value, its variables are
   replaced by the serial number, which is always known.
2. A name for the user's account that macOS could not use, that has no value, or that is the administrator's,
   is left to the user at the Mac; the other name is sent all the same.
3. A name that macOS may change or refuse is sent as a proposal.
4. With a problem of either name the user at the Mac may edit both: a wrong name that is locked would stop
   Setup Assistant.
5. If the managed user is the administrator, it gets the name that the administrator gets on this Mac. A
   managed user without a usable name is left out: the account that Setup Assistant creates is managed then.
   So is one with the name of an administrator that the profile does not name as managed user.

Source: Apple, ``AccountConfiguration``; specification, "Create an Apple enrollment profile", Account
Settings. That a second ``AccountConfiguration`` fails is observed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity
from pyade.core.profile.accounts import (
    ACCOUNT_NAME_VARIABLES,
    ACCOUNTS_FROM,
    FULL_NAME_VARIABLES,
    MANAGED_USER_FROM,
    PREFILL_FROM,
    SOURCES,
    VARIABLE,
    AdministratorAccount,
    NameVariables,
    PrimaryAccount,
    check_account_name,
    check_full_name,
    check_variables,
    has_variables,
    is_password_hash,
)
from pyade.text import printable

if TYPE_CHECKING:
    from pyade.core.profile.profile import EnrollmentProfile


@attrs.frozen(kw_only=True)
class LocalAccounts:
    """The accounts that one Mac gets, without variables.

    Attributes:
        primary: The prefilled names of the user's account, "" if the user at the Mac types one; None if
            nothing is sent about that account.
        administrator: The administrator; None for none.
        managed_user: Account name of the managed user; "" for the account that Setup Assistant creates.
        problems: One for each setting that could not be sent as it is, with what the Mac gets instead.
    """

    primary: PrimaryAccount | None = None
    administrator: AdministratorAccount | None = None
    managed_user: str = ""
    problems: tuple[Problem, ...] = ()


@check_arguments
def local_accounts(
    profile: EnrollmentProfile,
    names: NameVariables,
    *,
    version: MacOSVersion | str | None = None,
    administrator: AdministratorAccount | None = None,
) -> LocalAccounts:
    """Return the accounts that a Mac gets with *profile*, and the problems of their names.

    Args:
        profile: The profile with the account settings.
        names: The values of the variables on this Mac.
        version: Version of macOS, which has no account settings before 10.11, and prefills no names before
            10.15; None for any.
        administrator: The administrator with a password for this Mac; None for that of the profile. It is
            only used if the profile has an administrator.

    Raises:
        VersionError: The text is not a version.
    """
    release = None if version is None else MacOSVersion.of(version)
    if release is not None and release < ACCOUNTS_FROM:
        return LocalAccounts()
    problems: list[Problem] = []
    admin = profile.administrator
    if admin is not None:
        admin = _administrator(administrator or admin, admin.short_name, names, problems)
    primary = profile.primary_account
    if primary is not None:
        knows_names = release is None or release >= PREFILL_FROM
        primary = _primary(primary, names, admin, problems) if knows_names else None
    managed_user = ""
    if release is None or release >= MANAGED_USER_FROM:
        managed_user = _managed_user(profile, names, admin, problems)
    return LocalAccounts(
        primary=primary, administrator=admin, managed_user=managed_user, problems=tuple(problems)
    )


def names_of(profile: EnrollmentProfile) -> tuple[str, ...]:
    """Return the names in the account settings of *profile*, with their variables."""
    primary, admin = profile.primary_account, profile.administrator
    names = [primary.account_name, primary.full_name] if primary else []
    names += [admin.short_name, admin.full_name] if admin else []
    return (*names, profile.managed_user)


def check_name(setting: str, name: str, *, is_account_name: bool) -> Iterator[Problem]:
    """Yield the problems of a name that a Mac would get; "" is no name and has none.

    Args:
        setting: The setting with the name.
        name: Without variables.
        is_account_name: False for a full name.
    """
    if has_variables(name):
        allowed = "a name without variables: the Mac would use it so"
        yield Problem(setting, name[:_SHOWN], allowed, "put in what the variable stands for")
    elif is_account_name and name:
        yield from check_account_name(setting, name, name)
    elif not is_account_name:
        yield from check_full_name(setting, name)


def _primary(
    account: PrimaryAccount,
    names: NameVariables,
    admin: AdministratorAccount | None,
    problems: list[Problem],
) -> PrimaryAccount:
    taken = () if admin is None else (admin.short_name, admin.full_name or admin.short_name)
    found: list[Problem] = []
    edits = "; restrict_editing is off there" if account.restrict_editing else ""
    fields: dict[str, str] = {}
    for field, other in zip(("account_name", "full_name"), taken or ("", ""), strict=True):
        text, setting = getattr(account, field), f"primary_account.{field}"
        name, wrong = _name(names, text, setting, is_account_name=field == "account_name")
        if name and name.lower() == other.lower():
            wrong, name = (Problem(setting, name, _NOT_TAKEN, ""),), ""  # rule 2
        fields[field] = name
        outcome = "is only proposed" if name else "is left to the user at the Mac"  # rule 3
        found += (_on_this_mac(one, f"{_source(text, names)}; the name {outcome}{edits}") for one in wrong)
    problems += found
    return PrimaryAccount(**fields, restrict_editing=account.restrict_editing and not found)  # rule 4


def _administrator(
    account: AdministratorAccount, fallback: str, names: NameVariables, problems: list[Problem]
) -> AdministratorAccount:
    setting = "administrator.short_name"
    name, wrong = _name(names, account.short_name, setting, is_account_name=True)
    if not account.short_name:
        wrong = (Problem(setting, '""', "an account name", ""),)
    fix = (
        f"{_source(account.short_name, names)}; the administrator is made all the same, under the name shown"
    )
    found = [_on_this_mac(one, fix) for one in wrong]
    if wrong and (not name or has_variables(account.short_name)):
        name = next(_other_names((account.short_name, fallback), names))  # rule 1
        # The name that was sent is shown in full: the administrator logs in with it.
        found = [attrs.evolve(found[0], value=f"{found[0].value}, sent as {name}")]
    problems += found
    setting = "administrator.full_name"
    full_name, wrong = _name(names, account.full_name, setting, is_account_name=False)
    fix = f"{_source(account.full_name, names)}; until then it is the short name"
    problems += (_on_this_mac(one, fix) for one in wrong)
    password = account.password_hash
    if password and not is_password_hash(password):
        password = b""
        allowed = "a property list with the only key SALTED-SHA512-PBKDF2: entropy, iterations and salt"
        fix = "create it again, and send SetAutoAdminPassword; the administrator is made without a password"
        problems.append(Problem("administrator.password_hash", "", allowed, fix))
    return attrs.evolve(account, short_name=name, full_name=full_name, password_hash=password)


def _managed_user(
    profile: EnrollmentProfile,
    names: NameVariables,
    admin: AdministratorAccount | None,
    problems: list[Problem],
) -> str:
    text, setting = profile.managed_user, "managed_user"
    given = "" if profile.administrator is None else profile.administrator.short_name
    if admin is not None and text.lower() == given.lower():  # rule 5
        return admin.short_name
    name, wrong = _name(names, text, setting, is_account_name=True)
    if name and admin is not None and name.lower() == admin.short_name.lower():
        wrong, name = (Problem(setting, name, _NOT_TAKEN, ""),), ""
    instead = "" if name else ("no user is managed" if profile.skip_primary_account else _OTHERWISE_MANAGED)
    problems += (_on_this_mac(one, "; ".join(filter(None, (_source(text, names), instead)))) for one in wrong)
    return name


def _name(
    names: NameVariables, text: str, setting: str, *, is_account_name: bool
) -> tuple[str, tuple[Problem, ...]]:
    """Return *text* with its values, "" if it cannot be used, and its problems."""
    allowed = ACCOUNT_NAME_VARIABLES if is_account_name else FULL_NAME_VARIABLES
    name, problems = names.replaced(text, setting, allowed)
    if not problems:
        problems = tuple(check_name(setting, name, is_account_name=is_account_name))
    return name if _is_usable(problems) else "", problems


def _other_names(texts: Iterable[str], names: NameVariables) -> Iterator[str]:
    """Yield the names that can replace a wrong name of an administrator, the best first."""
    serial = re.sub("[^A-Za-z0-9]", "", names.serial_number)
    for text in texts:
        is_known = not any(check_variables("", text, ACCOUNT_NAME_VARIABLES))
        with_serial = VARIABLE.sub(serial, text) if is_known else ""
        for name in (_name(names, text, "", is_account_name=True)[0], with_serial):
            if name and not any(check_name("", name, is_account_name=True)):
                yield name
    yield _LAST_NAME


def _is_usable(problems: Iterable[Problem]) -> bool:
    return all(problem.severity is not Severity.ERROR for problem in problems)


def _on_this_mac(problem: Problem, fix: str) -> Problem:
    """Return *problem* as a warning about one Mac, which is set up all the same."""
    return attrs.evolve(problem, value=printable(problem.value)[:_SHOWN], fix=fix, severity=Severity.WARNING)


def _source(text: str, names: NameVariables) -> str:
    """Return what to correct: the sources of the values of the variables in *text*."""
    sources = {**SOURCES, **dict.fromkeys(map(str.lower, names.values), "what variables returns")}
    used = dict.fromkeys(sources.get(match[1].lower(), "the name") for match in VARIABLE.finditer(text))
    return f"correct {', '.join(used) or 'the name'}"


_SHOWN: Final = 80
_LAST_NAME: Final = "localadmin"
_NOT_TAKEN: Final = "another name than the administrator's"
_OTHERWISE_MANAGED: Final = "the account that Setup Assistant makes is managed"
