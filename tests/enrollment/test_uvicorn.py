"""Many concurrent Macs at real servers, over TLS, on one SQLite file."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import anyio
import attrs
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID
from tests.enrollment import server
from tests.enrollment.server import HOST, AsyncTransport, Organization, Transport

from pyade import Assigner, Client, EnrollmentProfile, Syncer, UserAffinity
from pyade.core.fleet.enrollment import Registration, digest_of
from pyade.core.fleet.events import EventKind
from pyade.core.input_limits import MAX_BYTES
from pyade.enrollment import asgi, redeem_scep_request
from pyade.enrollment.asgi import read_body
from pyade.errors import TrustError
from pyade.storage import SQLiteStore
from pyade.testing import DeviceIdentity, FakeApple, FakeEnrollment, FakeMac, FrozenClock, MacError

pytestmark = pytest.mark.slow

T = TypeVar("T")
MACS = 20
VERSIONS = ("15.4", "13.0", "26.0", "13.6", "14.1")
OIDS = {"O": NameOID.ORGANIZATION_NAME, "CN": NameOID.COMMON_NAME}


@attrs.frozen
class Fleet:
    """Macs that Apple sold to an organization, with the fake Apple and the server."""

    organization: Organization
    store: SQLiteStore
    apple: FakeApple
    serials: tuple[str, ...]
    identities: tuple[DeviceIdentity, ...]

    def mac(self, number: int, **changes: Any) -> FakeMac:
        return FakeMac.from_apple(
            self.apple,
            self.serials[number],
            self.organization.authority,
            identity=self.identities[number % len(self.identities)],
            **{"version": VERSIONS[number % len(VERSIONS)], **changes},
        )

    def client(self, *ports: int, first: int = 0) -> httpx.Client:
        context = self.mac(0).tls_context()
        return httpx.Client(transport=Transport(ports, first=first, verify=context), timeout=60)


@contextlib.contextmanager
def fleet_of(count: int, folder: Path) -> Iterator[Fleet]:
    """A synced fleet whose users sign in; its Macs trust only the test CA, as Apple sent it."""
    organization = Organization.make(folder)
    clock = FrozenClock()
    apple = FakeApple(clock=clock)
    serials = apple.add_devices(count, server=apple.add_server("hq"))
    profile = EnrollmentProfile(
        name="Standard Mac",
        url=f"https://{HOST}/enroll",
        user_affinity=UserAffinity.modern(f"https://{HOST}/signin"),
        anchor_certificates=[organization.ca],
    )
    with SQLiteStore(organization.database) as store:
        store.add_token(apple.token())
        with Client(apple.token(), transport=apple.transport(), clock=clock, sleep=clock.sleep) as client:
            Syncer(client, store, clock=clock).sync()
            assert Assigner(client, store, clock=clock).run(default=profile).is_complete
        identities = tuple(organization.authority.issue() for _ in range(4))
        yield Fleet(organization, store, apple, serials, identities)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(MACS, tmp_path_factory.mktemp("organization")) as made:
        yield made


def in_parallel(works: list[Callable[[], T]]) -> list[T]:
    """Return the results of all *work*, started at the same moment."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        barrier.wait(60)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def request_of(enrollment: FakeEnrollment, **changes: str) -> bytes:
    """Return the certificate request that a Mac makes of its SCEP payload; *changes* are of the subject."""
    names = [x509.NameAttribute(OIDS[name], changes.get(name, value)) for name, value in enrollment.subject]
    key = rsa.generate_private_key(65537, enrollment.key_size)
    builder = x509.CertificateSigningRequestBuilder(x509.Name(names))
    builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, enrollment.credential.encode())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def decisions(fleet: Fleet, serial: str) -> Counter[str]:
    return Counter(
        event.details["outcome"]
        for event in fleet.store.events()
        if event.kind is EventKind.ENROLLMENT_DECIDED and event.serial_number == serial
    )


@pytest.mark.parametrize("count", [40, 200])
def test_concurrent_macs_get_one_valid_credential_each(count: int, tmp_path: Path) -> None:
    with fleet_of(count, tmp_path) as fleet:
        _enroll_all(fleet)


