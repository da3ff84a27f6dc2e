"""An organization that enrolls Macs: a store with its devices, device identities, a service."""

from __future__ import annotations

import base64
import inspect
import plistlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import anyio
import attrs
import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.keys import RSA_KEYS

from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer
from pyade.core.fleet.device import Device, DeviceFamily
from pyade.core.fleet.events import Event
from pyade.core.fleet.records import Source
from pyade.core.profile.accounts import User
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.crypto.push_certificate import PushCertificate
from pyade.crypto.signing import Signer
from pyade.enrollment import (
    AsyncEnrollmentService,
    EnrollmentResponse,
    EnrollmentService,
    FinalConfiguration,
)
from pyade.enrollment.machine_info import MachineInfo
from pyade.storage import EnrollmentStore, MemoryStore
from pyade.testing import FrozenClock
from pyade.testing.mac import CmsForm, DeviceAuthority, DeviceIdentity
from pyade.testing.store_examples import NOW, example_token

HOST = "mdm.contoso.example"
PROFILE = EnrollmentProfile(
    name="Standard Mac", url=f"https://{HOST}/enroll", await_final_configuration=False
)
MODERN = attrs.evolve(
    PROFILE, name="Modern Mac", user_affinity=UserAffinity.modern(f"https://{HOST}/web"), locked=True
)
LEGACY = attrs.evolve(PROFILE, name="Legacy Mac", user_affinity=UserAffinity.legacy())
ADA = User(upn="ada@contoso.example", full_name="Ada Lovelace")
MDM = MdmService(
    identifier="example.contoso.mdm",
    organization="Contoso",
    server_url=f"https://{HOST}/mdm",
    topic="com.apple.mgmt.External.0b6fd0ee-0000-4000-8000-000000000001",
)
ACME = AcmeIssuer(directory_url=f"https://{HOST}/acme/directory")
SCEP = ScepIssuer(url=f"https://{HOST}/scep")
MACHINE: dict[str, Any] = {
    "UDID": "564D6C7A-1111-2222-3333-444455556666",
    "SERIAL": "C02TEST00001",
    "PRODUCT": "Mac14,2",
    "VERSION": "23B74",
    "OS_VERSION": "14.1",
    "LANGUAGE": "en",
}


