"""Request bodies are limited in size and time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.enrollment.conftest import HOST, Organization

from pyade.enrollment import EnrollmentApp
from pyade.enrollment.asgi import cut_off, read_body
from pyade.errors import ArgumentError, PolicyError
from pyade.testing import DeviceAuthority, DeviceIdentity

AT_ONCE = timedelta(microseconds=1)


@pytest.fixture(params=["asyncio", "trio"])
def place(
    request: pytest.FixtureRequest, authority: DeviceAuthority, mac: DeviceIdentity
) -> Iterator[Organization]:
    from tests.keys import RSA_KEYS

    from pyade.crypto.signing import Signer

    signer = Signer.self_signed("Contoso", private_key=RSA_KEYS[0])
    organization = Organization(kind=request.param, authority=authority, mac=mac, signer=signer)
    yield organization
    organization.store.close()


class Client:
    """Sends chunks of a body, and then nothing more, or only empty chunks."""

    def __init__(self, *pieces: bytes, drips: bool = False) -> None:
        self.pieces, self.drips, self.sent = list(pieces), drips, 0

    async def receive(self) -> dict[str, Any]:
        self.sent += 1
        if self.pieces:
            return {"type": "http.request", "body": self.pieces.pop(0), "more_body": True}
        if self.drips:
            await anyio.lowlevel.checkpoint()
            return {"type": "http.request", "body": b"", "more_body": True}
        await anyio.sleep_forever()
        raise AssertionError


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
@pytest.mark.parametrize("drips", [False, True])
def test_body_that_does_not_end_in_time_gets_an_error(place: Organization, method: str, drips: bool) -> None:
    path = {"POST": "/enroll", "GET": "/signin", "HEAD": "/health"}[method]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        app = EnrollmentApp(place.service(sign_in=None), body_time=AT_ONCE)
        scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", HOST.encode())]}
        with anyio.fail_after(20):
            await app(scope, Client(b"a piece", drips=drips).receive, send)

    anyio.run(main, backend=place.kind)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert not place.events(), "nothing was asked of the service"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_body_is_read_up_to_one_byte_above_the_limit(backend: str) -> None:
    async def main() -> None:
        client = Client(b"12345", b"6789", b"0")
        assert await read_body(client.receive, most=7) == b"12345678"
        assert client.sent == 2

    anyio.run(main, backend=backend)


def test_connection_is_aborted_on_known_servers() -> None:
    class Transport:
        aborted = 0

        def abort(self) -> None:
            self.aborted += 1

    class Cycle(Client):
        transport = Transport()

    async def receive() -> Any:
        raise AssertionError

    async def main() -> None:
        await cut_off(Cycle().receive)
        await cut_off(Client().receive)
        await cut_off(receive)

    anyio.run(main)
    assert Cycle.transport.aborted == 1


def test_time_limit_must_be_positive(place: Organization) -> None:
    async def main() -> None:
        service = place.service(sign_in=None)
        for time in (timedelta(0), timedelta(seconds=-1)):
            with pytest.raises(PolicyError, match=r"body_time is .*: it must be longer than zero"):
                EnrollmentApp(service, body_time=time)
        with pytest.raises(ArgumentError, match="body_time is 30: a timedelta"):
            EnrollmentApp(service, body_time=30)  # type: ignore[arg-type]

    anyio.run(main, backend=place.kind)
