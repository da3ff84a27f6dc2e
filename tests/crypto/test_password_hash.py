"""The hash of a password: its form, a known answer, and refusals that show nothing of the password."""

from __future__ import annotations

import base64
import plistlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.profile.accounts import AdministratorAccount, is_password_hash
from pyade.crypto.password_hash import hash_password
from pyade.errors import ProfileError

KNOWN = base64.b64decode(
    "gk+6qey048x1NausVGMKYw81gcIR2RNiCSeNujsAgY6Sbipd/7OlomEkZKfkGl3W1IN3epAC1qewQ94TSCsIDCh/0gbi/vL0kTI5"
    "Llm1TuaxLyTgLDtVnOglA11KLSQhUXDncSb7y1CvrqCdvfopP7fvFmao3okpgxzeQ+VfWwg="
)


def content(data: bytes) -> dict[str, Any]:
    plist = plistlib.loads(data, fmt=plistlib.FMT_XML)
    assert plist.keys() == {"SALTED-SHA512-PBKDF2"}
    inner: dict[str, Any] = plist["SALTED-SHA512-PBKDF2"]
    assert {key: type(value) for key, value in inner.items()} == {
        "entropy": bytes,
        "iterations": int,
        "salt": bytes,
    }
    return inner


def test_a_known_answer() -> None:
    """Computed elsewhere; 128 bytes."""
    data = hash_password("yolofomo", salt=bytes(32), iterations=39_999)
    assert content(data) == {"entropy": KNOWN, "iterations": 39_999, "salt": bytes(32)}


def test_the_defaults_are_what_apple_names() -> None:
    """A salt of its own for each, and 20,000 to 40,000 rounds."""
    first, second = content(hash_password("correct horse")), content(hash_password("correct horse"))
    assert first["salt"] != second["salt"]
    assert first["entropy"] != second["entropy"]
    assert len(first["salt"]) == 32
    assert 20_000 <= first["iterations"] <= 40_000


@settings(max_examples=10)  # each costs 20,000 rounds and more
@given(
    password=st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x7f"), min_size=8, max_size=60
    ),
    salt=st.binary(min_size=32, max_size=32),
)
def test_any_password_agrees_with_another_implementation(password: str, salt: bytes) -> None:
    """OpenSSL's, through cryptography."""
    kdf = PBKDF2HMAC(algorithm=hashes.SHA512(), length=128, salt=salt, iterations=20_000)
    data = hash_password(password, salt=salt, iterations=20_000)
    assert content(data)["entropy"] == kdf.derive(password.encode())
    assert is_password_hash(data)


@each(
    "password", ["", "hunter2", "h" * 256, "hunter2\n!", "hunter2\x00!", "hunter2\ud800!", b"hunter2!", None]
)
def test_a_password_that_cannot_be_used_is_refused_without_showing_it(password: Any) -> None:
    """Too short, too long, or with characters that cannot be typed."""
    with pytest.raises(ProfileError) as caught:
        hash_password(password)
    assert {problem.setting for problem in caught.value.problems} == {"password"}
    assert "hunter2" not in str(caught.value) + repr(caught.value)


@each(
    ("values", "setting"),
    [
        ({"salt": b""}, "salt"),
        ({"salt": bytes(16)}, "salt"),
        ({"salt": "x" * 32}, "salt"),
        ({"iterations": 1}, "iterations"),
        ({"iterations": 10_000_000}, "iterations"),
        ({"iterations": True}, "iterations"),
        ({"iterations": 30_000.0}, "iterations"),
    ],
)
def test_a_weak_or_endless_hash_is_refused(values: dict[str, Any], setting: str) -> None:
    """The salt has the one size that Apple names; a login must not take minutes."""
    with pytest.raises(ProfileError) as caught:
        hash_password("correct horse", **values)
    assert [problem.setting for problem in caught.value.problems] == [setting]


def test_an_account_does_not_show_it() -> None:
    """Neither hash nor salt."""
    data = hash_password("correct horse", salt=b"s" * 32, iterations=20_000)
    account = AdministratorAccount("localadmin", password_hash=data)
    assert "PBKDF2" not in repr(account)


@pytest.mark.skipif(shutil.which("plistutil") is None, reason="plistutil (libplist) is not installed")
def test_plistutil_reads_it(tmp_path: Path) -> None:
    """A reader that is not Python's."""
    source, target = tmp_path / "hash.plist", tmp_path / "hash.bin"
    source.write_bytes(hash_password("correct horse", iterations=20_000))
    subprocess.run(["plistutil", "-i", source, "-f", "bin", "-o", target], check=True, capture_output=True)
    assert plistlib.loads(target.read_bytes()) == plistlib.loads(source.read_bytes())
