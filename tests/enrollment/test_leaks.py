"""Failures on the device-facing side show no secret, not even in tracebacks with locals."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.enrollment.conftest import ACME, ADA, LEGACY, MDM, MODERN, SCEP, Organization
from tests.enrollment.test_credentials import request_for
from tests.leaks import leaks

from pyade.core.macos.identity import IdentityPolicy
from pyade.core.macos.updates import BetaProgram, SoftwareUpdatePolicy
from pyade.core.profile.accounts import AdministratorAccount, User
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import Secret
from pyade.enrollment import Credential, redeem_client_identifier, redeem_scep_request
from pyade.enrollment.credentials import static
from pyade.errors import PolicyError, ProfileError, StoreError, TrustError

SECRET = "hunter2hunter2"
BASIC = "Basic " + base64.b64encode(f"ada:{SECRET}".encode()).decode()
DISK = StoreError("the disk is full")


def fail(*_: object, **__: object) -> Any:
    raise DISK


def full_disk(organization: Organization, call: str) -> None:
    setattr(organization.store, call, fail)


@pytest.mark.parametrize("kind", ["acme", "scep"])
def test_profile_that_cannot_be_stored_shows_no_secret(organization: Organization, kind: str) -> None:
    full_disk(organization, "save_enrollment")
    options: dict[str, Any] = {f"{kind}_credential": static(SECRET)}
    options["acme" if kind == "scep" else "scep"] = None
    for signer in (organization.signer, None):
        with pytest.raises(StoreError) as caught:
            organization.enroll(signer=signer, **options)
        assert not leaks(caught.value, SECRET)


def test_invalid_profile_shows_no_secret(organization: Organization) -> None:
    wrong = attrs.evolve(MDM, server_url="ftp://mdm.contoso.example")
    with pytest.raises(ProfileError) as caught:
        organization.enroll(mdm=wrong, acme_credential=static(SECRET))
    assert not leaks(caught.value, SECRET)
    with pytest.raises(ProfileError) as caught:
        organization.enroll(mdm=wrong, acme=None, scep_credential=static(Secret(SECRET)))
    assert not leaks(caught.value, SECRET)


def test_issuers_show_no_secret(organization: Organization) -> None:
    acme, scep = attrs.evolve(ACME, client_identifier=SECRET), attrs.evolve(SCEP, challenge=SECRET)
    assert acme.client_identifier == scep.challenge == Secret(SECRET)
    assert (
        SECRET not in f"{acme}{scep}{Credential(secret=SECRET)}{BetaProgram(description='a', token=SECRET)}"
    )


def test_password_given_to_a_failing_hook_is_not_shown(organization: Organization) -> None:
    got: list[str] = []

    def verify(name: str, password: str) -> User | None:
        got.append(password)
        del name, password
        raise RuntimeError("the directory does not answer")

    organization.store.set_default_profile("hq", LEGACY)
    with pytest.raises(RuntimeError) as caught:
        organization.enroll(authorization=BASIC, authenticate=verify)
    assert got == [SECRET]
    assert not leaks(caught.value, SECRET, BASIC[6:])


@pytest.mark.parametrize("call", ["save_enrollment", "records_of"])
def test_password_is_not_shown_by_a_failing_store(organization: Organization, call: str) -> None:
    organization.store.set_default_profile("hq", LEGACY)
    full_disk(organization, call)
    authenticate: Callable[[str, str], User | None] = lambda _name, _password: ADA  # noqa: E731
    with pytest.raises(StoreError) as caught:
        organization.enroll(authorization=BASIC, authenticate=authenticate)
    assert not leaks(caught.value, SECRET, BASIC[6:])


def test_sign_in_that_cannot_be_stored_shows_no_state_and_no_address(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    for call in ("save_one_time", "add_audit"):
        real = getattr(organization.store, call)
        full_disk(organization, call)
        with pytest.raises(StoreError) as caught:
            organization.open()
        assert not leaks(caught.value, organization.identity.states[-1])
        setattr(organization.store, call, real)
    answer = organization.open()
    assert answer.headers["Location"].endswith(organization.identity.states[-1])
    assert organization.identity.states[-1] not in repr(answer)


def test_returned_state_is_not_shown_by_a_failing_store(organization: Organization) -> None:
    organization.store.set_default_profile("hq", MODERN)
    full_disk(organization, "take_one_time")
    with pytest.raises(StoreError) as caught:
        organization.close(SECRET)
    assert not leaks(caught.value, SECRET)
    with pytest.raises(PolicyError) as refused:
        organization.close(SECRET, User(upn=""))
    assert not leaks(refused.value, SECRET)


def test_refused_address_does_not_show_its_state(organization: Organization) -> None:
    class HttpSignIn:
        def begin(self, state: str, machine: object) -> str:
            return f"http://login.contoso.example/{state}{SECRET}"

    organization.store.set_default_profile("hq", MODERN)
    with pytest.raises(PolicyError, match="https") as caught:
        organization.open(sign_in=HttpSignIn())
    assert not leaks(caught.value, SECRET)


def test_token_of_a_beta_program_is_not_shown(organization: Organization) -> None:
    program = BetaProgram(description="Seed", token=SECRET)
    updates = SoftwareUpdatePolicy(minimum="26.1", beta_program=program)
    words: dict[str, Any] = {
        "OS_VERSION": "15.0",
        "VERSION": "24A335",
        "MDM_CAN_REQUEST_SOFTWARE_UPDATE": True,
    }
    full_disk(organization, "add_audit")
    with pytest.raises(StoreError) as caught:
        organization.enroll(organization.signed(**words), updates=updates)
    assert not leaks(caught.value, SECRET)


def test_refused_certificate_request_shows_no_challenge(organization: Organization, tmp_path: Path) -> None:
    request = request_for(tmp_path, SECRET)
    assert SECRET.encode() in request
    full_disk(organization, "redeem_one_time")
    with pytest.raises(StoreError) as caught:
        redeem_scep_request(organization.store, request, now=organization.clock())
    assert not leaks(caught.value, SECRET)
    with pytest.raises(StoreError) as caught:
        redeem_client_identifier(organization.store, SECRET, now=organization.clock())
    assert not leaks(caught.value, SECRET)
    with pytest.raises(TrustError) as refused:
        redeem_scep_request(organization.store, request[:40] + b"!" + request[41:], now=organization.clock())
    assert not leaks(refused.value, SECRET)
    assert refused.value.__context__ is None


def test_command_with_a_password_hash_is_not_shown(organization: Organization) -> None:
    account = AdministratorAccount("admin", password_hash=SECRET.encode())
    with pytest.raises(ProfileError) as caught:
        EnrollmentProfile(name="", url="https://a.example", administrator=account)
    assert not leaks(caught.value, SECRET)


def test_policy_without_an_issuer_shows_no_secret(organization: Organization) -> None:
    with pytest.raises(PolicyError) as caught:
        organization.enroll(acme=None, scep=None, acme_credential=static(SECRET), identity=IdentityPolicy())
    assert not leaks(caught.value, SECRET)
