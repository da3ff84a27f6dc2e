"""Random fault scripts: after any fault the state is right, or the error typed and the last commit intact.

``PYADE_FAULT_SCRIPTS`` is the number of scripts; ``PYADE_FAULT_SEED`` is the first seed, to repeat a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PyadeError, ResponseError
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

SCRIPTS = int(os.environ.get("PYADE_FAULT_SCRIPTS", "100"))
FIRST_SEED = int(os.environ.get("PYADE_FAULT_SEED", "0"))
BATCHES = (0, *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(1, 8)))
PROFILES = tuple(
    EnrollmentProfile(name=name, url="https://mdm.contoso.example/enroll", department=name)
    for name in ("Standard", "Sales")
)
ENDPOINTS = (
    "POST /server/devices",
    "POST /devices/sync",
    "POST /profile/devices",
    "POST /devices",
    "POST /profile",
    "DELETE /profile/devices",
    "GET /session",
    "*",
)
BODIES: tuple[bytes, ...] = (
    b"",
    b"null",
    b"[]",
    b"0",
    b'"CURSOR"',
    b"{",
    b'{"devices": [{"serial_nu',
    b'{"devices": [], "cursor": "a", "more_to_fol',
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"<html>200 OK</html>",
    b"[" * 5_000,
    b'{"devices": {}, "cursor": "a", "more_to_follow": false}',
    b'{"devices": [7], "cursor": "a", "more_to_follow": false}',
    b'{"devices": [], "cursor": 7, "more_to_follow": false}',
    b'{"devices": [], "cursor": "a", "more_to_follow": "no"}',
    b'{"devices": null, "cursor": null, "more_to_follow": null}',
    b'{"devices": [{"serial_number": 7}], "cursor": "a", "more_to_follow": false}',
    b'{"devices": "SUCCESS", "profile_uuid": []}',
    b'{"devices": {"A": 7}, "profile_uuid": 7}',
    b'{"profile_uuid": ""}',
    b'{"auth_session_token": 7}',
    b'{"auth_session_token": ""}',
    b'{"devices": [], "devices": 7, "cursor": "a", "cursor": [], "more_to_follow": false}',
    b'{"profile_uuid": "P", "profile_uuid": "", "devices": {}, "devices": []}',
    b'{"auth_session_token": "A", "auth_session_token": ""}',
)
"""Bodies of a success that cannot be used."""
CODES = (
    "T_C_NOT_SIGNED",
    "ACCESS_DENIED",
    "FORBIDDEN",
    "UNAUTHORIZED",
    "EXPIRED_CURSOR",
    "INVALID_CURSOR",
    "EXHAUSTED_CURSOR",
    "CURSOR_REQUIRED",
    "PROFILE_NOT_FOUND",
    "NEW_CODE",
)
TIMES = ("full_sync_at", "recovery_at", "run_at")
DISTANCES = (timedelta(days=7), timedelta(hours=24), timedelta(minutes=15))


def _faults(chance: Random) -> Iterator[Fault | None]:
    """Yield faults of every kind without end, with good responses in between."""
    makers: tuple[Callable[[], Fault | None], ...] = (
        lambda: None,
        lambda: None,
        lambda: Fault.slow(chance.choice([1, 20, 59, 120, 2_000])),
        lambda: Fault.dropped(effect=False),
        lambda: Fault.dropped(effect=True),
        Fault.unreachable,
        lambda: Fault.rate_limited(chance.choice([None, 0, 1, 30, 7_200])),
        lambda: Fault.server_error(chance.choice([500, 502, 503, 504]), effect=chance.random() < 0.5),
        lambda: Fault.server_error(503, retry_after=chance.choice([0, 10, 86_400])),
        lambda: Fault.html(chance.choice([200, 403, 502]), effect=chance.random() < 0.5),
        lambda: Fault.empty(chance.choice([200, 204]), effect=chance.random() < 0.5),
        lambda: attrs.evolve(
            Fault.answered(chance.choice([200, 200, 201]), body=chance.choice(BODIES)),
            effect=chance.random() < 0.5,
        ),
        lambda: Fault.refused(chance.choice(CODES)),
        Fault.repeated_cursor,
    )
    while True:
        yield chance.choice(makers)()


class Script:
    """One script: a small fleet, random actions in the portal and here, and random faults."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = Random(seed)
        self.faults = _faults(self.chance)
        self.starts: dict[str, list[datetime]] = {name: [] for name in TIMES}
        self.commits: list[tuple[SyncState, dict[str, DeviceRecord]]] = []
        world.page_size(self.chance.choice([1, 3, 1000]))
        world.apple.settings.single_session = self.chance.random() < 0.2
        organization = world.apple.organization()
        self.serials = world.apple.add_devices(self.chance.randint(0, 9), organization=organization)
        world.apple.assign("hq", [s for s in self.serials if self.chance.random() < 0.7])
        world.on_page = lambda: self.commits.append(self.snapshot())

    def snapshot(self) -> tuple[SyncState, dict[str, DeviceRecord]]:
        store = self.world.store
        return self.world.state, {r.serial_number: r for r in store.devices("hq", released=None)}

    def play(self) -> None:
        for _ in range(self.chance.randint(3, 14)):
            acts = [self.fault, self.fault, self.huge_page, self.portal, self.later]
            self.chance.choice([*acts, self.sync, self.sync, self.run, self.pick])()
            self.record_commit()
            self.world.later(seconds=1)

    def record_commit(self) -> None:
        for name, starts in self.starts.items():
            at = getattr(self.world.state, name)
            if at is not None and at not in starts:
                starts.append(at)

    # Actions

    def fault(self) -> None:
        faults = [next(self.faults) for _ in range(self.chance.randint(1, 7))]
        self.world.apple.script(self.chance.choice(ENDPOINTS), *faults)
        if self.chance.random() < 0.2:
            self.world.apple.faults.rotate_session(self.chance.choice([1, 3, None]))
        if self.chance.random() < 0.1:
            self.chance.choice(
                [self.world.apple.faults.forget_sessions, self.world.apple.faults.forget_cursors]
            )()

    def huge_page(self) -> None:
        """Apple ignores the limit and returns its devices repeatedly, with duplicate keys."""
        if not (serials := list(self.world.at_apple())):
            return
        devices = ",".join(
            f'{{"serial_number": "{serial}", "device_family": "iPad", "device_family": "Mac"}}'
            for serial in self.chance.choices(serials, k=2_000)
        )
        more = self.chance.choice(["true", "false"])
        body = f'{{"devices": [], "devices": [{devices}], "cursor": "huge", "more_to_follow": {more}}}'
        endpoint = self.chance.choice(["POST /server/devices", "POST /devices/sync"])
        self.world.apple.script(endpoint, Fault.answered(body=body.encode()))

    def portal(self) -> None:
        if not self.serials:
            return
        serial = self.chance.choice(self.serials)
        has_it = serial in self.world.at_apple()
        if not has_it or self.chance.random() < 0.2:
            self.world.apple.assign("hq", [serial])
        elif self.chance.random() < 0.5:
            self.world.apple.unassign([serial], announce=self.chance.random() < 0.7)
        else:
            self.world.apple.edit_device(serial, asset_tag=f"{self.chance.random()}")
        if self.chance.random() < 0.3:
            result = self.chance.choice(["FAILED", "THROTTLED", "NOT_ACCESSIBLE", "NEW", None])
            self.world.apple.faults.device_result([serial], result)

    def later(self) -> None:
        self.world.later(seconds=self.chance.choice([1, 900, 3_600, 86_400, 604_800]))

    def sync(self) -> None:
        full, automatic = self.chance.random() < 0.3, self.chance.random() < 0.3
        self._act_and_check(lambda: self.world.sync(full=full, automatic=automatic))

    def run(self) -> None:
        profile = self.chance.choice(PROFILES)
        self._act_and_check(lambda: self.world.run(profile))

    def pick(self) -> None:
        serials = [serial for serial in self.serials if self.chance.random() < 0.3]
        if self.chance.random() < 0.5:
            self._act_and_check(lambda: self.world.assign(PROFILES[1], serials))
        else:
            self._act_and_check(lambda: self.world.unassign(serials))

    def _act_and_check(self, act: Callable[[], Any]) -> None:
        """Do *act*: it succeeds, or ends in a typed error with the devices as of the last commit."""
        self.commits = [self.snapshot()]
        try:
            act()
        except PyadeError:
            assert self.world.state.running_since is None
            state, _ = self.commits[-1]
            after = self.world.state
            if state.phase is after.phase:
                assert after.cursor in (state.cursor, None), "the cursor of the last commit, or none"
            self._check_devices()
        known = {r.serial_number for r in self.world.store.devices("hq", released=None)}
        assert known <= set(self.serials), "nothing of a broken body is stored"

    def _check_devices(self) -> None:
        """Check that the store holds nothing of a page that was not committed."""
        _, records = self.commits[-1]
        for record in self.world.store.devices("hq", released=None):
            before = records.get(record.serial_number)
            if before is None or before.device != record.device:
                # Settled by details that were read after an attempt, or after the last page.
                assert record.updated_at >= self.world.clock() - timedelta(hours=2)

    # Final state

    def settle(self) -> None:
        world = self.world
        for endpoint in ENDPOINTS:
            world.apple.script(endpoint)
        world.apple.faults.rotate_session(0)
        world.apple.faults.device_result(self.serials, None, times=0)
        self.in_step()
        for _ in range(3):
            world.later(hours=25)
            world.run(PROFILES[0])
            self.in_step()
        assert all(status == "assigned" for status, _ in world.listed().values())
        report = world.run()
        assert (report.plan.satisfied, report.results) == (len(world.listed()), {})
        for name, distance in zip(TIMES, DISTANCES, strict=True):
            assert all(b - a >= distance for a, b in pairwise(self.starts[name])), name

    def in_step(self) -> None:
        """Sync at allowed times; a full list also finds what Apple never announced."""
        for _ in range(2):
            for _ in range(4):
                if self.world.later(days=7).sync(full=True).is_complete:
                    break
        assert self.world.listed() == self.world.at_apple()


