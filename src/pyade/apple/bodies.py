"""No answer is read without bound: a client stops where one is too long to be Apple's.

What counts is the length after unpacking, since a few kilobytes can unpack to gigabytes. So only gzip is
asked for, and unpacked here; any other encoding is left as it came.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes; the largest page that Apple ever advertised, 5,000 devices, has a tenth of that."""

ACCEPT_ENCODING = "gzip"


class TooLargeError(httpx.RequestError):
    """An answer goes on after ``LARGEST_BODY`` bytes."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the answer is longer than {LARGEST_BODY // 1024**2} MiB")
        self.status = status


def bound(response: httpx.Response) -> None:
    """Let reading the body of *response* end in ``TooLargeError`` if it is too long."""
    if response.is_stream_consumed:
        return
    is_packed = response.headers.pop("Content-Encoding", "").strip().lower() == "gzip"
    response.stream = _BoundedStream(response.stream, response.status_code, is_packed=is_packed)


async def bound_async(response: httpx.Response) -> None:
    """Do what ``bound`` does, as a hook of an asynchronous client."""
    bound(response)


class _BoundedStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, stream: Any, status: int, *, is_packed: bool) -> None:
        self._stream = stream
        self._status = status
        self._left = LARGEST_BODY
        self._unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if is_packed else None

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield self._counted(chunk)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield self._counted(chunk)

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _counted(self, chunk: bytes) -> bytes:
        if self._unpacker is not None:
            try:
                # One byte more than is left shows that there is more.
                chunk = self._unpacker.decompress(chunk, self._left + 1)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from error
        self._left -= len(chunk)
        if self._left < 0:
            raise TooLargeError(self._status)
        return chunk
