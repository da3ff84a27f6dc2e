"""A BER parser written as X.690 describes it: slower than ``pyade.crypto.ber``, with the same result."""

from __future__ import annotations

from typing import Any

from pyade.crypto.ber import MAX_DEPTH, MAX_IDENTIFIER_BYTES, MalformedError, TruncatedError


def plain(data: bytes, most: int) -> list[Any]:
    """Return tag, where an element begins, where its contents begin and end, its end, and its children."""
    position, around = 0, list[list[Any]]()
    for _ in range(most):
        limit = next((one[3] for one in reversed(around) if one[3] is not None), len(data))
        tag, length, start = _header(data, position, limit)
        is_marked = bool(around) and around[-1][3] is None
        if (tag, length, is_marked) == (0, 0, True):
            done = around.pop()
            done[3:5] = [position, position + 2]
            position = start
        else:
            end = None if length is None else start + length
            done = [tag, position, start, end, end, []]
            if around:
                around[-1][5].append(done)
            if tag & 0x20:
                around.append(done)
                position = start
                if len(around) > MAX_DEPTH:
                    raise MalformedError
            elif end is None or tag == 0 or (tag == 6 and end - start > MAX_IDENTIFIER_BYTES):
                raise MalformedError
            else:
                position = end
        while around and position == around[-1][3]:
            done = around.pop()
        if not around:
            return done
    raise MalformedError


def _header(data: bytes, position: int, limit: int) -> tuple[int, int | None, int]:
    short = TruncatedError if limit == len(data) else MalformedError
    if position + 2 > limit:
        raise short
    tag, first, start = data[position], data[position + 1], position + 2
    if tag & 0x1F == 0x1F:
        raise MalformedError
    if first == 0x80:
        return tag, None, start
    size = first & 0x7F if first > 0x80 else 0
    if size > 8:
        raise MalformedError
    if start + size > limit:
        raise short
    length = int.from_bytes(data[start : start + size], "big") if size else first
    if length > limit - start - size:
        raise short
    return tag, length, start + size
