"""The names that users import: where they are, what their signatures mention, and what ``help`` shows."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pydoc
import re
import typing
from collections.abc import Iterator
from typing import Any

from tests.cases import each
from tests.test_packaging import LAZY_PACKAGES

import pyade
from pyade import errors
from pyade.core.arguments import hints_of

TOP = "pyade"


def offered(package: str) -> dict[str, Any]:
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in module.__all__}


OFFERED = {package: offered(package) for package in LAZY_PACKAGES}
OFFERED["pyade.errors"] = {
    name: it
    for name, it in vars(errors).items()
    if isinstance(it, type) and issubclass(it, errors.PyadeError)
}
PUBLIC = {f"{package}.{name}": it for package, names in OFFERED.items() for name, it in names.items()}
CLASSES = sorted(name for name, it in PUBLIC.items() if inspect.isclass(it))


def test_a_top_level_name_is_exported_by_its_subpackage_too() -> None:
    """Errors are in ``pyade.errors``."""
    inside = {id(it) for package, names in OFFERED.items() if package != TOP for it in names.values()}
    assert [name for name, it in OFFERED[TOP].items() if id(it) not in inside] == []


@each("name", sorted(pyade.__all__))
def test_help_tracebacks_and_pickles_show_the_top_level_path(name: str) -> None:
    found = getattr(pyade, name)
    assert found.__module__ == TOP
    assert f" {name} in module pyade\n" in pydoc.plain(pydoc.render_doc(found))
    assert pickle.loads(pickle.dumps(found)) is found


@each("name", CLASSES)
def test_the_type_hints_of_every_public_class_resolve(name: str) -> None:
    assert isinstance(typing.get_type_hints(PUBLIC[name]), dict)


CALLED_BY_PYADE = {
    *("FakeActivity.__init__", "Faults.__init__", "OwnedDevice.__init__", "SessionCache.session"),
}
OF_OTHERS = {"register_tasks"}
"""It mentions classes of Procrastinate, which is optional."""


def _signatures() -> Iterator[tuple[str, Any, type | None]]:
    for label, it in PUBLIC.items():
        name = label.rpartition(".")[2]
        if inspect.isfunction(it):
            yield name, it, None
        if not inspect.isclass(it):
            continue
        for member in dir(it):
            found = inspect.getattr_static(it, member)
            if isinstance(found, classmethod | staticmethod):
                found = found.__func__
            found = found.fget if isinstance(found, property) else found
            is_public = not member.startswith("_") or member == "__init__"
            if is_public and inspect.isfunction(found) and found.__module__.startswith("pyade."):
                yield f"{name}.{member}", found, it


def _types_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, typing.TypeVar):
        yield from _types_in(hint.__bound__)
    for inner in typing.get_args(hint):
        for one in inner if isinstance(inner, list | tuple) else (inner,):
            yield from _types_in(one)
    plain = typing.get_origin(hint) or hint
    if isinstance(plain, type) and f"{plain.__module__}.".startswith("pyade."):
        yield plain


DOCSTRINGS = {
    **{label: inspect.getdoc(it) for label, it in PUBLIC.items()},
    **{label: inspect.getdoc(function) for label, function, _ in _signatures()},
}


def test_what_a_function_returns_is_a_sentence() -> None:
    """Of ``word: rest`` at the beginning, the documentation would make a type and a description."""
    sections = {
        label: match[1]
        for label, text in DOCSTRINGS.items()
        if (match := re.search(r"^(?:Returns|Yields):\n((?: .*\n?)+)", text or "", re.MULTILINE))
    }
    assert len(sections) > 30
    for label, section in sections.items():
        first = re.sub(r"``.*?``", "", section.splitlines()[0])
        assert ":" not in first, label
        assert re.fullmatch(r" *(?:[A-Z]|``).* .*\.\s*", section, re.DOTALL), label


def test_types_in_public_signatures_are_exported() -> None:
    known = {id(it) for it in PUBLIC.values()} | {id(it) for it in vars(pyade.flow).values()}
    missing: dict[str, set[str]] = {}
    for label, function, owner in _signatures():
        if label in CALLED_BY_PYADE | OF_OTHERS:
            continue
        for hint in hints_of(inspect.unwrap(function), owner).values():
            for found in _types_in(hint):
                if id(found) not in known and not found.__name__.startswith("_"):
                    missing.setdefault(f"{found.__module__}.{found.__qualname__}", set()).add(label)
    assert missing == {}
