"""What the refusals of both services have in common: the form of a meaning, times, and what may be shown.

Rules of this file:

1. Nothing here raises, whatever bytes and headers came.
2. What Apple sent is shown printable, cut, and free of the secrets of the request: as they are, in any escape
   of JSON, percent signs or HTML, and also where the end of the text cuts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Final, TypeVar
from urllib.parse import unquote

import attrs
import msgspec

from pyade import errors
from pyade.apple.http.json_bodies import decode_json
from pyade.core.secret import Secret
from pyade.errors import AppleError

T = TypeVar("T")

MAX_DETAIL: Final = 1024
"""Characters of Apple's words in an error."""

MAX_CODE: Final = 100
"""Characters of a code or an id."""

MAX_TEXT: Final = 64 * 1024
"""Bytes of a body that is no JSON which are looked at."""

MAX_WAIT: Final = 365 * 86_400.0
"""Seconds; a year. What is meant to be added to a time must not overflow it."""

A_PAGE: Final = "a page instead of an answer, as gateways send it"
REMOVED: Final = "[removed]"
LATER: Final = "try again later"

# Shorter beginnings of a secret tell nothing, and are parts of ordinary words.
_SHORTEST_PART = 4
_LONGEST_HEADER = 200
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([^u]))")
_HALF_ESCAPE = re.compile(r"(?:%[0-9a-fA-F]?|\\(?:u[0-9a-fA-F]{0,3})?|&[#\w]{0,8})\Z")
# A text may have been escaped on each of several ways.
_LAYERS = 4


@attrs.frozen
class ErrorCode:
    """One meaning of a refusal.

    Attributes:
        error: The class that is raised.
        meaning: One sentence, put after the code; "" where the code says enough.
        next_step: Who must do what.
    """

    error: type[AppleError]
    meaning: str
    next_step: str


_SERVER = ErrorCode(errors.ServerError, "", LATER)


def by_status(
    status: int, table: Mapping[int, ErrorCode], redirect: ErrorCode, otherwise: ErrorCode
) -> ErrorCode:
    """Return what *status* means: by *table*, else as one of its hundred."""
    if status in table:
        return table[status]
    if status >= 500:
        return _SERVER
    return redirect if 300 <= status < 400 else otherwise


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for; None if it is absent or unreadable.

    Args:
        value: Whole seconds or an HTTP date.
        now: What an HTTP date is compared with, UTC.

    Source: RFC 9110, 10.2.3.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:12]), MAX_WAIT)
    when = http_date(text)
    return None if when is None else min(max(0.0, (when - now).total_seconds()), MAX_WAIT)


def http_date(value: str | None) -> datetime | None:
    """Return the time of an HTTP date, UTC; None if it is absent or unreadable."""
    try:
        when = parsedate_to_datetime((value or "")[:_LONGEST_HEADER])
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def read_body(content: bytes, kind: type[T]) -> T | None:
    """Return the JSON *content* as *kind*; None if it is nothing of that kind."""
    try:
        return decode_json(content, kind)
    except msgspec.DecodeError:
        return None


def text_of(content: bytes) -> str:
    """Return the first 64 KiB of a body as text, without blanks around it."""
    return content[:MAX_TEXT].decode("utf-8", "replace").lstrip("\ufeff").strip()


def printable(value: str | int) -> str:
    """Return *value* on one line, with a blank for what moves the cursor or turns the text around."""
    return "".join(character if character.isprintable() else " " for character in str(value))


def shown(value: str | int, secrets: Iterable[str | Secret] = (), most: int = MAX_DETAIL) -> str:
    """Return *value* as it may be shown: without *secrets*, printable, at most *most* characters long."""
    return printable(without(str(value)[:MAX_TEXT], secrets))[:most]


def without(text: str, secrets: Iterable[str | Secret]) -> str:
    """Return *text* with ``[removed]`` for each of *secrets*.

    Where one stands there in escapes, the text comes back without any.
    """
    # Escapes are taken from the texts, and so from a secret that looks as if it held some. The longest
    # first: one may be the beginning of another.
    forms = {form for secret in secrets for form in _layers(_revealed(secret))}
    hidden = sorted(forms - {""}, key=len, reverse=True)
    if not hidden:
        return text
    clean = layer = _removed(text, hidden)
    for _ in range(_LAYERS):
        plain = _unescaped(layer)
        if plain == layer:
            break
        layer = _removed(plain, hidden)
        if layer != plain:
            clean = layer
    return clean


def _layers(text: str) -> list[str]:
    layers = [text]
    while len(layers) <= _LAYERS and (plain := _unescaped(layers[-1])) != layers[-1]:
        layers.append(plain)
    return layers


def _revealed(secret: str | Secret) -> str:
    return secret.reveal() if isinstance(secret, Secret) else secret


def _removed(text: str, hidden: Iterable[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, REMOVED)
        # The end of a text that was cut may be the beginning of a secret, and end inside of an escape.
        end = _HALF_ESCAPE.sub("", text)
        for length in range(min(len(secret) - 1, len(end)), _SHORTEST_PART - 1, -1):
            if end.endswith(secret[:length]):
                text = end[:-length] + REMOVED
                break
    return text


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else match[2]

    return unescape(unquote(_ESCAPED.sub(character, text)))
