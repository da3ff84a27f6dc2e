"""Feed what strangers can send with inputs that a fuzzer makes up, guided by coverage.

::

    python fuzz/run.py --seconds 20 --memory-mb 512            # each entry point
    python fuzz/run.py --seconds 600 --memory-mb 512 cms       # one of them: cms, header or plist

Fails for anything but a typed error, for an input that takes longer than a second, for too much memory, and
for a message that is believed although nobody signed it. The input is then in ``fuzz-findings``. Needs
atheris, which the extra ``fuzz`` installs.
"""

from __future__ import annotations

import argparse
import base64
import plistlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal

import atheris

with atheris.instrument_imports(include=["pyade.core", "pyade.crypto", "plistlib", "base64"]):
    from pyade.core.machine_info import MachineInfo
    from pyade.core.untrusted import MAX_BYTES
    from pyade.crypto.device_trust import DeviceTrust
    from pyade.errors import TrustError

from pyade.testing import CmsForm, DeviceAuthority

FINDINGS = Path("fuzz-findings")
LONGEST = {"cms": MAX_BYTES + 1, "header": 2 * MAX_BYTES + 1, "plist": MAX_BYTES + 1}
WORDS = {
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
ALL_WORDS = {
    **WORDS,
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
    content = plistlib.dumps(WORDS)
    for key in ("rsa1024", "p256"):
        identity = authority.issue(key=key)
        for form in FORMS:
            yield identity.sign(content, form=form)


def seeds(entry_point: str, authority: DeviceAuthority) -> list[bytes]:
    """Return what the fuzzer starts from."""
    if entry_point == "cms":
        return list(messages(authority))
    if entry_point == "header":
        return [
            encode(message)
            for message in messages(authority)
            for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes)
        ]
    return [plistlib.dumps(words) for words in (WORDS, ALL_WORDS)]


def reader(entry_point: str, trust: DeviceTrust) -> Callable[[bytes], MachineInfo]:
    """Return what reads an input."""
    readers: dict[str, Callable[[bytes], MachineInfo]] = {
        "cms": lambda data: MachineInfo.from_cms(data, trust=trust),
        "header": lambda data: MachineInfo.from_header(data, trust=trust),
        "plist": MachineInfo.from_plist,
    }
    return readers[entry_point]


def fuzz(entry_point: str, options: argparse.Namespace, corpus: Path) -> None:
    """Run the fuzzer; it ends the process."""
    authority = DeviceAuthority.generate()
    for number, seed in enumerate(seeds(entry_point, authority)):
        (corpus / f"seed{number}").write_bytes(seed)
    dictionary = corpus.parent / "dictionary"
    dictionary.write_text("".join(f'"{token}"\n' for token in TOKENS))
    read = reader(entry_point, authority.trust)
    signed = MachineInfo.from_plist(plistlib.dumps(WORDS))

    def one(data: bytes) -> None:
        try:
            info = read(data)
        except TrustError as error:
            text = str(error)
            assert text.isprintable()
            assert len(text) < 300
            return
        # Whoever gets the info prints it, compares it and asks for the version.
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
        f"-artifact_prefix={FINDINGS}/{entry_point}-",
        "-print_final_stats=1",
        "-verbosity=0",
        *([f"-dict={dictionary}"] if entry_point == "plist" else []),
    ]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


def main() -> int:
    """Fuzz each entry point in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("entry_points", nargs="*", choices=[*LONGEST, []], default=[])
    parser.add_argument("--seconds", type=int, default=20, help="for each entry point")
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--input-seconds", type=int, default=1, help="for one input")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    FINDINGS.mkdir(exist_ok=True)
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
                print(f"{entry_point}: a finding, see {FINDINGS}")
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
