"""An ACME server may ask whether a Mac may have a certificate for a key; only the Mac's key is allowed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.cases import each
from tests.enrollment.conftest import ACME, MACHINE, Organization, identity_of
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


def test_an_identifier_with_a_request_is_redeemed_for_that_request(
    organization: Organization, tmp_path: Path
) -> None:
    _, identifier = identity_of(organization.enroll())
    request = attested(tmp_path)
    first = redeem_client_identifier(
        organization.store, identifier, now=organization.clock(), request=request
    )
    # An EC key signs differently each time, although the signed content is the same.
    assert attested(tmp_path) != request
    for again in (request, attested(tmp_path)):
        answer = redeem_client_identifier(
            organization.store, identifier, now=organization.clock(), request=again
        )
        assert answer == first
        assert (answer.serial_number, answer.value["attest"]) == (SERIAL, True)
    for other in (attested(tmp_path, key="secp384r1/another"), None):
        with pytest.raises(TrustError, match="used before"):
            redeem_client_identifier(organization.store, identifier, now=organization.clock(), request=other)
    assert len(redemptions(organization)) == 1
    organization.later(minutes=2)
    with pytest.raises(TrustError, match="used before"):
        redeem_client_identifier(organization.store, identifier, now=organization.clock(), request=request)


def test_identifier_redeemed_without_a_request_cannot_be_redeemed_again(
    organization: Organization, tmp_path: Path
) -> None:
    _, identifier = identity_of(organization.enroll())
    redeem_client_identifier(organization.store, identifier, now=organization.clock())
    for request in (None, attested(tmp_path)):
        with pytest.raises(TrustError, match="used before"):
            redeem_client_identifier(
                organization.store, identifier, now=organization.clock(), request=request
            )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "prime256v1"}, "not on the curve P-384"),
        ({"key": "brainpoolP384r1"}, "not on the curve P-384"),
        ({"key": "rsa:2048"}, "not on the curve P-384"),
        ({"subject": "/O=Contoso/CN=C02OTHER0001"}, "the subject is"),
    ],
)
def test_request_for_another_subject_consumes_the_identifier(
    organization: Organization, tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    _, identifier = identity_of(organization.enroll())
    wrong = attested(tmp_path, **changes)
    assert not may_issue(organization.store, SERIAL, organization.clock(), request=wrong)
    assert may_issue(organization.store, SERIAL, organization.clock(), request=attested(tmp_path))
    for _ in range(2):
        with pytest.raises(TrustError, match=reason):
            redeem_client_identifier(organization.store, identifier, now=organization.clock(), request=wrong)
    with pytest.raises(TrustError, match="used before"):
        redeem_client_identifier(
            organization.store, identifier, now=organization.clock(), request=attested(tmp_path)
        )
    (event,) = redemptions(organization)
    assert event.details["outcome"] == "refuse"
    assert reason in event.details["reason"]


def test_a_software_key_is_compared_as_rsa(organization: Organization, tmp_path: Path) -> None:
    _, identifier = identity_of(organization.enroll(organization.signed(PRODUCT="iMac19,1")))
    with pytest.raises(TrustError, match="not an RSA key of 2048 bits"):
        redeem_client_identifier(
            organization.store, identifier, now=organization.clock(), request=attested(tmp_path)
        )
    _, identifier = identity_of(organization.enroll(organization.signed(PRODUCT="iMac19,1")))
    request = attested(tmp_path, key="rsa:2048")
    answer = redeem_client_identifier(
        organization.store, identifier, now=organization.clock(), request=request
    )
    assert answer.value["attest"] is False


def test_unreadable_request_consumes_nothing(organization: Organization, tmp_path: Path) -> None:
    _, identifier = identity_of(organization.enroll())
    for broken in (b"", b"0\x03abc", bytes(70_000)):
        with pytest.raises(TrustError) as refused:
            redeem_client_identifier(organization.store, identifier, now=organization.clock(), request=broken)
        assert refused.value.is_malformed
        with pytest.raises(TrustError):
            may_issue(organization.store, SERIAL, organization.clock(), request=broken)
    request = attested(tmp_path)
    assert (
        redeem_client_identifier(
            organization.store, identifier, now=organization.clock(), request=request
        ).serial_number
        == SERIAL
    )


# may_issue


@pytest.mark.twins
@each("source", [one_time(), serial_number, lambda _: Credential(secret="s" * 40, lifetime=60 * MINUTE)])
def test_mac_that_got_an_acme_profile_may_have_a_certificate(organization: Organization, source: Any) -> None:
    assert not may_issue(organization.store, SERIAL, organization.clock())
    organization.enroll(acme_credential=source)
    for _ in range(2):  # asking changes nothing
        assert may_issue(organization.store, SERIAL, organization.clock())
        assert may_issue(organization.store, SERIAL, organization.clock(), within=MINUTE)
    assert not may_issue(organization.store, "C02OTHER0001", organization.clock())
    organization.later(minutes=2)
    assert not may_issue(organization.store, SERIAL, organization.clock(), within=MINUTE)
    assert may_issue(organization.store, SERIAL, organization.clock(), within=2 * MINUTE)
    organization.later(minutes=58)
    assert not may_issue(organization.store, SERIAL, organization.clock(), within=timedelta(days=1))


def test_mac_with_scep_or_an_external_secret_may_not_have_a_certificate(organization: Organization) -> None:
    organization.enroll(organization.signed(**OLD))
    assert not may_issue(organization.store, SERIAL, organization.clock())
    organization.enroll(acme_credential=static("shared"))
    assert not may_issue(organization.store, SERIAL, organization.clock())


def test_newer_profile_and_deletion_end_the_permission(organization: Organization) -> None:
    organization.enroll()
    organization.enroll(identity=IdentityPolicy(scep_only=True))
    assert not may_issue(organization.store, SERIAL, organization.clock())
    organization.enroll()
    assert may_issue(organization.store, SERIAL, organization.clock())
    organization.store.delete_enrollment(SERIAL)
    assert not may_issue(organization.store, SERIAL, organization.clock())


@each("source", [one_time(), serial_number])
def test_only_the_key_that_redeemed_the_identifier_may_continue(
    organization: Organization, tmp_path: Path, source: Any
) -> None:
    _, identifier = identity_of(organization.enroll(acme_credential=source))
    request, another = attested(tmp_path), attested(tmp_path, key="secp384r1/another")
    redeem_client_identifier(organization.store, identifier, now=organization.clock(), request=request)
    assert may_issue(organization.store, SERIAL, organization.clock(), request=request)
    assert not may_issue(organization.store, SERIAL, organization.clock(), request=another)
    assert not may_issue(organization.store, SERIAL, organization.clock())
    organization.later(minutes=2)
    assert not may_issue(organization.store, SERIAL, organization.clock(), request=request)


@pytest.mark.twins
@each("source", [one_time(), serial_number])
def test_a_renewal_may_have_its_certificate_for_30_days(
    organization: Organization, tmp_path: Path, source: Any
) -> None:
    _, before = identity_of(organization.enroll(acme_credential=source))
    redeem_client_identifier(organization.store, before, now=organization.clock(), request=attested(tmp_path))
    organization.later(days=300)
    renewed = organization.run(lambda service: service.renew(SERIAL), acme_credential=source)
    _, identifier = identity_of(renewed)
    organization.later(days=29)
    request = attested(tmp_path, key="secp384r1/renewed")
    assert may_issue(organization.store, SERIAL, organization.clock(), request=request)
    assert not may_issue(
        organization.store, SERIAL, organization.clock(), request=request, within=timedelta(hours=1)
    )
    assert (
        redeem_client_identifier(
            organization.store, identifier, now=organization.clock(), request=request
        ).serial_number
        == SERIAL
    )


def test_a_scep_renewal_may_have_its_certificate_for_30_days(organization: Organization) -> None:
    organization.enroll(organization.signed(**OLD))
    organization.run(lambda service: service.renew(SERIAL))
    (kept,) = organization.store.one_times(SERIAL)
    assert (kept.kind, kept.expires_at) == (
        OneTimeKind.SCEP_CHALLENGE,
        organization.clock() + timedelta(days=30),
    )


# Sources


def test_source_is_called_with_is_renewal(organization: Organization) -> None:
    renewals: list[bool] = []

    def source(request: Any) -> Credential:
        renewals.append(request.is_renewal)
        return one_time()(request)

    organization.enroll(acme_credential=source)
    organization.run(lambda service: service.renew(SERIAL), acme_credential=source)
    organization.enroll(organization.signed(**OLD), scep_credential=source)
    organization.run(lambda service: service.renew(SERIAL), scep_credential=source)
    assert renewals == [False, True, False, True]


def test_the_lifetimes_of_a_source_can_be_chosen(organization: Organization) -> None:
    source = one_time(MINUTE, renewal_lifetime=5 * MINUTE)
    organization.enroll(acme_credential=source)
    assert organization.store.one_times(SERIAL)[0].expires_at == organization.clock() + MINUTE
    organization.run(lambda service: service.renew(SERIAL), acme_credential=source)
    assert organization.store.one_times(SERIAL)[0].expires_at == organization.clock() + 5 * MINUTE
    with pytest.raises(PolicyError, match="lifetime"):
        one_time(renewal_lifetime=timedelta(0))


def test_the_subject_of_an_issuer_is_compared(organization: Organization, tmp_path: Path) -> None:
    acme = attrs.evolve(ACME, subject=(("OU", "Macs"), ("CN", SERIAL)))
    _, identifier = identity_of(organization.enroll(acme=acme))
    request = attested(tmp_path, subject=f"/OU=Macs/CN={SERIAL}")
    assert (
        redeem_client_identifier(
            organization.store, identifier, now=organization.clock(), request=request
        ).serial_number
        == SERIAL
    )
