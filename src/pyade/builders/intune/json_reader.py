"""Read files of Intune's JSON: the objects in pages and lists, and the typed members of each object.

The rules of this file:

1. Check size and depth before anything else is read.
2. Drop annotations (``@odata.``), except for the type of an object.
3. A member that is missing, null or empty has no value.
4. Read ``/Date(1571240587193)/`` and seven decimals of a second, but never write them.
5. Read a list in every form that PowerShell writes: a list, the bare element if there is only one, an object
   with ``value`` and ``Count``, null if it is empty. A value that ``ConvertTo-Json`` truncated is a problem,
   and never read as a value.

Source: Microsoft Graph; that exports of PowerShell have a byte order mark, UTF-16, such dates and such lists
is observed.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import msgspec

from pyade.core.problems import Problem, warning
from pyade.core.secret import masked
from pyade.core.values import format_time
from pyade.errors import IntuneError
from pyade.text import is_unicode

MAX_BYTES: Final = 256 * 1024 * 1024
"""Default limit for the size of a file in bytes; 200,000 devices have about 140 MB."""

MAX_DEPTH: Final = 32
"""Maximum nesting depth of values in an object; Intune's own have 3 levels."""

EXPORT_DEEPER: Final = "export it again with ConvertTo-Json -Depth 20: PowerShell truncated it"
"""``fix`` of a problem with a truncated value."""

WRAPPER: Final = frozenset({"value", "Count"})
"""The members of an object that PowerShell writes for a list."""

TYPE: Final = "@odata.type"
ADMIN_PASSWORD: Final = "adminAccountPassword"  # noqa: S105 - the name of a member
_PREFIX: Final = "microsoft.graph."
_DATE: Final = re.compile(r"/Date\((-?\d{1,17})(?:[+-]\d{4})?\)/")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN: Final = 80

T = TypeVar("T")
AddError: TypeAlias = Callable[[str, str], None]
"""Reports an error, from a path and the allowed values."""


def list_items(value: Any) -> list[Any] | None:
    """Return the elements of a list in any form of rule 5; None if there is none.

    Nested lists are flattened, null is skipped, and a value that is not a list is the only element.
    """
    if value in (None, ""):
        return None
    found: list[Any] = []
    parts = [(value, 0)]
    while parts:
        part, depth = parts.pop()
        if isinstance(part, Mapping) and "value" in part and part.keys() <= WRAPPER:
            part = part["value"]  # rule 5
        if isinstance(part, list) and depth < MAX_DEPTH:
            parts += ((item, depth + 1) for item in reversed(part))
        elif part is not None:
            found.append(part)
    return found


def type_of(body: Mapping[str, Any]) -> str:
    """Return ``@odata.type`` of an object without its prefix; "" if it has none."""
    name = body.get(TYPE)
    return name.removeprefix("#").removeprefix(_PREFIX) if isinstance(name, str) else ""


def member(path: str, name: str) -> str:
    """Return the path of a member; its name may be any text."""
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{name[:_SHOWN]!r}]"


