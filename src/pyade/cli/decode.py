"""``pyade decode``: show what a file is that a Mac sent, that a Mac got, or that the portal offers.

The rules of this file:

1. Nothing secret is printed: of a payload its type, its names and the addresses that are not one-time.
2. What no trusted device signed is shown, too, and the exit code is 1: an incident is when it is needed.
"""

from __future__ import annotations

import base64
import plistlib
import re
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.parsers.expat import ExpatError

import click
from cryptography import x509

from pyade.builders.linter import check_enrollment_profile
from pyade.builders.payloads import TargetMac
from pyade.cli.app import DONE, FAILED
from pyade.cli.files import WrongUsageError, read_bytes, read_keypair
from pyade.cli.options import common, settings, with_key
from pyade.cli.output import Json, plain, show, show_json, show_problems, tell
from pyade.cli.tokens import show_token_file
from pyade.core.problems import Severity
from pyade.crypto.ber import MalformedError
from pyade.crypto.signed_data import SignedData, read_signed_data
from pyade.crypto.token_file import MAX_TOKEN_FILE_BYTES
from pyade.enrollment.device_trust import DeviceTrust
from pyade.enrollment.machine_info import MachineInfo
from pyade.errors import TrustError
from pyade.text import printable

_MAX_PROFILE: Final = 4 * 1024 * 1024
_SEQUENCE: Final = 0x30
_SHOWN: Final = (
    *("PayloadType", "PayloadIdentifier", "PayloadDisplayName", "PayloadOrganization", "PayloadUUID"),
    *("ServerURL", "CheckInURL", "Topic", "AccessRights", "IdentityCertificateUUID"),
    *("DirectoryURL", "HardwareBound", "Attest", "KeyType", "KeySize"),
)
"""Keys of payloads that are shown: none is a secret."""
_SECRET_PARTS: Final = re.compile(r"(?<=://)[^/?#]*(?=@)|(?<=[?#]).*", re.DOTALL)
"""What may be a secret in the address of another MDM server: name and password, query, fragment."""
_UNREADABLE: Final = (ExpatError, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError)
"""What plistlib raises for a file of another kind."""


@click.group(help="Show what is in a file. From a Mac, for a Mac, or from Apple's portal.")
def decode() -> None:
    """Hold the commands that decode."""


@decode.command(help="Show what a Mac sent of itself. CMS, the header of a web view, or a property list.")
@click.argument("file", metavar="FILE|-")
@click.option("--trust", metavar="FILE", help="PEM of an authority to trust instead of Apple's, for tests.")
@common
def machineinfo(file: str, trust: str | None) -> int:
    """Show a MachineInfo."""
    data = read_bytes(file, at_most=_MAX_PROFILE)
    try:
        machine, doubt = _read_machine(data, _trust_of(trust))
    except TrustError as error:
        raise WrongUsageError(f"it is no MachineInfo: {error}") from None
    return _show_machine(machine, doubt)


@decode.command(help="Show an enrollment profile. And its problems; signed or not, without secrets.")
@click.argument("file", metavar="FILE|-")
@click.option("--macos", metavar="VERSION", help="Check it for a Mac with this version too.")
@click.option("--product", metavar="MODEL", help="And this model, such as Mac14,2.")
@common
def mobileconfig(file: str, macos: str | None, product: str | None) -> int:
    """Show an enrollment profile."""
    data = read_bytes(file, at_most=_MAX_PROFILE)
    signer, content = "", data
    if data[0] == _SEQUENCE:
        signed = _signed(data)
        signer, content = _signer_of(signed), signed.content
    document = _plist_of(content, file)
    mac = None if macos is None else TargetMac(serial_number="any", product=product or "", version=macos)
    problems = check_enrollment_profile(document, mac=mac)
    listed = document.get("PayloadContent", ())
    payloads = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    if settings().json:
        facts: Json = {
            "signed_by": signer,
            **_facts(document),
            "payloads": list(map(_facts, payloads)),
            "problems": plain(problems),
        }
        show_json(facts)
    else:
        show(printable(f"signed by {signer}, which is not verified" if signer else "not signed"))
        for payload in (document, *payloads):
            show("\n".join(_lines(payload)))
        show_problems(problems)
    return FAILED if any(problem.severity is Severity.ERROR for problem in problems) else DONE


