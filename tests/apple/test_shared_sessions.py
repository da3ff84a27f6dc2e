"""Nodes share Apple's session through a storage, and a new session that ends the older one stops none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from pyade import errors
from pyade.apple import AsyncClient, Client, SessionCache
from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.crypto.secret_box import SecretBox
from pyade.storage import MemoryStore, SQLiteStore
from pyade.testing import FakeApple
from pyade.testing.clock import FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple


class Storage:
    """Keeps sessions in a dictionary, notes the threads it is called in, and fails on demand."""

    def __init__(self) -> None:
        self.kept: dict[str, Secret] = {}
        self.threads: set[int] = set()
        self.saves = 0
        self.fails = False
        self.before_save: list[Callable[[], object]] = []

    def load_session(self, key: str) -> Secret | None:
        self._note()
        return self.kept.get(key)

    def save_session(self, key: str, session: Secret) -> None:
        self._note()
        self.saves += 1
        if self.before_save:
            self.before_save.pop(0)()
        self.kept[key] = session

    def _note(self) -> None:
        self.threads.add(threading.get_ident())
        if self.fails:
            raise errors.StoreError("the disk is full")


def ok(**headers: str) -> httpx.Response:
    return httpx.Response(200, json={"server_name": "dev"}, headers=headers)


def refused() -> httpx.Response:
    return httpx.Response(401, text="UNAUTHORIZED")


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def make_node(make_client: Callable[..., Driver], storage: Storage) -> Callable[[], Driver]:
    """Return a function that makes a client as another node has it: it shares the storage alone."""
    return lambda: make_client(sessions=SessionCache(storage=storage))


@pytest.fixture
def fake(clock: FrozenClock) -> FakeApple:
    fake = FakeApple(clock=clock)
    fake.settings.single_session = True
    fake.add_devices(3, server=fake.add_server("hq"))
    return fake


def sessions_opened(fake: FakeApple) -> int:
    return sum(entry.path.endswith("/session") for entry in fake.requests)


def test_a_second_node_uses_the_session_of_the_first(
    make_node: Callable[[], Driver], apple: ScriptedApple
) -> None:
    apple.script = [ok(), ok(), ok()]
    one, other = make_node(), make_node()
    for node in (one, other, one):
        node.account()
    assert apple.sessions == 1
    assert apple.used_sessions == ["SESSION-top-secret-1"] * 3


def test_a_refused_session_is_replaced_by_the_one_that_another_node_stored(
    make_node: Callable[[], Driver], apple: ScriptedApple
) -> None:
    one, other = make_node(), make_node()
    apple.script = [ok(), ok(), refused(), ok(), refused(), ok()]
    one.account()
    other.account()
    other.account()  # opens the second session, which ends the first
    one.account()
    assert apple.sessions == 2
    assert apple.used_sessions == [f"SESSION-top-secret-{number}" for number in (1, 1, 1, 2, 1, 2)]


def test_a_session_of_a_response_header_reaches_the_other_nodes(
    make_node: Callable[[], Driver], apple: ScriptedApple, storage: Storage
) -> None:
    one, other = make_node(), make_node()
    apple.script = [ok(**{"X-ADM-Auth-Session": "NEW"}), ok(**{"X-ADM-Auth-Session": "NEW"}), ok()]
    one.account()
    one.account()
    other.account()
    assert apple.used_sessions == ["SESSION-top-secret-1", "NEW", "NEW"]
    assert storage.saves == 2


def test_two_nodes_that_open_sessions_at_the_same_time_both_get_their_answer(
    make_client: Callable[..., Driver], fake: FakeApple, storage: Storage, clock: FrozenClock, backend: str
) -> None:
    """The other node opens a session between this node's ``/session`` and its storing of the answer."""

    def node() -> Driver:
        return make_client(
            token=fake.token(), transport=fake.transport(), sessions=SessionCache(storage=storage)
        )

    one, other = node(), node()
    crossing: list[Callable[[], object]] = [
        lambda: _in_another_thread(other.account),
        lambda: None,
        lambda: _in_another_thread(other.account),
    ]
    storage.before_save = crossing
    for _ in range(4):
        assert one.account().server_name == "hq"
        assert other.account().server_name == "hq"
        clock.advance(seconds=200)  # longer than a session lives
    assert not crossing
    assert sessions_opened(fake) <= 8


