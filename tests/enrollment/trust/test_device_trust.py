"""Which signed messages are trusted: made by openssl, and by editing openssl's output."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases import each
from tests.crypto.conftest import DATA, tlv
from tests.enrollment.trust.conftest import (
    CA,
    CONTENT,
    DEVICE_CA,
    SIGNED_DATA,
    DevicePki,
    Issued,
    Pieces,
    World,
    attribute,
    sha1_rsa,
)

from pyade.core.input_limits import MAX_BYTES
from pyade.crypto.signed_data import KnownCertificates, read_signed_data
from pyade.enrollment import DeviceTrust
from pyade.enrollment.device_trust import apple_device_ca
from pyade.errors import SigningError, TrustError

# An intentional copy: a change of the certificate must be made here, too.
APPLE_CERTIFICATE_SHA256 = "76f27d00e1333bc88de0e2916c38c9a7f2b75774c25a794c092a80e3c4c66cce"
APPLE_PUBLIC_KEY_SHA256 = "13686ec675f9fd26a123adb17b5533f593cf451edd6105ae39b748277a3922e5"

NOT_A_CA = "basicConstraints=critical,CA:FALSE\n"
CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
RSA = bytes.fromhex("300d06092a864886f70d0101010500")
SHA1_RSA = bytes.fromhex("300d06092a864886f70d0101050500")
SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
SHA1 = bytes.fromhex("300906052b0e03021a0500")
SHA256 = bytes.fromhex("300d06096086480165030402010500")
MD2 = bytes.fromhex("300c06082a864886f70d02020500")


def chain_of_four(world: World) -> bytes:
    root = world.pki.issue(subject="/CN=Apple Root CA", extensions=CA)
    middle = world.sub_ca("Apple iPhone Certification Authority", root)
    # The pinned authority's key under another certificate, as the bag of a genuine Mac holds it.
    cross = world.pki.issue(middle, subject=DEVICE_CA, extensions=CA, key=world.ca)
    return world.sign(
        world.mac, "-noattr", "-certfile", world.pki.write_bundle(world.ca, cross, middle, root)
    )


def extra_certificates(world: World) -> bytes:
    others = [world.pki.issue(subject=f"/CN={name}") for name in ("one", "two")]
    return world.sign(world.mac, "-noattr", "-certfile", world.pki.write_bundle(*others))


def of_another_issuer(world: World) -> bytes:
    tbs = world.mac.certificate.tbs_certificate_bytes.replace(b"iPhone Device CA", b"iPhone Device CB")
    return tlv(0x30, tbs, SHA1_RSA, tlv(0x03, b"\0", bytes(128)))


def with_a_device(world: World, digest: str = "sha1", **changes: Any) -> bytes:
    return world.sign(world.pki.issue(world.ca, **changes), "-noattr", digest=digest)


ACCEPTED: dict[str, Callable[[World], bytes]] = {
    "indefinite-length BER, chunked content": lambda w: w.sign(w.mac, "-noattr", "-stream"),
    "DER form of the same": lambda w: w.sign(w.mac, "-noattr"),
    "a definite string in chunks": lambda w: attrs.evolve(w.plain, chunk=100).write(),
    "indefinite-length BER throughout, small chunks": lambda w: attrs.evolve(
        w.plain, chunk=100, indefinite=True
    ).write(),
    "no signed attributes": lambda w: w.plain.write(),
    "signed attributes": lambda w: w.sign(w.mac),
    "signed attributes, BER": lambda w: w.sign(w.mac, "-stream"),
    "signed attributes, SHA-256": lambda w: w.sign(w.mac, digest="sha256"),
    "unsigned attributes": lambda w: w.plain.with_signer(
        unsigned=tlv(0xA1, attribute(CONTENT_TYPE, DATA))
    ).write(),
    "bag: leaf only": lambda w: w.with_bag(w.der(w.mac)),
    "bag: leaf and Device CA": lambda w: w.sign(w.mac, "-noattr", "-certfile", w.ca.pem),
    "bag: full chain": chain_of_four,
    "bag: extra unrelated certificates": extra_certificates,
    "bag: any order": lambda w: w.with_bag(w.der(w.ca), w.der(w.untrusted_device), w.der(w.mac)),
    "bag: any other order": lambda w: w.with_bag(w.der(w.untrusted_device), w.der(w.mac), w.der(w.ca)),
    "bag: the leaf twice": lambda w: w.with_bag(w.der(w.mac), w.der(w.mac)),
    "bag: the serial number of the leaf under another issuer": lambda w: w.with_bag(
        of_another_issuer(w), w.der(w.mac)
    ),
    "bag: attribute certificates and other formats": lambda w: w.with_bag(
        tlv(0xA1, tlv(0x30)), w.der(w.mac), tlv(0xA3, CONTENT_TYPE)
    ),
    "bag: what is no certificate": lambda w: w.with_bag(tlv(0x30, CONTENT_TYPE), w.der(w.mac), tlv(0x30)),
    "revocation lists": lambda w: attrs.evolve(w.plain, lists=tlv(0xA1, tlv(0x30))).write(),
    "SHA-256 leaf signature": lambda w: with_a_device(w, digest="sha256"),
    "RSA-2048 leaf key": lambda w: with_a_device(w, key="rsa:2048"),
    "leaf without extensions": lambda w: with_a_device(w, extensions=""),
    "leaf without a key identifier": lambda w: with_a_device(
        w, extensions=f"{NOT_A_CA}subjectKeyIdentifier=none\n"
    ),
    "ECDSA leaf key, SHA-1": lambda w: with_a_device(w, key="ec:P-256"),
    "ECDSA leaf key, SHA-256": lambda w: with_a_device(w, key="ec:P-384", digest="sha256"),
    "SHA-384": lambda w: w.sign(w.mac, "-noattr", digest="sha384"),
    "SHA-512": lambda w: w.sign(w.mac, "-noattr", digest="sha512"),
    "rsaEncryption as signatureAlgorithm": lambda w: w.plain.with_signer(algorithm=RSA).write(),
    "sha1WithRSA as signatureAlgorithm": lambda w: w.plain.with_signer(algorithm=SHA1_RSA).write(),
    "digest algorithm without NULL": lambda w: w.plain.with_signer(digest=tlv(0x30, SHA1[2:-2])).write(),
    "subjectKeyIdentifier signer id": lambda w: w.sign(w.mac, "-noattr", "-keyid"),
    "subjectKeyIdentifier, BER, attributes": lambda w: w.sign(w.mac, "-keyid", "-stream"),
}


@each("case", ACCEPTED)
def test_accepted(case: str, world: World, trust: DeviceTrust) -> None:
    assert trust.verify(ACCEPTED[case](world)).content == CONTENT


@each("case", ACCEPTED)
def test_the_authority_is_read_once_and_nothing_else_changes(
    case: str, world: World, trust: DeviceTrust
) -> None:
    message = ACCEPTED[case](world)
    known = KnownCertificates.read(anchor.public_bytes(Encoding.DER) for anchor in trust.anchors)
    assert read_signed_data(message, known) == read_signed_data(message)


def test_taking_a_message_apart_changes_nothing(plain: Pieces, attributed: Pieces, world: World) -> None:
    assert plain.write() == world.sign(world.mac, "-noattr")
    assert Pieces.of(attributed.write()) == attributed
    assert plain.signer.algorithm == RSA
    assert world.sign(world.mac, "-noattr", "-stream").count(b"\x04\x82\x10\x00") > 1
    assert world.ca.certificate.not_valid_after_utc.year == 2014


def test_signed_attributes_in_any_order(world: World, trust: DeviceTrust) -> None:
    orders = list(permutations(world.attributes()))
    assert len(orders) == 6
    for order in orders:
        message = world.attributed.with_attributes(world.mac, *order).write()
        assert trust.verify(message).content == CONTENT


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_an_authority_with_an_ec_key(digest: str, pki: DevicePki) -> None:
    authority = pki.issue(subject=DEVICE_CA, extensions=CA, key="ec:P-256")
    message = pki.sign(CONTENT, pki.issue(authority, digest=digest), "-noattr")
    assert DeviceTrust([authority.certificate]).verify(message).content == CONTENT


def test_several_authorities_also_of_one_name(pki: DevicePki, world: World) -> None:
    other = pki.issue(subject=DEVICE_CA, extensions=CA)
    trust = DeviceTrust([other.certificate, world.ca.certificate])
    assert trust.verify(world.plain.write()).content == CONTENT
    assert trust.verify(pki.sign(CONTENT, pki.issue(other))).content == CONTENT


def test_result_names_the_signing_device(world: World, trust: DeviceTrust) -> None:
    signature = trust.verify(world.sign(world.mac, digest="sha256")).signature
    assert signature.leaf_sha256 == hashlib.sha256(world.der(world.mac)).hexdigest()
    assert signature.leaf_not_before == datetime(2025, 1, 1, tzinfo=UTC)
    assert signature.leaf_expires_at == datetime(2035, 1, 1, tzinfo=UTC)
    assert signature.digest == "sha256"
    assert trust.verify(world.plain.write()).signature.digest == "sha1"


def inner_and_outer_differ(world: World) -> bytes:
    tbs = world.mac.certificate.tbs_certificate_bytes
    assert tbs.count(SHA1_RSA) == 1
    tbs = tbs.replace(SHA1_RSA, SHA256_RSA)
    leaf = tlv(0x30, tbs, SHA1_RSA, tlv(0x03, b"\0", sha1_rsa(world.ca, tbs)))
    return world.with_bag(leaf)


def algorithm_that_is_no_signature(world: World) -> bytes:
    """The leaf's signature is good, but its algorithm is the one of a key."""
    tbs = world.mac.certificate.tbs_certificate_bytes.replace(SHA1_RSA, RSA)
    return world.with_bag(tlv(0x30, tbs, RSA, tlv(0x03, b"\0", sha1_rsa(world.ca, tbs))))


