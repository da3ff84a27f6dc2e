"""Load the names of a package when they are first used, so that a program loads nothing that it does not use.

The rules of this file:

1. A package says which module each of its names comes from: to type checkers under ``if TYPE_CHECKING``, here
   in a table. A test compares the two. The package's own modules need no entry.
2. No module has the name of something else that its package offers: Python would replace that by the module.
3. The modules of the clients, of the stores and of what works with both load the rest with the first call.
   What they need for annotations alone is a public name of a package, where ``find_public_name`` finds it.
"""

from __future__ import annotations

import importlib
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

_PACKAGES: Final = (
    *("core", "builders", "crypto", "apple", "storage"),
    *("business", "sync", "assignment", "enrollment", "operations", "testing"),
)
_TOP: Final = "pyade"
_homes: Final[dict[str, Mapping[str, str]]] = {}
"""For each package that was loaded: its names, and the module of each."""


def lazy_names(
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
        """Load a name, or a module of the package, when it is first used."""
        if name in home_of:  # rule 1
            found = getattr(importlib.import_module(home_of[name]), name)
            if package == _TOP:
                _show_at_top(found)
            setattr(sys.modules[package], name, found)
            return found
        if name.isidentifier() and not name.startswith("_"):
            try:
                return importlib.import_module(f"{package}.{name}")  # rule 2
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{name}":
                    raise  # the module exists, and another one that it imports does not
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        """Return the names and modules of the package, loaded or not."""
        loaded = vars(sys.modules[package])
        return sorted({*loaded, *home_of, *loaded.get("__all__", ())})

    return load, names


def _show_at_top(found: Any) -> None:
    """Let ``help``, tracebacks and pickles show ``pyade`` as the module of *found*, a class or function.

    First evaluates the annotations of a class: ``typing.get_type_hints`` looks names up in that module.
    """
    if isinstance(found, type):
        own = vars(found).get("__annotations__", {})
        hints = typing.get_type_hints(found, include_extras=True) if own else {}
        found.__annotations__ = {name: hints[name] for name in own}
    found.__module__ = _TOP


def homes_of(package: str) -> Mapping[str, str]:
    """Return the module of each name of a package; nothing for one that was not loaded, or has no table."""
    return _homes.get(package, {})


def find_public_name(name: str, default: Any) -> Any:
    """Return the object of that name that a package of pyade offers; *default* if none does."""
    for part in _PACKAGES:  # rule 3
        package = importlib.import_module(f"pyade.{part}")
        if name in homes_of(package.__name__):
            return getattr(package, name)
    return default


def lazy_modules(importer: dict[str, Any], **modules: str) -> None:
    """Let a module name other modules that are imported when an attribute of them is first used.

    Args:
        importer: The ``globals()`` of the module that names them.
        modules: The full names of the modules, by the names that they have there.
    """
    for name, module in modules.items():
        importer[name] = _Absent(importer, name, module)


def missing_extra(user: str, extra: str, cause: ImportError) -> ImportError:
    """Return the error of a name whose optional packages are not installed; the caller raises it.

    Args:
        user: The public name that needs them.
        extra: The extra of pyade that installs them.
        cause: What the import of the first of them raised.
    """
    # No name of a distribution: pyade is not published.
    how = f"run pip install 'PATH[{extra}]', where PATH is a checkout of pyade or its wheel"
    return ImportError(f"{user} needs the extra '{extra}': {how}", name=cause.name)


class _Absent:
    """Stands for a module until an attribute of it is used, then replaces itself by the module."""

    __slots__ = ("_importer", "_module", "_name")  # setting an attribute is meant for the module: refused

    def __init__(self, importer: dict[str, Any], name: str, module: str) -> None:
        self._importer, self._name, self._module = importer, name, module

    def __getattr__(self, attribute: str) -> Any:
        module = self._importer[self._name] = importlib.import_module(self._module)
        return getattr(module, attribute)
