"""JSON:API documents and errors of the fake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from pyade.testing.http.wire import UNREADABLE, Answer, json_answer

T = TypeVar("T")


class ApiRefusedError(Exception):
    """Raised by the fake's own parts to answer with JSON:API errors.

    Args:
        status: Status code.
        code: Apple's, such as ``NOT_FOUND``.
        detail: For people.
        pointer: Place in the body.
        parameter: Name of a query parameter.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, pointer: str = "", parameter: str = ""
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.parameter = parameter

    def answer(self, request_id: str) -> Answer:
        """Return the answer that says so."""
        error: dict[str, Any] = {
            "id": request_id,
            "status": str(self.status),
            "code": self.code,
            "title": self.code.replace("_", " ").replace(".", ", ").capitalize(),
            "detail": self.detail,
        }
        if self.pointer:
            error["source"] = {"pointer": self.pointer}
        elif self.parameter:
            error["source"] = {"parameter": self.parameter}
        return document({"errors": [error]}, status=self.status)


def document(value: Any, *, status: int = 200) -> Answer:
    """Return an answer with *value* as JSON."""
    return json_answer(value, status=status, content_type="application/json")


def decode(body: bytes | str, kind: type[T]) -> T:
    """Return what JSON holds.

    Raises:
        ApiRefusedError: It is not that.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise ApiRefusedError(400, "PARAMETER_ERROR.INVALID", str(error)) from error


def moment(when: datetime) -> str:
    """Return *when* in Apple's form: UTC, milliseconds, ``Z``."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def not_found(kind: str, value: str) -> ApiRefusedError:
    """Return the refusal for a record that is not there."""
    return ApiRefusedError(404, "NOT_FOUND", f"There is no resource of type '{kind}' with id '{value}'")
