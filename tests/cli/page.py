"""Run the commands of ``docs/cli.md`` in order, and put their real output into the page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.conftest import clean

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
_PORT = "8642"


def replayed(page: str, folder: Path, port: int) -> str:
    """Return *page* with the output that its commands have in *folder*, an empty one.

    The commands of all blocks run in one shell, so that variables last; the fake listens on *port*.
    """
    bin_folder = folder / ".bin"
    bin_folder.mkdir()
    program = bin_folder / "pyade"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pyade "$@"\n')
    program.chmod(0o755)
    environment = clean()
    environment |= {"PATH": f"{bin_folder}:{environment['PATH']}", "COLUMNS": "100"}
    shell = subprocess.Popen(
        ["bash"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def run(command: str) -> str:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(f"{command.replace(_PORT, str(port))}\n_code=$?; echo; echo ---; (exit $_code)\n")
        shell.stdin.flush()
        lines: list[str] = []
        while (line := shell.stdout.readline()) != "---\n":
            assert line, f"the shell ended in {command!r}"
            lines.append(line)
        if command.endswith("&"):
            _wait_for(folder / "fake.json")
        return "".join(lines)[:-1].replace(str(port), _PORT)

    def replay(block: re.Match[str]) -> str:
        shown = ""
        for command in re.findall(r"^\$ (.*\n(?:> .*\n)*)", block[1], re.MULTILINE):
            shown += f"$ {command}{run(command.replace(chr(10) + '> ', chr(10)).rstrip())}"
        return f"```console\n{shown}```"

    try:
        return _BLOCK.sub(replay, page)
    finally:
        shell.communicate("kill -TERM $(jobs -p); wait\n")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, "the fake does not start"
        time.sleep(0.02)


_VARYING = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?", "TIME"),
    (r"\b[0-9A-F]{32,40}\b", "ID"),
    (r"\d+\.\d s\b", "SECONDS"),
    (r"\d+ days left", "DAYS"),
)


def normalized(page: str) -> str:
    """Return *page* without what differs between two runs: times, ids, durations."""
    for pattern, name in _VARYING:
        page = re.sub(pattern, name, page)
    return page
