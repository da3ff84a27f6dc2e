"""The pytest plugin of pyade: fixtures of one fake world, found by pytest without any configuration.

Nothing of pyade is imported before a fixture is used. So a run that uses none stays fast, and a run that
measures the coverage of pyade sees every line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyade.testing import FakeApple, FrozenClock, World


def pytest_configure() -> None:
    """Let a failed assertion of the test suites for stores show its values."""
    pytest.register_assert_rewrite("pyade.testing.contract")


@pytest.fixture
def pyade_world() -> Iterator[World]:
    """A fake of Apple with an MDM server and three Macs, their token, a store and a client; one clock."""
    from pyade.testing import FrozenClock, World  # noqa: PLC0415 - see above

    with World(FrozenClock()) as world:
        yield world


@pytest.fixture
def fake_apple(pyade_world: World) -> FakeApple:
    """The fake of Apple in ``pyade_world``: its portal and its device assignment service."""
    return pyade_world.fake


@pytest.fixture
def frozen_clock(pyade_world: World) -> FrozenClock:
    """The clock of ``pyade_world``, which moves only when the test advances it."""
    return pyade_world.clock
