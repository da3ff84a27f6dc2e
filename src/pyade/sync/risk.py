"""Which Macs would fail to enroll, and why."""

from __future__ import annotations

from collections.abc import Iterator

from pyade.core.assignment import Risk, is_without_profile, risk_of
from pyade.core.inventory import DeviceRecord
from pyade.core.kinds import checks_kinds
from pyade.core.rules import AssignmentPolicy
from pyade.storage.protocol import Store
from pyade.sync.failures import has_stopped
from pyade.sync.plan import with_owner

NO_RULES = AssignmentPolicy()


@checks_kinds
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
    is_stopped = has_stopped(store.sync_state(token_name))
    has_default = store.default_profile(token_name) is not None
    for record, is_ours in with_owner(store, filter(is_without_profile, store.devices(token_name))):
        is_chosen = has_default or policy.choose(record.device) is not None
        risk = risk_of(record, is_chosen=is_chosen, is_stopped=is_stopped)
        if is_ours and risk is not None:
            yield record, risk


@checks_kinds
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
