"""Each class in a signature of the storage package can be imported from a public package."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pyade
from pyade import core, errors, storage
from pyade.core.arguments import hints_of

DOORS = (storage, core, pyade)
ROOM = [
    storage.Store,
    storage.EnrollmentStore,
    storage.Database,
    storage.Session,
    storage.Table,
    storage.Dialect,
    storage.SecretBox,
    storage.SQLStore,
    storage.SQLiteStore,
    storage.MemoryStore,
    storage.PostgresStore,
]


def _public() -> set[object]:
    named = {getattr(door, name) for door in DOORS for name in door.__all__ if name != "__version__"}
    return named | {value for name, value in vars(errors).items() if not name.startswith("_")}


def _methods(cls: type) -> Iterator[Callable[..., Any]]:
    for name, member in inspect.getmembers(cls):
        if not name.startswith("_") or name in ("__init__", "__enter__", "__exit__"):
            found = member.fget if isinstance(member, property) else member
            if callable(found):
                yield found


def _classes(hint: object) -> Iterator[type]:
    if isinstance(hint, type) and hint.__module__.partition(".")[0] == "pyade":
        yield hint
    # The arguments of a Callable are a list inside the arguments.
    for part in hint if isinstance(hint, list) else typing.get_args(hint):
        yield from _classes(part)


@pytest.mark.parametrize("cls", ROOM, ids=lambda cls: str(cls.__name__))
def test_each_class_in_a_signature_is_public(cls: type) -> None:
    public = _public()
    mentioned = {
        found for method in _methods(cls) for hint in hints_of(method).values() for found in _classes(hint)
    }
    assert {found.__qualname__ for found in mentioned if found not in public} == set()


def test_the_classes_of_a_store_are_found_in_its_signatures() -> None:
    hints = [hints_of(method) for method in _methods(storage.EnrollmentStore)]
    found = {cls.__name__ for hint in hints for value in hint.values() for cls in _classes(value)}
    assert found >= {"Lease", "Source", "EventBatch", "OneTime", "DamagedRecordError", "SyncState"}
