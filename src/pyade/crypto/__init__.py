"""Keys, certificates and signatures: for the token, for CMS, for pushes, for OAuth 1.0a; password hashes.

``Token.from_p7m`` is the usual door to ``read_token_file``.
"""

from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.oauth1 import authorization_header
from pyade.crypto.password_hash import hash_password
from pyade.crypto.push_certificate import PushCertificate
from pyade.crypto.signing import Signer
from pyade.crypto.token_file import TokenSecrets, read_token_file

__all__ = [
    "PushCertificate",
    "Signer",
    "TokenKeypair",
    "TokenSecrets",
    "authorization_header",
    "hash_password",
    "read_token_file",
]
