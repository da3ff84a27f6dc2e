"""The preview of a profile: what a person meets in Setup Assistant, in order, by version of macOS.

The rules of this file:

1. Every effect comes from the plan of that version; the preview adds only the order and the pictures.
2. Apple documents no order. The order here is that of public recordings of first set-ups. What is recorded
   nowhere stands beside what it belongs to.
3. Without a version there is one column for each major version that has a pane of its own: the last one that
   introduced a pane, so that every pane is there in some column unless it ended.

Source: what a Mac shows: ``plan_rows``. The order: public scripts that click through Setup Assistant of macOS
15.0 and 26.0, and descriptions of it for 10.12 to 14. The end: specification, "Create an Apple enrollment
profile", Await final configuration.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final, TypeAlias

import attrs

from pyade import svg
from pyade.core.exports import Exportable
from pyade.core.macos.setup_screens import NOT_ON_MACOS, SkipKeys
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.accounts import ACCOUNTS_FROM, PREFILL_FROM
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.plan import Effect, ProfilePlan, row_of
from pyade.core.profile.plan_rows import advances, make_plan
from pyade.core.profile.settings import ProfileSettings
from pyade.text import Printed, cut, printable, short_repr

_ALWAYS: Final = "(always)"
_FIRST, _ENROLLS, _SETS_UP, _UPDATED, _NO_MAC = (
    *("Before the Mac enrolls", "Enrollment", "Set-up"),
    *("Only after an update or upgrade", "On no Mac"),
)
_STEPS: Final[Mapping[str, str]] = {
    _ALWAYS: "Language, region, network",
    "mandatory": "Remote Management",
    "user_affinity": "Sign-in",
    "primary_account": "Account",
    "await_final_configuration": "Final configuration",
}
"""Steps without a key of a screen, by the row of the plan that they follow, with their labels."""

_Order: TypeAlias = tuple[tuple[str, tuple[SkipKeys | str, ...]], ...]

_ACCOUNT_FIRST_FROM: Final = MacOSVersion(26)

_LATER: Final = (
    *(SkipKeys.LOCATION, SkipKeys.DIAGNOSTICS, SkipKeys.ICLOUD_DIAGNOSTICS, SkipKeys.SCREEN_TIME),
    *(SkipKeys.INTELLIGENCE, SkipKeys.SIRI, SkipKeys.FILE_VAULT, SkipKeys.BIOMETRIC, SkipKeys.PAYMENT),
    *(SkipKeys.UNLOCK_WITH_WATCH, SkipKeys.APPEARANCE, SkipKeys.LIQUID_GLASS, SkipKeys.DISPLAY_TONE),
    *(SkipKeys.ENABLE_LOCKDOWN_MODE, SkipKeys.APP_STORE, SkipKeys.SOFTWARE_UPDATE, SkipKeys.WELCOME),
    "await_final_configuration",
)
_CLOUD: Final = (SkipKeys.APPLE_ID, SkipKeys.TOS, SkipKeys.ICLOUD_STORAGE, SkipKeys.REGISTRATION)
_EARLY: Final = (SkipKeys.TERMS_OF_ADDRESS, SkipKeys.ACCESSIBILITY)
_ENROLLMENT: Final = (_ENROLLS, ("mandatory", "user_affinity"))
_LAST: Final[_Order] = (
    (_UPDATED, (SkipKeys.WALLPAPER, SkipKeys.UPDATE_COMPLETED, SkipKeys.OS_SHOWCASE)),
    (_NO_MAC, tuple(key for key in SkipKeys if not key.seen_on_macs)),
)
_ORDER_UNTIL_15: Final[_Order] = (
    (_FIRST, (_ALWAYS, *_EARLY)),
    _ENROLLMENT,
    (_SETS_UP, (SkipKeys.PRIVACY, SkipKeys.RESTORE, *_CLOUD, "primary_account", *_LATER)),
    *_LAST,
)
_ORDER_FROM_26: Final[_Order] = (
    (_FIRST, (_ALWAYS, SkipKeys.RESTORE, *_EARLY)),
    _ENROLLMENT,
    (_SETS_UP, (SkipKeys.PRIVACY, "primary_account", *_CLOUD, *_LATER)),
    *_LAST,
)

_NOTES: Final[Mapping[str, str]] = {
    "auto_advance": "Auto advance",
    "user_affinity": "User affinity",
    "primary_account": "Account",
    "primary_account.restrict_editing": "Account screen",
    "administrator": "Administrator",
    "await_final_configuration": "Final configuration",
}

_WORDS: Final[Mapping[Effect, tuple[str, str, str]]] = {
    Effect.SHOWN: ("S", "shown", "shown"),
    Effect.HIDDEN: ("H", "hidden", "hidden by the profile"),
    Effect.MAY_SHOW: ("M", "may", "may show: to be hidden, but not for certain"),
    Effect.PASSED: ("P", "passed", "passed by itself (auto advance)"),
    Effect.SENT_AS_IS: ("?", "?", "sent as it is: pyade does not know the key"),
    Effect.NOT_THERE: ("-", "-", "not there in that version"),
}
"""For each effect of a step: its letter in the picture, its word in the text, and its meaning."""


def _words_of(effect: Effect) -> tuple[str, str, str]:
    return _WORDS.get(effect, ("?", "?", effect.value))


@attrs.frozen(kw_only=True)
class PreviewRow(Exportable):
    """One step of Setup Assistant.

    Attributes:
        setting: The row of the plan that it follows: ``skip.Siri`` for a screen with a key, ``(always)`` for
            the first screens, ``mandatory`` for Remote Management, ``user_affinity`` for the sign-in,
            ``primary_account`` for the account screen, ``await_final_configuration`` for the wait at the end.
        label: Its name.
        stage: The part of the set-up to which it belongs.
        introduced: The first macOS with the screen; None if all have it.
        removed: The first macOS without it; None if it did not end.
        effects: What happens with it, for each version of the preview: ``SHOWN``, ``PASSED``, ``HIDDEN``,
            ``MAY_SHOW``, ``NOT_THERE`` or ``SENT_AS_IS``.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    setting: str
    label: str
    stage: str
    introduced: MacOSVersion | None = None
    removed: MacOSVersion | None = None
    effects: tuple[Effect, ...]

    @property
    def gate(self) -> str:
        """The versions with the screen: ``15.4+``, ``26.1-27.0`` for one that ended in 27.0, "" for all."""
        if self.introduced is None:
            return ""
        return f"{self.introduced}+" if self.removed is None else f"{self.introduced}-{self.removed}"


