"""The callers' functions: checked where they are given, in threads of their own, named where they fail."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.cases import each

from pyade.errors import PolicyError
from pyade.flow import AsyncRunner, CallHook, Runner
from pyade.hooks import THREADS, check_hook


class Service:
    def one(self, name: str) -> None: ...

    async def later(self, name: str) -> None: ...

    async def __call__(self, name: str) -> None: ...


def two(name: str, password: str = "the default is a secret") -> None: ...


GOOD: list[tuple[Any, str]] = [
    (None, "name"),
    (two, "name"),
    (two, "name, password"),
    (lambda *_: None, "name, password"),
    (Service().one, "name"),
    (functools.partial(two, "ada"), "password"),
    (dict, ""),
    (print, "name"),
    (Service().later, "name"),
]


@each("hook, arguments", GOOD)
def test_what_can_be_called_is_accepted(hook: Any, arguments: str) -> None:
    check_hook("authenticate", hook, arguments)


@each(
    "hook, arguments, words",
    [
        (
            two,
            "",
            "authenticate is called with (), and two takes (name, password): give a function that takes 0",
        ),
        (two, "a, b, c", "takes 3 arguments"),
        (lambda: None, "request", "<lambda> takes (): give a function that takes 1 argument"),
        (Service().one, "a, b", "Service.one takes (name)"),
    ],
)
def test_a_hook_that_cannot_be_called_is_refused(hook: Any, arguments: str, words: str) -> None:
    with pytest.raises(PolicyError) as refused:
        check_hook("authenticate", hook, arguments)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


@each("hook", [Service().later, Service(), functools.partial(Service().later, "ada")])
def test_a_hook_that_would_not_be_awaited_is_refused(hook: Any) -> None:
    wanted = "" if isinstance(hook, functools.partial) else "name"
    check_hook("check", hook, wanted)
    with pytest.raises(PolicyError, match="check is asynchronous: use AsyncThing, or give a function"):
        check_hook("check", hook, wanted, asynchronous="AsyncThing")


def fails(name: str) -> None:
    raise ValueError(f"the password of {name}\n is" + " x" * 300)


async def fails_later(name: str) -> None:
    fails(name)


def run(kind: str, step: CallHook[Any]) -> Any:
    if kind == "sync":
        return Runner()(step)

    async def main() -> Any:
        return await AsyncRunner()(step)

    return anyio.run(main, backend=kind)


@pytest.mark.parametrize(
    ("kind", "hook"),
    [("sync", fails), ("asyncio", fails), ("trio", fails), ("asyncio", fails_later), ("trio", fails_later)],
)
def test_a_hook_that_raises_is_named(
    kind: str, hook: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="pyade.hooks"), pytest.raises(ValueError, match="ada"):
        run(kind, CallHook(hook, ("ada",), "authenticate"))
    [record] = caplog.records
    text = record.getMessage()
    assert text.startswith(f"the hook authenticate ({hook.__name__}) raised ValueError at test_hooks.py:")
    assert record.levelno == logging.ERROR
    assert "password" not in text
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="pyade.hooks"), pytest.raises(ValueError, match="ada"):
        run(kind, CallHook(hook, ("ada",), "authenticate"))
    said = caplog.records[1].getMessage()
    assert r"the password of ada\n is x x" in said
    assert len(said) < 300


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_slow_hooks_hold_up_no_store(backend: str) -> None:
    """More of them than there are threads for hooks, and more than there are threads of other kinds."""
    count, go = THREADS + 5, threading.Event()
    arrived = threading.Semaphore(0)

    def slow() -> None:
        arrived.release()
        go.wait(30)

    async def main() -> None:
        runner = AsyncRunner(store={})
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(runner, CallHook(slow))
            for _ in range(THREADS):
                await anyio.to_thread.run_sync(arrived.acquire)
            try:
                with anyio.fail_after(20):
                    assert await anyio.to_thread.run_sync(lambda: "the store answers") == "the store answers"
            finally:
                go.set()

    anyio.run(main, backend=backend)
