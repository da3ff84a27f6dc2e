"""The bodies of a 403: what Apple's schema wants in them, and what never gets into one."""

from __future__ import annotations

import json
import plistlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.builders.commands import check_account_configuration
from pyade.builders.error_bodies import (
    ErrorBody,
    build_platform_sso_required,
    build_update_required,
    check_error_body,
)
from pyade.core.macos.updates import (
    BetaProgram,
    Latest,
    SoftwareUpdatePolicy,
    UpdateCatalogue,
    UpdateDecision,
    UpdateOutcome,
    decide_update,
)
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Severity
from pyade.errors import ProfileError

if TYPE_CHECKING:
    from tests.builders.conftest import DocumentViolations

UPDATE = UpdateDecision(
    outcome=UpdateOutcome.UPDATE, reason="macOS 14.1 is below 15.7", version=MacOSVersion(15, 7)
)
BETA = BetaProgram(description="macOS 26 AppleSeed", token="seed-s3cret")
SSO: dict[str, Any] = {
    "profile_url": "https://mdm.contoso.com/sso.mobileconfig",
    "manifest_url": "https://mdm.contoso.com/sso.plist",
    "auth_url": "https://login.contoso.com/start",
}


def document(answer: ErrorBody) -> dict[str, Any]:
    assert answer.status == 403
    if answer.content_type == "application/xml":
        content: dict[str, Any] = plistlib.loads(answer.body, fmt=plistlib.FMT_XML)
    else:
        assert answer.content_type == "application/json"
        content = json.loads(answer.body.decode("utf-8"))
    assert content["code"] == answer.code
    assert [p for p in check_error_body(content) if p.severity is Severity.ERROR] == []
    return content


@each("version", ["14.0", "14.3", "14.4.1", "14.5", "15.4", "26.0", "27.0"])
@each(
    "policy",
    [
        SoftwareUpdatePolicy(minimum="27.1"),
        SoftwareUpdatePolicy(minimum="27.1 (a)", build="26B771240a"),
        SoftwareUpdatePolicy(minimum="27.1", build="26B5031i", beta_program=BETA),
        SoftwareUpdatePolicy(latest=Latest.ANY),
        SoftwareUpdatePolicy(latest=Latest.SAME_MAJOR),
    ],
)
def test_every_decision_to_update_makes_what_the_schema_allows(
    policy: SoftwareUpdatePolicy, version: str, document_violations: DocumentViolations
) -> None:
    """On each macOS that understands the code, with and without a catalogue."""
    release = MacOSVersion.parse(version)
    offers = [
        {"ProductVersion": offer, "Build": build, "SupportedDevices": ["J413AP"]}
        for offer, build in (("14.9", "23J1"), ("15.9", "24J1"), ("26.9", "25J1"), ("27.9", "26J1"))
    ]
    catalogue = UpdateCatalogue.from_pmv({"PublicAssetSets": {"macOS": offers}})
    for known in (catalogue, None):
        decision = decide_update(
            policy,
            version=release,
            build="23A344",
            can_request=True,
            now=datetime(2026, 1, 1, tzinfo=UTC),
            device_id="J413AP",
            catalogue=known,
        )
        if decision.outcome is not UpdateOutcome.UPDATE:
            assert known is None or policy.build
            continue
        content = document(build_update_required(decision))
        assert document_violations("mdm/errors/softwareupdate.required", content, release) == []
        assert content["details"]["OSVersion"] == str(decision.version)


def test_an_update_in_full() -> None:
    """Lower case at the top, Apple's spelling in the details; letters beyond ASCII as they are."""
    decision = attrs.evolve(UPDATE, build="24G222", beta_program=BETA)
    answer = build_update_required(decision, description="too old", message="Bitte zuerst aktualisieren: ü")
    assert document(answer) == {
        "code": "com.apple.softwareupdate.required",
        "description": "too old",
        "message": "Bitte zuerst aktualisieren: ü",
        "details": {
            "OSVersion": "15.7",
            "BuildVersion": "24G222",
            "RequireBetaProgram": {"Description": "macOS 26 AppleSeed", "Token": "seed-s3cret"},
        },
    }
    assert "s3cret" not in repr(answer)


def test_the_reason_of_the_decision_goes_to_the_macs_log() -> None:
    """Unless something else does."""
    assert document(build_update_required(UPDATE))["description"] == UPDATE.reason


def test_a_decision_that_asks_for_nothing_has_no_body() -> None:
    """The Mac enrolls."""
    decision = UpdateDecision(outcome=UpdateOutcome.ENROLL, reason="macOS 26.1 is 15.7 or later")
    with pytest.raises(ProfileError, match="a decision to update"):
        build_update_required(decision)


