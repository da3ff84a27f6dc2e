"""Processes that fork while a store is open: no commit is lost, and no process hangs."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyade.errors import StoreError
from pyade.storage import SQLiteStore
from pyade.testing.store_examples import example_token

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

PREAMBLE = """
import multiprocessing, os, sys, threading
from pyade.core.fleet.device import Device
from pyade.core.fleet.records import Source
from pyade.errors import StoreConflictError, StoreError
from pyade.storage import MemoryStore, SQLiteStore
from pyade.testing.clock import FrozenClock
from pyade.testing.store_examples import NOW, commit, example_token, serials_of

context = multiprocessing.get_context("fork")
path = sys.argv[1]

def write(store, who, pages=5):
    for page in range(pages):
        while True:
            try:
                commit(store, Device(serial_number=f"{who}-{page}"))
                break
            except StoreConflictError:
                continue

def ended(process):
    process.join(60)
    code = process.exitcode
    process.kill()
    return code
"""


def run(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", PREAMBLE + program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def serials(path: Path) -> set[str]:
    """Return the serial numbers in the file, read without pyade; check that the file is whole."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {serial for (serial,) in connection.execute("SELECT serial FROM pyade_devices")}
    finally:
        connection.close()


CHILDREN_OPEN_THEIR_OWN = """
store = SQLiteStore(path)
store.add_token(example_token())
write(store, "parent")
opened, closed = context.Barrier(5), context.Event()

def child(number):
    with SQLiteStore(path) as own:
        own.tokens()
        opened.wait()
        closed.wait()
        write(own, number)

children = [context.Process(target=child, args=(number,)) for number in range(4)]
for process in children:
    process.start()
opened.wait()
store.close()
closed.set()
print([ended(process) for process in children])
"""


@pytest.mark.slow
def test_children_with_their_own_stores_lose_nothing_when_the_parent_closes(tmp_path: Path) -> None:
    assert run(CHILDREN_OPEN_THEIR_OWN, tmp_path / "ade.db") == "[0, 0, 0, 0]\n"
    expected = {f"{who}-{page}" for who in ("parent", *range(4)) for page in range(5)}
    assert serials(tmp_path / "ade.db") == expected


CHILDREN_USE_THE_PARENTS = """
store = SQLiteStore(path)
store.add_token(example_token())

def child(number):
    write(store, number)
    if number % 2:
        store.close()

children = [context.Process(target=child, args=(number,)) for number in range(4)]
for process in children:
    process.start()
write(store, "parent")
print([ended(process) for process in children], len(serials_of(store)))
store.close()
"""


@pytest.mark.slow
def test_children_may_use_the_store_of_their_parent(tmp_path: Path) -> None:
    assert run(CHILDREN_USE_THE_PARENTS, tmp_path / "ade.db") == "[0, 0, 0, 0] 25\n"
    assert len(serials(tmp_path / "ade.db")) == 25


FORKS_BESIDE_A_WRITER = """
store = SQLiteStore(path)
store.add_token(example_token())
ready, stop = threading.Event(), threading.Event()

def keep_writing():
    number = 0
    while not stop.is_set():
        write(store, f"thread-{number}", pages=1)
        list(store.devices("hq"))
        ready.set()
        number += 1

def child(number):
    write(store, f"inherited-{number}", pages=1)
    with SQLiteStore(path) as own:
        write(own, f"own-{number}", pages=1)
    store.close()

thread = threading.Thread(target=keep_writing)
thread.start()
ready.wait()
codes = []
for number in range(20):
    process = context.Process(target=child, args=(number,))
    process.start()
    codes.append(ended(process))
stop.set()
thread.join()
print(set(codes))
store.close()
"""


@pytest.mark.slow
def test_fork_while_another_thread_writes_hangs_no_process(tmp_path: Path) -> None:
    assert run(FORKS_BESIDE_A_WRITER, tmp_path / "ade.db") == "{0}\n"
    found = serials(tmp_path / "ade.db")
    assert {f"{kind}-{number}-0" for kind in ("inherited", "own") for number in range(20)} <= found


