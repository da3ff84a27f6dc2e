"""Compressed responses, in requested and other encodings, and responses that are too long."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from itertools import repeat

from tests.hostile import wire
from tests.hostile.endpoints import LARGE_PAGE, LISTS, PAGES
from tests.hostile.expectations import (
    bounded,
    broken,
    lost,
    refused,
    right,
    tolerated,
    typed,
    unreadable,
)
from tests.hostile.kinds import Family
from tests.hostile.server import Piece, Request

FAMILY = Family()


def _gzip(request: Request) -> bytes:
    return gzip.compress(request.good, mtime=0)


@FAMILY.kind(right)
def gzip_as_asked_for(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request))


@FAMILY.kind(right)
def gzip_by_its_old_name(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request), b"x-gzip")


@FAMILY.kind(right)
def gzip_in_capitals_between_blanks(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request), b"  GZip  ")


@FAMILY.kind(right)
def gzip_of_several_members(request: Request) -> Iterable[Piece]:
    third = len(request.good) // 3
    parts = (request.good[:third], request.good[third : 2 * third], request.good[2 * third :])
    yield wire.packed(b"".join(map(gzip.compress, parts)))


@FAMILY.kind(right)
def gzip_that_is_stored(request: Request) -> Iterable[Piece]:
    yield wire.packed(gzip.compress(request.good, 0))


@FAMILY.kind(right)
def gzip_with_every_optional_field(request: Request) -> Iterable[Piece]:
    plain = _gzip(request)
    start = b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff" + b"\x04\0abcd" + b"name\0" + b"comment\0"
    yield wire.packed(start + (zlib.crc32(start) & 0xFFFF).to_bytes(2, "little") + plain[10:])


@FAMILY.kind(right)
def gzip_in_chunks_of_a_byte(request: Request) -> Iterable[Piece]:
    chunks = (bytes([byte]) for byte in _gzip(request))
    yield wire.chunked(*chunks, fields=(b"Content-Encoding: gzip",))


@FAMILY.kind(right)
def gzip_until_the_end_of_the_connection(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Encoding: gzip") + _gzip(request)


@FAMILY.kind(tolerated)
def gzip_filled_up_with_zeros(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request) + b"\0" * 512)


@FAMILY.kind(tolerated)
def gzip_with_garbage_behind_it(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request) + b"garbage")


@FAMILY.kind(right)
def identity(request: Request) -> Iterable[Piece]:
    yield wire.packed(request.good, b"identity")


@FAMILY.kind(right)
def a_coding_without_a_name(request: Request) -> Iterable[Piece]:
    yield wire.packed(request.good, b"")


@FAMILY.kind(lost)
def gzip_without_its_end(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request)[:-9])


@FAMILY.kind(lost)
def gzip_without_its_checksum(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request)[:-4])


@FAMILY.kind(lost)
def gzip_that_breaks_off_in_its_head(request: Request) -> Iterable[Piece]:
    yield wire.packed(_gzip(request)[:5])


@FAMILY.kind(broken)
def gzip_with_a_wrong_checksum(request: Request) -> Iterable[Piece]:
    plain = _gzip(request)
    yield wire.packed(plain[:-8] + bytes(byte ^ 0xFF for byte in plain[-8:-4]) + plain[-4:])


@FAMILY.kind(broken)
def gzip_with_a_block_that_is_none(request: Request) -> Iterable[Piece]:
    yield wire.packed(wire.GZIP_HEAD + b"\xff" * 64)


@FAMILY.kind(broken)
def gzip_that_is_none(request: Request) -> Iterable[Piece]:
    yield wire.packed(b"{}" + request.good)


FAMILY.add("gzip of nothing", unreadable, wire.packed(gzip.compress(b"")))
FAMILY.add("gzip that is empty", unreadable, wire.packed(b""))


@FAMILY.kind(unreadable)
def gzip_inside_gzip_that_says_gzip_once(request: Request) -> Iterable[Piece]:
    yield wire.packed(gzip.compress(_gzip(request)))


def _in_coding(coding: bytes, *, is_two_lines: bool = False) -> None:
    def answer(request: Request) -> Iterable[Piece]:
        fields = (b"Content-Encoding: gzip",) * 2 if is_two_lines else (b"Content-Encoding: " + coding,)
        body = zlib.compress(request.good) if coding == b"deflate" else gzip.compress(_gzip(request))
        yield wire.answer(body, *fields)

    FAMILY.add(f"the coding {coding.decode()}" + " in two lines" * is_two_lines, bounded, answer)


for _name in (
    b"gzip, gzip",
    b"gzip,x-gzip",
    b"identity, gzip",
    b"br",
    b"zstd",
    b"deflate",
    b"compress",
    b"snappy",
    b"gzip;q=1",
    b"*",
    b"A" * 5000,
):
    _in_coding(_name) if len(_name) < 100 else FAMILY.add(
        "a coding with a long name", bounded, wire.packed(b"{}", _name)
    )
_in_coding(b"gzip", is_two_lines=True)
FAMILY.add("a coding with control characters", broken, wire.packed(b"{}", b"g\x1b[2Jzip\x7f"))
FAMILY.add(
    "a refusal in a coding that was not asked for",
    refused(400),
    wire.answer(b"\x1b\x2f\x00\xf8", b"Content-Encoding: br", status=400),
)


@FAMILY.kind(bounded, is_large=True)
def a_gigabyte_in_gzip(request: Request) -> Iterable[Piece]:
    yield wire.packed(wire.gigabyte())


@FAMILY.kind(bounded, is_large=True)
def two_gigabytes_packed_twice(request: Request) -> Iterable[Piece]:
    yield wire.packed(wire.gigabyte_twice(), b"gzip, gzip")


@FAMILY.kind(bounded, is_large=True)
def two_gigabytes_packed_twice_in_two_lines(request: Request) -> Iterable[Piece]:
    yield wire.answer(wire.gigabyte_twice(), b"Content-Encoding: gzip", b"Content-Encoding: gzip")


@FAMILY.kind(bounded, is_large=True)
def a_gigabyte_in_many_members(request: Request) -> Iterable[Piece]:
    yield wire.packed(wire.member() * 128)


@FAMILY.kind(bounded, is_large=True)
def a_gigabyte_in_deflate(request: Request) -> Iterable[Piece]:
    yield wire.packed(b"\x78\x9c" + wire.blanks_packed() * 64, b"deflate")


@FAMILY.kind(bounded, is_large=True)
def members_of_nothing_for_ever(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Encoding: gzip")
    yield from repeat(gzip.compress(b"") * 500)


@FAMILY.kind(bounded, is_large=True)
def blocks_of_nothing_for_ever(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Encoding: gzip") + wire.GZIP_HEAD
    yield from repeat(b"\x00\x00\x00\xff\xff" * 4000)


@FAMILY.kind(bounded, is_large=True)
def gzip_with_a_name_without_end(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Encoding: gzip") + b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"
    yield from repeat(b"n" * 65536)


@FAMILY.kind(refused(500), is_large=True)
def a_refusal_of_a_gigabyte_in_gzip(request: Request) -> Iterable[Piece]:
    yield wire.answer(wire.gigabyte(), b"Content-Encoding: gzip", status=500)


@FAMILY.kind(refused(400), is_large=True)
def a_refusal_of_two_gigabytes_packed_twice(request: Request) -> Iterable[Piece]:
    yield wire.answer(wire.gigabyte_twice(), b"Content-Encoding: gzip, gzip", status=400)


@FAMILY.kind(bounded, is_large=True)
def a_million_empty_records_in_gzip(request: Request) -> Iterable[Piece]:
    start = (
        b'{"data":['
        if request.path.startswith("/v1/")
        else b'{"cursor":"c","more_to_follow":true,"devices":['
    )
    yield wire.packed(wire.records(8_000_000, start))


@FAMILY.kind(bounded, only=LISTS, is_large=True)
def half_a_million_empty_records(request: Request) -> Iterable[Piece]:
    start = (
        b'{"data":['
        if request.path.startswith("/v1/")
        else b'{"cursor":"c","more_to_follow":true,"devices":['
    )
    yield wire.answer(start + b'{"a":0},' * 500_000 + b'{"a":0}]}')


@FAMILY.kind(bounded, only=LISTS)
def more_records_than_asked_for(request: Request) -> Iterable[Piece]:
    if request.path.startswith("/v1/"):
        yield wire.answer(b'{"data":[%s]}' % b",".join(b'{"id":"C%d"}' % n for n in range(5001)))
        return
    records = b",".join(b'{"serial_number":"C%d"}' % n for n in range(5001))
    yield wire.answer(b'{"cursor":"c","more_to_follow":false,"devices":[%s]}' % records)


@FAMILY.kind(bounded, only=[LARGE_PAGE], is_large=True)
def as_many_empty_records_as_fit(request: Request) -> Iterable[Piece]:
    yield wire.answer(b'{"cursor":"c","more_to_follow":true,"devices":[' + b'{"a":0},' * 2_500_000 + b"{}]}")


@FAMILY.kind(typed, is_large=True)
def as_many_members_as_fit(request: Request) -> Iterable[Piece]:
    """Also where they fit into the bound, objects must not take much more than their text."""
    keys = b",".join(b'"%d":{}' % n for n in range(60_000))
    yield wire.answer(request.good.rstrip()[:-1] + b',"x":{%s}}' % keys)


@FAMILY.kind(bounded, is_large=True)
def a_gigabyte_in_chunks(request: Request) -> Iterable[Piece]:
    yield wire.chunked(end=b"")
    yield from repeat(wire.chunk(wire.BLANKS), 16_384)


@FAMILY.kind(bounded, is_large=True)
def a_gigabyte_with_its_length(request: Request) -> Iterable[Piece]:
    yield wire.head(b"Content-Length: %d" % 2**30)
    yield from repeat(wire.BLANKS, 16_384)


@FAMILY.kind(bounded, is_large=True)
def a_gigabyte_until_the_end_of_the_connection(request: Request) -> Iterable[Piece]:
    yield wire.head()
    yield from repeat(wire.BLANKS, 16_384)


@FAMILY.kind(bounded, is_large=True)
def a_chunk_of_more_bytes_than_there_are(request: Request) -> Iterable[Piece]:
    yield wire.chunked(end=b"FFFFFFFFFFFFFFFF\r\n")
    yield from repeat(wire.BLANKS, 16_384)


@FAMILY.kind(refused(503), is_large=True)
def a_refusal_of_a_gigabyte(request: Request) -> Iterable[Piece]:
    yield wire.head(status=503)
    yield from repeat(wire.BLANKS, 16_384)


@FAMILY.kind(refused(404), is_large=True)
def a_refusal_of_ten_megabytes(request: Request) -> Iterable[Piece]:
    yield wire.answer(b"A" * (10 * wire.MIB), status=404)


@FAMILY.kind(typed, only=PAGES, is_large=True)
def a_cursor_of_four_megabytes(request: Request) -> Iterable[Piece]:
    cursor = b"c" * (4 * wire.MIB)
    yield wire.answer(b'{"cursor":"%s","more_to_follow":false,"devices":[]}' % cursor)
