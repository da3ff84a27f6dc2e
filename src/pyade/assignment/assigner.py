"""Give Macs their enrollment profiles: what differs is sent, nothing that is wanted is forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from pyade.apple.http.connection import utc_now
from pyade.core.arguments import check_arguments
from pyade.errors import LeaseHeldError
from pyade.flow import AsyncRunner, Runner
from pyade.loading import modules_when_asked
from pyade.sync.leases import holding, holding_async
from pyade.sync.runners import AsyncCaller, Caller, async_runner_of, runner_of

if TYPE_CHECKING:
    from anyio import to_thread

    from pyade.assignment import risk, run
    from pyade.assignment.plan import AssignmentPlan
    from pyade.assignment.report import AssignReport
    from pyade.assignment.rules import AssignmentPolicy
    from pyade.core.fleet.records import DeviceRecord
    from pyade.core.profile.profile import EnrollmentProfile
    from pyade.storage.protocol import Store
    from pyade.sync.runners import Progress
else:
    modules_when_asked(
        globals(),
        run="pyade.assignment.run",
        risk="pyade.assignment.risk",
        to_thread="anyio.to_thread",
    )

_SLICE = 500


CallerT = TypeVar("CallerT", bound=Caller | AsyncCaller)


@check_arguments
class _Assigning(Generic[CallerT]):
    def __init__(
        self,
        apple: CallerT,
        store: Store,
        *,
        policy: AssignmentPolicy | None = None,
        clock: Callable[[], datetime] = utc_now,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            apple: A ``Client``, or for the asynchronous class an ``AsyncClient``; its ``token_name`` is the
                token.
            store: Where the token was added and its devices are.
            policy: The rules; None where every Mac follows the default.
            clock: Returns the time, UTC.
            progress: Called after each stored chunk; by the asynchronous class in the event loop.
        """
        self._apple: CallerT = apple
        self._token_name = apple.token_name
        self._store = store
        self._policy = risk.NO_RULES if policy is None else policy
        self._clock = clock
        self._progress = progress


@check_arguments(but=("serials",))
class Assigner(_Assigning[Caller]):
    """Gives the Macs of a token their profiles, decided from stored state: safe to repeat at any time.

    Several assigners, on one machine or many, may share a store: a lease in it lets one work on a token at a
    time. A device that moved to the server of another stored token is left to that one.

    Sync first: the store must know the devices. A profile that was given with ``assign`` stays with its
    devices, whatever the rules and the default say, also when it was removed in the portal and is given
    again. All other Macs get the profile of the first rule that matches, else the token's default.
    """

    def run(self, default: EnrollmentProfile | None = None) -> AssignReport:
        """Send what differs: every Mac gets what was picked for it, else what a rule says, else the default.

        A device that failed or was throttled waits for its time, at least 24 hours unless Apple said when. A
        profile whose content changed is defined anew, and the devices that follow it move; the report warns
        where a locked profile changed, since Macs that enrolled with it keep it until they are wiped. Where
        another worker holds the token nothing is done, and the report says who.

        A profile that Apple refuses, or a request that fails, does not hold up the rest: a failed request is
        halved until the device that spoils it is alone. At the end the most serious error is raised.

        Args:
            default: Becomes the token's default profile; None for the one that is stored.

        Returns:
            What became of every device that Apple lists.

        Raises:
            AppleError: Apple refused something. ``report`` of the error says what was done, ``report.errors``
                holds the other errors; what is left is due again.
            TransportError: No answer came; likewise.
            LeaseLostError: Another worker took over; of the request that was sent last nothing was stored.
            StoreError: The store failed.

        Source: specification, "Assign an enrollment profile to devices".
        """
        with contextlib.ExitStack() as stack:
            try:
                lease = stack.enter_context(holding(self._runner, self._store, self._token_name))
            except LeaseHeldError as held:
                return self._runner.run(run.refused_flow(self._token_name, held))
            return self._runner.run(run.Assignment(self._policy, lease).run(default))

    def preview(self, default: EnrollmentProfile | None = None) -> AssignmentPlan:
        """Return what ``run`` would send now, and why, per device and in counts.

        Nothing is sent and nothing is stored, also not *default*.

        Args:
            default: As for ``run``.

        Raises:
            StoreError: The store failed.
        """
        return self._runner.run(run.preview_flow(self._token_name, self._policy, default))

    def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> AssignReport:
        """Give *profile* to these devices, and keep it for them when the default is handed out.

        Args:
            profile: Defined at Apple if it is not yet.
            serials: Serial numbers. One that was not accessible is tried, too; one that the store does not
                know is sent, and only remembered by Apple's next answer about it.

        Returns:
            What became of every device that was named.

        Raises:
            AppleError: As for ``run``, like the others; the next ``run`` goes on with what is left. Where the
                profile could not be defined nothing was stored: call again.
            InvalidRequestError: *serials* is one text and not a list.
            LeaseHeldError: Another worker holds the token; nothing was stored, ask again.
        """
        with holding(self._runner, self._store, self._token_name) as lease:
            return self._runner.run(run.Assignment(self._policy, lease).assign(profile, serials))

    def replace(self, before: EnrollmentProfile, after: EnrollmentProfile) -> AssignReport:
        """Give *after* to all devices for which *before* was picked by hand, as when its content changed.

        A profile that rules or the default hand out needs no such call: the next ``run`` sees its change.

        Args:
            before: Exactly the profile that was given to ``assign``.
            after: What takes its place.

        Returns:
            What became of every device for which *before* was picked; none if nobody picked it.

        Raises:
            AppleError: As for ``assign``, like the others.
        """
        with holding(self._runner, self._store, self._token_name) as lease:
            return self._runner.run(run.Assignment(self._policy, lease).replace(before, after))

    def unassign(self, serials: Iterable[str]) -> AssignReport:
        """Take the profile from these devices; the next ``run`` gives them the default, if there is one.

        A Mac that has fetched its profile keeps it until it is erased.

        Args:
            serials: Serial numbers.

        Returns:
            What became of every device that was named.

        Raises:
            AppleError: As for ``assign``, like the others.
        """
        with holding(self._runner, self._store, self._token_name) as lease:
            return self._runner.run(run.Assignment(self._policy, lease).unassign(serials))

    def devices_at_risk(self) -> Iterator[DeviceRecord]:
        """Iterate lazily over the Macs whose enrollment will fail; see ``devices_at_risk``."""
        return risk.devices_at_risk(self._store, self._token_name, self._policy)

    def count_devices_at_risk(self) -> int:
        """Return how many Macs have no profile, and would fail to enroll."""
        return risk.count_at_risk(self._store, self._token_name, self._policy)

    @property
    def _runner(self) -> Runner:
        return runner_of(self._apple, self._store, self._clock, self._progress)


