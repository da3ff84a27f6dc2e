"""Find secrets in errors: in their chain, and in the locals of pyade's frames in their tracebacks."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType


def text_of(error: BaseException) -> str:
    """Return everything that a logger, a debugger or a crash reporter could show of *error*.

    That is, of the error, its causes and contexts, and the errors of a group: texts, arguments, attributes,
    notes, and the locals of each frame of pyade. Fakes are excluded, since they stand for another server.
    """
    lines: list[str] = []
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        lines += (str(one), repr(one), repr(one.args), repr(vars(one)), *_frames(one.__traceback__))
        waiting += (one.__cause__, one.__context__)
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return "\n".join(lines)


def leaks(error: BaseException, *secrets: str) -> list[str]:
    """Return the lines of ``text_of(error)`` that contain one of *secrets*."""
    return [line for line in text_of(error).splitlines() if any(secret in line for secret in secrets)]


def _frames(trace: TracebackType | None) -> Iterator[str]:
    for frame, line in traceback.walk_tb(trace):
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith("pyade.") and not name.startswith("pyade.testing"):
            yield from traceback.StackSummary.extract(iter([(frame, line)]), capture_locals=True).format()
