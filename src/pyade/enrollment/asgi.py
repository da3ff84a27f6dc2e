"""A small ASGI application around ``AsyncEnrollmentService``, for any ASGI server, alone or mounted.

``AsgiApp`` is the base class that it shares with the webhook for certificate authorities
(``enrollment.webhook``).

The rules of this file:

1. Keep at most one byte more of a body than is allowed (64 KiB by default), whatever ``Content-Length`` says.
   That byte shows that the body is too long; the service then refuses it.
2. The time limit covers the whole body: single bytes now and then do not extend it.
3. Close a connection on which more of the body may follow, since some servers would read it to its end. ASGI
   has no message for that, and a regular TLS shutdown still reads what the client sends: uvloop does so for
   half a minute, at any speed. So the transport of uvicorn, which owns its ``receive``, is aborted after the
   response; other servers only get ``Connection: close``.
4. An internal error gives a response without detail, and a log line without the text of a foreign exception,
   which may quote a secret.
5. ``Host`` is used as the server passes it. Behind a proxy, the proxy or the server must set it correctly.

Source: ASGI specification, HTTP and Lifespan; RFC 9110, 15.5.9 (408); Apple, "Authenticating through web
views".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from datetime import timedelta
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import anyio
import attrs

from pyade.core.arguments import check_arguments
from pyade.core.input_limits import MAX_BYTES
from pyade.core.problems import Problem
from pyade.core.profile.accounts import User
from pyade.enrollment.decision import EnrollmentResponse
from pyade.enrollment.machine_info import HEADER
from pyade.enrollment.service import AsyncEnrollmentService
from pyade.enrollment.tally import WINDOW
from pyade.errors import PolicyError, PyadeError
from pyade.hooks import Hook, call_async, check_hook, places_of
from pyade.text import logger

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

BODY_TIME: Final = timedelta(seconds=30)
"""How long a body may take by default; a Mac's fits into a few packets."""

_GRACE_S: Final = 0.1  # lets the response leave before the connection is aborted

_log = logger(__name__)


def check_body_time(value: timedelta) -> None:
    """Check a time limit for bodies.

    Raises:
        PolicyError: It is not longer than zero.
    """
    if value <= timedelta(0):
        raise PolicyError(f"body_time is {value}: it must be longer than zero")


async def read_body(receive: Receive, *, most: int = MAX_BYTES, time: timedelta = BODY_TIME) -> bytes | None:
    """Return at most *most* + 1 bytes of the body of a request, or None if the client disconnected.

    Args:
        receive: The ASGI ``receive`` of the request.
        most: How many bytes are allowed; of a longer body *most* + 1 are returned, and the rest is not read.
        time: Limit for the whole body.

    Raises:
        TimeoutError: The body did not end within *time*: answer 408, then call ``cut_off``.
    """
    body = bytearray()
    with anyio.fail_after(time.total_seconds()):  # rule 2
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")[: most + 1 - len(body)]  # rule 1
            if len(body) > most or not message.get("more_body", False):
                return bytes(body)


async def cut_off(receive: Receive) -> None:
    """Abort the connection after the response was sent, whatever the client still sends.

    Args:
        receive: The ASGI ``receive`` of the request.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)  # rule 3
    abort = getattr(transport, "abort", None)
    if callable(abort):
        await anyio.sleep(_GRACE_S)
        abort()


@attrs.frozen(kw_only=True)
class SignInReturn:
    """The request with which the identity provider sends the web view back.

    Attributes:
        method: ``GET`` or ``POST``.
        query: Query of the address, without the question mark; secret.
        body: At most 64 KiB; secret.
        headers: Names in lower case, the last value of each; secret.
    """

    method: str
    query: str = attrs.field(default="", repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)

    @property
    def fields(self) -> Mapping[str, str]:
        """The form fields, from the body of a ``POST``, else from the query.

        Empty if there are more than 100 fields, or if a field occurs twice, which is ambiguous.
        """
        text = self.body.decode("latin-1") if self.method == "POST" else self.query
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
        except ValueError:
            return {}
        found = dict(pairs)
        return found if len(found) == len(pairs) else {}


SignInEnd: TypeAlias = Hook[tuple[str, User] | str]
"""A hook that is called with a ``SignInReturn`` and verifies it with the identity provider. It returns the
state that ``SignIn.begin`` got and the user who signed in, or a text that says why no user did."""


@attrs.frozen(kw_only=True)
class HttpResponse:
    """Status, header fields and body of one response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, response: EnrollmentResponse) -> HttpResponse:
        """Return the HTTP part of a service's response."""
        return cls(status=response.status, headers=response.headers, body=response.body)


