"""The commands of the pages about task queues, as they are shown, with real workers, PostgreSQL and Redis."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.howto.pages import blocks_of, free_port, run, running, wait_until, write_files

from pyade.storage import PostgresStore

pytestmark = pytest.mark.slow


def commands(page: str, program: str) -> list[list[str]]:
    """Return the command lines of *program* that a page shows."""
    lines = "".join(blocks_of(page, "sh")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


def is_done(store: PostgresStore) -> bool:
    """Return True if both tokens have three devices with a profile."""
    counts = [store.count_devices(token.name) for token in store.tokens()]
    return [dict(count) for count in counts] == [{**counts[0], "assigned": 3}] * 2 if counts else False


@contextmanager
def apple(folder: Path, dsn: str) -> Iterator[dict[str, str]]:
    """Run the fake of the page, and yield the settings of the workers."""
    write_files("procrastinate.md", folder)
    settings = {"PYADE_STORE": dsn, "PYTHONPATH": "."}
    with running(sys.executable, "fake_apple.py", folder=folder, PYADE_STORE=dsn):
        log = folder / "log"
        wait_until(lambda: "PYADE_BASE_URL=" in log.read_text(), folder)
        yield {**settings, "PYADE_BASE_URL": log.read_text().partition("PYADE_BASE_URL=")[2].split()[0]}


def test_two_procrastinate_workers_share_the_tokens(tmp_path: Path, database: str) -> None:
    schema, worker, tick = commands("procrastinate.md", "procrastinate")
    with apple(tmp_path, database) as settings:
        run(*schema, folder=tmp_path, **settings)
        with (
            running(*worker, folder=tmp_path, **settings),
            running(*worker, folder=tmp_path, **settings),
            PostgresStore(database) as store,
        ):
            run(*tick, folder=tmp_path, **settings)
            wait_until(lambda: is_done(store), tmp_path, seconds=90)
    shown = run(sys.executable, "show.py", folder=tmp_path, PYADE_STORE=database)
    assert shown.count("3 assigned") == 2


def test_a_celery_worker_and_beat_sync_the_tokens(tmp_path: Path, database: str) -> None:
    if importlib.util.find_spec("celery") is None or shutil.which("redis-server") is None:
        pytest.skip("needs celery and redis-server")
    write_files("celery.md", tmp_path)
    worker, beat, tick = commands("celery.md", "celery")
    port = str(free_port())
    redis = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", ""]
    with apple(tmp_path, database) as settings, running(*redis, folder=tmp_path):
        settings["PYADE_BROKER"] = f"redis://127.0.0.1:{port}/0"
        with (
            running(*worker, folder=tmp_path, **settings),
            running(*beat, folder=tmp_path, **settings),
            PostgresStore(database) as store,
        ):
            run(*tick, folder=tmp_path, **settings)
            wait_until(lambda: is_done(store), tmp_path, seconds=90)
            states = store.sync_states()
            assert {name: state.last_error for name, state in states.items()} == {"apac": "", "emea": ""}
