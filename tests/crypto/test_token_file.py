"""From the bytes of a token file to its secrets: every form that works, and the name of every failure."""

from __future__ import annotations

import base64
import itertools
import json
import pickle
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.secret import Secret
from pyade.core.token import Portal, Token, TokenStatus
from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.token_file import TokenSecrets, read_token_file
from pyade.errors import TokenError

if TYPE_CHECKING:
    from tests.crypto.conftest import OpenSSL, Seal

HEADERS = {
    "apple": b'Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-data\n'
    b"Content-Transfer-Encoding: base64\n"
    b'Content-Disposition: attachment; filename="smime.p7m"\n'
    b"Content-Description: S/MIME Encrypted Message\n\n",
    "apple, broken fold": b'Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=\n'
    b"enveloped-data\n"
    b"Content-Transfer-Encoding: base64\n"
    b'Content-Disposition: attachment; filename="smime.p7m"\n\n',
    "openssl": b"MIME-Version: 1.0\n"
    b'Content-Disposition: attachment; filename="smime.p7m"\n'
    b'Content-Type: application/x-pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\n'
    b"Content-Transfer-Encoding: base64\n\n",
    "lower case, folded": b"mime-version: 1.0\ncontent-type: application/pkcs7-mime;\n\tname=smime.p7m\n\n",
    "blank lines first": b"\n\nContent-Type: application/pkcs7-mime\n\n\n",
    "no blank line": b"Content-Type: application/pkcs7-mime\n",
    "byte order mark": b"\xef\xbb\xbfContent-Type: application/pkcs7-mime\n\n",
    "none": b"",
}


def smime(message: bytes, *, width: int = 76, head: bytes = HEADERS["apple"], end: bytes = b"\n") -> bytes:
    encoded = base64.b64encode(message)
    lines = [encoded[start : start + width] for start in range(0, len(encoded), width)]
    return head.replace(b"\n", end) + end.join(lines) + end


def expect_fields(secrets: TokenSecrets, fields: dict[str, str]) -> None:
    assert revealed(secrets) == fields


def revealed(secrets: TokenSecrets) -> dict[str, str]:
    found = attrs.asdict(secrets)
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in found.items()}


def failure(data: bytes, keypair: TokenKeypair) -> str:
    with pytest.raises(TokenError) as caught:
        read_token_file(data, keypair)
    assert caught.value.next_step
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value.reason


# What works


