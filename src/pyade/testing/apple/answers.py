"""Error responses of device assignment: one of Apple's codes as plain text."""

from __future__ import annotations

from collections.abc import Mapping

from pyade.testing.http.wire import TEXT_TYPE, WireResponse


class RefusedError(Exception):
    """Raised inside the fake to answer with an error status.

    Args:
        status: Status code.
        text: Apple's code, or the literal body.
        headers: Extra headers.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers: Mapping[str, str] = headers or {}

    def response(self) -> WireResponse:
        """Return the error response."""
        headers = {"Content-Type": TEXT_TYPE, **self.headers}
        return WireResponse(status=self.status, body=self.text.encode(), headers=headers)