def issued_by_a_device(world: World) -> bytes:
    leaf = world.pki.issue(world.mac)
    return world.sign(leaf, "-noattr", "-certfile", world.pki.write_bundle(world.mac, world.ca))


def developer(world: World) -> bytes:
    root = world.pki.issue(subject="/CN=Apple Root CA", extensions=CA)
    relations = world.sub_ca("Apple Worldwide Developer Relations Certification Authority", root)
    leaf = world.pki.issue(relations, subject="/CN=iPhone Developer")
    return world.sign(leaf, "-noattr", "-certfile", world.pki.write_bundle(relations, root, world.ca))


def fake_authority(world: World) -> bytes:
    fake = world.pki.issue(subject=DEVICE_CA, extensions=CA)
    return world.sign(world.pki.issue(fake), "-noattr", "-certfile", fake.pem)


def issuer_loop(world: World) -> bytes:
    one = world.sub_ca("One", world.ca)
    other = world.sub_ca("Other", one)
    loop = world.pki.issue(other, subject="/CN=One", extensions=CA, key=one)
    leaf = world.pki.issue(other)
    return world.sign(leaf, "-noattr", "-certfile", world.pki.write_bundle(other, loop, one))


def two_of_one_identifier(world: World) -> bytes:
    """Two certificates with the issuer and the serial number that the signer is named by."""
    tbs = world.mac.certificate.tbs_certificate_bytes
    other = tlv(0x30, tbs.replace(b"0028864F", b"0028864E"), SHA1_RSA, tlv(0x03, b"\0", bytes(128)))
    return world.with_bag(world.der(world.mac), other)


