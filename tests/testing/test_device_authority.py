"""The stand-in authority and its devices, verified by openssl."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from tests.cases import each

from pyade.testing import CmsForm, DeviceAuthority, DeviceIdentity
from pyade.testing.mac.cms import Digest, KeyKind

CONTENT = b"<?xml version='1.0'?>\n<plist>\xc3\xa9\r\n</plist>\n" * 20
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGESTS: tuple[Digest, ...] = ("sha1", "sha256")
ENCODINGS: tuple[Literal["ber", "der"], ...] = ("ber", "der")
SIGNERS: tuple[Literal["issuer", "key-identifier"], ...] = ("issuer", "key-identifier")
FORMS = [
    CmsForm(
        digest=digest, encoding=encoding, has_attributes=has_attributes, has_chain=has_chain, signer=signer
    )
    for digest, encoding, has_attributes, has_chain, signer in product(
        DIGESTS, ENCODINGS, (False, True), (False, True), SIGNERS
    )
]


@pytest.fixture(scope="module")
def authority() -> DeviceAuthority:
    return DeviceAuthority.generate()


@pytest.fixture(scope="module")
def identity(authority: DeviceAuthority) -> DeviceIdentity:
    return authority.issue(now=NOW)


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run([program, *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def verified_by_openssl(message: bytes, authority: DeviceAuthority, folder: Path) -> bytes:
    anchor = folder / "ca.pem"
    anchor.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    # Openssl accepts neither the dates nor the key sizes of devices.
    lenient = ("-purpose", "any", "-no_check_time", "-auth_level", "0")
    return openssl("cms", "-verify", "-binary", "-inform", "DER", "-CAfile", anchor, *lenient, given=message)


@each("form", FORMS)
def test_openssl_verifies_every_form(
    form: CmsForm, authority: DeviceAuthority, identity: DeviceIdentity, tmp_path: Path
) -> None:
    assert verified_by_openssl(identity.sign(CONTENT, form=form), authority, tmp_path) == CONTENT


@each("authority_key", ["rsa1024", "rsa2048", "p256", "p384"])
@each("digest", ["sha1", "sha256"])
def test_openssl_verifies_every_kind_of_authority(
    authority_key: KeyKind, digest: Digest, tmp_path: Path
) -> None:
    authority = DeviceAuthority.generate(key=authority_key)
    message = authority.issue(digest=digest, now=NOW).sign(CONTENT)
    assert verified_by_openssl(message, authority, tmp_path) == CONTENT


@each("key", ["rsa1024", "rsa2048", "p256", "p384"])
@each("form", [CmsForm.APPLE, CmsForm.IPAD, CmsForm.MODERN])
def test_openssl_verifies_every_kind_of_device_key(
    key: KeyKind, form: CmsForm, authority: DeviceAuthority, tmp_path: Path
) -> None:
    message = authority.issue(key=key, now=NOW).sign(CONTENT, form=form)
    assert verified_by_openssl(message, authority, tmp_path) == CONTENT


def test_a_mac_signs_in_the_observed_form(identity: DeviceIdentity) -> None:
    message = identity.sign(CONTENT)
    assert message.startswith(b"\x30\x80")
    assert b"\x24\x80\x04\x82" in message
    assert message.endswith(b"\0" * 6)
    shown = openssl("cms", "-cmsout", "-print", "-inform", "DER", given=message).decode()
    assert re.search(r"signedAttrs:\s+<ABSENT>", shown)
    assert shown.count("algorithm: sha1 ") == 2
    assert "algorithm: sha1WithRSAEncryption" in shown
    assert shown.count("d.certificate:") == 2


def test_other_forms_differ_as_documented(identity: DeviceIdentity) -> None:
    ipad, modern = (identity.sign(CONTENT, form=form) for form in (CmsForm.IPAD, CmsForm.MODERN))
    assert ipad.startswith(b"\x30\x80")
    assert modern.startswith(b"\x30\x82")
    for message in (ipad, modern):
        shown = openssl("cms", "-cmsout", "-print", "-inform", "DER", given=message).decode()
        assert "object: contentType (" in shown
        assert "object: messageDigest (" in shown
    assert "algorithm: sha256 " in shown
    alone = identity.sign(CONTENT, form=CmsForm(has_chain=False))
    assert openssl("cms", "-cmsout", "-print", "-inform", "DER", given=alone).count(b"d.certificate:") == 1


def test_identity_has_the_fields_of_a_genuine_one(
    authority: DeviceAuthority, identity: DeviceIdentity
) -> None:
    leaf = identity.certificate
    key = leaf.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 1024
    assert leaf.issuer == authority.certificate.subject
    assert leaf.signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.5"
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (NOW, NOW + timedelta(days=365))
    assert [attribute.oid.dotted_string for attribute in leaf.subject] == ["2.5.4.3"]
    critical = {extension.oid.dotted_string for extension in leaf.extensions if extension.critical}
    assert critical == {"2.5.29.19", "2.5.29.15", "2.5.29.37"}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    parent = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert parent.key_identifier == own.digest
    apple = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.2.840.113635.100.6.10.4"))
    assert isinstance(apple.value, x509.UnrecognizedExtension)
    assert apple.value.value == b"\x05\x00"
    assert identity.chain == (authority.certificate,)
    assert authority.certificate.not_valid_after_utc.year == 2014


def test_identities_differ_and_their_keys_are_not_shown(authority: DeviceAuthority) -> None:
    one, other = authority.issue(now=NOW), authority.issue(key="p384", digest="sha256", days=3, now=NOW)
    assert one != other
    assert one.certificate.subject != other.certificate.subject
    assert isinstance(other.private_key, ec.EllipticCurvePrivateKey)
    assert other.certificate.signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.11"
    assert "private" not in repr(one) + repr(authority)


def test_identity_without_a_time_is_valid_from_now(authority: DeviceAuthority) -> None:
    leaf = authority.issue().certificate
    assert leaf.not_valid_before_utc <= datetime.now(UTC) < leaf.not_valid_after_utc


def test_trust_contains_only_its_authority(authority: DeviceAuthority) -> None:
    assert authority.trust.anchors == (authority.certificate,)
    assert (
        DeviceAuthority.generate(common_name="Contoso CA").certificate.subject
        != authority.certificate.subject
    )
