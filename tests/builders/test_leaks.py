"""Errors while a document is read or made hold no secret, not even in the locals of their frames."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.leaks import leaks

from pyade.builders.commands import build_account_configuration
from pyade.builders.error_bodies import build_update_required
from pyade.builders.intune import IntuneExport, OwnSettings, profile_from_intune, read_intune
from pyade.core.macos.updates import BetaProgram, UpdateDecision, UpdateOutcome
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.accounts import AdministratorAccount
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import Secret
from pyade.errors import IntuneError, ProfileError

SECRET = "hunter2hunter2"
OWN = OwnSettings(url="https://mdm.contoso.example/enroll")
BODY: dict[str, Any] = {
    "@odata.type": "#microsoft.graph.depMacOSEnrollmentProfile",
    "displayName": "Standard Mac",
    "adminAccountUserName": "admin",
    "adminAccountPassword": SECRET,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"displayName": 5},
        {"displayName": ""},
        {"@odata.type": "#microsoft.graph.depIOSEnrollmentProfile"},
        {"adminAccountUserName": "root"},
        {"setPrimarySetupAccountAsRegularUser": "yes"},
    ],
    ids=str,
)
def test_the_error_for_a_profile_of_intune_holds_no_password(changes: dict[str, Any]) -> None:
    with pytest.raises(IntuneError) as caught:
        profile_from_intune({**BODY, **changes}, OWN)
    assert not leaks(caught.value, SECRET)


@pytest.mark.parametrize("name", ["adminAccountPassword"])
def test_the_error_for_an_export_holds_no_password(name: str) -> None:
    text = json.dumps({"value": [BODY, [{"value": [{**BODY, "inner": {name: SECRET}}, 5]}]]})
    sources: list[object] = [
        text,
        text.encode(),
        text.encode("utf-16"),
        json.loads(text),
        text[:-2],
        text + "}",
    ]
    for source in sources:
        with pytest.raises(IntuneError) as caught:
            read_intune(source, OWN)
        assert not leaks(caught.value, SECRET), source
        assert caught.value.__context__ is None
    with pytest.raises(IntuneError, match="at most 10 bytes") as caught:
        read_intune(text, OWN, max_bytes=10)
    assert not leaks(caught.value, SECRET)


def test_a_password_of_an_export_is_a_secret_and_the_export_stays_as_it_is() -> None:
    document = {"value": [BODY]}
    (found,) = read_intune(document, OWN).profiles
    assert found.administrator_password == Secret(SECRET)
    assert SECRET not in repr(found)
    assert document == {"value": [BODY]}
    assert repr(document["value"][0]["adminAccountPassword"]) == repr(SECRET)


def test_the_error_for_a_command_does_not_hold_the_hash() -> None:
    profile = EnrollmentProfile(
        name="a",
        url="https://mdm.contoso.example/enroll",
        administrator=AdministratorAccount("admin", password_hash=SECRET.encode()),
    )
    with pytest.raises(ProfileError) as caught:
        build_account_configuration(profile, command_uuid="", version=None)
    assert not leaks(caught.value, SECRET)


def test_the_error_for_a_required_update_does_not_hold_the_token() -> None:
    decision = UpdateDecision(
        outcome=UpdateOutcome.UPDATE,
        reason="old",
        version=MacOSVersion(26),
        build="!",
        beta_program=BetaProgram(description="Seed", token=SECRET),
    )
    with pytest.raises(ProfileError) as caught:
        build_update_required(decision)
    assert not leaks(caught.value, SECRET)


def test_the_error_for_an_export_without_a_json_form_holds_nothing_of_its_body() -> None:
    for value in ("\ud800", object(), float("nan")):
        with pytest.raises(IntuneError) as caught:
            IntuneExport(body={"name": value}).to_json()
        assert caught.value.__cause__ is caught.value.__context__ is None
