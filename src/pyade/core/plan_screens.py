"""The rows of a plan about Setup Assistant screens.

Source: specification, "Setup Assistant screen reference"; Apple, ``SkipKeys``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from pyade.core.panes import SET_UP_LATER
from pyade.core.plan import Effect, PlanRow
from pyade.core.plan_advance import advances
from pyade.core.skip_keys import NOT_ON_MACOS, SkipKeys
from pyade.core.versions import MacOSVersion

if TYPE_CHECKING:
    from pyade.core.profile import EnrollmentProfile


def screens(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield one row for each screen, for each hidden key that is none, and for what no key hides."""
    passes = advances(profile, version)
    for key in SkipKeys:
        row = _screen(key, hide=key in profile.skip, version=version)
        if passes and row.effect in (Effect.SHOWN, Effect.MAY_SHOW):
            row = attrs.evolve(row, effect=Effect.PASSED, why=_PASSED)
        yield row
    for other in sorted(str(key) for key in profile.skip if not isinstance(key, SkipKeys)):
        if other in NOT_ON_MACOS:
            effect, why = Effect.NOT_THERE, "no Mac has this screen; the key is ignored"
        else:
            effect, why = (
                Effect.SENT_AS_IS,
                "pyade does not know this key; a Mac that does not know it ignores it",
            )
        yield PlanRow(f"skip.{other}", "hide", effect, why, label=other)
    effect, why = Effect.SHOWN, "no key hides them; auto advance can answer language and region"
    if passes and profile.language and profile.region:
        effect, why = Effect.PASSED, "Setup Assistant goes past them by itself on a wired network"
    elif passes:
        why = "Setup Assistant stops here: only with language and region it goes on by itself"
    yield PlanRow("(always)", "", effect, why, label="Language, region, network, Remote Management")


_PASSED: Final = f"Setup Assistant goes past it by itself; {SET_UP_LATER}"


def _screen(key: SkipKeys, *, hide: bool, version: MacOSVersion) -> PlanRow:
    if not key.seen_on_macs:
        effect, why = Effect.NOT_THERE, [key.conditions]
    elif not key.exists_on(version):
        effect, why = (
            Effect.NOT_THERE,
            [f"from {key.introduced} on" if version < key.introduced else f"until {key.removed}"],
        )
    elif not hide:
        effect, why = Effect.SHOWN, [key.when_visible, key.conditions]
    else:
        effect = Effect.HIDDEN if key.always_skippable else Effect.MAY_SHOW
        why = [key.when_hidden, key.conditions]
    if effect is not Effect.NOT_THERE and _note_matters(key, version, hide=hide):
        why.append(key.note)
    text = "; ".join(filter(None, why))
    return PlanRow(f"skip.{key}", "hide" if hide else "show", effect, text, label=key.label)


def _note_matters(key: SkipKeys, version: MacOSVersion, *, hide: bool) -> bool:
    if (key.apple_introduced, key.apple_removed) != (key.introduced, key.removed):
        return not key.apple_agrees_on(version)
    return hide and (key.note_from is None or version >= key.note_from)
