"""Hash the password of an account that macOS creates, so that only the hash is sent.

Anyone who reads the command can attack the hash offline. So give each Mac its own random password, store it
encrypted, and change it after its first use.

Source: Apple, ``passwordHash``; that the derived key has 128 bytes is observed.
"""

from __future__ import annotations

import hashlib
import plistlib
import re
import secrets
from collections.abc import Iterator
from typing import Final

from pyade.core.problems import Problem
from pyade.core.secret import Secret, masked
from pyade.errors import ProfileError

SALT_BYTES: Final = 32
ENTROPY_BYTES: Final = 128
MIN_ITERATIONS: Final = 20_000
MAX_ITERATIONS: Final = 1_000_000
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 255


def hash_password(password: str | Secret, *, salt: bytes | None = None, iterations: int = 40_000) -> bytes:
    """Return the hash of *password* for ``AdministratorAccount.password_hash``, an XML property list.

    Args:
        password: Secret. 8 to 255 characters that can be typed at a login window.
        salt: 32 bytes; None for random ones. Pass it only in tests.
        iterations: Rounds of PBKDF2, 20000 to 1000000. Each login takes as long as this hash; without a
            measurement on a Mac, Apple recommends 20000 to 40000.

    Raises:
        ProfileError: A value is out of range; the error never contains the password.

    Source: Apple, ``passwordHash``; RFC 8018, 5.2.
    """
    password = masked(password.reveal() if isinstance(password, Secret) else password)
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    problems = tuple(_problems(password, salt, iterations))
    if problems:
        raise ProfileError(problems)
    entropy = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, ENTROPY_BYTES)
    content = {"entropy": entropy, "iterations": iterations, "salt": salt}
    return plistlib.dumps({"SALTED-SHA512-PBKDF2": content}, sort_keys=True)


def _problems(password: object, salt: object, iterations: object) -> Iterator[Problem]:
    """Check types as well: bytes as a password would result in another hash."""
    allowed = f"{MIN_PASSWORD} to {MAX_PASSWORD} characters"
    if not isinstance(password, str) or not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        yield Problem("password", "", allowed, "use a random password, a different one for each Mac")
    elif re.search("[\x00-\x1f\x7f\ud800-\udfff]", password):
        yield Problem(
            "password", "", "characters that can be typed", "remove control characters and surrogates"
        )
    if not isinstance(salt, bytes) or len(salt) != SALT_BYTES:
        yield Problem("salt", "", f"{SALT_BYTES} bytes", "omit it for random ones")
    if type(iterations) is not int or not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        yield Problem(
            "iterations",
            str(iterations)[:20],
            f"{MIN_ITERATIONS} to {MAX_ITERATIONS}",
            "omit it for 40000",
        )
