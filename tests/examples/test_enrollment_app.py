"""The examples of the device-facing side, as a new user runs them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_mac_enrolls_through_the_application(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("enrollment_app", EXAMPLES / "enrollment_app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main() == 0
    printed = capsys.readouterr().out
    assert "/ade/signed-in: 200" in printed
    assert "identity='acme'" in printed
    assert "enroll: Apple silicon" in printed


@pytest.mark.parametrize(("stores", "words"), [(False, "set PYADE_STORE"), (True, "refused: ")])
def test_request_check_refuses_requests_it_cannot_verify(stores: bool, words: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    environment |= {"PYADE_STORE": str(tmp_path / "ade.db")} if stores else {}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "check_scep_request.py")],
        input=b"no request",
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr.decode()
