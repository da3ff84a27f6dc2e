"""Apply the events of a Mac that awaits its final configuration to its stored state, and build its commands.

The rules of this file:

1. A command is stored as sent, in one transaction, before it is returned. If the program dies in between, the
   Mac gets the command again with the same UUID when it asks later.
2. Of workers that ask at the same time, one gets the command and the others get None.
3. Accounts that cannot be made never block the release. If a name is unusable, the Mac immediately gets
   everything else. If a hook of the caller fails or returns a wrong type, it is called again later until the
   patience of the state ends; then the command is built without that hook, which is a problem of the Mac.
4. A Mac that reports that it awaits is released even if its profile does not ask it to wait: immediately, and
   without account settings.
5. ``Authenticate`` starts the state and the registration anew, with the settings of the newest profile issued
   to the Mac. The user of a profile that is issued later changes nothing in the Mac's accounts. After
   ``CheckOut`` no profile counts as installed.
6. The problems of a Mac's accounts are stored with its state, and as an event in the same transaction.
7. Of an exception of a hook only the type is kept: its text may be secret. If a hook returns a wrong type,
   the problem says what is allowed.
8. The user and the version are those with which the Mac authenticated: a request for another profile in the
   name of a waiting Mac must not name its account.

Source: specification, "Create an Apple enrollment profile", Await final configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs

from pyade.builders.commands import build_device_configured, build_local_accounts
from pyade.core.arguments import TEXT, ArgumentType, check_returned
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity
from pyade.core.profile.accounts import (
    DEVICE_NAME_VARIABLES,
    AdministratorAccount,
    NameVariables,
    check_variables,
    names_device,
)
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.setup_accounts import local_accounts, names_of
from pyade.enrollment.admission import require_enrolled
from pyade.enrollment.final_configuration_state import (
    AwaitConfigurationFlow,
    AwaitPhase,
    AwaitProgress,
    CommandStatus,
    SetupAction,
    SetupCommand,
)
from pyade.enrollment.steps import in_store, retried
from pyade.errors import ArgumentError, PolicyError, ProfileError, StoreError, UnknownTokenError
from pyade.flow import CallHook, Flow, NewId, Now, ask
from pyade.hooks import Hook
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger, short_repr

T = TypeVar("T")
AdministratorHook: TypeAlias = Hook[AdministratorAccount | None] | None
VariablesHook: TypeAlias = Hook[Mapping[str, str] | None] | None
DeviceName: TypeAlias = Hook[str] | str
State: TypeAlias = AwaitConfigurationFlow | None

_log = logger(__name__)


@attrs.frozen(kw_only=True)
class Command:
    """The command for a Mac that asks for its next one.

    Attributes:
        command_uuid: The Mac sends it back with the result; it is the same again if the last attempt has no
            result.
        name: Which command it is.
        body: Secret. The XML property list, for the body of the response.
    """

    command_uuid: str
    name: SetupCommand
    body: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class WaitingMac:
    """A Mac that awaits its final configuration.

    Attributes:
        enrollment: Its enrollment.
        progress: What it waits for, with problems.
        action: What can be sent now. If there is a command, a push makes the Mac ask for it.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    enrollment: Enrollment
    progress: AwaitProgress
    action: SetupAction


