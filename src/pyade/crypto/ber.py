"""Bounds for BER before a parser sees it.

A parser of nested data recurses; what comes from outside is walked here first, without recursion: the end of
every element is inside its parent, the nesting is shallow, the number of elements is limited (one of two
bytes costs as much as a long one, and 64 KiB of them far more than a signature), and object identifiers are
short (a parser needs quadratic time for them: minutes for one of 1 MiB).

Source: ITU-T X.690, clause 8.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

MAX_DEPTH: Final = 24
MAX_ELEMENTS: Final = 2_000
"""What a Mac sends has about 330: four certificates, and the content in parts."""
MAX_IDENTIFIER_BYTES: Final = 64
_END_OF_CONTENTS: Final = 0x00
_CONSTRUCTED: Final = 0x20
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06


class MalformedError(ValueError):
    """The bytes are no BER, or exceed the bounds."""


class TruncatedError(MalformedError):
    """The bytes end before the element does."""


@attrs.define(eq=False, repr=False)
class Element:
    """An element, as it stands in the bytes that were parsed.

    Attributes:
        data: All of those bytes.
        tag: The identifier octet.
        first: Where the element begins.
        start: Where its contents begin.
        end: Where they end.
        is_indefinite: True if its end is marked, False if its length is given.
        children: The elements in a constructed one.
    """

    data: bytes
    tag: int
    first: int
    start: int
    end: int
    is_indefinite: bool = False
    children: list[Element] = attrs.field(factory=list)

    @property
    def last(self) -> int:
        """Where the element ends, the mark of its end included."""
        return self.end + 2 if self.is_indefinite else self.end

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
        contents = self.contents
        if self.tag != _OBJECT_IDENTIFIER or not contents or contents[-1] & 0x80:
            raise MalformedError("no object identifier, or one that is cut short")
        numbers = [0]
        for byte in contents:
            numbers[-1] = numbers[-1] << 7 | byte & 0x7F
            if not byte & 0x80:
                numbers.append(0)
        first = min(numbers[0] // 40, 2)
        return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:-1])))


def parse(data: bytes, *, max_elements: int = MAX_ELEMENTS) -> Element:
    """Return the first BER element of *data*; what follows it is not looked at.

    Args:
        data: The bytes.
        max_elements: How many elements it may have, itself included. The end of one of indefinite length
            counts as well.

    Raises:
        TruncatedError: *data* ends too early.
        MalformedError: *data* is no BER, or exceeds the bounds.
    """
    position = 0
    around: list[Element] = []
    for _ in range(max_elements):
        limit = around[-1].end if around else len(data)
        tag, length, start = _header(data, position, limit)
        element = Element(
            data, tag, position, start, limit if length is None else start + length, length is None
        )
        if tag == _END_OF_CONTENTS and length == 0 and around and around[-1].is_indefinite:
            element = around.pop()
            element.end = position
            position = start
        else:
            if around:
                around[-1].children.append(element)
            if tag & _CONSTRUCTED:
                around.append(element)
                position = start
                if len(around) > MAX_DEPTH:
                    raise MalformedError(f"nested deeper than {MAX_DEPTH} levels")
            else:
                _check_primitive(tag, length)
                position = element.end
        while around and not around[-1].is_indefinite and position == around[-1].end:
            element = around.pop()
        if not around:
            return element
    raise MalformedError(f"more than {max_elements} elements")


def _check_primitive(tag: int, length: int | None) -> None:
    if length is None or tag == _END_OF_CONTENTS:
        raise MalformedError("an end or an indefinite length where none is allowed")
    if tag == _OBJECT_IDENTIFIER and length > MAX_IDENTIFIER_BYTES:
        raise MalformedError(f"an object identifier of more than {MAX_IDENTIFIER_BYTES} bytes")


def _header(data: bytes, position: int, limit: int) -> tuple[int, int | None, int]:
    """Return tag, length (None: indefinite) and where the contents begin."""
    if position + 2 > limit:
        raise _too_short(data, limit)
    tag, first = data[position], data[position + 1]
    position += 2
    if tag & 0x1F == 0x1F:
        raise MalformedError("a tag number above 30")
    if first == 0x80:
        return tag, None, position
    if first < 0x80:
        length = first
    else:
        size = first & 0x7F
        if size > 8:
            raise MalformedError("a length of more than 8 bytes")
        if position + size > limit:
            raise _too_short(data, limit)
        length = int.from_bytes(data[position : position + size], "big")
        position += size
    if length > limit - position:
        raise _too_short(data, limit)
    return tag, length, position


def _too_short(data: bytes, limit: int) -> MalformedError:
    return (
        TruncatedError("cut short") if limit == len(data) else MalformedError("an element exceeds its parent")
    )
