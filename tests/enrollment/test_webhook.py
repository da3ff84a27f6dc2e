"""The webhook of step-ca: who may send requests, which are allowed, and the response to repeats."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from tests.cases import each
from tests.enrollment.conftest import MACHINE, Organization, identity_of
from tests.enrollment.test_credentials import redemptions, request_for
from tests.leaks import leaks

from pyade.core.macos.identity import IdentityPolicy
from pyade.crypto.signing import Signer
from pyade.enrollment import AsyncEnrollmentService, EnrollmentApp, StepCaWebhook
from pyade.enrollment.credentials import serial_number
from pyade.errors import PolicyError
from pyade.storage import MemoryStore, SQLiteStore
from pyade.testing import DeviceAuthority, DeviceIdentity, FrozenClock

SERIAL = MACHINE["SERIAL"]
KEY = b"\x00the key of a webhook, 64 bytes as step-ca makes it"
SECRET = base64.b64encode(KEY).decode()
STEP_CA: dict[str, Any] = {
    "acme_credential": serial_number,
    "identity": IdentityPolicy(acme_only_attested=True),
}


def step_ca_body(request: bytes, identifier: str | None = SERIAL, **more: Any) -> bytes:
    """Return the body of a webhook request as step-ca 0.28 writes it for a certificate request."""
    csr = x509.load_der_x509_csr(request)
    key = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = {part.oid._name: part.value for part in csr.subject}
    subject = {"commonName": names["commonName"], "organization": [names.get("organizationName")]}
    body = {
        "timestamp": "2025-06-01T12:30:15.123456789Z",
        "provisionerName": "macs",
        **({} if identifier is None else {"attestationData": {"permanentIdentifier": identifier}}),
        "x509CertificateRequest": {
            "version": 0,
            "subject": subject,
            "dnsNames": None,
            "signatureAlgorithm": "",
            "publicKey": base64.b64encode(key).decode(),
            "publicKeyAlgorithm": "ECDSA",
            "raw": base64.b64encode(request).decode(),
        },
        **more,
    }
    return json.dumps(body).encode()


def signed(body: bytes, key: bytes = KEY) -> dict[str, str]:
    """Return the headers of step-ca."""
    signature = hmac.new(key, body, hashlib.sha256).hexdigest()
    return {
        "X-Smallstep-Signature": signature,
        "X-Smallstep-Webhook-ID": "0b6fd0ee-0000-4000-8000-000000000001",
    }


@attrs.frozen
class StepCa:
    """Sends requests as step-ca does."""

    organization: Organization

    def post(self, body: bytes, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            app = StepCaWebhook(
                self.organization.store, **{"secret": SECRET, "clock": self.organization.clock, **options}
            )
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="https://mdm.contoso.example") as http:
                return await http.post(
                    "/step-ca", content=body, headers=signed(body) if headers is None else headers
                )

        return anyio.run(main, backend=self.organization.kind)

    def allows(self, body: bytes) -> bool:
        response = self.post(body)
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
        answer: dict[str, bool] = response.json()
        assert answer.keys() == {"allow"}
        return answer["allow"]


@pytest.fixture(params=["asyncio", "trio"])
def ca(
    request: pytest.FixtureRequest, authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer
) -> Iterator[StepCa]:
    organization = Organization(
        kind=request.param, authority=authority, mac=mac, signer=signer, options=dict(STEP_CA)
    )
    yield StepCa(organization)
    organization.store.close()


def attested(folder: Path, key: str = "secp384r1", **changes: str) -> bytes:
    return request_for(folder, None, key=key, **changes)


# Allowed requests


@pytest.mark.twins
def test_mac_with_a_profile_gets_one_certificate(ca: StepCa, tmp_path: Path) -> None:
    assert identity_of(ca.organization.enroll()) == ("acme", SERIAL)
    assert ca.allows(step_ca_body(attested(tmp_path)))
    # After an error step-ca repeats the same bytes; the Mac may finalize its order once more.
    ca.organization.later(seconds=1)
    assert ca.allows(step_ca_body(attested(tmp_path), timestamp="2025-06-01T12:30:16Z"))
    assert not ca.allows(step_ca_body(attested(tmp_path, key="secp384r1/another")))
    ca.organization.later(minutes=2)
    assert not ca.allows(step_ca_body(attested(tmp_path)))
    assert [event.details["outcome"] for event in redemptions(ca.organization)] == ["issue"]


def test_renewal_allows_one_more_certificate_and_ends_the_previous_permission(
    ca: StepCa, tmp_path: Path
) -> None:
    ca.organization.enroll()
    ca.organization.run(lambda service: service.renew(SERIAL))
    ca.organization.later(days=29)
    assert ca.allows(step_ca_body(attested(tmp_path, key="secp384r1/renewed")))
    assert not ca.allows(step_ca_body(attested(tmp_path)))


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "prime256v1"},
        {"key": "rsa:2048"},
        {"subject": "/O=Fabrikam/CN=C02TEST00001"},
        {"subject": "/CN=C02TEST00001"},
    ],
)
def test_request_for_another_subject_is_refused(ca: StepCa, tmp_path: Path, changes: dict[str, str]) -> None:
    ca.organization.enroll()
    body = step_ca_body(attested(tmp_path, **changes))
    assert [ca.allows(body), ca.allows(body), ca.allows(step_ca_body(attested(tmp_path)))] == [False] * 3


def test_mac_without_an_acme_profile_is_refused(ca: StepCa, tmp_path: Path) -> None:
    body = step_ca_body(attested(tmp_path))
    assert not ca.allows(body)
    ca.organization.enroll(ca.organization.signed(PRODUCT="MacBookPro16,1"))
    assert not ca.allows(body)
    ca.organization.enroll()
    assert not ca.allows(step_ca_body(attested(tmp_path), identifier="C02OTHER0001"))
    ca.organization.later(hours=1)
    assert not ca.allows(body)
    ca.organization.enroll()
    ca.organization.store.delete_enrollment(SERIAL)
    assert not ca.allows(body)


@each(
    "changes",
    [
        {"identifier": None},
        {"identifier": ""},
        {"attestationData": None},
        {"x509CertificateRequest": None},
        {"x509CertificateRequest": {}},
        {"x509CertificateRequest": {"raw": "MAA="}},
        {"x509CertificateRequest": None, "x509Certificate": {"raw": "MAA="}},
    ],
)
def test_request_without_mac_or_key_is_refused_and_consumes_nothing(
    ca: StepCa, tmp_path: Path, changes: dict[str, Any]
) -> None:
    ca.organization.enroll()
    request = attested(tmp_path)
    assert not ca.allows(step_ca_body(request, **changes))
    assert ca.allows(step_ca_body(request))


def test_a_scep_challenge_is_redeemed_too(ca: StepCa, tmp_path: Path) -> None:
    _, challenge = identity_of(ca.organization.enroll(ca.organization.signed(OS_VERSION="13.0")))
    request = request_for(tmp_path, challenge)
    body = step_ca_body(request, None, scepChallenge=challenge, scepTransactionID="1")
    guess = request_for(tmp_path, "guess")
    assert not ca.allows(step_ca_body(guess, None, scepChallenge="guess"))
    assert not ca.allows(step_ca_body(request, None))
    assert [ca.allows(body), ca.allows(body)] == [True, True]
    another = request_for(tmp_path, challenge, key="rsa:2048/another")
    assert not ca.allows(step_ca_body(another, None, scepChallenge=challenge))


# Signatures of requests


@each(
    "headers", [{}, {"X-Smallstep-Signature": ""}, {"X-Smallstep-Signature": "é"}, signed(b"another"), "key"]
)
def test_a_request_that_step_ca_did_not_sign_is_refused(ca: StepCa, tmp_path: Path, headers: Any) -> None:
    ca.organization.enroll()
    body = step_ca_body(attested(tmp_path))
    headers = signed(body, b"another key") if headers == "key" else headers
    response = ca.post(body, {name: value.encode("latin-1") for name, value in headers.items()})
    assert (response.status_code, response.json()) == (401, {"allow": False})
    assert ca.allows(body)


def test_signature_covers_the_bytes_and_may_be_in_either_case(ca: StepCa, tmp_path: Path) -> None:
    ca.organization.enroll()
    body = step_ca_body(attested(tmp_path))
    headers = signed(body)
    assert ca.post(body + b" ", headers).status_code == 401
    headers["X-Smallstep-Signature"] = headers["X-Smallstep-Signature"].upper()
    assert ca.post(body, headers).json() == {"allow": True}


@each(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"attestationData": 5}', 400),
        (b"[" * 60_000, 400),
        (bytes(70_000), 413),
    ],
)
def test_unreadable_request_is_refused(ca: StepCa, body: bytes, status: int) -> None:
    response = ca.post(body)
    assert (response.status_code, response.json()) == (status, {"allow": False})


def test_failing_store_makes_step_ca_retry(ca: StepCa, tmp_path: Path) -> None:
    ca.organization.enroll()
    body = step_ca_body(attested(tmp_path))
    closed = MemoryStore()
    closed.close()
    headers = signed(body)

    async def main() -> int:
        app = StepCaWebhook(closed, secret=SECRET, clock=ca.organization.clock)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="https://a.example"
        ) as http:
            return (await http.post("/step-ca", content=body, headers=headers)).status_code

    assert anyio.run(main, backend=ca.organization.kind) == 500
    assert ca.allows(body)


def test_log_contains_reasons_and_no_secrets(
    ca: StepCa, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    request = request_for(tmp_path, "guessed-by-a-stranger")
    ca.allows(step_ca_body(request, None, scepChallenge="guessed-by-a-stranger"))
    ca.allows(step_ca_body(attested(tmp_path), None))
    ca.post(step_ca_body(request), {})
    ca.allows(step_ca_body(attested(tmp_path), identifier="C02\nFORGED"))
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 4
    assert "scep challenge is unknown" in warnings[0]
    assert "no attestation data" in warnings[1]
    assert "not signed" in warnings[2]
    assert warnings[3].startswith("a webhook request for C02\\nFORGED is refused: this acme client id")
    assert "guessed-by-a-stranger" not in caplog.text


@each("secret", ["", "no base64!", "YQ=", "é"])
def test_invalid_secret_is_refused_at_creation(secret: str) -> None:
    with MemoryStore() as store, pytest.raises(PolicyError, match="base64") as refused:
        StepCaWebhook(store, secret=secret)
    assert secret in ("", "é") or secret not in str(refused.value)


def test_path_must_begin_with_a_slash() -> None:
    with MemoryStore() as store, pytest.raises(PolicyError, match="slash") as refused:
        StepCaWebhook(store, secret=SECRET, path="step-ca")
    assert not leaks(refused.value, SECRET)


# Deployment


@pytest.mark.parametrize("address", ["/step-ca", "/ca/step-ca"])
def test_webhook_is_mounted_beside_the_enrollment_application(
    ca: StepCa, tmp_path: Path, address: str
) -> None:
    ca.organization.enroll()
    body = step_ca_body(attested(tmp_path))
    webhook = StepCaWebhook(ca.organization.store, secret=SECRET, clock=ca.organization.clock)
    service = ca.organization.service()
    assert isinstance(service, AsyncEnrollmentService)
    app = Starlette(
        routes=[
            Route("/step-ca", endpoint=webhook),
            Mount("/ca", app=webhook),
            Mount("/", app=EnrollmentApp(service, end_sign_in=lambda returned: "nobody signs in here")),
        ]
    )

    async def main() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://mdm.contoso.example") as http:
            asked = await http.post(address, content=body, headers=signed(body))
            return asked, await http.get("/health")

    asked, health = anyio.run(main, backend=ca.organization.kind)
    assert (asked.status_code, asked.json(), health.status_code) == (200, {"allow": True}, 200)


def test_two_workers_on_one_store_allow_only_one_key(
    authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer, tmp_path: Path
) -> None:
    path = tmp_path / "ade.db"
    requests = [attested(tmp_path), attested(tmp_path, key="secp384r1/another")]
    with SQLiteStore(path) as first, SQLiteStore(path) as second:
        organization = Organization(
            kind="sync", authority=authority, mac=mac, signer=signer, store=first, options=dict(STEP_CA)
        )
        organization.enroll()
        answers: list[tuple[int, bool]] = []

        async def ask(store: SQLiteStore, number: int) -> None:
            app = StepCaWebhook(store, secret=SECRET, clock=FrozenClock(organization.clock()))
            body = step_ca_body(requests[number])
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app), base_url="https://a.example"
            ) as http:
                response = await http.post("/step-ca", content=body, headers=signed(body))
            answers.append((number, response.json()["allow"]))

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for store in (first, second):
                    for number in (0, 1):
                        tasks.start_soon(ask, store, number)

        anyio.run(main)
        winners = {number for number, allowed in answers if allowed}
        assert len(winners) == 1
        assert sum(allowed for _, allowed in answers) == 2
        assert len(redemptions(organization)) == 1
