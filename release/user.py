"""A program of a user of pyade, for type checkers that see only the installed wheel; it runs, too."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import assert_type

import pyade
from pyade import (
    Assigner,
    AssignmentPolicy,
    AssignReport,
    AsyncClient,
    AsyncSyncer,
    Client,
    EnrollmentProfile,
    PyadeError,
    Rule,
    SkipKeys,
    Syncer,
    SyncReport,
    Token,
    TokenKeypair,
)
from pyade.core import ProfilePlan
from pyade.storage import DeviceRecord, Event, MemoryStore, SQLiteStore, Store
from pyade.testing import FakeApple, FrozenClock


def sync_and_assign(fake: FakeApple, token: Token, store: Store, clock: FrozenClock) -> AssignReport:
    """Sync a token and assign a profile to its devices."""
    profile = EnrollmentProfile(
        name="Standard Mac", url="https://mdm.example.com/enroll", skip={SkipKeys.SIRI, SkipKeys.PAYMENT}
    )
    assert_type(profile.plan("15.4"), ProfilePlan)
    policy = AssignmentPolicy([Rule(profile=profile, model="MacBook*")])
    with Client(token, transport=fake.transport(), clock=clock) as apple:
        assert_type(Syncer(apple, store, clock=clock).sync(), SyncReport)
        report = Assigner(apple, store, policy=policy, clock=clock).run(default=profile)
    return assert_type(report, AssignReport)


async def sync_async(fake: FakeApple, token: Token, store: Store, clock: FrozenClock) -> SyncReport:
    """Sync a token in an event loop."""
    async with AsyncClient(token, transport=fake.transport(), clock=clock) as apple:
        return assert_type(await AsyncSyncer(apple, store, clock=clock).sync(), SyncReport)


def open_store(path: str) -> Store:
    """Return a store that implements the protocol."""
    return SQLiteStore(path)


def serial_numbers(records: Sequence[DeviceRecord]) -> list[str]:
    """Return the serial numbers of devices."""
    return [assert_type(record.device.serial_number, str) for record in records]


def main() -> None:
    """Use the fakes as the test of a user would."""
    clock = FrozenClock()
    assert_type(clock(), datetime)
    fake = FakeApple(clock=clock)
    fake.add_devices(3, server=fake.add_server("Contoso MDM"))
    token = assert_type(fake.token(name="hq"), Token)
    for run in range(2):
        with MemoryStore() as store:
            store.add_token(token)
            if run:
                asyncio.run(sync_async(fake, token, store, clock))
            else:
                print(sync_and_assign(fake, token, store, clock))
            for event in store.events():
                assert_type(event, Event)
    try:
        keypair = TokenKeypair.generate("Contoso MDM")
        assert_type(keypair.to_pem(), bytes)
        Token.from_p7m(b"", keypair, name="hq", apple_id="it@example.com", consented_at=clock())
    except PyadeError as error:
        print(f"{assert_type(str(error), str)} with pyade {assert_type(pyade.__version__, str)}")


if __name__ == "__main__":
    main()