@attrs.frozen(kw_only=True)
class AccountHooks:
    """The arguments of ``FinalConfiguration`` for the accounts; see there for each.

    Attributes:
        administrator: Hook for the administrator account.
        variables: Hook for the values of variables.
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
    """The outcome of building ``AccountConfiguration``.

    Attributes:
        body: Secret. The command; None if there is nothing to send.
        problems: What is wrong with the accounts of this Mac.
        failure: Why the command could not be built at all; "" if it could.
    """

    body: bytes | None = attrs.field(repr=False)
    problems: tuple[Problem, ...] = ()
    failure: str = ""


@attrs.frozen
class Delay:
    """The command cannot be built yet.

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
    """Return the command for the Mac of *enrollment*; ``Delay`` if a hook failed and is to be called again.

    Args:
        enrollment: The Mac.
        profile: The newest profile issued to it; None if that is not stored any more.
        hooks: The caller's hooks.
        command_uuid: UUID of the command.
        state: State of the Mac, which limits how long a hook may fail.
        now: The time, UTC.
    """
    if profile is None:
        named = repr(enrollment.profile_uuid or "the default")
        return MadeAccounts(body=None, failure=f"the profile {named} is not stored any more")
    if enrollment.installed is not None:  # rule 8
        mac = enrollment.installed
        enrollment = attrs.evolve(enrollment, user=mac.user, version=mac.version)
    is_last = state.accounts_delayed(now=now).is_delay_over(now)
    try:
        return (yield from _make_accounts(enrollment, profile, hooks, command_uuid, is_last=is_last))
    except _HookError as error:
        return Delay(str(error))


def _make_accounts(
    enrollment: Enrollment,
    profile: EnrollmentProfile,
    hooks: AccountHooks,
    command_uuid: str,
    *,
    is_last: bool,
) -> Flow[MadeAccounts]:
    caller = _HookCaller(enrollment, is_last=is_last)
    own: AdministratorAccount | None = None
    if hooks.administrator is not None and profile.administrator is not None:
        fallback = "the Mac got the administrator of the profile, with the password that is set there"
        own = yield from caller.call("administrator", hooks.administrator, _check_account, fallback)
    names = yield from _resolve_names(profile, hooks, caller)
    version = MacOSVersion.of(enrollment.version) if enrollment.version else None
    accounts = local_accounts(profile, names, version=version, administrator=own)
    try:
        body = build_local_accounts(profile, accounts, command_uuid=command_uuid, version=version)
    except ProfileError as error:
        return MadeAccounts(body=None, failure="; ".join(map(str, error.problems)))
    return MadeAccounts(body=body, problems=(*caller.problems, *accounts.problems))


def _resolve_names(
    profile: EnrollmentProfile, hooks: AccountHooks, caller: _HookCaller
) -> Flow[NameVariables]:
    """Return the values of the variables; the hook for the device name is only called if a name needs it."""
    mac = caller.enrollment
    names = NameVariables(user=mac.user, serial_number=mac.serial_number)
    if hooks.variables is not None:
        fallback = "the variables got their default values"
        default = names
        convert = partial(_apply_values, default)
        names = (yield from caller.call("variables", hooks.variables, convert, fallback)) or default
    if not names_device(*names_of(profile)):
        return names
    device_name: str | None = ""
    if not isinstance(hooks.device_name, str):
        device_name = yield from caller.call(
            "device_name", hooks.device_name, _check_text, "the variable got no value"
        )
    elif hooks.device_name:
        device_name, problems = names.replaced(hooks.device_name, "device_name", DEVICE_NAME_VARIABLES)
        caller.problems += (attrs.evolve(problem, severity=Severity.WARNING) for problem in problems)
    return attrs.evolve(names, device_name=device_name or "")


class _HookError(Exception):
    """A hook failed; the message has its name and the kind of failure only (rule 7)."""


class _HookCaller:
    """Calls hooks for one Mac, and collects the problems of those that fail the last time."""

    def __init__(self, enrollment: Enrollment, *, is_last: bool) -> None:
        self.enrollment = enrollment
        self.problems: list[Problem] = []
        self._is_last = is_last

    def call(self, name: str, hook: Hook[Any], convert: Callable[[Any], T], fallback: str) -> Flow[T | None]:
        """Return the converted result of *hook*; None if it failed the last time."""
        try:
            value = yield from ask(CallHook(hook, (self.enrollment,), name))
        except Exception as error:  # noqa: BLE001 - a failing hook must not block a Mac for ever
            what = f"the hook failed with {type(error).__name__}"  # rule 7
        else:
            try:
                return convert(value)
            except (ArgumentError, PolicyError) as error:
                what = str(error)  # a message of pyade, which does not quote the value
        if not self._is_last:  # rule 3
            raise _HookError(f"{name}: {what}")
        self.problems.append(Problem(name, "", what, f"correct the hook; {fallback}", Severity.WARNING))
        return None


