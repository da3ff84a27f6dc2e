"""The members of a profile that pyade has no setting for, or does not know: kept, checked and reported."""

from __future__ import annotations

from typing import Any

from pyade.builders.intune import fields
from pyade.builders.intune.json_reader import Members, warning
from pyade.builders.intune.limits import PASSWORD_ROTATION_DAYS, PASSWORD_ROTATION_HOURS
from pyade.core.problems import Problem


def read_extra(members: Members, problems: list[Problem]) -> dict[str, Any]:
    """Return what has no setting, without members that say nothing; report what would have an effect."""
    kept: dict[str, Any] = {}
    for name, (default, fix) in fields.NO_EQUAL.items():
        value = _read_rotation(members) if name == fields.ROTATION else _read_plain(members, name, default)
        if value in (None, default):
            continue
        kept[name] = value
        problems.append(warning(members.at(name), "no equal; kept for the way back", fix))
    for name, value in members.rest().items():
        kept[name] = value
        if value not in (None, False, "", []):
            fix = "check whether your server needs it"
            problems.append(
                warning(members.at(name), "not a member that pyade knows; kept for the way back", fix)
            )
    return kept


def _read_plain(members: Members, name: str, default: Any) -> Any:
    if isinstance(default, bool):
        return members.flag(name)
    return members.texts(name) if isinstance(default, list) else members.text(name)


def _read_rotation(members: Members) -> dict[str, Any] | None:
    value = members.take(fields.ROTATION)
    if value is None:
        return None
    setting = {fields.PERIOD: value} if type(value) is int else value
    if not isinstance(setting, dict):
        members.wrong(fields.ROTATION, "an object, or a number of days")
        return None
    low, high = PASSWORD_ROTATION_DAYS
    days = setting.get(fields.PERIOD)
    if days is not None and (type(days) is not int or not (days == 0 or low <= days <= high)):
        members.wrong(f"{fields.ROTATION}.{fields.PERIOD}", f"{low} to {high} days, or 0 for never")
    delay = setting.get(fields.DELAY)
    if delay is not None and not isinstance(delay, dict):
        members.wrong(f"{fields.ROTATION}.{fields.DELAY}", "an object")
    elif delay and delay.get(fields.ON_VIEW):
        low, high = PASSWORD_ROTATION_HOURS
        hours = delay.get(fields.ON_VIEW_HOURS)
        if type(hours) is not int or not low <= hours <= high:
            members.wrong(
                f"{fields.ROTATION}.{fields.DELAY}.{fields.ON_VIEW_HOURS}", f"{low} to {high} hours"
            )
    return setting
