"""The end of Setup Assistant on a simulated Mac: check in, await configuration, carry out commands.

::

    Authenticate --> TokenUpdate (AwaitingConfiguration) --> Idle --> command --> result --> command ...
                                                              |
                                                              +--> nothing: it keeps waiting

Written without ``pyade.builders``, as an independent check of what it writes.

Source: Apple, check-in; "Sending MDM commands"; ``AccountConfiguration`` and ``DeviceConfigured``. Observed:
a second ``AccountConfiguration`` fails, and so does one while the Mac does not await configuration.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.core.macos.versions import MacOSVersion
from pyade.flow import CallHook, Flow, ask
from pyade.hooks import Hook
from pyade.testing.errors import MacError
from pyade.testing.mac.state import MacState
from pyade.text import short_repr


@attrs.frozen(kw_only=True)
class FakeSetup:
    """The commands that a Mac received while it awaited configuration, and their result.

    Attributes:
        commands: The received commands, each the dictionary under ``Command``; may hold a password hash.
        errors: Why the Mac refused commands.
        administrator: Account name of the created administrator; "" for none.
        administrator_full_name: Full name of that account.
        has_password: True if the administrator can log in.
        account_name: The prefilled account name of the user; "" for none.
        full_name: The prefilled full name of the user; "" for none.
        is_locked: True if the user cannot edit the prefilled values.
        shows_account_screen: False if Setup Assistant skips the creation of the user's account.
        is_standard_user: True if that account is not an administrator.
        is_released: True if the Mac received ``DeviceConfigured``.
    """

    def __repr__(self) -> str:
        return short_repr(self)

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
        """The first received ``AccountConfiguration``; None if there was none."""
        return next((one for one in self.commands if one["RequestType"] == _ACCOUNTS), None)


def setup_flow(mac: MacState, send: Hook[bytes], *, checks_in: bool) -> Flow[FakeSetup]:
    """Poll for commands and carry them out until there are no more, and return the result.

    Args:
        mac: The Mac.
        send: Takes the body of each message, and returns the body of the response.
        checks_in: False if the Mac has checked in before and only polls again.

    Raises:
        MacError: A response is not a command, or the commands do not end.
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
    raise MacError(f"the Mac got {_COMMANDS} commands and no DeviceConfigured")


def _send(send: Hook[bytes], message: Mapping[str, Any]) -> Flow[bytes]:
    return ask(CallHook(send, (plistlib.dumps(dict(message)),)))


def _read_command(body: bytes) -> tuple[dict[str, Any], str]:
    try:
        document = plistlib.loads(body)
        command, command_uuid = document["Command"], document["CommandUUID"]
        _ = command["RequestType"]
    except Exception as error:
        raise MacError(f"the response is not a command: {type(error).__name__}") from error
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
    """Yield why macOS would refuse these accounts, or why the user could not continue with them."""
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
            yield f"shortName {admin.get('shortName')!r} is not a valid account name"
        if "passwordHash" in admin and not _is_hash(admin["passwordHash"]):
            yield "passwordHash is not a SALTED-SHA512-PBKDF2 hash"
    taken = [admin.get("shortName", "").lower() for admin in admins[:1]]
    yield from _find_name_errors(keys, taken)


def _find_name_errors(keys: Mapping[str, Any], taken: list[str]) -> Iterator[str]:
    name, full_name = (keys.get(key, "") for key in _PREFILLED)
    if name and (name.lower() in (*taken, *_SYSTEM_ACCOUNTS) or re.search(r"[\s:/\\]", name)):
        yield f"PrimaryAccountUserName {name!r} is not available"
    if name and keys.get("LockPrimaryAccountInfo") and not _NAME.fullmatch(name):
        yield f"PrimaryAccountUserName {name!r} is locked, and Setup Assistant does not accept it"
    if ":" in full_name:
        yield f"PrimaryAccountFullName {full_name!r} has a colon"


def _is_hash(data: Any) -> bool:
    try:
        return set(plistlib.loads(data)) == {"SALTED-SHA512-PBKDF2"}
    except Exception:  # noqa: BLE001 - plistlib raises errors of many types
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
