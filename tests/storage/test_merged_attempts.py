"""Outcomes that are merged together have the same effect as outcomes merged device by device."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from random import Random
from typing import Any
from unittest import mock

import attrs
import pytest

from pyade.apple.responses import DevicePage, decode_details
from pyade.core.fleet import merging
from pyade.core.fleet.device import DeviceDetails, DeviceResult
from pyade.core.fleet.groups import group_of
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import Source
from pyade.core.values import format_time
from pyade.storage import MemoryStore, SyncState, merges
from pyade.testing.store_examples import NOW, example_token

STORIES = 100
SERIALS = "ABCDEFGH"
TIMES = [NOW, NOW + timedelta(seconds=50), NOW + timedelta(seconds=150), NOW + timedelta(seconds=450)]
VALUES: dict[str, list[Any]] = {
    "model": ["iMac", "Mac mini"],
    "os": ["OSX", "iOS"],
    "color": ["SILVER", "\\ \N{SNOWMAN}", ',"response_status":"SUCCESS"'],
    "profile_status": ["empty", "assigned", "assigned", "removed"],
    "profile_uuid": ["A1", "a1", "B2"],
    "profile_assign_time": [format_time(time) for time in TIMES],
    "device_assigned_date": [format_time(time) for time in TIMES],
    "is_replacement_device": [True, False],
}
RARE: dict[str, list[Any]] = {
    "model": [5],
    "op_type": ["added", "deleted"],
    "op_date": [format_time(time) for time in TIMES],
    "response_status": ["success", "NOT_ACCESSIBLE"],
}


class History:
    """A random history; most devices of a request are alike, as they are at Apple."""

    def __init__(self, number: int) -> None:
        self.random = Random(number)

    def steps(self) -> Iterator[Any]:
        yield self.page(Source.FETCH)
        for _ in range(self.random.randint(1, 4)):
            yield self.random.choice([self.page, self.request, self.request, self.request, self.deleted])()

    def page(self, source: Source | None = None) -> Any:
        return source or self.random.choice([Source.FETCH, Source.SYNC]), self.records()

    def request(self) -> Any:
        attempts = [self.attempt() for _ in range(self.random.randint(1, 2))]
        created = {serial: self.random.choice(attempts) for serial in self.serials()}
        return created, self.records(response_status="SUCCESS"), self.random.random() < 0.8

    def deleted(self) -> str:
        return self.random.choice(SERIALS)

    def attempt(self) -> Attempt:
        choose = self.random.choice
        return Attempt(
            profile_uuid=choose(["", "A1", "A1"]),
            result=choose([DeviceResult.SUCCESS, DeviceResult.FAILED, DeviceResult.NOT_CONFIRMED]),
            attempted_at=choose(TIMES),
            not_before=choose([None, None, *TIMES]),
            contradicted=choose([(), (), (NOW,)]),
        )

    def records(self, **settings: str) -> list[dict[str, Any]]:
        """Return records that differ in at most one key."""
        kinds = [self.values() | settings]
        if self.random.random() < 0.7:
            values = RARE if self.random.random() < 0.1 else VALUES
            key = self.random.choice(list(values))
            kinds.append(kinds[0] | {key: self.random.choice(values[key])})
        return [{"serial_number": serial, **self.random.choice(kinds)} for serial in self.serials()]

    def values(self) -> dict[str, Any]:
        return {
            key: self.random.choice(values) for key, values in VALUES.items() if self.random.random() < 0.7
        }

    def serials(self) -> str:
        return SERIALS if self.random.random() < 0.7 else SERIALS[: self.random.randint(0, len(SERIALS))]


class HistoryStore:
    """A store to which a history is applied."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.add_token(example_token())
        self.state = SyncState()

    def apply(self, step: Any, number: int) -> None:
        now = NOW + timedelta(seconds=100 * number)
        if isinstance(step, str):
            self.store.delete_device("hq", step, now=now)
        elif isinstance(step[0], Source):
            source, shown = step
            body = {"devices": shown, "cursor": "c", "more_to_follow": False}
            page = DevicePage.decode(json.dumps(body).encode())
            if source is Source.FETCH:
                self.state = attrs.evolve(self.state, full_sync=number, listing_since=now)
            self.state, _ = self.store.commit_page(
                "hq", page.devices, source=source, state=self.state, now=now
            )
        else:
            tried, shown, is_compact = step
            details = details_of(shown, is_compact=is_compact)
            self.store.record_attempts("hq", tried, details=details.of(list(details)), now=now)

    def shown(self) -> tuple[object, ...]:
        found = [record for serial in SERIALS if (record := self.store.device("hq", serial)) is not None]
        assert self.store.device_groups("hq") == Counter(map(group_of, found))
        return found, [attrs.evolve(event, id="") for event in self.store.events()]


