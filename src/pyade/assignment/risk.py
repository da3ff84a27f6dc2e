"""Find the Macs that would fail to enroll, with the reason, and the token of the store that owns each device.

The rules of this file:

1. Macs are counted by their groups; records are read only if the Macs of a group differ, or to name them.
2. If several tokens know a device, ``owner_of`` its records decides. Only devices that another token lists
   too are read for that: their serial numbers come from ``Store.shared_serials``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple, Self

import attrs

from pyade.assignment.failures import has_stopped
from pyade.assignment.rules import AssignmentPolicy
from pyade.core.arguments import check_arguments
from pyade.core.exports import Exportable
from pyade.core.fleet.assignment import Risk, risk_of
from pyade.core.fleet.groups import DeviceGroup, group_of
from pyade.core.fleet.records import DeviceRecord, owner_of
from pyade.storage.protocol import Store
from pyade.sync.damage import readable_records

_BATCH_SIZE = 1_000


def owned_elsewhere(store: Store, token_name: str) -> Mapping[str, DeviceGroup]:
    """Return the devices that the token lists although another stored token owns them now.

    Returns:
        The group of each device in this token, by serial number.
    """
    serials = store.shared_serials(token_name)  # rule 2
    slices = (serials[start : start + _BATCH_SIZE] for start in range(0, len(serials), _BATCH_SIZE))
    return {
        record.serial_number: group_of(record)
        for part in slices
        for record in _records_owned_elsewhere(store, token_name, part)
    }


def with_owner(
    store: Store, token_name: str, records: Iterable[DeviceRecord]
) -> Iterator[tuple[DeviceRecord, bool]]:
    """Iterate lazily over *records* of the token, each with False if another token owns the device now."""
    remaining = iter(records)
    while batch := list(islice(remaining, _BATCH_SIZE)):
        serials = store.shared_serials(token_name, serials=[record.serial_number for record in batch])
        lost = {record.serial_number for record in _records_owned_elsewhere(store, token_name, serials)}
        yield from ((record, record.serial_number not in lost) for record in batch)


def _records_owned_elsewhere(store: Store, token_name: str, serials: Sequence[str]) -> Iterator[DeviceRecord]:
    """Yield the token's records of those *serials* that another token owns."""
    claims = readable_records(store, serials) if serials else []
    for _, found in groupby(claims, key=lambda one: one.serial_number):
        known = tuple(found)
        owner = owner_of(known)  # rule 2
        if owner is not None and owner.token_name != token_name:
            yield from (record for record in known if record.token_name == token_name)


NO_RULES = AssignmentPolicy()


class _DeviceAndRisk(NamedTuple):
    record: DeviceRecord
    risk: Risk


