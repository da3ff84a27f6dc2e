"""With any names of users and accounts, each waiting Mac gets the administrator of its profile."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from tests.enrollment.conftest import ACME, HOST, MDM, SCEP, RecordingSignIn, empty_handler

from pyade.core import (
    AdministratorAccount,
    EnrollmentProfile,
    PrimaryAccount,
    User,
    UserAffinity,
)
from pyade.core.fleet.device import Device, DeviceFamily
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.events import EventKind
from pyade.core.fleet.records import Source
from pyade.core.problems import Severity
from pyade.crypto import hash_password
from pyade.enrollment import AsyncFinalConfiguration, EnrollmentService, FinalConfiguration
from pyade.errors import PolicyError, ProfileError
from pyade.storage import MemoryStore
from pyade.testing import DeviceAuthority, FakeMac, FakeSetup, FrozenClock
from pyade.testing.store_examples import NOW, example_token

SERIAL = "C02MATRIX001"
HASH = hash_password("correct horse", salt=bytes(32), iterations=20_000)
USERS = {
    "usual": User(upn="ada@contoso.example", full_name="Ada Lovelace", on_premises_account_name="alovelace"),
    "capitals": User(upn="Ada.Lovelace@contoso.example", on_premises_account_name="ALovelace"),
    "no names": User(upn="ada@contoso.example"),
    "colon": User(upn="a:da@contoso.example", full_name="Contoso: Ada", on_premises_account_name="a:da"),
    "administrator": User(upn="LocalAdmin@contoso.example", full_name="LocalAdmin"),
    "domain": User(upn="john@contoso.example", on_premises_account_name="contoso\\John"),
    "guest of a tenant": User(upn="ada_contoso.com#EXT#@fabrikam.example", full_name="Ada (Contoso)"),
    "apostrophe": User(
        upn="o'brien@contoso.example", full_name="Pat O'Brien", on_premises_account_name="o'brien"
    ),
    "root": User(upn="Root@contoso.example", full_name="root", on_premises_account_name="ROOT"),
    "no local part": User(upn="@contoso.example"),
    "blank": User(upn="ada lovelace@contoso.example", on_premises_account_name=" "),
    "control": User(upn="ada@contoso.example", full_name="\x1b[31m", on_premises_account_name="\ufffe"),
    "number": User(upn="12345@contoso.example", on_premises_account_name="12345"),
    "variable": User(upn="{{partialupn}}@contoso.example", full_name="%username%"),
    "another script": User(upn="Ædå@contoso.example", full_name="艾达", on_premises_account_name="艾达"),
}
PRIMARIES = {
    "none": None,
    "typed": PrimaryAccount(),
    "prefilled": PrimaryAccount("{{partialupn}}", "{{username}}"),
    "editable": PrimaryAccount("{{partialupn}}", "{{username}}", restrict_editing=False),
    "directory": PrimaryAccount("{{onPremisesSamAccountName}}", "{{onPremisesSamAccountName}}"),
    "device": PrimaryAccount("{{managedDeviceName}}", "{{username}} {{serialNumber}}"),
}
ADMINS = {
    "none": None,
    "fixed": AdministratorAccount("localadmin", password_hash=HASH),
    "user": AdministratorAccount("{{partialupn}}-adm", "{{username}}", password_hash=HASH),
    "bare user": AdministratorAccount("{{onPremisesSamAccountName}}", password_hash=HASH),
    "device": AdministratorAccount("admin-{{managedDeviceName}}", hidden=True, password_hash=HASH),
    "serial": AdministratorAccount("a{{serialNumber}}", "Admin of {{serialNumber}}", password_hash=HASH),
}
# Five of them, and six administrators: each meets each.
OTHER_SETTINGS: tuple[dict[str, Any], ...] = (
    {"standard_user": True},
    {"skip_primary_account": True},
    {"managed_user": "{{partialupn}}"},
    {"managed_user": "{{managedDeviceName}}", "requires_network_tether": True},
    {"auto_advance": True, "language": "en", "region": "US", "managed_user": "localadmin"},
)
VERSIONS = ("10.14.6", "10.15.7", "13.1", "15.4", "26.0")
BARE = EnrollmentProfile(name="P", url=f"https://{HOST}/enroll")


def profiles(affinity: UserAffinity) -> Iterator[tuple[str, EnrollmentProfile]]:
    """Return every profile of the matrix that can be made with that kind of affinity."""
    others = itertools.cycle(OTHER_SETTINGS)
    for (primary, account), (name, admin) in itertools.product(PRIMARIES.items(), ADMINS.items()):
        for other in ({}, next(others)):
            with contextlib.suppress(ProfileError):  # no user for a variable, or one name for two accounts
                accounts: dict[str, Any] = {
                    "user_affinity": affinity,
                    "primary_account": account,
                    "administrator": admin,
                }
                yield f"{primary}/{name}/{other}", attrs.evolve(BARE, **accounts, **other)


@attrs.frozen
class EnrolledMac:
    """One Mac, which enrolls once and is set up with one profile after the other."""

    mac: FakeMac
    store: MemoryStore
    clock: FrozenClock
    service: EnrollmentService
    identity: RecordingSignIn

    @classmethod
    def open(cls, authority: DeviceAuthority, version: str, user: User | None) -> EnrolledMac:
        clock, identity = FrozenClock(NOW), RecordingSignIn()
        store = MemoryStore(clock=clock)
        store.add_token(example_token())
        device = Device(serial_number=SERIAL, device_family=DeviceFamily.MAC, model="MacBook Air")
        store.commit_page("hq", (device,), source=Source.SYNC, state=store.sync_state("hq"), now=clock())
        service = EnrollmentService(
            store,
            mdm=MDM,
            acme=ACME,
            scep=SCEP,
            trust=authority.trust,
            sign_in=identity,
            authenticate=lambda name, password: user,
            clock=clock,
        )
        mac = FakeMac(serial_number=SERIAL, identity=authority.issue(), version=version, product="Mac14,2")
        return cls(mac, store, clock, service, identity)

    def enroll(self, user: User | None) -> None:
        affinity = self.store.default_profile("hq").user_affinity  # type: ignore[union-attr]
        if affinity.web_url and str(self.mac.version) != "10.14.6":
            self.service.open_web_view(self.mac.header(), host=HOST)
            assert user is not None
            answer = self.service.close_web_view(self.identity.states[-1], user, host=HOST)
        else:
            basic = None if user is None else "Basic " + base64.b64encode(b"ada:secret").decode()
            answer = self.service.enroll(self.mac.signed(), authorization=basic)
        assert answer.status == 200, answer.decision

    def set_up(self, profile: EnrollmentProfile, **options: Any) -> FakeSetup:
        self.store.set_default_profile("hq", profile)
        final = FinalConfiguration(self.store, clock=self.clock, **options)

        return self.mac.finish_setup(empty_handler(final, SERIAL))


AFFINITIES = {
    "none": UserAffinity.none(),
    "legacy": UserAffinity.legacy(),
    "modern": UserAffinity.modern(f"https://{HOST}/web"),
}
OFTEN = ("usual", "administrator", "domain")
CASES = [
    pytest.param(
        affinity,
        user,
        version,
        marks=[]
        if version in ("10.14.6", "15.4") and (affinity == "modern" or user in ("", *OFTEN))
        else [pytest.mark.slow],
    )
    for affinity in AFFINITIES
    for user in (USERS if affinity != "none" else ("",))
    for version in VERSIONS
]


@pytest.mark.parametrize(("affinity", "user", "version"), CASES)
def test_configured_administrator_reaches_every_waiting_mac(
    authority: DeviceAuthority, affinity: str, user: str, version: str
) -> None:
    """Read from the command that the Mac got; a locked name is one that macOS accepts."""
    person = USERS.get(user)
    enrolled_mac = EnrolledMac.open(authority, version, person)
    enrolled_mac.store.set_default_profile("hq", attrs.evolve(BARE, user_affinity=AFFINITIES[affinity]))
    enrolled_mac.enroll(person)
    made = list(profiles(AFFINITIES[affinity]))
    assert len(made) > 2
    for name, profile in made:
        setup = enrolled_mac.set_up(profile)
        where = f"{name}: {setup}"
        found = FinalConfiguration(enrolled_mac.store, clock=enrolled_mac.clock).progress(SERIAL).problems
        assert setup.is_released, where
        assert setup.errors == (), where
        assert bool(setup.administrator) is (profile.administrator is not None), where
        assert setup.has_password is (profile.administrator is not None), where
        assert "{" not in setup.administrator + setup.account_name + setup.full_name, where
        account = profile.primary_account
        wrong = [one for one in found if one.setting.startswith("primary_account")]
        if account is None or version == "10.14.6":
            assert (setup.account_name, setup.full_name, wrong) == ("", "", []), where
        elif not wrong:
            assert bool(setup.account_name) is bool(account.account_name), where
            assert bool(setup.full_name) is bool(account.full_name), where
            assert setup.is_locked is (account.restrict_editing and bool(account.account_name)), where
        else:
            assert not setup.is_locked, where
        assert all(one.severity is Severity.WARNING and one.fix for one in found), where


@pytest.mark.parametrize(
    ("user", "account_name", "full_name", "wrong"),
    [
        ("usual", "ada", "ada@contoso.example", []),
        ("capitals", "Ada.Lovelace", "Ada.Lovelace@contoso.example", []),
        ("colon", "", "", ["account_name", "full_name"]),
        ("administrator", "", "LocalAdmin@contoso.example", ["account_name"]),
        (
            "guest of a tenant",
            "ada_contoso.com#EXT#",
            "ada_contoso.com#EXT#@fabrikam.example",
            ["account_name"],
        ),
        ("apostrophe", "o'brien", "o'brien@contoso.example", ["account_name"]),
        ("root", "", "Root@contoso.example", ["account_name"]),
        ("no local part", "", "@contoso.example", ["account_name"]),
        ("blank", "", "ada lovelace@contoso.example", ["account_name"]),
        ("number", "12345", "12345@contoso.example", ["account_name"]),
    ],
)
def test_usable_name_is_sent_and_the_unusable_one_is_left_to_the_user(
    authority: DeviceAuthority, user: str, account_name: str, full_name: str, wrong: list[str]
) -> None:
    """With a problem in the progress of the Mac and in an event; then nothing is locked."""
    enrolled_mac = EnrolledMac.open(authority, "15.4", USERS[user])
    profile = attrs.evolve(
        BARE,
        user_affinity=AFFINITIES["modern"],
        primary_account=PRIMARIES["prefilled"],
        administrator=ADMINS["fixed"],
    )
    enrolled_mac.store.set_default_profile("hq", profile)
    enrolled_mac.enroll(USERS[user])
    setup = enrolled_mac.set_up(profile)
    assert (setup.account_name, setup.full_name) == (account_name, full_name)
    assert setup.is_locked is not bool(wrong)
    assert setup.administrator == "localadmin"
    found = FinalConfiguration(enrolled_mac.store, clock=enrolled_mac.clock).progress(SERIAL).problems
    assert [one.setting for one in found] == [f"primary_account.{name}" for name in wrong]
    assert all("restrict_editing is off there" in one.fix for one in found)
    reported = [
        one.details["problems"] for one in enrolled_mac.store.events() if one.kind is EventKind.SETUP_PROBLEM
    ]
    assert reported == ([[str(one) for one in found]] if wrong else [])
    enrolled_mac.mac.finish_setup(lambda _: b"")  # which was not recorded
    FinalConfiguration(enrolled_mac.store, clock=enrolled_mac.clock).authenticated(SERIAL)
    assert FinalConfiguration(enrolled_mac.store, clock=enrolled_mac.clock).progress(SERIAL).problems == ()


@pytest.mark.parametrize(
    ("admin", "user", "options", "short_name"),
    [
        ("user", "usual", {}, "ada-adm"),
        ("user", "apostrophe", {}, f"{SERIAL}-adm"),
        ("user", "no local part", {}, f"{SERIAL}-adm"),
        ("bare user", "root", {}, SERIAL),
        ("bare user", "domain", {}, SERIAL),
        ("device", "usual", {}, f"admin-{SERIAL}"),
        ("device", "usual", {"device_name": "lab-{{partialupn}}"}, "admin-lab-ada"),
        ("device", "usual", {"device_name": "Lab: {{partialupn}}"}, f"admin-{SERIAL}"),
        ("device", "usual", {"device_name": lambda mac: f"hook-{mac.serial_number[-3:]}"}, "admin-hook-001"),
        ("device", "usual", {"variables": lambda _: {"managedDeviceName": "desk7"}}, "admin-desk7"),
        ("device", "usual", {"device_name": "{{onPremisesSamAccountName}}"}, "admin-alovelace"),
        ("device", "no names", {"device_name": "{{onPremisesSamAccountName}}"}, f"admin-{SERIAL}"),
        ("serial", "usual", {}, f"a{SERIAL}"),
        ("serial", "usual", {"variables": lambda _: {"serialNumber": "asset-12"}}, "aasset-12"),
        ("serial", "usual", {"variables": lambda _: None}, f"a{SERIAL}"),
    ],
)
def test_serial_number_replaces_an_unusable_administrator_name(
    authority: DeviceAuthority, admin: str, user: str, options: dict[str, Any], short_name: str
) -> None:
    """The serial number is known, and the problem quotes the name."""
    enrolled_mac = EnrolledMac.open(authority, "15.4", USERS[user])
    profile = attrs.evolve(BARE, user_affinity=AFFINITIES["legacy"], administrator=ADMINS[admin])
    enrolled_mac.store.set_default_profile("hq", profile)
    enrolled_mac.enroll(USERS[user])
    assert enrolled_mac.set_up(profile, **options).administrator == short_name
    found = FinalConfiguration(enrolled_mac.store, clock=enrolled_mac.clock).progress(SERIAL).problems
    if SERIAL in short_name and admin != "serial":
        assert f"sent as {short_name}" in found[-1].value
    else:
        assert found == ()


@pytest.mark.parametrize(
    ("admin", "user", "managed_user", "expected", "wrong"),
    [
        ("fixed", "usual", "{{partialupn}}", "ada", []),
        ("fixed", "root", "{{partialupn}}", "", ["managed_user"]),
        ("fixed", "no local part", "{{partialupn}}", "", ["managed_user"]),
        ("fixed", "usual", "{{managedDeviceName}}", "", ["managed_user"]),
        ("fixed", "apostrophe", "{{partialupn}}", "o'brien", ["managed_user"]),
        ("fixed", "root", "LocalAdmin", "localadmin", []),
        ("user", "usual", "{{partialUPN}}-adm", "ada-adm", []),
        ("bare user", "root", "{{onPremisesSamAccountName}}", SERIAL, ["administrator.short_name"]),
    ],
)
def test_managed_user_is_an_account_that_the_mac_gets(
    authority: DeviceAuthority, admin: str, user: str, managed_user: str, expected: str, wrong: list[str]
) -> None:
    """The administrator under its final name; an unusable name is left out, and reported."""
    enrolled_mac = EnrolledMac.open(authority, "15.4", USERS[user])
    profile = attrs.evolve(
        BARE,
        user_affinity=AFFINITIES["legacy"],
        administrator=ADMINS[admin],
        managed_user=managed_user,
    )
    enrolled_mac.store.set_default_profile("hq", profile)
    enrolled_mac.enroll(USERS[user])
    command = enrolled_mac.set_up(profile).account_configuration
    assert command is not None
    assert command.get("ManagedLocalUserShortName", "") == expected
    assert command["AutoSetupAdminAccounts"]
    found = FinalConfiguration(enrolled_mac.store, clock=enrolled_mac.clock).progress(SERIAL).problems
    assert [one.setting for one in found] == wrong


def test_the_caller_may_fill_in_a_full_name(authority: DeviceAuthority) -> None:
    """{{username}} is the user principal name, as in Intune, unless the caller wants another value."""
    user = USERS["usual"]
    enrolled_mac = EnrolledMac.open(authority, "15.4", user)
    profile = attrs.evolve(BARE, user_affinity=AFFINITIES["modern"], primary_account=PRIMARIES["prefilled"])
    enrolled_mac.store.set_default_profile("hq", profile)
    enrolled_mac.enroll(user)
    setup = enrolled_mac.set_up(profile, variables=lambda mac: {"username": mac.user.full_name})
    assert (setup.account_name, setup.full_name, setup.is_locked) == ("ada", "Ada Lovelace", True)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"device_name": "{{managedDeviceName}}"}, r"\{\{managedDeviceName\}\} is not for this name"),
        ({"device_name": "Mac-{serialNumber}"}, r"write \{\{serialNumber\}\}"),
        ({"device_name": "MAC-{{SERIAL}}"}, r"write \{\{serialNumber\}\}"),
        ({"device_name": "{{mail}}"}, "use one of these"),
    ],
)
def test_a_device_name_with_an_unknown_variable_is_refused(options: dict[str, Any], what: str) -> None:
    """Where the object is made, by both classes."""
    with MemoryStore() as store:
        for made in (FinalConfiguration, AsyncFinalConfiguration):
            with pytest.raises(PolicyError, match=what):
                made(store, **options)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_asynchronous_class_fills_in_the_same(authority: DeviceAuthority, backend: str) -> None:
    """With hooks of both kinds."""
    user = USERS["usual"]
    enrolled_mac = EnrolledMac.open(authority, "15.4", user)
    profile = attrs.evolve(
        BARE,
        user_affinity=AFFINITIES["modern"],
        primary_account=PRIMARIES["prefilled"],
        administrator=ADMINS["device"],
    )
    enrolled_mac.store.set_default_profile("hq", profile)
    enrolled_mac.enroll(user)

    async def device_name(mac: Enrollment) -> str:
        await anyio.lowlevel.checkpoint()
        return f"lab-{mac.serial_number[-3:]}"

    async def main() -> FakeSetup:
        final = AsyncFinalConfiguration(
            enrolled_mac.store,
            variables=lambda _: {"partialupn": "o'hara"},
            device_name=device_name,
            clock=enrolled_mac.clock,
        )

        async def answer(body: bytes) -> bytes:
            message = await final.received(SERIAL, body)
            if message.awaiting:
                await final.work_left(SERIAL, [])
            command = await final.next_command(SERIAL) if message.asks_for_command else None
            return b"" if command is None else command.body

        setup = await enrolled_mac.mac.finish_setup_async(answer)
        [found] = (await final.progress(SERIAL)).problems
        assert found.setting == "primary_account.account_name"
        return setup

    setup = anyio.run(main, backend=backend)
    assert (setup.administrator, setup.account_name, setup.is_locked) == ("admin-lab-001", "o'hara", False)


@pytest.mark.parametrize("name", ["administrator", "variables", "device_name"])
def test_every_hook_may_be_a_coroutine_function_of_the_asynchronous_class_only(name: str) -> None:
    async def hook(_: object) -> Any:
        raise AssertionError

    given: dict[str, Any] = {name: hook}
    with MemoryStore() as store:
        AsyncFinalConfiguration(store, **given)
        with pytest.raises(PolicyError, match=f"{name} is asynchronous: use AsyncFinalConfiguration"):
            FinalConfiguration(store, **given)
