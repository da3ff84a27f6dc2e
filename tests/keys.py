"""Ready-made RSA keys of 2048 bits: each takes long to make. They are of this suite, and open nothing."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

if TYPE_CHECKING:
    from pyade.crypto.keypair import TokenKeypair

_END = b"-----END PRIVATE KEY-----\n"
really_generate = rsa.generate_private_key


def _load(pem: bytes) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _read() -> tuple[rsa.RSAPrivateKey, ...]:
    pem = (Path(__file__).parent / "rsa_test_keys.pem").read_bytes()
    return tuple(_load(part + _END) for part in pem.split(_END) if part)


_ALL = _read()
RSA_KEYS = _ALL[:4]
"""For fixtures of a module or of the run; no test gets these from the function below."""

_keys = cycle(_ALL[4:])


def generate_private_key(public_exponent: int, key_size: int, backend: object = None) -> rsa.RSAPrivateKey:
    """Stand in for cryptography's function: a ready-made key, not the one of the seven calls before."""
    if (public_exponent, key_size) == (65537, 2048):
        return next(_keys)
    return really_generate(public_exponent, key_size)


def keypair_of(key: rsa.RSAPrivateKey) -> TokenKeypair:
    """Return a key pair as `TokenKeypair.generate` makes it, of a key that is there already."""
    from pyade.crypto.certificates import self_signed
    from pyade.crypto.keypair import TokenKeypair

    return TokenKeypair(key, self_signed("Contoso MDM", key, days=3650, now=None, key_encipherment=True))
