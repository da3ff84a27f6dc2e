"""The quickstart, as a new user runs it."""

import importlib.util
import json
import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import pytest
from tests.cases import UNFRIENDLY, each

from pyade import TokenKeypair
from pyade.apple.http import connection
from pyade.testing import FakeApple

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"
READS = {"GET /session", "GET /account", "POST /server/devices", "POST /devices/sync", "POST /devices"}


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("quickstart", QUICKSTART)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run: Callable[[list[str]], int] = module.main
    return run


@pytest.fixture
def portal(tmp_path: Path) -> tuple[FakeApple, list[str]]:
    """A fake with 30 Macs, and the arguments that make the quickstart use its token."""
    fake = FakeApple()
    server = fake.add_server("Contoso MDM")
    fake.add_devices(30, server=server)
    keypair = TokenKeypair.generate("Contoso MDM")
    (tmp_path / "key.pem").write_bytes(keypair.to_pem())
    (tmp_path / "token.p7m").write_bytes(fake.issue_token(server, keypair.certificate_pem))
    files = ["--token", str(tmp_path / "token.p7m"), "--key", str(tmp_path / "key.pem")]
    return fake, [*files, "--apple-id", "it@contoso.com", "--output", str(tmp_path / "out")]


def test_quickstart_runs_the_whole_flow_and_writes_the_documents(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path), "--devices", "1200"]) == 0
    printed = capsys.readouterr().out
    assert "1,200 added" in printed
    assert "1,200 SUCCESS" in printed
    assert "5 released" in printed
    assert "20 SUCCESS" in printed
    assert "302: the user signs in" in printed
    assert "200: ACME with attested hardware-bound key" in printed
    assert json.loads((tmp_path / "dep-profile.json").read_text())["profile_name"] == "Standard Mac"


@each("environment", UNFRIENDLY)
def test_quickstart_runs_without_docstrings_in_the_c_locale_and_behind_a_proxy(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-OO", str(QUICKSTART), "--devices", "20", "--output", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"20 SUCCESS" in done.stdout


def test_quickstart_runs_again_in_the_same_folder(main: Callable[[list[str]], int], tmp_path: Path) -> None:
    assert main(["--output", str(tmp_path), "--devices", "10"]) == 0
    assert main(["--output", str(tmp_path), "--devices", "10"]) == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize(
    ("version", "identity"), [("13.0", "com.apple.security.scep"), ("15.4", "com.apple.security.acme")]
)
def test_quickstart_signs_an_enrollment_profile_that_openssl_accepts(
    main: Callable[[list[str]], int], tmp_path: Path, version: str, identity: str
) -> None:
    assert main(["--output", str(tmp_path), "--devices", "1"]) == 0
    verified = subprocess.run(
        ["openssl", "cms", "-verify", "-noverify", "-inform", "DER"],
        input=(tmp_path / f"enroll-{version}.mobileconfig").read_bytes(),
        capture_output=True,
        check=True,
    )
    payloads = plistlib.loads(verified.stdout)["PayloadContent"]
    assert {"com.apple.mdm", identity} == {payload["PayloadType"] for payload in payloads}


def test_quickstart_with_a_token_only_reads(
    main: Callable[[list[str]], int], portal: tuple[FakeApple, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    fake, arguments = portal
    with fake.serve() as served:
        assert main([*arguments, "--base-url", served.base_url]) == 0
    assert set(fake.counts) <= READS
    assert "30 added" in capsys.readouterr().out


def test_quickstart_with_assign_defines_and_assigns(
    main: Callable[[list[str]], int], portal: tuple[FakeApple, list[str]]
) -> None:
    fake, arguments = portal
    with fake.serve() as served:
        assert main([*arguments, "--base-url", served.base_url, "--assign"]) == 0
    assert fake.counts["POST /profile"] == 1
    assert fake.counts["POST /profile/devices"] == 1


def test_second_run_within_the_cooldown_names_the_next_sync_time(
    main: Callable[[list[str]], int], portal: tuple[FakeApple, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    fake, arguments = portal
    with fake.serve() as served:
        assert main([*arguments, "--base-url", served.base_url]) == 0
        assert main([*arguments, "--base-url", served.base_url]) == 0
    assert fake.counts["POST /server/devices"] == 1
    assert "15 minutes" in capsys.readouterr().out


def test_invalid_token_file_is_explained_in_one_line(
    main: Callable[[list[str]], int],
    portal: tuple[FakeApple, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, arguments = portal
    (tmp_path / "token.p7m").write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    assert main(arguments) == 1
    assert "TokenError" in capsys.readouterr().err


def test_an_unreachable_service_is_explained_in_one_line(
    main: Callable[[list[str]], int],
    portal: tuple[FakeApple, list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "pause", lambda _seconds: None)  # between retries
    _, arguments = portal
    assert main([*arguments, "--base-url", "http://127.0.0.1:1"]) == 1
    line = capsys.readouterr().err.strip()
    assert line.startswith("quickstart: TransportError: open a session: 127.0.0.1: ConnectError: ")
    assert line.endswith("; check base_url, the firewall, and the proxy: proxy=, HTTPS_PROXY and NO_PROXY")
    assert "\n" not in line


def test_interrupted_quickstart_prints_one_line(
    main: Callable[[list[str]], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(progress: object) -> None:
        raise KeyboardInterrupt

    assert isinstance(main, FunctionType)
    monkeypatch.setitem(main.__globals__, "show_progress", stop)
    assert main(["--output", str(tmp_path), "--devices", "10"]) == 130
    assert "interrupted" in capsys.readouterr().err
