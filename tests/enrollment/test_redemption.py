"""What an ACME server may ask: whether a Mac may have a certificate for this key, and for no other."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.cases import each
from tests.enrollment.conftest import ACME, MACHINE, Desk, identity_of
from tests.enrollment.test_credentials import redemptions, request_for

from pyade.core.fleet.enrollment import OneTimeKind
from pyade.core.macos.identity import IdentityPolicy
from pyade.enrollment import may_issue, redeem_client_identifier
from pyade.enrollment.credentials import Credential, one_time, serial_number, static
from pyade.errors import PolicyError, TrustError

SERIAL = MACHINE["SERIAL"]
OLD: dict[str, Any] = {"OS_VERSION": "12.6", "VERSION": "21G115"}
MINUTE = timedelta(minutes=1)


def attested(folder: Path, key: str = "secp384r1", **changes: str) -> bytes:
    """Return the certificate request of a Mac whose profile asked for an attested key."""
    return request_for(folder, None, key=key, **changes)


# Client identifiers


def test_an_identifier_with_a_request_is_redeemed_for_that_request(desk: Desk, tmp_path: Path) -> None:
    _, identifier = identity_of(desk.enroll())
    request = attested(tmp_path)
    first = redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request)
    # A key on a curve signs differently each time: what is signed is the same.
    assert attested(tmp_path) != request
    for again in (request, attested(tmp_path)):
        answer = redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=again)
        assert answer == first
        assert (answer.serial_number, answer.value["attest"]) == (SERIAL, True)
    for other in (attested(tmp_path, key="secp384r1/another"), None):
        with pytest.raises(TrustError, match="used before"):
            redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=other)
    assert len(redemptions(desk)) == 1
    desk.later(minutes=2)
    with pytest.raises(TrustError, match="used before"):
        redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request)


def test_an_identifier_that_was_redeemed_without_a_request_is_gone_for_all(
    desk: Desk, tmp_path: Path
) -> None:
    _, identifier = identity_of(desk.enroll())
    redeem_client_identifier(desk.store, identifier, now=desk.clock())
    for request in (None, attested(tmp_path)):
        with pytest.raises(TrustError, match="used before"):
            redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "prime256v1"}, "not on the curve P-384"),
        ({"key": "brainpoolP384r1"}, "not on the curve P-384"),
        ({"key": "rsa:2048"}, "not on the curve P-384"),
        ({"subject": "/O=Contoso/CN=C02OTHER0001"}, "the subject is"),
    ],
)
def test_a_request_for_something_else_uses_the_identifier_up(
    desk: Desk, tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    _, identifier = identity_of(desk.enroll())
    wrong = attested(tmp_path, **changes)
    assert not may_issue(desk.store, SERIAL, desk.clock(), request=wrong)
    assert may_issue(desk.store, SERIAL, desk.clock(), request=attested(tmp_path))
    for _ in range(2):
        with pytest.raises(TrustError, match=reason):
            redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=wrong)
    with pytest.raises(TrustError, match="used before"):
        redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=attested(tmp_path))
    (event,) = redemptions(desk)
    assert event.details["outcome"] == "refuse"
    assert reason in event.details["reason"]


def test_a_software_key_is_compared_as_rsa(desk: Desk, tmp_path: Path) -> None:
    _, identifier = identity_of(desk.enroll(desk.signed(PRODUCT="iMac19,1")))
    with pytest.raises(TrustError, match="not an RSA key of 2048 bits"):
        redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=attested(tmp_path))
    _, identifier = identity_of(desk.enroll(desk.signed(PRODUCT="iMac19,1")))
    request = attested(tmp_path, key="rsa:2048")
    answer = redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request)
    assert answer.value["attest"] is False


def test_a_request_that_cannot_be_read_uses_nothing_up(desk: Desk, tmp_path: Path) -> None:
    _, identifier = identity_of(desk.enroll())
    for broken in (b"", b"0\x03abc", bytes(70_000)):
        with pytest.raises(TrustError) as refused:
            redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=broken)
        assert refused.value.is_malformed
        with pytest.raises(TrustError):
            may_issue(desk.store, SERIAL, desk.clock(), request=broken)
    request = attested(tmp_path)
    assert (
        redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request).serial_number
        == SERIAL
    )


# may_issue


@pytest.mark.twins
@each("source", [one_time(), serial_number, lambda _: Credential(secret="s" * 40, lifetime=60 * MINUTE)])
def test_a_mac_that_was_answered_with_acme_may_have_a_certificate(desk: Desk, source: Any) -> None:
    assert not may_issue(desk.store, SERIAL, desk.clock())
    desk.enroll(acme_credential=source)
    for _ in range(2):  # it is a question
        assert may_issue(desk.store, SERIAL, desk.clock())
        assert may_issue(desk.store, SERIAL, desk.clock(), within=MINUTE)
    assert not may_issue(desk.store, "C02OTHER0001", desk.clock())
    desk.later(minutes=2)
    assert not may_issue(desk.store, SERIAL, desk.clock(), within=MINUTE)
    assert may_issue(desk.store, SERIAL, desk.clock(), within=2 * MINUTE)
    desk.later(minutes=58)
    assert not may_issue(desk.store, SERIAL, desk.clock(), within=timedelta(days=1))


def test_a_mac_with_scep_or_with_a_secret_checked_elsewhere_may_not(desk: Desk) -> None:
    desk.enroll(desk.signed(**OLD))
    assert not may_issue(desk.store, SERIAL, desk.clock())
    desk.enroll(acme_credential=static("shared"))
    assert not may_issue(desk.store, SERIAL, desk.clock())


def test_a_newer_profile_and_a_deletion_end_it(desk: Desk) -> None:
    desk.enroll()
    desk.enroll(identity=IdentityPolicy(scep_only=True))
    assert not may_issue(desk.store, SERIAL, desk.clock())
    desk.enroll()
    assert may_issue(desk.store, SERIAL, desk.clock())
    desk.store.delete_enrollment(SERIAL)
    assert not may_issue(desk.store, SERIAL, desk.clock())


@each("source", [one_time(), serial_number])
def test_the_key_that_redeemed_it_may_go_on_and_no_other(desk: Desk, tmp_path: Path, source: Any) -> None:
    _, identifier = identity_of(desk.enroll(acme_credential=source))
    request, another = attested(tmp_path), attested(tmp_path, key="secp384r1/another")
    redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request)
    assert may_issue(desk.store, SERIAL, desk.clock(), request=request)
    assert not may_issue(desk.store, SERIAL, desk.clock(), request=another)
    assert not may_issue(desk.store, SERIAL, desk.clock())
    desk.later(minutes=2)
    assert not may_issue(desk.store, SERIAL, desk.clock(), request=request)


@pytest.mark.twins
@each("source", [one_time(), serial_number])
def test_a_renewal_may_have_its_certificate_for_30_days(desk: Desk, tmp_path: Path, source: Any) -> None:
    _, before = identity_of(desk.enroll(acme_credential=source))
    redeem_client_identifier(desk.store, before, now=desk.clock(), request=attested(tmp_path))
    desk.later(days=300)
    renewed = desk.run(lambda service: service.renew(SERIAL), acme_credential=source)
    _, identifier = identity_of(renewed)
    desk.later(days=29)
    request = attested(tmp_path, key="secp384r1/renewed")
    assert may_issue(desk.store, SERIAL, desk.clock(), request=request)
    assert not may_issue(desk.store, SERIAL, desk.clock(), request=request, within=timedelta(hours=1))
    assert (
        redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request).serial_number
        == SERIAL
    )


def test_a_scep_renewal_may_have_its_certificate_for_30_days(desk: Desk) -> None:
    desk.enroll(desk.signed(**OLD))
    desk.run(lambda service: service.renew(SERIAL))
    (kept,) = desk.store.one_times(SERIAL)
    assert (kept.kind, kept.expires_at) == (
        OneTimeKind.SCEP_CHALLENGE,
        desk.clock() + timedelta(days=30),
    )


# Sources


def test_a_source_is_told_whether_it_is_a_renewal(desk: Desk) -> None:
    told: list[bool] = []

    def source(request: Any) -> Credential:
        told.append(request.is_renewal)
        return one_time()(request)

    desk.enroll(acme_credential=source)
    desk.run(lambda service: service.renew(SERIAL), acme_credential=source)
    desk.enroll(desk.signed(**OLD), scep_credential=source)
    desk.run(lambda service: service.renew(SERIAL), scep_credential=source)
    assert told == [False, True, False, True]


def test_the_lifetimes_of_a_source_can_be_chosen(desk: Desk) -> None:
    source = one_time(MINUTE, renewal_lifetime=5 * MINUTE)
    desk.enroll(acme_credential=source)
    assert desk.store.one_times(SERIAL)[0].expires_at == desk.clock() + MINUTE
    desk.run(lambda service: service.renew(SERIAL), acme_credential=source)
    assert desk.store.one_times(SERIAL)[0].expires_at == desk.clock() + 5 * MINUTE
    with pytest.raises(PolicyError, match="lifetime"):
        one_time(renewal_lifetime=timedelta(0))


def test_the_subject_of_an_issuer_is_compared(desk: Desk, tmp_path: Path) -> None:
    acme = attrs.evolve(ACME, subject=(("OU", "Macs"), ("CN", SERIAL)))
    _, identifier = identity_of(desk.enroll(acme=acme))
    request = attested(tmp_path, subject=f"/OU=Macs/CN={SERIAL}")
    assert (
        redeem_client_identifier(desk.store, identifier, now=desk.clock(), request=request).serial_number
        == SERIAL
    )
