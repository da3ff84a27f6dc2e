"""Secrets at rest: encrypted with keys that the caller keeps elsewhere.

``SecretBox(keys)`` writes with the first key and reads with any of them, which is what makes rotation
possible: put the new key first, call the store's ``rotate_keys()``, then drop the old one.

Encrypted texts begin with a mark, so that a store of plain texts goes on being read when keys are given.
Without keys nothing is encrypted, and what is encrypted cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from pyade.errors import StoreError

_MARK = "fernet:"


class SecretBox:
    """Encrypts and decrypts short texts (AES-128-CBC and HMAC-SHA256, the Fernet format)."""

    def __init__(self, keys: Sequence[str | bytes] = ()) -> None:
        """Take *keys*.

        Args:
            keys: Each 32 bytes in URL-safe base64, as ``generate_key`` returns them; the first one encrypts,
                all decrypt. None at all: texts are stored as they are.

        Raises:
            StoreError: One of them is no such key.
        """
        if isinstance(keys, str | bytes):
            raise StoreError("keys is one key: give a list of keys, the one that encrypts first")
        fernets = []
        for number, key in enumerate(keys, start=1):
            try:
                fernets.append(Fernet(key))
            except (ValueError, TypeError, AttributeError):
                # Without the cause, which may quote the key.
                raise StoreError(
                    f"key {number} of {len(keys)} is not 32 bytes in URL-safe base64: "
                    "make one with SecretBox.generate_key()"
                ) from None
        self._count = len(fernets)
        self._box = MultiFernet(fernets) if fernets else None

    @staticmethod
    def generate_key() -> str:
        """Return a new key; keep it apart from the store."""
        return Fernet.generate_key().decode()

    @property
    def has_keys(self) -> bool:
        """True if texts are encrypted."""
        return self._box is not None

    def seal(self, text: str) -> str:
        """Return what to store for *text*."""
        if self._box is None:
            return text
        try:
            return _MARK + self._box.encrypt(text.encode()).decode()
        except UnicodeEncodeError:
            raise StoreError("a secret to store is not valid Unicode") from None

    def open(self, stored: str) -> str:
        """Return the text that ``seal`` was given.

        Raises:
            StoreError: It is encrypted, and there is no key or none of the keys is the right one.
        """
        if not stored.startswith(_MARK):
            return stored
        if self._box is None:
            raise StoreError("the secrets in this store are encrypted: open it with keys=")
        try:
            return self._box.decrypt(stored.removeprefix(_MARK)).decode()
        except InvalidToken:
            raise StoreError(
                "none of the keys decrypts a secret in this store: "
                "open it with the key it was written with, among the others in keys="
            ) from None

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
