"""Check everything that Macs need to enroll, and report the problems, each with its next step.

The rules of this file:

1. A check changes nothing, neither in the store nor at Apple.
2. A record that cannot be read is a problem of its own, and the other checks continue.
3. A check that was not asked for leaves a note if the enrollment depends on it.
4. What a sync has stored about the account at Apple is reported once, from the store.
5. Problems of Macs that were given a profile are grouped: one problem per kind, with the Macs that have it.
6. The most severe problems come first.

Source: specification, "Prerequisites", "Renew enrollment program token", "Create an Apple enrollment profile"
(with Account Settings and Await final configuration) and "Distribute devices".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Final, Protocol, TypeAlias, runtime_checkable

import attrs
from cryptography import x509

from pyade.apple.client import AsyncClient, Client
from pyade.assignment.failures import failure_problem, risk_problem
from pyade.assignment.risk import MacsAtRisk, RiskRule
from pyade.assignment.same_names import stored_name_problems
from pyade.core.arguments import TEXT, TEXTS, check_arguments, check_returned
from pyade.core.exports import Exportable
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.records import SyncState, owner_of
from pyade.core.fleet.suspension import suspended_reason, was_renewed
from pyade.core.problems import Problem, Severity, problem_tables, warning
from pyade.core.profile.accounts import names_device, written
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.setup_accounts import names_of
from pyade.core.profile.validation import check_account_settings, check_auto_advance
from pyade.core.token import Token
from pyade.crypto.push_certificate import PushCertificate
from pyade.enrollment.final_configuration_state import problems_of
from pyade.errors import ClockError, DamagedRecordError, PyadeError, StoreError, TermsError
from pyade.flow import AsyncRunner, CallHook, Flow, Now, Runner, ask, clock_of
from pyade.hooks import Hook
from pyade.operations.token_steps import ReadAccount, account_handlers, account_handlers_async
from pyade.storage.protocol import Store
from pyade.sync.damage import Fleet, damage_of, read_fleet, readable_records, unreadable_secrets
from pyade.sync.report import implausible_date_problem
from pyade.sync.runners import in_store
from pyade.sync.token_account import account_problem, changed_account
from pyade.text import MAX_LISTED, Printed, Table, abbreviate, format_utc, pluralize

_ProblemKind: TypeAlias = tuple[str, str, Severity]

OUT_OF_DATE_AFTER: Final = timedelta(days=2)
"""How long after its last successful sync a token is out of date; automatic syncs run every 24 hours."""

ANCHOR_WARNING: Final = timedelta(days=30)
"""How long before the expiry of an anchor certificate a warning is given."""

_RESTORE: Final = "restore a backup, or store it again"
_RESTORE_ENROLLMENTS: Final = "restore a backup, or let the Mac enroll again"
_ASSIGN: Final = "assign a profile, or set a default"
_SEVERITY_ORDER: Final = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@attrs.frozen(kw_only=True, repr=False)
class HealthReport(Exportable, Printed):
    """The problems that a check found; ``print`` shows them.

    Attributes:
        problems: The most severe first.
        checked_at: The time of the check, UTC.
    """

    problems: tuple[Problem, ...]
    checked_at: datetime

    _EXPORTED: ClassVar[str] = "is_healthy checked_at problems"

    @property
    def is_healthy(self) -> bool:
        """True if no problem is an error; warnings and notes do not count."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)

    def _words(self) -> list[str]:
        lines = [f"{problem.severity.value:<8} {problem}" for problem in self.problems]
        summary = f"Checked at {format_utc(self.checked_at)}: {pluralize(len(lines), 'problem')}"
        return [summary, *lines]

    def _tables(self) -> Iterator[Table]:
        yield from problem_tables(self.problems) if self.problems else (Table(str(self), (), ()),)


def _distinct_serials(serials: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(serials))


@attrs.frozen(kw_only=True)
class HealthCheck:
    """The arguments of a check; see ``doctor``."""

    asks_apple: bool
    push: PushCertificate | None
    topic: str | None
    expected_serials: tuple[str, ...] = attrs.field(converter=_distinct_serials)
    find_in_program: Hook[Collection[str]] | None
    check_ws_trust: Hook[str] | None


