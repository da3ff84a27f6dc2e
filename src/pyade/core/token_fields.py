"""Validators and converters of the fields of a token and of a staged token; errors name the field.

The rules of this file:

1. A value that is accepted can be stored and read back: texts are Unicode, times are UTC.
2. One text is never taken as a list of texts, and only ``True`` and ``False`` are switches.
3. A value may be a secret in the wrong field: an error only shows values that cannot be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import attrs

from pyade.core.secret import Secret, masked
from pyade.errors import TokenError
from pyade.text import is_unicode

_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
_USE_UTC: Final = "use a datetime in UTC, such as datetime.now(UTC)"

Field: TypeAlias = "attrs.Attribute[Any]"


def text(_instance: object, attribute: Field, value: object) -> None:
    """Accept a text that is not blank."""
    if not isinstance(value, str):
        raise TokenError(f"{attribute.name} is not text")
    if not value.strip():
        raise TokenError(f"{attribute.name} is empty")
    if not is_unicode(value):  # rule 1
        raise TokenError(f"{attribute.name} is not valid Unicode", "give it without unpaired surrogates")


def optional_text(instance: object, attribute: Field, value: object) -> None:
    """Accept None too."""
    if value is not None:
        text(instance, attribute, value)


def secret_text(instance: object, attribute: Field, value: object) -> None:
    """Accept a ``Secret`` that is not blank."""
    revealed = masked(value.reveal()) if isinstance(value, Secret) else value
    # Rule 3: otherwise an encoder would fail later, with an error that contains the text.
    if isinstance(revealed, str) and not is_unicode(revealed):
        raise TokenError(f"{attribute.name} is not valid Unicode: read it from the token file again")
    text(instance, attribute, revealed)


def address(instance: object, attribute: Field, value: str) -> None:
    """Accept an Apple ID."""
    text(instance, attribute, value)
    if len(value) > 320 or not _ADDRESS.fullmatch(value):
        raise TokenError(
            f"{attribute.name} {value[:80]!r} is not an address like it@contoso.com",
            "give the Apple ID with which the token was downloaded in the portal",
        )


def address_or_empty(instance: object, attribute: Field, value: str) -> None:
    """Accept "" too."""
    if value != "":
        address(instance, attribute, value)


def consent(_instance: object, attribute: Field, value: object) -> None:
    """Accept the time of a consent."""
    if not isinstance(value, datetime):
        raise TokenError(
            "a token cannot be made without consent to send user and device data to Apple",
            f"ask for it, and give the time of the consent as {attribute.name}",
        )
    check_time(value, attribute.name)


def optional_time(_instance: object, attribute: Field, value: object) -> None:
    """Accept a time, or None."""
    if value is not None:
        check_time(value, attribute.name)


def flag(_instance: object, attribute: Field, value: object) -> None:
    """Accept True or False: a text such as "no" counts as true in Python."""
    if not isinstance(value, bool):  # rule 2
        raise TokenError(f"{attribute.name} is {type(value).__name__}", "give True or False")


def check_time(value: object, name: str) -> None:
    """Accept a time with its time zone.

    Raises:
        TokenError: It is something else.
    """
    if not isinstance(value, datetime):
        raise TokenError(f"{name} is not a time", _USE_UTC)
    if value.utcoffset() is None:
        raise TokenError(f"{name} {value.isoformat()} has no time zone", "use UTC")


def utc(value: datetime) -> datetime:
    """Return a time as UTC, and any other value unchanged, for the validators, which run after converters.

    Raises:
        TokenError: It is so early, or so late, that UTC has no such time.
    """
    given: Any = value
    if not isinstance(given, datetime) or given.utcoffset() is None:
        return value
    try:
        return given.astimezone(UTC)
    except OverflowError:
        reason = f"the time {given.isoformat()} does not exist in UTC"
    raise TokenError(reason, _USE_UTC)


def utc_or_none(value: datetime | None) -> datetime | None:
    """Return ``utc(value)``; None stays None."""
    return None if value is None else utc(value)


def tags(value: Iterable[str]) -> frozenset[str]:
    """Return scope tags as a set.

    Raises:
        TokenError: It is one text, or contains an empty text or another value.
    """
    given: Any = value
    if isinstance(given, str | bytes):
        shown = f" {given[:80]!r}" if isinstance(given, str) else ""
        raise TokenError(f"scope_tags{shown} is one text", "give a set of texts, such as {'emea'}")
    try:
        found: frozenset[Any] = frozenset(given)
    except TypeError:
        raise TokenError("scope_tags is no set of texts", "give a set of texts, () for none") from None
    if not all(isinstance(tag, str) and tag.strip() and is_unicode(tag) for tag in found):
        raise TokenError("scope_tags contains an empty text or another value", "give a set of texts")
    return found


def tags_or_none(value: Iterable[str] | None) -> frozenset[str] | None:
    """Return ``tags(value)``; None stays None."""
    return None if value is None else tags(value)
