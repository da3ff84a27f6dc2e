"""Limit the size of untrusted input, and turn everything that its parsers raise into one error."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from pyade.errors import TrustError

MAX_BYTES: Final = 64 * 1024
"""A real signed MachineInfo has 3 to 5 KiB."""


def malformed(reason: str) -> TrustError:
    """Return the error for input that cannot be read."""
    return TrustError(reason, is_malformed=True)


def check_size(data: object, what: str, most: int = MAX_BYTES) -> None:
    """Accept bytes, at least one and at most *most*.

    Raises:
        TrustError: *data* is something else; *what* names it.
    """
    if not isinstance(data, bytes):
        raise malformed(f"{what}: {type(data).__name__} was given, bytes are needed")
    if not data:
        raise malformed(f"{what} is empty")
    if len(data) > most:
        raise malformed(f"{what} has {len(data)} bytes, at most {most} are allowed")


class reading:  # noqa: N801 - a block that is read with it, faster than by contextlib
    """Turn everything that a parser raises into one error: parsers raise more than they document.

    Raises:
        TrustError: *what* cannot be read.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None or not isinstance(raised, Exception) or isinstance(raised, TrustError):
            return
        error = malformed(f"{self._what} cannot be read ({kind.__name__})")
        try:
            raise error from None
        finally:
            error.__context__ = None  # the parser's message quotes the input, at any length
