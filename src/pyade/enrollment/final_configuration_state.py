"""The state of one Mac that awaits its final configuration, what to send next, and when to release it.

The rules of this file; all of it is pure:

1. Nothing is sent unless the Mac itself reported, in a ``TokenUpdate`` of its device channel, that it awaits
   its configuration.
2. ``AccountConfiguration`` is sent after the caller's work and once per enrollment. It is repeated only if
   the Mac answered ``NotNow``, or asks again without an answer, which means that the command may be lost.
3. ``DeviceConfigured`` is the last command. It waits for the work, and at most ``patience`` for the result
   of the accounts: an error there, or a Mac that never answers, does not block the release. A Mac that asks
   after that time first gets ``AccountConfiguration`` a second time, as the first may be lost.
4. ``DeviceConfigured`` is repeated until the Mac acknowledges it or no longer awaits.
5. There is no time limit unless ``release_after`` is given; after that time the Mac no longer waits for the
   work.
6. If the caller cannot build ``AccountConfiguration`` yet, it is retried until ``patience`` ends or the Mac
   is to be released. Then it is sent as far as it can be built, since accounts cannot be made later.
7. A repeated result or ``TokenUpdate`` changes nothing. ``Authenticate``, or a ``TokenUpdate`` that awaits
   after the release, starts a new enrollment.
8. A problem of the wait or of the accounts counts as long as the Mac waits.
9. After that it counts for 30 days from the last command or result, so that an administrator can act on every
   problem in the list. A problem from issuing the newest profile counts for 30 days, too.

Source: specification, "Create an Apple enrollment profile", Await final configuration; Apple,
``TokenUpdate``, ``AccountConfiguration`` and ``DeviceConfigured``. That ``AccountConfiguration`` fails in
migrations, and that a Mac without ``DeviceConfigured`` waits for ever, is observed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

import attrs
import msgspec

from pyade.core.durations import format_duration
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.problems import Problem, Severity, warning
from pyade.core.values import OpenStrEnum
from pyade.errors import PolicyError, StoreError, StoreVersionError
from pyade.text import is_unicode, short_repr

Time = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with a time zone, which is also required when it is read from JSON."""


class SetupCommand(enum.StrEnum):
    """The commands that are sent to a waiting Mac, by Apple's names."""

    ACCOUNT_CONFIGURATION = "AccountConfiguration"
    DEVICE_CONFIGURED = "DeviceConfigured"


class CommandStatus(OpenStrEnum):
    """How a Mac answers a command."""

    ACKNOWLEDGED = "Acknowledged"
    ERROR = "Error"
    COMMAND_FORMAT_ERROR = "CommandFormatError"
    NOT_NOW = "NotNow"


class AwaitPhase(enum.StrEnum):
    """The phase of a Mac's wait.

    Attributes:
        NOT_AWAITING: It has not reported that it awaits, or it continued without ``DeviceConfigured``.
        AWAITING: It waits at the end of Setup Assistant.
        RELEASED: It continued after ``DeviceConfigured``.
    """

    NOT_AWAITING = "not awaiting"
    AWAITING = "awaiting"
    RELEASED = "released"


@attrs.frozen(kw_only=True)
class CommandRecord:
    """The attempts and the result of one command in this enrollment.

    Attributes:
        first_sent_at: When it was first sent, UTC; None if it was not sent.
        sent_at: When it was last sent, UTC.
        attempts: How often it was sent.
        command_uuids: Its UUIDs, the newest last; of more than 20 the oldest are dropped.
        status: The Mac's last result; "" if it sent none for the last attempt.
        answered_at: When that result was received, UTC.
        delayed_since: Since when the command was due but could not be built, UTC; None if it could be built.
        delayed_at: When building it last failed, UTC.
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
        """True if the Mac refused it; a status that Apple does not document counts as a refusal."""
        return self.status not in ("", CommandStatus.ACKNOWLEDGED, CommandStatus.NOT_NOW)


@attrs.frozen(kw_only=True)
class SetupAction:
    """The next step for a Mac.

    Attributes:
        send: The command to send; None to send nothing. Report it with ``sent``.
        reason: Why, as text.
        ask_again_at: When to ask again at the latest, UTC; None if only an event can change the action.
    """

    send: SetupCommand | None
    reason: str
    ask_again_at: datetime | None = None


@attrs.frozen(kw_only=True)
class AwaitProgress:
    """What a Mac waits for.

    Attributes:
        phase: The phase of its wait.
        awaiting_since: Since when it waits or waited, UTC.
        outstanding: Names of the remaining work and commands, in order.
        problems: What an administrator should check, each with the next step.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    phase: AwaitPhase
    awaiting_since: datetime | None
    outstanding: tuple[str, ...]
    problems: tuple[Problem, ...]


