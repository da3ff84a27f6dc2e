"""Devices are set up, erased and replaced; all sync faults in every combination."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import httpx
import pytest

from pyade.testing import FakeApple, Fault, FrozenClock, PortalError, Server

Send = Callable[..., httpx.Response]
Pages = Callable[..., list[dict[str, Any]]]
Define = Callable[..., str]


def records(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [device for page in pages for device in page["devices"]]


@pytest.fixture
def device_with_profile(
    apple: FakeApple, server: Server, define: Define, call: Send
) -> Callable[[], tuple[str, str]]:
    """Return a new device of the server that was given a profile, and the profile's id."""

    def new_device() -> tuple[str, str]:
        (serial,) = apple.add_devices(server=server)
        uuid = define(department="IT")
        answer = call("POST", "/profile/devices", {"profile_uuid": uuid, "devices": [serial]})
        assert answer.json()["devices"] == {serial: "SUCCESS"}
        return serial, uuid

    return new_device


def test_assigning_to_the_same_server_again_removes_the_profile(
    apple: FakeApple, server: Server, pages: Pages, device_with_profile: Callable[[], tuple[str, str]]
) -> None:
    """The id stays, but the profile is removed: a Mac that is set up now gets none."""
    serial, uuid = device_with_profile()
    cursor = pages()[-1]["cursor"]
    apple.assign(server, [serial])
    (record,) = records(pages("/devices/sync", cursor))
    assert (record["op_type"], record["profile_status"], record["profile_uuid"]) == (
        "modified", "removed", uuid,
    )  # fmt: skip
    assert apple.activate(serial) is None


def test_device_that_is_set_up_gets_its_profile(
    apple: FakeApple, pages: Pages, clock: FrozenClock, device_with_profile: Callable[[], tuple[str, str]]
) -> None:
    serial, uuid = device_with_profile()
    cursor = pages()[-1]["cursor"]
    clock.advance(minutes=5)
    profile = apple.activate(serial)
    assert profile is not None
    assert (profile["profile_uuid"], profile["department"]) == (uuid, "IT")
    (record,) = records(pages("/devices/sync", cursor))
    assert (record["op_type"], record["profile_status"], record["profile_uuid"]) == (
        "modified", "pushed", uuid,
    )  # fmt: skip
    assert record["profile_push_time"] == record["op_date"] == "2025-01-01T00:05:00Z"


def test_erased_device_gets_the_newest_profile(
    apple: FakeApple,
    call: Send,
    define: Define,
    clock: FrozenClock,
    device_with_profile: Callable[[], tuple[str, str]],
) -> None:
    """Setting it up again is another push; an assignment in between decides which profile it gets."""
    serial, before = device_with_profile()
    assert (apple.activate(serial) or {})["profile_uuid"] == before
    assert (apple.activate(serial) or {})["profile_uuid"] == before
    after = define()
    call("POST", "/profile/devices", {"profile_uuid": after, "devices": [serial]})
    assert "profile_push_time" not in apple.device(serial)
    clock.advance(hours=1)
    assert (apple.activate(serial) or {})["profile_uuid"] == after
    assert apple.device(serial)["profile_push_time"] == "2025-01-01T01:00:00Z"


def test_device_without_a_profile_gets_none_and_makes_no_event(
    apple: FakeApple,
    server: Server,
    pages: Pages,
    call: Send,
    device_with_profile: Callable[[], tuple[str, str]],
) -> None:
    """It is empty, its profile was removed, it has no server, or its server lost the profile."""
    (empty, homeless) = (*apple.add_devices(server=server), *apple.add_devices())
    removed, _ = device_with_profile()
    call("DELETE", "/profile/devices", {"devices": [removed]})
    lost, _ = device_with_profile()
    server.profiles.clear()
    cursor = pages()[-1]["cursor"]
    assert [apple.activate(serial) for serial in (empty, homeless, removed, lost)] == [None] * 4
    assert records(pages("/devices/sync", cursor)) == []
    with pytest.raises(PortalError, match="no device 'UNKNOWN'"):
        apple.activate("UNKNOWN")


