"""Ready-made RSA keys of 2048 bits, since generating one is slow. They are used only by this test suite."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

if TYPE_CHECKING:
    from pyade.crypto.keypair import TokenKeypair

_END = b"-----END PRIVATE KEY-----"
original_generate, _original_load = rsa.generate_private_key, serialization.load_pem_private_key


def _read() -> dict[bytes, rsa.RSAPrivateKey]:
    """Return the keys by their PEM."""
    found: dict[bytes, rsa.RSAPrivateKey] = {}
    for part in (Path(__file__).parent / "rsa_test_keys.pem").read_bytes().split(_END)[:-1]:
        pem = part[part.index(b"-----BEGIN") :] + _END
        key = _original_load(pem, None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, rsa.RSAPrivateKey)
        found[pem] = key
    return found


_by_pem = _read()
_keys = tuple(_by_pem.values())
_turns = cycle(_keys[4:])

RSA_KEYS = _keys[:4]
"""For fixtures of a module or of the run; ``generate_private_key`` never returns these keys."""


def generate_private_key(public_exponent: int, key_size: int, backend: object = None) -> rsa.RSAPrivateKey:
    """Replace cryptography's function: return a ready-made key, not one of the last seven."""
    if (public_exponent, key_size) == (65537, 2048):
        return next(_turns)
    return original_generate(public_exponent, key_size)


def load_pem_private_key(data: bytes, password: bytes | None, *rest: Any, **options: Any) -> PrivateKeyTypes:
    """Replace cryptography's function, whose check of a key takes half as long as generating one."""
    if password is None and (key := _by_pem.get(data.strip())) is not None:
        return key
    return _original_load(data, password, *rest, **options)


def keypair_of(key: rsa.RSAPrivateKey) -> TokenKeypair:
    """Return a key pair like `TokenKeypair.generate`, with an existing key."""
    from pyade.crypto.certificates import self_signed
    from pyade.crypto.keypair import TokenKeypair

    return TokenKeypair(key, self_signed("Contoso MDM", key, days=3650, now=None, key_encipherment=True))
