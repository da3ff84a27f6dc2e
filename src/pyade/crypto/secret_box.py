"""Secrets at rest: encrypted with keys that the caller keeps elsewhere.

``SecretBox(keys)`` writes with the first key and reads with any of them, which is what makes rotation
possible: put the new key first, call the store's ``rotate_keys()``, then drop the old one.

Encrypted texts begin with a mark, so that a store of plain texts goes on being read when keys are given.
Without keys nothing is encrypted, and what is encrypted cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from pyade.errors import StoreError

_MARK = "fernet:"


class SecretBox:
    """Encrypts and decrypts short texts (AES-128-CBC and HMAC-SHA256, the Fernet format).

    No error of it holds or refers to a key or to a text.
    """

    def __init__(self, keys: Iterable[str | bytes] | None = None) -> None:
        """Take *keys*.

        Args:
            keys: Each 32 bytes in URL-safe base64, as ``generate_key`` returns them; the first one encrypts,
                all decrypt. None, and only None: texts are stored as they are.

        Raises:
            StoreError: One of them is no such key, or there are none, as where a setting is empty.
        """
        if isinstance(keys, str | bytes):
            raise StoreError("keys= is one text: give a list of keys, the one that encrypts first")
        given = () if keys is None else tuple(keys)
        if keys is not None and not given:
            raise StoreError("keys= is empty: give at least one key, or None to store secrets as plain text")
        fernets = [_fernet(key) for key in given]
        if None in fernets:
            raise StoreError(
                f"key {fernets.index(None) + 1} of {len(fernets)} is not 32 bytes in URL-safe base64: "
                "make one with SecretBox.generate_key()"
            )
        self._count = len(fernets)
        self._box = MultiFernet([fernet for fernet in fernets if fernet]) if fernets else None

    @staticmethod
    def generate_key() -> str:
        """Return a new key; keep it apart from the store."""
        return Fernet.generate_key().decode()

    @staticmethod
    def is_sealed(stored: str) -> bool:
        """Return True if *stored* is encrypted."""
        return stored.startswith(_MARK)

    @property
    def has_keys(self) -> bool:
        """True if texts are encrypted."""
        return self._box is not None

    def seal(self, text: str) -> str:
        """Return what to store for *text*.

        Raises:
            StoreError: *text* is not valid Unicode.
        """
        if self._box is None:
            return text
        data = text.encode(errors="surrogatepass")
        if data.decode(errors="replace") != text:
            raise StoreError("a secret to store is not valid Unicode")
        return _MARK + self._box.encrypt(data).decode()

    def open(self, stored: str) -> str:
        """Return the text that ``seal`` was given.

        Raises:
            StoreError: It is encrypted, and there is no key, or none of the keys is the right one, or it is
                damaged.
        """
        if not self.is_sealed(stored):
            if stored.encode(errors="replace").decode() != stored:
                raise StoreError("a secret in this store is damaged: it is no Unicode, store it anew")
            return stored
        if self._box is None:
            raise StoreError("the secrets in this store are encrypted: open it with keys=")
        text = _decrypted(self._box, stored.removeprefix(_MARK))
        if text is None:
            raise StoreError(
                "none of the keys decrypts a secret in this store: "
                "open it with the key it was written with, among the others in keys="
            )
        return text

    def rotate(self, stored: str) -> str:
        """Return what to store instead of *stored*: the same text, encrypted with the first key.

        Raises:
            StoreError: As for ``open``, and if there are no keys.
        """
        if self._box is None:
            raise StoreError("there is no key to encrypt with: open the store with keys=")
        return self.seal(self.open(stored))

    def __repr__(self) -> str:
        return f"SecretBox({self._count} keys)"


def _fernet(key: str | bytes) -> Fernet | None:
    try:
        return Fernet(key)
    except (ValueError, TypeError, AttributeError):
        return None


def _decrypted(box: MultiFernet, sealed: str) -> str | None:
    try:
        return box.decrypt(sealed.encode("ascii", errors="replace")).decode()
    except (InvalidToken, ValueError):
        return None