@attrs.frozen(kw_only=True, repr=False)
class ProfilePreview(Exportable, Printed):
    """What a person meets in Setup Assistant, by version of macOS; a table as text, a picture in a notebook.

    Attributes:
        profile_name: The profile.
        versions: The versions, one column each.
        rows: The steps, in the order in which a person meets them.
        notes: What else the profile changes, as pairs of a label and a text.
    """

    profile_name: str
    versions: tuple[MacOSVersion, ...]
    rows: tuple[PreviewRow, ...]
    notes: tuple[tuple[str, str], ...]

    def row(self, setting: str) -> PreviewRow:
        """Return the row of a screen such as ``SkipKeys.SIRI``, or of a step as ``PreviewRow.setting`` says.

        Raises:
            KeyError: The preview has no such row.
        """
        return row_of(self.rows, setting)

    @property
    def _title(self) -> str:
        only = f" of macOS {self.versions[0]}" if len(self.versions) == 1 else ""
        return f"{cut(self.profile_name, 48)}: what a person meets in Setup Assistant{only}"

    def _words(self) -> list[str]:
        lines = [self._title, ""]
        lines.append(_line("", "gate", map(str, self.versions)))
        for stage, rows in groupby(self.rows, lambda row: row.stage):
            lines.append(stage)
            lines += (
                _line(f"  {row.label}", row.gate, (_words_of(one)[1] for one in row.effects)) for row in rows
            )
        lines.append("")
        lines += (
            f"{word:<6}  {meaning}" for _, word, meaning in map(_words_of, self._used()) if word != meaning
        )
        lines += ("15.4+   introduced in 15.4; 26.1-27.0: introduced in 26.1, ended in 27.0", "")
        for label, text in self.notes:
            lines += textwrap.wrap(f"{label}: {printable(text)}", 108, subsequent_indent="  ")
        return lines

    def svg(self) -> str:
        """Return the table as a picture, which follows the colours of the page, for notebooks and pages."""
        drawing, single = svg.Drawing(472), len(self.versions) == 1
        drawing.text(6, 16, svg.fit(self._title, 458, 12), size=12, more='font-weight="bold"')
        y = _legend(drawing, 36, self._used()) + 6
        width = _SINGLE if single else min(_SINGLE, _WIDE / len(self.versions))
        if not single:
            for x, version in zip(
                svg.spread(_COLUMNS, _WIDE, len(self.versions)), self.versions, strict=True
            ):
                drawing.text(x + width / 2, y, str(version), size=9.5, more='text-anchor="middle"')
            y += 4
        for stage, rows in groupby(self.rows, lambda row: row.stage):
            y += 15
            drawing.text(6, y, stage, size=10, more='font-style="italic" opacity="0.8"')
            y += 5
            for row in rows:
                _draw_row(drawing, y, width, row)
                y += _HEIGHT
        y += 18
        for label, text in self.notes:
            y = drawing.paragraph(y, f"{label}: {text}", indent=8) + 2
        counts = ", ".join(
            f"macOS {version}: {sum(row.effects[at] is Effect.SHOWN for row in self.rows)} shown"
            for at, version in enumerate(self.versions)
        )
        return drawing.svg(y, title=self._title, description=f"Steps in their order. {counts}.")

    def _repr_html_(self) -> str:
        """Return the picture for a notebook."""
        return self.svg()

    def _used(self) -> list[Effect]:
        used = {effect for row in self.rows for effect in row.effects}
        return [effect for effect in _WORDS if effect in used]