def _enroll_all(fleet: Fleet) -> None:
    macs = [fleet.mac(number) for number in range(len(fleet.serials))]

    async def enroll(port: int, mac: FakeMac, found: dict[str, FakeEnrollment]) -> None:
        transport = AsyncTransport([port], verify=mac.tls_context())
        async with httpx.AsyncClient(transport=transport, timeout=60) as http:
            found[mac.serial_number] = await mac.enroll_async(http)

    async def enroll_all(port: int) -> dict[str, FakeEnrollment]:
        found: dict[str, FakeEnrollment] = {}
        async with anyio.create_task_group() as group:
            for mac in macs:
                group.start_soon(enroll, port, mac, found)
        return found

    with server.thread(fleet.organization, fleet.store) as port:
        found = anyio.run(enroll_all, port)

    assert set(found) == set(fleet.serials)
    assert {tuple(line.rpartition(" ")[2] for line in mac.history) for mac in macs} == {("302", "303", "200")}
    assert len({one.credential for one in found.values()}) == len(macs)
    for number, serial in enumerate(fleet.serials):
        (live,) = fleet.store.one_times(serial)
        assert live.digest == digest_of(found[serial].credential)
        assert found[serial].identity == ("scep" if VERSIONS[number % 5] == "13.0" else "acme")
        assert dict(found[serial].subject)["CN"] == serial
    pending = list(fleet.store.enrollments(registration=Registration.PENDING))
    assert {one.serial_number for one in pending} == set(fleet.serials)
    outcomes = Counter(
        event.details["outcome"]
        for event in fleet.store.events()
        if event.kind is EventKind.ENROLLMENT_DECIDED
    )
    assert outcomes == {"sign_in": len(macs), "enroll": len(macs)}