class RecordingSignIn:
    """An identity provider that records the states it gets."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def begin(self, state: str, machine: MachineInfo) -> str:
        self.states.append(state)
        return f"https://login.contoso.example/authorize?state={state}"


@attrs.define(kw_only=True)
class Organization:
    """An organization with one Mac; ``kind`` says which service is used."""

    kind: str
    authority: DeviceAuthority
    mac: DeviceIdentity
    signer: Signer
    store: EnrollmentStore = attrs.Factory(MemoryStore)
    clock: FrozenClock = attrs.Factory(lambda: FrozenClock(NOW))
    identity: RecordingSignIn = attrs.Factory(RecordingSignIn)
    options: dict[str, Any] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        self.store.add_token(example_token())
        self.store.set_default_profile("hq", PROFILE)
        self.add(Device(serial_number=MACHINE["SERIAL"], device_family=DeviceFamily.MAC, model="MacBook Air"))

    def add(self, *devices: Device, token_name: str = "hq") -> None:
        state = self.store.sync_state(token_name)
        self.store.commit_page(token_name, devices, source=Source.SYNC, state=state, now=self.clock())

    def machine(self, **keys: Any) -> bytes:
        """Return a MachineInfo with other keys; None leaves a key out."""
        words = {key: value for key, value in {**MACHINE, **keys}.items() if value is not None}
        return plistlib.dumps(words)

    def signed(self, *, form: CmsForm = CmsForm.APPLE, **keys: Any) -> bytes:
        return self.mac.sign(self.machine(**keys), form=form)

    def header(self, **keys: Any) -> str:
        return base64.b64encode(self.signed(**keys)).decode()

    def service(self, **options: Any) -> Any:
        made = AsyncEnrollmentService if self.kind != "sync" else EnrollmentService
        values = {
            "mdm": MDM,
            "acme": ACME,
            "scep": SCEP,
            "signer": self.signer,
            "trust": self.authority.trust,
            "sign_in": self.identity,
            "clock": self.clock,
        }
        return made(self.store, **{**values, **self.options, **options})

    def run(self, call: Callable[[Any], Any], **options: Any) -> Any:
        """Return what *call* returns for a service with *options*, whichever kind that is."""
        if self.kind == "sync":
            return call(self.service(**options))

        async def main() -> Any:
            answer = call(self.service(**options))
            return await answer if inspect.isawaitable(answer) else answer

        return anyio.run(main, backend=self.kind)

    def enroll(
        self, body: bytes | None = None, *, authorization: str | None = None, **options: Any
    ) -> EnrollmentResponse:
        given = self.signed() if body is None else body
        answer: EnrollmentResponse = self.run(
            lambda service: service.enroll(given, authorization=authorization), **options
        )
        return answer

    def open(self, header: str | None = None, *, host: str = HOST, **options: Any) -> EnrollmentResponse:
        given = self.header() if header is None else header
        answer: EnrollmentResponse = self.run(
            lambda service: service.open_web_view(given, host=host), **options
        )
        return answer

    def close(self, state: str, user: User = ADA, *, host: str = HOST, **options: Any) -> EnrollmentResponse:
        answer: EnrollmentResponse = self.run(
            lambda service: service.close_web_view(state, user, host=host), **options
        )
        return answer

    def events(self) -> list[Event]:
        return [event for event in self.store.events() if event.kind == "enrollment_decided"]

    def later(self, **time: float) -> Organization:
        self.clock.advance(timedelta(**time).total_seconds())
        return self


def payloads_of(answer: EnrollmentResponse) -> dict[str, dict[str, Any]]:
    """Return the payloads of the signed profile in an answer, by type."""
    assert answer.status == 200, answer.decision
    content = cms.ContentInfo.load(answer.body, strict=True)["content"]["encap_content_info"][
        "content"
    ].native
    profile = plistlib.loads(content)
    return {payload["PayloadType"]: payload for payload in profile["PayloadContent"]}


def identity_of(answer: EnrollmentResponse) -> tuple[str, str]:
    """Return the kind of identity in an answer, and the secret that comes with it."""
    payloads = payloads_of(answer)
    if acme := payloads.get("com.apple.security.acme"):
        return "acme", acme["ClientIdentifier"]
    return "scep", payloads["com.apple.security.scep"]["PayloadContent"]["Challenge"]


@pytest.fixture(scope="session")
def authority() -> DeviceAuthority:
    return DeviceAuthority.generate()


@pytest.fixture(scope="session")
def mac(authority: DeviceAuthority) -> DeviceIdentity:
    return authority.issue()


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer.self_signed("Contoso MDM", private_key=RSA_KEYS[0], now=NOW)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def organization(
    request: pytest.FixtureRequest, authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer
) -> Iterator[Organization]:
    organization = Organization(kind=request.param, authority=authority, mac=mac, signer=signer)
    yield organization
    organization.store.close()


@pytest.fixture
def push() -> PushCertificate:
    """A push certificate that ends in ten days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.USER_ID, MDM.topic)])
    builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - timedelta(days=355))
    certificate = builder.not_valid_after(NOW + timedelta(days=10)).sign(key, hashes.SHA256())
    return PushCertificate(certificate=certificate)


def empty_handler(final: FinalConfiguration, serial: str) -> Callable[[bytes], bytes]:
    """Return the handler of a server that has nothing of its own to install."""

    def answer(body: bytes) -> bytes:
        message = final.received(serial, body)
        if message.awaiting:
            final.work_left(serial, [])
        command = final.next_command(serial) if message.asks_for_command else None
        return b"" if command is None else command.body

    return answer