class DeviceAtRisk(Exportable, _DeviceAndRisk):
    """A Mac that would fail to enroll, as a pair: ``for record, risk in risks(store, "hq")``.

    Attributes:
        record: The stored record.
        risk: Why it would fail.
    """

    __slots__ = ()

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Return the keys of ``to_dict``: those of the record, and ``risk``."""
        return (*DeviceRecord.columns(), "risk")

    def to_dict(self) -> dict[str, Any]:
        """Return the record with its ``risk``; see ``DeviceRecord.to_dict``."""
        return {**self.record.to_dict(), "risk": str(self.risk)}


@check_arguments
def risks(store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES) -> Iterator[DeviceAtRisk]:
    """Iterate lazily over the Macs that have no profile and would fail to enroll, each with the reason.

    A Mac that gets a profile in the next run is left out, unless an earlier attempt to assign one failed.

    Args:
        store: The store with the devices.
        token_name: The token.
        policy: The rules, if there are any.

    Source: specification, "Create an Apple enrollment profile": a device without a policy fails to enroll.
    """
    yield from MacsAtRisk.of(store, token_name, store.device_groups(token_name), policy).records()


@check_arguments
def devices_at_risk(
    store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES
) -> Iterator[DeviceRecord]:
    """Iterate lazily over the Macs whose enrollment will fail; ``risks`` yields the reason too.

    Args:
        store: The store with the devices.
        token_name: The token.
        policy: The rules, if there are any.
    """
    return (record for record, _ in risks(store, token_name, policy))


def count_at_risk(store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES) -> int:
    """Return the number of Macs that ``devices_at_risk`` yields."""
    groups = store.device_groups(token_name)
    return sum(MacsAtRisk.of(store, token_name, groups, policy).count().values())


@attrs.frozen
class RiskRule:
    """Decides whether the enrollment of a Mac would fail, with the data of its token that this depends on.

    Attributes:
        has_default: True if the token has a default profile.
        is_stopped: True if the newest assignment of the token did not finish.
        policy: The rules.
    """

    has_default: bool
    is_stopped: bool
    policy: AssignmentPolicy = NO_RULES

    @classmethod
    def of(cls, store: Store, token_name: str, policy: AssignmentPolicy = NO_RULES) -> Self:
        """Read the data of a token from the store."""
        is_stopped = has_stopped(store.sync_state(token_name))
        return cls(store.default_profile(token_name) is not None, is_stopped, policy)

    def of_record(self, record: DeviceRecord) -> Risk | None:
        """Return why the enrollment of a Mac would fail; None if it would not."""
        is_chosen = self.has_default or self.policy.choose(record.device) is not None
        return risk_of(record, is_chosen=is_chosen, is_stopped=self.is_stopped)

    def of_group(self, group: DeviceGroup) -> frozenset[Risk | None]:
        """Return the possible results of ``of_record`` for Macs of *group*: one item if all have the same."""
        rules = self.policy.candidates(group) if group.is_without_profile else ()
        chosen = {self.has_default or rule is not None for rule in rules}
        found = {group.risk_if(is_chosen=is_chosen, is_stopped=self.is_stopped) for is_chosen in chosen}
        return frozenset(found or {None})


@attrs.frozen
class MacsAtRisk:
    """The Macs of a token that would fail to enroll.

    Attributes:
        store: The store with the devices.
        token_name: The token.
        rule: Decides for each Mac.
        counts: The number of devices of each group that may contain such Macs.
        reasons: The possible results of the rule for each of these groups.
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
        """Select the groups that may contain such Macs.

        Args:
            store: The store with the devices.
            token_name: The token.
            groups: All groups of the token, each with its number of devices.
            policy: The rules, if there are any.
        """
        rule = RiskRule.of(store, token_name, policy)
        found = {group: rule.of_group(group) for group in groups}
        reasons = {group: reasons for group, reasons in found.items() if reasons != {None}}
        return cls(store, token_name, rule, {group: groups[group] for group in reasons}, reasons)

    def count(self) -> Mapping[Risk, int]:
        """Return the number of such Macs by reason; reads records only of groups with several results."""
        counts: Counter[Risk] = Counter()
        unsure = [group for group, reasons in self.reasons.items() if len(reasons) > 1]  # rule 1
        lost = Counter(owned_elsewhere(self.store, self.token_name).values() if self.reasons else ())
        for group in self.reasons.keys() - set(unsure):
            counts.update({risk: self.counts[group] - lost[group] for risk in self.reasons[group] if risk})
        counts.update(risk for _, risk in self._read_records(unsure))
        return {risk: counts[risk] for risk in Risk if counts[risk] > 0}

    def records(self, reason: Risk | None = None) -> Iterator[DeviceAtRisk]:
        """Iterate lazily over such Macs, each with its reason; *reason* limits them to that one."""
        groups = [one for one, reasons in self.reasons.items() if reason is None or reason in reasons]
        found = self._read_records(groups)
        return found if reason is None else (one for one in found if one.risk is reason)

    def _read_records(self, groups: Collection[DeviceGroup]) -> Iterator[DeviceAtRisk]:
        records = self.store.devices(self.token_name, groups=groups)
        for record, is_ours in with_owner(self.store, self.token_name, records):
            risk = self.rule.of_record(record)
            if is_ours and risk is not None:
                yield DeviceAtRisk(record, risk)
