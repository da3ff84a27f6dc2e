"""Macs that await their final configuration: how what happens to one of them changes what is stored.

The rules of this file:

1. What is sent is stored before it is handed out, in one commit. If the program dies in between, the Mac gets
   the command again, under the same UUID, when it asks later.
2. Of workers that ask at the same time, one gets the command, the others nothing.
3. Accounts that cannot be made hold nobody up. Where a name is the reason, the Mac gets all the rest at once;
   where a hook of the caller's failed, it is asked again until the patience of the state ends, and then the
   Mac gets what can be made without it.
4. A Mac that says that it awaits is let go, whatever its profile says: without account settings, and at once,
   if the profile would not have held it.
5. ``Authenticate`` begins anew, with the settings of the profile that the Mac was given last, and so does its
   registration. Who signs in for a profile that is given later changes nothing of the Mac's accounts. After
   ``CheckOut`` nothing is installed any more.
6. What is wrong with the accounts of a Mac is kept with its state, and is an event in the same commit.

Source: specification, "Create an Apple enrollment profile", Await final configuration.

The ``AccountConfiguration`` of one Mac: the hooks of the caller are asked, and the command is built.

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
from pyade.flow import CallHook, Flow, Hook, NewId, Now, ask
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger

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
    account: AdministratorAccount | None = check_returned("administrator", answer, _ACCOUNT)
    return account


def _text(answer: Any) -> str:
    text: str = check_returned("device_name", answer, TEXT)
    return text


def _with_values(usual: NameVariables, answer: Any) -> NameVariables:
    return usual if answer is None else attrs.evolve(usual, values=answer)


def _is_account(answer: object) -> bool:
    if not isinstance(answer, AdministratorAccount):
        return answer is None
    kinds = {"short_name": str, "full_name": str, "hidden": bool, "password_hash": bytes}
    return all(isinstance(getattr(answer, name), kind) for name, kind in kinds.items())


_ACCOUNT: Final = ArgumentType(
    _is_account, "an AdministratorAccount, or None", "AdministratorAccount objects"
)


State: TypeAlias = AwaitConfigurationFlow | None

_log = logger("pyade.enrollment")


@attrs.frozen(kw_only=True)
class Command:
    """What to send to a Mac that asks for its next command.

    Attributes:
        command_uuid: Comes back in the Mac's answer; the same again if the Mac did not answer the last one.
        name: Which it is.
        body: Secret. The XML property list, for the body of the answer.
    """

    command_uuid: str
    name: SetupCommand
    body: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class WaitingMac:
    """A Mac that awaits its final configuration.

    Attributes:
        enrollment: What is known of it.
        progress: What it waits for, with problems.
        action: What can be sent now; where there is something, a push makes the Mac ask for it.
    """

    enrollment: Enrollment
    progress: AwaitProgress
    action: SetupAction


@attrs.frozen(kw_only=True)
class _Outcome(Generic[T]):
    """What an event comes to.

    Attributes:
        state: The next state.
        answer: For the caller.
        warning: What to log; "" for nothing.
        enrollment: The Mac, where more than its state changes.
    """

    state: State
    answer: T
    warning: str = ""
    enrollment: Enrollment | None = None


_Change: TypeAlias = Callable[[Enrollment, State, datetime], Flow[_Outcome[T]]]


def waiting_state(
    profile: EnrollmentProfile, *, release_after: timedelta | None, before: Enrollment | None = None
) -> Mapping[str, Any] | None:
    """Return what is kept in ``Enrollment.awaiting`` when a profile is given to a Mac.

    A Mac that waits at the moment keeps its state until its next ``Authenticate``: whoever sends its words
    once more, which anybody can who saw them, must not make anybody forget that it waits.
    """
    kept = None if before is None else before.awaiting
    if kept is not None and kept.get("phase") == AwaitPhase.AWAITING:
        return kept
    state = _fresh(profile, release_after)
    return None if state is None else state.to_json()


def authenticated_flow(serial_number: str, *, checks_out: bool = False) -> Flow[None]:
    """Note ``Authenticate``, or ``CheckOut``: the Mac begins anew, with the newest profile it was given."""

    def change(enrollment: Enrollment, state: State, _: datetime) -> Flow[_Outcome[None]]:
        changed = attrs.evolve(enrollment, installed=None) if checks_out else enrollment.authenticated()
        profile = yield from in_store(lambda store: _profile_of(store, enrollment))
        if profile is not None:
            state = _fresh(profile, None if state is None else state.release_after)
        elif state is not None:
            state = state.authenticated()
        return _Outcome(state=state, answer=None, enrollment=changed)

    return _changing(serial_number, change)


def token_updated_flow(serial_number: str, *, awaiting: bool) -> Flow[None]:
    """Note a ``TokenUpdate`` of the device channel."""

    def change(_: Enrollment, state: State, now: datetime) -> Flow[_Outcome[None]]:
        yield from ()
        if state is not None:
            return _Outcome(state=state.token_updated(awaiting=awaiting, now=now), answer=None)
        if not awaiting:
            return _Outcome(state=None, answer=None)
        state = AwaitConfigurationFlow(has_accounts=False).token_updated(awaiting=True, now=now)
        warning = "it awaits its configuration although its profile does not ask for that: it is let go"
        return _Outcome(state=state.work_left(()), answer=None, warning=warning)

    return _changing(serial_number, change)


def answered_flow(serial_number: str, command_uuid: str, status: str) -> Flow[None]:
    """Note the result of a command."""
    return _evolving(
        serial_number, lambda state, now: state.answered(command_uuid, CommandStatus(status), now=now)
    )


def work_left_flow(serial_number: str, names: Iterable[str]) -> Flow[None]:
    """Note what the caller has still to install."""
    given = (names,) if isinstance(names, str) else tuple(names)
    return _evolving(serial_number, lambda state, _: state.work_left(given))


def release_flow(serial_number: str) -> Flow[None]:
    """Note that somebody decided not to wait for the work any longer."""
    return _evolving(serial_number, lambda state, _: state.released_now())


def next_command_flow(serial_number: str, hooks: AccountHooks) -> Flow[Command | None]:
    """Return what to send now, once it is stored."""

    def change(enrollment: Enrollment, state: State, now: datetime) -> Flow[_Outcome[Command | None]]:
        if state is None:
            return _Outcome(state=None, answer=None)
        warning = ""
        action = state.next_action(now)
        if action.send is SetupCommand.ACCOUNT_CONFIGURATION:
            command_uuid = yield from _uuid(state, action.send)
            profile = yield from in_store(lambda store: _profile_of(store, enrollment))
            made = yield from accounts_flow(enrollment, profile, hooks, command_uuid, state=state, now=now)
            if isinstance(made, Delay):
                warning = f"AccountConfiguration cannot be made now: {made.reason}"
                return _Outcome(state=state.accounts_delayed(now=now), answer=None, warning=warning)
            state = state.with_problems(made.problems)
            if made.problems:
                warning = f"AccountConfiguration: {'; '.join(map(str, made.problems))}"
            if made.body is not None:
                return attrs.evolve(
                    _sending(state, action.send, command_uuid, made.body, now), warning=warning
                )
            if made.failure:
                state = state.without_accounts(made.failure)
                warning = f"AccountConfiguration cannot be made, and is left out: {made.failure}"
            else:
                # Nothing in the settings that its version of macOS knows.
                state = attrs.evolve(state, has_accounts=False)
            action = state.next_action(now)
        if action.send is SetupCommand.DEVICE_CONFIGURED:
            command_uuid = yield from _uuid(state, action.send)
            body = build_device_configured(command_uuid=command_uuid)
            return attrs.evolve(_sending(state, action.send, command_uuid, body, now), warning=warning)
        return _Outcome(state=state, answer=None, warning=warning)

    return _changing(serial_number, change)


def progress_flow(serial_number: str) -> Flow[AwaitProgress]:
    """Return what a Mac waits for."""
    now = yield from ask(Now())
    stored = yield from in_store(lambda store: store.enrollment(serial_number))
    state = _state_of(require_enrolled(stored, serial_number))
    if state is not None:
        return state.progress(now)
    return AwaitProgress(phase=AwaitPhase.NOT_AWAITING, awaiting_since=None, outstanding=(), problems=())


def waiting_mac(enrollment: Enrollment, now: datetime, *, due: bool) -> WaitingMac | None:
    """Return how a Mac stands that awaits, and with *due* has something to be sent; None for all others."""
    try:
        state = _state_of(enrollment)
    except StoreError as error:
        # One that cannot be read must not hide the others that wait.
        _log.warning("%s: %s", enrollment.serial_number[:40], error)
        return None
    if state is None or state.phase is not AwaitPhase.AWAITING:
        return None
    action = state.next_action(now)
    if due and action.send is None:
        return None
    return WaitingMac(enrollment=enrollment, progress=state.progress(now), action=action)


def _evolving(
    serial_number: str, event: Callable[[AwaitConfigurationFlow, datetime], AwaitConfigurationFlow]
) -> Flow[None]:
    def change(_: Enrollment, state: State, now: datetime) -> Flow[_Outcome[None]]:
        yield from ()
        return _Outcome(state=None if state is None else event(state, now), answer=None)

    return _changing(serial_number, change)


def _changing(serial_number: str, change: _Change[T]) -> Flow[T]:
    """Store what *change* makes of a Mac's state; again if somebody else changed it before the commit."""
    return retried(lambda: _changed(serial_number, change))


