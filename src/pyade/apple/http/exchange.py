"""One HTTP request and its response, whose body is limited while it is read.

The rules of this file:

1. The limit applies to the bytes on the wire and to the bytes after decompression, since a few kilobytes can
   expand to gigabytes. Reading stops at the limit, not after it.
2. Only gzip is requested and decompressed here. A response in any other encoding, or in several, is refused.
3. Of an error response only the first ``MAX_ERROR_BYTES`` are read: its status says what happened.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping

import attrs
import httpx

from pyade.apple.http.calls import ENVELOPE_BYTES
from pyade.core.secret import Secret
from pyade.errors import InvalidRequestError, ResponseError
from pyade.flow import Step

ACCEPT_ENCODING = "gzip"
MAX_ERROR_BYTES = 64 * 1024
"""Bytes that are read of an error response."""

SESSION_BYTES = 64 * 1024
"""Most bytes of a response that opens a session."""

_GZIP = ("gzip", "x-gzip")
_GZIP_STREAM = zlib.MAX_WBITS | 16
# A gzip stream of many small members costs far more time than its size suggests.
_MAX_MEMBERS = 1000


@attrs.frozen(kw_only=True)
class HttpReply:
    """A response over HTTP.

    Attributes:
        status: HTTP status.
        headers: Keys in any letter case.
        content: The body, decompressed; of an error response perhaps only the beginning.
    """

    status: int
    headers: httpx.Headers = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)

    @property
    def is_success(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300


@attrs.frozen(kw_only=True)
class HttpCall(Step[HttpReply]):
    """Send a request once; the result is its response, or ``TransportError`` is raised.

    Attributes:
        operation: Name of the call, for errors.
        method: HTTP method.
        url: Absolute, or a path with a leading slash below the base URL of the client; a ``Secret`` if the
            URL alone gives access.
        headers: Added to those of the client.
        content: The body; None for none.
        may_act: True if it is unknown after a lost response whether the server acted.
        max_bytes: Most bytes of the response.
    """

    operation: str
    method: str
    url: str | Secret
    headers: Mapping[str, str | Secret] = attrs.field(factory=dict, repr=False, hash=False)
    content: bytes | Secret | None = attrs.field(default=None, repr=False)
    may_act: bool = True
    max_bytes: int = ENVELOPE_BYTES


def unsendable(operation: str, error: Exception) -> InvalidRequestError:
    """Return the error for a value that cannot be sent, without the text of *error*, which may quote it."""
    step = "check for values that are no strings, are too long, or hold an unpaired surrogate"
    return InvalidRequestError(operation, 0, "", f"a value cannot be sent: {type(error).__name__}", step)


class Body:
    """Collects the bytes of a response, limits and decompresses them.

    Args:
        step: The request that was sent.
        response: Its response, not read yet.

    Raises:
        ResponseError: A success has an encoding that was not requested.
    """

    def __init__(self, step: HttpCall, response: httpx.Response) -> None:
        self._step = step
        self._status = response.status_code
        self._is_success = response.is_success
        self._left = step.max_bytes if self._is_success else MAX_ERROR_BYTES  # rule 3
        self._wire_left = self._left
        self._parts: list[bytes] = []
        self._is_packed = False
        self._members_left = _MAX_MEMBERS
        self._member: zlib._Decompress | None = None
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        # httpx has decompressed a response that was read before.
        if coding in ("", "identity") or response.is_stream_consumed:
            return
        self._is_packed = coding in _GZIP  # rule 2
        if self._is_packed:
            return
        if self._is_success:
            raise self._refused(f"the response has the encoding {coding[:40]!r}, only gzip is allowed")
        self._wire_left = 0

    def take(self, chunk: bytes) -> bool:
        """Add the next part of the body, and return False if no more should be read.

        Raises:
            ResponseError: A success exceeds the size limit.
            httpx.DecodingError: It cannot be decompressed.
        """
        is_too_long = len(chunk) > self._wire_left  # rule 1
        chunk = chunk[: self._wire_left]
        self._wire_left -= len(chunk)
        if self._is_packed:
            is_too_long = self._unpack(chunk) or is_too_long
        else:
            self._keep(chunk)
        if is_too_long and self._is_success:
            raise self._refused(f"the response is longer than {self._step.max_bytes / 1024:,.0f} KiB")
        return not is_too_long

    def end(self) -> bytes:
        """Return the body after its last part was taken.

        Raises:
            httpx.DecodingError: The compressed data is incomplete.
        """
        if self._member is not None and self._is_success:
            raise httpx.DecodingError("the compressed response is incomplete")
        return b"".join(self._parts)

    def _unpack(self, data: bytes) -> bool:
        """Decompress *data*, and return True if the result exceeds the limit."""
        while data:
            if self._member is None:
                if self._members_left < _MAX_MEMBERS and not (data := data.lstrip(b"\0")):
                    break  # some servers pad the last block with zeros
                self._members_left -= 1
                self._member = zlib.decompressobj(_GZIP_STREAM)
            unpacked = None
            with contextlib.suppress(zlib.error):
                unpacked = self._member.decompress(data, self._left + 1)  # rule 1
            if unpacked is None and self._is_success:
                raise httpx.DecodingError("the response is declared as gzip, and is not")
            if unpacked is None or len(unpacked) > self._left or self._members_left < 0:
                self._keep((unpacked or b"")[: self._left])
                return True
            self._keep(unpacked)
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._member = None if self._member.eof else self._member
        return False

    def _keep(self, part: bytes) -> None:
        self._left -= len(part)
        self._parts.append(part)

    def _refused(self, detail: str) -> ResponseError:
        return ResponseError(self._step.operation, self._status, "", detail, "check base_url")