@pytest.mark.parametrize("cipher", ["aes128", "aes192", "aes256", "des3"])
@pytest.mark.parametrize("tool", ["cms", "smime"])
def test_what_openssl_encrypts_is_read(
    openssl: OpenSSL,
    tmp_path: Path,
    keypair: TokenKeypair,
    plaintext: bytes,
    fields: dict[str, str],
    tool: str,
    cipher: str,
) -> None:
    """Every cipher, outer form, and definite as well as indefinite lengths."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(keypair.certificate_pem)
    for form, stream in itertools.product(["SMIME", "PEM", "DER"], [[], ["-stream"]]):
        data = openssl(
            tool, "-encrypt", f"-{cipher}", "-outform", form, *stream, certificate, given=plaintext
        )
        expect_fields(read_token_file(data, keypair), fields)


@pytest.mark.parametrize("mask", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("digest", ["sha1", "sha224", "sha256", "sha384", "sha512"])
def test_oaep_of_openssl_is_read(
    openssl: OpenSSL,
    tmp_path: Path,
    keypair: TokenKeypair,
    plaintext: bytes,
    fields: dict[str, str],
    digest: str,
    mask: str,
) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(keypair.certificate_pem)
    options = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{mask}", "rsa_oaep_label:0a0b"]
    keyopts = [text for option in options for text in ("-keyopt", option)]
    data = openssl("cms", "-encrypt", "-aes256", "-recip", certificate, *keyopts, given=plaintext)
    expect_fields(read_token_file(data, keypair), fields)


def test_each_of_several_recipients_reads_it(
    openssl: OpenSSL,
    tmp_path: Path,
    keypair: TokenKeypair,
    other_keypair: TokenKeypair,
    plaintext: bytes,
    fields: dict[str, str],
) -> None:
    names = []
    for index, one in enumerate([other_keypair, keypair]):
        names.append(tmp_path / f"{index}.pem")
        names[-1].write_bytes(one.certificate_pem)
    data = openssl("cms", "-encrypt", "-aes128", *names, given=plaintext)
    for reader in (keypair, other_keypair):
        expect_fields(read_token_file(data, reader), fields)


def test_a_recipient_named_by_key_identifier_reads_it(
    openssl: OpenSSL, tmp_path: Path, plaintext: bytes, fields: dict[str, str]
) -> None:
    pem, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Contoso", "-days", "2"]
    openssl("req", *options, "-keyout", key, "-out", pem)  # openssl adds a subject key identifier
    keypair = TokenKeypair.from_pem(key.read_bytes() + pem.read_bytes())
    data = openssl("cms", "-encrypt", "-aes128", "-keyid", "-recip", pem, given=plaintext)
    expect_fields(read_token_file(data, keypair), fields)


@each("head", HEADERS.values())
@each("end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
def test_headers_in_any_shape_and_any_line_ends(
    seal: Seal, keypair: TokenKeypair, plaintext: bytes, fields: dict[str, str], head: bytes, end: bytes
) -> None:
    data = smime(seal.write(plaintext), head=head, end=end)
    expect_fields(read_token_file(data, keypair), fields)


def test_apples_own_form(seal: Seal, keypair: TokenKeypair, plaintext: bytes, fields: dict[str, str]) -> None:
    """BER with indefinite lengths, the content a constructed string, ten zero bytes at the end."""
    message = seal.write(plaintext)
    assert message.startswith(bytes.fromhex("3080 0609 2a864886f70d010703 a080 3080 020100".replace(" ", "")))
    assert message.endswith(bytes(10))
    assert smime(message).replace(b"\n", b"").rstrip(b"=").endswith(b"A" * 13)
    expect_fields(read_token_file(smime(message), keypair), fields)


@given(
    width=st.integers(2, 200),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    chunk=st.integers(1, 500),
    indefinite=st.booleans(),
    constructed=st.booleans(),
    cipher=st.sampled_from(["aes128", "aes192", "aes256", "des3"]),
    tail=st.sampled_from([b"", b"\n\n", b"\r\n--boundary--\r\n", b"\x00"]),
    outer=st.sampled_from(["smime", "der"]),
)
def test_any_wrapping_and_any_encoding(
    seal: Seal,
    keypair: TokenKeypair,
    plaintext: bytes,
    fields: dict[str, str],
    *,
    width: int,
    end: bytes,
    chunk: int,
    indefinite: bool,
    constructed: bool,
    cipher: str,
    tail: bytes,
    outer: str,
) -> None:
    """Definite-length strings in several parts too, which asn1crypto does not join."""
    writer = attrs.evolve(
        seal,
        chunk=chunk,
        indefinite=indefinite,
        constructed=constructed,
        cipher=cipher,
    )
    message = writer.write(plaintext)
    data = smime(message, width=width, end=end) if outer == "smime" else message
    expect_fields(read_token_file(data + tail, keypair), fields)


@given(cuts=st.sets(st.integers(0, 500)), end=st.sampled_from([b"\n", b"\r\n", b"\r"]), data=st.data())
def test_json_wrapped_anywhere_also_inside_strings(
    seal: Seal,
    keypair: TokenKeypair,
    fields: dict[str, str],
    *,
    cuts: set[int],
    end: bytes,
    data: st.DataObject,
) -> None:
    document = json.dumps({**fields, "later_addition": [1, {"é": None}]}, ensure_ascii=False).encode()
    points = [0, *sorted(cut for cut in cuts if 0 < cut < len(document)), len(document)]
    wrapped = end.join(document[a:b] for a, b in itertools.pairwise(points))
    head = data.draw(st.sampled_from([b"", b"Content-Type: text/plain;charset=UTF-8" + end + end]))
    before, after = data.draw(
        st.sampled_from(
            [(b"", b""), (b"-----BEGIN MESSAGE-----" + end, end + b"-----END MESSAGE-----" + end)]
        )
    )
    expect_fields(read_token_file(seal.write(head + before + wrapped + after), keypair), fields)


def test_a_message_in_binary_transfer_encoding(
    seal: Seal, keypair: TokenKeypair, plaintext: bytes, fields: dict[str, str]
) -> None:
    data = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    expect_fields(read_token_file(data + seal.write(plaintext), keypair), fields)


def test_a_certificate_made_anew_for_the_same_key(
    seal: Seal, keypair: TokenKeypair, plaintext: bytes, fields: dict[str, str]
) -> None:
    """The file names another certificate, but the key is the right one."""
    data = attrs.evolve(seal, serial_number=1).write(plaintext)
    expect_fields(read_token_file(data, keypair), fields)


def test_secrets_do_not_show(seal: Seal, keypair: TokenKeypair, plaintext: bytes) -> None:
    shown = repr(read_token_file(seal.write(plaintext), keypair))
    assert "CK_" in shown
    assert not re.search("CS_|AT_|AS_", shown)


# What fails, and how it is called


@each(
    ("data", "reason"),
    [
        (b"", "the token file is empty"),
        (b" \r\n\t", "the token file is empty"),
        (b"%PDF-1.7\n%...", "it is a PDF file"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "it is an HTML or XML page"),
        (b"<?xml version='1.0'?><plist version='1.0'/>", "it is a property list"),
        (b'{"consumer_key": "CK_secret"}', "it is JSON that is not encrypted"),
        (b'-----BEGIN MESSAGE-----\n{"consumer_key": "CK_secret"}', "it is JSON that is not encrypted"),
        (b"[1]", "it is JSON that is not encrypted"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nMIIsecret", "it is a private key"),
        (b"-----BEGIN PUBLIC KEY-----\nMIIB", "it is a public key"),
        (b"PK\x03\x04\x14", "it is a ZIP archive"),
        (b"\x89PNG\r\n", "it is a picture"),
        (b"bplist00", "it is a property list"),
        (b"Dear colleague,\n\nthe token follows", "no encrypted message was found in it"),
        (b"Content-Type: application/pkcs7-mime\n", "headers but no content"),
        (b"MIME-Version: 1.0\nContent-Type: application/pkcs7-mime\n", "headers but no content"),
        (b"-----BEGIN CMS-----\n", "headers but no content"),
        (b"0", "cut short"),
        (b"0\x80", "cut short"),
        (b"0\x03\x02\x01", "cut short"),
        (b"0\x03\x02\x01\x00", "damaged"),
        (b"0\x80\x00\x00", "damaged"),
        (b"0" * 5000, "damaged"),
        (b"0\x80" * 5000, "nested deeper than 24 levels"),
        (b"0\x83\x02\x00\x00" + b"\x05\x00" * 65536, "more than 20000 elements"),
        (b"x" * (1024 * 1024 + 1), "1048577 bytes, at most 1048576 are allowed"),
    ],
)
def test_what_is_no_token_file_is_called_by_its_name(keypair: TokenKeypair, data: bytes, reason: str) -> None:
    message = failure(data, keypair)
    assert reason in message
    assert "secret" not in message


def test_the_uploaded_certificate_is_not_the_token(keypair: TokenKeypair) -> None:
    assert "it is a certificate" in failure(keypair.certificate_pem, keypair)


def test_a_file_that_was_read_as_text(keypair: TokenKeypair) -> None:
    with pytest.raises(TokenError, match="str, bytes are needed: read it in binary mode"):
        read_token_file("MIME", keypair)  # type: ignore[arg-type]


def test_a_file_that_is_cut_anywhere_is_never_read(
    seal: Seal, keypair: TokenKeypair, plaintext: bytes
) -> None:
    data = smime(seal.write(plaintext))
    body = data.index(b"MI")
    for end in range(0, len(data) - 6, 7):
        reason = failure(data[:end], keypair)
        assert "cut short" in reason or end < body + 8, (end, reason)


def test_bare_messages_that_are_cut_are_never_read(
    seal: Seal, keypair: TokenKeypair, plaintext: bytes
) -> None:
    for indefinite in (True, False):
        message = attrs.evolve(seal, indefinite=indefinite).write(plaintext)
        for end in range(1, len(message), 13):
            assert failure(message[:end], keypair) == "the token file is cut short"


def test_another_certificate(
    seal: Seal, keypair: TokenKeypair, other_keypair: TokenKeypair, plaintext: bytes
) -> None:
    """PKCS #1 v1.5 decryption with a wrong key raises nothing: the content decides, again and again."""
    for _ in range(20):
        reason = failure(seal.write(plaintext), other_keypair)
        assert reason.startswith("the token file was encrypted for another certificate: serial number ")
    assert f"{keypair.certificate.serial_number:X}" in reason
    assert f"{other_keypair.certificate.serial_number:X}" in reason


