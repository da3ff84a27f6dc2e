"""How a ``FakeMac`` reaches a server in the same process: a service, a WSGI or an ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from pyade.enrollment.decision import EnrollmentResponse
from pyade.enrollment.machine_info import HEADER
from pyade.enrollment.service import AsyncEnrollmentService, EnrollmentService


def transport_to(server: EnrollmentService | Callable[..., Any] | None) -> httpx.BaseTransport | None:
    """Return the transport to a service or a WSGI application; None for the network."""
    if server is None:
        return None
    if not isinstance(server, EnrollmentService):
        return httpx.WSGITransport(server)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            authorization = request.headers.get("Authorization")
            return _to_httpx(server.enroll(request.read(), authorization=authorization))
        return _to_httpx(server.open_web_view(request.headers.get(HEADER), host=request.url.host))

    return httpx.MockTransport(answer)


def transport_to_async(
    server: AsyncEnrollmentService | Callable[..., Any] | None,
) -> httpx.AsyncBaseTransport | None:
    """Return the transport to a service or an ASGI application; None for the network."""
    if server is None:
        return None
    if not isinstance(server, AsyncEnrollmentService):
        return httpx.ASGITransport(server)

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            body, authorization = await request.aread(), request.headers.get("Authorization")
            return _to_httpx(await server.enroll(body, authorization=authorization))
        return _to_httpx(await server.open_web_view(request.headers.get(HEADER), host=request.url.host))

    return httpx.MockTransport(answer)


def _to_httpx(response: EnrollmentResponse) -> httpx.Response:
    return httpx.Response(response.status, headers=dict(response.headers), content=response.body)
