"""Sessions with Apple: made once, shared, renewed once.

Rules of this file:

1. One session per base URL, consumer key and access token. It is made under a lock: whoever waited for the
   lock uses what the holder made, and shares the holder's failure.
2. The newest session that Apple sent, on any response, is used from then on.
3. A refused session is renewed once and the call replayed once; then it is an error. Nothing loops.
4. The lock is held only while ``/session`` is asked, and is released however that ends.
5. With a ``SessionStorage`` nodes share a session: each takes what another one stored before it asks for a
   new one, since a new one may end the older ones at Apple. Two nodes that ask at the same time can cross
   each other, so a call may then be replayed a few times more, still bounded.
6. A storage that fails costs a session, never an answer of Apple's.

Source: Apple, "Authenticating for Automated Device Enrollment".
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import secrets
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeAlias

import anyio
import anyio.to_thread
import attrs
import httpx
import msgspec

from pyade.apple.flows import OPEN_SESSION
from pyade.apple.refusals import bare_code, is_session_lost, refusal, retry_after, whose
from pyade.apple.retries import Memory
from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.crypto.oauth1 import authorization_header
from pyade.errors import AppleError, ClockError, ResponseError, StoreError, TokenExpiredError, TransportError

TokenProvider: TypeAlias = Callable[[], Token]
"""Returns the token to use now; asked at each new session, so that a renewed one reaches a running client."""

SESSION_HEADER = "X-ADM-Auth-Session"

# Another thread or loop holds the lock for one exchange with Apple; trying 50 times a second meanwhile needs
# no thread of its own, and a cancelled task leaves nothing behind.
_POLL_SECONDS = 0.02
_USABLE = re.compile(r"[\x21-\x7e]{1,8192}")

# How often a call is sent again where other nodes may have ended its session: enough for a stale one from the
# storage and nodes that cross each other, few enough to end soon.
_SHARED_REPLAYS = 6

_log = logging.getLogger(__name__)


class SessionStorage(Protocol):
    """Where nodes share sessions; every ``pyade.storage.Store`` is one."""

    def load_session(self, key: str) -> Secret | None:
        """Return the session kept under *key*; None if there is none."""
        ...

    def save_session(self, key: str, session: Secret) -> None:
        """Keep *session* under *key*."""
        ...


class _Slot:
    """The session of one token at one service.

    Attributes:
        lock: Held by whoever asks ``/session``.
        session: The newest one; None if there is none.
        epoch: Counts what ``/session`` gave out, so that a late answer does not bring an older session back.
        failures: Counts how often ``/session`` gave no session.
        failure: Why, the last time.
        is_shared: True if other nodes use the same session.
    """

    __slots__ = (
        "_key",
        "_state",
        "_storage",
        "_stored",
        "epoch",
        "failure",
        "failures",
        "is_shared",
        "lock",
        "session",
    )

    def __init__(self, storage: SessionStorage | None = None, key: str = "") -> None:
        self._storage = storage
        self._key = key
        self._stored: str | None = None
        self.is_shared: bool = storage is not None
        self.lock: threading.Lock = threading.Lock()
        self._state = threading.Lock()
        self.session: str | None = None
        self.epoch: int = 0
        self.failures: int = 0
        self.failure: AppleError | TransportError | None = None

    def fail(self, failure: AppleError | TransportError) -> None:
        """Let those who wait for the lock share *failure*, so that each need not find out for itself."""
        self.failure = failure
        self.failures += 1

    def replace(self, session: str) -> None:
        """Use what ``/session`` gave out."""
        with self._state:
            self.session = session
            self.epoch += 1

    def adopt(self, headers: httpx.Headers, epoch: int) -> None:
        """Use the session of a response, unless ``/session`` was asked since its request was sent."""
        newest = headers.get_list(SESSION_HEADER)[-1:]
        if newest and _USABLE.fullmatch(newest[0]):
            with self._state:
                if self.epoch == epoch:
                    self.session = newest[0]

    def load(self) -> str | None:
        """Return the session that some node stored last; None if there is none. May block."""
        if self._storage is None:
            return None
        try:
            found = self._storage.load_session(self._key)
        except StoreError as error:
            _log.warning("no session could be read from the storage: %s", error)
            return None
        stored = None if found is None else found.reveal()
        self._stored = stored if stored and _USABLE.fullmatch(stored) else None
        return self._stored

    @property
    def is_unsaved(self) -> bool:
        """True if other nodes do not know the newest session."""
        return self.is_shared and self.session is not None and self.session != self._stored

    def save(self) -> None:
        """Let other nodes know the newest session. May block."""
        session = self.session
        if self._storage is None or session is None:
            return
        self._stored = session  # also if it fails: the next new one is the next attempt
        try:
            self._storage.save_session(self._key, Secret(session))
        except StoreError as error:
            _log.warning("a session could not be stored for other nodes: %s", error)

    def forget(self, session: str) -> None:
        """Never use *session* again."""
        with self._state:
            if self.session == session:
                self.session = None


class SessionCache:
    """The sessions that clients share, synchronous and asynchronous ones, over threads and event loops.

    Two clients of the same token that share a cache use one session with Apple. Do not use a synchronous
    client on the thread of an event loop whose asynchronous client shares the cache: each would wait for the
    other.

    Args:
        storage: Shares the sessions with other nodes, too, such as a store with ``keys``. Its calls run in
            worker threads where the client is asynchronous.
    """

    def __init__(self, storage: SessionStorage | None = None) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._slots: dict[tuple[str, str, str], _Slot] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._slots)} tokens)"

    def slot(self, base_url: str, token: Token) -> _Slot:
        """Return where the session of *token* at *base_url* is kept."""
        parts = (base_url, token.consumer_key, token.access_token.reveal())
        with self._lock:
            if parts not in self._slots:
                # The access token is secret, and the key is not: it may stand in a table as it is.
                key = hashlib.sha256("\0".join(parts).encode()).hexdigest()
                self._slots[parts] = _Slot(self._storage, key)
            return self._slots[parts]


@attrs.frozen
class _NeedSession:
    """What an exchange asks its driver for: a session that is not the refused one."""

    refused: str | None


@attrs.frozen
class _InStorage:
    """A call that may block: an asynchronous driver makes it in a worker thread."""

    work: Callable[[], str | None]


_Exchange: TypeAlias = Generator[httpx.Request | _NeedSession | _InStorage, Any, None]
_Opening: TypeAlias = Generator[httpx.Request | _InStorage, Any, str]


class SessionAuth(httpx.Auth):
    """Puts the session header on every request and keeps the session alive; serves both kinds of client.

    Args:
        token: The token, or what returns it.
        base_url: Of the service, with a trailing slash.
        headers: What every request of the client carries; ``/session`` must carry it, too.
        cache: Where sessions are shared.
        memory: Whose account names the organization in errors.
        clock: Returns the time, UTC: for the OAuth timestamp and the expiry of the token.
    """

    def __init__(
        self,
        token: Token | TokenProvider,
        *,
        base_url: httpx.URL,
        headers: Mapping[str, str],
        cache: SessionCache,
        memory: Memory,
        clock: Callable[[], datetime],
    ) -> None:
        self._provider: TokenProvider = token if callable(token) else lambda: token
        self._asks = callable(token)
        self._token = None if callable(token) else token
        self._slot: _Slot | None = None
        self._base_url = base_url
        self._headers = headers
        self._cache = cache
        self._memory = memory
        self._clock = clock
        self._turn: anyio.Lock | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._base_url)!r})"

    @property
    def token(self) -> Token:
        """The token in use; the provider is asked if it never was."""
        if self._token is None:
            self._token = self._provider()
        return self._token

    def secrets(self) -> tuple[str, ...]:
        """Return every string that must never show."""
        token, slot = self._token, self._slot
        kept = (token.consumer_secret, token.access_token, token.access_secret) if token else ()
        own = tuple(secret.reveal() for secret in kept)
        return (*own, slot.session) if slot and slot.session else own

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send *request* with a session; the lock is held here, since a generator of both kinds cannot."""
        answer: Any = None
        with contextlib.closing(self._exchange(request)) as exchange:
            while True:
                try:
                    step = exchange.send(answer)
                except StopIteration:
                    return
                if isinstance(step, httpx.Request):
                    answer = yield step
                    answer.read()
                    continue
                if isinstance(step, _InStorage):
                    answer = step.work()
                    continue
                token, slot = self._use(self._provider())
                seen = slot.failures
                # A with statement, since Ctrl-C between acquire() and try would leave the lock held.
                opening = self._open(request, token, slot, step.refused, seen)
                with slot.lock, contextlib.closing(opening):
                    answer = slot, (yield from _with_bodies(opening))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send *request* with a session, as ``sync_auth_flow`` does, without blocking the event loop."""
        answer: Any = None
        with contextlib.closing(self._exchange(request)) as exchange:
            while True:
                try:
                    step = exchange.send(answer)
                except StopIteration:
                    return
                if isinstance(step, httpx.Request):
                    answer = yield step
                    await answer.aread()
                    continue
                if isinstance(step, _InStorage):
                    answer = await anyio.to_thread.run_sync(step.work)
                    continue
                # A provider may read a store; with a plain token there is nothing to wait for.
                token = await anyio.to_thread.run_sync(self._provider) if self._asks else self._provider()
                token, slot = self._use(token)
                seen = slot.failures
                opening = self._open(request, token, slot, step.refused, seen)
                response: Any = None
                async with self._held(slot, opening):
                    while True:
                        try:
                            needed = opening.send(response)
                        except StopIteration as stop:
                            answer = slot, stop.value
                            break
                        if isinstance(needed, _InStorage):
                            response = await anyio.to_thread.run_sync(needed.work)
                            continue
                        response = yield needed
                        await response.aread()

    @contextlib.asynccontextmanager
    async def _held(self, slot: _Slot, opening: _Opening) -> AsyncIterator[None]:
        # One task of this client tries for the lock, the others wait for that task.
        self._turn = self._turn or anyio.Lock()
        async with self._turn:
            while not slot.lock.acquire(blocking=False):  # noqa: ASYNC110 - an event is of one loop only
                await anyio.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                opening.close()
                slot.lock.release()

    def _exchange(self, request: httpx.Request) -> _Exchange:
        """Send *request*, and after a refused session send it again with another one."""
        slot = self._slot
        session = slot.session if slot and self._token and not self._is_expired(self._token) else None
        if slot is None or session is None:
            slot, session = yield _NeedSession(None)
        replays_left = _SHARED_REPLAYS if slot.is_shared else 1
        while True:
            epoch = slot.epoch
            request.headers[SESSION_HEADER] = session
            response: httpx.Response = yield request
            slot.adopt(response.headers, epoch)
            if slot.is_unsaved:
                yield _InStorage(slot.save)
            if not is_session_lost(response.status_code, response.content):
                return
            if not replays_left:
                slot.forget(session)
                return
            replays_left -= 1
            slot, session = yield _NeedSession(session)

    def _open(
        self, request: httpx.Request, token: Token, slot: _Slot, refused: str | None, seen: int
    ) -> _Opening:
        """Return a session that is not the *refused* one; the caller holds the lock of *slot*.

        Args:
            request: The request that needs the session.
            token: What the session is made with.
            slot: Where it is kept.
            refused: The session that Apple refused; None if there was none.
            seen: The number of failures before the caller waited for the lock.
        """
        if slot.session is not None and slot.session != refused:
            return slot.session
        if slot.failure is not None and slot.failures != seen:
            raise attrs.evolve(slot.failure)
        if slot.is_shared:
            stored: str | None = yield _InStorage(slot.load)
            if stored is not None and stored != refused:
                slot.replace(stored)
                return stored
        try:
            try:
                session = yield from self._ask(request, token)
            except ClockError:
                # Perhaps the nonce was used by chance, or the clock was set meanwhile.
                session = yield from self._ask(request, token)
        except AppleError as error:
            # A copy, since the error itself drags its frames along.
            slot.fail(attrs.evolve(error))
            raise
        except GeneratorExit:
            # Closed by httpx, which got no answer, or by whoever cancelled the call.
            slot.fail(TransportError(OPEN_SESSION, "another call asked for it and got no answer", False))
            raise
        slot.replace(session)
        if slot.is_shared:
            yield _InStorage(slot.save)
        return session

    def _ask(self, request: httpx.Request, token: Token) -> _Opening:
        """Ask ``/session`` once."""
        url = self._base_url.join("session")
        timestamp, nonce = int(self._clock().timestamp()), secrets.token_hex(16)
        authorization = authorization_header(token, "GET", str(url), timestamp=timestamp, nonce=nonce)
        # httpx gives a timeout only to the first request of an exchange: it is taken over from there.
        response = yield httpx.Request(
            "GET",
            url,
            headers={**self._headers, "Authorization": authorization.reveal()},
            extensions=dict(request.extensions),
        )
        if response.status_code != 200 or bare_code(response.content):
            raise refusal(
                OPEN_SESSION,
                response.status_code,
                response.content,
                session=True,
                retry_after_s=retry_after(response.headers.get("Retry-After"), self._clock()),
                token=token,
                account=self._memory.account,
                secrets=self.secrets(),
            )
        try:
            session = msgspec.json.decode(response.content, type=_WireSession).auth_session_token
        except (ValueError, RecursionError):
            session = ""
        if not _USABLE.fullmatch(session):
            raise ResponseError(OPEN_SESSION, 200, "", "the answer holds no usable session", "check base_url")
        return session

    def _use(self, token: Token) -> tuple[Token, _Slot]:
        if self._is_expired(token) and (expiry := token.access_token_expiry):
            detail = f"the token expired at {expiry.isoformat()}, for {whose(token, self._memory.account)}"
            next_step = "download a new server token in the portal and import it"
            raise TokenExpiredError(OPEN_SESSION, 0, "", detail, next_step)
        slot = self._cache.slot(str(self._base_url), token)
        self._token, self._slot = token, slot
        return token, slot

    def _is_expired(self, token: Token) -> bool:
        return token.access_token_expiry is not None and token.access_token_expiry <= self._clock()


def _with_bodies(opening: _Opening) -> Generator[httpx.Request, httpx.Response, str]:
    """Run *opening* with responses whose body was read: httpx itself reads only the first of an exchange."""
    response: Any = None
    while True:
        try:
            needed = opening.send(response)
        except StopIteration as stop:
            return str(stop.value)
        if isinstance(needed, _InStorage):
            response = needed.work()
            continue
        response = yield needed
        response.read()


class _WireSession(msgspec.Struct):
    auth_session_token: str
