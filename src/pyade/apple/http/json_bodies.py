"""Decoding of Apple's JSON responses: objects as a whole, lists record by record.

The rules of this file:

1. NUL characters are replaced: PostgreSQL cannot store them in texts.
2. A list is split first, then each record is decoded on its own. A record that cannot be read is left out and
   counted; the others are kept.
3. An unpaired surrogate, a bare word that is no JSON, or nesting that is too deep makes only its own record
   unreadable. If the brackets do not match, the whole response cannot be read.
4. Every failure raises ``msgspec.DecodeError``, whose text quotes nothing of the response.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Sized
from typing import Any, TypeVar

import msgspec

from pyade.core.values import MAX_RECORD
from pyade.text import logger

T = TypeVar("T")


_log = logger(__name__)
_decode_record = msgspec.json.Decoder(dict[str, Any]).decode

# Matches every escape as a whole, so that an escaped backslash does not begin another one.
_ESCAPE = re.compile(rb"\\(?:u0000|(.))", re.DOTALL)

_MAX_DEPTH = 64
_MAX_INVALID = 10_000
# A string that decoding refuses, but that a scan for the end of the string accepts.
_INVALID = b'"\xff"'
# The keys of an object must be readable to read the others: this is a noncharacter, which Apple never sends.
_INVALID_KEY = "\ufdd0"
_HEX = rb"[0-9a-fA-F]"
_GOOD_TEXT = (
    rb'"(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u(?:[0-9a-ce-fA-CE-F]'
    + _HEX
    + rb"{3}|[dD][0-7]"
    + _HEX
    + rb"{2}|"
    rb"[dD][89abAB]" + _HEX + rb"{2}\\u[dD][c-fC-F]" + _HEX + rb'{2}))*+"'
)
_GOOD_WORD = (
    rb"(?:true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)"
    rb'(?![^\s,:\[\]{}"])'
)
# Matches a run of valid JSON, or one string or word that is invalid. Possessive, so that the time is linear.
_LEXEMES = re.compile(
    rb"(?:[\s,:\[\]{}]++|" + _GOOD_TEXT + rb"|" + _GOOD_WORD + rb")++"
    rb'|(?P<text>"(?:[^"\\]++|\\.)*+")(?P<colon>\s*+:)?+|(?P<endless>"(?:[^"\\]++|\\.)*+\\?\Z)'
    rb'|(?P<key>[^\s,:\[\]{}"]++(?=\s*+:))|(?P<word>[^\s,:\[\]{}"]++)',
    re.DOTALL,
)
_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[^\[\]{}"]++|([\[{])|([\]}])', re.DOTALL)


def decode_json(content: bytes, kind: type[T], *, needs: tuple[str, ...] = ()) -> T:
    """Return the JSON *content* as *kind*, with NUL characters replaced.

    Args:
        content: The body.
        kind: The type to decode.
        needs: Invalid parts are tolerated only if one of these members is present; empty for no condition.

    Raises:
        msgspec.DecodeError: It is no JSON, or does not have that type.
    """
    return decode_clean(replace_nul(content)[0], kind, needs=needs)


def decode_clean(content: bytes, kind: type[T], *, needs: tuple[str, ...] = ()) -> T:
    """Return the JSON *content*, which holds no NUL characters, as *kind*; see ``decode_json``."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _without_content(error)  # rule 4
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            found = msgspec.json.decode(_replace_invalid(content), type=kind)  # rule 3
        except msgspec.ValidationError as error:
            problem = error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if not needs or any(getattr(found, name) not in (None, msgspec.Raw()) for name in needs):
                return found
    raise problem from None


def read_nothing(content: bytes) -> None:
    """Accept any body of a response that has none by Apple's documents; nothing is parsed.

    Raises:
        msgspec.DecodeError: It is an HTML page, such as the sign-in page of a gateway.
    """
    if content.lstrip().startswith(b"<"):
        raise msgspec.DecodeError("an HTML page instead of an empty response")


def read_record(raw: msgspec.Raw) -> dict[str, Any]:
    """Return the JSON object that is one record of a list.

    Raises:
        msgspec.DecodeError: It cannot be read, is no object, or is longer than ``MAX_RECORD``.
    """
    if memoryview(raw).nbytes > MAX_RECORD:
        check_size(raw)
    try:
        return _decode_record(raw)
    except (UnicodeDecodeError, RecursionError) as error:
        raise _without_content(error) from None  # rule 4


