"""The commands at the end of Setup Assistant: what they hold on each macOS, and what is refused."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.builders.commands import (
    build_account_configuration,
    build_device_configured,
    check_account_configuration,
)
from pyade.core.macos.models import ChipClass
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Severity
from pyade.core.profile.accounts import AdministratorAccount, NameVariables, PrimaryAccount, User
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.crypto.password_hash import hash_password
from pyade.errors import ProfileError

if TYPE_CHECKING:
    from tests.builders.conftest import DocumentViolations

VERSIONS = ("10.11", "10.14.6", "10.15", "11.0", "12.7", "13.1", "14.0", "15.4", "26.0", "27.0", None)
HASH = hash_password("correct horse", salt=bytes(32), iterations=20_000)
ADMIN = AdministratorAccount("localadmin", "Local Admin", hidden=True, password_hash=HASH)
PREFILLED = PrimaryAccount("{{partialupn}}", "{{username}}")
NAMES = NameVariables(user=User(upn="ada@contoso.com", full_name="Ada Lovelace"))
ADMINS = [{"shortName": "localadmin", "hidden": False, "passwordHash": HASH}]


def profile_with(
    primary: PrimaryAccount | None = None, admin: AdministratorAccount | None = None, **settings: Any
) -> EnrollmentProfile:
    return EnrollmentProfile(
        name="Standard Mac",
        url="https://mdm.contoso.com/enroll",
        user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
        primary_account=primary,
        administrator=admin,
        **settings,
    )


def command_for(profile: EnrollmentProfile, **settings: Any) -> dict[str, Any] | None:
    given: dict[str, Any] = {"command_uuid": "C-1", "names": NAMES, **settings}
    data = build_account_configuration(profile, **given)
    if data is None:
        return None
    plist = plistlib.loads(data, fmt=plistlib.FMT_XML)
    assert plist.keys() == {"Command", "CommandUUID"}
    command: dict[str, Any] = plist["Command"]
    assert command.pop("RequestType") == "AccountConfiguration"
    return command


def problems(command: dict[str, Any], **about: Any) -> dict[str, Severity]:
    """Return the settings in question, with how much each matters."""
    problems = check_account_configuration({"RequestType": "AccountConfiguration", **command}, **about)
    return {problem.setting.removeprefix("AccountConfiguration."): problem.severity for problem in problems}


@each("version", VERSIONS)
@each("admin", [None, ADMIN, attrs.evolve(ADMIN, full_name="", password_hash=b"")])
@each(
    "primary",
    [
        None,
        PREFILLED,
        attrs.evolve(PREFILLED, restrict_editing=False),
        PrimaryAccount("{{partialupn}}"),
        PrimaryAccount("", "{{username}}"),
        PrimaryAccount(),
    ],
)
def test_every_profile_makes_what_the_schema_allows(
    primary: PrimaryAccount | None,
    admin: AdministratorAccount | None,
    version: str | None,
    document_violations: DocumentViolations,
) -> None:
    """On each macOS, with and without an administrator; nothing a version does not know is sent."""
    release = MacOSVersion.parse(version) if version else None
    knows_prefill = release is None or release >= MacOSVersion(10, 15)
    variants: list[dict[str, Any]] = [{}, {"managed_user": "ada"}, {"requires_network_tether": True}]
    if admin is not None:
        variants.append({"standard_user": True})
    if admin is not None and primary is None:
        variants += [{"skip_primary_account": True}, {"auto_advance": True, "standard_user": True}]
    for variant in variants:
        command = command_for(profile_with(primary, admin, **variant), version=version)
        if command is None:
            managed = "managed_user" in variant and (release is None or release >= MacOSVersion(11))
            assert admin is None
            assert not managed
            assert primary is None or not knows_prefill
            continue
        # In Apple's newest pages, not in the schema that was transcribed.
        in_schema = {key: value for key, value in command.items() if key != TETHER}
        assert document_violations("mdm/commands/account.configuration", in_schema, release) == []
        checked = check_account_configuration(
            {"RequestType": "AccountConfiguration", **command}, version=release
        )
        assert [problem for problem in checked if problem.severity is Severity.ERROR] == []


def test_a_prefilled_and_locked_account() -> None:
    """The variables are replaced; both fields are read-only."""
    assert command_for(profile_with(PREFILLED), version="14.1") == {
        "PrimaryAccountUserName": "ada",
        "PrimaryAccountFullName": "ada@contoso.com",
        "DontAutoPopulatePrimaryAccountInfo": False,
        "LockPrimaryAccountInfo": True,
    }


def test_an_account_that_the_user_types() -> None:
    """Nothing is prefilled, so nothing can be locked."""
    assert command_for(profile_with(PrimaryAccount())) == {"DontAutoPopulatePrimaryAccountInfo": True}


def test_an_administrator_with_its_hash() -> None:
    """The hash goes in as data, byte for byte."""
    assert command_for(profile_with(admin=ADMIN, standard_user=True)) == {
        "AutoSetupAdminAccounts": [
            {"shortName": "localadmin", "fullName": "Local Admin", "hidden": True, "passwordHash": HASH}
        ],
        "SetPrimarySetupAccountAsRegularUser": True,
    }


def test_before_10_15_no_name_is_sent_or_asked_for() -> None:
    """A missing user must not stop a Mac that would not get the name anyway."""
    profile = profile_with(PREFILLED, ADMIN)
    command = command_for(profile, version="10.14", names=None)
    assert command is not None
    assert command.keys() == {"AutoSetupAdminAccounts"}
    assert command_for(profile_with(PREFILLED), version="10.14", names=None) is None


def test_before_10_11_there_is_nothing_to_send() -> None:
    """Neither do such Macs await anything."""
    assert command_for(profile_with(PREFILLED, ADMIN), version="10.10") is None


def test_a_profile_without_account_settings_sends_nothing() -> None:
    """Setup Assistant then makes the account as on any Mac."""
    assert command_for(profile_with()) is None


def test_a_missing_user_is_named() -> None:
    """Not an account that is called {{partialupn}}."""
    with pytest.raises(ProfileError, match=r"primary_account.account_name .*the user's upn"):
        command_for(profile_with(PREFILLED), names=None)


def test_the_hash_itself_is_what_the_schema_allows(document_violations: DocumentViolations) -> None:
    """Its bytes are a property list of their own."""
    assert document_violations("other/passwordhash", plistlib.loads(HASH), MacOSVersion(10, 11)) == []


def test_a_user_with_the_administrators_name_gets_an_account_with_another_name() -> None:
    """Only known once the variable has its value; the user at the Mac types another name."""
    names = NameVariables(user=User(upn="LocalAdmin@contoso.com"), values={"username": "local admin"})
    command = command_for(profile_with(PREFILLED, ADMIN), names=names)
    assert command is not None
    [admin] = command.pop("AutoSetupAdminAccounts")
    assert admin["shortName"] == "localadmin"
    assert command == {MANUAL: True}


@each("settings", [{"skip_primary_account": True}, {"auto_advance": True}])
def test_the_administrator_is_the_only_account_if_no_other_is_created(
    settings: dict[str, Any],
) -> None:
    """If the profile asks for it, or with auto advance; ``standard_user`` then has no effect."""
    for standard in (False, True):
        command = command_for(profile_with(admin=ADMIN, standard_user=standard, **settings))
        assert command is not None
        assert command.keys() == {"AutoSetupAdminAccounts", SKIP}


def test_the_managed_user_may_be_named_by_a_variable_and_needs_11() -> None:
    """A version that does not know the key needs no value; where there is none, the administrator is made."""
    profile = profile_with(admin=ADMIN, managed_user="{{partialupn}}")
    assert (command_for(profile, version="11.0") or {})["ManagedLocalUserShortName"] == "ada"
    for without in ({"version": "10.15"}, {"version": "10.15", "names": None}, {"names": NameVariables()}):
        assert (command_for(profile, **without) or {}).keys() == {"AutoSetupAdminAccounts"}
    alone = profile_with(managed_user="ada")
    assert command_for(alone, version="14.1") == {"ManagedLocalUserShortName": "ada"}
    assert command_for(alone, version="10.15") is None


def test_the_wired_network_is_asked_for_where_accounts_are_made() -> None:
    """Not by a command of its own."""
    assert command_for(profile_with(PREFILLED, requires_network_tether=True), version="10.14") is None
    assert command_for(profile_with(requires_network_tether=True)) is None
    command = command_for(profile_with(admin=ADMIN, requires_network_tether=True), version="10.11")
    assert (command or {})["RequestRequiresNetworkTether"] is True
    assert command_for(profile_with(admin=ADMIN, requires_network_tether=True), version="10.10") is None


def test_accounts_are_created_without_a_broken_hash() -> None:
    """It is not sent; the account's password can be set later, which its making cannot."""
    admin = attrs.evolve(ADMIN, password_hash=b"hunter2")
    command = command_for(profile_with(PREFILLED, admin=admin))
    assert command is not None
    [made] = command["AutoSetupAdminAccounts"]
    assert made == {"shortName": "localadmin", "fullName": "Local Admin", "hidden": True}
    assert command[USER] == "ada"


