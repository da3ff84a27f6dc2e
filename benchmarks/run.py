"""Measure pyade's operations, and compare each with a minimal implementation of it, in a table.

::

    python benchmarks/run.py                        # all groups, a few minutes
    python benchmarks/run.py --scale 0.01           # with a hundredth of the devices
    python benchmarks/run.py --only ingest --only imports

A figure is the time of pyade divided by that of the minimal implementation (the yardstick), both measured in
this run; see ``table``. A row whose figure is above its limit is marked; nothing fails.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import assigning
import enrollment
import hostile
import imports
import ingest
import loopback
import memory
import million
import queries
import table
from setting import Setting

_GROUPS: dict[str, Callable[[Setting], Iterator[table.Row]]] = {
    "imports": imports.rows,
    "ingest": ingest.rows,
    "million": million.rows,
    "queries": queries.rows,
    "assigning": assigning.rows,
    "memory": memory.rows,
    "enrollment": enrollment.rows,
    "hostile": hostile.rows,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="fraction of the devices to use, such as 0.01"
    )
    parser.add_argument("--only", action="append", choices=_GROUPS, help="measure only this group")
    arguments = parser.parse_args()
    logging.getLogger("pyade").setLevel(logging.ERROR)
    start, over = time.monotonic(), 0
    print(table.head(), flush=True)
    with tempfile.TemporaryDirectory(prefix="pyade-benchmarks-") as folder, loopback.serving() as address:
        setting = Setting(arguments.scale, Path(folder), address)
        for name in arguments.only or _GROUPS:
            for row in _GROUPS[name](setting):
                over += row.is_over
                print(row.line(), flush=True)
    print(f"\nrows above their limit: {over}; {time.monotonic() - start:.0f} seconds")


if __name__ == "__main__":
    main()
