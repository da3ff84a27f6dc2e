"""Fetch and sync: pages, cursors and records."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pyade.testing import FakeApple, Fault, FrozenClock, Server

Send = Callable[..., httpx.Response]
Pages = Callable[..., list[dict[str, Any]]]


def serials(pages: list[dict[str, Any]]) -> list[str]:
    return [device["serial_number"] for page in pages for device in page["devices"]]


@pytest.mark.parametrize("first", [{}, {"cursor": None}, {"cursor": ""}])
@pytest.mark.parametrize(
    ("default", "limit", "expected"),
    [(100, None, 100), (150, None, 150), (1000, 10, 10), (1000, 0, 1), (1000, -5, 1), (1000, 5000, 200)],
)
def test_pages_have_the_requested_or_the_default_size(
    apple: FakeApple,
    server: Server,
    call: Send,
    default: int,
    limit: int | None,
    expected: int,
    first: dict[str, Any],
) -> None:
    apple.settings.page_default, apple.settings.page_maximum = default, 200
    known = apple.add_devices(250, server=server)
    body = first if limit is None else {**first, "limit": limit}
    page = call("POST", "/server/devices", body).json()
    assert tuple(device["serial_number"] for device in page["devices"]) == known[:expected]


def test_records_are_ordered_by_the_second_of_the_last_operation(
    apple: FakeApple, server: Server, pages: Pages, clock: FrozenClock
) -> None:
    first, second, third = apple.add_devices(3, server=server)
    clock.advance(1.5)
    apple.edit_device(first, asset_tag="A-1")
    assert serials(pages()) == [second, third, first]
    dates = [operation.op_date for operation in server.snapshot()]
    assert dates == ["2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2025-01-01T00:00:01Z"]


def test_times_of_operations_never_decrease(
    apple: FakeApple, server: Server, pages: Pages, clock: FrozenClock
) -> None:
    cursor = pages()[-1]["cursor"]
    (serial,) = apple.add_devices(1, server=server)
    clock.advance(-100)
    apple.edit_device(serial, asset_tag="A-1")
    (page,) = pages("/devices/sync", cursor)
    assert len({device["op_date"] for device in page["devices"]}) == 1


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (1, [1]), (10, [10]), (11, [10, 1]), (30, [10, 10, 10])]
)
def test_more_to_follow_is_true_while_records_remain(
    apple: FakeApple, server: Server, pages: Pages, call: Send, count: int, sizes: list[int]
) -> None:
    apple.add_devices(count, server=server)
    fetched = pages(limit=10)
    assert [len(page["devices"]) for page in fetched] == sizes
    assert [page["more_to_follow"] for page in fetched] == [True] * (len(sizes) - 1) + [False]
    assert call("POST", "/devices/sync", {"cursor": fetched[-1]["cursor"]}).json()["devices"] == []


def test_more_to_follow_of_a_sync_is_true_while_records_remain(
    apple: FakeApple, server: Server, pages: Pages
) -> None:
    cursor = pages()[-1]["cursor"]
    known = apple.add_devices(20, server=server)
    synced = pages("/devices/sync", cursor, limit=10)
    assert [len(page["devices"]) for page in synced] == [10, 10]
    assert tuple(serials(synced)) == known


def test_fetch_is_a_snapshot_and_sync_returns_later_changes(
    apple: FakeApple, server: Server, pages: Pages, call: Send
) -> None:
    known = apple.add_devices(4, server=server)
    first = call("POST", "/server/devices", {"limit": 2}).json()
    apple.unassign([known[3]])
    apple.edit_device(known[0], asset_tag="A-1")
    (late,) = apple.add_devices(1, server=server)
    rest = pages(cursor=first["cursor"], limit=2)
    assert serials([first, *rest]) == list(known)
    synced = pages("/devices/sync", rest[-1]["cursor"])
    assert [(device["serial_number"], device["op_type"]) for device in synced[0]["devices"]] == [
        (known[3], "deleted"),
        (known[0], "modified"),
        (late, "added"),
    ]


def test_fetched_records_have_no_operation(apple: FakeApple, server: Server, pages: Pages) -> None:
    apple.add_devices(1, server=server)
    record = pages()[0]["devices"][0]
    assert record.keys().isdisjoint({"op_type", "op_date"})


def test_a_finished_fetch_cursor_is_exhausted(
    apple: FakeApple, server: Server, pages: Pages, call: Send
) -> None:
    apple.add_devices(1, server=server)
    finished = pages()[-1]["cursor"]
    synced = pages("/devices/sync", finished)[-1]["cursor"]
    for cursor in (finished, synced):
        answer = call("POST", "/server/devices", {"cursor": cursor})
        assert (answer.status_code, answer.text) == (400, "EXHAUSTED_CURSOR")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "CURSOR_REQUIRED"),
        ({"cursor": None}, "CURSOR_REQUIRED"),
        ({"cursor": ""}, "CURSOR_REQUIRED"),
        ({"cursor": "unknown"}, "INVALID_CURSOR"),
    ],
)
def test_a_sync_needs_a_cursor_of_this_service(
    server: Server, call: Send, body: dict[str, Any], code: str
) -> None:
    answer = call("POST", "/devices/sync", body)
    assert (answer.status_code, answer.text) == (400, code)


@pytest.mark.parametrize("path", ["/devices/sync", "/server/devices"])
def test_cursor_expires_after_seven_days(
    apple: FakeApple, server: Server, pages: Pages, call: Send, clock: FrozenClock, path: str
) -> None:
    apple.add_devices(2, server=server)
    cursor = call("POST", "/server/devices", {"limit": 1}).json()["cursor"]
    clock.advance(days=7)
    assert call("POST", path, {"cursor": cursor}).status_code == 200
    clock.advance(1)
    answer = call("POST", path, {"cursor": cursor})
    assert (answer.status_code, answer.text) == (400, "EXPIRED_CURSOR")


@pytest.mark.parametrize(
    ("switch", "code"), [("forget_cursors", "INVALID_CURSOR"), ("expire_cursors", "EXPIRED_CURSOR")]
)
@pytest.mark.parametrize("named", [False, True])
def test_cursors_can_be_lost_on_purpose(
    apple: FakeApple, server: Server, pages: Pages, call: Send, switch: str, code: str, named: bool
) -> None:
    cursor = pages()[-1]["cursor"]
    getattr(apple.faults, switch)(*([server] if named else []))
    assert call("POST", "/devices/sync", {"cursor": cursor}).text == code
    assert call("POST", "/devices/sync", {"cursor": pages()[-1]["cursor"]}).status_code == 200


def test_sync_returns_operations_after_the_cursor_and_always_a_new_cursor(
    apple: FakeApple, server: Server, pages: Pages, clock: FrozenClock
) -> None:
    apple.add_devices(1, server=server)
    seen = [pages()[-1]["cursor"]]
    for _ in range(3):
        (page,) = pages("/devices/sync", seen[-1])
        assert page["devices"] == []
        seen.append(page["cursor"])
    assert len(set(seen)) == 4
    clock.advance(5)
    (serial,) = apple.add_devices(1, server=server)
    (page,) = pages("/devices/sync", seen[-1])
    (record,) = page["devices"]
    assert (record["serial_number"], record["op_type"], record["op_date"]) == (
        serial,
        "added",
        "2025-01-01T00:00:05Z",
    )


def test_cursor_in_the_middle_of_a_fetch_is_valid_for_sync(
    apple: FakeApple, server: Server, pages: Pages, call: Send
) -> None:
    apple.add_devices(3, server=server)
    cursor = call("POST", "/server/devices", {"limit": 1}).json()["cursor"]
    (late,) = apple.add_devices(1, server=server)
    assert serials(pages("/devices/sync", cursor)) == [late]


def test_a_cursor_belongs_to_one_server(apple: FakeApple, pages: Pages, call: Send) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    cursor = pages(server="hq")[-1]["cursor"]
    for path in ("/devices/sync", "/server/devices"):
        assert call("POST", path, {"cursor": cursor}, server="branch").text == "INVALID_CURSOR"


def test_the_same_cursor_gives_the_same_records_again(
    apple: FakeApple, server: Server, pages: Pages, call: Send
) -> None:
    apple.add_devices(5, server=server)
    start = call("POST", "/server/devices", {"limit": 2}).json()["cursor"]
    once = call("POST", "/server/devices", {"cursor": start, "limit": 2}).json()
    cursor = pages(cursor=once["cursor"])[-1]["cursor"]
    apple.add_devices(2, server=server)
    assert call("POST", "/server/devices", {"cursor": start, "limit": 2}).json()["devices"] == once["devices"]
    assert pages("/devices/sync", cursor)[0]["devices"] == pages("/devices/sync", cursor)[0]["devices"]


def test_record_can_be_repeated_in_the_next_sync(
    apple: FakeApple, server: Server, pages: Pages, clock: FrozenClock
) -> None:
    cursor = pages()[-1]["cursor"]
    known = apple.add_devices(2, server=server)
    (before,) = pages("/devices/sync", cursor)
    clock.advance(60)
    apple.faults.repeat_records(known[:1])
    (after,) = pages("/devices/sync", before["cursor"])
    assert after["devices"] == before["devices"][:1]


def test_one_serial_may_occur_several_times_and_on_two_pages_with_equal_dates(
    apple: FakeApple, server: Server, pages: Pages
) -> None:
    cursor = pages()[-1]["cursor"]
    (serial,) = apple.add_devices(1, server=server)
    apple.unassign([serial])
    apple.assign(server, [serial])
    together = pages("/devices/sync", cursor)
    apart = pages("/devices/sync", cursor, limit=2)
    assert [device["op_type"] for device in together[0]["devices"]] == ["added", "deleted", "added"]
    assert len({device["op_date"] for device in together[0]["devices"]}) == 1
    assert [serials([page]) for page in apart] == [[serial, serial], [serial]]


def test_any_operation_can_be_announced(
    apple: FakeApple, server: Server, pages: Pages, clock: FrozenClock
) -> None:
    cursor = pages()[-1]["cursor"]
    (serial,) = apple.add_devices(1, server=server)
    apple.announce(serial, op_type="deleted", op_date=clock.advance(hours=-1))
    apple.announce("UNKNOWN", op_type="modified", op_date=clock(), model="Mac mini")
    (page,) = pages("/devices/sync", cursor)
    assert [(device["serial_number"], device["op_type"], device["model"]) for device in page["devices"]] == [
        (serial, "added", "MacBook Pro"),
        (serial, "deleted", "MacBook Pro"),
        ("UNKNOWN", "modified", "Mac mini"),
    ]
    assert page["devices"][1]["op_date"] == "2024-12-31T23:00:00Z"
    assert page["fetched_until"] == "2024-12-31T23:00:00Z"


@pytest.mark.parametrize("path", ["/devices/sync", "/server/devices"])
def test_a_page_may_repeat_the_cursor_of_its_request(
    apple: FakeApple, server: Server, pages: Pages, call: Send, path: str
) -> None:
    apple.add_devices(3, server=server)
    cursor = call("POST", "/server/devices", {"limit": 2}).json()["cursor"]
    apple.script(f"POST {path}", Fault.repeated_cursor(), Fault.repeated_cursor())
    repeated = [call("POST", path, {"cursor": cursor}).json() for _ in range(2)]
    assert [(page["cursor"], page["more_to_follow"]) for page in repeated] == [(cursor, True)] * 2
    assert repeated[0]["devices"] == repeated[1]["devices"]
    assert call("POST", path, {"cursor": cursor}).json()["cursor"] != cursor
    apple.script(f"POST {path}", Fault.repeated_cursor(), forever=True)
    assert {call("POST", path, {"cursor": cursor}).json()["cursor"] for _ in range(5)} == {cursor}


def test_a_device_may_be_missing_from_sync_only(
    apple: FakeApple, server: Server, pages: Pages, call: Send
) -> None:
    cursor = pages()[-1]["cursor"]
    known = apple.add_devices(5, server=server)
    apple.faults.hide_from_sync([known[0], known[2], known[4]])
    synced = pages("/devices/sync", cursor, limit=1)
    assert serials(synced) == [known[1], known[3]]
    assert [page["more_to_follow"] for page in synced] == [True, False]
    assert serials(pages()) == list(known)
    details = call("POST", "/devices", {"devices": [known[0]]}).json()["devices"]
    assert details[known[0]]["response_status"] == "SUCCESS"
    apple.faults.hide_from_sync([])
    assert serials(pages("/devices/sync", synced[-1]["cursor"])) == []
    assert serials(pages("/devices/sync", cursor)) == list(known)


def test_more_to_follow_ignores_hidden_records(apple: FakeApple, server: Server, pages: Pages) -> None:
    cursor = pages()[-1]["cursor"]
    known = apple.add_devices(3, server=server)
    apple.faults.hide_from_sync(known[1:])
    (page,) = pages("/devices/sync", cursor, limit=1)
    assert serials([page]) == [known[0]]


def test_fetched_until_shows_the_progress(
    apple: FakeApple, server: Server, pages: Pages, clock: FrozenClock
) -> None:
    apple.add_devices(1, server=server)
    clock.advance(10)
    apple.add_devices(1, server=server)
    clock.advance(10.9)
    fetched = pages(limit=1)
    assert [page["fetched_until"] for page in fetched] == ["2025-01-01T00:00:00Z", "2025-01-01T00:00:20Z"]
    (empty,) = pages("/devices/sync", fetched[-1]["cursor"])
    assert empty["fetched_until"] == "2025-01-01T00:00:20Z"
    apple.add_devices(1, server=server)
    clock.advance(10)
    (changed,) = pages("/devices/sync", fetched[-1]["cursor"])
    assert changed["fetched_until"] == "2025-01-01T00:00:20Z"


@pytest.mark.parametrize("length", [None, 100, 1000])
def test_cursors_are_opaque_and_differ(
    apple: FakeApple, server: Server, pages: Pages, length: int | None
) -> None:
    apple.settings.cursor_length = length
    apple.add_devices(10, server=server)
    cursors = [page["cursor"] for page in pages(limit=1)]
    assert len(set(cursors)) == 10
    assert all(re.fullmatch("[A-Za-z0-9+/]+", cursor) for cursor in cursors)
    assert length is None or {len(cursor) for cursor in cursors} == {length}


def test_keys_without_a_value_are_absent_and_unknown_keys_possible(
    apple: FakeApple, server: Server, pages: Pages, call: Send
) -> None:
    (serial,) = apple.add_devices(1, server=server)
    (page,) = pages()
    (record,) = page["devices"]
    assert {"asset_tag", "profile_uuid", "profile_push_time", "profile_assign_time"}.isdisjoint(record)
    assert None not in record.values()
    apple.edit_device(serial, profile_status="teleported", warranty="gold", color=None)
    (synced,) = pages("/devices/sync", page["cursor"])
    assert (synced["devices"][0]["profile_status"], synced["devices"][0]["warranty"]) == (
        "teleported",
        "gold",
    )
    assert "color" not in synced["devices"][0]


def test_a_device_can_change_silently(apple: FakeApple, server: Server, pages: Pages, call: Send) -> None:
    (serial,) = apple.add_devices(1, server=server)
    (before,) = pages()
    apple.edit_device(serial, announce=False, asset_tag="A-1")
    assert pages("/devices/sync", before["cursor"])[0]["devices"] == []
    assert pages()[0]["devices"][0]["asset_tag"] == "A-1"
    assert call("POST", "/devices", {"devices": [serial]}).json()["devices"][serial]["asset_tag"] == "A-1"


@pytest.mark.parametrize("by", ["-1", "someone@contoso.example"])
def test_assigner_of_a_device_may_be_minus_one(
    apple: FakeApple, server: Server, pages: Pages, by: str
) -> None:
    apple.settings.device_assigned_by = by
    apple.add_devices(1, server=server)
    assert pages()[0]["devices"][0]["device_assigned_by"] == by


@pytest.mark.slow
def test_fleet_of_20000_is_paged_fast_and_starting_a_fetch_is_cheap(
    apple: FakeApple, server: Server, call: Send, open_session: Callable[..., str]
) -> None:
    """CPU time, with room for a slow machine: about 0.06 s per 10,000 devices were measured."""
    apple.add_devices(20_000, server=server)
    session = open_session()
    start = time.process_time()
    cursor, more = None, True
    while more:
        page = call("POST", "/server/devices", {"cursor": cursor, "limit": 1000}, session=session)
        more, cursor = b'"more_to_follow":true' in page.content, page.json()["cursor"]
    assert time.process_time() - start < 4
    assert server.snapshot() is server.snapshot()
