"""The protocols that every store implements.

A store is synchronous and transactional: each writing call is one transaction, which is rolled back if the
call raises, and is safe for threads, processes and nodes. Times are passed as arguments, UTC. Everything that
belongs to a token is keyed by the token's name, and a call that names a token which is not stored raises
``UnknownTokenError``, unless its docstring says otherwise.

A store has one clock, for leases only: that of its server, or else that of its machine. If a write is given a
``lease``, its transaction first checks that the lease is still held (``core.fleet.lease.check_held``), and
prevents other workers from acquiring it until the commit; otherwise it raises ``LeaseLostError`` and writes
nothing.

A stored record that cannot be read raises ``DamagedRecordError``, which names the token; other tokens are not
affected. Texts with a NUL character, or with an unpaired surrogate, are refused with ``StoreError``.
"""

# pyright: reportReturnType=false
# A method of a protocol is its docstring.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from pyade.core.fleet.lease import LEASE_SECONDS, Lease, LeaseHolder
from pyade.core.secret import Secret
from pyade.errors import DamagedRecordError

if TYPE_CHECKING:
    from pyade.core.fleet.device import Device
    from pyade.core.fleet.enrollment import Enrollment, OneTime, OneTimeKind, Registration
    from pyade.core.fleet.events import Event, EventBatch, EventKind
    from pyade.core.fleet.groups import DeviceGroup
    from pyade.core.fleet.outcomes import Attempt
    from pyade.core.fleet.records import ChangeCounts, DeviceRecord, Source, SyncState
    from pyade.core.profile.profile import DefinedProfile, EnrollmentProfile
    from pyade.core.token import Token

OnDamaged: TypeAlias = Callable[[DamagedRecordError], None]
"""Called with the error of each record that cannot be read and is left out."""