def health_flow(check: HealthCheck) -> Flow[HealthReport]:
    """Run all checks and return the report."""
    now = yield from ask(Now())
    problems: list[Problem] = []
    problems += _check_push(check, now)
    fleet = yield from in_store(read_fleet)
    if not fleet.tokens and not fleet.damaged:
        problems.append(
            Problem("tokens", "", "a server token is needed", "make one, beginning with TokenService.create")
        )
    problems += _damage_problems(fleet)
    problems += _secret_problems((yield from in_store(unreadable_secrets)))
    profiles: list[EnrollmentProfile] = []
    for token in fleet.tokens.values():
        state, identified = fleet.states.get(token.name, SyncState()), token
        if check.asks_apple:
            found, identified = yield from _check_account(token, is_reported=bool(state.account_problem))
            problems += found
        if token.name not in fleet.damaged:
            problems += _token_problems(identified, state, now)
            problems += _sync_problems(token, state)
        try:
            groups = yield from in_store(partial(_read_groups, token_name=token.name))
            profiles += yield from in_store(partial(_profiles_in_use, token_name=token.name, groups=groups))
            problems += yield from in_store(partial(_device_problems, token=token, groups=groups))
        except DamagedRecordError as error:
            problems.append(Problem(f"token {token.name}", "", damage_of(error), _RESTORE))  # rule 2
    distinct = _without_duplicates(profiles)
    problems += (problem for profile in distinct for problem in _account_setting_problems(profile))
    problems += (problem for profile in distinct for problem in _anchor_problems(profile, now))
    problems += device_name_problems(distinct)
    problems += yield from in_store(partial(enrollment_problems, now=now))
    if any(profile.user_affinity.kind is AffinityKind.LEGACY for profile in profiles):
        problems += yield from _check_legacy(check.check_ws_trust)
    if check.expected_serials:
        problems += yield from _check_purchase(check)
    problems.sort(key=lambda problem: _SEVERITY_ORDER[problem.severity])  # rule 6
    return HealthReport(problems=tuple(problems), checked_at=now)


# Tokens, their devices and profiles, and the purchase


def _check_push(check: HealthCheck, now: datetime) -> Sequence[Problem]:
    if check.push is not None:
        return check.push.check(now=now, topic=check.topic)
    text = "the MDM push certificate is a prerequisite, and was not checked"
    fix = "pass push=PushCertificate.load(...)"
    return (Problem("push_certificate", "", text, fix, Severity.NOTE),)  # rule 3


def _damage_problems(fleet: Fleet) -> Iterator[Problem]:
    for name, error in fleet.damaged.items():
        yield Problem(f"token {name}", "", damage_of(error), fleet.remedy(name))


def _secret_problems(names: Sequence[str]) -> Iterator[Problem]:
    if names:
        text = f"none of the keys decrypts {', '.join(names)}"
        fix = "open the store with keys= that include the keys they were encrypted with, or store them again"
        yield Problem("secrets", "", text, fix)


def _token_problems(token: Token, state: SyncState, now: datetime) -> Iterator[Problem]:
    where = f"token {token.name}"
    yield from (attrs.evolve(problem, setting=f"{where}.{problem.setting}") for problem in token.problems)
    health = token.health(now)
    if health.next_step:
        is_over = health.remaining is not None and health.remaining <= timedelta(0)
        severity = Severity.ERROR if is_over else Severity.WARNING
        text = str(health).removesuffix(f": {health.next_step}")
        yield Problem(where, "", text, health.next_step, severity)
    suspended = suspended_reason(token, state)
    if suspended:
        yield Problem(
            where,
            "",
            suspended,
            "fix it or renew the token; pyade tries again once a day, and immediately after a renewal",
        )
    elif state.last_error and not state.held_back:
        text = "the last sync ended with"
        fix = "the next may succeed; the documentation has a table of errors"
        if was_renewed(token, state):
            text = f"not synced since the token was renewed; {text}"
            fix = "sync it again: that is allowed 15 minutes after the last sync"
        yield warning(where, "", f"{text}: {state.last_error}", fix)
    for failure in state.assignment_errors.values():
        problem = failure_problem(failure.profile, failure.devices, failure.error)
        yield attrs.evolve(problem, setting=f"{where}.{problem.setting}")
    last = state.succeeded_at
    if last is None:
        yield warning(where, "", "it was never synced completely", "run a Scheduler, or Syncer.sync()")
    elif now - last > OUT_OF_DATE_AFTER:
        yield warning(
            where, "", f"last synced with Apple at {format_utc(last)}", "check that a Scheduler runs"
        )


