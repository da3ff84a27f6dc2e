"""The ``AccountConfiguration`` of one Mac: the hooks of the caller are asked, and the command is built.

The rules of this file:

1. A hook that fails, or answers with another kind of thing, is no reason to go without the accounts: the flow
   comes again later. When the patience of the state has ended, the command is made without what that hook
   gives, and this is a problem of the Mac.
2. Of what a hook raised only the type is kept: its text may be secret. Of an answer of another kind it is
   told what is allowed.
3. The user and the version are those with which the Mac authenticated: a request for one more profile in the
   name of a Mac that waits must not name its account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import attrs

from pyade.builders.commands import build_local_accounts
from pyade.core.annotations import TEXT, Kind
from pyade.core.await_configuration import AwaitConfigurationFlow
from pyade.core.enrollment import Enrollment
from pyade.core.kinds import returned
from pyade.core.problems import Problem, Severity
from pyade.core.profile import AdministratorAccount, EnrollmentProfile
from pyade.core.setup_accounts import local_accounts, names_of
from pyade.core.user import NameVariables
from pyade.core.variables import DEVICE_NAME_VARIABLES, check_variables, names_device
from pyade.core.versions import MacOSVersion
from pyade.errors import ArgumentError, PolicyError, ProfileError
from pyade.flow import CallHook, Flow, Hook, ask

T = TypeVar("T")
AdministratorHook: TypeAlias = Hook[AdministratorAccount | None] | None
VariablesHook: TypeAlias = Hook[Mapping[str, str] | None] | None
DeviceName: TypeAlias = Hook[str] | str


@attrs.frozen(kw_only=True)
class AccountHooks:
    """What the caller of ``FinalConfiguration`` gave for the accounts.

    Attributes:
        administrator: See there, as the others.
        variables: Values of variables.
        device_name: Text with variables, or a hook.

    Raises:
        PolicyError: *device_name* holds a variable that it cannot have.
    """

    administrator: AdministratorHook = None
    variables: VariablesHook = None
    device_name: DeviceName = ""

    def __attrs_post_init__(self) -> None:
        if isinstance(self.device_name, str):
            for problem in check_variables("device_name", self.device_name, DEVICE_NAME_VARIABLES):
                raise PolicyError(str(problem))

    def functions(self) -> dict[str, Callable[..., object]]:
        """Return the hooks by the names of their arguments."""
        given = attrs.asdict(self, recurse=False)
        return {name: hook for name, hook in given.items() if callable(hook)}


@attrs.frozen(kw_only=True)
class MadeAccounts:
    """What became of the command.

    Attributes:
        body: Secret. The command; None if there is nothing to send.
        problems: What is wrong with the accounts of this Mac.
        failure: Why it could not be made at all; "" if it could.
    """

    body: bytes | None = attrs.field(repr=False)
    problems: tuple[Problem, ...] = ()
    failure: str = ""


@attrs.frozen
class Delay:
    """It cannot be made yet.

    Attributes:
        reason: Which hook failed, and how.
    """

    reason: str


def accounts_flow(
    enrollment: Enrollment,
    profile: EnrollmentProfile | None,
    hooks: AccountHooks,
    command_uuid: str,
    *,
    state: AwaitConfigurationFlow,
    now: datetime,
) -> Flow[MadeAccounts | Delay]:
    """Return the command for the Mac of *enrollment*; ``Delay`` if a hook failed and may be asked again.

    Args:
        enrollment: The Mac.
        profile: The profile that it was given last; None if that is not stored any more.
        hooks: What the caller gave.
        command_uuid: Of the command.
        state: Of the Mac, which says how long a hook is waited for.
        now: The time, UTC.
    """
    if profile is None:
        named = repr(enrollment.profile_uuid or "the default")
        return MadeAccounts(body=None, failure=f"the profile {named} is not stored any more")
    if enrollment.installed is not None:
        mac = enrollment.installed
        enrollment = attrs.evolve(enrollment, user=mac.user, version=mac.version)
    is_last = state.accounts_delayed(now=now).is_delay_over(now)
    try:
        return (yield from _made(enrollment, profile, hooks, command_uuid, is_last=is_last))
    except _HookError as error:
        return Delay(str(error))


def _made(
    enrollment: Enrollment,
    profile: EnrollmentProfile,
    hooks: AccountHooks,
    command_uuid: str,
    *,
    is_last: bool,
) -> Flow[MadeAccounts]:
    asking = _Asking(enrollment, is_last=is_last)
    own: AdministratorAccount | None = None
    if hooks.administrator is not None and profile.administrator is not None:
        fallback = "the administrator of the profile is made, with the password that is set there"
        own = yield from asking.ask("administrator", hooks.administrator, _account, fallback)
    names = yield from _names(profile, hooks, asking)
    version = MacOSVersion.of(enrollment.version) if enrollment.version else None
    accounts = local_accounts(profile, names, version=version, administrator=own)
    try:
        body = build_local_accounts(profile, accounts, command_uuid=command_uuid, version=version)
    except ProfileError as error:
        return MadeAccounts(body=None, failure="; ".join(map(str, error.problems)))
    return MadeAccounts(body=body, problems=(*asking.problems, *accounts.problems))


def _names(profile: EnrollmentProfile, hooks: AccountHooks, asking: _Asking) -> Flow[NameVariables]:
    """Return what the variables stand for; the name of the device is only asked for if a name needs it."""
    mac = asking.enrollment
    names = NameVariables(user=mac.user, serial_number=mac.serial_number)
    if hooks.variables is not None:
        fallback = "the variables have their usual values"
        usual = names
        read = partial(_with_values, usual)
        names = (yield from asking.ask("variables", hooks.variables, read, fallback)) or usual
    if not names_device(*names_of(profile)):
        return names
    device_name: str | None = ""
    if not isinstance(hooks.device_name, str):
        device_name = yield from asking.ask("device_name", hooks.device_name, _text, "it has no value")
    elif hooks.device_name:
        device_name, problems = names.replaced(hooks.device_name, "device_name", DEVICE_NAME_VARIABLES)
        asking.problems += (attrs.evolve(problem, severity=Severity.WARNING) for problem in problems)
    return attrs.evolve(names, device_name=device_name or "")


class _HookError(Exception):
    """A hook failed; its text says which, and nothing of what it said."""


class _Asking:
    """Asks hooks about one Mac, and collects the problems of those that fail the last time."""

    def __init__(self, enrollment: Enrollment, *, is_last: bool) -> None:
        self.enrollment = enrollment
        self.problems: list[Problem] = []
        self._is_last = is_last

    def ask(self, name: str, hook: Hook[Any], read: Callable[[Any], T], fallback: str) -> Flow[T | None]:
        """Return what *read* makes of the answer of *hook*; None if that failed the last time."""
        try:
            answer = yield from ask(CallHook(hook, (self.enrollment,), name))
        except Exception as error:  # noqa: BLE001 - a hook of the caller's must not hold a Mac for ever
            what = f"the hook failed with {type(error).__name__}"
        else:
            try:
                return read(answer)
            except (ArgumentError, PolicyError) as error:
                what = str(error)  # in words of pyade's, which show nothing of a text
        if not self._is_last:
            raise _HookError(f"{name}: {what}")
        self.problems.append(Problem(name, "", what, f"correct the hook; {fallback}", Severity.WARNING))
        return None


def _account(answer: Any) -> AdministratorAccount | None:
    account: AdministratorAccount | None = returned("administrator", answer, _ACCOUNT)
    return account


def _text(answer: Any) -> str:
    text: str = returned("device_name", answer, TEXT)
    return text


def _with_values(usual: NameVariables, answer: Any) -> NameVariables:
    return usual if answer is None else attrs.evolve(usual, values=answer)


def _is_account(answer: object) -> bool:
    if not isinstance(answer, AdministratorAccount):
        return answer is None
    kinds = {"short_name": str, "full_name": str, "hidden": bool, "password_hash": bytes}
    return all(isinstance(getattr(answer, name), kind) for name, kind in kinds.items())


_ACCOUNT: Final = Kind(_is_account, "an AdministratorAccount, or None", "AdministratorAccount objects")
