"""Which macOS a Mac must install before it enrolls, and when it may enroll as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

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
from pyade.errors import PolicyError, VersionError

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
AIR, MINI = "J413AP", "J473AP"
BETA = BetaProgram(description="macOS 26 AppleSeed", token="seed-s3cret")


def entry(version: str, build: str, *devices: str, **more: str) -> dict[str, Any]:
    return {
        "ProductVersion": version,
        "Build": build,
        "PostingDate": "2025-12-01",
        "ExpirationDate": "2026-06-01",
        "SupportedDevices": list(devices),
        **more,
    }


PMV: dict[str, Any] = {
    "PublicAssetSets": {
        "iOS": [entry("99.0", "99A1", AIR)],
        "macOS": [
            entry("26.2", "25C56", AIR),
            entry("26.1", "25B78", AIR, MINI, ExpirationDate="2026-01-31"),
            entry("15.7.3", "24G419", AIR, MINI),
            entry("14.8.3", "23J220", AIR, MINI, ExpirationDate="2026-02-01"),
        ],
        "visionOS": None,
    },
    "AssetSets": {"macOS": [entry("26.2", "25C56", AIR), entry("15.7.2", "24G325", AIR, MINI)]},
    "PublicBackgroundSecurityImprovements": {
        "macOS": [
            entry("26.2", "25C771230a", AIR, ProductVersionExtra="(a)", PrerequisiteBuild="25C56"),
            entry("26.2", "25C771240b", AIR, ProductVersionExtra="(b)", PrerequisiteBuild="25C56"),
        ]
    },
    "SomethingNew": {"macOS": [entry("99.0", "99A1", AIR)]},
}
CATALOGUE = UpdateCatalogue.from_pmv(PMV)


def decided(
    policy: SoftwareUpdatePolicy | None, version: str | None, build: str = "", **mac: Any
) -> UpdateDecision:
    given: dict[str, Any] = {"can_request": True, "device_id": AIR, "catalogue": CATALOGUE, "now": NOW, **mac}
    release = None if version is None else MacOSVersion.parse(version)
    return decide_update(policy, version=release, build=build, **given)


def asked_for(decision: UpdateDecision) -> str:
    """Return version and build in one text, or the outcome where nothing is asked for."""
    if decision.outcome is not UpdateOutcome.UPDATE:
        assert (decision.version, decision.build, decision.beta_program) == (None, "", None)
        return str(decision.outcome)
    return f"{decision.version} {decision.build}".strip()


def at_least(version: str, **more: Any) -> SoftwareUpdatePolicy:
    return SoftwareUpdatePolicy(minimum=version, **more)


@each(
    ("minimum", "version", "build", "wanted"),
    [
        # What it has is enough, letters included; never compared as text.
        ("15.7.3", "15.7.3", "24G419", "enroll"),
        ("15.7", "26.0", "25A354", "enroll"),
        ("26.2 (a)", "26.2 (b)", "25C771240b", "enroll"),
        ("26.2", "26.2 (a)", "25C771230a", "enroll"),
        # The lowest version that will do, of those that are offered.
        ("15.7.3", "15.6", "24G84", "15.7.3"),
        ("15.7.1", "15.6", "24G84", "15.7.2"),
        ("15.4", "14.8", "23J21", "15.7.3"),
        ("26.0", "15.6", "24G84", "26.2"),
        ("14.8", "14.6", "23G80", "14.8.3"),
        # Nothing that will do is offered.
        ("27.0", "26.2", "25C56", "enroll"),
        # Improvements only for the build that they improve, and else that build first.
        ("26.2 (a)", "26.2", "25C56", "26.2 (a) 25C771230a"),
        ("26.2 (b)", "26.2", "25C56", "26.2 (b) 25C771240b"),
        ("26.2 (b)", "26.2 (a)", "25C771230a", "enroll"),
        ("26.2 (a)", "26.1", "25B78", "26.2"),
        ("26.2 (a)", "15.6", "24G84", "26.2"),
    ],
)
def test_a_fixed_minimum(minimum: str, version: str, build: str, wanted: str) -> None:
    """Against what is offered to that Mac."""
    assert asked_for(decided(at_least(minimum), version, build)) == wanted


@each(
    ("latest", "version", "build", "device_id", "wanted"),
    [
        (Latest.ANY, "15.6", "24G84", AIR, "26.2"),
        (Latest.ANY, "15.6", "24G84", MINI, "15.7.3"),
        (Latest.ANY, "26.2", "25C56", AIR, "26.2 (b) 25C771240b"),
        (Latest.ANY, "26.2 (b)", "25C771240b", AIR, "enroll"),
        (Latest.ANY, "26.3", "25D100", AIR, "enroll"),
        (Latest.SAME_MAJOR, "15.6", "24G84", AIR, "15.7.3"),
        (Latest.SAME_MAJOR, "14.6", "23G80", AIR, "14.8.3"),
        (Latest.SAME_MAJOR, "13.7", "22H123", AIR, "enroll"),
        (Latest.ANY, "15.6", "24G84", "J999AP", "enroll"),
        (Latest.ANY, "15.6", "24G84", "", "enroll"),
    ],
)
def test_the_latest(latest: Latest, version: str, build: str, device_id: str, wanted: str) -> None:
    """Of all, or of the major version that the Mac has; without an id it is unknown."""
    policy = SoftwareUpdatePolicy(latest=latest)
    assert asked_for(decided(policy, version, build, device_id=device_id)) == wanted


def test_what_expired_is_not_asked_for() -> None:
    """Its last day still counts."""
    policy = SoftwareUpdatePolicy(latest=Latest.SAME_MAJOR)
    tomorrow = NOW + timedelta(days=1)
    assert asked_for(decided(policy, "14.6", "23G80")) == "14.8.3"
    assert asked_for(decided(policy, "14.6", "23G80", now=tomorrow)) == "enroll"


def test_releases_that_are_not_public_need_macos_15() -> None:
    """Apple's lookup service says so."""
    assert asked_for(decided(at_least("15.7.1"), "14.8", "23J21")) == "15.7.3"
    assert asked_for(decided(at_least("15.7.1"), "15.0", "24A335")) == "15.7.2"


