"""Ten jobs that users have, each in at most 25 lines, run as users run them."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
import pytest
from tests.cases import each

from pyade import EnrollmentProfile
from pyade.storage import PostgresStore
from pyade.testing import FakeApple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "examples" / "jobs"
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")


def run(*command: str, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=JOBS,
        env=os.environ | variables,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def code_lines(source: str) -> int:
    """Return the number of lines that are neither empty nor a comment nor part of a docstring."""
    tree = ast.parse(source)
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                left_out |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(re.match(r"\s*[^#\s]", line)) for number, line in lines if number not in left_out)


@each("job", [path.name for path in sorted(JOBS.glob("*.py"))])
def test_a_job_takes_at_most_25_lines_and_says_how_to_run_it(job: str) -> None:
    source = (JOBS / job).read_text()
    assert code_lines(source) <= 25
    assert "Run it" in (ast.get_docstring(ast.parse(source)) or "")


def test_the_nightly_job_writes_the_macs_at_risk_of_both_tokens() -> None:
    job = run("nightly.py")
    rows = list(csv.reader(job.stdout.splitlines()))
    assert (job.returncode, [row[0] for row in rows]) == (0, ["token_name", "emea", "emea"])
    assert rows[1][3] == "no rule and no default gives them a profile"
    assert "hq: 3 devices, 3 sent: 3 SUCCESS" in job.stderr


@each(("answer", "sent"), [("y", True), ("", False)])
def test_the_job_with_rules_sends_after_the_preview_and_a_yes(answer: str, sent: bool) -> None:
    job = run("rules.py", text=f"{answer}\n")
    assert job.returncode == 0, job.stderr
    assert "2 get 'Lab' (rule 'asset tag LAB-*'): they had no profile" in job.stdout
    assert ("5 sent: 5 SUCCESS" in job.stdout) == sent


def test_a_mac_with_an_older_macos_updates_and_enrolls() -> None:
    job = run("required_macos.py")
    assert "403 com.apple.softwareupdate.required" in job.stdout
    assert "now macOS 15.4" in job.stdout, job.stderr


def test_the_imported_profile_is_compared_with_ours(tmp_path: Path) -> None:
    job = run("intune_profile.py")
    assert "department                 IT -> Help desk" in job.stdout, job.stderr
    (tmp_path / "export.json").write_text('{"@odata.type": "#microsoft.graph.depIOSEnrollmentProfile"}')
    assert "a profile or policy for Macs" in run("intune_profile.py", str(tmp_path / "export.json")).stdout


def test_the_notebook_shows_the_plan_a_picture_and_the_devices() -> None:
    head, *cells = json.loads((JOBS / "plan_and_devices.ipynb").read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells]
    assert "Run it" in "".join(head["source"])
    assert code_lines("\n".join(code)) <= 25
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    names: dict[str, Any] = {}
    shown = []
    for source in code:
        *before, last = ast.parse(source).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(before, []), "notebook", "exec"), names)
        shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names)._repr_html_())
    names["world"].close()
    assert [re.findall("<table|<svg", one)[0] for one in shown[1:3]] == ["<table", "<svg"]
    assert shown[-1].count("Standard Mac") + shown[-1].count("assigned") >= 5


def test_twenty_tokens_are_synced_at_once() -> None:
    job = run("twenty_tokens.py")
    assert (job.returncode, job.stdout.count("full sync"), job.stdout.count("caught up")) == (0, 20, 20)


@pytest.mark.slow
def test_the_event_handler_passes_its_test() -> None:
    job = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "event_handler.py")
    assert (job.returncode, "1 passed" in job.stdout) == (0, True), job.stdout


@pytest.mark.slow
def test_the_own_store_passes_the_suite_for_stores() -> None:
    job = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "own_store.py")
    assert (job.returncode, bool(re.search(r"\d\d\d passed", job.stdout))) == (0, True), job.stdout


@pytest.mark.slow
def test_a_user_signs_in_and_the_mac_enrolls_with_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    monkeypatch.syspath_prepend(str(JOBS))
    import fastapi_sign_in as job  # type: ignore[import-not-found]

    mac = job.world.mac()
    assert anyio.run(mac.enroll_async, job.app).topic == job.mdm.topic
    (enrollment,) = job.world.store.enrollments()
    assert enrollment.user.upn == "ada@contoso.com"


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[str]:
    """A database of its own, since the job uses the default schemas."""
    psycopg = pytest.importorskip("psycopg")
    name = f"pyade_jobs_{uuid4().hex}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield psycopg.conninfo.make_conninfo(postgres_dsn, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
def test_two_workers_sync_and_assign_all_tokens(database: str) -> None:
    pytest.importorskip("procrastinate")
    fake = FakeApple()
    with PostgresStore(database) as store, fake.serve() as served:
        for number in range(4):
            server = fake.add_server(f"Site {number}")
            fake.add_devices(5, server=server)
            store.add_token(fake.token(server, name=f"site-{number}"))
            store.set_default_profile(f"site-{number}", PROFILE)
        variables = {
            "PYADE_STORE": database,
            "PYADE_BASE_URL": served.base_url,
            "PYTHONPATH": os.pathsep.join([str(JOBS), str(ROOT / "src")]),
        }
        command = ["-m", "procrastinate", "--app=queue_workers.app"]
        schema = run(*command, "schema", "--apply", **variables)
        assert schema.returncode == 0, schema.stderr
        workers = [
            subprocess.Popen(
                [sys.executable, *command, "worker"],
                env=os.environ | variables,
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            for _ in range(2)
        ]
        try:
            deadline = time.monotonic() + 150  # the tick runs once a minute
            while time.monotonic() < deadline and not _all_assigned(fake):
                assert all(worker.poll() is None for worker in workers)
                time.sleep(0.5)
            assert _all_assigned(fake)
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            endings: list[Any] = [worker.communicate(timeout=30)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], endings


def _all_assigned(fake: FakeApple) -> bool:
    return all(fake.device(serial)["profile_status"] == "assigned" for serial in fake.devices)
