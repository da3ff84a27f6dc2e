"""Bounds for BER before a parser sees it.

A parser of nested data recurses; what comes from outside is walked here first, without recursion: the end of
every element is inside its parent, the nesting is shallow, the number of elements is limited, and object
identifiers are short (a parser needs quadratic time for them: minutes for one of 1 MiB).

Source: ITU-T X.690, clause 8.1.
"""

from __future__ import annotations

from typing import Final

import attrs

MAX_DEPTH: Final = 24
MAX_ELEMENTS: Final = 20_000
MAX_IDENTIFIER_BYTES: Final = 64
_END_OF_CONTENTS: Final = 0x00
_CONSTRUCTED: Final = 0x20
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06


class MalformedError(ValueError):
    """The bytes are no BER, or exceed the bounds."""


class TruncatedError(MalformedError):
    """The bytes end before the element does."""


@attrs.frozen
class Leaf:
    """A primitive element.

    Attributes:
        tag: The identifier octet.
        start: Where its contents begin.
        end: Where they end.
    """

    tag: int
    start: int
    end: int


def walk(data: bytes) -> tuple[list[Leaf], int]:
    """Return the primitive elements in the first BER element of *data*, and where that element ends.

    What follows it is not looked at.

    Raises:
        TruncatedError: *data* ends too early.
        MalformedError: *data* is no BER, or exceeds the bounds.
    """
    leaves: list[Leaf] = []
    position = 0
    ends: list[
        tuple[int, bool]
    ] = []  # of the open elements: limit of their contents, is the length indefinite
    for _ in range(MAX_ELEMENTS):
        limit = ends[-1][0] if ends else len(data)
        tag, length, position = _header(data, position, limit)
        if tag == _END_OF_CONTENTS and length == 0 and ends and ends[-1][1]:
            ends.pop()
        elif tag & _CONSTRUCTED:
            ends.append((limit, True) if length is None else (position + length, False))
            if len(ends) > MAX_DEPTH:
                raise MalformedError(f"nested deeper than {MAX_DEPTH} levels")
        elif length is None or tag == _END_OF_CONTENTS:
            raise MalformedError("an end or an indefinite length where none is allowed")
        elif tag == _OBJECT_IDENTIFIER and length > MAX_IDENTIFIER_BYTES:
            raise MalformedError(f"an object identifier of more than {MAX_IDENTIFIER_BYTES} bytes")
        else:
            leaves.append(Leaf(tag, position, position + length))
            position += length
        while ends and not ends[-1][1] and position == ends[-1][0]:
            ends.pop()
        if not ends:
            return leaves, position
    raise MalformedError(f"more than {MAX_ELEMENTS} elements")


def children(element: bytes) -> list[bytes]:
    """Return the elements in a constructed element.

    Those of a definite length are cut out without a look into them: ``walk`` must have accepted *element*.

    Raises:
        MalformedError: *element* is no BER or exceeds the bounds.
    """
    _, length, position = _header(element, 0, len(element))
    end = position + length if length is not None else walk(element)[1] - 2
    found: list[bytes] = []
    while position < end:
        _, length, start = _header(element, position, end)
        stop = start + length if length is not None else position + walk(element[position:end])[1]
        found.append(element[position:stop])
        position = stop
    return found


def octets(element: bytes) -> bytes:
    """Return the value of an OCTET STRING, in one piece or in several, also with a tag of its own.

    Raises:
        MalformedError: It is no such string.

    Source: ITU-T X.690, clause 8.7.
    """
    leaves, _ = walk(element)
    if element[0] & _CONSTRUCTED and any(leaf.tag != _OCTET_STRING for leaf in leaves):
        raise MalformedError("a string with a part that is no OCTET STRING")
    return b"".join(element[leaf.start : leaf.end] for leaf in leaves)


def identifier(element: bytes) -> str:
    """Return an OBJECT IDENTIFIER with dots, such as ``1.2.840.113549``.

    Raises:
        MalformedError: It is none.

    Source: ITU-T X.690, clause 8.19.
    """
    leaves, _ = walk(element)
    contents = (
        element[leaves[0].start : leaves[0].end] if leaves and leaves[0].tag == _OBJECT_IDENTIFIER else b""
    )
    if not contents or contents[-1] & 0x80:
        raise MalformedError("no object identifier, or one that is cut short")
    numbers = [0]
    for byte in contents:
        numbers[-1] = numbers[-1] << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:-1])))


def _header(data: bytes, position: int, limit: int) -> tuple[int, int | None, int]:
    """Return tag, length (None: indefinite) and where the contents begin."""

    def byte(at: int) -> int:
        if at < limit:
            return data[at]
        raise _too_short(data, limit)

    tag, first = byte(position), byte(position + 1)
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
        byte(position + size - 1)
        length = int.from_bytes(data[position : position + size], "big")
        position += size
    if length > limit - position:
        raise _too_short(data, limit)
    return tag, length, position


def _too_short(data: bytes, limit: int) -> MalformedError:
    return (
        TruncatedError("cut short") if limit == len(data) else MalformedError("an element exceeds its parent")
    )
