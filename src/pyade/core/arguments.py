"""The kinds of arguments: a wrong one is refused at the door where it is given, and named.

Python takes any object for any argument. A text where a profile is meant then fails deep inside, or is stored
and breaks what reads it. The annotations of the public classes and functions say what is meant: here they are
checked, once for all doors.

The rules of this file:

1. ``check_arguments`` marks a function, or a class with its constructor and public methods. What is wrong is
   found with the call, or with the first step of what is awaited or iterated.
2. What an annotation cannot say in general, such as a length, is checked inside. Where
   strangers send the value, such as a Mac its MachineInfo, it is not checked here either.
3. What a function of the caller's returns is looked at with each call of it: a clock, or what makes clients.

What an annotation allows as an argument, as a test of a value and in words; ``kinds`` asks.

The rules of this file:

1. A text, or bytes, is never a list of them. Every element of a list is looked at, and nothing is used up: of
   an iterator only that it is one.
2. True and False are no numbers, and only they are switches. A time has a time zone.
3. A protocol is met by whatever has its methods: a store, client or fake of the caller's own. What is
   asynchronous where it should not be, such as ``AsyncClient`` for ``Client``, or the reverse, does not meet
   it. A transport needs one method.
4. Nothing of a text or of bytes is in the words: it may be a secret in the wrong place.
5. A type that is imported for type checkers alone is one that a room offers. One that no room offers, and one
   that stands for any, allows everything.
"""

from __future__ import annotations

import collections.abc
import contextlib
import functools
import inspect
import sys
import types
import typing
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar

import attrs

from pyade.core.secret import Secret
from pyade.errors import ArgumentError
from pyade.loading import offered


@attrs.frozen
class Kind:
    """What is allowed for an argument.

    Attributes:
        accepts: True for a value of this kind.
        words: What is allowed, in words.
        plural: The same for the elements of a list.
        may_be_secret: True if a text or bytes are meant, so that nothing of what came instead is shown.
        members: The names of the methods and attributes that are asked for; () where something else counts.
    """

    accepts: Callable[[Any], bool]
    words: str
    plural: str
    may_be_secret: bool = False
    members: tuple[str, ...] = ()


def argument_types(function: Callable[..., Any], owner: type | None) -> dict[str, Kind | None]:
    """Return the kind of each argument, by name and in order; None where everything is allowed."""
    annotations = {name: it for name, it in function.__annotations__.items() if name != "return"}
    hints = hints_of(
        types.SimpleNamespace(__annotations__=annotations, __module__=function.__module__), owner
    )
    variables = _variables(owner) if owner else {}
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hint) is typing.Unpack:
            found |= typing.get_type_hints(typing.get_args(hint)[0])
        elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            found[name] = hint
    return {name: _kind(hint, variables) for name, hint in found.items()}


def hints_of(function: Any, owner: type | None = None) -> dict[str, Any]:
    """Return what ``typing.get_type_hints`` returns, also where a type is imported for type checkers alone.

    Args:
        function: Or a method.
        owner: The class whose method it is, for ``Self``.
    """
    names: dict[str, Any] = {"Self": owner or object}
    while True:
        try:
            return typing.get_type_hints(function, vars(sys.modules[function.__module__]), names)
        except NameError as error:
            names[str(error.name)] = _known_to_bases(owner, str(error.name))


def _known_to_bases(owner: type | None, name: str) -> Any:
    """Return what *name* is where a base of *owner* was written, or what a room offers by that name."""
    for base in (owner or object).__mro__:
        if name in (known := vars(sys.modules[base.__module__])):
            return known[name]
    if hasattr(collections.abc, name):  # attrs takes the annotation from a converter, which is elsewhere
        return getattr(collections.abc, name)
    return offered(name, Any)


def _variables(owner: type) -> dict[Any, Any]:
    """Return what the type variables of the bases of *owner* stand for."""
    found: dict[Any, Any] = {}
    for one in owner.__mro__:
        for base in one.__dict__.get("__orig_bases__", ()):
            origin = typing.get_origin(base)
            parameters = getattr(origin, "__parameters__", ())
            for variable, value in zip(parameters, typing.get_args(base), strict=False):
                found.setdefault(variable, found.get(value, value))
    return found


