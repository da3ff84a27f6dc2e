"""The log of a token's whole life names the token and counts: no secrets, serial numbers at DEBUG only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import pytest

from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PyadeError
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

FETCH, SYNC, ASSIGN = "POST /server/devices", "POST /devices/sync", "POST /profile/devices"
KIOSK = EnrollmentProfile(name="Kiosk", url="https://mdm.contoso.example/kiosk")


def run_whole_life(world: World, profile: EnrollmentProfile) -> Iterator[object]:
    """Sync and assign through all kinds of events, and yield the reports and errors."""
    apple = world.apple
    world.page_size(3)
    serials = apple.add_devices(10, server="hq")
    yield world.sync()
    apple.faults.device_result(serials[:1], "FAILED")
    apple.faults.device_result(serials[1:2], "NOT_ACCESSIBLE")
    apple.faults.device_result(serials[2:3], "THROTTLED")
    apple.script(ASSIGN, Fault.rate_limited(5), Fault.dropped(effect=False))
    yield world.run(profile)
    yield world.assign(KIOSK, serials[3:5])
    yield world.unassign(serials[4:6])
    world.later(minutes=20)
    apple.unassign(serials[6:7])
    apple.edit_device(serials[7], asset_tag="NEW")
    apple.announce(serials[7], op_type="modified", op_date=world.clock(), asset_tag="OLD")
    apple.script(SYNC, Fault.server_error(), Fault.html())
    yield world.sync()
    apple.faults.expire_cursors("hq")
    yield world.later(hours=1).sync()
    apple.server("hq").profiles.clear()
    yield world.later(days=2).run()
    apple.unassign(serials[8:9], announce=False)
    page = {"devices": [{"model": "no serial number"}], "cursor": "x", "more_to_follow": True}
    apple.script(SYNC, Fault.answered(json=page))
    yield world.sync()
    world.later(days=7)
    for endpoint, fault in (
        (FETCH, Fault.refused("T_C_NOT_SIGNED")),
        (FETCH, Fault.answered(body=msgspec.json.encode({"devices": serials}))),
        ("GET /session", Fault.refused("ACCESS_DENIED")),
        (ASSIGN, Fault.answered(json={"devices": list(serials)})),
    ):
        apple.script(endpoint, fault)
        world.later(minutes=20)
        try:
            yield world.sync(full=True)
            yield world.run(KIOSK)
        except PyadeError as error:
            yield error
    yield world.later(days=31).sync(full=True)


def test_log_of_a_whole_life_shows_no_serial_numbers_and_no_secrets(
    world: World, profile: EnrollmentProfile, caplog: pytest.LogCaptureFixture
) -> None:
    """Checks all loggers, and the texts of reports and errors."""
    caplog.set_level(logging.DEBUG)
    outcomes = list(run_whole_life(world, profile))
    assert [isinstance(outcome, PyadeError) for outcome in outcomes].count(True) == 3
    said = [f"{outcome} {getattr(outcome, '__notes__', '')}" for outcome in outcomes]
    above = [entry.getMessage() for entry in caplog.records if entry.levelno > logging.DEBUG]
    below = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.DEBUG]
    assert len(above) > 50
    assert all(line.startswith("hq: ") for line in (e.getMessage() for e in of(caplog, "pyade.sync")))
    serials = set(world.apple.devices)
    assert not [line for line in (*above, *said) if any(serial in line for serial in serials)]
    assert any(serial in line for line in below for serial in serials)
    token, sessions = world.token, world.apple._sessions._sessions
    own = (token.consumer_secret, token.access_token, token.access_secret)
    secrets = (*(secret.reveal() for secret in own), *sessions)
    assert len(secrets) > 5
    assert not [line for line in (*above, *below, *said) if any(secret in line for secret in secrets)]


def of(caplog: pytest.LogCaptureFixture, name: str) -> list[logging.LogRecord]:
    return [entry for entry in caplog.records if entry.name.startswith(f"{name}.")]
