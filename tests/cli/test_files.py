"""``pyade profile`` and ``pyade decode``: files of every kind, right and wrong."""

from __future__ import annotations

import json
import plistlib
import resource
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.cases import each
from tests.cli.conftest import PROFILE, Run

from pyade import (
    AcmeIssuer,
    EnrollmentProfile,
    MdmService,
    ScepIssuer,
    Signer,
    TargetMac,
    build_enrollment_profile,
)
from pyade.builders import profile_to_document, profile_to_intune
from pyade.cli.files import WrongUsageError, write_new
from pyade.testing import DeviceAuthority, FakeMac

MDM = MdmService(
    identifier="com.contoso.mdm",
    organization="Contoso",
    server_url="https://mdm.contoso.com/mdm",
    topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
)
INTUNE = ("--url", "https://mdm.contoso.com/enroll")


def intune_json(*names: str) -> list[dict[str, object]]:
    profiles = [EnrollmentProfile(name=name, url="https://mdm.contoso.com/enroll") for name in names]
    return [profile_to_intune(one).body for one in profiles]


def test_a_profile_is_checked_planned_previewed_and_compared(run: Run, tmp_path: Path) -> None:
    assert run("profile", "check", "profile.json").out == "Standard Mac: valid\n"
    assert "Siri" in run("profile", "plan", "profile.json", "--macos", "14.1").out
    plan = run("profile", "plan", "profile.json", "--json").json
    assert {row["setting"]: row["effect"] for row in plan["screens"]}["skip.Siri"] == "hidden"
    assert "Remote Management" in run("profile", "preview", "profile.json", "--svg", "profile.svg").out
    assert (tmp_path / "profile.svg").read_text().startswith("<svg")
    (tmp_path / "profile.svg").write_text("mine")
    assert "give --force" in run("profile", "preview", "profile.json", "--svg", "profile.svg", code=2).err
    assert run("profile", "preview", "profile.json", "--macos", "15.4", "--json").json["versions"] == ["15.4"]
    (tmp_path / "new.json").write_text(json.dumps({**PROFILE, "skip_setup_items": []}))
    (change,) = run("profile", "diff", "profile.json", "new.json", "--json").json["changes"]
    assert (change["setting"], change["reach"]) == ("skip.Siri", "wipe")
    assert "no changes" in run("profile", "diff", "profile.json", "profile.json").out
    assert "cannot be read" in run("profile", "plan", "profile.json", "--macos", "lion", code=2).err


def test_a_profile_comes_from_stdin_from_intune_and_from_a_stored_document(run: Run, tmp_path: Path) -> None:
    data = json.dumps(PROFILE).encode()
    assert run("profile", "check", "-", stdin=data).out == "Standard Mac: valid\n"
    profile = EnrollmentProfile(name="Büro", url="https://mdm.contoso.com/enroll", description="All of it")
    (tmp_path / "document.json").write_text(json.dumps(profile_to_document(profile)))
    assert run("profile", "check", "document.json", "--json").json["name"] == "Büro"
    (tmp_path / "one.json").write_text(json.dumps(intune_json("First")), "utf-16")
    assert "give --url" in run("profile", "check", "one.json", code=2).err
    assert run("profile", "check", "one.json", *INTUNE, "--json").json["name"] == "First"
    (tmp_path / "two.json").write_text(json.dumps({"value": intune_json("First", "Second")}))
    assert "one of 'First', 'Second'" in run("profile", "check", "two.json", *INTUNE, code=2).err
    named = (*INTUNE, "--intune-name")
    assert run("profile", "check", "two.json", *named, "Second").out.startswith("Second: valid")
    assert "no enrollment profile 'Third'" in run("profile", "check", "two.json", *named, "Third", code=2).err


def test_every_broken_rule_of_a_profile_is_listed(run: Run, tmp_path: Path) -> None:
    broken = {**PROFILE, "url": "http://mdm.contoso.com/enroll", "is_supervised": False}
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    found = run("profile", "check", "broken.json", "--json", code=1).json
    assert (found["is_valid"], {one["setting"] for one in found["problems"]}) == (False, {"url", "locked"})
    assert run("profile", "check", "broken.json", code=1).out.count("error") == 2
    assert run("profile", "plan", "broken.json", code=2).out == ""


WRONG = {
    "folder": None,
    "missing": None,
    "empty": b"",
    "binary": bytes(range(256)),
    "text": b"hello",
    "list.json": b"[1, 2]",
    "other.json": b'{"name": "x"}',
    "deep.json": b"[" * 100_000,
    "page.html": b"<html><body>Sign in</body></html>",
    "cut.plist": b"<plist><dict><key>a",
    "der": b"\x30\x03\x02\x01\x05",
    "pem": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
}


