"""The part of the store in memory that the device-facing side uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

from pyade.core.enrollment import CREDENTIALS, Enrollment, OneTime, OneTimeKind, Registration, next_enrollment
from pyade.core.events import EventBatch, encode_groups
from pyade.errors import StoreError, UnknownTokenError
from pyade.storage.memory_outbox import MemoryOutbox

_OneTimes: TypeAlias = dict[tuple[OneTimeKind, str], OneTime]


class MemoryEnrollments(MemoryOutbox):
    """Base of ``MemoryStore``."""

    def __init__(self) -> None:
        super().__init__()
        self._enrollments: dict[str, Enrollment] = {}
        self._one_times: _OneTimes = {}

    def enrollment(self, serial_number: str) -> Enrollment | None:
        """Return what is kept of a Mac's enrollment."""
        with self._lock:
            self._check_open()
            return self._enrollments.get(serial_number)

    def enrollments(self, *, registration: Registration | None = None) -> Iterator[Enrollment]:
        """Iterate lazily over the enrollments by serial number."""
        with self._lock:
            self._check_open()
            serials = sorted(self._enrollments)
        return self._iterate_enrollments(serials, registration)

    def _iterate_enrollments(
        self, serials: Sequence[str], registration: Registration | None
    ) -> Iterator[Enrollment]:
        for serial in serials:
            found = self.enrollment(serial)
            if found is not None and registration in (None, found.registration):
                yield found

    def save_enrollment(
        self,
        enrollment: Enrollment,
        *,
        credential: OneTime | None = None,
        is_new: bool = False,
        events: EventBatch | None = None,
    ) -> Enrollment:
        """Store *enrollment* with what belongs to it, and return it with the next revision."""
        serial = enrollment.serial_number
        with self._lock:
            self._check_open()
            stored = self._enrollments.get(serial)
            following = next_enrollment(stored.revision if stored else 0, enrollment)
            kept = self._kept_by_others(serial, CREDENTIALS) if is_new else self._one_times
            if credential is not None:
                kept = _with(kept, credential)
            if events is not None:
                self.add_audit(events)
            self._one_times = kept
            self._enrollments[serial] = following
            return following

    def delete_enrollment(self, serial_number: str) -> None:
        """Forget a Mac's enrollment and revoke what it may still use."""
        with self._lock:
            self._check_open()
            self._enrollments.pop(serial_number, None)
            self._one_times = self._kept_by_others(serial_number, tuple(OneTimeKind))

    def save_one_time(self, one_time: OneTime, *, now: datetime, keep: int) -> None:
        """Keep *one_time*, remove what has expired, and of this Mac and kind all but the *keep* newest."""
        with self._lock:
            self._check_open()
            kept = {key: one for key, one in self._one_times.items() if one.expires_at > now}
            mine = [one for one in kept.values() if one.serial_number == one_time.serial_number]
            others = _by_expiry(one for one in mine if one.kind is one_time.kind)
            for one in others[: len(others) - keep + 1]:
                del kept[one.kind, one.digest]
            self._one_times = _with(kept, one_time)

    def take_one_time(self, kind: OneTimeKind, digest: str, *, now: datetime) -> OneTime | None:
        """Return what is kept under *digest* and forget it."""
        with self._lock:
            self._check_open()
            found = self._one_times.pop((kind, digest), None)
            return found if found is not None and found.expires_at > now else None

    def one_times(self, serial_number: str) -> Sequence[OneTime]:
        """Return what a Mac may still use, expired or not, by expiry."""
        with self._lock:
            self._check_open()
            return _by_expiry(one for one in self._one_times.values() if one.serial_number == serial_number)

    def add_audit(self, events: EventBatch) -> None:
        """Write *events*; ``token_name`` may be "" for what concerns no token of ours."""
        encode_groups(events.groups)  # what a database could not keep is refused here, too
        with self._lock:
            self._check_open()
            if events.token_name and not self._has_token(events.token_name):
                raise UnknownTokenError(f"no token {events.token_name!r} is stored: add it first")
            self._emit(events.token_name, events.at, events.groups)

    def _kept_by_others(self, serial: str, kinds: Sequence[OneTimeKind]) -> _OneTimes:
        return {
            key: one
            for key, one in self._one_times.items()
            if one.serial_number != serial or one.kind not in kinds
        }


def _with(kept: _OneTimes, one_time: OneTime) -> _OneTimes:
    if (one_time.kind, one_time.digest) in kept:
        raise StoreError("a secret that may be used once was given twice: make a new one each time")
    return {**kept, (one_time.kind, one_time.digest): one_time}


def _by_expiry(found: Iterable[OneTime]) -> tuple[OneTime, ...]:
    return tuple(sorted(found, key=lambda one: (one.expires_at, one.digest)))
