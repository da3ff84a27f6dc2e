"""An organization's server under uvicorn over TLS, in a thread or in its own process.

It combines the enrollment application, an identity provider, and the address where a certificate authority
checks requests::

    python -m tests.enrollment.server FOLDER
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import attrs
import httpx
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer
from pyade.core.profile.accounts import User
from pyade.crypto.signing import Signer
from pyade.enrollment import AsyncEnrollmentService, EnrollmentApp, SignInReturn, redeem_scep_request
from pyade.enrollment.asgi import BODY_TIME
from pyade.enrollment.device_trust import DeviceTrust
from pyade.enrollment.machine_info import MachineInfo
from pyade.errors import TrustError
from pyade.storage import SQLiteStore
from pyade.testing import DeviceAuthority

HOST, LOGIN = "mdm.contoso.example", "login.contoso.example"
MDM = MdmService(
    identifier="example.contoso.mdm",
    organization="Contoso",
    server_url=f"https://{HOST}/mdm",
    topic="com.apple.mgmt.External.0b6fd0ee-0000-4000-8000-000000000001",
)
_PROVIDER_KEY = b"of the identity provider"


class Provider:
    """An identity provider where every user is already signed in, and whose responses cannot be forged."""

    def begin(self, state: str, machine: MachineInfo) -> str:
        return f"https://{LOGIN}/authorize?{urlencode({'state': state})}"

    async def authorize(self, request: Request) -> Response:
        state = request.query_params["state"]
        query = {"state": state, "user": "ada@contoso.example", "proof": _proof(state)}
        return RedirectResponse(f"https://{HOST}/signed-in?{urlencode(query)}", 303)

    def end(self, returned: SignInReturn) -> tuple[str, User] | str:
        fields = returned.fields
        state = fields.get("state", "")
        if not hmac.compare_digest(fields.get("proof", ""), _proof(state)):
            return "the proof is not the provider's"
        return state, User(upn=fields["user"])


def _proof(state: str) -> str:
    return hmac.new(_PROVIDER_KEY, state.encode(), hashlib.sha256).hexdigest()


def make_app(
    store: SQLiteStore, trust: DeviceTrust, signer: Signer, body_time: timedelta = BODY_TIME
) -> Starlette:
    """Return the whole server of an organization."""
    provider = Provider()
    service = AsyncEnrollmentService(
        store,
        mdm=MDM,
        acme=AcmeIssuer(directory_url=f"https://{HOST}/acme/directory"),
        scep=ScepIssuer(url=f"https://{HOST}/scep"),
        signer=signer,
        trust=trust,
        sign_in=provider,
    )

    async def check_request(request: Request) -> Response:
        body = await request.body()
        try:
            serial = await anyio.to_thread.run_sync(
                lambda: redeem_scep_request(store, body, now=datetime.now(UTC))
            )
        except TrustError as error:
            return PlainTextResponse(str(error), 403)
        return PlainTextResponse(serial)

    return Starlette(
        routes=[
            Route("/authorize", provider.authorize),
            Route("/scep-check", check_request, methods=["POST"]),
            Mount("/", app=EnrollmentApp(service, end_sign_in=provider.end, body_time=body_time)),
        ]
    )


# Files that the processes share


@attrs.frozen
class Organization:
    """A folder with the store, the keys and the certificates of an organization."""

    folder: Path
    authority: DeviceAuthority
    ca: bytes

    @classmethod
    def make(cls, folder: Path) -> Organization:
        authority = DeviceAuthority.generate()
        (folder / "devices.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        signer = Signer.self_signed("Contoso MDM", private_key=ec.generate_private_key(ec.SECP256R1()))
        (folder / "signer.pem").write_bytes(
            _key_pem(signer.private_key) + signer.certificate.public_bytes(Encoding.PEM)
        )
        return cls(folder, authority, _make_tls(folder))

    @property
    def database(self) -> Path:
        return self.folder / "ade.db"


def _make_tls(folder: Path) -> bytes:
    """Write key and certificate of the server, and return the certificate (DER) of its test CA."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Contoso test CA")])
    builder = x509.CertificateBuilder().issuer_name(ca_name).not_valid_before(now - timedelta(hours=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        builder.subject_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName(HOST), x509.DNSName(LOGIN)]
    leaf = (
        builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "tls-key.pem").write_bytes(_key_pem(key))
    (folder / "tls.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    return ca.public_bytes(Encoding.DER)


def _key_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


# Servers


def _server(
    folder: Path, store: SQLiteStore, loop: str = "auto", body_time: timedelta = BODY_TIME
) -> uvicorn.Server:
    certificate = x509.load_pem_x509_certificate((folder / "devices.pem").read_bytes())
    signer = Signer.from_pem((folder / "signer.pem").read_bytes())
    config = uvicorn.Config(
        make_app(store, DeviceTrust((certificate,)), signer, body_time),
        ssl_keyfile=str(folder / "tls-key.pem"),
        ssl_certfile=str(folder / "tls.pem"),
        log_config=None,
        access_log=False,
        http="h11",
        loop=loop,
        ws="none",
        lifespan="on",
    )
    return uvicorn.Server(config)


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener


@contextlib.contextmanager
def thread(
    organization: Organization, store: SQLiteStore, *, loop: str = "auto", body_time: timedelta = BODY_TIME
) -> Iterator[int]:
    """Run the server in a thread, and return its port."""
    server, listener = _server(organization.folder, store, loop, body_time), _listen()
    worker = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
    worker.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        worker.join()
        listener.close()


@contextlib.contextmanager
def processes(organization: Organization, count: int) -> Iterator[list[int]]:
    """Run the server in separate processes, and return their ports."""
    command = [sys.executable, "-m", "tests.enrollment.server", str(organization.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(count)
    ]
    try:
        yield [int(process.stdout.readline()) for process in running if process.stdout]
    finally:
        for process in running:
            process.communicate(timeout=30)  # closes its input, whereupon it ends


def main(folder: Path) -> None:
    """Serve until the input is closed."""
    with SQLiteStore(folder / "ade.db") as store:
        server, listener = _server(folder, store), _listen()
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()

        def wait() -> None:
            sys.stdin.read()
            server.should_exit = True

        threading.Thread(target=wait, daemon=True).start()
        server.run(sockets=[listener])
        listener.close()


# Clients


@attrs.define
class _Balancer:
    """Distributes the requests for the organization's names over its servers, one after the other."""

    ports: Sequence[int]
    turn: int = 0

    def route(self, request: httpx.Request) -> None:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        port = self.ports[self.turn % len(self.ports)]
        self.turn += 1
        request.url = request.url.copy_with(host="127.0.0.1", port=port)


class Transport(httpx.HTTPTransport):
    """Sends requests for the organization's names, over TLS that is verified for these names."""

    def __init__(self, ports: Sequence[int], *, first: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self._balancer = _Balancer(ports, first)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        self._balancer.route(request)
        response = super().handle_request(request)
        request.url = url
        return response


class AsyncTransport(httpx.AsyncHTTPTransport):
    """The asynchronous twin of ``Transport``."""

    def __init__(self, ports: Sequence[int], *, first: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self._balancer = _Balancer(ports, first)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        self._balancer.route(request)
        response = await super().handle_async_request(request)
        request.url = url
        return response


if __name__ == "__main__":
    main(Path(sys.argv[1]))