def attributes_as_content(world: World) -> bytes:
    """A good signature over attributes, in a message that claims that they are the content."""
    content = tlv(0x31, *world.attributes())
    changed = world.attributed.with_signer(attributes=None)
    return attrs.evolve(changed, content=content).write()


def swapped_signature_bytes(world: World, **changes: Any) -> bytes:
    return attrs.evolve(world.attributed, content=CONTENT.replace(b"Machine", b"machine"), **changes).write()


def flipped(world: World, at: int) -> bytes:
    signature = bytearray(world.plain.signer.signature)
    signature[at] ^= 1
    return world.plain.with_signer(signature=bytes(signature)).write()


def ed25519_leaf(world: World) -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    builder = x509.CertificateBuilder(
        issuer_name=world.ca.certificate.subject,
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ed25519")]),
        public_key=key.public_key(),
        serial_number=world.mac.certificate.serial_number,
        not_valid_before=datetime(2025, 1, 1, tzinfo=UTC),
        not_valid_after=datetime(2035, 1, 1, tzinfo=UTC),
    )
    leaf = builder.sign(world.ca.rsa_key(), hashes.SHA256())
    return world.with_bag(leaf.public_bytes(Encoding.DER))


def wrong_key_info(world: World) -> bytes:
    """The leaf's public key is no key."""
    spki = world.mac.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    tbs = world.mac.certificate.tbs_certificate_bytes.replace(spki, spki[:-128] + bytes(128))
    return world.with_bag(tlv(0x30, tbs, SHA1_RSA, tlv(0x03, b"\0", sha1_rsa(world.ca, tbs))))