def alike(**values: str) -> list[dict[str, Any]]:
    return [{"serial_number": serial, **values} for serial in SERIALS]


def details_of(shown: list[dict[str, Any]], *, is_compact: bool = True) -> DeviceDetails:
    body = {"devices": {record["serial_number"]: record for record in shown}}
    separators = (",", ":") if is_compact else None
    return decode_details(json.dumps(body, separators=separators).encode(), list(body["devices"]))


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 10))])
def test_outcomes_merged_together_equal_outcomes_merged_singly(part: int) -> None:
    for number in range(part * STORIES, (part + 1) * STORIES):
        compare(History(number).steps())


def test_one_of_several_devices_is_unchanged() -> None:
    shown = alike(os="OSX", color="SILVER", profile_status="assigned", profile_uuid="A1")
    stored = [shown[0] | {"color": "BLUE"}, *shown[1:]]
    compare([(Source.FETCH, stored), (dict.fromkeys(SERIALS, created(DeviceResult.SUCCESS)), shown, True)])


def test_one_of_several_devices_was_assigned_to_the_server_again() -> None:
    before, at, after = (format_time(NOW + timedelta(seconds=seconds)) for seconds in (10, 20, 30))
    shown = alike(
        os="OSX",
        profile_status="assigned",
        profile_uuid="A1",
        profile_assign_time=at,
        device_assigned_date=before,
    )
    shown[-1]["device_assigned_date"] = after
    tried = dict.fromkeys(SERIALS, created(DeviceResult.FAILED))
    compare([(Source.FETCH, alike(os="OSX", profile_status="empty")), (tried, shown, True)])


def compare(steps: Iterable[Any]) -> None:
    """Check that a history has the same end if each device is merged on its own."""
    together, one_by_one = HistoryStore(), HistoryStore()
    for number, step in enumerate(steps, start=1):
        together.apply(step, number)
        with mock.patch.object(merges._AttemptMerge, "_alike", return_value=()):
            one_by_one.apply(step, number)
    assert together.shown() == one_by_one.shown()


def created(result: DeviceResult) -> Attempt:
    return Attempt(profile_uuid="A1", result=result, attempted_at=NOW + timedelta(minutes=4))


@pytest.mark.parametrize("other", [{}, {"response_status": "success"}, {"color": "\\"}])
def test_request_for_identical_devices_is_merged_once(other: dict[str, str]) -> None:
    history_store = HistoryStore()
    history_store.apply((Source.FETCH, alike(os="OSX", profile_status="empty")), 1)
    given_to = {"os": "OSX", "profile_status": "assigned", "profile_uuid": "A1", "response_status": "SUCCESS"}
    details = details_of(alike(**given_to | other))
    tried = dict.fromkeys(SERIALS, created(DeviceResult.SUCCESS))
    merged: list[int] = []

    def counted(before: Any, *args: Any, **settings: Any) -> Any:
        merged.append(len(before))
        return merging.merge_attempts(before, *args, **settings)

    with mock.patch.object(merges, "merge_attempts", counted):
        history_store.store.record_attempts(
            "hq", tried, details=details.of(SERIALS), now=NOW + timedelta(minutes=5)
        )
    assert merged == [1]
    with history_store.store._database.reading() as session:
        documents = session.rows("SELECT serial_number, document FROM device ORDER BY serial_number")
    shown = {"os": "OSX", "profile_status": "assigned", "profile_uuid": "A1", **other}
    shown.pop("response_status", None)
    assert [(serial, json.loads(text)) for serial, text in documents] == [
        (serial, {"serial_number": serial, **shown}) for serial in SERIALS
    ]


def test_outcome_without_details_keeps_the_stored_bytes() -> None:
    history_store = HistoryStore()
    history_store.apply((Source.FETCH, alike(os="OSX", profile_status="empty")[:1]), 1)
    history_store.store.record_attempts(
        "hq", {"A": created(DeviceResult.FAILED)}, now=NOW + timedelta(minutes=5)
    )
    with history_store.store._database.reading() as session:
        ((document,),) = session.rows("SELECT document FROM device")
    assert document == '{"serial_number": "A", "os": "OSX", "profile_status": "empty"}'
