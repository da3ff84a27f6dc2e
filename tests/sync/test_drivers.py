"""The two drivers know every step, and the two kinds of each class look alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pyade.apple.client import AsyncClient
from pyade.apple.flows import SendCall
from pyade.core.flow import Now, Step
from pyade.sync import Assigner, AsyncAssigner, AsyncSyncer, Syncer, steps
from pyade.sync.drivers import AsyncPerformer, Performer, ignore

if TYPE_CHECKING:
    from tests.sync.conftest import World


def test_every_step_of_this_room_is_known_to_both_drivers(new_world: Callable[[], World]) -> None:
    world = new_world()
    own = {
        value
        for value in vars(steps).values()
        if inspect.isclass(value) and issubclass(value, Step) and value is not Step
    }
    known = {Now, SendCall, *own}
    assert len(known) == 4
    with world.client() as client:
        assert Performer(client, world.store, world.clock, ignore).table.keys() == known
    client_of_the_other_kind = AsyncClient(world.token, transport=world.apple.transport(), clock=world.clock)
    table = AsyncPerformer(client_of_the_other_kind, world.store, world.clock, None).table
    assert table.keys() == known


@pytest.mark.parametrize(("one", "other"), [(Syncer, AsyncSyncer), (Assigner, AsyncAssigner)])
def test_both_kinds_have_the_same_methods(one: type, other: type) -> None:
    names = [name for name in vars(one) if not name.startswith("_")]
    assert names == [name for name in vars(other) if not name.startswith("_")]
    for name in ["__init__", *names]:
        mine, theirs = inspect.signature(getattr(one, name)), inspect.signature(getattr(other, name))
        apart = {"apple"}
        assert [p for p in mine.parameters.values() if p.name not in apart] == [
            p for p in theirs.parameters.values() if p.name not in apart
        ]
