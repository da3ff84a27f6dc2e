"""Whether different profiles of a token have one name: told by the assignment, and kept for ``doctor``.

The rules that an assigner was given are nowhere else, so what it found is kept in the sync state until a run
over all devices finds otherwise.

One name for two different profiles: group rules and people cannot tell the Macs apart.

The rules of this file:

1. What counts is what is in use at once on one token: the default, the profile of each rule, and each profile
   that was picked for a device. The predecessor of the default, or of a picked profile, is not: the devices
   that still have it are given its successor.
2. Names are the same if they differ in letter case alone, as in group rules of Microsoft Entra.
3. Equal content is one profile, however often it was defined at Apple. What Apple does not see, such as
   account settings, is content, too: where only that differs, Apple has one profile for both, and all their
   Macs get the settings of one.

Source: specification, "Create an Apple enrollment profile", Basics: dynamic groups compare the name.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from functools import partial

import attrs

from pyade.assignment.rules import AssignmentPolicy
from pyade.assignment.selection import BY_DEFAULT, DefinedProfiles, ProfileSelection, ProfileSelector
from pyade.builders.dep_profile import digest
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.fleet.lease import Lease
from pyade.core.problems import Problem, Severity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import DamagedRecordError
from pyade.flow import Flow
from pyade.storage.protocol import Store
from pyade.sync.runners import in_store

FIX = "give one of them another name"


@attrs.frozen
class NamedUse:
    """A profile in use.

    Attributes:
        name: Its name.
        content: What tells its content from another's; hashable.
        chosen_by: What uses it, in words.
    """

    name: str
    content: Hashable
    chosen_by: str


def same_names(uses: Iterable[NamedUse]) -> tuple[Problem, ...]:
    """Return a warning for each name that different profiles have, by name; its ``value`` is the name.

    Args:
        uses: All profiles that are in use at once on one token.
    """
    found: dict[str, dict[Hashable, NamedUse]] = {}
    for use in uses:
        found.setdefault(use.name.casefold(), {}).setdefault(use.content, use)
    return tuple(
        problem_of(
            next(iter(named.values())).name,
            " and ".join(dict.fromkeys(use.chosen_by for use in named.values())),
        )
        for _, named in sorted(found.items())
        if len(named) > 1
    )


def problem_of(name: str, chosen_by: str) -> Problem:
    """Return the warning about one name, with what uses its profiles in words."""
    text = (
        f"different profiles have this name ({chosen_by}): group rules cannot tell their Macs apart, and"
        " Apple neither where only sign-in or account settings differ"
    )
    return Problem("name", name, text, FIX, Severity.WARNING)


def names_in_use(selections: Iterable[ProfileSelection]) -> tuple[Problem, ...]:
    """Return a warning for each name that different profiles among *selections* have."""
    return same_names(
        NamedUse(choice.profile.name, _content(choice.profile), choice.chosen_by)
        for choice in selections
        if choice.profile is not None
    )


def names_beside(
    store: Store,
    token_name: str,
    policy: AssignmentPolicy,
    picked: ProfileSelection,
    serials: Collection[str],
) -> tuple[Problem, ...]:
    """Return the same for a profile that is picked by hand for *serials*, beside all that is in use."""
    try:
        default = store.default_profile(token_name)
    except DamagedRecordError:
        default = None  # who reads it says so
    uses = [_use(rule.profile, f"rule {rule.label!r}") for rule in policy.rules]
    if default is not None:
        uses.append(_use(default, BY_DEFAULT))
    if picked.profile is not None:
        uses += _picked_before(store, token_name, picked.profile.name, frozenset(serials))
    return names_in_use([picked, *uses])


def _picked_before(
    store: Store, token_name: str, name: str, but: frozenset[str]
) -> Iterator[ProfileSelection]:
    """Yield the profiles of that name that are picked for other devices, of which one is looked for."""
    defined = store.profiles(token_name)
    if sum(one.individual and one.profile.name.casefold() == name.casefold() for one in defined) < 2:
        return
    selector = ProfileSelector(DefinedProfiles(defined), AssignmentPolicy(), None)
    found: dict[str, tuple[ProfileSelection, list[DeviceGroup]]] = {}
    for group in store.device_groups(token_name):
        choice = selector.picked(group) if group.is_listed else None
        if choice and choice.profile and choice.profile.name.casefold() == name.casefold():
            found.setdefault(choice.profile_uuid, (choice, []))[1].append(group)
    for choice, groups in found.values():
        if any(serial not in but for serial in store.serials_in(token_name, groups)):
            yield choice


def keep_names(lease: Lease, warnings: Iterable[Problem], *, is_whole: bool) -> Flow[None]:
    """Keep what a plan found for ``doctor``, if it is news.

    Args:
        lease: Of the token.
        warnings: Those of the plan.
        is_whole: True if the plan knows of every device, so that what it does not find has ended.
    """
    found = {one.value: one.allowed for one in warnings if one.setting == "name"}
    yield from in_store(partial(_keep, lease=lease, found=found, is_whole=is_whole))


def kept_names(store: Store, token_name: str) -> Iterator[Problem]:
    """Yield the warnings that were kept and still hold, as far as the store can tell."""
    default = store.default_profile(token_name)
    for name, text in store.sync_state(token_name).same_names.items():
        if BY_DEFAULT in text and (default is None or default.name.casefold() != name.casefold()):
            continue
        yield attrs.evolve(problem_of(name, ""), allowed=text)


def _keep(store: Store, lease: Lease, found: dict[str, str], *, is_whole: bool) -> None:
    state = store.sync_state(lease.token_name)
    kept = found if is_whole else {**state.same_names, **found}
    if kept != state.same_names:
        store.save_sync_state(lease.token_name, attrs.evolve(state, same_names=kept), lease=lease)


def _content(profile: EnrollmentProfile) -> tuple[object, ...]:
    """Return what Apple sees of a profile, and what it does not see and a Mac is told all the same."""
    return (
        digest(profile),
        profile.user_affinity,
        profile.primary_account,
        profile.administrator,
        profile.standard_user,
        profile.skip_primary_account,
        profile.managed_user,
        profile.requires_network_tether,
    )


def _use(profile: EnrollmentProfile, chosen_by: str) -> ProfileSelection:
    return ProfileSelection(profile_uuid="", profile=profile, chosen_by=chosen_by)
