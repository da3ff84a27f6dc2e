"""Which JWTs for Managed Apple Accounts the fake accepts; openssl signs them here."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.keys import RSA_KEYS, keypair_of

from pyade.crypto import TokenKeypair, managed_apple_account_jwt
from pyade.testing import FakeApple, FrozenClock, PortalError, Server

Make: TypeAlias = Callable[..., str]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def keypair() -> TokenKeypair:
    return keypair_of(RSA_KEYS[0])


@pytest.fixture
def uploaded(apple: FakeApple, server: Server, keypair: TokenKeypair) -> Server:
    apple.issue_token(server, keypair.certificate_pem)
    return server


@pytest.fixture
def make(uploaded: Server, keypair: TokenKeypair, clock: FrozenClock, tmp_path: Path) -> Make:
    """Return a valid JWT; keywords replace claims, None leaves one out."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    key = tmp_path / "key.pem"
    key.write_bytes(keypair.to_pem())

    def new_jwt(alg: str = "RS256", **changes: Any) -> str:
        claims = {
            "iss": uploaded.server_uuid,
            "iat": int(clock().timestamp()),
            "jti": "1",
            "service_type": "com.apple.maid",
            **changes,
        }
        said = {name: value for name, value in claims.items() if value is not None}
        signed = f"{b64(json.dumps({'alg': alg}).encode())}.{b64(json.dumps(said).encode())}"
        command = [program, "dgst", "-sha256", "-sign", str(key)]
        done = subprocess.run(command, input=signed.encode(), capture_output=True, check=True)
        return f"{signed}.{b64(done.stdout)}"

    return new_jwt


def test_valid_jwt_is_accepted_once(apple: FakeApple, uploaded: Server, make: Make) -> None:
    assert apple.redeem_jwt(make()) is uploaded
    with pytest.raises(PortalError, match="used before"):
        apple.redeem_jwt(make())
    assert apple.redeem_jwt(make(jti="2")) is uploaded


def test_jwt_of_pyade_is_accepted(
    apple: FakeApple, uploaded: Server, keypair: TokenKeypair, clock: FrozenClock
) -> None:
    for _ in range(2):
        jwt = managed_apple_account_jwt(keypair, uploaded.server_uuid, now=clock()).reveal()
        assert apple.redeem_jwt(jwt) is uploaded


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"alg": "none"}, "RS256 is needed"),
        ({"alg": "HS256"}, "RS256 is needed"),
        ({"iss": None}, "no server_uuid"),
        ({"iss": "0" * 32}, "no server_uuid"),
        ({"service_type": "com.apple.watch.pairing"}, r"com\.apple\.maid is needed"),
        ({"iat": None}, "iat None"),
        ({"iat": "1"}, "iat '1'"),
        ({"iat": True}, "iat True"),
        ({"iat": 0}, "within 300 seconds"),
        ({"jti": None}, "no jti"),
        ({"jti": ""}, "no jti"),
    ],
)
def test_wrong_claim_is_reported(apple: FakeApple, make: Make, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(PortalError, match=reason):
        apple.redeem_jwt(make(**changes))


@pytest.mark.parametrize("seconds", [-301, 301])
def test_jwt_is_valid_for_a_short_time(
    apple: FakeApple, make: Make, clock: FrozenClock, seconds: int
) -> None:
    now, step = int(clock().timestamp()), 1 if seconds > 0 else -1
    with pytest.raises(PortalError, match="within 300 seconds"):
        apple.redeem_jwt(make(iat=now + seconds))
    apple.redeem_jwt(make(iat=now + seconds - step))


def test_the_newest_certificate_counts(apple: FakeApple, uploaded: Server, make: Make) -> None:
    jwt = make()
    apple.issue_token(uploaded, TokenKeypair.generate("Contoso MDM").certificate_pem)
    with pytest.raises(PortalError, match="newest certificate"):
        apple.redeem_jwt(jwt)


def test_without_a_certificate_nothing_is_accepted(
    apple: FakeApple, server: Server, keypair: TokenKeypair, clock: FrozenClock
) -> None:
    with pytest.raises(PortalError, match="no certificate was uploaded"):
        apple.redeem_jwt(managed_apple_account_jwt(keypair, server.server_uuid, now=clock()).reveal())


def test_every_other_signature_and_content_is_refused(
    apple: FakeApple, make: Make, clock: FrozenClock
) -> None:
    head, claims, signature = make().split(".")
    other = make(jti="2").split(".")[1]
    with pytest.raises(PortalError, match="newest certificate"):
        apple.redeem_jwt(f"{head}.{other}.{signature}")
    for broken in ("", "a.b", f"{head}.{claims}", f"{head}.{claims}.ä", f"{head}.W10.{signature}", "a.b.c.d"):
        with pytest.raises(PortalError, match="three parts"):
            apple.redeem_jwt(broken)
