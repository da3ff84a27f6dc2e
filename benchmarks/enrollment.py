"""Measure the enrollment of a Mac: verify its message, build, sign and store its profile."""

from __future__ import annotations

import plistlib
from collections.abc import Callable, Iterator
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from bare import BareStore
from fleet import PAGE, Fleet, serial, token
from pyade import AcmeIssuer, MdmService, Signer, TargetMac, build_enrollment_profile
from pyade.enrollment import EnrollmentService, MachineInfo, read_message
from pyade.storage import SQLiteStore
from pyade.testing import DeviceAuthority, DeviceIdentity
from setting import Setting
from stores import PROFILE, clock_at, fill
from table import Row, interleaved, timed

SERVICE = MdmService(
    identifier="com.contoso.mdm",
    organization="Contoso",
    server_url="https://mdm.contoso.com/mdm",
    topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
)
_ACME = AcmeIssuer(directory_url="https://ca.contoso.com/acme", client_identifier="code")
_TIMES = 200
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


def rows(setting: Setting) -> Iterator[Row]:
    """Measure the enrollment of one Mac, and the parts of it."""
    times = max(20, round(_TIMES * setting.scale))
    authority = DeviceAuthority.generate()
    for kind in ("rsa1024", "rsa2048", "p256"):
        yield _verify(authority, kind, times)
    yield _build_and_sign(times)
    yield _enroll(setting, authority, times)
    yield _large_message(setting)


def machine_info(serial_number: str) -> bytes:
    """Return the MachineInfo of a Mac, unsigned."""
    keys = {
        "UDID": "564D6C7A",
        "SERIAL": serial_number,
        "PRODUCT": "Mac14,2",
        "VERSION": "24E248",
        "OS_VERSION": "15.4",
    }
    return plistlib.dumps(keys)


def _verify(authority: DeviceAuthority, kind: str, times: int) -> Row:
    identity = authority.issue(key=kind)  # type: ignore[arg-type]
    message, check = identity.sign(machine_info("C02EXAMPLE01")), _checks(identity)
    verify = partial(MachineInfo.from_cms, message, trust=authority.trust)
    one, other = interleaved(lambda: timed(check, times=times), lambda: timed(verify, times=times), times=5)
    return Row(
        what=f"verify a MachineInfo ({kind})",
        yardstick="the two signature checks and loading the certificate",
        bare=one,
        pyade=other,
        reach=4,
    )


def _checks(identity: DeviceIdentity) -> Callable[[], None]:
    """Return a function that checks a signature of a device and that of its authority, and nothing else."""
    certificate = identity.certificate.public_bytes(Encoding.DER)
    issuer, key = identity.chain[0].public_key(), identity.private_key
    assert isinstance(issuer, rsa.RSAPublicKey)
    curve = ec.ECDSA(_SHA256)
    signature = (
        key.sign(b"content", curve)
        if isinstance(key, ec.EllipticCurvePrivateKey)
        else key.sign(b"content", _PKCS1, _SHA256)
    )

    def check() -> None:
        found = x509.load_der_x509_certificate(certificate)
        digest = found.signature_hash_algorithm
        assert digest is not None
        issuer.verify(found.signature, found.tbs_certificate_bytes, _PKCS1, digest)
        public = found.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, b"content", curve)
        else:
            assert isinstance(public, rsa.RSAPublicKey)
            public.verify(signature, b"content", _PKCS1, _SHA256)

    return check


def _build_and_sign(times: int) -> Row:
    key, signer, mac = rsa.generate_private_key(65537, 2048), Signer.self_signed("Contoso"), _mac(serial(0))

    def build() -> bytes:
        return signer.sign(build_enrollment_profile(PROFILE, SERVICE, mac, acme=_ACME))

    one, other = interleaved(
        lambda: timed(lambda: key.sign(b"content", _PKCS1, _SHA256), times=times),
        lambda: timed(build, times=times),
    )
    what, yardstick = "build and sign an enrollment profile (RSA 2048)", "the signature"
    return Row(what=what, yardstick=yardstick, bare=one, pyade=other)


def _enroll(setting: Setting, authority: DeviceAuthority, times: int) -> Row:
    fleet, signer, device = Fleet(PAGE), Signer.self_signed("Contoso"), authority.issue()
    serials = [serial(number) for number in range(times)]
    bodies = [device.sign(machine_info(one)) for one in serials]
    bare_store = BareStore(setting.new_file())

    def answer_bare() -> float:
        bare_store.database.execute("DELETE FROM device")
        return timed(lambda: _each(answer, bodies)) / times

    def answer(body: bytes) -> None:
        machine = MachineInfo.from_cms(body, trust=authority.trust)
        mac = _mac(machine.serial_number)
        signer.sign(build_enrollment_profile(PROFILE, SERVICE, mac, acme=_ACME))
        bare_store.add([(mac.serial_number, "enrolled", '{"outcome":"allow","user":null}')])

    def enroll_all() -> float:
        with SQLiteStore(setting.new_file()) as store:
            fill(store, fleet)
            store.set_default_profile(token().name, PROFILE)
            service = EnrollmentService(
                store, mdm=SERVICE, acme=_ACME, signer=signer, trust=authority.trust, clock=clock_at()
            )
            return timed(lambda: _each(partial(_enroll_one, service), bodies)) / times

    one, other = interleaved(answer_bare, enroll_all)
    bare_store.close()
    return Row(
        what="enroll a Mac on SQLite, request to response",
        yardstick="pyade's own verify, build and sign, and one durable commit",
        bare=one,
        pyade=other,
        reach=1.3,
        note="also reads the stored records of the Mac, and writes its credential and the event",
    )


def _each(work: Callable[[bytes], None], bodies: list[bytes]) -> None:
    for body in bodies:
        work(body)


def _enroll_one(service: EnrollmentService, body: bytes) -> None:
    status = service.enroll(body).status
    if status != 200:
        raise SystemExit(f"a Mac got status {status}, not 200")


def _mac(serial_number: str) -> TargetMac:
    return TargetMac(serial_number=serial_number, product="Mac14,2", version="15.4")


def _large_message(setting: Setting) -> Row:
    app = {"Identifier": "com.example.app", "Name": "Example", "Version": "1.0", "BundleSize": 123456789}
    apps = [app] * max(700, round(70_000 * setting.scale))
    result = plistlib.dumps({"Status": "Acknowledged", "CommandUUID": "1", "InstalledApplicationList": apps})
    one, other = interleaved(
        lambda: timed(lambda: plistlib.loads(result)), lambda: timed(lambda: read_message(result))
    )
    what = f"read a Mac's list of applications, {len(result) / 2**20:.1f} MiB"
    return Row(what=what, yardstick="plistlib", bare=one, pyade=other)
