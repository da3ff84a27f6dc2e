"""One request and its answer, whichever of the two clients sends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import httpx

from pyade.core.flow import Step
from pyade.errors import InvalidRequestError, ResponseError

MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_REFUSAL_BYTES = 64 * 1024


@attrs.frozen(kw_only=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP status.
        headers: Found in any letter case.
        content: The body; of a refusal at most 64 KiB.
    """

    status: int
    headers: httpx.Headers = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)

    @property
    def is_success(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300


@attrs.frozen(kw_only=True)
class Transmit(Step[Reply]):
    """Send a request once, and answer with what came back or raise ``TransportError``.

    Attributes:
        operation: What is asked, for errors.
        method: HTTP method.
        url: Absolute, or a path with a leading slash below the base URL of the client.
        headers: Besides those of the client; not part of ``repr``, since they may hold an access token.
        content: The body; None for none.
        params: The query to add; empty adds none.
        may_act: True if a lost answer leaves it open whether Apple acted.
    """

    operation: str
    method: str
    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)
    content: bytes | None = attrs.field(default=None, repr=False)
    params: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    may_act: bool = True

    def request(self, build: Callable[..., httpx.Request], base_url: str) -> httpx.Request:
        """Return the request, made with *build* of an httpx client.

        Raises:
            InvalidRequestError: A value cannot be sent at all.
        """
        try:
            return build(self.method, self._address(base_url), headers=self.headers, content=self.content)
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            detail = f"a value cannot be sent: {type(error).__name__}"
        raise InvalidRequestError(self.operation, 0, "", detail, "check for values that are no plain text")

    def _address(self, base_url: str) -> httpx.URL:
        url = httpx.URL(base_url.rstrip("/") + self.url if self.url.startswith("/") else self.url)
        if self.params:
            # Only here: an empty ``params`` would make httpx drop the query that the address has.
            return url.copy_merge_params(dict(self.params))
        return url


class Collector:
    """Takes the body of an answer, as far as its size is bounded.

    Args:
        step: What was sent.
        response: Its answer, not read yet.
    """

    def __init__(self, step: Transmit, response: httpx.Response) -> None:
        self._step = step
        self._response = response
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> bool:
        """Take the next part of the body, and return False if no more is wanted.

        Raises:
            ResponseError: A success is larger than any answer can be.
        """
        self._parts.append(chunk)
        self._size += len(chunk)
        if not self._response.is_success:
            return self._size < MAX_REFUSAL_BYTES
        if self._size > MAX_ANSWER_BYTES:
            detail = f"the answer has more than {MAX_ANSWER_BYTES} bytes"
            raise ResponseError(
                self._step.operation, self._response.status_code, "", detail, "check the base URL"
            )
        return True

    @property
    def reply(self) -> Reply:
        """What was taken."""
        content = b"".join(self._parts)
        if not self._response.is_success:
            content = content[:MAX_REFUSAL_BYTES]
        return Reply(status=self._response.status_code, headers=self._response.headers, content=content)
