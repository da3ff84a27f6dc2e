"""Parts of a corporate network on loopback: a private authority, a TLS front, a proxy, slow servers."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2120, 1, 1, tzinfo=UTC)


class Listener:
    """Accepts connections on loopback, and calls *serve* with each in its own thread."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._serve(connection)
        self._open.discard(connection)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Copy data in both directions until one connection ends."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=copy, args=(other, one), daemon=True)
    back.start()
    copy(one, other)
    back.join()


def read_head(connection: socket.socket) -> bytes:
    """Return the received bytes up to the end of the headers, and what arrived with them."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            break
        head += data
    return head


class Proxy(Listener):
    """An HTTP proxy that connects every host to one port of this machine, and records the requests."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.asked: list[str] = []
        super().__init__(self._forward)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _forward(self, connection: socket.socket) -> None:
        head = read_head(connection)
        line, _, rest = head.partition(b"\r\n")
        if not line:
            return
        method, target, version = line.split(b" ")
        self.asked.append(f"{method.decode()} {target.decode()}")
        with socket.create_connection(("127.0.0.1", self._target)) as upstream:
            if method == b"CONNECT":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                path = b"/" + target.split(b"/", 3)[3]
                # One request for each connection is enough here, and each is recorded.
                upstream.sendall(b" ".join((method, path, version)) + b"\r\nConnection: close\r\n" + rest)
            relay(connection, upstream)


class TlsFront(Listener):
    """Terminates TLS in front of a plain HTTP server on loopback."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._target = port
        self._context = context
        super().__init__(self._forward)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _forward(self, connection: socket.socket) -> None:
        with (
            self._context.wrap_socket(connection, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", self._target)) as upstream,
        ):
            relay(secured, upstream)


@attrs.frozen
class Authority:
    """A private certificate authority with its files in *folder*."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = attrs.field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def file(self) -> Path:
        path = self.folder / "corporate-ca.pem"
        if not path.exists():
            path.write_bytes(self._certificate("Corporate CA", self.key).public_bytes(_PEM))
        return path

    def issue(self, name: str) -> Path:
        """Return a file with a key and a certificate for *name* and 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self.folder / f"{name}.pem"
        secret = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(secret + self._certificate(name, key).public_bytes(_PEM))
        return path

    def server_context(self, *, wants_client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.file))
        context.load_cert_chain(self.issue("mdm.contoso.example"))
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _certificate(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        is_authority = key is self.key
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named("Corporate CA"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOT_BEFORE)
            .not_valid_after(NOT_AFTER)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


_PEM = serialization.Encoding.PEM


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class StandIn(Listener):
    """Answers every request of both services with a minimal success."""

    def __init__(self) -> None:
        super().__init__(self._answer)

    def _answer(self, connection: socket.socket) -> None:
        while read_head(connection):
            connection.sendall(
                answer(b'{"auth_session_token": "SESSION", "access_token": "ACCESS", "data": []}')
            )


class SlowServer(Listener):
    """Answers as Apple does, but ends each response with an endless sequence of single bytes.

    Args:
        before: Bytes that are sent immediately.
        drip: Bytes that are then sent repeatedly.
        gap: Seconds between two repetitions.
    """

    def __init__(self, before: bytes, drip: bytes = b" ", gap: float = 0.02) -> None:
        self.before, self.drip, self.gap = before, drip, gap
        self.began = threading.Event()
        self.ended = threading.Event()
        super().__init__(self._answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended.set()
        super().__exit__(kind, error, traceback)

    def _answer(self, connection: socket.socket) -> None:
        while head := read_head(connection):
            if b" /session " in head.splitlines()[0]:
                connection.sendall(answer(b'{"auth_session_token": "SESSION"}'))
                continue
            if b" /auth/" in head.splitlines()[0]:
                connection.sendall(answer(b'{"access_token": "ACCESS", "expires_in": 3600}'))
                continue
            connection.sendall(self.before)
            self.began.set()
            while not self.ended.wait(self.gap):
                connection.sendall(self.drip)
            return


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
