"""The enrollment service inside a Starlette application, and a Mac that enrolls with it.

Needs: pyade, starlette and uvicorn; the extra ``test`` has both.
Run: ``python examples/enrollment_app.py``

A fake of Apple's service has one Mac, whose profile is assigned. uvicorn serves the application over TLS on
loopback. The Mac opens the web view, its user signs in, and it gets its signed profile.

Keep ``make_app`` for your service, and run it with ``uvicorn --factory``. Replace ``DemoProvider`` with your
identity provider and the checks of its protocol, such as the ``nonce`` and the signature of an OpenID Connect
token.
"""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import httpx
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from pyade import (
    AcmeIssuer,
    Assigner,
    Client,
    EnrollmentProfile,
    MdmService,
    ScepIssuer,
    Signer,
    Syncer,
    UserAffinity,
)
from pyade.core import User
from pyade.enrollment import AsyncEnrollmentService, DeviceTrust, EnrollmentApp, MachineInfo, SignInReturn
from pyade.storage import EnrollmentStore, SQLiteStore
from pyade.testing import DeviceAuthority, FakeApple, FakeMac


class DemoProvider:
    """An identity provider that accepts any name without a password; only for this example."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._codes: dict[str, tuple[str, User]] = {}

    def begin(self, state: str, machine: MachineInfo) -> str:
        """Return the address of the sign-in page, in the language of the Mac."""
        return f"{self.origin}/idp?{urlencode({'state': state, 'ui_locales': machine.language or 'en'})}"

    def end(self, returned: SignInReturn) -> tuple[str, User] | str:
        """Return the state and the user of the code in the request; a code works once."""
        return self._codes.pop(returned.fields.get("code", ""), None) or "the code is unknown"

    async def page(self, request: Request) -> Response:
        """Show the sign-in page; after the sign-in, redirect the web view to the application."""
        if request.method == "GET":
            form = "<form method=post><input name=user autofocus><button>Sign in</button></form>"
            return HTMLResponse(f"<!doctype html><title>Contoso</title>{form}")
        user = (await request.body()).decode().partition("user=")[2].replace("%40", "@")
        code = secrets.token_urlsafe()
        self._codes[code] = (request.query_params["state"], User(upn=user))
        return RedirectResponse(f"{self.origin}/ade/signed-in?{urlencode({'code': code})}", 303)


def make_app(store: EnrollmentStore, *, origin: str, signer: Signer, trust: DeviceTrust | None) -> Starlette:
    """Return an application with the enrollment service below ``/ade``.

    Args:
        store: The store with tokens and devices; all workers share one.
        origin: Scheme, host and port of the application.
        signer: Signs the profiles.
        trust: Whose devices are trusted; None for Apple's.
    """
    provider = DemoProvider(origin)
    service = AsyncEnrollmentService(
        store,
        mdm=MdmService(
            identifier="com.contoso.mdm",
            organization="Contoso",
            server_url=f"{origin}/mdm",
            topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        ),
        acme=AcmeIssuer(directory_url="https://acme.contoso.com/directory"),
        scep=ScepIssuer(url="https://scep.contoso.com/scep"),
        signer=signer,
        trust=trust,
        sign_in=provider,
    )
    app = EnrollmentApp(service, end_sign_in=provider.end)
    return Starlette(
        routes=[
            Route("/", lambda _: PlainTextResponse("The rest of your service.\n")),
            Route("/idp", provider.page, methods=["GET", "POST"]),
            Mount("/ade", app=app),
        ],
        lifespan=app.lifespan,
    )


def main() -> int:
    """Enroll one Mac."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        origin = f"https://localhost:{listener.getsockname()[1]}"
        anchor = make_tls_files(Path(name))
        apple, authority = FakeApple(), DeviceAuthority.generate()
        (serial,) = apple.add_devices(1, server=apple.add_server("Contoso MDM"))
        with SQLiteStore(Path(name) / "ade.db") as store:
            profile = EnrollmentProfile(
                name="Standard Mac",
                url=f"{origin}/ade/enroll",
                user_affinity=UserAffinity.modern(f"{origin}/ade/signin"),
                anchor_certificates=[anchor],
            )
            token = apple.token()
            store.add_token(token)
            with Client(token, transport=apple.transport()) as client:
                print(Syncer(client, store).sync())
                print(Assigner(client, store).run(default=profile))

            app = make_app(
                store, origin=origin, signer=Signer.self_signed("Contoso MDM"), trust=authority.trust
            )
            config = uvicorn.Config(
                app,
                ssl_keyfile=f"{name}/key.pem",
                ssl_certfile=f"{name}/certificate.pem",
                log_level="warning",
            )
            server = uvicorn.Server(config)
            worker = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            worker.start()
            try:
                mac = FakeMac.from_apple(apple, serial, authority, version="15.4", browse=type_a_name)
                print(mac.enroll())
                print(*mac.history, sep="\n")
            finally:
                server.should_exit = True
                worker.join()
            for event in store.events():
                if event.kind == "enrollment_decided":
                    print(f"{event.details['outcome']}: {event.details['reason']}")
    return 0


def type_a_name(page: httpx.Response) -> httpx.Request:
    """Sign in on the page of the provider, as a user does."""
    return httpx.Request("POST", page.request.url, content=urlencode({"user": "ada@contoso.com"}).encode())


def make_tls_files(folder: Path) -> bytes:
    """Write a key and a certificate for localhost, and return the certificate (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = builder.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    return certificate.public_bytes(Encoding.DER)


if __name__ == "__main__":
    sys.exit(main())