@pytest.mark.parametrize("policy", [at_least("26.2"), SoftwareUpdatePolicy(latest=Latest.ANY)])
def test_only_a_mac_that_can_update_must_update(policy: SoftwareUpdatePolicy) -> None:
    """All others enroll: macOS 13 would show an error, an enrolled Mac has no such screen."""
    decision = decided(policy, "15.6", "24G84", can_request=False)
    assert decision.outcome is UpdateOutcome.ENROLL
    assert "does not say that it can update" in decision.reason


@each(
    "mac",
    [{"can_request": False}, {"device_id": "J999AP"}, {"catalogue": UpdateCatalogue(updates=())}],
)
def test_a_policy_may_refuse_what_cannot_update(mac: dict[str, Any]) -> None:
    """Only below its minimum, and with the reason."""
    policy = at_least("26.2", refuse_older=True)
    decision = decided(policy, "15.6", "24G84", **mac)
    assert decision.outcome is UpdateOutcome.REFUSE
    assert decision.reason.startswith("macOS 15.6 is below the required 26.2, and ")
    assert decided(policy, "26.2", "25C56", **mac).outcome is UpdateOutcome.ENROLL


@pytest.mark.parametrize("mac", [{"catalogue": None}, {"device_id": ""}])
def test_without_a_catalogue_or_an_id_a_fixed_version_is_asked_for(mac: dict[str, Any]) -> None:
    """And the latest is not known."""
    assert asked_for(decided(at_least("15.4"), "14.1", "23B74", **mac)) == "15.4"
    assert asked_for(decided(SoftwareUpdatePolicy(latest=Latest.ANY), "14.1", "23B74", **mac)) == "enroll"


def test_before_15_an_improvement_takes_two_steps() -> None:
    """First the version that it improves; from 15 on macOS installs both together."""
    policy = at_least("14.2 (a)", build="23C771")
    assert asked_for(decided(policy, "14.1", "23B74", catalogue=None)) == "14.2"
    assert asked_for(decided(policy, "14.2", "23C64", catalogue=None)) == "14.2 (a) 23C771"
    assert asked_for(decided(at_least("15.2 (a)"), "15.1", "24B83", catalogue=None)) == "15.2 (a)"


def test_a_required_build_is_asked_for_where_it_is_offered() -> None:
    """One improvement among several; a build that is not offered would leave the Mac stuck."""
    policy = at_least("26.2 (a)", build="25C771240b")
    assert asked_for(decided(policy, "26.2", "25C56")) == "26.2 (b) 25C771240b"
    assert asked_for(decided(at_least("15.7.3", build="24G419"), "15.6", "24G84")) == "15.7.3 24G419"
    assert asked_for(decided(at_least("15.7.3", build="24G999"), "15.6", "24G84")) == "enroll"