def make_preview(profile: ProfileSettings, version: MacOSVersion | None) -> ProfilePreview:
    """Return the preview of *profile* on *version*, or on the versions of rule 3."""
    versions = newest_gates() if version is None else (version,)
    plans = [make_plan(profile, one) for one in versions]
    return ProfilePreview(
        profile_name=profile.name,
        versions=versions,
        rows=tuple(_rows(profile, plans)),
        notes=tuple(_notes(plans)),
    )


def newest_gates() -> tuple[MacOSVersion, ...]:
    """Return for each major version the last one that introduced a pane, the oldest first (rule 3)."""
    introduced = sorted({key.introduced for key in SkipKeys if key.seen_on_macs})
    return tuple({version.major: version for version in introduced}.values())


def _rows(profile: ProfileSettings, plans: list[ProfilePlan]) -> Iterator[PreviewRow]:
    order = _ORDER_UNTIL_15 if plans[-1].version < _ACCOUNT_FIRST_FROM else _ORDER_FROM_26
    for stage, steps in order:
        for step in steps:
            if isinstance(step, SkipKeys):
                has_gate = step.seen_on_macs
                yield PreviewRow(
                    setting=f"skip.{step}",
                    label=step.label,
                    stage=stage,
                    introduced=step.introduced if has_gate else None,
                    removed=step.removed if has_gate else None,
                    effects=tuple(plan.row(step).effect for plan in plans),
                )
            else:
                effects = tuple(_effect(step, profile, plan) for plan in plans)
                yield PreviewRow(setting=step, label=_STEPS[step], stage=stage, effects=effects)
    others = sorted(str(key) for key in profile.skip if not isinstance(key, SkipKeys))
    for other in sorted(others, key=lambda key: key not in NOT_ON_MACOS):
        effects = tuple(plan.row(f"skip.{other}").effect for plan in plans)
        stage = _NO_MAC if other in NOT_ON_MACOS else "Keys that pyade does not know"
        yield PreviewRow(setting=f"skip.{other}", label=other, stage=stage, effects=effects)


def _effect(step: str, profile: ProfileSettings, plan: ProfilePlan) -> Effect:
    """Return the effect of a step that has no key."""
    if step == _ALWAYS:
        return plan.row(_ALWAYS).effect
    if step == "mandatory":
        return Effect.PASSED if advances(profile, plan.version) else Effect.SHOWN
    if step == "user_affinity":
        has_none = profile.user_affinity.kind is AffinityKind.NONE
        return Effect.NOT_THERE if has_none else Effect.SHOWN
    if step == "primary_account":
        return _account_screen(profile, plan.version)
    waits = profile.await_final_configuration and plan.row(step).effect is Effect.APPLIES
    return Effect.SHOWN if waits else Effect.NOT_THERE


