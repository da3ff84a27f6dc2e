"""The frames of runners hold no secret, and ``leaks`` finds secrets."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.leaks import leaks

from pyade.core.secret import Secret
from pyade.flow import AsyncRunner, CallHook, Flow, RandomBytes, RandomText, Runner, Step, ask


def failing_after(step: Step[Any]) -> Flow[None]:
    yield from ask(step)
    raise ValueError("after the answer")


@pytest.mark.parametrize("step", [RandomBytes(16), RandomText(16)], ids=str)
def test_a_runner_keeps_no_answer_in_its_frames(step: Step[Any]) -> None:
    """The answer may be a secret, and a traceback with locals would show it."""
    shown = [str(b"0123456789abcdef")[2:-1], "MDEyMzQ1Njc4OWFiY2RlZg"]
    with pytest.raises(ValueError, match="after") as caught:
        Runner(chance=lambda size: b"0123456789abcdef"[:size]).run(failing_after(step))
    assert not leaks(caught.value, *shown)

    async def main() -> None:
        await AsyncRunner(chance=lambda size: b"0123456789abcdef"[:size]).run(failing_after(step))

    with pytest.raises(ValueError, match="after") as caught:
        anyio.run(main)
    assert not leaks(caught.value, *shown)


def test_a_hook_gets_a_secret_as_text_and_a_runner_shows_stars() -> None:
    def hook(name: str, password: str) -> str:
        assert (name, password) == ("ada", "hunter2")
        raise ValueError("the directory does not answer")

    step = CallHook(hook, ("ada", Secret("hunter2")))
    with pytest.raises(ValueError, match="directory") as caught:
        Runner()(step)
    assert not leaks(caught.value, "hunter2")

    async def main() -> None:
        await AsyncRunner()(step)

    with pytest.raises(ValueError, match="directory") as caught:
        anyio.run(main)
    assert not leaks(caught.value, "hunter2")


def test_leaks_finds_secrets_in_contexts_and_frames() -> None:
    def hook(password: str) -> None:
        try:
            int(password)
        except ValueError:
            raise RuntimeError("no number") from None

    with pytest.raises(RuntimeError) as caught:
        Runner()(CallHook(hook, ("hunter2",)))
    lines = leaks(caught.value, "hunter2")
    assert any("invalid literal" in line for line in lines), "the context that 'from None' only hides"
    assert any("arguments = " in line for line in lines), "a local of a frame of pyade"
    assert not any("password = " in line for line in lines), "the frame of the hook is not ours"
