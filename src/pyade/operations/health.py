"""Is everything there that Macs need to enroll? One list of problems, each with the next step.

Source: specification, "Prerequisites", "Renew enrollment program token", "Create an Apple enrollment
profile" and "Distribute devices".

What ``doctor`` checks, as a flow of steps.

Source: specification, "Prerequisites", "Renew enrollment program token", "Create an Apple enrollment
profile" and "Distribute devices".

What ``doctor`` checks of Macs that were given a profile: one problem per kind, with the Macs that have it.

Source: specification, "Create an Apple enrollment profile", Account Settings and Await final configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import attrs
from cryptography import x509

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.connection import utc_now
from pyade.assignment.failures import problem_of, risk_problem
from pyade.assignment.risk import MacsAtRisk, RiskRule
from pyade.assignment.same_names import kept_names
from pyade.core.arguments import TEXT, TEXTS, check_arguments, check_returned
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.records import SyncState, owner_of
from pyade.core.fleet.suspension import suspended_reason
from pyade.core.problems import Problem, Severity, warning
from pyade.core.profile.accounts import names_device, written
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.setup_accounts import names_of
from pyade.core.profile.validation import check_account_settings, check_auto_advance
from pyade.core.token import Token
from pyade.crypto.push_certificate import PushCertificate
from pyade.enrollment.final_configuration_state import problems_of
from pyade.errors import ClockError, DamagedRecordError, PyadeError, StoreError, TermsError
from pyade.flow import AsyncRunner, CallHook, Flow, Hook, Now, Runner, ask
from pyade.operations.token_steps import ReadAccount, account_handlers, async_account_handlers
from pyade.storage.protocol import Store
from pyade.sync.damage import Fleet, damage_of, read_fleet, readable_records, unreadable_secrets
from pyade.sync.report import SHOWN, counted, shown, some, wild_date_problem
from pyade.sync.runners import in_store
from pyade.sync.token_account import account_problem, changed_account
from pyade.text import Printed

_Kind: TypeAlias = tuple[str, str, Severity]


@runtime_checkable
class _KeepsEnrollments(Protocol):
    def enrollments(
        self, *, registration: Any = None, damaged: Callable[[DamagedRecordError], None] | None = None
    ) -> Iterator[Enrollment]:
        """Iterate over what is kept of Macs that were given a profile."""
        ...


def enrollment_problems(store: Store, now: datetime) -> list[Problem]:
    """Return what is wrong with the Macs that were given a profile; none where *store* keeps no enrollments.

    Args:
        store: Where they are.
        now: The time, UTC.
    """
    if not isinstance(store, _KeepsEnrollments):
        return []
    damaged: list[DamagedRecordError] = []
    found: dict[_Kind, list[tuple[str, Problem]]] = {}
    unreadable: list[str] = []
    for enrollment in store.enrollments(damaged=damaged.append):
        serial = enrollment.serial_number
        try:
            mine = problems_of(enrollment, now)
        except StoreError:
            unreadable.append(serial)
            continue
        for problem in mine:
            kind = (problem.setting, problem.fix, problem.severity)
            found.setdefault(kind, []).append((serial, problem))
    problems = [Problem("enrollments", "", damage_of(error), _RESTORE_ENROLLMENTS) for error in damaged]
    if unreadable:
        text = f"the state of {counted(len(unreadable), 'Mac')} that may wait cannot be read"
        problems.append(Problem("enrollments", some(unreadable), text, _RESTORE_ENROLLMENTS))
    return [*problems, *map(_of_all, found.values())]


def device_name_problems(profiles: Iterable[EnrollmentProfile]) -> list[Problem]:
    """Return a reminder for each of *profiles* whose account names need the name of the device.

    Nothing that is stored says whether the caller of ``FinalConfiguration`` gives one.
    """
    problems: list[Problem] = []
    for profile in profiles:
        if names_device(*names_of(profile)):
            text = f"{written('managedDeviceName')} has a value only if FinalConfiguration is given one"
            fix = "see that device_name= or variables= is given, or take the variable out"
            problems.append(Problem(f"profile {profile.name}", "", text, fix, Severity.INFO))
    return problems


def _of_all(found: list[tuple[str, Problem]]) -> Problem:
    """Return one problem for all Macs that have one of this kind."""
    serials, (first, *_) = [serial for serial, _ in found], [problem for _, problem in found]
    such = f", such as {first.value!r}" if first.value else ""
    text = f"{counted(len(set(serials)), 'Mac')}{such}: {first.allowed}"
    return attrs.evolve(
        first, setting=f"enrollments.{first.setting}", value=some(list(dict.fromkeys(serials))), allowed=text
    )


_RESTORE_ENROLLMENTS: Final = "restore a backup, or let the Mac enroll again"


OUT_OF_STEP_AFTER: Final = timedelta(days=2)
"""Without a good sync for so long a token is out of step: automatic syncs come every 24 hours."""

ANCHOR_WITHIN: Final = timedelta(days=30)
"""How long before its end an anchor certificate is worth a look."""


@attrs.frozen(kw_only=True)
class HealthReport(Printed):
    """What was found; ``print`` shows it.

    Attributes:
        problems: The worst first.
        checked_at: When, UTC.
    """

    problems: tuple[Problem, ...]
    checked_at: datetime

    @property
    def is_healthy(self) -> bool:
        """True if nothing is wrong; what is only worth a look does not count."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)

    def _words(self) -> list[str]:
        lines = [f"{problem.severity.value:<8} {problem}" for problem in self.problems]
        head = f"Checked at {shown(self.checked_at)}: {counted(len(lines), 'problem')}"
        return [head, *lines]


