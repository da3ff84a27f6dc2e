"""Pieces of hostile messages, written by hand and with no code of ``pyade.crypto``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pyade.core.untrusted import MAX_BYTES
from pyade.testing.der import definite

SEQUENCE, SET, OCTETS, OID, INTEGER, BITS = 0x30, 0x31, 0x04, 0x06, 0x02, 0x03
NULL: Final = b"\x05\x00"
COMMON_NAME: Final = bytes.fromhex("0603550403")
NAME_PART: Final = definite(SET, definite(SEQUENCE, COMMON_NAME, b"\x0c\x01a"))
ATTRIBUTE: Final = definite(SEQUENCE, b"\x06\x01*", b"\x31\x00")
ROOM: Final = MAX_BYTES - 3_000
"""What is left beside the rest of a message, and with a margin for lengths."""


class Writer:
    """Repeats what is expensive, as often as there is room for."""

    def __init__(self, elements: int) -> None:
        self._elements = elements

    def fill(self, piece: bytes) -> bytes:
        """Return *piece* again and again."""
        return piece * min(ROOM // len(piece), self._elements // count_elements(piece))

    def numbered(self, make: Callable[[int], bytes], count: int = ROOM) -> bytes:
        """Return different pieces, at most *count*."""
        pieces: list[bytes] = []
        room, elements = ROOM, self._elements
        while len(pieces) < count:
            piece = make(len(pieces) + 1)
            room, elements = room - len(piece), elements - count_elements(piece)
            if room < 0 or elements < 0:
                break
            pieces.append(piece)
        return b"".join(pieces)


def count_elements(data: bytes) -> int:
    """Return how many elements *data* has, ends included."""
    count = at = 0
    while at < len(data):
        length, start = data[at + 1], at + 2
        if length == 0x80:
            length = 0
        elif length > 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[at + 2 : start], "big")
        count += 1
        at = start if data[at] & 0x20 else start + length
    return count


def nested(tag: int, form: Callable[..., bytes] = definite) -> bytes:
    """Return an empty element in 15 others."""
    element = b""
    for _ in range(16):
        element = form(tag, element)
    return element


def long(tag: int, size: int = ROOM - 1_000) -> bytes:
    """Return one element of *size* bytes."""
    return definite(tag, b"\x01" + b"\x7f" * size)


def integer(value: int) -> bytes:
    """Return an INTEGER."""
    return definite(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def largest(bits: int) -> bytes:
    """Return the largest INTEGER of so many bits."""
    return integer((1 << bits) - 1)


def rsa_key(modulus: bytes, exponent: bytes) -> bytes:
    """Return a SubjectPublicKeyInfo of two INTEGERs."""
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return definite(SEQUENCE, algorithm, definite(BITS, b"\x00", definite(SEQUENCE, modulus, exponent)))


def extension(number: int) -> bytes:
    """Return an extension that nobody knows."""
    name = bytes((0x2A, 0x81 | number >> 14 & 0x7F, 0x80 | number >> 7 & 0x7F, number & 0x7F))
    return definite(SEQUENCE, definite(OID, name), b"\x04\x00")


def long_extension(number: int) -> bytes:
    """Return the same with a long name."""
    name = b"\x2a" + b"\x81" * 60 + bytes((0x80 | number >> 7 & 0x7F, number & 0x7F))
    return definite(SEQUENCE, definite(OID, name), b"\x04\x00")


def known(identifier: str, value: bytes) -> bytes:
    """Return an extension that parsers look into."""
    return definite(SEQUENCE, definite(OID, bytes.fromhex(identifier)), definite(OCTETS, value))