def _in_another_thread(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_many_nodes_make_progress_beside_each_other(fake: FakeApple, clock: FrozenClock) -> None:
    token = fake.token()
    with MemoryStore() as store:

        def work(_: int) -> int:
            with Client(
                token, transport=fake.transport(), sessions=SessionCache(storage=store), clock=clock
            ) as node:
                return sum(node.account().server_name == "hq" for _ in range(25))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [25] * 4
    assert sessions_opened(fake) < 50


def test_when_apple_refuses_every_session_the_call_ends(
    make_node: Callable[[], Driver], apple: ScriptedApple
) -> None:
    apple.script = [refused()] * 7
    with pytest.raises(errors.SessionError):
        make_node().account()
    assert apple.script == []
    assert apple.sessions == 7


def test_a_storage_that_fails_costs_no_answer(
    make_node: Callable[[], Driver],
    apple: ScriptedApple,
    storage: Storage,
    caplog: pytest.LogCaptureFixture,
    no_secret: Callable[[object], None],
) -> None:
    storage.fails = True
    apple.script = [ok(), ok(**{"X-ADM-Auth-Session": "NEW"}), ok()]
    node = make_node()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert node.account().server_name == "dev"
    assert apple.sessions == 1
    assert "the disk is full" in caplog.text
    no_secret(caplog.text)


def test_an_unusable_session_in_the_storage_is_ignored(
    make_node: Callable[[], Driver], apple: ScriptedApple, storage: Storage
) -> None:
    apple.script = [ok(), ok()]
    make_node().account()
    storage.kept = dict.fromkeys(storage.kept, Secret("two words\r\n"))
    make_node().account()
    assert apple.used_sessions == ["SESSION-top-secret-1", "SESSION-top-secret-2"]


def test_the_key_shows_no_secret_and_differs_by_token_and_service(
    make_client: Callable[..., Driver],
    apple: ScriptedApple,
    storage: Storage,
    no_secret: Callable[[object], None],
) -> None:
    apple.script = [ok(), ok()]
    make_client(sessions=SessionCache(storage=storage)).account()
    make_client(sessions=SessionCache(storage=storage), base_url="https://apple.example").account()
    assert len(storage.kept) == 2
    for key in storage.kept:
        no_secret(key)


def test_an_asynchronous_client_calls_the_storage_off_the_event_loop(
    apple: ScriptedApple, token: Token, clock: FrozenClock, storage: Storage
) -> None:
    apple.script = [ok(), refused(), ok(**{"X-ADM-Auth-Session": "NEW"})]

    async def run() -> None:
        sessions = SessionCache(storage=storage)
        async with AsyncClient(token, transport=apple.transport(), sessions=sessions, clock=clock) as node:
            await node.account()
            await node.account()

    anyio.run(run)
    assert storage.saves == 3
    assert threading.get_ident() not in storage.threads


def test_a_session_in_an_encrypted_store_cannot_be_read_in_its_file(
    make_client: Callable[..., Driver], apple: ScriptedApple, tmp_path: Path
) -> None:
    apple.script = [ok(), ok()]
    keys = [SecretBox.generate_key()]
    with (
        SQLiteStore(tmp_path / "ade.db", keys=keys) as one,
        SQLiteStore(tmp_path / "ade.db", keys=keys) as other,
    ):
        make_client(sessions=SessionCache(storage=one)).account()
        make_client(sessions=SessionCache(storage=other)).account()
        raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert apple.sessions == 1
    assert b"top-secret" not in raw
