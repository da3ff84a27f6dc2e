"""Secrets at rest: unreadable without the key, readable through every rotation."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyade.core.secret import Secret
from pyade.crypto.secret_box import SecretBox
from pyade.errors import StoreError

OLD, NEW = SecretBox.generate_key(), SecretBox.generate_key()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_can_be_opened_and_not_read(text: str) -> None:
    stored = SecretBox([OLD]).seal(text)
    assert SecretBox([OLD]).open(stored) == Secret(text)
    assert len(text) < 4 or text not in stored


def test_without_keys_texts_stay_as_they_are() -> None:
    assert SecretBox().seal("plain") == "plain"
    assert SecretBox().open("plain") == Secret("plain")
    assert not SecretBox().has_keys
    assert SecretBox([OLD]).has_keys


def test_plain_texts_are_read_when_keys_are_given() -> None:
    assert SecretBox([OLD]).open('{"access_secret":"s"}') == Secret('{"access_secret":"s"}')


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    stored = SecretBox([OLD]).seal("secret")
    assert SecretBox([NEW, OLD]).open(stored) == Secret("secret")
    rotated = SecretBox([NEW, OLD]).rotate(stored)
    assert SecretBox([NEW]).open(rotated) == Secret("secret")
    with pytest.raises(StoreError, match="none of the keys"):
        SecretBox([OLD]).open(rotated)


def test_rotation_encrypts_what_was_plain() -> None:
    rotated = SecretBox([NEW]).rotate("secret")
    assert "secret" not in rotated
    assert SecretBox([NEW]).open(rotated) == Secret("secret")


def test_a_missing_key_says_so() -> None:
    with pytest.raises(StoreError, match="open it with keys="):
        SecretBox().open(SecretBox([OLD]).seal("secret"))
    with pytest.raises(StoreError, match="no key to encrypt with"):
        SecretBox().rotate("secret")


def test_a_changed_text_is_found_out() -> None:
    stored = SecretBox([OLD]).seal("secret")
    with pytest.raises(StoreError, match="none of the keys"):
        SecretBox([OLD]).open(stored[:-8] + "AAAAAAA=")


@pytest.mark.parametrize("bad", ["too short", "ü" * 44, "", b"\xff" * 44, 17])
def test_what_is_no_key_is_refused_without_showing_it(bad: str | bytes) -> None:
    with pytest.raises(StoreError, match="key 2 of 2") as caught:
        SecretBox([OLD, bad])
    assert not bad or str(bad) not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_one_key_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(StoreError, match="give a list") as caught:
        SecretBox(OLD.reveal())
    assert OLD.reveal() not in str(caught.value)
    with pytest.raises(StoreError, match="give a list"):
        SecretBox(OLD)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "keys", ["", b"", [], (), iter(())], ids=["text", "bytes", "list", "tuple", "iterator"]
)
def test_a_setting_that_is_empty_does_not_mean_plain_text(keys: Iterable[str | bytes]) -> None:
    with pytest.raises(StoreError, match="keys="):
        SecretBox(keys)


def test_what_is_damaged_is_no_other_error() -> None:
    for stored in ("fernet:ü", "fernet:", "fernet:\ud800", "fernet:AAAA", "fernet:" + "A" * 100):
        with pytest.raises(StoreError, match="none of the keys") as caught:
            SecretBox([OLD]).open(stored)
        assert caught.value.__context__ is None


def test_a_box_does_not_show_its_keys() -> None:
    assert repr(SecretBox([OLD, NEW])) == "SecretBox(2 keys)"


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(StoreError, match="not valid Unicode"):
        SecretBox([OLD]).seal("\ud800")