@check_arguments(but=("serials",))
class AsyncAssigner(_Assigning[AsyncCaller]):
    """Does what ``Assigner`` does with an ``AsyncClient``; the store works in worker threads."""

    async def run(self, default: EnrollmentProfile | None = None) -> AssignReport:
        """Send what differs; see ``Assigner.run``."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                lease = await stack.enter_async_context(
                    holding_async(self._runner, self._store, self._token_name)
                )
            except LeaseHeldError as held:
                return await self._runner.run(run.refused_flow(self._token_name, held))
            return await self._runner.run(run.Assignment(self._policy, lease).run(default))

    async def preview(self, default: EnrollmentProfile | None = None) -> AssignmentPlan:
        """Return what ``run`` would send now, and why; see ``Assigner.preview``."""
        return await self._runner.run(run.preview_flow(self._token_name, self._policy, default))

    async def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> AssignReport:
        """Give *profile* to these devices; see ``Assigner.assign``."""
        async with holding_async(self._runner, self._store, self._token_name) as lease:
            return await self._runner.run(run.Assignment(self._policy, lease).assign(profile, serials))

    async def replace(self, before: EnrollmentProfile, after: EnrollmentProfile) -> AssignReport:
        """Give *after* to all devices for which *before* was picked; see ``Assigner.replace``."""
        async with holding_async(self._runner, self._store, self._token_name) as lease:
            return await self._runner.run(run.Assignment(self._policy, lease).replace(before, after))

    async def unassign(self, serials: Iterable[str]) -> AssignReport:
        """Take the profile from these devices; see ``Assigner.unassign``."""
        async with holding_async(self._runner, self._store, self._token_name) as lease:
            return await self._runner.run(run.Assignment(self._policy, lease).unassign(serials))

    async def devices_at_risk(self) -> AsyncIterator[DeviceRecord]:
        """Iterate lazily over the Macs whose enrollment will fail; see ``devices_at_risk``."""
        records = risk.devices_at_risk(self._store, self._token_name, self._policy)
        while batch := await to_thread.run_sync(lambda: list(islice(records, _SLICE))):
            for record in batch:
                yield record

    async def count_devices_at_risk(self) -> int:
        """Return how many Macs have no profile, and would fail to enroll."""
        return await to_thread.run_sync(risk.count_at_risk, self._store, self._token_name, self._policy)

    @property
    def _runner(self) -> AsyncRunner:
        return async_runner_of(self._apple, self._store, self._clock, self._progress)
