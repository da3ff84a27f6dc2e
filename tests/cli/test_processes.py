"""The command line as a person or a job runs it: processes, signals, pipes, locales."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cases import UNFRIENDLY, each
from tests.cli.conftest import Shell, clean

from pyade.storage import SQLiteStore
from pyade.testing import FakeApple, Fault
from pyade.testing.store_examples import commit, example_device, example_token


@pytest.mark.slow  # ten processes; each command has tests in this process, too
def test_from_nothing_to_a_synced_and_assigned_fleet(shell: Shell) -> None:
    with shell.fake("--devices", "3") as served:
        begun = shell("token", "new", "hq", "--consent", "--scope-tag", "emea")
        assert "Step 2 of 5" in begun.out
        assert (shell.folder / "hq.pem").read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
        shell("fake", "token", "hq.pem", "hq.p7m", "--portal", served["portal_url"])
        uploaded = shell("token", "upload", "hq", "hq.p7m", "--apple-id", "it@contoso.com")
        assert "3 added" in uploaded.out
        assert "not synced" in shell("sync").out  # the upload synced it
        previewed = shell("assign", "--profile", "profile.json", "--preview", "--json").json
        (planned,) = previewed["tokens"][0]["groups"]
        assert sorted(planned["serials"]) == served["serial_numbers"]
        assert "3 SUCCESS" in shell("assign", "--profile", "profile.json").out
        (token,) = shell("overview", "--json").json["tokens"]
        assert (token["devices"], token["default_profile"]) == ({"assigned": 3}, "Standard Mac")
        lines = shell("events", "--json").out.splitlines()
        assert [json.loads(line)["kind"] for line in lines] == ["added"] * 3 + ["assigned"] * 3
        assert shell("doctor", "--json").json["is_healthy"] is True


@each("environment", UNFRIENDLY)
def test_it_runs_without_docstrings_in_the_c_locale_and_behind_a_proxy(
    environment: dict[str, str], tmp_path: Path
) -> None:
    shell = Shell(tmp_path)
    fake = FakeApple()
    fake.add_devices(2, server=fake.add_server("Main"), asset_tag="für Zoë …")
    store = str(tmp_path / f"{next(iter(environment))}.db")
    with SQLiteStore(store) as opened, fake.serve() as served:
        opened.add_token(fake.token(name="Zoë …"))
        shell.env = {**environment, "PYADE_STORE": store, "PYADE_BASE_URL": served.base_url}
        done = shell("sync", options=("-OO",))
        assert (done.err, "2 added" in done.out) == ("", True)


@pytest.mark.slow
def test_help_needs_no_docstrings(shell: Shell) -> None:
    shown = shell("--help", options=("-OO",)).out
    assert "Check everything that Macs need." in shown
    assert "..." not in shown.partition("Commands:")[2]


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly(shell: Shell) -> None:
    with SQLiteStore(shell.folder / "ade.db") as store:
        store.add_token(example_token())
        commit(store, *(example_device(serial_number=f"C02{number:09}") for number in range(4000)))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "pyade", "events"]
    done = subprocess.run(
        command,
        cwd=shell.folder,
        env={**clean(), **shell.env},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_stopped_sync_keeps_its_pages_and_says_so(shell: Shell, number: signal.Signals, code: int) -> None:
    fake = FakeApple()
    fake.settings.page_maximum = 100
    fake.add_devices(300, server=fake.add_server("Main"))
    with SQLiteStore(shell.folder / "ade.db") as store, fake.serve(real_delays=True) as served:
        store.add_token(fake.token(name="hq"))
        shell.env["PYADE_BASE_URL"] = served.base_url
        fake.script("POST /server/devices", None, Fault.slow(60), forever=True)
        with shell.started("sync", "--verbose") as process:
            assert process.stderr is not None
            while "100 devices" not in process.stderr.readline():
                pass
            process.send_signal(number)
            assert process.wait(30) == code
            assert process.stderr.read().splitlines()[-1] == (
                "pyade: stopped: what was committed stays, run it again to continue"
            )
        assert sum(store.count_devices("hq").values()) >= 100
        assert store.held_lease("hq") is None


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_following_events_prints_new_ones_and_ends_clean(shell: Shell, number: signal.Signals) -> None:
    with SQLiteStore(shell.folder / "ade.db") as store:
        store.add_token(example_token())
        with shell.started("events", "--follow", "--json", "--interval", "0.1") as process:
            assert process.stdout is not None
            commit(store, example_device())
            assert json.loads(process.stdout.readline())["kind"] == "added"
            process.send_signal(number)
            assert (process.wait(20), process.communicate()[1]) == (0, "")


def test_without_click_one_line_says_what_to_install(tmp_path: Path) -> None:
    """``-S`` leaves the installed packages out; pyade itself is found."""
    import pyade

    source = str(Path(pyade.__file__).parents[1])
    for program in ("runpy.run_module('pyade', run_name='__main__')", "sys.exit(pyade.cli.main())"):
        code = f"import sys, runpy; sys.path.insert(0, {source!r}); import pyade, pyade.cli; {program}"
        done = subprocess.run(
            [sys.executable, "-S", "-c", code], cwd=tmp_path, env=clean(), capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.splitlines() == [
            b"pyade: the command line needs click: install it from a checkout with pip install -e '.[cli]'"
        ]


def test_importing_pyade_or_the_entry_point_loads_no_click() -> None:
    heavy = "[one for one in ('click', 'attrs', 'httpx') if one in sys.modules]"
    program = f"import sys, pyade, pyade.cli; print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
