"""JSON that Apple answers with, made fit to be kept.

A NUL character is the one thing in it that does not survive as it came: PostgreSQL keeps none in its texts.
"""

from __future__ import annotations

import logging
import re
from typing import TypeVar

import msgspec

T = TypeVar("T")

REPLACEMENT = "\ufffd"
"""What stands where a NUL character came."""

_log = logging.getLogger(__name__)

# Takes every escape as a whole, so that a backslash which is itself escaped begins none.
_ESCAPE = re.compile(rb"\\(?:u0000|(.))", re.DOTALL)


def decode_json(content: bytes, kind: type[T]) -> T:
    """Return the JSON *content* as *kind*, with NUL characters replaced.

    Raises:
        msgspec.DecodeError: It is no JSON, or nothing of that kind.
    """
    return msgspec.json.decode(replace_nul(content)[0], type=kind)


def replace_nul(content: bytes) -> tuple[bytes, int]:
    """Return *content* with U+FFFD for each NUL character in its texts, and how many there were."""
    if b"\\u0000" not in content:
        return content, 0
    count = 0

    def replaced(match: re.Match[bytes]) -> bytes:
        nonlocal count
        if match[1] is not None:
            return match[0]
        count += 1
        return rb"\ufffd"

    cleaned = _ESCAPE.sub(replaced, content)
    if count:
        _log.warning("%d NUL characters in an answer of Apple's were replaced by U+FFFD", count)
    return cleaned, count
