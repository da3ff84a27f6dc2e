"""Problems: what is wrong or doubtful, with the fix, in words for the caller."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from pyade.core.exports import Exportable
from pyade.text import Printed, Table

_LONGEST: Final = 80


class Severity(enum.StrEnum):
    """How much a problem matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@attrs.frozen
class Problem(Exportable, Printed):
    """One broken rule, or one doubtful value.

    Attributes:
        setting: The name of the setting as the caller wrote it, such as ``support_phone_number``.
        value: The value as text, shortened; "" if it is secret or absent.
        allowed: What is allowed or expected.
        fix: What to do.
        severity: An error prevents use; a warning and a note do not.
    """

    setting: str
    value: str
    allowed: str
    fix: str
    severity: Severity = Severity.ERROR

    def _words(self) -> str:
        shown = f" {self.value!r}" if self.value else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{self.setting}{shown}: {self.allowed}{fix}"


def error(setting: str, value: object, allowed: str, fix: str) -> Problem:
    """Return a problem that prevents use; *value* is shortened, and bytes are not shown."""
    return Problem(str(setting), _shorten(value), allowed, fix)


def warning(setting: str, value: object, allowed: str, fix: str) -> Problem:
    """Return a problem that does not prevent use; *value* is shortened, and bytes are not shown."""
    return Problem(str(setting), _shorten(value), allowed, fix, Severity.WARNING)


def problem_tables(problems: Iterable[Problem]) -> Iterator[Table]:
    """Yield a table of *problems* for a notebook; nothing if there are none."""
    heads = ("severity", "setting", "value", "what", "what to do")
    if rows := [(one.severity.value, one.setting, one.value, one.allowed, one.fix) for one in problems]:
        yield Table("Problems", heads, rows)


def _shorten(value: object) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


@attrs.frozen(kw_only=True)
class ErrorObject:
    """One of the errors that Apple School Manager or Apple Business lists in an error response.

    Attributes:
        status: HTTP status of this error, as text; may differ from the status of the response.
        code: Words separated by periods, from general to special, such as ``ENTITY_ERROR.ATTRIBUTE.INVALID``.
        title: A summary for readers.
        detail: An explanation for readers.
        pointer: Place in the request body, RFC 6901; "" if Apple named none.
        parameter: Name of a query parameter; "" if Apple named none.
        id: The id to quote to Apple's support.
    """

    status: str = ""
    code: str = ""
    title: str = ""
    detail: str = ""
    pointer: str = ""
    parameter: str = ""
    id: str = ""

    def is_a(self, code: str) -> bool:
        """Return True if the code of this error is *code* or a special case of it."""
        return self.code == code or self.code.startswith(f"{code}.")
