"""What a service in the same process logs while it answers: why it refuses, which it tells no Mac."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyade.text import logger

_STRANGER: Final = "somebody: "

_log = logger("pyade.enrollment")


class _Listener(logging.Handler):
    """Keeps the lines about one Mac, and those about nobody in particular."""

    def __init__(self, serial_number: str) -> None:
        super().__init__(logging.WARNING)
        self.reasons: list[str] = []
        self._start = f"{serial_number[:40]!r} "

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line.startswith((self._start, _STRANGER)):
            self.reasons.append(line.partition(": ")[2])


@contextmanager
def overheard(serial_number: str) -> Iterator[list[str]]:
    """Give a list that fills with the reasons for which a Mac is refused meanwhile.

    It stays empty where the service runs in another process, or logs nothing at ``WARNING``.

    Args:
        serial_number: The Mac; of those that nothing is known of the reasons are taken as well.
    """
    listener = _Listener(serial_number)
    _log.addHandler(listener)
    try:
        yield listener.reasons
    finally:
        _log.removeHandler(listener)
