"""The rows of a plan about a set-up without people, and whether there is one.

Where Setup Assistant goes on by itself, no row tells what a person does there. A row says instead where the
set-up stops.

Source: Apple, ``Profile``, ``auto_advance_setup``, ``language`` and ``region``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pyade.core.affinity import AffinityKind
from pyade.core.plan import Effect, PlanRow, yes
from pyade.core.versions import MacOSVersion

if TYPE_CHECKING:
    from pyade.core.profile import EnrollmentProfile

ADVANCE_FROM: Final = MacOSVersion(11)


def advances(profile: EnrollmentProfile, version: MacOSVersion) -> bool:
    """Return True if Setup Assistant goes on by itself."""
    return profile.auto_advance and version >= ADVANCE_FROM


def auto_advance(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of language and region, and of the advance itself."""
    old = version < ADVANCE_FROM
    for setting in ("language", "region"):
        value: str = getattr(profile, setting)
        if value and old:
            yield PlanRow(setting, value, Effect.NO_EFFECT, "it needs macOS 11: the user chooses")
        elif value:
            yield PlanRow(setting, value, Effect.APPLIES, "chosen for the user")
        elif advances(profile, version):
            yield PlanRow(setting, "", Effect.NOT_SET, "Setup Assistant stops where it is chosen")
        else:
            yield PlanRow(setting, "", Effect.NOT_SET, "the user chooses")
    value = yes(profile.auto_advance)
    if not profile.auto_advance:
        effect, why = Effect.APPLIES, "the user goes through Setup Assistant"
    elif old:
        effect, why = Effect.NO_EFFECT, "it needs macOS 11: the user goes through Setup Assistant"
    else:
        effect = Effect.APPLIES
        why = f"Setup Assistant goes on by itself; it stops {', '.join(_stops(profile))}"
    yield PlanRow("auto_advance", value, effect, why)


def _stops(profile: EnrollmentProfile) -> Iterator[str]:
    yield "without a wired network"
    if profile.administrator is None:
        yield "at the account of the user"
    if profile.user_affinity.kind is not AffinityKind.NONE:
        yield "at the sign-in of the user"
    for name in ("language", "region"):
        if not getattr(profile, name):
            yield f"where the {name} is chosen"
