"""What the error responses of both services share: ``ErrorCode``, wait times, and removal of secrets.

The rules of this file:

1. Nothing here raises, whatever bytes and headers arrive.
2. Text from Apple is shown printable, cut, and without the secrets of the request: plain, in any escapes of
   JSON, percent-encoding or HTML, and also where the end of the text cuts a secret.
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
"""Most characters of Apple's text in an error."""

MAX_CODE: Final = 100
"""Most characters of a code or an id."""

MAX_TEXT: Final = 64 * 1024
"""Bytes that are examined of a body that is not JSON."""

MAX_WAIT: Final = 365 * 86_400.0
"""Seconds; a year: adding a wait to a time must not overflow it."""

HTML_PAGE: Final = "an HTML page instead of Apple's response, probably from a gateway"
REMOVED: Final = "[removed]"
LATER: Final = "try again later"

# Shorter beginnings of a secret reveal nothing, and are parts of ordinary words.
_SHORTEST_PART = 4
_LONGEST_HEADER = 200
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([^u]))")
_HALF_ESCAPE = re.compile(r"(?:%[0-9a-fA-F]?|\\(?:u[0-9a-fA-F]{0,3})?|&[#\w]{0,8})\Z")
# A text may have been escaped several times.
_LAYERS = 4


@attrs.frozen
class ErrorCode:
    """The meaning of an error code or status.

    Attributes:
        error: The class that is raised.
        meaning: One sentence, put after the code; "" if the code says enough.
        next_step: Who must do what.
    """

    error: type[AppleError]
    meaning: str
    next_step: str


_SERVER = ErrorCode(errors.ServerError, "", LATER)


def by_status(
    status: int, table: Mapping[int, ErrorCode], redirect: ErrorCode, otherwise: ErrorCode
) -> ErrorCode:
    """Return what *status* means: by *table*, else by its class (3xx, 5xx, other)."""
    if status in table:
        return table[status]
    if status >= 500:
        return _SERVER
    return redirect if 300 <= status < 400 else otherwise


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for; None if it is absent or unreadable.

    Args:
        value: Whole seconds or an HTTP date.
        now: The time, UTC; an HTTP date is counted from it.

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
    except (ValueError, OverflowError, TypeError, IndexError):  # rule 1
        return None


def read_body(content: bytes, kind: type[T]) -> T | None:
    """Return the JSON *content* as *kind*; None if it cannot be decoded as that."""
    try:
        return decode_json(content, kind)
    except msgspec.DecodeError:
        return None


def text_of(content: bytes) -> str:
    """Return the first 64 KiB of a body as text, without blanks around it."""
    return content[:MAX_TEXT].decode("utf-8", "replace").lstrip("\ufeff").strip()


def blank_unprintable(value: str | int) -> str:
    """Return *value* on one line, with a blank for each character that is not printable."""
    return "".join(character if character.isprintable() else " " for character in str(value))


def sanitize(value: str | int, secrets: Iterable[str | Secret] = (), most: int = MAX_DETAIL) -> str:
    """Return *value* without *secrets*, printable, at most *most* characters long (rule 2)."""
    return blank_unprintable(remove_secrets(str(value)[:MAX_TEXT], secrets))[:most]


def remove_secrets(text: str, secrets: Iterable[str | Secret]) -> str:
    """Return *text* with ``[removed]`` for each of *secrets* (rule 2).

    If a secret was found in escaped form, all of the text is returned unescaped.
    """
    # The text is unescaped, so a secret that looks escaped is searched for in unescaped form, too. Longest
    # first: one secret may be the beginning of another.
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
        # The end of a cut text may be the beginning of a secret, or end inside an escape.
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
