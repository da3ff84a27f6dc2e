"""The functions that a caller hands in: checked where they are given, called, and named where they fail.

The rules of this file:

1. A hook that cannot be called as it will be is refused where it is given: by its signature, and one that is
   asynchronous where nothing awaits it.
2. Plain hooks work in worker threads of their own: 40 slow ones hold up no store and no health check.
3. Of a hook that raises the log names the argument, the type of the error and the lines that it came through.
   Its text may quote a password: it is in the log at ``DEBUG`` only, escaped and cut. The error goes on.
4. A ``Secret`` among the arguments is opened in the call itself, so that no frame here holds it.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from pyade.core.secret import Secret
from pyade.errors import PolicyError
from pyade.loading import modules_when_asked
from pyade.text import logger

if TYPE_CHECKING:
    import anyio
    from anyio import lowlevel, to_thread
else:
    modules_when_asked(globals(), anyio="anyio", lowlevel="anyio.lowlevel", to_thread="anyio.to_thread")

T = TypeVar("T")

Hook: TypeAlias = Callable[..., T | Awaitable[T]]
"""A function that a caller hands in; for the asynchronous classes also a coroutine function."""

THREADS: Final = 40
_LONGEST: Final = 200
_PLACES: Final = 4

_log = logger(__name__)


def check_hook(name: str, hook: object, arguments: str, *, asynchronous: str = "") -> None:
    """Accept a hook that can be called.

    Args:
        name: The argument that it was given as, such as ``authenticate``.
        hook: None where none was given.
        arguments: The names of what it will be called with, with commas between.
        asynchronous: The class that takes coroutine functions; "" where they are taken.

    Raises:
        PolicyError: It takes other arguments, or is a coroutine function where none is taken.
    """
    if hook is None or not callable(hook):
        return
    wanted = [one for one in arguments.split(", ") if one]
    try:
        signature = inspect.signature(hook)
    except (ValueError, TypeError):  # of some functions in C nothing is known
        return
    try:
        signature.bind(*wanted)
    except TypeError:
        raise PolicyError(
            f"{name} is called with ({arguments}), and {title(hook)} takes"
            f" ({', '.join(signature.parameters)}): give a function that takes {len(wanted)}"
            f" argument{'' if len(wanted) == 1 else 's'}"
        ) from None
    if asynchronous and is_asynchronous(hook):
        raise PolicyError(f"{name} is asynchronous: use {asynchronous}, or give a function")


def is_asynchronous(hook: object) -> bool:
    """Return True for a coroutine function, and for an object that is called as one."""
    return inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(
        getattr(hook, "__call__", None)  # noqa: B004 - its kind is asked for, not whether it is there
    )


def title(hook: object) -> str:
    """Return what a hook is called."""
    return str(getattr(hook, "__qualname__", "") or type(hook).__qualname__)


def call(hook: Hook[T], *arguments: Any, name: str = "", asynchronous: str = "") -> T:
    """Return what *hook* returns.

    Args:
        hook: A plain function.
        arguments: What it is called with; a ``Secret`` is opened.
        name: The argument that it was given as, for the log.
        asynchronous: The class that takes coroutine functions, for the error about one.

    Raises:
        PolicyError: It is a coroutine function.
    """
    try:
        answer: Any = hook(*map(_opened, arguments))
    except Exception as error:
        _note(name, hook, error)
        raise
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        called = name or getattr(hook, "__name__", type(hook).__name__)
        raise PolicyError(f"{called} is asynchronous: use {asynchronous}, or give a function")
    plain: T = answer
    return plain


async def call_async(hook: Hook[T], *arguments: Any, name: str = "") -> T:
    """Return what *hook* returns: awaited if it is a coroutine function, else called in a worker thread.

    Args:
        hook: A function, or a coroutine function.
        arguments: What it is called with; a ``Secret`` is opened.
        name: The argument that it was given as, for the log.
    """
    try:
        if is_asynchronous(hook):
            returned: Any = hook(*map(_opened, arguments))
        else:
            returned = await to_thread.run_sync(hook, *map(_opened, arguments), limiter=_hook_threads())
        answer: T = await returned if inspect.isawaitable(returned) else returned
    except Exception as error:
        _note(name, hook, error)
        raise
    return answer


def places_of(error: BaseException) -> str:
    """Return the last lines that an error came through, the newest first, as ``file:line``."""
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    return ", ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _hook_threads() -> anyio.CapacityLimiter:
    """Return the limit of this event loop."""
    try:
        return _threads().get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _threads().set(limiter)
        return limiter


@functools.cache
def _threads() -> lowlevel.RunVar[anyio.CapacityLimiter]:
    return lowlevel.RunVar("pyade hooks")


def _note(name: str, hook: object, error: Exception) -> None:
    called = f"{name} ({title(hook)})" if name else title(hook)
    _log.error("the hook %s raised %s at %s", called, type(error).__name__, places_of(error))
    _log.debug("the hook %s said: %s", called, str(error)[:_LONGEST])


def _opened(argument: Any) -> Any:
    return argument.reveal() if isinstance(argument, Secret) else argument
