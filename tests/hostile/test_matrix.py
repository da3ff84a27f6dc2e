"""Every kind of hostile response with every endpoint of both services, synchronous and asynchronous.

The synchronous calls run in threads and the asynchronous ones in one event loop, many at a time. Kinds that
attack memory run one by one, in a process that is measured.

Both ways share one flow. ``PYADE_HOSTILE_SHARE=4`` takes every fourth kind the asynchronous way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import anyio
import pytest
from tests.hostile import driver
from tests.hostile.conftest import Measure
from tests.hostile.driver import DEADLINE_S, KINDS, Case, Outcome
from tests.hostile.server import HostileServer

pytestmark = pytest.mark.slow

AT_A_TIME = 24
SHARE = int(os.environ.get("PYADE_HOSTILE_SHARE", "1"))
MOST_DOUBTFUL = 150
"""Up to this number of failed kinds are repeated; if more fail it is no coincidence."""

Asked: TypeAlias = list[tuple[Case, Outcome]]


def cases_of(service: str, *, is_large: bool) -> list[list[Case]]:
    """Return the cases of each kind that can share a client."""
    found: list[list[Case]] = []
    for kind in KINDS.values():
        places = [one for one in kind.endpoints if one.service == service]
        if kind.is_large == is_large:
            found.extend(
                [Case(kind=kind, endpoint=one) for one in places if (one.attacked, one.is_log) == like]
                for like in {(one.attacked, one.is_log) for one in places}
            )
    return found


def in_threads(groups: Iterable[list[Case]], server: HostileServer) -> Asked:
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(AT_A_TIME) as pool:
        call = []
        for group in groups:
            client = stack.enter_context(driver.client(group[0], server.ports, DEADLINE_S))
            call += [(case, pool.submit(driver.call, case, client)) for case in group]
        return [(case, future.result()) for case, future in call]


def in_one_loop(groups: Iterable[list[Case]], server: HostileServer) -> Asked:
    found: Asked = []

    async def ask(case: Case, client: Any, turns: anyio.Semaphore) -> None:
        async with turns:
            found.append((case, await driver.call_async(case, client)))

    async def ask_all() -> None:
        turns = anyio.Semaphore(AT_A_TIME)
        async with contextlib.AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            for group in list(groups)[::SHARE]:
                made = driver.async_client(group[0], server.ports, DEADLINE_S)
                client = await stack.enter_async_context(made)
                for case in group:
                    tasks.start_soon(ask, case, client, turns)

    anyio.run(ask_all, backend="asyncio")
    return found


WAYS: dict[str, Callable[[Iterable[list[Case]], HostileServer], Asked]] = {
    "sync": in_threads,
    "asyncio": in_one_loop,
}


@pytest.mark.parametrize("service", ["apple", "business"])
@pytest.mark.parametrize("mode", WAYS)
def test_every_kind_with_every_endpoint(mode: str, service: str, server: HostileServer) -> None:
    call = WAYS[mode](cases_of(service, is_large=False), server)
    doubtful: dict[str, list[tuple[Case, str]]] = {}
    for case, outcome in call:
        if wrong := driver.check_outcome(case, outcome, driver.reference(case, server.ports), DEADLINE_S):
            doubtful.setdefault(case.kind.name, []).append((case, wrong))
    complaints = list(_confirmed(doubtful, server, mode))
    assert not complaints, "\n".join([f"{len(complaints)} kinds, of {len(call)} calls", *complaints])


def _confirmed(
    doubtful: dict[str, list[tuple[Case, str]]], server: HostileServer, mode: str
) -> Iterator[str]:
    """Yield one complaint of each kind that also fails alone."""
    for name, some in doubtful.items():
        if len(doubtful) > MOST_DOUBTFUL:
            yield f"{name}: {some[0][0].endpoint.name}: {some[0][1]}"
            continue
        again = (driver.complaint_about(case, server.ports, mode) for case, _ in some)
        if complaint := next(filter(None, again), ""):
            yield complaint


@pytest.mark.parametrize("service", ["apple", "business"])
def test_no_response_takes_much_memory_with_any_endpoint(service: str, measured: Measure) -> None:
    complaints = list(_measured(service, measured))
    assert not complaints, "\n".join(complaints)


def _measured(service: str, measured: Measure) -> Iterator[str]:
    for group in cases_of(service, is_large=True):
        for case in group:
            for mode in WAYS:
                if complaint := measured(case, mode):
                    yield complaint