def negative_number(world: World) -> bytes:
    """The leaf and the signer agree on a serial number below zero."""
    serial = world.mac.certificate.serial_number
    number = tlv(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, "big"))
    negative = number[:2] + bytes([number[2] | 0x80]) + number[3:]
    tbs = world.mac.certificate.tbs_certificate_bytes.replace(number, negative)
    leaf = tlv(0x30, tbs, SHA1_RSA, tlv(0x03, b"\0", sha1_rsa(world.ca, tbs)))
    named = world.plain.with_signer(identifier=world.plain.signer.identifier.replace(number, negative))
    return attrs.evolve(named, certificates=(leaf,)).write()


def md5_leaf(world: World) -> bytes:
    return world.sign(world.pki.issue(world.ca, digest="md5"), "-noattr")


def md5(world: World) -> bytes:
    return world.sign(world.mac, "-noattr", digest="md5")


def other_digest_named(world: World, digest: bytes, algorithm: bytes) -> bytes:
    return world.plain.with_signer(digest=digest, algorithm=algorithm).write()


def pss(world: World) -> bytes:
    return world.sign(world.mac, "-noattr", "-keyopt", "rsa_padding_mode:pss")


def tampered_attributes(world: World, *attributes: bytes) -> bytes:
    return world.attributed.with_attributes(world.mac, *attributes).write()


