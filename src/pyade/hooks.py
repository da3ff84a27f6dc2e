"""Check and call the caller's hooks, and log the ones that fail.

The rules of this file:

1. A hook with another signature is refused when it is passed, and so is an asynchronous one if nothing awaits
   it.
2. Plain hooks run in their own worker threads: 40 slow ones delay no store call and no health check.
3. If a hook raises, the log names the argument, the type of the error and the lines of its traceback. The
   text of the error may quote a password: it is logged at ``DEBUG`` only, escaped and cut. The error
   propagates.
4. A ``Secret`` among the arguments is revealed in the call itself, so that no frame here holds its text.
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
from pyade.loading import lazy_modules
from pyade.text import logger

if TYPE_CHECKING:
    import anyio
    from anyio import lowlevel, to_thread
else:
    lazy_modules(globals(), anyio="anyio", lowlevel="anyio.lowlevel", to_thread="anyio.to_thread")

T = TypeVar("T")

Hook: TypeAlias = Callable[..., T | Awaitable[T]]
"""A function that a caller passes; for the asynchronous classes also a coroutine function."""

THREADS: Final = 40
_LONGEST: Final = 200
_PLACES: Final = 4

_log = logger(__name__)


def check_hook(name: str, hook: object, arguments: str, *, asynchronous: str = "") -> None:
    """Accept a hook that can be called with *arguments*.

    Args:
        name: The argument as which it was passed, such as ``authenticate``.
        hook: The hook; None if none was passed.
        arguments: The names of the arguments with which it will be called, separated by ", ".
        asynchronous: The class that takes coroutine functions; "" if they are accepted.

    Raises:
        PolicyError: It takes other arguments, or is a coroutine function and those are not accepted.
    """
    if hook is None or not callable(hook):
        return
    wanted = [one for one in arguments.split(", ") if one]
    try:
        signature = inspect.signature(hook)
    except (ValueError, TypeError):  # some functions in C have no signature
        return
    try:  # rule 1
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
        getattr(hook, "__call__", None)  # noqa: B004 - its type matters, not whether it exists
    )


def title(hook: object) -> str:
    """Return the name of a hook."""
    return str(getattr(hook, "__qualname__", "") or type(hook).__qualname__)


def call(hook: Hook[T], *arguments: Any, name: str = "", asynchronous: str = "") -> T:
    """Call *hook* and return its result.

    Args:
        hook: A plain function.
        arguments: The arguments of the call; a ``Secret`` is passed as text.
        name: The argument as which the hook was passed, for the log.
        asynchronous: The class that takes coroutine functions, for the error about one.

    Raises:
        PolicyError: It is a coroutine function.
    """
    try:
        result: Any = hook(*map(_revealed, arguments))  # rule 4
    except Exception as error:
        _log_failure(name, hook, error)
        raise
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        called = name or getattr(hook, "__name__", type(hook).__name__)
        raise PolicyError(f"{called} is asynchronous: use {asynchronous}, or give a function")
    plain: T = result
    return plain


async def call_async(hook: Hook[T], *arguments: Any, name: str = "") -> T:
    """Call *hook* and return its result: awaited if it is a coroutine function, else in a worker thread.

    Args:
        hook: A function, or a coroutine function.
        arguments: The arguments of the call; a ``Secret`` is passed as text.
        name: The argument as which the hook was passed, for the log.
    """
    try:
        if is_asynchronous(hook):
            returned: Any = hook(*map(_revealed, arguments))
        else:  # rule 2
            returned = await to_thread.run_sync(hook, *map(_revealed, arguments), limiter=_hook_threads())
        result: T = await returned if inspect.isawaitable(returned) else returned
    except Exception as error:
        _log_failure(name, hook, error)
        raise
    return result


def places_of(error: BaseException) -> str:
    """Return the last lines of an error's traceback, the newest first, as ``file:line``."""
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    return ", ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _hook_threads() -> anyio.CapacityLimiter:
    """Return the limiter of hook threads in this event loop."""
    try:
        return _threads().get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _threads().set(limiter)
        return limiter


@functools.cache
def _threads() -> lowlevel.RunVar[anyio.CapacityLimiter]:
    return lowlevel.RunVar("pyade hooks")


def _log_failure(name: str, hook: object, error: Exception) -> None:  # rule 3
    called = f"{name} ({title(hook)})" if name else title(hook)
    _log.error("the hook %s raised %s at %s", called, type(error).__name__, places_of(error))
    _log.debug("the error of the hook %s: %s", called, str(error)[:_LONGEST])


def _revealed(argument: Any) -> Any:
    return argument.reveal() if isinstance(argument, Secret) else argument
