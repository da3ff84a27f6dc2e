"""Files of Intune's JSON: bytes in several encodings, and the objects in pages and lists of them.

Size and depth are bounded before anything is made of them; see the rules in ``reading``.

Source: Microsoft Graph; that exports of PowerShell have a byte order mark, UTF-16 and lists of one object
without brackets is observed.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import attrs
import msgspec

from pyade.builders.intune.reading import (
    ADMIN_PASSWORD,
    MAX_DEPTH,
    TYPE,
    WHOLE,
    WRAPPER,
    is_cut,
    member,
    warning,
)
from pyade.core.problems import Problem
from pyade.core.secret import masked
from pyade.errors import IntuneError

MAX_BYTES: Final = 256 * 1024 * 1024
"""Largest file that is read, unless told otherwise; 200,000 devices have about 140 MB."""

T = TypeVar("T")

_NEXT: Final = "@odata.nextLink"
_SHOWN: Final = 80


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


def objects(document: Any, findings: list[Problem], path: str = "$", depth: int = 0) -> Iterator[Found]:
    """Yield the objects of a bare object, a list, a page or a list of pages.

    Raises:
        IntuneError: There is something else in it.
    """
    if depth > MAX_DEPTH:
        raise IntuneError((Problem(path[:_SHOWN], "", "objects, not lists of lists", "export it again"),))
    if isinstance(document, list):
        for index, item in enumerate(document):
            yield from objects(item, findings, f"{path}[{index}]", depth + 1)
    elif document in (None, "") and depth:
        return  # A list of PowerShell's that holds nothing.
    elif not isinstance(document, Mapping):
        allowed = f"an object, a list of objects or a page with value, not {type(document).__name__}"
        fix = WHOLE if is_cut(document) else "give what Intune or Graph exported"
        raise IntuneError((Problem(path, "", allowed, fix),))
    elif _is_page(document):
        more_pages(document, "", findings, path)
        findings += [
            warning(member(path, str(name)), "nothing else beside value", "it was not read")
            for name in document
            if name not in ("value", "Count") and "@odata." not in str(name)
        ]
        yield from objects(document["value"], findings, f"{path}.value", depth + 1)
    else:
        yield Found(path=path, body=document)


def more_pages(body: Mapping[str, Any], name: str, findings: list[Problem], path: str) -> None:
    """Report if other pages follow: the page *body*, or the expanded list *name* in it."""
    link = f"{name}{_NEXT}"
    if body.get(link):
        fix = f"follow {link} and read the other pages, too"
        findings.append(warning(f"{path}.{link}", "the last page: more objects follow", fix))


def _is_page(document: Mapping[str, Any]) -> bool:
    value = document.get("value")
    if isinstance(value, list | dict):
        return True
    return (
        value in (None, "") and "value" in document and not document.keys() - WRAPPER - _annotations(document)
    )


def _annotations(document: Mapping[str, Any]) -> set[str]:
    return {name for name in document if "@odata." in str(name) and name != TYPE}