def _distinct_serials(serials: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(serials))


@attrs.frozen(kw_only=True)
class HealthCheck:
    """What is to be checked; see ``doctor``."""

    asks_apple: bool
    push: PushCertificate | None
    topic: str | None
    expected_serials: tuple[str, ...] = attrs.field(converter=_distinct_serials)
    find_in_program: Hook[Collection[str]] | None
    check_ws_trust: Hook[str] | None


def diagnosis_flow(questions: HealthCheck) -> Flow[HealthReport]:
    """Return what was found."""
    now = yield from ask(Now())
    problems: list[Problem] = []
    problems += _of_push(questions, now)
    fleet = yield from in_store(read_fleet)
    if not fleet.tokens and not fleet.damaged:
        problems.append(
            _error("tokens", "", "a server token is needed", "make one, as TokenService.create begins to")
        )
    problems += _of_damage(fleet)
    problems += _of_secrets((yield from in_store(unreadable_secrets)))
    profiles: list[EnrollmentProfile] = []
    for token in fleet.tokens.values():
        state, known = fleet.states.get(token.name, SyncState()), token
        if questions.asks_apple:
            asked, known = yield from _of_account(token, is_told=bool(state.account_problem))
            problems += asked
        if token.name not in fleet.damaged:
            problems += _of_token(known, state, now)
            problems += _of_sync(token, state)
        try:
            groups = yield from in_store(partial(_groups, token_name=token.name))
            profiles += yield from in_store(partial(_profiles, token_name=token.name, groups=groups))
            problems += yield from in_store(partial(_of_devices, token=token, groups=groups))
        except DamagedRecordError as error:
            problems.append(_error(f"token {token.name}", "", damage_of(error), _RESTORE))
    problems += (problem for profile in _distinct(profiles) for problem in _of_accounts(profile))
    problems += (problem for profile in _distinct(profiles) for problem in _of_anchors(profile, now))
    problems += device_name_problems(_distinct(profiles))
    problems += yield from in_store(partial(enrollment_problems, now=now))
    if any(profile.user_affinity.kind is AffinityKind.LEGACY for profile in profiles):
        problems += yield from _of_legacy(questions.check_ws_trust)
    if questions.expected_serials:
        problems += yield from _of_purchase(questions)
    problems.sort(key=lambda problem: _ORDER[problem.severity])
    return HealthReport(problems=tuple(problems), checked_at=now)


