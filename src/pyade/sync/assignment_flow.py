"""Assigning profiles as flows of steps.

The rules of this file:

1. What is sent is decided from the stored state, and only what differs is sent.
2. A profile's id is stored as soon as Apple gave it, before anything is assigned with it.
3. What somebody asks for by hand is stored before the first request, so that nothing gets lost on the way.
4. The outcome of each chunk is stored before the next one is sent, with what Apple then says of its devices.
5. Every write carries the lease of the token: who lost it stops at the next chunk.
6. An error ends the work and comes back to the caller; devices that it left unknown or unsent are due again.
7. An error that needs a person parks the token.

Source: specification, "Assign an enrollment profile to devices"; Apple, device assignment, "Assign a
profile".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from pyade.apple import calls
from pyade.apple.calls import CHUNK
from pyade.apple.flows import assign_flow, remove_flow
from pyade.apple.http.calls import SendCall
from pyade.builders.dep_profile import definition, digest
from pyade.core.assignment import NO_PROFILE, DeviceResults, outcome
from pyade.core.device import Device, DeviceResult
from pyade.core.inventory import Attempt
from pyade.core.lease import Lease
from pyade.core.profile import DefinedProfile, EnrollmentProfile
from pyade.core.rules import AssignmentPolicy
from pyade.errors import (
    AppleError,
    BatchError,
    DamagedRecordError,
    InvalidRequestError,
    LeaseHeldError,
    NotFoundError,
    TransportError,
)
from pyade.flow import Flow, Now, ReportProgress, ask
from pyade.storage.protocol import Store
from pyade.sync.assign_report import AssignReport
from pyade.sync.choices import REMOVAL, Choice, Chooser, Definitions, by_hand
from pyade.sync.leases import StoreTime
from pyade.sync.parking import parking
from pyade.sync.plan import AssignmentPlan, earliest, picked_for, plan_all, plan_by_hand
from pyade.sync.steps import Progress, ProgressPhase, in_store
from pyade.text import printable


class Assignment:
    """One piece of work of an assigner: call one of its public methods, once."""

    def __init__(self, policy: AssignmentPolicy, lease: Lease) -> None:
        self._token_name = lease.token_name
        self._policy = policy
        self._lease = lease
        self._time = StoreTime(lease)
        self._results: dict[str, DeviceResult] = {}
        self._defined: list[str] = []
        self._notes: list[str] = []
        self._chunks = 0
        self._total = 0
        self._next_due_at: datetime | None = None

    def run(self, default: EnrollmentProfile | None) -> Flow[AssignReport]:
        """Give every Mac what was picked for it, else what the rules say, else the default."""
        return parking(self._run(default), self._lease)

    def _run(self, default: EnrollmentProfile | None) -> Flow[AssignReport]:
        started_at = yield from self._time.now()
        default = yield from in_store(lambda store: _default(store, self._token_name, default))
        yield from self._keep_what_apple_does_not_see(default)
        plan = yield from plan_flow(self._token_name, self._policy, default, started_at)
        self._total = plan.due
        for choice, serials in plan.batches():
            uuid = choice.profile_uuid
            if choice.profile is not None and not choice.is_defined:
                uuid = (yield from self._define(choice.profile, individual=False)).profile_uuid
            yield from self._send(uuid, serials)
        return (yield from self._report(plan, started_at))

    def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> Flow[AssignReport]:
        """Give *profile* to hand-picked devices."""
        return parking(self._assign(profile, serials), self._lease)

    def _assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> Flow[AssignReport]:
        started_at = yield from self._time.now()
        distinct = _distinct(serials)
        defined = (yield from self._definitions()).individual(profile)
        if defined is None and distinct:
            defined = yield from self._define(profile, individual=True)
        if defined is None:
            return (yield from self._report(AssignmentPlan(), started_at))
        return (yield from self._by_hand(by_hand(defined), distinct, started_at))

    def replace(self, before: EnrollmentProfile, after: EnrollmentProfile) -> Flow[AssignReport]:
        """Give *after* to the devices for which *before* was picked by hand."""
        read = in_store(lambda store: picked_for(store, self._token_name, before))
        serials = yield from parking(read, self._lease)
        return (yield from self.assign(after, serials))

    def unassign(self, serials: Iterable[str]) -> Flow[AssignReport]:
        """Take the profile from devices, which follow the default again from then on."""
        return parking(self._unassign(serials), self._lease)

    def _unassign(self, serials: Iterable[str]) -> Flow[AssignReport]:
        started_at = yield from self._time.now()
        return (yield from self._by_hand(REMOVAL, _distinct(serials), started_at))

    # Profiles

    def _definitions(self) -> Flow[Definitions]:
        return (yield from in_store(lambda store: Definitions(store.profiles(self._token_name))))

    def _keep_what_apple_does_not_see(self, default: EnrollmentProfile | None) -> Flow[None]:
        """Store profiles that differ from what is stored only in what is no part of Apple's JSON."""
        definitions = yield from self._definitions()
        profiles = [rule.profile for rule in self._policy.rules]
        seen = set()
        for profile in profiles if default is None else [*profiles, default]:
            known = definitions.shared(profile)
            if known is not None and known.profile_uuid not in seen and known.profile != profile:
                yield from self._remember(attrs.evolve(known, profile=profile))
            seen.add(known and known.profile_uuid)

    def _define(self, profile: EnrollmentProfile, *, individual: bool) -> Flow[DefinedProfile]:
        answer = yield from ask(SendCall(calls.define_profile(definition(profile))))
        now = yield from self._time.now()
        definitions = yield from self._definitions()
        defined = DefinedProfile(
            profile_uuid=answer.profile_uuid,
            profile=profile,
            digest=digest(profile),
            defined_at=definitions.following(now),
            individual=individual,
        )
        yield from self._remember(defined)
        self._defined.append(defined.profile_uuid)
        return defined

    def _remember(self, defined: DefinedProfile) -> Flow[None]:
        yield from in_store(lambda store: store.save_profile(self._token_name, defined, lease=self._lease))

    # Devices

    def _by_hand(self, choice: Choice, serials: Sequence[str], started_at: datetime) -> Flow[AssignReport]:
        plan = yield from in_store(
            lambda store: plan_by_hand(store, choice, serials, started_at, self._lease)
        )
        self._total = plan.due
        for _, due in plan.batches():
            yield from self._send(choice.profile_uuid, due)
        return (yield from self._report(plan, started_at))

    def _send(self, uuid: str, serials: Sequence[str]) -> Flow[None]:
        """Assign a profile, or remove it for ``NO_PROFILE``, chunk by chunk."""
        for start in range(0, len(serials), CHUNK):
            chunk = serials[start : start + CHUNK]
            try:
                yield from self._send_chunk(uuid, chunk)
            except NotFoundError:
                lost = (yield from self._definitions()).by_uuid(uuid)
                if lost is None or uuid in self._defined:
                    raise
                self._notes.append(f"Apple did not know profile {uuid}: defined again")
                uuid = (yield from self._define(lost.profile, individual=lost.individual)).profile_uuid
                yield from self._send_chunk(uuid, chunk)

    def _send_chunk(self, uuid: str, chunk: Sequence[str]) -> Flow[None]:
        attempted_at = yield from self._time.now()
        failure: BaseException | None = None
        try:
            if uuid == NO_PROFILE:
                results = yield from remove_flow(chunk)
            else:
                results = yield from assign_flow(uuid, chunk)
        except BatchError as error:
            results, failure = error.outcome, error.__cause__ or error
        except (AppleError, TransportError) as error:
            results, failure = DeviceResults(results=dict.fromkeys(chunk, DeviceResult.REQUEST_FAILED)), error
        answered_at = yield from self._time.now()
        attempts = {
            serial: outcome(
                results.results.get(serial, DeviceResult.MISSING),
                profile_uuid=uuid,
                attempted_at=attempted_at,
                answered_at=answered_at,
                retry_after_s=results.retry_after_s,
            )
            for serial in chunk
        }
        details = () if failure is not None else (yield from self._read_back(chunk))
        now = yield from self._time.now()
        yield from in_store(
            lambda store: store.record_attempts(
                self._token_name, attempts, details=details, now=now, lease=self._lease
            )
        )
        if failure is not None:
            settled = f"{len(self._results)} of {self._total} devices were settled before"
            failure.add_note(printable(f"{self._token_name}: {settled}"))
            raise failure
        yield from self._count(uuid, attempts)

    def _read_back(self, chunk: Sequence[str]) -> Flow[Sequence[Device]]:
        """Return what Apple says about *chunk* now; nothing if it does not answer, since a sync will tell."""
        try:
            details = yield from ask(SendCall(calls.device_details(chunk)))
        except (AppleError, TransportError) as error:
            self._notes.append(f"the outcome could not be read back: {error}")
            return ()
        return [details[serial] for serial in chunk if serial in details]

    def _count(self, uuid: str, attempts: Mapping[str, Attempt]) -> Flow[None]:
        self._chunks += 1
        for serial, attempt in attempts.items():
            self._results[serial] = attempt.result
            if attempt.result not in (DeviceResult.SUCCESS, DeviceResult.NOT_ACCESSIBLE):
                self._next_due_at = earliest(self._next_due_at, attempt.not_before)
        progress = Progress(
            token_name=self._token_name,
            phase=ProgressPhase.REMOVE if uuid == NO_PROFILE else ProgressPhase.ASSIGN,
            pages=self._chunks,
            devices=len(self._results),
            total=self._total,
        )
        yield from ask(ReportProgress(progress))

    def _report(self, plan: AssignmentPlan, started_at: datetime) -> Flow[AssignReport]:
        finished_at = yield from self._time.now()
        return AssignReport(
            token_name=self._token_name,
            plan=plan,
            results=self._results,
            defined=tuple(self._defined),
            started_at=started_at,
            finished_at=finished_at,
            next_due_at=earliest(plan.next_due_at, self._next_due_at),
            notes=tuple(self._notes),
        )