@decode.command(help="Show a server token file. With --key also its expiry, never its secrets.")
@click.argument("file", metavar="FILE|-")
@with_key
@common
def p7m(file: str, key: str | None, passphrase_file: str | None) -> None:
    """Show a server token file."""
    if file == "-" and key == "-":
        raise WrongUsageError("the file and the key cannot both come from stdin")
    keypair = None if key is None else read_keypair(key, passphrase_file)
    show_token_file(read_bytes(file, at_most=MAX_TOKEN_FILE_BYTES), keypair)


def _read_machine(data: bytes, trust: DeviceTrust | None) -> tuple[MachineInfo, str]:
    """Return what a Mac sent, and why it cannot be trusted; "" if a trusted device signed it.

    Raises:
        TrustError: It cannot be read.
    """
    if data.lstrip()[:1] == b"<":
        return MachineInfo.from_plist(data), "it is not signed"
    message = _decoded(data)
    try:
        return MachineInfo.from_cms(message, trust=trust), ""
    except TrustError as error:
        if error.is_malformed:
            raise
        return MachineInfo.from_plist(_signed(message).content), str(error)  # rule 2


def _decoded(data: bytes) -> bytes:
    """Return the CMS message in *data*: itself, or the base64 of the header of a Mac."""
    if data[0] == _SEQUENCE:
        return data
    text = data.strip().removeprefix(b"x-apple-aspen-deviceinfo:").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except Base64Error:
        raise WrongUsageError(
            "it is no MachineInfo: a CMS message, its base64, or a property list is needed"
        ) from None


def _trust_of(path: str | None) -> DeviceTrust | None:
    if path is None:
        return None
    try:
        return DeviceTrust(x509.load_pem_x509_certificates(read_bytes(path, at_most=256 * 1024)))
    except ValueError:
        raise WrongUsageError(f"{printable(path)} has no certificate in PEM") from None


def _show_machine(machine: MachineInfo, doubt: str) -> int:
    """Print *machine*; *doubt* says why it cannot be trusted."""
    version = machine.version
    facts = {
        "serial_number": machine.serial_number,
        "udid": machine.udid,
        "product": machine.product,
        "macos": None if version is None else str(version),
        "build": machine.build,
        "language": machine.language,
        "can_request_software_update": machine.can_request_software_update,
        "is_signed_by_device": not doubt,
    }
    if settings().json:
        show_json({**facts, "doubt": doubt})
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            shown = {"True": "yes", "False": "no", "None": "-"}.get(str(value), value)
            show(printable(f"{name.replace('_', ' '):<{width}}  {shown}"))
    if doubt:
        tell(f"not to be trusted: {doubt}")
    return FAILED if doubt else DONE


def _signed(message: bytes) -> SignedData:
    try:
        return read_signed_data(message)
    except MalformedError as error:
        raise WrongUsageError(f"it is no signed message: {error}") from None


def _signer_of(signed: SignedData) -> str:
    """Return the name in the certificate of the signer."""
    found = signed.signer_certificate()
    if found is None:
        return "a certificate that the message lacks"
    try:
        return x509.load_der_x509_certificate(found.encoded).subject.rfc4514_string()
    except ValueError:
        return "a certificate that cannot be read"


def _plist_of(content: bytes, file: str) -> Mapping[str, Any]:
    try:
        document = plistlib.loads(content)
    except _UNREADABLE:
        document = None
    if not isinstance(document, dict):
        shown = "stdin" if file == "-" else printable(file)
        raise WrongUsageError(f"{shown} is no enrollment profile: a property list is needed")
    return document


def _facts(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is shown of a payload (rule 1)."""
    found = {key: payload[key] for key in _SHOWN if isinstance(payload.get(key), str | int)}
    return {
        key: _SECRET_PARTS.sub("…", str(value)) if "URL" in key else value for key, value in found.items()
    }


def _lines(payload: Mapping[str, Any]) -> Iterator[str]:
    facts = dict(_facts(payload))
    yield printable(str(facts.pop("PayloadType", "a payload without a type")))
    yield from (printable(f"  {key}: {value}") for key, value in facts.items())
