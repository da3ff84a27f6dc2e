"""Which Macs would fail to enroll, and why: told by their groups, read where a Mac is named.

To which token of the store each device belongs, where two of them know it.

Devices that no other token claims are not looked at: a store of many tokens names the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Self

import attrs

from pyade.assignment.failures import has_stopped
from pyade.assignment.rules import AssignmentPolicy
from pyade.core.arguments import check_arguments
from pyade.core.fleet.assignment import Risk, risk_of
from pyade.core.fleet.groups import DeviceGroup, group_of
from pyade.core.fleet.records import DeviceRecord, owner_of
from pyade.storage.protocol import Store
from pyade.sync.damage import readable_records

_SLICE = 1_000


def owned_elsewhere(store: Store, token_name: str) -> Mapping[str, DeviceGroup]:
    """Return the devices that the token lists and that belong to another stored token now.

    Returns:
        The group of each in this token, by serial number.
    """
    serials = store.shared_serials(token_name)
    slices = (serials[start : start + _SLICE] for start in range(0, len(serials), _SLICE))
    return {
        record.serial_number: group_of(record)
        for part in slices
        for record in _lost_records(store, token_name, part)
    }


def with_owner(
    store: Store, token_name: str, records: Iterable[DeviceRecord]
) -> Iterator[tuple[DeviceRecord, bool]]:
    """Iterate lazily over *records* of the token, each with False if another token owns it now."""
    remaining = iter(records)
    while batch := list(islice(remaining, _SLICE)):
        serials = store.shared_serials(token_name, serials=[record.serial_number for record in batch])
        lost = {record.serial_number for record in _lost_records(store, token_name, serials)}
        yield from ((record, record.serial_number not in lost) for record in batch)


def _lost_records(store: Store, token_name: str, serials: Sequence[str]) -> Iterator[DeviceRecord]:
    """Yield the token's records of those *serials* that belong to another token."""
    claims = readable_records(store, serials) if serials else []
    for _, found in groupby(claims, key=lambda one: one.serial_number):
        known = tuple(found)
        owner = owner_of(known)
        if owner is not None and owner.token_name != token_name:
            yield from (record for record in known if record.token_name == token_name)


NO_RULES = AssignmentPolicy()


@check_arguments
def risks(
    store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES
) -> Iterator[tuple[DeviceRecord, Risk]]:
    """Iterate lazily over the Macs that have no profile and would fail to enroll, each with the reason.

    A Mac that gets a profile in the next run is not among them, unless an attempt to give it one failed.

    Args:
        store: Where the devices are.
        token_name: The token.
        policy: The rules, if there are any.

    Source: specification, "Create an Apple enrollment profile": a device without a policy fails to enroll.
    """
    yield from MacsAtRisk.of(store, token_name, store.device_groups(token_name), policy).records()


@check_arguments
def devices_at_risk(
    store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES
) -> Iterator[DeviceRecord]:
    """Iterate lazily over the Macs whose enrollment will fail; see ``risks``, which also tells why.

    Args:
        store: Where the devices are.
        token_name: The token.
        policy: The rules, if there are any.
    """
    return (record for record, _ in risks(store, token_name, policy))


def count_at_risk(store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES) -> int:
    """Return how many Macs ``devices_at_risk`` has."""
    groups = store.device_groups(token_name)
    return sum(MacsAtRisk.of(store, token_name, groups, policy).count().values())


@attrs.frozen
class RiskRule:
    """What it depends on, besides a Mac itself, whether its enrollment will fail.

    Attributes:
        has_default: True if the token has a default profile.
        is_stopped: True if the newest assignment of the token did not come to its end.
        policy: The rules.
    """

    has_default: bool
    is_stopped: bool
    policy: AssignmentPolicy = NO_RULES

    @classmethod
    def of(cls, store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES) -> Self:
        """Read it for the Macs of a token."""
        is_stopped = has_stopped(store.sync_state(token_name))
        return cls(store.default_profile(token_name) is not None, is_stopped, policy)

    def of_record(self, record: DeviceRecord) -> Risk | None:
        """Return why the enrollment of a Mac would fail; None if it would not."""
        is_chosen = self.has_default or self.policy.choose(record.device) is not None
        return risk_of(record, is_chosen=is_chosen, is_stopped=self.is_stopped)

    def of_group(self, group: DeviceGroup) -> frozenset[Risk | None]:
        """Return what ``of_record`` can say of Macs of *group*; one where it says the same of all."""
        rules = self.policy.candidates(group) if group.is_without_profile else ()
        chosen = {self.has_default or rule is not None for rule in rules}
        found = {group.risk_if(is_chosen=is_chosen, is_stopped=self.is_stopped) for is_chosen in chosen}
        return frozenset(found or {None})


@attrs.frozen
class MacsAtRisk:
    """The Macs of a token that would fail to enroll.

    Attributes:
        store: Where they are.
        token_name: The token.
        rule: What decides.
        counts: How many devices the groups have in which there may be some.
        reasons: What the rule can say of each of these groups.
    """

    store: Store
    token_name: str
    rule: RiskRule
    counts: Mapping[DeviceGroup, int]
    reasons: Mapping[DeviceGroup, frozenset[Risk | None]]

    @classmethod
    def of(
        cls,
        store: Store,
        token_name: str,
        groups: Mapping[DeviceGroup, int],
        policy: AssignmentPolicy = NO_RULES,
    ) -> Self:
        """Find them among *groups*, which are those of the token, each with its number of devices."""
        rule = RiskRule.of(store, token_name, policy)
        found = {group: rule.of_group(group) for group in groups}
        reasons = {group: reasons for group, reasons in found.items() if reasons != {None}}
        return cls(store, token_name, rule, {group: groups[group] for group in reasons}, reasons)

    def count(self) -> Mapping[Risk, int]:
        """Return how many there are by reason; Macs are read only where those of a group differ in it."""
        counts: Counter[Risk] = Counter()
        unsure = [group for group, reasons in self.reasons.items() if len(reasons) > 1]
        lost = Counter(owned_elsewhere(self.store, self.token_name).values() if self.reasons else ())
        for group in self.reasons.keys() - set(unsure):
            counts.update({risk: self.counts[group] - lost[group] for risk in self.reasons[group] if risk})
        counts.update(risk for _, risk in self._read(unsure))
        return {risk: counts[risk] for risk in Risk if counts[risk] > 0}

    def records(self, reason: Risk | None = None) -> Iterator[tuple[DeviceRecord, Risk]]:
        """Iterate lazily over them, each with the reason; *reason* chooses those with that one."""
        groups = [one for one, reasons in self.reasons.items() if reason is None or reason in reasons]
        found = self._read(groups)
        return found if reason is None else (one for one in found if one[1] is reason)

    def _read(self, groups: Collection[DeviceGroup]) -> Iterator[tuple[DeviceRecord, Risk]]:
        records = self.store.devices(self.token_name, groups=groups)
        for record, is_ours in with_owner(self.store, self.token_name, records):
            risk = self.rule.of_record(record)
            if is_ours and risk is not None:
                yield record, risk
