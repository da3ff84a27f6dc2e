"""Check the types of arguments against their annotations, and name the one that is wrong.

Python takes any object for any argument. A text where a profile is meant then fails deep inside, or is stored
and breaks what reads it. The annotations of the public classes and functions say what is meant: here they are
checked, for all public functions in one place.

The rules of this file:

1. ``check_arguments`` marks a function, or a class with its constructor and public methods. A wrong argument
   raises with the call, or with the first step of what is awaited or iterated.
2. What an annotation cannot say in general, such as a length, is checked inside. So is untrusted input, such
   as the MachineInfo of a Mac.
3. What a function of the caller returns, such as a clock or a client factory, is checked with each call.
4. A text is never taken as a list of texts, nor bytes as a list. Every element of a list is checked. Of an
   iterator only the type is checked, so that it is not used up.
5. True and False are not numbers, and only they are allowed for a ``bool``. A time needs a time zone.
6. A protocol is met by any object with its methods: a store, client or fake of the caller's own. What is
   asynchronous where it should not be, such as ``AsyncClient`` for ``Client``, or the reverse, does not meet
   it. A transport needs one method.
7. No error shows anything of a text or of bytes: it may be a secret in the wrong place.
8. A type that is imported for type checkers alone is found by its name in the packages of pyade. A type that
   no package offers allows everything, as ``Any`` does.
9. An argument that is missing, unknown or one too many is named as well, with the public name of the class:
   Python would name the constructor of a private base.
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
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from pyade.core.secret import Secret
from pyade.errors import ArgumentError
from pyade.loading import find_public_name, lazy_modules

if TYPE_CHECKING:
    import difflib
else:
    lazy_modules(globals(), difflib="difflib")  # for an error alone


@attrs.frozen
class ArgumentType:
    """What is allowed for an argument.

    Attributes:
        accepts: Returns True for a value that is allowed.
        description: What is allowed, in words.
        plural: The same for the elements of a list.
        may_be_secret: True if a text or bytes are meant, so that nothing of another value is shown.
        members: The names of the methods and attributes that are required; () where something else counts.
    """

    accepts: Callable[[Any], bool]
    description: str
    plural: str
    may_be_secret: bool = False
    members: tuple[str, ...] = ()


def argument_types(function: Callable[..., Any], owner: type | None) -> dict[str, ArgumentType | None]:
    """Return the type of each argument, by name and in order; None where everything is allowed."""
    annotations = {name: it for name, it in function.__annotations__.items() if name != "return"}
    hints = hints_of(
        types.SimpleNamespace(__annotations__=annotations, __module__=function.__module__), owner
    )
    variables = _type_variables(owner) if owner else {}
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is parameter.VAR_KEYWORD and typing.get_origin(hint) is typing.Unpack:
            found |= typing.get_type_hints(typing.get_args(hint)[0])
        elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            found[name] = hint
    return {name: _type_of(hint, variables) for name, hint in found.items()}


def hints_of(function: Any, owner: type | None = None) -> dict[str, Any]:
    """Return the hints of ``typing.get_type_hints``, also where a type is imported for type checkers alone.

    Args:
        function: A function or a method.
        owner: The class whose method it is, for ``Self``.
    """
    names: dict[str, Any] = {"Self": owner or object}
    while True:
        try:
            return typing.get_type_hints(function, vars(sys.modules[function.__module__]), names)
        except NameError as error:
            names[str(error.name)] = _find_name(owner, str(error.name))


def _find_name(owner: type | None, name: str) -> Any:
    """Return *name* from the module of a base of *owner*, or from a package of pyade; else ``Any``."""
    for base in (owner or object).__mro__:
        if name in (known := vars(sys.modules[base.__module__])):
            return known[name]
    if hasattr(collections.abc, name):  # attrs takes the annotation from a converter, which is elsewhere
        return getattr(collections.abc, name)
    return find_public_name(name, Any)


def _type_variables(owner: type) -> dict[Any, Any]:
    """Return what the type variables of the bases of *owner* stand for."""
    found: dict[Any, Any] = {}
    for one in owner.__mro__:
        for base in one.__dict__.get("__orig_bases__", ()):
            origin = typing.get_origin(base)
            parameters = getattr(origin, "__parameters__", ())
            for variable, value in zip(parameters, typing.get_args(base), strict=False):
                found.setdefault(variable, found.get(value, value))
    return found


def _type_of(hint: Any, variables: Mapping[Any, Any]) -> ArgumentType | None:
    if isinstance(hint, TypeVar):
        hint = variables.get(hint, hint.__bound__ or Any)
    if isinstance(hint, TypeVar) or hint in _SIMPLE:  # rule 8
        return _SIMPLE.get(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        allowed = " or ".join(map(repr, args))
        return ArgumentType(lambda value: value in args, allowed, allowed)
    if collections.abc.Callable in (origin, hint):
        return ArgumentType(callable, "a function", "functions")
    inner = [_type_of(one, variables) for one in args if one is not ...]
    if origin in (typing.Union, types.UnionType):
        return _union(inner)
    meant = origin or hint
    if meant in _SEQUENCES:
        return _sequence(_SEQUENCES[meant], inner, meant is tuple and ... not in args)
    return _class(meant, inner) if isinstance(meant, type) else None


def _class(meant: type, inner: list[ArgumentType | None]) -> ArgumentType | None:
    if issubclass(meant, collections.abc.Mapping):
        return _mapping(inner)
    if (title := f"{meant.__module__}.{meant.__name__}") in _METHODS_OF:
        return _structural(meant, _METHODS_OF[title])
    if getattr(meant, "_is_protocol", False) and meant.__module__.startswith("pyade."):
        return _structural(meant, _members_of(meant))
    return ArgumentType(
        lambda value: isinstance(value, meant), _type_name(meant), f"{meant.__name__} objects"
    )


def _union(types: list[ArgumentType | None]) -> ArgumentType | None:
    known = [one for one in types if one is not None]
    if len(known) < len(types):
        return None
    return ArgumentType(
        lambda value: any(one.accepts(value) for one in known),
        " or ".join(dict.fromkeys(one.description for one in known)),
        " or ".join(dict.fromkeys(one.plural for one in known)),
        any(one.may_be_secret for one in known),
        tuple(name for one in known for name in one.members),
    )


def _sequence(outer: Any, types: list[ArgumentType | None], is_fixed: bool) -> ArgumentType:
    inner = types[0] if types else None
    allowed = f"a list of {inner.plural}" if inner else "a list"
    if is_fixed:
        allowed = f"{len(types)} values"

    def accepts(value: Any) -> bool:
        if isinstance(value, str | bytes | bytearray) or not isinstance(value, outer):  # rule 4
            return False
        if is_fixed:
            return len(value) == len(types) and all(map(_accepts, types, value))
        return inner is None or not isinstance(value, _REITERABLE) or all(map(inner.accepts, value))

    return ArgumentType(accepts, allowed, f"{allowed[2:]}s" if allowed.startswith("a ") else allowed)


def _mapping(types: list[ArgumentType | None]) -> ArgumentType:
    key, inner = types if len(types) == 2 else (None, None)

    def accepts(value: Any) -> bool:
        if not isinstance(value, collections.abc.Mapping):
            return False
        return (key is None or all(map(key.accepts, value))) and (
            inner is None or all(map(inner.accepts, value.values()))
        )

    of = f" of {key.plural} to {inner.plural}" if key and inner else ""
    return ArgumentType(accepts, f"a mapping{of}", f"mappings{of}")


def _members_of(protocol: type) -> tuple[str, ...]:
    """Return the names of the public methods and attributes of *protocol*."""
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False)]
    names = dict.fromkeys(name for base in bases for name in (*base.__annotations__, *vars(base)))
    return tuple(name for name in names if not name.startswith("_") or name == "__call__")


def _structural(meant: type, members: tuple[str, ...]) -> ArgumentType:
    """Return the type of objects that have the members of *meant*, asynchronous where those are."""
    methods = {name: getattr(meant, name) for name in members if callable(getattr(meant, name, None))}
    waits = {name: inspect.iscoroutinefunction(method) for name, method in methods.items()}
    name = _PUBLIC_NAMES.get(meant.__name__, meant.__name__)

    def accepts(value: Any) -> bool:
        if isinstance(value, type):
            return False
        own = type(value)
        if not all(_has_member(value, one) for one in members):  # rule 6
            return False
        return not any(_is_counterpart(getattr(own, one, None), wait) for one, wait in waits.items())

    return ArgumentType(accepts, _with_article(name), f"{name} objects", members=members)


def _has_member(value: Any, name: str) -> bool:
    # On the class first, so that no property is computed.
    return hasattr(type(value), name) or hasattr(value, name)


def _is_counterpart(member: Any, waits: bool) -> bool:
    """Return True if a method is asynchronous where it must not be, or the reverse, as far as it says so."""
    if inspect.iscoroutinefunction(member):
        return not waits
    if not waits or not inspect.isfunction(member):
        return False
    returned = str(member.__annotations__.get("return", "Any"))
    return not any(word in returned for word in ("Any", "Awaitable", "Coroutine", "Future", "Task"))


def _accepts(argument_type: ArgumentType | None, value: Any) -> bool:
    return argument_type is None or argument_type.accepts(value)


def describe(value: Any, expected: ArgumentType) -> str:
    """Return in words what was given: a value if it cannot be secret, else only its type."""
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float) and not expected.may_be_secret:  # rule 7
        return f"{value!r:.40}"
    if isinstance(value, datetime) and value.tzinfo is None:
        return "a time without a time zone"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    description = _type_name(type(value))
    if isinstance(value, _REITERABLE) and "list of" in expected.description:
        description += f" with {', '.join(dict.fromkeys(_type_name(type(one)) for one in value))}"
    missing = [name for name in expected.members if not _has_member(value, name)]
    if 0 < len(missing) <= len(expected.members) / 2:  # else it was never meant to be one
        description += f" without {', '.join(missing)}"
    return description[:200]


def _type_name(own: type) -> str:
    return _NAMES.get(own, _with_article(own.__name__))


def _with_article(name: str) -> str:
    return f"an {name}" if name[:1] in "AEIOaeio" else f"a {name}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)  # rule 5


def _is_time(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


_REITERABLE: Final = (list, tuple, set, frozenset, dict)
"""Collections that can be iterated again and again."""

_SEQUENCES: Final[Mapping[type, Any]] = {
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
_METHODS_OF: Final = {
    "httpx.BaseTransport": ("handle_request",),
    "httpx.AsyncBaseTransport": ("handle_async_request",),
    "threading.Event": ("is_set", "wait"),
}
"""Classes of other packages of which only these methods are used."""

TIME: Final = ArgumentType(
    _is_time, "a time with a time zone, such as datetime.now(UTC)", "times with a time zone"
)
TEXT: Final = ArgumentType(lambda value: isinstance(value, str), "a text", "texts", True)
TEXTS: Final = _sequence(collections.abc.Collection, [TEXT], is_fixed=False)
_SIMPLE: Final[Mapping[Any, ArgumentType | None]] = {
    Any: None,
    object: None,
    None: ArgumentType(lambda value: value is None, "None", "None"),
    types.NoneType: ArgumentType(lambda value: value is None, "None", "None"),
    str: TEXT,
    bytes: ArgumentType(lambda value: isinstance(value, bytes), "bytes", "bytes", True),
    Secret: ArgumentType(lambda value: isinstance(value, Secret), "a Secret", "Secret objects", True),
    bool: ArgumentType(lambda value: isinstance(value, bool), "True or False", "True or False"),
    int: ArgumentType(
        lambda value: isinstance(value, int) and not isinstance(value, bool),
        "a whole number",
        "whole numbers",
    ),
    float: ArgumentType(_is_number, "a number", "numbers"),
    datetime: TIME,
    date: ArgumentType(
        lambda value: isinstance(value, date) and not isinstance(value, datetime), "a date", "dates"
    ),
    timedelta: ArgumentType(
        lambda value: isinstance(value, timedelta),
        "a timedelta, such as timedelta(minutes=15)",
        "timedelta objects",
    ),
}


_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

T = TypeVar("T")
CallableT = TypeVar("CallableT", bound=Callable[..., Any])


@typing.overload
def check_arguments(target: CallableT) -> CallableT: ...
@typing.overload
def check_arguments(*, but: tuple[str, ...]) -> Callable[[CallableT], CallableT]: ...
def check_arguments(target: Any = None, *, but: tuple[str, ...] = ()) -> Any:
    """Return the function, or class, which from now on refuses arguments that its annotations do not allow.

    Args:
        target: A function; or a class, of which the constructor and the public methods that it defines itself
            are marked. What it inherits is marked where it is defined.
        but: Arguments that are checked inside, which can say more about them.
    """
    if target is None:
        return functools.partial(check_arguments, but=but)
    if not isinstance(target, type):
        return _with_check(target, ArgumentCheck(target, but=but))  # rule 1
    for name, member in list(vars(target).items()):
        wrapper = type(member)
        function = member.__func__ if wrapper in (classmethod, staticmethod) else member
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            check = ArgumentCheck(function, but=but, owner=target, is_bound=wrapper is not staticmethod)
            checked = _with_check(function, check)
            setattr(target, name, checked if function is member else wrapper(checked))
    return target


def _with_check(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    """Return *function* with *check* before it; a coroutine function or generator stays one."""
    wrap = _wrap_function
    if inspect.isasyncgenfunction(function):
        wrap = _wrap_generator
    elif inspect.iscoroutinefunction(function):
        wrap = _wrap_coroutine
    checked: Any = functools.wraps(function)(wrap(function, check))
    checked.argument_check = check
    return typing.cast("Callable[..., Any]", checked)


# Rule 7: the frames here delete the arguments before an error shows what a frame holds.


def _wrap_function(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    def checked(*args: Any, **named: Any) -> Any:
        error = check.error_for(args, named)
        try:
            if error is None:
                return function(*args, **named)
        except TypeError as raised:
            error = check.error_of_call(raised, args, named)
            if error is None:
                raise
        finally:
            del args, named
        raise error

    return checked


def _wrap_coroutine(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    async def checked(*args: Any, **named: Any) -> Any:
        error = check.error_for(args, named)
        try:
            if error is None:
                return await function(*args, **named)
        except TypeError as raised:
            error = check.error_of_call(raised, args, named)
            if error is None:
                raise
        finally:
            del args, named
        raise error

    return checked


def _wrap_generator(function: Callable[..., Any], check: ArgumentCheck) -> Callable[..., Any]:
    async def checked(*args: Any, **named: Any) -> AsyncIterator[Any]:
        if (error := check.error_for(args, named)) is not None:
            del args, named
            raise error
        items = function(*args, **named)
        del args, named
        async with contextlib.aclosing(items) as found:
            async for item in found:
                yield item

    return checked


def check_returned(function: str, value: T, expected: ArgumentType) -> T:
    """Return *value*, which a function of the caller returned, such as a clock.

    Args:
        function: The argument as which the function was passed, such as ``clock``.
        value: What it returned.
        expected: What is allowed.

    Raises:
        ArgumentError: It is of another type. A coroutine is closed.
    """
    if expected.accepts(value):  # rule 3
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise ArgumentError("", f"what {function} returned", describe(value, expected), expected.description)


class ArgumentCheck:
    """Checks the types of one function's arguments; they are read from its annotations with the first call.

    Args:
        function: The function without its check.
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
        self._known: dict[type | None, _Types] = {}

    def types(self, owner: type | None = None) -> Mapping[str, ArgumentType | None]:
        """Return the type of each argument by name; None for one that may be anything, or is checked inside.

        Args:
            owner: The class of the object, which says what type variables stand for.
        """
        return self._of(owner or self._owner).by_name

    def error_for(self, args: tuple[Any, ...], named: dict[str, Any]) -> ArgumentError | None:
        """Return the error for the first argument of a wrong type; None if there is none."""
        owner = self._owner_of(args)
        known = self._known.get(owner) or self._of(owner)
        for (name, expected), value in zip(known.by_position, args, strict=False):
            if expected is not None and not expected.accepts(value):
                return self._error(owner, name, expected, value)
        for name, value in named.items():
            expected = known.by_name.get(name)
            if expected is not None and not expected.accepts(value):
                return self._error(owner, name, expected, value)
        return None

    def error_of_call(
        self, raised: TypeError, args: tuple[Any, ...], named: dict[str, Any]
    ) -> ArgumentError | None:
        """Return the error for an argument that is missing, unknown or one too many; else None.

        Args:
            raised: What the call of the function raised.
            args: The arguments of the call.
            named: Those given by name.
        """
        if raised.__traceback__ is None or raised.__traceback__.tb_next is not None:
            return None  # raised inside of the function, rule 9
        owner = self._owner_of(args)
        parameters = inspect.signature(self._function).parameters.values()
        known = self._of(owner).by_name
        takes_more = any(one.kind is one.VAR_KEYWORD for one in parameters) and len(known) <= len(parameters)
        for name in named.keys() - known.keys() if not takes_more else ():
            close = difflib.get_close_matches(name, known, 1) or list(known)[self._is_bound :]
            return ArgumentError(self._name(owner), name, "not an argument", " or ".join(close))
        positional = self._of(owner).by_position
        if len(args) > len(positional):
            named_only = [f"{one.name}=" for one in parameters if one.kind is one.KEYWORD_ONLY]
            number = len(positional) + 1 - self._is_bound
            allowed = " or ".join(named_only) or "none"
            return ArgumentError(self._name(owner), f"argument {number}", "given without a name", allowed)
        given = {name for (name, _), _ in zip(positional, args, strict=False)} | named.keys()
        for one in parameters:
            if one.default is one.empty and one.kind in _NAMED and one.name not in given:
                expected = known[one.name]
                return ArgumentError(
                    self._name(owner), one.name, "missing", expected.description if expected else "a value"
                )
        return None

    def _owner_of(self, args: tuple[Any, ...]) -> type | None:
        if not (self._is_bound and args):
            return self._owner
        return args[0] if isinstance(args[0], type) else type(args[0])

    def _name(self, owner: type | None) -> str:
        if owner is None:
            return self._function.__qualname__
        return f"{owner.__name__}.{self._function.__name__}".removesuffix(".__init__")

    def _error(self, owner: type | None, name: str, expected: ArgumentType, value: Any) -> ArgumentError:
        return ArgumentError(self._name(owner), name, describe(value, expected), expected.description)

    def _of(self, owner: type | None) -> _Types:
        if owner not in self._known:
            by_name = argument_types(self._function, owner)
            by_name |= {name: None for name in self._but if name in by_name}  # rule 2
            parameters = inspect.signature(self._function).parameters.values()
            by_position = tuple(
                (one.name, by_name[one.name]) for one in parameters if one.kind <= one.POSITIONAL_OR_KEYWORD
            )
            self._known[owner] = _Types(by_position, by_name)
        return self._known[owner]


@attrs.frozen
class _Types:
    by_position: tuple[tuple[str, ArgumentType | None], ...]
    by_name: Mapping[str, ArgumentType | None]
