"""Commands for a waiting Mac, with events in any order; no Mac is left waiting."""

from __future__ import annotations

import inspect
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.durations import format_duration
from pyade.core.problems import Problem, Severity
from pyade.enrollment import FinalConfiguration
from pyade.enrollment.final_configuration_state import (
    AwaitConfigurationFlow,
    AwaitPhase,
    CommandStatus,
    SetupCommand,
)
from pyade.errors import PolicyError, StoreError, StoreVersionError

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ACCOUNTS, RELEASE = SetupCommand.ACCOUNT_CONFIGURATION, SetupCommand.DEVICE_CONFIGURED
MINUTE = timedelta(minutes=1)


def awaiting(*, has_accounts: bool = True, **settings: Any) -> AwaitConfigurationFlow:
    flow = AwaitConfigurationFlow(has_accounts=has_accounts, **settings)
    return flow.token_updated(awaiting=True, now=NOW)


def send(flow: AwaitConfigurationFlow, command: SetupCommand, now: datetime = NOW) -> AwaitConfigurationFlow:
    """Send the next command, which must be *command*, under a new UUID made of its name and number."""
    assert flow.next_action(now).send is command
    record = flow.accounts if command is ACCOUNTS else flow.release
    return flow.sent(command, command_uuid=f"{command}-{record.attempts + 1}", now=now)


def idle_until(flow: AwaitConfigurationFlow, now: datetime) -> datetime | None:
    """Check that there is nothing to send now, and return when to ask again."""
    action = flow.next_action(now)
    assert action.send is None
    assert action.reason
    return action.ask_again_at


def test_usual_order_of_commands() -> None:
    """Work, accounts, release, one after the other."""
    flow = AwaitConfigurationFlow(has_accounts=True).authenticated()
    assert idle_until(flow, NOW) is None
    flow = flow.token_updated(awaiting=True, now=NOW)
    assert idle_until(flow, NOW) is None
    flow = flow.work_left(["Wi-Fi", "Company Portal"])
    assert "Wi-Fi, Company Portal" in flow.next_action(NOW).reason
    assert flow.progress(NOW).outstanding == (
        "Wi-Fi",
        "Company Portal",
        "AccountConfiguration",
        "DeviceConfigured",
    )
    flow = send(flow.work_left(()), ACCOUNTS)
    assert idle_until(flow, NOW) == NOW + MINUTE
    flow = flow.answered("AccountConfiguration-1", "Acknowledged", now=NOW)
    flow = send(flow, RELEASE)
    assert idle_until(flow, NOW) == NOW + 5 * MINUTE
    flow = flow.answered("DeviceConfigured-1", "Acknowledged", now=NOW)
    assert flow.phase is AwaitPhase.RELEASED
    assert idle_until(flow, NOW + timedelta(days=9)) is None
    assert flow.progress(NOW).outstanding == ()


def test_without_account_settings_only_the_release_is_sent() -> None:
    """No command comes before it."""
    flow = send(awaiting(has_accounts=False).work_left(()), RELEASE)
    assert flow.answered("DeviceConfigured-1", "Acknowledged", now=NOW).phase is AwaitPhase.RELEASED


def test_mac_that_does_not_wait_is_sent_nothing() -> None:
    """Both commands would be errors."""
    flow = AwaitConfigurationFlow(has_accounts=True, release_after=MINUTE)
    flow = flow.token_updated(awaiting=False, now=NOW).work_left(()).released_now()
    assert idle_until(flow, NOW + timedelta(days=1)) is None
    assert flow.phase is AwaitPhase.NOT_AWAITING


@each("status", ["Error", "CommandFormatError", "Unheard"])
def test_an_account_error_does_not_hold_the_release(status: str) -> None:
    """It is a problem, and the Mac continues."""
    flow = send(awaiting().work_left(()), ACCOUNTS).answered("AccountConfiguration-1", status, now=NOW)
    [problem] = flow.progress(NOW).problems
    assert (problem.setting, problem.value, problem.severity) == (
        "AccountConfiguration",
        status,
        Severity.WARNING,
    )
    flow = send(flow, RELEASE).answered("DeviceConfigured-1", "Acknowledged", now=NOW)
    assert flow.progress(NOW).problems == (problem,)


