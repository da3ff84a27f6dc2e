"""What fails on the device-facing side tells no secret, also not one who prints tracebacks with locals."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.enrollment.conftest import ACME, ADA, LEGACY, MDM, MODERN, SCEP, Desk
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


def full_disk(desk: Desk, call: str) -> None:
    setattr(desk.store, call, fail)


@pytest.mark.parametrize("kind", ["acme", "scep"])
def test_a_profile_that_cannot_be_stored_tells_no_secret_in_it(desk: Desk, kind: str) -> None:
    full_disk(desk, "save_enrollment")
    options: dict[str, Any] = {f"{kind}_credential": static(SECRET)}
    options["acme" if kind == "scep" else "scep"] = None
    for signer in (desk.signer, None):
        with pytest.raises(StoreError) as caught:
            desk.enroll(signer=signer, **options)
        assert not leaks(caught.value, SECRET)


def test_a_profile_that_breaks_a_rule_tells_no_secret_in_it(desk: Desk) -> None:
    wrong = attrs.evolve(MDM, server_url="ftp://mdm.contoso.example")
    with pytest.raises(ProfileError) as caught:
        desk.enroll(mdm=wrong, acme_credential=static(SECRET))
    assert not leaks(caught.value, SECRET)
    with pytest.raises(ProfileError) as caught:
        desk.enroll(mdm=wrong, acme=None, scep_credential=static(Secret(SECRET)))
    assert not leaks(caught.value, SECRET)


def test_issuers_show_no_secret(desk: Desk) -> None:
    acme, scep = attrs.evolve(ACME, client_identifier=SECRET), attrs.evolve(SCEP, challenge=SECRET)
    assert acme.client_identifier == scep.challenge == Secret(SECRET)
    assert (
        SECRET not in f"{acme}{scep}{Credential(secret=SECRET)}{BetaProgram(description='a', token=SECRET)}"
    )


def test_a_password_that_a_failing_hook_got_is_not_told(desk: Desk) -> None:
    got: list[str] = []

    def verify(name: str, password: str) -> User | None:
        got.append(password)
        del name, password
        raise RuntimeError("the directory does not answer")

    desk.store.set_default_profile("hq", LEGACY)
    with pytest.raises(RuntimeError) as caught:
        desk.enroll(authorization=BASIC, authenticate=verify)
    assert got == [SECRET]
    assert not leaks(caught.value, SECRET, BASIC[6:])


@pytest.mark.parametrize("call", ["save_enrollment", "records_of"])
def test_a_password_is_not_told_by_a_store_that_fails(desk: Desk, call: str) -> None:
    desk.store.set_default_profile("hq", LEGACY)
    full_disk(desk, call)
    authenticate: Callable[[str, str], User | None] = lambda _name, _password: ADA  # noqa: E731
    with pytest.raises(StoreError) as caught:
        desk.enroll(authorization=BASIC, authenticate=authenticate)
    assert not leaks(caught.value, SECRET, BASIC[6:])


def test_a_sign_in_that_cannot_be_kept_tells_neither_its_state_nor_its_address(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    for call in ("save_one_time", "add_audit"):
        real = getattr(desk.store, call)
        full_disk(desk, call)
        with pytest.raises(StoreError) as caught:
            desk.open()
        assert not leaks(caught.value, desk.identity.states[-1])
        setattr(desk.store, call, real)
    answer = desk.open()
    assert answer.headers["Location"].endswith(desk.identity.states[-1])
    assert desk.identity.states[-1] not in repr(answer)


def test_a_state_that_comes_back_to_a_store_that_fails_is_not_told(desk: Desk) -> None:
    desk.store.set_default_profile("hq", MODERN)
    full_disk(desk, "take_one_time")
    with pytest.raises(StoreError) as caught:
        desk.close(SECRET)
    assert not leaks(caught.value, SECRET)
    with pytest.raises(PolicyError) as refused:
        desk.close(SECRET, User(upn=""))
    assert not leaks(refused.value, SECRET)


def test_an_address_that_is_refused_does_not_tell_its_state(desk: Desk) -> None:
    class Wrong:
        def begin(self, state: str, machine: object) -> str:
            return f"http://login.contoso.example/{state}{SECRET}"

    desk.store.set_default_profile("hq", MODERN)
    with pytest.raises(PolicyError, match="https") as caught:
        desk.open(sign_in=Wrong())
    assert not leaks(caught.value, SECRET)


def test_the_token_of_a_beta_program_is_not_told(desk: Desk) -> None:
    program = BetaProgram(description="Seed", token=SECRET)
    updates = SoftwareUpdatePolicy(minimum="26.1", beta_program=program)
    words: dict[str, Any] = {
        "OS_VERSION": "15.0",
        "VERSION": "24A335",
        "MDM_CAN_REQUEST_SOFTWARE_UPDATE": True,
    }
    full_disk(desk, "add_audit")
    with pytest.raises(StoreError) as caught:
        desk.enroll(desk.signed(**words), updates=updates)
    assert not leaks(caught.value, SECRET)


def test_a_request_that_is_not_redeemed_tells_no_challenge(desk: Desk, tmp_path: Path) -> None:
    request = request_for(tmp_path, SECRET)
    assert SECRET.encode() in request
    full_disk(desk, "redeem_one_time")
    with pytest.raises(StoreError) as caught:
        redeem_scep_request(desk.store, request, now=desk.clock())
    assert not leaks(caught.value, SECRET)
    with pytest.raises(StoreError) as caught:
        redeem_client_identifier(desk.store, SECRET, now=desk.clock())
    assert not leaks(caught.value, SECRET)
    with pytest.raises(TrustError) as refused:
        redeem_scep_request(desk.store, request[:40] + b"!" + request[41:], now=desk.clock())
    assert not leaks(refused.value, SECRET)
    assert refused.value.__context__ is None


def test_a_command_with_a_password_hash_is_not_told(desk: Desk) -> None:
    account = AdministratorAccount("admin", password_hash=SECRET.encode())
    with pytest.raises(ProfileError) as caught:
        EnrollmentProfile(name="", url="https://a.example", administrator=account)
    assert not leaks(caught.value, SECRET)


def test_a_policy_without_an_issuer_tells_no_secret(desk: Desk) -> None:
    with pytest.raises(PolicyError) as caught:
        desk.enroll(acme=None, scep=None, acme_credential=static(SECRET), identity=IdentityPolicy())
    assert not leaks(caught.value, SECRET)
