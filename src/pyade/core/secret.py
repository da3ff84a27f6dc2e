"""Secret texts: hidden in ``repr``, logs and errors, readable only with ``reveal``."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final, TypeVar, final

T = TypeVar("T")


@final
class Secret:
    """A secret text: a key, a password, a session.

    It is shown as stars in ``repr``, ``str``, f-strings, logs and tracebacks with local variables. Two of the
    same text are equal. JSON encoders and ``str.join`` refuse it.

    Args:
        text: The secret; a ``Secret`` is taken as it is.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret) -> None:
        if isinstance(text, Secret):
            text = text.reveal()
        if not isinstance(text, str):
            raise TypeError(f"a secret is a text, not {type(text).__name__}")
        self._text = str(text)  # never a subclass of str

    def reveal(self) -> str:
        """Return the text itself, for the code that sends, signs or stores it."""
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


def as_secret(value: str | Secret) -> Secret:
    """Return a text as a secret, and any other value unchanged, for validators to refuse."""
    return Secret(value) if isinstance(value, str) else value


def secret_or_none(value: str | Secret | None) -> Secret | None:
    """Return *value* as a secret; None stays None."""
    return None if value is None else Secret(value)


def masked(value: T) -> T:
    """Return *value* with stars for its ``repr``, if it is text or bytes.

    For texts and bytes with secrets that cannot be a ``Secret``, so that no traceback with local variables
    shows them: files of callers, parts of documents, values of SQL. Unlike a ``Secret`` it is otherwise
    unchanged: ``str``, slices and all values made from it show it.
    """
    kind = _MASKS.get(type(value))
    return value if kind is None else kind(value)


class _MaskedText(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class _MaskedBytes(bytes):
    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"


_MaskedText.__name__, _MaskedBytes.__name__ = "str", "bytes"  # errors name the type that the caller passed
_MASKS: Final[Mapping[type, Any]] = {str: _MaskedText, bytes: _MaskedBytes}


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")
