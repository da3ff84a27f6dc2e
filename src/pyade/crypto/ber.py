"""Bounds for BER before a parser sees it.

A parser of nested data recurses; what comes from outside is walked here first, without recursion: the end of
every element is inside its parent, the nesting is shallow, the number of elements is limited (one of two
bytes costs as much as a long one, and 64 KiB of them far more than a signature), and object identifiers are
short (a parser needs quadratic time for them: minutes for one of 1 MiB).

What is in every message, such as the certificate of an authority, is walked once: see ``Known``.

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
"""What a Mac sends has about 330: four certificates, and the content in parts."""
MAX_IDENTIFIER_BYTES: Final = 64
_END_OF_CONTENTS: Final = 0x00
_CONSTRUCTED: Final = 0x20
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06
_NOTHING: Final[Mapping[int, Sequence[Known]]] = {}


class MalformedError(ValueError):
    """The bytes are no BER, or exceed the bounds."""


class TruncatedError(MalformedError):
    """The bytes end before the element does."""


class Element(msgspec.Struct, eq=False, gc=False):
    """An element, as it stands in the bytes that were parsed.

    Attributes:
        data: All of those bytes.
        tag: The identifier octet.
        first: Where the element begins.
        start: Where its contents begin.
        end: Where they end.
        last: Where the element ends, the mark of its end included.
        children: The elements in a constructed one.
    """

    # 170 of them are made for each Mac: of msgspec's classes that takes a fifth of the time.
    data: bytes
    tag: int
    first: int
    start: int
    end: int
    last: int
    children: Sequence[Element]

    @property
    def is_indefinite(self) -> bool:
        """True if its end is marked, False if its length is given."""
        return self.last != self.end

    def __repr__(self) -> str:
        return f"<element {self.tag:02x}, {self.last - self.first} bytes>"

    @property
    def encoded(self) -> bytes:
        """All of the element."""
        return self.data[self.first : self.last]

    @property
    def contents(self) -> bytes:
        """The element without tag, length and mark."""
        return self.data[self.start : self.end]

    def leaves(self) -> Iterator[Element]:
        """Yield the primitive elements, in their order."""
        waiting: list[Element] = [self]
        while waiting:
            element = waiting.pop()
            if element.tag & _CONSTRUCTED:
                waiting += reversed(element.children)
            else:
                yield element

    def octets(self) -> bytes:
        """Return the value of an OCTET STRING, in one piece or in several, also with a tag of its own.

        Raises:
            MalformedError: It is no such string.

        Source: ITU-T X.690, clause 8.7.
        """
        if not self.tag & _CONSTRUCTED:
            return self.contents
        leaves = list(self.leaves())
        if {leaf.tag for leaf in leaves} - {_OCTET_STRING}:
            raise MalformedError("a string with a part that is no OCTET STRING")
        return b"".join([self.data[leaf.start : leaf.end] for leaf in leaves])

    def identifier(self) -> str:
        """Return an OBJECT IDENTIFIER with dots, such as ``1.2.840.113549``.

        Raises:
            MalformedError: It is none.

        Source: ITU-T X.690, clause 8.19.
        """
        if self.tag != _OBJECT_IDENTIFIER:
            raise MalformedError("no object identifier")
        return _dotted(self.contents)


@functools.lru_cache(maxsize=64)
def _dotted(contents: bytes) -> str:
    if not contents or contents[-1] & 0x80:
        raise MalformedError("no object identifier, or one that is cut short")
    numbers = [0]
    for byte in contents:
        numbers[-1] = numbers[-1] << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:-1])))


@attrs.frozen
class Known:
    """An element that was walked before, and is in many messages.

    Attributes:
        encoded: All of it.
        children: The elements in it.
        elements: How many it has, itself and marks of an end included.
        depth: How many levels of constructed ones it has, itself included.
    """

    encoded: bytes
    children: Sequence[Element]
    elements: int
    depth: int

    @classmethod
    def read(cls, encoded: bytes) -> Self:
        """Return the first element of *encoded*, a constructed one with a definite length.

        Raises:
            MalformedError: There is none.
        """
        element = parse(encoded)
        if not element.tag & _CONSTRUCTED or element.is_indefinite:
            raise MalformedError("no constructed element with a length")
        level, elements, depth = [element], 0, 0
        while level:
            elements += sum(1 + one.is_indefinite for one in level)
            depth += any(one.tag & _CONSTRUCTED for one in level)
            level = [child for one in level for child in one.children]
        return cls(element.encoded, element.children, elements, depth)


def by_size(known: Iterable[Known]) -> Mapping[int, Sequence[Known]]:
    """Return *known* as ``parse`` takes it: by the number of their bytes."""
    found: dict[int, list[Known]] = {}
    for one in known:
        found.setdefault(len(one.encoded), []).append(one)
    return found


def parse(  # noqa: C901, PLR0912, PLR0915 - written out for speed
    data: bytes, *, max_elements: int = MAX_ELEMENTS, known: Mapping[int, Sequence[Known]] = _NOTHING
) -> Element:
    """Return the first BER element of *data*; what follows it is not looked at.

    Args:
        data: The bytes.
        max_elements: How many elements it may have, itself included. The end of one of indefinite length
            counts as well.
        known: Those that need not be walked, of ``by_size``; the result is the same without.

    Raises:
        TruncatedError: *data* ends too early.
        MalformedError: *data* is no BER, or exceeds the bounds.
    """
    # A Mac's message has 170 elements or more: calls for each of them cost more than all else that is done.
    left, depth, position, limit, is_marked = max_elements, 0, 0, len(data), False
    children: list[Element] = []
    around: list[tuple[Element, int, bool, list[Element]]] = []
    try:
        while left > 0:
            left -= 1
            tag, length, start = data[position], data[position + 1], position + 2
            if length < 0x80:
                end = start + length
            elif length > 0x80:
                start, end = _long_length(data, start, limit, tag)
            else:
                end = _UNKNOWN if start <= limit else start
            if end > limit:
                raise _misfit(data, start, limit, tag)
            kind = _KINDS[tag]
            if kind == _PLAIN and end != _UNKNOWN:
                children.append(Element(data, tag, position, start, end, end, ()))
                position = end
            elif kind == _NESTED:
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
                    around.append((element, limit, is_marked, children))
                    depth += 1
                    if depth > MAX_DEPTH:
                        _check_depth(depth)
                    children, position, is_marked = inner, start, end == _UNKNOWN
                    if not is_marked:
                        limit = end
            elif kind == _END and is_marked and end == start:
                element, limit, is_marked, children = around.pop()
                element.end, element.last = position, position + 2
                position, depth = start, depth - 1
            else:
                _check_primitive(tag, start, end)
                children.append(Element(data, tag, position, start, end, end, ()))
                position = end
            while position == limit and not is_marked and depth:
                _, limit, is_marked, children = around.pop()
                depth -= 1
            if not depth:
                return children[0]
    except IndexError:
        raise _too_short(data, limit) from None
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
        raise MalformedError("an end or an indefinite length where none is allowed")
    if tag == _OBJECT_IDENTIFIER and end - start > MAX_IDENTIFIER_BYTES:
        raise MalformedError(f"an object identifier of more than {MAX_IDENTIFIER_BYTES} bytes")


def _long_length(data: bytes, start: int, limit: int, tag: int) -> tuple[int, int]:
    """Return where the contents begin and end, of an element whose length is in bytes of its own."""
    size = data[start - 1] & 0x7F
    if start > limit:
        raise _too_short(data, limit)
    _check_number(tag)
    if size > 8:
        raise MalformedError("a length of more than 8 bytes")
    if start + size > limit:
        raise _too_short(data, limit)
    return start + size, start + size + int.from_bytes(data[start : start + size], "big")


def _misfit(data: bytes, start: int, limit: int, tag: int) -> MalformedError:
    """Return the error for an element that goes beyond *limit*; what its tag says comes first."""
    if start <= limit:
        _check_number(tag)
    return _too_short(data, limit)


def _too_short(data: bytes, limit: int) -> MalformedError:
    return (
        TruncatedError("cut short") if limit == len(data) else MalformedError("an element exceeds its parent")
    )
