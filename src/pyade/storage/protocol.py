"""What pyade needs from a store.

A store is synchronous and transactional: each call that writes does all of it or nothing, and nothing where
it raises, for threads, processes and nodes. Times come in as arguments, UTC. Everything that belongs to a
token is keyed by the token's name, and a call that names a token which is not stored raises
``UnknownTokenError``, unless its docstring says otherwise.

A store has one clock, for leases only: that of its server, or of its machine where it has none. Where a
write is given a ``lease``, its transaction first checks that the lease still counts
(``core.lease.check_held``), and keeps others from taking it until the commit; else it raises
``LeaseLostError`` and writes nothing.

What is stored and cannot be read raises ``DamagedRecordError``, which names the token; other tokens go on.
Texts with a NUL character, or that are no Unicode, are refused with ``StoreError``.
"""

# pyright: reportReturnType=false
# A method of a protocol is its docstring.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from pyade.core.fleet.lease import LEASE_SECONDS, Held, Lease
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

Damaged: TypeAlias = Callable[[DamagedRecordError], None]
"""Is told of what cannot be read and is left out."""


class Store(Protocol):
    """Tokens, devices, sync state and profiles."""

    def add_token(self, token: Token) -> None:
        """Store a new token.

        Raises:
            DuplicateTokenError: A token of that name is stored already.
        """

    def add_or_renew_token(self, token: Token, *, force: bool = False) -> Token:
        """Store *token*: a new one, or in the place of the one of its name, as ``Token.renew`` has it.

        Of a renewal cursor, devices and profiles stay, and the scope tags where *token* has none. The same
        token may come again.

        Args:
            token: Made from the file that was downloaded in the portal.
            force: Renew although the new token seems to be for another server, organization or Apple ID, or
                to be an older file.

        Returns:
            The token as it is stored.

        Raises:
            TokenError: *token* seems to be for another server, organization or Apple ID than the stored one,
                or to be an older file, and *force* is false; nothing was changed.
        """

    def token(self, name: str) -> Token:
        """Return the token called *name*."""

    def tokens(self, *, damaged: Damaged | None = None) -> tuple[Token, ...]:
        """Return all tokens, by name.

        Args:
            damaged: Called for each token that cannot be read, which is then left out.

        Raises:
            DamagedRecordError: One cannot be read, and *damaged* is None.
        """

    def replace_token(self, token: Token, *, instead_of: Token | None = None) -> None:
        """Replace the token of the same name, whatever it is; its cursor, devices and profiles stay.

        ``add_or_renew_token`` looks whether the new one is for the same server.

        Args:
            token: The new one.
            instead_of: Only if this one is stored; None for whatever is stored.

        Raises:
            StoreConflictError: Another one than *instead_of* is stored by now.
        """

    def remove_token(self, name: str, *, now: datetime) -> None:
        """Remove a token and everything that belongs to it; its events stay, and one says that it is gone."""

    def sync_state(self, token_name: str) -> SyncState:
        """Return where the token's sync stands: ``SyncState()`` before the first run."""

    def sync_states(self, *, damaged: Damaged | None = None) -> Mapping[str, SyncState]:
        """Return where the sync of all tokens stands, by name, in one read; *damaged* as in ``tokens``."""

    def save_sync_state(
        self,
        token_name: str,
        state: SyncState,
        *,
        events: EventBatch | None = None,
        lease: Lease | None = None,
    ) -> SyncState:
        """Store *state*, and *events* that say what it changes, and return it with the next revision.

        Raises:
            StoreConflictError: The stored revision is not the one of *state*.
        """

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Take the lease of a token, for one worker at a time and up to 600 *seconds* unless it is renewed.

        *owner* names this worker and no other; its own older lease is replaced.

        Raises:
            LeaseHeldError: Another owner's is current.
        """

    def renew_lease(self, lease: Lease, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Let *lease* last *seconds* from now, and return it so.

        Raises:
            LeaseLostError: It ended, or another worker took the lease since.
        """

    def held_lease(self, token_name: str) -> Held | None:
        """Return who holds the lease of a token now, and for how long; None if nobody does."""

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
        """Merge *devices* in their order (``core.inventory.merge_page``) and store *state*.

        Returns:
            The state with its next revision and with what the page adds to it
            (``core.order.state_after_page``), and what the devices changed.

        Raises:
            StoreConflictError: The stored revision is not the one of *state*.
        """

    def finish_full_sync(
        self, token_name: str, *, state: SyncState, now: datetime, lease: Lease | None = None
    ) -> tuple[SyncState, ChangeCounts]:
        """Release every device that the full list did not show and store *state*; returns as ``commit_page``.

        ``core.inventory.is_unlisted`` decides; hidden devices are released too, but not counted. *state*
        still has ``listing_since``; what is stored has not.

        Raises:
            StoreConflictError: As for ``commit_page``.
            StoreError: *state* has no list under way.
        """

    def device(self, token_name: str, serial_number: str) -> DeviceRecord | None:
        """Return the record of a device, released or hidden ones too; None if the store does not know it."""

    def records_of(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        """Iterate lazily over what all tokens know about *serials*: released and hidden records too.

        Sorted by serial number, then by the token's name. ``core.inventory.owner_of`` says to which token
        each device belongs.
        """

    def serials_in(self, token_name: str, groups: Collection[DeviceGroup]) -> Iterator[str]:
        """Iterate lazily over the serial numbers of all devices of *groups*, which are not read for it.

        In the order of ``devices``, each at most once.
        """

    def shared_serials(self, token_name: str, *, serials: Sequence[str] | None = None) -> Sequence[str]:
        """Return, sorted, which devices of the token another token of the store claims, too.

        Those are devices that the token has neither released nor hidden, and that another one has not
        released. Only of these is it in doubt to which token they belong (``core.inventory.owner_of``).

        Args:
            token_name: The token.
            serials: Of these serial numbers only; None for all.
        """

    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        """Delete a device here; nothing changes at Apple.

        A released one is removed at once. One that Apple still lists is hidden (``core.inventory``, rule 7):
        a page with ``Source.DETAILS`` restores it. One whose record cannot be read is removed, until Apple
        lists it again. Does nothing if the store does not know it.
        """

    def purge_released(self, token_name: str, *, now: datetime) -> int:
        """Remove what was released 30 days before *now* or earlier, and return how many records that were."""

    def devices(
        self,
        token_name: str,
        *,
        serials: Sequence[str] | None = None,
        groups: Collection[DeviceGroup] | None = None,
        released: bool | None = False,
    ) -> Iterator[DeviceRecord]:
        """Iterate lazily over the token's devices, without hidden ones, in an order of the store's own.

        Each comes at most once, and those of *serials* by serial number. The store may be written while an
        iteration is under way; a device that changes meanwhile is seen either before or after the change.

        Args:
            token_name: The token.
            serials: Only these; None for all.
            groups: Only devices of these groups, as ``device_groups`` returns them; None for all.
            released: False for those that Apple lists, True for released ones, None for both.
        """

    def device_groups(self, token_name: str) -> Mapping[DeviceGroup, int]:
        """Return how many devices each group of the token has (``core.device_groups.group_of``).

        Released and hidden devices are counted too, in groups of their own.
        """

    def count_devices(self, token_name: str) -> Mapping[str, int]:
        """Return what ``core.device_groups.status_counts`` makes of ``device_groups``."""

    def count_unlisted(self, token_name: str, state: SyncState) -> int:
        """Return how many devices ``finish_full_sync`` with *state* would release, without hidden ones."""

    def save_profile(self, token_name: str, profile: DefinedProfile, *, lease: Lease | None = None) -> None:
        """Remember a profile that was defined at Apple; the same ``profile_uuid`` replaces."""

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

        ``core.inventory.merge_attempts`` has the rules. Serial numbers that neither the store nor the
        details know are ignored. ``NOT_ACCESSIBLE`` does not release a device: only Apple's lists do.
        """

    def events(
        self, after: str | None = None, *, limit: int = 1000, damaged: Damaged | None = None
    ) -> Sequence[Event]:
        """Return committed events of all tokens in the order of the commits.

        Each call above that changes devices, and the removal of a token, writes its events in the same
        transaction, as one compact row (``core.events``). A change whose order is not settled yet, because an
        older transaction is still open, is held back until it is.

        Args:
            after: The id of the last event that was read; None or "" for the oldest one kept.
            limit: How many at most; at least 1.
            damaged: As for ``tokens``; a row of events is left out whole.

        Raises:
            StoreError: *after* is no id of an event, or *limit* is less than 1.
            DamagedRecordError: As for ``tokens``.
        """

    def add_event(
        self, token_name: str, kind: EventKind, *, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        """Add an event that concerns a token as a whole; *details* are plain JSON values without secrets."""

    def position(self, subscriber: str) -> str | None:
        """Return how far *subscriber* has come; None if the store does not know it."""

    def save_position(self, subscriber: str, after: str | None) -> None:
        """Remember the id of the last event that *subscriber* has seen, "" for none; None forgets it.

        Raises:
            StoreError: *after* is no id of an event.
        """

    def prune_events(self, before: datetime) -> None:
        """Remove events from before that time, except those that a known subscriber has not seen."""

    def load_session(self, key: str) -> Secret | None:
        """Return the session with Apple kept under *key*; None if there is none."""

    def save_session(self, key: str, session: str | Secret) -> None:
        """Keep *session* under *key*, so that other nodes use it too."""

    def secret(self, name: str) -> Secret | None:
        """Return the secret kept under *name*; None if there is none."""

    def save_secret(self, name: str, secret: str | Secret | None) -> None:
        """Keep *secret* under *name*, such as the PEM of a key pair; None removes it."""

    def secret_names(self, prefix: str = "") -> Sequence[str]:
        """Return the names, sorted, under which secrets are kept, of those that begin with *prefix*."""

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
    """A ``Store`` that also keeps enrollments, and what may be used once, for the device-facing side."""

    def enrollment(self, serial_number: str) -> Enrollment | None:
        """Return what is kept of a Mac's enrollment; None if it was never given a profile."""

    def enrollments(
        self, *, registration: Registration | None = None, damaged: Damaged | None = None
    ) -> Iterator[Enrollment]:
        """Iterate lazily over the enrollments by serial number.

        Args:
            registration: Only those with this one; None for all.
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
        """Store *enrollment* with what belongs to it, and return it with the next revision.

        Args:
            enrollment: As it was read, changed; with revision 0 if nothing was stored.
            credential: What was put into the Mac's new profile.
            is_new: True if a new profile was made: credentials of the Mac that were not used are revoked,
                also where the new one has no credential of this kind.
            events: What happened.

        Raises:
            StoreConflictError: Another writer changed the enrollment.
            UnknownTokenError: *events* belong to a token that is not stored.
        """

    def delete_enrollment(self, serial_number: str) -> None:
        """Remove a Mac's enrollment, if there is one, and revoke what it may still use."""

    def save_one_time(self, one_time: OneTime, *, now: datetime, keep: int) -> None:
        """Keep *one_time*, remove what has expired, and of this Mac and kind all but *keep* (1 or more)."""

    def take_one_time(self, kind: OneTimeKind, digest: str, *, now: datetime) -> OneTime | None:
        """Return and remove what is kept under *digest*, to one caller alone; None if gone or expired."""

    def redeem_one_time(self, kind: OneTimeKind, digest: str, *, by: str, now: datetime) -> OneTime | None:
        """Use up what is kept under *digest* for one request alone; the same request may come again.

        Args:
            kind: What it is for.
            digest: Of the secret.
            by: Digest of the request that uses it, not empty.
            now: UTC.

        Returns:
            What was kept, as it was before: with ``redeemed_by`` if this request used it up already, within
            ``REPEAT_WINDOW``. None if it is gone, has expired, or another request used it up.
        """

    def one_times(self, serial_number: str, *, redeemed: bool = False) -> Sequence[OneTime]:
        """Return what a Mac may still use, expired or not, by expiry; *redeemed* adds what was used up."""

    def add_audit(self, events: EventBatch) -> None:
        """Write *events*; ``token_name`` may be "" for what concerns no token of ours.

        Raises:
            UnknownTokenError: They belong to a token that is not stored.
        """