USUAL_WAIT: Final = timedelta(minutes=15)
"""Time within which most Macs are released; a Mac that waits longer gets a problem that says what for."""


@attrs.frozen(kw_only=True)
class AwaitConfigurationFlow:
    """The immutable state of one Mac; each event returns the next state, which the caller stores.

    Call ``next_action`` whenever the Mac asks for a command or an event occurred. When it says to send a
    command, store what ``sent`` returns before the command is sent.

    Attributes:
        has_accounts: True if the profile has account settings for this Mac.
        release_after: Time after which ``DeviceConfigured`` is sent whatever is outstanding; None for no
            limit, as Apple and Intune have none.
        patience: How long to wait for a result of the Mac before continuing without it.
        phase: The phase of the wait.
        awaiting_since: Since when the Mac waits, UTC.
        outstanding: What the caller still has to install; None until the caller reports it.
        is_forced: True if the caller released the Mac without waiting for the work.
        accounts: The record of ``AccountConfiguration``.
        release: The record of ``DeviceConfigured``.
        problems: What is wrong with the accounts of this Mac, each with what the Mac gets instead.

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
        """Return the state after ``Authenticate``: a new enrollment without any history.

        The settings are kept; for another profile, create a new ``AwaitConfigurationFlow``.
        """
        return type(self)(  # rule 7
            has_accounts=self.has_accounts, release_after=self.release_after, patience=self.patience
        )

    def token_updated(self, *, awaiting: bool, now: datetime) -> Self:
        """Return the state after a ``TokenUpdate`` of the device channel; ignore those of a user channel.

        Args:
            awaiting: ``AwaitingConfiguration``; False where the key is absent.
            now: The time, UTC.
        """
        _require_zone(now)
        if not awaiting:
            ended = AwaitPhase.RELEASED if self.release.attempts else AwaitPhase.NOT_AWAITING
            return attrs.evolve(self, phase=ended if self.phase is AwaitPhase.AWAITING else self.phase)
        state = self.authenticated() if self.phase is AwaitPhase.RELEASED else self
        return attrs.evolve(state, phase=AwaitPhase.AWAITING, awaiting_since=state.awaiting_since or now)

    def work_left(self, names: Iterable[str]) -> Self:
        """Return the state after the caller reported what it still has to install.

        Args:
            names: Display names of profiles, apps and other things that the Mac must have first; empty if all
                are installed.

        Raises:
            PolicyError: A name is empty, or not a text that a store can keep.
        """
        given = (names,) if isinstance(names, str) else tuple(names)
        wrong = [name for name in given if not _is_name(name)]
        if wrong:
            raise PolicyError(
                f"work_left: {repr(wrong[0])[:80]} is not a name: give non-empty texts, or no names"
            )
        return attrs.evolve(self, outstanding=given)

    def without_accounts(self, reason: str = "") -> Self:
        """Return the state after the caller found that it cannot build ``AccountConfiguration`` at all.

        Args:
            reason: Why, for the problem; without secrets.
        """
        status = f"{_NOT_MADE}: {reason}"[:_MAX_REASON] if reason else _NOT_MADE
        return attrs.evolve(self, accounts=attrs.evolve(self.accounts, status=status))

    def accounts_delayed(self, *, now: datetime) -> Self:
        """Return the state after the caller could not build ``AccountConfiguration`` yet (rule 6).

        Args:
            now: The time, UTC.
        """
        _require_zone(now)
        since = self.accounts.delayed_since or now
        return attrs.evolve(self, accounts=attrs.evolve(self.accounts, delayed_since=since, delayed_at=now))

    def is_delay_over(self, now: datetime) -> bool:
        """Return True if ``AccountConfiguration`` must now be built as far as possible (rule 6).

        Args:
            now: The time, UTC.
        """
        since = self.accounts.delayed_since
        return since is not None and (self._is_due(now) or now >= since + self.patience)

    def with_problems(self, problems: Iterable[Problem]) -> Self:
        """Return the state with the problems of this Mac's accounts.

        Args:
            problems: Each says what the Mac gets instead; without secrets.
        """
        return attrs.evolve(self, problems=tuple(problems))

    def released_now(self) -> Self:
        """Return the state after the caller released the Mac without waiting for the work."""
        return attrs.evolve(self, is_forced=True)

    def sent(self, command: SetupCommand, *, command_uuid: str, now: datetime) -> Self:
        """Return the state after *command* was sent.

        Args:
            command: The command of ``next_action``.
            command_uuid: Its ``CommandUUID``, which identifies its result: ``uuid_to_repeat``, or a new one
                if that is None.
            now: The time, UTC.
        """
        _require_zone(now)
        record = self._record(command)
        record = CommandRecord(
            first_sent_at=record.first_sent_at or now,
            sent_at=now,
            attempts=record.attempts + 1,
            command_uuids=(*(one for one in record.command_uuids if one != command_uuid), command_uuid)[
                -_MAX_UUIDS:
            ],
            delayed_since=record.delayed_since,
            delayed_at=record.delayed_at,
        )
        return self._with_record(command, record)

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
            is_first_result = record.status == "" and command_uuid == record.command_uuids[-1]
            # A success always counts; any other status only as the first result of the last attempt.
            if given != CommandStatus.ACKNOWLEDGED and not is_first_result:  # rule 7
                return self
            state = self._with_record(command, attrs.evolve(record, status=str(given)[:80], answered_at=now))
            if command is SetupCommand.DEVICE_CONFIGURED and given == CommandStatus.ACKNOWLEDGED:
                return attrs.evolve(state, phase=AwaitPhase.RELEASED)
            return state
        return self

    def uuid_to_repeat(self, command: SetupCommand) -> str | None:
        """Return the ``CommandUUID`` of the last attempt if it has no result, to use it again; else None."""
        record = self._record(command)
        return record.command_uuids[-1] if record.attempts and record.status == "" else None

    def next_action(self, now: datetime) -> SetupAction:
        """Return what to send to the Mac now, or what it waits for; the state does not change.

        Args:
            now: The time, UTC.
        """
        _require_zone(now)
        if self.phase is not AwaitPhase.AWAITING:  # rule 1
            return SetupAction(send=None, reason=f"the Mac is {self.phase}: nothing may be sent")
        deadline, is_due = self._deadline(), self._is_due(now)
        if self.outstanding != () and not is_due and not self.release.attempts:
            reason = "waits for " + (", ".join(self.outstanding or ()) or _NO_REPORT)
            return SetupAction(send=None, reason=reason, ask_again_at=deadline)
        if not self.release.attempts:  # rule 3
            action = self._accounts_action(now, deadline, is_due=is_due)
            if action is not None:
                return action
        return self._release_action(now, is_due=is_due)

    def progress(self, now: datetime) -> AwaitProgress:
        """Return what the Mac waits for, with a problem for each error and for a wait that takes too long.

        Args:
            now: The time, UTC.
        """
        _require_zone(now)
        outstanding: list[str] = []
        if self.phase is AwaitPhase.AWAITING:
            outstanding += (_NO_REPORT,) if self.outstanding is None else self.outstanding
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
            StoreError: *value* does not come from ``to_json``.
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

    def _with_record(self, command: SetupCommand, record: CommandRecord) -> Self:
        if command is SetupCommand.ACCOUNT_CONFIGURATION:
            return attrs.evolve(self, accounts=record)
        return attrs.evolve(self, release=record)

    def _waits_for_accounts(self) -> bool:
        return self.has_accounts and self.accounts.status in ("", CommandStatus.NOT_NOW)

    def _deadline(self) -> datetime | None:
        if self.release_after is None or self.awaiting_since is None:  # rule 5
            return None
        return self.awaiting_since + self.release_after

    def _is_due(self, now: datetime) -> bool:
        deadline = self._deadline()
        return self.is_forced or (deadline is not None and now >= deadline)

    def _accounts_action(
        self, now: datetime, deadline: datetime | None, *, is_due: bool
    ) -> SetupAction | None:
        """Return what to do about the accounts before the release; None if nothing is left to do."""
        record = self.accounts
        if not self._waits_for_accounts():  # rule 2
            return None
        if record.first_sent_at is None:
            reason = "the accounts come before the release"
            if record.delayed_since is not None and record.delayed_at is not None:  # rule 6
                retry_at = record.delayed_at + _retry_delay(1)
                limits = [record.delayed_since + self.patience, *([deadline] if deadline else [])]
                if now < retry_at and not self.is_delay_over(now):
                    reason = "AccountConfiguration could not be built"
                    return SetupAction(send=None, reason=reason, ask_again_at=min([retry_at, *limits]))
            return SetupAction(send=SetupCommand.ACCOUNT_CONFIGURATION, reason=reason)
        give_up_at = record.first_sent_at + self.patience
        # A single attempt may be lost with the program that sent it; accounts cannot be made later (rule 3).
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
            return SetupAction(send=SetupCommand.ACCOUNT_CONFIGURATION, reason=f"{reason}: sent again")
        return SetupAction(send=None, reason=reason, ask_again_at=min([retry_at, *limits]))

    def _release_action(self, now: datetime, *, is_due: bool) -> SetupAction:
        record = self.release
        if record.sent_at is None:
            reason = "no work is outstanding" if self.outstanding == () else "the caller released the Mac"
            if is_due and not self.is_forced and self.outstanding != ():
                reason = "the time limit was reached"
            return SetupAction(send=SetupCommand.DEVICE_CONFIGURED, reason=reason)
        if record.status:
            retry_at = (record.answered_at or record.sent_at) + _retry_delay(record.attempts)
            reason = f"the Mac answered {record.status} to DeviceConfigured"
        else:
            retry_at = record.sent_at + self.patience
            reason = "waits for the answer to DeviceConfigured"
        if now >= retry_at:  # rule 4
            return SetupAction(send=SetupCommand.DEVICE_CONFIGURED, reason=f"{reason}: sent again")
        return SetupAction(send=None, reason=reason, ask_again_at=retry_at)

    def account_problems(self) -> Iterator[Problem]:
        """Yield the problems of this Mac's accounts, including those of the command."""
        yield from self.problems
        if self.has_accounts and self.accounts.has_failed:
            allowed = "acknowledged by the Mac, or its user must make the account"
            fix = "check the Mac's error; the release does not wait for it"
        elif self._waits_for_accounts() and self.release.attempts:
            allowed = "an answer before the release, or its user must make the account"
            fix = "check whether the account exists; the release does not wait for it"
        else:
            return
        # The whole status: why a command was not made takes more room than a value does elsewhere.
        status = self.accounts.status or "no answer"
        yield Problem(str(SetupCommand.ACCOUNT_CONFIGURATION), status, allowed, fix, Severity.WARNING)

    def _problems(self, now: datetime, outstanding: list[str]) -> Iterator[Problem]:
        yield from self.account_problems()
        if self.phase is not AwaitPhase.AWAITING or self.awaiting_since is None:
            return
        if self.release.has_failed:
            allowed = "acknowledged by the Mac"
            fix = "check whether the Mac still waits; the command is repeated"
            yield warning(SetupCommand.DEVICE_CONFIGURED, self.release.status, allowed, fix)
        if now - self.awaiting_since >= USUAL_WAIT:
            allowed, fix = self._describe_missing(now, outstanding)
            waited = format_duration(now - self.awaiting_since)
            yield warning("await_final_configuration", waited, f"about 15 minutes; {allowed}", fix)

    def _describe_missing(self, now: datetime, outstanding: list[str]) -> tuple[str, str]:
        """Return what a Mac that waits too long still lacks, and the next step of the administrator."""
        if self.outstanding == () or self.release.attempts or self.next_action(now).send is not None:
            commands = ", ".join(name for name in outstanding if name in set(SetupCommand))
            return f"the Mac must still take {commands}", "push the Mac, so that it asks for its next command"
        release = "release the Mac with FinalConfiguration.release"
        if self.outstanding is None:
            fix = f"report what is left, or that nothing is, with FinalConfiguration.work_left; or {release}"
            return "nothing was reported with work_left yet", fix
        fix = f"find out why, and report what is left with FinalConfiguration.work_left; or {release}"
        return f"still to be installed, as work_left reported: {', '.join(self.outstanding)}", fix


