"""Read the files, commands and settings that the how-to pages show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
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
    """Return the environment of a reader's shell: the same packages, and nothing of the test run."""
    path = os.pathsep.join(part for part in sys.path if part and Path(part).name != "howto")
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PYTHONPATH": path, "PATH": programs, **changes}


def run(*command: str, folder: Path, **changes: str) -> str:
    """Run a command in *folder* to its end, and return what it printed; it must succeed."""
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
    return done.stdout
