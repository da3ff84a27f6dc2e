"""Errors of the fakes."""

from __future__ import annotations

import attrs

from pyade.errors import PyadeError


@attrs.define(eq=False, getstate_setstate=False)
class PortalError(PyadeError):
    """A test asked a fake for something impossible; the text says what exists.

    Attributes:
        reason: What is wrong.
    """

    reason: str

    def _words(self) -> str:
        return self.reason


@attrs.define(eq=False, getstate_setstate=False)
class MacError(PyadeError):
    """A simulated Mac did not enroll: the server refused it, or sent something that a Mac cannot use.

    Attributes:
        reason: Why, as text.
        status: The HTTP status of the last response; 0 if the Mac could not use a successful response.
    """

    reason: str
    status: int = 0

    def _words(self) -> str:
        return self.reason
