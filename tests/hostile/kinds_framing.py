"""Responses that break the rules of HTTP, or follow them in unusual ways."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import repeat

from tests.hostile import wire
from tests.hostile.endpoints import SAMPLE
from tests.hostile.expectations import (
    Expectation,
    broken,
    lost,
    not_ok,
    one_of,
    refused,
    right,
    tolerated,
    unreadable,
)
from tests.hostile.kinds import Family
from tests.hostile.server import TRAP, Connecting, End, Piece, Request

from pyade.errors import AppleError, NotFoundError, TransportError

FAMILY = Family()


def _good(field: bytes, request: Request, status: int = 200) -> tuple[Piece, ...]:
    return (wire.answer(request.good, field, status=status),)


# Lengths


def _with_length(name: str, expected: Expectation, *lengths: bytes) -> None:
    def answer(request: Request) -> Iterable[Piece]:
        size = len(request.good)
        fields = (b"Content-Length: " + length.replace(b"SIZE", b"%d" % size) for length in lengths)
        yield wire.head(*fields) + request.good

    FAMILY.add(name, expected, answer)


_with_length("a length twice", right, b"SIZE", b"SIZE")
_with_length("a length that is a list of the same", tolerated, b"SIZE, SIZE")
_with_length("a length with zeros before it", tolerated, b"000SIZE")
_with_length("two lengths", lost, b"SIZE", b"5")
_with_length("a length that is a list", lost, b"SIZE, 5")
_with_length("a negative length", lost, b"-5")
_with_length("a length with a plus", lost, b"+SIZE")
_with_length("a length in words", lost, b"many")
_with_length("a length in hexadecimal", lost, b"0xff")
_with_length("a length with a point", lost, b"5.0")
_with_length("a length without digits", lost, b"")
_with_length("a length of a petabyte", lost, b"1" + b"0" * 15)
_with_length("a length beyond all numbers", lost, b"9" * 40)
_with_length("a length of five thousand digits", lost, b"9" * 5000)


@FAMILY.kind(unreadable)
def a_length_that_is_too_short(request: Request) -> Iterable[Piece]:
    yield wire.answer(b"{" + request.good[1:], length=1)


@FAMILY.kind(lost)
def a_length_that_is_too_long(request: Request) -> Iterable[Piece]:
    yield wire.answer(request.good, length=len(request.good) + 1)


@FAMILY.kind(tolerated)
def a_length_and_chunks(request: Request) -> Iterable[Piece]:
    yield wire.chunked(request.good or b" ", fields=(b"Content-Length: 3",))


# Chunks


@FAMILY.kind(right)
def chunks_of_a_byte(request: Request) -> Iterable[Piece]:
    yield wire.chunked(*(bytes([byte]) for byte in request.good))


@FAMILY.kind(right)
def chunks_with_extensions(request: Request) -> Iterable[Piece]:
    size = b"%x" % len(request.good or b" ")
    yield wire.chunked(end=size + b';a=b;c="d e"\r\n' + (request.good or b" ") + b"\r\n0;x\r\n\r\n")


@FAMILY.kind(right)
def chunks_with_trailers(request: Request) -> Iterable[Piece]:
    yield wire.chunked(request.good or b" ", end=b"0\r\nX-Checksum: 1\r\nContent-Length: 5\r\n\r\n")


@FAMILY.kind(tolerated)
def chunks_with_sizes_in_capitals_and_zeros(request: Request) -> Iterable[Piece]:
    good = request.good or b" "
    yield wire.chunked(end=b"000%X\r\n" % len(good) + good + b"\r\n00\r\n\r\n")


for _name, _end in {
    "a chunk size in words": b"many\r\n{}\r\n0\r\n\r\n",
    "a negative chunk size": b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk size of nothing": b"\r\n{}\r\n0\r\n\r\n",
    "a chunk size of thirty digits": b"f" * 30 + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than it says": b"1\r\n{}\r\n0\r\n\r\n",
    "a chunk that is shorter than it says": b"9\r\n{}\r\n0\r\n\r\n",
    "chunks without the last one": b"2\r\n{}\r\n",
    "chunks without the end of the last one": b"2\r\n{}\r\n0\r\n",
    "a chunk that breaks off": b"ff\r\n{",
    "a chunk size that breaks off": b"2\r\n{}\r\nf",
    "chunks that quote the session": b"SESSION-top-secret\r\n\r\n",
}.items():
    FAMILY.add(_name, lost, wire.chunked(end=_end))
FAMILY.add("an unknown transfer coding", lost, wire.head(b"Transfer-Encoding: zip") + b"{}")
FAMILY.add("two transfer codings", lost, wire.head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n")


@FAMILY.kind(lost, is_large=True)
def a_chunk_extension_for_ever(request: Request) -> Iterable[Piece]:
    yield wire.chunked(end=b"2;a=")
    yield from repeat(b"x" * 65536)


@FAMILY.kind(lost, is_large=True)
def trailers_for_ever(request: Request) -> Iterable[Piece]:
    yield wire.chunked(request.good or b" ", end=b"0\r\n")
    yield from repeat(b"X-Trailer: 1\r\n" * 4000)


# Heads


@FAMILY.kind(right)
def nothing_but_the_least(request: Request) -> Iterable[Piece]:
    yield b"HTTP/1.0 200 OK\r\n\r\n" + request.good


@FAMILY.kind(right)
def a_status_without_words(request: Request) -> Iterable[Piece]:
    yield (
        b"HTTP/1.1 200\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(request.good) + request.good
    )


@FAMILY.kind(tolerated)
def a_version_that_does_not_exist(request: Request) -> Iterable[Piece]:
    yield wire.answer(request.good).replace(b"HTTP/1.1", b"HTTP/9.9", 1)


@FAMILY.kind(tolerated)
def lines_that_end_without_a_return(request: Request) -> Iterable[Piece]:
    yield b"HTTP/1.1 200 OK\nConnection: close\nContent-Length: %d\n\n" % len(request.good) + request.good


@FAMILY.kind(tolerated)
def blank_lines_before_the_status(request: Request) -> Iterable[Piece]:
    yield b"\r\n\r\n" + wire.answer(request.good)


for _name, _field in {
    "a folded header": b"X-Note: one\r\n\ttwo\r\n  three",
    "a header that is not ASCII": b"X-Note: \xff\xfe caf\xc3\xa9",
    "a header with ESC": b"X-Note: \x1b[2J",
    "a header with a return": b"X-Note: a\rb",
    "a header without a name": b": nothing",
    "a header without a colon": b"X-Note SESSION-top-secret",
    "a header with a blank before its colon": b"X-Note : a",
    "a header with NUL": b"X-Adm-Auth-Session: SESSION-top-secret\x00",
    "a header whose name is not ASCII": b"X-N\xc3\xb6te: a",
    "a media type that is none": b"Content-Type: \xff/\xff; charset=\xff",
    "an unknown charset": b"Content-Type: application/json; charset=nonsense",
    "a charset that is another one": b"Content-Type: application/json; charset=utf-16",
    "a session that cannot be used": b"X-ADM-Auth-Session: a b",
    "a session that is too long": b"X-ADM-Auth-Session: " + b"a" * 20_000,
    "cookies": b"\r\n".join(b"Set-Cookie: n%d=%s; Path=/" % (n, b"v" * 150) for n in range(300)),
    "ten thousand short headers": b"\r\n".join([b"a:b"] * 10_000),
    "a connection that is to be upgraded": b"Upgrade: h2c\r\nConnection: Upgrade",
}.items():
    FAMILY.add(
        _name,
        tolerated,
        partial(_good, _field),
        only=SAMPLE,
    )
FAMILY.add(
    "a megabyte of headers",
    lost,
    wire.head(*(b"X-%d: %s" % (n, b"a" * 1000) for n in range(1000))) + b"{}",
)
FAMILY.add("a header of a megabyte", lost, wire.head(b"X: " + b"a" * wire.MIB) + b"{}")
FAMILY.add("fifty thousand headers", lost, wire.head(*[b"X-Header: 1"] * 50_000) + b"{}")


@FAMILY.kind(lost, is_large=True)
def headers_for_ever(request: Request) -> Iterable[Piece]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from repeat(b"X-Header: 1\r\n" * 5000)


@FAMILY.kind(lost, is_large=True)
def a_status_line_for_ever(request: Request) -> Iterable[Piece]:
    yield b"HTTP/1.1 200 "
    yield from repeat(b"O" * 65536)


for _name, _bytes in {
    "no head at all": b'{"cursor":"c","more_to_follow":false}',
    "a page without a head": b"<html><body>Sign in</body></html>\r\n\r\n",
    "the greeting of SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "the greeting of a mail server": b"220 mail.example ESMTP\r\n",
    "an alert of TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "frames of HTTP/2": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07" + b"\x00" * 12,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a request instead of an answer": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an answer of HTTP/2": b"HTTP/2 200\r\nContent-Length: 2\r\n\r\n{}",
    "an answer of a radio": b"ICY 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status in words": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status in other digits": b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a negative status": b"HTTP/1.1 -200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status line that quotes the session": b"garbage SESSION-top-secret\r\n\r\n",
    "nothing but zeros": b"\0" * 4096,
    "a change of the protocol": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
}.items():
    FAMILY.add(_name, lost, _bytes)


# Statuses other than refusals


@FAMILY.kind(right)
def interim_answers(request: Request) -> Iterable[Piece]:
    interim = (
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Wait\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n",
    )
    yield b"".join(interim) * 20 + wire.answer(request.good)


for _status in (201, 202, 203, 206, 226, 299):
    FAMILY.add(
        f"the status {_status}",
        not_ok,
        partial(_good, b"X-Note: a", status=_status),
    )
FAMILY.add("the status 204", not_ok, wire.head(status=204))
FAMILY.add("the status 204 with a body", not_ok, wire.answer(b"{}", status=204))
FAMILY.add("the status 205 with a length", not_ok, wire.answer(b"", status=205))
FAMILY.add(
    "a range that was not requested", not_ok, wire.answer(b"{", b"Content-Range: bytes 0-0/9", status=206)
)
FAMILY.add("the status 304 with a body", refused(304), wire.head(status=304) + b"{}")
for _status, _place in {
    300: b"http://elsewhere.example/",
    301: b"https://elsewhere.example/",
    302: b"/" + TRAP.encode(),
    303: b"//elsewhere.example" + TRAP.encode(),
    305: b"http://proxy.example/",
    307: b"?again",
    308: b".",
    399: b"http://elsewhere.example/",
}.items():
    FAMILY.add(
        f"a redirect with {_status}",
        one_of(AppleError),
        wire.answer(b"", b"Location: " + _place, status=_status),
    )
for _name, _place in {
    "without a place": b"",
    "to a broken address": b"http://[::1",
    "to a script": b"javascript:alert(1)",
    "to a port beyond all ports": b"http://127.0.0.1:99999/",
    "to bytes": b"\xff\xfe",
    "with control characters": b"/\x1b[2J\x7f",
    "to a long address": b"/" + b"a" * 70_000,
    "with a password": b"http://user:SESSION-top-secret@elsewhere.example/",
}.items():
    FAMILY.add(
        f"a redirect {_name}",
        one_of(AppleError, TransportError),
        wire.answer(b"", b"Location: " + _place, status=302),
    )


# Data besides the response


@FAMILY.kind(right)
def an_answer_on_a_connection_that_stays_open(request: Request) -> Iterable[Piece]:
    yield wire.answer(request.good)
    yield End.HOLD


@FAMILY.kind(right)
def chunks_on_a_connection_that_stays_open(request: Request) -> Iterable[Piece]:
    yield wire.chunked(request.good or b" ")
    yield End.HOLD


@FAMILY.kind(tolerated)
def garbage_behind_the_answer(request: Request) -> Iterable[Piece]:
    length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.good)
    yield length + request.good + b"garbage" * 100
    yield End.KEEP


@FAMILY.kind(one_of(NotFoundError, is_right=True))
def another_answer_behind_the_answer(request: Request) -> Iterable[Piece]:
    """The next request on that connection may read it as its own response: it is from the same server."""
    length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.good)
    yield length + request.good + wire.answer(b'{"smuggled":true}', status=404)
    yield End.KEEP


# Before any request

FAMILY.add("a greeting before the request", broken, Connecting(lambda: (b"SSH-2.0-OpenSSH_9.9\r\n",)))
FAMILY.add("an end before the request", lost, Connecting(tuple))
FAMILY.add("a reset before the request", lost, Connecting(lambda: (End.RESET,)))
FAMILY.add("a connection that is refused", lost, Connecting(None))
