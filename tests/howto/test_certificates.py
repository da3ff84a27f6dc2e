"""The webhook of the page answers like one of step-ca's, and a real SCEP server issues a certificate."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from tests.howto.pages import blocks_of, environment, free_port, run, running, wait_until, write_files


@pytest.mark.slow
def test_the_webhook_of_the_page_allows_one_certificate(tmp_path: Path) -> None:
    write_files("step-ca.md", tmp_path)
    printed = run(sys.executable, "try_step_ca.py", folder=tmp_path)
    assert [line for line in printed.splitlines() if "allow" in line] == [
        "{'allow': True}",
        "{'allow': False}",
        "{'allow': False}",
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("scepserver") is None, reason="needs scepserver: apt-get install scep")
def test_the_scep_server_of_the_page_issues_one_certificate(tmp_path: Path) -> None:
    files = write_files("scep.md", tmp_path)
    port = str(free_port())
    program = files["check_scep_request.py"].replace("/opt/ade/.venv/bin/python", sys.executable)
    (tmp_path / "check_scep_request.py").write_text(program)
    (tmp_path / "try_scep.py").write_text(files["try_scep.py"].replace(":8080", f":{port}"))
    chmod, init, _, serve = blocks_of("scep.md", "sh")[0].splitlines()
    run(*shlex.split(chmod), folder=tmp_path)
    run(*shlex.split(init), folder=tmp_path)
    server = shlex.split(serve.replace("8080", port))
    client = shlex.split(run(sys.executable, "try_scep.py", folder=tmp_path))
    with running(*server, folder=tmp_path, PYADE_STORE=str(tmp_path / "ade.db")):
        wait_until(lambda: "listening" in (tmp_path / "log").read_text(), tmp_path)
        run(*client, folder=tmp_path)
        certificate = x509.load_pem_x509_certificate((tmp_path / "mac.pem").read_bytes())
        another = tmp_path / "another"
        another.mkdir()
        done = subprocess.run(client, cwd=another, env=environment(), capture_output=True, check=False)
    assert certificate.subject.rfc4514_string() == "CN=J06W000001,O=Contoso"
    assert done.returncode != 0
    assert not (another / "mac.pem").exists()