def _sync_problems(token: Token, state: SyncState) -> Iterator[Problem]:
    """Yield the lasting problems that a sync stored."""
    where = f"token {token.name}"
    if state.held_back:
        listed = "" if state.listed_at is None else f" of {format_utc(state.listed_at)}"
        text = (
            f"{pluralize(state.held_back, 'device')} not in Apple's list{listed}, and not released: too many"
        )
        fix = "check the MDM server in the portal, and sync with force=True if Apple's list is right"
        yield Problem(where, "", text, fix)
    if state.ties:
        text = f"the order of changes of {pluralize(len(state.ties), 'device')} is in doubt"
        yield warning(where, abbreviate(sorted(state.ties)), text, "the next sync reads their details")
    if state.account_problem:
        yield attrs.evolve(changed_account(state.account_problem), setting=where)


def _check_account(token: Token, *, is_reported: bool) -> Flow[tuple[list[Problem], Token]]:
    """Return the problems that Apple's account response shows, and the token with the server it names.

    Args:
        token: As it is stored.
        is_reported: True if the sync state holds a problem of the account already.
    """
    where = f"token {token.name}"
    try:
        account = yield from ask(ReadAccount(token))  # rule 1
    except ClockError as error:
        return [Problem("clock", "", str(error), "synchronize the clock of this machine with NTP")], token
    except PyadeError as error:
        fix = getattr(error, "next_step", "")
        text = str(error).removesuffix(f"; {fix}")  # the fix of a problem follows its text
        text = text if isinstance(error, TermsError) else f"Apple could not be asked: {text}"
        return [Problem(where, "", text, fix)], token
    if is_reported:  # rule 4
        return [], token
    if token.server_uuid and account.server_uuid and token.server_uuid != account.server_uuid:
        fix = "upload the token of the right MDM server"
        expected = f"the MDM server {token.server_uuid} is expected"
        return [Problem(where, account.server_uuid, expected, fix)], token
    named = account.identify(token)
    problem = account_problem(token, named)
    return ([attrs.evolve(changed_account(problem), setting=where)], token) if problem else ([], named)


def _read_groups(store: Store, token_name: str) -> Mapping[DeviceGroup, int]:
    return store.device_groups(token_name)


def _device_problems(store: Store, token: Token, groups: Mapping[DeviceGroup, int]) -> list[Problem]:
    where = f"token {token.name}"
    problems: list[Problem] = []
    if store.default_profile(token.name) is None:
        fix = "set one with Assigner.run(default=) as soon as possible"
        problems.append(warning(where, "", "it has no default profile, so new Macs fail to enroll", fix))
    wild_groups = [group for group in groups if group.has_implausible_date]
    wild = {
        record.serial_number: record.op_date_sent
        for record in store.devices(token.name, groups=wild_groups, released=None)
        if record.op_date_sent is not None
    }
    if wild:
        problems.append(attrs.evolve(implausible_date_problem(wild), setting=f"{where}.op_date"))
    problems += (
        attrs.evolve(one, setting=f"{where}.{one.setting}") for one in stored_name_problems(store, token.name)
    )
    at_risk = MacsAtRisk.of(store, token.name, groups)
    for risk, count in at_risk.count().items():
        first = islice(at_risk.records(risk), MAX_LISTED + 1)
        problems.append(risk_problem(where, risk, count, [record.serial_number for record, _ in first]))
    return problems


