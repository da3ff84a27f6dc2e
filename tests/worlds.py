"""A fake Apple, a store and every driver: scenarios run synchronously, on asyncio and on trio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio
import attrs
import pytest

from pyade.apple.client import AsyncClient, Client
from pyade.assignment import Assigner, AssignReport, AsyncAssigner
from pyade.core.fleet.device import Device
from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.storage import MemoryStore, SQLiteStore
from pyade.storage.protocol import Store
from pyade.sync import AsyncSyncer, Progress, Syncer, SyncReport
from pyade.testing import FakeApple, FrozenClock

T = TypeVar("T")


@attrs.define(kw_only=True)
class World:
    """A fake Apple, a store and a clock; ``kind`` is the driver that runs the calls.

    The store has its own clock, which moves only between calls, so the lease of a run does not expire.
    """

    kind: str
    clock: FrozenClock
    store_clock: FrozenClock
    apple: FakeApple
    store: Store
    token: Token
    policy: SyncPolicy = attrs.Factory(SyncPolicy)
    seen: list[Progress] = attrs.Factory(list)
    on_page: Callable[[], object] = lambda: None

    def sync(self, *, full: bool | None = None, automatic: bool = False, force: bool = False) -> SyncReport:
        def work(client: Client) -> SyncReport:
            syncer = Syncer(client, self.store, policy=self.policy, clock=self.clock, progress=self._progress)
            return syncer.sync(full=full, automatic=automatic, force=force)

        async def async_work(client: AsyncClient) -> SyncReport:
            syncer = AsyncSyncer(
                client, self.store, policy=self.policy, clock=self.clock, progress=self._progress
            )
            return await syncer.sync(full=full, automatic=automatic, force=force)

        return self.do(work, async_work)

    def restore(self, serial: str) -> DeviceRecord | None:
        def work(client: Client) -> DeviceRecord | None:
            return Syncer(client, self.store, clock=self.clock).restore(serial)

        async def async_work(client: AsyncClient) -> DeviceRecord | None:
            return await AsyncSyncer(client, self.store, clock=self.clock).restore(serial)

        return self.do(work, async_work)

    def run(self, default: EnrollmentProfile | None = None) -> AssignReport:
        return self._assigner("run", default)

    def assign(self, profile: EnrollmentProfile, serials: Sequence[str]) -> AssignReport:
        return self._assigner("assign", profile, serials)

    def unassign(self, serials: Sequence[str]) -> AssignReport:
        return self._assigner("unassign", serials)

    def at_risk(self) -> tuple[list[str], int]:
        """Return the serial numbers of the devices at risk, and their count."""

        def work(client: Client) -> tuple[list[str], int]:
            assigner = Assigner(client, self.store, clock=self.clock)
            return [r.serial_number for r in assigner.devices_at_risk()], assigner.count_devices_at_risk()

        async def async_work(client: AsyncClient) -> tuple[list[str], int]:
            assigner = AsyncAssigner(client, self.store, clock=self.clock)
            found = [record.serial_number async for record in assigner.devices_at_risk()]
            return found, await assigner.count_devices_at_risk()

        return self.do(work, async_work)

    def fleet(self, count: int, **keys: Any) -> tuple[str, ...]:
        """Add devices at Apple and sync them into the store."""
        serials = self.apple.add_devices(count, server="hq", **keys)
        assert self.later(minutes=15).sync().is_complete
        return serials

    def later(self, **amount: float) -> World:
        self.clock.advance(**amount)
        self.store_clock.advance(**amount)
        return self

    def page_size(self, devices: int) -> None:
        """Set the maximum number of devices per page at Apple."""
        self.apple.settings.page_maximum = self.apple.settings.page_default = devices

    @property
    def state(self) -> SyncState:
        return self.store.sync_state("hq")

    def record(self, serial: str) -> DeviceRecord:
        found = self.store.device("hq", serial)
        assert found is not None
        return found

    def listed(self) -> dict[str, tuple[str | None, str | None]]:
        """Return profile status and id of the listed devices in the store, by serial number."""
        return {r.serial_number: _profile(r.device) for r in self.store.devices("hq")}

    def at_apple(self) -> dict[str, tuple[str | None, str | None]]:
        """Return profile status and id of the devices at Apple, by serial number."""
        devices = self.apple.server("hq").devices
        return {serial: _profile(Device.from_apple(dict(found.record))) for serial, found in devices.items()}

    def requests(self, endpoint: str) -> int:
        return self.apple.counts[endpoint]

    def _progress(self, progress: Progress) -> None:
        self.seen.append(progress)
        self.on_page()

    def _assigner(self, name: str, *arguments: Any) -> AssignReport:
        def work(client: Client) -> AssignReport:
            assigner = Assigner(client, self.store, clock=self.clock, progress=self._progress)
            report: AssignReport = getattr(assigner, name)(*arguments)
            return report

        async def async_work(client: AsyncClient) -> AssignReport:
            assigner = AsyncAssigner(client, self.store, clock=self.clock, progress=self._progress)
            report: AssignReport = await getattr(assigner, name)(*arguments)
            return report

        return self.do(work, async_work)

    def client(self, transport: Any = None) -> Client:
        return Client(
            self.token,
            transport=transport or self.apple.transport(),
            clock=self.clock,
            sleep=self.clock.sleep,
            random=lambda: 0.5,
        )

    def do(
        self, work: Callable[[Client], T], async_work: Callable[[AsyncClient], Any], *, transport: Any = None
    ) -> T:
        if self.kind == "sync":
            with self.client(transport) as client:
                return work(client)

        async def main() -> T:
            async with AsyncClient(
                self.token,
                transport=transport or self.apple.transport(),
                clock=self.clock,
                sleep=self.clock.sleep_async,
                random=lambda: 0.5,
            ) as client:
                result: T = await async_work(client)
                return result

        return anyio.run(main, backend=self.kind)


def _profile(device: Device) -> tuple[str | None, str | None]:
    return device.profile_status, device.profile_uuid


def make_world(kind: str, open_store: Callable[[FrozenClock], Store]) -> World:
    clock, store_clock = FrozenClock(), FrozenClock()
    store = open_store(store_clock)
    apple = FakeApple(clock=clock)
    apple.settings.throttle_changes = None
    apple.add_server("hq")
    token = apple.token("hq", name="hq")
    store.add_token(token)
    return World(kind=kind, clock=clock, store_clock=store_clock, apple=apple, store=store, token=token)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Return a world with an empty server ``hq``: on trio with a store in memory, otherwise with SQLite."""

    def open_store(clock: FrozenClock) -> Store:
        if request.param == "trio":
            return MemoryStore(clock=clock)
        return SQLiteStore(tmp_path / "ade.db", clock=clock)

    world = make_world(request.param, open_store)
    with world.store:
        yield world


@pytest.fixture
def new_world() -> Callable[[], World]:
    """Return a function that creates another synchronous world, in memory."""
    return lambda: make_world("sync", lambda clock: MemoryStore(clock=clock))


@pytest.fixture
def profile() -> EnrollmentProfile:
    return EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll", department="IT")
