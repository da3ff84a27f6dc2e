"""Warn about different profiles of one token with the same name, and store the warnings for ``doctor``.

Group rules and users cannot tell the Macs of such profiles apart.

The rules of this file:

1. Only profiles that are in use at the same time on one token count: the default, the profile of each rule,
   and each profile that was picked for a device. The predecessor of the default, or of a picked profile, does
   not: the devices that still have it get its successor.
2. Names are equal if they differ in letter case only, as in group rules of Microsoft Entra.
3. Equal content is one profile, however often it was defined at Apple. Settings that Apple does not get, such
   as account settings, are content, too: if only they differ, Apple has one profile for both, and all Macs
   get the settings of one.
4. The rules of an assigner are not stored, so its warnings are kept in the sync state until a run over all
   devices finds otherwise.

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

_FIX = "give one of them another name"


@attrs.frozen
class NamedUse:
    """A profile in use.

    Attributes:
        name: Its name.
        content: Hashable; equal for equal content.
        chosen_by: What uses it, as text.
    """

    name: str
    content: Hashable
    chosen_by: str


def same_names(uses: Iterable[NamedUse]) -> tuple[Problem, ...]:
    """Return a warning for each name that different profiles have, sorted; its ``value`` is the name.

    Args:
        uses: All profiles that are in use at the same time on one token.
    """
    found: dict[str, dict[Hashable, NamedUse]] = {}
    for use in uses:
        found.setdefault(use.name.casefold(), {}).setdefault(use.content, use)  # rules 2 and 3
    return tuple(
        name_problem(
            next(iter(named.values())).name,
            " and ".join(dict.fromkeys(use.chosen_by for use in named.values())),
        )
        for _, named in sorted(found.items())
        if len(named) > 1
    )


def name_problem(name: str, chosen_by: str) -> Problem:
    """Return the warning about one name; *chosen_by* is the text of what uses the profiles."""
    text = (
        f"different profiles have this name ({chosen_by}): group rules cannot tell their Macs apart, and"
        " neither can Apple if only sign-in or account settings differ"
    )
    return Problem("name", name, text, _FIX, Severity.WARNING)


def names_in_use(selections: Iterable[ProfileSelection]) -> tuple[Problem, ...]:
    """Return a warning for each name that different profiles among *selections* have."""
    return same_names(
        NamedUse(selection.profile.name, _content(selection.profile), selection.chosen_by)
        for selection in selections
        if selection.profile is not None
    )


def names_beside(
    store: Store,
    token_name: str,
    policy: AssignmentPolicy,
    picked: ProfileSelection,
    serials: Collection[str],
) -> tuple[Problem, ...]:
    """Return the warnings for a profile picked by hand for *serials*, beside all profiles in use."""
    try:
        default = store.default_profile(token_name)
    except DamagedRecordError:
        default = None  # whatever reads it reports the damage
    in_use = [_selection_of(rule.profile, f"rule {rule.label!r}") for rule in policy.rules]
    if default is not None:
        in_use.append(_selection_of(default, BY_DEFAULT))
    if picked.profile is not None:
        in_use += _other_picked(store, token_name, picked.profile.name, frozenset(serials))
    return names_in_use([picked, *in_use])  # rule 1


def _other_picked(
    store: Store, token_name: str, name: str, exclude: frozenset[str]
) -> Iterator[ProfileSelection]:
    """Yield the profiles named *name* that are picked for a device outside *exclude*."""
    defined = store.profiles(token_name)
    if sum(one.individual and one.profile.name.casefold() == name.casefold() for one in defined) < 2:
        return
    selector = ProfileSelector(DefinedProfiles(defined), AssignmentPolicy(), None)
    found: dict[str, tuple[ProfileSelection, list[DeviceGroup]]] = {}
    for group in store.device_groups(token_name):
        selection = selector.picked_selection(group) if group.is_listed else None
        if selection and selection.profile and selection.profile.name.casefold() == name.casefold():
            found.setdefault(selection.profile_uuid, (selection, []))[1].append(group)
    for selection, groups in found.values():
        if any(serial not in exclude for serial in store.serials_in(token_name, groups)):
            yield selection


def keep_names(lease: Lease, warnings: Iterable[Problem], *, is_whole: bool) -> Flow[None]:
    """Store the warnings of a plan about names for ``doctor``, if they changed.

    Args:
        lease: The lease of the token.
        warnings: The warnings of the plan.
        is_whole: True if the plan covers every device, so that stored warnings that it lacks are removed.
    """
    found = {one.value: one.allowed for one in warnings if one.setting == "name"}
    yield from in_store(partial(_keep, lease=lease, found=found, is_whole=is_whole))


def stored_name_problems(store: Store, token_name: str) -> Iterator[Problem]:
    """Yield the stored warnings, except those that the stored default disproves."""
    default = store.default_profile(token_name)
    for name, text in store.sync_state(token_name).same_names.items():
        if BY_DEFAULT in text and (default is None or default.name.casefold() != name.casefold()):
            continue
        yield attrs.evolve(name_problem(name, ""), allowed=text)


def _keep(store: Store, lease: Lease, found: dict[str, str], *, is_whole: bool) -> None:
    state = store.sync_state(lease.token_name)
    kept = found if is_whole else {**state.same_names, **found}  # rule 4
    if kept != state.same_names:
        store.save_sync_state(lease.token_name, attrs.evolve(state, same_names=kept), lease=lease)


def _content(profile: EnrollmentProfile) -> tuple[object, ...]:
    """Return the settings of a profile that Apple gets, and those that only the Mac gets."""
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


def _selection_of(profile: EnrollmentProfile, chosen_by: str) -> ProfileSelection:
    return ProfileSelection(profile_uuid="", profile=profile, chosen_by=chosen_by)
