"""Read XML property lists from untrusted input.

The rules of this file:

1. The standard library's parser accepts more than Apple writes. The rest is refused before it parses: other
   encodings than UTF-8, unknown elements, entity declarations, deep nesting, and more marks than a Mac sends.
   Marks are tags, line ends, references and quotes: they cost time to parse, and text nearly none.
2. A MachineInfo has one format only, texts and switches in ASCII in one dictionary: that is read by a regular
   expression, in a seventh of the time, with the same result.
3. Of a large list, such as the result of a command, only the values of some keys at its top are kept.

Source: Apple, ``PropertyList-1.0.dtd``.
"""

from __future__ import annotations

import plistlib
import re
from collections.abc import Callable, Collection
from typing import Any, Final
from xml.parsers import expat

import attrs

from pyade.core.input_limits import check_size, malformed, reading

MAX_DEPTH: Final = 16
MAX_MARKS: Final = 800
"""Four marks each for a key and its value; a MachineInfo has about 30 keys."""

MAX_LARGE_BYTES: Final = 16 * 1024 * 1024
MAX_TAGS: Final = 2_000_000
"""16 MiB of installed applications have half of it."""

_MAX_ATTRIBUTES: Final = 10_000  # Apple writes one, and embedded lists have more as data
_LONGEST: Final = 1_024  # of a text that is kept of a large list: identifiers and names
_MARKS: Final = (b"<", b"\n", b"\r", b"&", b'"', b"'")
_TOP: Final = 3  # the depth of keys and values: plist, dict, key
_ELEMENTS: Final = frozenset(
    {"plist", "dict", "array", "key", "string", "data", "date", "integer", "real", "true", "false"}
)
_INTEGERS: Final = range(-(2**63), 2**64)


def read_plist(data: bytes) -> dict[str, Any]:
    """Return the dictionary of an XML property list.

    Args:
        data: At most 64 KiB of UTF-8, nested at most 16 deep, with at most 800 marks.

    Raises:
        TrustError: It is something else.
    """
    check_size(data, "the property list")
    with reading("the property list"):
        if (marks := sum(map(data.count, _MARKS))) > MAX_MARKS:  # rule 1
            raise malformed(f"the property list has {marks} tags, line ends and quotes, at most {MAX_MARKS}")
        if (found := _read_flat(data)) is not None:  # rule 2
            return found
        _parse(data, _Outline())
        root = plistlib.loads(data, fmt=plistlib.FMT_XML)
    if not isinstance(root, dict):
        raise malformed("the property list is no dictionary")
    if b"<integer" in data:  # checking each value takes a tenth of the time
        _check_integers(root)
    return root


# Texts are ASCII that stands for itself: no markup, and no carriage return, which XML turns into a line end.
_FLAT: Final = re.compile(
    rb'<\?xml version="1\.0" encoding="UTF-8"\?>[\t\n ]*+'
    rb'(?:<!DOCTYPE plist PUBLIC "-//Apple(?: Computer)?//DTD PLIST 1\.0//EN"'
    rb' "http://www\.apple\.com/DTDs/PropertyList-1\.0\.dtd">[\t\n ]*+)?'
    rb'<plist version="1\.0">[\t\n ]*+<dict>[\t\n ]*+'
    rb"((?:<key>[\t\n -%'-;=?-~]*+</key>[\t\n ]*+"
    rb"(?:<string>[\t\n -%'-;=?-~]*+</string>|<true/>|<false/>)[\t\n ]*+)*+)"
    rb"</dict>[\t\n ]*+</plist>[\t\n ]*+"
)
_PAIR: Final = re.compile(r"<key>([^<]*)</key>\s*<(?:string>([^<]*)|(true|false)/>)")


def _read_flat(data: bytes) -> dict[str, Any] | None:
    """Return the content of a property list in the format that Macs send; None for another format."""
    flat = _FLAT.fullmatch(data)
    if flat is None:
        return None
    pairs = _PAIR.findall(flat[1].decode("ascii"))
    return {key: switch == "true" if switch else text for key, text, switch in pairs}