def _changed(serial_number: str, change: _Change[T]) -> Flow[T]:
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
        yield from in_store(partial(_save, enrollment=changed, events=events))
    if outcome.warning:
        _log.warning("%s: %s", serial_number[:40], outcome.warning)
    return outcome.answer


def _sending(
    state: AwaitConfigurationFlow, name: SetupCommand, command_uuid: str, body: bytes, now: datetime
) -> _Outcome[Command | None]:
    return _Outcome(
        state=state.sent(name, command_uuid=command_uuid, now=now),
        answer=Command(command_uuid=command_uuid, name=name, body=body),
    )


def _profile_of(store: EnrollmentStore, enrollment: Enrollment) -> EnrollmentProfile | None:
    """Return the profile that a Mac was given last; None if it is not stored any more."""
    try:
        if enrollment.profile_uuid is None:
            return store.default_profile(enrollment.token_name)
        defined = store.defined_profile(enrollment.token_name, enrollment.profile_uuid)
    except UnknownTokenError:
        return None
    return None if defined is None else defined.profile


def _fresh(profile: EnrollmentProfile, release_after: timedelta | None) -> State:
    if not profile.await_final_configuration:
        return None
    return AwaitConfigurationFlow(has_accounts=profile.has_account_settings, release_after=release_after)


def _state_of(enrollment: Enrollment) -> State:
    return None if enrollment.awaiting is None else AwaitConfigurationFlow.from_json(enrollment.awaiting)


def _uuid(state: AwaitConfigurationFlow, name: SetupCommand) -> Flow[str]:
    repeated = state.uuid_to_repeat(name)
    return repeated or (yield from ask(NewId())).upper()


def _events(enrollment: Enrollment, before: State, state: State, now: datetime) -> EventBatch | None:
    """Return the events of what that change found, and of the release; None if there are none."""
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
        # The token was removed meanwhile: the Mac is let go all the same.
        store.save_enrollment(enrollment, events=attrs.evolve(events, token_name=""))
