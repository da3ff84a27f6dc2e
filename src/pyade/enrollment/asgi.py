"""A small ASGI application around ``AsyncEnrollmentService``, for any ASGI server, alone or mounted.

``AsgiApp`` is what it has in common with the webhook for certificate authorities (``enrollment.webhook``).

The rules of this file:

1. Of a body at most 64 KiB and a byte are kept, whatever ``Content-Length`` says; the service refuses what is
   longer. A connection on which more may follow is closed: some servers read it to its end.
2. What goes wrong inside is an answer without detail, and a line in the log that holds no text of a foreign
   exception: nobody knows what it quotes.
3. ``Host`` is taken as the server gives it. Behind a proxy, let the proxy or the server set it right.

Source: ASGI specification, HTTP and Lifespan; Apple, "Authenticating through web views".
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from pathlib import PurePath
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import attrs

from pyade.core.kinds import checks_kinds
from pyade.core.machine_info import HEADER
from pyade.core.problems import Problem
from pyade.core.untrusted import MAX_BYTES
from pyade.core.user import User
from pyade.enrollment.decision import EnrollmentResponse
from pyade.enrollment.service import AsyncEnrollmentService
from pyade.errors import PolicyError, PyadeError
from pyade.flow import Hook, call_hook
from pyade.text import logger

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_log = logger("pyade.enrollment")


@attrs.frozen(kw_only=True)
class SignInReturn:
    """What comes back from the identity provider with the web view.

    Attributes:
        method: ``GET`` or ``POST``.
        query: Of the address, without the question mark; secret.
        body: At most 64 KiB; secret.
        headers: Names in lower case, the last value of each; secret.
    """

    method: str
    query: str = attrs.field(default="", repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)

    @property
    def fields(self) -> Mapping[str, str]:
        """The fields of the form, from the body of a ``POST``, else from the query.

        Empty if there are more than 100 or one comes twice: nobody can say which of them counts.
        """
        text = self.body.decode("latin-1") if self.method == "POST" else self.query
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
        except ValueError:
            return {}
        found = dict(pairs)
        return found if len(found) == len(pairs) else {}


SignInEnd: TypeAlias = Hook[tuple[str, User] | str]
"""Called with a ``SignInReturn``, which it verifies with the identity provider: returns the state that
``SignIn.begin`` was given with the user who signed in, or in words why nobody did."""


@attrs.frozen(kw_only=True)
class Answer:
    """What is sent back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, response: EnrollmentResponse) -> Answer:
        """Return the answer that a service gave."""
        return cls(status=response.status, headers=response.headers, body=response.body)


Routes: TypeAlias = Mapping[str, Mapping[str, Callable[[Scope, bytes], Awaitable[Answer]]]]
"""By path and method, what answers a request: called with the scope and as much of the body as is kept."""


