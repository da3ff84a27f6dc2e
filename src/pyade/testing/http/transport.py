"""A fake as an httpx transport, so that a client talks to it without a network."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from pyade.core.kinds import checks_kinds
from pyade.testing.clock import FrozenClock
from pyade.testing.http.wire import Outcome, WireRequest, join_headers


@checks_kinds
class FakeTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """An httpx transport, for ``Client`` and ``AsyncClient`` alike, whose other end is a fake.

    A slow answer moves a ``FrozenClock`` and, if it is slower than the read timeout of the request, ends in
    ``httpx.ReadTimeout`` after the request was carried out. Nothing ever really waits.

    Args:
        handle: What answers requests.
        clock: The clock of the fake.
    """

    def __init__(self, handle: Callable[[WireRequest], Outcome], clock: Callable[[], object]) -> None:
        self._handle = handle
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of ``httpx.Client``."""
        return self._answer(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of ``httpx.AsyncClient``."""
        return self._answer(request, await request.aread())

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        outcome = self._handle(
            WireRequest(
                method=request.method,
                scheme=request.url.scheme,
                host=request.headers.get("host", request.url.netloc.decode()),
                target=request.url.raw_path.decode(),
                headers=join_headers(request.headers.multi_items()),
                body=body,
            )
        )
        if not outcome.reached:
            raise httpx.ConnectError("connection refused", request=request)
        self._wait(request, outcome.delay_seconds)
        if outcome.answer is None:
            raise httpx.RemoteProtocolError(
                "Server disconnected without sending a response.", request=request
            )
        return httpx.Response(
            outcome.answer.status,
            headers=dict(outcome.answer.headers),
            content=outcome.answer.body,
            request=request,
        )

    def _wait(self, request: httpx.Request, seconds: float) -> None:
        if not seconds:
            return
        timeout: float | None = request.extensions.get("timeout", {}).get("read")
        too_slow = timeout is not None and seconds > timeout
        if isinstance(self._clock, FrozenClock):
            self._clock.advance(timeout if timeout is not None and too_slow else seconds)
        if too_slow:
            raise httpx.ReadTimeout("the answer did not come in time", request=request)
