"""Several tokens and several workers: each device is given its profile by one of them, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pyade.apple.client import AsyncClient, Client
from pyade.assignment import Assigner, AssignReport, AsyncAssigner
from pyade.core.fleet.device import DeviceResult
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import LeaseHeldError, LeaseLostError
from pyade.storage import SQLiteStore
from pyade.sync import AsyncSyncer, Syncer
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

ASSIGN = "POST /profile/devices"
KIOSK = EnrollmentProfile(name="Kiosk", url="https://mdm.contoso.example/kiosk")


@pytest.fixture
def offices(world: World) -> World:
    """A world with a second server, and its token in the same store."""
    world.apple.add_server("branch")
    world.store.add_token(world.apple.token("branch", name="branch"))
    return world


def on(world: World, name: str, do: Literal["sync", "run", "assign", "at_risk"], *arguments: Any) -> Any:
    """Work with the token called *name*."""
    world.token, before = world.store.token(name), world.token

    def work(client: Client) -> Any:
        if do == "sync":
            return Syncer(client, world.store, clock=world.clock).sync()
        assigner = Assigner(client, world.store, clock=world.clock)
        if do == "at_risk":
            return [record.serial_number for record in assigner.devices_at_risk()]
        return getattr(assigner, do)(*arguments)

    async def async_work(client: AsyncClient) -> Any:
        if do == "sync":
            return await AsyncSyncer(client, world.store, clock=world.clock).sync()
        assigner = AsyncAssigner(client, world.store, clock=world.clock)
        if do == "at_risk":
            return [record.serial_number async for record in assigner.devices_at_risk()]
        return await getattr(assigner, do)(*arguments)

    try:
        return world.do(work, async_work)
    finally:
        world.token = before


def sent(world: World) -> list[tuple[str, str]]:
    """Return which server was sent which device, in order."""
    return [
        (record.server, serial)
        for record in world.apple.requests
        if record.endpoint == ASSIGN
        for serial in record.body["devices"]
    ]


@pytest.mark.parametrize("first", ["hq", "branch"])
@pytest.mark.parametrize("arrive_as", ["added", "modified"])
@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.lesson(22)
def test_a_moved_device_belongs_to_the_newest_assignment_whichever_syncs_first(
    offices: World, profile: EnrollmentProfile, first: str, arrive_as: Any, announce: bool
) -> None:
    """The loser may not have heard of it: it leaves the device alone all the same, and says so."""
    moved, stays = offices.apple.add_devices(2, server="hq")
    for name in ("hq", "branch"):
        on(offices, name, "sync")
    on(offices, "hq", "run", profile)
    offices.later(hours=1).apple.move([moved], "branch", arrive_as=arrive_as, announce=announce)
    order = ["hq", "branch"] if first == "hq" else ["branch", "hq"]
    for name in order:
        on(offices, name, "sync")
    offices.apple.clear_requests()
    default = EnrollmentProfile(name="New", url="https://mdm.contoso.example/new")
    reports: dict[str, AssignReport] = {name: on(offices, name, "run", default) for name in order}
    assert sorted(sent(offices)) == [("branch", moved), ("hq", stays)]
    assert reports["branch"].results == {moved: DeviceResult.SUCCESS}
    assert reports["hq"].plan.owned_elsewhere == (0 if announce else 1)
    assert reports["hq"].total == (1 if announce else 2)
    assert ("moved to the server of another token" in str(reports["hq"])) is not announce


@pytest.mark.lesson(12)
def test_a_device_that_came_back_is_ours_again(offices: World, profile: EnrollmentProfile) -> None:
    (serial,) = offices.apple.add_devices(1, server="hq")
    for server in ("branch", "hq"):
        on(offices, "hq", "sync")
        on(offices, "branch", "sync")
        offices.later(hours=1).apple.move([serial], server, announce=False)
    for name in ("hq", "branch"):
        on(offices, name, "sync")
    assert on(offices, "branch", "run", profile).plan.owned_elsewhere == 1
    assert on(offices, "hq", "run", profile).results == {serial: DeviceResult.SUCCESS}


def test_a_device_of_another_token_is_left_alone_if_it_is_named(offices: World) -> None:
    """What only Apple can know is asked for: a device that the token has never listed."""
    (serial,) = offices.apple.add_devices(1, server="hq")
    on(offices, "hq", "sync")
    offices.later(hours=1).apple.move([serial], "branch", announce=False)
    on(offices, "branch", "sync")
    report = on(offices, "hq", "assign", KIOSK, [serial])
    assert (report.results, report.plan.owned_elsewhere, report.total) == ({}, 1, 1)
    new = offices.apple.add_devices(1, server="hq")[0]
    assert on(offices, "branch", "assign", KIOSK, [new]).results == {new: DeviceResult.NOT_ACCESSIBLE}


def test_a_device_of_another_token_is_at_risk_there_only(offices: World) -> None:
    (serial,) = offices.apple.add_devices(1, server="hq")
    on(offices, "hq", "sync")
    offices.later(hours=1).apple.move([serial], "branch", announce=False)
    on(offices, "branch", "sync")
    assert on(offices, "hq", "at_risk") == []
    assert on(offices, "branch", "at_risk") == [serial]


def test_a_second_assigner_is_told_who_works_and_sends_nothing(
    world: World, profile: EnrollmentProfile
) -> None:
    world.apple.add_devices(2, server="hq")
    world.sync()
    lease = world.store.acquire_lease("hq", "worker 7")
    world.apple.clear_requests()
    report = world.run(profile)
    assert (report.holder, report.next_due_at, report.results) == ("worker 7", lease.expires_at, {})
    assert not report.is_complete
    assert str(report).startswith("hq: nothing was done, worker 7 works on it, at least until 20")
    assert world.apple.requests == ()
    assert world.store.default_profile("hq") is None
    world.store.release_lease(lease)
    assert world.run(profile).is_complete


@pytest.mark.parametrize("work", ["assign", "unassign"])
def test_what_is_asked_for_by_hand_while_another_works_is_refused_loudly(world: World, work: str) -> None:
    """A report might go unread, and the choice would be forgotten."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    lease = world.store.acquire_lease("hq", "worker 7")
    arguments: list[Any] = [[serial]] if work == "unassign" else [KIOSK, [serial]]
    with pytest.raises(LeaseHeldError, match="worker 7"):
        getattr(world, work)(*arguments)
    assert world.record(serial).attempt is None
    world.store.release_lease(lease)
    getattr(world, work)(*arguments)


