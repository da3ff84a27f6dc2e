"""A nightly job that never starts exactly on time syncs every night, and fetches the full list when due."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from pyade.apple.client import Client
from pyade.assignment import Assigner
from pyade.core.fleet.sync_policy import SyncAction, SyncPolicy
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.operations import assign_token, due_tokens, sync_token
from pyade.sync import send_reminders

if TYPE_CHECKING:
    from tests.worlds import World

NIGHTS = 15
FETCH, SYNC = "POST /server/devices", "POST /devices/sync"


def automatic(world: World) -> None:
    """A script that uses a ``Syncer``."""
    assert world.sync(automatic=True).is_complete


def plain(world: World) -> None:
    assert world.sync().is_complete


def recipe(world: World) -> None:
    """The script for cron in docs/workers.md."""

    def client_for(token: Token) -> Client:
        return Client(token, transport=world.apple.transport(), clock=world.clock, sleep=world.clock.sleep)

    send_reminders(world.store, now=world.clock())
    for name in due_tokens(world.store, now=world.clock()):
        again_at = sync_token(world.store, client_for, name, clock=world.clock)
        # The returned time is exact: a queue that uses it is never early.
        assert again_at == world.clock() + timedelta(hours=24)
        assign_token(world.store, client_for, name, clock=world.clock)


@pytest.mark.parametrize("job", [automatic, plain, recipe])
@pytest.mark.parametrize("seed", range(5))
def test_nightly_job_syncs_every_night(
    new_world: Callable[[], World], job: Callable[[World], None], seed: int
) -> None:
    """With 0 to 10 seconds of jitter; at least two are full syncs, and each finds the day's new Mac."""
    world = new_world()
    chance = random.Random(seed)
    fulls, late = [], 0.0
    for night in range(NIGHTS):
        world.later(seconds=86_400 - late + (late := chance.uniform(0, 10)))
        (serial,) = world.apple.add_devices(1, server="hq")
        before = world.requests(SYNC), world.requests(FETCH)
        job(world)
        assert world.requests(SYNC) == before[0] + 1, f"night {night}"
        assert serial in world.listed()
        if world.requests(FETCH) > before[1]:
            fulls.append(world.state.full_sync_at)
    assert len(fulls) >= 2
    assert all(b - a >= timedelta(days=7) for a, b in pairwise(fulls) if a and b)
    world.store.close()


def test_nightly_run_does_not_drift_earlier(new_world: Callable[[], World]) -> None:
    """A job that runs each minute uses the exact time: otherwise each day would be five minutes shorter."""
    world = new_world()
    world.sync()
    world.later(hours=23, minutes=56)
    assert due_tokens(world.store, now=world.clock()) == ("hq",)
    assert due_tokens(world.store, now=world.clock(), early=False) == ()
    report = world.sync(automatic=True)
    assert report.action is SyncAction.DELTA
    assert report.next_automatic_at == world.clock() + timedelta(hours=24)
    world.store.close()


def test_full_false_reads_only_changes_and_none_decides_by_age(world: World) -> None:
    """``full=False`` never fetches the list while there is a cursor; None does when it is old enough."""
    world.apple.add_devices(1, server="hq")
    world.policy = SyncPolicy(full_interval=timedelta(days=2))
    world.sync()
    assert world.later(days=2, seconds=-1).sync().action is SyncAction.DELTA
    assert world.later(days=2).sync(full=False, automatic=True).action is SyncAction.DELTA
    assert world.later(minutes=15).sync(full=False).action is SyncAction.DELTA
    assert world.later(minutes=15).sync().action is SyncAction.FULL
    world.apple.faults.expire_cursors("hq")
    assert world.later(minutes=15).sync(full=False).action is SyncAction.RECOVERY


def test_new_macs_get_their_profile_in_one_night(new_world: Callable[[], World]) -> None:
    world = new_world()
    profile = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")
    world.sync()
    world.store.set_default_profile("hq", profile)
    world.later(hours=24, seconds=-3)
    (serial,) = world.apple.add_devices(1, server="hq")
    recipe(world)
    with world.client() as client:
        assert Assigner(client, world.store, clock=world.clock).count_devices_at_risk() == 0
    assert world.listed()[serial][0] == "assigned"
    world.store.close()
