"""Elements of DER and BER, written by hand and with no code of ``pyade.crypto``.

Source: ITU-T X.690, clause 8.1.
"""


def definite(tag: int, *parts: bytes) -> bytes:
    """Return an element with its length in front, as DER has it."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def indefinite(tag: int, *parts: bytes) -> bytes:
    """Return an element of indefinite length, with its end marked."""
    return bytes((tag, 0x80)) + b"".join(parts) + b"\x00\x00"
