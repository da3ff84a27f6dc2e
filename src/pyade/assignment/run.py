"""Assign profiles to the devices of a token, as flows of steps.

The rules of this file:

1. The stored state decides what to send, and only differences are sent.
2. What the caller asks for by hand is stored before the first request, so that nothing is lost if the run is
   interrupted.
3. Every write carries the lease of the token: a worker that lost it stops at the next request.
4. An error that concerns one profile or one request does not stop the others. At the end the most serious
   error is raised to the caller, with the report. An error that concerns the whole token ends the run
   immediately.
5. The sync state says that an assignment is running. If that is set at the start, the earlier worker died,
   and the details of the devices are read before anything is sent.
6. An error that an administrator must fix suspends the token.

Source: specification, "Assign an enrollment profile to devices"; Apple, device assignment, "Assign a
profile".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import attrs

from pyade.apple.batches import distinct
from pyade.assignment.defined_profiles import ProfileDefiner
from pyade.assignment.failures import (
    ANY,
    ANY_NAME,
    Failure,
    RequestError,
    concerns_token,
    failure_problem,
    merge_failures,
    new_error_events,
    risk_problem,
)
from pyade.assignment.plan import (
    AssignmentPlan,
    already_assigned,
    earlier_of,
    picked_for,
    plan_all,
    plan_by_hand,
)
from pyade.assignment.report import AssignReport
from pyade.assignment.rules import AssignmentPolicy
from pyade.assignment.same_names import keep_names, names_beside
from pyade.assignment.selection import (
    REMOVAL,
    DefinedProfiles,
    ProfileSelection,
    ProfileSelector,
    select_by_hand,
)
from pyade.assignment.sending import Sending
from pyade.core.fleet.assignment import Reason, Risk
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.events import EventBatch
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import SUSPENDING_ERRORS, StateAndEvents
from pyade.core.fleet.sync_policy import with_retry_after
from pyade.core.problems import Problem
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import (
    AppleError,
    DamagedRecordError,
    LeaseHeldError,
    TransportError,
)
from pyade.flow import Flow, Now, ask
from pyade.storage.protocol import Store
from pyade.sync.leases import StoreTime
from pyade.sync.runners import in_store
from pyade.sync.suspension import suspend_on_error
from pyade.text import printable


class Assignment:
    """One run of an assigner: call one of its public methods, once."""

    def __init__(self, policy: AssignmentPolicy, lease: Lease) -> None:
        self._token_name = lease.token_name
        self._policy = policy
        self._lease = lease
        self._time = StoreTime(lease)
        self._definer = ProfileDefiner(lease, self._time)
        self._sending = Sending(lease, self._time, self._definer)

    def run(self, default: EnrollmentProfile | None) -> Flow[AssignReport]:
        """Give every Mac the profile that was picked for it, else that of a rule, else the default."""
        return suspend_on_error(self._run(default), self._lease)  # rule 6

    def _run(self, default: EnrollmentProfile | None) -> Flow[AssignReport]:
        started_at = yield from self._time.now()
        default = yield from in_store(lambda store: _store_default(store, self._token_name, default))
        profiles = [rule.profile for rule in self._policy.rules]
        yield from self._definer.store_local_settings(profiles if default is None else [*profiles, default])
        plan = yield from plan_flow(self._token_name, self._policy, default, started_at)
        if plan.unread:
            yield from self._sending.outcomes.confirm_earlier(plan.unread)
            plan = yield from plan_flow(self._token_name, self._policy, default, started_at)
        yield from keep_names(self._lease, plan.warnings, is_whole=True)
        return (yield from self._carry_out(plan, started_at, is_whole=True))

    def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> Flow[AssignReport]:
        """Give *profile* to hand-picked devices."""
        return suspend_on_error(self._assign(profile, serials), self._lease)

    def _assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> Flow[AssignReport]:
        started_at = yield from self._time.now()
        distinct = _distinct(serials)
        defined = (yield from self._definer.read_defined()).find_individual(profile)
        if defined is None and distinct:
            try:
                defined = yield from self._definer.define(profile, individual=True)
            except (AppleError, TransportError) as error:
                report = yield from self._report(AssignmentPlan(), started_at)
                error.report = attrs.evolve(
                    report,
                    results=dict.fromkeys(distinct, DeviceResult.NOT_SENT),
                    problems=(failure_problem(profile.name, len(distinct), error),),
                )
                raise
        if defined is None:
            return (yield from self._carry_out(AssignmentPlan(), started_at))
        return (yield from self._by_hand(select_by_hand(defined), distinct, started_at))

    def replace(self, before: EnrollmentProfile, after: EnrollmentProfile) -> Flow[AssignReport]:
        """Give *after* to the devices for which *before* was picked by hand."""
        read = in_store(lambda store: picked_for(store, self._token_name, before))
        serials = yield from suspend_on_error(read, self._lease)
        return (yield from self.assign(after, serials))

    def unassign(self, serials: Iterable[str]) -> Flow[AssignReport]:
        """Remove the profile from devices, which follow the rules and the default from then on."""
        return suspend_on_error(self._unassign(serials), self._lease)

    def _unassign(self, serials: Iterable[str]) -> Flow[AssignReport]:
        started_at = yield from self._time.now()
        return (yield from self._by_hand(REMOVAL, _distinct(serials), started_at))

    def _by_hand(
        self, selection: ProfileSelection, serials: Sequence[str], started_at: datetime
    ) -> Flow[AssignReport]:
        # The caller may know of a change in the portal that was not synced yet.
        done = yield from in_store(
            lambda store: already_assigned(store, self._token_name, selection, serials)
        )
        yield from self._sending.outcomes.refresh_details(done)
        plan = yield from in_store(
            lambda store: plan_by_hand(store, selection, serials, started_at, self._lease)  # rule 2
        )
        names = yield from in_store(
            lambda store: names_beside(store, self._token_name, self._policy, selection, serials)
        )
        plan = attrs.evolve(plan, warnings=(*plan.warnings, *names))
        yield from keep_names(self._lease, names, is_whole=False)
        return (yield from self._carry_out(plan, started_at))

    # Shared by all public methods

    def _carry_out(
        self, plan: AssignmentPlan, started_at: datetime, *, is_whole: bool = False
    ) -> Flow[AssignReport]:
        """Send what is due, store what failed, and return the report or raise the most serious error.

        Args:
            plan: What is due.
            started_at: UTC.
            is_whole: True if the plan covers every device of the token.
        """
        sending = self._sending
        sending.outcomes.total = plan.due
        stopped: RequestError | None = None
        if plan.due:
            uncertain = yield from self._begin(plan, started_at)
            try:
                yield from self._send_all(plan, uncertain)
            except (AppleError, TransportError) as error:
                stopped = error
        failures = sending.failures
        if stopped is not None and not isinstance(stopped, SUSPENDING_ERRORS):
            left = plan.due - sending.outcomes.settled
            failures.append(Failure(profile_uuid=ANY, profile=ANY_NAME, error=stopped, devices=left))
        wanted = plan.unsettled | plan.spoiled if is_whole and stopped is None else None
        yield from self._end(failures, sending.succeeded - plan.spoiled, wanted, stopped)
        report = yield from self._report(plan, started_at)
        errors = [failure.error for failure in sending.failures]
        if stopped is None and not errors:
            return report
        first, *others = errors if stopped is None else [stopped, *errors]
        partial = stopped is None and (sending.got_through or sending.only_refused)
        first.report = attrs.evolve(report, errors=tuple(others), is_partial=partial)
        settled = f"{sending.outcomes.settled} of {plan.due} devices were settled"
        first.add_note(printable(f"{self._token_name}: {settled}"))
        raise first  # rule 4

    def _begin(self, plan: AssignmentPlan, now: datetime) -> Flow[Collection[str]]:
        """Store that an assignment is running; return the devices that may have their profile already."""
        before = yield from self._change(lambda state: (attrs.evolve(state, assigning_since=now), ()))
        if before.assigning_since is None:
            return plan.uncertain
        return frozenset(serial for group in plan.groups for serial in group.serials)  # rule 5

    def _send_all(self, plan: AssignmentPlan, uncertain: Collection[str]) -> Flow[None]:
        sending = self._sending
        tried = {serial for group in plan.groups if group.reason is Reason.RETRY for serial in group.serials}
        for selection, serials in plan.batches():
            uuid = selection.profile_uuid
            if selection.profile is not None and not selection.is_defined:
                try:
                    uuid = (yield from self._definer.define(selection.profile, individual=False)).profile_uuid
                except (AppleError, TransportError) as error:
                    if concerns_token(error):
                        raise  # rule 4
                    new = [serial for serial in serials if serial not in tried]
                    yield from sending.skip_undefined(selection, serials, new, error)
                    continue
            yield from sending.send(uuid, selection.profile, serials, uncertain)
        yield from sending.isolate(plan.spoiling)

    def _end(
        self,
        failures: Sequence[Failure],
        succeeded: Collection[str],
        wanted: Collection[str] | None,
        stopped: RequestError | None,
    ) -> Flow[None]:
        """Store that no assignment is running, its errors, and until when Apple must not be asked again."""
        now = yield from self._time.now()

        def end(state: SyncState) -> StateAndEvents:
            known = state.assignment_errors
            errors = merge_failures(known, failures, still_wanted=wanted, succeeded=succeeded, now=now)
            after = attrs.evolve(state, assigning_since=None, assignment_errors=errors)
            rested = after if stopped is None else with_retry_after(after, stopped, now)
            return rested, tuple(new_error_events(known, errors))

        yield from self._change(end)

    def _change(self, change: Callable[[SyncState], StateAndEvents]) -> Flow[SyncState]:
        """Change the sync state, and return the state before the change."""
        now = yield from self._time.now()
        before = yield from in_store(lambda store: store.sync_state(self._token_name))
        after, groups = change(before)
        if after != before:
            batch = EventBatch(self._token_name, now, groups) if groups else None
            yield from in_store(
                lambda store: store.save_sync_state(  # rule 3
                    self._token_name, after, events=batch, lease=self._lease
                )
            )
        return before

    def _report(self, plan: AssignmentPlan, started_at: datetime) -> Flow[AssignReport]:
        finished_at = yield from self._time.now()
        sending = self._sending
        due = (serial for group in plan.groups for serial in group.serials)
        return AssignReport(
            token_name=self._token_name,
            plan=plan,
            results={serial: sending.outcomes.results.get(serial, DeviceResult.NOT_SENT) for serial in due},
            defined=tuple(self._definer.defined),
            started_at=started_at,
            finished_at=finished_at,
            next_due_at=earlier_of(plan.next_due_at, sending.outcomes.next_due_at),
            problems=tuple(_problems_of(sending)),
            notes=(*self._definer.notes, *sending.outcomes.notes),
        )


def _problems_of(sending: Sending) -> Iterator[Problem]:
    for failure in sending.failures:
        yield failure_problem(failure.profile, failure.devices, failure.error)
    if sending.outcomes.contradicted:
        yield risk_problem("devices", Risk.NOT_CONFIRMED, len(sending.outcomes.contradicted))


def preview_flow(
    token_name: str, policy: AssignmentPolicy, default: EnrollmentProfile | None
) -> Flow[AssignmentPlan]:
    """Return what ``Assignment.run`` would send now; sends and stores nothing."""
    now = yield from ask(Now())
    if default is None:
        default = yield from in_store(lambda store: store.default_profile(token_name))
    return (yield from plan_flow(token_name, policy, default, now))


def plan_flow(
    token_name: str, policy: AssignmentPolicy, default: EnrollmentProfile | None, now: datetime
) -> Flow[AssignmentPlan]:
    """Return what to send if *default* is the token's default profile; stores nothing."""

    def plan(store: Store) -> AssignmentPlan:
        selector = ProfileSelector(DefinedProfiles(store.profiles(token_name)), policy, default)
        return plan_all(store, token_name, selector, now)  # rule 1

    return (yield from in_store(plan))


def refused_flow(token_name: str, held: LeaseHeldError) -> Flow[AssignReport]:
    """Return the report of a run that did nothing because another worker holds the lease of the token."""
    now = yield from ask(Now())
    return AssignReport(
        token_name=token_name,
        plan=AssignmentPlan(),
        results={},
        started_at=now,
        finished_at=now,
        next_due_at=now + timedelta(seconds=held.remaining_s or 0),
        holder=held.owner,
    )


def _store_default(
    store: Store, token_name: str, default: EnrollmentProfile | None
) -> EnrollmentProfile | None:
    """Store *default* as the token's default profile, if it is given; return the default."""
    try:
        stored = store.default_profile(token_name)
    except DamagedRecordError:
        if default is None:
            raise
        stored = None  # it is overwritten
    if default is None or default == stored:
        return stored
    store.set_default_profile(token_name, default)
    return default


def _distinct(serials: Iterable[str]) -> tuple[str, ...]:
    return distinct("assign a profile", serials)