def test_another_certificate_with_the_same_serial_number(
    seal: Seal, other_keypair: TokenKeypair, plaintext: bytes
) -> None:
    """Some tools number every certificate 1 under one name."""
    same = attrs.evolve(seal, serial_number=other_keypair.certificate.serial_number)
    reason = failure(same.write(plaintext), other_keypair)
    assert reason == (
        "the token file was encrypted for another certificate with the same serial number, or it is damaged"
    )


def test_a_serial_number_of_absurd_size_is_not_printed(
    seal: Seal, other_keypair: TokenKeypair, plaintext: bytes
) -> None:
    reason = failure(attrs.evolve(seal, serial_number=1 << 50_000).write(plaintext), other_keypair)
    assert reason == "the token file was encrypted for another certificate"


def test_padding_and_json_errors_read_the_same(seal: Seal, keypair: TokenKeypair, plaintext: bytes) -> None:
    unpadded = attrs.evolve(seal, padded=False).write(b"{}" + b"\xff" * 14)
    documents = [b"no JSON", b"}{", b'{"consumer_key": "secret', b"{\xff}", b"[" * 50_000 + b"{" + b"]}"]
    documents += [b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b'{"a": tru}', b"", b'{"consumer_key": "x"'[::-1]]
    wrong_key = attrs.evolve(seal, key_size=20).write(plaintext)
    reasons = {failure(data, keypair) for data in (unpadded, wrong_key, *map(seal.write, documents))}
    assert len(reasons) == 1
    assert "encrypted for another certificate" in reasons.pop()