def _account_screen(profile: ProfileSettings, version: MacOSVersion) -> Effect:
    """Return whether the account screen shows, as ``plan_rows.primary_account`` says it in words."""
    account = profile.primary_account
    if profile.skip_primary_account and version >= ACCOUNTS_FROM:
        return Effect.HIDDEN
    if account is None or not account.restrict_editing or version < PREFILL_FROM:
        return Effect.SHOWN
    if advances(profile, version) or not (account.account_name and account.full_name):
        return Effect.SHOWN
    is_legacy = profile.user_affinity.on(version) is AffinityKind.LEGACY
    return Effect.HIDDEN if is_legacy else Effect.MAY_SHOW


def _notes(plans: list[ProfilePlan]) -> Iterator[tuple[str, str]]:
    for setting, label in _NOTES.items():
        texts = [(plan.version, row.why) for plan in plans for row in plan.settings if row.setting == setting]
        spans = [(text, [version for version, _ in run]) for text, run in groupby(texts, lambda one: one[1])]
        if len(spans) == 1:
            yield label, spans[0][0]
        elif spans:
            yield label, "; ".join(f"{_span(versions)}: {text}" for text, versions in spans)


def _span(versions: list[MacOSVersion]) -> str:
    first, last = versions[0], versions[-1]
    return str(first) if first == last else f"{first} to {last}"


def _line(label: str, gate: str, words: Iterable[str]) -> str:
    return f"{cut(label, 31):<31}  {gate:<9}  {'  '.join(f'{word:<6}' for word in words)}".rstrip()


_COLUMNS, _WIDE, _HEIGHT, _SINGLE = 226, 240, 18, 74


def _legend(drawing: svg.Drawing, y: float, effects: list[Effect]) -> float:
    for effect in effects:
        _draw_cell(drawing, (6, y - 12, 26), effect, _words_of(effect)[0])
        drawing.text(38, y, _words_of(effect)[2], size=10.5)
        y += 18
    drawing.line(18, y - 12, 18, y + 3, more='stroke-width="2.5"')
    drawing.text(38, y, "gate: the screen was introduced, or ended, there", size=10.5)
    return y + 18


def _draw_row(drawing: svg.Drawing, y: float, width: float, row: PreviewRow) -> None:
    room = _COLUMNS - 22 - svg.width_of(row.gate, 9)
    drawing.text(12, y + 12, svg.fit(row.label, room, 10.5), size=10.5)
    drawing.text(_COLUMNS - 6, y + 12, row.gate, size=9, more='text-anchor="end" opacity="0.75"')
    single = len(row.effects) == 1
    before = row.effects[0]
    for x, effect in zip(
        svg.spread(_COLUMNS, width * len(row.effects), len(row.effects)), row.effects, strict=True
    ):
        _draw_cell(drawing, (x + 2, y + 1, width - 4), effect, _words_of(effect)[1 if single else 0])
        if (before is Effect.NOT_THERE) != (effect is Effect.NOT_THERE) and row.introduced is not None:
            drawing.line(x, y, x, y + _HEIGHT - 1, more='stroke-width="2.5"')
        before = effect


def _draw_cell(drawing: svg.Drawing, place: tuple[float, float, float], effect: Effect, word: str) -> None:
    """Draw a cell at *place*, which is left, top and width."""
    x, y, width = place
    middle, size, more = x + width / 2, 10, 'text-anchor="middle"'
    if effect is Effect.NOT_THERE:
        drawing.text(middle, y + 11.5, "-", size=12, more=f'{more} opacity="0.7"')
        return
    fill = {Effect.SHOWN: svg.BLUE, Effect.PASSED: svg.SKY}.get(effect, "none")
    if fill == "none":
        dashes = "" if effect is Effect.HIDDEN else ' stroke-dasharray="3 2"'
        more_rect = f'rx="3" stroke="{svg.VERMILION}" stroke-width="1.3"{dashes}'
    else:
        more_rect = 'rx="3"'
    drawing.rect(x, y, width, 15, fill=fill, more=more_rect)
    drawing.text(middle, y + 11.5, word, size=size, fill=svg.ON_FILL.get(fill, svg.PAGE), more=more)