@checks_kinds
class AsgiApp:
    """What the ASGI applications of this room have in common: their paths, and bodies that come to an end.

    Args:
        routes: For each path, below where the application is mounted, and method what answers.

    Raises:
        PolicyError: A path does not begin with a slash.
    """

    def __init__(self, routes: Routes) -> None:
        for path in routes:
            if not path.startswith("/"):
                raise PolicyError(f"path {path!r}: it must begin with a slash")
        self._routes: Routes = routes

    def _problems(self) -> Iterable[Problem]:
        """Return what is logged when the server starts."""
        return ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or follow the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise PolicyError(f"the server speaks {str(scope['type'])[:40]!r}: http and lifespan are known")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                for problem in self._problems():
                    _log.warning("%s", problem)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path_of(scope)
        methods = self._routes.get(path, {})
        action = methods.get(scope["method"])
        if action is None:
            found = _words(405, b"Not allowed.\n", Allow=", ".join(sorted(methods)))
            return await _send(scope, send, found if methods else _words(404, b"Not found.\n"), is_read=False)
        body = await _body_of(receive)
        if body is None:
            return None
        is_read = len(body) <= MAX_BYTES
        try:
            answer = await action(scope, body)
            _check_headers(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody outside may learn of it
            _log.error("%s %s failed: %s", scope["method"], path, _describe(error))
            answer = _words(500, b"Something went wrong. Try again later.\n")
        return await _send(scope, send, answer, is_read=is_read)


@checks_kinds
class EnrollmentApp(AsgiApp):
    """An ASGI application: the addresses that Macs come to.

    It runs under any ASGI server, such as ``uvicorn module:app``, and can be mounted under a path of another
    application. Opening and closing the store stays with the caller.

    Args:
        service: Answers the Macs.
        end_sign_in: Turns what the identity provider sends back into a user; None without modern
            authentication.
        enroll_path: Path of the profile's ``url``.
        web_view_path: Path of its ``configuration_web_url``.
        return_path: Path to which the identity provider sends the web view back.
        health_path: Path that says whether the store answers: 200 or 503.

    Raises:
        PolicyError: A path does not begin with a slash, or two are the same.
    """

    def __init__(
        self,
        service: AsyncEnrollmentService,
        *,
        end_sign_in: SignInEnd | None = None,
        enroll_path: str = "/enroll",
        web_view_path: str = "/signin",
        return_path: str = "/signed-in",
        health_path: str = "/health",
    ) -> None:
        paths = (enroll_path, web_view_path, return_path, health_path)
        if len(set(paths)) != len(paths):
            raise PolicyError(f"paths {', '.join(paths)}: each must be another one")
        self._service = service
        self._end_sign_in = end_sign_in
        returns = {"GET": self._close_web_view, "POST": self._close_web_view}
        super().__init__(
            {
                enroll_path: {"POST": self._enroll},
                web_view_path: {"GET": self._open_web_view},
                return_path: {} if end_sign_in is None else returns,
                health_path: {"GET": self._health, "HEAD": self._health},
            }
        )

    def _problems(self) -> Iterable[Problem]:
        return self._service.findings()

    async def _enroll(self, scope: Scope, body: bytes) -> Answer:
        authorization = header_of(scope, b"authorization")
        return Answer.of(await self._service.enroll(body, authorization=authorization))

    async def _open_web_view(self, scope: Scope, _body: bytes) -> Answer:
        header = header_of(scope, HEADER.encode())
        return Answer.of(await self._service.open_web_view(header, host=_host_of(scope)))

    async def _close_web_view(self, scope: Scope, body: bytes) -> Answer:
        if self._end_sign_in is None:
            raise AssertionError  # pragma: no cover - there is no such route then
        if len(body) > MAX_BYTES:
            return _words(413, b"Too large.\n")
        returned = SignInReturn(
            method=scope["method"],
            query=scope.get("query_string", b"").decode("latin-1"),
            body=body,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        )
        found: object = await call_hook(self._end_sign_in, returned)
        if isinstance(found, str):
            _log.info("nobody signed in: %s", found[:200])
            return _words(403, b"You are not signed in. Start again, or contact your organization.\n")
        if not isinstance(found, tuple) or [isinstance(part, str) for part in found] != [True, False]:
            raise PolicyError(
                "end_sign_in gave neither the state with a user, nor in words why nobody signed in"
            )
        state, user = found
        return Answer.of(await self._service.close_web_view(state, user, host=_host_of(scope)))

    async def _health(self, _scope: Scope, _body: bytes) -> Answer:
        try:
            await self._service.check_store()
        except PyadeError as error:
            _log.error("the store does not answer: %s", _describe(error))
            return _words(503, b"The store does not answer.\n")
        return _words(200, b"ok\n")


def _path_of(scope: Scope) -> str:
    """Return the path below where this application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _values(scope: Scope, name: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return a header field; one that comes several times cannot be read, as "" cannot."""
    values = _values(scope, name)
    return None if not values else values[0] if len(values) == 1 else ""


def _host_of(scope: Scope) -> str:
    return header_of(scope, b"host") or ""


async def _body_of(receive: Receive) -> bytes | None:
    """Return the body, of a long one only so much that it shows; None if the client went away."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")[: MAX_BYTES + 1 - len(body)]
        if len(body) > MAX_BYTES or not message.get("more_body", False):
            return bytes(body)


def _words(status: int, body: bytes, **headers: str) -> Answer:
    fields = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **headers}
    return Answer(status=status, headers=fields, body=body)


def _check_headers(answer: Answer) -> None:
    for name, value in answer.headers.items():
        if not value.isascii() or not value.isprintable():
            raise PolicyError(f"the header {name} of the answer holds what no header can")


async def _send(scope: Scope, send: Send, answer: Answer, *, is_read: bool) -> None:
    fields = {**answer.headers, "Content-Length": str(len(answer.body))}
    if not is_read and str(scope.get("http_version", "1.1")).startswith("1"):
        fields["Connection"] = "close"
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


def _describe(error: BaseException) -> str:
    """Return what kind of error it is and where it came from, with its text if it is one of pyade's own."""
    words = f": {error}" if isinstance(error, PyadeError) else ""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = ", ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    cause = error.__cause__
    after = "" if cause is None else f" after {type(cause).__name__}"
    return f"{type(error).__name__}{words}{after} at {places}"
