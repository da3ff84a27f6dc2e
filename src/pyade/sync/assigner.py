"""Give Macs their enrollment profiles: what differs is sent, nothing that is wanted is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice

import anyio.to_thread

from pyade.apple.connection import utc_now
from pyade.core.assignment import is_at_risk
from pyade.core.flow import drive, drive_async
from pyade.core.inventory import DeviceRecord
from pyade.core.lease import Lease
from pyade.core.profile import EnrollmentProfile
from pyade.core.rules import AssignmentPolicy
from pyade.errors import LeaseHeldError
from pyade.storage.protocol import Store
from pyade.sync.assign_report import AssignReport
from pyade.sync.assignment_flow import Assignment, preview_flow, refused_flow
from pyade.sync.drivers import AsyncCaller, AsyncPerformer, Caller, Performer
from pyade.sync.leases import keeping, keeping_async, worker_name
from pyade.sync.plan import AssignmentPlan, with_owner
from pyade.sync.steps import Progress

_SLICE = 500
_NO_RULES = AssignmentPolicy()


def devices_at_risk(
    store: Store, token_name: str, policy: AssignmentPolicy = _NO_RULES
) -> Iterator[DeviceRecord]:
    """Iterate lazily over the Macs whose enrollment will fail: no profile at Apple, no rule and no default.

    Args:
        store: Where the devices are.
        token_name: The token.
        policy: The rules, if there are any.

    Source: specification, "Create an Apple enrollment profile": a device without a policy fails to enroll.
    """
    if store.default_profile(token_name) is None:
        for record, is_ours in with_owner(store, filter(is_at_risk, store.devices(token_name))):
            if is_ours and policy.choose(record.device) is None:
                yield record


class Assigner:
    """Gives the Macs of a token their profiles, decided from stored state: safe to repeat at any time.

    Several assigners, on one machine or many, may share a store: a lease in it lets one work on a token at a
    time. A device that moved to the server of another stored token is left to that one.

    Sync first: the store must know the devices. A profile that was given with ``assign`` stays with its
    devices, whatever the rules and the default say, also when it was removed in the portal and is given
    again. All other Macs get the profile of the first rule that matches, else the token's default.

    Args:
        apple: A ``Client``; its ``token_name`` is the token.
        store: Where the token was added and its devices are.
        policy: The rules; left out, every Mac follows the default.
        clock: Returns the time, UTC.
        progress: Called after each stored chunk.
    """

    def __init__(
        self,
        apple: Caller,
        store: Store,
        *,
        policy: AssignmentPolicy = _NO_RULES,
        clock: Callable[[], datetime] = utc_now,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._token_name = apple.token_name
        self._store = store
        self._policy = policy
        self._perform = Performer(apple, store, clock, progress)

    def run(self, default: EnrollmentProfile | None = None) -> AssignReport:
        """Send what differs: every Mac gets what was picked for it, else what a rule says, else the default.

        A device that failed or was throttled waits for its time, at least 24 hours unless Apple said when. A
        profile whose content changed is defined anew, and the devices that follow it move; the report warns
        where a locked profile changed, since Macs that enrolled with it keep it until they are wiped. Where
        another worker holds the token nothing is done, and the report says who.

        Args:
            default: Becomes the token's default profile; None for the one that is stored.

        Returns:
            What became of every device that Apple lists.

        Raises:
            AppleError: Apple refused; what was settled before is stored, the rest is due again.
            TransportError: No answer came; likewise.
            LeaseLostError: Another worker took over; of the chunk that was sent last nothing was stored.
            StoreError: The store failed.

        Source: specification, "Assign an enrollment profile to devices".
        """
        try:
            lease = self._store.acquire_lease(self._token_name, worker_name())
        except LeaseHeldError as held:
            return drive(refused_flow(self._token_name, held), self._perform)
        with keeping(self._store, lease):
            return drive(Assignment(self._policy, lease).run(default), self._perform)

    def preview(self, default: EnrollmentProfile | None = None) -> AssignmentPlan:
        """Return what ``run`` would send now, and why, per device and in counts.

        Nothing is sent and nothing is stored, also not *default*.

        Args:
            default: As for ``run``.

        Raises:
            StoreError: The store failed.
        """
        return drive(preview_flow(self._token_name, self._policy, default), self._perform)

    def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> AssignReport:
        """Give *profile* to these devices, and keep it for them when the default is handed out.

        Args:
            profile: Defined at Apple if it is not yet.
            serials: Serial numbers; ones that the store does not know are sent, too, and only remembered by
                Apple's next answer about them.

        Returns:
            What became of every device that was named.

        Raises:
            AppleError: As for ``run``, like the others; the next ``run`` goes on with what is left.
            InvalidRequestError: *serials* is one text and not a list.
            LeaseHeldError: Another worker holds the token; nothing was stored, ask again.
        """
        lease = self._store.acquire_lease(self._token_name, worker_name())
        with keeping(self._store, lease):
            return drive(Assignment(self._policy, lease).assign(profile, serials), self._perform)

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
        lease = self._store.acquire_lease(self._token_name, worker_name())
        with keeping(self._store, lease):
            return drive(Assignment(self._policy, lease).replace(before, after), self._perform)

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
        lease = self._store.acquire_lease(self._token_name, worker_name())
        with keeping(self._store, lease):
            return drive(Assignment(self._policy, lease).unassign(serials), self._perform)

    def devices_at_risk(self) -> Iterator[DeviceRecord]:
        """Iterate lazily over the Macs whose enrollment will fail; see ``devices_at_risk``."""
        return devices_at_risk(self._store, self._token_name, self._policy)

    def count_devices_at_risk(self) -> int:
        """Return how many Macs have no profile at Apple, no rule and no default to get one from."""
        return sum(1 for _ in self.devices_at_risk())


class AsyncAssigner:
    """Does what ``Assigner`` does with an ``AsyncClient``; the store works in worker threads.

    Args:
        apple: An ``AsyncClient``; its ``token_name`` is the token.
        store: Where the token was added and its devices are.
        policy: The rules; left out, every Mac follows the default.
        clock: Returns the time, UTC.
        progress: Called after each stored chunk, in the event loop.
    """

    def __init__(
        self,
        apple: AsyncCaller,
        store: Store,
        *,
        policy: AssignmentPolicy = _NO_RULES,
        clock: Callable[[], datetime] = utc_now,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._token_name = apple.token_name
        self._store = store
        self._policy = policy
        self._perform = AsyncPerformer(apple, store, clock, progress)

    async def run(self, default: EnrollmentProfile | None = None) -> AssignReport:
        """Send what differs; see ``Assigner.run``."""
        try:
            lease = await self._acquire()
        except LeaseHeldError as held:
            return await drive_async(refused_flow(self._token_name, held), self._perform)
        async with keeping_async(self._store, lease):
            return await drive_async(Assignment(self._policy, lease).run(default), self._perform)

    async def preview(self, default: EnrollmentProfile | None = None) -> AssignmentPlan:
        """Return what ``run`` would send now, and why; see ``Assigner.preview``."""
        return await drive_async(preview_flow(self._token_name, self._policy, default), self._perform)

    async def assign(self, profile: EnrollmentProfile, serials: Iterable[str]) -> AssignReport:
        """Give *profile* to these devices; see ``Assigner.assign``."""
        lease = await self._acquire()
        async with keeping_async(self._store, lease):
            return await drive_async(Assignment(self._policy, lease).assign(profile, serials), self._perform)

    async def replace(self, before: EnrollmentProfile, after: EnrollmentProfile) -> AssignReport:
        """Give *after* to all devices for which *before* was picked; see ``Assigner.replace``."""
        lease = await self._acquire()
        async with keeping_async(self._store, lease):
            return await drive_async(Assignment(self._policy, lease).replace(before, after), self._perform)

    async def unassign(self, serials: Iterable[str]) -> AssignReport:
        """Take the profile from these devices; see ``Assigner.unassign``."""
        lease = await self._acquire()
        async with keeping_async(self._store, lease):
            return await drive_async(Assignment(self._policy, lease).unassign(serials), self._perform)

    async def devices_at_risk(self) -> AsyncIterator[DeviceRecord]:
        """Iterate lazily over the Macs whose enrollment will fail; see ``devices_at_risk``."""
        records = devices_at_risk(self._store, self._token_name, self._policy)
        while batch := await anyio.to_thread.run_sync(lambda: list(islice(records, _SLICE))):
            for record in batch:
                yield record

    async def count_devices_at_risk(self) -> int:
        """Return how many Macs have no profile at Apple, no rule and no default to get one from."""

        def count() -> int:
            return sum(1 for _ in devices_at_risk(self._store, self._token_name, self._policy))

        return await anyio.to_thread.run_sync(count)

    async def _acquire(self) -> Lease:
        return await anyio.to_thread.run_sync(self._store.acquire_lease, self._token_name, worker_name())
