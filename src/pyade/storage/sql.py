"""The store logic, once for every ``storage.database.Database``.

The rules of this file:

1. Every write is one transaction. If it belongs to a token, it first locks the row of the token, which holds
   the sync state, so that two workers of one token write one after the other.
2. A write with a lease checks it inside that transaction, so that no other worker can acquire the lease
   between the check and the commit.
3. A change of a device and its event are written in one transaction.
4. No transaction stays open between two pages of an iteration, so that it blocks neither writers nor
   clean-ups.
5. An error about a damaged record names the record or its token, and stops nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.fleet.lease import LEASE_SECONDS, Lease, LeaseHolder, check_free, check_held, expiry, held
from pyade.core.secret import Secret, secret_or_none
from pyade.crypto.secret_box import SecretBox, masked_keys
from pyade.errors import DamagedRecordError, DuplicateTokenError, StoreConflictError, StoreError
from pyade.loading import lazy_modules
from pyade.storage import tables
from pyade.storage.database import Database, Value
from pyade.storage.protocol import EnrollmentStore, OnDamaged

if TYPE_CHECKING:
    from pyade.builders import documents
    from pyade.core.fleet import enrollment as enrollments
    from pyade.core.fleet import events as event_log
    from pyade.core.fleet import groups as device_groups
    from pyade.core.fleet import merging, records
    from pyade.core.fleet.device import Device
    from pyade.core.fleet.enrollment import Enrollment, OneTime, OneTimeKind, Registration
    from pyade.core.fleet.events import Event, EventBatch, EventKind
    from pyade.core.fleet.groups import DeviceGroup
    from pyade.core.fleet.outcomes import Attempt
    from pyade.core.fleet.records import ChangeCounts, DeviceRecord, Source, SyncState
    from pyade.core.profile.profile import DefinedProfile, EnrollmentProfile
    from pyade.core.token import Token
    from pyade.storage import merges, rows, sealing
    from pyade.storage.rows import LockedToken, TokenRow
else:
    lazy_modules(
        globals(),
        documents="pyade.builders.documents",
        enrollments="pyade.core.fleet.enrollment",
        device_groups="pyade.core.fleet.groups",
        event_log="pyade.core.fleet.events",
        records="pyade.core.fleet.records",
        merges="pyade.storage.merges",
        merging="pyade.core.fleet.merging",
        rows="pyade.storage.rows",
        sealing="pyade.storage.sealing",
    )


@check_arguments(but=("keys",))
class SQLStore(EnrollmentStore):
    """An ``EnrollmentStore`` over a database; the protocols document its methods."""

    def __init__(
        self,
        database: Database,
        *,
        keys: Iterable[str | bytes | Secret] | SecretBox | None = None,
        allow_unreadable_secrets: bool = False,
    ) -> None:
        """Create the tables if there are none, migrate older ones, and check the keys.

        Args:
            database: Open; the store closes it, also if this call fails.
            keys: Encrypt secrets with the first key, and decrypt with any; see ``crypto.secret_box``. None
                stores secrets as plain text.
            allow_unreadable_secrets: Open the store even if no key decrypts its secrets: to read the
                devices and to store tokens again after a key was lost.

        Raises:
            StoreVersionError: A newer pyade wrote the tables.
            StoreError: The database failed, or no key decrypts the secrets of this store.
        """
        keys = masked_keys(keys)
        self._database = database
        try:
            self._box = keys if isinstance(keys, SecretBox) else SecretBox(keys)
            tables.migrate(database)
            if not allow_unreadable_secrets:
                with database.reading() as session:
                    sealing.check_keys(session, self._box, database.where)
        except BaseException:
            database.close()
            raise

    @property
    def clock(self) -> Callable[[], datetime] | None:
        """The clock that the store was given; None for that of its database."""
        clock: Callable[[], datetime] | None = getattr(self._database, "clock", None)
        return clock

    # Tokens
    def add_token(self, token: Token) -> None:
        values = self._sealed_token(token)
        with self._database.writing() as session:
            if not session.rows(tables.ADD_TOKEN, (token.name, *values)):
                raise DuplicateTokenError(
                    f"a token {token.name!r} is stored already: renew it or choose another name"
                )

    def add_or_renew_token(self, token: Token, *, force: bool = False) -> Token:
        values = self._sealed_token(token)
        with self._database.writing() as session:
            if session.rows(tables.ADD_TOKEN, (token.name, *values)):
                return token
            locked = rows.lock(session, token.name)
            (found,) = rows.masked_last(session.rows(tables.READ_TOKEN, (token.name,)))
            renewed = self._token(*found).renew(token, token.scope_tags or None, force=force)
            locked.run(tables.REPLACE_TOKEN, (*self._sealed_token(renewed), locked.id))
        return renewed

    def token(self, name: str) -> Token:
        found = rows.masked_last(self._read(tables.READ_TOKEN, (name,)))
        return self._token(*rows.only_row(found, name, self._read))

    def tokens(self, *, damaged: OnDamaged | None = None) -> tuple[Token, ...]:
        found = rows.masked_last(self._read(tables.READ_TOKENS))
        return tuple(rows.readable(found, self._token, damaged))

    def replace_token(self, token: Token, *, instead_of: Token | None = None) -> None:
        values = self._sealed_token(token)
        with self._writing(token.name) as locked:
            if instead_of is not None:
                (row,) = rows.masked_last(locked.run(tables.READ_TOKEN, (token.name,)))
                if self._token(*row) != instead_of:
                    raise StoreConflictError(
                        f"the token {token.name!r} was replaced meanwhile: read it again"
                    )
            locked.run(tables.REPLACE_TOKEN, (*values, locked.id))

    def remove_token(self, name: str, *, now: datetime) -> None:
        with self._writing(name) as locked:
            locked.run(tables.DELETE_DEVICES, locked.ids)
            locked.run(tables.DELETE_TOKEN, (locked.id,))
            locked.emit(now, (event_log.EventGroup(event_log.EventKind.TOKEN_REMOVED),))

    def _sealed_token(self, token: Token) -> tuple[str, str]:
        document, secrets = documents.encode_token(token)
        return document, self._box.seal(secrets)

    def _token(self, name: str, document: str, secrets: str) -> Token:
        return documents.decode_token(name, document, self._open(secrets, name))

    # Sync state and leases
    def sync_state(self, token_name: str) -> SyncState:
        return self._token_row(token_name).state()

    def sync_states(self, *, damaged: OnDamaged | None = None) -> Mapping[str, SyncState]:
        def named_state(name: str, document: str | None) -> tuple[str, SyncState]:
            return name, documents.decode_state(document, name)

        return dict(rows.readable(self._read(tables.SELECT_STATES), named_state, damaged))

    def save_sync_state(
        self,
        token_name: str,
        state: SyncState,
        *,
        events: EventBatch | None = None,
        lease: Lease | None = None,
    ) -> SyncState:
        with self._writing(token_name, lease) as locked:
            following = records.next_state(token_name, locked.revision, state)
            locked.save_state(following)
            if events is not None:
                locked.emit(events.at, events.groups)
        return following

    def acquire_lease(self, token_name: str, owner: str, *, seconds: float = LEASE_SECONDS) -> Lease:
        with self._writing(token_name) as locked:
            now = locked.session.now()
            ends = expiry(seconds, now=now)
            check_free(locked.lease(), owner, now=now)
            locked.run(tables.DELETE_LEASE, (locked.id,))
            ((fence,),) = locked.run(tables.INSERT_LEASE, (locked.id, owner, ends))
        return Lease(token_name=token_name, owner=owner, fence=fence, expires_at=ends)

    def renew_lease(self, lease: Lease, *, seconds: float = LEASE_SECONDS) -> Lease:
        with self._writing(lease.token_name) as locked:
            now = locked.session.now()
            ends = expiry(seconds, now=now)
            check_held(locked.lease(), lease, now=now)
            locked.run(tables.RENEW_LEASE, (ends, lease.fence))
        return attrs.evolve(lease, expires_at=ends)

    def held_lease(self, token_name: str) -> LeaseHolder | None:
        with self._database.reading() as session:
            row = session.rows(tables.SELECT_TOKEN, (token_name,))
            token_id, *_ = rows.only_row(row, token_name, session.rows)
            found = session.rows(tables.SELECT_LEASE, (token_id,))
            now = session.now()
        return held(documents.decode_lease(token_name, found[0]) if found else None, now=now)

    def release_lease(self, lease: Lease) -> None:
        with self._database.writing() as session:
            session.rows(tables.RELEASE_LEASE, (lease.fence,))

    # Devices
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
        with self._writing(token_name, lease) as locked:
            following = records.next_state(token_name, locked.revision, state)
            return merges.save_page(locked, devices, source=source, state=following, now=now)

    def finish_full_sync(
        self, token_name: str, *, state: SyncState, now: datetime, lease: Lease | None = None
    ) -> tuple[SyncState, ChangeCounts]:
        released = 0
        with self._writing(token_name, lease) as locked:
            following = records.finished_state(token_name, locked.revision, state)
            values = (locked.id, False, state.full_sync, state.listing_since)
            for page in rows.pages_of(locked.run, tables.SELECT_UNLISTED, values, by="device.id"):
                gone = [merging.release(documents.decode_record(token_name, row[1:]), now) for row in page]
                locked.save_devices(gone, {row[1]: row for row in page})
                shown = [
                    (event_log.EventKind.RELEASED, record.serial_number)
                    for record in gone
                    if not record.is_hidden
                ]
                locked.emit_changes(now, shown)  # rule 3
                released += len(shown)
            locked.save_state(following)
        return following, records.ChangeCounts(released=released)

    def record_attempts(
        self,
        token_name: str,
        attempts: Mapping[str, Attempt],
        *,
        details: Sequence[Device] = (),
        now: datetime,
        lease: Lease | None = None,
    ) -> None:
        with self._writing(token_name, lease) as locked:
            merges.save_attempts(locked, attempts, details, now)

    def delete_device(self, token_name: str, serial_number: str, *, now: datetime) -> None:
        with self._writing(token_name) as locked:
            left, is_shown = None, True
            known = {row[1]: row for row in locked.rows_of((serial_number,))}
            with suppress(DamagedRecordError):  # deleting it is how to fetch it again from Apple
                found = [documents.decode_record(token_name, row[1:]) for row in known.values()]
                left = merging.delete(found[0], now) if found else None
                is_shown = bool(found) and not found[0].is_hidden
            if left is not None:
                locked.save_devices((left,), known)
            else:
                locked.run(tables.DELETE_DEVICE, (locked.id, serial_number))
            if is_shown:  # rule 3
                locked.emit_changes(now, [(event_log.EventKind.DELETED, serial_number)])

    def purge_released(self, token_name: str, *, now: datetime) -> int:
        with self._writing(token_name) as locked:
            gone = locked.run(tables.PURGE, (locked.id, True, now - records.PURGE_AFTER))
            shown = sorted(serial for serial, deleted_at in gone if deleted_at is None)
            locked.emit_changes(now, ((event_log.EventKind.PURGED, serial) for serial in shown))
        return len(gone)

    def device(self, token_name: str, serial_number: str) -> DeviceRecord | None:
        return self._token_row(token_name).devices((serial_number,)).get(serial_number)

    def records_of(self, serials: Sequence[str]) -> Iterator[DeviceRecord]:
        with self._database.reading():  # raises here if the store is closed
            return rows.records_of(self._read, sorted(set(serials)))

    def devices(
        self,
        token_name: str,
        *,
        serials: Sequence[str] | None = None,
        groups: Collection[DeviceGroup] | None = None,
        released: bool | None = False,
    ) -> Iterator[DeviceRecord]:
        token = self._token_row(token_name)
        if serials is not None:
            found = token.shown_devices(sorted(set(serials)), released)
            group_of = device_groups.group_of
            return found if groups is None else (one for one in found if group_of(one) in groups)
        return token.all_devices(released) if groups is None else token.devices_in(groups, released)

    def serials_in(self, token_name: str, groups: Collection[DeviceGroup]) -> Iterator[str]:
        return self._token_row(token_name).serials_in(groups)

    def shared_serials(self, token_name: str, *, serials: Sequence[str] | None = None) -> Sequence[str]:
        given = None if serials is None else sorted(set(serials))
        return tuple(sorted(self._token_row(token_name).shared_serials(given)))

    def count_devices(self, token_name: str) -> Mapping[str, int]:
        return device_groups.status_counts(self.device_groups(token_name))

    def device_groups(self, token_name: str) -> Mapping[DeviceGroup, int]:
        found = self._read(tables.COUNT_GROUPS, (self._token_row(token_name).id,))
        return {documents.decode_group(token_name, text): count for text, count in found if count}

    def count_unlisted(self, token_name: str, state: SyncState) -> int:
        since = state.listing_since or datetime.max.replace(tzinfo=UTC)
        values = (self._token_row(token_name).id, False, state.full_sync, since)
        ((count,),) = self._read(tables.COUNT_UNLISTED, values)
        return int(count)

    # Profiles
    def save_profile(self, token_name: str, profile: DefinedProfile, *, lease: Lease | None = None) -> None:
        content = profile.profile
        values = (profile.profile_uuid, content.name, profile.digest, profile.defined_at, profile.individual)
        texts = self._sealed_profile(content)
        with self._writing(token_name, lease) as locked:
            locked.run(tables.SAVE_PROFILE, (locked.id, *values, *texts))

    def profiles(self, token_name: str) -> tuple[DefinedProfile, ...]:
        found = rows.masked_last(self._read(tables.SELECT_PROFILES, (self._token_row(token_name).id,)))
        return tuple(self._defined_profile(token_name, row) for row in found)

    def defined_profile(self, token_name: str, profile_uuid: str) -> DefinedProfile | None:
        found = rows.masked_last(self._read(tables.SELECT_PROFILE, (profile_uuid, token_name)))
        row = rows.only_row(found, token_name, self._read)
        return None if row[0] is None else self._defined_profile(token_name, row)

    def set_default_profile(self, token_name: str, profile: EnrollmentProfile | None) -> None:
        document, secret = (None, None) if profile is None else self._sealed_profile(profile)
        with self._writing(token_name) as locked:
            locked.run(tables.SET_DEFAULT, (document, secret, locked.id))

    def default_profile(self, token_name: str) -> EnrollmentProfile | None:
        found = rows.masked_last(self._read(tables.SELECT_DEFAULT, (token_name,)))
        row = rows.only_row(found, token_name, self._read)
        return None if row[0] is None else self._profile(token_name, *row)

    def _defined_profile(self, token_name: str, row: tuple[Any, ...]) -> DefinedProfile:
        *columns, document, secret = row
        return documents.defined_profile(token_name, self._profile(token_name, document, secret), *columns)

    def _profile(self, token_name: str, document: str, secret: str | None) -> EnrollmentProfile:
        opened = None if secret is None else self._open(secret, token_name)
        return documents.decode_profile(token_name, document, opened)

    def _sealed_profile(self, profile: EnrollmentProfile) -> tuple[str, str | None]:
        document, secret = documents.encode_profile(profile)
        return document, None if secret is None else self._box.seal(secret)

    # Events
    def events(
        self, after: str | None = None, *, limit: int = 1000, damaged: OnDamaged | None = None
    ) -> Sequence[Event]:
        number, row = event_log.position_of(after)
        if limit < 1:
            raise StoreError(f"limit {limit} is less than 1: give how many events to return at most")
        last_row, index = event_log.split_id(after) if after else ("", -1)
        expanded = (
            batch.expand(row_id, after=index if row_id == last_row else -1)
            for row_id, batch in rows.event_rows(self._read, number, row, damaged)
        )
        return tuple(islice(chain.from_iterable(expanded), limit))

    def add_event(
        self, token_name: str, kind: EventKind, *, now: datetime, details: Mapping[str, Any] | None = None
    ) -> None:
        with self._writing(token_name) as locked:
            locked.emit(now, (event_log.EventGroup(kind, details=dict(details or {})),))

    def add_audit(self, events: EventBatch) -> None:
        with self._database.writing() as session:
            rows.audit(session, events)

    def position(self, subscriber: str) -> str | None:
        found = self._read(tables.SELECT_POSITION, (subscriber,))
        return str(found[0][0]) if found else None

    def save_position(self, subscriber: str, after: str | None) -> None:
        event_log.position_of(after)
        with self._database.writing() as session:
            if after is None:
                session.rows(tables.DELETE_POSITION, (subscriber,))
            else:
                session.rows(tables.SAVE_POSITION, (subscriber, after))

    def prune_events(self, before: datetime) -> None:
        with self._database.writing() as session:
            positions = [event_log.position_of(after) for (after,) in session.rows(tables.SELECT_POSITIONS)]
            if positions:
                session.rows(tables.PRUNE_SEEN_EVENTS, (before, *min(positions)))
            else:
                session.rows(tables.PRUNE_EVENTS, (before,))

    # Secrets
    def load_session(self, key: str) -> Secret | None:
        found = rows.masked_last(self._read(tables.SELECT_SECRET, (sealing.SESSION, key)))
        try:
            return self._box.open(found[0][0]) if found else None
        except StoreError:
            return None  # the client requests a new session

    def save_session(self, key: str, session: str | Secret) -> None:
        session = Secret(session)
        self._save_secret(sealing.SESSION, key, session)

    def secret(self, name: str) -> Secret | None:
        found = rows.masked_last(self._read(tables.SELECT_SECRET, (sealing.SECRET, name)))
        try:
            return self._box.open(found[0][0]) if found else None
        except StoreError as error:
            reason = f"secret {name!r}: {error}"
        raise DamagedRecordError(reason)

    def save_secret(self, name: str, secret: str | Secret | None) -> None:
        secret = secret_or_none(secret)
        self._save_secret(sealing.SECRET, name, secret)

    def secret_names(self, prefix: str = "") -> tuple[str, ...]:
        found = self._read(tables.SELECT_SECRET_NAMES, (sealing.SECRET, len(prefix), prefix))
        return tuple(name for (name,) in found)

    def unreadable_secrets(self) -> tuple[str, ...]:
        """Return the names of secrets that no key decrypts, such as those written with an old key."""
        with self._database.reading() as session:
            return sealing.unreadable(session, self._box)

    def rotate_keys(self) -> None:
        """Encrypt every secret with the first key, also plain text, and leave no older form in the tables.

        The tables with secrets are rewritten, which needs as much free space as their size, and blocks
        writers meanwhile. Copies of the database, such as a log of the server, keep the old content.

        Raises:
            StoreError: The store has no keys, or secrets cannot be decrypted; nothing was changed.
        """
        if not self._box.has_keys:
            raise StoreError("there is no key to encrypt with: open the store with keys=")
        with self._database.writing() as session:
            sealing.rotate(session, self._box)
        self._database.compact(sealing.TABLES)

    def _save_secret(self, kind: str, name: str, value: Secret | None) -> None:
        with self._database.writing() as session:
            if value is None:
                session.rows(tables.DELETE_SECRET, (kind, name))
            else:
                session.rows(tables.SAVE_SECRET, (kind, name, self._box.seal(value)))

    def _open(self, sealed: str, token_name: str) -> Secret:
        try:
            return self._box.open(sealed)
        except StoreError as error:
            reason = f"token {token_name!r}: {error}"
        raise DamagedRecordError(reason, token_name=token_name)  # rule 5

    # Enrollments
    def enrollment(self, serial_number: str) -> Enrollment | None:
        found = self._read(tables.SELECT_ENROLLMENT, (serial_number,))
        return documents.decode_enrollment(serial_number, found[0][0]) if found else None

    def enrollments(
        self, *, registration: Registration | None = None, damaged: OnDamaged | None = None
    ) -> Iterator[Enrollment]:
        with self._database.reading():  # raises here if the store is closed
            if registration is None:
                pages = rows.pages_of(self._read, tables.SELECT_ENROLLMENTS, (), by="serial_number")
            else:
                values = (registration.value,)
                pages = rows.pages_of(self._read, tables.SELECT_REGISTERED, values, by="serial_number")
            found = (rows.readable(page, documents.decode_enrollment, damaged) for page in pages)
            return chain.from_iterable(found)

    def save_enrollment(
        self,
        enrollment: Enrollment,
        *,
        credential: OneTime | None = None,
        is_new: bool = False,
        events: EventBatch | None = None,
    ) -> Enrollment:
        serial = enrollment.serial_number
        following = attrs.evolve(enrollment, revision=enrollment.revision + 1)
        values = (following.revision, following.registration.value, documents.encode_enrollment(following))
        with self._database.writing() as session:
            if events is not None:
                rows.audit(session, events)
            if enrollment.revision:
                written = session.rows(tables.UPDATE_ENROLLMENT, (*values, serial, enrollment.revision))
            else:
                written = session.rows(tables.ADD_ENROLLMENT, (*values, serial))
            if not written:
                found = session.rows(tables.SELECT_ENROLLMENT_REVISION, (serial,))
                raise enrollments.conflict(enrollment, found[0][0] if found else 0)
            if is_new:  # all except a sign-in under way
                session.rows(tables.REVOKE_CREDENTIALS, (serial, enrollments.OneTimeKind.WEB_VIEW.value))
            if credential is not None:
                session.rows(tables.KEEP_ONE_TIME, documents.one_time_row(credential))
        return following

    def delete_enrollment(self, serial_number: str) -> None:
        with self._database.writing() as session:
            session.rows(tables.DELETE_ENROLLMENT, (serial_number,))
            session.rows(tables.REVOKE_ALL, (serial_number,))

    def save_one_time(self, one_time: OneTime, *, now: datetime, keep: int) -> None:
        with self._database.writing() as session:
            session.rows(tables.DELETE_EXPIRED, (now,))
            session.rows(tables.MAKE_ROOM, (one_time.serial_number, one_time.kind.value, keep - 1))
            session.rows(tables.KEEP_ONE_TIME, documents.one_time_row(one_time))

    def take_one_time(self, kind: OneTimeKind, digest: str, *, now: datetime) -> OneTime | None:
        with self._database.writing() as session:
            taken = session.rows(tables.TAKE_ONE_TIME, (kind.value, digest))
        found = documents.decode_one_time(taken[0]) if taken else None
        return found if found is not None and enrollments.can_redeem(found, by="", now=now) else None

    def redeem_one_time(self, kind: OneTimeKind, digest: str, *, by: str, now: datetime) -> OneTime | None:
        place = (kind.value, digest)
        with self._database.writing() as session:
            kept = session.rows(tables.SELECT_ONE_TIME, place)
            found = documents.decode_one_time(kept[0]) if kept else None
            if found is None or not enrollments.can_redeem(found, by=by, now=now):
                if found is not None and found.expires_at <= now:
                    session.rows(tables.TAKE_ONE_TIME, place)  # stays expired if the clock is set back later
                return None
            if not found.redeemed_by:
                *_, expires_at, value = documents.one_time_row(
                    enrollments.redeemed_one_time(found, by=by, now=now)
                )
                session.rows(tables.SAVE_ONE_TIME, (expires_at, value, *place))
        return found

    def one_times(self, serial_number: str, *, redeemed: bool = False) -> Sequence[OneTime]:
        found = map(documents.decode_one_time, self._read(tables.SELECT_ONE_TIMES, (serial_number,)))
        return tuple(one for one in found if redeemed or not one.redeemed_by)

    # Lifetime
    def close(self) -> None:
        self._database.close()

    def __repr__(self) -> str:
        # Tracebacks that show local variables call it also for a store whose __init__ failed.
        database: Database | None = vars(self).get("_database")
        return f"{type(self).__name__}({'' if database is None else repr(database.where)})"

    def _read(self, statement: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        with self._database.reading() as session:
            return session.rows(statement, values)

    def _token_row(self, token_name: str) -> TokenRow:
        found = self._read(tables.SELECT_TOKEN, (token_name,))
        row = rows.only_row(found, token_name, self._read)
        return rows.TokenRow(self._read, token_name, *row)  # rule 4: each page is a read of its own

    @contextmanager
    def _writing(self, token_name: str, lease: Lease | None = None) -> Iterator[LockedToken]:
        with self._database.writing() as session:
            locked = rows.lock(session, token_name)  # rule 1
            if lease is not None:
                check_held(locked.lease(), lease, now=session.now())  # rule 2
            yield locked
