"""The synchronous and asynchronous class of each pair have the same methods."""

from __future__ import annotations

import inspect

import pytest

from pyade.assignment import Assigner, AsyncAssigner
from pyade.sync import AsyncSyncer, Syncer


@pytest.mark.parametrize(("one", "other"), [(Syncer, AsyncSyncer), (Assigner, AsyncAssigner)])
def test_both_classes_have_the_same_methods(one: type, other: type) -> None:
    names = [name for name in vars(one) if not name.startswith("_")]
    assert names == [name for name in vars(other) if not name.startswith("_")]
    for name in ["__init__", *names]:
        mine, theirs = inspect.signature(getattr(one, name)), inspect.signature(getattr(other, name))
        apart = {"apple"}
        assert [p for p in mine.parameters.values() if p.name not in apart] == [
            p for p in theirs.parameters.values() if p.name not in apart
        ]
