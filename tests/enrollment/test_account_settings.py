"""The Mac gets the account settings of its profile, from Intune's JSON and from code."""

from __future__ import annotations

import json
import plistlib
from collections.abc import Mapping
from typing import Any

import anyio
import attrs
import pytest
from tests.cases import each
from tests.enrollment.conftest import empty_handler
from tests.enrollment.test_final_configuration import ADA, NOW, SERIAL, URL, check_in, give_profile

from pyade.builders import (
    OwnSettings,
    policy_from_intune,
    policy_to_intune,
    profile_from_intune,
    profile_to_intune,
    read_intune,
)
from pyade.core import AdministratorAccount, EnrollmentProfile, User, UserAffinity
from pyade.core.fleet.enrollment import Enrollment
from pyade.crypto import hash_password
from pyade.enrollment import AsyncFinalConfiguration, FinalConfiguration
from pyade.storage import MemoryStore, SQLiteStore
from pyade.storage.protocol import EnrollmentStore
from pyade.testing import DeviceAuthority, FakeMac, FrozenClock
from pyade.testing.store_examples import example_token

PAGE = "https://mdm.example.com/signin"
OWN = OwnSettings(url=URL, web_url=PAGE)
ADMIN = AdministratorAccount("itadmin", password_hash=hash_password("of the profile"))
MODERN = UserAffinity.modern(PAGE)
REGULAR, SKIP = "SetPrimarySetupAccountAsRegularUser", "SkipPrimarySetupAccountCreation"
MANAGED, TETHER = "ManagedLocalUserShortName", "RequestRequiresNetworkTether"
FROM_INTUNE = {
    "@odata.type": "#microsoft.graph.depMacOSEnrollmentProfile",
    "displayName": "Standard Mac",
    "requiresUserAuthentication": True,
    "configurationWebUrl": True,
    "isMandatory": True,
    "supervisedModeEnabled": True,
    "profileRemovalDisabled": True,
    "waitForDeviceConfiguredConfirmation": False,
    "setPrimarySetupAccountAsRegularUser": True,
    "primaryAccountUserName": "{{partialupn}}",
    "adminAccountUserName": "itadmin",
}


def account_command(
    store: EnrollmentStore, profile: EnrollmentProfile, driver: str, *, user: User | None = ADA
) -> dict[str, Any]:
    """Return the first command of a waiting Mac after *profile* was stored."""
    store.add_token(example_token())
    give_profile(store, profile, user=user)

    def own_administrator(enrollment: Enrollment) -> AdministratorAccount:
        return attrs.evolve(ADMIN, password_hash=hash_password(enrollment.serial_number))

    messages = [
        check_in("Authenticate", SerialNumber=SERIAL),
        check_in("TokenUpdate", AwaitingConfiguration=True),
    ]

    async def asynchronously() -> bytes:
        final = AsyncFinalConfiguration(store, administrator=own_administrator, clock=FrozenClock(NOW))
        for message in messages:
            await final.received(SERIAL, message)
        await final.work_left(SERIAL, [])
        command = await final.next_command(SERIAL)
        assert command is not None
        return command.body

    if driver != "sync":
        body = anyio.run(asynchronously, backend=driver)
    else:
        final = FinalConfiguration(store, administrator=own_administrator, clock=FrozenClock(NOW))
        for message in messages:
            final.received(SERIAL, message)
        final.work_left(SERIAL, [])
        command = final.next_command(SERIAL)
        assert command is not None
        body = command.body
    found: dict[str, Any] = plistlib.loads(body)["Command"]
    assert found["RequestType"] == "AccountConfiguration"
    return found


@pytest.mark.parametrize("driver", ["sync", "asyncio", "trio"])
@pytest.mark.parametrize("form", ["classic", "policy"])
def test_standard_user_of_intune_is_a_standard_user_on_the_mac(driver: str, form: str) -> None:
    own_administrator = OwnSettings(url=URL, web_url=PAGE)
    imported = profile_from_intune(FROM_INTUNE, own_administrator)
    if form == "policy":
        imported = policy_from_intune(policy_to_intune(imported, token_id="t").body, own_administrator)
    with MemoryStore() as store:
        command = account_command(store, imported.profile, driver)
    assert command[REGULAR] is True
    assert command["PrimaryAccountUserName"] == "ada"
    assert command["AutoSetupAdminAccounts"][0]["shortName"] == "itadmin"


SETTINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"administrator": ADMIN, "standard_user": True}, {REGULAR: True}),
    ({"administrator": ADMIN, "skip_primary_account": True}, {SKIP: True}),
    ({"administrator": ADMIN, "auto_advance": True}, {SKIP: True}),
    ({"administrator": ADMIN, "auto_advance": True, "standard_user": True}, {SKIP: True}),
    ({"administrator": ADMIN, "managed_user": "itadmin"}, {MANAGED: "itadmin"}),
    ({"managed_user": "mac-{{serialNumber}}"}, {MANAGED: f"mac-{SERIAL}"}),
    ({"administrator": ADMIN, "managed_user": "{{partialupn}}", "user_affinity": MODERN}, {MANAGED: "ada"}),
    ({"administrator": ADMIN, "requires_network_tether": True}, {TETHER: True}),
    ({"administrator": ADMIN}, {}),
]


@each("settings, expected", SETTINGS)
@each("waits", [True, False])
def test_each_setting_reaches_the_mac_through_a_store(
    settings: dict[str, Any], expected: dict[str, Any], waits: bool
) -> None:
    """Also if the wait is set explicitly, which accounts switch on."""
    profile = EnrollmentProfile(name="x", url=URL, await_final_configuration=waits, **settings)
    with SQLiteStore(":memory:") as store:
        command = account_command(store, profile, "sync")
    assert {key: command[key] for key in (REGULAR, SKIP, MANAGED, TETHER) if key in command} == expected
    assert ("AutoSetupAdminAccounts" in command) is ("administrator" in settings)


def test_managed_user_without_a_value_does_not_remove_the_administrator() -> None:
    profile = EnrollmentProfile(
        name="x", url=URL, user_affinity=MODERN, administrator=ADMIN, managed_user="{{partialupn}}"
    )
    with MemoryStore() as store:
        command = account_command(store, profile, "sync", user=None)
    assert MANAGED not in command
    assert command["AutoSetupAdminAccounts"][0]["shortName"] == "itadmin"


NAMES = {"primaryAccountUserName": "{{partialupn}}", "primaryAccountFullName": "{{username}}"}
FILLED = {"PrimaryAccountUserName": "ada", "PrimaryAccountFullName": ADA.upn}
ADMIN_ALONE = {"AutoSetupAdminAccounts": [{"hidden": False, "shortName": "itadmin"}]}


@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("names", [{}, NAMES])
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("administrator", ["", "itadmin"])
def test_each_account_row_of_intune_reaches_the_mac_also_after_a_round_trip(
    authority: DeviceAuthority, *, administrator: str, skips: bool, names: dict[str, str], regular: bool
) -> None:
    """Read from an export as a whole, and written again; without account settings no command is sent."""
    body = {
        **FROM_INTUNE,
        **dict.fromkeys(NAMES, ""),
        **names,
        "adminAccountUserName": administrator,
        "skipPrimarySetupAccountCreation": skips,
        "setPrimarySetupAccountAsRegularUser": regular,
    }
    [given] = read_intune(json.dumps(body).encode(), OWN).profiles
    [back] = read_intune(json.dumps(profile_to_intune(given).body).encode(), OWN).profiles
    expected: dict[str, Any] = ADMIN_ALONE if administrator else {}
    if administrator and skips:
        expected = {**expected, SKIP: True}
    elif administrator and regular:
        expected = {**expected, REGULAR: True}
    if names and not skips:
        manual, lock = "DontAutoPopulatePrimaryAccountInfo", "LockPrimaryAccountInfo"
        expected = {**expected, **FILLED, manual: False, lock: False}
    for imported in (given, back):
        command = command_of_fake_mac(imported.profile, authority)
        assert command == ({"RequestType": "AccountConfiguration", **expected} if expected else None)
    warned = any(one.setting.endswith("setPrimarySetupAccountAsRegularUser") for one in given.problems)
    assert warned is (regular and (skips or not administrator))


def command_of_fake_mac(profile: EnrollmentProfile, authority: DeviceAuthority) -> Mapping[str, Any] | None:
    """Return the ``AccountConfiguration`` that a Mac with *profile* got before it was released."""
    with MemoryStore() as store:
        store.add_token(example_token())
        give_profile(store, profile)
        final = FinalConfiguration(store, clock=FrozenClock(NOW))

        mac = FakeMac(serial_number=SERIAL, identity=authority.issue(), version="15.4")
        setup = mac.finish_setup(empty_handler(final, SERIAL))
        assert setup.is_released
        assert setup.errors == ()
        return setup.account_configuration