def _account_setting_problems(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield problems of the account and Auto Advance settings of a profile in use."""
    for problem in (*check_account_settings(profile), *check_auto_advance(profile)):
        yield attrs.evolve(problem, setting=f"profile {profile.name}.{problem.setting}")


def _anchor_problems(profile: EnrollmentProfile, now: datetime) -> Iterator[Problem]:
    for number, der in enumerate(profile.anchor_certificates):
        where = f"profile {profile.name}.anchor_certificates[{number}]"
        try:
            ends = x509.load_der_x509_certificate(der).not_valid_after_utc
        except ValueError:
            yield Problem(where, "", "a certificate in DER", "replace it")
            continue
        if now >= ends:
            fix = "replace it: Macs do not connect to the server with an expired anchor"
            yield Problem(where, format_utc(ends), "an anchor that is still valid", fix)
        elif now >= ends - ANCHOR_WARNING:
            yield warning(where, format_utc(ends), "it expires within 30 days", "add its successor")


def _check_legacy(hook: Hook[str] | None) -> Flow[list[Problem]]:
    where = "legacy authentication"
    if hook is None:
        text = "Active Directory Federation Services need a WS-Trust 1.3 Username/Mixed endpoint"
        fix = "check that it is enabled (Get-ADfsEndpoint), or pass check_ws_trust="
        return [Problem(where, "", text, fix, Severity.NOTE)]  # rule 3
    wrong = check_returned("check_ws_trust", (yield from ask(CallHook(hook, (), "check_ws_trust"))), TEXT)
    return [Problem(where, "", f"the WS-Trust 1.3 endpoint: {wrong}", "enable it")] if wrong else []


def _check_purchase(check: HealthCheck) -> Flow[list[Problem]]:
    expected = check.expected_serials
    damaged: list[DamagedRecordError] = []
    owned, at_risk = yield from in_store(lambda store: _find_owned(store, expected, damaged.append))
    missing = [serial for serial in expected if serial not in owned]
    problems = [Problem("expected_serials", "", damage_of(error), _RESTORE) for error in damaged]
    if check.find_in_program is not None and missing:
        answer = yield from ask(CallHook(check.find_in_program, (tuple(missing),), "find_in_program"))
        found = set(check_returned("find_in_program", answer, TEXTS))
        outside = [serial for serial in missing if serial not in found]
        missing = [serial for serial in missing if serial in found]
        if outside:
            text = f"{pluralize(len(outside), 'device')} of the purchase not yet in Apple's program"
            fix = "ask the reseller to add the order, with the organization's number"
            problems.append(Problem("expected_serials", abbreviate(outside), text, fix))
    if missing:
        text = f"{pluralize(len(missing), 'device')} of the purchase on no MDM server in this store"
        fix = "assign them to the MDM server in the portal, then sync"
        if check.find_in_program is None:
            fix += "; they may not be in the program yet"
        problems.append(Problem("expected_serials", abbreviate(missing), text, fix))
    if at_risk:
        text = f"{pluralize(len(at_risk), 'device')} of the purchase without a profile"
        problems.append(Problem("expected_serials", abbreviate(at_risk), text, _ASSIGN))
    return problems


def _find_owned(
    store: Store, serials: Sequence[str], damaged: Callable[[DamagedRecordError], None]
) -> tuple[set[str], list[str]]:
    """Return which of *serials* belong to stored tokens, and which of these would fail to enroll.

    Calls *damaged* for each record that cannot be read; its serial number is in neither result.
    """
    records: dict[str, list[Any]] = {}
    for record in readable_records(store, serials, damaged):
        records.setdefault(record.serial_number, []).append(record)
    owners = {serial: owner for serial, found in records.items() if (owner := owner_of(found)) is not None}
    at_risk: list[str] = []
    for name in sorted({owner.token_name for owner in owners.values()}):
        try:
            rule = RiskRule.of(store, name)
        except DamagedRecordError as error:
            damaged(error)
            continue
        visible = (one for one in owners.values() if one.token_name == name and not one.is_hidden)
        at_risk += (one.serial_number for one in visible if rule.of_record(one) is not None)
    return set(owners), sorted(at_risk)


def _profiles_in_use(
    store: Store, token_name: str, groups: Mapping[DeviceGroup, int]
) -> list[EnrollmentProfile]:
    """Return the profiles that devices of a token enroll with: the assigned ones and the default."""
    default = store.default_profile(token_name)
    used = {(group.profile_uuid or "").casefold() for group in groups if group.is_listed}
    assigned = [one.profile for one in store.profiles(token_name) if one.profile_uuid.casefold() in used]
    return assigned if default is None else [*assigned, default]


def _without_duplicates(profiles: Iterable[EnrollmentProfile]) -> list[EnrollmentProfile]:
    found: list[EnrollmentProfile] = []
    for profile in profiles:
        if profile not in found:
            found.append(profile)
    return found


# Macs that were given a profile


@runtime_checkable
class _EnrollmentStore(Protocol):
    def enrollments(
        self, *, registration: Any = None, damaged: Callable[[DamagedRecordError], None] | None = None
    ) -> Iterator[Enrollment]:
        """Iterate over the stored enrollments of Macs that were given a profile."""
        ...


def enrollment_problems(store: Store, now: datetime) -> list[Problem]:
    """Return the problems of Macs that were given a profile; empty if *store* keeps no enrollments.

    Args:
        store: The store with the enrollments.
        now: The time, UTC.
    """
    if not isinstance(store, _EnrollmentStore):
        return []
    damaged: list[DamagedRecordError] = []
    found: dict[_ProblemKind, list[tuple[str, Problem]]] = {}
    unreadable: list[str] = []
    for enrollment in store.enrollments(damaged=damaged.append):
        serial = enrollment.serial_number
        try:
            its_problems = problems_of(enrollment, now)
        except StoreError:
            unreadable.append(serial)  # rule 2
            continue
        for problem in its_problems:
            kind = (problem.setting, problem.fix, problem.severity)
            found.setdefault(kind, []).append((serial, problem))
    problems = [Problem("enrollments", "", damage_of(error), _RESTORE_ENROLLMENTS) for error in damaged]
    if unreadable:
        text = f"the final configuration of {pluralize(len(unreadable), 'Mac')} cannot be read"
        problems.append(Problem("enrollments", abbreviate(unreadable), text, _RESTORE_ENROLLMENTS))
    return [*problems, *map(_merge_same_kind, found.values())]  # rule 5


def device_name_problems(profiles: Iterable[EnrollmentProfile]) -> list[Problem]:
    """Return a note for each of *profiles* whose account names contain the name of the device.

    The store does not tell whether the caller passes one to ``FinalConfiguration``.
    """
    problems: list[Problem] = []
    for profile in profiles:
        if names_device(*names_of(profile)):
            text = f"{written('managedDeviceName')} has a value only if FinalConfiguration gets one"
            fix = "check that device_name= or variables= is passed, or remove the variable"
            problems.append(Problem(f"profile {profile.name}", "", text, fix, Severity.NOTE))
    return problems


def _merge_same_kind(found: list[tuple[str, Problem]]) -> Problem:
    """Return one problem for all Macs with a problem of the same kind."""
    serials, (first, *_) = [serial for serial, _ in found], [problem for _, problem in found]
    distinct = list(dict.fromkeys(serials))
    text = f"{pluralize(len(distinct), 'Mac')}: {first.allowed}"
    if first.value:
        example = "with the value" if len(found) == 1 else "with values such as"
        text = f"{pluralize(len(distinct), 'Mac')} {example} {first.value!r}; expected: {first.allowed}"
    return attrs.evolve(
        first,
        setting=f"enrollments.{first.setting}",
        value=abbreviate(distinct),
        allowed=text,
    )


# Public functions


@check_arguments
def doctor(
    store: Store,
    client_for: Callable[[Token], Client] | None = None,
    *,
    push: PushCertificate | None = None,
    topic: str | None = None,
    expected_serials: Iterable[str] = (),
    find_in_program: Callable[[Sequence[str]], Collection[str]] | None = None,
    check_ws_trust: Callable[[], str] | None = None,
    clock: Callable[[], datetime] | None = None,
) -> HealthReport:
    """Check everything that Macs need to enroll, and return the problems; changes nothing.

    Args:
        store: The store with the tokens and devices.
        client_for: Returns a client for a token, to ask Apple whether the token works and the terms are
            signed; None sends no requests.
        push: The MDM push certificate, a prerequisite; None adds a note.
        topic: The topic that Macs enroll with, compared with that of *push*.
        expected_serials: The serial numbers of the purchase.
        find_in_program: Returns those of the given serial numbers that the organization has in Apple's
            program, for example with the Apple Business API; None if that cannot be determined.
        check_ws_trust: Checks the WS-Trust 1.3 endpoint and returns the problem as text, "" for none. Called
            if a profile signs users in with legacy authentication; None adds a note.
        clock: Returns the time, UTC; None for the clock of *store*.

    Raises:
        ArgumentError: A hook returned a value of the wrong type.
        StoreError: The store failed.
    """
    check = HealthCheck(
        asks_apple=client_for is not None,
        push=push,
        topic=topic,
        expected_serials=expected_serials,
        find_in_program=find_in_program,
        check_ws_trust=check_ws_trust,
    )
    handlers = {} if client_for is None else account_handlers(client_for)
    runner = Runner(handlers, store=store, clock=clock_of(clock, store), asynchronous="doctor_async")
    return runner.run(health_flow(check))


@check_arguments
async def doctor_async(
    store: Store,
    client_for: Callable[[Token], AsyncClient] | None = None,
    *,
    push: PushCertificate | None = None,
    topic: str | None = None,
    expected_serials: Iterable[str] = (),
    find_in_program: Hook[Collection[str]] | None = None,
    check_ws_trust: Hook[str] | None = None,
    clock: Callable[[], datetime] | None = None,
) -> HealthReport:
    """Do what ``doctor`` does with ``AsyncClient``; the hooks may be coroutine functions."""
    check = HealthCheck(
        asks_apple=client_for is not None,
        push=push,
        topic=topic,
        expected_serials=expected_serials,
        find_in_program=find_in_program,
        check_ws_trust=check_ws_trust,
    )
    handlers = {} if client_for is None else account_handlers_async(client_for)
    runner = AsyncRunner(handlers, store=store, clock=clock_of(clock, store))
    return await runner.run(health_flow(check))