def preview_flow(
    token_name: str, policy: AssignmentPolicy, default: EnrollmentProfile | None
) -> Flow[AssignmentPlan]:
    """Return what ``Assignment.run`` would send now; nothing is sent and nothing is stored."""
    now = yield from ask(Now())
    if default is None:
        default = yield from in_store(lambda store: store.default_profile(token_name))
    return (yield from plan_flow(token_name, policy, default, now))


def plan_flow(
    token_name: str, policy: AssignmentPolicy, default: EnrollmentProfile | None, now: datetime
) -> Flow[AssignmentPlan]:
    """Return what to send if *default* is the token's default profile; nothing is stored."""

    def plan(store: Store) -> AssignmentPlan:
        chooser = Chooser(Definitions(store.profiles(token_name)), policy, default)
        return plan_all(store, token_name, chooser, now)

    return (yield from in_store(plan))


def refused_flow(token_name: str, held: LeaseHeldError) -> Flow[AssignReport]:
    """Return the report of a run that did nothing, because another worker holds the token."""
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


def _default(store: Store, token_name: str, default: EnrollmentProfile | None) -> EnrollmentProfile | None:
    """Return the token's default, after *default* was made it."""
    try:
        stored = store.default_profile(token_name)
    except DamagedRecordError:
        if default is None:
            raise
        stored = None  # the new one takes its place
    if default is None or default == stored:
        return stored
    store.set_default_profile(token_name, default)
    return default


def _distinct(serials: Iterable[str]) -> tuple[str, ...]:
    if isinstance(serials, str):
        raise InvalidRequestError(
            "assign a profile",
            0,
            "",
            f"serials {serials!r}: a list of serial numbers is allowed",
            f"pass [{serials!r}]",
        )
    return tuple(dict.fromkeys(serials))