SERVER_THAT_PRELOADS = """
import http.client, http.server, socketserver

store = SQLiteStore(path)
store.add_token(example_token())

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        write(store, self.path[1:], pages=1)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass

class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
    pass

server = Server(("127.0.0.1", 0), Handler)
thread = threading.Thread(target=server.serve_forever)
thread.start()

def post(number):
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.request("POST", f"/{number}")
    return connection.getresponse().status

print({post(number) for number in range(10)})
server.shutdown()
thread.join()
server.server_close()
print(len(serials_of(store)))
store.close()
"""


@pytest.mark.slow
def test_server_that_forks_for_each_request_shares_the_store_it_loaded(tmp_path: Path) -> None:
    assert run(SERVER_THAT_PRELOADS, tmp_path / "ade.db") == "{204}\n10\n"
    assert len(serials(tmp_path / "ade.db")) == 10


# In the test process: uses that must be refused


def in_child(work: str, path: Path) -> str:
    """Fork inside a block of the store, and return the child's output of *work*."""
    program = f"""
from pyade.storage.sqlite import SQLiteDatabase
database = SQLiteDatabase(path, busy_timeout_s=30, clock=lambda: NOW)
with database.reading():
    child = os.fork()
    if not child:
        try:
{work}
        except StoreError as error:
            print(error)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
with database.reading() as session:
    print(session.rows("SELECT 1"))
database.close()
"""
    return run(program, path)


@pytest.mark.parametrize(
    "work",
    [
        "            with database.reading(): pass",
        "            with database.writing(): pass",
        "            SQLiteStore(path)",
    ],
    ids=["inherited, reading", "inherited, writing", "a new store"],
)
def test_file_that_could_not_be_closed_before_a_fork_is_refused(tmp_path: Path, work: str) -> None:
    path = tmp_path / "ade.db"
    SQLiteStore(path).close()
    refusal, parent = in_child(work, path).splitlines()
    assert refusal.endswith("close the store before forking, or start the process with the method 'spawn'")
    assert parent == "[(1,)]"


def test_closing_an_inherited_open_store_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "ade.db"
    with SQLiteStore(path) as store:
        store.add_token(example_token())
        assert in_child('            database.close(); print("closed")', path).splitlines()[0] == "closed"
        assert store.tokens() == (example_token(),)


STORE_IN_MEMORY = """
store = MemoryStore()
store.add_token(example_token())
child = os.fork()
if not child:
    for work in (store.tokens, store.close, store.tokens):
        try:
            print(work())
        except StoreError as error:
            print(error)
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
print(len(store.tokens()))
"""


def test_store_in_memory_is_refused_in_a_child(tmp_path: Path) -> None:
    refused, closed, still, parent = run(STORE_IN_MEMORY, tmp_path).splitlines()
    assert "cannot be shared: use a SQLiteStore" in refused
    assert closed == "None"
    assert "cannot be shared" in still
    assert parent == "1"


STORE_IN_POSTGRESQL = """
from pyade.storage import PostgresStore
store = PostgresStore(sys.argv[1], schema=sys.argv[2])
store.add_token(example_token())
child = os.fork()
if not child:
    for work in (store.tokens, store.close):
        try:
            print(work())
        except StoreError as error:
            print(error)
    with PostgresStore(sys.argv[1], schema=sys.argv[2]) as own:
        print(len(own.tokens()))
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
print(len(store.tokens()))
store.close()
"""


def test_postgresql_store_must_be_opened_by_each_process(postgres: PostgresSchema) -> None:
    pytest.importorskip("psycopg")
    refused, closed, own, parent = run(STORE_IN_POSTGRESQL, postgres.dsn, postgres.schema).splitlines()
    assert "open one store in each process" in refused
    assert (closed, own, parent) == ("None", "1", "1")


def test_process_forked_outside_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(example_token())
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(StoreError, match="spawn"):
            store.tokens()
        with pytest.raises(StoreError, match="spawn"):
            SQLiteStore(tmp_path / "ade.db")
        monkeypatch.undo()
        assert store.tokens() == (example_token(),)
