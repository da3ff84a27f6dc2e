"""The server token file, read here with OpenSSL and with asn1crypto, not with pyade.crypto."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.keys import RSA_KEYS

from pyade.testing import FakeApple, PortalError, Server
from pyade.testing.clock import FrozenClock

OPENSSL = shutil.which("openssl")


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, serial: int = 0x80FF) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Contoso MDM")])
    now = FrozenClock()()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return RSA_KEYS[0]


@pytest.fixture
def issue(apple: FakeApple, server: Server, key: rsa.RSAPrivateKey) -> Callable[..., bytes]:
    pem = certificate(key)
    return lambda **form: apple.issue_token(server, pem, **form)


@pytest.fixture
def decrypt(tmp_path: Path, key: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    """Return what OpenSSL decrypts from a binary CMS message."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "certificate.pem").write_bytes(certificate(key))

    def run(message: bytes) -> bytes:
        (tmp_path / "message").write_bytes(message)
        command = [OPENSSL, "cms", "-decrypt", "-binary", "-inform", "DER", "-in", "message"]
        done = subprocess.run(
            [*command, "-inkey", "key.pem", "-recip", "certificate.pem"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def secrets(plain: bytes) -> dict[str, str]:
    text = plain.decode().replace("\r", "").replace("\n", "")
    value: dict[str, str] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return value


def test_default_file_has_the_form_of_apples(issue: Callable[..., bytes]) -> None:
    head, _, body = issue().decode().partition("\n\n")
    assert head.split("\n") == [
        'Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-data',
        "Content-Transfer-Encoding: base64",
        'Content-Disposition: attachment; filename="smime.p7m"',
        "Content-Description: S/MIME Encrypted Message",
    ]
    assert {len(line) for line in body.split("\n")[:-2]} == {76}
    assert body.startswith("MIAGCSqGSIb3DQEHA6CAMIACAQAxgg")
    message = b64decode(body)
    assert message.endswith(bytes(10))
    info = cms.ContentInfo.load(message)
    enveloped = info["content"]
    assert (info["content_type"].native, enveloped["version"].native) == ("enveloped_data", "v0")
    (recipient,) = enveloped["recipient_infos"]
    assert recipient.chosen["key_encryption_algorithm"]["algorithm"].native == "rsaes_pkcs1v15"
    assert recipient.chosen["rid"].chosen["serial_number"].native == 0x80FF
    assert len(recipient.chosen["encrypted_key"].native) == 256
    content = enveloped["encrypted_content_info"]
    assert content["content_type"].native == "data"
    assert content["content_encryption_algorithm"]["algorithm"].native == "aes128_cbc"
    assert len(content["encrypted_content"].native) % 16 == 0


def test_default_content_has_the_form_of_apples(
    issue: Callable[..., bytes], decrypt: Callable[[bytes], bytes]
) -> None:
    plain = decrypt(issue(armor="binary")).decode()
    inner_headers = "Content-Type: text/plain;charset=UTF-8\nContent-Transfer-Encoding: 7bit\n\n"
    assert plain.startswith(inner_headers + "-----BEGIN MESSAGE-----\n{")
    assert plain.endswith("}\n-----END MESSAGE-----\n")


@pytest.mark.parametrize(
    ("cipher", "encoding", "transport"),
    list(product(["aes128", "aes192", "aes256", "3des"], ["ber", "der"], ["pkcs1v15", "oaep"])),
)
def test_openssl_reads_every_cipher_and_encoding(
    apple: FakeApple,
    issue: Callable[..., bytes],
    decrypt: Callable[[bytes], bytes],
    cipher: str,
    encoding: str,
    transport: str,
) -> None:
    message = issue(cipher=cipher, encoding=encoding, key_transport=transport, armor="binary")
    token = apple.token()
    assert secrets(decrypt(message)) == {
        "consumer_key": token.consumer_key,
        "consumer_secret": token.consumer_secret.reveal(),
        "access_token": token.access_token.reveal(),
        "access_secret": token.access_secret.reveal(),
        "access_token_expiry": "2026-01-01T00:00:00Z",
    }
    assert (cms.ContentInfo.load(message, strict=True).dump(force=True) == message) == (encoding == "der")


@pytest.mark.parametrize(("ending", "armor"), list(product(["\n", "\r\n"], ["smime", "broken-smime", "pem"])))
def test_the_armor_can_be_chosen(
    issue: Callable[..., bytes], decrypt: Callable[[bytes], bytes], ending: str, armor: str
) -> None:
    text = issue(line_ending=ending, armor=armor).decode()
    assert text.count("\n") == text.count(ending)
    assert ("\r" in text) == (ending == "\r\n")
    if armor == "pem":
        body = text.removeprefix("-----BEGIN PKCS7-----").removesuffix("-----END PKCS7-----" + ending)
    else:
        head, body = text.split(ending * 2)
        assert ("smime-type=enveloped-" + ending + "data" + ending in head) == (armor == "broken-smime")
    assert secrets(decrypt(b64decode(body)))["consumer_key"].startswith("CK_")


def test_the_content_can_be_bare_and_hard_wrapped(
    apple: FakeApple, issue: Callable[..., bytes], decrypt: Callable[[bytes], bytes]
) -> None:
    plain = decrypt(
        issue(armor="binary", inner_headers=False, markers=False, wrap_json_at=20, line_ending="\r\n")
    )
    lines = plain.decode().split("\r\n")
    assert {len(line) for line in lines[:-2]} == {20}
    assert lines[0].startswith("{")
    assert secrets(plain)["access_secret"] == apple.token().access_secret.reveal()


def test_issuing_supersedes_and_is_reproducible(
    apple: FakeApple,
    server: Server,
    issue: Callable[..., bytes],
    key: rsa.RSAPrivateKey,
    get_session: Callable[..., httpx.Response],
) -> None:
    issue()
    first = apple.token(server)
    assert get_session(first).status_code == 200
    issue(change_consumer_key=True)
    assert get_session(first).text == "signature_invalidUnauthorized"
    assert apple.token(server).consumer_key != first.consumer_key

    def same() -> bytes:
        twin = FakeApple(clock=FrozenClock(), seed=7)
        return twin.issue_token(twin.add_server(), certificate(key))

    assert same() == same()


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (b"not a certificate", "PEM form"),
        (certificate(ec.generate_private_key(ec.SECP256R1())), "only certificates with an RSA key"),
    ],
)
def test_the_portal_refuses_other_certificates(
    apple: FakeApple, server: Server, pem: bytes, said: str
) -> None:
    before: Any = apple.token(server)
    with pytest.raises(PortalError, match=said):
        apple.issue_token(server, pem)
    assert apple.token(server) == before
