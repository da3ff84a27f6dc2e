"""``pyade devices``: text, CSV and JSON of the Macs in the store."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.cases import each
from tests.cli.conftest import Run

from pyade.assignment import DeviceAtRisk
from pyade.core.fleet.device import Device, OpType
from pyade.storage import SQLiteStore
from pyade.testing import FakeApple
from pyade.testing.store_examples import commit


def test_each_mac_is_a_line_with_its_status_and_token(run: Run, fleet: FakeApple) -> None:
    assert run("devices").out == ""
    run("sync")
    lines = run("devices").out.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(fleet.devices)
    assert all(line.split()[-2:] == ["empty", "hq"] for line in lines)


def test_macs_at_risk_have_the_reason_in_every_form(run: Run, fleet: FakeApple) -> None:
    run("sync")
    reason = "no rule and no default gives them a profile"
    assert run("devices", "--at-risk").out.count(reason) == 3
    rows = list(csv.DictReader(run("devices", "--at-risk", "--csv").out.splitlines()))
    assert list(rows[0]) == list(DeviceAtRisk.columns())
    assert {(row["token_name"], row["risk"]) for row in rows} == {("hq", reason)}
    assert [one["risk"] for one in run("devices", "--at-risk", "--json").json["devices"]] == [reason] * 3


def test_released_macs_are_listed_on_request(run: Run, fleet: FakeApple, tmp_path: Path) -> None:
    run("sync")
    (serial, *others) = sorted(fleet.devices)
    with SQLiteStore(tmp_path / "ade.db") as store:
        commit(store, Device(serial_number=serial, op_type=OpType.DELETED), name="hq")
    assert [line.split()[0] for line in run("devices", "hq").out.splitlines()] == others
    assert run("devices", "--released", "--json").json["devices"][0]["serial_number"] == serial


def test_no_mac_is_an_empty_list_and_a_header(run: Run, fleet: FakeApple) -> None:
    assert run("devices", "--json").json == {"devices": []}
    assert run("devices", "--csv").out.startswith("token_name,")


def test_text_from_apple_moves_no_cursor_and_runs_no_formula(run: Run, fleet: FakeApple) -> None:
    fleet.edit_device(min(fleet.devices), asset_tag="=1+1\x1b[2J")
    run("sync")
    assert "\x1b" not in run("devices").out
    tags = [one["asset_tag"] for one in run("devices", "--json").json["devices"]]
    assert "=1+1\x1b[2J" in tags
    assert "'=1+1" in run("devices", "--csv").out


@each("options", [["--at-risk", "--released"], ["--csv", "--json"]])
def test_options_that_exclude_each_other_are_refused(run: Run, fleet: FakeApple, options: list[str]) -> None:
    assert "exclude each other" in run("devices", *options, code=2).err
    assert "there is no token 'nope'" in run("devices", "nope", code=2).err