def test_an_administrator_of_this_macs_own_is_made_in_the_place_of_the_profiles() -> None:
    """And none where the profile has none."""
    own = AdministratorAccount("c02admin", password_hash=HASH)
    command = command_for(profile_with(PREFILLED, ADMIN), administrator=own)
    assert command is not None
    assert command["AutoSetupAdminAccounts"] == [
        {"shortName": "c02admin", "hidden": False, "passwordHash": HASH}
    ]
    assert "AutoSetupAdminAccounts" not in (command_for(profile_with(PREFILLED), administrator=own) or {})


@each("build", [build_device_configured, build_account_configuration])
@each("command_uuid", ["", " ", "a\x00b", "\ud800"])
def test_a_command_needs_a_name(build: Any, command_uuid: str) -> None:
    """The Mac's answer comes back under it."""
    profile = [profile_with(admin=ADMIN)] if build is build_account_configuration else []
    with pytest.raises(ProfileError) as caught:
        build(*profile, command_uuid=command_uuid)
    assert {problem.setting for problem in caught.value.problems} == {"command_uuid"}


@each("version", VERSIONS[:-1])
def test_device_configured_holds_its_name_only(version: str, document_violations: DocumentViolations) -> None:
    """Apple defines no other key."""
    name = uuid.UUID("0c1d2e3f-4a5b-6c7d-8e9f-0a1b2c3d4e5f")
    plist = plistlib.loads(build_device_configured(command_uuid=name))
    assert plist == {
        "CommandUUID": "0C1D2E3F-4A5B-6C7D-8E9F-0A1B2C3D4E5F",
        "Command": {"RequestType": "DeviceConfigured"},
    }
    command = {key: value for key, value in plist["Command"].items() if key != "RequestType"}
    assert document_violations("mdm/commands/device.configured", command, MacOSVersion.parse(version)) == []