UNREADABLE: dict[str, tuple[Callable[[World], bytes], str]] = {
    "nothing": (lambda w: b"", "is empty"),
    "unsigned XML": (lambda w: CONTENT, "cannot be read"),
    "oversized input": (lambda w: bytes(MAX_BYTES + 1), "65537 bytes, at most 65536 are allowed"),
    "trailing bytes": (lambda w: w.plain.write() + b"\0", "bytes follow"),
    "trailing end-of-contents": (lambda w: w.sign(w.mac, "-stream") + b"\0\0", "bytes follow"),
    "truncated BER": (lambda w: w.sign(w.mac, "-stream")[:-100], "cannot be read"),
    "missing end-of-contents": (lambda w: w.sign(w.mac, "-stream")[:-2], "cannot be read"),
    "deeply nested indefinite encodings": (lambda w: b"\x30\x80" * 30_000, "cannot be read"),
    "deeply nested content": (
        lambda w: attrs.evolve(w.plain, content_tag=0x24, content=b"\x24\x80" * 5000 + bytes(10_000)).write(),
        "cannot be read",
    ),
    "signed attributes without messageDigest": (
        lambda w: tampered_attributes(w, *w.attributes(without=MESSAGE_DIGEST)),
        "each exactly once",
    ),
    "signed attributes without contentType": (
        lambda w: tampered_attributes(w, *w.attributes(without=CONTENT_TYPE)),
        "each exactly once",
    ),
    "no attributes, but a place for them": (tampered_attributes, "each exactly once"),
    "signed attributes with messageDigest twice": (
        lambda w: tampered_attributes(
            w,
            *w.attributes(
                and_=[attribute(MESSAGE_DIGEST, tlv(0x04, hashlib.sha1(CONTENT).digest()))],
            ),
        ),
        "each exactly once",
    ),
    "signed attributes with contentType twice": (
        lambda w: tampered_attributes(w, *w.attributes(and_=[attribute(CONTENT_TYPE, DATA)])),
        "each exactly once",
    ),
    "messageDigest with two values": (
        lambda w: tampered_attributes(
            w,
            *w.attributes(without=MESSAGE_DIGEST),
            attribute(MESSAGE_DIGEST, *(tlv(0x04, hashlib.sha1(CONTENT).digest()) for _ in range(2))),
        ),
        "each exactly once",
    ),
    "messageDigest with no value": (
        lambda w: tampered_attributes(w, *w.attributes(and_=[attribute(MESSAGE_DIGEST)])),
        "each exactly once",
    ),
    "messageDigest that is no string of octets": (
        lambda w: tampered_attributes(
            w, *w.attributes(without=MESSAGE_DIGEST), attribute(MESSAGE_DIGEST, tlv(0x0C, bytes(20)))
        ),
        "messageDigest is not an OCTET STRING",
    ),
    "signed attributes that are not in DER": (
        lambda w: w.attributed.with_signer(in_ber=True).write(),
        "not in DER",
    ),
    "content of another type": (
        lambda w: w.sign(w.mac, "-noattr", "-econtent_type", "1.2.840.113549.1.7.2"),
        "content of type 1.2.840.113549.1.7.2",
    ),
    "content that is no string of octets": (
        lambda w: attrs.evolve(w.plain, content_tag=0x30).write(),
        "cannot be read",
    ),
    "detached content": (
        lambda w: attrs.evolve(w.plain, content=None).write(),
        "has no content",
    ),
    "detached content, by openssl": (
        lambda w: w.pki.openssl(
            *("cms", "-sign", "-binary", "-outform", "DER", "-signer", w.mac.pem, "-inkey", w.mac.key_file),
            given=CONTENT,
        ),
        "has no content",
    ),
    "no signer": (lambda w: attrs.evolve(w.plain, signers=()).write(), "0 signers"),
    "two signers": (
        lambda w: w.sign(
            w.mac, "-noattr", "-signer", w.untrusted_device.pem, "-inkey", w.untrusted_device.key_file
        ),
        "2 signers",
    ),
    "the same signer twice": (
        lambda w: attrs.evolve(w.plain, signers=(w.plain.signer, w.plain.signer)).write(),
        "2 signers",
    ),
    "degenerate certs-only CMS": (
        lambda w: w.pki.openssl("crl2pkcs7", "-nocrl", "-certfile", w.mac.pem, "-outform", "DER"),
        "has no content",
    ),
    "enveloped CMS": (
        lambda w: w.pki.openssl("cms", "-encrypt", "-aes128", "-outform", "DER", w.mac.pem, given=CONTENT),
        "type 1.2.840.113549.1.7.3",
    ),
    "encrypted CMS": (
        lambda w: w.pki.openssl(
            *("cms", "-EncryptedData_encrypt", "-aes128", "-secretkey", "00" * 16, "-outform", "DER"),
            given=CONTENT,
        ),
        "type 1.2.840.113549.1.7.6",
    ),
    "digested CMS": (
        lambda w: w.pki.openssl("cms", "-digest_create", "-outform", "DER", given=CONTENT),
        "type 1.2.840.113549.1.7.5",
    ),
    "an element more than there should be": (
        lambda w: w.plain.with_signer(unsigned=tlv(0xA1) + tlv(0x04)).write(),
        "cannot be read",
    ),
    "a certificate": (lambda w: w.der(w.mac), "cannot be read"),
    "the leaf has a serial number below zero": (negative_number, "is not positive"),
    "the leaf has a public key that is none": (wrong_key_info, "certificate cannot be read"),
}