class JsonReader:
    """Reads the members of one object by name and type, and keeps the rest.

    A member of the wrong type adds an error to ``problems``, which never contains the value.

    Args:
        body: The object.
        path: Path of the object in the document.
        places: Paths of members that come from another object.
    """

    def __init__(self, body: Any, path: str, places: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._places = places or {}
        self.problems: list[Problem] = []
        self._left: dict[str, Any] = {}
        if not isinstance(body, Mapping):
            self._add_error(path, f"an object, not {type(body).__name__}")
            return
        cleaned = _clean_members(body, path, self._add_error, 0)  # rules 1, 2
        cleaned.pop(TYPE, None)
        self._left = cleaned

    def path_of(self, name: str) -> str:
        """Return the path of a member."""
        return self._places.get(name) or member(self.path, name)

    def peek(self, name: str) -> Any:
        """Return a member without removing it; None if it is missing."""
        return self._left.get(name)

    def take(self, name: str) -> Any:
        """Remove and return a member of any type; None if it is missing."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str:
        """Remove and return a text; "" if there is none."""
        return self._take_typed(name, str, "a text") or ""

    def flag(self, name: str) -> bool | None:
        """Remove and return a Boolean; None if there is none."""
        return self._take_typed(name, bool, "true or false")

    def number(self, name: str) -> int | None:
        """Remove and return a whole number; None if there is none."""
        value = self._left.pop(name, None)
        if value is None or type(value) is int:
            return value
        self._add_error(self.path_of(name), "a whole number")
        return None

    def texts(self, name: str) -> list[str] | None:
        """Remove and return a list of texts without blanks; None if there is none."""
        value = self._left.pop(name, None)
        listed = list_items(value)
        if listed is None:
            return None
        if is_truncated(value) or (isinstance(value, str) and " " in value):
            self.problems.append(
                Problem(self.path_of(name), "", "a list of texts, not truncated", EXPORT_DEEPER)
            )
            return None
        if not all(isinstance(item, str) for item in listed):
            self._add_error(self.path_of(name), "a list of texts")
            return None
        return listed

    def time(self, name: str) -> datetime | None:
        """Remove and return a time in UTC; None if there is none, or if it stands for never."""
        text = self.text(name)
        try:
            time = parse_time(text) if text else None
        except (ValueError, OverflowError):
            self._add_error(self.path_of(name), "a time such as 2026-07-01T10:00:00Z")
            return None
        return None if time is None or time.year == 1 else time

    def rest(self) -> dict[str, Any]:
        """Return the members that were not removed."""
        return self._left

    def add_error(self, name: str, allowed: str) -> None:
        """Add an error for a member; *name* may be a path inside a member, with dots."""
        first, dot, inside = name.partition(".")
        place = self._places.get(first, f"{self.path}.{first}")
        self._add_error(f"{place}{dot}{inside}", allowed)

    def check(self) -> None:
        """Raise the collected errors.

        Raises:
            IntuneError: There are errors.
        """
        if self.problems:
            raise IntuneError(tuple(self.problems))

    def _take_typed(self, name: str, kind: type[T], words: str) -> T | None:
        value = self._left.pop(name, None)
        if value is None or isinstance(value, kind):  # rule 3
            return value
        self._add_error(self.path_of(name), words)
        return None

    def _add_error(self, where: str, allowed: str) -> None:
        self.problems.append(Problem(where, "", allowed, "correct it, or export it again"))


def parse_time(text: str) -> datetime:
    """Return the time of *text* in UTC, truncated to microseconds.

    Raises:
        ValueError: It is not a time.
        OverflowError: It is outside the years 1 to 9999.
    """
    if match := _DATE.fullmatch(text):  # rule 4
        return _EPOCH + timedelta(milliseconds=int(match[1]))
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or time.year == 1:
        return time.replace(tzinfo=UTC)
    return time.astimezone(UTC)


def is_truncated(value: Any) -> bool:
    """Return True for a text that PowerShell writes instead of an object that is nested too deep."""
    return isinstance(value, str) and value.startswith(("@{", "System."))


def format_optional_time(time: datetime | None) -> str | None:
    """Return *time* as Intune writes it; None for None."""
    return None if time is None else format_time(time)


def _clean_members(body: Mapping[Any, Any], path: str, add_error: AddError, depth: int) -> dict[str, Any]:
    """Return a copy without annotations, with only JSON values and readable times."""
    cleaned: dict[str, Any] = {}
    for name, value in body.items():
        if not isinstance(name, str) or not is_unicode(name):
            add_error(path, "names that are texts in Unicode")
        elif "@odata." in name and name != TYPE:
            continue
        elif value is None or isinstance(value, bool | int) or _is_plain(value):
            cleaned[name] = value
        else:
            where = member(path, name)
            is_date = name.endswith("DateTime") and isinstance(value, str) and _DATE.fullmatch(value)
            cleaned[name] = (
                _normalize_time(value, where, add_error)
                if is_date
                else _clean_value(value, where, add_error, depth + 1)
            )
    return cleaned


def _is_plain(value: object) -> bool:
    """Return True for most texts, for which no path has to be built."""
    return isinstance(value, str) and value.isascii() and not value.startswith("/Date(")


def _clean_value(value: Any, path: str, add_error: AddError, depth: int) -> Any:
    if depth > MAX_DEPTH:
        add_error(path, f"at most {MAX_DEPTH} levels")
    elif isinstance(value, str):
        if is_unicode(value):
            return value
        add_error(path, "text in Unicode, without unpaired surrogates")
    elif value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    elif isinstance(value, list | tuple):
        return [
            _clean_value(item, f"{path}[{index}]", add_error, depth + 1) for index, item in enumerate(value)
        ]
    elif isinstance(value, Mapping):
        return _clean_members(value, path, add_error, depth)
    else:
        add_error(path, f"a JSON value, not {type(value).__name__}")
    return None


def _normalize_time(text: str, path: str, add_error: AddError) -> str | None:
    try:
        return format_time(parse_time(text))
    except (ValueError, OverflowError):
        add_error(path, "a time between the years 1 and 9999")
        return None


_NEXT: Final = "@odata.nextLink"


@attrs.frozen(kw_only=True)
class FoundObject:
    """An object in a document, and its path."""

    path: str
    body: Mapping[str, Any]


def decode(data: bytes | str, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the JSON document of *data*.

    Raises:
        IntuneError: It is too large, not in an encoding of JSON, or not JSON.
    """
    if len(data) > max_bytes:  # rule 1
        allowed = f"at most {max_bytes} bytes, not {len(data)}"
        raise IntuneError((Problem("$", "", allowed, "split it, or raise max_bytes"),))
    data = masked(data)
    try:
        return _parse(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        reason = type(exc).__name__
    # The decoder's error may quote the data, so it is never chained to this one.
    allowed = f"a JSON document in UTF-8, UTF-16 or UTF-32 ({reason})"
    raise IntuneError((Problem("$", "", allowed, "export it again"),))


def mask_passwords(document: T, depth: int = 0) -> T:
    """Return *document* with stars for passwords at any depth; a copy if there are any."""
    if depth > MAX_DEPTH:
        return document
    given: Any = document
    copy: Any = document
    parts: Any = ()
    if isinstance(given, Mapping):
        parts = given.items()
    elif isinstance(given, list):
        parts = enumerate(given)
    for key, value in parts:
        if key == ADMIN_PASSWORD:
            new = masked(value)
        elif isinstance(value, Mapping | list):
            new = mask_passwords(value, depth + 1)
        else:
            continue
        if new is not value:
            if copy is given:
                copy = list(given) if isinstance(given, list) else dict(given)
            copy[key] = new
    found: T = copy
    return found


def _parse(data: bytes | str) -> Any:
    text = data.decode(json.detect_encoding(data)) if isinstance(data, bytes) else data
    return msgspec.json.decode(text.removeprefix(codecs.BOM_UTF8.decode()))


def iter_objects(
    document: Any, problems: list[Problem], path: str = "$", depth: int = 0
) -> Iterator[FoundObject]:
    """Yield the objects of a bare object, a list, a page or a list of pages.

    Raises:
        IntuneError: There are other values in it.
    """
    if depth > MAX_DEPTH:
        raise IntuneError((Problem(path[:_SHOWN], "", "objects, not lists of lists", "export it again"),))
    if isinstance(document, list):
        for index, item in enumerate(document):
            yield from iter_objects(item, problems, f"{path}[{index}]", depth + 1)
    elif document in (None, "") and depth:
        return  # an empty list of PowerShell
    elif not isinstance(document, Mapping):
        allowed = f"an object, a list of objects or a page with value, not {type(document).__name__}"
        fix = EXPORT_DEEPER if is_truncated(document) else "pass an export of Intune or Graph"
        raise IntuneError((Problem(path, "", allowed, fix),))
    elif _is_page(document):
        report_next_page(document, "", problems, path)
        problems += [
            warning(member(path, str(name)), "", "no other members next to value", "it was not read")
            for name in document
            if name not in ("value", "Count") and "@odata." not in str(name)
        ]
        yield from iter_objects(document["value"], problems, f"{path}.value", depth + 1)
    else:
        yield FoundObject(path=path, body=document)


def report_next_page(body: Mapping[str, Any], name: str, problems: list[Problem], path: str) -> None:
    """Add a problem if more pages follow the page *body*, or the expanded list *name* in it."""
    link = f"{name}{_NEXT}"
    if body.get(link):
        fix = f"follow {link} and read the other pages as well"
        problems.append(warning(f"{path}.{link}", "", "the last page: more objects follow", fix))


def _is_page(document: Mapping[str, Any]) -> bool:
    value = document.get("value")
    if isinstance(value, list | dict):
        return True
    return (
        value in (None, "") and "value" in document and not document.keys() - WRAPPER - _annotations(document)
    )


def _annotations(document: Mapping[str, Any]) -> set[str]:
    return {name for name in document if "@odata." in str(name) and name != TYPE}
