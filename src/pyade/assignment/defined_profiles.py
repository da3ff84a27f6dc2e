"""Define the profiles of one assignment at Apple when they are needed, and replace those that Apple lost.

The rules of this file:

1. A profile's id is stored as soon as Apple returned it, before anything is assigned with it.
2. A profile is lost only if Apple answers the request for the profile with one of its own error codes for
   that.
3. The replacement of a lost profile becomes the newest definition only after an assignment with it worked.
   Until then the next run finds it, and does not define it again.
4. A profile that was defined in this run is never lost: if Apple does not find it either, that response is
   not believed, and nothing more is defined.

Source: Apple, device assignment, "Define a profile" and "Get a profile". Observed: a
``NOT_FOUND`` may come from a proxy, or concern a serial number.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import attrs

from pyade.apple import calls
from pyade.apple.http.calls import SendCall
from pyade.assignment.failures import concerns_token
from pyade.assignment.selection import DefinedProfiles
from pyade.builders.dep_profile import definition, digest
from pyade.core.fleet.lease import Lease
from pyade.core.profile.profile import DefinedProfile, EnrollmentProfile
from pyade.errors import AppleError, NotFoundError, TransportError
from pyade.flow import Flow, ask
from pyade.sync.leases import StoreTime
from pyade.sync.runners import in_store

_LOST_CODES: Final = ("NOT_FOUND", "PROFILE_NOT_FOUND")


class ProfileDefiner:
    """Defines and replaces the profiles of one token while its lease is held.

    Attributes:
        defined: Ids of the profiles that this object defined.
        notes: Which profiles were replaced, as text.
    """

    def __init__(self, lease: Lease, time: StoreTime) -> None:
        self.defined: list[str] = []
        self.notes: list[str] = []
        self._token_name = lease.token_name
        self._lease = lease
        self._time = time
        self._is_lost: dict[str, bool] = {}
        self._unproven: dict[str, DefinedProfile] = {}

    def read_defined(self) -> Flow[DefinedProfiles]:
        """Return the stored profiles that were defined through this token."""
        return (yield from in_store(lambda store: DefinedProfiles(store.profiles(self._token_name))))

    def define(self, profile: EnrollmentProfile, *, individual: bool) -> Flow[DefinedProfile]:
        """Define *profile* at Apple and return it as the newest definition."""
        known = yield from self.read_defined()
        profile_uuid = yield from self._define(profile)
        now = yield from self._time.now()
        return (
            yield from self._store(  # rule 1
                DefinedProfile(
                    profile_uuid=profile_uuid,
                    profile=profile,
                    digest=digest(profile),
                    defined_at=known.next_defined_at(now),
                    individual=individual,
                )
            )
        )

    def store_local_settings(self, profiles: Iterable[EnrollmentProfile]) -> Flow[None]:
        """Store those *profiles* that differ from the stored ones only in settings outside Apple's JSON."""
        known = yield from self.read_defined()
        seen = set()
        for profile in profiles:
            defined = known.find_shared(profile)
            if defined is not None and defined.profile_uuid not in seen and defined.profile != profile:
                yield from self._store(attrs.evolve(defined, profile=profile))
            seen.add(defined and defined.profile_uuid)

    def may_be_lost(self, profile_uuid: str) -> bool:
        """Return False for a profile that was defined in this run, or that Apple has returned since."""
        return profile_uuid not in self.defined and self._is_lost.get(profile_uuid, True)  # rule 4

    def find_replacement(self, profile_uuid: str) -> Flow[str | None]:
        """Return the id to assign instead of a profile that Apple did not find; None if Apple has it.

        Asks Apple for the profile, once for each id.

        Raises:
            AppleError: The token cannot be used now, or the replacement could not be defined.
            TransportError: Likewise.
        """
        known = yield from self.read_defined()
        lost = known.by_uuid(profile_uuid)
        if lost is None or not self.may_be_lost(profile_uuid) or not (yield from self._is_gone(profile_uuid)):
            return None
        for one in known.find_equivalent(lost):
            if not self._is_lost.get(one.profile_uuid, False):
                self._unproven[one.profile_uuid] = one
                self.notes.append(
                    f"Apple does not have profile {profile_uuid}: replaced by {one.profile_uuid}"
                )
                return one.profile_uuid
        new_uuid = yield from self._define(lost.profile)
        before = lost.defined_at - timedelta.resolution  # rule 3
        defined = yield from self._store(attrs.evolve(lost, profile_uuid=new_uuid, defined_at=before))
        self._unproven[defined.profile_uuid] = defined
        self.notes.append(f"Apple does not have profile {profile_uuid}: defined again")
        return defined.profile_uuid

    def confirm_worked(self, profile_uuid: str) -> Flow[None]:
        """Store that an assignment with a profile worked: a replacement becomes the newest definition."""
        proven = self._unproven.pop(profile_uuid, None)
        if proven is not None:
            known = yield from self.read_defined()
            now = yield from self._time.now()
            yield from self._store(attrs.evolve(proven, defined_at=known.next_defined_at(now)))  # rule 3

    def _is_gone(self, profile_uuid: str) -> Flow[bool]:
        if profile_uuid not in self._is_lost:
            is_lost = False
            try:
                yield from ask(SendCall(calls.profile(profile_uuid)))
            except NotFoundError as error:
                is_lost = error.code in _LOST_CODES  # rule 2
            except (AppleError, TransportError) as error:
                if concerns_token(error):
                    raise
            self._is_lost[profile_uuid] = is_lost
        return self._is_lost[profile_uuid]

    def _define(self, profile: EnrollmentProfile) -> Flow[str]:
        response = yield from ask(SendCall(calls.define_profile(definition(profile))))
        self.defined.append(response.profile_uuid)
        return response.profile_uuid

    def _store(self, defined: DefinedProfile) -> Flow[DefinedProfile]:
        yield from in_store(lambda store: store.save_profile(self._token_name, defined, lease=self._lease))
        return defined
