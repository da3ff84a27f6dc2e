"""Files of Intune's JSON: bytes in several encodings, and the objects in pages and lists of them.

Size and depth are bounded before anything is made of them; see the rules in ``reading``.

Source: Microsoft Graph; that exports of PowerShell have a byte order mark, UTF-16 and lists of one object
without brackets is observed.

The members of an object of Intune's JSON as they come: annotations, lists, old forms of time.

The rules of this file:

1. Size and depth are bounded before anything is made of them.
2. Annotations (``@odata.``) are dropped, except for the type, which says what an object is.
3. A member that is missing, null or empty says the same: nothing.
4. ``/Date(1571240587193)/`` and seven digits of a second are read, and never written.
5. A list comes in every form that PowerShell gives one: as it is, as the bare element where there is only
   one, in an object with ``value`` and ``Count``, null where there is none. What ``ConvertTo-Json`` cut off
   is a problem, and never taken for a value.

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

from pyade.core.problems import Problem, Severity
from pyade.core.secret import masked
from pyade.core.values import format_time
from pyade.errors import IntuneError

MAX_DEPTH: Final = 32
"""How deep values may be nested in an object; Intune's own have 3."""

WHOLE: Final = "export it again with ConvertTo-Json -Depth 20: PowerShell cut it off"
"""What to do about a value that is no longer there."""

WRAPPER: Final = frozenset({"value", "Count"})
"""The members of an object that PowerShell makes of a list."""

TYPE: Final = "@odata.type"
ADMIN_PASSWORD: Final = "adminAccountPassword"  # noqa: S105 - the name of a member
_PREFIX: Final = "microsoft.graph."
_DATE: Final = re.compile(r"/Date\((-?\d{1,17})(?:[+-]\d{4})?\)/")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN: Final = 80

T = TypeVar("T")
Wrong: TypeAlias = Callable[[str, str], None]
"""Takes a path and what is allowed there."""


def items(value: Any) -> list[Any] | None:
    """Return what a list holds, in whatever form it came; None if there is none.

    A list inside a list is opened, null is passed over, and what is no list is its only element.
    """
    if value in (None, ""):
        return None
    found: list[Any] = []
    parts = [(value, 0)]
    while parts:
        part, depth = parts.pop()
        if isinstance(part, Mapping) and "value" in part and part.keys() <= WRAPPER:
            part = part["value"]
        if isinstance(part, list) and depth < MAX_DEPTH:
            parts += ((item, depth + 1) for item in reversed(part))
        elif part is not None:
            found.append(part)
    return found


def type_of(body: Mapping[str, Any]) -> str:
    """Return the type that an object names, without its prefix; "" if it names none."""
    name = body.get(TYPE)
    return name.removeprefix("#").removeprefix(_PREFIX) if isinstance(name, str) else ""


def member(path: str, name: str) -> str:
    """Return the path of a member, whatever is in its name."""
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{name[:_SHOWN]!r}]"


def warning(setting: str, allowed: str, fix: str, value: str = "") -> Problem:
    """Return what has no equal, or what is doubtful."""
    return Problem(setting, value[:_SHOWN], allowed, fix, Severity.WARNING)


