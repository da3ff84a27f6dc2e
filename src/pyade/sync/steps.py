"""What the flows of this room share: their access to the store, and how progress is told."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeVar

import attrs

from pyade.flow import Flow, StoreCall, ask
from pyade.storage.protocol import Store
from pyade.text import Printed

T = TypeVar("T")


class ProgressPhase(enum.StrEnum):
    """What a long piece of work is busy with."""

    FETCH = "fetch"
    SYNC = "sync"
    ASSIGN = "assign"
    REMOVE = "remove"


@attrs.frozen(kw_only=True)
class Progress(Printed):
    """How far a sync or an assignment has come; handed to the ``progress`` callback after each commit.

    Attributes:
        token_name: The token in question.
        phase: Fetching the full list, following changes, assigning or removing a profile.
        pages: Pages, or chunks of an assignment, that are stored so far.
        devices: Device records, or assigned serial numbers, that are stored so far.
        total: How many there will be; None where only Apple knows.
    """

    token_name: str
    phase: ProgressPhase
    pages: int
    devices: int
    total: int | None = None

    def _words(self) -> str:
        total = "" if self.total is None else f" of {self.total:,}"
        requests = "1 request" if self.pages == 1 else f"{self.pages:,} requests"
        return f"{self.token_name}: {self.phase}, {self.devices:,}{total} devices in {requests}"


def in_store(work: Callable[[Store], T]) -> Flow[T]:
    """Return what *work* returns for the store: one transaction of its own per call of the store."""
    return ask(StoreCall(work))
