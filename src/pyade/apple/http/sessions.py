"""Sessions with Apple: opened once, shared between calls and nodes, renewed once per call.

The rules of this file:

1. A session is opened under a lock: a call that waited for the lock uses the holder's session or raises the
   holder's error, since Apple also refuses frequent requests.
2. The newest session that Apple sent, with any response, is used from then on.
3. A refused session is renewed once and the call replayed once; then the refusal is raised as an error.
4. The lock is held only while a session is requested, and is always released.
5. With a ``SessionStorage`` nodes share a session: each loads the stored session before it requests a new
   one, since a new one may end the older ones at Apple. Two nodes that request one at the same time can end
   each other's session, so a call may then be replayed up to ``_SHARED_REPLAYS`` times.
6. A failing storage may cost a session, never a response from Apple.
7. The token or account provider is called for each new session, so that a renewed token reaches a running
   client.

Source: Apple, "Authenticating for Automated Device Enrollment"; "Implementing OAuth for the Apple School
Manager and Apple Business API".
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeAlias

import attrs

from pyade.apple.http.calls import OPEN_SESSION
from pyade.apple.http.exchange import HttpCall, HttpReply
from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret
from pyade.errors import AppleError, StoreError, TransportError
from pyade.flow import Compute, Flow, Now, Step, ask
from pyade.text import logger

# How often a call is sent again if other nodes may have ended its session: enough for a stale session from
# the storage and for nodes that end each other's, few enough to end soon.
_SHARED_REPLAYS = 6
_USABLE = re.compile(r"[\x21-\x7e]{1,8192}")

_log = logger(__name__)


class SessionStorage(Protocol):
    """Where nodes share sessions; every ``pyade.storage.Store`` is one."""

    def load_session(self, key: str) -> Secret | None:
        """Return the session stored under *key*; None if there is none."""
        ...

    def save_session(self, key: str, session: Secret) -> None:
        """Store *session* under *key*."""
        ...


def sendable_or_none(session: Secret | None) -> Secret | None:
    """Return *session*; None if it cannot be sent in a header."""
    return session if session is not None and _USABLE.fullmatch(session.reveal()) else None


class Session:
    """The session of one token or account at one service.

    Attributes:
        lock: Held by the call that requests a new session.
        secret: The newest session; None if there is none.
        epoch: Number of new sessions so far, so that a late response does not restore an older one.
        failures: Number of failed requests for a session.
        failure: The error of the last failed request; None if none failed.
        is_shared: True if other nodes use the same session.
    """

    def __init__(self, storage: SessionStorage | None = None, key: str = "") -> None:
        self._storage = storage
        self._key = key
        self._stored: Secret | None = None
        self._state = threading.Lock()
        self._renew_at: datetime | None = None
        self.is_shared: bool = storage is not None
        self.lock: threading.Lock = threading.Lock()
        self.secret: Secret | None = None
        self.epoch: int = 0
        self.failures: int = 0
        self.failure: AppleError | TransportError | None = None

    def at(self, now: datetime, refused: Secret | None = None) -> Secret | None:
        """Return the newest session if it is still valid at *now* and not the *refused* one; else None."""
        with self._state:
            is_old = self._renew_at is not None and now >= self._renew_at
            return None if is_old or self.secret == refused else self.secret

    def fail(self, failure: AppleError | TransportError) -> None:
        """Share *failure* with the calls that wait for the lock (rule 1)."""
        # A copy, since the error itself keeps its frames alive.
        self.failure = attrs.evolve(failure)
        self.failures += 1

    def replace(self, secret: Secret, renew_at: datetime | None = None) -> None:
        """Use the new session *secret*; *renew_at* is None if only the service knows when it ends."""
        with self._state:
            self.secret, self._renew_at = secret, renew_at
            self.epoch += 1

    def adopt(self, secret: Secret, epoch: int) -> None:
        """Use the session of a response, unless a new one was opened since the request was sent (rule 2)."""
        with self._state:
            if self.epoch == epoch:
                self.secret = secret

    def forget(self, secret: Secret) -> None:
        """Never use *secret* again."""
        with self._state:
            if self.secret == secret:
                self.secret = None

    def load(self) -> Secret | None:
        """Return the session that any node stored last; None if there is none. May block."""
        if self._storage is None:
            return None
        try:
            self._stored = sendable_or_none(self._storage.load_session(self._key))
        except StoreError as error:  # rule 6
            _log.warning("no session could be read from the storage: %s", error)
            return None
        return self._stored

    @property
    def is_unsaved(self) -> bool:
        """True if the newest session is not yet stored for other nodes."""
        return self.is_shared and self.secret is not None and self.secret != self._stored

    def save(self) -> None:
        """Store the newest session for other nodes. May block."""
        secret = self.secret
        if self._storage is None or secret is None:
            return
        self._stored = secret  # also if saving fails: only the next new session is tried again
        try:
            self._storage.save_session(self._key, secret)
        except StoreError as error:
            _log.warning("a session could not be stored for other nodes: %s", error)


@check_arguments
class SessionCache:
    """Sessions shared by synchronous and asynchronous clients, across threads and event loops.

    Two clients of the same token that share a cache use one session with Apple. Do not use a synchronous
    client on the thread of an event loop whose asynchronous client shares the cache: they would deadlock.

    Args:
        storage: Shares the sessions with other nodes, such as a store with ``keys``; None for this process
            alone. An asynchronous client calls it in worker threads.
    """

    def __init__(self, storage: SessionStorage | None = None) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._sessions)} tokens)"

    def session(self, base_url: str, consumer_key: str, access_token: Secret) -> Session:
        """Return the session slot of a token at *base_url*."""
        # A hash, since the access token is secret and the key is stored in plain text.
        parts = f"{base_url}\0{consumer_key}\0{access_token.reveal()}"
        key = hashlib.sha256(parts.encode()).hexdigest()
        with self._lock:
            return self._sessions.setdefault(key, Session(self._storage, key))


Opened: TypeAlias = tuple[Secret, datetime | None]
"""A new session, and the time at which to renew it; None if only the service knows."""

Opening: TypeAlias = Callable[[datetime], Flow[Opened]]
"""Requests a new session from the service, given the time."""


class SessionSource(Protocol):
    """What differs between services in opening and sending sessions."""

    def current(self, now: datetime) -> Session | None:
        """Return the session slot in use; None if the token or account must be fetched first."""
        ...

    def choose(self) -> Flow[tuple[Session, Opening]]:
        """Get the token or account to use; return its session slot, and the flow that opens a session."""
        ...

    def headers(self, secret: Secret) -> Mapping[str, Secret]:
        """Return the headers that send a session."""
        ...

    def rotated(self, reply: HttpReply) -> Secret | None:
        """Return the newer session of a response; None if it has none."""
        ...

    def is_refused(self, reply: HttpReply) -> bool:
        """Return True if a response means that its session is no longer valid."""
        ...


@attrs.frozen
class Exclusive(Step[Secret]):
    """Run *flow* while holding the lock of *session*; the result is that of the flow."""

    session: Session
    flow: Flow[Secret] = attrs.field(repr=False)


def exchange_flow(source: SessionSource, call: HttpCall) -> Flow[tuple[HttpReply, Secret]]:
    """Send *call* with a session and, if that is refused, once more with another one.

    Returns:
        The response, and the session of the request, which the response may quote.
    """
    now = yield from ask(Now())
    session = source.current(now)
    secret = session.at(now) if session else None
    if session is None or secret is None:
        session, secret = yield from _another_session(source)
    replays_left = _SHARED_REPLAYS if session.is_shared else 1  # rules 3 and 5
    while True:
        epoch = session.epoch
        headers = {**call.headers, **source.headers(secret)}
        reply = yield from ask(attrs.evolve(call, headers=headers))
        if (newer := source.rotated(reply)) is not None:
            session.adopt(newer, epoch)  # rule 2
        if session.is_unsaved:
            yield from ask(Compute(session.save))
        if not source.is_refused(reply):
            return reply, secret
        if not replays_left:
            session.forget(secret)
            return reply, secret
        replays_left -= 1
        session, secret = yield from _another_session(source, secret)


def _another_session(source: SessionSource, refused: Secret | None = None) -> Flow[tuple[Session, Secret]]:
    session, opening = yield from source.choose()  # rule 7
    renewing = _renew(session, opening, refused, session.failures)
    return session, (yield from ask(Exclusive(session, renewing)))  # rule 4


def _renew(session: Session, opening: Opening, refused: Secret | None, seen: int) -> Flow[Secret]:
    """Return a session that is not the *refused* one; the caller holds its lock.

    Args:
        session: Its slot.
        opening: Requests a new session.
        refused: The session that Apple refused; None if there was none.
        seen: The number of failures before the caller waited for the lock.
    """
    now = yield from ask(Now())
    if (made := session.at(now, refused)) is not None:  # rule 1
        return made
    if session.failure is not None and session.failures != seen:
        raise attrs.evolve(session.failure)
    if session.is_shared:  # rule 5
        stored = yield from ask(Compute(session.load))
        if stored is not None and stored != refused:
            session.replace(stored)
            return stored
    try:
        secret, renew_at = yield from opening(now)
    except (AppleError, TransportError) as error:
        session.fail(error)
        raise
    except GeneratorExit:
        # The call was cancelled before its response: the calls that wait get an error.
        session.fail(TransportError(OPEN_SESSION, "another call requested it and got no response", False))
        raise
    session.replace(secret, renew_at)
    if session.is_shared:
        yield from ask(Compute(session.save))
    return secret
