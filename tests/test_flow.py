"""Flows run the same way synchronously and asynchronously, and handle the errors of their steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest

from pyade.flow import Flow, Step, ask, drive, drive_async


@attrs.frozen
class Double(Step[int]):
    number: int


class OddError(Exception):
    pass


class InterruptError(BaseException):
    """Represents KeyboardInterrupt and cancellation."""


Run = Callable[[Flow[Any]], Awaitable[Any]]


def perform(step: Step[Any]) -> Any:
    assert isinstance(step, Double)
    if step.number == 0:
        raise InterruptError
    if step.number < 0:
        raise OddError(step.number)
    return 2 * step.number


async def perform_async(step: Step[Any]) -> Any:
    await anyio.lowlevel.checkpoint()
    return perform(step)


async def run_sync(flow: Flow[Any]) -> Any:
    return drive(flow, perform)


async def run_async(flow: Flow[Any]) -> Any:
    return await drive_async(flow, perform_async)


pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("run", [run_sync, run_async])]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def nothing() -> Flow[str]:
    return "done"
    yield


def sum_of_doubles(*numbers: int) -> Flow[int]:
    total = 0
    for number in numbers:
        total += yield from ask(Double(number))
    return total


async def test_answers_come_back_to_the_flow(run: Run) -> None:
    assert await run(sum_of_doubles(1, 2, 3)) == 12


async def test_flow_without_steps_returns(run: Run) -> None:
    assert await run(nothing()) == "done"


async def test_flow_may_catch_the_error_of_a_step_and_go_on(run: Run) -> None:
    def flow() -> Flow[list[int]]:
        seen = []
        for number in (1, -1, 2):
            try:
                seen.append((yield from ask(Double(number))))
            except OddError:
                seen.append((yield from ask(Double(100))))
        return seen

    assert await run(flow()) == [2, 200, 4]


async def test_flow_may_end_with_a_result_after_an_error(run: Run) -> None:
    def flow() -> Flow[str]:
        try:
            yield from ask(Double(-1))
        except OddError as exc:
            return f"gave up on {exc}"
        return "no error"

    assert await run(flow()) == "gave up on -1"


async def test_error_that_the_flow_does_not_catch_is_raised(run: Run) -> None:
    ended = []

    def flow() -> Flow[int]:
        try:
            return (yield from ask(Double(-7)))
        finally:
            ended.append(True)

    with pytest.raises(OddError, match="-7"):
        await run(flow())
    assert ended == [True]


async def test_error_of_the_flow_itself_is_raised(run: Run) -> None:
    def flow() -> Flow[int]:
        yield from ask(Double(1))
        raise OddError("own")

    with pytest.raises(OddError, match="own"):
        await run(flow())


async def test_trace_of_an_error_shows_flow_and_driver(run: Run) -> None:
    with pytest.raises(OddError) as caught:
        await run(sum_of_doubles(-1))
    names = [entry.name for entry in caught.traceback]
    assert {"sum_of_doubles", "ask", "perform"} <= set(names)


async def test_interrupt_ends_the_flow_without_asking_it(run: Run) -> None:
    seen: list[str] = []

    def flow() -> Flow[None]:
        try:
            yield from ask(Double(0))
        except (OddError, InterruptError):
            seen.append("asked")
        finally:
            seen.append("ended")

    with pytest.raises(InterruptError):
        await run(flow())
    assert seen == ["ended"]