def _is_name(value: object) -> bool:
    # Half of a surrogate pair cannot be encoded, so no store can keep it.
    return isinstance(value, str) and bool(value.strip()) and is_unicode(value)


def _require_zone(now: datetime) -> None:
    if now.tzinfo is None:
        raise PolicyError(f"now {now.isoformat()} has no time zone: use UTC")


def _retry_delay(attempts: int) -> timedelta:
    """Return a delay of 1, 2, 4, … minutes after so many *attempts*, at most an hour."""
    return timedelta(minutes=min(2 ** min(attempts - 1, 6), 60))


_VERSION: Final = 1
_MAX_UUIDS: Final = 20
_MAX_REASON: Final = 200
_NOT_MADE: Final = "not made"
_NO_REPORT: Final = "a report with work_left"


COUNTS_FOR: Final = timedelta(days=30)
"""How long the problems of a Mac count after its wait ended."""


def problems_of(enrollment: Enrollment, now: datetime) -> tuple[Problem, ...]:
    """Return the problems of a Mac's enrollment that count now.

    Args:
        enrollment: The Mac.
        now: The time, UTC.

    Raises:
        StoreError: The state of its wait cannot be read.
    """
    issued = enrollment.problems if now - enrollment.issued_at < COUNTS_FOR else ()  # rule 9
    return (*issued, *_wait_problems(enrollment, now))


def _wait_problems(enrollment: Enrollment, now: datetime) -> tuple[Problem, ...]:
    state = None if enrollment.awaiting is None else AwaitConfigurationFlow.from_json(enrollment.awaiting)
    problems = () if state is None else state.progress(now).problems
    if not problems or state is None or state.phase is AwaitPhase.AWAITING:  # rule 8
        return problems
    times = (
        state.accounts.sent_at,
        state.accounts.answered_at,
        state.release.sent_at,
        state.release.answered_at,
    )
    last = max(one for one in (enrollment.issued_at, state.awaiting_since, *times) if one is not None)
    return problems if now - last < COUNTS_FOR else ()