ERROR, WARNING = Severity.ERROR, Severity.WARNING
SKIP = "SkipPrimarySetupAccountCreation"
REGULAR = "SetPrimarySetupAccountAsRegularUser"
LOCK = "LockPrimaryAccountInfo"
MANUAL = "DontAutoPopulatePrimaryAccountInfo"
TETHER = "RequestRequiresNetworkTether"
USER, FULL = "PrimaryAccountUserName", "PrimaryAccountFullName"
HASH_KEY = "AutoSetupAdminAccounts.passwordHash"


@each(
    ("command", "found"),
    [
        ({}, {}),
        ({"AutoSetupAdminAccounts": ADMINS}, {}),
        ({SKIP: True}, {SKIP: ERROR}),
        ({SKIP: True, "AutoSetupAdminAccounts": []}, {SKIP: ERROR}),
        ({REGULAR: True}, {REGULAR: ERROR}),
        ({SKIP: False, REGULAR: False}, {}),
        ({SKIP: True, USER: "ada", "AutoSetupAdminAccounts": ADMINS}, {USER: ERROR}),
        ({SKIP: True, FULL: "Ada", "AutoSetupAdminAccounts": ADMINS}, {FULL: ERROR}),
        ({SKIP: True, LOCK: True, "AutoSetupAdminAccounts": ADMINS}, {LOCK: WARNING}),
        ({SKIP: True, REGULAR: True, "AutoSetupAdminAccounts": ADMINS}, {REGULAR: WARNING}),
        ({LOCK: True, MANUAL: True, FULL: "Ada"}, {LOCK: ERROR, FULL: WARNING}),
        ({LOCK: True}, {LOCK: WARNING}),
        ({LOCK: True, USER: "ada"}, {}),
        ({MANUAL: True, USER: "ada", FULL: "Ada"}, {USER: WARNING, FULL: WARNING}),
        ({"AutoSetupAdminAccounts": [*ADMINS, *ADMINS]}, {"AutoSetupAdminAccounts": ERROR}),
        ({"AutoSetupAdminAccounts": ["localadmin"]}, {"AutoSetupAdminAccounts": ERROR}),
        (
            {"AutoSetupAdminAccounts": [{"hidden": False}]},
            {"AutoSetupAdminAccounts.shortName": ERROR, HASH_KEY: WARNING},
        ),
        ({"AutoSetupAdminAccounts": [{**ADMINS[0], "passwordHash": "text"}]}, {HASH_KEY: WARNING}),
        ({"AutoSetupAdminAccounts": [{**ADMINS[0], "passwordHash": b"<plist/>"}]}, {HASH_KEY: ERROR}),
        (
            {SKIP: True, "AutoSetupAdminAccounts": [{**ADMINS[0], "hidden": True}]},
            {"AutoSetupAdminAccounts.hidden": WARNING},
        ),
        ({"ManagedLocalUserShortName": "ada", USER: "ada"}, {}),
        ({"ManagedLocalUserShortName": "localadmin", "AutoSetupAdminAccounts": ADMINS}, {}),
        ({"ManagedLocalUserShortName": "ada"}, {}),
        (
            {"ManagedLocalUserShortName": "ada", "AutoSetupAdminAccounts": ADMINS},
            {"ManagedLocalUserShortName": WARNING},
        ),
        ({TETHER: True, "AutoSetupAdminAccounts": ADMINS}, {}),
        ({TETHER: True, MANUAL: True}, {}),
        ({TETHER: True, "AutoSetupAdminAccounts": []}, {TETHER: WARNING}),
        ({TETHER: False}, {}),
        ({TETHER: "yes"}, {TETHER: ERROR}),
        ({USER: "LocalAdmin", "AutoSetupAdminAccounts": ADMINS}, {USER: ERROR}),
        ({USER: "{{partialupn}}"}, {USER: ERROR}),
        ({USER: "a b"}, {USER: ERROR}),
        ({USER: "Root"}, {USER: ERROR}),
        ({USER: "o'brien"}, {USER: WARNING}),
        ({USER: "Ada"}, {}),
        ({USER: "12345"}, {USER: WARNING}),
        ({FULL: "%username%"}, {FULL: ERROR}),
        ({FULL: "a:b"}, {FULL: ERROR}),
        ({FULL: 7}, {FULL: ERROR}),
        ({FULL: "a\x0bb"}, {FULL: ERROR}),
        ({"Unknown": True}, {"Unknown": WARNING}),
    ],
)
def test_every_rule_about_combinations(command: dict[str, Any], found: dict[str, Severity]) -> None:
    """What macOS refuses or ignores, one rule at a time."""
    assert problems(command) == found


