"""The server token file (``.p7m``): from its bytes to the secrets in it.

Source: Apple, "Examining server tokens".
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec

from pyade.core.kinds import checks_kinds
from pyade.core.secret import Secret, masked
from pyade.crypto.envelope import Envelope, read_envelope
from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.smime import cms_message
from pyade.errors import TokenError

_SECRETS: Final = ("consumer_key", "consumer_secret", "access_token", "access_secret")
_MAX_SERIAL_BITS: Final = 160  # RFC 5280, 4.1.2.2


@attrs.frozen(kw_only=True)
class TokenSecrets:
    """What a token file holds. Secrets are not part of ``repr``.

    Attributes:
        consumer_key: Identifies the MDM server to Apple.
        consumer_secret: Secret.
        access_token: Secret.
        access_secret: Secret.
        access_token_expiry: As Apple wrote it, such as ``2027-01-14T21:27:41Z``; None if it is not there.
    """

    consumer_key: str
    consumer_secret: Secret = attrs.field(repr=False, converter=Secret)
    access_token: Secret = attrs.field(repr=False, converter=Secret)
    access_secret: Secret = attrs.field(repr=False, converter=Secret)
    access_token_expiry: str | None = None


@checks_kinds(but=("data",))
def read_token_file(data: bytes, keypair: TokenKeypair) -> TokenSecrets:
    """Return the secrets of a token file.

    Args:
        data: The file: S/MIME as Apple sends it, PEM, base64, DER or BER; at most 1 MiB.
        keypair: The key pair whose certificate was uploaded in the portal.

    Raises:
        TokenError: The file is no server token, is damaged or cut short, was encrypted for another
            certificate, or lacks a field. Nothing of the decrypted content is in the error.
    """
    data = masked(data)  # a file of another kind may be in clear
    envelope = read_envelope(cms_message(data))
    # In no local of a frame that raises: neither what was decrypted nor what was read from it.
    for found in map(_read, envelope.plaintexts(keypair)):
        if isinstance(found, TokenSecrets):
            return found
        if found is not None:
            raise found
    raise _not_opened(envelope, keypair)


def _read(plaintext: bytes) -> TokenSecrets | TokenError | None:
    """Return what is in *plaintext*, or why it is no use; None for what a wrong key leaves."""
    document = _document(plaintext)
    return None if document is None else _secrets(document)


def _document(plaintext: bytes) -> dict[str, Any] | None:
    """Return the JSON object in *plaintext*; None if there is none.

    Around it may be a MIME head and the lines BEGIN MESSAGE and END MESSAGE; lines are wrapped anywhere,
    also inside strings (both observed).
    """
    joined = plaintext.replace(b"\r", b"").replace(b"\n", b"")
    start, end = joined.find(b"{"), joined.rfind(b"}")
    if start < 0 or end < start:
        return None
    try:
        document = msgspec.json.decode(joined[start : end + 1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _secrets(document: dict[str, Any]) -> TokenSecrets | TokenError:
    missing = [name for name in _SECRETS if document.get(name) in (None, "")]
    if missing:
        return TokenError(
            f"the token file was decrypted and lacks {', '.join(missing)}",
            "download the server token (.p7m) from Apple's portal again",
        )
    expiry = document.get("access_token_expiry")
    wrong = [name for name in _SECRETS if not isinstance(document[name], str)]
    if not isinstance(expiry, str | None):
        wrong.append("access_token_expiry")
    if wrong:
        return TokenError(
            f"the token file was decrypted and holds something else than text in {', '.join(wrong)}",
            "download the server token (.p7m) from Apple's portal again",
        )
    return TokenSecrets(**{name: document[name] for name in _SECRETS}, access_token_expiry=expiry)


def _not_opened(envelope: Envelope, keypair: TokenKeypair) -> TokenError:
    """Return one error for a wrong key, a wrong padding and unreadable content: they cannot be told apart."""
    own = keypair.certificate.serial_number
    named = next((one.serial_number for one in envelope.recipients if one.serial_number is not None), None)
    reason = "the token file was encrypted for another certificate"
    if any(recipient.is_named(keypair.certificate) for recipient in envelope.recipients):
        reason += " of the same number, or it is damaged"
    elif named is not None and named.bit_length() <= _MAX_SERIAL_BITS:
        reason += f": serial number {named:X}, that of this key pair is {own:X}"
    return TokenError(
        reason,
        "use the key pair whose certificate is in the portal, or upload this key pair's certificate"
        " there and download the token again",
    )
