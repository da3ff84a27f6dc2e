"""A device's certificate has one fingerprint: only its issuer could encode it in a second way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from tests.cases import each
from tests.crypto.conftest import tlv
from tests.enrollment.trust.conftest import CA, CONTENT, DEVICE_CA, DevicePki, Pieces, World, sha1_rsa

from pyade.enrollment import DeviceTrust
from pyade.errors import TrustError

ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ALGORITHM = bytes.fromhex("300d06092a864886f70d0101050500")


def split(certificate: x509.Certificate) -> tuple[bytes, bytes, bytes]:
    """Return the three parts of a certificate."""
    return certificate.tbs_certificate_bytes, ALGORITHM, certificate.signature


def long_lengths(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes([tag, 0x84]) + len(body).to_bytes(4, "big") + body


def boolean_of_one(tbs: bytes) -> bytes:
    """Write "critical" as 1, which BER allows, and DER does not."""
    assert b"\x01\x01\xff" in tbs
    return tbs.replace(b"\x01\x01\xff", b"\x01\x01\x01")


def without_null(tbs: bytes) -> bytes:
    """Leave out the parameters of the key's algorithm, and correct the enclosing lengths."""
    key = bytes.fromhex("300d06092a864886f70d0101010500")
    assert tbs.count(key) == 1
    start = tbs.index(key) - 3
    info = tbs[start : start + 3 + tbs[start + 2]]
    shorter = tlv(0x30, bytes.fromhex("300b06092a864886f70d010101"), info[3 + len(key) :])
    return tlv(0x30, tbs[4:start], shorter, tbs[start + len(info) :])


SECOND_WAYS: dict[str, Callable[[bytes, bytes, bytes], bytes]] = {
    "unused bits in the signature": lambda tbs, alg, sig: tlv(0x30, tbs, alg, tlv(0x03, b"\1", sig)),
    "seven unused bits": lambda tbs, alg, sig: tlv(0x30, tbs, alg, tlv(0x03, b"\7", sig)),
    "nothing in the signature": lambda tbs, alg, sig: tlv(0x30, tbs, alg, tlv(0x03)),
    "a long length around all": lambda tbs, alg, sig: long_lengths(0x30, tbs, alg, tlv(0x03, b"\0", sig)),
    "a long length of the signature": lambda tbs, alg, sig: tlv(
        0x30, tbs, alg, long_lengths(0x03, b"\0", sig)
    ),
    "an indefinite length around all": lambda tbs, alg, sig: tlv(
        0x30, tbs, alg, tlv(0x03, b"\0", sig), indefinite=True
    ),
    "a long length of the algorithm": lambda tbs, alg, sig: tlv(
        0x30, tbs, long_lengths(0x30, alg[2:]), tlv(0x03, b"\0", sig)
    ),
    "an algorithm without NULL": lambda tbs, alg, sig: tlv(
        0x30, tbs, tlv(0x30, alg[2:-2]), tlv(0x03, b"\0", sig)
    ),
    "a long length of what is signed": lambda tbs, alg, sig: tlv(
        0x30, long_lengths(0x30, tbs[4:]), alg, tlv(0x03, b"\0", sig)
    ),
    "a BOOLEAN of 1": lambda tbs, alg, sig: tlv(0x30, boolean_of_one(tbs), alg, tlv(0x03, b"\0", sig)),
    "a key without NULL": lambda tbs, alg, sig: tlv(0x30, without_null(tbs), alg, tlv(0x03, b"\0", sig)),
    "a signature in two parts": lambda tbs, alg, sig: tlv(
        0x30, tbs, alg, tlv(0x23, tlv(0x03, b"\0", sig[:64]), tlv(0x03, b"\0", sig[64:]))
    ),
    "a signature with zeros before it": lambda tbs, alg, sig: tlv(
        0x30, tbs, alg, tlv(0x03, b"\0", b"\0", sig)
    ),
}


@pytest.fixture(scope="module")
def zero_ended_device(pki: DevicePki, world: World) -> tuple[World, Pieces]:
    """A device whose certificate's signature ends in seven zero bits, which could be marked unused."""
    builder = world.mac.certificate.tbs_certificate_bytes
    for number in range(5_000):
        tbs = builder.replace(b"0028864F", b"%08X" % number)
        signature = sha1_rsa(world.ca, tbs)
        if not signature[-1] & 0x7F:
            leaf = tlv(0x30, tbs, ALGORITHM, tlv(0x03, b"\0", signature))
            return world, attrs.evolve(world.plain, certificates=(leaf,))
    raise AssertionError  # pragma: no cover - one of 128 is


@each("way", SECOND_WAYS)
def test_a_certificate_in_a_second_form_is_refused(
    way: str, zero_ended_device: tuple[World, Pieces], trust: DeviceTrust
) -> None:
    _, plain = zero_ended_device
    leaf = plain.certificates[0]
    assert trust.verify(plain.write()).signature.leaf_sha256 == hashlib.sha256(leaf).hexdigest()
    second = SECOND_WAYS[way](*split(x509.load_der_x509_certificate(leaf)))
    assert second != leaf
    with pytest.raises(TrustError):
        trust.verify(attrs.evolve(plain, certificates=(second,)).write())


@each(
    "change",
    {
        "BOOLEAN": boolean_of_one,
        "length": lambda tbs: long_lengths(0x30, tbs[4:]),
        "unused bits of the key": lambda tbs: tbs.replace(
            bytes.fromhex("050003818d0030"), bytes.fromhex("050003818d0130")
        ),
    }.items(),
)
def test_certificate_that_an_authority_signed_in_another_form_than_der_is_refused(
    change: tuple[str, Callable[[bytes], bytes]], world: World, trust: DeviceTrust
) -> None:
    tbs = world.mac.certificate.tbs_certificate_bytes
    changed = change[1](tbs)
    assert changed != tbs
    leaf = tlv(0x30, changed, ALGORITHM, tlv(0x03, b"\0", sha1_rsa(world.ca, changed)))
    with pytest.raises(TrustError) as refused:
        trust.verify(world.with_bag(leaf))
    assert refused.value.is_malformed


def test_under_an_authority_with_an_ec_key_there_is_no_fingerprint(pki: DevicePki) -> None:
    """Any client can rewrite (r, s) as (r, -s), and both are valid."""
    authority = pki.issue(subject=DEVICE_CA, extensions=CA, key="ec:P-256")
    trust = DeviceTrust([authority.certificate])
    mac = pki.issue(authority, digest="sha256")
    plain = Pieces.of(pki.sign(CONTENT, mac, "-noattr"))
    first = mac.certificate
    r, s = decode_dss_signature(first.signature)
    mirrored = encode_dss_signature(r, ORDER_OF_P256 - s)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    second = tlv(0x30, first.tbs_certificate_bytes, algorithm, tlv(0x03, b"\0", mirrored))
    for leaf in (plain.certificates[0], second):
        signed = trust.verify(attrs.evolve(plain, certificates=(leaf,)).write())
        assert (signed.content, signed.signature.leaf_sha256) == (CONTENT, "")