def test_problems_that_depend_on_version_and_chip() -> None:
    """Keys that came later, and a Mac with Apple silicon that gets no user."""
    command = {USER: "ada", LOCK: True, "ManagedLocalUserShortName": "ada"}
    old = {USER: WARNING, LOCK: WARNING, "ManagedLocalUserShortName": WARNING}
    assert problems(command, version=MacOSVersion(10, 14)) == old
    assert problems(command, version=MacOSVersion(10, 15)) == {"ManagedLocalUserShortName": WARNING}
    assert problems(command, version=MacOSVersion(11)) == {}
    assert problems({}, version=MacOSVersion(10, 10)) == {"AccountConfiguration": ERROR}
    tethered = {TETHER: True, USER: "ada"}
    assert TETHER in problems(tethered, version=MacOSVersion(10, 10))
    assert problems(tethered, version=MacOSVersion(10, 15)) == {}
    skipping = {SKIP: True, "AutoSetupAdminAccounts": ADMINS}
    assert problems(skipping, chip=ChipClass.T2) == {}
    assert problems(skipping, chip=ChipClass.APPLE_SILICON) == {SKIP: WARNING}


@given(upn=st.text(max_size=30), full_name=st.text(max_size=30), hook_name=st.text(max_size=20))
def test_any_user_leaves_the_administrator_and_any_name_reads_back(
    upn: str, full_name: str, hook_name: str
) -> None:
    """No name of a user breaks the command; the prefilled names are those of the user."""
    names = NameVariables(user=User(upn=upn), serial_number="C02", values={"username": full_name})
    own = AdministratorAccount(hook_name, hook_name, password_hash=HASH)
    command = command_for(profile_with(PREFILLED, ADMIN), names=names, administrator=own)
    assert command is not None
    [admin] = command["AutoSetupAdminAccounts"]
    assert admin["shortName"] in (hook_name, "localadmin")
    assert command.get(USER, upn.partition("@")[0]) == upn.partition("@")[0]
    assert command.get(FULL, full_name) == full_name
    assert set(problems(command).values()) <= {WARNING}


@pytest.mark.skipif(shutil.which("plistutil") is None, reason="plistutil (libplist) is not installed")
def test_plistutil_reads_it(tmp_path: Path) -> None:
    """A reader that is not Python's."""
    data = build_account_configuration(profile_with(PREFILLED, ADMIN), command_uuid="C-1", names=NAMES)
    assert data is not None
    source, target = tmp_path / "command.plist", tmp_path / "command.bin"
    source.write_bytes(data)
    subprocess.run(["plistutil", "-i", source, "-f", "bin", "-o", target], check=True, capture_output=True)
    assert plistlib.loads(target.read_bytes()) == plistlib.loads(data)
