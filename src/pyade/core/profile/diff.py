"""What changes between two profiles, and which Macs the change reaches."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, Final

import attrs

from pyade.core.exports import Exportable
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Problem, Severity, problem_tables
from pyade.core.profile.plan import count_certificates
from pyade.core.profile.settings import GIVEN, ProfileSettings, given
from pyade.text import Printed, Table


class Reach(enum.StrEnum):
    """Which Macs a change reaches.

    Attributes:
        SERVER: It takes effect on the server immediately; no Mac receives it.
        REENROLLMENT: Enrolled Macs receive it only if they enroll again; a wipe is not needed.
        WIPE: Enrolled Macs receive it only in a new Setup Assistant, after they were wiped.
    """

    SERVER = "server"
    REENROLLMENT = "re-enrollment"
    WIPE = "wipe"


@attrs.frozen(kw_only=True)
class SettingChange(Exportable):
    """One setting that differs.

    Attributes:
        setting: Its name, such as ``locked`` or ``skip.Siri``.
        before: The old value as text; never a secret.
        after: The new value as text; never a secret.
        reach: Which Macs the change reaches.
        why: The reason for that.
    """

    setting: str
    before: str
    after: str
    reach: Reach
    why: str


@attrs.frozen(kw_only=True, repr=False)
class ProfileDiff(Exportable, Printed):
    """What changes from one profile to another; false if nothing does. It prints as a list.

    Attributes:
        changes: Every setting that differs, in the order of the profile's settings.
        warnings: What else the change breaks.
    """

    changes: tuple[SettingChange, ...]
    warnings: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def never_received(self) -> tuple[SettingChange, ...]:
        """The changes that enrolled Macs do not receive while they stay enrolled."""
        return tuple(change for change in self.changes if change.reach is not Reach.SERVER)

    def _words(self) -> list[str]:
        if not self.changes:
            return ["no changes"]
        width = max(len(change.setting) for change in self.changes)
        lines = [f"{change.setting:<{width}}  {change.before} -> {change.after}" for change in self.changes]
        for reach, heading in _HEADINGS.items():
            if names := [change.setting for change in self.changes if change.reach is reach]:
                lines.append(f"{heading}: {', '.join(names)}")
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]

    def _tables(self) -> Iterator[Table]:
        if self.changes:
            cells = [(one.setting, one.before, one.after, one.reach.value, one.why) for one in self.changes]
            yield Table("Changes", ("setting", "before", "after", "reaches Macs by", "why"), cells)
        yield from problem_tables(self.warnings)


_HEADINGS: Final = {
    Reach.SERVER: "on the server only",
    Reach.REENROLLMENT: "enrolled Macs never receive, unless they enroll again",
    Reach.WIPE: "enrolled Macs never receive, unless they are wiped and set up again",
}

_ON_SERVER = "kept by the server; no Mac sees it"
_AT_ENROLLMENT = "a Mac reads it each time it enrolls, not while it is enrolled"
_IN_SETUP = "it concerns Setup Assistant, which an enrolled Mac has behind it"
_WITH_ACCOUNTS = "accounts are made once, while the Mac waits in Setup Assistant"
_REACH: Final[dict[str, tuple[Reach, str]]] = {
    "name": (Reach.SERVER, "no Mac sees it; group rules compare it"),
    "description": (Reach.SERVER, _ON_SERVER),
    "url": (Reach.REENROLLMENT, _AT_ENROLLMENT),
    "user_affinity": (Reach.REENROLLMENT, "the user signs in when the Mac enrolls, not while it is enrolled"),
    "org_magic": (Reach.REENROLLMENT, _AT_ENROLLMENT),
    "anchor_certificates": (Reach.REENROLLMENT, _AT_ENROLLMENT),
    "supervised": (Reach.REENROLLMENT, _AT_ENROLLMENT),
    "mandatory": (Reach.REENROLLMENT, _AT_ENROLLMENT),
    "extra": (Reach.REENROLLMENT, _AT_ENROLLMENT),
    "locked": (Reach.WIPE, "it cannot be changed after enrollment without wiping the Mac"),
    "await_final_configuration": (Reach.WIPE, "it is applied once, in Setup Assistant"),
    "primary_account": (Reach.WIPE, _WITH_ACCOUNTS),
    "administrator": (Reach.WIPE, _WITH_ACCOUNTS),
    "standard_user": (Reach.WIPE, _WITH_ACCOUNTS),
    "skip_primary_account": (Reach.WIPE, _WITH_ACCOUNTS),
    "managed_user": (Reach.WIPE, _WITH_ACCOUNTS),
    "requires_network_tether": (Reach.WIPE, _WITH_ACCOUNTS),
}
_SETTINGS: Final = (
    "name", "description", "url", "user_affinity", "await_final_configuration", "locked", "supervised",
    "mandatory", "primary_account", "administrator", "standard_user", "skip_primary_account", "managed_user",
    "requires_network_tether", "department", "support_phone_number", "support_email_address", "language",
    "region", "auto_advance", "anchor_certificates", "org_magic",
)  # fmt: skip


def compare(before: ProfileSettings | None, after: ProfileSettings) -> ProfileDiff:
    """Return what changes if *after* replaces *before*; *before* is None if *after* is new."""
    changes = tuple(_changes(before, after))
    warnings: tuple[Problem, ...] = ()
    if before is not None and before.name != after.name:
        renamed = Problem(
            "name",
            before.name,
            "group rules on the old name no longer match Macs that enroll from now on",
            f"change them to {after.dynamic_membership_rule()}",
            Severity.WARNING,
        )
        warnings = (renamed,)
    return ProfileDiff(changes=changes, warnings=warnings)


def _changes(before: ProfileSettings | None, after: ProfileSettings) -> Iterator[SettingChange]:
    hidden: frozenset[SkipKeys | str] = frozenset() if before is None else before.skip
    extras = ({} if before is None else before.extra, after.extra)
    for setting in _SETTINGS:
        yield from _compare(setting, getattr(before, setting, None), getattr(after, setting))
        if setting in GIVEN:
            yield from _compare_given(setting, before, after)
    for key in sorted(hidden ^ after.skip, key=_order):
        text = {True: "hide", False: "show"}
        yield _change(f"skip.{key}", text[key in hidden], text[key in after.skip])
    for name in sorted({*extras[0], *extras[1]}):
        values = [(name in extra, extra.get(name)) for extra in extras]
        if values[0] != values[1]:
            yield _change(f"extra.{name}", *(_as_text(value) if there else _UNSET for there, value in values))


def _order(key: SkipKeys | str) -> tuple[bool, str]:
    return not isinstance(key, SkipKeys), key


def _compare(setting: str, old: Any, new: Any) -> Iterator[SettingChange]:
    if old == new:
        return
    if not attrs.has(type(old)) and not attrs.has(type(new)):
        # A setting that is empty in a new profile is no change.
        if old is not None or _as_text(new) != _UNSET:
            yield _change(setting, _as_text(old), _as_text(new))
        return
    if old is None or new is None:
        yield _change(setting, *(_UNSET if value is None else "set" for value in (old, new)))
    for field in attrs.fields(type(old if new is None else new)):
        values = [None if value is None else getattr(value, field.name) for value in (old, new)]
        # A field without repr holds a secret.
        texts = [_as_text(value) if field.repr else _hide_secret(value) for value in values]
        if values[0] != values[1] and (None not in values or texts[0] != texts[1]):
            yield _change(f"{setting}.{field.name}", *texts)


def _compare_given(
    setting: str, before: ProfileSettings | None, after: ProfileSettings
) -> Iterator[SettingChange]:
    """Yield a change of the given value of a setting that others switch on, both before and after."""
    if before is None or getattr(before, setting) != getattr(after, setting):
        return
    texts = [_as_text(given(profile, setting)) for profile in (before, after)]
    if texts[0] != texts[1]:
        why = "other settings switch it on: what is given counts when they are gone"
        yield SettingChange(setting=setting, before=texts[0], after=texts[1], reach=Reach.SERVER, why=why)


_UNSET: Final = "not set"


def _change(setting: str, before: str, after: str) -> SettingChange:
    after = f"{after} (changed)" if before == after else after
    reach, why = _REACH.get(setting.partition(".")[0], (Reach.WIPE, _IN_SETUP))
    return SettingChange(setting=setting, before=before, after=after, reach=reach, why=why)


def _hide_secret(value: Any) -> str:
    return "a secret" if value else _UNSET


def _as_text(value: Any) -> str:
    if value is None or value == "":
        return _UNSET
    if isinstance(value, tuple):
        return count_certificates(value) or _UNSET
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
