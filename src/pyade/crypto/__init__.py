"""Keys, certificates and signatures of tokens and devices; password hashes and bypass codes.

Most callers use ``Token.from_p7m`` instead of ``read_token_file``, and ``MachineInfo.from_cms`` with a
``DeviceTrust``.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.crypto.bypass_code import BypassCode
    from pyade.crypto.jwt import client_assertion, managed_apple_account_jwt, read_assertion_key
    from pyade.crypto.keypair import TokenKeypair
    from pyade.crypto.oauth1 import authorization_header
    from pyade.crypto.password_hash import hash_password
    from pyade.crypto.push_certificate import PushCertificate
    from pyade.crypto.signing import Signer
    from pyade.crypto.token_file import TokenSecrets, read_token_file
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.crypto.bypass_code": "BypassCode",
            "pyade.crypto.jwt": "client_assertion managed_apple_account_jwt read_assertion_key",
            "pyade.crypto.keypair": "TokenKeypair",
            "pyade.crypto.oauth1": "authorization_header",
            "pyade.crypto.password_hash": "hash_password",
            "pyade.crypto.push_certificate": "PushCertificate",
            "pyade.crypto.signing": "Signer",
            "pyade.crypto.token_file": "TokenSecrets read_token_file",
        },
    )

__all__ = [
    "BypassCode",
    "PushCertificate",
    "Signer",
    "TokenKeypair",
    "TokenSecrets",
    "authorization_header",
    "client_assertion",
    "hash_password",
    "managed_apple_account_jwt",
    "read_assertion_key",
    "read_token_file",
]