def _check_account(value: Any) -> AdministratorAccount | None:
    account: AdministratorAccount | None = check_returned("administrator", value, _ACCOUNT)
    return account


def _check_text(value: Any) -> str:
    text: str = check_returned("device_name", value, TEXT)
    return text


def _apply_values(default: NameVariables, values: Any) -> NameVariables:
    return default if values is None else attrs.evolve(default, values=values)


def _is_account(value: object) -> bool:
    if not isinstance(value, AdministratorAccount):
        return value is None
    kinds = {"short_name": str, "full_name": str, "hidden": bool, "password_hash": bytes}
    return all(isinstance(getattr(value, name), kind) for name, kind in kinds.items())


_ACCOUNT: Final = ArgumentType(
    _is_account, "an AdministratorAccount, or None", "AdministratorAccount objects"
)


@attrs.frozen(kw_only=True)
class _Outcome(Generic[T]):
    """The outcome of an event.

    Attributes:
        state: The next state.
        result: What the caller gets.
        warning: What to log; "" for nothing.
        enrollment: The changed enrollment, where more than the state changes.
    """

    state: State
    result: T
    warning: str = ""
    enrollment: Enrollment | None = None


_Change: TypeAlias = Callable[[Enrollment, State, datetime], Flow[_Outcome[T]]]


def waiting_state(
    profile: EnrollmentProfile, *, release_after: timedelta | None, before: Enrollment | None = None
) -> Mapping[str, Any] | None:
    """Return what is stored in ``Enrollment.awaiting`` when a profile is issued to a Mac.

    A Mac that waits keeps its state until its next ``Authenticate``: a client that replays the Mac's signed
    message must not clear the fact that it waits.
    """
    previous = None if before is None else before.awaiting
    if previous is not None and previous.get("phase") == AwaitPhase.AWAITING:
        return previous
    state = _new_state(profile, release_after)
    return None if state is None else state.to_json()


def authenticated_flow(serial_number: str, *, checks_out: bool = False) -> Flow[None]:
    """Record ``Authenticate`` or ``CheckOut``: restart with the newest profile issued to the Mac."""

    def change(enrollment: Enrollment, state: State, _: datetime) -> Flow[_Outcome[None]]:
        changed = attrs.evolve(enrollment, installed=None) if checks_out else enrollment.authenticated()
        profile = yield from in_store(lambda store: _profile_of(store, enrollment))  # rule 5
        if profile is not None:
            state = _new_state(profile, None if state is None else state.release_after)
        elif state is not None:
            state = state.authenticated()
        return _Outcome(state=state, result=None, enrollment=changed)

    return _change_with_retry(serial_number, change)


def token_updated_flow(serial_number: str, *, awaiting: bool) -> Flow[None]:
    """Record a ``TokenUpdate`` of the device channel."""

    def change(_: Enrollment, state: State, now: datetime) -> Flow[_Outcome[None]]:
        yield from ()
        if state is not None:
            return _Outcome(state=state.token_updated(awaiting=awaiting, now=now), result=None)
        if not awaiting:
            return _Outcome(state=None, result=None)
        state = AwaitConfigurationFlow(has_accounts=False).token_updated(awaiting=True, now=now)  # rule 4
        warning = "it awaits its configuration although its profile does not ask for that: it is released"
        return _Outcome(state=state.work_left(()), result=None, warning=warning)

    return _change_with_retry(serial_number, change)


def answered_flow(serial_number: str, command_uuid: str, status: str) -> Flow[None]:
    """Record the result of a command."""
    return _evolve_state(
        serial_number, lambda state, now: state.answered(command_uuid, CommandStatus(status), now=now)
    )


