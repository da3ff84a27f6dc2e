"""Sessions with Apple: made once, shared, renewed once.

Rules of this file:

1. A session is made under a lock: a call that waited for the lock uses what the holder made, and shares the
   holder's failure, since asking too often is refused, too.
2. The newest session that Apple sent, on any response, is used from then on.
3. A refused session is renewed once and the call replayed once; then it is an error. Nothing loops.
4. The lock is held only while a session is asked for, and is released however that ends.
5. With a ``SessionStorage`` nodes share a session: each takes what another one stored before it asks for a
   new one, since a new one may end the older ones at Apple. Two nodes that ask at the same time can cross
   each other, so a call may then be replayed a few times more, still bounded.
6. A storage that fails costs a session, never an answer of Apple's.
7. The token or account is asked for at each new session, so that a renewed one reaches a running client.

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

# How often a call is sent again where other nodes may have ended its session: enough for a stale one from the
# storage and nodes that cross each other, few enough to end soon.
_SHARED_REPLAYS = 6
_USABLE = re.compile(r"[\x21-\x7e]{1,8192}")

_log = logger(__name__)


class SessionStorage(Protocol):
    """Where nodes share sessions; every ``pyade.storage.Store`` is one."""

    def load_session(self, key: str) -> Secret | None:
        """Return the session kept under *key*; None if there is none."""
        ...

    def save_session(self, key: str, session: Secret) -> None:
        """Keep *session* under *key*."""
        ...


def usable(session: Secret | None) -> Secret | None:
    """Return *session*; None if it cannot be sent as one."""
    return session if session is not None and _USABLE.fullmatch(session.reveal()) else None


class Session:
    """The session of one token or account at one service.

    Attributes:
        lock: Held by the call that asks for a new one.
        secret: The newest one; None if there is none.
        epoch: Counts the new ones, so that a late answer does not bring an older one back.
        failures: Counts how often there was none.
        failure: Why, the last time.
        is_shared: True if other nodes use the same one.
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
        """Return the newest one if it is still good and not the *refused* one."""
        with self._state:
            is_old = self._renew_at is not None and now >= self._renew_at
            return None if is_old or self.secret == refused else self.secret

    def fail(self, failure: AppleError | TransportError) -> None:
        """Let those who wait for the lock share *failure*, so that each need not find out for itself."""
        # A copy, since the error itself drags its frames along.
        self.failure = attrs.evolve(failure)
        self.failures += 1

    def replace(self, secret: Secret, renew_at: datetime | None = None) -> None:
        """Use what the service gave out; None for *renew_at* if only the service knows its end."""
        with self._state:
            self.secret, self._renew_at = secret, renew_at
            self.epoch += 1

    def adopt(self, secret: Secret, epoch: int) -> None:
        """Use the session of a response, unless a new one was made since its request was sent."""
        with self._state:
            if self.epoch == epoch:
                self.secret = secret

    def forget(self, secret: Secret) -> None:
        """Never use *secret* again."""
        with self._state:
            if self.secret == secret:
                self.secret = None

    def load(self) -> Secret | None:
        """Return the session that some node stored last; None if there is none. May block."""
        if self._storage is None:
            return None
        try:
            self._stored = usable(self._storage.load_session(self._key))
        except StoreError as error:
            _log.warning("no session could be read from the storage: %s", error)
            return None
        return self._stored

    @property
    def is_unsaved(self) -> bool:
        """True if other nodes do not know the newest session."""
        return self.is_shared and self.secret is not None and self.secret != self._stored

    def save(self) -> None:
        """Let other nodes know the newest session. May block."""
        secret = self.secret
        if self._storage is None or secret is None:
            return
        self._stored = secret  # also if it fails: the next new one is the next attempt
        try:
            self._storage.save_session(self._key, secret)
        except StoreError as error:
            _log.warning("a session could not be stored for other nodes: %s", error)


@check_arguments
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
        self._sessions: dict[str, Session] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._sessions)} tokens)"

    def session(self, base_url: str, consumer_key: str, access_token: Secret) -> Session:
        """Return where the session of a token at *base_url* is kept."""
        # The access token is secret, and the key is not: it may stand in a table as it is.
        parts = f"{base_url}\0{consumer_key}\0{access_token.reveal()}"
        key = hashlib.sha256(parts.encode()).hexdigest()
        with self._lock:
            return self._sessions.setdefault(key, Session(self._storage, key))


Opened: TypeAlias = tuple[Secret, datetime | None]
"""A new session, and from when a newer one is needed; None if only the service knows."""

Opening: TypeAlias = Callable[[datetime], Flow[Opened]]
"""Asks the service for a new session, given the time."""


class SessionSource(Protocol):
    """What is a service's own about its sessions."""

    def current(self, now: datetime) -> Session | None:
        """Return the session in use; None if the token or account must be asked for first."""
        ...

    def choose(self) -> Flow[tuple[Session, Opening]]:
        """Ask for the token or account to use; return where its session is kept, and what opens one."""
        ...

    def headers(self, secret: Secret) -> Mapping[str, Secret]:
        """Return the headers that carry a session."""
        ...

    def rotated(self, reply: HttpReply) -> Secret | None:
        """Return the newer session that came with an answer, if one did."""
        ...

    def is_refused(self, reply: HttpReply) -> bool:
        """Return True if an answer says that its session is not valid any more."""
        ...


@attrs.frozen
class Exclusive(Step[Secret]):
    """Run *flow* while nobody else holds the lock of *session*, and answer with its result."""

    session: Session
    flow: Flow[Secret] = attrs.field(repr=False)


def exchange_flow(source: SessionSource, call: HttpCall) -> Flow[tuple[HttpReply, Secret]]:
    """Send *call* with a session and, if that was refused, once more with another one.

    Returns:
        The answer, and the session that it was sent with, which the answer may quote.
    """
    now = yield from ask(Now())
    session = source.current(now)
    secret = session.at(now) if session else None
    if session is None or secret is None:
        session, secret = yield from _another(source)
    replays_left = _SHARED_REPLAYS if session.is_shared else 1
    while True:
        epoch = session.epoch
        headers = {**call.headers, **source.headers(secret)}
        reply = yield from ask(attrs.evolve(call, headers=headers))
        if (newer := source.rotated(reply)) is not None:
            session.adopt(newer, epoch)
        if session.is_unsaved:
            yield from ask(Compute(session.save))
        if not source.is_refused(reply):
            return reply, secret
        if not replays_left:
            session.forget(secret)
            return reply, secret
        replays_left -= 1
        session, secret = yield from _another(source, secret)


def _another(source: SessionSource, refused: Secret | None = None) -> Flow[tuple[Session, Secret]]:
    session, opening = yield from source.choose()
    renewing = _renew(session, opening, refused, session.failures)
    return session, (yield from ask(Exclusive(session, renewing)))


def _renew(session: Session, opening: Opening, refused: Secret | None, seen: int) -> Flow[Secret]:
    """Return a session that is not the *refused* one; the caller holds its lock.

    Args:
        session: Where it is kept.
        opening: Asks for a new one.
        refused: What Apple refused; None if there was none.
        seen: The number of failures before the caller waited for the lock.
    """
    now = yield from ask(Now())
    if (made := session.at(now, refused)) is not None:
        return made
    if session.failure is not None and session.failures != seen:
        raise attrs.evolve(session.failure)
    if session.is_shared:
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
        # The call was cancelled: nobody knows what came of it.
        session.fail(TransportError(OPEN_SESSION, "another call asked for it and got no answer", False))
        raise
    session.replace(secret, renew_at)
    if session.is_shared:
        yield from ask(Compute(session.save))
    return secret