class Store(Protocol):
    """Tokens, devices, sync state and profiles."""

    def add_token(self, token: Token) -> None:
        """Store a new token.

        Raises:
            DuplicateTokenError: A token of that name is stored already.
        """

    def add_or_renew_token(self, token: Token, *, force: bool = False) -> Token:
        """Store *token*: add it, or renew the stored one of its name as ``Token.renew`` does.

        A renewal keeps cursor, devices and profiles, and the scope tags if *token* has none. Storing the same
        token again is allowed.

        Args:
            token: Made from the file that was downloaded in the portal.
            force: Renew even if *token* seems to be for another server, organization or Apple ID, or to be
                an older file.

        Returns:
            The token as it is stored.

        Raises:
            TokenError: *token* seems to be for another server, organization or Apple ID than the stored one,
                or to be an older file, and *force* is false; nothing was changed.
        """

    def token(self, name: str) -> Token:
        """Return the token called *name*."""

    def tokens(self, *, damaged: OnDamaged | None = None) -> tuple[Token, ...]:
        """Return all tokens, by name.

        Args:
            damaged: Called for each token that cannot be read, which is then left out.

        Raises:
            DamagedRecordError: One cannot be read, and *damaged* is None.
        """

    def replace_token(self, token: Token, *, instead_of: Token | None = None) -> None:
        """Replace the token of the same name without checks; its cursor, devices and profiles stay.

        ``add_or_renew_token`` checks that the new token is for the same server.

        Args:
            token: The new token.
            instead_of: Replace only if this token is stored; None for any.

        Raises:
            StoreConflictError: Another token than *instead_of* is stored now.
        """

    def remove_token(self, name: str, *, now: datetime) -> None:
        """Remove a token and everything that belongs to it; its events stay, and one reports the removal."""

    def sync_state(self, token_name: str) -> SyncState:
        """Return the sync state of the token; ``SyncState()`` before the first run."""

    def sync_states(self, *, damaged: OnDamaged | None = None) -> Mapping[str, SyncState]:
        """Return the sync states of all tokens, by name, in one read; *damaged* as in ``tokens``."""

    def save_sync_state(
        self,
        token_name: str,
        state: SyncState,
        *,
        events: EventBatch | None = None,
        lease: Lease | None = None,
    ) -> SyncState:
        """Store *state* and the *events* of its changes, and return it with the next revision.

        Raises:
            StoreConflictError: The stored revision is not the one of *state*.
        """

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Acquire the lease of a token: for one worker at a time, for *seconds*, at most 600.

        *owner* is a unique name of this worker; its own older lease is replaced.

        Raises:
            LeaseHeldError: Another owner holds the lease.
        """

    def renew_lease(self, lease: Lease, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Extend *lease* to *seconds* from now, and return it with the new expiry.

        Raises:
            LeaseLostError: It ended, or another worker acquired the lease since.
        """

    def held_lease(self, token_name: str) -> LeaseHolder | None:
        """Return which worker holds the lease of a token now, and for how long; None if no worker does."""

    def release_lease(self, lease: Lease) -> None:
        """Release *lease* now; does nothing if it was lost or its token was removed."""

    def commit_page(
        self,
        token_name: str,
        devices: Sequence[Device],
        *,
        source: Source,
        state: SyncState,
        now: datetime,
        lease: Lease | None = None,
    ) -> tuple[SyncState, ChangeCounts]:
        """Merge *devices* in their order (``core.fleet.merging.merge_page``) and store *state*.

        Returns:
            The state with its next revision and the effects of the page
            (``core.fleet.order.state_after_page``), and the counts of changes.

        Raises:
            StoreConflictError: The stored revision is not the one of *state*.
        """

    def finish_full_sync(
        self, token_name: str, *, state: SyncState, now: datetime, lease: Lease | None = None
    ) -> tuple[SyncState, ChangeCounts]:
        """Release every device that the full list did not show and store *state*; returns as ``commit_page``.

        ``core.fleet.records.is_unlisted`` defines which devices; hidden ones are released too, but not
        counted. *state* must have ``listing_since``; the stored state has it removed.

        Raises:
            StoreConflictError: As for ``commit_page``.
            StoreError: *state* has no full list under way.
        """

    def device(self, token_name: str, serial_number: str) -> DeviceRecord | None:
        """Return the record of a device, also a released or hidden one; None if there is none."""

    def records_of(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        """Iterate lazily over the records of *serials* of all tokens, also released and hidden ones.

        Sorted by serial number, then by the token's name. ``core.fleet.records.owner_of`` returns the record
        of the token to which a device belongs.
        """

    def serials_in(self, token_name: str, groups: Collection[DeviceGroup]) -> Iterator[str]:
        """Iterate lazily over the serial numbers of all devices of *groups*, without reading the records.

        In the order of ``devices``, each at most once.
        """

    def shared_serials(self, token_name: str, *, serials: Sequence[str] | None = None) -> Sequence[str]:
        """Return, sorted, the serial numbers of the token's devices that another token also claims.

        These are devices that are neither released nor hidden for the token, and not released for another
        one. Only for these the owner is in doubt (``core.fleet.records.owner_of``).

        Args:
            token_name: The token.
            serials: Only these serial numbers; None for all.
        """

    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        """Delete a device here; nothing changes at Apple.

        A released device is purged immediately. One that Apple still lists is hidden (``core.fleet.records``,
        rule 7): a page with ``Source.DETAILS`` restores it. One whose record cannot be read is removed, until
        Apple lists it again. Does nothing if there is no such device.
        """

    def purge_released(self, token_name: str, *, now: datetime) -> int:
        """Remove the devices released 30 days before *now* or earlier, and return their number."""

    def devices(
        self,
        token_name: str,
        *,
        serials: Sequence[str] | None = None,
        groups: Collection[DeviceGroup] | None = None,
        released: bool | None = False,
    ) -> Iterator[DeviceRecord]:
        """Iterate lazily over the token's devices, without hidden ones, in an unspecified order.

        Each device occurs at most once; with *serials* they are sorted by serial number. The store may be
        written during the iteration; a device that changes meanwhile is returned as before or as after it.

        Args:
            token_name: The token.
            serials: Only these; None for all.
            groups: Only devices of these groups, as ``device_groups`` returns them; None for all.
            released: False for those that Apple lists, True for released ones, None for both.
        """

    def device_groups(self, token_name: str) -> Mapping[DeviceGroup, int]:
        """Return how many devices each group of the token has (``core.fleet.groups.group_of``).

        Released and hidden devices are counted too, in groups of their own.
        """

    def count_devices(self, token_name: str) -> Mapping[str, int]:
        """Return how many devices Apple lists by profile status, and how many are released.

        Returns:
            A mapping with Apple's ``profile_status`` as the key, such as ``"assigned"`` or ``"empty"``, "" if
            it is unknown, and ``"released"``; 0 for a status without a device, whether it is a key or not.
            Hidden devices are not counted. ``core.fleet.groups.status_counts`` computes it from
            ``device_groups``.

        Raises:
            UnknownTokenError: There is no token *token_name*.
        """

    def count_unlisted(self, token_name: str, state: SyncState) -> int:
        """Return how many devices ``finish_full_sync`` with *state* would release, without hidden ones."""

    def save_profile(self, token_name: str, profile: DefinedProfile, *, lease: Lease | None = None) -> None:
        """Store a profile that was defined at Apple; one with the same ``profile_uuid`` is replaced."""

    def profiles(self, token_name: str) -> tuple[DefinedProfile, ...]:
        """Return the profiles that were defined through this token, oldest first."""

    def defined_profile(self, token_name: str, profile_uuid: str) -> DefinedProfile | None:
        """Return the profile of exactly that id; None if none was defined through this token."""

    def set_default_profile(self, token_name: str, profile: EnrollmentProfile | None) -> None:
        """Set, or with None remove, the profile for devices without one of their own."""

    def default_profile(self, token_name: str) -> EnrollmentProfile | None:
        """Return the token's default profile; None if there is none."""

    def record_attempts(
        self,
        token_name: str,
        attempts: Mapping[str, Attempt],
        *,
        details: Sequence[Device] = (),
        now: datetime,
        lease: Lease | None = None,
    ) -> None:
        """Store the outcome of an assignment per serial, and the details read after it.

        ``core.fleet.merging.merge_attempts`` defines the result. Serial numbers that are neither stored nor
        in the details are ignored. ``NOT_ACCESSIBLE`` does not release a device: only Apple's lists do.
        """

    def events(
        self, after: str | None = None, *, limit: int = 1000, damaged: OnDamaged | None = None
    ) -> Sequence[Event]:
        """Return committed events of all tokens in the order of the commits.

        Each call above that changes devices, and the removal of a token, writes its events in the same
        transaction, as one compact row (``core.fleet.events``). An event is not returned while an older
        transaction is still open, since its position in the order is not final yet.

        Args:
            after: The id of the last event that was read; None or "" for the oldest stored one.
            limit: Most events to return; at least 1.
            damaged: As for ``tokens``; a row that cannot be read is left out with all its events.

        Raises:
            StoreError: *after* is no id of an event, or *limit* is less than 1.
            DamagedRecordError: As for ``tokens``.
        """

    def add_event(
        self, token_name: str, kind: EventKind, *, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        """Add an event that concerns a token as a whole; *details* are plain JSON values without secrets."""

    def position(self, subscriber: str) -> str | None:
        """Return the position that *subscriber* saved; None if there is none."""

    def save_position(self, subscriber: str, after: str | None) -> None:
        """Save the id of the last event that *subscriber* has seen, "" for none; None removes the subscriber.

        Raises:
            StoreError: *after* is no id of an event.
        """

    def prune_events(self, before: datetime) -> None:
        """Remove events from before that time, except those that a known subscriber has not seen."""

    def load_session(self, key: str) -> Secret | None:
        """Return the session with Apple stored under *key*; None if there is none."""

    def save_session(self, key: str, session: str | Secret) -> None:
        """Store *session* under *key*, so that other nodes use it too."""

    def secret(self, name: str) -> Secret | None:
        """Return the secret stored under *name*; None if there is none."""

    def save_secret(self, name: str, secret: str | Secret | None) -> None:
        """Store *secret* under *name*, such as the PEM of a key pair; None removes it."""

    def secret_names(self, prefix: str = "") -> Sequence[str]:
        """Return the names of the stored secrets that start with *prefix*, sorted."""

    def close(self) -> None:
        """Release files and connections; every later call raises ``StoreClosedError``."""

    def __enter__(self) -> Self:
        """Return the store itself; ``with store:`` closes it at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()


class EnrollmentStore(Store, Protocol):
    """A ``Store`` that also stores enrollments and one-time secrets, for the device-facing services."""

    def enrollment(self, serial_number: str) -> Enrollment | None:
        """Return the stored enrollment of a Mac; None if it was never given a profile."""

    def enrollments(
        self, *, registration: Registration | None = None, damaged: OnDamaged | None = None
    ) -> Iterator[Enrollment]:
        """Iterate lazily over the enrollments by serial number.

        Args:
            registration: Only those with this registration; None for all.
            damaged: As for ``tokens``, with its errors.
        """

    def save_enrollment(
        self,
        enrollment: Enrollment,
        *,
        credential: OneTime | None = None,
        is_new: bool = False,
        events: EventBatch | None = None,
    ) -> Enrollment:
        """Store *enrollment* with its credential and events, and return it with the next revision.

        Args:
            enrollment: The changed enrollment, with the revision that was read; 0 if none was stored.
            credential: The credential in the Mac's new profile.
            is_new: True if a new profile was issued: unused credentials of the Mac are revoked, also if the
                new profile has no credential of this kind.
            events: Events to write in the same transaction.

        Raises:
            StoreConflictError: Another writer changed the enrollment.
            UnknownTokenError: *events* belong to a token that is not stored.
        """

    def delete_enrollment(self, serial_number: str) -> None:
        """Remove a Mac's enrollment, if there is one, and revoke its one-time secrets."""

    def save_one_time(self, one_time: OneTime, *, now: datetime, keep: int) -> None:
        """Store *one_time*; remove expired ones, and all but *keep* (1 or more) of this Mac and kind."""

    def take_one_time(self, kind: OneTimeKind, digest: str, *, now: datetime) -> OneTime | None:
        """Remove and return the entry of *digest*, for one caller only; None if it is gone or expired."""

    def redeem_one_time(self, kind: OneTimeKind, digest: str, *, by: str, now: datetime) -> OneTime | None:
        """Redeem the entry of *digest* for one request only; the same request may redeem it again.

        Args:
            kind: Kind of the entry.
            digest: Digest of the secret.
            by: Digest of the request that redeems it, not empty.
            now: UTC.

        Returns:
            The entry before this call, with ``redeemed_by`` if the same request redeemed it already, within
            ``REPEAT_WINDOW``. None if it is gone or expired, or another request redeemed it.
        """

    def one_times(self, serial_number: str, *, redeemed: bool = False) -> Sequence[OneTime]:
        """Return a Mac's unused one-time secrets by expiry, also expired ones; *redeemed* adds used ones."""

    def add_audit(self, events: EventBatch) -> None:
        """Write *events*; ``token_name`` may be "" for events that concern no stored token.

        Raises:
            UnknownTokenError: They belong to a token that is not stored.
        """