def work_left_flow(serial_number: str, names: Iterable[str]) -> Flow[None]:
    """Record what the caller still has to install."""
    given = (names,) if isinstance(names, str) else tuple(names)
    return _evolve_state(serial_number, lambda state, _: state.work_left(given))


def release_flow(serial_number: str) -> Flow[None]:
    """Record that the caller released the Mac without waiting for the work."""
    return _evolve_state(serial_number, lambda state, _: state.released_now())


def next_command_flow(serial_number: str, hooks: AccountHooks) -> Flow[Command | None]:
    """Return the command to send now, after storing it as sent."""

    def change(enrollment: Enrollment, state: State, now: datetime) -> Flow[_Outcome[Command | None]]:
        if state is None:
            return _Outcome(state=None, result=None)
        warning = ""
        action = state.next_action(now)
        if action.send is SetupCommand.ACCOUNT_CONFIGURATION:
            command_uuid = yield from _choose_uuid(state, action.send)
            profile = yield from in_store(lambda store: _profile_of(store, enrollment))
            made = yield from accounts_flow(enrollment, profile, hooks, command_uuid, state=state, now=now)
            if isinstance(made, Delay):
                warning = f"AccountConfiguration cannot be built now: {made.reason}"
                return _Outcome(state=state.accounts_delayed(now=now), result=None, warning=warning)
            state = state.with_problems(made.problems)
            if made.problems:
                warning = f"AccountConfiguration: {'; '.join(map(str, made.problems))}"
            if made.body is not None:
                return attrs.evolve(
                    _send_command(state, action.send, command_uuid, made.body, now), warning=warning
                )
            if made.failure:
                state = state.without_accounts(made.failure)
                warning = f"AccountConfiguration cannot be built and is not sent: {made.failure}"
            else:
                # Its version of macOS supports none of the settings.
                state = attrs.evolve(state, has_accounts=False)
            action = state.next_action(now)
        if action.send is SetupCommand.DEVICE_CONFIGURED:
            command_uuid = yield from _choose_uuid(state, action.send)
            body = build_device_configured(command_uuid=command_uuid)
            return attrs.evolve(_send_command(state, action.send, command_uuid, body, now), warning=warning)
        return _Outcome(state=state, result=None, warning=warning)

    return _change_with_retry(serial_number, change)


def progress_flow(serial_number: str) -> Flow[AwaitProgress]:
    """Return what a Mac waits for."""
    now = yield from ask(Now())
    stored = yield from in_store(lambda store: store.enrollment(serial_number))
    state = _state_of(require_enrolled(stored, serial_number))
    if state is not None:
        return state.progress(now)
    return AwaitProgress(phase=AwaitPhase.NOT_AWAITING, awaiting_since=None, outstanding=(), problems=())


def waiting_mac(enrollment: Enrollment, now: datetime, *, due: bool) -> WaitingMac | None:
    """Return the Mac if it waits, and with *due* if a command can be sent to it now; otherwise None."""
    try:
        state = _state_of(enrollment)
    except StoreError as error:
        # A state that cannot be read must not hide the other Macs that wait.
        _log.warning("%s: %s", enrollment.serial_number[:40], error)
        return None
    if state is None or state.phase is not AwaitPhase.AWAITING:
        return None
    action = state.next_action(now)
    if due and action.send is None:
        return None
    return WaitingMac(enrollment=enrollment, progress=state.progress(now), action=action)


def _evolve_state(
    serial_number: str, event: Callable[[AwaitConfigurationFlow, datetime], AwaitConfigurationFlow]
) -> Flow[None]:
    def change(_: Enrollment, state: State, now: datetime) -> Flow[_Outcome[None]]:
        yield from ()
        return _Outcome(state=None if state is None else event(state, now), result=None)

    return _change_with_retry(serial_number, change)


def _change_with_retry(serial_number: str, change: _Change[T]) -> Flow[T]:
    """Apply *change* to a Mac's state and store it; repeat this if another worker changed it meanwhile."""
    return retried(lambda: _change_once(serial_number, change))  # rule 2


