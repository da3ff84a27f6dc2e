"""``pyade sync``, ``assign``, ``overview``, ``doctor`` and ``events``: results, JSON and exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import attrs
import pytest
from tests.cases import each
from tests.cli.conftest import Run
from tests.conftest import PostgresSchema

from pyade.storage import PostgresStore, SQLiteStore
from pyade.testing import FakeApple, Fault
from pyade.testing.store_examples import example_token


def test_a_sync_reports_each_token(run: Run, fleet: FakeApple) -> None:
    (report,) = run("sync", "--json").json["tokens"]
    assert (report["token_name"], report["added"]) == ("hq", 3)
    assert report["outcome"] == "caught up with Apple"
    assert "not synced" in run("sync", "hq", "--full").out
    assert "not synced" in run("sync", "--automatic").out


def test_a_sync_writes_the_reminders_of_tokens_that_expire_soon(
    run: Run, fleet: FakeApple, tmp_path: Path
) -> None:
    with SQLiteStore(tmp_path / "ade.db") as store:
        soon = datetime.now(UTC) + timedelta(days=6, hours=12)
        store.replace_token(attrs.evolve(store.token("hq"), access_token_expiry=soon))
    run("sync")
    run("sync")
    kinds = [json.loads(line)["kind"] for line in run("events", "--json").out.splitlines()]
    assert kinds.count("token_expiring") == 1


def test_a_full_list_and_only_the_changes_exclude_each_other(run: Run, fleet: FakeApple) -> None:
    assert "--full and --changes exclude each other" in run("sync", "--full", "--changes", code=2).err


@each(("typed", "meant"), [("asign", "assign"), ("tokens", "token"), ("profiles", "profile")])
def test_a_misspelled_command_gets_the_nearest_one(run: Run, typed: str, meant: str) -> None:
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in run(typed, code=2).err
    assert "Did you mean" not in run("xyz", code=2).err


def test_one_token_that_fails_stops_no_other(run: Run, fleet: FakeApple, tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(example_token("aa"))  # it expired
    done = run("sync", "--json", code=3)
    failed, report = done.json["tokens"]
    assert (failed["token_name"], failed["error"]) == ("aa", "TokenExpiredError")
    assert report["added"] == 3
    assert done.err.startswith("pyade: aa: ")
    assert len(done.err.splitlines()) == 1


def terms(fleet: FakeApple) -> None:
    fleet.faults.change_terms()


def unreachable(fleet: FakeApple) -> None:
    fleet.script("*", Fault.server_error(500), forever=True)


@pytest.mark.parametrize("fault", [terms, unreachable])
def test_what_apple_refuses_has_an_exit_code_of_its_own(
    fault: Callable[[FakeApple], None], run: Run, fleet: FakeApple
) -> None:
    fault(fleet)
    done = run("sync", code=3)
    assert (done.out, len(done.err.splitlines())) == ("", 1)
    report = run("doctor", "--json", code=1).json
    assert not report["is_healthy"]


def test_an_address_that_cannot_be_used_is_wrong_usage(run: Run, fleet: FakeApple) -> None:
    assert "http or https" in run("sync", "--base-url", "nonsense", code=2).err
    assert "Connection refused" in run("sync", "--base-url", "http://127.0.0.1:1", code=3).err


def test_a_profile_is_previewed_and_then_assigned(run: Run, fleet: FakeApple, tmp_path: Path) -> None:
    assert "(run pyade sync first)" in run("assign", "--profile", "profile.json", "--preview").out
    run("sync")
    plan = run("assign", "--profile", "profile.json", "--preview", "--json").json["tokens"][0]
    (group,) = plan["groups"]
    assert (plan["due"], len(group["serials"]), group["profile"]) == (3, 3, "Standard Mac")
    assert fleet.counts["POST /profile"] == 0
    without = run("assign", code=1)
    assert (without.err, "gives one (give --profile FILE)" in without.out) == ("", True)
    report = run("assign", "--profile", "profile.json", "--json").json["tokens"][0]
    assert (report["counts"], report["is_complete"]) == ({"SUCCESS": 3}, True)
    assert "3 have it already" in run("assign").out
    assert "devices, 0 to send" in run("assign", "--preview").out


def test_a_device_that_apple_does_not_accept_fails_the_assignment(run: Run, fleet: FakeApple) -> None:
    run("sync")
    fleet.faults.device_result([next(iter(fleet.devices))], "FAILED")
    assert "1 FAILED" in run("assign", "--profile", "profile.json", code=1).out


def test_a_refused_assignment_shows_its_report(run: Run, fleet: FakeApple) -> None:
    run("sync")
    fleet.script("POST /profile", Fault.refused("CONFIG_URL_INVALID", 400), forever=True)
    done = run("assign", "--profile", "profile.json", "--json", code=3)
    (failed,) = done.json["tokens"]
    assert failed["error"] == "InvalidRequestError"
    assert failed["report"]["total"] == 3


def test_the_overview_and_the_doctor_say_what_to_do_on_the_command_line(run: Run, fleet: FakeApple) -> None:
    run("sync")
    shown = run("doctor", "--offline", code=1).out
    assert "pyade assign --profile FILE" in shown
    assert "give --push FILE" in shown
    problems = run("doctor", "--offline", "--json", code=1).json["problems"]
    assert "give --push FILE" in {one["fix"] for one in problems}
    overview = run("overview", "--json").json["tokens"][0]
    assert (overview["total"], overview["at_risk"]) == (3, 3)
    assert "At risk" in run("overview").out


def test_the_doctor_looks_for_the_serial_numbers_of_a_purchase(
    run: Run, fleet: FakeApple, tmp_path: Path
) -> None:
    run("sync")
    known = next(iter(fleet.devices))
    (tmp_path / "bought.txt").write_text(f"# order 17\n{known}\nC02MISSING01\n")
    shown = run("doctor", "--offline", "--serials", "bought.txt", code=1).out
    assert "C02MISSING01" in shown
    for name, data in (("empty.pem", b""), ("text.pem", b"hello")):
        (tmp_path / name).write_bytes(data)
        assert run("doctor", "--push", name, code=2).err.startswith(f"pyade: {name}")


def test_events_continue_after_an_id_and_can_be_those_of_one_token(run: Run, fleet: FakeApple) -> None:
    run("sync")
    lines = run("events", "--json").out.splitlines()
    events = [json.loads(line) for line in lines]
    assert [set(one) for one in events] == [
        {"id", "kind", "token_name", "serial_number", "at", "details"}
    ] * 3
    assert run("events", "--json", "--after", events[0]["id"]).out.splitlines() == lines[1:]
    assert len(run("events", "--token", "hq").out.splitlines()) == 3
    old = run("events", "--token", "gone")
    assert (old.out, old.err) == (
        "",
        "pyade: no token 'gone' is stored, only old events may have it; there are 'hq'\n",
    )
    assert "pyade events printed" in run("events", "--after", "x", code=1).err


def test_an_event_cannot_forge_a_line(run: Run, tmp_path: Path) -> None:
    from pyade.core.fleet.events import EventKind

    with SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(example_token())
        details = {"reason": "all well\nhq  released  C02X \x1b[2J"}
        store.add_event("hq", EventKind.TOKEN_SUSPENDED, now=datetime.now(UTC), details=details)
    shown = run("events").out
    assert len(shown.splitlines()) == 1
    assert "\x1b" not in shown


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal(run: Run, fleet: FakeApple, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(contextlib, "redirect_stderr", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(sys, "stderr", terminal)
    run("sync")
    assert "\rhq: sync" in terminal.getvalue()


@pytest.mark.parametrize("is_verbose", [False, True])
def test_progress_elsewhere_is_for_the_log_alone(run: Run, fleet: FakeApple, is_verbose: bool) -> None:
    shown = run("sync", *["--verbose"] * is_verbose).err.splitlines()
    assert ("hq: fetch, 3 devices in 1 request" in shown) is is_verbose


@each(
    ("store", "words"),
    [
        ("", "no store is named"),
        (".", "is no file"),
        (":memory:", "is no file"),
        ("nope.db", "there is no store nope.db"),
        ("mysql://host/db", "begins with postgresql://"),
        ("postgresql://it:secret@host/db", "--store has a password"),
        ("postgresql://host/db?password=secret", "--store has a password"),
    ],
)
def test_a_store_that_cannot_be_used_is_wrong_usage(
    store: str, words: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYADE_STORE", raising=False)
    done = run("overview", "--store", store, code=2)
    assert words in done.err
    assert "secret" not in done.err
    assert len(done.err.splitlines()) == 1


def test_a_file_that_is_no_store_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ade.db").write_text("my notes")
    assert "not a SQLite file" in run("token", "new", "hq", "--consent", code=1).err
    assert (tmp_path / "ade.db").read_text() == "my notes"


def test_a_store_in_postgresql_is_named_by_its_dsn(
    run: Run, fleet: FakeApple, postgres: PostgresSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    conninfo = pytest.importorskip("psycopg.conninfo")
    dsn = f"postgresql://?{urlencode(conninfo.conninfo_to_dict(postgres.dsn))}"
    with PostgresStore(dsn, schema=postgres.schema) as store:
        store.add_token(fleet.token(name="hq"))
    monkeypatch.setenv("PYADE_STORE", dsn)
    monkeypatch.setenv("PYADE_STORE_SCHEMA", postgres.schema)
    assert "3 added" in run("sync").out
    assert run("overview", "--json").json["tokens"][0]["total"] == 3
    assert len(run("events").out.splitlines()) == 3
    unreachable = run("overview", "--store", "postgresql://it@127.0.0.1:1/ade", code=1)
    assert "Connection refused" in unreachable.err
