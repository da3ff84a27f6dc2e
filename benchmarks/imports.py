"""Measure how long programs take to import pyade, each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pyade
from setting import Setting
from table import Row

_PROGRAM = "import time; start = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"
_LOADED = "import sys\n{}\nprint(*[name for name in {} if name in sys.modules])"
_UNWANTED = ("httpx", "asn1crypto", "sqlite3", "psycopg", "anyio")
_YARDSTICK = "import httpx"
_MAIN_JOB = "from pyade import Client, Syncer, Assigner, Token; from pyade.storage import SQLiteStore"
_PROFILE = "from pyade import EnrollmentProfile, SkipKeys"
_REACH = {"import pyade": 0.3, _MAIN_JOB: 1.6, _PROFILE: None}


def rows(setting: Setting) -> Iterator[Row]:
    """Measure the imports of typical programs."""
    programs = (_YARDSTICK, *_REACH)
    with tempfile.TemporaryDirectory() as folder:
        for program in programs:
            _run(program, folder)  # compiles
        runs = [
            [float(_run(_PROGRAM.format(program), folder)) for program in programs]
            for _ in range(9 if setting.scale == 1 else 3)
        ]
    bare, *found = (median(column) for column in zip(*runs, strict=True))
    for (program, reach), seconds in zip(_REACH.items(), found, strict=True):
        note = ""
        if program == _PROFILE:
            loaded = _run(_LOADED.format(program, _UNWANTED), None).strip()
            note = f"loads {loaded} unnecessarily" if loaded else f"loads none of {', '.join(_UNWANTED)}"
        what = program.partition(";")[0] + (" and SQLiteStore" if program == _MAIN_JOB else "")
        yield Row(what=what, yardstick=_YARDSTICK, bare=bare, pyade=seconds, reach=reach, note=note)


def _run(program: str, bytecode: str | None) -> str:
    """Run *program* and return its output; modules are compiled once, into the folder *bytecode*."""
    environment = {**os.environ, "PYTHONPATH": str(Path(pyade.__file__).parents[1])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if bytecode is not None:
        environment["PYTHONPYCACHEPREFIX"] = bytecode
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
