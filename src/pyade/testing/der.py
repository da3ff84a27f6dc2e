"""Build DER and BER elements without using ``pyade.crypto``, as an independent check of it.

Source: ITU-T X.690, clause 8.1.
"""


def definite(tag: int, *parts: bytes) -> bytes:
    """Return an element of definite length, as DER requires."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def indefinite(tag: int, *parts: bytes) -> bytes:
    """Return an element of indefinite length with its end-of-contents octets."""
    return bytes((tag, 0x80)) + b"".join(parts) + b"\x00\x00"
