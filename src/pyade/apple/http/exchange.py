"""One request and its answer, whose body is bounded while it is read.

Rules of this file:

1. What counts is every byte on the wire and every byte after unpacking, since a few kilobytes can unpack to
   gigabytes. Reading ends at the bound, not after it.
2. One coding is asked for and unpacked here, gzip. An answer in any other one, or in several, is refused.
3. Of a refusal only the beginning is read: its status says what happened.
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
MAX_REFUSAL_BYTES = 64 * 1024
"""How much of a refusal is read."""

SESSION_BYTES = 64 * 1024
"""How long an answer may be that brings a session."""

_GZIP = ("gzip", "x-gzip")
_GZIP_STREAM = zlib.MAX_WBITS | 16
# A stream of many members has few bytes in each, and costs more than it brings.
_MAX_MEMBERS = 1000


@attrs.frozen(kw_only=True)
class HttpReply:
    """What came back over HTTP.

    Attributes:
        status: HTTP status.
        headers: Found in any letter case.
        content: The body, unpacked; of a refusal perhaps only its beginning.
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
    """Send a request once, and answer with what came back or raise ``TransportError``.

    Attributes:
        operation: What is asked, for errors.
        method: HTTP method.
        url: Absolute, or a path with a leading slash below the base URL of the client; secret where it
            needs no session to be read.
        headers: Besides those of the client.
        content: The body; None for none.
        may_act: True if a lost answer leaves it open whether the server acted.
        max_bytes: How long the answer may be.
    """

    operation: str
    method: str
    url: str | Secret
    headers: Mapping[str, str | Secret] = attrs.field(factory=dict, repr=False, hash=False)
    content: bytes | Secret | None = attrs.field(default=None, repr=False)
    may_act: bool = True
    max_bytes: int = ENVELOPE_BYTES


def unsendable(operation: str, error: Exception) -> InvalidRequestError:
    """Return the error for a value that cannot be sent; the words of *error* may quote it."""
    step = "check for values that are no text, are too long, or hold half a character"
    return InvalidRequestError(operation, 0, "", f"a value cannot be sent: {type(error).__name__}", step)


class Body:
    """Takes the bytes of an answer as they come, and bounds and unpacks them.

    Args:
        step: What was sent.
        response: Its answer, not read yet.

    Raises:
        ResponseError: A success in a coding that was not asked for.
    """

    def __init__(self, step: HttpCall, response: httpx.Response) -> None:
        self._step = step
        self._status = response.status_code
        self._is_success = response.is_success
        self._left = step.max_bytes if self._is_success else MAX_REFUSAL_BYTES
        self._wire_left = self._left
        self._parts: list[bytes] = []
        self._is_packed = False
        self._members_left = _MAX_MEMBERS
        self._member: zlib._Decompress | None = None
        coding = response.headers.get("Content-Encoding", "").strip().lower()
        # What was read before it came here was unpacked as well.
        if coding in ("", "identity") or response.is_stream_consumed:
            return
        self._is_packed = coding in _GZIP
        if self._is_packed:
            return
        if self._is_success:
            raise self._refused(f"the answer is in the coding {coding[:40]!r}, and gzip was asked for")
        self._wire_left = 0

    def take(self, chunk: bytes) -> bool:
        """Take the next part of the body, and return False if no more is wanted.

        Raises:
            ResponseError: A success is longer than its answer can be.
            httpx.DecodingError: It cannot be unpacked.
        """
        is_too_long = len(chunk) > self._wire_left
        chunk = chunk[: self._wire_left]
        self._wire_left -= len(chunk)
        if self._is_packed:
            is_too_long = self._unpack(chunk) or is_too_long
        else:
            self._keep(chunk)
        if is_too_long and self._is_success:
            raise self._refused(f"the answer is longer than {self._step.max_bytes / 1024:,.0f} KiB")
        return not is_too_long

    def end(self) -> bytes:
        """Return the body, now that all of it came.

        Raises:
            httpx.DecodingError: It breaks off.
        """
        if self._member is not None and self._is_success:
            raise httpx.DecodingError("the packed answer breaks off")
        return b"".join(self._parts)

    def _unpack(self, data: bytes) -> bool:
        """Unpack *data*, and return True if there is more than may be."""
        while data:
            if self._member is None:
                if self._members_left < _MAX_MEMBERS and not (data := data.lstrip(b"\0")):
                    break  # some servers fill their last block up
                self._members_left -= 1
                self._member = zlib.decompressobj(_GZIP_STREAM)
            unpacked = None
            with contextlib.suppress(zlib.error):
                unpacked = self._member.decompress(data, self._left + 1)
            if unpacked is None and self._is_success:
                raise httpx.DecodingError("the answer says that it is packed with gzip, and is not")
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
