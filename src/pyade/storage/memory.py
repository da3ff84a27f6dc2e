"""A store in memory: for tests, and for programs that read everything from Apple anew at each start."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import attrs

from pyade.core.device import Device
from pyade.core.events import EventBatch, EventGroup, EventKind, attempt_groups, change_groups
from pyade.core.inventory import (
    Attempt,
    ChangeCounts,
    DeviceRecord,
    Source,
    SyncState,
    delete,
    finished_state,
    is_due_for_purge,
    is_shown,
    is_unlisted,
    merge_attempts,
    merge_page,
    next_state,
    release,
)
from pyade.core.lease import LEASE_SECONDS, Lease, check_free, check_held, expiry
from pyade.core.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.errors import DuplicateTokenError, UnknownTokenError
from pyade.storage.clock import utc_now
from pyade.storage.memory_enrollments import MemoryEnrollments
from pyade.storage.protocol import DefinedProfile


@attrs.define
class _Shelf:
    """Everything that belongs to one token."""

    token: Token
    state: SyncState = attrs.Factory(SyncState)
    devices: dict[str, DeviceRecord] = attrs.Factory(dict)
    profiles: dict[str, DefinedProfile] = attrs.Factory(dict)
    default_profile: EnrollmentProfile | None = None
    lease: Lease | None = None


class MemoryStore(MemoryEnrollments):
    """A ``Store`` that forgets everything when it is closed; safe for several threads."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Make an empty store.

        Args:
            clock: Times the leases.
        """
        super().__init__()
        self._clock = clock
        self._fences = itertools.count(1)
        self._shelves: dict[str, _Shelf] = {}

    def add_token(self, token: Token) -> None:
        """Store a new token."""
        with self._lock:
            if token.name in self._open_shelves():
                raise DuplicateTokenError(
                    f"a token {token.name!r} is stored already: renew it or choose another name"
                )
            self._shelves[token.name] = _Shelf(token)

    def token(self, name: str) -> Token:
        """Return the token called *name*."""
        with self._lock:
            return self._shelf(name).token

    def tokens(self) -> tuple[Token, ...]:
        """Return all tokens, by name."""
        with self._lock:
            return tuple(shelf.token for _, shelf in sorted(self._open_shelves().items()))

    def replace_token(self, token: Token) -> None:
        """Replace the token of the same name; its cursor, devices and profiles stay."""
        with self._lock:
            self._shelf(token.name).token = token

    def remove_token(self, name: str, *, now: datetime) -> None:
        """Remove a token and everything that belongs to it; its events stay, and one says that it is gone."""
        with self._lock:
            self._shelf(name).devices.clear()  # ends iterations that are under way
            del self._shelves[name]
            self._emit(name, now, (EventGroup(EventKind.TOKEN_REMOVED),))

    def sync_state(self, token_name: str) -> SyncState:
        """Return where the token's sync stands."""
        with self._lock:
            return self._shelf(token_name).state

    def sync_states(self) -> Mapping[str, SyncState]:
        """Return where the sync of every stored token stands, by the token's name, in one read."""
        with self._lock:
            return {name: shelf.state for name, shelf in sorted(self._open_shelves().items())}

    def save_sync_state(
        self,
        token_name: str,
        state: SyncState,
        *,
        events: EventBatch | None = None,
        lease: Lease | None = None,
    ) -> SyncState:
        """Store *state*, and *events* that say what it changes, and return it with the next revision."""
        with self._lock:
            shelf = self._shelf_to_write(token_name, lease)
            shelf.state = next_state(token_name, shelf.state.revision, state)
            if events is not None:
                self._emit(token_name, events.at, events.groups)
            return shelf.state

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Take the lease of a token, for one worker at a time."""
        with self._lock:
            shelf, now = self._shelf(token_name), self._clock()
            ends = expiry(seconds, now=now)
            check_free(shelf.lease, owner, now=now)
            shelf.lease = Lease(token_name=token_name, owner=owner, fence=next(self._fences), expires_at=ends)
            return shelf.lease

    def renew_lease(self, lease: Lease, *, seconds: float = LEASE_SECONDS) -> Lease:
        """Let *lease* last *seconds* from now, and return it so."""
        with self._lock:
            ends = expiry(seconds, now=self._clock())
            shelf = self._shelf_to_write(lease.token_name, lease)
            shelf.lease = attrs.evolve(lease, expires_at=ends)
            return shelf.lease

    def release_lease(self, lease: Lease) -> None:
        """Let the next worker in at once; harmless if *lease* was lost or its token removed."""
        with self._lock:
            shelf = self._open_shelves().get(lease.token_name)
            if shelf is not None and shelf.lease is not None and shelf.lease.fence == lease.fence:
                shelf.lease = None

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
        """Merge *devices* in their order and store *state*, all or nothing."""
        with self._lock:
            shelf = self._shelf_to_write(token_name, lease)
            following = next_state(token_name, shelf.state.revision, state)
            changes: list[tuple[str, str]] = []
            changed, counts = merge_page(
                shelf.devices,
                devices,
                token_name=token_name,
                source=source,
                state=state,
                now=now,
                changes=changes,
            )
            shelf.devices.update(changed)
            shelf.state = following
            self._emit(token_name, now, change_groups(changes))
            return following, counts

    def finish_full_sync(
        self, token_name: str, *, state: SyncState, now: datetime, lease: Lease | None = None
    ) -> tuple[SyncState, ChangeCounts]:
        """Release every device that the full list did not show and store *state*, all or nothing."""
        with self._lock:
            shelf = self._shelf_to_write(token_name, lease)
            following = finished_state(token_name, shelf.state.revision, state)
            gone = {
                serial: release(record, now)
                for serial, record in shelf.devices.items()
                if is_unlisted(record, state)
            }
            shelf.devices.update(gone)
            shelf.state = following
            shown = [serial for serial, record in gone.items() if not record.is_hidden]
            self._emit(token_name, now, change_groups((EventKind.RELEASED, serial) for serial in shown))
            return following, ChangeCounts(released=len(shown))

    def device(self, token_name: str, serial_number: str) -> DeviceRecord | None:
        """Return the record of a device, released or hidden ones too; None if the store does not know it."""
        with self._lock:
            return self._shelf(token_name).devices.get(serial_number)

    def records_of(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        """Iterate lazily over what all tokens know about *serials*, by serial number and token name."""
        with self._lock:
            self._open_shelves()
        return self._iterate_records(sorted(set(serials)))

    def _iterate_records(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        for serial in serials:
            with self._lock:
                shelves = [shelf for _, shelf in sorted(self._open_shelves().items())]
                known = [shelf.devices[serial] for shelf in shelves if serial in shelf.devices]
            yield from known

    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        """Delete a device here: a released one is removed, one that Apple lists is hidden."""
        with self._lock:
            devices = self._shelf(token_name).devices
            record = devices.pop(serial_number, None)
            left = None if record is None else delete(record, now)
            if left is not None:
                devices[serial_number] = left
            if record is not None and not record.is_hidden:
                self._emit(token_name, now, change_groups([(EventKind.DELETED, serial_number)]))

    def purge_released(self, token_name: str, *, now: datetime) -> int:
        """Remove what was released 30 days before *now* or earlier, and return how many records that were."""
        with self._lock:
            devices = self._shelf(token_name).devices
            due = [serial for serial, record in devices.items() if is_due_for_purge(record, now)]
            shown = [serial for serial in due if not devices[serial].is_hidden]
            for serial in due:
                del devices[serial]
            self._emit(token_name, now, change_groups((EventKind.PURGED, serial) for serial in shown))
            return len(due)

    def devices(
        self, token_name: str, *, serials: Sequence[str] | None = None, released: bool | None = False
    ) -> Iterator[DeviceRecord]:
        """Iterate lazily over the token's devices by serial number, without hidden ones."""
        with self._lock:
            known = self._shelf(token_name).devices
            wanted = sorted(known if serials is None else known.keys() & set(serials))
        return self._iterate(known, wanted, released)

    def _iterate(
        self, known: Mapping[str, DeviceRecord], wanted: Sequence[str], released: bool | None
    ) -> Iterator[DeviceRecord]:
        for serial in wanted:
            self._open_shelves()
            record = known.get(serial)
            if record is not None and is_shown(record, released):
                yield record

    def count_devices(self, token_name: str) -> Mapping[str, int]:
        """Return the number of listed devices by profile status, and of the released ones."""
        with self._lock:
            counts = Counter({"released": 0})
            for record in self._shelf(token_name).devices.values():
                if not record.is_hidden:
                    counts["released" if record.is_released else str(record.device.profile_status or "")] += 1
            return dict(counts)

    def count_unlisted(self, token_name: str, state: SyncState) -> int:
        """Return how many devices ``finish_full_sync`` with *state* would release."""
        with self._lock:
            records = self._shelf(token_name).devices.values()
            return sum(is_unlisted(record, state) and not record.is_hidden for record in records)

    def save_profile(self, token_name: str, profile: DefinedProfile, *, lease: Lease | None = None) -> None:
        """Remember a profile that was defined at Apple; the same ``profile_uuid`` replaces."""
        with self._lock:
            self._shelf_to_write(token_name, lease).profiles[profile.profile_uuid] = profile

    def profiles(self, token_name: str) -> tuple[DefinedProfile, ...]:
        """Return the profiles that were defined through this token, oldest first."""
        with self._lock:
            profiles = self._shelf(token_name).profiles.values()
            return tuple(sorted(profiles, key=lambda profile: (profile.defined_at, profile.profile_uuid)))

    def defined_profile(self, token_name: str, profile_uuid: str) -> DefinedProfile | None:
        """Return the profile of exactly that id; None if none was defined through this token."""
        with self._lock:
            return self._shelf(token_name).profiles.get(profile_uuid)

    def set_default_profile(self, token_name: str, profile: EnrollmentProfile | None) -> None:
        """Set, or with None remove, the profile for devices without one of their own."""
        with self._lock:
            self._shelf(token_name).default_profile = profile

    def default_profile(self, token_name: str) -> EnrollmentProfile | None:
        """Return the token's default profile; None if there is none."""
        with self._lock:
            return self._shelf(token_name).default_profile

    def record_attempts(
        self,
        token_name: str,
        attempts: Mapping[str, Attempt],
        *,
        details: Sequence[Device] = (),
        now: datetime,
        lease: Lease | None = None,
    ) -> None:
        """Store the outcome of an assignment per serial number, and the details read after it."""
        with self._lock:
            shelf = self._shelf_to_write(token_name, lease)
            serials = {*attempts, *(device.serial_number for device in details)}
            known = {serial: shelf.devices[serial] for serial in serials & shelf.devices.keys()}
            changed = merge_attempts(
                known, attempts, details, token_name=token_name, state=shelf.state, now=now
            )
            shelf.devices.update(changed)
            self._emit(token_name, now, attempt_groups(known, changed, attempts))

    def close(self) -> None:
        """Forget everything; every later call raises ``StoreClosedError``."""
        with self._lock:
            self._closed = True
            self._shelves = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_shelves(self) -> dict[str, _Shelf]:
        self._check_open()
        return self._shelves

    def _has_token(self, token_name: str) -> bool:
        return token_name in self._shelves

    def _shelf(self, name: str) -> _Shelf:
        try:
            return self._open_shelves()[name]
        except KeyError:
            raise UnknownTokenError(f"no token {name!r} is stored: add it first") from None

    def _shelf_to_write(self, name: str, lease: Lease | None) -> _Shelf:
        shelf = self._shelf(name)
        if lease is not None:
            check_held(shelf.lease, lease, now=self._clock())
        return shelf
