"""The webhook that step-ca asks: whose request it is, what it allows, and once; what a repeat gets."""

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
from tests.enrollment.conftest import MACHINE, Desk, identity_of
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
class Authority:
    """Asks as step-ca does."""

    desk: Desk

    def post(self, body: bytes, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            app = StepCaWebhook(self.desk.store, **{"secret": SECRET, "clock": self.desk.clock, **options})
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="https://mdm.contoso.example") as http:
                return await http.post(
                    "/step-ca", content=body, headers=signed(body) if headers is None else headers
                )

        return anyio.run(main, backend=self.desk.kind)

    def allows(self, body: bytes) -> bool:
        response = self.post(body)
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
        answer: dict[str, bool] = response.json()
        assert answer.keys() == {"allow"}
        return answer["allow"]


@pytest.fixture(params=["asyncio", "trio"])
def ca(
    request: pytest.FixtureRequest, authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer
) -> Iterator[Authority]:
    desk = Desk(kind=request.param, authority=authority, mac=mac, signer=signer, options=dict(STEP_CA))
    yield Authority(desk)
    desk.store.close()


def attested(folder: Path, key: str = "secp384r1", **changes: str) -> bytes:
    return request_for(folder, None, key=key, **changes)


# What is allowed


@pytest.mark.twins
def test_the_mac_that_got_a_profile_gets_one_certificate(ca: Authority, tmp_path: Path) -> None:
    assert identity_of(ca.desk.enroll()) == ("acme", SERIAL)
    assert ca.allows(step_ca_body(attested(tmp_path)))
    # step-ca asks once more after an error, with the same bytes; the Mac may finalize its order once more.
    ca.desk.later(seconds=1)
    assert ca.allows(step_ca_body(attested(tmp_path), timestamp="2025-06-01T12:30:16Z"))
    assert not ca.allows(step_ca_body(attested(tmp_path, key="secp384r1/another")))
    ca.desk.later(minutes=2)
    assert not ca.allows(step_ca_body(attested(tmp_path)))
    assert [event.details["outcome"] for event in redemptions(ca.desk)] == ["issue"]


def test_a_renewal_gets_one_more_and_ends_what_was_before(ca: Authority, tmp_path: Path) -> None:
    ca.desk.enroll()
    ca.desk.run(lambda service: service.renew(SERIAL))
    ca.desk.later(days=29)
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
def test_a_request_for_something_else_is_refused(
    ca: Authority, tmp_path: Path, changes: dict[str, str]
) -> None:
    ca.desk.enroll()
    body = step_ca_body(attested(tmp_path, **changes))
    assert [ca.allows(body), ca.allows(body), ca.allows(step_ca_body(attested(tmp_path)))] == [False] * 3


def test_who_was_not_answered_with_acme_is_refused(ca: Authority, tmp_path: Path) -> None:
    body = step_ca_body(attested(tmp_path))
    assert not ca.allows(body)
    ca.desk.enroll(ca.desk.signed(PRODUCT="MacBookPro16,1"))
    assert not ca.allows(body)
    ca.desk.enroll()
    assert not ca.allows(step_ca_body(attested(tmp_path), identifier="C02OTHER0001"))
    ca.desk.later(hours=1)
    assert not ca.allows(body)
    ca.desk.enroll()
    ca.desk.store.delete_enrollment(SERIAL)
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
def test_what_shows_no_mac_or_no_key_is_refused_and_uses_nothing_up(
    ca: Authority, tmp_path: Path, changes: dict[str, Any]
) -> None:
    ca.desk.enroll()
    request = attested(tmp_path)
    assert not ca.allows(step_ca_body(request, **changes))
    assert ca.allows(step_ca_body(request))


