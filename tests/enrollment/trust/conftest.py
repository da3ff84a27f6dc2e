"""Device authorities, their devices and messages, made by openssl and by editing openssl's output."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from tests.crypto.conftest import DATA, OpenSSL, openssl, tlv

from pyade.enrollment import DeviceTrust

__all__ = ["openssl"]

DEVICE_CA = "/C=US/O=Apple Inc./OU=Apple iPhone/CN=Apple iPhone Device CA"
CA_CONFIG = """
[ca]
default_ca = all
[all]
database = index.txt
new_certs_dir = .
rand_serial = yes
unique_subject = no
policy = any
[any]
commonName = optional
"""
MACHINE_INFO = {"UDID": "564D6C7A", "SERIAL": "C02TEST00001", "PRODUCT": "Mac14,2", "VERSION": "23B74"}
CONTENT = plistlib.dumps({**MACHINE_INFO, "NEW": "MachineInfo" * 1000}) + b"\r\n"
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
DEVICE = (
    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
    "extendedKeyUsage=critical,serverAuth,clientAuth\nsubjectKeyIdentifier=hash\n"
    "1.2.840.113635.100.6.10.4=DER:0500\n"
)


@attrs.frozen(kw_only=True)
class Issued:
    """A key and its certificate, made by openssl."""

    pem: Path
    key_file: Path

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.pem.read_bytes())

    def rsa_key(self) -> rsa.RSAPrivateKey:
        key = load_pem_private_key(self.key_file.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key


@attrs.define
class DevicePki:
    """Authorities and devices; names are those of files."""

    folder: Path
    openssl: OpenSSL
    _count: int = 0

    def issue(
        self,
        by: Issued | None = None,
        *,
        subject: str = "/CN=0028864F-4A2C-4C23-997D-E73E4A0838D3",
        extensions: str = DEVICE,
        key: Issued | str = "rsa:1024",
        digest: str = "sha1",
        dates: tuple[str, str] = ("20250101000000Z", "20350101000000Z"),
    ) -> Issued:
        """Issue a certificate, self-signed where *by* is None."""
        self._count += 1
        issued = Issued(
            pem=self.folder / f"{self._count}.pem",
            key_file=key.key_file if isinstance(key, Issued) else self.folder / f"{self._count}.key",
        )
        if isinstance(key, str):
            kind, _, size = key.partition(":")
            option = {"rsa": "rsa_keygen_bits", "ec": "ec_paramgen_curve"}.get(kind)
            options = ["-pkeyopt", f"{option}:{size}"] if option else []
            self.openssl("genpkey", "-algorithm", kind, *options, "-out", issued.key_file)
        request, extension_file = self.folder / "request.pem", self.folder / "extensions"
        self.openssl("req", "-new", "-key", issued.key_file, "-subj", subject, "-out", request)
        extension_file.write_text(extensions)
        who: list[str | Path] = ["-selfsign", "-keyfile", issued.key_file]
        if by is not None:
            who = ["-cert", by.pem, "-keyfile", by.key_file]
        when = ["-startdate", dates[0], "-enddate", dates[1]]
        self.openssl(
            *("ca", "-batch", "-notext", "-preserveDN", "-config", self.folder / "ca.cnf", "-md", digest),
            *("-extfile", extension_file, "-in", request, "-out", issued.pem),
            *who,
            *when,
        )
        return issued

    def sign(self, content: bytes, signer: Issued, *options: str | Path, digest: str = "sha1") -> bytes:
        return self.openssl(
            *("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-md", digest),
            *("-signer", signer.pem, "-inkey", signer.key_file, *options),
            given=content,
        )

    def write_bundle(self, *issued: Issued) -> Path:
        """Put several certificates into one file."""
        self._count += 1
        path = self.folder / f"bag{self._count}.pem"
        path.write_bytes(b"".join(one.pem.read_bytes() for one in issued))
        return path


@pytest.fixture(scope="session")
def pki(openssl: OpenSSL, tmp_path_factory: pytest.TempPathFactory) -> DevicePki:
    folder = tmp_path_factory.mktemp("pki")
    (folder / "ca.cnf").write_text(
        CA_CONFIG.replace("= index", f"= {folder}/index").replace("= .", f"= {folder}")
    )
    (folder / "index.txt").touch()
    return DevicePki(folder, openssl)


@pytest.fixture(scope="session")
def device_ca(pki: DevicePki) -> Issued:
    """A stand-in for Apple's authority, with its name and its dates."""
    return pki.issue(subject=DEVICE_CA, extensions=CA, dates=("20070416225446Z", "20140416225446Z"))


@pytest.fixture(scope="session")
def mac(pki: DevicePki, device_ca: Issued) -> Issued:
    """A device of ``device_ca``, like a Mac."""
    return pki.issue(device_ca)


def attribute(name: bytes, *values: bytes) -> bytes:
    return tlv(0x30, name, tlv(0x31, *values))


def sha1_rsa(issued: Issued, data: bytes) -> bytes:
    return issued.rsa_key().sign(data, padding.PKCS1v15(), hashes.SHA1())


