"""Measure the peak memory of full syncs, each in its own process.

``python benchmarks/memory.py ADDRESS FILE`` is one such process: it syncs into a new file, and prints the
number of devices and the peak in bytes.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyade
from fleet import Fleet, token
from pyade import Client, Syncer
from pyade.storage import SQLiteStore
from setting import Setting
from stores import clock_at
from table import Row

_DEVICES = 1_000_000
_FEW = 10_000
_SOURCE = str(Path(pyade.__file__).parents[1])


def rows(setting: Setting) -> Iterator[Row]:
    """Compare a large fleet with a small one."""
    small, large = Fleet(setting.size(_FEW)), Fleet(setting.size(_DEVICES))
    yield Row(
        what=f"peak memory of a full sync of {large.size:,} into SQLite",
        yardstick=f"pyade: of {small.size:,}",
        bare=_peak(setting, small),
        pyade=_peak(setting, large),
        reach=15,
        unit="MiB",
    )


def _peak(setting: Setting, fleet: Fleet) -> float:
    command = [sys.executable, __file__, f"{setting.address}{fleet.name}", str(setting.new_file())]
    environment = {**os.environ, "PYTHONPATH": _SOURCE}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    devices, peak = map(int, done.stdout.split())
    if devices != fleet.size:
        raise SystemExit(f"{devices:,} devices were read, {fleet.size:,} were expected")
    return peak / 2**20


def _peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss includes the memory of the parent at the start of this process
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Sync, and print the number of devices and the peak memory."""
    url, file = sys.argv[1:]
    clock = clock_at()
    with SQLiteStore(file) as store, Client(token(), base_url=url, clock=clock) as client:
        store.add_token(token())
        report = Syncer(client, store, clock=clock).sync()
    print(report.changes.added, _peak_memory())


if __name__ == "__main__":
    main()
