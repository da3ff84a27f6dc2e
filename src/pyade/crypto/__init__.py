"""Keys, certificates and signatures: of tokens, of devices, for CMS, pushes and OAuth 1.0a; password hashes.

``Token.from_p7m`` is the usual door to ``read_token_file``, ``MachineInfo.from_cms`` to ``DeviceTrust``.
"""

from pyade.crypto.device_trust import DeviceTrust, SignedContent
from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.oauth1 import authorization_header
from pyade.crypto.password_hash import hash_password
from pyade.crypto.push_certificate import PushCertificate
from pyade.crypto.signing import Signer
from pyade.crypto.token_file import TokenSecrets, read_token_file

__all__ = [
    "DeviceTrust",
    "PushCertificate",
    "SignedContent",
    "Signer",
    "TokenKeypair",
    "TokenSecrets",
    "authorization_header",
    "hash_password",
    "read_token_file",
]
