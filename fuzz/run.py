"""Fuzz the readers of untrusted input, guided by coverage and by time.

::

    python fuzz/run.py --seconds 20 --memory-mb 512            # each entry point
    python fuzz/run.py --seconds 600 --memory-mb 512 cms       # one: cms, header, plist, message or request

An input that is slower than all inputs before it, in steps of a quarter, counts as new coverage, so the
fuzzer continues with it. The unit of time is the processor time of an ordinary refusal of the same entry
point, in the same run.

A run fails if an input causes anything but a typed error, takes as long as 20 ordinary refusals or ten
seconds, needs too much memory, or is accepted without a valid signature. The input is then in
``fuzz-problems``.
(Without the instrumentation, which slows down Python code, 12 ordinary refusals are the limit; see
``benchmarks/hostile.py``.) Needs atheris, which the extra ``fuzz`` installs.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import plistlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, Literal

import atheris

with atheris.instrument_imports(
    include=[
        *("pyade.core", "pyade.crypto", "pyade.enrollment.device_trust", "pyade.enrollment.machine_info"),
        *("pyade.enrollment.final_configuration", "plistlib", "base64"),
    ]
):
    from pyade.core.input_limits import MAX_BYTES
    from pyade.enrollment.device_trust import DeviceTrust
    from pyade.enrollment.final_configuration import read_message
    from pyade.enrollment.machine_info import MachineInfo
    from pyade.errors import TrustError

from pyade.enrollment.redemption import redeem_scep_request
from pyade.storage import MemoryStore
from pyade.testing import CmsForm, DeviceAuthority
from pyade.testing.mac.hostile import requests, unsigned_messages

PROBLEMS = Path("fuzz-problems")
LONGEST = {
    "cms": MAX_BYTES + 1,
    "header": 2 * MAX_BYTES + 1,
    "plist": MAX_BYTES + 1,
    "message": MAX_BYTES + 1,
    "request": MAX_BYTES + 1,
}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SLOWEST = 20.0  # ordinary refusals
STEP = 1.25
KEYS = {
    "UDID": "564D0E0B-1A2B-3C4D-5E6F-708192A3B4C5",
    "SERIAL": "C02ABCDEFGHJ",
    "PRODUCT": "Mac14,2",
    "VERSION": "23B74",
}
ENCODINGS: tuple[Literal["ber", "der"], ...] = ("ber", "der")
SIGNERS: tuple[Literal["issuer", "key-identifier"], ...] = ("issuer", "key-identifier")
FORMS = [
    CmsForm(encoding=encoding, has_attributes=has_attributes, has_chain=has_chain, signer=signer)
    for encoding, has_attributes, has_chain, signer in product(
        ENCODINGS, (False, True), (False, True), SIGNERS
    )
]
ALL_KEYS = {
    **KEYS,
    "OS_VERSION": "14.1",
    "SUPPLEMENTAL_OS_VERSION_EXTRA": "(a)",
    "MDM_CAN_REQUEST_SOFTWARE_UPDATE": True,
    "IMEI": "",
    "NEW": {"list": [1, -2.5, b"data", False]},
}
TOKENS = (
    *("<dict>", "</dict>", "<array>", "</array>", "<array/>", "<key>", "</key>", "<string>", "</string>"),
    *("<data>", "</data>", "<date>", "</date>", "<integer>", "</integer>", "<real>", "</real>", "<true/>"),
    *("<!DOCTYPE plist [", "<!ENTITY e 'x'>", "<!ENTITY % e 'x'>", "&e;", "&#0;", "]>", "<![CDATA[", "]]>"),
    *(
        "encoding='UTF-16'",
        "2026-01-01T00:00:00Z",
        "0x",
        "SERIAL",
        "UDID",
        "PRODUCT",
        "VERSION",
        "<!--",
        "-->",
    ),
)


def messages(authority: DeviceAuthority) -> Iterator[bytes]:
    """Yield signed messages in every form and with every kind of key."""
    content = plistlib.dumps(KEYS)
    for key in ("rsa1024", "p256"):
        identity = authority.issue(key=key)
        for form in FORMS:
            yield identity.sign(content, form=form)


def seeds(entry_point: str, authority: DeviceAuthority) -> list[bytes]:
    """Return the initial inputs of the fuzzer."""
    mac = authority.issue()
    worst = [*unsigned_messages(mac).values(), *unsigned_messages(mac, elements=1_800).values()]
    if entry_point == "cms":
        return [*messages(authority), *worst]
    if entry_point == "header":
        return [
            encode(message)
            for message in messages(authority)
            for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes)
        ] + [base64.b64encode(message) for message in worst]
    if entry_point == "request":
        return [*requests().values(), *requests(elements=250).values()]
    lists: list[Mapping[str, Any]] = [KEYS, ALL_KEYS]
    if entry_point == "message":
        lists = [
            {"MessageType": "TokenUpdate", "AwaitingConfiguration": True},
            {"Status": "Idle", "L": [KEYS]},
        ]
    return [plistlib.dumps(one) for one in lists]


def ordinary_input(entry_point: str, authority: DeviceAuthority) -> bytes:
    """Return the input whose time is the unit: an ordinary refusal; for property lists a verified message."""
    message = DeviceAuthority.generate().issue().sign(plistlib.dumps(KEYS))
    if entry_point == "header":
        return base64.b64encode(message)
    if entry_point == "request":
        return requests(elements=20)["parts of a name"]
    # Property lists are only read after their signature was verified, or from enrolled Macs.
    return authority.issue().sign(plistlib.dumps(KEYS)) if entry_point != "cms" else message


def reader(entry_point: str, trust: DeviceTrust) -> Callable[[bytes], object]:
    """Return the function that reads the inputs of an entry point."""
    store = MemoryStore()
    readers: dict[str, Callable[[bytes], object]] = {
        "cms": lambda data: MachineInfo.from_cms(data, trust=trust),
        "header": lambda data: MachineInfo.from_header(data, trust=trust),
        "plist": MachineInfo.from_plist,
        "message": read_message,
        "request": lambda data: redeem_scep_request(store, data, now=NOW),
    }
    return readers[entry_point]


def _steps() -> Callable[[float], int]:
    """Return a function with a branch for each step of time, which the fuzzer sees as coverage."""
    limits = [STEP**number for number in range(1, 40)]
    branches = "".join(f"    if cost > {limit}:\n        steps += 1\n" for limit in limits)
    names: dict[str, Any] = {}
    exec(f"def steps_of(cost):\n    steps = 0\n{branches}    return steps\n", names)
    counted: Callable[[float], int] = atheris.instrument_func(names["steps_of"])
    return counted


def seconds_of(read: Callable[[bytes], object], data: bytes) -> float:
    """Return the processor seconds that it takes to read *data*."""
    start = time.thread_time()
    with contextlib.suppress(TrustError):
        read(data)
    return time.thread_time() - start


class Stopwatch:
    """Measures inputs in ordinary refusals."""

    def __init__(
        self, read: Callable[[bytes], object], measure: Callable[[bytes], object], refusal: bytes
    ) -> None:
        self._read, self._measure, self._refusal = read, measure, refusal
        self._unit = min(seconds_of(measure, refusal) for _ in range(50))
        self._steps = _steps()
        self._slowest = 0.0

    def record(self, seconds: float, data: bytes) -> None:
        """Report a slow input to the fuzzer as coverage; fail for one that is too slow."""
        cost = seconds / self._unit
        if cost > max(STEP, self._slowest):  # measure again: another process may have slowed it down
            tries = [
                (seconds_of(self._read, data), seconds_of(self._measure, self._refusal)) for _ in range(30)
            ]
            cost = min(one for one, _ in tries) / max(self._unit, min(other for _, other in tries))
        self._steps(cost)
        if cost > self._slowest:
            self._slowest = cost
            print(f"slowest so far: {cost:.1f} ordinary refusals, {len(data)} bytes", flush=True)
        assert cost < SLOWEST, f"{cost:.1f} ordinary refusals"


def fuzz(entry_point: str, options: argparse.Namespace, corpus: Path) -> None:
    """Run the fuzzer; it ends the process."""
    authority = DeviceAuthority.generate()
    for number, seed in enumerate(seeds(entry_point, authority)):
        (corpus / f"seed{number}").write_bytes(seed)
    dictionary = corpus.parent / "dictionary"
    dictionary.write_text("".join(f'"{token}"\n' for token in TOKENS))
    read = reader(entry_point, authority.trust)
    signed = MachineInfo.from_plist(plistlib.dumps(KEYS))
    is_xml = entry_point in ("plist", "message")
    measured = reader("cms", authority.trust) if is_xml else read
    watch = Stopwatch(read, measured, ordinary_input(entry_point, authority))

    def one(data: bytes) -> None:
        start = time.thread_time()
        try:
            info = read(data)
        except TrustError as error:
            text = str(error)
            assert text.isprintable()
            assert len(text) < 300
            info = None
        watch.record(time.thread_time() - start, data)
        if not isinstance(info, MachineInfo):
            return
        # The caller prints it, compares it and reads its version.
        assert repr(info)
        assert info.version is None or str(info.version)
        if entry_point != "plist":
            assert info.serial_number == signed.serial_number
            assert info.signature is not None

    arguments = [
        sys.argv[0],
        str(corpus),
        f"-max_total_time={options.seconds}",
        f"-rss_limit_mb={options.memory_mb}",
        f"-timeout={options.input_seconds}",
        f"-max_len={LONGEST[entry_point]}",
        f"-artifact_prefix={PROBLEMS}/{entry_point}-",
        "-print_final_stats=1",
        "-verbosity=0",
        *([f"-dict={dictionary}"] if is_xml else []),
    ]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


def main() -> int:
    """Fuzz each entry point in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("entry_points", nargs="*", choices=[*LONGEST, []], default=[])
    parser.add_argument("--seconds", type=int, default=20, help="for each entry point")
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--input-seconds", type=int, default=10, help="for one input")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    PROBLEMS.mkdir(exist_ok=True)
    if options.corpus is not None:
        fuzz(options.entry_points[0], options, options.corpus)
    for entry_point in options.entry_points or LONGEST:
        print(f"== {entry_point}: {options.seconds} s, {options.memory_mb} MB", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            command = [sys.executable, __file__, entry_point, "--corpus", str(corpus)]
            for name in ("seconds", "memory_mb", "input_seconds"):
                command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
            if code := subprocess.run(command, check=False).returncode:
                print(f"{entry_point}: a problem, see {PROBLEMS}")
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
