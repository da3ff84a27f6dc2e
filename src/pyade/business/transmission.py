"""One request and its answer, whichever of the two clients sends it."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from pyade.errors import InvalidRequestError, ResponseError
from pyade.flow import HttpCall, HttpReply

MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_REFUSAL_BYTES = 64 * 1024


def request_of(step: HttpCall, build: Callable[..., httpx.Request], base_url: str) -> httpx.Request:
    """Return the request of *step*, made with *build* of an httpx client.

    Raises:
        InvalidRequestError: A value cannot be sent at all.
    """
    try:
        url = httpx.URL(base_url.rstrip("/") + step.url if step.url.startswith("/") else step.url)
        if step.params:
            # Only here: an empty ``params`` would make httpx drop the query that the address has.
            url = url.copy_merge_params(dict(step.params))
        return build(step.method, url, headers=step.headers, content=step.content)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        detail = f"a value cannot be sent: {type(error).__name__}"
    raise InvalidRequestError(step.operation, 0, "", detail, "check for values that are no plain text")


class Collector:
    """Takes the body of an answer, as far as its size is bounded.

    Args:
        step: What was sent.
        response: Its answer, not read yet.
    """

    def __init__(self, step: HttpCall, response: httpx.Response) -> None:
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
    def reply(self) -> HttpReply:
        """What was taken."""
        content = b"".join(self._parts)
        if not self._response.is_success:
            content = content[:MAX_REFUSAL_BYTES]
        return HttpReply(status=self._response.status_code, headers=self._response.headers, content=content)
