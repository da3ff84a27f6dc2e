"""Several tokens and workers: each device gets its profile from one of them, once."""

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
def two_servers(world: World) -> World:
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
def test_moved_device_belongs_to_the_token_of_its_newest_assignment(
    two_servers: World, profile: EnrollmentProfile, first: str, arrive_as: Any, announce: bool
) -> None:
    """In any order of syncs; the other token does not send the device, and reports that."""
    moved, stays = two_servers.apple.add_devices(2, server="hq")
    for name in ("hq", "branch"):
        on(two_servers, name, "sync")
    on(two_servers, "hq", "run", profile)
    two_servers.later(hours=1).apple.move([moved], "branch", arrive_as=arrive_as, announce=announce)
    order = ["hq", "branch"] if first == "hq" else ["branch", "hq"]
    for name in order:
        on(two_servers, name, "sync")
    two_servers.apple.clear_requests()
    default = EnrollmentProfile(name="New", url="https://mdm.contoso.example/new")
    reports: dict[str, AssignReport] = {name: on(two_servers, name, "run", default) for name in order}
    assert sorted(sent(two_servers)) == [("branch", moved), ("hq", stays)]
    assert reports["branch"].results == {moved: DeviceResult.SUCCESS}
    assert reports["hq"].plan.owned_elsewhere == (0 if announce else 1)
    assert reports["hq"].total == (1 if announce else 2)
    assert ("moved to the server of another token" in str(reports["hq"])) is not announce


@pytest.mark.lesson(12)
def test_device_that_moved_back_belongs_to_the_first_token_again(
    two_servers: World, profile: EnrollmentProfile
) -> None:
    (serial,) = two_servers.apple.add_devices(1, server="hq")
    for server in ("branch", "hq"):
        on(two_servers, "hq", "sync")
        on(two_servers, "branch", "sync")
        two_servers.later(hours=1).apple.move([serial], server, announce=False)
    for name in ("hq", "branch"):
        on(two_servers, name, "sync")
    assert on(two_servers, "branch", "run", profile).plan.owned_elsewhere == 1
    assert on(two_servers, "hq", "run", profile).results == {serial: DeviceResult.SUCCESS}


def test_named_device_of_another_token_is_not_sent(two_servers: World) -> None:
    """A device that no token has listed is sent: only Apple can know it."""
    (serial,) = two_servers.apple.add_devices(1, server="hq")
    on(two_servers, "hq", "sync")
    two_servers.later(hours=1).apple.move([serial], "branch", announce=False)
    on(two_servers, "branch", "sync")
    report = on(two_servers, "hq", "assign", KIOSK, [serial])
    assert (report.results, report.plan.owned_elsewhere, report.total) == ({}, 1, 1)
    new = two_servers.apple.add_devices(1, server="hq")[0]
    assert on(two_servers, "branch", "assign", KIOSK, [new]).results == {new: DeviceResult.NOT_ACCESSIBLE}


def test_device_is_at_risk_only_at_its_own_token(two_servers: World) -> None:
    (serial,) = two_servers.apple.add_devices(1, server="hq")
    on(two_servers, "hq", "sync")
    two_servers.later(hours=1).apple.move([serial], "branch", announce=False)
    on(two_servers, "branch", "sync")
    assert on(two_servers, "hq", "at_risk") == []
    assert on(two_servers, "branch", "at_risk") == [serial]


def test_second_assigner_reports_the_holder_and_sends_nothing(
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
def test_explicit_assignment_during_another_run_raises_an_error(world: World, work: str) -> None:
    """A report might go unread, and the choice would be lost."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    lease = world.store.acquire_lease("hq", "worker 7")
    arguments: list[Any] = [[serial]] if work == "unassign" else [KIOSK, [serial]]
    with pytest.raises(LeaseHeldError, match="worker 7"):
        getattr(world, work)(*arguments)
    assert world.record(serial).attempt is None
    world.store.release_lease(lease)
    getattr(world, work)(*arguments)


def test_lease_is_released_after_work_and_after_errors(world: World, profile: EnrollmentProfile) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    world.sync()
    world.apple.script(ASSIGN, Fault.refused("ACCESS_DENIED"))
    with pytest.raises(Exception, match="ACCESS_DENIED"):
        world.run(profile)
    world.store.release_lease(world.store.acquire_lease("hq", "another"))
    world.assign(KIOSK, [serial])
    world.unassign([serial])
    world.store.acquire_lease("hq", "another")


def test_worker_that_lost_its_lease_stops_at_the_next_chunk(
    world: World, profile: EnrollmentProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other worker finds the first chunk stored, and the rest due."""
    world.apple.add_devices(2_500, server="hq")
    world.sync()
    steal_lease_after_first_chunk(world, monkeypatch)
    with pytest.raises(LeaseLostError):
        world.run(profile)
    world.on_page = lambda: None
    results = [record.attempt and record.attempt.result for record in world.store.devices("hq")]
    assert results.count(DeviceResult.SUCCESS) == 1_000
    assert len(sent(world)) == 2_000
    world.store.release_lease(world.store.acquire_lease("hq", "thief"))
    report = world.run()
    assert (report.plan.satisfied, report.is_complete, report.total) == (1_000, True, 2_500)


def steal_lease_after_first_chunk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another worker take over the token when a chunk is stored."""
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


def test_concurrent_assigners_send_nothing_twice(
    tmp_path: Path, new_world: Callable[[], World], profile: EnrollmentProfile
) -> None:
    """An assigner that finds another at work reports that; together they finish."""
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