def _kind(hint: Any, variables: Mapping[Any, Any]) -> Kind | None:
    if isinstance(hint, TypeVar):
        hint = variables.get(hint, hint.__bound__ or Any)
    if isinstance(hint, TypeVar) or hint in _SIMPLE:
        return _SIMPLE.get(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        words = " or ".join(map(repr, args))
        return Kind(lambda value: value in args, words, words)
    if collections.abc.Callable in (origin, hint):
        return Kind(callable, "a function", "functions")
    inner = [_kind(one, variables) for one in args if one is not ...]
    if origin in (typing.Union, types.UnionType):
        return _any_of(inner)
    meant = origin or hint
    if meant in _LISTS:
        return _list(_LISTS[meant], inner, meant is tuple and ... not in args)
    return _object(meant, inner) if isinstance(meant, type) else None


def _object(meant: type, inner: list[Kind | None]) -> Kind | None:
    if issubclass(meant, collections.abc.Mapping):
        return _mapping(inner)
    if (title := f"{meant.__module__}.{meant.__name__}") in _BY_METHODS:
        return _having(meant, _BY_METHODS[title])
    if getattr(meant, "_is_protocol", False) and meant.__module__.startswith("pyade."):
        return _having(meant, _members_of(meant))
    return Kind(lambda value: isinstance(value, meant), _one(meant), f"{meant.__name__} objects")


def _any_of(kinds: list[Kind | None]) -> Kind | None:
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds):
        return None
    return Kind(
        lambda value: any(kind.accepts(value) for kind in known),
        " or ".join(dict.fromkeys(kind.words for kind in known)),
        " or ".join(dict.fromkeys(kind.plural for kind in known)),
        any(kind.may_be_secret for kind in known),
        tuple(name for kind in known for name in kind.members),
    )


def _list(outer: Any, kinds: list[Kind | None], is_fixed: bool) -> Kind:
    inner = kinds[0] if kinds else None
    words = f"a list of {inner.plural}" if inner else "a list"
    if is_fixed:
        words = f"{len(kinds)} values"

    def accepts(value: Any) -> bool:
        if isinstance(value, str | bytes | bytearray) or not isinstance(value, outer):
            return False
        if is_fixed:
            return len(value) == len(kinds) and all(map(_fits, kinds, value))
        return inner is None or not isinstance(value, _LOOKED_INTO) or all(map(inner.accepts, value))

    return Kind(accepts, words, f"{words[2:]}s" if words.startswith("a ") else words)


def _mapping(kinds: list[Kind | None]) -> Kind:
    key, inner = kinds if len(kinds) == 2 else (None, None)

    def accepts(value: Any) -> bool:
        if not isinstance(value, collections.abc.Mapping):
            return False
        return (key is None or all(map(key.accepts, value))) and (
            inner is None or all(map(inner.accepts, value.values()))
        )

    of = f" of {key.plural} to {inner.plural}" if key and inner else ""
    return Kind(accepts, f"a mapping{of}", f"mappings{of}")


def _members_of(protocol: type) -> tuple[str, ...]:
    """Return the names of the public methods and attributes of *protocol*."""
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False)]
    names = dict.fromkeys(name for base in bases for name in (*base.__annotations__, *vars(base)))
    return tuple(name for name in names if not name.startswith("_") or name == "__call__")


def _having(meant: type, members: tuple[str, ...]) -> Kind:
    """Return the kind of what has the members of *meant*, and whose methods are awaited if its are."""
    methods = {name: getattr(meant, name) for name in members if callable(getattr(meant, name, None))}
    waits = {name: inspect.iscoroutinefunction(method) for name, method in methods.items()}
    name = _PUBLIC_NAMES.get(meant.__name__, meant.__name__)

    def accepts(value: Any) -> bool:
        if isinstance(value, type):
            return False
        kind = type(value)
        if not all(_has(value, one) for one in members):
            return False
        return not any(_is_counterpart(getattr(kind, one, None), wait) for one, wait in waits.items())

    return Kind(accepts, _article(name), f"{name} objects", members=members)


def _has(value: Any, name: str) -> bool:
    # On the class first, so that no property is asked for.
    return hasattr(type(value), name) or hasattr(value, name)


def _is_counterpart(member: Any, waits: bool) -> bool:
    """Return True if a method is awaited where it is not to be, or the reverse, as far as it says so."""
    if inspect.iscoroutinefunction(member):
        return not waits
    if not waits or not inspect.isfunction(member):
        return False
    answer = str(member.__annotations__.get("return", "Any"))
    return not any(word in answer for word in ("Any", "Awaitable", "Coroutine", "Future", "Task"))


