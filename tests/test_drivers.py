"""The selection of one driver for each scenario."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
from tests.conftest import on_other_drivers

DRIVERS = ("sync", "asyncio", "trio")


@attrs.frozen
class Item:
    """The parts of a test item that the selection uses."""

    scenario: str
    driver: str
    is_twin: bool = False

    @property
    def nodeid(self) -> str:
        return f"tests/sync/test_syncer.py::test_{self.scenario}[{self.driver}-x]"

    def get_closest_marker(self, name: str) -> object:
        return self if name == "twins" and self.is_twin else None


def selected(items: list[Item]) -> set[Item]:
    given: list[Any] = list(items)
    return set(items) - set(on_other_drivers(given))


def test_a_scenario_runs_on_one_driver_and_half_of_them_without_an_event_loop() -> None:
    chosen = selected([Item(f"{number}", driver) for number in range(400) for driver in DRIVERS])
    assert Counter(item.scenario for item in chosen) == {f"{number}": 1 for number in range(400)}
    counts = Counter(item.driver for item in chosen)
    assert 170 < counts["sync"] < 230
    assert 70 < counts["trio"] < 130


def test_the_selection_depends_only_on_the_name() -> None:
    scenarios = [[Item(f"{number}", driver) for driver in DRIVERS] for number in range(40)]
    alone = set().union(*(selected(items) for items in scenarios))
    assert selected([item for items in reversed(scenarios) for item in reversed(items)]) == alone


def test_twins_run_with_and_without_an_event_loop() -> None:
    chosen = selected([Item(f"{number}", driver, is_twin=True) for number in range(40) for driver in DRIVERS])
    loops = Counter(item.scenario for item in chosen if item.driver != "sync")
    assert loops == {f"{number}": 1 for number in range(40)}
    assert Counter(item.driver for item in chosen)["sync"] == 40


def test_a_test_that_is_selected_by_its_id_runs() -> None:
    for driver in DRIVERS:
        assert selected([Item("picked", driver)]) == {Item("picked", driver)}