def _of_push(questions: HealthCheck, now: datetime) -> Sequence[Problem]:
    if questions.push is not None:
        return questions.push.check(now=now, topic=questions.topic)
    text = "the MDM push certificate is a prerequisite, and was not looked at"
    fix = "pass push=PushCertificate.from_pem(...)"
    return (Problem("push_certificate", "", text, fix, Severity.INFO),)


def _of_damage(fleet: Fleet) -> Iterator[Problem]:
    for name, error in fleet.damaged.items():
        yield _error(f"token {name}", "", damage_of(error), fleet.remedy(name))


def _of_secrets(names: Sequence[str]) -> Iterator[Problem]:
    if names:
        text = f"none of the keys opens {', '.join(names)}"
        fix = "open the store with the keys they were written with, among others in keys=, or store them anew"
        yield _error("secrets", "", text, fix)


def _of_token(token: Token, state: SyncState, now: datetime) -> Iterator[Problem]:
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
        yield _error(where, "", suspended, "it is tried again once a day, and at once when it was renewed")
    elif state.last_error and not state.held_back:
        fix = "the next sync may put it right; the documentation has a table of errors"
        yield warning(where, "", f"the last sync ended with: {state.last_error}", fix)
    for failure in state.assignment_errors.values():
        problem = problem_of(failure.profile, failure.devices, failure.error)
        yield attrs.evolve(problem, setting=f"{where}.{problem.setting}")
    last = state.succeeded_at
    if last is None:
        yield warning(where, "", "it was never synced to the end", "run a Scheduler, or Syncer.sync()")
    elif now - last > OUT_OF_STEP_AFTER:
        yield warning(where, "", f"not in step with Apple since {shown(last)}", "see that a Scheduler runs")


def _of_sync(token: Token, state: SyncState) -> Iterator[Problem]:
    """Yield what a sync noted and lasts."""
    where = f"token {token.name}"
    if state.held_back:
        listed = "" if state.listed_at is None else f" of {shown(state.listed_at)}"
        text = f"{counted(state.held_back, 'device')} not in Apple's list{listed}, and not released: too many"
        fix = "check the MDM server in the portal, and sync with force=True if the list is right"
        yield _error(where, "", text, fix)
    if state.ties:
        text = f"the order of changes of {counted(len(state.ties), 'device')} is in doubt"
        yield warning(where, some(sorted(state.ties)), text, "the next sync reads their details")
    if state.account_problem:
        yield attrs.evolve(changed_account(state.account_problem), setting=where)


def _of_account(token: Token, *, is_told: bool) -> Flow[tuple[list[Problem], Token]]:
    """Return what Apple says against *token*, and the token with what Apple says of it."""
    where = f"token {token.name}"
    try:
        account = yield from ask(ReadAccount(token))
    except ClockError as error:
        return [_error("clock", "", str(error), "let this machine keep its clock by NTP")], token
    except TermsError as error:
        return [_error(where, "", str(error), error.next_step)], token
    except PyadeError as error:
        text = f"Apple could not be asked: {error}"
        return [_error(where, "", text, getattr(error, "next_step", ""))], token
    if is_told:
        return [], token
    if token.server_uuid and account.server_uuid and token.server_uuid != account.server_uuid:
        fix = "upload the token of the right MDM server"
        expected = f"the MDM server {token.server_uuid} is expected"
        return [_error(where, account.server_uuid, expected, fix)], token
    named = account.identify(token)
    problem = account_problem(token, named)
    return ([attrs.evolve(changed_account(problem), setting=where)], token) if problem else ([], named)