@each(
    ("build", "required", "wanted"),
    [
        ("25C5031i", "25C5045d", True),
        ("25C5045d", "25C5031i", False),
        ("25C5045d", "25C5045d", False),
        ("25C5045d", "25C56", True),
        ("25C56", "25C5045d", False),
        ("25C56", "25C57", True),
        ("unreadable", "25C57", False),
    ],
)
def test_between_builds_of_one_version_the_older_must_update(build: str, required: str, wanted: bool) -> None:
    """A beta comes before its release, although its number is higher."""
    policy = at_least("26.2", build=required, beta_program=BETA)
    decision = decided(policy, "26.2", build)
    assert asked_for(decision) == (f"26.2 {required}" if wanted else "enroll")


def test_a_beta_names_its_program_and_needs_14_5() -> None:
    """The public catalogue does not know it, and older Macs cannot join."""
    policy = at_least("26.4", beta_program=BETA)
    decision = decided(policy, "26.2", "25C56")
    assert (decision.outcome, decision.beta_program) == (UpdateOutcome.UPDATE, BETA)
    assert asked_for(decided(policy, "14.4.1", "23E224")) == "enroll"
    assert decided(policy, "14.5", "23F79").outcome is UpdateOutcome.UPDATE


def test_the_token_of_a_beta_program_is_not_shown() -> None:
    """In none of the objects that hold it."""
    policy = at_least("26.4", beta_program=BETA)
    decision = decided(policy, "26.2", "25C56")
    assert "s3cret" not in f"{policy!r} {decision!r} {decision} {BETA}"


def test_a_mandatory_update_is_in_the_reason_if_no_update_is_required() -> None:
    """Where something is, the Mac takes that version."""
    policy = at_least("26.2")
    assert "mandatory" in decided(policy, "26.2", "25C56", is_mandatory=True).reason
    assert "mandatory" in decided(None, "26.1", "25B78", is_mandatory=True).reason
    assert asked_for(decided(policy, "26.1", "25B78", is_mandatory=True)) == "26.2"
    newest = SoftwareUpdatePolicy(latest=Latest.ANY)
    assert asked_for(decided(newest, "26.1", "25B78", is_mandatory=True)) == "26.2"


def test_an_unreadable_version_enrolls() -> None:
    """There is nothing to compare."""
    assert decided(at_least("26.2"), None).outcome is UpdateOutcome.ENROLL


def test_a_decision_reads_as_a_sentence() -> None:
    """For logs and for administrators."""
    assert str(decided(at_least("15.7"), "15.6", "24G84")) == (
        "update to 15.7.2: macOS 15.6 is below the required 15.7"
    )
    assert str(decided(at_least("15.7"), "26.0")) == "enroll: macOS 26.0 is 15.7 or later"


