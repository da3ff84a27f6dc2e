"""A Mac that awaits its final configuration, from its profile to its release, all of it stored."""

from __future__ import annotations

import inspect
import logging
import plistlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core import AdministratorAccount, EnrollmentProfile, PrimaryAccount, User, UserAffinity
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.events import Event, EventKind
from pyade.core.macos.identity import IdentityKind
from pyade.core.profile.profile import DefinedProfile
from pyade.crypto import hash_password
from pyade.enrollment import AsyncFinalConfiguration, AwaitPhase, Command, FinalConfiguration, read_message
from pyade.enrollment.final_configuration_flow import waiting_state
from pyade.errors import PolicyError, StoreConflictError, TrustError
from pyade.storage import MemoryStore, SQLiteStore
from pyade.storage.protocol import EnrollmentStore
from pyade.testing import FrozenClock
from pyade.testing.store_examples import example_token

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SERIAL = "C02EXAMPLE01"
URL = "https://mdm.example.com/enroll"
ADA = User(upn="ada@contoso.example", full_name="Ada Lovelace", on_premises_account_name="alovelace")
WITH_ACCOUNTS = EnrollmentProfile(
    name="Accounts",
    url=URL,
    user_affinity=UserAffinity.modern("https://mdm.example.com/signin"),
    primary_account=PrimaryAccount("{{partialupn}}", "{{username}}"),
    administrator=AdministratorAccount(
        "localadmin", hidden=True, password_hash=hash_password("of the profile")
    ),
)
BARE = EnrollmentProfile(name="Bare", url=URL)
FREE = EnrollmentProfile(name="Free", url=URL, await_final_configuration=False)
ACCOUNTS, RELEASE = "AccountConfiguration", "DeviceConfigured"


def give_profile(
    store: EnrollmentStore,
    profile: EnrollmentProfile,
    *,
    serial: str = SERIAL,
    user: User | None = ADA,
    release_after: timedelta | None = None,
    version: str = "15.4",
    profile_uuid: str | None = "P1",
) -> Enrollment:
    """Store what the enrollment service stores when it gives a profile to a Mac."""
    if profile_uuid is None:
        store.set_default_profile("hq", profile)
    else:
        store.save_profile(
            "hq", DefinedProfile(profile_uuid=profile_uuid, profile=profile, digest="d", defined_at=NOW)
        )
    before = store.enrollment(serial)
    return store.save_enrollment(
        Enrollment(
            serial_number=serial,
            token_name="hq",
            udid="564D6C7A-1111-2222-3333-444455556666",
            product="Mac14,2",
            build="24E248",
            version=version,
            profile_name=profile.name,
            profile_uuid=profile_uuid,
            identity=IdentityKind.ACME,
            user=user,
            issued_at=NOW,
            awaiting=waiting_state(profile, release_after=release_after, before=before),
            revision=before.revision if before else 0,
        )
    )


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EnrollmentStore]:
    """Open a store with a token."""
    made: EnrollmentStore = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "ade.db")
    with made:
        made.add_token(example_token())
        yield made


@pytest.fixture
def clock() -> FrozenClock:
    """Return a frozen clock."""
    return FrozenClock(NOW)


def check_in(message_type: str, **keys: Any) -> bytes:
    return plistlib.dumps({"MessageType": message_type, "UDID": "U", "Topic": "T", **keys})


def result(status: str, command_uuid: str = "", **keys: Any) -> bytes:
    answered = {"CommandUUID": command_uuid} if command_uuid else {}
    return plistlib.dumps({"Status": status, "UDID": "U", **answered, **keys})


def command_in(command: Command | None) -> dict[str, Any]:
    assert command is not None
    document = plistlib.loads(command.body)
    assert document["CommandUUID"] == command.command_uuid
    assert document["Command"]["RequestType"] == command.name
    inner: dict[str, Any] = document["Command"]
    return inner


def begin(final: FinalConfiguration, *, work: tuple[str, ...] = ()) -> None:
    """Let the Mac wait, with *work* as the only outstanding work."""
    final.received(SERIAL, check_in("Authenticate", SerialNumber=SERIAL))
    final.received(SERIAL, check_in("TokenUpdate", AwaitingConfiguration=True))
    final.work_left(SERIAL, work)


