"""Which profile each device should have, and who chose it.

Who chose a profile for a device is told by the ``profile_uuid`` alone: profiles for hand-picked devices are
defined apart (``DefinedProfile.individual``). So the choice survives as long as Apple shows the id, and until
then as long as the attempt is remembered. What nobody picked follows the rules, then the token's default.
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

UNDEFINED = "(not defined at Apple yet)"
"""In the place of a ``profile_uuid`` until there is one, with the digest after it; no id of Apple's."""

BY_HAND, BY_DEFAULT = "picked by hand", "the token's default"


@attrs.frozen(kw_only=True)
class ProfileSelection:
    """What a device should have.

    Attributes:
        profile_uuid: Apple's id; ``NO_PROFILE`` for no profile, a text that starts with ``UNDEFINED`` as long
            as Apple does not have it.
        profile: The profile; None if the device should have none.
        chosen_by: Who says so: somebody by hand, a rule with its label, or the token's default.
    """

    profile_uuid: str
    profile: EnrollmentProfile | None
    chosen_by: str

    @property
    def is_defined(self) -> bool:
        """False as long as Apple does not have the profile."""
        return not self.profile_uuid.startswith(UNDEFINED)


REMOVAL = ProfileSelection(profile_uuid=NO_PROFILE, profile=None, chosen_by=BY_HAND)
"""No profile, because somebody took it away."""


class DefinedProfiles:
    """The profiles that were defined at Apple through one token."""

    def __init__(self, defined: Iterable[DefinedProfile]) -> None:
        self._newest_first = tuple(defined)[::-1]
        self._by_uuid = {one.profile_uuid.casefold(): one for one in self._newest_first}

    def following(self, now: datetime) -> datetime:
        """Return *now*, or where a clock was moved back a later time: a new definition is the newest."""
        if not self._newest_first:
            return now
        return max(now, self._newest_first[0].defined_at + timedelta.resolution)

    def shared(self, profile: EnrollmentProfile) -> DefinedProfile | None:
        """Return the newest definition with what Macs would get from *profile* by a rule or the default."""
        wanted = digest(profile)
        return next((one for one in self._newest_first if not one.individual and one.digest == wanted), None)

    def individual(self, profile: EnrollmentProfile) -> DefinedProfile | None:
        """Return the newest definition of exactly *profile* for hand-picked devices."""
        return next((one for one in self._newest_first if one.individual and one.profile == profile), None)

    def alike(self, one: DefinedProfile) -> tuple[DefinedProfile, ...]:
        """Return the other definitions of the same content for the same devices, newest first."""
        return tuple(
            other
            for other in self._newest_first
            if other is not one
            and other.individual == one.individual
            and (other.profile == one.profile if one.individual else other.digest == one.digest)
        )

    def by_uuid(self, profile_uuid: str | None) -> DefinedProfile | None:
        """Return the definition with that id; None if it is none of ours."""
        return self._by_uuid.get((profile_uuid or "").casefold())


class ProfileSelector:
    """Says which profile a device should have.

    Args:
        definitions: What was defined at Apple.
        policy: The rules.
        default: The token's default profile.
    """

    def __init__(
        self, definitions: DefinedProfiles, policy: AssignmentPolicy, default: EnrollmentProfile | None
    ) -> None:
        self.definitions = definitions
        self._policy = policy
        self._by_rule = {
            id(rule): self._shared(rule.profile, f"rule {rule.label!r}") for rule in policy.rules
        }
        self._default = None if default is None else self._shared(default, BY_DEFAULT)
        self._picked: dict[str, ProfileSelection] = {}

    def standing(self) -> tuple[ProfileSelection, ...]:
        """Return what the rules and the default give, whether or not a device follows them now."""
        return (*self._by_rule.values(), *(() if self._default is None else (self._default,)))

    def choose(self, record: DeviceRecord) -> ProfileSelection | None:
        """Return what *record* should have; None if nobody wants anything for it.

        The newest word counts: our last attempt, else what Apple shows, also for a profile that was removed
        there.
        """
        attempt = record.attempt
        if attempt is not None and attempt.profile_uuid == NO_PROFILE:
            is_done = attempt.result == DeviceResult.SUCCESS
            return self._follow(record) or (None if is_done else REMOVAL)
        attempted = None if attempt is None else attempt.profile_uuid
        return self._picked_by(attempted, record.device.profile_uuid) or self._follow(record)

    def candidates(self, group: DeviceGroup) -> Sequence[ProfileSelection | None]:
        """Return what ``choose`` may return for the devices of *group*: one where it is the same for all.

        Args:
            group: Of which no attempt is open: a removal that is not done yet is no choice here.
        """
        picked = self.picked(group)
        if picked is not None:
            return (picked,)
        return tuple(map(self._of_rule, self._policy.candidates(group)))

    def picked(self, group: DeviceGroup) -> ProfileSelection | None:
        """Return what was picked by hand for the devices of *group*; None if nothing was."""
        return None if group.attempted == NO_PROFILE else self._picked_by(group.attempted, group.profile_uuid)

    def _picked_by(self, attempted: str | None, shown: str | None) -> ProfileSelection | None:
        chosen = self.definitions.by_uuid(attempted) or self.definitions.by_uuid(shown)
        return self._newest(chosen) if chosen is not None and chosen.individual else None

    def _follow(self, record: DeviceRecord) -> ProfileSelection | None:
        return self._of_rule(self._policy.choose(record.device))

    def _of_rule(self, rule: Rule | None) -> ProfileSelection | None:
        return self._default if rule is None else self._by_rule[id(rule)]

    def _newest(self, chosen: DefinedProfile) -> ProfileSelection:
        """Return the newest definition with the content of *chosen*, looked up once for each id."""
        uuid = chosen.profile_uuid
        if uuid not in self._picked:
            self._picked[uuid] = by_hand(self.definitions.individual(chosen.profile) or chosen)
        return self._picked[uuid]

    def _shared(self, profile: EnrollmentProfile, chosen_by: str) -> ProfileSelection:
        defined = self.definitions.shared(profile)
        uuid = f"{UNDEFINED} {digest(profile)}" if defined is None else defined.profile_uuid
        return ProfileSelection(profile_uuid=uuid, profile=profile, chosen_by=chosen_by)


def by_hand(defined: DefinedProfile) -> ProfileSelection:
    """Return the choice of somebody who picked *defined*."""
    return ProfileSelection(profile_uuid=defined.profile_uuid, profile=defined.profile, chosen_by=BY_HAND)
