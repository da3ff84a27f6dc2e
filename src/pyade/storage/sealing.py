"""All columns with encrypted secrets: find those that cannot be decrypted, and rotate the key."""

from __future__ import annotations

from collections.abc import Iterator

from pyade.crypto.secret_box import SecretBox
from pyade.errors import StoreError
from pyade.storage.database import Session
from pyade.storage.rows import masked_last

SESSION, SECRET = "session", "secret"
"""Kinds of rows of the table ``secret``; a session that cannot be decrypted is removed, it is replaceable."""

PLACES = (
    (
        "SELECT name, secrets FROM {}token {for_update}",
        "UPDATE {}token SET secrets = ? WHERE name = ?",
        "the secrets of token {0!r}",
    ),
    (
        (
            "SELECT name, default_profile_secrets FROM {}token"
            " WHERE default_profile_secrets IS NOT NULL {for_update}"
        ),
        "UPDATE {}token SET default_profile_secrets = ? WHERE name = ?",
        "the password hash in the default profile of token {0!r}",
    ),
    (
        "SELECT token_id, profile_uuid, secrets FROM {}profile WHERE secrets IS NOT NULL {for_update}",
        "UPDATE {}profile SET secrets = ? WHERE token_id = ? AND profile_uuid = ?",
        "the password hash in profile {1}",
    ),
    (
        "SELECT kind, name, value FROM {}secret {for_update}",
        "UPDATE {}secret SET value = ? WHERE kind = ? AND name = ?",
        "{0} {1!r}",
    ),
)
"""For each column with secrets: the SELECT of row key and secret, the UPDATE with secret and row key, and a
template for the name of a secret, made from the row key."""

TABLES = ("token", "profile", "secret")
"""The tables with these columns."""


def unreadable(session: Session, box: SecretBox) -> tuple[str, ...]:
    """Return the names of the secrets that *box* cannot decrypt, without sessions."""
    return tuple(name for name, key, _, error in _opened(session, box) if error and key[0] != SESSION)


def check_keys(session: Session, box: SecretBox, where: str) -> None:
    """Check that *box* can decrypt at least one of the encrypted secrets, if there are any.

    Single secrets that cannot be decrypted, such as one that a process with an older key wrote late, are
    allowed: reading them raises an error.

    Raises:
        StoreError: None can be decrypted.
    """
    error: StoreError | None = None
    for _, _, stored, found in _opened(session, box):
        if box.is_sealed(stored):
            if found is None:
                return
            error = found
    if error is not None:
        raise StoreError(f"{where}: {error}")


def rotate(session: Session, box: SecretBox) -> None:
    """Encrypt every secret with the first key of *box*, and remove sessions that it cannot decrypt.

    Raises:
        StoreError: Some secrets cannot be decrypted; it names them, and nothing was changed.
    """
    if names := unreadable(session, box):
        raise StoreError(
            f"none of the keys decrypts {', '.join(names)}: "
            "add the key each was written with to keys=, or store them again"
        )
    for select, update, _ in PLACES:
        for *key, stored in masked_last(session.rows(select)):
            if key[0] == SESSION and _error(box, stored) is not None:
                session.rows("DELETE FROM {}secret WHERE kind = ? AND name = ?", key)
            else:
                session.rows(update, (box.rotate(stored), *key))


def _opened(
    session: Session, box: SecretBox
) -> Iterator[tuple[str, tuple[str | int, ...], str, StoreError | None]]:
    for select, _, name in PLACES:
        for *key, stored in masked_last(session.rows(select.replace("{for_update}", ""))):
            yield name.format(*key), tuple(key), stored, _error(box, stored)


def _error(box: SecretBox, stored: str) -> StoreError | None:
    try:
        box.open(stored)
    except StoreError as error:
        return error
    return None
