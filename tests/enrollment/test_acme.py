"""The ACME payload in a signed profile, compared with the schema, and its directory on a real server."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.cases import each
from tests.enrollment.conftest import ACME, MDM, PROFILE, SCEP
from tests.enrollment.server import HOST, Organization, Transport

from pyade.builders.payloads import AcmeIssuer
from pyade.core.fleet.device import Device, DeviceFamily
from pyade.core.fleet.enrollment import OneTimeKind
from pyade.core.fleet.records import Source
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.crypto.signing import Signer
from pyade.enrollment import EnrollmentService, redeem_client_identifier
from pyade.errors import TrustError
from pyade.storage import MemoryStore
from pyade.testing import DeviceAuthority, DeviceIdentity, FakeEnrollment, FakeMac, FrozenClock
from pyade.testing.mac import read_enrollment
from pyade.testing.store_examples import NOW, example_token

PRODUCTS = {
    "Mac16,1": ChipClass.APPLE_SILICON,
    "MacBookAir10,1": ChipClass.APPLE_SILICON,
    "MacBookPro16,1": ChipClass.T2,
    "MacBookPro14,3": ChipClass.T1,
    "iMac19,1": ChipClass.INTEL,
    "VirtualMac2,1": ChipClass.VIRTUAL,
}
VERSIONS = (
    *("10.9", "10.13.6", "10.15.7", "11.7", "12.7", "13.0", "13.1", "13.7"),
    *("14.0", "14.4", "15.0", "15.7", "26.0", "26.1", "27.0"),
)
# Apple, com.apple.security.acme and CommonPayloadKeys: the type of each key; True if it is required.
# UsageFlags is a bit field of 0x01 and 0x04; the pairs of Subject have two texts each.
KEYS: Mapping[str, tuple[type, bool]] = {
    "PayloadType": (str, True),
    "PayloadVersion": (int, True),
    "PayloadIdentifier": (str, True),
    "PayloadUUID": (str, True),
    "PayloadDisplayName": (str, False),
    "PayloadDescription": (str, False),
    "PayloadOrganization": (str, False),
    "DirectoryURL": (str, True),
    "ClientIdentifier": (str, True),
    "KeySize": (int, True),
    "KeyType": (str, True),
    "HardwareBound": (bool, True),
    "Subject": (list, True),
    "SubjectAltName": (dict, False),
    "UsageFlags": (int, False),
    "ExtendedKeyUsage": (list, False),
    "Attest": (bool, False),
    "KeyIsExtractable": (bool, False),
    "AllowAllAppsAccess": (bool, False),
}


def schema_violations(payload: Mapping[str, Any], version: MacOSVersion, chip: ChipClass) -> list[str]:
    """Return the violations of Apple's schema in a payload for such a Mac."""
    found = [f"{key} is missing" for key, (_, is_needed) in KEYS.items() if is_needed and key not in payload]
    found += [
        f"{key}: {value!r}"
        for key, value in payload.items()
        if key not in KEYS or type(value) is not KEYS[key][0]
    ]
    if found:
        return found
    kind, size, is_bound = payload["KeyType"], payload["KeySize"], payload["HardwareBound"]
    attest, from_14 = payload.get("Attest", False), version >= MacOSVersion(14)
    facts = {
        "PayloadVersion is 1": payload["PayloadVersion"] == 1,
        "introduced in 13.1": version >= MacOSVersion(13, 1),
        "DirectoryURL is https": payload["DirectoryURL"].startswith("https://"),
        "KeyType is RSA or ECSECPrimeRandom": kind in ("RSA", "ECSECPrimeRandom"),
        "RSA keys": kind != "RSA" or (size in range(1024, 4097, 8) and not is_bound),
        "curves": kind == "RSA" or size in (192, 256, 384, 521),
        "hardware-bound curves": not is_bound or size in (256, 384),
        "HardwareBound is for macOS 14": from_14 or not is_bound,
        "HardwareBound is for Apple silicon and T2": not is_bound or chip in _WITH_ENCLAVE,
        "Attest needs HardwareBound": is_bound or not attest,
        "Attest must be there and false before 14": from_14 or payload.get("Attest") is False,
        "Attest must be false on T1 and earlier, and it is not documented for virtual machines": not attest
        or chip in _WITH_ENCLAVE,
        "pairs of Subject": all(
            len(name) == 1
            and len(name[0]) == 2
            and re.fullmatch(r"C|L|ST|O|OU|CN|\d+(\.\d+)+", name[0][0])
            and isinstance(name[0][1], str)
            for name in payload["Subject"]
        ),
        "UsageFlags": payload.get("UsageFlags", 0) in (0, 1, 4, 5),
        "a curve only signs": kind == "RSA" or payload.get("UsageFlags") == 1,
        "ExtendedKeyUsage": all(re.fullmatch(r"\d+(\.\d+)+", oid) for oid in payload["ExtendedKeyUsage"]),
        "client authentication": "1.3.6.1.5.5.7.3.2" in payload["ExtendedKeyUsage"],
        "the key stays where it is": payload["KeyIsExtractable"] is False,
        "the key is not for every program": payload["AllowAllAppsAccess"] is False,
    }
    return [fact for fact, holds in facts.items() if not holds]


_WITH_ENCLAVE = (ChipClass.APPLE_SILICON, ChipClass.T2)


@attrs.frozen
class Enroller:
    """Enrolls one Mac of any kind."""

    store: MemoryStore
    service: EnrollmentService
    identity: DeviceIdentity

    def enroll(self, product: str, version: str) -> FakeEnrollment:
        mac = FakeMac(serial_number="C02ACME00001", identity=self.identity, product=product, version=version)
        answer = self.service.enroll(mac.signed())
        assert answer.status == 200, answer.decision
        return read_enrollment(answer.body, version=mac.version, chip=mac.chip)