UNTRUSTED: dict[str, tuple[Callable[[World], bytes], str]] = {
    "signed attributes with wrong digest (content swapped)": (
        swapped_signature_bytes,
        "is not that of the content",
    ),
    "contentType attribute is not id-data": (
        lambda w: tampered_attributes(
            w, *w.attributes(without=CONTENT_TYPE), attribute(CONTENT_TYPE, SIGNED_DATA)
        ),
        "another type of content",
    ),
    "signer certificate not in the bag": (
        lambda w: w.sign(w.mac, "-noattr", "-nocerts"),
        "certificate is not in the message",
    ),
    "signer certificate not in the bag, others are": (
        lambda w: w.with_bag(w.der(w.ca), w.der(w.untrusted_device)),
        "certificate is not in the message",
    ),
    "signer certificate not in the bag, named by key identifier": (
        lambda w: attrs.evolve(
            Pieces.of(w.sign(w.mac, "-noattr", "-keyid")), certificates=(w.der(w.ca),)
        ).write(),
        "certificate is not in the message",
    ),
    "two certificates that the signer may mean": (two_of_one_identifier, "not the only one"),
    "MD5": (md5, "digest algorithm 1.2.840.113549.2.5 is not accepted"),
    "unknown digest": (
        lambda w: other_digest_named(w, MD2, RSA),
        "digest algorithm 1.2.840.113549.2.2 is not accepted",
    ),
    "RSA with PSS": (pss, "signature algorithm 1.2.840.113549.1.1.10 is not accepted"),
    "digest SHA-256, signature sha1WithRSA": (
        lambda w: other_digest_named(w, SHA256, SHA1_RSA),
        "do not fit together",
    ),
    "digest SHA-1, signature sha256WithRSA": (
        lambda w: other_digest_named(w, SHA1, SHA256_RSA),
        "do not fit together",
    ),
    "digest SHA-256 over a signature with SHA-1": (
        lambda w: other_digest_named(w, SHA256, RSA),
        "not by the key",
    ),
    "leaf issued by Apple's developer authority": (developer, "not issued by a trusted authority"),
    "self-signed leaf": (
        lambda w: w.sign(w.untrusted_device, "-noattr"),
        "not issued by a trusted authority",
    ),
    "leaf of an unknown authority": (
        lambda w: w.sign(w.pki.issue(w.pki.issue(subject="/CN=Contoso CA", extensions=CA)), "-noattr"),
        "not issued by a trusted authority",
    ),
    "leaf issued by a device, which is no authority": (
        issued_by_a_device,
        "not issued by a trusted authority",
    ),
    "leaf of an authority below the trusted one": (issuer_loop, "not issued by a trusted authority"),
    "authority of the right name with another key in the bag": (
        fake_authority,
        "not issued by a trusted authority",
    ),
    "leaf signed by the right key under another name": (
        lambda w: w.sign(w.pki.issue(w.pki.issue(subject="/CN=Other", extensions=CA, key=w.ca)), "-noattr"),
        "not issued by a trusted authority",
    ),
    "leaf signed with MD5": (md5_leaf, "not issued by a trusted authority"),
    "leaf whose algorithm is no signature": (
        algorithm_that_is_no_signature,
        "not issued by a trusted authority",
    ),
    "leaf whose two algorithms differ": (inner_and_outer_differ, "two different signature algorithms"),
    "the authority itself": (lambda w: w.sign(w.ca, "-noattr"), "key of the authority itself"),
    "a leaf with the key of the authority": (
        lambda w: w.sign(w.pki.issue(w.ca, key=w.ca), "-noattr"),
        "key of the authority itself",
    ),
    "an authority below the trusted one": (
        lambda w: w.sign(w.sub_ca("Sub", w.ca), "-noattr"),
        "that of an authority",
    ),
    "a leaf with the name of its issuer": (
        lambda w: w.sign(w.pki.issue(w.ca, subject=DEVICE_CA, extensions=NOT_A_CA), "-noattr"),
        "that of an authority",
    ),
    "signature with a different key": (
        lambda w: attrs.evolve(w.plain, signers=(w.plain.signer.by(w.untrusted_device),)).write(),
        "not by the key",
    ),
    "one flipped bit in the content": (
        lambda w: attrs.evolve(w.plain, content=bytes([CONTENT[0] ^ 1]) + CONTENT[1:]).write(),
        "not by the key",
    ),
    "one flipped bit in the first byte of the signature": (lambda w: flipped(w, 0), "not by the key"),
    "one flipped bit in the last byte of the signature": (lambda w: flipped(w, -1), "not by the key"),
    "empty signature": (lambda w: w.plain.with_signer(signature=b"").write(), "not by the key"),
    "attributes removed": (
        lambda w: w.attributed.with_signer(attributes=None).write(),
        "not by the key",
    ),
    "an RSA key, and a signature that claims to be ECDSA": (
        lambda w: w.plain.with_signer(algorithm=tlv(0x30, bytes.fromhex("06072a8648ce3d0401"))).write(),
        "not by the key",
    ),
    "a key that is neither RSA nor EC": (ed25519_leaf, "not by the key"),
}