def test_mac_without_the_anchor_does_not_connect(fleet: Fleet) -> None:
    mac = fleet.mac(1)
    mac.anchors = ()
    with (
        server.thread(fleet.organization, fleet.store) as port,
        httpx.Client(transport=Transport([port], verify=mac.tls_context())) as http,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        mac.enroll(http)


def state_of(fleet: Fleet, number: int, http: httpx.Client) -> str:
    """Return the state of a sign-in that has begun."""
    mac = fleet.mac(number)
    opened = http.get(mac.web_url, headers={"x-apple-aspen-deviceinfo": mac.header()})
    assert opened.status_code == 302
    return opened.headers["Location"].partition("state=")[2]


def returned(http: httpx.Client, state: str) -> int:
    query = {"state": state, "user": "ada@contoso.example", "proof": server._proof(state)}
    return http.get(f"https://{HOST}/signed-in?{urlencode(query)}").status_code


def test_across_two_processes_a_state_and_a_challenge_work_once(fleet: Fleet) -> None:
    with server.processes(fleet.organization, 2) as ports, fleet.client(*ports) as http:
        state = state_of(fleet, 2, http)
        clients = [fleet.client(*ports, first=first % 2) for first in range(12)]
        try:
            statuses = in_parallel([lambda one=one: returned(one, state) for one in clients])  # type: ignore[misc]
            assert Counter(statuses) == {200: 1, 403: 11}
            assert len(fleet.store.one_times(fleet.serials[2])) == 1

            # The same Mac signs in at both processes at once: the last profile holds the only credential.
            states = [state_of(fleet, 3, one) for one in clients[:4]]
            pairs = list(zip(clients, states, strict=False))
            statuses = in_parallel([lambda pair=pair: returned(*pair) for pair in pairs])  # type: ignore[misc]
            assert statuses == [200] * 4
            assert len(fleet.store.one_times(fleet.serials[3])) == 1

            # Four keys, each of which asks three times: one of them gets its certificate, each time.
            enrollment = fleet.mac(6, version="13.0").enroll(clients[0])
            requests = [request_of(enrollment) for _ in range(4)]
            address = f"https://{HOST}/scep-check"
            checks = [
                lambda one=one, request=requests[number % 4]: one.post(address, content=request)
                for number, one in enumerate(clients)
            ]
            answers: list[httpx.Response] = in_parallel(checks)  # type: ignore[arg-type]
            assert Counter(answer.status_code for answer in answers) == {200: 3, 403: 9}
            assert {answer.text for answer in answers if answer.status_code == 200} == {fleet.serials[6]}
        finally:
            for one in clients:
                one.close()


def test_in_threads_a_state_and_a_challenge_work_once(fleet: Fleet) -> None:
    with server.thread(fleet.organization, fleet.store) as port, fleet.client(port) as http:
        state = state_of(fleet, 7, http)
        statuses = in_parallel([lambda: returned(http, state)] * 12)
        assert Counter(statuses) == {200: 1, 403: 11}
        enrollment = fleet.mac(8, version="13.0").enroll(http)
    requests = [request_of(enrollment) for _ in range(4)]

    def redeem(request: bytes) -> str:
        try:
            return redeem_scep_request(fleet.store, request, now=datetime.now(UTC))
        except TrustError as error:
            return str(error)

    counted = Counter(in_parallel([partial(redeem, request) for request in requests * 3]))
    assert counted.pop(fleet.serials[8]) == 3
    assert counted == {"this scep challenge is unknown, has expired, or was used before": 9}


def test_no_client_can_swap_the_serial_number(fleet: Fleet) -> None:
    mine, other = fleet.serials[9], fleet.serials[10]
    with server.thread(fleet.organization, fleet.store) as port, fleet.client(port) as http:
        mac = fleet.mac(9, version="13.0")
        # In the signed MachineInfo: the signature covers other bytes.
        forged = mac.signed().replace(mine.encode(), other.encode())
        assert http.post(mac.url, content=forged).status_code == 403
        # In the sign-in: it belongs to the Mac that began it, not to the client that ends it.
        kept = fleet.store.one_times(other)
        state = state_of(fleet, 9, http)
        header_of_another_mac = {"x-apple-aspen-deviceinfo": fleet.mac(10).header()}
        query = {"state": state, "user": "ada@contoso.example", "proof": server._proof(state)}
        ended = http.get(f"https://{HOST}/signed-in?{urlencode(query)}", headers=header_of_another_mac)
        assert mine.encode() in ended.content
        assert other.encode() not in ended.content
        assert fleet.store.one_times(other) == kept
        # An unknown serial number.
        mac.extra = {"SERIAL": "C02STRANGER1"}
        with pytest.raises(MacError) as refused:
            mac.enroll(http)
        assert refused.value.status == 403
        # In the certificate request: the profile names the subject.
        mac.extra = {}
        enrollment = mac.enroll(http)
        answer = http.post(f"https://{HOST}/scep-check", content=request_of(enrollment, CN=other))
        assert (answer.status_code, "the subject is" in answer.text) == (403, True)
        again = http.post(f"https://{HOST}/scep-check", content=request_of(enrollment))
        assert (again.status_code, "used before" in again.text) == (403, True)
    assert not fleet.store.one_times(mine)


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """Return the name of an event loop that is installed."""
    if request.param != "asyncio":
        pytest.importorskip(request.param)
    name: str = request.param
    return name


def test_endless_body_is_cut_off(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    sent = taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 36:
            sent += 1 << 16
            yield bytes(1 << 16)

    async def counting(receive: Any, **options: Any) -> bytes | None:
        async def count() -> Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message

        return await read_body(count, **options)

    monkeypatch.setattr(asgi, "read_body", counting)
    with server.thread(fleet.organization, fleet.store, loop=loop) as port, fleet.client(port) as http:
        with contextlib.suppress(httpx.TransportError):  # closed while the client still wrote
            assert http.post(f"https://{HOST}/enroll", content=endless()).status_code == 400
        assert http.get(f"https://{HOST}/health").text == "ok\n"
    assert 0 < taken <= MAX_BYTES + (1 << 18), "what came by then, in pieces of the server's size"
    assert sent < 1 << 29, "of 64 GiB"


def test_stalled_body_gets_an_error_and_is_cut_off(fleet: Fleet, loop: str) -> None:
    """The test shortens its time limit to nothing, so that it does not wait."""
    time = timedelta(microseconds=1)
    with server.thread(fleet.organization, fleet.store, loop=loop, body_time=time) as port:
        context = fleet.mac(0).tls_context()
        with (
            socket.create_connection(("127.0.0.1", port), 20) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            connection.sendall(
                f"POST /enroll HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n123".encode()
            )
            answer = b""
            with contextlib.suppress(OSError):  # cut off
                while data := connection.recv(4096):
                    answer += data
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
