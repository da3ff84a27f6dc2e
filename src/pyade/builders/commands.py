"""Build and check the commands that end Setup Assistant: local accounts, and the release of a waiting Mac.

``AccountConfiguration`` only works while the Mac awaits its configuration, and once per enrollment;
``DeviceConfigured`` is the last command of that phase. ``enrollment.final_configuration`` decides when to
send them.

Source: Apple, commands ``AccountConfiguration`` and ``DeviceConfigured``.
"""

from __future__ import annotations

import plistlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pyade.builders.payload_keys import FILLED, Key, check_texts, valid_values, without_newer_keys
from pyade.core.arguments import check_arguments
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity, error, warning
from pyade.core.profile.accounts import (
    ACCOUNTS_FROM,
    MANAGED_USER_FROM,
    PREFILL_FROM,
    AdministratorAccount,
    NameVariables,
    PrimaryAccount,
    has_variables,
    is_password_hash,
)
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.setup_accounts import LocalAccounts, check_name, local_accounts, names_of
from pyade.core.secret import masked
from pyade.errors import ProfileError


@check_arguments
def build_account_configuration(
    profile: EnrollmentProfile,
    *,
    command_uuid: str | uuid.UUID,
    version: MacOSVersion | str | None = None,
    names: NameVariables | None = None,
    administrator: AdministratorAccount | None = None,
) -> bytes | None:
    """Return the command that creates the accounts of *profile*, as an XML property list.

    Settings that the Mac's version does not know are omitted. A name that is invalid for this Mac does not
    block the rest: ``core.profile.setup_accounts`` defines the replacement and reports the problem.

    Args:
        profile: The profile with the account settings.
        command_uuid: The Mac returns it in its response; use a new one for each command.
        version: Version of macOS; None omits nothing.
        names: Values of the variables in the names; None if there are none.
        administrator: The profile's administrator with a password for this Mac; None for the administrator
            of the profile.

    Returns:
        The command; None if there are no account settings, or none that this version knows.

    Raises:
        ProfileError: The names have variables and *names* is None, or the settings break a rule of Apple;
            ``problems`` lists all of them.
        VersionError: *version* is not a version.

    Source: Apple, ``AccountConfiguration``; specification, "Create an Apple enrollment profile", Account
    Settings.
    """
    release = None if version is None else MacOSVersion.of(version)
    accounts = local_accounts(profile, names or NameVariables(), version=release, administrator=administrator)
    if names is None and accounts.problems and any(map(has_variables, names_of(profile))):
        raise ProfileError(accounts.problems)  # the caller forgot them; a single Mac is not the cause
    return build_local_accounts(profile, accounts, command_uuid=command_uuid, version=release)


@check_arguments
def build_local_accounts(
    profile: EnrollmentProfile,
    accounts: LocalAccounts,
    *,
    command_uuid: str | uuid.UUID,
    version: MacOSVersion | None = None,
) -> bytes | None:
    """Return the same as ``build_account_configuration``, from *accounts* that are already determined.

    Args:
        profile: The profile with the account settings.
        accounts: The result of ``local_accounts`` for the profile and the Mac.
        command_uuid: The Mac returns it in its response; use a new one for each command.
        version: Version of macOS; None omits nothing.

    Raises:
        ProfileError: The settings break a rule of Apple; ``problems`` lists all of them.
    """
    settings: dict[str, Any] = {}
    if accounts.primary is not None:
        settings.update(_primary(accounts.primary))
    if accounts.administrator is not None:
        settings["AutoSetupAdminAccounts"] = [_administrator(accounts.administrator)]
        settings |= _user_account_kind(profile)
    if accounts.managed_user:
        settings[_MANAGED] = accounts.managed_user
    settings = without_newer_keys(version, settings, _SINCE)
    if not settings:
        return None
    if profile.requires_network_tether:
        settings[_TETHER] = True
    command = {"RequestType": _ACCOUNTS, **settings}
    return _encode_command(command, command_uuid, check_account_configuration(command, version=version))


@check_arguments
def build_device_configured(*, command_uuid: str | uuid.UUID) -> bytes:
    """Return the command that releases a Mac from Setup Assistant, as an XML property list.

    Args:
        command_uuid: The Mac returns it in its response; use a new one for each command.

    Raises:
        ProfileError: *command_uuid* is blank, or a text that XML cannot contain.

    Source: Apple, ``DeviceConfigured``.
    """
    return _encode_command({"RequestType": "DeviceConfigured"}, command_uuid, ())