def test_a_mac_that_never_answers_about_accounts_is_released() -> None:
    """As in a migration, where the command is of no use."""
    flow = send(awaiting().work_left(()), ACCOUNTS)
    flow = send(send(flow, ACCOUNTS, NOW + MINUTE), ACCOUNTS, NOW + 3 * MINUTE)
    assert idle_until(flow, NOW + 4 * MINUTE) == NOW + 5 * MINUTE
    assert flow.progress(NOW + 4 * MINUTE).problems == ()
    flow = send(flow, RELEASE, NOW + 5 * MINUTE)
    [problem] = flow.progress(NOW + 5 * MINUTE).problems
    assert (problem.setting, problem.value) == ("AccountConfiguration", "no answer")
    late = flow.answered("AccountConfiguration-3", "Error", now=NOW + 9 * MINUTE)
    assert late.next_action(NOW + 6 * MINUTE).send is None


def test_a_command_without_an_answer_is_repeated_under_its_uuid() -> None:
    """It may have been lost before it was sent; a queue that got it twice still has one command."""
    flow = awaiting().work_left(())
    assert flow.uuid_to_repeat(ACCOUNTS) is None
    for now in (NOW, NOW + MINUTE):
        assert flow.next_action(now).send is ACCOUNTS
        flow = flow.sent(ACCOUNTS, command_uuid=flow.uuid_to_repeat(ACCOUNTS) or "one", now=now)
    assert (flow.accounts.attempts, flow.accounts.command_uuids) == (2, ("one",))
    flow = flow.answered("one", "NotNow", now=NOW + MINUTE)
    assert flow.uuid_to_repeat(ACCOUNTS) is None


def test_impossible_accounts_do_not_delay_the_release() -> None:
    """Such as a variable without a value."""
    flow = awaiting().without_accounts().work_left(())
    assert [problem.value for problem in flow.progress(NOW).problems] == ["not made"]
    send(flow, RELEASE)
    flow = flow.without_accounts("{{username}} has no value" * 99)
    [problem] = flow.progress(NOW).problems
    assert problem.value.startswith("not made: {{username}} has no value")
    assert len(problem.value) == 200


def test_delayed_accounts_are_retried_until_the_time_limit() -> None:
    """A minute later each time; then they are made as far as possible, since they cannot be made later."""
    flow = awaiting().work_left(())
    assert not flow.is_delay_over(NOW)
    for minute in range(5):
        now = NOW + minute * MINUTE
        assert flow.next_action(now).send is ACCOUNTS
        flow = flow.accounts_delayed(now=now)
        assert idle_until(flow, now) == now + MINUTE
        assert not flow.is_delay_over(now)
    now = NOW + 5 * MINUTE
    assert flow.is_delay_over(now)
    flow = send(flow, ACCOUNTS, now)
    assert idle_until(flow, now) == now + MINUTE, "its answer is waited for as usual"
    assert AwaitConfigurationFlow.from_json(json.loads(json.dumps(flow.to_json()))) == flow
    assert not flow.authenticated().is_delay_over(now)


@each("settings", [{"release_after": MINUTE}, {}])
def test_delay_ends_when_the_mac_must_be_released(settings: dict[str, Any]) -> None:
    """By the time limit, or because the caller released it."""
    flow = awaiting(**settings).work_left(()).accounts_delayed(now=NOW)
    assert not flow.is_delay_over(NOW)
    if not settings:
        flow = flow.released_now()
    assert flow.is_delay_over(NOW + MINUTE)
    assert flow.next_action(NOW + MINUTE).send is ACCOUNTS


def test_delay_of_the_second_attempt_is_retried_a_minute_later() -> None:
    """The Mac answered NotNow, and then the caller could not make the accounts."""
    flow = send(awaiting().work_left(()), ACCOUNTS).answered("AccountConfiguration-1", "NotNow", now=NOW)
    now = NOW + 2 * MINUTE
    flow = flow.accounts_delayed(now=now)
    assert idle_until(flow, now) == now + MINUTE
    flow = send(flow, ACCOUNTS, NOW + 5 * MINUTE)
    send(flow, RELEASE, NOW + 5 * MINUTE)


