"""Encrypt secrets at rest, with keys that the caller stores elsewhere.

``SecretBox(keys)`` encrypts with the first key and decrypts with any of them. To rotate keys, put the new key
first, call the store's ``rotate_keys()``, then remove the old key.

Encrypted texts begin with a prefix, so plain texts in a store stay readable after keys are given. Without
keys nothing is encrypted, and encrypted texts cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret, masked
from pyade.errors import StoreError
from pyade.loading import lazy_modules
from pyade.text import is_unicode

if TYPE_CHECKING:
    from cryptography import fernet
else:
    lazy_modules(globals(), fernet="cryptography.fernet")

_PREFIX = "fernet:"

T = TypeVar("T")


@check_arguments(but=("keys",))
class SecretBox:
    """Encrypts and decrypts short texts (AES-128-CBC and HMAC-SHA256, the Fernet format).

    Its errors never contain or reference a key or a text.
    """

    def __init__(self, keys: Iterable[str | bytes | Secret] | None = None) -> None:
        """Validate *keys*.

        Args:
            keys: Each 32 bytes in URL-safe base64, as ``generate_key`` returns them; the first one encrypts,
                all decrypt. Only None turns encryption off.

        Raises:
            StoreError: A key is not valid, or the list is empty, for example because a setting is empty.
        """
        self._count = 0
        self._box: fernet.MultiFernet | None = None
        keys = masked_keys(keys)
        given: Any = keys
        is_text = isinstance(given, str | bytes | Secret)
        if is_text or not isinstance(given, Iterable | None):
            kind = "one text" if is_text else type(given).__name__
            raise StoreError(f"keys= is {kind}: give a list of keys, the one that encrypts first")
        fernets = [] if keys is None else [_load_fernet(key) for key in keys]
        if keys is not None and not fernets:
            raise StoreError("keys= is empty: give at least one key, or None to store secrets as plain text")
        if None in fernets:
            raise StoreError(
                f"key {fernets.index(None) + 1} of {len(fernets)} is not 32 bytes in URL-safe base64: "
                "create one with SecretBox.generate_key()"
            )
        self._count = len(fernets)
        if fernets:
            self._box = fernet.MultiFernet([one for one in fernets if one])

    @staticmethod
    def generate_key() -> Secret:
        """Return a new key; store the text that ``reveal()`` returns outside of the store."""
        return Secret(fernet.Fernet.generate_key().decode())

    @staticmethod
    def is_sealed(stored: str | Secret) -> bool:
        """Return True if *stored* is encrypted."""
        return Secret(stored).reveal().startswith(_PREFIX)

    @property
    def has_keys(self) -> bool:
        """True if texts are encrypted."""
        return self._box is not None

    def seal(self, text: str | Secret) -> str:
        """Return the text to store: *text* encrypted, or unchanged without keys.

        Raises:
            StoreError: *text* is not valid Unicode.
        """
        text = Secret(text)
        if self._box is None:
            return masked(text.reveal())
        if not is_unicode(text.reveal()):
            raise StoreError("a secret to store is not valid Unicode")
        return _PREFIX + self._box.encrypt(text.reveal().encode()).decode()

    def open(self, stored: str | Secret) -> Secret:
        """Return the text that was given to ``seal``.

        Raises:
            StoreError: *stored* is damaged, or encrypted with none of the keys.
        """
        stored = Secret(stored)
        if not self.is_sealed(stored):
            if not is_unicode(stored.reveal()):
                raise StoreError("a secret in this store is damaged: it is not valid Unicode; store it again")
            return stored
        if self._box is None:
            raise StoreError("the secrets in this store are encrypted: open it with keys=")
        text = _decrypt(self._box, stored)
        if text is None:
            raise StoreError(
                "none of the keys decrypts a secret in this store: add the key that encrypted it to keys="
            )
        return text

    def rotate(self, stored: str | Secret) -> str:
        """Return *stored* encrypted again, with the first key.

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
    """Return *keys*, of any type, wrapped so that their ``repr`` shows stars."""
    if isinstance(keys, Iterable) and not isinstance(keys, str | bytes):
        return [masked(key) for key in keys]
    return masked(keys)


def _load_fernet(key: str | bytes | Secret) -> fernet.Fernet | None:
    try:
        return fernet.Fernet(key.reveal() if isinstance(key, Secret) else key)
    except (ValueError, TypeError, AttributeError):
        return None


def _decrypt(box: fernet.MultiFernet, sealed: Secret) -> Secret | None:
    token = sealed.reveal().removeprefix(_PREFIX).encode("ascii", errors="replace")
    try:
        return Secret(box.decrypt(token).decode())
    except (fernet.InvalidToken, ValueError):
        return None
