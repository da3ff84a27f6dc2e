"""A certificate authority may redeem a credential once, for the Mac and the request of its profile."""

from __future__ import annotations

import functools
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each
from tests.enrollment.conftest import MACHINE, SCEP, Organization, identity_of

from pyade.core.fleet.events import Event, EventKind
from pyade.enrollment import redeem_client_identifier, redeem_scep_request, redemption
from pyade.enrollment.credentials import one_time
from pyade.errors import ArgumentError, PolicyError, TrustError
from pyade.testing.mac.hostile import requests

SERIAL = MACHINE["SERIAL"]
SUBJECT = f"/O=Contoso/CN={SERIAL}"


@functools.cache
def key_of(kind: str) -> str:
    """Return a private key (PEM) made by openssl, cached because RSA keys take long to make.

    The part of *kind* after a slash distinguishes keys of one kind.
    """
    kind = kind.partition("/")[0]
    algorithm, _, size = kind.partition(":")
    option = f"rsa_keygen_bits:{size}" if size else f"ec_paramgen_curve:{kind}"
    command = ["openssl", "genpkey", "-algorithm", algorithm if size else "ec", "-pkeyopt", option]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def request_for(
    folder: Path,
    challenge: str | None,
    *,
    subject: str = SUBJECT,
    key: str = "rsa:2048",
    digest: str = "sha256",
) -> bytes:
    """Return a certificate request that openssl made."""
    names = [part.split("=") for part in subject.strip("/").split("/")]
    config = folder / "request.cnf"
    # With -subj openssl would leave the attributes out.
    lines = ["[req]", "prompt = no", "distinguished_name = name", "attributes = attributes"]
    lines += ["[name]", *(f"{number}.{name} = {value}" for number, (name, value) in enumerate(names))]
    lines += ["[attributes]", *([] if challenge is None else [f"challengePassword = {challenge}"])]
    config.write_text("\n".join(lines) + "\n")
    (folder / "key.pem").write_text(key_of(key))
    command = ["openssl", "req", "-new", f"-{digest}", "-key", str(folder / "key.pem")]
    made = subprocess.run(
        [*command, "-outform", "DER", "-config", str(config)], check=True, capture_output=True
    )
    return made.stdout


def redemptions(organization: Organization) -> list[Event]:
    return [event for event in organization.store.events() if event.kind is EventKind.CREDENTIAL_REDEEMED]


@pytest.fixture
def challenge(organization: Organization) -> str:
    return identity_of(organization.enroll(acme=None, scep=SCEP))[1]


def test_request_of_the_profile_is_redeemed_once(
    organization: Organization, challenge: str, tmp_path: Path
) -> None:
    request = request_for(tmp_path, challenge)
    assert redeem_scep_request(organization.store, request, now=organization.clock()) == SERIAL
    with pytest.raises(TrustError, match="unknown, has expired, or was used"):
        redeem_scep_request(
            organization.store,
            request_for(tmp_path, challenge, key="rsa:2048/another"),
            now=organization.clock(),
        )
    (event,) = redemptions(organization)
    assert (event.token_name, event.serial_number) == ("hq", SERIAL)
    assert event.details == {"outcome": "issue", "kind": "scep_challenge"}


@pytest.mark.parametrize("digest", ["sha1", "sha384", "sha512"])
def test_request_may_be_signed_with_any_digest_that_macs_use(
    organization: Organization, challenge: str, tmp_path: Path, digest: str
) -> None:
    """Also with SHA-1: the signature only has to show who has the key."""
    request = bytearray(request_for(tmp_path, challenge, digest=digest))
    assert redeem_scep_request(organization.store, bytes(request), now=organization.clock()) == SERIAL


@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_a_request_with_a_wrong_signature_or_a_weak_digest_is_refused(
    organization: Organization, challenge: str, tmp_path: Path, digest: str
) -> None:
    request = bytearray(request_for(tmp_path, challenge, digest=digest))
    request[-1] ^= digest != "md5"
    with pytest.raises(TrustError, match="not signed with its own key"):
        redeem_scep_request(organization.store, bytes(request), now=organization.clock())


@pytest.mark.twins
def test_the_same_request_gets_the_same_answer_for_two_minutes(
    organization: Organization, challenge: str, tmp_path: Path
) -> None:
    request, another = request_for(tmp_path, challenge), request_for(tmp_path, challenge, key="rsa:2048/2")
    for seconds in (0, 1, 118):
        organization.later(seconds=seconds)
        assert redeem_scep_request(organization.store, request, now=organization.clock()) == SERIAL
        with pytest.raises(TrustError, match="used before"):
            redeem_scep_request(organization.store, another, now=organization.clock())
    organization.later(seconds=1)
    with pytest.raises(TrustError, match="used before"):
        redeem_scep_request(organization.store, request, now=organization.clock())
    assert len(redemptions(organization)) == 1


def test_newer_profile_revokes_the_request_of_the_previous_one(
    organization: Organization, challenge: str, tmp_path: Path
) -> None:
    request = request_for(tmp_path, challenge)
    redeem_scep_request(organization.store, request, now=organization.clock())
    organization.enroll(acme=None, scep=SCEP)
    with pytest.raises(TrustError, match="used before"):
        redeem_scep_request(organization.store, request, now=organization.clock())


