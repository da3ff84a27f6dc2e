"""A small ASGI application around ``AsyncEnrollmentService``, for any ASGI server, alone or mounted.

``AsgiApp`` is what it has in common with the webhook for certificate authorities (``enrollment.webhook``).

The rules of this file:

1. Of a body at most 64 KiB and a byte are kept, for a limited time; the service refuses what is longer. A
   connection on which more may follow is closed: some servers read it to its end.
2. What goes wrong inside is an answer without detail, and a line in the log that holds no text of a foreign
   exception: nobody knows what it quotes.
3. ``Host`` is taken as the server gives it. Behind a proxy, let the proxy or the server set it right.

Source: ASGI specification, HTTP and Lifespan; Apple, "Authenticating through web views".

Bodies of requests to an ASGI application: read in bounded size and time, from whatever server.

The rules of this file:

1. Of a body a byte more than is allowed is kept, whatever ``Content-Length`` says, so that it shows.
2. The time is for the whole body: a byte now and then does not prolong it.
3. A connection on which more may follow is cut off after the answer. ASGI has no word for that, and a polite
   end of TLS takes in what the client still sends: uvloop does so for half a minute, at any speed. So the
   transport of uvicorn, which its ``receive`` belongs to, is aborted; other servers are left alone.

Source: ASGI specification, HTTP; RFC 9110, 15.5.9 (408).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
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

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]

BODY_TIME: Final = timedelta(seconds=30)
"""How long a body may take by default; a Mac's is one packet or a few."""

_GRACE_S: Final = 0.1  # for the answer on its way out


def check_body_time(value: timedelta) -> None:
    """Accept a time limit that a body can keep.

    Raises:
        PolicyError: It is not longer than zero.
    """
    if value <= timedelta(0):
        raise PolicyError(f"body_time is {value}: it must be longer than zero")


async def read_body(receive: Receive, *, most: int = MAX_BYTES, time: timedelta = BODY_TIME) -> bytes | None:
    """Return the body of a request.

    Args:
        receive: As the server gave it.
        most: How many bytes are allowed; of a longer body *most* + 1 are returned, and the rest is not read.
        time: For all of it.

    Returns:
        None if the client went away.

    Raises:
        TimeoutError: It did not end in *time*: answer 408, and ``cut_off``.
    """
    body = bytearray()
    with anyio.fail_after(time.total_seconds()):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")[: most + 1 - len(body)]
            if len(body) > most or not message.get("more_body", False):
                return bytes(body)


async def cut_off(receive: Receive) -> None:
    """End the connection after the answer was sent, whatever the client still sends.

    Args:
        receive: As the server gave it.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    abort = getattr(transport, "abort", None)
    if callable(abort):
        await anyio.sleep(_GRACE_S)
        abort()


Scope: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_log = logger(__name__)


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


@check_arguments
class AsgiApp:
    """What the ASGI applications of this room have in common: their paths, and bodies that come to an end.

    Args:
        routes: For each path, below where the application is mounted, and method what answers.
        body_time: How long the body of a request may take, to its last byte; then the answer is 408.

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

    def _problems(self) -> Iterable[Problem]:
        """Return what is logged when the server starts."""
        return ()

    async def _work(self) -> None:
        """Work beside the requests until the server ends."""

    async def _end(self) -> None:
        """Do what is left when the server ends."""

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
        async with anyio.create_task_group() as group:
            while True:
                message = await receive()
                if message["type"] == "lifespan.startup":
                    for problem in self._problems():
                        _log.warning("%s", problem)
                    group.start_soon(self._work)
                if message["type"] == "lifespan.shutdown":
                    await self._end()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return group.cancel_scope.cancel()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path_of(scope)
        methods = self._routes.get(path, {})
        action = methods.get(scope["method"])
        if action is None:
            found = _words(405, b"Not allowed.\n", Allow=", ".join(sorted(methods)))
            found = found if methods else _words(404, b"Not found.\n")
            return await _send(scope, receive, send, found, is_read=False)
        try:
            body = await read_body(receive, time=self._body_time)
        except TimeoutError:
            return await _send(scope, receive, send, _words(408, b"Too slow.\n"), is_read=False)
        if body is None:
            return None
        is_read = len(body) <= MAX_BYTES
        try:
            answer = await action(scope, body)
            _check_headers(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody outside may learn of it
            _log.error("%s %s failed: %s", scope["method"], path, _describe(error))
            answer = _words(500, b"Something went wrong. Try again later.\n")
        return await _send(scope, receive, send, answer, is_read=is_read)


@check_arguments
class EnrollmentApp(AsgiApp):
    """An ASGI application: the addresses that Macs come to.

    It runs under any ASGI server, such as ``uvicorn module:app``, and can be mounted under a path of another
    application. Opening and closing the store stays with the caller.

    Args:
        service: Answers the Macs.
        end_sign_in: Turns what the identity provider sends back into a user; None without modern
            authentication, where the service has no ``sign_in``.
        enroll_path: Path of the profile's ``url``.
        web_view_path: Path of its ``configuration_web_url``.
        return_path: Path to which the identity provider sends the web view back.
        health_path: Path that says whether the store answers: 200 or 503.
        body_time: How long the body of a request may take, to its last byte; then the answer is 408.

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
                "the service has a sign_in, and no end_sign_in is given: nobody could come back from the"
                " identity provider, give end_sign_in="
            )
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
            },
            body_time=body_time,
        )

    def _problems(self) -> Iterable[Problem]:
        return self._service.problems()

    async def _enroll(self, scope: Scope, body: bytes) -> Answer:
        authorization = header_of(scope, b"authorization")
        return Answer.of(await self._service.enroll(body, authorization=authorization))

    async def _open_web_view(self, scope: Scope, _body: bytes) -> Answer:
        header = header_of(scope, HEADER.encode())
        return Answer.of(await self._service.open_web_view(header, host=_host_of(scope)))

    async def _work(self) -> None:
        while True:
            await anyio.sleep(WINDOW.total_seconds())
            await self._end()

    async def _end(self) -> None:
        try:
            await self._service.record_refusals()
        except PyadeError as error:
            _log.error("refusals cannot be written down: %s", _describe(error))

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
        found: object = await call_async(self._end_sign_in, returned, name="end_sign_in")
        if isinstance(found, str):
            return Answer.of(await self._service.sign_in_failed(found))
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


def _words(status: int, body: bytes, **headers: str) -> Answer:
    fields = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **headers}
    return Answer(status=status, headers=fields, body=body)


def _check_headers(answer: Answer) -> None:
    for name, value in answer.headers.items():
        if not value.isascii() or not value.isprintable():
            raise PolicyError(f"the header {name} of the answer holds what no header can")


async def _send(scope: Scope, receive: Receive, send: Send, answer: Answer, *, is_read: bool) -> None:
    fields = {**answer.headers, "Content-Length": str(len(answer.body))}
    is_closed = not is_read and str(scope.get("http_version", "1.1")).startswith("1")
    if is_closed:
        fields["Connection"] = "close"
    headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})
    if is_closed:
        await cut_off(receive)


def _describe(error: BaseException) -> str:
    """Return what kind of error it is and where it came from, with its text if it is one of pyade's own."""
    words = f": {error}" if isinstance(error, PyadeError) else ""
    cause = error.__cause__
    after = "" if cause is None else f" after {type(cause).__name__}"
    return f"{type(error).__name__}{words}{after} at {places_of(error)}"
