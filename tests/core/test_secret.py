"""A secret shows stars unless it is revealed."""

from __future__ import annotations

import copy
import json
import pickle
import plistlib
import traceback

import pytest

from pyade.core.secret import Secret, masked


def test_a_secret_shows_stars_wherever_a_value_is_shown() -> None:
    secret = Secret("hunter2")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret])):
        assert "hunter2" not in shown
        assert "***" in shown
    assert secret.reveal() == "hunter2"


def test_a_traceback_with_locals_shows_stars() -> None:
    secret = Secret("hunter2")
    try:
        {Secret("a"): 1}[secret]
    except KeyError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "KeyError: Secret('***')" in shown
    assert "secret = Secret('***')" in shown


def test_secrets_are_equal_by_their_text_and_to_nothing_else() -> None:
    assert Secret("a") == Secret("a") == Secret(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\ud800") != Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a")
    assert not Secret("")


def test_a_secret_cannot_be_joined_or_encoded_by_accident() -> None:
    with pytest.raises(TypeError):
        json.dumps({"password": Secret("a")})
    with pytest.raises(TypeError):
        "Bearer " + Secret("a")  # type: ignore[operator]
    with pytest.raises(TypeError, match="a secret is a text, not int"):
        Secret(5)  # type: ignore[arg-type]


def test_a_secret_is_copied_and_pickled_as_what_it_is() -> None:
    secret = Secret("a")
    assert copy.deepcopy(secret) == secret
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_a_masked_value_differs_only_in_its_repr() -> None:
    assert masked("hunter2") == "hunter2"
    assert masked(b"hunter2") == b"hunter2"
    assert repr([masked("hunter2"), masked(b"hunter2")]) == "['***', b'***']"
    assert type(Secret(masked("hunter2")).reveal()) is str
    assert json.dumps({"a": masked("hunter2")}) == '{"a": "hunter2"}'
    assert plistlib.dumps({"a": masked("b")}) == plistlib.dumps({"a": "b"})
    assert masked(5) == 5
    assert pickle.loads(pickle.dumps(masked("a"))) == "a"