def released_events(store: EnrollmentStore) -> list[Event]:
    return [event for event in store.events() if event.kind is EventKind.SETUP_RELEASED]


def problem_events(store: EnrollmentStore) -> list[list[str]]:
    return [event.details["problems"] for event in store.events() if event.kind is EventKind.SETUP_PROBLEM]


@pytest.mark.parametrize(
    ("affinity", "user"),
    [
        (UserAffinity.modern("https://mdm.example.com/signin"), ADA),
        (UserAffinity.legacy(), ADA),
        (UserAffinity.none(), None),
    ],
    ids=["modern", "legacy", "none"],
)
def test_complete_flow_for_each_user_affinity(
    store: EnrollmentStore, clock: FrozenClock, affinity: UserAffinity, user: User | None
) -> None:
    """Without a user there is only an administrator."""
    profile = attrs.evolve(
        WITH_ACCOUNTS,
        user_affinity=affinity,
        primary_account=WITH_ACCOUNTS.primary_account if user else None,
    )
    give_profile(store, profile, user=user)
    final = FinalConfiguration(store, clock=clock)
    begin(final, work=("Wi-Fi",))
    assert final.next_command(SERIAL) is None
    assert final.progress(SERIAL).outstanding == ("Wi-Fi", ACCOUNTS, RELEASE)
    final.work_left(SERIAL, [])

    accounts = final.next_command(SERIAL)
    inner = command_in(accounts)
    assert inner.get("PrimaryAccountUserName") == ("ada" if user else None)
    assert inner.get("PrimaryAccountFullName") == ("ada@contoso.example" if user else None)
    assert inner["AutoSetupAdminAccounts"][0]["shortName"] == "localadmin"
    assert final.next_command(SERIAL) is None
    assert accounts is not None
    message = final.received(SERIAL, result("Acknowledged", accounts.command_uuid))
    assert message.asks_for_command

    released = final.next_command(SERIAL)
    assert command_in(released) == {"RequestType": RELEASE}
    assert released is not None
    assert released_events(store) == []
    clock.advance(minutes=1)
    final.received(SERIAL, result("Acknowledged", released.command_uuid))
    assert final.next_command(SERIAL) is None
    assert final.progress(SERIAL).phase is AwaitPhase.RELEASED
    assert list(final.waiting()) == []
    [event] = released_events(store)
    assert (event.token_name, event.serial_number, event.at) == ("hq", SERIAL, clock())
    assert event.details == {"awaiting_since": NOW.isoformat(), "accounts": "Acknowledged"}
    final.received(SERIAL, result("Acknowledged", released.command_uuid))
    final.received(SERIAL, check_in("TokenUpdate"))
    assert len(released_events(store)) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_complete_flow_of_the_asynchronous_class(
    store: EnrollmentStore, clock: FrozenClock, backend: str, kind: str
) -> None:
    """On both event loops, with hooks of both kinds."""
    give_profile(store, WITH_ACCOUNTS)
    own = AdministratorAccount("localadmin", password_hash=hash_password("of this Mac alone"))

    async def async_hook(enrollment: Enrollment) -> AdministratorAccount:
        await anyio.lowlevel.checkpoint()
        return attrs.evolve(own, full_name=enrollment.serial_number)

    def sync_hook(enrollment: Enrollment) -> AdministratorAccount:
        return attrs.evolve(own, full_name=enrollment.serial_number)

    async def main() -> None:
        final = AsyncFinalConfiguration(
            store, administrator=sync_hook if kind == "function" else async_hook, clock=clock
        )
        await final.authenticated(SERIAL)
        await final.token_updated(SERIAL, awaiting=True)
        await final.work_left(SERIAL, "Wi-Fi")
        [mac] = [mac async for mac in final.waiting()]
        assert mac.progress == await final.progress(SERIAL)
        assert mac.progress.outstanding[0] == "Wi-Fi"
        assert [mac async for mac in final.waiting(due=True)] == []
        await final.release(SERIAL)
        assert len([mac async for mac in final.waiting(due=True)]) == 1
        accounts = await final.next_command(SERIAL)
        [administrator] = command_in(accounts)["AutoSetupAdminAccounts"]
        assert administrator["fullName"] == SERIAL
        assert administrator["passwordHash"] == own.password_hash
        assert accounts is not None
        await final.answered(SERIAL, accounts.command_uuid, "Acknowledged")
        released = await final.next_command(SERIAL)
        assert released is not None
        message = await final.received(SERIAL, result("Acknowledged", released.command_uuid))
        assert message.command_uuid == released.command_uuid
        assert await final.next_command(SERIAL) is None

    anyio.run(main, backend=backend)
    [event] = released_events(store)
    assert event.details["outstanding"] == ["Wi-Fi"]


