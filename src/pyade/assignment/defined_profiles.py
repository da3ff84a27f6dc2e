"""The profiles of one piece of work: defined at Apple when they are needed, and replaced when Apple lost one.

The rules of this file:

1. A profile's id is stored as soon as Apple gave it, before anything is assigned with it.
2. A profile is lost only where Apple itself says so, in its own words, when it is asked for the profile.
3. What takes the place of a lost profile becomes the newest definition only after an assignment with it
   worked. Until then the next run finds it, and defines nothing again.
4. What was defined a moment ago is not lost: where that is not found either, no answer about it is believed,
   and nothing more is defined.

Source: Apple, device assignment, "Define a profile" and "Get a profile". That a ``NOT_FOUND`` may be a
proxy's, or concern a serial number, is observed.
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

_LOST: Final = ("NOT_FOUND", "PROFILE_NOT_FOUND")


class Profiles:
    """The definitions of one token while its lease is held.

    Attributes:
        defined: Ids of what was defined by this object.
        notes: What happened to them, in words.
    """

    def __init__(self, lease: Lease, time: StoreTime) -> None:
        self.defined: list[str] = []
        self.notes: list[str] = []
        self._token_name = lease.token_name
        self._lease = lease
        self._time = time
        self._is_lost: dict[str, bool] = {}
        self._unproven: dict[str, DefinedProfile] = {}

    def definitions(self) -> Flow[DefinedProfiles]:
        """Return what is defined."""
        return (yield from in_store(lambda store: DefinedProfiles(store.profiles(self._token_name))))

    def define(self, profile: EnrollmentProfile, *, individual: bool) -> Flow[DefinedProfile]:
        """Define *profile* at Apple and return it as the newest definition."""
        definitions = yield from self.definitions()
        profile_uuid = yield from self._define(profile)
        now = yield from self._time.now()
        return (
            yield from self._remember(
                DefinedProfile(
                    profile_uuid=profile_uuid,
                    profile=profile,
                    digest=digest(profile),
                    defined_at=definitions.following(now),
                    individual=individual,
                )
            )
        )

    def keep_what_apple_does_not_see(self, profiles: Iterable[EnrollmentProfile]) -> Flow[None]:
        """Store *profiles* that differ from what is stored only in what is no part of Apple's JSON."""
        definitions = yield from self.definitions()
        seen = set()
        for profile in profiles:
            known = definitions.shared(profile)
            if known is not None and known.profile_uuid not in seen and known.profile != profile:
                yield from self._remember(attrs.evolve(known, profile=profile))
            seen.add(known and known.profile_uuid)

    def may_be_lost(self, profile_uuid: str) -> bool:
        """Return False for a profile that was defined a moment ago, or that Apple has shown since."""
        return profile_uuid not in self.defined and self._is_lost.get(profile_uuid, True)

    def replacement(self, profile_uuid: str) -> Flow[str | None]:
        """Return what to assign instead of a profile that Apple did not find; None if Apple has it.

        Asks Apple for the profile, once for each id.

        Raises:
            AppleError: The token cannot be used now, or what takes its place could not be defined.
            TransportError: Likewise.
        """
        definitions = yield from self.definitions()
        lost = definitions.by_uuid(profile_uuid)
        if lost is None or not self.may_be_lost(profile_uuid) or not (yield from self._is_gone(profile_uuid)):
            return None
        for one in definitions.alike(lost):
            if not self._is_lost.get(one.profile_uuid, False):
                self._unproven[one.profile_uuid] = one
                self.notes.append(
                    f"Apple does not have profile {profile_uuid}: {one.profile_uuid} takes its place"
                )
                return one.profile_uuid
        new_uuid = yield from self._define(lost.profile)
        before = lost.defined_at - timedelta.resolution
        defined = yield from self._remember(attrs.evolve(lost, profile_uuid=new_uuid, defined_at=before))
        self._unproven[defined.profile_uuid] = defined
        self.notes.append(f"Apple did not know profile {profile_uuid}: defined again")
        return defined.profile_uuid

    def worked(self, profile_uuid: str) -> Flow[None]:
        """Take note that an assignment with a profile worked: what took another's place is the newest now."""
        proven = self._unproven.pop(profile_uuid, None)
        if proven is not None:
            definitions = yield from self.definitions()
            now = yield from self._time.now()
            yield from self._remember(attrs.evolve(proven, defined_at=definitions.following(now)))

    def _is_gone(self, profile_uuid: str) -> Flow[bool]:
        if profile_uuid not in self._is_lost:
            is_lost = False
            try:
                yield from ask(SendCall(calls.profile(profile_uuid)))
            except NotFoundError as error:
                is_lost = error.code in _LOST
            except (AppleError, TransportError) as error:
                if concerns_token(error):
                    raise
            self._is_lost[profile_uuid] = is_lost
        return self._is_lost[profile_uuid]

    def _define(self, profile: EnrollmentProfile) -> Flow[str]:
        answer = yield from ask(SendCall(calls.define_profile(definition(profile))))
        self.defined.append(answer.profile_uuid)
        return answer.profile_uuid

    def _remember(self, defined: DefinedProfile) -> Flow[DefinedProfile]:
        yield from in_store(lambda store: store.save_profile(self._token_name, defined, lease=self._lease))
        return defined
