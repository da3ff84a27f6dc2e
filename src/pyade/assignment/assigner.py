"""Assign enrollment profiles to the Macs of a token; only differences are sent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from pyade.core.arguments import check_arguments
from pyade.errors import LeaseHeldError
from pyade.flow import AsyncRunner, Runner, clock_of
from pyade.loading import lazy_modules
from pyade.sync.leases import acquire_and_hold, acquire_and_hold_async
from pyade.sync.runners import AsyncCaller, Caller, runner_of, runner_of_async

if TYPE_CHECKING:
    from anyio import to_thread

    from pyade.assignment import risk, run
    from pyade.assignment.plan import AssignmentPlan
    from pyade.assignment.report import AssignReport
    from pyade.assignment.rules import AssignmentPolicy
    from pyade.core.fleet.records import DeviceRecord
    from pyade.core.profile.profile import EnrollmentProfile
    from pyade.storage.protocol import Store
    from pyade.sync import progress_bars
    from pyade.sync.runners import Progress
else:
    lazy_modules(
        globals(),
        run="pyade.assignment.run",
        risk="pyade.assignment.risk",
        progress_bars="pyade.sync.progress_bars",
        to_thread="anyio.to_thread",
    )

_BATCH_SIZE = 500

CallerT = TypeVar("CallerT", bound=Caller | AsyncCaller)


@check_arguments
class _BaseAssigner(Generic[CallerT]):
    def __init__(
        self,
        apple: CallerT,
        store: Store,
        *,
        policy: AssignmentPolicy | None = None,
        clock: Callable[[], datetime] | None = None,
        progress: Callable[[Progress], None] | bool | None = None,
    ) -> None:
        """Configure the assigner.

        Args:
            apple: A ``Client``, or for ``AsyncAssigner`` an ``AsyncClient``; its ``token_name`` is the token.
            store: The store with the token and its devices.
            policy: The rules; None to give every Mac the default.
            clock: Returns the time, UTC; None for the clock of *apple*.
            progress: Called after each stored chunk; ``AsyncAssigner`` calls it in the event loop. True shows
                it on standard error: as a bar if ``tqdm`` or ``rich`` is installed, else as text.
        """
        self._apple: CallerT = apple
        self._token_name = apple.token_name
        self._store = store
        self._policy = risk.NO_RULES if policy is None else policy
        self._clock: Callable[[], datetime] = clock_of(clock, apple, store)
        self._progress = progress


@check_arguments(but=("serials",))
class Assigner(_BaseAssigner[Caller]):
    """Assigns profiles to the Macs of a token, decided from stored state: safe to repeat at any time.

    Several assigners, on one machine or many, may share a store: a lease in it lets one work on a token at a
    time. A device that moved to the server of another stored token is left to that token.

    Sync first: the store must know the devices. A profile that was given with ``assign`` stays with its
    devices, whatever the rules and the default say; if it was removed in the portal, it is assigned again.
    All other Macs get the profile of the first rule that matches, else the token's default.
    """

    def run(self, default: EnrollmentProfile | None = None) -> AssignReport:
        """Send what differs: every Mac gets the profile picked for it, else that of a rule, else the default.

        A device that failed or was throttled waits, for at least 24 hours unless Apple named a time. A
        profile whose content changed is defined again, and its devices get the new definition; the report
        warns if a locked profile changed, since Macs that enrolled with it keep it until they are wiped. If
        another worker holds the token, nothing is done, and the report names that worker.

        A profile that Apple refuses, or a request that fails, does not stop the rest: a failed request is
        halved until the device that makes it fail is alone. At the end the most serious error is raised.

        Args:
            default: Becomes the token's default profile; None for the one that is stored.

        Returns:
            The outcome for every device that Apple lists.

        Raises:
            AppleError: Apple refused something. ``report`` of the error says what was done, ``report.errors``
                holds the other errors; the rest is due again.
            TransportError: There was no response; ``report`` is set likewise.
            LeaseLostError: Another worker took over; the outcome of the last request was not stored.
            StoreError: The store failed.

        Source: specification, "Assign an enrollment profile to devices".
        """
        with contextlib.ExitStack() as stack:
            runner = stack.enter_context(self._runner())
            try:
                lease = stack.enter_context(acquire_and_hold(runner, self._store, self._token_name))
            except LeaseHeldError as held:
                return runner.run(run.refused_flow(self._token_name, held))
            return runner.run(run.Assignment(self._policy, lease).run(default))

    def preview(self, default: EnrollmentProfile | None = None) -> AssignmentPlan:
        """Return what ``run`` would send now, and why, per device and in counts.

        Sends nothing and stores nothing, not even *default*.

        Args:
            default: As for ``run``.

        Raises:
            StoreError: The store failed.
        """
        with self._runner() as runner:
            return runner.run(run.preview_flow(self._token_name, self._policy, default))

    def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> AssignReport:
        """Give *profile* to these devices; later runs do not replace it by a rule's profile or the default.

        Args:
            profile: Defined at Apple if it is not yet.
            serials: Serial numbers. Devices that were not accessible are tried, too. A device that the store
                does not know is sent; the store knows it after Apple lists it.

        Returns:
            The outcome for every named device.

        Raises:
            AppleError: As for ``run``, like the other errors there; the next ``run`` continues with the rest.
                If the profile could not be defined, nothing was stored: call again.
            InvalidRequestError: *serials* is one text and not a list.
            LeaseHeldError: Another worker holds the token; nothing was stored, call again later.
        """
        with self._runner() as runner, acquire_and_hold(runner, self._store, self._token_name) as lease:
            return runner.run(run.Assignment(self._policy, lease).assign(profile, serials))

    def replace(self, before: EnrollmentProfile, after: EnrollmentProfile) -> AssignReport:
        """Give *after* to all devices for which *before* was picked by hand, for example after an edit.

        Profiles of rules and the default need no such call: the next ``run`` detects their changes.

        Args:
            before: Exactly the profile that was given to ``assign``.
            after: The profile that replaces it.

        Returns:
            The outcome for every device for which *before* was picked; empty if it was picked for none.

        Raises:
            AppleError: As for ``assign``, like the others.
        """
        with self._runner() as runner, acquire_and_hold(runner, self._store, self._token_name) as lease:
            return runner.run(run.Assignment(self._policy, lease).replace(before, after))

    def unassign(self, serials: Iterable[str]) -> AssignReport:
        """Remove the profile from these devices; the next ``run`` gives them that of a rule, or the default.

        A Mac that has fetched its profile keeps it until it is erased.

        Args:
            serials: Serial numbers.

        Returns:
            The outcome for every named device.

        Raises:
            AppleError: As for ``assign``, like the others.
        """
        with self._runner() as runner, acquire_and_hold(runner, self._store, self._token_name) as lease:
            return runner.run(run.Assignment(self._policy, lease).unassign(serials))

    def devices_at_risk(self) -> Iterator[DeviceRecord]:
        """Iterate lazily over the Macs that would fail to enroll; see ``assignment.devices_at_risk``."""
        return risk.devices_at_risk(self._store, self._token_name, self._policy)

    def count_devices_at_risk(self) -> int:
        """Return the number of Macs that have no profile and would fail to enroll."""
        return risk.count_at_risk(self._store, self._token_name, self._policy)

    @contextlib.contextmanager
    def _runner(self) -> Iterator[Runner]:
        with progress_bars.showing(self._progress, self._clock) as progress:
            yield runner_of(self._apple, self._store, self._clock, progress)


@check_arguments(but=("serials",))
class AsyncAssigner(_BaseAssigner[AsyncCaller]):
    """Does what ``Assigner`` does with an ``AsyncClient``; the store works in worker threads."""

    async def run(self, default: EnrollmentProfile | None = None) -> AssignReport:
        """Send what differs; see ``Assigner.run``."""
        async with contextlib.AsyncExitStack() as stack:
            runner = stack.enter_context(self._runner())
            try:
                holder = acquire_and_hold_async(runner, self._store, self._token_name)
                lease = await stack.enter_async_context(holder)
            except LeaseHeldError as held:
                return await runner.run(run.refused_flow(self._token_name, held))
            return await runner.run(run.Assignment(self._policy, lease).run(default))

    async def preview(self, default: EnrollmentProfile | None = None) -> AssignmentPlan:
        """Return what ``run`` would send now, and why; see ``Assigner.preview``."""
        with self._runner() as runner:
            return await runner.run(run.preview_flow(self._token_name, self._policy, default))

    async def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> AssignReport:
        """Give *profile* to these devices; see ``Assigner.assign``."""
        with self._runner() as runner:
            async with acquire_and_hold_async(runner, self._store, self._token_name) as lease:
                return await runner.run(run.Assignment(self._policy, lease).assign(profile, serials))

    async def replace(self, before: EnrollmentProfile, after: EnrollmentProfile) -> AssignReport:
        """Give *after* to all devices for which *before* was picked; see ``Assigner.replace``."""
        with self._runner() as runner:
            async with acquire_and_hold_async(runner, self._store, self._token_name) as lease:
                return await runner.run(run.Assignment(self._policy, lease).replace(before, after))

    async def unassign(self, serials: Iterable[str]) -> AssignReport:
        """Take the profile from these devices; see ``Assigner.unassign``."""
        with self._runner() as runner:
            async with acquire_and_hold_async(runner, self._store, self._token_name) as lease:
                return await runner.run(run.Assignment(self._policy, lease).unassign(serials))

    async def devices_at_risk(self) -> AsyncIterator[DeviceRecord]:
        """Iterate lazily over the Macs that would fail to enroll; see ``assignment.devices_at_risk``."""
        records = risk.devices_at_risk(self._store, self._token_name, self._policy)
        while batch := await to_thread.run_sync(lambda: list(islice(records, _BATCH_SIZE))):
            for record in batch:
                yield record

    async def count_devices_at_risk(self) -> int:
        """Return the number of Macs that have no profile and would fail to enroll."""
        return await to_thread.run_sync(risk.count_at_risk, self._store, self._token_name, self._policy)

    @contextlib.contextmanager
    def _runner(self) -> Iterator[AsyncRunner]:
        with progress_bars.showing(self._progress, self._clock) as progress:
            yield runner_of_async(self._apple, self._store, self._clock, progress)
