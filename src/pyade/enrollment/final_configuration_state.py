"""What is wrong with the enrollment of one Mac, for as long as it is worth a look.

The rules of this file:

1. What a Mac waits for too long, or what is wrong with its accounts, counts as long as it waits.
2. After that it counts for 30 days from the last word about it, so that the list stays one to act on; so does
   what was doubtful when its newest profile was given.

What to send to a Mac that waits at the end of Setup Assistant, and when to let it go.

The rules of this file, all pure:

1. Nothing is sent unless the Mac itself said, in a ``TokenUpdate`` of its device channel, that it awaits its
   configuration.
2. ``AccountConfiguration`` comes after the caller's work and once per enrollment; again only if the Mac
   answered ``NotNow``, or asks once more without an answer, as if the command was lost on its way.
3. ``DeviceConfigured`` is the last command. It waits for the work, and for an answer about the accounts, but
   for that not longer than ``patience``: an error there, or a Mac that never answers, holds nobody up. A Mac
   that asks after that time gets ``AccountConfiguration`` a second time first, as the first may be lost.
4. ``DeviceConfigured`` is repeated until the Mac acknowledges it or no longer awaits.
5. There is no time limit unless ``release_after`` is given; at that time the work is waited for no longer.
6. Where the caller cannot make ``AccountConfiguration`` yet, it is asked for again until ``patience`` ends,
   or the Mac is to be let go; then it is sent as far as it can be made, as it cannot be made later.
7. An answer or a ``TokenUpdate`` that comes twice changes nothing. ``Authenticate``, or a ``TokenUpdate``
   that awaits after the release, begins a new enrollment.

Source: specification, "Create an Apple enrollment profile", Await final configuration; Apple,
``TokenUpdate``, ``AccountConfiguration`` and ``DeviceConfigured``. That ``AccountConfiguration`` fails in
migrations, and that a Mac without ``DeviceConfigured`` waits for ever, is observed.

What is known of the wait of one Mac: its phase, what became of each command, and what is to be done now.

``core.await_configuration`` decides with these.

Source: Apple, ``TokenUpdate``, ``AccountConfiguration`` and ``DeviceConfigured``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

import attrs
import msgspec

from pyade.core.durations import in_words
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.problems import Problem, Severity
from pyade.core.values import OpenStrEnum
from pyade.errors import PolicyError, StoreError, StoreVersionError
from pyade.text import is_unicode

Time = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone, when it is read back from JSON, too."""


class SetupCommand(enum.StrEnum):
    """The commands of this flow, by Apple's names."""

    ACCOUNT_CONFIGURATION = "AccountConfiguration"
    DEVICE_CONFIGURED = "DeviceConfigured"


class CommandStatus(OpenStrEnum):
    """How a Mac answers a command."""

    ACKNOWLEDGED = "Acknowledged"
    ERROR = "Error"
    COMMAND_FORMAT_ERROR = "CommandFormatError"
    NOT_NOW = "NotNow"


class AwaitPhase(enum.StrEnum):
    """Where a Mac stands.

    Attributes:
        NOT_AWAITING: It has not said that it awaits, or it went on without us.
        AWAITING: It waits at the end of Setup Assistant.
        RELEASED: It was told to go on, and did.
    """

    NOT_AWAITING = "not awaiting"
    AWAITING = "awaiting"
    RELEASED = "released"


@attrs.frozen(kw_only=True)
class CommandRecord:
    """What became of one command in this enrollment.

    Attributes:
        first_sent_at: When it was first sent, UTC; None if it was not.
        sent_at: When it was last sent, UTC.
        attempts: How often it was sent.
        command_uuids: Under which UUIDs, the newest last; the oldest of very many are dropped.
        status: The Mac's last answer; "" if there is none to the last attempt.
        answered_at: When that came, UTC.
        delayed_since: Since when it could not be made, although it was its turn, UTC; None if it could.
        delayed_at: When that was found last, UTC.
    """

    first_sent_at: Time | None = None
    sent_at: Time | None = None
    attempts: int = 0
    command_uuids: tuple[str, ...] = ()
    status: str = ""
    answered_at: Time | None = None
    delayed_since: Time | None = None
    delayed_at: Time | None = None

    @property
    def has_failed(self) -> bool:
        """True if the Mac refused it; an answer that Apple does not document counts as a refusal."""
        return self.status not in ("", CommandStatus.ACKNOWLEDGED, CommandStatus.NOT_NOW)


