"""Load what a package offers when it is asked for, so that a program waits for nothing that it does not use.

The rules of this file:

1. A package says which module each of its names comes from: to type checkers under ``if TYPE_CHECKING``, here
   in a table. A test compares the two. The package's own modules need no entry.
2. No module has the name of something else that its package offers: Python would put the module in its
   place.
3. The modules of the clients, of the stores and of what works with both load the rest with the first call.
   What they need for annotations alone is offered by a room, where ``offered`` finds it.
"""

from __future__ import annotations

import importlib
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

_ROOMS: Final = (
    *("core", "builders", "crypto", "apple", "storage"),
    *("business", "sync", "assignment", "enrollment", "operations", "testing"),
)
_FRONT: Final = "pyade"
_homes: Final[dict[str, Mapping[str, str]]] = {}
"""For each package that was loaded the modules of its names."""


def when_asked(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: Its ``__name__``.
        homes: The modules, and the names that each of them has for the package, with spaces between them.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}
    _homes[package] = home_of

    def load(name: str) -> Any:
        """Load what is asked for the first time: a name, or a module of the package."""
        if name in home_of:
            found = getattr(importlib.import_module(home_of[name]), name)
            if package == _FRONT:
                _show_at_front(found)
            setattr(sys.modules[package], name, found)
            return found
        if name.isidentifier() and not name.startswith("_"):
            try:
                return importlib.import_module(f"{package}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{name}":
                    raise  # the module is there, and misses another
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        """Return the names and modules of the package, loaded or not."""
        loaded = vars(sys.modules[package])
        return sorted({*loaded, *home_of, *loaded.get("__all__", ())})

    return load, names


def _show_at_front(found: Any) -> None:
    """Let ``help``, tracebacks and pickles name the front door as the place of a class or function.

    The annotations of a class are evaluated before: ``typing.get_type_hints`` looks into that module.
    """
    if isinstance(found, type):
        own = vars(found).get("__annotations__", {})
        hints = typing.get_type_hints(found, include_extras=True) if own else {}
        found.__annotations__ = {name: hints[name] for name in own}
    found.__module__ = _FRONT


def offered(name: str, default: Any) -> Any:
    """Return what a room offers by that name; *default* if none does."""
    for room in _ROOMS:
        door = importlib.import_module(f"pyade.{room}")
        if name in _homes[door.__name__]:
            return getattr(door, name)
    return default


def modules_when_asked(importer: dict[str, Any], **modules: str) -> None:
    """Let a module name other modules that are imported when something of them is asked for.

    Args:
        importer: Its ``globals()``.
        modules: By the names that they have there.
    """
    for name, module in modules.items():
        importer[name] = _Absent(importer, name, module)


class _Absent:
    """Stands for a module until something of it is asked for, then puts the module in its own place."""

    __slots__ = ("_importer", "_module", "_name")  # what is set is meant for the module, and refused here

    def __init__(self, importer: dict[str, Any], name: str, module: str) -> None:
        self._importer, self._name, self._module = importer, name, module

    def __getattr__(self, attribute: str) -> Any:
        module = self._importer[self._name] = importlib.import_module(self._module)
        return getattr(module, attribute)
