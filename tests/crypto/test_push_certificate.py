"""The push certificate: each form is read; its topic; the warning before it expires."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each
from tests.keys import RSA_KEYS

from pyade.core.problems import Severity
from pyade.crypto.push_certificate import PushCertificate
from pyade.errors import SigningError

if TYPE_CHECKING:
    from tests.crypto.conftest import OpenSSL

TOPIC = "com.apple.mgmt.External.0c1d2e3f-4a5b-6c7d-8e9f-0a1b2c3d4e5f"
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
Issue = Callable[..., x509.Certificate]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return RSA_KEYS[0]


@pytest.fixture(scope="module")
def issue(key: rsa.RSAPrivateKey) -> Issue:
    """Make a certificate as Apple's: the topic is the user id in the subject."""

    def make(*topics: str, of: Any = key) -> x509.Certificate:
        pairs = [(NameOID.USER_ID, topic) for topic in topics]
        pairs += [(NameOID.COMMON_NAME, "APSP:0c1d2e3f"), (NameOID.COUNTRY_NAME, "US")]
        name = x509.Name([x509.NameAttribute(oid, text) for oid, text in pairs])
        builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=of.public_key())
        builder = builder.serial_number(7).not_valid_before(START).not_valid_after(END)
        return builder.sign(key, hashes.SHA256())

    return make


@pytest.fixture(scope="module")
def certificate(issue: Issue) -> x509.Certificate:
    return issue(TOPIC)


def pem(*parts: Any, passphrase: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return b"".join(
        part.public_bytes(Encoding.PEM)
        if isinstance(part, x509.Certificate)
        else part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        for part in parts
    )


def refusal(data: Any, passphrase: str | None = None) -> str:
    with pytest.raises(SigningError) as caught:
        PushCertificate.load(data, passphrase)
    return caught.value.reason


def test_every_form_of_the_file_is_read(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
    """PEM or DER, with its key or without, in any order."""
    expected = PushCertificate(certificate=certificate)
    assert (expected.topic, expected.expires_at) == (TOPIC, END)
    assert PushCertificate.load(certificate.public_bytes(Encoding.DER)) == expected
    assert PushCertificate.load(pem(certificate)) == expected
    for data in (pem(certificate, key), pem(key, certificate)):
        loaded = PushCertificate.load(data)
        assert loaded == expected
        assert loaded.private_key is not None
    locked = PushCertificate.load(pem(key, certificate, passphrase=b"hunter2"), "hunter2")
    assert locked.private_key is not None


def test_a_chain_in_the_file_does_not_matter(
    issue: Issue, certificate: x509.Certificate, key: rsa.RSAPrivateKey
) -> None:
    """The one with the topic, or with the key, is it."""
    other = issue(of=ec.generate_private_key(ec.SECP256R1()))
    assert PushCertificate.load(pem(other, certificate)).certificate == certificate
    assert PushCertificate.load(pem(other, certificate, key)).certificate == certificate


def test_openssl_writes_what_is_read(openssl: OpenSSL, tmp_path: Path) -> None:
    """A certificate that another program made."""
    keyfile = tmp_path / "key.pem"
    data = openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-noenc", "-keyout", keyfile, "-days", "365"),
        *("-subj", f"/UID={TOPIC}/CN=APSP:1/C=US"),
    )
    loaded = PushCertificate.load(data + keyfile.read_bytes())
    assert loaded.topic == TOPIC
    der = openssl("x509", "-outform", "DER", given=data)
    assert PushCertificate.load(der).topic == TOPIC


@pytest.mark.parametrize(
    "topics", [(), ("com.contoso.app",), ("com.apple.mgmt.",), (TOPIC, f"{TOPIC}0"), ("Com.Apple.Mgmt.X",)]
)
def test_a_certificate_without_the_one_topic_is_refused(topics: tuple[str, ...], issue: Issue) -> None:
    """Such as one that pushes to an app."""
    assert "identity.apple.com/pushcert" in refusal(pem(issue(*topics)))


def test_what_does_not_fit_together_is_refused(
    issue: Issue, certificate: x509.Certificate, key: rsa.RSAPrivateKey
) -> None:
    """The key of another certificate, a key of an unusable type, a passphrase without a key."""
    other = ec.generate_private_key(ec.SECP256R1())
    assert "does not belong" in refusal(pem(certificate, other))
    assert "an RSA or EC key is needed" in refusal(pem(certificate, ed25519.Ed25519PrivateKey.generate()))
    assert "2 private keys" in refusal(pem(certificate, key, other))
    assert "no private key" in refusal(pem(certificate), "hunter2")
    assert "passphrase" in refusal(pem(certificate, key, passphrase=b"hunter2"))
    assert "hunter2" not in refusal(pem(certificate, key, passphrase=b"hunter2"), "hunter3")
    with pytest.raises(SigningError, match="does not belong"):
        PushCertificate(certificate=certificate, private_key=other)
    with pytest.raises(SigningError, match="RSA or EC"):
        PushCertificate(certificate=certificate, private_key="key")  # type: ignore[arg-type]


@each("data", [b"", b"PEM", b"0", b"0\x80", b"0" * 70_000, "text", None])
def test_what_is_no_file_of_certificates_is_refused(data: Any) -> None:
    """With a typed error."""
    assert refusal(data)


@given(data=st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"0" + tail))
def test_any_bytes_are_a_typed_error(data: bytes) -> None:
    """A file may contain anything."""
    assert refusal(data)


def test_the_key_is_not_shown(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
    """Nowhere in its text."""
    assert "RSAPrivateKey" not in repr(PushCertificate.load(pem(certificate, key)))


@pytest.mark.parametrize(
    ("now", "severity", "words"),
    [
        (END - timedelta(days=30, seconds=1), None, ""),
        (END - timedelta(days=30), Severity.WARNING, "30 are left"),
        (END - timedelta(hours=1), Severity.WARNING, "0 are left"),
        (END, Severity.ERROR, "still valid"),
        (END + timedelta(days=400), Severity.ERROR, "still valid"),
        (START - timedelta(seconds=1), Severity.ERROR, "already valid"),
        (START, None, ""),
    ],
)
def test_its_expiry_is_reported_30_days_before(
    now: datetime, severity: Severity | None, words: str, certificate: x509.Certificate
) -> None:
    """And what to do, which is not to make a new one."""
    found = PushCertificate(certificate=certificate).check(now=now)
    assert [problem.severity for problem in found] == ([severity] if severity else [])
    for problem in found:
        assert words in problem.allowed
        assert "clock" in problem.fix or "do not create a new one" in problem.fix


def test_its_topic_is_compared_with_the_profile(certificate: x509.Certificate) -> None:
    """The topic that Macs enroll with, and the push service of Apple's portal."""
    push = PushCertificate(certificate=certificate)
    assert push.check(now=START, topic=TOPIC) == ()
    [problem] = push.check(now=START, topic=f"{TOPIC}x")
    assert (problem.setting, problem.severity) == ("topic", Severity.ERROR)
    assert TOPIC in problem.allowed
    [problem] = push.check(now=START, topic=TOPIC, development_push=True)
    assert problem.setting == "development_push"


def test_a_time_has_a_zone(certificate: x509.Certificate) -> None:
    """Or the end would be hours off."""
    with pytest.raises(SigningError, match="time zone"):
        PushCertificate(certificate=certificate).check(now=START.replace(tzinfo=None))