@pytest.mark.parametrize("batch", BATCHES)
def test_fault_script_ends_in_the_right_state_or_in_a_typed_error(
    new_world: Callable[[], World], batch: int
) -> None:
    for seed in range(FIRST_SEED + batch, FIRST_SEED + SCRIPTS, len(BATCHES)):
        script = Script(new_world(), seed)
        try:
            script.play()
            script.settle()
        except BaseException as error:
            error.add_note(f"PYADE_FAULT_SEED={seed} PYADE_FAULT_SCRIPTS=1 repeats it (batch 0)")
            raise


def _device(number: int, **keys: Any) -> dict[str, Any]:
    return {"serial_number": f"C{number:09d}", "device_family": "Mac", **keys}


def _page(devices: Sequence[Any], cursor: str, *, more: bool = False) -> Fault:
    return Fault.answered(json={"devices": devices, "cursor": cursor, "more_to_follow": more})


@pytest.mark.slow
def test_largest_page_is_stored_and_a_larger_one_is_refused(
    new_world: Callable[[], World],
) -> None:
    world = new_world()
    for count in (1_001, 1_000):
        world.apple.script("POST /server/devices", _page([_device(n) for n in range(count)], "a" * 100))
    with pytest.raises(ResponseError, match="a list has 1001 records, at most 1000 were requested"):
        world.sync()
    world.clock.advance(hours=1)
    world.apple.script("POST /devices/sync", Fault.refused("EXHAUSTED_CURSOR"))
    report = world.sync()
    assert (report.is_complete, report.changes.added) == (True, 1_000)
    assert world.state.cursor == "a" * 100


