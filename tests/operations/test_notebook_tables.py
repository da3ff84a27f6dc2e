"""What a notebook shows of the results of a day's work: small tables, and reprs of one line."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import attrs
import pytest
from tests.pictures import HOSTILE, check_text

from pyade import Assigner, EnrollmentProfile, SkipKeys, Syncer
from pyade.assignment import risks
from pyade.errors import ArgumentError
from pyade.operations import device_table, doctor, overview
from pyade.testing import demo

PROFILE = EnrollmentProfile(name="Standard <Mac>", url="https://mdm.contoso.example/enroll")


def rows_of(shown: str) -> list[list[str]]:
    """Return the cells of all rows of all tables."""
    cells = [
        ["".join(cell.itertext()) for cell in row] for row in ET.fromstring(shown).iter("tr") if len(row)
    ]
    return [row for row in cells if any(row)]


def test_reports_show_as_tables_with_their_numbers() -> None:
    with demo(60) as world:
        synced = Syncer(world.client, world.store).sync()
        assigner = Assigner(world.client, world.store)
        plan, report = assigner.preview(default=PROFILE), assigner.run(default=PROFILE)
        assert ["Added", "60"] in rows_of(synced._repr_html_())
        assert rows_of(plan._repr_html_())[1][:4] == [
            "60",
            "Standard <Mac>",
            "the token's default",
            "had no profile",
        ]
        assert ["60", "SUCCESS"] in rows_of(report._repr_html_())
        changed = PROFILE.diff(attrs.evolve(PROFILE, locked=True, skip={SkipKeys.SIRI}))
        assert ["locked", "no", "yes"] in [row[:3] for row in rows_of(changed._repr_html_())]
        settings = rows_of(PROFILE.plan("14.1")._repr_html_())
        whys = [row[3] for row in settings if row[2] != "effect"]
        assert whys == [row.why for row in PROFILE.plan("14.1").rows]
        assert ["Name", "Standard <Mac>"] in rows_of(PROFILE.review()._repr_html_())
        health = doctor(world.store)
        assert len(rows_of(health._repr_html_())) == 1 + len(health.problems)
        for one in (synced, plan, report, changed, health, *overview(world.store)):
            assert len(repr(one)) < 300


def test_the_overview_of_all_tokens_is_one_table() -> None:
    with demo(2) as world:
        Syncer(world.client, world.store).sync()
        world.store.add_token(attrs.evolve(world.token, name="lab"))
        shown = overview(world.store)
        assert isinstance(shown, tuple)
        found = rows_of(shown._repr_html_())  # type: ignore[attr-defined]
        assert [row[0] for row in found] == ["token", "hq", "lab"]
        assert found[1][4:6] == ["2", "2"]
        assert found[2][3] == "never"
        assert ["Devices", "2 devices (2 without a profile)"] in rows_of(shown[0]._repr_html_())


def test_a_table_of_devices_shows_the_first_fifty_and_counts_the_rest() -> None:
    with demo(60) as world:
        world.fake.edit_device(world.serials[0], asset_tag="<script>\x1b")
        Syncer(world.client, world.store).sync()
        table = device_table(world.store.devices("hq", serials=world.serials))
        assert (table.total, len(table.rows)) == (60, 50)
        assert table.heads == ("serial number", "model", "asset tag", "profile")
        found = rows_of(table._repr_html_())
        assert [row[0] for row in found[1:51]] == sorted(world.serials)[:50]
        assert found[51] == ["and 10 more"]
        check_text(str(table))
        assert str(table).splitlines()[-1] == "and 10 more"
        assert len(repr(table)) < 300
        at_risk = device_table(risks(world.store, "hq"))
        assert at_risk.total == 60
        assert at_risk.heads[-1] == "at risk because"
        Assigner(world.client, world.store).run(default=PROFILE)
        assert str(device_table(risks(world.store, "hq"))) == "0 devices"
        assert "0 devices" in device_table([])._repr_html_()


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(ArgumentError):
        device_table(HOSTILE)  # type: ignore[arg-type]
