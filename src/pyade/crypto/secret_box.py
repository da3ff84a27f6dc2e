"""Secrets at rest: encrypted with keys that the caller keeps elsewhere.

``SecretBox(keys)`` writes with the first key and reads with any of them, which is what makes rotation
possible: put the new key first, call the store's ``rotate_keys()``, then drop the old one.

Encrypted texts begin with a mark, so that a store of plain texts goes on being read when keys are given.
Without keys nothing is encrypted, and what is encrypted cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret, masked
from pyade.errors import StoreError
from pyade.loading import modules_when_asked
from pyade.text import is_unicode

if TYPE_CHECKING:
    from cryptography import fernet
else:
    modules_when_asked(globals(), fernet="cryptography.fernet")

_MARK = "fernet:"

T = TypeVar("T")


@check_arguments(but=("keys",))
class SecretBox:
    """Encrypts and decrypts short texts (AES-128-CBC and HMAC-SHA256, the Fernet format).

    No error of it holds or refers to a key or to a text.
    """

    def __init__(self, keys: Iterable[str | bytes | Secret] | None = None) -> None:
        """Take *keys*.

        Args:
            keys: Each 32 bytes in URL-safe base64, as ``generate_key`` returns them; the first one encrypts,
                all decrypt. None, and only None: texts are stored as they are.

        Raises:
            StoreError: One of them is no such key, or there are none, as where a setting is empty.
        """
        self._count = 0
        self._box: fernet.MultiFernet | None = None
        keys = masked_keys(keys)
        given: Any = keys
        is_text = isinstance(given, str | bytes | Secret)
        if is_text or not isinstance(given, Iterable | None):
            what = "one text" if is_text else type(given).__name__
            raise StoreError(f"keys= is {what}: give a list of keys, the one that encrypts first")
        fernets = [] if keys is None else [_fernet(key) for key in keys]
        if keys is not None and not fernets:
            raise StoreError("keys= is empty: give at least one key, or None to store secrets as plain text")
        if None in fernets:
            raise StoreError(
                f"key {fernets.index(None) + 1} of {len(fernets)} is not 32 bytes in URL-safe base64: "
                "make one with SecretBox.generate_key()"
            )
        self._count = len(fernets)
        if fernets:
            self._box = fernet.MultiFernet([one for one in fernets if one])

    @staticmethod
    def generate_key() -> Secret:
        """Return a new key; keep what its ``reveal()`` says apart from the store."""
        return Secret(fernet.Fernet.generate_key().decode())

    @staticmethod
    def is_sealed(stored: str | Secret) -> bool:
        """Return True if *stored* is encrypted."""
        return Secret(stored).reveal().startswith(_MARK)

    @property
    def has_keys(self) -> bool:
        """True if texts are encrypted."""
        return self._box is not None

    def seal(self, text: str | Secret) -> str:
        """Return what to store for *text*: without keys the text itself.

        Raises:
            StoreError: *text* is not valid Unicode.
        """
        text = Secret(text)
        if self._box is None:
            return masked(text.reveal())
        if not is_unicode(text.reveal()):
            raise StoreError("a secret to store is not valid Unicode")
        return _MARK + self._box.encrypt(text.reveal().encode()).decode()

    def open(self, stored: str | Secret) -> Secret:
        """Return the text that ``seal`` was given.

        Raises:
            StoreError: It is encrypted, and there is no key, or none of the keys is the right one, or it is
                damaged.
        """
        stored = Secret(stored)
        if not self.is_sealed(stored):
            if not is_unicode(stored.reveal()):
                raise StoreError("a secret in this store is damaged: it is no Unicode, store it anew")
            return stored
        if self._box is None:
            raise StoreError("the secrets in this store are encrypted: open it with keys=")
        text = _decrypted(self._box, stored)
        if text is None:
            raise StoreError(
                "none of the keys decrypts a secret in this store: "
                "open it with the key it was written with, among the others in keys="
            )
        return text

    def rotate(self, stored: str | Secret) -> str:
        """Return what to store instead of *stored*: the same text, encrypted with the first key.

        Raises:
            StoreError: As for ``open``, and if there are no keys.
        """
        stored = Secret(stored)
        if self._box is None:
            raise StoreError("there is no key to encrypt with: open the store with keys=")
        return self.seal(self.open(stored))

    def __repr__(self) -> str:
        return f"SecretBox({self._count} keys)"


def masked_keys(keys: T) -> T | list[Any]:
    """Return *keys*, which open everything, with stars for their ``repr``, whatever was given for them."""
    if isinstance(keys, Iterable) and not isinstance(keys, str | bytes):
        return [masked(key) for key in keys]
    return masked(keys)


def _fernet(key: str | bytes | Secret) -> fernet.Fernet | None:
    try:
        return fernet.Fernet(key.reveal() if isinstance(key, Secret) else key)
    except (ValueError, TypeError, AttributeError):
        return None


def _decrypted(box: fernet.MultiFernet, sealed: Secret) -> Secret | None:
    token = sealed.reveal().removeprefix(_MARK).encode("ascii", errors="replace")
    try:
        return Secret(box.decrypt(token).decode())
    except (fernet.InvalidToken, ValueError):
        return None
