"""Asks for one kind after the other, and tells how much memory each took, which a test run itself cannot.

On each line of its input stands a case, and on each line of its output what is wrong with it and the peak.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from tests.hostile.driver import KINDS, Case, endpoint_of, reference, tried

_MOST_BYTES = 2 * 1024**3
"""A client that takes more fails, so that it does not take the machine along."""

_STATUS = Path("/proc/self/status")


def peak_kib() -> int:
    """Return the largest memory of this process since it was forgotten."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def forget_peak() -> None:
    """Begin a new peak."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Work until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    for line in sys.stdin:
        asked = json.loads(line)
        case = Case(kind=KINDS[asked["kind"]], endpoint=endpoint_of(asked["endpoint"]))
        reference(case, asked["ports"])
        forget_peak()
        try:
            complaint = tried(case, asked["ports"], asked["mode"])
        except MemoryError:
            complaint = f"{case.name}: more than {_MOST_BYTES} bytes"
        print(json.dumps({"complaint": complaint, "peak_kib": peak_kib()}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