def _groups(store: Store, token_name: str) -> Mapping[DeviceGroup, int]:
    return store.device_groups(token_name)


def _of_devices(store: Store, token: Token, groups: Mapping[DeviceGroup, int]) -> list[Problem]:
    where = f"token {token.name}"
    problems: list[Problem] = []
    if store.default_profile(token.name) is None:
        fix = "set one with Assigner.run(default=) as soon as possible"
        problems.append(warning(where, "", "it has no default profile, so that new Macs fail to enroll", fix))
    wild_groups = [group for group in groups if group.has_wild_date]
    wild = {
        record.serial_number: record.op_date_sent
        for record in store.devices(token.name, groups=wild_groups, released=None)
        if record.op_date_sent is not None
    }
    if wild:
        problems.append(attrs.evolve(wild_date_problem(wild), setting=f"{where}.op_date"))
    problems += (attrs.evolve(one, setting=f"{where}.{one.setting}") for one in kept_names(store, token.name))
    at_risk = MacsAtRisk.of(store, token.name, groups)
    for risk, count in at_risk.count().items():
        first = islice(at_risk.records(risk), SHOWN + 1)
        problems.append(risk_problem(where, risk, count, [record.serial_number for record, _ in first]))
    return problems


def _of_accounts(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield what a profile in use says about accounts, or a set-up without people, and means otherwise."""
    for problem in (*check_account_settings(profile), *check_auto_advance(profile)):
        yield attrs.evolve(problem, setting=f"profile {profile.name}.{problem.setting}")


def _of_anchors(profile: EnrollmentProfile, now: datetime) -> Iterator[Problem]:
    for number, der in enumerate(profile.anchor_certificates):
        where = f"profile {profile.name}.anchor_certificates[{number}]"
        try:
            ends = x509.load_der_x509_certificate(der).not_valid_after_utc
        except ValueError:
            yield _error(where, "", "a certificate in DER", "replace it")
            continue
        if now >= ends:
            fix = "replace it: Macs do not connect to the server with it"
            yield _error(where, shown(ends), "an anchor that is still valid", fix)
        elif now >= ends - ANCHOR_WITHIN:
            yield warning(where, shown(ends), "it ends within 30 days", "add the one that follows")


def _of_legacy(check: Hook[str] | None) -> Flow[list[Problem]]:
    where = "legacy authentication"
    if check is None:
        text = "Active Directory Federation Services need a WS-Trust 1.3 Username/Mixed endpoint"
        fix = "see that it is enabled (Get-ADfsEndpoint), or pass check_ws_trust="
        return [Problem(where, "", text, fix, Severity.INFO)]
    wrong = check_returned("check_ws_trust", (yield from ask(CallHook(check, (), "check_ws_trust"))), TEXT)
    return [_error(where, "", f"the WS-Trust 1.3 endpoint: {wrong}", "enable it")] if wrong else []


def _of_purchase(questions: HealthCheck) -> Flow[list[Problem]]:
    expected = questions.expected_serials
    damaged: list[DamagedRecordError] = []
    ours, at_risk = yield from in_store(lambda store: _ours(store, expected, damaged.append))
    missing = [serial for serial in expected if serial not in ours]
    problems = [_error("expected_serials", "", damage_of(error), _RESTORE) for error in damaged]
    if questions.find_in_program is not None and missing:
        answer = yield from ask(CallHook(questions.find_in_program, (tuple(missing),), "find_in_program"))
        found = set(check_returned("find_in_program", answer, TEXTS))
        outside = [serial for serial in missing if serial not in found]
        missing = [serial for serial in missing if serial in found]
        if outside:
            text = f"{counted(len(outside), 'device')} of the purchase not yet in Apple's program"
            fix = "ask the reseller to add the order, with the organization's number"
            problems.append(_error("expected_serials", some(outside), text, fix))
    if missing:
        text = f"{counted(len(missing), 'device')} of the purchase in no MDM server of ours"
        fix = "assign them to the MDM server in the portal, then sync"
        if questions.find_in_program is None:
            fix += "; they may not be in the program yet"
        problems.append(_error("expected_serials", some(missing), text, fix))
    if at_risk:
        text = f"{counted(len(at_risk), 'device')} of the purchase without a profile"
        problems.append(_error("expected_serials", some(at_risk), text, _ASSIGN))
    return problems


def _ours(
    store: Store, serials: Sequence[str], damaged: Callable[[DamagedRecordError], None]
) -> tuple[set[str], list[str]]:
    """Return which of *serials* belong to tokens of ours, and which of these would fail to enroll.

    *damaged* is called for what cannot be read, which counts as neither.
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
        shown_here = (one for one in owners.values() if one.token_name == name and not one.is_hidden)
        at_risk += (one.serial_number for one in shown_here if rule.of_record(one) is not None)
    return set(owners), sorted(at_risk)


def _profiles(store: Store, token_name: str, groups: Mapping[DeviceGroup, int]) -> list[EnrollmentProfile]:
    """Return the profiles that devices of a token enroll with: those that are assigned, and the default."""
    default = store.default_profile(token_name)
    used = {(group.profile_uuid or "").casefold() for group in groups if group.is_listed}
    assigned = [one.profile for one in store.profiles(token_name) if one.profile_uuid.casefold() in used]
    return assigned if default is None else [*assigned, default]


def _distinct(profiles: Iterable[EnrollmentProfile]) -> list[EnrollmentProfile]:
    found: list[EnrollmentProfile] = []
    for profile in profiles:
        if profile not in found:
            found.append(profile)
    return found


def _error(setting: str, value: str, allowed: str, fix: str) -> Problem:
    return Problem(setting, value, allowed, fix)


_RESTORE: Final = "restore a backup, or store it anew"
_ASSIGN: Final = "assign a profile, or set a default"
_ORDER: Final = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


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
    clock: Callable[[], datetime] = utc_now,
) -> HealthReport:
    """Check everything that Macs need to enroll, and return what was found; nothing is changed.

    Args:
        store: Where tokens and devices are.
        client_for: Returns a client for a token, with which Apple is asked whether it works and whether the
            terms are signed; None asks nobody.
        push: The MDM push certificate, a prerequisite; None leaves a reminder.
        topic: The topic that Macs enroll with, held against *push*.
        expected_serials: The serial numbers of the purchase.
        find_in_program: Returns those of the given serial numbers that the organization has in Apple's
            program, such as by the Apple Business API; None where nobody can tell.
        check_ws_trust: Checks the WS-Trust 1.3 endpoint and returns what is wrong, "" for nothing. Called if
            a profile signs users in with legacy authentication; None leaves a reminder.
        clock: Returns the time, UTC.

    Raises:
        ArgumentError: A hook answered with another kind than it should.
        StoreError: The store failed.
    """
    questions = HealthCheck(
        asks_apple=client_for is not None,
        push=push,
        topic=topic,
        expected_serials=expected_serials,
        find_in_program=find_in_program,
        check_ws_trust=check_ws_trust,
    )

    handlers = {} if client_for is None else account_handlers(client_for)
    runner = Runner(handlers, store=store, clock=clock, asynchronous="doctor_async")
    return runner.run(diagnosis_flow(questions))


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
    clock: Callable[[], datetime] = utc_now,
) -> HealthReport:
    """Do what ``doctor`` does with ``AsyncClient``; the hooks may be coroutine functions."""
    questions = HealthCheck(
        asks_apple=client_for is not None,
        push=push,
        topic=topic,
        expected_serials=expected_serials,
        find_in_program=find_in_program,
        check_ws_trust=check_ws_trust,
    )

    handlers = {} if client_for is None else async_account_handlers(client_for)
    runner = AsyncRunner(handlers, store=store, clock=clock)
    return await runner.run(diagnosis_flow(questions))