@check_arguments(but=("command",))
def check_account_configuration(
    command: Mapping[str, Any],
    *,
    version: MacOSVersion | None = None,
    chip: ChipClass = ChipClass.UNKNOWN,
) -> tuple[Problem, ...]:
    """Return all problems of an ``AccountConfiguration`` command, errors and warnings.

    Args:
        command: The dictionary ``Command``, parsed by ``plistlib``.
        version: Version of macOS, to report what it does not support; None for any.
        chip: Chip of the Mac, for checks that only concern Apple silicon.

    Source: Apple, ``AccountConfiguration``.
    """
    if not isinstance(command, Mapping):
        fix = "pass the value of Command, parsed by plistlib"
        return (error(_ACCOUNTS, type(command).__name__, "a dictionary", fix),)
    problems: list[Problem] = []
    if version is not None and version < ACCOUNTS_FROM:
        problems.append(error(_ACCOUNTS, version, "macOS 10.11 and later", "do not send it"))
    valid = valid_values(_ACCOUNTS, command, _KEYS, problems)
    admins = valid.get("AutoSetupAdminAccounts", [])
    if len(admins) > 1:
        fix = "keep the first: macOS ignores the others"
        problems.append(error(f"{_ACCOUNTS}.AutoSetupAdminAccounts", len(admins), "one account", fix))
    admin: dict[str, Any] = {}
    where = f"{_ACCOUNTS}.AutoSetupAdminAccounts"
    if admins and not isinstance(admins[0], Mapping):
        problems.append(error(where, admins[0], "an array of dictionaries", "correct the array"))
    elif admins:
        admin = valid_values(where, admins[0], _ADMIN_KEYS, problems)
        problems += _password(admin)
    problems += _names(valid, admin)
    problems += _skipping(valid, admin, chip)
    problems += _prefilling(valid)
    problems += _managed_user(valid, admin)
    problems += _tether(valid)
    for key, since in _SINCE.items():
        if key in valid and version is not None and version < since:
            allowed = f"macOS {since}; {version} ignores it"
            problems.append(warning(f"{_ACCOUNTS}.{key}", "", allowed, "remove it"))
    return tuple(problems)


def _primary(account: PrimaryAccount) -> dict[str, Any]:
    """Return the keys of the user's account."""
    names = {"PrimaryAccountUserName": account.account_name, "PrimaryAccountFullName": account.full_name}
    given = {key: value for key, value in names.items() if value}
    if not given:
        return {_MANUAL: True}
    return {**given, _MANUAL: False, _LOCK: account.restrict_editing}


def _administrator(account: AdministratorAccount) -> dict[str, Any]:
    settings: dict[str, Any] = {"shortName": account.short_name, "hidden": account.hidden}
    if account.full_name:
        settings["fullName"] = account.full_name
    if account.password_hash:
        settings["passwordHash"] = masked(account.password_hash)
    return settings


