"""Follow docs/tutorial.md as its reader does: in an empty folder beside a clone, in a new environment.

Run it to print how the page differs from what happens, or with ``--write`` to put that into the page.

The rules:

1. A ``python`` block is a file; the comment in its first line names it.
2. A ``sh`` block is typed in the first terminal. One that starts a server keeps running: ``apple.py`` has the
   second terminal, uvicorn ends with the next command.
3. A ``pycon`` block is typed at the prompt of ``apple.py``.
4. A ``text`` block is what the newest ``sh`` block has printed since the last one. Without one it prints
   nothing, except pip, whose warnings depend on the machine.
5. Each command that ends succeeds.
6. Times, ports and process ids may differ.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "tutorial.md"
PORT: Final = "8801"
PROMPT: Final = ">>> "
VARIES: Final = {
    r"127\.0\.0\.1:\d+": "127.0.0.1:PORT",
    r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? UTC": "TIME",
    r"\b\d\d:\d\d UTC": "TIME",
    r"\d+ days": "DAYS",
    r"in \d+\.\d s": "SECONDS",
    r"process \[\d+\]": "PROCESS",
}


def normalized(text: str) -> str:
    """Return *text* without what differs from run to run."""
    for pattern, word in VARIES.items():
        text = re.sub(pattern, word, text)
    return text.strip()


class Command:
    """A command in a terminal, and what it has printed."""

    def __init__(self, script: str, folder: Path) -> None:
        hidden = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}
        env = {name: value for name, value in os.environ.items() if name not in hidden}
        self._process = subprocess.Popen(
            ["bash", "-euc", script],
            cwd=folder,
            env={**env, "PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A script that runs the tests in the background ignores Ctrl-C, and what it starts inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        self._printed = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        while chunk := os.read(self._process.stdout.fileno(), 65536):
            self._printed += chunk

    def take(self, is_enough: Callable[[str], bool], limit_s: float = 120) -> str:
        """Return what it printed since the last call, when that is enough, it ended or the time is over."""
        end = time.monotonic() + limit_s
        while not is_enough(self._printed.decode()) and self._reader.is_alive() and time.monotonic() < end:
            self._reader.join(0.02)
        text, self._printed = self._printed.decode(), b""
        return text

    def type(self, line: str) -> None:
        """Type *line* and the Enter key."""
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def interrupt(self) -> int:
        """Press Ctrl-C if it still runs, and return its status."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.returncode


class Reader:
    """A reader who follows the page.

    Args:
        folder: Where they begin, beside the clone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._commands: list[Command] = []
        self._apple: Command | None = None
        self._server: Command | None = None
        self._newest = ""  # printed by a command that ended
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])

    def follow(self, page: str) -> str:
        """Return *page* with what was really printed, where that differs."""
        try:
            return re.sub(r"^```(\w+)\n(.*?)^```$", self._block, page, flags=re.DOTALL | re.MULTILINE)
        finally:
            for command in self._commands:
                command.interrupt()

    def _block(self, block: re.Match[str]) -> str:
        language, content = block[1], block[2]
        if language == "python" and (name := re.match(r"# (\S+\.py)\n", content)):
            (self._folder / name[1]).write_text(content.replace(PORT, self._port))
        elif language == "sh":
            assert not self._newest, f"the page does not show: {self._newest}"
            self._run(content.replace(PORT, self._port))
        elif language == "pycon":
            content = self._converse(content)
        elif language == "text":
            printed, self._newest = self._newest, ""
            if self._server:
                expected = normalized(content)
                printed = self._server.take(lambda text: normalized(text) == expected != "", limit_s=10)
            if normalized(printed) != normalized(content):
                content = f"{printed.strip()}\n".replace(self._port, PORT)
        return f"```{language}\n{content}```"

    def _run(self, script: str) -> None:
        if self._server:
            self._server.interrupt()
            self._commands.remove(self._server)
            self._server = None
        if "apple.py" in script or "uvicorn service" in script:
            command = Command(f"exec {script}", self._folder)
            self._commands.append(command)
            if "apple.py" in script:
                self._apple = command
                self._newest = command.take(lambda text: text.endswith(PROMPT)).removesuffix(PROMPT)
            else:
                self._server = command
            return
        command = Command(script, self._folder)
        printed = command.take(lambda _: False)
        status = command.interrupt()
        assert status == 0, f"{script}: status {status}: {printed}"  # rule 5
        self._newest = "" if "/pip install" in script else printed  # rule 4
        for name in re.findall(r"^cd (\S+)$", script, re.MULTILINE):
            self._folder /= name

    def _converse(self, content: str) -> str:
        assert self._apple, "apple.py does not run"
        lines = []
        for typed, expected in re.findall(r"^>>> (.*)\n((?:(?!>>> ).*\n)*)", content, re.MULTILINE):
            self._apple.type(typed)
            printed = self._apple.take(lambda text: text.endswith(PROMPT)).removesuffix(PROMPT)
            printed = printed.replace(self._port, PORT)
            same = normalized(printed) == normalized(expected)
            lines += [f"{PROMPT}{typed}\n", expected if same else printed]
        return "".join(lines)


def follow(folder: Path) -> tuple[str, str]:
    """Follow the page in *folder*, and return it as it is, and as it should be."""
    (folder / "pyade").symlink_to(ROOT, target_is_directory=True)
    page = PAGE.read_text("utf-8")
    return page, Reader(folder).follow(page)


def main() -> int:
    """Print the differences, or put them into the page."""
    with tempfile.TemporaryDirectory() as name:
        page, real = follow(Path(name))
    if "--write" in sys.argv:
        PAGE.write_text(real, "utf-8")
    sys.stdout.writelines(difflib.unified_diff(page.splitlines(True), real.splitlines(True), "page", "real"))
    return int(page != real and "--write" not in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
