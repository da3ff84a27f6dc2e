"""What a Mac does at the end of Setup Assistant: it checks in, awaits, and does what it is told.

::

    Authenticate --> TokenUpdate (AwaitingConfiguration) --> Idle --> command --> result --> command ...
                                                              |
                                                              +--> nothing: it goes on waiting

Written with no code of ``pyade.builders``, so that what it makes has a second reader.

Source: Apple, check-in; "Sending MDM commands"; ``AccountConfiguration`` and ``DeviceConfigured``. That a
second ``AccountConfiguration`` and one outside of the wait fail is observed.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.core.macos.versions import MacOSVersion
from pyade.flow import CallHook, Flow, Hook, ask
from pyade.testing.errors import MacError
from pyade.testing.mac.state import MacState


@attrs.frozen(kw_only=True)
class FakeSetup:
    """What a Mac was told while it awaited its configuration, and what came of it.

    Attributes:
        commands: The commands as they came, each the dictionary under ``Command``; may hold a password hash.
        errors: Why it refused commands.
        administrator: Account name of the administrator that it made; "" for none.
        administrator_full_name: That account's full name.
        has_password: True if the administrator can log in.
        account_name: What is filled in for the account of the person at the Mac; "" for nothing.
        full_name: Likewise.
        is_locked: True if what is filled in cannot be edited.
        shows_account_screen: False if nobody makes an account in Setup Assistant.
        is_standard_user: True if that account is no administrator.
        is_released: True if the Mac was let go.
    """

    commands: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False, hash=False)
    errors: tuple[str, ...] = ()
    administrator: str = ""
    administrator_full_name: str = ""
    has_password: bool = False
    account_name: str = ""
    full_name: str = ""
    is_locked: bool = False
    shows_account_screen: bool = True
    is_standard_user: bool = False
    is_released: bool = False

    @property
    def account_configuration(self) -> Mapping[str, Any] | None:
        """The first ``AccountConfiguration``, as it came; None if none came."""
        return next((one for one in self.commands if one["RequestType"] == _ACCOUNTS), None)


def setup_flow(mac: MacState, send: Hook[bytes], *, checks_in: bool) -> Flow[FakeSetup]:
    """Return what came of it when the Mac has asked until there was nothing for it.

    Args:
        mac: The Mac.
        send: Takes the body of each message, and returns that of the answer.
        checks_in: False if it has checked in before, and only asks again.

    Raises:
        MacError: An answer is no command.
    """
    about = {"UDID": mac.udid, "Topic": _TOPIC}
    if checks_in:
        yield from _send(send, {**about, "MessageType": "Authenticate", "SerialNumber": mac.serial_number})
        yield from _send(send, {**about, "MessageType": "TokenUpdate", "AwaitingConfiguration": True})
    setup = FakeSetup()
    body = yield from _send(send, {"UDID": mac.udid, "Status": "Idle"})
    for _ in range(_COMMANDS):
        if not body:
            return setup
        command, command_uuid = _read_command(body)
        before = setup
        setup = _execute(setup, command, mac.version)
        result: dict[str, Any] = {"UDID": mac.udid, "CommandUUID": command_uuid, "Status": "Acknowledged"}
        if setup.errors != before.errors:
            chain = {"ErrorDomain": _DOMAIN, "ErrorCode": 101, "USEnglishDescription": setup.errors[-1]}
            result |= {"Status": "Error", "ErrorChain": [chain]}
        body = yield from _send(send, result)
        if setup.is_released:
            yield from _send(send, {**about, "MessageType": "TokenUpdate"})
            return setup
    raise MacError(f"the Mac got {_COMMANDS} commands and was not let go")


def _send(send: Hook[bytes], message: Mapping[str, Any]) -> Flow[bytes]:
    return ask(CallHook(send, (plistlib.dumps(dict(message)),)))


def _read_command(body: bytes) -> tuple[dict[str, Any], str]:
    try:
        document = plistlib.loads(body)
        command, command_uuid = document["Command"], document["CommandUUID"]
        _ = command["RequestType"]
    except Exception as error:
        raise MacError(f"what the Mac got is no command: {type(error).__name__}") from error
    return command, command_uuid


def _execute(setup: FakeSetup, command: Mapping[str, Any], version: MacOSVersion) -> FakeSetup:
    had_accounts = setup.account_configuration is not None
    setup = attrs.evolve(setup, commands=(*setup.commands, command))
    if command["RequestType"] == "DeviceConfigured":
        return attrs.evolve(setup, is_released=True)
    if command["RequestType"] != _ACCOUNTS:
        return setup
    known = {key: value for key, value in command.items() if version >= _SINCE.get(key, version)}
    wrong = ["accounts were set up before"] if had_accounts else list(_find_errors(known, version))
    if wrong:
        return attrs.evolve(setup, errors=(*setup.errors, *wrong[:1]))
    [admin] = known.get("AutoSetupAdminAccounts", [])[:1] or [{}]
    fills = not known.get("DontAutoPopulatePrimaryAccountInfo", False)
    name, full_name = (known.get(key, "") if fills else "" for key in _PREFILLED)
    return attrs.evolve(
        setup,
        administrator=admin.get("shortName", ""),
        administrator_full_name=admin.get("fullName", admin.get("shortName", "")),
        has_password="passwordHash" in admin,
        account_name=name,
        full_name=full_name,
        is_locked=bool(known.get("LockPrimaryAccountInfo") and (name or full_name)),
        shows_account_screen=not known.get(_SKIP, False),
        is_standard_user=known.get(_REGULAR, False),
    )


def _find_errors(keys: Mapping[str, Any], version: MacOSVersion) -> Iterator[str]:
    """Yield why macOS would not make these accounts, or the person at the Mac could not go on with them."""
    if version < MacOSVersion(10, 11):
        yield f"macOS {version} has no AccountConfiguration"
    admins = keys.get("AutoSetupAdminAccounts", [])
    for key in (_SKIP, _REGULAR):
        if keys.get(key) and not admins:
            yield f"{key} without AutoSetupAdminAccounts"
    if keys.get("LockPrimaryAccountInfo") and keys.get("DontAutoPopulatePrimaryAccountInfo"):
        yield "LockPrimaryAccountInfo with DontAutoPopulatePrimaryAccountInfo"
    for admin in admins[:1]:
        if not _NAME.fullmatch(admin.get("shortName", "")) or admin["shortName"].lower() in _SYSTEM_ACCOUNTS:
            yield f"shortName {admin.get('shortName')!r} is no account name"
        if "passwordHash" in admin and not _is_hash(admin["passwordHash"]):
            yield "passwordHash is none"
    taken = [admin.get("shortName", "").lower() for admin in admins[:1]]
    yield from _find_name_errors(keys, taken)


def _find_name_errors(keys: Mapping[str, Any], taken: list[str]) -> Iterator[str]:
    name, full_name = (keys.get(key, "") for key in _PREFILLED)
    if name and (name.lower() in (*taken, *_SYSTEM_ACCOUNTS) or re.search(r"[\s:/\\]", name)):
        yield f"PrimaryAccountUserName {name!r} cannot be made"
    if name and keys.get("LockPrimaryAccountInfo") and not _NAME.fullmatch(name):
        yield f"PrimaryAccountUserName {name!r} is locked, and Setup Assistant does not take it"
    if ":" in full_name:
        yield f"PrimaryAccountFullName {full_name!r} has a colon"


def _is_hash(data: Any) -> bool:
    try:
        return set(plistlib.loads(data)) == {"SALTED-SHA512-PBKDF2"}
    except Exception:  # noqa: BLE001 - plistlib lets errors of many kinds through
        return False


_ACCOUNTS: Final = "AccountConfiguration"
_SKIP: Final = "SkipPrimarySetupAccountCreation"
_REGULAR: Final = "SetPrimarySetupAccountAsRegularUser"
_PREFILLED: Final = ("PrimaryAccountUserName", "PrimaryAccountFullName")
_SINCE: Final = {
    **dict.fromkeys(
        (*_PREFILLED, "DontAutoPopulatePrimaryAccountInfo", "LockPrimaryAccountInfo"), MacOSVersion(10, 15)
    ),
    "ManagedLocalUserShortName": MacOSVersion(11),
}
_NAME: Final = re.compile(r"(?=[^A-Za-z]{0,243}[A-Za-z])[A-Za-z0-9_][A-Za-z0-9_.-]{0,243}")
_SYSTEM_ACCOUNTS: Final = ("root", "daemon", "nobody", "guest", "shared")
_DOMAIN: Final = "MDMDeviceEnrollment"
_TOPIC: Final = "com.apple.mgmt.External.00000000-0000-4000-8000-000000000001"
_COMMANDS: Final = 100
