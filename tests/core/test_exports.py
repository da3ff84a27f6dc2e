"""Rows and reports become plain values: the same keys for every instance, for tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each
from tests.core.fleet.test_device import RECORD
from tests.test_text import CLASSES, PROFILE, filled
from tests.worlds import World, make_world

from pyade.assignment import DeviceAtRisk, risks
from pyade.core import (
    Device,
    DeviceRecord,
    DeviceResult,
    Event,
    EventKind,
    Exportable,
    Risk,
    Secret,
    write_csv,
)
from pyade.core.fleet.outcomes import Attempt
from pyade.errors import AppleError, ArgumentError
from pyade.operations import doctor, overview
from pyade.storage import MemoryStore
from pyade.sync import DeviceActions

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BY_HAND = (Exportable, Device, DeviceRecord, DeviceAtRisk)
KINDS = [one for one in CLASSES if issubclass(one, Exportable) and one not in BY_HAND]
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12)
DEVICES = st.fixed_dictionaries(
    {"serial_number": TEXTS.filter(str.strip)},
    optional={
        **dict.fromkeys(("model", "color", "asset_tag", "description", "device_assigned_by", "eid"), TEXTS),
        "profile_status": st.sampled_from(["empty", "assigned", "pushed", "removed", "new at Apple"]),
        "imei": st.lists(TEXTS, max_size=2),
        "is_replacement_device": st.booleans(),
        "profile_assign_time": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
        "new key": st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9), max_size=2),
    },
).map(Device.from_apple)


def record_of(device: Device, *, attempt: Attempt | None = None) -> DeviceRecord:
    return DeviceRecord(token_name="hq", device=device, first_seen_at=NOON, updated_at=NOON, attempt=attempt)


def is_plain(value: Any) -> bool:
    """Return True for a value as ``json.loads`` makes it, or a list or dict that ``str`` shows as JSON."""
    if isinstance(value, dict):
        return json.loads(str(value)) == value and all(map(is_plain, [*value, *value.values()]))
    if isinstance(value, list):
        return json.loads(str(value)) == value and all(map(is_plain, value))
    return type(value) in (str, int, float, bool, type(None))


def test_the_classes_that_people_want_as_rows_are_exportable() -> None:
    names = "AssignReport AssignmentPlan DeletionReport Event FleetDay FleetHistory HealthReport PlanRow "
    names += "PlannedDevice PlannedGroup PreviewRow Problem ProfileDiff ProfilePlan ProfilePreview "
    names += "ProfileReview RefreshReport ReviewRow SettingChange SyncReport Timeline TimelineDay "
    names += "TimelineEntry TokenOverview TokenState"
    assert {one.__name__ for one in KINDS} == set(names.split())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_row_and_report_is_plain_and_has_the_same_keys(kind: type[Exportable]) -> None:
    whole = filled(kind, "text \x1b\u202e")
    optional = {field.name for field in attrs.fields(type(whole)) if "None" in str(field.type)}
    for one in (whole, attrs.evolve(whole, **dict.fromkeys(optional))):
        found = one.to_dict()
        assert tuple(found) == kind.columns()
        assert all(map(is_plain, found.values()))
        assert json.loads(json.dumps(found, allow_nan=False)) == found


@given(st.lists(DEVICES, min_size=1, max_size=4))
def test_devices_survive_csv_and_json(devices: list[Device]) -> None:
    records = [record_of(device) for device in devices]
    for kind, rows in ((Device, devices), (DeviceRecord, records)):
        found = [row.to_dict() for row in rows]
        assert {tuple(one) for one in found} == {kind.columns()}
        assert json.loads(json.dumps(found)) == found
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, kind.columns())
        writer.writeheader()
        writer.writerows(found)
        file.seek(0)
        for read, one in zip(csv.DictReader(file), found, strict=True):
            assert read == {name: "" if value is None else str(value) for name, value in one.items()}
            assert json.loads(read["extra"]) == one["extra"]


@given(st.lists(st.fixed_dictionaries({"a": TEXTS, "b": TEXTS}), min_size=1, max_size=4))
def test_written_csv_reads_back_with_an_apostrophe_before_each_formula(rows: list[dict[str, str]]) -> None:
    file = io.StringIO(newline="")
    assert write_csv(rows, file) == len(rows)
    file.seek(0)
    for read, row in zip(csv.DictReader(file), rows, strict=True):
        for name, text in row.items():
            assert read[name].removeprefix("'") == text.removeprefix("'")
            assert read[name][0] not in "=+-@\uff1d\uff0b\uff0d\uff20"


@each(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("+1 555", "'+1 555"),
        ("-1", "'-1"),
        ("\t=1", "'\t=1"),
        ("\r\n=1", "'\r\n=1"),
        ("\uff1d1", "'\uff1d1"),
        ("C02\ud800", r"C02\ud800"),
        ("1=1", "1=1"),
        ("'", "'"),
        ("", ""),
        (-1, "-1"),
        (None, ""),
        (True, "True"),
    ],
)
def test_only_a_text_that_a_spreadsheet_would_run_is_changed(text: object, cell: str) -> None:
    file = io.StringIO(newline="")
    write_csv([{text if isinstance(text, str) else "name": text}], file)
    file.seek(0)
    header, (read,) = csv.reader(file)
    assert read == cell
    assert not isinstance(text, str) or header == [cell]


def test_columns_are_chosen_and_stand_there_without_rows() -> None:
    file = io.StringIO(newline="")
    assert write_csv([], file) == 0
    assert not file.getvalue()
    assert write_csv([], file, columns=["serial_number", "asset_tag"]) == 0
    device = Device(serial_number="C02A", asset_tag="=HYPERLINK()", color="SILVER")
    assert write_csv(iter([record_of(device)]), file, columns=["asset_tag", "serial_number", "other"]) == 1
    assert file.getvalue().split("\r\n") == [
        "serial_number,asset_tag",
        "asset_tag,serial_number,other",
        "'=HYPERLINK(),C02A,",
        "",
    ]


def test_what_is_no_row_is_refused_before_it_is_written() -> None:
    with pytest.raises(ArgumentError, match="rows is a list with a text: a list of Exportable objects or "):
        write_csv(["C02A"], io.StringIO())  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match="file is a text: a TextFile is allowed"):
        write_csv([], "macs.csv")  # type: ignore[arg-type]


def test_a_device_record_is_one_flat_row() -> None:
    attempt = Attempt(profile_uuid="UUID", result=DeviceResult.THROTTLED, attempted_at=NOON)
    row = record_of(Device.from_apple({**RECORD, "new key": ["é"]}), attempt=attempt).to_dict()
    assert row["token_name"] == "hq"
    assert row["serial_number"] == "C02ABCDEFGH1"
    assert row["profile_assign_time"] == "2024-03-01T10:00:00Z"
    assert row["first_seen_at"] == row["attempted_at"] == "2026-03-01T12:00:00Z"
    assert row["attempt_result"] == "THROTTLED"
    assert (row["imei"], str(row["imei"])) == (
        ["350000000000001", "350000000000002"],
        '["350000000000001", "350000000000002"]',
    )
    assert str(row["extra"]) == '{"new key": ["é"]}'
    assert "op_type" not in row  # it is only in Apple's responses
    assert row["op_date"] is None


def test_durations_dates_zones_sets_and_errors_have_plain_values() -> None:
    details: dict[str, Any] = {
        "day": date(2026, 3, 1),
        "wait": timedelta(minutes=1.5),
        "zone": NOON.astimezone(timezone(timedelta(hours=2))),
        "set": {"b", "a"},
        "error": AppleError("sync", 403, "T_C_NOT_SIGNED"),
    }
    found = Event(id="1.0", kind=EventKind.ADDED, token_name="hq", at=NOON, details=details).to_dict()
    assert found["details"] == {
        "day": "2026-03-01",
        "wait": 90.0,
        "zone": "2026-03-01T12:00:00Z",
        "set": ["a", "b"],
        "error": {"error": "AppleError", "text": "sync: 403 T_C_NOT_SIGNED"},
    }


@each("secret", [Secret("hunter2"), b"hunter2", bytearray(b"hunter2"), object()])
def test_a_secret_is_never_exported(secret: Any) -> None:
    event = Event(id="1.0", kind=EventKind.ADDED, token_name="hq", at=NOON, details={"x": secret})
    with pytest.raises(TypeError, match="has no plain value") as caught:
        event.to_dict()
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def worked() -> World:
    """Return a world that synced five Macs and assigned a profile to two of them."""
    world = make_world("sync", lambda clock: MemoryStore(clock=clock))
    serials = world.fleet(5, asset_tag="=1+1")
    world.assign(PROFILE, serials[:2])
    return world


def test_reports_of_real_runs_are_json_without_a_secret(worked: World) -> None:
    token, gone = worked.token, next(worked.store.devices("hq"))
    with worked.client() as client:
        reports: list[Exportable] = [
            worked.later(minutes=15).sync(),
            worked.run(PROFILE),
            DeviceActions(client, worked.store, clock=worked.clock).delete([gone.serial_number]),
        ]
    reports += overview(worked.store, now=worked.clock())
    reports += [doctor(worked.store, clock=worked.clock), PROFILE.plan("14.1"), PROFILE.review()]
    text = json.dumps([one.to_dict() for one in reports])
    for secret in (token.consumer_secret, token.access_token, token.access_secret):
        assert secret.reveal() not in text
    found = json.loads(text)
    assert found[0]["unchanged"] == 2
    assert found[1]["counts"] == {"SUCCESS": 3}
    assert found[1]["plan"]["groups"][0]["profile"] == PROFILE.name


def test_risks_are_pairs_and_rows(worked: World) -> None:
    found = list(risks(worked.store, "hq"))
    record, risk = found[0]
    assert isinstance(risk, Risk)
    assert found[0].to_dict() == {**record.to_dict(), "risk": str(risk)}
    assert tuple(found[0].to_dict()) == DeviceAtRisk.columns()
    file = io.StringIO(newline="")
    assert write_csv(risks(worked.store, "hq"), file, columns=["serial_number", "asset_tag", "risk"]) == 3
    assert file.getvalue().splitlines()[1] == f"{record.serial_number},'=1+1,{risk}"
    assert json.dumps([one.to_dict() for one in worked.store.events()])


@pytest.mark.slow
def test_pandas_takes_rows_as_the_page_shows(worked: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text("utf-8")
    (block,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"store": worked.store}
    exec(block, names)
    macs = names["macs"]
    assert tuple(macs.columns) == DeviceRecord.columns()
    assert list(macs["serial_number"]) == [record.serial_number for record in worked.store.devices("hq")]
    assert list(macs["first_seen_at"]) == [record.first_seen_at for record in worked.store.devices("hq")]
    pandas = names["pandas"]
    assert len(pandas.DataFrame(one.to_dict() for one in risks(worked.store, "hq"))) == 3
    assert len(pandas.DataFrame(one.to_dict() for one in worked.store.events())) > 0
    assert list(pandas.DataFrame([], columns=DeviceRecord.columns()).columns) == list(DeviceRecord.columns())