@each("name", list(WRONG))
def test_a_file_of_a_wrong_kind_is_one_clear_line(name: str, run: Run, tmp_path: Path) -> None:
    data = WRONG[name]
    if data is not None:
        (tmp_path / name).write_bytes(data)
    elif name == "folder":
        (tmp_path / name).mkdir(exist_ok=True)
    for command in (
        ("profile", "check"),
        ("assign", "--profile"),
        ("decode", "p7m"),
        ("decode", "mobileconfig"),
        ("decode", "machineinfo"),
    ):
        done = run(*command, name, code=2)
        assert (done.out, len(done.err.splitlines()), done.err[:7]) == ("", 1, "pyade: "), done


def test_a_machine_info_is_shown_with_its_doubts(run: Run, tmp_path: Path) -> None:
    authority = DeviceAuthority.generate()
    serial = "C02EXAMPLE01"
    mac = FakeMac(serial_number=serial, identity=authority.issue(), product="Mac14,2", version="15.4")
    (tmp_path / "header.txt").write_text(f"x-apple-aspen-deviceinfo: {mac.header()}\n")
    (tmp_path / "body.cms").write_bytes(mac.signed())
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    for name in ("header.txt", "body.cms"):
        trusted = run("decode", "machineinfo", name, "--trust", "ca.pem", "--json").json
        assert (trusted["serial_number"], trusted["macos"]) == (serial, "15.4")
        assert trusted["is_signed_by_device"] is True
        doubted = run("decode", "machineinfo", name, code=1)
        assert serial in doubted.out
        assert doubted.err.startswith("pyade: not to be trusted: ")
    assert "no certificate" in run("decode", "machineinfo", "body.cms", "--trust", "profile.json", code=2).err


@pytest.mark.parametrize("is_signed", [False, True])
def test_an_enrollment_profile_is_shown_without_its_secrets(
    is_signed: bool, run: Run, tmp_path: Path
) -> None:
    mac = TargetMac(serial_number="C02EXAMPLE01", product="Mac14,2", version="15.4")
    profile = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")
    acme = AcmeIssuer(directory_url="https://ca.contoso.com/acme/directory", client_identifier="once-only")
    scep = ScepIssuer(url="https://ca.contoso.com/scep", challenge="hidden-challenge")
    plist = build_enrollment_profile(profile, MDM, mac, acme=acme, scep=scep)
    data = Signer.self_signed("Contoso MDM profiles").sign(plist) if is_signed else plist
    (tmp_path / "mac.mobileconfig").write_bytes(data)
    text = run("decode", "mobileconfig", "mac.mobileconfig", "--macos", "15.4", "--product", "Mac14,2").out
    found = run("decode", "mobileconfig", "-", "--json", stdin=data)
    assert ("CN=Contoso MDM profiles" in found.json["signed_by"]) is is_signed
    assert "com.apple.mdm" in {one["PayloadType"] for one in found.json["payloads"]}
    assert "https://ca.contoso.com/acme/directory" in text
    assert "once-only" not in text + found.out
    assert "hidden-challenge" not in text + found.out


def test_an_address_in_a_profile_is_shown_without_what_may_be_a_secret(run: Run, tmp_path: Path) -> None:
    mdm = {
        "PayloadType": "com.apple.mdm",
        "ServerURL": "https://it:s3cret@mdm.example.com/mdm?key=s3cret#s3cret",
    }
    (tmp_path / "x.mobileconfig").write_bytes(plistlib.dumps({"PayloadContent": [mdm]}))
    shown = run("decode", "mobileconfig", "x.mobileconfig", code=1).out
    found = run("decode", "mobileconfig", "x.mobileconfig", "--json", code=1).json
    assert "  ServerURL: https://…@mdm.example.com/mdm?…\n" in shown
    assert found["payloads"][0]["ServerURL"] == "https://…@mdm.example.com/mdm?…"
    assert "s3cret" not in f"{shown}{found}"


def test_a_profile_that_a_mac_refuses_has_the_exit_code_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.mobileconfig").write_bytes(b"<plist version='1.0'><dict/></plist>")
    assert "error" in run("decode", "mobileconfig", "x.mobileconfig", code=1).out


def test_a_file_with_a_private_key_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_new(path, b"secret", private=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(WrongUsageError, match="exists"):
        write_new(path, b"new secret", private=True)
    path.chmod(0o644)
    write_new(path, b"new secret", private=True, force=True)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new secret", 0o600)


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    """Else the next try would find a part of a key, and say that the file exists."""
    path = tmp_path / "key.pem"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(WrongUsageError, match="cannot be written"):
            write_new(path, b"x" * 100, private=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.exists()
