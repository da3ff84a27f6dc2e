"""What strangers send: how much of it is read, and what becomes of what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyade.errors import TrustError

MAX_BYTES: Final = 64 * 1024
"""A real signed MachineInfo has 3 to 5 KiB."""


def malformed(reason: str) -> TrustError:
    """Return the error for what cannot be read."""
    return TrustError(reason, is_malformed=True)


def check_size(data: object, what: str, most: int = MAX_BYTES) -> None:
    """Accept bytes, neither none nor more than *most*.

    Raises:
        TrustError: *data* is something else.
    """
    if not isinstance(data, bytes):
        raise malformed(f"{what}: {type(data).__name__} was given, bytes are needed")
    if not data:
        raise malformed(f"{what} is empty")
    if len(data) > most:
        raise malformed(f"{what} has {len(data)} bytes, at most {most} are allowed")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn everything that a parser raises into one error.

    Raises:
        TrustError: *what* cannot be read.
    """
    try:
        yield
    except TrustError:
        raise
    except Exception as exc:  # noqa: BLE001 - parsers of foreign bytes raise far more than they document
        error = malformed(f"{what} cannot be read ({type(exc).__name__})")
        try:
            raise error from None
        finally:
            error.__context__ = None  # what the parser says quotes what was sent, at any length
