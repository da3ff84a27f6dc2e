"""From a token file in any outer shape to the CMS message in it.

Apple's file has S/MIME headers, one of them folded without the white space that makes a folded line, so
that a strict mail parser takes the rest of them for the body. Files also pass through editors, mail and web
forms. So nothing is parsed as mail: a CMS message in base64 begins with ``MI`` and is found by that.

Source: Apple, "Examining server tokens"; RFC 8551, 3.2; RFC 7468, 9.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from pyade.core.secret import masked
from pyade.errors import TokenError

MAX_TOKEN_FILE_BYTES: Final = 1024 * 1024
"""A real token file has about 2 KiB."""

_DOWNLOAD: Final = "download the server token (.p7m) from Apple's portal again"
_SEQUENCE: Final = 0x30
_BASE64: Final = re.compile(rb"(?:\A|[\r\n])[ \t]*(MI[A-Za-z0-9+/\s]+)")
_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_WRONG_FILES: Final = (
    (b"%pdf", "it is a PDF file"),
    (b"{", "it is JSON that is not encrypted"),
    (b"[", "it is JSON that is not encrypted"),
    (b"-----begin certificate", "it is a certificate"),
    (b"-----begin public key", "it is a public key"),
    (b"pk\x03\x04", "it is a ZIP archive"),
    (b"\x89png", "it is a picture"),
    (b"bplist", "it is a property list"),
)


def cms_message(data: bytes) -> bytes:
    """Return the CMS message (DER or BER) of a token file, not yet checked.

    Args:
        data: S/MIME with headers in any shape and any line ends, PEM, base64, or the bare message; at most
            1 MiB.

    Raises:
        TokenError: The file is empty, too large, of another kind, or has no message in it.
    """
    data = masked(data)
    if not isinstance(data, bytes | bytearray):
        raise TokenError(
            f"the token file is {type(data).__name__}, bytes are needed", "read it in binary mode"
        )
    if len(data) > MAX_TOKEN_FILE_BYTES:
        raise TokenError(
            f"the token file has {len(data)} bytes, at most {MAX_TOKEN_FILE_BYTES} are allowed", _DOWNLOAD
        )
    text = masked(data.removeprefix(b"\xef\xbb\xbf").lstrip())
    if not text:
        raise TokenError("the token file is empty", _DOWNLOAD)
    if text[0] == _SEQUENCE:
        return text
    _refuse_other_files(text)
    blank = _BLANK_LINE.search(text)
    if blank and text[blank.end() : blank.end() + 1] == bytes([_SEQUENCE]):
        return text[blank.end() :]  # Content-Transfer-Encoding: binary
    found = max(_BASE64.findall(text), key=len, default=b"")
    encoded = b"".join(found.split())
    if len(encoded) < 8:  # "MIME" of a header is no message
        if b"pkcs7" in text.lower() or b"-----BEGIN CMS" in text:
            raise TokenError("the token file is cut short: it has headers and no content", _DOWNLOAD)
        raise TokenError("the file is not a server token: no encrypted message was found in it", _DOWNLOAD)
    # A cut file ends anywhere: what is left is decoded, and its length fields tell that the rest is missing.
    whole = encoded[: len(encoded) - 1] if len(encoded) % 4 == 1 else encoded
    return base64.b64decode(whole + b"=" * (-len(whole) % 4))


def _refuse_other_files(text: bytes) -> None:
    head = masked(text[:64].lower())
    if b'"consumer_key"' in text:
        raise TokenError("the file is not a server token: it is JSON that is not encrypted", _DOWNLOAD)
    if head.startswith(b"<"):
        kind = "it is a property list" if b"<plist" in text[:512].lower() else "it is an HTML or XML page"
        raise TokenError(f"the file is not a server token: {kind}", _DOWNLOAD)
    if head.startswith(b"-----begin") and b"private key" in head:
        raise TokenError("the file is not a server token: it is a private key", _DOWNLOAD)
    for start, kind in _WRONG_FILES:
        if head.startswith(start):
            raise TokenError(f"the file is not a server token: {kind}", _DOWNLOAD)
