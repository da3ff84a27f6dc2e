"""Parse BER from untrusted input within fixed limits, without recursion.

The rules of this file:

1. The end of every element is inside its parent.
2. Elements are nested at most 24 levels deep, because other parsers of nested data recurse.
3. The number of elements is limited: an element of two bytes costs as much time as a long one, and 64 KiB of
   them far more than a signature.
4. Object identifiers have at most 64 bytes: other parsers need quadratic time, minutes for one of 1 MiB.
5. An element that is in every message, such as the certificate of an authority, is parsed once: see
   ``Known``.

Source: ITU-T X.690, clause 8.1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Self

import attrs
import msgspec

MAX_DEPTH: Final = 24
MAX_ELEMENTS: Final = 2_000
"""A message of a Mac has about 330: four certificates, and the content in parts."""
MAX_IDENTIFIER_BYTES: Final = 64
_END_OF_CONTENTS: Final = 0x00
_CONSTRUCTED: Final = 0x20
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06
_NOTHING: Final[Mapping[int, Sequence[Known]]] = {}


class MalformedError(ValueError):
    """The bytes are not BER, or exceed a limit."""


class TruncatedError(MalformedError):
    """The bytes end before the element ends."""


class Element(msgspec.Struct, eq=False, gc=False):
    """An element, as offsets into the parsed bytes.

    Attributes:
        data: All parsed bytes.
        tag: The identifier octet.
        first: Offset of the element.
        start: Offset of its contents.
        end: Offset after the contents.
        last: Offset after the element, including its end-of-contents octets.
        children: The elements in a constructed element.
    """

    # Each Mac needs 170 of them: a msgspec class takes a fifth of the time.
    data: bytes
    tag: int
    first: int
    start: int
    end: int
    last: int
    children: Sequence[Element]

    @property
    def is_indefinite(self) -> bool:
        """True if it ends with end-of-contents octets, False if its length is given."""
        return self.last != self.end

    def __repr__(self) -> str:
        return f"<element {self.tag:02x}, {self.last - self.first} bytes>"

    @property
    def encoded(self) -> bytes:
        """The bytes of the whole element."""
        return self.data[self.first : self.last]

    @property
    def contents(self) -> bytes:
        """The contents, without tag, length and end-of-contents octets."""
        return self.data[self.start : self.end]

    def leaves(self) -> Iterator[Element]:
        """Yield the primitive elements, in order."""
        waiting: list[Element] = [self]
        while waiting:
            element = waiting.pop()
            if element.tag & _CONSTRUCTED:
                waiting += reversed(element.children)
            else:
                yield element

    def octets(self) -> bytes:
        """Return the value of an OCTET STRING, in one or several parts, also with an implicit tag.

        Raises:
            MalformedError: The element is not an OCTET STRING.

        Source: ITU-T X.690, clause 8.7.
        """
        if not self.tag & _CONSTRUCTED:
            return self.contents
        leaves = list(self.leaves())
        if {leaf.tag for leaf in leaves} - {_OCTET_STRING}:
            raise MalformedError("a string with a part that is not an OCTET STRING")
        return b"".join([self.data[leaf.start : leaf.end] for leaf in leaves])

    def identifier(self) -> str:
        """Return an OBJECT IDENTIFIER in dotted form, such as ``1.2.840.113549``.

        Raises:
            MalformedError: The element is not an OBJECT IDENTIFIER.

        Source: ITU-T X.690, clause 8.19.
        """
        if self.tag != _OBJECT_IDENTIFIER:
            raise MalformedError("not an object identifier")
        return _dotted(self.contents)


@functools.lru_cache(maxsize=64)
def _dotted(contents: bytes) -> str:
    if not contents or contents[-1] & 0x80:
        raise MalformedError("an object identifier that is empty or cut short")
    numbers = [0]
    for byte in contents:
        numbers[-1] = numbers[-1] << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:-1])))


@attrs.frozen
class Known:
    """An element that is in many messages and was parsed before.

    Attributes:
        encoded: The bytes of the whole element.
        children: The elements in it.
        elements: Number of elements, including itself and end-of-contents octets.
        depth: Number of levels of constructed elements, including itself.
    """

    encoded: bytes
    children: Sequence[Element]
    elements: int
    depth: int

    @classmethod
    def read(cls, encoded: bytes) -> Self:
        """Return the first element of *encoded*, which must be constructed with a definite length.

        Raises:
            MalformedError: There is no such element.
        """
        element = parse(encoded)
        if not element.tag & _CONSTRUCTED or element.is_indefinite:
            raise MalformedError("not a constructed element with a definite length")
        level, elements, depth = [element], 0, 0
        while level:
            elements += sum(1 + one.is_indefinite for one in level)
            depth += any(one.tag & _CONSTRUCTED for one in level)
            level = [child for one in level for child in one.children]
        return cls(element.encoded, element.children, elements, depth)


def by_size(known: Iterable[Known]) -> Mapping[int, Sequence[Known]]:
    """Return *known* grouped by length in bytes, as ``parse`` expects it."""
    found: dict[int, list[Known]] = {}
    for one in known:
        found.setdefault(len(one.encoded), []).append(one)
    return found


def parse(  # noqa: C901, PLR0912, PLR0915 - written out for speed
    data: bytes, *, max_elements: int = MAX_ELEMENTS, known: Mapping[int, Sequence[Known]] = _NOTHING
) -> Element:
    """Return the first BER element of *data*; bytes that follow it are ignored.

    Args:
        data: The bytes.
        max_elements: Maximum number of elements, including the first one and end-of-contents octets.
        known: Elements that need not be parsed, from ``by_size``; the result is the same without them.

    Raises:
        TruncatedError: *data* ends too early.
        MalformedError: *data* is not BER, or exceeds a limit.
    """
    # A Mac's message has 170 elements or more: a function call for each would take most of the time.
    left, depth, position, limit, is_open = max_elements, 0, 0, len(data), False
    children: list[Element] = []
    around: list[tuple[Element, int, bool, list[Element]]] = []
    try:
        while left > 0:  # rule 3
            left -= 1
            tag, length, start = data[position], data[position + 1], position + 2
            if length < 0x80:
                end = start + length
            elif length > 0x80:
                start, end = _long_length(data, start, limit, tag)
            else:
                end = _UNKNOWN if start <= limit else start
            if end > limit:  # rule 1
                raise _limit_error(data, start, limit, tag)
            kind = _KINDS[tag]
            if kind == _PLAIN and end != _UNKNOWN:
                children.append(Element(data, tag, position, start, end, end, ()))
                position = end
            elif kind == _NESTED:
                # Rule 5
                if end - position in known and (found := _known_at(data, position, end, known)) is not None:
                    left -= found.elements - 1
                    if left < 0:
                        break
                    _check_depth(depth + found.depth)
                    children.append(Element(data, tag, position, start, end, end, found.children))
                    position = end
                else:
                    inner: list[Element] = []
                    element = Element(data, tag, position, start, end, end, inner)
                    children.append(element)
                    around.append((element, limit, is_open, children))
                    depth += 1
                    if depth > MAX_DEPTH:  # rule 2
                        _check_depth(depth)
                    children, position, is_open = inner, start, end == _UNKNOWN
                    if not is_open:
                        limit = end
            elif kind == _END and is_open and end == start:
                element, limit, is_open, children = around.pop()
                element.end, element.last = position, position + 2
                position, depth = start, depth - 1
            else:
                _check_primitive(tag, start, end)
                children.append(Element(data, tag, position, start, end, end, ()))
                position = end
            while position == limit and not is_open and depth:
                _, limit, is_open, children = around.pop()
                depth -= 1
            if not depth:
                return children[0]
    except IndexError:
        raise _cut_error(data, limit) from None
    raise MalformedError(f"more than {max_elements} elements")


_UNKNOWN: Final = -1
_PLAIN, _NESTED, _END, _OTHER = range(4)


def _kind(tag: int) -> int:
    if tag & 0x1F == 0x1F:
        return _OTHER
    if tag & _CONSTRUCTED:
        return _NESTED
    return {_END_OF_CONTENTS: _END, _OBJECT_IDENTIFIER: _OTHER}.get(tag, _PLAIN)


_KINDS: Final = bytes(map(_kind, range(256)))


def _known_at(data: bytes, position: int, end: int, known: Mapping[int, Sequence[Known]]) -> Known | None:
    for one in known[end - position]:
        if data.startswith(one.encoded, position):
            return one
    return None


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise MalformedError(f"nested deeper than {MAX_DEPTH} levels")


def _check_number(tag: int) -> None:
    if tag & 0x1F == 0x1F:
        raise MalformedError("a tag number above 30")


def _check_primitive(tag: int, start: int, end: int) -> None:
    _check_number(tag)
    if end == _UNKNOWN or tag == _END_OF_CONTENTS:
        raise MalformedError("end-of-contents octets or an indefinite length where it is not allowed")
    if tag == _OBJECT_IDENTIFIER and end - start > MAX_IDENTIFIER_BYTES:  # rule 4
        raise MalformedError(f"an object identifier of more than {MAX_IDENTIFIER_BYTES} bytes")


def _long_length(data: bytes, start: int, limit: int, tag: int) -> tuple[int, int]:
    """Return where the contents begin and end, for an element with a length in the long form."""
    size = data[start - 1] & 0x7F
    if start > limit:
        raise _cut_error(data, limit)
    _check_number(tag)
    if size > 8:
        raise MalformedError("a length of more than 8 bytes")
    if start + size > limit:
        raise _cut_error(data, limit)
    return start + size, start + size + int.from_bytes(data[start : start + size], "big")


def _limit_error(data: bytes, start: int, limit: int, tag: int) -> MalformedError:
    """Return the error for an element that exceeds *limit*; a problem with its tag has priority."""
    if start <= limit:
        _check_number(tag)
    return _cut_error(data, limit)


def _cut_error(data: bytes, limit: int) -> MalformedError:
    return (
        TruncatedError("cut short") if limit == len(data) else MalformedError("an element exceeds its parent")
    )
