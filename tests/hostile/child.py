"""Asks one kind after the other, and reports the memory of each, which a test run cannot measure of itself.

Each input line is a case; each output line is what is wrong with the case, and the peak.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from tests.hostile.driver import KINDS, Case, complaint_about, endpoint_of, reference

_MOST_BYTES = 2 * 1024**3
"""A client that needs more memory fails, so that it does not exhaust the machine."""

_STATUS = Path("/proc/self/status")


def peak_kib() -> int:
    """Return the largest memory of this process since the last reset."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def reset_peak() -> None:
    """Reset the peak."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Work until the end of the input."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    for line in sys.stdin:
        asked = json.loads(line)
        case = Case(kind=KINDS[asked["kind"]], endpoint=endpoint_of(asked["endpoint"]))
        reference(case, asked["ports"])
        reset_peak()
        try:
            complaint = complaint_about(case, asked["ports"], asked["mode"])
        except MemoryError:
            complaint = f"{case.name}: more than {_MOST_BYTES} bytes"
        print(json.dumps({"complaint": complaint, "peak_kib": peak_kib()}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
