"""Every identifier and secret of the fake, derived from its seed."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from datetime import datetime
from uuid import UUID

_SERIAL_DIGITS = "0123456789CDFGHJKLMNPQRTVWXY"


class Identifiers:
    """A source of values that look random and are the same for the same seed and order of requests.

    Args:
        seed: Two fakes with the same seed hand out the same values.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()
        self._serial_prefix = "".join(
            _SERIAL_DIGITS[byte % len(_SERIAL_DIGITS)] for byte in self.octets("serial", 4)
        )

    def octets(self, purpose: str, length: int) -> bytes:
        """Return the next *length* bytes for *purpose*; each purpose has a sequence of its own."""
        self._counts[purpose] += 1
        start = f"{self._seed}:{purpose}:{self._counts[purpose]}".encode()
        return hashlib.shake_256(start).digest(length)

    def hexadecimal(self, purpose: str, digits: int) -> str:
        """Return the next *digits* lower-case hexadecimal digits for *purpose*."""
        return self.octets(purpose, (digits + 1) // 2).hex()[:digits]

    def profile_uuid(self) -> str:
        """Return a profile id: 32 upper-case digits."""
        return self.hexadecimal("profile", 32).upper()

    def server_uuid(self) -> str:
        """Return a server id: 32 upper-case digits."""
        return self.hexadecimal("server", 32).upper()

    def uuid(self, purpose: str) -> str:
        """Return the next UUID for *purpose*, in lower case."""
        return str(UUID(bytes=self.octets(purpose, 16)))

    def session(self) -> str:
        """Return a session token of 128 upper-case digits."""
        return self.hexadecimal("session", 128).upper()

    def serial_number(self) -> str:
        """Return a serial number that this fake has not used: 10 characters."""
        self._counts["serial number"] += 1
        number = self._counts["serial number"]
        digits = []
        for _ in range(6):
            number, digit = divmod(number, len(_SERIAL_DIGITS))
            digits.append(_SERIAL_DIGITS[digit])
        return self._serial_prefix + "".join(reversed(digits))

    def cursor(self, now: datetime, position: int, *, length: int | None) -> str:
        """Return a cursor that differs from every earlier one.

        Args:
            now: Time of the request, UTC.
            position: What the cursor stands for; part of the value only to help a person who decodes it.
            length: The exact number of characters; None for a length of the usual size.
        """
        milliseconds = int(now.timestamp() * 1000)
        fields = f"0:{position}:{milliseconds}:{milliseconds}:true:{self.hexadecimal('cursor', 16)}"
        if length is not None:
            fields += ":" + self.hexadecimal("cursor padding", length)
        return b64encode(fields.encode()).decode().rstrip("=")[:length]