@attrs.frozen(kw_only=True)
class SetupAction:
    """What to do now.

    Attributes:
        send: The command to send; None if there is none. Report it with ``sent``.
        reason: Why, in words.
        ask_again_at: When to ask again at the latest if nothing happens before, UTC; None if only an event
            changes anything.
    """

    send: SetupCommand | None
    reason: str
    ask_again_at: datetime | None = None


@attrs.frozen(kw_only=True)
class AwaitProgress:
    """What a Mac waits for.

    Attributes:
        phase: Where it stands.
        awaiting_since: Since when it waits or waited, UTC.
        outstanding: Names of what is still to come, in order.
        problems: What is worth a look, each with the next step.
    """

    phase: AwaitPhase
    awaiting_since: datetime | None
    outstanding: tuple[str, ...]
    problems: tuple[Problem, ...]


__all__ = [
    "USUAL_WAIT",
    "AwaitConfigurationFlow",
    "AwaitPhase",
    "AwaitProgress",
    "CommandRecord",
    "CommandStatus",
    "SetupAction",
    "SetupCommand",
]

USUAL_WAIT: Final = timedelta(minutes=15)
"""Within which most Macs are released; a problem says what the others wait for."""


@attrs.frozen(kw_only=True)
class AwaitConfigurationFlow:
    """The state of one Mac; each event returns the next state, which the caller keeps.

    Ask ``next_action`` whenever the Mac asks for commands or something happened; when it says to send
    something, store what ``sent`` returns before the command leaves.

    Attributes:
        has_accounts: True if the profile has account settings for this Mac.
        release_after: After which wait ``DeviceConfigured`` is sent whatever is outstanding; None for no
            limit, as Apple and Intune have none.
        patience: How long an answer of the Mac is waited for before the flow goes on without it.
        phase: Where the Mac stands.
        awaiting_since: Since when it waits, UTC.
        outstanding: What the caller still has to install; None before the caller said so.
        is_forced: True if somebody chose to release the Mac at once.
        accounts: What became of ``AccountConfiguration``.
        release: What became of ``DeviceConfigured``.
        problems: What is wrong with the accounts of this Mac, each with what it gets instead.

    Raises:
        PolicyError: A duration is not positive.
    """

    has_accounts: bool
    release_after: timedelta | None = None
    patience: timedelta = timedelta(minutes=5)
    phase: AwaitPhase = AwaitPhase.NOT_AWAITING
    awaiting_since: Time | None = None
    outstanding: tuple[str, ...] | None = None
    is_forced: bool = False
    accounts: CommandRecord = attrs.field(factory=CommandRecord)
    release: CommandRecord = attrs.field(factory=CommandRecord)
    problems: tuple[Problem, ...] = ()

    def __attrs_post_init__(self) -> None:
        for name in ("release_after", "patience"):
            value = getattr(self, name)
            if value is not None and value <= timedelta(0):
                raise PolicyError(f"{name} {value}: more than zero is allowed")

    def authenticated(self) -> Self:
        """Return the state after ``Authenticate``: a new enrollment, of which nothing is known yet.

        The settings stay; make a new flow where the profile is another one.
        """
        return type(self)(
            has_accounts=self.has_accounts, release_after=self.release_after, patience=self.patience
        )

    def token_updated(self, *, awaiting: bool, now: datetime) -> Self:
        """Return the state after a ``TokenUpdate`` of the device channel; that of a user says nothing here.

        Args:
            awaiting: ``AwaitingConfiguration``; False where the key is absent.
            now: The time, UTC.
        """
        _require_zone(now)
        if not awaiting:
            left = AwaitPhase.RELEASED if self.release.attempts else AwaitPhase.NOT_AWAITING
            return attrs.evolve(self, phase=left if self.phase is AwaitPhase.AWAITING else self.phase)
        state = self.authenticated() if self.phase is AwaitPhase.RELEASED else self
        return attrs.evolve(state, phase=AwaitPhase.AWAITING, awaiting_since=state.awaiting_since or now)

    def work_left(self, names: Iterable[str]) -> Self:
        """Return the state when the caller knows what it still has to install.

        Args:
            names: Profiles, apps and whatever else the Mac should have first, as shown to people; none if
                all of it is there.

        Raises:
            PolicyError: A name is no text that a store can keep, or an empty one.
        """
        given = (names,) if isinstance(names, str) else tuple(names)
        wrong = [name for name in given if not _is_name(name)]
        if wrong:
            raise PolicyError(f"work that is left: {repr(wrong[0])[:80]} is no name: give texts, or none")
        return attrs.evolve(self, outstanding=given)

    def without_accounts(self, reason: str = "") -> Self:
        """Return the state when the caller found that it cannot make ``AccountConfiguration``.

        Args:
            reason: Why, for the problem; without secrets.
        """
        status = f"{_NOT_MADE}: {reason}"[:_KEPT_REASON] if reason else _NOT_MADE
        return attrs.evolve(self, accounts=attrs.evolve(self.accounts, status=status))

    def accounts_delayed(self, *, now: datetime) -> Self:
        """Return the state when the caller cannot make ``AccountConfiguration`` yet.

        Args:
            now: The time, UTC.
        """
        _require_zone(now)
        since = self.accounts.delayed_since or now
        return attrs.evolve(self, accounts=attrs.evolve(self.accounts, delayed_since=since, delayed_at=now))

    def is_delay_over(self, now: datetime) -> bool:
        """Return True if ``AccountConfiguration`` is now to be made as far as it can be made.

        Args:
            now: The time, UTC.
        """
        since = self.accounts.delayed_since
        return since is not None and (self._is_due(now) or now >= since + self.patience)

    def with_problems(self, problems: Iterable[Problem]) -> Self:
        """Return the state when it is known what is wrong with the accounts of this Mac.

        Args:
            problems: Each with what the Mac gets instead; without secrets.
        """
        return attrs.evolve(self, problems=tuple(problems))

    def released_now(self) -> Self:
        """Return the state when somebody decided not to wait for the work any longer."""
        return attrs.evolve(self, is_forced=True)

    def sent(self, command: SetupCommand, *, command_uuid: str, now: datetime) -> Self:
        """Return the state with *command* on its way.

        Args:
            command: What ``next_action`` said to send.
            command_uuid: Its ``CommandUUID``, by which the answer is known: ``uuid_to_repeat``, else a new
                one.
            now: The time, UTC.
        """
        _require_zone(now)
        record = self._record(command)
        record = CommandRecord(
            first_sent_at=record.first_sent_at or now,
            sent_at=now,
            attempts=record.attempts + 1,
            command_uuids=(*(one for one in record.command_uuids if one != command_uuid), command_uuid)[
                -_KEPT_UUIDS:
            ],
            delayed_since=record.delayed_since,
            delayed_at=record.delayed_at,
        )
        return self._with(command, record)

    def answered(self, command_uuid: str, status: CommandStatus | str, *, now: datetime) -> Self:
        """Return the state after the result of a command; results of other commands change nothing.

        Args:
            command_uuid: ``CommandUUID`` of the result.
            status: ``Status`` of the result; one that Apple does not document counts as an error.
            now: The time, UTC.
        """
        _require_zone(now)
        given = CommandStatus(status)
        for command in SetupCommand:
            record = self._record(command)
            if command_uuid not in record.command_uuids:
                continue
            is_news = record.status == "" and command_uuid == record.command_uuids[-1]
            # A success counts whenever it comes, anything else only as the first word about the last attempt.
            if given != CommandStatus.ACKNOWLEDGED and not is_news:
                return self
            state = self._with(command, attrs.evolve(record, status=str(given)[:80], answered_at=now))
            if command is SetupCommand.DEVICE_CONFIGURED and given == CommandStatus.ACKNOWLEDGED:
                return attrs.evolve(state, phase=AwaitPhase.RELEASED)
            return state
        return self

    def uuid_to_repeat(self, command: SetupCommand) -> str | None:
        """Return the ``CommandUUID`` of the last attempt if it has no answer, for the next one; else None."""
        record = self._record(command)
        return record.command_uuids[-1] if record.attempts and record.status == "" else None

    def next_action(self, now: datetime) -> SetupAction:
        """Return what to send to the Mac now, or what is waited for; asking changes nothing.

        Args:
            now: The time, UTC.
        """
        _require_zone(now)
        if self.phase is not AwaitPhase.AWAITING:
            return SetupAction(send=None, reason=f"the Mac is {self.phase}: nothing may be sent")
        deadline, is_due = self._deadline(), self._is_due(now)
        if self.outstanding != () and not is_due and not self.release.attempts:
            reason = "waits for " + (", ".join(self.outstanding or ()) or "word about profiles and apps")
            return SetupAction(send=None, reason=reason, ask_again_at=deadline)
        if not self.release.attempts:
            action = self._accounts_action(now, deadline, is_due=is_due)
            if action is not None:
                return action
        return self._release_action(now, is_due=is_due)

    def progress(self, now: datetime) -> AwaitProgress:
        """Return what the Mac waits for, with problems where it is too long or went wrong.

        Args:
            now: The time, UTC.
        """
        _require_zone(now)
        outstanding: list[str] = []
        if self.phase is AwaitPhase.AWAITING:
            said = self.outstanding is not None
            outstanding += self.outstanding or (() if said else ("word about profiles and apps",))
            if self._waits_for_accounts():
                outstanding.append(str(SetupCommand.ACCOUNT_CONFIGURATION))
            outstanding.append(str(SetupCommand.DEVICE_CONFIGURED))
        return AwaitProgress(
            phase=self.phase,
            awaiting_since=self.awaiting_since,
            outstanding=tuple(outstanding),
            problems=tuple(self._problems(now, outstanding)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON object, for a store."""
        state: dict[str, Any] = msgspec.to_builtins(self)
        return {"version": _VERSION, **state}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the state that ``to_json`` wrote.

        Raises:
            StoreVersionError: A newer pyade wrote it.
            StoreError: It is nothing that ``to_json`` wrote.
        """
        try:
            version = msgspec.convert(value["version"], int)
            if version <= _VERSION:
                return msgspec.convert(dict(value), cls)
        except (KeyError, TypeError, ValueError, PolicyError) as exc:
            raise StoreError("the state of a waiting Mac cannot be read: restore it from a backup") from exc
        raise StoreVersionError(
            f"the state was written as version {version}, this pyade reads {_VERSION}: update it"
        )

    def _record(self, command: SetupCommand) -> CommandRecord:
        return self.accounts if command is SetupCommand.ACCOUNT_CONFIGURATION else self.release

    def _with(self, command: SetupCommand, record: CommandRecord) -> Self:
        if command is SetupCommand.ACCOUNT_CONFIGURATION:
            return attrs.evolve(self, accounts=record)
        return attrs.evolve(self, release=record)

    def _waits_for_accounts(self) -> bool:
        return self.has_accounts and self.accounts.status in ("", CommandStatus.NOT_NOW)

    def _deadline(self) -> datetime | None:
        if self.release_after is None or self.awaiting_since is None:
            return None
        return self.awaiting_since + self.release_after

    def _is_due(self, now: datetime) -> bool:
        deadline = self._deadline()
        return self.is_forced or (deadline is not None and now >= deadline)

    def _accounts_action(
        self, now: datetime, deadline: datetime | None, *, is_due: bool
    ) -> SetupAction | None:
        """Return what the accounts ask for before the release; None if they are settled."""
        record = self.accounts
        if not self._waits_for_accounts():
            return None
        if record.first_sent_at is None:
            reason = "the accounts come before the release"
            if record.delayed_since is not None and record.delayed_at is not None:
                retry_at = record.delayed_at + _retry_delay(1)
                limits = [record.delayed_since + self.patience, *([deadline] if deadline else [])]
                if now < retry_at and not self.is_delay_over(now):
                    reason = "AccountConfiguration could not be made"
                    return SetupAction(send=None, reason=reason, ask_again_at=min([retry_at, *limits]))
            return SetupAction(send=SetupCommand.ACCOUNT_CONFIGURATION, reason=reason)
        give_up_at = record.first_sent_at + self.patience
        # Once may have been lost on its way, with the program that sent it, and cannot be made up for later.
        was_repeated = record.attempts > 1
        if is_due or (was_repeated and now >= give_up_at):
            return None
        limits = [*([give_up_at] if was_repeated else []), *([deadline] if deadline else [])]
        if record.status == "":
            retry_at = (record.sent_at or now) + _retry_delay(record.attempts)
            reason = "waits for the answer to AccountConfiguration"
        else:
            retry_at = (record.answered_at or now) + _retry_delay(1)
            reason = "the Mac answered NotNow to AccountConfiguration"
        if record.delayed_at is not None:
            retry_at = max(retry_at, record.delayed_at + _retry_delay(1))
        if now >= retry_at:
            return SetupAction(send=SetupCommand.ACCOUNT_CONFIGURATION, reason=f"{reason}: once more")
        return SetupAction(send=None, reason=reason, ask_again_at=min([retry_at, *limits]))

    def _release_action(self, now: datetime, *, is_due: bool) -> SetupAction:
        record = self.release
        if record.sent_at is None:
            reason = "all is there" if self.outstanding == () else "somebody released it"
            if is_due and not self.is_forced and self.outstanding != ():
                reason = "the time limit has come"
            return SetupAction(send=SetupCommand.DEVICE_CONFIGURED, reason=reason)
        if record.status:
            retry_at = (record.answered_at or record.sent_at) + _retry_delay(record.attempts)
            reason = f"the Mac answered {record.status} to DeviceConfigured"
        else:
            retry_at = record.sent_at + self.patience
            reason = "waits for the answer to DeviceConfigured"
        if now >= retry_at:
            return SetupAction(send=SetupCommand.DEVICE_CONFIGURED, reason=f"{reason}: once more")
        return SetupAction(send=None, reason=reason, ask_again_at=retry_at)

    def account_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the accounts of this Mac, and what became of them."""
        yield from self.problems
        if self.has_accounts and self.accounts.has_failed:
            allowed = "acknowledged by the Mac, or its user must make the account"
            fix = "look at the Mac's error; the release does not wait for it"
            yield _finding(SetupCommand.ACCOUNT_CONFIGURATION, self.accounts.status, allowed, fix)
        elif self._waits_for_accounts() and self.release.attempts:
            allowed = "an answer before the release, or its user must make the account"
            fix = "see whether the account is there; the release does not wait for it"
            yield _finding(
                SetupCommand.ACCOUNT_CONFIGURATION, self.accounts.status or "no answer", allowed, fix
            )

    def _problems(self, now: datetime, outstanding: list[str]) -> Iterator[Problem]:
        yield from self.account_problems()
        if self.phase is not AwaitPhase.AWAITING or self.awaiting_since is None:
            return
        if self.release.has_failed:
            allowed = "acknowledged by the Mac"
            fix = "see whether the Mac still waits; the command is repeated"
            yield _finding(SetupCommand.DEVICE_CONFIGURED, self.release.status, allowed, fix)
        if now - self.awaiting_since >= USUAL_WAIT:
            allowed, fix = self._still_to_come(now, outstanding)
            waited = in_words(now - self.awaiting_since)
            yield _finding("await_final_configuration", waited, f"about 15 minutes; {allowed}", fix)

    def _still_to_come(self, now: datetime, outstanding: list[str]) -> tuple[str, str]:
        """Return what a Mac that waits too long still misses, and what to do; it may be the Mac's turn."""
        if self.outstanding == () or self.release.attempts or self.next_action(now).send is not None:
            commands = ", ".join(name for name in outstanding if name in set(SetupCommand))
            return f"it has still to take {commands}", "push the Mac, so that it asks for its next command"
        release = "let the Mac go with FinalConfiguration.release"
        if self.outstanding is None:
            fix = f"report what is left, or that nothing is, with FinalConfiguration.work_left; or {release}"
            return "nothing was reported with work_left yet", fix
        fix = (
            f"see why it takes long, and report what is left with FinalConfiguration.work_left; or {release}"
        )
        return f"still to be installed, as work_left reported: {', '.join(self.outstanding)}", fix


def _is_name(value: object) -> bool:
    # Half of a surrogate pair has no bytes, so that no store could keep it.
    return isinstance(value, str) and bool(value.strip()) and is_unicode(value)


def _require_zone(now: datetime) -> None:
    if now.tzinfo is None:
        raise PolicyError(f"now {now.isoformat()} has no time zone: use UTC")


def _retry_delay(attempts: int) -> timedelta:
    """Return 1, 2, 4, … minutes, at most an hour."""
    return timedelta(minutes=min(2 ** min(attempts - 1, 6), 60))


def _finding(setting: str, value: str, allowed: str, fix: str) -> Problem:
    return Problem(str(setting), value, allowed, fix, Severity.WARNING)


_VERSION: Final = 1
_KEPT_UUIDS: Final = 20
_KEPT_REASON: Final = 200
_NOT_MADE: Final = "not made"


COUNTS_FOR: Final = timedelta(days=30)
"""How long problems of a Mac that waits no longer count."""


def problems_of(enrollment: Enrollment, now: datetime) -> tuple[Problem, ...]:
    """Return what is wrong with a Mac's enrollment, and worth a look now.

    Args:
        enrollment: The Mac.
        now: The time, UTC.

    Raises:
        StoreError: The state of its wait cannot be read.
    """
    issued = enrollment.problems if now - enrollment.issued_at < COUNTS_FOR else ()
    return (*issued, *_of_wait(enrollment, now))


def _of_wait(enrollment: Enrollment, now: datetime) -> tuple[Problem, ...]:
    state = None if enrollment.awaiting is None else AwaitConfigurationFlow.from_json(enrollment.awaiting)
    problems = () if state is None else state.progress(now).problems
    if not problems or state is None or state.phase is AwaitPhase.AWAITING:
        return problems
    times = (
        state.accounts.sent_at,
        state.accounts.answered_at,
        state.release.sent_at,
        state.release.answered_at,
    )
    last = max(one for one in (enrollment.issued_at, state.awaiting_since, *times) if one is not None)
    return problems if now - last < COUNTS_FOR else ()
