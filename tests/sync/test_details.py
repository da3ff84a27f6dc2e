"""Details decide between two operations of one second, and restore a device."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from pyade.errors import TermsError
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

DETAILS = "POST /devices"


def test_details_decide_between_two_changes_in_one_second(world: World) -> None:
    """Here the change that arrives later is not the valid one."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.later(minutes=20)
    world.apple.edit_device(serial, asset_tag="NEW")
    world.apple.announce(serial, op_type="modified", op_date=world.clock(), asset_tag="OLD")
    report = world.sync()
    assert (report.is_complete, world.requests(DETAILS)) == (True, 1)
    assert world.record(serial).device.asset_tag == "NEW"
    assert report.notes == ("1 device with changes in doubt: details were read",)
    assert not world.state.ties
    world.later(minutes=20).sync()
    assert world.requests(DETAILS) == 1


def test_a_tie_is_found_across_pages_and_runs(world: World) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    at = world.later(minutes=20).clock()
    world.apple.edit_device(serial, asset_tag="NEW")
    world.sync()
    assert world.requests(DETAILS) == 0
    world.apple.announce(serial, op_type="modified", op_date=at, asset_tag="OLD")
    world.later(minutes=20).sync()
    assert world.requests(DETAILS) == 1
    assert world.record(serial).device.asset_tag == "NEW"


def test_deletion_and_addition_in_one_second_end_in_apples_state(world: World) -> None:
    """Whichever of the two arrives later."""
    here, gone = world.apple.add_devices(2, server="hq")
    world.sync()
    world.later(minutes=20)
    world.apple.edit_device(here, asset_tag="1")
    world.apple.announce(here, op_type="deleted", op_date=world.clock())
    world.apple.unassign([gone])
    world.apple.announce(gone, op_type="added", op_date=world.clock())
    world.sync()
    assert world.listed() == world.at_apple()
    assert world.listed().keys() == {here}
    assert world.record(gone).is_released


def test_repeated_operation_is_no_tie(world: World) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.later(minutes=20)
    world.apple.edit_device(serial, asset_tag="NEW")
    world.sync()
    world.apple.faults.repeat_records([serial], "hq")
    world.later(minutes=20).sync()
    assert world.requests(DETAILS) == 0


def test_device_missing_from_the_details_is_released_only_after_a_deletion(world: World) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.later(minutes=20)
    for tag in ("1", "2"):
        world.apple.announce(serial, op_type="modified", op_date=world.clock(), asset_tag=tag)
    hidden = {serial: {"response_status": "NOT_ACCESSIBLE"}}
    world.apple.script(DETAILS, Fault.answered(json={"devices": hidden}))
    world.sync()
    assert not world.record(serial).is_released
    assert world.record(serial).device.asset_tag == "2"


def test_thousand_ties_are_settled_by_one_request(world: World) -> None:
    serials = world.apple.add_devices(1_200, server="hq")
    world.sync()
    world.later(minutes=20)
    for serial in serials:
        world.apple.edit_device(serial, asset_tag="NEW")
        world.apple.announce(serial, op_type="modified", op_date=world.clock(), asset_tag="OLD")
    world.sync()
    assert world.requests(DETAILS) == 2
    assert {record.device.asset_tag for record in world.store.devices("hq")} == {"NEW"}


def test_unsettled_tie_is_settled_by_the_next_run(world: World) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.later(minutes=20)
    world.apple.edit_device(serial, asset_tag="NEW")
    world.apple.announce(serial, op_type="modified", op_date=world.clock(), asset_tag="OLD")
    world.apple.script(DETAILS, Fault.refused("T_C_NOT_SIGNED"))
    with pytest.raises(TermsError):
        world.sync()
    assert world.state.ties == {serial: False}
    assert world.later(minutes=15).sync().is_complete
    assert world.record(serial).device.asset_tag == "NEW"


@pytest.mark.twins
def test_restore_brings_back_a_hidden_device(world: World) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.store.delete_device("hq", serial, now=world.clock())
    world.later(minutes=20)
    world.apple.edit_device(serial, asset_tag="NEW")
    world.apple.announce(serial, op_type="modified", op_date=world.clock(), asset_tag="OLD")
    world.sync()
    assert world.listed() == {}
    record = world.restore(serial)
    assert record is not None
    assert (record.serial_number, record.device.asset_tag) == (serial, "NEW")
    assert world.listed() == world.at_apple()


def test_device_unknown_to_apple_is_not_restored(world: World) -> None:
    assert world.restore("UNKNOWN") is None
    assert world.store.device("hq", "UNKNOWN") is None


def test_log_names_the_token_and_counts_but_no_device(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Serial numbers are logged at DEBUG only, secrets never."""
    (serial,) = world.apple.add_devices(1, server="hq")
    with caplog.at_level(logging.DEBUG, logger="pyade.sync"):
        world.sync()
        world.later(minutes=20)
        world.apple.script("POST /devices/sync", Fault.refused("T_C_NOT_SIGNED"))
        with pytest.raises(TermsError):
            world.sync()
    entries = [entry for entry in caplog.records if entry.name.startswith("pyade.sync.")]
    info = [entry.getMessage() for entry in entries if entry.levelno >= logging.INFO]
    debug = [entry.getMessage() for entry in entries if entry.levelno == logging.DEBUG]
    assert info == [
        "hq: full sync begins: the first sync is a full one",
        "hq: fetch, 1 device in 1 request",
        "hq: sync, 1 device in 2 requests",
        "hq: 2 pages with 1 record: caught up with Apple",
        "hq: delta sync begins: changes since the cursor",
        "hq: TermsError after 0 pages",
        f"hq: suspended, an administrator must act: {world.store.sync_state('hq').suspended}",
    ]
    assert f"hq: {serial}" in debug
    secrets = (world.token.consumer_secret, world.token.access_token, world.token.access_secret)
    assert not any(secret.reveal() in line for line in info + debug for secret in secrets)