def refused(trust: DeviceTrust, message: bytes) -> TrustError:
    with pytest.raises(TrustError) as caught:
        trust.verify(message)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 200
    assert caught.value.__cause__ is None
    return caught.value


@each("case", UNREADABLE)
def test_unreadable(case: str, world: World, trust: DeviceTrust) -> None:
    make, reason = UNREADABLE[case]
    error = refused(trust, make(world))
    assert reason in error.reason
    assert error.is_malformed


@each("case", UNTRUSTED)
def test_untrusted(case: str, world: World, trust: DeviceTrust) -> None:
    make, reason = UNTRUSTED[case]
    error = refused(trust, make(world))
    assert reason in error.reason
    assert not error.is_malformed


def test_message_must_be_bytes(trust: DeviceTrust) -> None:
    assert "str was given, bytes are needed" in refused(trust, "MII").reason  # type: ignore[arg-type]


def test_signed_attributes_are_never_taken_for_the_content(world: World, trust: DeviceTrust) -> None:
    # Every verifier accepts such a message: the reader of the content must refuse a SET of attributes.
    assert trust.verify(attributes_as_content(world)).content == tlv(0x31, *world.attributes())


def test_every_prefix_is_refused(world: World, trust: DeviceTrust) -> None:
    for message in (world.sign(world.mac, "-noattr", "-stream"), world.sign(world.mac)):
        for end in random.Random(1).sample(range(len(message)), 200):
            assert refused(trust, message[:end]).is_malformed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.booleans())
