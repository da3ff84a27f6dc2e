"""``pyade fake``: the fakes over HTTP, with the portal, for programs in other languages."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.cases import each
from tests.cli.conftest import Run, Shell

from pyade import Client, Token, TokenKeypair
from pyade.business import ApiAccount, BusinessClient
from pyade.cli.portal import PortalOverHttp
from pyade.flow import utc_now
from pyade.testing import FakeApple
from pyade.testing.http.server import LoopbackServer


@pytest.fixture
def portal() -> Iterator[tuple[FakeApple, str]]:
    """Return a fake with the server ``Main`` and 2 Macs, and the address of its portal."""
    apple = FakeApple()
    apple.add_devices(2, server=apple.add_server("Main"))
    with LoopbackServer(PortalOverHttp(apple).handle, apple.clock, real_delays=False) as served:
        yield apple, f"{served.base_url}/portal"


def post(url: str, body: Any) -> httpx.Response:
    return httpx.post(url, content=body if isinstance(body, bytes) else json.dumps(body), trust_env=False)


def test_a_test_in_any_language_does_what_an_administrator_does(portal: tuple[FakeApple, str]) -> None:
    apple, url = portal
    keypair = TokenKeypair.generate("Contoso MDM")
    p7m = post(f"{url}/token", keypair.certificate_pem).content
    token = Token.from_p7m(p7m, keypair, name="hq", apple_id="it@contoso.com", consented_at=utc_now())
    added = post(f"{url}/devices", {"count": 3}).json()["serial_numbers"]
    assert post(f"{url}/devices", {"serial_numbers": ["C02MINE00001"]}).is_success
    with Client(token, base_url=url.removesuffix("/portal")) as client:
        found = {device.serial_number for device in client.fetch_devices().devices}
    assert {*added, "C02MINE00001"} < found
    assert len(found) == 6
    assert post(f"{url}/unassign", {"serial_numbers": added[:1]}).is_success
    assert post(f"{url}/release", {"serial_numbers": added[1:]}).is_success
    assert (apple.devices[added[0]].server, set(added[1:]) & apple.devices.keys()) == (None, set())


@each(
    ("path", "body", "status"),
    [
        ("token", b"no certificate", 400),
        ("devices", b"{", 400),
        ("devices", [], 400),
        ("devices", {"count": "many"}, 400),
        ("devices", {"serial_numbers": "C02"}, 400),
        ("unassign", {}, 400),
        ("release", {"serial_numbers": ["C02NONE00001"]}, 400),
        ("nothing", {}, 404),
    ],
)
def test_a_wrong_request_gets_one_line(
    path: str, body: Any, status: int, portal: tuple[FakeApple, str]
) -> None:
    answer = post(f"{portal[1]}/{path}", body)
    assert (answer.status_code, len(answer.text.splitlines())) == (status, 1)


def test_a_token_file_of_a_fake_is_downloaded(run: Run, portal: tuple[FakeApple, str]) -> None:
    run("token", "new", "hq", "--consent")
    download = ("fake", "token", "hq.pem", "hq.p7m", "--portal")
    assert run(*download, portal[1], "--json").json == {"file": "hq.p7m"}
    assert "hq.p7m exists" in run(*download, portal[1], code=2).err
    assert "no fake answers" in run(*download, "http://127.0.0.1:1", "--force", code=1).err
    refused = run("fake", "token", "profile.json", "x.p7m", "--portal", portal[1], code=2)
    assert refused.err.startswith("pyade: the portal refused: ")
    wrong = run("fake", "token", "hq.pem", "other.p7m", "--portal", portal[1].removesuffix("/portal"), code=2)
    assert "give the portal_url that pyade fake serve printed" in wrong.err


@pytest.mark.slow
def test_a_program_finds_everything_in_the_first_line_and_in_the_folder(shell: Shell) -> None:
    with shell.fake("--devices", "2", "--folder", "fake", "--seed", "7") as served:
        found = served["business"]
        account = ApiAccount.from_pem(
            found["private_key"].encode(), client_id=found["client_id"], key_id=found["key_id"]
        )
        urls = {"base_url": found["base_url"], "token_url": found["token_url"]}
        with BusinessClient(account, **urls) as business:
            assert {one.id for one in business.iter_devices()} == set(served["serial_numbers"])
        token = Token(
            **{**served["token"], "access_token_expiry": None},
            name="hq",
            apple_id="it@contoso.com",
            consented_at=utc_now(),
        )
        with Client(token, base_url=served["base_url"]) as client:
            assert client.account().server_name == "Main"
        for name, mode in (("keypair", 0o600), ("business_key", 0o600), ("token", 0o644)):
            assert stat.S_IMODE((shell.folder / served["files"][name]).stat().st_mode) == mode
        add = ("token", "add", "hq", served["files"]["token"], "--key", served["files"]["keypair"])
        shell(*add, "--apple-id", "it@contoso.com", "--consent")
        taken = shell("fake", "serve", "--port", served["base_url"].rpartition(":")[2], code=2)
        assert taken.err == "pyade: the port cannot be used: Address already in use\n"
