"""What the device-facing side needs from a store, beside what every store does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from pyade.core.enrollment import Enrollment, OneTime, OneTimeKind, Registration
from pyade.core.events import EventBatch
from pyade.errors import DamagedRecordError
from pyade.storage.protocol import Store


class EnrollmentStore(Store, Protocol):
    """A ``Store`` that also keeps enrollments, and what may be used once.

    Like all of a store's calls, each of these does all of it or nothing, for threads, processes and nodes.
    """

    def enrollment(self, serial_number: str) -> Enrollment | None:
        """Return what is kept of a Mac's enrollment; None if it was never given a profile."""
        ...

    def enrollments(
        self,
        *,
        registration: Registration | None = None,
        damaged: Callable[[DamagedRecordError], None] | None = None,
    ) -> Iterator[Enrollment]:
        """Iterate lazily over the enrollments by serial number.

        Args:
            registration: Only those with this one; None for all.
            damaged: As for ``tokens``.

        Raises:
            DamagedRecordError: As for ``tokens``.
        """
        ...

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
            StoreConflictError: Somebody else changed the enrollment; nothing was written.
            UnknownTokenError: *events* belong to a token that is not stored.
        """
        ...

    def delete_enrollment(self, serial_number: str) -> None:
        """Forget a Mac's enrollment and revoke what it may still use; harmless if there is none."""
        ...

    def save_one_time(self, one_time: OneTime, *, now: datetime, keep: int) -> None:
        """Keep *one_time*, remove what has expired, and of this Mac and kind all but the *keep* newest.

        Args:
            one_time: What may be used once.
            now: UTC.
            keep: How many, this one included; 1 or more.
        """
        ...

    def take_one_time(self, kind: OneTimeKind, digest: str, *, now: datetime) -> OneTime | None:
        """Return what is kept under *digest* and forget it, so that of all callers one alone gets it.

        None if there is none, or if it has expired.
        """
        ...

    def one_times(self, serial_number: str) -> Sequence[OneTime]:
        """Return what a Mac may still use, expired or not, by expiry."""
        ...

    def add_audit(self, events: EventBatch) -> None:
        """Write *events*; ``token_name`` may be "" for what concerns no token of ours.

        Raises:
            UnknownTokenError: They belong to a token that is not stored.
        """
        ...