Routes: TypeAlias = Mapping[str, Mapping[str, Callable[[Scope, bytes], Awaitable[HttpResponse]]]]
"""Request handlers by path and method, each called with the scope and the kept part of the body (rule 1)."""


@check_arguments
class AsgiApp:
    """Base of the ASGI applications of this package: routes requests and limits their bodies.

    Args:
        routes: A handler for each path, relative to where the application is mounted, and method.
        body_time: How long the body of a request may take, to its last byte; then the response is 408.

    Raises:
        PolicyError: A path does not begin with a slash, or *body_time* is not longer than zero.
    """

    def __init__(self, routes: Routes, *, body_time: timedelta = BODY_TIME) -> None:
        check_body_time(body_time)
        for path in routes:
            if not path.startswith("/"):
                raise PolicyError(f"path {path!r}: it must begin with a slash")
        self._routes: Routes = routes
        self._body_time: timedelta = body_time

    def _startup_problems(self) -> Iterable[Problem]:
        """Return the problems that are logged when the server starts."""
        return ()

    async def _run_background(self) -> None:
        """Do periodic work; it is cancelled when the server shuts down."""

    async def _on_shutdown(self) -> None:
        """Finish the work when the server shuts down."""

    @contextlib.asynccontextmanager
    async def lifespan(self, parent: object = None) -> AsyncIterator[None]:  # noqa: ARG002 - Starlette passes it
        """Return a context manager for the time in which an application serves requests.

        A server runs it by itself. Frameworks do not for an application that is mounted in another: give it
        to the other, as in ``Starlette(lifespan=app.lifespan)``, or enter it in a lifespan of your own.

        Args:
            parent: The other application, which is not used.
        """
        for problem in self._startup_problems():
            _log.warning("%s", problem)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._run_background)
                try:
                    yield
                finally:
                    group.cancel_scope.cancel()
        finally:
            await self._on_shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or handle the startup and shutdown of the server."""
        if scope["type"] == "lifespan":
            await self._handle_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._handle_request(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise PolicyError(
                f"the ASGI scope has the type {str(scope['type'])[:40]!r}: http and lifespan are supported"
            )

    async def _handle_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})  # last: a server may cancel what still runs then

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path_of(scope)
        methods = self._routes.get(path, {})
        handler = methods.get(scope["method"])
        if handler is None:
            response = _text_response(405, b"Not allowed.\n", Allow=", ".join(sorted(methods)))
            response = response if methods else _text_response(404, b"Not found.\n")
            return await _send_response(scope, receive, send, response, is_read=False)
        try:
            body = await read_body(receive, time=self._body_time)
        except TimeoutError:
            response = _text_response(408, b"Too slow.\n")
            return await _send_response(scope, receive, send, response, is_read=False)
        if body is None:
            return None
        is_read = len(body) <= MAX_BYTES
        try:
            response = await handler(scope, body)
            _check_headers(response)
        except Exception as error:  # noqa: BLE001 - no client may see an internal error (rule 4)
            _log.error("%s %s failed: %s", scope["method"], path, _describe_error(error))  # rule 4
            response = _text_response(500, b"Something went wrong. Try again later.\n")
        return await _send_response(scope, receive, send, response, is_read=is_read)


@check_arguments
class EnrollmentApp(AsgiApp):
    """An ASGI application that serves the addresses to which Macs send requests.

    It runs under any ASGI server, such as ``uvicorn module:app``, and can be mounted under a path of another
    application. The caller opens and closes the store.

    Args:
        service: Answers the Macs.
        end_sign_in: Verifies what the identity provider sends back and returns the user; None without modern
            authentication, where the service has no ``sign_in``.
        enroll_path: Path of the profile's ``url``.
        web_view_path: Path of its ``configuration_web_url``.
        return_path: Path to which the identity provider sends the web view back.
        health_path: Path that reports whether the store answers: 200 or 503.
        body_time: How long the body of a request may take, to its last byte; then the response is 408.

    Raises:
        PolicyError: A path does not begin with a slash, two are the same, *body_time* is not longer than
            zero, *end_sign_in* takes other arguments than a ``SignInReturn``, or it is missing.
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
        body_time: timedelta = BODY_TIME,
    ) -> None:
        check_hook("end_sign_in", end_sign_in, "returned")
        if end_sign_in is None and service.has_sign_in:
            raise PolicyError(
                "the service has a sign_in, and no end_sign_in is given: no user could return from the"
                " identity provider, give end_sign_in="
            )
        paths = (enroll_path, web_view_path, return_path, health_path)
        if len(set(paths)) != len(paths):
            raise PolicyError(f"paths {', '.join(paths)}: two are the same, give four different paths")
        self._service = service
        self._end_sign_in = end_sign_in
        returns = {"GET": self._close_web_view, "POST": self._close_web_view}
        super().__init__(
            {
                enroll_path: {"POST": self._enroll},
                web_view_path: {"GET": self._open_web_view},
                return_path: {} if end_sign_in is None else returns,
                health_path: {"GET": self._health, "HEAD": self._health},
            },
            body_time=body_time,
        )

    def _startup_problems(self) -> Iterable[Problem]:
        return self._service.problems()

    async def _enroll(self, scope: Scope, body: bytes) -> HttpResponse:
        authorization = header_of(scope, b"authorization")
        return HttpResponse.of(await self._service.enroll(body, authorization=authorization))

    async def _open_web_view(self, scope: Scope, _body: bytes) -> HttpResponse:
        header = header_of(scope, HEADER.encode())
        return HttpResponse.of(await self._service.open_web_view(header, host=_host_of(scope)))

    async def _run_background(self) -> None:
        while True:
            await anyio.sleep(WINDOW.total_seconds())
            await self._on_shutdown()

    async def _on_shutdown(self) -> None:
        try:
            await self._service.record_refusals()
        except PyadeError as error:
            _log.error("counted refusals cannot be stored: %s", _describe_error(error))

    async def _close_web_view(self, scope: Scope, body: bytes) -> HttpResponse:
        if self._end_sign_in is None:
            raise AssertionError  # pragma: no cover - the route does not exist then
        if len(body) > MAX_BYTES:
            return _text_response(413, b"Too large.\n")
        returned = SignInReturn(
            method=scope["method"],
            query=scope.get("query_string", b"").decode("latin-1"),
            body=body,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        )
        result: object = await call_async(self._end_sign_in, returned, name="end_sign_in")
        if isinstance(result, str):
            return HttpResponse.of(await self._service.sign_in_failed(result))
        if not isinstance(result, tuple) or [isinstance(part, str) for part in result] != [True, False]:
            raise PolicyError(
                "end_sign_in returned neither the state with a user nor a text why no user signed in"
            )
        state, user = result
        return HttpResponse.of(await self._service.close_web_view(state, user, host=_host_of(scope)))

    async def _health(self, _scope: Scope, _body: bytes) -> HttpResponse:
        try:
            await self._service.check_store()
        except PyadeError as error:
            _log.error("the store does not answer: %s", _describe_error(error))
            return _text_response(503, b"The store does not answer.\n")
        return _text_response(200, b"ok\n")


