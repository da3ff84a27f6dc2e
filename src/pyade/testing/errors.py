"""Errors of the fakes."""

from __future__ import annotations

import attrs

from pyade.errors import PyadeError


@attrs.define(eq=False, getstate_setstate=False)
class PortalError(PyadeError):
    """A request to a fake that makes no sense; the text says what exists.

    Attributes:
        reason: What is wrong.
    """

    reason: str

    def _words(self) -> str:
        return self.reason


@attrs.define(eq=False, getstate_setstate=False)
class MacError(PyadeError):
    """A Mac that does not enroll: it was refused, or what it got is nothing that it could use.

    Attributes:
        reason: Why, in words.
        status: The HTTP status that was the end; 0 where the answer was a success that the Mac cannot use.
    """

    reason: str
    status: int = 0

    def _words(self) -> str:
        return self.reason