@each("answer", ["", "NotNow"])
def test_sent_accounts_are_repeated_however_late_the_mac_asks(answer: str) -> None:
    """The answer may be lost, or the network down for an hour; the accounts cannot be made later."""
    flow = send(awaiting().work_left(()), ACCOUNTS)
    if answer:
        flow = flow.answered("AccountConfiguration-1", answer, now=NOW)
    late = NOW + timedelta(hours=1)
    flow = send(flow, ACCOUNTS, late)
    send(flow, RELEASE, late)
    send(flow.answered("AccountConfiguration-2", "Acknowledged", now=late), RELEASE, late)


def test_mac_to_be_released_gets_its_accounts_once() -> None:
    """By hand, or at the time limit: the Mac waits for no other result."""
    flow = send(awaiting(release_after=10 * MINUTE).work_left(()), ACCOUNTS)
    send(flow.released_now(), RELEASE, NOW + MINUTE)
    send(flow, RELEASE, NOW + 10 * MINUTE)


def test_problems_of_the_accounts_stay_until_the_next_enrollment() -> None:
    """In the problems, through a store, and after the release."""
    problem = Problem("primary_account.account_name", "contoso\\john", "a name", "type it", Severity.WARNING)
    flow = send(awaiting().work_left(()).with_problems([problem]), ACCOUNTS)
    flow = AwaitConfigurationFlow.from_json(json.loads(json.dumps(flow.to_json())))
    flow = flow.answered("AccountConfiguration-1", "Acknowledged", now=NOW)
    flow = send(flow, RELEASE).answered("DeviceConfigured-1", "Acknowledged", now=NOW)
    assert flow.progress(NOW).problems == (problem,)
    assert flow.token_updated(awaiting=False, now=NOW).progress(NOW).problems == (problem,)
    assert flow.authenticated().progress(NOW).problems == ()
    assert flow.token_updated(awaiting=True, now=NOW).progress(NOW).problems == ()


def test_not_now_is_retried_for_a_limited_time() -> None:
    """A minute later; after the time limit the Mac continues without accounts."""
    flow = send(awaiting().work_left(()), ACCOUNTS).answered("AccountConfiguration-1", "NotNow", now=NOW)
    assert idle_until(flow, NOW) == NOW + MINUTE
    flow = send(flow, ACCOUNTS, NOW + MINUTE)
    # A repeated first answer does not answer the second attempt.
    assert flow.answered("AccountConfiguration-1", "NotNow", now=NOW + MINUTE) == flow
    flow = flow.answered("AccountConfiguration-2", "NotNow", now=NOW + MINUTE)
    assert flow.next_action(NOW + 2 * MINUTE).send is ACCOUNTS
    send(flow, RELEASE, NOW + 5 * MINUTE)


