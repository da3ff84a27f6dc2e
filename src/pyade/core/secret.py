"""A text that shows itself only to code that asks for it."""

from __future__ import annotations

import hmac
from typing import final


@final
class Secret:
    """A secret text: a key, a password, a session.

    It shows stars wherever a value is shown: in ``repr``, ``str``, f-strings, logs and tracebacks with local
    variables. Two of the same text are equal. JSON and joining texts refuse it.

    Args:
        text: The secret; a ``Secret`` is taken as it is.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        if isinstance(text, Secret):
            text = text.reveal()
        if not isinstance(text, str):
            raise TypeError(f"a secret is a text, not {type(text).__name__}")
        self._text = text

    def reveal(self) -> str:
        """Return the text itself: for the one place that sends, signs or stores it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        return hash(self._text)


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")