def _change_once(serial_number: str, change: _Change[T]) -> Flow[T]:
    now = yield from ask(Now())
    stored = yield from in_store(lambda store: store.enrollment(serial_number))
    enrollment = require_enrolled(stored, serial_number)
    before = _state_of(enrollment)
    outcome = yield from change(enrollment, before, now)
    changed = outcome.enrollment or enrollment
    if outcome.state != before or changed != enrollment:
        document = None if outcome.state is None else outcome.state.to_json()
        changed = attrs.evolve(changed, awaiting=document)
        events = _events(changed, before, outcome.state, now)
        yield from in_store(partial(_save, enrollment=changed, events=events))  # rules 1 and 6
    if outcome.warning:
        _log.warning("%s: %s", serial_number[:40], outcome.warning)
    return outcome.result


def _send_command(
    state: AwaitConfigurationFlow, name: SetupCommand, command_uuid: str, body: bytes, now: datetime
) -> _Outcome[Command | None]:
    return _Outcome(
        state=state.sent(name, command_uuid=command_uuid, now=now),
        result=Command(command_uuid=command_uuid, name=name, body=body),
    )


def _profile_of(store: EnrollmentStore, enrollment: Enrollment) -> EnrollmentProfile | None:
    """Return the newest profile issued to a Mac; None if it is not stored any more."""
    try:
        if enrollment.profile_uuid is None:
            return store.default_profile(enrollment.token_name)
        defined = store.defined_profile(enrollment.token_name, enrollment.profile_uuid)
    except UnknownTokenError:
        return None
    return None if defined is None else defined.profile


def _new_state(profile: EnrollmentProfile, release_after: timedelta | None) -> State:
    if not profile.await_final_configuration:
        return None
    return AwaitConfigurationFlow(has_accounts=profile.has_account_settings, release_after=release_after)


def _state_of(enrollment: Enrollment) -> State:
    return None if enrollment.awaiting is None else AwaitConfigurationFlow.from_json(enrollment.awaiting)


def _choose_uuid(state: AwaitConfigurationFlow, name: SetupCommand) -> Flow[str]:
    repeated = state.uuid_to_repeat(name)
    return repeated or (yield from ask(NewId())).upper()


def _events(enrollment: Enrollment, before: State, state: State, now: datetime) -> EventBatch | None:
    """Return the events of new account problems and of the release; None if there are none."""
    if state is None:
        return None
    groups = (*_problem_groups(enrollment, before, state), *_release_groups(enrollment, before, state))
    return EventBatch(enrollment.token_name, now, groups) if groups else None


def _problem_groups(
    enrollment: Enrollment, before: State, state: AwaitConfigurationFlow
) -> Iterator[EventGroup]:
    known = () if before is None else tuple(before.account_problems())
    new = [str(problem) for problem in state.account_problems() if problem not in known]
    if new:
        yield EventGroup(EventKind.SETUP_PROBLEM, (enrollment.serial_number,), {"problems": new})


def _release_groups(
    enrollment: Enrollment, before: State, state: AwaitConfigurationFlow
) -> Iterator[EventGroup]:
    was_released = before is not None and before.phase is AwaitPhase.RELEASED
    if was_released or state.phase is not AwaitPhase.RELEASED:
        return
    details: dict[str, Any] = {}
    if state.awaiting_since is not None:
        details["awaiting_since"] = state.awaiting_since.isoformat()
    if state.has_accounts:
        details["accounts"] = state.accounts.status or "no answer"
    if state.outstanding:
        details["outstanding"] = list(state.outstanding)
    yield EventGroup(EventKind.SETUP_RELEASED, (enrollment.serial_number,), details)


def _save(store: EnrollmentStore, enrollment: Enrollment, events: EventBatch | None) -> None:
    try:
        store.save_enrollment(enrollment, events=events)
    except UnknownTokenError:
        if events is None:
            raise
        # The token was removed meanwhile: the Mac is released nevertheless.
        store.save_enrollment(enrollment, events=attrs.evolve(events, token_name=""))