def check_size(raw: msgspec.Raw) -> None:
    """Raise ``msgspec.ValidationError`` if *raw* is too long for a record."""
    size = memoryview(raw).nbytes
    if size > MAX_RECORD:
        raise msgspec.ValidationError(f"a record has {size} bytes, at most {MAX_RECORD} are allowed")


def read_records(raws: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], T], what: str) -> list[T]:
    """Return the result of *read* for each of *raws*, without those that cannot be read (rule 2).

    One line of the log says how many were left out.

    Args:
        raws: The undecoded records.
        read: Decodes one record; raises as msgspec does if it cannot.
        what: What a record is, in the singular, for the log.
    """
    found: list[T] = []
    add = found.append
    for raw in raws:
        try:
            add(read(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):  # rule 2
            continue
    log_left_out(len(raws) - len(found), what)
    return found


def log_left_out(count: int, what: str) -> None:
    """Log that *count* records, each a *what*, were left out; nothing if *count* is 0."""
    if count:
        words = (
            f"1 {what} that cannot be read was" if count == 1 else f"{count} {what}s that cannot be read were"
        )
        _log.warning("%s left out of a response", words)


def read_value(raw: msgspec.Raw, kind: type[T]) -> T | None:
    """Return the value of one member; None if it is absent, too long, or of another type."""
    if not (size := memoryview(raw).nbytes) or size > MAX_RECORD:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_map(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the undecoded members of an object whose keys are data, without keys that cannot be read.

    Raises:
        msgspec.DecodeError: It is no object.
    """
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):  # which of the two depends on the version of msgspec
        marked = _replace_invalid(bytes(raw)).replace(_INVALID + b":", f'"{_INVALID_KEY}":'.encode())
    members = msgspec.json.decode(marked, type=dict[str, msgspec.Raw])
    members.pop(_INVALID_KEY, None)
    # An invalid key inside a value makes that value unreadable.
    mark = _INVALID_KEY.encode()
    return {key: msgspec.Raw(_INVALID) if mark in bytes(one) else one for key, one in members.items()}


def check_length(records: Sized, limit: int | None) -> None:
    """Raise ``msgspec.ValidationError`` if *records* is longer than *limit*; None for no limit."""
    if limit is not None and len(records) > limit:
        raise msgspec.ValidationError(f"a list has {len(records)} records, at most {limit} were requested")


def replace_nul(content: bytes) -> tuple[bytes, int]:
    """Return *content* with U+FFFD for each NUL character in its strings, and their number (rule 1)."""
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
        _log.warning("%d NUL characters in a response from Apple were replaced by U+FFFD", count)
    return cleaned, count


def _without_content(error: Exception) -> msgspec.DecodeError:
    """Return *error* as a ``msgspec.DecodeError`` without a reference to the decoded content."""
    if isinstance(error, RecursionError):
        return msgspec.DecodeError("the JSON is nested too deep")
    if isinstance(error, UnicodeDecodeError):
        return msgspec.DecodeError("a text is not UTF-8")
    return msgspec.DecodeError(str(error))


def _replace_invalid(content: bytes) -> bytes:
    """Return *content* so that it can be split into records, with an unreadable string for each invalid part.

    Invalid are strings and words that are no JSON, and what is nested deeper than 64 levels.
    """
    # A byte that is no UTF-8 becomes an escape that JSON does not have.
    valid = content.decode("utf-8", "backslashreplace").encode()
    parts: list[bytes] = []
    kept = 0
    for match in _LEXEMES.finditer(valid):
        # An unterminated string stays: a truncated body must not look complete.
        if match.lastgroup is None or match.lastgroup == "endless":
            continue
        # An unquoted key is no JSON at all: skipping it would make its value look absent.
        if match.lastgroup == "key" or len(parts) >= _MAX_INVALID:
            return content
        parts += (valid[kept : match.start()], _INVALID if match["colon"] is None else _INVALID + b":")
        kept = match.end()
    return _cut_depth(b"".join((*parts, valid[kept:])))


def _cut_depth(content: bytes) -> bytes:
    parts: list[bytes] = []
    depth = kept = 0
    for match in _BRACKETS.finditer(content):
        if match[1]:
            depth += 1
            if depth == _MAX_DEPTH + 1:
                parts += (content[kept : match.start()], _INVALID)
        elif match[2]:
            depth -= 1
            if depth == _MAX_DEPTH:
                kept = match.end()
    if depth > _MAX_DEPTH:
        return content
    return b"".join((*parts, content[kept:])) if parts else content
