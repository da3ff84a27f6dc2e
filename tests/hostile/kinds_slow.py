"""Responses that never end, although data may arrive all the time: only the deadline ends them."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from itertools import repeat

from tests.hostile import wire
from tests.hostile.endpoints import SAMPLE
from tests.hostile.expectations import Expectation, broken, lost, one_of
from tests.hostile.kinds import Family
from tests.hostile.server import Connecting, End, Piece, Request

from pyade.errors import ServerError, TransportError

FAMILY = Family()
_INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
_CHUNKS = wire.chunked(end=b"")


def _slow(expected: Expectation = lost, only: Iterable[str] = ()) -> Callable[..., object]:
    return FAMILY.kind(expected, is_slow=True, only=only)


for _stage, _bytes in {
    "at once": b"",
    "inside the status": b"HTTP/1.1 2",
    "behind the status": b"HTTP/1.1 200 OK\r\n",
    "inside a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "behind the headers": wire.head(b"Content-Length: 50"),
    "behind headers without a length": wire.head(),
    "inside the body": wire.answer(b'{"cursor":', length=50),
    "inside a chunk": _CHUNKS + b"20\r\n{",
    "before the last chunk": _CHUNKS + b"2\r\n{}\r\n",
    "inside the trailers": _CHUNKS + b"2\r\n{}\r\n0\r\nX-Trailer: ",
    "behind an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "inside gzip": wire.answer(wire.GZIP_HEAD, b"Content-Encoding: gzip", length=50),
}.items():
    FAMILY.add(f"silence {_stage}", lost, (_bytes, End.HOLD), is_slow=True)
FAMILY.add("silence before the request", lost, Connecting(lambda: (End.HOLD,)), is_slow=True)


@_slow()
def a_status_line_that_drips(request: Request) -> Iterable[Piece]:
    return wire.drip(b"HTTP/1.1 200 " + b"O" * 1000)


@_slow()
def a_header_that_drips(request: Request) -> Iterable[Piece]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from wire.drip(b"X-Header: " + b"a" * 1000)


@_slow()
def headers_that_drip(request: Request) -> Iterable[Piece]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from wire.for_ever(b"X: 1\r\n")


@_slow()
def a_body_that_drips(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Length: 1000")
    yield from wire.drip(b" " * 1000)


@_slow()
def a_body_without_a_length_that_drips(request: Request) -> Iterable[Piece]:
    yield wire.head()
    yield from wire.for_ever(b" ")


@_slow()
def a_chunk_size_that_drips(request: Request) -> Iterable[Piece]:
    yield _CHUNKS
    yield from wire.drip(b"0" * 19 + b"2\r\n{}\r\n")


@_slow()
def a_chunk_extension_that_drips(request: Request) -> Iterable[Piece]:
    yield _CHUNKS + b"2;a="
    yield from wire.for_ever(b"x")


@_slow()
def chunks_of_a_byte_that_drip(request: Request) -> Iterable[Piece]:
    yield _CHUNKS
    yield from wire.for_ever(wire.chunk(b" "))


@_slow()
def trailers_that_drip(request: Request) -> Iterable[Piece]:
    yield _CHUNKS + b"2\r\n{}\r\n0\r\n"
    yield from wire.for_ever(b"X: 1\r\n")


@_slow()
def gzip_that_drips(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Encoding: gzip")
    yield from wire.drip(gzip.compress(b" " * 1_000_000))


@_slow()
def members_of_nothing_that_drip(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Encoding: gzip")
    yield from wire.for_ever(gzip.compress(b""))


@_slow()
def interim_answers_that_drip(request: Request) -> Iterable[Piece]:
    return wire.for_ever(_INTERIM)


@_slow()
def blank_lines_that_drip(request: Request) -> Iterable[Piece]:
    return wire.for_ever(b"\r\n")


@_slow(one_of(TransportError, ServerError))
def a_refusal_that_drips(request: Request) -> Iterable[Piece]:
    yield wire.head(status=500)
    yield from wire.for_ever(b"A")


@_slow(one_of(TransportError))
def a_lost_session_that_drips(request: Request) -> Iterable[Piece]:
    yield wire.head(status=401)
    yield from wire.for_ever(b"A")


# As fast as possible, so that the processor is attacked


@_slow(only=SAMPLE)
def interim_answers_for_ever(request: Request) -> Iterable[Piece]:
    return repeat(_INTERIM * 100)


@_slow(broken, SAMPLE)
def chunks_of_a_byte_for_ever(request: Request) -> Iterable[Piece]:
    yield _CHUNKS
    yield from repeat(wire.chunk(b" ") * 1000)


@_slow(broken, SAMPLE)
def blank_lines_for_ever(request: Request) -> Iterable[Piece]:
    return repeat(b"\r\n" * 1000)
