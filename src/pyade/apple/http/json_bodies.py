"""JSON that Apple answers with: read as a whole where it is one thing, record by record where it is a list.

Rules of this file:

1. A NUL character does not survive as it came: PostgreSQL keeps none in its texts.
2. What holds a list is read first, and each record of it afterwards on its own. A record that cannot be read
   is left out and counted; the rest goes on.
3. Half a character, or a word that is no JSON, costs the record that it is in and nothing more. So does
   nesting that is too deep. Where the brackets themselves are wrong, the whole answer cannot be read.
4. Whatever is wrong with an answer, what is raised is ``msgspec.DecodeError``, and quotes nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Sized
from typing import Any, TypeVar

import msgspec

from pyade.core.values import MAX_RECORD
from pyade.text import logger

T = TypeVar("T")

REPLACEMENT = "\ufffd"
"""What stands where a NUL character came."""

_log = logger(__name__)
_decode_record = msgspec.json.Decoder(dict[str, Any]).decode

# Takes every escape as a whole, so that a backslash which is itself escaped begins none.
_ESCAPE = re.compile(rb"\\(?:u0000|(.))", re.DOTALL)

_MAX_DEPTH = 64
_MOST_SPOILED = 10_000
# No decoder of texts takes this byte, and what only looks for the end of a text passes it by.
_SPOILED = b'"\xff"'
# A key must be readable for the others of its map to be read: this is no character, and Apple sends none.
_SPOILED_KEY = "\ufdd0"
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
# All that is good in one match, or one text or word that is not. Nothing is given back once it was taken, so
# that the time grows with the length alone.
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
        content: What came.
        kind: What it must be.
        needs: One of these members must be there, or nothing bad is passed by; empty if none must.

    Raises:
        msgspec.DecodeError: It is no JSON, or nothing of that kind.
    """
    return decode_clean(replace_nul(content)[0], kind, needs=needs)


def decode_clean(content: bytes, kind: type[T], *, needs: tuple[str, ...] = ()) -> T:
    """Return the JSON *content*, which holds no NUL characters, as *kind*; see ``decode_json``."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = _said(error)
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            found = msgspec.json.decode(_spoil(content), type=kind)
        except msgspec.ValidationError as error:
            problem = error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if not needs or any(getattr(found, name) not in (None, msgspec.Raw()) for name in needs):
                return found
    raise problem from None


def read_nothing(content: bytes) -> None:
    """Accept the body of an answer that has none by Apple's documents, so that nothing is parsed.

    Raises:
        msgspec.DecodeError: It is a page, such as the sign-in page of a gateway.
    """
    if content.lstrip().startswith(b"<"):
        raise msgspec.DecodeError("a page instead of an empty answer")


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
        raise _said(error) from None


def check_size(raw: msgspec.Raw) -> None:
    """Raise ``msgspec.ValidationError`` if *raw* is too long for a record."""
    size = memoryview(raw).nbytes
    if size > MAX_RECORD:
        raise msgspec.ValidationError(f"a record of {size} bytes, at most {MAX_RECORD} are read")


def read_records(raws: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], T], what: str) -> list[T]:
    """Return what *read* makes of each of *raws*, without those that cannot be read.

    How many were left out is logged in one line.

    Args:
        raws: The records, each as it came.
        read: Raises what msgspec raises where it cannot read a record.
        what: What they are, in the singular, for the log.
    """
    found: list[T] = []
    add = found.append
    for raw in raws:
        try:
            add(read(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
            continue
    log_left_out(len(raws) - len(found), what)
    return found


def log_left_out(count: int, what: str) -> None:
    """Say in the log that *count* records, each a *what*, were left out, if there are any."""
    if count:
        words = (
            f"1 {what} that cannot be read was" if count == 1 else f"{count} {what}s that cannot be read were"
        )
        _log.warning("%s left out of an answer", words)


def read_value(raw: msgspec.Raw, kind: type[T]) -> T | None:
    """Return the value of one member, or None where it is absent, too long, or of another kind."""
    if not (size := memoryview(raw).nbytes) or size > MAX_RECORD:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_map(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the members of an object whose keys are data, each as it came, without keys that are no text.

    Raises:
        msgspec.DecodeError: It is no object.
    """
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):  # which of the two depends on the version of msgspec
        marked = _spoil(bytes(raw)).replace(_SPOILED + b":", f'"{_SPOILED_KEY}":'.encode())
    members = msgspec.json.decode(marked, type=dict[str, msgspec.Raw])
    members.pop(_SPOILED_KEY, None)
    # A key inside of a value is not to be mended, but to cost that value.
    mark = _SPOILED_KEY.encode()
    return {key: msgspec.Raw(_SPOILED) if mark in bytes(one) else one for key, one in members.items()}


def check_length(records: Sized, limit: int | None) -> None:
    """Accept a list that is not longer than what was asked for.

    Raises:
        msgspec.ValidationError: It is longer.
    """
    if limit is not None and len(records) > limit:
        raise msgspec.ValidationError(
            f"a list of {len(records)} records came, at most {limit} were asked for"
        )


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


def _said(error: Exception) -> msgspec.DecodeError:
    """Return *error* as one that holds nothing of what was decoded."""
    if isinstance(error, RecursionError):
        return msgspec.DecodeError("the JSON is nested too deep")
    if isinstance(error, UnicodeDecodeError):
        return msgspec.DecodeError("a text is not UTF-8")
    return msgspec.DecodeError(str(error))


def _spoil(content: bytes) -> bytes:
    """Return *content* with everything that no decoder passes by made something that it does.

    Texts and words that are no JSON, and what is nested deeper than 64, become one text that cannot be read.
    """
    # A byte that is no UTF-8 becomes an escape that JSON does not have.
    valid = content.decode("utf-8", "backslashreplace").encode()
    parts: list[bytes] = []
    kept = 0
    for match in _LEXEMES.finditer(valid):
        # A text without an end stays: what was cut short must not look complete.
        if match.lastgroup is None or match.lastgroup == "endless":
            continue
        # A key without quotes is not JSON at all: its value might be taken for absent.
        if match.lastgroup == "key" or len(parts) >= _MOST_SPOILED:
            return content
        parts += (valid[kept : match.start()], _SPOILED if match["colon"] is None else _SPOILED + b":")
        kept = match.end()
    return _cut_depth(b"".join((*parts, valid[kept:])))


def _cut_depth(content: bytes) -> bytes:
    parts: list[bytes] = []
    depth = kept = 0
    for match in _BRACKETS.finditer(content):
        if match[1]:
            depth += 1
            if depth == _MAX_DEPTH + 1:
                parts += (content[kept : match.start()], _SPOILED)
        elif match[2]:
            depth -= 1
            if depth == _MAX_DEPTH:
                kept = match.end()
    if depth > _MAX_DEPTH:
        return content
    return b"".join((*parts, content[kept:])) if parts else content