def test_release_is_repeated_until_the_mac_continues() -> None:
    """After NotNow, after an error, and without an answer; with growing intervals."""
    flow = send(awaiting(has_accounts=False).work_left(()), RELEASE)
    now, waits = NOW, []
    for attempt in range(1, 10):
        status = "Error" if attempt % 2 else "NotNow"
        flow = flow.answered(f"DeviceConfigured-{attempt}", status, now=now)
        again = idle_until(flow, now)
        assert again is not None
        waits.append((again - now) // MINUTE)
        now = again
        flow = send(flow, RELEASE, now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert idle_until(flow, now) == now + 5 * MINUTE
    flow = send(flow, RELEASE, now + 5 * MINUTE)
    gone = flow.token_updated(awaiting=False, now=now)
    assert gone.phase is AwaitPhase.RELEASED
    assert idle_until(gone, now + timedelta(days=1)) is None


def test_error_of_the_release_is_a_problem_while_the_mac_waits() -> None:
    """With the next step."""
    flow = send(awaiting(has_accounts=False).work_left(()), RELEASE)
    flow = flow.answered("DeviceConfigured-1", "Error", now=NOW)
    [problem] = flow.progress(NOW).problems
    assert problem.setting == "DeviceConfigured"
    assert problem.fix


def test_there_is_no_time_limit_by_default() -> None:
    """Neither Apple nor Intune has one."""
    flow = awaiting().work_left(["Company Portal"])
    assert idle_until(flow, NOW + timedelta(days=365)) is None


def test_release_after_releases_with_work_outstanding() -> None:
    """Accounts first, if there are any, without waiting for their result."""
    flow = awaiting(release_after=timedelta(minutes=30)).work_left(["Company Portal"])
    end = NOW + timedelta(minutes=30)
    assert idle_until(flow, end - timedelta(microseconds=1)) == end
    flow = send(flow, ACCOUNTS, end)
    flow = send(flow, RELEASE, end)
    assert flow.progress(end).outstanding[0] == "Company Portal"


def test_accounts_never_follow_the_release() -> None:
    """Not even if the Mac answered NotNow to them, and was then released immediately."""
    flow = send(awaiting().work_left(()), ACCOUNTS).answered("AccountConfiguration-1", "NotNow", now=NOW)
    flow = send(flow.released_now(), RELEASE)
    flow = attrs.evolve(flow, is_forced=False)
    assert idle_until(flow, NOW + 2 * MINUTE) == NOW + 5 * MINUTE


def test_release_after_shortens_the_wait_for_an_answer() -> None:
    """The next call is due at the deadline, not at the time limit for the answer."""
    flow = send(awaiting(release_after=2 * MINUTE).work_left(()), ACCOUNTS)
    flow = send(flow, ACCOUNTS, NOW + MINUTE)
    assert idle_until(flow, NOW + MINUTE) == NOW + 2 * MINUTE
    assert flow.next_action(NOW + 2 * MINUTE).reason == "no work is outstanding"


@pytest.mark.parametrize(
    ("work", "reason"), [(None, "the caller released the Mac"), ((), "no work is outstanding")]
)
def test_caller_can_release_a_mac_immediately(work: tuple[str, ...] | None, reason: str) -> None:
    """As the problem suggests."""
    flow = attrs.evolve(awaiting(has_accounts=False), outstanding=work).released_now()
    assert flow.next_action(NOW).reason == reason
    send(flow, RELEASE)


def test_problem_names_the_outstanding_work_after_15_minutes() -> None:
    """Most Macs are released by then."""
    flow = awaiting().work_left(["Wi-Fi", "Company Portal"])
    assert flow.progress(NOW + timedelta(minutes=14, seconds=59)).problems == ()
    [problem] = flow.progress(NOW + timedelta(minutes=15)).problems
    assert problem.value == "15 minutes"
    assert problem.allowed.endswith("as work_left reported: Wi-Fi, Company Portal")


@each("progress", [None, ["Wi-Fi"], [], "forced", "limited"])
def test_problem_names_existing_methods(progress: list[str] | str | None) -> None:
    """The next step depends on whose turn it is: the caller's, or the Mac's."""
    flow = awaiting()
    if progress == "forced":
        flow = flow.work_left(["Wi-Fi"]).released_now()
    elif progress == "limited":
        flow = awaiting(release_after=timedelta(hours=1)).work_left(["Wi-Fi"])
    elif isinstance(progress, list):
        flow = flow.work_left(progress)
    [problem] = flow.progress(NOW + timedelta(hours=2)).problems
    named = re.findall(r"FinalConfiguration\.(\w+)", problem.fix)
    assert all(inspect.isfunction(getattr(FinalConfiguration, name)) for name in named)
    if progress in (None, ["Wi-Fi"]):
        assert named == ["work_left", "release"]
        assert "reported" in problem.allowed
    else:
        assert "push" in problem.fix
        assert "take AccountConfiguration, DeviceConfigured" in problem.allowed


@each(
    ("waited", "words"),
    [
        (timedelta(minutes=15, seconds=59), "15 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=1, minutes=1, seconds=1), "1 hour 1 minute"),
        (timedelta(hours=23, minutes=59), "23 hours 59 minutes"),
        (timedelta(days=1, minutes=5), "1 day"),
        (timedelta(days=2, hours=3, minutes=5), "2 days 3 hours"),
        (timedelta(days=3_000), "3,000 days"),
    ],
)
def test_wait_is_shown_in_readable_units(waited: timedelta, words: str) -> None:
    """Not as 4320000 minutes."""
    [problem] = awaiting().progress(NOW + waited).problems
    assert problem.value == words
    assert format_duration(waited) == words


def test_repeated_token_update_changes_nothing() -> None:
    """Not even the start of the wait."""
    flow = send(awaiting().work_left(()), ACCOUNTS)
    assert flow.token_updated(awaiting=True, now=NOW + MINUTE) == flow
    done = flow.answered("AccountConfiguration-1", "Acknowledged", now=NOW)
    assert done.answered("AccountConfiguration-1", "Acknowledged", now=NOW) == done
    assert done.answered("AccountConfiguration-1", "Error", now=NOW) == done
    assert done.answered("InstallProfile-7", "Error", now=NOW) == done
    assert done.answered("", "Error", now=NOW) == done


def test_a_mac_that_stops_awaiting_and_awaits_again_keeps_its_accounts() -> None:
    """It is the same enrollment: no second AccountConfiguration."""
    flow = send(awaiting().work_left(()), ACCOUNTS).answered(
        "AccountConfiguration-1", "Acknowledged", now=NOW
    )
    flow = flow.token_updated(awaiting=False, now=NOW)
    assert flow.phase is AwaitPhase.NOT_AWAITING
    assert idle_until(flow, NOW) is None
    send(flow.token_updated(awaiting=True, now=NOW), RELEASE)


@pytest.mark.parametrize("with_authenticate", [False, True])
def test_new_enrollment_resets_the_state(with_authenticate: bool) -> None:
    """After a wipe: work, accounts and release come again, and old answers no longer count."""
    flow = send(awaiting().work_left(()), ACCOUNTS)
    flow = send(flow.answered("AccountConfiguration-1", "Acknowledged", now=NOW), RELEASE)
    flow = flow.answered("DeviceConfigured-1", "Acknowledged", now=NOW)
    later = NOW + timedelta(days=100)
    if with_authenticate:
        flow = flow.authenticated()
    flow = flow.token_updated(awaiting=True, now=later)
    assert flow == attrs.evolve(awaiting(), awaiting_since=later)
    assert flow.answered("DeviceConfigured-1", "Acknowledged", now=later) == flow


def test_late_success_counts() -> None:
    """The success of an attempt that was given up."""
    flow = send(awaiting(has_accounts=False).work_left(()), RELEASE)
    flow = send(flow, RELEASE, NOW + 5 * MINUTE)
    assert flow.answered("DeviceConfigured-1", "Acknowledged", now=NOW).phase is AwaitPhase.RELEASED


@each("settings", [{"release_after": timedelta(0)}, {"patience": timedelta(0)}, {"patience": -MINUTE}])
def test_duration_must_be_positive(settings: dict[str, Any]) -> None:
    """None means no limit."""
    with pytest.raises(PolicyError, match="more than zero"):
        AwaitConfigurationFlow(has_accounts=True, **settings)


@each("names", ["", [None], ["Wi-Fi", 5], ["Wi-Fi", " "], ["\ud800"]])
def test_invalid_name_of_work_is_refused_before_it_is_stored(names: Any) -> None:
    """A state that cannot be read back would hold the Mac for ever."""
    with pytest.raises(PolicyError, match="work_left"):
        awaiting().work_left(names)


def test_time_without_zone_is_refused() -> None:
    """Otherwise a comparison would fail much later."""
    naive = NOW.replace(tzinfo=None)
    flow = awaiting()
    for use in (flow.next_action, flow.progress):
        with pytest.raises(PolicyError, match="time zone"):
            use(naive)
    with pytest.raises(PolicyError, match="time zone"):
        flow.token_updated(awaiting=True, now=naive)


@each(
    "change",
    [
        {"version": None},
        {"version": "1"},
        {"phase": "lost"},
        {"awaiting_since": "2026-01-01T00:00:00"},
        {"patience": "P0D"},
        {"has_accounts": None},
        {"accounts": []},
        {"outstanding": "Wi-Fi"},
    ],
)
def test_damaged_state_is_a_typed_error(change: dict[str, Any]) -> None:
    """It is never read partially."""
    with pytest.raises(StoreError, match="cannot be read"):
        AwaitConfigurationFlow.from_json({**awaiting().to_json(), **change})
    with pytest.raises(StoreError):
        AwaitConfigurationFlow.from_json({})


def test_state_of_a_newer_version_is_reported_as_such() -> None:
    """So that no administrator restores a backup needlessly."""
    with pytest.raises(StoreVersionError, match="version 2"):
        AwaitConfigurationFlow.from_json({**awaiting().to_json(), "version": 2})


EVENTS = st.one_of(
    st.just(("authenticate",)),
    st.tuples(st.just("token"), st.booleans()),
    st.tuples(st.just("work"), st.lists(st.sampled_from(["Wi-Fi", "VPN"]), max_size=2)),
    st.tuples(st.just("wait"), st.integers(0, 400)),
    st.tuples(st.just("poll"), st.sampled_from([*CommandStatus, "Unheard", "no answer"])),
    st.tuples(st.just("repeat"), st.integers(0, 30)),
    st.just(("force",)),
    st.just(("without accounts",)),
)


class Driver:
    """Stores the state as JSON between events, and checks the commands."""

    def __init__(self, flow: AwaitConfigurationFlow) -> None:
        self.flow, self.now, self.number = flow, NOW, 0
        self.awaits = False
        self.answers: list[tuple[str, str]] = []
        self.sent: list[tuple[SetupCommand, str]] = []

    def keep(self, flow: AwaitConfigurationFlow) -> None:
        self.flow = AwaitConfigurationFlow.from_json(json.loads(json.dumps(flow.to_json())))
        assert self.flow == flow

    def token(self, awaits: bool) -> None:
        if awaits and self.flow.phase is AwaitPhase.RELEASED:
            self.sent = []
        self.awaits = awaits
        self.keep(self.flow.token_updated(awaiting=awaits, now=self.now))

    def poll(self, answer: str) -> SetupCommand | None:
        command = self.flow.next_action(self.now).send
        if command is None:
            return None
        assert self.awaits
        commands = [name for name, _ in self.sent]
        if command is ACCOUNTS:
            assert RELEASE not in commands
            assert all(given in ("NotNow", "no answer") for name, given in self.sent if name is ACCOUNTS)
            assert self.flow.has_accounts
        self.number += 1
        self.sent.append((command, answer))
        uuid = self.flow.uuid_to_repeat(command) or f"C-{self.number}"
        self.keep(self.flow.sent(command, command_uuid=uuid, now=self.now))
        if answer != "no answer":
            self.answers.append((uuid, answer))
            self.keep(self.flow.answered(uuid, answer, now=self.now))
        return command

    def do(self, event: tuple[Any, ...]) -> None:
        kind, *arguments = event
        if kind == "authenticate":
            self.sent, self.awaits = [], False
            self.keep(self.flow.authenticated())
        elif kind == "token":
            self.token(*arguments)
        elif kind == "work":
            self.keep(self.flow.work_left(*arguments))
        elif kind == "wait":
            self.now += timedelta(seconds=arguments[0])
        elif kind == "poll":
            self.poll(*arguments)
        elif kind == "repeat" and self.answers:
            before = self.flow
            self.keep(before.answered(*self.answers[arguments[0] % len(self.answers)], now=self.now))
        elif kind == "force":
            self.keep(self.flow.released_now())
        elif kind == "without accounts":
            self.keep(self.flow.without_accounts())
        assert all(problem.fix for problem in self.flow.progress(self.now).problems)


@given(
    events=st.lists(EVENTS, max_size=40),
    has_accounts=st.booleans(),
    limit=st.none() | st.integers(1, 60),
    answer=st.sampled_from(["Error", "NotNow", "no answer", "Acknowledged"]),
)
def test_any_order_of_events_releases_waiting_macs_and_sends_others_nothing(
    events: list[tuple[Any, ...]], has_accounts: bool, limit: int | None, answer: str
) -> None:
    """Commands only during the wait, accounts once, never after the release, and in the end the release."""
    release_after = None if limit is None else limit * MINUTE
    driver = Driver(AwaitConfigurationFlow(has_accounts=has_accounts, release_after=release_after))
    for event in events:
        driver.do(event)
    driver.token(True)
    if release_after is None:
        driver.keep(driver.flow.work_left(()))
    answers = [answer] * 5 + ["Acknowledged"] * 50
    for given_answer in answers:
        if driver.flow.phase is AwaitPhase.RELEASED:
            break
        if driver.poll(given_answer) is None:
            again = driver.flow.next_action(driver.now).ask_again_at
            assert again is not None
            assert again > driver.now
            driver.now = again
    assert driver.flow.phase is AwaitPhase.RELEASED
    assert driver.sent[-1] == (RELEASE, "Acknowledged")