def _path_of(scope: Scope) -> str:
    """Return the path relative to where this application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _header_values(scope: Scope, name: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return a header field; None if it is missing, "" if it occurs more than once."""
    values = _header_values(scope, name)
    return None if not values else values[0] if len(values) == 1 else ""


def _host_of(scope: Scope) -> str:
    return header_of(scope, b"host") or ""  # rule 5


def _text_response(status: int, body: bytes, **headers: str) -> HttpResponse:
    fields = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **headers}
    return HttpResponse(status=status, headers=fields, body=body)


def _check_headers(response: HttpResponse) -> None:
    for name, value in response.headers.items():
        if not value.isascii() or not value.isprintable():
            raise PolicyError(f"the response header {name} holds characters other than printable ASCII")


async def _send_response(
    scope: Scope, receive: Receive, send: Send, response: HttpResponse, *, is_read: bool
) -> None:
    fields = {**response.headers, "Content-Length": str(len(response.body))}
    is_closed = not is_read and str(scope.get("http_version", "1.1")).startswith("1")
    if is_closed:
        fields["Connection"] = "close"
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})
    if is_closed:
        await cut_off(receive)  # rule 3


def _describe_error(error: BaseException) -> str:
    """Return the type and place of *error*; its text only if it is pyade's own (rule 4)."""
    text = f": {error}" if isinstance(error, PyadeError) else ""
    cause = error.__cause__
    after = "" if cause is None else f" after {type(cause).__name__}"
    return f"{type(error).__name__}{text}{after} at {places_of(error)}"