@pytest.mark.parametrize(
    "program", [BetaProgram(description="", token="s3cret"), BetaProgram(description="x", token="")]
)
def test_a_beta_program_has_both_keys(program: BetaProgram) -> None:
    """Apple wants both, and the token is not shown."""
    with pytest.raises(ProfileError, match="RequireBetaProgram") as caught:
        build_update_required(attrs.evolve(UPDATE, beta_program=program))
    assert "s3cret" not in str(caught.value)


def test_platform_sso_in_full() -> None:
    """Three addresses, and no pinning unless it is wanted."""
    answer = build_platform_sso_required(**SSO, message="Sign in first")
    assert document(answer) == {
        "code": "com.apple.psso.required",
        "message": "Sign in first",
        "details": {
            "ProfileURL": "https://mdm.contoso.com/sso.mobileconfig",
            "Package": {"ManifestURL": "https://mdm.contoso.com/sso.plist"},
            "AuthURL": "https://login.contoso.com/start",
        },
    }


def test_pinned_certificates_make_it_a_property_list(root_der: bytes) -> None:
    """Apple wants data, which JSON does not have."""
    both: tuple[bytes | list[bytes], ...] = (root_der, [root_der])
    for pins in both:
        answer = build_platform_sso_required(
            **SSO, pinned_certificates=pins, pinning_needs_revocation_check=True
        )
        assert answer.content_type == "application/xml"
        assert document(answer)["details"]["Package"] == {
            "ManifestURL": "https://mdm.contoso.com/sso.plist",
            "PinningCerts": [root_der],
            "PinningRevocationCheckRequired": True,
        }


@each(
    ("change", "setting"),
    [
        ({"profile_url": "http://mdm.contoso.com/sso"}, "details.ProfileURL"),
        ({"auth_url": "login.contoso.com"}, "details.AuthURL"),
        ({"auth_url": "https://user:hunter2@login.contoso.com"}, "details.AuthURL"),
        ({"manifest_url": ""}, "details.Package.ManifestURL"),
        ({"manifest_url": None}, "details.Package.ManifestURL"),
        ({"pinned_certificates": [b"PEM"]}, "details.Package.PinningCerts"),
        ({"pinned_certificates": ["PEM"]}, "details.Package.PinningCerts"),
        ({"message": "a\x00b"}, "message"),
        ({"description": "\ud800"}, "description"),
    ],
)
def test_what_a_mac_would_not_take_is_refused(change: dict[str, Any], setting: str) -> None:
    """By the name that Apple gives it, without secrets."""
    with pytest.raises(ProfileError) as caught:
        build_platform_sso_required(**{**SSO, **change})
    assert [problem.setting for problem in caught.value.problems] == [setting]
    assert "hunter2" not in str(caught.value)


@each(
    ("body", "settings"),
    [
        ({}, {"code", "details"}),
        ({"Code": "x", "Details": {}}, {"code", "details", "Code", "Details"}),
        ({"code": "com.apple.unheard", "details": {}}, {"code"}),
        ({"code": "com.apple.softwareupdate.required", "details": {}}, {"details.OSVersion"}),
        (
            {
                "code": "com.apple.softwareupdate.required",
                "details": {"OSVersion": "Tahoe", "BuildVersion": "new", "RequireBetaProgram": {}},
            },
            {
                "details.OSVersion",
                "details.BuildVersion",
                "details.RequireBetaProgram.Description",
                "details.RequireBetaProgram.Token",
            },
        ),
        (
            {"code": "com.apple.psso.required", "details": {}},
            {"details.ProfileURL", "details.Package", "details.AuthURL"},
        ),
    ],
)
def test_the_body_of_another_program_is_checked_too(body: dict[str, Any], settings: set[str]) -> None:
    """Capitalised keys among it, which an early sample of Apple's had."""
    found = {problem.setting for problem in check_error_body(body) if problem.severity is Severity.ERROR}
    assert found == settings


def test_a_key_that_is_no_text_is_a_problem() -> None:
    assert {problem.setting for problem in check_error_body({1: 2})} == {"1", "code", "details"}  # type: ignore[dict-item]


@pytest.mark.parametrize("check", [check_error_body, check_account_configuration])
def test_what_is_no_dictionary_is_a_problem_too(check: Any) -> None:
    """Whatever a file held."""
    [problem] = check([])
    assert (problem.value, problem.allowed) == ("list", "a dictionary")


@given(text=st.text(max_size=40))
def test_any_text_is_sent_as_it_is_or_refused(text: str) -> None:
    """What an administrator wrote never breaks the body."""
    try:
        answer = build_update_required(UPDATE, message=text)
    except ProfileError:
        return
    assert document(answer).get("message", "") == text
