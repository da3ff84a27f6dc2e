"""What is wrong, or worth a look, in words that a person can act on."""

from __future__ import annotations

import enum

import attrs


class Severity(enum.StrEnum):
    """How much a problem matters."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@attrs.frozen
class Problem:
    """One broken rule or finding.

    Attributes:
        setting: The name of the setting as the caller wrote it, such as ``support_phone_number``.
        value: The value in question as text, shortened; "" where it is secret or absent.
        allowed: What is allowed or expected.
        fix: What to do.
        severity: An error prevents use, a warning does not.
    """

    setting: str
    value: str
    allowed: str
    fix: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        shown = f" {self.value!r}" if self.value else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{self.setting}{shown}: {self.allowed}{fix}"
