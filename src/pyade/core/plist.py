"""XML property lists from strangers.

The standard library's reader takes more than Apple writes. What goes beyond is refused before it reads: other
encodings than UTF-8, unknown elements, entity declarations, deep nesting, and more marks than a Mac's words
have: a reader works on tags, line ends, references and attributes, and text costs next to nothing.

Source: Apple, ``PropertyList-1.0.dtd``.
"""

from __future__ import annotations

import plistlib
from typing import Any, Final
from xml.parsers import expat

from pyade.core.untrusted import check_size, malformed, reading

MAX_DEPTH: Final = 16
MAX_MARKS: Final = 2_000
"""Four marks each for a key and its value; a Mac's words have about 30 keys."""
_ELEMENTS: Final = frozenset(
    {"plist", "dict", "array", "key", "string", "data", "date", "integer", "real", "true", "false"}
)
_MARKS: Final = (b"<", b"\n", b"\r", b"&", b'"', b"'")
_INTEGERS: Final = range(-(2**63), 2**64)


def read_plist(data: bytes) -> dict[str, Any]:
    """Return the dictionary of an XML property list.

    Args:
        data: At most 64 KiB of UTF-8, nested at most 16 deep, with at most 2,000 marks.

    Raises:
        TrustError: It is something else.
    """
    check_size(data, "the property list")
    with reading("the property list"):
        _check_outline(data)
        root = plistlib.loads(data, fmt=plistlib.FMT_XML)
    if not isinstance(root, dict):
        raise malformed("the property list is no dictionary")
    _check_integers(root)
    return root


def _check_outline(data: bytes) -> None:
    depth = 0

    def start(name: str, _attributes: object) -> None:
        nonlocal depth
        if name not in _ELEMENTS or (name == "plist") != (depth == 0):
            raise malformed("the XML is no property list")
        depth += 1
        if depth > MAX_DEPTH:
            raise malformed(f"the property list is nested deeper than {MAX_DEPTH} levels")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise malformed("the property list is not in UTF-8")

    def entity(*_arguments: object) -> None:
        raise malformed("the property list declares an entity, or names one that XML does not have")

    if (marks := sum(map(data.count, _MARKS))) > MAX_MARKS:
        raise malformed(f"the property list has {marks} tags, line ends and quotes, at most {MAX_MARKS}")
    if b"\0" in data or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise malformed("the property list is not in UTF-8")
    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.XmlDeclHandler = declaration
    parser.EntityDeclHandler = entity
    parser.SkippedEntityHandler = entity
    parser.Parse(data, True)


def _check_integers(root: dict[str, Any]) -> None:
    # Python reads hexadecimal numbers of any size, and then cannot print them.
    values: list[Any] = [root]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, int) and value not in _INTEGERS:
            raise malformed("the property list holds a number of more than 64 bits")
