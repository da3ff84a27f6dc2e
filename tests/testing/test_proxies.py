"""Servers on loopback are reached directly, without the proxies named by environment variables."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import anyio
import httpx
import pytest

from pyade import AcmeIssuer, Client, EnrollmentProfile, MdmService, Syncer
from pyade.business import BusinessClient
from pyade.enrollment import EnrollmentService
from pyade.storage import MemoryStore
from pyade.testing import DeviceAuthority, FakeApple, FakeBusiness, FakeMac, FrozenClock, LoopbackServer
from pyade.testing.http.wire import ServedResponse, WireRequest, WireResponse

EXAMPLES = Path(__file__).parents[2] / "examples"
UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a proxy that does not exist, for all addresses."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, UNREACHABLE)


@pytest.fixture
def apple() -> FakeApple:
    fake = FakeApple()
    fake.add_devices(2, server=fake.add_server("hq"))
    return fake


@pytest.fixture
def authority() -> DeviceAuthority:
    return DeviceAuthority.generate()


@pytest.fixture
def mdm(apple: FakeApple, authority: DeviceAuthority) -> Iterator[LoopbackServer]:
    """A server of an organization, on loopback, that knows the devices of the fake."""
    store = MemoryStore()
    store.add_token(apple.token())
    with Client(apple.token(), transport=apple.transport()) as client:
        Syncer(client, store).sync()
    store.set_default_profile("hq", EnrollmentProfile(name="Plain", url="https://mdm.example.com/enroll"))
    service = EnrollmentService(
        store,
        mdm=MdmService(
            identifier="com.example.mdm",
            organization="Example",
            server_url="https://mdm.example.com/mdm",
            topic="com.apple.mgmt.External.0b6fd0ee-0000-4000-8000-000000000001",
        ),
        acme=AcmeIssuer(directory_url="https://acme.example.com/directory"),
        trust=authority.trust,
    )

    def answer(request: WireRequest) -> ServedResponse:
        response = service.enroll(request.body)
        return ServedResponse(
            response=WireResponse(status=response.status, body=response.body, headers=response.headers)
        )

    with LoopbackServer(answer, FrozenClock(), real_delays=False) as running:
        yield running


def test_httpx_would_use_the_proxy(apple: FakeApple) -> None:
    with apple.serve() as served, pytest.raises(httpx.ConnectError):
        httpx.get(served.base_url + "/account")
    assert not apple.requests


@pytest.mark.parametrize("backend", ["sync", "asyncio", "trio"])
def test_mac_enrolls_without_the_proxy(
    apple: FakeApple, authority: DeviceAuthority, mdm: LoopbackServer, backend: str
) -> None:
    serial = next(iter(apple.devices))
    mac = FakeMac(serial_number=serial, identity=authority.issue(), url=mdm.base_url + "/enroll")
    got = mac.enroll() if backend == "sync" else anyio.run(mac.enroll_async, backend=backend)
    assert got.server_url == "https://mdm.example.com/mdm"
    assert mac.history == [f"POST {mdm.base_url}/enroll: 200"]


def test_both_services_are_reached_without_the_proxy(apple: FakeApple) -> None:
    business = FakeBusiness(apple)
    with (
        apple.serve() as served,
        Client(apple.token(), base_url=served.base_url) as client,
    ):
        assert client.account().server_name == "hq"
    with (
        business.serve() as served,
        BusinessClient(
            business.add_account(),
            base_url=served.base_url,
            token_url=f"{served.base_url}/auth/oauth2/token",
        ) as portal,
    ):
        assert len(list(portal.iter_devices())) == 2


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [("quickstart", ["--devices", "5"], "5 added"), ("enrollment_app", [], "identity='acme'")],
)
def test_examples_run_without_the_proxy(
    name: str, arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = load(name)
    if name == "quickstart":
        assert example.main(["--output", str(tmp_path), *arguments]) == 0
    else:
        assert example.main() == 0
    assert words in capsys.readouterr().out


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
