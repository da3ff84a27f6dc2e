"""The kinds of arguments: a wrong one is refused at the door where it is given, and named.

Python takes any object for any argument. A text where a profile is meant then fails deep inside, or is stored
and breaks what reads it. The annotations of the public classes and functions say what is meant: here they are
checked, once for all doors.

The rules of this file:

1. A door is a class or function marked with ``checks_kinds``: of a class its constructor and public methods.
   What is wrong is found with the call, or with the first step of what is awaited or iterated.
2. What an annotation cannot say in general, such as a length, is checked inside. Where
   strangers send the value, such as a Mac its MachineInfo, it is not checked here either.
3. What a function of the caller's returns is looked at with each call of it: a clock, or what makes clients.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import attrs

from pyade.core.annotations import Kind, given, kinds_of
from pyade.errors import ArgumentError

T = TypeVar("T")
DoorT = TypeVar("DoorT", bound=Callable[..., Any])


@typing.overload
def checks_kinds(door: DoorT) -> DoorT: ...
@typing.overload
def checks_kinds(*, but: tuple[str, ...]) -> Callable[[DoorT], DoorT]: ...
def checks_kinds(door: Any = None, *, but: tuple[str, ...] = ()) -> Any:
    """Return the function, or class, which from now on refuses arguments that its annotations do not allow.

    Args:
        door: A function; or a class, of which the constructor and the public methods that it defines itself
            are marked. What it inherits is marked where it is defined.
        but: Arguments that are checked inside, which can say more about them.
    """
    if door is None:
        return functools.partial(checks_kinds, but=but)
    if not isinstance(door, type):
        return _checked(door, ArgumentCheck(door, but=but))
    for name, member in list(vars(door).items()):
        kind = type(member)
        function = member.__func__ if kind in (classmethod, staticmethod) else member
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            check = ArgumentCheck(function, but=but, owner=door, is_bound=kind is not staticmethod)
            checked = _checked(function, check)
            setattr(door, name, checked if function is member else kind(checked))
    return door


def _checked(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    """Return *function* with *check* before it; a coroutine function or generator stays one."""
    wrap = _call
    if inspect.isasyncgenfunction(function):
        wrap = _iterate
    elif inspect.iscoroutinefunction(function):
        wrap = _await
    checked: Any = functools.wraps(function)(wrap(function, check))
    checked.argument_check = check
    return typing.cast("Callable[..., Any]", checked)


# Arguments may be secret: the frames here let go of them before an error shows what a frame holds.


def _call(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    def checked(*args: Any, **named: Any) -> Any:
        error = check.refusal(args, named)
        try:
            if error is None:
                return function(*args, **named)
        finally:
            del args, named
        raise error

    return checked


def _await(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    async def checked(*args: Any, **named: Any) -> Any:
        error = check.refusal(args, named)
        try:
            if error is None:
                return await function(*args, **named)
        finally:
            del args, named
        raise error

    return checked


def _iterate(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    async def checked(*args: Any, **named: Any) -> AsyncIterator[Any]:
        if (error := check.refusal(args, named)) is not None:
            del args, named
            raise error
        items = function(*args, **named)
        del args, named
        async with contextlib.aclosing(items) as found:
            async for item in found:
                yield item

    return checked


def returned(function: str, value: T, kind: Kind) -> T:
    """Return *value*, which came from a function that the caller gave, such as a clock.

    Args:
        function: The argument that it was given as.
        value: What it returned.
        kind: What is allowed.

    Raises:
        ArgumentError: It is of another kind. A coroutine is closed.
    """
    if kind.accepts(value):
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise ArgumentError("", f"what {function} returned", given(value, kind), kind.words)


class ArgumentCheck:
    """Checks the kinds of one function's arguments; they are worked out with its first call.

    Args:
        function: Behind the door.
        but: Names of arguments that it checks itself.
        owner: The class that defines it; None for a function.
        is_bound: True if its first argument is the object or the class whose method it is.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        but: tuple[str, ...],
        owner: type | None = None,
        is_bound: bool = False,
    ) -> None:
        self._function, self._but, self._owner, self._is_bound = function, but, owner, is_bound
        self._known: dict[type | None, _Kinds] = {}

    def kinds(self, owner: type | None = None) -> Mapping[str, Kind | None]:
        """Return the kind of each argument by name; None for one that may be anything, or is checked inside.

        Args:
            owner: The class of the object, which says what type variables stand for.
        """
        return self._of(owner or self._owner).by_name

    def refusal(self, args: tuple[Any, ...], named: dict[str, Any]) -> ArgumentError | None:
        """Return the error for the first argument of a wrong kind; None if there is none."""
        owner = self._owner
        if self._is_bound and args:
            owner = args[0] if isinstance(args[0], type) else type(args[0])
        kinds = self._known.get(owner) or self._of(owner)
        for (name, kind), value in zip(kinds.by_position, args, strict=False):
            if kind is not None and not kind.accepts(value):
                return self._error(owner, name, kind, value)
        for name, value in named.items():
            kind = kinds.by_name.get(name)
            if kind is not None and not kind.accepts(value):
                return self._error(owner, name, kind, value)
        return None

    def _error(self, owner: type | None, name: str, kind: Kind, value: Any) -> ArgumentError:
        door = self._function.__qualname__
        if owner is not None:
            door = f"{owner.__name__}.{self._function.__name__}".removesuffix(".__init__")
        return ArgumentError(door, name, given(value, kind), kind.words)

    def _of(self, owner: type | None) -> _Kinds:
        if owner not in self._known:
            by_name = kinds_of(self._function, owner)
            by_name |= {name: None for name in self._but if name in by_name}
            parameters = inspect.signature(self._function).parameters.values()
            by_position = tuple(
                (one.name, by_name[one.name]) for one in parameters if one.kind <= one.POSITIONAL_OR_KEYWORD
            )
            self._known[owner] = _Kinds(by_position, by_name)
        return self._known[owner]


@attrs.frozen
class _Kinds:
    by_position: tuple[tuple[str, Kind | None], ...]
    by_name: Mapping[str, Kind | None]