def _user_account_kind(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return the keys for the kind of the user's account; without keys it is an administrator."""
    if profile.skip_primary_account:
        return {_SKIP: True}
    return {_REGULAR: True} if profile.standard_user else {}


def _encode_command(
    command: dict[str, Any], command_uuid: str | uuid.UUID, found: tuple[Problem, ...]
) -> bytes:
    name = str(command_uuid).upper() if isinstance(command_uuid, uuid.UUID) else command_uuid
    problems = list(check_texts("command_uuid", [name]))
    if not problems and not name.strip():
        allowed = "a text that is unique among the commands of this Mac"
        problems.append(error("command_uuid", "", allowed, "use a UUID"))
    problems += (problem for problem in found if problem.severity is Severity.ERROR)
    if problems:
        raise ProfileError(tuple(problems))
    return plistlib.dumps({"Command": command, "CommandUUID": name}, sort_keys=True)


def _names(command: Mapping[str, Any], admin: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of each name, and an error if both accounts have the same name."""
    user_name, short_name = command.get("PrimaryAccountUserName", ""), admin.get("shortName", "")
    account_names = {
        "PrimaryAccountUserName": user_name,
        _MANAGED: command.get(_MANAGED, ""),
        "AutoSetupAdminAccounts.shortName": short_name,
    }
    full_names = {
        "PrimaryAccountFullName": command.get("PrimaryAccountFullName", ""),
        "AutoSetupAdminAccounts.fullName": admin.get("fullName", ""),
    }
    for key, name in {**account_names, **full_names}.items():
        yield from check_name(f"{_ACCOUNTS}.{key}", name, is_account_name=key in account_names)
    if user_name and user_name.lower() == short_name.lower():
        fix = "rename one of them"
        yield error(
            f"{_ACCOUNTS}.PrimaryAccountUserName", user_name, "a name other than the administrator's", fix
        )


def _skipping(command: Mapping[str, Any], admin: Mapping[str, Any], chip: ChipClass) -> Iterator[Problem]:
    """Yield the problems of settings for no user's account, or for one that is not an administrator."""
    skip, regular = (f"{_ACCOUNTS}.{key}" for key in (_SKIP, _REGULAR))
    for key in (_SKIP, _REGULAR):
        if command.get(key) and not command.get("AutoSetupAdminAccounts"):
            fix = "add an administrator: a Mac needs at least one"
            yield error(f"{_ACCOUNTS}.{key}", True, "true only with AutoSetupAdminAccounts", fix)
    if not command.get(_SKIP):
        return
    for key in ("PrimaryAccountFullName", "PrimaryAccountUserName", "LockPrimaryAccountInfo"):
        if command.get(key):
            allowed = "absent if Setup Assistant creates no account"
            yield error(f"{_ACCOUNTS}.{key}", "", allowed, f"remove it, or {_SKIP}")
    if command.get(_REGULAR):
        yield warning(regular, True, "no effect if Setup Assistant creates no account", "remove it")
    if admin.get("hidden"):
        allowed = "a visible administrator: no other account can log in, except those of a directory"
        yield warning(f"{_ACCOUNTS}.AutoSetupAdminAccounts.hidden", True, allowed, "use false")
    if chip is ChipClass.APPLE_SILICON:
        allowed = "known limits: without an owner, FileVault and macOS updates need the bootstrap token"
        yield warning(skip, True, allowed, "escrow the bootstrap token")


def _prefilling(command: Mapping[str, Any]) -> Iterator[Problem]:
    given = [key for key in ("PrimaryAccountFullName", "PrimaryAccountUserName") if command.get(key)]
    lock, manual = command.get(_LOCK), command.get(_MANUAL)
    if lock and manual:
        yield error(f"{_ACCOUNTS}.{_LOCK}", True, f"true only without {_MANUAL}", "remove one of them")
    elif lock and not given:
        yield warning(f"{_ACCOUNTS}.{_LOCK}", True, "no effect without a name to lock", "remove it")
    if manual:
        for key in given:
            yield warning(f"{_ACCOUNTS}.{key}", "", f"ignored with {_MANUAL}", "remove one of them")


def _managed_user(command: Mapping[str, Any], admin: Mapping[str, Any]) -> Iterator[Problem]:
    name = command.get(_MANAGED, "")
    known = [command.get("PrimaryAccountUserName"), admin.get("shortName")]
    if name and any(known) and name not in known:
        allowed = "the name of the administrator or of the user's account"
        fix = "make sure that this account exists later"
        yield warning(f"{_ACCOUNTS}.{_MANAGED}", name, allowed, fix)


def _tether(command: Mapping[str, Any]) -> Iterator[Problem]:
    if command.get(_TETHER) and not any(command.get(key) for key in _KEYS if key not in _ABOUT_COMMAND):
        allowed = "true only with accounts: nothing else in the command waits for the wired network"
        yield warning(f"{_ACCOUNTS}.{_TETHER}", True, allowed, "remove it")


def _password(admin: Mapping[str, Any]) -> Iterator[Problem]:
    where = f"{_ACCOUNTS}.AutoSetupAdminAccounts.passwordHash"
    if not admin.get("passwordHash"):
        yield warning(where, "", "present: without it the administrator cannot log in", "add a password hash")
    elif not is_password_hash(admin["passwordHash"]):
        allowed = "a property list with the only key SALTED-SHA512-PBKDF2: entropy, iterations and salt"
        yield error(
            where, "", allowed, "create it again with hash_password: macOS will not accept this password"
        )


_ACCOUNTS: Final = "AccountConfiguration"
_SKIP: Final = "SkipPrimarySetupAccountCreation"
_REGULAR: Final = "SetPrimarySetupAccountAsRegularUser"
_LOCK: Final = "LockPrimaryAccountInfo"
_MANUAL: Final = "DontAutoPopulatePrimaryAccountInfo"
_MANAGED: Final = "ManagedLocalUserShortName"
_TETHER: Final = "RequestRequiresNetworkTether"

_KEYS: Final[Mapping[str, Key]] = {
    "RequestType": Key(str, True, allowed=(_ACCOUNTS,)),
    _SKIP: Key(bool),
    _REGULAR: Key(bool),
    "PrimaryAccountFullName": Key(str),
    "PrimaryAccountUserName": Key(str),
    _MANUAL: Key(bool),
    _LOCK: Key(bool),
    "AutoSetupAdminAccounts": Key(list),
    _MANAGED: Key(str),
    _TETHER: Key(bool),
}
_ABOUT_COMMAND: Final = ("RequestType", _TETHER)
_ADMIN_KEYS: Final[Mapping[str, Key]] = {
    "shortName": FILLED,
    "fullName": Key(str),
    "passwordHash": Key(bytes, secret=True),
    "hidden": Key(bool),
}
_SINCE: Final[Mapping[str, MacOSVersion]] = {
    "PrimaryAccountFullName": PREFILL_FROM,
    "PrimaryAccountUserName": PREFILL_FROM,
    _MANUAL: PREFILL_FROM,
    _LOCK: PREFILL_FROM,
    _MANAGED: MANAGED_USER_FROM,
    _TETHER: ACCOUNTS_FROM,
}
