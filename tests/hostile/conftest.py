"""A hostile server, and a process whose memory is measured."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.hostile.driver import Case, start_server
from tests.hostile.server import HostileServer

LARGEST_MIB = 200

Measure = Callable[[Case, str], str]


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    """Return a server that answers in every kind, and check that no client followed its addresses."""
    with start_server() as running:
        yield running
        assert not running.errors
        assert running.cookies == 0
        assert running.trapped == 0


@pytest.fixture(scope="module")
def measured(server: HostileServer) -> Iterator[Measure]:
    """Return a function that returns what is wrong with a case, memory included, or ""."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a process is read from /proc, which is Linux's")
    with contextlib.ExitStack() as stack:
        child: subprocess.Popen[str] | None = None

        def measure(case: Case, mode: str) -> str:
            nonlocal child
            if child is None or child.poll() is not None:
                child = stack.enter_context(_child())
            request = {"kind": case.kind.name, "endpoint": case.endpoint.name, "mode": mode}
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps({**request, "ports": dict(server.ports)}) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                return f"{case.name} {mode}: the process died"
            result = json.loads(line)
            mib = result["peak_kib"] // 1024
            return result["complaint"] or (f"{case.name} {mode}: {mib} MiB" if mib >= LARGEST_MIB else "")

        yield measure


@contextlib.contextmanager
def _child() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.hostile.child"]
    folder = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()
