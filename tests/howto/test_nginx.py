"""A real nginx with the configuration of the page, in front of the application: a Mac enrolls through it."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import pytest
import uvicorn
from tests.howto.pages import files_of
from tests.network import Authority

from pyade import AcmeIssuer, Assigner, EnrollmentProfile, MdmService, Syncer, UserAffinity
from pyade.core import User
from pyade.enrollment import AsyncEnrollmentService, EnrollmentApp
from pyade.testing import World, demo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light"),
]
HOST = "mdm.contoso.com"


class ToNginx(httpx.HTTPTransport):
    """Sends every request to a port of this machine, with the name of the address in TLS and ``Host``."""

    def __init__(self, port: int, authority: Path) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=str(authority)))
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        extensions = {**request.extensions, "sni_hostname": request.url.host}
        url = request.url.copy_with(host="127.0.0.1", port=self._port)
        content = request.read()
        return super().handle_request(
            httpx.Request(
                request.method, url, headers=request.headers, content=content, extensions=extensions
            )
        )


@attrs.frozen
class Front:
    """nginx and what is behind it."""

    world: World
    port: int
    authority: Path
    states: list[str]

    def client(self) -> httpx.Client:
        return httpx.Client(transport=ToNginx(self.port, self.authority), base_url=f"https://{HOST}")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder)
    certificate = authority.issue(HOST)
    states: list[str] = []
    with demo() as world, socket.socket() as behind, socket.socket() as free:
        behind.bind(("127.0.0.1", 0))
        behind.listen()
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
        free.close()
        server = uvicorn.Server(uvicorn.Config(_application(world, states), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [behind]})
        thread.start()
        nginx = subprocess.Popen(
            ["nginx", *_configured(folder, certificate, port, int(behind.getsockname()[1]))]
        )
        try:
            _wait_for(port)
            yield Front(world, port, authority.file, states)
        finally:
            nginx.terminate()
            nginx.wait(10)
            server.should_exit = True
            thread.join()


def _application(world: World, states: list[str]) -> EnrollmentApp:
    class Provider:
        def begin(self, state: str, machine: object) -> str:
            states.append(state)
            return f"https://{HOST}/signed-in?state={state}"

    service = AsyncEnrollmentService(
        world.store,
        mdm=MdmService(
            identifier="com.contoso.mdm",
            organization="Contoso",
            server_url=f"https://{HOST}/mdm",
            topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        ),
        acme=AcmeIssuer(directory_url="https://ca.contoso.com/acme/directory"),
        sign_in=Provider(),
        trust=world.trust,
    )
    return EnrollmentApp(
        service, end_sign_in=lambda returned: (returned.fields["state"], User(upn="ada@contoso.com"))
    )


def _configured(folder: Path, certificate: Path, port: int, behind: int) -> list[str]:
    """Write the configuration of the page with the ports and files of this test; return nginx's arguments."""
    text = files_of("nginx.md")["ade.conf"]
    for shown, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:8000", f"127.0.0.1:{behind}"),
        ("/etc/ssl/mdm.contoso.com.pem", str(certificate)),
        ("/etc/ssl/private/mdm.contoso.com.key", str(certificate)),
    ):
        assert shown in text
        text = text.replace(shown, here)
    (folder / "ade.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    # The workers of a master that runs as root could not enter pytest's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        f" http {{ access_log {folder}/access.log; {temporary} include {folder}/ade.conf; }}"
    )
    arguments = ["-p", str(folder), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    checked = subprocess.run(["nginx", "-t", *arguments], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    return arguments


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


def _assign(front: Front, profile: EnrollmentProfile) -> None:
    front.world.clock.advance(minutes=15)
    Syncer(front.world.client, front.world.store).sync()
    Assigner(front.world.client, front.world.store).run(default=profile)


def test_a_mac_enrolls_through_nginx(front: Front) -> None:
    _assign(front, EnrollmentProfile(name="Standard Mac", url=f"https://{HOST}/enroll"))
    mac = front.world.mac()
    with front.client() as http:
        assert mac.enroll(http).server_url == f"https://{HOST}/mdm"
    assert [line.rpartition(" ")[2] for line in mac.history] == ["200"]


def test_a_user_signs_in_through_nginx(front: Front) -> None:
    """The long header gets through, and ``Host`` stays the same between the two requests."""
    affinity = UserAffinity.modern(f"https://{HOST}/signin")
    _assign(front, EnrollmentProfile(name="Modern", url=f"https://{HOST}/enroll", user_affinity=affinity))
    mac = front.world.mac(extra={"Padding": "x" * 3_000})
    with front.client() as http:
        assert mac.enroll(http).server_url == f"https://{HOST}/mdm"
    assert len(front.states) == 1
    assert [line.rpartition(" ")[2] for line in mac.history] == ["302", "200"]


def test_the_limits_of_the_page_hold(front: Front) -> None:
    with front.client() as http:
        assert http.post("/enroll", content=b"x").status_code == 400
        assert http.post("/enroll", content=bytes(100_000)).status_code == 413
        assert http.post("/enroll", content=bytes(60_000)).status_code == 400
        assert http.get("/health").status_code == 200
        assert http.get("/another").status_code == 404
        header = {"x-apple-aspen-deviceinfo": "A" * 12_000}
        assert "Setup Assistant" in http.get("/signin", headers=header).text
        assert http.get("/health", headers={"Host": "another.example"}).status_code == 421
    with front.client() as http, pytest.raises(httpx.ConnectError):
        http.get("https://another.example/health")
