"""Select the profile that each device should have, and say who selected it.

The rules of this file:

1. A profile that an administrator picked for a device is kept; then the rules apply, then the token's
   default.
2. The ``profile_uuid`` alone tells that a profile was picked by hand: Apple gets a separate definition of it
   for hand-picked devices (``DefinedProfile.individual``). So it is known as long as Apple shows the id, and
   until then as long as the attempt is stored.
3. Our last attempt counts before what Apple shows, as it is newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import attrs

from pyade.assignment.rules import AssignmentPolicy, Rule
from pyade.builders.dep_profile import digest
from pyade.core.fleet.assignment import NO_PROFILE
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.records import DeviceRecord
from pyade.core.profile.profile import DefinedProfile, EnrollmentProfile
from pyade.text import short_repr

UNDEFINED = "(not defined at Apple yet)"
"""Stands for a ``profile_uuid`` until Apple has given one, with the digest after it; not an id of Apple's."""

BY_HAND, BY_DEFAULT = "picked by hand", "the token's default"


@attrs.frozen(kw_only=True)
class ProfileSelection:
    """The profile that a device should have.

    Attributes:
        profile_uuid: Apple's id; ``NO_PROFILE`` for no profile; a text that starts with ``UNDEFINED`` until
            the profile is defined at Apple.
        profile: The profile; None if the device should have none.
        chosen_by: Who selected it: an administrator by hand, a rule with its label, or the token's default.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    profile_uuid: str
    profile: EnrollmentProfile | None
    chosen_by: str

    @property
    def is_defined(self) -> bool:
        """False until the profile is defined at Apple."""
        return not self.profile_uuid.startswith(UNDEFINED)


REMOVAL = ProfileSelection(profile_uuid=NO_PROFILE, profile=None, chosen_by=BY_HAND)
"""No profile, because an administrator removed it."""


class DefinedProfiles:
    """The profiles that were defined at Apple through one token."""

    def __init__(self, defined: Iterable[DefinedProfile]) -> None:
        self._newest_first = tuple(defined)[::-1]
        self._by_uuid = {one.profile_uuid.casefold(): one for one in self._newest_first}

    def next_defined_at(self, now: datetime) -> datetime:
        """Return *now*, or a later time if the clock was set back: a new definition must be the newest."""
        if not self._newest_first:
            return now
        return max(now, self._newest_first[0].defined_at + timedelta.resolution)

    def find_shared(self, profile: EnrollmentProfile) -> DefinedProfile | None:
        """Return the newest definition with the content of *profile* for rules and the default, or None."""
        wanted = digest(profile)
        return next((one for one in self._newest_first if not one.individual and one.digest == wanted), None)

    def find_individual(self, profile: EnrollmentProfile) -> DefinedProfile | None:
        """Return the newest definition of exactly *profile* for hand-picked devices, or None."""
        return next((one for one in self._newest_first if one.individual and one.profile == profile), None)

    def find_equivalent(self, one: DefinedProfile) -> tuple[DefinedProfile, ...]:
        """Return the other definitions of the same content for the same kind of devices, newest first."""
        return tuple(
            other
            for other in self._newest_first
            if other is not one
            and other.individual == one.individual
            and (other.profile == one.profile if one.individual else other.digest == one.digest)
        )

    def by_uuid(self, profile_uuid: str | None) -> DefinedProfile | None:
        """Return the definition with that id; None if it was not defined through this token."""
        return self._by_uuid.get((profile_uuid or "").casefold())


class ProfileSelector:
    """Selects the profile that a device should have.

    Args:
        defined: The profiles that were defined at Apple.
        policy: The rules.
        default: The token's default profile.
    """

    def __init__(
        self, defined: DefinedProfiles, policy: AssignmentPolicy, default: EnrollmentProfile | None
    ) -> None:
        self.defined = defined
        self._policy = policy
        self._by_rule = {
            id(rule): self._select_shared(rule.profile, f"rule {rule.label!r}") for rule in policy.rules
        }
        self._default = None if default is None else self._select_shared(default, BY_DEFAULT)
        self._picked_by_uuid: dict[str, ProfileSelection] = {}

    def configured_selections(self) -> tuple[ProfileSelection, ...]:
        """Return the selections of the rules and the default, whether or not a device has one of them now."""
        return (*self._by_rule.values(), *(() if self._default is None else (self._default,)))

    def select(self, record: DeviceRecord) -> ProfileSelection | None:
        """Return what *record* should have; None if no rule matches, there is no default and none was picked.

        The newest information counts: our last attempt, else what Apple shows, also for a profile that was
        removed in Apple's portal.
        """
        attempt = record.attempt
        if attempt is not None and attempt.profile_uuid == NO_PROFILE:
            is_done = attempt.result == DeviceResult.SUCCESS
            return self._select_by_rule(record) or (None if is_done else REMOVAL)
        attempted = None if attempt is None else attempt.profile_uuid
        picked = self._find_picked(attempted, record.device.profile_uuid)
        return picked or self._select_by_rule(record)  # rule 1

    def possible_selections(self, group: DeviceGroup) -> Sequence[ProfileSelection | None]:
        """Return what ``select`` may return for the devices of *group*: one item if it is the same for all.

        Args:
            group: Without open attempts: a removal that is not done yet is not considered.
        """
        picked = self.picked_selection(group)
        if picked is not None:
            return (picked,)
        return tuple(map(self._selection_of, self._policy.candidates(group)))

    def picked_selection(self, group: DeviceGroup) -> ProfileSelection | None:
        """Return what was picked by hand for the devices of *group*; None if nothing was."""
        return (
            None if group.attempted == NO_PROFILE else self._find_picked(group.attempted, group.profile_uuid)
        )

    def _find_picked(self, attempted: str | None, shown: str | None) -> ProfileSelection | None:
        defined = self.defined.by_uuid(attempted) or self.defined.by_uuid(shown)  # rule 3
        return self._select_newest(defined) if defined is not None and defined.individual else None  # rule 2

    def _select_by_rule(self, record: DeviceRecord) -> ProfileSelection | None:
        return self._selection_of(self._policy.choose(record.device))

    def _selection_of(self, rule: Rule | None) -> ProfileSelection | None:
        return self._default if rule is None else self._by_rule[id(rule)]

    def _select_newest(self, defined: DefinedProfile) -> ProfileSelection:
        """Return the newest definition with the content of *defined*, cached by id."""
        uuid = defined.profile_uuid
        if uuid not in self._picked_by_uuid:
            newest = self.defined.find_individual(defined.profile) or defined
            self._picked_by_uuid[uuid] = select_by_hand(newest)
        return self._picked_by_uuid[uuid]

    def _select_shared(self, profile: EnrollmentProfile, chosen_by: str) -> ProfileSelection:
        defined = self.defined.find_shared(profile)
        uuid = f"{UNDEFINED} {digest(profile)}" if defined is None else defined.profile_uuid
        return ProfileSelection(profile_uuid=uuid, profile=profile, chosen_by=chosen_by)


def select_by_hand(defined: DefinedProfile) -> ProfileSelection:
    """Return the selection of an administrator who picked *defined*."""
    return ProfileSelection(profile_uuid=defined.profile_uuid, profile=defined.profile, chosen_by=BY_HAND)