@pytest.mark.parametrize("version", [9, 10])
def test_replaced_device_is_deleted_and_another_is_added(
    apple: FakeApple,
    pages: Pages,
    call: Send,
    version: int,
    device_with_profile: Callable[[], tuple[str, str]],
) -> None:
    """Both records say so from protocol version 10 on, and the pair is known."""
    old, _ = device_with_profile()
    cursor = pages()[-1]["cursor"]
    new = apple.replace_device(old)
    gone, come = records(pages("/devices/sync", cursor, version=version))
    assert (gone["serial_number"], gone["op_type"]) == (old, "deleted")
    assert (come["serial_number"], come["op_type"], come["profile_status"]) == (new, "added", "empty")
    assert come["model"] == gone["model"]
    assert gone.get("released_by_replacement") is (True if version == 10 else None)
    assert come.get("is_replacement_device") is (True if version == 10 else None)
    assert not {"is_replacement_device", "profile_status"} & gone.keys()
    assert "released_by_replacement" not in come
    details = call("GET", "/device/replacementDetails", params={"device": new}, version=version)
    if version == 10:
        assert details.json() == {
            "serial_number": new,
            "original_device_serial_number": old,
            "replacement_date": "2025-01-01",
        }
    else:
        assert (details.status_code, details.text) == (404, "NOT_FOUND")
    with pytest.raises(PortalError):
        apple.device(old)


def test_pair_is_known_at_the_server_of_the_new_device(
    apple: FakeApple, server: Server, call: Send, pages: Pages
) -> None:
    apple.add_server("branch")
    waiting = apple.add_devices()[0]
    new = apple.replace_device(waiting, "NEW")
    assert (new, pages(server="hq")[0]["devices"]) == ("NEW", [])
    apple.assign(server, [new])
    for name, status in (("hq", 200), ("branch", 404)):
        answer = call("GET", "/device/replacementDetails", params={"device": new}, server=name)
        assert answer.status_code == status
    other = apple.add_devices(server=server)[0]
    answer = call("GET", "/device/replacementDetails", params={"device": other}, server="hq")
    assert (answer.status_code, answer.text) == (404, "DEVICE_NOT_FOUND")
    answer = call("GET", "/device/replacementDetails", server="hq")
    assert (answer.status_code, answer.text) == (400, "DEVICE_ID_REQUIRED")
    with pytest.raises(PortalError, match="already"):
        apple.replace_device(other, "NEW")


def test_replaced_device_can_be_removed_without_an_event(
    apple: FakeApple, server: Server, pages: Pages
) -> None:
    old = apple.add_devices(server=server)[0]
    cursor = pages()[-1]["cursor"]
    new = apple.replace_device(old, announce=False)
    assert [record["serial_number"] for record in records(pages("/devices/sync", cursor))] == [new]


KNOBS = ("repeated", "several", "equal dates", "two pages", "same cursor", "hidden")


@pytest.mark.parametrize("on", list(product([False, True], repeat=len(KNOBS))))
def test_all_sync_faults_work_in_every_combination(
    apple: FakeApple, server: Server, pages: Pages, call: Send, clock: FrozenClock, on: tuple[bool, ...]
) -> None:
    """No fault cancels another: every requested effect appears, in order, and nothing is lost."""
    knobs = dict(zip(KNOBS, on, strict=True))
    first, second, third = known = apple.add_devices(3, server=server)
    cursor = pages()[-1]["cursor"]
    expected = []
    clock.advance(60)
    for serial in known:
        apple.edit_device(serial, asset_tag="A")
        expected.append((serial, "modified", clock()))
    if knobs["several"]:
        clock.advance(0 if knobs["equal dates"] else 5)
        apple.unassign([first])
        apple.assign(server, [first])
        expected += [(first, "deleted", clock()), (first, "added", clock())]
    if knobs["equal dates"]:
        apple.announce(second, op_type="deleted", op_date=clock())
        expected.append((second, "deleted", clock()))
    if knobs["repeated"]:
        clock.advance(60)
        # The announcement is the last of the second's operations, the edit that of the third.
        last = {serial: (serial, kind, at) for serial, kind, at in expected}
        apple.faults.repeat_records([third, second])
        expected += [last[third], last[second]]
    if knobs["hidden"]:
        apple.faults.hide_from_sync([third])
        expected = [one for one in expected if one[0] != third]
    limit = 1 if knobs["two pages"] else 1_000
    if knobs["same cursor"]:
        apple.script("POST /devices/sync", *[Fault.repeated_cursor()] * 2)
        for _ in range(2):
            page = call("POST", "/devices/sync", {"cursor": cursor, "limit": limit}).json()
            assert (page["cursor"], page["more_to_follow"]) == (cursor, True)
            assert len(page["devices"]) == min(limit, len(expected))
    synced = pages("/devices/sync", cursor, limit=limit)
    found = [(one["serial_number"], one["op_type"], one["op_date"]) for one in records(synced)]
    assert found == [(serial, kind, at.strftime("%Y-%m-%dT%H:%M:%SZ")) for serial, kind, at in expected]
    assert len(synced) == (len(expected) if knobs["two pages"] else 1)
    assert {one["serial_number"] for one in records(pages())} == set(known)
    assert records(pages("/devices/sync", synced[-1]["cursor"])) == []
