"""Responses that end too early: at each stage, with a close, a half-close and a reset."""

from __future__ import annotations

from collections.abc import Iterable

from tests.hostile import wire
from tests.hostile.endpoints import SAMPLE
from tests.hostile.expectations import Expectation, lost, unreadable
from tests.hostile.kinds import Family
from tests.hostile.server import End, Piece, Request

FAMILY = Family()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
_STAGES = {
    "before the status": b"",
    "inside the status": _HEAD[:10],
    "behind the status": _HEAD[:17],
    "inside a header": _HEAD[:30],
    "behind the headers": _HEAD,
    "inside the body": _HEAD + b'{"cursor":',
    "inside the body at the end of a text": _HEAD + b"{}",
    "inside a chunk": wire.chunked(end=b"20\r\n{"),
    "between two chunks": wire.chunked(b"{}", end=b""),
    "inside the trailers": wire.chunked(b"{}", end=b"0\r\nX-Trailer: "),
}
_ENDS = {"an end": (), "a half-close": (End.HALF,), "a reset": (End.RESET,)}

for _stage, _bytes in _STAGES.items():
    for _name, _end in _ENDS.items():
        FAMILY.add(f"{_name} {_stage}", lost, (_bytes, *_end), only=() if _name == "an end" else SAMPLE)


def _cut(name: str, expected: Expectation, *end: Piece) -> None:
    def answer(request: Request) -> Iterable[Piece]:
        return (wire.head() + request.good[: len(request.good) // 2], *end)

    FAMILY.add(f"{name} inside a body without a length", expected, answer)


_cut("an end", unreadable)
_cut("a reset", lost, End.RESET)