def test_the_order_of_the_names_does_not_matter(
    organization: Organization, challenge: str, tmp_path: Path
) -> None:
    request = request_for(tmp_path, challenge, subject=f"/CN={SERIAL}/O=Contoso")
    assert redeem_scep_request(organization.store, request, now=organization.clock()) == SERIAL


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subject": "/O=Contoso/CN=C02OTHER0001"}, "the subject is"),
        ({"subject": f"{SUBJECT}/OU=Admins"}, "the subject is"),
        ({"key": "rsa:3072"}, "not an RSA key of 2048 bits"),
        ({"key": "prime256v1"}, "not an RSA key of 2048 bits"),
    ],
)
def test_request_for_another_subject_is_refused_and_consumes_the_challenge(
    organization: Organization, challenge: str, tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    request = request_for(tmp_path, challenge, **changes)
    for _ in range(2):  # the same answer to the same request
        with pytest.raises(TrustError, match=reason):
            redeem_scep_request(organization.store, request, now=organization.clock())
    with pytest.raises(TrustError, match="unknown"):
        redeem_scep_request(organization.store, request_for(tmp_path, challenge), now=organization.clock())
    (event,) = redemptions(organization)
    assert event.details["outcome"] == "refuse"
    assert reason in event.details["reason"]


def test_redemption_after_the_token_was_removed_is_recorded(organization: Organization) -> None:
    _, identifier = identity_of(organization.enroll())
    organization.store.remove_token("hq", now=organization.clock())
    assert (
        redeem_client_identifier(organization.store, identifier, now=organization.clock()).serial_number
        == SERIAL
    )
    assert [event.token_name for event in redemptions(organization)] == [""]


def test_a_request_that_its_key_did_not_sign_is_refused(
    organization: Organization, challenge: str, tmp_path: Path
) -> None:
    request = bytearray(request_for(tmp_path, challenge))
    request[-1] ^= 1
    with pytest.raises(TrustError, match="not signed with its own key"):
        redeem_scep_request(organization.store, bytes(request), now=organization.clock())


def test_a_challenge_expires(organization: Organization, challenge: str, tmp_path: Path) -> None:
    organization.later(hours=1)
    with pytest.raises(TrustError, match="expired"):
        redeem_scep_request(organization.store, request_for(tmp_path, challenge), now=organization.clock())


def test_unknown_challenge_is_refused(organization: Organization, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="unknown") as refused:
        redeem_scep_request(organization.store, request_for(tmp_path, "guessed"), now=organization.clock())
    assert "guessed" not in str(refused.value)


@each("name, request", {**requests(), **{f"some {k}": v for k, v in requests(elements=250).items()}}.items())
def test_cost_of_a_guessed_challenge_is_bounded(
    name: str, request: bytes, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the challenge is found, no signature is verified, and a request of many parts is not read."""
    with monkeypatch.context() as patch:
        patch.setattr(redemption, "_is_signed", pytest.fail)
        with pytest.raises(TrustError) as refused:
            redeem_scep_request(organization.store, request, now=organization.clock())
    has_many = len(request) > 10_000 and "key" not in name and "RSA" not in name
    assert ("MalformedError" in refused.value.reason) == has_many


@pytest.mark.parametrize("request_of", ["nothing", "noise", "large", "without a challenge"])
def test_invalid_request_is_malformed(organization: Organization, tmp_path: Path, request_of: str) -> None:
    given = {
        "nothing": b"",
        "noise": b"0\x82\x01\x00nonsense",
        "large": bytes(100_000),
        "without a challenge": request_for(tmp_path, None),
    }
    with pytest.raises(TrustError) as refused:
        redeem_scep_request(organization.store, given[request_of], now=organization.clock())
    assert refused.value.is_malformed


def test_only_one_of_many_redeems_a_client_identifier(organization: Organization) -> None:
    _, identifier = identity_of(organization.enroll())

    def redeem(_: int) -> str:
        try:
            return redeem_client_identifier(
                organization.store, identifier, now=organization.clock()
            ).serial_number
        except TrustError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(redeem, range(8))) == [""] * 7 + [SERIAL]


@pytest.mark.parametrize("identifier", [None, 5, b"bytes"])
def test_client_identifier_must_be_text(organization: Organization, identifier: Any) -> None:
    with pytest.raises(TrustError, match="not a text"):
        redeem_client_identifier(organization.store, identifier, now=organization.clock())


def test_time_without_zone_is_refused_and_consumes_nothing(organization: Organization) -> None:
    _, identifier = identity_of(organization.enroll())
    wrong: list[Any] = [organization.clock().replace(tzinfo=None), "now", None]
    for now in wrong:
        with pytest.raises(ArgumentError, match=r"now is .*a time with a time zone"):
            redeem_client_identifier(organization.store, identifier, now=now)
    assert (
        redeem_client_identifier(organization.store, identifier, now=organization.clock()).serial_number
        == SERIAL
    )


def test_challenge_is_not_accepted_as_a_client_identifier(organization: Organization, challenge: str) -> None:
    with pytest.raises(TrustError):
        redeem_client_identifier(organization.store, challenge, now=organization.clock())


def test_lifetime_must_be_positive() -> None:
    with pytest.raises(PolicyError, match="lifetime"):
        one_time(timedelta(0))