@attrs.frozen
class PlistValue:
    """A value at the top of a property list.

    Attributes:
        kind: The element: ``string``, ``true``, ``dict`` and others.
        text: Its text, of a string; at most 1,024 characters.
    """

    kind: str
    text: str


def read_top(data: bytes, keys: Collection[str]) -> dict[str, PlistValue]:
    """Return the values of *keys* at the top of a property list; nothing else of it is kept.

    Args:
        data: At most 16 MiB of UTF-8, nested at most 16 deep, with at most 2,000,000 tags.
        keys: The wanted keys.

    Raises:
        TrustError: It is something else, or a wanted text has more than 1,024 characters.
    """
    check_size(data, "the property list", MAX_LARGE_BYTES)
    with reading("the property list"):
        if (tags := data.count(b"<")) > MAX_TAGS:
            raise malformed(f"the property list has {tags} tags, at most {MAX_TAGS} are allowed")
        if data.count(b'="') + data.count(b"='") > _MAX_ATTRIBUTES:
            raise malformed(f"the property list has more than {_MAX_ATTRIBUTES} attributes")
        top = _Top(keys)
        _parse(data, top)
    if not top.is_dictionary:
        raise malformed("the property list is no dictionary")
    return top.found


class _Outline:
    """Checks elements and their depth."""

    def __init__(self) -> None:
        self.depth = 0

    def use(self, parser: expat.XMLParserType) -> None:
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end

    def start(self, name: str, _attributes: object) -> None:
        if name not in _ELEMENTS or (name == "plist") != (self.depth == 0):
            raise malformed("the XML is no property list")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise malformed(f"the property list is nested deeper than {MAX_DEPTH} levels")

    def end(self, _name: str) -> None:
        self.depth -= 1


class _Top(_Outline):
    """Keeps the values of some keys."""

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__()
        self.found: dict[str, PlistValue] = {}
        self.is_dictionary = False
        self._keys = keys
        self._key: str | None = None
        self._text: list[str] = []
        self._size = 0
        self._set_text_handler: Callable[[Callable[[str], None] | None], None] = lambda _: None

    def use(self, parser: expat.XMLParserType) -> None:
        super().use(parser)
        parser.buffer_text = True
        self._set_text_handler = lambda handler: setattr(parser, "CharacterDataHandler", handler)

    def start(self, name: str, attributes: object) -> None:
        super().start(name, attributes)
        if self.depth < _TOP:
            if self.depth == _TOP - 1 and (name != "dict" or self.is_dictionary):
                raise malformed("the property list is no dictionary, or several")
            self.is_dictionary = self.depth == _TOP - 1
        elif self.depth == _TOP:
            if (name == "key") != (self._key is None):
                raise malformed("the property list has a key without a value, or a value without a key")
            self._text, self._size = [], 0
            if name == "key" or self._key in self._keys:
                self._set_text_handler(self._collect)  # rule 3

    def end(self, name: str) -> None:
        self.depth -= 1
        if self.depth == _TOP - 1:
            self._set_text_handler(None)
            if name == "key":
                self._key = "".join(self._text)
                return
            if self._key is not None and self._key in self._keys:
                self.found[self._key] = PlistValue(name, "".join(self._text))
            self._key = None
        elif self.depth == _TOP - 2 and self._key is not None:
            raise malformed("the property list has a key without a value")

    def _collect(self, text: str) -> None:
        self._size += len(text)
        if self._size <= _LONGEST:
            self._text.append(text)
        elif self._key is None:
            self._text = []  # a key that long is never wanted
        else:
            raise malformed(f"{self._key} has more than {_LONGEST} characters")


def _parse(data: bytes, outline: _Outline) -> None:
    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise malformed("the property list is not in UTF-8")

    def entity(*_arguments: object) -> None:
        raise malformed("the property list declares an entity, or names one that XML does not have")

    if b"\0" in data or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise malformed("the property list is not in UTF-8")
    parser = expat.ParserCreate()
    outline.use(parser)
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
