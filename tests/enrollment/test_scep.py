"""A real SCEP server and client, independent of pyade, accept the values of the signed profile."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.enrollment.conftest import MDM, PROFILE

from pyade.builders.payloads import ScepIssuer
from pyade.core.fleet.device import Device, DeviceFamily
from pyade.core.fleet.records import Source
from pyade.crypto.signing import Signer
from pyade.enrollment import EnrollmentService
from pyade.storage import SQLiteStore
from pyade.testing import DeviceAuthority, DeviceIdentity, FakeEnrollment, FakeMac
from pyade.testing.mac import read_enrollment
from pyade.testing.store_examples import NOW, example_token

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("scepserver") is None or shutil.which("scepclient") is None,
        reason="needs the commands scepserver and scepclient: apt-get install scep",
    ),
]
EXAMPLE = Path(__file__).parents[2] / "examples" / "check_scep_request.py"
FLAGS = {
    "CN": "-cn",
    "O": "-organization",
    "OU": "-ou",
    "C": "-country",
    "L": "-locality",
    "ST": "-province",
}
SUBJECT = (
    ("C", "DE"),
    ("ST", "Berlin"),
    ("L", "Mitte"),
    ("O", "Contoso"),
    ("OU", "Macs"),
    ("CN", "C02SCEP0001"),
)


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@attrs.frozen
class Authority:
    """A SCEP server that asks pyade's store about each request."""

    folder: Path
    url: str
    store: SQLiteStore

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / "depot" / "ca.pem").read_bytes())

    def new_decisions(self) -> list[str]:
        """Return the store's decisions since the last call."""
        answers = self.folder / "answers"
        lines = answers.read_text().splitlines()
        answers.unlink()
        return lines


@pytest.fixture(scope="module")
def scep_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    folder = tmp_path_factory.mktemp("scep")
    command = ["scepserver", "ca", "-init", "-organization", "Contoso", "-keySize", "2048"]
    assert run(*command, cwd=folder).returncode == 0
    # The server does not show the program's output.
    check = folder / "check"
    path = os.pathsep.join(part for part in sys.path if part)
    check.write_text(
        f"#!/bin/sh\nexport PYTHONPATH='{path}' PYADE_STORE='{folder}/ade.db'\n"
        f"export PATH='{Path(sys.executable).parent}':$PATH\n"
        f"exec '{EXAMPLE}' 2>> '{folder}/answers'\n"
    )
    check.chmod(0o700)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A Mac that enrolls again requests the same names, which the server refuses by default.
    command = ["scepserver", "-depot", "depot", "-port", str(port), "-allowrenew", "0"]
    with (
        SQLiteStore(folder / "ade.db") as store,
        subprocess.Popen(
            [*command, "-csrverifierexec", str(check)],
            cwd=folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        try:
            assert process.stderr is not None
            assert any("listening" in line for line in process.stderr)
            store.add_token(example_token())
            store.set_default_profile("hq", PROFILE)
            yield Authority(folder, f"http://127.0.0.1:{port}/scep", store)
        finally:
            process.terminate()


@attrs.frozen
class Enroller:
    """Enrolls Macs with SCEP, and lets them request their certificates."""

    server: Authority
    service: EnrollmentService
    identity: DeviceIdentity
    folder: Path

    def enroll(self, serial: str) -> FakeEnrollment:
        state = self.server.store.sync_state("hq")
        device = Device(serial_number=serial, device_family=DeviceFamily.MAC)
        self.server.store.commit_page("hq", [device], source=Source.SYNC, state=state, now=NOW)
        mac = FakeMac(serial_number=serial, identity=self.identity, version="13.0")
        answer = self.service.enroll(mac.signed())
        return read_enrollment(answer.body, version=mac.version, chip=mac.chip)

    def request_certificate(self, enrollment: FakeEnrollment, **changes: str) -> x509.Certificate | None:
        """Return the certificate that the client gets with the values of the profile; None if refused."""
        folder = self.folder / f"client-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        names = {**dict.fromkeys(FLAGS, ""), **dict(enrollment.subject), **changes}
        credential = names.pop("challenge", enrollment.credential)
        flags = [part for name, flag in FLAGS.items() for part in (flag, names[name])]
        command = ["scepclient", "-server-url", enrollment.issuer_url, "-challenge", credential, *flags]
        command += [
            "-keySize",
            str(enrollment.key_size),
            "-private-key",
            "key.pem",
            "-certificate",
            "own.pem",
        ]
        done = run(*command, cwd=folder)
        issued = folder / "own.pem"
        assert issued.exists() is (done.returncode == 0), done.stderr
        return x509.load_pem_x509_certificate(issued.read_bytes()) if issued.exists() else None


@pytest.fixture
def make(
    scep_server: Authority,
    authority: DeviceAuthority,
    mac: DeviceIdentity,
    signer: Signer,
    tmp_path: Path,
) -> Any:
    def create(**issuer: Any) -> Enroller:
        service = EnrollmentService(
            scep_server.store,
            mdm=MDM,
            scep=ScepIssuer(url=scep_server.url, **issuer),
            signer=signer,
            trust=authority.trust,
        )
        return Enroller(scep_server, service, mac, tmp_path)

    return create


def pairs(certificate: x509.Certificate) -> list[tuple[str, str]]:
    return [(part.rfc4514_attribute_name, str(part.value)) for part in certificate.subject]


def test_certificate_is_issued_once_with_the_values_of_the_profile(make: Any, scep_server: Authority) -> None:
    create: Enroller = make()
    enrollment = create.enroll("C02SCEP00000")
    assert (enrollment.identity, enrollment.issuer_url) == ("scep", scep_server.url)
    assert create.request_certificate(enrollment, challenge="guessed") is None
    assert scep_server.store.one_times("C02SCEP00000")

    certificate = create.request_certificate(enrollment)
    assert certificate is not None
    assert sorted(pairs(certificate)) == sorted(enrollment.subject)
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == enrollment.key_size == 2048
    certificate.verify_directly_issued_by(scep_server.certificate)
    assert not scep_server.store.one_times("C02SCEP00000")

    assert create.request_certificate(enrollment) is None
    unknown = "refused: this scep challenge is unknown, has expired, or was used before"
    assert scep_server.new_decisions() == [unknown, "a certificate for 'C02SCEP00000'", unknown]


def test_every_attribute_known_to_the_client_is_issued(make: Any, scep_server: Authority) -> None:
    create: Enroller = make(subject=SUBJECT)
    certificate = create.request_certificate(create.enroll("C02SCEP0001"))
    assert certificate is not None
    assert sorted(pairs(certificate)) == sorted(SUBJECT)
    assert scep_server.new_decisions() == ["a certificate for 'C02SCEP0001'"]


def test_another_subject_is_refused_and_consumes_the_challenge(make: Any, scep_server: Authority) -> None:
    create: Enroller = make()
    assert create.request_certificate(create.enroll("C02SWAP00001"), CN="C02OTHER0001") is None
    assert "refused: the subject is" in scep_server.new_decisions()[-1]
    assert not scep_server.store.one_times("C02SWAP00001")


def test_another_key_size_is_refused(make: Any, scep_server: Authority) -> None:
    create: Enroller = make(key_size=4096)
    enrollment = attrs.evolve(create.enroll("C02SIZE00001"), key_size=2048)
    assert create.request_certificate(enrollment) is None
    assert "RSA key of 4096 bits" in scep_server.new_decisions()[-1]