def test_both_classes_have_the_same_methods() -> None:
    """Except for what must be awaited."""
    names = [name for name in vars(FinalConfiguration) if not name.startswith("_")]
    assert names == [name for name in vars(AsyncFinalConfiguration) if not name.startswith("_")]
    for name in ("__init__", *names):
        mine, theirs = (getattr(one, name) for one in (FinalConfiguration, AsyncFinalConfiguration))
        assert inspect.signature(mine).parameters == inspect.signature(theirs).parameters


def test_crash_between_commit_and_sending_loses_no_command(
    store: EnrollmentStore, clock: FrozenClock
) -> None:
    """Another worker returns it again, under the same UUID, and an answer to either counts."""
    give_profile(store, WITH_ACCOUNTS)
    begin(FinalConfiguration(store, clock=clock))
    for name, wait in ((ACCOUNTS, 1), (RELEASE, 5)):
        lost = FinalConfiguration(store, clock=clock).next_command(SERIAL)
        final = FinalConfiguration(store, clock=clock)
        assert final.next_command(SERIAL) is None
        assert list(final.waiting(due=True)) == []
        clock.advance(minutes=wait)
        [mac] = final.waiting(due=True)
        assert mac.enrollment.serial_number == SERIAL
        assert str(mac.action.send) == name
        again = final.next_command(SERIAL)
        assert again is not None
        assert lost is not None
        assert (again.name, again.command_uuid) == (name, lost.command_uuid)
        final.answered(SERIAL, again.command_uuid, "Acknowledged")
    assert final.progress(SERIAL).phase is AwaitPhase.RELEASED


def test_one_of_many_workers_gets_the_command(store: EnrollmentStore, clock: FrozenClock) -> None:
    """And all of them agree on what was sent."""
    give_profile(store, WITH_ACCOUNTS)
    begin(FinalConfiguration(store, clock=clock))
    for name in (ACCOUNTS, RELEASE):
        with ThreadPoolExecutor(8) as pool:
            made = list(
                pool.map(lambda _: FinalConfiguration(store, clock=clock).next_command(SERIAL), range(8))
            )
        [command] = [one for one in made if one is not None]
        assert command.name == name
        FinalConfiguration(store, clock=clock).answered(SERIAL, command.command_uuid, "Acknowledged")
    assert len(released_events(store)) == 1


def test_store_with_endless_conflicts_is_an_error(clock: FrozenClock) -> None:
    """After a bounded number of attempts, so that the Mac asks again."""
    attempts = []

    class Busy(MemoryStore):
        def save_enrollment(self, enrollment: Enrollment, **facts: Any) -> Enrollment:
            if enrollment.revision:
                attempts.append(enrollment.revision)
                raise StoreConflictError("another worker was faster")
            return super().save_enrollment(enrollment, **facts)

    with Busy() as store:
        store.add_token(example_token())
        give_profile(store, BARE)
        with pytest.raises(StoreConflictError):
            FinalConfiguration(store, clock=clock).token_updated(SERIAL, awaiting=True)
    assert len(attempts) == 8