class Members:
    """The members of one object: each is asked for by name and kind, and the rest is kept.

    What has the wrong kind is collected in ``problems``, and never shown.

    Args:
        body: The object.
        path: Where it is.
        places: Where a member came from, if it does not stand in the object itself.
    """

    def __init__(self, body: Any, path: str, places: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._places = places or {}
        self.problems: list[Problem] = []
        self._left: dict[str, Any] = {}
        if not isinstance(body, Mapping):
            self._wrong(path, f"an object, not {type(body).__name__}")
            return
        cleaned = _cleaned(body, path, self._wrong, 0)
        cleaned.pop(TYPE, None)
        self._left = cleaned

    def at(self, name: str) -> str:
        """Return the path of a member."""
        return self._places.get(name) or member(self.path, name)

    def peek(self, name: str) -> Any:
        """Return a member, which stays; None if it is not there."""
        return self._left.get(name)

    def take(self, name: str) -> Any:
        """Return a member of any kind; None if it is not there."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str:
        """Return a text; "" if there is none."""
        return self._typed(name, str, "a text") or ""

    def flag(self, name: str) -> bool | None:
        """Return True or False; None if neither is said."""
        return self._typed(name, bool, "true or false")

    def number(self, name: str) -> int | None:
        """Return a whole number; None if there is none."""
        value = self._left.pop(name, None)
        if value is None or type(value) is int:
            return value
        self._wrong(self.at(name), "a whole number")
        return None

    def texts(self, name: str) -> list[str] | None:
        """Return a list of texts without space; None if there is none."""
        value = self._left.pop(name, None)
        listed = items(value)
        if listed is None:
            return None
        if is_cut(value) or (isinstance(value, str) and " " in value):
            self.problems.append(Problem(self.at(name), "", "a list of texts, not cut off", WHOLE))
            return None
        if not all(isinstance(item, str) for item in listed):
            self._wrong(self.at(name), "a list of texts")
            return None
        return listed

    def time(self, name: str) -> datetime | None:
        """Return a time in UTC; None if there is none, or one that stands for never."""
        text = self.text(name)
        try:
            time = parse_time(text) if text else None
        except (ValueError, OverflowError):
            self._wrong(self.at(name), "a time such as 2026-07-01T10:00:00Z")
            return None
        return None if time is None or time.year == 1 else time

    def rest(self) -> dict[str, Any]:
        """Return what nobody asked for."""
        return self._left

    def wrong(self, name: str, allowed: str) -> None:
        """Note that a member is not as it must be; *name* may go on with a dot and a member inside it."""
        first, dot, inside = name.partition(".")
        place = self._places.get(first, f"{self.path}.{first}")
        self._wrong(f"{place}{dot}{inside}", allowed)

    def check(self) -> None:
        """Raise for everything that had the wrong kind.

        Raises:
            IntuneError: Something had.
        """
        if self.problems:
            raise IntuneError(tuple(self.problems))

    def _typed(self, name: str, kind: type[T], words: str) -> T | None:
        value = self._left.pop(name, None)
        if value is None or isinstance(value, kind):
            return value
        self._wrong(self.at(name), words)
        return None

    def _wrong(self, where: str, allowed: str) -> None:
        self.problems.append(Problem(where, "", allowed, "correct it, or export it again"))


def parse_time(text: str) -> datetime:
    """Return the time of *text* in UTC, digits beyond a microsecond cut.

    Raises:
        ValueError: It is none.
        OverflowError: It lies outside the years 1 to 9999.
    """
    if match := _DATE.fullmatch(text):
        return _EPOCH + timedelta(milliseconds=int(match[1]))
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or time.year == 1:
        return time.replace(tzinfo=UTC)
    return time.astimezone(UTC)


def is_cut(value: Any) -> bool:
    """Return True for what PowerShell writes of objects that lie too deep."""
    return isinstance(value, str) and value.startswith(("@{", "System."))


def written_time(time: datetime | None) -> str | None:
    """Return *time* as Intune writes it; null for none."""
    return None if time is None else format_time(time)


def _cleaned(body: Mapping[Any, Any], path: str, wrong: Wrong, depth: int) -> dict[str, Any]:
    """Return a copy without annotations, in which every value is JSON's and every time is readable."""
    cleaned: dict[str, Any] = {}
    for name, value in body.items():
        if not isinstance(name, str) or not (name.isascii() or not _SURROGATE.search(name)):
            wrong(path, "names that are texts in Unicode")
        elif "@odata." in name and name != TYPE:
            continue
        elif value is None or isinstance(value, bool | int) or _is_plain(value):
            cleaned[name] = value
        else:
            where = member(path, name)
            is_date = name.endswith("DateTime") and isinstance(value, str) and _DATE.fullmatch(value)
            cleaned[name] = _iso(value, where, wrong) if is_date else _copy(value, where, wrong, depth + 1)
    return cleaned


def _is_plain(value: object) -> bool:
    """Return True for what most members are, so that no path has to be made for them."""
    return isinstance(value, str) and value.isascii() and not value.startswith("/Date(")


def _copy(value: Any, path: str, wrong: Wrong, depth: int) -> Any:
    if depth > MAX_DEPTH:
        wrong(path, f"at most {MAX_DEPTH} levels")
    elif isinstance(value, str):
        if value.isascii() or not _SURROGATE.search(value):
            return value
        wrong(path, "text in Unicode, without unpaired surrogates")
    elif value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    elif isinstance(value, list | tuple):
        return [_copy(item, f"{path}[{index}]", wrong, depth + 1) for index, item in enumerate(value)]
    elif isinstance(value, Mapping):
        return _cleaned(value, path, wrong, depth)
    else:
        wrong(path, f"a value of JSON, not {type(value).__name__}")
    return None


def _iso(text: str, path: str, wrong: Wrong) -> str | None:
    try:
        return format_time(parse_time(text))
    except (ValueError, OverflowError):
        wrong(path, "a time between the years 1 and 9999")
        return None


MAX_BYTES: Final = 256 * 1024 * 1024
"""Largest file that is read, unless told otherwise; 200,000 devices have about 140 MB."""


_NEXT: Final = "@odata.nextLink"


@attrs.frozen(kw_only=True)
class Found:
    """An object in a document, and where it was."""

    path: str
    body: Mapping[str, Any]


def decode(data: bytes | str, *, max_bytes: int = MAX_BYTES) -> Any:
    """Return the JSON document of *data*.

    Raises:
        IntuneError: It is too large, in no encoding of JSON, or no JSON.
    """
    if len(data) > max_bytes:
        allowed = f"at most {max_bytes} bytes, not {len(data)}"
        raise IntuneError((Problem("$", "", allowed, "split it, or allow more with max_bytes"),))
    data = masked(data)
    try:
        return _parsed(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        reason = type(exc).__name__
    # Outside the block above: what the decoder says may quote what was read, and would hang on this error.
    allowed = f"a JSON document in UTF-8, UTF-16 or UTF-32 ({reason})"
    raise IntuneError((Problem("$", "", allowed, "export it again"),))


def masked_passwords(document: T, depth: int = 0) -> T:
    """Return *document* with stars for the passwords in it, however deep; a copy if there are any."""
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
            new = masked_passwords(value, depth + 1)
        else:
            continue
        if new is not value:
            if copy is given:
                copy = list(given) if isinstance(given, list) else dict(given)
            copy[key] = new
    found: T = copy
    return found


def _parsed(data: bytes | str) -> Any:
    text = data.decode(json.detect_encoding(data)) if isinstance(data, bytes) else data
    return msgspec.json.decode(text.removeprefix(codecs.BOM_UTF8.decode()))


def objects(document: Any, problems: list[Problem], path: str = "$", depth: int = 0) -> Iterator[Found]:
    """Yield the objects of a bare object, a list, a page or a list of pages.

    Raises:
        IntuneError: There is something else in it.
    """
    if depth > MAX_DEPTH:
        raise IntuneError((Problem(path[:_SHOWN], "", "objects, not lists of lists", "export it again"),))
    if isinstance(document, list):
        for index, item in enumerate(document):
            yield from objects(item, problems, f"{path}[{index}]", depth + 1)
    elif document in (None, "") and depth:
        return  # A list of PowerShell's that holds nothing.
    elif not isinstance(document, Mapping):
        allowed = f"an object, a list of objects or a page with value, not {type(document).__name__}"
        fix = WHOLE if is_cut(document) else "give what Intune or Graph exported"
        raise IntuneError((Problem(path, "", allowed, fix),))
    elif _is_page(document):
        more_pages(document, "", problems, path)
        problems += [
            warning(member(path, str(name)), "nothing else beside value", "it was not read")
            for name in document
            if name not in ("value", "Count") and "@odata." not in str(name)
        ]
        yield from objects(document["value"], problems, f"{path}.value", depth + 1)
    else:
        yield Found(path=path, body=document)


def more_pages(body: Mapping[str, Any], name: str, problems: list[Problem], path: str) -> None:
    """Report if other pages follow: the page *body*, or the expanded list *name* in it."""
    link = f"{name}{_NEXT}"
    if body.get(link):
        fix = f"follow {link} and read the other pages, too"
        problems.append(warning(f"{path}.{link}", "the last page: more objects follow", fix))


def _is_page(document: Mapping[str, Any]) -> bool:
    value = document.get("value")
    if isinstance(value, list | dict):
        return True
    return (
        value in (None, "") and "value" in document and not document.keys() - WRAPPER - _annotations(document)
    )


def _annotations(document: Mapping[str, Any]) -> set[str]:
    return {name for name in document if "@odata." in str(name) and name != TYPE}