@each("missing", ["consumer_key", "consumer_secret", "access_token", "access_secret"])
@each("empty", [None, "", "left out"])
def test_missing_fields_are_named(
    seal: Seal, keypair: TokenKeypair, fields: dict[str, str], missing: str, empty: str | None
) -> None:
    document = {**fields, missing: empty}
    if empty == "left out":
        del document[missing]
    reason = failure(seal.write(json.dumps(document).encode()), keypair)
    assert reason == f"the token file was decrypted, but lacks {missing}"


def test_all_missing_fields_are_named_together(seal: Seal, keypair: TokenKeypair) -> None:
    reason = failure(seal.write(b"{}"), keypair)
    assert reason.endswith("lacks consumer_key, consumer_secret, access_token, access_secret")


def test_fields_that_are_no_text(seal: Seal, keypair: TokenKeypair, fields: dict[str, str]) -> None:
    document = {**fields, "access_secret": ["AS_secret"], "access_token_expiry": 1389734861}
    reason = failure(seal.write(json.dumps(document).encode()), keypair)
    assert reason.endswith("values other than text in access_secret, access_token_expiry")


# Token.from_p7m


CONSENT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_token_from_its_file(seal: Seal, keypair: TokenKeypair, plaintext: bytes) -> None:
    token = Token.from_p7m(
        smime(seal.write(plaintext)),
        keypair,
        name="hq",
        apple_id="it@contoso.com",
        consented_at=CONSENT,
        portal=Portal.SCHOOL,
        scope_tags=["emea"],
    )
    assert token.access_token_expiry == datetime(2027, 1, 14, 21, 27, 41, tzinfo=UTC)
    assert (token.name, token.portal, token.scope_tags) == ("hq", Portal.SCHOOL, frozenset({"emea"}))
    assert token.access_secret.reveal().startswith("AS_")


@each("expiry", [None, "soon", "2027-99-99T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_an_expiry_that_cannot_be_read_is_unknown(
    seal: Seal, keypair: TokenKeypair, fields: dict[str, str], expiry: str | None
) -> None:
    """Everything else about the token still works, so it is not refused."""
    document = json.dumps({**fields, "access_token_expiry": expiry}).encode()
    token = Token.from_p7m(
        seal.write(document), keypair, name="hq", apple_id="it@contoso.com", consented_at=CONSENT
    )
    assert token.health(CONSENT).status is TokenStatus.UNKNOWN


def test_each_secret_is_given_by_name(fields: dict[str, str]) -> None:
    """Five texts in a row would be mixed up sooner or later, and Apple would refuse the token."""
    assert revealed(TokenSecrets(**fields)) == fields
    with pytest.raises(TypeError, match="positional"):
        TokenSecrets(*fields.values())  # type: ignore[call-arg]