def test_last_duplicate_key_and_newest_duplicate_serial_win(
    new_world: Callable[[], World],
) -> None:
    world = new_world()
    body = (
        b'{"devices": [], "devices": ['
        b'{"serial_number": "C1", "asset_tag": "one", "asset_tag": "two", "device_family": "Mac"},'
        b'{"serial_number": "C1", "asset_tag": "three", "device_family": "Mac"}'
        b'], "cursor": "x", "cursor": "y", "more_to_follow": true, "more_to_follow": false}'
    )
    world.apple.script("POST /server/devices", Fault.answered(body=body))
    world.apple.script("POST /devices/sync", Fault.refused("EXHAUSTED_CURSOR"))
    assert world.sync().is_complete
    assert world.state.cursor == "y"
    assert world.record("C1").device.asset_tag == "three"


def test_response_without_a_profile_id_is_an_error(new_world: Callable[[], World]) -> None:
    """An empty id would read as "no profile", and each Mac without a profile would look satisfied."""
    world = new_world()
    world.apple.add_devices(2, server="hq")
    world.sync()
    world.apple.script("POST /profile", Fault.answered(json={"profile_uuid": "", "devices": {}}))
    with pytest.raises(ResponseError, match="profile_uuid is empty"):
        world.run(PROFILES[0])
    assert not world.store.profiles("hq")
    assert world.run(PROFILES[0]).is_complete
    assert {status for status, _ in world.at_apple().values()} == {"assigned"}
