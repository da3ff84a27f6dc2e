"""Enums keep the values that Apple adds."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.fleet.device import DeviceFamily, DeviceResult, OpType, ProfileStatus
from pyade.core.values import OpenStrEnum


class Kind(OpenStrEnum):
    SMALL = "small"
    LARGE = "Large"


@each("text", ["large", "LARGE", "Large"])
def test_known_values_are_found_in_any_letter_case(text: str) -> None:
    assert Kind(text) is Kind.LARGE
    assert Kind(text).is_known


def test_unknown_value_is_kept_unchanged() -> None:
    kind = Kind("Medium")
    assert isinstance(kind, Kind)
    assert (kind.value, kind.name, str(kind), kind.is_known) == ("Medium", "Medium", "Medium", False)
    assert kind == "Medium"
    assert kind != Kind.LARGE


def test_unknown_value_compares_and_hashes_by_value() -> None:
    assert Kind("Medium") == Kind("Medium")
    assert len({Kind("Medium"), Kind("Medium"), Kind("other")}) == 2


def test_unknown_values_do_not_grow_the_enum() -> None:
    for number in range(100):
        Kind(f"unknown-{number}")
    assert list(Kind) == [Kind.SMALL, Kind.LARGE]
    assert len(Kind._value2member_map_) == 2


@given(st.text())
def test_every_text_survives_copies_and_pickles(text: str) -> None:
    kind = Kind(text)
    assert pickle.loads(pickle.dumps(kind)) == kind
    assert copy.deepcopy(kind) == kind
    assert json.loads(json.dumps(kind)) == kind


def test_unknown_value_survives_msgspec() -> None:
    encoded = msgspec.json.encode([Kind("Medium"), Kind.SMALL])
    assert encoded == b'["Medium","small"]'
    assert msgspec.json.decode(encoded, type=list[Kind]) == [Kind("Medium"), Kind.SMALL]


@each("value", [1, None, b"small", ["small"]])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not a valid Kind"):
        Kind(value)


def test_apple_spellings_are_known() -> None:
    assert OpType("ADDED") is OpType.ADDED
    assert ProfileStatus("removed") is ProfileStatus.REMOVED
    assert DeviceFamily("Mac") is DeviceFamily.MAC
    assert DeviceResult("NOT_ACCESSIBLE") is DeviceResult.NOT_ACCESSIBLE
