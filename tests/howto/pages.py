"""Read the files, commands and settings that the how-to pages show."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "howto"

_FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def files_of(page: str) -> Mapping[str, str]:
    """Return the contents of all files that a page shows, by name."""
    found = _FILE.findall((PAGES / page).read_text("utf-8"))
    assert found, f"{page} shows no file"
    assert len({name for name, _ in found}) == len(found), f"{page} shows a file twice"
    return dict(found)


def blocks_of(page: str, language: str) -> list[str]:
    """Return the blocks of a page that are in *language* and no files."""
    text = (PAGES / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def write_files(page: str, folder: Path) -> Mapping[str, str]:
    """Write the files of a page into *folder*, and return their contents."""
    files = files_of(page)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return files


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a reader's shell: the same packages, and the programs of this Python."""
    path = os.pathsep.join(filter(None, sys.path))
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PYTHONPATH": path, "PATH": programs, **changes}


def complete(*command: str, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command in *folder* to its end; it must succeed. *changes* are environment variables."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


def run(*command: str, folder: Path, **changes: str) -> str:
    """Do what ``complete`` does, and return what the command printed."""
    return complete(*command, folder=folder, **changes).stdout


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(*command: str, folder: Path, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in *folder* until the context ends; what it prints goes to the file ``log`` there."""
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(**changes), stdout=log, stderr=log, text=True
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(is_done: Callable[[], bool], folder: Path, *, seconds: float = 60) -> None:
    """Wait until *is_done*, at most *seconds*; then fail with the log of *folder*."""
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end, (folder / "log").read_text()[-4000:]
        time.sleep(0.05)