def test_the_lease_is_given_back_after_work_and_after_errors(
    world: World, profile: EnrollmentProfile
) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.apple.script(ASSIGN, Fault.refused("ACCESS_DENIED"))
    with pytest.raises(Exception, match="ACCESS_DENIED"):
        world.run(profile)
    world.store.release_lease(world.store.acquire_lease("hq", "another"))
    world.assign(KIOSK, [serial])
    world.unassign([serial])
    world.store.acquire_lease("hq", "another")


def test_a_worker_that_lost_its_lease_stops_at_the_next_chunk(
    world: World, profile: EnrollmentProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker finds the first chunk settled, and the rest due."""
    world.apple.add_devices(2_500, server="hq")
    world.sync()
    lose_after_the_first(world, monkeypatch)
    with pytest.raises(LeaseLostError):
        world.run(profile)
    world.on_page = lambda: None
    results = [record.attempt and record.attempt.result for record in world.store.devices("hq")]
    assert results.count(DeviceResult.SUCCESS) == 1_000
    assert len(sent(world)) == 2_000
    world.store.release_lease(world.store.acquire_lease("hq", "thief"))
    report = world.run()
    assert (report.plan.satisfied, report.is_complete, report.total) == (1_000, True, 2_500)


def lose_after_the_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another worker take the token over as soon as a chunk is stored."""
    acquire = world.store.acquire_lease
    names: list[str] = []

    def remember(token_name: str, owner: str, **how: Any) -> Any:
        names.append(owner)
        return acquire(token_name, owner, **how)

    def steal() -> None:
        # The same owner may take its lease again, which ends the older one; then another worker has it.
        world.store.release_lease(acquire("hq", names[-1]))
        acquire("hq", "thief")

    monkeypatch.setattr(world.store, "acquire_lease", remember)
    world.on_page = steal


def test_assigners_that_run_at_once_send_nothing_twice(
    tmp_path: Path, new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    """Whoever comes while another works is told so; together they finish."""
    world = new_world()
    serials = world.apple.add_devices(2_500, server="hq")
    reports: list[AssignReport] = []
    with SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(world.token)
        world.store = store
        world.sync()
        store.set_default_profile("hq", profile)
        begun = threading.Barrier(4)

        def work() -> None:
            begun.wait(10)
            with world.client() as client:
                reports.append(Assigner(client, store, clock=world.clock).run())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(reports) == 4
    assert sorted(serial for _, serial in sent(world)) == sorted(serials)
    assert sum(len(report.results) for report in reports) == 2_500
    assert all(report.holder or report.is_complete for report in reports)
    assert world.apple.counts["POST /profile"] == 1