def test_due_macs_are_found(store: EnrollmentStore, clock: FrozenClock) -> None:
    """One of three waits, and only after its deadline something can be sent to it."""
    give_profile(store, BARE, release_after=timedelta(minutes=30))
    give_profile(store, BARE, serial="C02EXAMPLE00", profile_uuid="P2")
    give_profile(store, BARE, serial="C02EXAMPLE02", profile_uuid="P2")
    final = FinalConfiguration(store, clock=clock)
    begin(final, work=("Company Portal",))
    final.token_updated("C02EXAMPLE00", awaiting=True)
    assert [mac.enrollment.serial_number for mac in final.waiting()] == ["C02EXAMPLE00", SERIAL]
    clock.advance(minutes=29, seconds=59)
    assert list(final.waiting(due=True)) == []
    clock.advance(seconds=1)
    [mac] = final.waiting(due=True)
    assert mac.enrollment.serial_number == SERIAL
    assert [problem.value for problem in mac.progress.problems] == ["30 minutes"]
    assert command_in(final.next_command(SERIAL)) == {"RequestType": RELEASE}


def test_accounts_of_a_removed_profile_block_no_mac(
    store: EnrollmentStore, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The Mac is released immediately; the reason is in the log, in an event, and in the problems."""
    enrollment = give_profile(store, WITH_ACCOUNTS)
    store.save_enrollment(attrs.evolve(enrollment, profile_uuid="gone"))
    final = FinalConfiguration(store, clock=clock)
    final.token_updated(SERIAL, awaiting=True)
    final.work_left(SERIAL, ())
    with caplog.at_level(logging.WARNING, "pyade.enrollment"):
        command = final.next_command(SERIAL)
    assert command_in(command) == {"RequestType": RELEASE}
    assert len(caplog.records) == 1
    assert "'gone' is not stored" in caplog.text
    assert command is not None
    final.answered(SERIAL, command.command_uuid, "Acknowledged")
    [problem] = final.progress(SERIAL).problems
    assert problem.setting == ACCOUNTS
    assert problem.value == "not made: the profile 'gone' is not stored any more"
    assert released_events(store)[0].details["accounts"] == problem.value
    assert problem_events(store) == [[str(problem)]]


def test_accounts_unsupported_by_the_version_are_left_out(store: EnrollmentStore, clock: FrozenClock) -> None:
    """Before 10.15 macOS fills in no names: nothing is sent, and that is no problem."""
    profile = attrs.evolve(WITH_ACCOUNTS, administrator=None)
    give_profile(store, profile, version="10.14")
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    assert command_in(final.next_command(SERIAL)) == {"RequestType": RELEASE}
    assert final.progress(SERIAL).problems == ()


def test_failing_hook_is_retried_for_a_limited_time(
    store: EnrollmentStore, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The system that escrows passwords may be down; the secret in its error is not logged."""
    give_profile(store, WITH_ACCOUNTS)
    calls = []

    def administrator(enrollment: Enrollment) -> AdministratorAccount:
        calls.append(enrollment.serial_number)
        raise RuntimeError("the password is hunter2")

    final = FinalConfiguration(store, administrator=administrator, clock=clock)
    begin(final)
    minutes = 0
    while (command := final.next_command(SERIAL)) is None:
        minutes += 1
        assert minutes <= 5
        [mac] = final.waiting()
        assert mac.action.ask_again_at == clock() + timedelta(minutes=1)
        clock.advance(minutes=1)
    assert command_in(command)["AutoSetupAdminAccounts"][0]["shortName"] == "localadmin"
    assert minutes == 5
    assert len(calls) == 6
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text
    [problem] = final.progress(SERIAL).problems
    assert (problem.setting, problem.allowed) == ("administrator", "the hook failed with RuntimeError")
    assert problem_events(store) == [[str(problem)]]
    clock.advance(minutes=1)
    repeated = final.next_command(SERIAL)
    assert repeated is not None
    assert (repeated.name, repeated.command_uuid) == (command.name, command.command_uuid)
    final.answered(SERIAL, command.command_uuid, "Acknowledged")
    assert command_in(final.next_command(SERIAL)) == {"RequestType": RELEASE}


@pytest.mark.parametrize("limit", ["released now", "time limit"])
def test_released_mac_gets_its_accounts_although_a_hook_fails(
    store: EnrollmentStore, clock: FrozenClock, limit: str
) -> None:
    """Immediately, without waiting for the hook, since the accounts cannot be made later."""
    give_profile(store, WITH_ACCOUNTS, release_after=timedelta(minutes=2))

    def administrator(_: Enrollment) -> AdministratorAccount:
        raise OSError

    final = FinalConfiguration(store, administrator=administrator, clock=clock)
    begin(final)
    assert final.next_command(SERIAL) is None
    if limit == "time limit":
        clock.advance(minutes=2)
    else:
        final.release(SERIAL)
    assert "AutoSetupAdminAccounts" in command_in(final.next_command(SERIAL))


@each(
    "answer",
    [
        "localadmin",
        AdministratorAccount("local admin"),
        AdministratorAccount("{{mail}}"),
        AdministratorAccount("ada", password_hash=b"no hash"),
        AdministratorAccount(None),  # type: ignore[arg-type]
    ],
)
def test_invalid_administrator_of_a_hook_is_corrected_and_created(answer: Any) -> None:
    """Under the name of the profile if its own is unusable, without a password if that is invalid."""
    with MemoryStore() as store:
        store.add_token(example_token())
        clock = FrozenClock(NOW)
        give_profile(store, WITH_ACCOUNTS)
        final = FinalConfiguration(store, administrator=lambda _: answer, clock=clock)
        begin(final)
        command = final.next_command(SERIAL)
        while command is None:
            clock.advance(minutes=1)
            command = final.next_command(SERIAL)
        inner = command_in(command)
        [account] = inner["AutoSetupAdminAccounts"]
        assert account["shortName"] == ("ada" if getattr(answer, "short_name", "") == "ada" else "localadmin")
        assert b"no hash" not in account.values()
        assert inner["PrimaryAccountFullName"] == "ada@contoso.example"
        assert final.progress(SERIAL).problems


def test_accounts_are_made_when_the_hook_works_again(store: EnrollmentStore, clock: FrozenClock) -> None:
    """A minute later; with None the account is that of the profile."""
    give_profile(store, WITH_ACCOUNTS)
    answers: list[Exception | None] = [OSError("down"), None]

    def administrator(_: Enrollment) -> AdministratorAccount | None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return None

    final = FinalConfiguration(store, administrator=administrator, clock=clock)
    begin(final)
    assert final.next_command(SERIAL) is None
    clock.advance(minutes=1)
    [account] = command_in(final.next_command(SERIAL))["AutoSetupAdminAccounts"]
    assert account["hidden"]


def test_hook_is_not_called_without_an_administrator_in_the_profile(
    store: EnrollmentStore, clock: FrozenClock
) -> None:
    """The hook gives an account its password; the profile decides whether there is one."""
    give_profile(store, attrs.evolve(WITH_ACCOUNTS, administrator=None))
    async_hook: list[Enrollment] = []
    final = FinalConfiguration(store, administrator=async_hook.append, clock=clock)
    begin(final)
    assert "AutoSetupAdminAccounts" not in command_in(final.next_command(SERIAL))
    assert async_hook == []


def test_async_hook_needs_the_asynchronous_class(store: EnrollmentStore) -> None:
    """The error is raised before a Mac waits for the hook."""

    async def administrator(_: Enrollment) -> None:
        raise AssertionError

    with pytest.raises(PolicyError, match="AsyncFinalConfiguration"):
        FinalConfiguration(store, administrator=administrator)


def test_mac_without_an_assigned_profile_uses_the_default(store: EnrollmentStore, clock: FrozenClock) -> None:
    """That of its token."""
    give_profile(store, WITH_ACCOUNTS, profile_uuid=None)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    assert command_in(final.next_command(SERIAL))["RequestType"] == ACCOUNTS


def test_mac_that_waits_although_its_profile_does_not_hold_it_is_released(
    store: EnrollmentStore, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as when Apple still had an older profile for it: nothing else would ever release it."""
    give_profile(store, FREE)
    final = FinalConfiguration(store, clock=clock)
    final.authenticated(SERIAL)
    final.token_updated(SERIAL, awaiting=False)
    final.work_left(SERIAL, ["Wi-Fi"])
    final.release(SERIAL)
    assert final.next_command(SERIAL) is None
    assert store.enrollment(SERIAL) is not None
    assert final.progress(SERIAL).phase is AwaitPhase.NOT_AWAITING
    assert caplog.text == ""
    final.token_updated(SERIAL, awaiting=True)
    assert "released" in caplog.text
    assert command_in(final.next_command(SERIAL)) == {"RequestType": RELEASE}


def test_mac_that_is_already_set_up_is_sent_nothing(store: EnrollmentStore, clock: FrozenClock) -> None:
    """It does not wait, and both commands would be errors."""
    give_profile(store, WITH_ACCOUNTS)
    final = FinalConfiguration(store, clock=clock)
    final.received(SERIAL, check_in("Authenticate", SerialNumber=SERIAL))
    final.received(SERIAL, check_in("TokenUpdate"))
    final.work_left(SERIAL, ())
    final.release(SERIAL)
    assert final.next_command(SERIAL) is None
    assert list(final.waiting()) == []


def test_an_account_error_in_a_migration_does_not_hold_the_release(
    store: EnrollmentStore, clock: FrozenClock
) -> None:
    """AccountConfiguration fails there."""
    give_profile(store, WITH_ACCOUNTS)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    accounts = final.next_command(SERIAL)
    assert accounts is not None
    final.received(SERIAL, result("Error", accounts.command_uuid, ErrorChain=[{"ErrorCode": 101}]))
    assert command_in(final.next_command(SERIAL)) == {"RequestType": RELEASE}


def test_mac_that_continues_without_answering_the_release_is_released(
    store: EnrollmentStore, clock: FrozenClock
) -> None:
    """Its next TokenUpdate says so."""
    give_profile(store, BARE)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    assert final.next_command(SERIAL) is not None
    final.received(SERIAL, check_in("TokenUpdate"))
    assert final.progress(SERIAL).phase is AwaitPhase.RELEASED
    assert len(released_events(store)) == 1


def test_messages_of_users_do_not_affect_the_wait(store: EnrollmentStore, clock: FrozenClock) -> None:
    """Neither their TokenUpdate nor their results."""
    give_profile(store, BARE)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    message = final.received(SERIAL, check_in("TokenUpdate", UserID="A-1", UserShortName="ada"))
    assert message.is_user_channel
    assert not final.received(SERIAL, result("Idle", UserID="A-1")).asks_for_command
    assert final.progress(SERIAL).phase is AwaitPhase.AWAITING
    assert final.received(SERIAL, result("Idle")).asks_for_command
    assert not final.received(SERIAL, result("NotNow", "other")).asks_for_command
    assert not final.received(SERIAL, check_in("GetBootstrapToken")).asks_for_command


@pytest.mark.parametrize("message", ["Authenticate", "CheckOut"])
def test_new_enrollment_has_the_settings_of_the_newest_profile(
    store: EnrollmentStore, clock: FrozenClock, message: str
) -> None:
    """And no state of the old wait."""
    give_profile(store, BARE)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    give_profile(store, WITH_ACCOUNTS, profile_uuid="P2")
    assert final.progress(SERIAL).outstanding == (RELEASE,)
    final.received(SERIAL, check_in(message))
    assert final.progress(SERIAL).phase is AwaitPhase.NOT_AWAITING
    final.token_updated(SERIAL, awaiting=True)
    assert ACCOUNTS in final.progress(SERIAL).outstanding
    give_profile(store, FREE, profile_uuid="P3")
    final.authenticated(SERIAL)
    stored = store.enrollment(SERIAL)
    assert stored is not None
    assert stored.awaiting is None


def test_a_profile_given_again_does_not_forget_a_mac_that_waits(
    store: EnrollmentStore, clock: FrozenClock
) -> None:
    """A client can replay a Mac's message; the Mac must be released nevertheless."""
    give_profile(store, BARE)
    final = FinalConfiguration(store, clock=clock)
    begin(final, work=("Wi-Fi",))
    for profile in (BARE, FREE):
        give_profile(store, profile)
        assert [mac.progress.outstanding for mac in final.waiting()] == [("Wi-Fi", RELEASE)]
    final.work_left(SERIAL, ())
    assert command_in(final.next_command(SERIAL)) == {"RequestType": RELEASE}


def test_a_mac_is_released_after_its_token_was_removed(store: EnrollmentStore, clock: FrozenClock) -> None:
    """Without accounts, as its profile is gone; the event belongs to no token."""
    give_profile(store, WITH_ACCOUNTS)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    store.remove_token("hq", now=NOW)
    released = final.next_command(SERIAL)
    assert command_in(released) == {"RequestType": RELEASE}
    assert released is not None
    final.answered(SERIAL, released.command_uuid, "Acknowledged")
    assert [event.token_name for event in released_events(store)] == [""]


def test_mac_enrolls_again_although_its_profile_was_removed(
    store: EnrollmentStore, clock: FrozenClock
) -> None:
    """With its previous settings."""
    give_profile(store, WITH_ACCOUNTS, release_after=timedelta(hours=1))
    store.remove_token("hq", now=NOW)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    final.authenticated(SERIAL)
    assert final.progress(SERIAL).phase is AwaitPhase.NOT_AWAITING
    final.token_updated(SERIAL, awaiting=True)
    assert final.progress(SERIAL).outstanding[1:] == (ACCOUNTS, RELEASE)
    clock.advance(hours=1)
    assert len(list(final.waiting(due=True))) == 1


def test_mac_is_released_once(store: EnrollmentStore, clock: FrozenClock) -> None:
    """A late answer about its accounts is recorded, and is no second event."""
    give_profile(store, WITH_ACCOUNTS)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    accounts = final.next_command(SERIAL)
    clock.advance(minutes=5)
    assert command_in(final.next_command(SERIAL))["RequestType"] == ACCOUNTS
    released = final.next_command(SERIAL)
    assert accounts is not None
    assert released is not None
    final.answered(SERIAL, released.command_uuid, "Acknowledged")
    assert [problem.value for problem in final.progress(SERIAL).problems] == ["no answer"]
    final.answered(SERIAL, accounts.command_uuid, "Acknowledged")
    assert final.progress(SERIAL).problems == ()
    assert [event.details["accounts"] for event in released_events(store)] == ["no answer"]


def test_unreadable_state_does_not_hide_the_others(
    store: EnrollmentStore, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names its Mac."""
    broken = give_profile(store, BARE, serial="C02BROKEN")
    store.save_enrollment(attrs.evolve(broken, awaiting={"phase": "awaiting"}))
    give_profile(store, BARE)
    final = FinalConfiguration(store, clock=clock)
    begin(final)
    assert [mac.enrollment.serial_number for mac in final.waiting()] == [SERIAL]
    assert "C02BROKEN" in caplog.text


CALLS: dict[str, Callable[[FinalConfiguration], object]] = {
    "authenticated": lambda final: final.authenticated("C02UNKNOWN1"),
    "token_updated": lambda final: final.token_updated("C02UNKNOWN1", awaiting=True),
    "answered": lambda final: final.answered("C02UNKNOWN1", "1", "Acknowledged"),
    "work_left": lambda final: final.work_left("C02UNKNOWN1", ()),
    "release": lambda final: final.release("C02UNKNOWN1"),
    "next_command": lambda final: final.next_command("C02UNKNOWN1"),
    "progress": lambda final: final.progress("C02UNKNOWN1"),
    "received": lambda final: final.received("C02UNKNOWN1", check_in("Authenticate")),
}


@pytest.mark.parametrize("call", CALLS)
def test_unknown_mac_is_a_typed_error(store: EnrollmentStore, call: str) -> None:
    """It never got a profile here."""
    with pytest.raises(PolicyError, match="'C02UNKNOWN1' is not enrolled"):
        CALLS[call](FinalConfiguration(store))


@each(
    "body",
    [
        b"",
        b"no plist",
        b"x" * 70_000,
        plistlib.dumps([]),
        plistlib.dumps({}),
        plistlib.dumps({"MessageType": "", "Status": ""}),
        plistlib.dumps({"MessageType": 1}),
        plistlib.dumps({"MessageType": "TokenUpdate", "AwaitingConfiguration": 1}),
        plistlib.dumps({"Status": "Idle", "CommandUUID": b"x"}),
        plistlib.dumps({"Status": "Idle", "UserID": True}),
        plistlib.dumps({"Status": "Idle"}, fmt=plistlib.FMT_BINARY),
    ],
)
def test_unreadable_message_is_a_typed_error(body: bytes) -> None:
    """It is never read partially."""
    with pytest.raises(TrustError) as caught:
        read_message(body)
    assert caught.value.is_malformed


EVENTS = st.one_of(
    st.sampled_from([(one,) for one in ("authenticate", "poll", "lose", "release")]),
    st.tuples(st.just("token"), st.booleans()),
    st.tuples(st.just("give"), st.sampled_from([WITH_ACCOUNTS, BARE, FREE])),
    st.tuples(st.just("work"), st.lists(st.sampled_from(["Wi-Fi", "VPN"]), max_size=2)),
    st.tuples(st.just("wait"), st.integers(0, 400)),
    st.tuples(st.just("answer"), st.sampled_from(["Acknowledged", "Error", "NotNow", "Unheard"])),
)


class MacSimulation:
    """A Mac, whose commands get lost, whose hooks fail, and whose profile is given again."""

    def __init__(self, store: EnrollmentStore, *, limit: int | None, fails: bool, user: User | None) -> None:
        self.store, self.user = store, user
        self.release_after = None if limit is None else timedelta(minutes=limit)
        self.clock = FrozenClock(NOW)
        self.sent: list[Command] = []

        def administrator(_: Enrollment) -> AdministratorAccount | None:
            if fails:
                raise RuntimeError
            return None

        self.final = FinalConfiguration(store, administrator=administrator, clock=self.clock)
        self.do: dict[str, Callable[..., object]] = {
            "answer": self.answer,
            "authenticate": lambda: self.final.authenticated(SERIAL),
            "give": self.give,
            "lose": lambda: self.final.next_command(SERIAL),
            "poll": self.poll,
            "release": lambda: self.final.release(SERIAL),
            "token": lambda awaiting: self.final.token_updated(SERIAL, awaiting=awaiting),
            "wait": self.clock.advance,
            "work": lambda names: self.final.work_left(SERIAL, names),
        }
        self.give(WITH_ACCOUNTS)

    def give(self, profile: EnrollmentProfile) -> None:
        give_profile(self.store, profile, user=self.user, release_after=self.release_after)

    def poll(self) -> Command | None:
        command = self.final.next_command(SERIAL)
        self.sent += [] if command is None else [command]
        return command

    def answer(self, status: str) -> None:
        if self.sent:
            self.final.answered(SERIAL, self.sent.pop().command_uuid, status)

    def wait_for_release(self) -> Command:
        """Poll whenever the state says so; return the release."""
        for _ in range(30):
            command = self.final.next_command(SERIAL)
            if command is not None and command.name == RELEASE:
                return command
            [mac] = self.final.waiting()
            assert command is not None or mac.action.ask_again_at is not None
            if mac.action.ask_again_at is not None:
                self.clock.advance((mac.action.ask_again_at - self.clock()).total_seconds())
        raise AssertionError("the Mac waits for ever")


@given(
    events=st.lists(EVENTS, max_size=25),
    limit=st.none() | st.integers(1, 60),
    fails=st.booleans(),
    user=st.sampled_from([ADA, None]),
)
def test_waiting_mac_is_released_once_after_any_events(
    events: list[tuple[Any, ...]], limit: int | None, fails: bool, user: User | None
) -> None:
    """In the end DeviceConfigured is sent, and its acknowledgement is an event."""
    with MemoryStore() as store:
        store.add_token(example_token())
        simulation = MacSimulation(store, limit=limit, fails=fails, user=user)
        for kind, *arguments in events:
            simulation.do[kind](*arguments)
        simulation.final.token_updated(SERIAL, awaiting=True)
        simulation.final.work_left(SERIAL, ())
        command = simulation.wait_for_release()
        before = len(released_events(store))
        simulation.final.answered(SERIAL, command.command_uuid, "Acknowledged")
        assert simulation.final.progress(SERIAL).phase is AwaitPhase.RELEASED
        assert len(released_events(store)) == before + 1
        assert list(simulation.final.waiting()) == []
