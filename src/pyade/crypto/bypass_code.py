"""Bypass codes, which unlock a device whose activation lock was set by the MDM server.

Apple receives the hash when the device is locked; the user types the code to unlock it. Without its code such
a device cannot be unlocked, so store the code before requesting the lock.

Source: Apple, "Creating and using bypass codes"; the format of the text is observed.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Final, Self

import attrs

from pyade.core.secret import Secret, masked
from pyade.errors import BypassCodeError

RAW_BYTES: Final = 16
SYMBOLS: Final = "0123456789ACDEFGHJKLMNPQRTUVWXYZ"
"""Five bits each; without B, I, O and S, which look like digits."""

_LENGTH: Final = 26
_GROUPS: Final = (5, 5, 4, 4, 4, 4)
_VALUES: Final = {symbol: value for value, symbol in enumerate(SYMBOLS)}
_SALT: Final = bytes(4)
_ITERATIONS: Final = 50_000


def _mask_raw(raw: bytes) -> bytes:
    return masked(raw)


def _check_raw(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bytes) or len(value) != RAW_BYTES:
        raise BypassCodeError(
            f"the raw value of a bypass code is {RAW_BYTES} bytes: generate one, or parse a text"
        )


@attrs.frozen
class BypassCode:
    """One bypass code. ``repr`` hides it; ``text`` returns it for the user.

    Attributes:
        raw: Secret. 16 random bytes.
    """

    raw: bytes = attrs.field(repr=False, converter=_mask_raw, validator=_check_raw)

    @classmethod
    def generate(cls) -> Self:
        """Return a new random code."""
        return cls(secrets.token_bytes(RAW_BYTES))

    @classmethod
    def parse(cls, text: str | Secret) -> Self:
        """Return the code from a text that a user typed or a device reported.

        Args:
            text: 26 symbols; letter case, dashes and blanks do not matter.

        Raises:
            BypassCodeError: It is not a bypass code; the error never contains any of it.
        """
        if not isinstance(text, str | Secret):
            raise BypassCodeError(f"a bypass code is a text, not {type(text).__name__}")
        text = Secret(text)
        symbols = masked("".join(filter(str.isalnum, text.reveal().upper())))
        if not set(symbols) <= _VALUES.keys():
            raise BypassCodeError(
                "a bypass code has digits and letters without B, I, O and S: read 8, 1, 0 and 5 there"
            )
        if len(symbols) != _LENGTH:
            raise BypassCodeError(f"a bypass code has {_LENGTH} symbols, not {len(symbols)}")
        if _VALUES[symbols[-1]] > 7:
            raise BypassCodeError("the last symbol of a bypass code is 0 to 7: read it again")
        number = 0
        for symbol in symbols[:-1]:
            number = number << 5 | _VALUES[symbol]
        return cls((number << 3 | _VALUES[symbols[-1]]).to_bytes(RAW_BYTES, "big"))

    @property
    def text(self) -> str:
        """Secret. The code as users type it, such as ``00000-00000-0000-0000-0000-0000``."""
        number = int.from_bytes(self.raw, "big")
        # The last symbol has the three remaining bits, without padding as in Base32.
        values = [number >> shift & 31 for shift in range(123, 2, -5)] + [number & 7]
        symbols = iter("".join(SYMBOLS[value] for value in values))
        return "-".join("".join(next(symbols) for _ in range(size)) for size in _GROUPS)

    @property
    def escrow_key(self) -> str:
        """The hash for Apple: 64 hex digits, PBKDF2 of the raw bytes; takes some milliseconds."""
        return hashlib.pbkdf2_hmac("sha256", self.raw, _SALT, _ITERATIONS, 32).hex()
