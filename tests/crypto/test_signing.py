"""Signed documents, judged by the real openssl."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.signing import Signer
from pyade.errors import SigningError

if TYPE_CHECKING:
    from tests.crypto.conftest import OpenSSL

NOW = datetime(2026, 3, 4, tzinfo=UTC)
PLIST = plistlib.dumps({"PayloadType": "Configuration", "PayloadDisplayName": "Büro"})


@attrs.frozen
class Chain:
    """Root, intermediate and leaf; the leaf signs."""

    root: x509.Certificate
    signer: Signer


def issue(
    name: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder(issuer.subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=10))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture(scope="module", params=["rsa", "p256", "p384"])
def chain(request: pytest.FixtureRequest, keypair: TokenKeypair) -> Chain:
    root_key, middle_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    leaf_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = keypair.private_key
    if request.param != "rsa":
        leaf_key = ec.generate_private_key(ec.SECP256R1() if request.param == "p256" else ec.SECP384R1())
    root = issue("Root", root_key, None, root_key, ca=True)
    middle = issue("Intermediate", middle_key, root, root_key, ca=True)
    leaf = issue("Leaf", leaf_key, middle, middle_key, ca=False)
    return Chain(root, Signer(private_key=leaf_key, certificate=leaf, intermediates=(middle,)))


@pytest.mark.parametrize(
    "content",
    [PLIST, b"a\nb\r\nc\rd", b"", bytes(range(256)) * 500],
    ids=["plist", "line ends", "empty", "binary"],
)
def test_openssl_verifies_it_with_only_the_root(
    openssl: OpenSSL, tmp_path: Path, chain: Chain, content: bytes
) -> None:
    """The intermediate comes from the message, and the content byte for byte."""
    root, signed, out = tmp_path / "root.pem", tmp_path / "signed", tmp_path / "out"
    root.write_bytes(chain.root.public_bytes(Encoding.PEM))
    signed.write_bytes(chain.signer.sign(content))
    for tool in ("cms", "smime"):
        options = ["-verify", "-binary", "-inform", "DER", "-purpose", "any"]
        openssl(tool, *options, "-CAfile", root, "-in", signed, "-out", out)
        assert out.read_bytes() == content


def test_what_is_in_the_message(chain: Chain) -> None:
    info = cms.ContentInfo.load(chain.signer.sign(PLIST), strict=True)
    data = info["content"]
    assert info["content_type"].native == "signed_data"
    assert data["encap_content_info"]["content"].native == PLIST
    assert [one["algorithm"].native for one in data["digest_algorithms"]] == ["sha256"]
    names = {one.chosen.subject.native["common_name"] for one in data["certificates"]}
    assert names == {"Leaf", "Intermediate"}
    attributes = {one["type"].native for one in data["signer_infos"][0]["signed_attrs"]}
    assert {"content_type", "message_digest", "signing_time"} <= attributes


def test_plistutil_reads_what_openssl_verified(
    openssl: OpenSSL, tmp_path: Path, keypair: TokenKeypair
) -> None:
    program = shutil.which("plistutil")
    if program is None:
        pytest.skip("plistutil is not installed")
    signer = Signer.self_signed("Contoso", private_key=keypair.private_key)
    profile, binary = tmp_path / "profile.plist", tmp_path / "profile.bin"
    openssl(
        "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-out", profile, given=signer.sign(PLIST)
    )
    subprocess.run([program, "-i", profile, "-o", binary, "-f", "bin"], capture_output=True, check=True)
    assert plistlib.loads(binary.read_bytes()) == plistlib.loads(PLIST)


def test_a_self_signed_signer(openssl: OpenSSL, tmp_path: Path) -> None:
    signer = Signer.self_signed("Contoso", days=30, now=datetime.now(UTC))
    assert isinstance(signer.private_key, rsa.RSAPrivateKey)
    certificate, out = tmp_path / "certificate.pem", tmp_path / "out"
    certificate.write_bytes(signer.certificate.public_bytes(Encoding.PEM))
    options = ["-verify", "-binary", "-inform", "DER", "-purpose", "any"]
    openssl("cms", *options, "-CAfile", certificate, "-out", out, given=signer.sign(PLIST))
    assert out.read_bytes() == PLIST


def test_from_pem_in_any_order(chain: Chain) -> None:
    signer = chain.signer
    key = signer.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    leaf, middle = (one.public_bytes(Encoding.PEM) for one in (signer.certificate, *signer.intermediates))
    for parts in ([key, leaf, middle], [middle, leaf, key], [leaf, middle, leaf, key]):
        assert Signer.from_pem(b"".join(parts), "secret") == signer


def test_from_pkcs12(chain: Chain) -> None:
    signer = chain.signer
    data = pkcs12.serialize_key_and_certificates(
        b"name", signer.private_key, signer.certificate, signer.intermediates, BestAvailableEncryption(b"x")
    )
    assert Signer.from_pkcs12(data, "x") == signer
    with pytest.raises(SigningError, match="passphrase is wrong"):
        Signer.from_pkcs12(data, "y")
    with pytest.raises(SigningError, match="passphrase is wrong"):
        Signer.from_pkcs12(data)


def test_pkcs12_without_a_part(chain: Chain) -> None:
    signer = chain.signer
    no_key = pkcs12.serialize_key_and_certificates(b"name", None, signer.certificate, None, NoEncryption())
    with pytest.raises(SigningError, match="no private key"):
        Signer.from_pkcs12(no_key)
    no_certificate = pkcs12.serialize_key_and_certificates(
        b"name", signer.private_key, None, None, NoEncryption()
    )
    with pytest.raises(SigningError, match="does not belong to the certificate"):
        Signer.from_pkcs12(no_certificate)


def test_key_and_certificate_that_differ(keypair: TokenKeypair, other_keypair: TokenKeypair) -> None:
    with pytest.raises(SigningError, match="does not belong to the certificate"):
        Signer(private_key=keypair.private_key, certificate=other_keypair.certificate)
    key = keypair.to_pem().removesuffix(keypair.certificate_pem)
    with pytest.raises(SigningError, match="does not belong to the certificate"):
        Signer.from_pem(key + other_keypair.certificate_pem)


def test_a_key_that_cannot_sign_profiles(keypair: TokenKeypair) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(SigningError, match="an RSA or EC key is needed"):
        Signer.from_pem(pem + keypair.certificate_pem)


def test_the_private_key_does_not_show(chain: Chain) -> None:
    assert "private_key" not in repr(chain.signer)