def test_a_scep_challenge_is_redeemed_too(ca: Authority, tmp_path: Path) -> None:
    _, challenge = identity_of(ca.desk.enroll(ca.desk.signed(OS_VERSION="13.0")))
    request = request_for(tmp_path, challenge)
    body = step_ca_body(request, None, scepChallenge=challenge, scepTransactionID="1")
    guess = request_for(tmp_path, "guess")
    assert not ca.allows(step_ca_body(guess, None, scepChallenge="guess"))
    assert not ca.allows(step_ca_body(request, None))
    assert [ca.allows(body), ca.allows(body)] == [True, True]
    another = request_for(tmp_path, challenge, key="rsa:2048/another")
    assert not ca.allows(step_ca_body(another, None, scepChallenge=challenge))


# Who asks


@each(
    "headers", [{}, {"X-Smallstep-Signature": ""}, {"X-Smallstep-Signature": "é"}, signed(b"another"), "key"]
)
def test_a_request_that_step_ca_did_not_sign_is_refused(ca: Authority, tmp_path: Path, headers: Any) -> None:
    ca.desk.enroll()
    body = step_ca_body(attested(tmp_path))
    headers = signed(body, b"another key") if headers == "key" else headers
    response = ca.post(body, {name: value.encode("latin-1") for name, value in headers.items()})
    assert (response.status_code, response.json()) == (401, {"allow": False})
    assert ca.allows(body)


def test_the_signature_is_over_the_bytes_and_comes_in_either_case(ca: Authority, tmp_path: Path) -> None:
    ca.desk.enroll()
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
def test_what_cannot_be_read_is_refused(ca: Authority, body: bytes, status: int) -> None:
    response = ca.post(body)
    assert (response.status_code, response.json()) == (status, {"allow": False})


def test_a_store_that_fails_makes_step_ca_ask_again(ca: Authority, tmp_path: Path) -> None:
    ca.desk.enroll()
    body = step_ca_body(attested(tmp_path))
    closed = MemoryStore()
    closed.close()
    headers = signed(body)

    async def main() -> int:
        app = StepCaWebhook(closed, secret=SECRET, clock=ca.desk.clock)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="https://a.example"
        ) as http:
            return (await http.post("/step-ca", content=body, headers=headers)).status_code

    assert anyio.run(main, backend=ca.desk.kind) == 500
    assert ca.allows(body)


def test_reasons_are_in_the_log_and_no_secret_is(
    ca: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
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
def test_a_secret_that_is_none_is_refused_at_once(secret: str) -> None:
    with MemoryStore() as store, pytest.raises(PolicyError, match="base64") as refused:
        StepCaWebhook(store, secret=secret)
    assert secret in ("", "é") or secret not in str(refused.value)


def test_a_path_begins_with_a_slash() -> None:
    with MemoryStore() as store, pytest.raises(PolicyError, match="slash") as refused:
        StepCaWebhook(store, secret=SECRET, path="step-ca")
    assert not leaks(refused.value, SECRET)


# Where it runs


@pytest.mark.parametrize("address", ["/step-ca", "/ca/step-ca"])
def test_it_is_mounted_beside_the_application_for_macs(ca: Authority, tmp_path: Path, address: str) -> None:
    ca.desk.enroll()
    body = step_ca_body(attested(tmp_path))
    webhook = StepCaWebhook(ca.desk.store, secret=SECRET, clock=ca.desk.clock)
    service = ca.desk.service()
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

    asked, health = anyio.run(main, backend=ca.desk.kind)
    assert (asked.status_code, asked.json(), health.status_code) == (200, {"allow": True}, 200)


def test_of_two_workers_on_one_store_one_key_gets_it(
    authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer, tmp_path: Path
) -> None:
    path = tmp_path / "ade.db"
    requests = [attested(tmp_path), attested(tmp_path, key="secp384r1/another")]
    with SQLiteStore(path) as first, SQLiteStore(path) as second:
        desk = Desk(
            kind="sync", authority=authority, mac=mac, signer=signer, store=first, options=dict(STEP_CA)
        )
        desk.enroll()
        answers: list[tuple[int, bool]] = []

        async def ask(store: SQLiteStore, number: int) -> None:
            app = StepCaWebhook(store, secret=SECRET, clock=FrozenClock(desk.clock()))
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
        assert len(redemptions(desk)) == 1
