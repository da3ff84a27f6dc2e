"""Bytes of valid and invalid responses."""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Iterator

MIB = 1024 * 1024
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
BLANKS = b" " * 65536
DRIP_S = 0.05


def head(*fields: bytes, status: int = 200, version: bytes = b"1.1") -> bytes:
    """Return a status line and headers."""
    lines = (b"HTTP/%s %d Odd" % (version, status), b"Connection: close", *fields, b"", b"")
    return b"\r\n".join(lines)


def answer(body: bytes = b"", *fields: bytes, status: int = 200, length: int | None = None) -> bytes:
    """Return a response with its length, which may be wrong."""
    declared = b"Content-Length: %d" % (len(body) if length is None else length)
    return head(declared, *fields, status=status) + body


def chunk(data: bytes) -> bytes:
    """Return *data* as one chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", fields: tuple[bytes, ...] = ()) -> bytes:
    """Return a response in chunks."""
    return head(b"Transfer-Encoding: chunked", *fields) + b"".join(map(chunk, chunks)) + end


def packed(body: bytes, coding: bytes = b"gzip") -> bytes:
    """Return a response whose body is already compressed, with the header that says so."""
    return answer(body, b"Content-Encoding: " + coding)


def drip(data: bytes) -> Iterator[bytes | float]:
    """Send a byte from time to time."""
    for byte in data:
        yield bytes([byte])
        yield DRIP_S


def for_ever(data: bytes) -> Iterator[bytes | float]:
    """Send *data* from time to time."""
    while True:
        yield data
        yield DRIP_S


@functools.cache
def blanks_packed() -> bytes:
    """Return 16 MiB of blanks, compressed so that any number of them can follow each other."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(b" " * (16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)


@functools.cache
def gigabyte() -> bytes:
    """Return a gigabyte of blanks in one gzip member without its end, which shows if a client read all."""
    return GZIP_HEAD + blanks_packed() * 64


@functools.cache
def gigabyte_twice() -> bytes:
    """Return two gigabytes of blanks, compressed twice to some kilobytes."""
    return gzip.compress(GZIP_HEAD + blanks_packed() * 128)


@functools.cache
def member() -> bytes:
    """Return 8 MiB of blanks as one gzip member."""
    return gzip.compress(b" " * (8 * MIB))


@functools.cache
def records(count: int, start: bytes) -> bytes:
    """Return a list of many empty records, compressed."""
    return gzip.compress(start + b'{"a":0},' * count + b'{"a":0}]}')
