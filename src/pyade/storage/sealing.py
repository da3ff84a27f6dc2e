"""Every place where a store keeps a secret: what cannot be opened there, and how all get a new key."""

from __future__ import annotations

from collections.abc import Iterator

from pyade.crypto.secret_box import SecretBox
from pyade.errors import StoreError
from pyade.storage.database import Session
from pyade.storage.rows import masked_last

SESSION, SECRET = "session", "secret"
"""Kinds of rows of the table ``secret``; a session that cannot be opened goes: there is always another."""


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
"""For each column with secrets: what selects the key of each row and the secret, what takes a secret and a
key, and what a secret is called, made of its key."""
TABLES = ("token", "profile", "secret")


def unreadable(session: Session, box: SecretBox) -> tuple[str, ...]:
    """Return the names of the secrets that *box* cannot open, without sessions."""
    return tuple(name for name, key, _, error in _opened(session, box) if error and key[0] != SESSION)


def check_keys(session: Session, box: SecretBox, where: str) -> None:
    """Check that the keys of *box* belong to the store: that they open one of the encrypted secrets, if any.

    That some cannot be opened, such as one that a process with an older key wrote late, stops nobody: reading
    it says so.

    Raises:
        StoreError: None can be opened.
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
    """Encrypt every secret with the first key of *box*, and remove sessions that it cannot open.

    Raises:
        StoreError: Some cannot be opened; it names them, and nothing was changed.
    """
    if names := unreadable(session, box):
        raise StoreError(
            f"none of the keys decrypts {', '.join(names)}: "
            "open the store with the key each was written with, among the others in keys=, or store them anew"
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