def test_a_flipped_bit_is_refused_or_without_effect(
    world: World, trust: DeviceTrust, data: st.DataObject, has_attributes: bool
) -> None:
    message = bytearray((world.attributed if has_attributes else world.plain).write())
    at = data.draw(st.integers(0, 8 * len(message) - 1))
    message[at // 8] ^= 1 << at % 8
    try:
        verified = trust.verify(bytes(message))
    except TrustError:
        return
    # The signature does not cover the version, the list of digests or the algorithm's parameters.
    assert verified.content == CONTENT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x30\x80", b"\x30\x82", b"\x30"]))
def test_garbage_is_refused(trust: DeviceTrust, garbage: bytes, head: bytes) -> None:
    assert refused(trust, head + garbage).is_malformed


class TestDates:
    STARTS = datetime(2025, 1, 1, tzinfo=UTC)
    ENDS = datetime(2035, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        "now", [STARTS - timedelta(minutes=59), STARTS, ENDS, ENDS + timedelta(minutes=59)]
    )
    def test_certificate_is_valid_within_its_dates(self, now: datetime, world: World) -> None:
        trust = DeviceTrust([world.ca.certificate], leaf_clock=lambda: now)
        assert trust.verify(world.plain.write()).content == CONTENT

    @pytest.mark.parametrize(
        "now",
        [datetime(2008, 1, 1, tzinfo=UTC), STARTS - timedelta(minutes=61), ENDS + timedelta(minutes=61)],
    )
    def test_certificate_is_refused_outside_its_dates(self, now: datetime, world: World) -> None:
        trust = DeviceTrust([world.ca.certificate], leaf_clock=lambda: now)
        error = refused(trust, world.plain.write())
        assert "valid from 2025-01-01 to 2035-01-01" in error.reason
        assert not error.is_malformed

    def test_a_certificate_without_end(self, world: World) -> None:
        trust = DeviceTrust([world.ca.certificate], leaf_clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        leaf = world.pki.issue(world.ca, dates=("20250101000000Z", "99991231235959Z"))
        assert trust.verify(world.sign(leaf, "-noattr")).content == CONTENT

    def test_without_a_clock_an_ended_certificate_is_reported(self, world: World, trust: DeviceTrust) -> None:
        leaf = world.pki.issue(world.ca, dates=("20180101000000Z", "20190101000000Z"))
        signature = trust.verify(world.sign(leaf, "-noattr")).signature
        assert signature.leaf_expires_at == datetime(2019, 1, 1, tzinfo=UTC)


class TestApple:
    def test_the_authority_is_the_one_of_the_pins(self) -> None:
        certificate = apple_device_ca()
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        der = certificate.public_bytes(Encoding.DER)
        assert hashlib.sha256(der).hexdigest() == APPLE_CERTIFICATE_SHA256
        assert hashlib.sha256(key).hexdigest() == APPLE_PUBLIC_KEY_SHA256
        assert certificate.subject.rfc4514_string() == (
            "CN=Apple iPhone Device CA,OU=Apple iPhone,O=Apple Inc.,C=US"
        )

    def test_pinned_authority_is_the_default_trust(self) -> None:
        assert DeviceTrust.apple().anchors == (apple_device_ca(),)

    def test_authority_with_apples_name_and_another_key_is_refused(self, world: World) -> None:
        assert world.ca.certificate.subject == apple_device_ca().subject
        error = refused(DeviceTrust.apple(), world.sign(world.mac, "-noattr", "-certfile", world.ca.pem))
        assert "not issued by a trusted authority" in error.reason

    def test_clock_is_passed_on(self) -> None:
        def clock() -> datetime:
            return datetime(2026, 1, 1, tzinfo=UTC)

        assert DeviceTrust.apple(leaf_clock=clock).leaf_clock is clock


@each("extensions", ["keyUsage=DER:0500\n", "subjectAltName=DER:04\n"])
def test_a_leaf_with_an_extension_that_cannot_be_read_is_refused(
    extensions: str, world: World, trust: DeviceTrust
) -> None:
    """Also where a trusted authority signed it, and the basic constraints are good."""
    message = with_a_device(world, extensions=f"{NOT_A_CA}subjectKeyIdentifier=none\n{extensions}")
    error = refused(trust, message)
    assert error.is_malformed
    assert "the signer's certificate cannot be read" in error.reason


class TestAnchors:
    def test_empty_list_of_anchors_is_refused(self) -> None:
        with pytest.raises(SigningError, match=r"anchors is empty.*DeviceTrust\.apple"):
            DeviceTrust([])

    def test_device_certificate_is_refused_as_anchor(self, mac: Issued) -> None:
        with pytest.raises(SigningError, match="does not belong to an authority"):
            DeviceTrust([mac.certificate])

    def test_anchor_must_be_a_certificate(self, device_ca: Issued) -> None:
        with pytest.raises(SigningError, match="holds bytes: certificates are needed"):
            DeviceTrust([device_ca.pem.read_bytes()])  # type: ignore[list-item]
        with pytest.raises(SigningError, match="put a single certificate into a list"):
            DeviceTrust(device_ca.certificate)  # type: ignore[arg-type]

    def test_anchor_with_an_unreadable_extension_is_refused(self, pki: DevicePki) -> None:
        authority = pki.issue(extensions="basicConstraints=DER:0500\n")
        with pytest.raises(SigningError, match="cannot be read"):
            DeviceTrust([authority.certificate])

    def test_anchor_with_a_duplicate_extension_is_refused(self, pki: DevicePki) -> None:
        der = pki.issue(subject=DEVICE_CA, extensions=CA).certificate.public_bytes(Encoding.DER)
        twice = der.replace(bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d13"))  # its key identifier
        assert twice != der
        with pytest.raises(SigningError, match="cannot be read"):
            DeviceTrust([x509.load_der_x509_certificate(twice)])

    def test_anchor_with_another_key_type_is_refused(self, pki: DevicePki) -> None:
        authority = pki.issue(extensions=CA, key="ed25519", digest="null")
        with pytest.raises(SigningError, match="RSA or EC key"):
            DeviceTrust([authority.certificate])