@each(
    ("settings", "reason"),
    [
        ({}, "exactly one of them"),
        ({"minimum": "15", "latest": Latest.ANY}, "exactly one of them"),
        ({"latest": Latest.ANY, "build": "25C56"}, "build: it belongs to a minimum"),
        ({"latest": Latest.ANY, "beta_program": BETA}, "beta_program: it belongs to a minimum"),
        ({"latest": Latest.ANY, "refuse_older": True}, "refuse_older: it belongs to a minimum"),
        ({"minimum": "15", "build": "fifteen"}, "build 'fifteen'"),
        ({"minimum": "15", "beta_program": BetaProgram(description="x", token=" ")}, "both needed"),
        ({"minimum": "15", "beta_program": BetaProgram(description="", token="s3cret")}, "both needed"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(settings: dict[str, Any], reason: str) -> None:
    """When it is made."""
    with pytest.raises(PolicyError, match=reason) as caught:
        SoftwareUpdatePolicy(**settings)
    assert "s3cret" not in str(caught.value)


def test_a_minimum_is_a_version() -> None:
    """Or it says what is allowed."""
    with pytest.raises(VersionError):
        at_least("Tahoe")


def test_a_time_has_a_zone() -> None:
    """Releases expire by the day in UTC."""
    with pytest.raises(PolicyError, match="time zone"):
        decided(at_least("15"), "14.1", now=NOW.replace(tzinfo=None))


def test_the_catalogue_keeps_what_it_can_read() -> None:
    """One unreadable entry does not hide the others, and is reported."""
    document = {
        "PublicAssetSets": {
            "macOS": [
                entry("26.2", "25C56", AIR, Surprise="x"),
                {"ProductVersion": "26.1"},
                entry("Tahoe", "25C56", AIR),
                entry("26.1", "25B78", AIR, ExpirationDate="soon"),
                entry("26.1", "25B78", ProductVersionExtra="(aa)"),
                "26.3",
                {**entry("26.3", "25D1"), "SupportedDevices": "J413AP"},
                {**entry("26.3", "25D1", AIR), "ExpirationDate": None},
            ]
        },
        "AssetSets": {"macOS": {}},
        "PublicBackgroundSecurityImprovements": [],
    }
    catalogue = UpdateCatalogue.from_pmv(document)
    assert [str(update.version) for update in catalogue.updates] == ["26.2", "26.3"]
    assert [problem.setting for problem in catalogue.problems] == [
        f"PublicAssetSets.macOS[{index}]" for index in range(1, 7)
    ]


@each("document", [None, [], "{}", {}, {"error": "busy"}])
def test_what_is_no_catalogue_is_a_typed_error(document: Any) -> None:
    """An error page must not look like a catalogue in which nothing is offered."""
    with pytest.raises(PolicyError, match=r"gdmf\.apple\.com"):
        UpdateCatalogue.from_pmv(document)


VERSIONS = st.builds(
    MacOSVersion,
    st.sampled_from([14, 15, 26]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from(["", "a"]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(document=st.dictionaries(st.sampled_from(list(PMV)), st.dictionaries(st.just("macOS"), JSON) | JSON))
def test_any_json_is_a_catalogue_or_a_typed_error(document: dict[str, Any]) -> None:
    """It is untrusted input."""
    if document.keys() - {"SomethingNew"}:
        assert isinstance(UpdateCatalogue.from_pmv(document), UpdateCatalogue)


@given(
    version=VERSIONS,
    minimum=VERSIONS,
    offers=st.lists(st.tuples(VERSIONS, st.sampled_from([AIR, MINI])), max_size=6),
    latest=st.none() | st.sampled_from(Latest),
    can_request=st.booleans(),
    refuse_older=st.booleans(),
)
def test_a_required_update_is_newer_offered_and_sufficient(
    version: MacOSVersion,
    minimum: MacOSVersion,
    offers: list[tuple[MacOSVersion, str]],
    latest: Latest | None,
    can_request: bool,
    refuse_older: bool,
) -> None:
    """Whatever the policy; and after the update the Mac is closer to the required version, or has it."""
    entries = [
        entry(str(offer).split(" ")[0], "25C56", device)
        | ({"ProductVersionExtra": f"({offer.supplement})"} if offer.supplement else {})
        for offer, device in offers
    ]
    catalogue = UpdateCatalogue.from_pmv({"PublicAssetSets": {"macOS": entries}})
    policy = (
        SoftwareUpdatePolicy(latest=latest)
        if latest
        else SoftwareUpdatePolicy(minimum=minimum, refuse_older=refuse_older)
    )
    decision = decide_update(
        policy,
        version=version,
        build="24A1",
        device_id=AIR,
        can_request=can_request,
        catalogue=catalogue,
        now=NOW,
    )
    mine = [offer for offer, device in offers if device == AIR and offer > version]
    if decision.outcome is UpdateOutcome.UPDATE:
        assert can_request
        assert decision.version in mine
        assert latest is None or decision.version == max(
            offer for offer in mine if latest is Latest.ANY or offer.major == version.major
        )
        if latest is None:
            enough = [offer for offer in mine if offer >= minimum]
            assert decision.version == (min(enough) if enough else MacOSVersion(*minimum_numbers(minimum)))
    elif decision.outcome is UpdateOutcome.REFUSE:
        assert refuse_older
        assert version < minimum
    else:
        enough = [offer for offer in mine if latest or offer >= minimum]
        if latest is Latest.SAME_MAJOR:
            enough = [offer for offer in enough if offer.major == version.major]
        assert not can_request or not enough or (latest is None and version >= minimum)


def minimum_numbers(version: MacOSVersion) -> tuple[int, int, int]:
    return version.major, version.minor, version.patch