@pytest.fixture
def make(authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer) -> Iterator[Any]:
    stack = ExitStack()

    def create(**options: Any) -> Enroller:
        store = stack.enter_context(MemoryStore())
        store.add_token(example_token())
        store.set_default_profile("hq", PROFILE)
        device = Device(serial_number="C02ACME00001", device_family=DeviceFamily.MAC)
        store.commit_page("hq", [device], source=Source.SYNC, state=store.sync_state("hq"), now=NOW)
        clock, trust = FrozenClock(NOW), authority.trust
        issuers = {"acme": ACME, "scep": SCEP, "mdm": MDM}
        service = EnrollmentService(store, signer=signer, trust=trust, clock=clock, **{**issuers, **options})
        return Enroller(store, service, mac)

    with stack:
        yield create


def payload_of(enrollment: FakeEnrollment) -> dict[str, Any]:
    (found,) = (
        part
        for part in enrollment.profile["PayloadContent"]
        if part["PayloadType"] == "com.apple.security.acme"
    )
    return dict(found)


@each("accepts_unattested", [False, True])
@each("version", VERSIONS)
@each("product", PRODUCTS)
def test_every_mac_gets_a_payload_valid_in_apples_schema(
    product: str, version: str, accepts_unattested: bool, make: Any
) -> None:
    at, chip = MacOSVersion.of(version), PRODUCTS[product]
    create: Enroller = make(acme=attrs.evolve(ACME, accepts_unattested=accepts_unattested))
    enrollment = create.enroll(product, version)
    if at < MacOSVersion(13, 1):
        assert enrollment.identity == "scep"
        return
    payload = payload_of(enrollment)
    assert schema_violations(payload, at, chip) == []
    from_14 = at >= MacOSVersion(14)
    is_bound = from_14 and (chip is ChipClass.APPLE_SILICON or (chip is ChipClass.T2 and accepts_unattested))
    assert payload["HardwareBound"] is is_bound
    assert payload["Attest"] is (from_14 and chip is ChipClass.APPLE_SILICON)
    assert (payload["KeyType"], payload["KeySize"]) == (
        ("ECSECPrimeRandom", 384) if is_bound else ("RSA", 2048)
    )
    (kept,) = create.store.one_times("C02ACME00001")
    assert kept.kind is OneTimeKind.ACME_CLIENT_IDENTIFIER
    issued = redeem_client_identifier(create.store, payload["ClientIdentifier"], now=NOW)
    assert (issued.serial_number, issued.value["attest"]) == ("C02ACME00001", payload["Attest"])


@each(
    "changes",
    [
        {"Attest": None, "HardwareBound": False},
        {"HardwareBound": True, "Attest": True},
        {"KeySize": 2047},
        {"Subject": [[["commonName", "x"]]]},
        {"UsageFlags": 2},
        {"ClientIdentifier": b"bytes"},
        {"Unheard": "of"},
    ],
)
def test_schema_rules_find_invalid_payloads(changes: dict[str, Any], make: Any) -> None:
    payload = {**payload_of(make().enroll("Mac16,1", "13.1")), **changes}
    payload = {key: value for key, value in payload.items() if value is not None}
    assert schema_violations(payload, MacOSVersion(13, 1), ChipClass.APPLE_SILICON)


def test_identifier_that_is_not_valid_text_is_refused_like_any_other(make: Any) -> None:
    # JSON can contain a lone surrogate, and an ACME order is JSON.
    with pytest.raises(TrustError, match="is unknown"):
        redeem_client_identifier(make().store, json.loads('"\\ud800"'), now=NOW)


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """Run an ACME server, and return its port and the certificate (DER) of its authority."""
    if shutil.which("pebble") is None:
        pytest.skip("needs the command pebble: apt-get install pebble")
    anchor = Organization.make(tmp_path).ca
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    configuration = {
        "listenAddress": f"127.0.0.1:{ports[0]}",
        "managementListenAddress": f"127.0.0.1:{ports[1]}",
        "certificate": str(tmp_path / "tls.pem"),
        "privateKey": str(tmp_path / "tls-key.pem"),
        "httpPort": 5002,
        "tlsPort": 5001,
    }
    (tmp_path / "pebble.json").write_text(json.dumps({"pebble": configuration}))
    command = ["pebble", "-config", str(tmp_path / "pebble.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("ACME directory available" in line for line in process.stdout)
            yield ports[0], anchor
        finally:
            process.terminate()


@pytest.mark.slow
def test_directory_in_the_profile_is_that_of_an_acme_server(pebble: tuple[int, bytes], make: Any) -> None:
    port, anchor = pebble
    create: Enroller = make(
        acme=AcmeIssuer(directory_url=f"https://{HOST}/dir"), mdm=attrs.evolve(MDM, certificates=(anchor,))
    )
    enrollment = create.enroll("Mac16,1", "15.0")
    # By then the Mac trusts the anchors of the profile.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for part in enrollment.profile["PayloadContent"]:
        if part["PayloadType"] == "com.apple.security.root":
            certificate = x509.load_der_x509_certificate(part["PayloadContent"])
            context.load_verify_locations(cadata=certificate.public_bytes(Encoding.PEM).decode())
    with httpx.Client(transport=Transport([port], verify=context, retries=5)) as http:
        directory = http.get(enrollment.issuer_url).json()
        # RFC 8555, 7.1.1: what a client needs to order a certificate.
        assert {"newNonce", "newAccount", "newOrder"} <= directory.keys()
        assert http.head(directory["newNonce"]).headers["Replay-Nonce"]