def _fits(kind: Kind | None, value: Any) -> bool:
    return kind is None or kind.accepts(value)


def given(value: Any, kind: Kind) -> str:
    """Return in words what came: a value if it cannot be secret, else only what it is."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float) and not kind.may_be_secret:
        return f"{value!r:.40}"
    if isinstance(value, datetime) and value.tzinfo is None:
        return "a time without a time zone"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    words = _one(type(value))
    if isinstance(value, _LOOKED_INTO) and "list of" in kind.words:
        words += f" with {', '.join(dict.fromkeys(_one(type(one)) for one in value))}"
    missing = [name for name in kind.members if not _has(value, name)]
    if 0 < len(missing) <= len(kind.members) / 2:  # else it was never meant to be one
        words += f" without {', '.join(missing)}"
    return words[:200]


def _one(kind: type) -> str:
    return _NAMES.get(kind, _article(kind.__name__))


def _article(name: str) -> str:
    return f"an {name}" if name[:1] in "AEIOaeio" else f"a {name}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


_LOOKED_INTO: Final = (list, tuple, set, frozenset, dict)
"""Lists that can be looked at again and again."""

_LISTS: Final[Mapping[type, Any]] = {
    list: (list, tuple),
    tuple: (list, tuple),
    set: collections.abc.Set,
    frozenset: collections.abc.Set,
    collections.abc.Iterable: collections.abc.Iterable,
    collections.abc.Collection: collections.abc.Collection,
    collections.abc.Sequence: collections.abc.Sequence,
}
_NAMES: Final[Mapping[type, str]] = {
    str: "a text",
    bytes: "bytes",
    bytearray: "a bytearray",
    int: "a whole number",
    types.NoneType: "None",
    types.FunctionType: "a function",
    types.MethodType: "a method",
}
_PUBLIC_NAMES: Final = {
    "Caller": "Client",
    "AsyncCaller": "AsyncClient",
    "EventSource": "Store",
    "SessionStorage": "Store",
}
_BY_METHODS: Final = {
    "httpx.BaseTransport": ("handle_request",),
    "httpx.AsyncBaseTransport": ("handle_async_request",),
    "threading.Event": ("is_set", "wait"),
}
"""Classes of others of which only these methods are used."""

TIME: Final = Kind(_is_time, "a time with a time zone, such as datetime.now(UTC)", "times with a time zone")
TEXT: Final = Kind(lambda value: isinstance(value, str), "a text", "texts", True)
TEXTS: Final = _list(collections.abc.Collection, [TEXT], is_fixed=False)
_SIMPLE: Final[Mapping[Any, Kind | None]] = {
    Any: None,
    object: None,
    None: Kind(lambda value: value is None, "None", "None"),
    types.NoneType: Kind(lambda value: value is None, "None", "None"),
    str: TEXT,
    bytes: Kind(lambda value: isinstance(value, bytes), "bytes", "bytes", True),
    Secret: Kind(lambda value: isinstance(value, Secret), "a Secret", "Secret objects", True),
    bool: Kind(lambda value: isinstance(value, bool), "True or False", "True or False"),
    int: Kind(
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        "a whole number",
        "whole numbers",
    ),
    float: Kind(_is_number, "a number", "numbers"),
    datetime: TIME,
    date: Kind(lambda value: isinstance(value, date) and not isinstance(value, datetime), "a date", "dates"),
    timedelta: Kind(
        lambda value: isinstance(value, timedelta),
        "a timedelta, such as timedelta(minutes=15)",
        "timedelta objects",
    ),
}


T = TypeVar("T")
DoorT = TypeVar("DoorT", bound=Callable[..., Any])


@typing.overload
def check_arguments(door: DoorT) -> DoorT: ...
@typing.overload
def check_arguments(*, but: tuple[str, ...]) -> Callable[[DoorT], DoorT]: ...
def check_arguments(door: Any = None, *, but: tuple[str, ...] = ()) -> Any:
    """Return the function, or class, which from now on refuses arguments that its annotations do not allow.

    Args:
        door: A function; or a class, of which the constructor and the public methods that it defines itself
            are marked. What it inherits is marked where it is defined.
        but: Arguments that are checked inside, which can say more about them.
    """
    if door is None:
        return functools.partial(check_arguments, but=but)
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
            by_name = argument_types(self._function, owner)
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