@attrs.frozen(kw_only=True)
class SignerPieces:
    """A SignerInfo, taken apart."""

    identifier: bytes
    digest: bytes
    attributes: tuple[bytes, ...] | None
    algorithm: bytes
    signature: bytes
    unsigned: bytes = b""
    in_ber: bool = False

    @classmethod
    def of(cls, info: Any) -> SignerPieces:
        signed = info["signed_attrs"]
        return cls(
            identifier=info["sid"].dump(),
            digest=info["digest_algorithm"].dump(),
            attributes=tuple(one.dump() for one in signed) if signed.native else None,
            algorithm=info["signature_algorithm"].dump(),
            signature=info["signature"].native,
        )

    def by(self, issued: Issued, content: bytes = CONTENT) -> SignerPieces:
        """Sign the current content again, with RSA and SHA-1."""
        data = content if self.attributes is None else tlv(0x31, *self.attributes)
        return attrs.evolve(self, signature=sha1_rsa(issued, data))

    def write(self) -> bytes:
        attributes = b""
        if self.attributes is not None:
            attributes = tlv(0xA0, *self.attributes, indefinite=self.in_ber)
        version = b"\x02\x01\x03" if self.identifier[0] == 0x80 else b"\x02\x01\x01"
        signature = tlv(0x04, self.signature)
        return tlv(
            *(
                0x30,
                version,
                self.identifier,
                self.digest,
                attributes,
                self.algorithm,
                signature,
                self.unsigned,
            )
        )


@attrs.frozen(kw_only=True)
class Pieces:
    """A signed message from openssl, taken apart to be put together in another way."""

    digests: bytes
    content: bytes | None
    certificates: tuple[bytes, ...]
    signers: tuple[SignerPieces, ...]
    kind: bytes = SIGNED_DATA
    content_kind: bytes = DATA
    lists: bytes = b""
    chunk: int | None = None
    indefinite: bool = False
    content_tag: int = 0x04

    @classmethod
    def of(cls, message: bytes) -> Pieces:
        data = cms.ContentInfo.load(message, strict=True)["content"]
        return cls(
            digests=data["digest_algorithms"].dump(),
            content=data["encap_content_info"]["content"].native,
            certificates=tuple(one.dump() for one in data["certificates"]),
            signers=tuple(SignerPieces.of(one) for one in data["signer_infos"]),
        )

    @property
    def signer(self) -> SignerPieces:
        return self.signers[0]

    def with_signer(self, **changes: Any) -> Pieces:
        return attrs.evolve(self, signers=(attrs.evolve(self.signer, **changes),))

    def with_attributes(self, signer: Issued, *attributes: bytes) -> Pieces:
        """Replace the signed attributes and sign the new ones."""
        changed = self.with_signer(attributes=attributes)
        return attrs.evolve(changed, signers=(changed.signer.by(signer),))

    def write(self) -> bytes:
        version = b"\x02\x01\x03" if self.signers and self.signer.identifier[0] == 0x80 else b"\x02\x01\x01"
        bag = tlv(0xA0, *self.certificates, indefinite=self.indefinite) if self.certificates else b""
        encapsulated = [self.content_kind]
        if self.content is not None:
            encapsulated.append(tlv(0xA0, self._octets(self.content), indefinite=self.indefinite))
        signers = tlv(0x31, *(one.write() for one in self.signers), indefinite=self.indefinite)
        parts = (version, self.digests, self._sequence(*encapsulated), bag, self.lists, signers)
        wrapped = tlv(0xA0, self._sequence(*parts), indefinite=self.indefinite)
        return self._sequence(self.kind, wrapped)

    def _sequence(self, *parts: bytes) -> bytes:
        return tlv(0x30, *parts, indefinite=self.indefinite)

    def _octets(self, content: bytes) -> bytes:
        if self.chunk is None:
            return tlv(self.content_tag, content)
        parts = (content[at : at + self.chunk] for at in range(0, len(content), self.chunk))
        return tlv(0x24, *(tlv(0x04, part) for part in parts), indefinite=self.indefinite)


@pytest.fixture(scope="session")
def trust(device_ca: Issued) -> DeviceTrust:
    return DeviceTrust([device_ca.certificate])


@pytest.fixture(scope="session")
def plain(pki: DevicePki, mac: Issued) -> Pieces:
    """A message as a Mac signs it, but in DER."""
    return Pieces.of(pki.sign(CONTENT, mac, "-noattr"))


@pytest.fixture(scope="session")
def attributed(pki: DevicePki, mac: Issued) -> Pieces:
    return Pieces.of(pki.sign(CONTENT, mac, "-nosmimecap"))


@pytest.fixture(scope="session")
def untrusted_device(pki: DevicePki) -> Issued:
    """A self-signed certificate with a device's name."""
    return pki.issue()


@attrs.frozen(kw_only=True)
class World:
    """The authorities, devices and messages from which the tables below are built."""

    pki: DevicePki
    ca: Issued
    mac: Issued
    untrusted_device: Issued
    plain: Pieces
    attributed: Pieces

    def sign(self, signer: Issued, *options: Any, digest: str = "sha1") -> bytes:
        return self.pki.sign(CONTENT, signer, *options, digest=digest)

    def der(self, issued: Issued) -> bytes:
        return issued.certificate.public_bytes(Encoding.DER)

    def with_bag(self, *certificates: bytes) -> bytes:
        return attrs.evolve(self.plain, certificates=certificates).write()

    def attributes(self, *, without: bytes = b"\xff", and_: Sequence[bytes] = ()) -> tuple[bytes, ...]:
        assert self.attributed.signer.attributes is not None
        return (*(one for one in self.attributed.signer.attributes if without not in one), *and_)

    def sub_ca(self, name: str, by: Issued) -> Issued:
        return self.pki.issue(by, subject=f"/CN={name}", extensions=CA)


@pytest.fixture(scope="session")
def world(
    pki: DevicePki,
    device_ca: Issued,
    mac: Issued,
    untrusted_device: Issued,
    plain: Pieces,
    attributed: Pieces,
) -> World:
    return World(
        pki=pki, ca=device_ca, mac=mac, untrusted_device=untrusted_device, plain=plain, attributed=attributed
    )
