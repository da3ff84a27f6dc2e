"""Read the members of a profile without a setting in pyade: check, keep and report them."""

from __future__ import annotations

from typing import Any

from pyade.builders.intune import fields
from pyade.builders.intune.json_reader import JsonReader
from pyade.builders.intune.limits import PASSWORD_ROTATION_DAYS, PASSWORD_ROTATION_HOURS
from pyade.core.problems import Problem, warning


def read_extra(reader: JsonReader, problems: list[Problem]) -> dict[str, Any]:
    """Return the members without a setting that have a value; report those that would have an effect."""
    kept: dict[str, Any] = {}
    for name, (default, fix) in fields.NO_EQUAL.items():
        value = _read_rotation(reader) if name == fields.ROTATION else _read_plain(reader, name, default)
        if value in (None, default):
            continue
        kept[name] = value
        problems.append(warning(reader.path_of(name), "", "no equivalent in pyade; kept for writing", fix))
    for name, value in reader.rest().items():
        kept[name] = value
        if value not in (None, False, "", []):
            fix = "check whether your server needs it"
            problems.append(
                warning(reader.path_of(name), "", "not a member that pyade knows; kept for writing", fix)
            )
    return kept


def _read_plain(reader: JsonReader, name: str, default: Any) -> Any:
    if isinstance(default, bool):
        return reader.flag(name)
    return reader.texts(name) if isinstance(default, list) else reader.text(name)


def _read_rotation(reader: JsonReader) -> dict[str, Any] | None:
    value = reader.take(fields.ROTATION)
    if value is None:
        return None
    setting = {fields.PERIOD: value} if type(value) is int else value
    if not isinstance(setting, dict):
        reader.add_error(fields.ROTATION, "an object, or a number of days")
        return None
    low, high = PASSWORD_ROTATION_DAYS
    days = setting.get(fields.PERIOD)
    if days is not None and (type(days) is not int or not (days == 0 or low <= days <= high)):
        reader.add_error(f"{fields.ROTATION}.{fields.PERIOD}", f"{low} to {high} days, or 0 for never")
    delay = setting.get(fields.DELAY)
    if delay is not None and not isinstance(delay, dict):
        reader.add_error(f"{fields.ROTATION}.{fields.DELAY}", "an object")
    elif delay and delay.get(fields.ON_VIEW):
        low, high = PASSWORD_ROTATION_HOURS
        hours = delay.get(fields.ON_VIEW_HOURS)
        if type(hours) is not int or not low <= hours <= high:
            reader.add_error(
                f"{fields.ROTATION}.{fields.DELAY}.{fields.ON_VIEW_HOURS}", f"{low} to {high} hours"
            )
    return setting
