"""Arguments of a wrong type are refused with their name and the allowed types, and nothing is stored."""

# mypy: disable-error-code="arg-type,has-type,list-item,call-overload"

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import anyio
import attrs
import pytest
from tests.cases import each

import pyade
import pyade.apple
import pyade.assignment
import pyade.builders.intune
import pyade.business
import pyade.crypto
import pyade.enrollment
import pyade.operations
import pyade.storage
import pyade.sync
import pyade.testing
from pyade import (
    Assigner,
    AsyncAssigner,
    AsyncClient,
    AsyncSyncer,
    Client,
    EnrollmentProfile,
    EnrollmentService,
    IdentityPolicy,
    MacOSVersion,
    MdmService,
    ScepIssuer,
    Scheduler,
    SkipKeys,
    Syncer,
    SyncPolicy,
    TargetMac,
    UserAffinity,
    build_enrollment_profile,
    doctor,
    loading,
)
from pyade.assignment import devices_at_risk
from pyade.assignment.rules import AssignmentPolicy, Rule
from pyade.builders import (
    build_account_configuration,
    build_device_configured,
    profile_to_document,
    write_intune,
)
from pyade.builders.dep_profile import from_apple, to_apple
from pyade.core import SoftwareUpdatePolicy, check_existing_mac, renew_instructions
from pyade.core.arguments import argument_types, check_arguments
from pyade.crypto import TokenKeypair, managed_apple_account_jwt
from pyade.crypto.secret_box import SecretBox
from pyade.enrollment import AsyncFinalConfiguration, FinalConfiguration
from pyade.errors import ArgumentError, PyadeError, VersionError
from pyade.operations import (
    AsyncScheduler,
    AsyncTokenService,
    TokenService,
    assign_token,
    doctor_async,
    due_tokens,
    migration_deadlines,
    overview,
    sync_token,
)
from pyade.storage import MemoryStore, SQLiteStore
from pyade.sync import DeviceActions, Subscription, send_reminders
from pyade.testing import FakeApple, FrozenClock

NAIVE = datetime(2026, 3, 1)  # noqa: DTZ001 - a naive time is refused
PROFILE = EnrollmentProfile(name="Std", url="https://mdm.contoso.com/enroll")
PACKAGES = (
    pyade,
    pyade.storage,
    pyade.enrollment,
    pyade.business,
    pyade.builders,
    pyade.builders.intune,
    pyade.builders.dep_profile,
    pyade.crypto,
    pyade.testing,
    pyade.sync,
    pyade.assignment,
    pyade.operations,
    pyade.apple,
)

CHECKS_ITSELF = {
    "AcceptedToken",
    "AdministratorAccount",  # checked by the profile that contains it, which reports all problems together
    "ApiAccount",
    "AssignmentPolicy",
    "BypassCode",
    "EnrollmentProfile",
    "MacOSVersion",
    "PrimaryAccount",
    "Rule",
    "SignInReturn",
    "Token",
    "UserAffinity",
    "build_platform_sso_required",
    "check_error_body",
    "check_update",
    "hash_password",
    "read_assertion_key",
}
"""They check arguments themselves, with more detailed errors; the tests of their packages cover them."""

CREATED_BY_PYADE = re.compile(
    "Account|AccountDrivenEnrollmentProfile|AwaitProgress|ActivationLock.*|Activity|AppleCareCoverage|Assign(Report|mentPlan)|Attempt|"
    "BetaEnrollmentTokens?|Call|ChangeCounts|ProfileSelection|Command|Credential(s|Request)|Def.*Response|Device|DevicePage|DeviceSignature|MachineInfo|SetupAction|"
    "DeletionReport|Device(Group|Message|Record)|HealthReport|DeviceTable|Enrollment(Decision|Response|Request)|ErrorBody|Event.*|Fleet(Day|History)|PreviewRow|ProfilePreview|Timeline.*|Fake(Enrollment|Setup|Transport)|"
    "Intune.*|LocalAccounts|ManagementService|OrgDevice|Organization|Page|Planned.*|PortalStep|Problem|Progress|RefreshReport|ReplacementDetails|"
    "RequestRecord|Resource|ProfileReview|ReviewRow|SendCall|ServedResponse|Server|ServiceUrl|SignedContent|StagedToken|SyncReport|SyncState|Token(Health|Overview|"
    "Removal|Secrets|Setup|State)|WaitingMac|Wire(Request|Response)"
)
"""Classes that only pyade creates, some of them for each device: their constructors are not checked."""

PROTOCOLS = {
    "AsyncCaller",
    "AsyncRunsAssignments",
    "Caller",
    "Database",
    "EnrollmentStore",
    "EventSource",
    "RunsAssignments",
    "Session",
    "SessionStorage",
    "SignIn",
    "Store",
    "Table",
    "Dialect",
    "check_texts",
    "translated",
}
"""Protocols that callers implement, and helpers of backends: pyade passes the arguments."""


@attrs.frozen
class PublicCallable:
    """A public function, or a constructor or method of a public class."""

    label: str
    function: Any
    owner: type | None

    def call(self, **arguments: Any) -> object:
        """Call it; run a coroutine or an asynchronous generator up to its first suspension."""
        first: list[object] = [] if self.owner is None else [object.__new__(self.owner)]
        answer = self.function(*first, **arguments)
        if inspect.iscoroutine(answer):
            return answer.send(None)
        return answer.__anext__().send(None) if inspect.isasyncgen(answer) else answer


def callables_of(package: ModuleType) -> Iterator[PublicCallable]:
    own = [name for name, it in vars(package).items() if getattr(it, "__module__", "") == package.__name__]
    names = getattr(package, "__all__", [name for name in own if not name.startswith("_")])
    for name in names:
        found = getattr(package, name)
        if inspect.isfunction(found) and found.__annotations__.keys() - {"return"}:
            yield PublicCallable(f"{package.__name__}.{name}", found, None)
        if not inspect.isclass(found) or issubclass(found, BaseException | str):
            continue
        for method in dir(found):
            function = inspect.getattr_static(found, method)
            if isinstance(function, classmethod | staticmethod):
                owner = found if isinstance(function, classmethod) else None
                function = function.__func__
            else:
                owner = found
            if not inspect.isfunction(function) or (method.startswith("_") and method != "__init__"):
                continue
            module = function.__module__ if method != "__init__" else found.__module__
            if f"{module}.".startswith("pyade.") and function.__annotations__.keys() - {"return"}:
                yield PublicCallable(f"{package.__name__}.{name}.{method}", function, owner)


CALLABLES = {found.label: found for package in PACKAGES for found in callables_of(package)}


def test_every_public_callable_checks_its_arguments() -> None:
    """Each is decorated with ``check_arguments``, or in one of the lists above."""
    unknown = {
        label
        for label, found in CALLABLES.items()
        if not hasattr(found.function, "argument_check")
        and not {*label.split(".")} & (CHECKS_ITSELF | PROTOCOLS)
        and not any(map(CREATED_BY_PYADE.fullmatch, label.split(".")))
    }
    assert sorted(unknown) == []


def test_type_hints_of_public_callables_can_be_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unresolved type would allow every value."""
    unknown: set[str] = set()

    def find_public_name(name: str, default: Any) -> Any:
        found = loading.find_public_name(name, default)
        unknown.update({name} if found is default else ())
        return found

    monkeypatch.setattr("pyade.core.arguments.find_public_name", find_public_name)
    for found in CALLABLES.values():
        argument_types(inspect.unwrap(found.function), found.owner)
    assert unknown == {"App"}, "of procrastinate, which is optional"
    assert loading.find_public_name("NoSuchName", None) is None


VALUES: tuple[object, ...] = (
    object(),
    "text",
    b"bytes",
    15,
    1.5,
    True,
    None,
    NAIVE,
    timedelta(1),
    ["x", 5],
    [b"x", None],
    {1: 2},
    Client,
)


@pytest.mark.parametrize(
    "label", [label for label, found in CALLABLES.items() if hasattr(found.function, "argument_check")]
)
def test_arguments_of_a_wrong_type_are_refused(label: str) -> None:
    found = CALLABLES[label]
    for name, expected in found.function.argument_check.types(found.owner).items():
        wrong = [] if expected is None else [value for value in VALUES if not expected.accepts(value)]
        assert expected is None or wrong, name
        for value in wrong:
            with pytest.raises(ArgumentError) as caught:
                found.call(**{name: value})
            assert f"{name} is " in str(caught.value)
            assert str(caught.value).endswith(f"{expected.description} is allowed")


@attrs.frozen
class World:
    """A store with a token, and clients for it."""

    store: Any
    client: Client
    waiting: AsyncClient
    clock: FrozenClock

    def state(self) -> object:
        """Return the stored data, which a refused call must not change."""
        store = self.store
        return (
            store.tokens(),
            store.sync_state("hq"),
            store.default_profile("hq"),
            store.events(),
            store.profiles("hq"),
        )


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[World]:
    clock = FrozenClock()
    apple = FakeApple(clock=clock)
    apple.add_server("hq")
    apple.add_devices(2, server="hq")
    token = apple.token("hq")
    with MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "ade.db") as store:
        store.add_token(token)
        with Client(token, transport=apple.transport(), clock=clock) as client:
            waiting = AsyncClient(token, transport=apple.transport(), clock=clock)
            yield World(store, client, waiting, clock)


def awaited(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    async def work() -> Any:
        return await function(*args, **named)

    return anyio.run(work)


def returning(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def adopted(service: Any, world: World) -> Any:
    return service.add(world.store.token("hq"), KEYPAIR)


KEYPAIR = TokenKeypair.generate("hq")
# The call, the argument that the error must name, and the allowed type that it must name.
CASES: tuple[tuple[Callable[[World], object], str, str], ...] = (
    (lambda w: Assigner(w.client, w.store).run(default="Std"), "default", "EnrollmentProfile"),
    (lambda w: awaited(AsyncAssigner(w.waiting, w.store).run, default="Std"), "default", "EnrollmentProfile"),
    (lambda w: Assigner(w.client, w.store).preview("Std"), "default", "EnrollmentProfile"),
    (lambda w: Assigner(w.client, w.store).assign(["C02"], PROFILE), "profile", "EnrollmentProfile"),
    (
        lambda w: awaited(AsyncAssigner(w.waiting, w.store).assign, ["C02"], PROFILE),
        "profile",
        "EnrollmentProfile",
    ),
    (lambda w: Assigner(w.client, w.store).assign(PROFILE, PROFILE), "serials", "a list of serial numbers"),
    (lambda w: Assigner(w.client, w.store).assign(PROFILE, "C02"), "serials", "a list of serial numbers"),
    (
        lambda w: Assigner(w.client, w.store).assign(PROFILE, iter(["C02", 5])),
        "serials",
        "a list of serial numbers",
    ),
    (lambda w: Assigner(w.client, w.store).unassign([None]), "serials", "a list of serial numbers"),
    (lambda w: Assigner(w.client, w.store).replace("Std", PROFILE), "before", "EnrollmentProfile"),
    (
        lambda w: Assigner(w.client, w.store, policy=[Rule(profile=PROFILE, model="x")]),
        "policy",
        "AssignmentPolicy",
    ),
    (lambda w: AsyncAssigner(w.waiting, w.store, policy=[]), "policy", "AssignmentPolicy"),
    (lambda w: Assigner(w.waiting, w.store), "apple", "a Client"),
    (lambda w: AsyncAssigner(w.client, w.store), "apple", "an AsyncClient"),
    (lambda w: Syncer(w.store, w.client), "apple", "a Client"),
    (lambda w: Syncer(w.client, w.client), "store", "a Store"),
    (lambda w: Syncer(w.client, SQLiteStore), "store", "a Store"),
    (lambda w: AsyncSyncer(w.store, w.waiting), "apple", "an AsyncClient"),
    (lambda w: AsyncSyncer(w.client, w.store), "apple", "an AsyncClient"),
    (lambda w: Syncer(w.client, w.store, policy=timedelta(1)), "policy", "a SyncPolicy"),
    (lambda w: Syncer(w.client, w.store, clock=NAIVE), "clock", "a function"),
    (lambda w: Syncer(w.client, w.store).sync(full="yes"), "full", "True or False"),
    (lambda w: awaited(AsyncSyncer(w.waiting, w.store).sync, force=1), "force", "True or False"),
    (lambda w: Syncer(w.client, w.store).restore(None), "serial_number", "a text"),
    (lambda w: DeviceActions(w.client, w.store).refresh("C02"), "serials", "a list of serial numbers"),
    (lambda w: DeviceActions(w.client, w.store).lock(["C02"]), "serial_number", "a text"),
    (lambda w: DeviceActions(w.client, w.store).delete("C02"), "serials", "a list of serial numbers"),
    (lambda _: Client("hq"), "token", "a Token"),
    (lambda _: AsyncClient("hq"), "token", "a Token"),
    (lambda _: Client(None), "token", "a Token"),
    (lambda w: w.client.device_details("C02"), "serials", "a list of serial numbers"),
    (lambda w: w.client.define_profile("Std"), "profile", "EnrollmentProfile"),
    (lambda w: awaited(w.waiting.define_profile, None), "profile", "EnrollmentProfile"),
    (lambda w: w.client.fetch_devices(limit="10"), "limit", "a whole number"),
    (lambda _: SyncPolicy(request_cooldown=15), "request_cooldown is 15", "timedelta(minutes=15)"),
    (lambda _: SyncPolicy(max_release_share="0.1"), "max_release_share", "a number"),
    (lambda _: IdentityPolicy(scep_only="no"), "scep_only", "True or False"),
    (lambda _: to_apple("x"), "profile", "EnrollmentProfile"),
    (lambda _: from_apple("x"), "mapping", "a mapping"),
    (lambda _: profile_to_document(None), "profile", "EnrollmentProfile"),
    (lambda _: write_intune("x"), "items", "a list"),
    (lambda _: build_device_configured(command_uuid=5), "command_uuid", "a text"),
    (lambda _: build_enrollment_profile(PROFILE, PROFILE, None), "service", "a MdmService"),
    (lambda _: TargetMac(serial_number="C02", product="Mac16,1", version=14.1), "version", "a MacOSVersion"),
    (lambda w: doctor(w.store, expected_serials="C02XXXX"), "expected_serials", "a list of texts"),
    (
        lambda w: awaited(doctor_async, w.store, expected_serials="C02XXXX"),
        "expected_serials",
        "a list of texts",
    ),
    (lambda w: doctor(w.client), "store", "a Store"),
    (lambda w: doctor(w.store, w.client), "client_for", "a function"),
    (lambda w: doctor(w.store, push=b"pem"), "push", "PushCertificate"),
    (lambda w: overview(w.client), "store", "a Store"),
    (lambda w: Scheduler(w.store, Client, proxy=5), "proxy is a whole number", "a text"),
    (lambda w: AsyncTokenService(w.store, AsyncClient, http2="yes"), "http2", "True or False"),
    (lambda w: sync_token(w.store, Client, "hq", limits=5), "limits", "a Limits"),
    (lambda _: SecretBox(5), "keys= is int", "a list of keys"),
    (lambda w: TokenService(w.client, w.store), "store", "a Store"),
    (lambda w: AsyncTokenService(w.store, w.waiting), "client_for", "a function"),
    (lambda w: TokenService(w.store, Client, policy=5), "policy", "a SyncPolicy"),
    (lambda w: TokenService(w.store, Client).upload("hq", "hq.p7m"), "p7m", "bytes"),
    (lambda w: awaited(AsyncTokenService(w.store, AsyncClient).accept, "hq"), "staged", "a StagedToken"),
    (lambda w: Scheduler(w.store, w.client), "client_for", "a function"),
    (lambda w: Rule(profile=PROFILE, model="x").matches("C02"), "device", "a Device"),
    (lambda w: AssignmentPolicy().choose("C02"), "device", "a Device"),
    (lambda w: Syncer(w.client, w.store, clock=datetime.now).sync(), "what clock returned", "a time zone"),
    (lambda w: awaited(AsyncSyncer(w.waiting, w.store, clock=time.time).sync), "what clock", "a time zone"),
    (lambda w: Syncer(w.client, w.store, clock=FrozenClock).sync(), "a FrozenClock", "a time zone"),
    (lambda w: Client(w.store.token("hq"), clock=datetime.now).account(), "what clock", "a time zone"),
    (lambda w: Scheduler(w.store, Client, clock=datetime.now).status(), "what clock", "a time zone"),
    (lambda w: adopted(TokenService(w.store, returning(None)), w), "what client_for returned", "a Client"),
    (lambda w: adopted(TokenService(w.store, returning(w.waiting)), w), "an AsyncClient", "a Client"),
    (
        lambda w: awaited(adopted, AsyncTokenService(w.store, returning(w.client)), w),
        "a Client",
        "an AsyncClient",
    ),
    (lambda w: overview(w.store, now=NAIVE), "now", "a time with a time zone"),
    (lambda w: send_reminders(w.store, now=NAIVE), "now", "a time with a time zone"),
    (lambda w: due_tokens(w.store, now="2026-03-01"), "now", "a time with a time zone"),
    (lambda w: migration_deadlines(w.store, "hq", until=timedelta(7)), "until", "a time with a time zone"),
    (lambda w: devices_at_risk(w.store, None), "token_name", "a text"),
    (lambda w: sync_token(w.store, w.client, "hq"), "client_for", "a function"),
    (lambda w: assign_token(w.store, Client, w.client), "token_name", "a text"),
    (lambda w: Scheduler(w.client, Client), "store", "a Store"),
    (lambda w: Scheduler(w.store, w.client), "client_for", "a function"),
    (lambda w: AsyncScheduler(w.store, None), "client_for", "a function"),
    (lambda w: Scheduler(w.store, Client, assign="yes"), "assign", "AssignmentPolicy"),
    (lambda w: Subscription(w.store, "mine", "print"), "handler", "a function"),
    (lambda w: w.store.add_token("hq"), "token", "a Token"),
    (lambda w: w.store.set_default_profile("hq", "Std"), "profile", "EnrollmentProfile"),
    (lambda w: w.store.set_default_profile(None, PROFILE), "token_name", "a text"),
    (lambda w: w.store.delete_device("hq", "C02", now=NAIVE), "now", "a time with a time zone"),
    (lambda w: w.store.devices("hq", serials="C02"), "serials", "a list of texts"),
    (lambda w: w.store.acquire_lease("hq", "me", seconds=timedelta(minutes=1)), "seconds", "a number"),
    (lambda w: w.store.save_secret("x", b"secret"), "secret", "a text"),
    (lambda w: EnrollmentService(w.store, mdm="https://mdm.contoso.com"), "mdm", "a MdmService"),
    (lambda w: EnrollmentService(w.client, mdm=MDM), "store", "an EnrollmentStore"),
    (lambda w: EnrollmentService(w.store, mdm=MDM, release_after=900), "release_after is 900", "a timedelta"),
    (lambda w: EnrollmentService(w.store, mdm=MDM, scep=SCEP).renew(None), "serial_number", "a text"),
    (lambda w: FinalConfiguration(w.client), "store", "an EnrollmentStore"),
    (
        lambda w: awaited(AsyncFinalConfiguration(w.store).token_updated, "C02", awaiting="no"),
        "awaiting",
        "True or False",
    ),
    (
        lambda _: MdmService(identifier="a.b", organization="x", server_url=None, topic="t"),
        "server_url",
        "a text",
    ),
    (lambda _: TokenKeypair.generate("x", days="365"), "days", "a whole number"),
    (lambda _: managed_apple_account_jwt("key", "uuid"), "keypair", "a TokenKeypair"),
    (lambda _: UserAffinity.legacy().on(14.1), "float", "not text"),
    (
        lambda _: EnrollmentProfile(name="S", url="https://m.example/e", user_affinity="modern"),
        "user_affinity",
        "UserAffinity",
    ),
    (lambda _: PROFILE.diff("Std"), "other", "EnrollmentProfile"),
    (lambda _: Rule(profile="Std", model="x"), "profile", "EnrollmentProfile"),
    (lambda _: Rule(profile=PROFILE, model="x", name=5), "name", "a text"),
    (
        lambda _: AssignmentPolicy([Rule(profile=PROFILE, order="1")], order_numbers=["1"]),
        "order_numbers",
        "a mapping",
    ),
    (lambda _: FrozenClock("2026"), "start", "datetime"),
    (lambda _: FrozenClock().advance("1 day"), "by", "a number"),
    (lambda _: FakeApple().add_devices("3"), "count", "a whole number"),
    (lambda _: FakeApple().add_devices(1, family="Macintosh"), "family", "'Mac'"),
    (lambda _: FakeApple(clock=datetime.now(UTC)), "clock", "a function"),
    (lambda _: pyade.business.BusinessClient("key"), "account", "an ApiAccount"),
    (lambda _: pyade.business.AsyncBusinessClient(None), "account", "an ApiAccount"),
)
MDM = MdmService(
    identifier="a.b", organization="x", server_url="https://m.example/", topic="com.apple.mgmt.x"
)
SCEP = ScepIssuer(url="https://ca.example/scep", challenge="x")


@pytest.mark.parametrize("case", range(len(CASES)))
def test_typical_mistakes_are_named_and_nothing_is_stored(case: int, world: World) -> None:
    call, names, allowed = CASES[case]
    before = world.state()
    with pytest.raises(PyadeError) as caught:
        call(world)
    assert names in str(caught.value)
    assert allowed in str(caught.value)
    assert world.state() == before
    assert overview(world.store, now=datetime(2026, 3, 1, tzinfo=UTC))[0].default_profile == ""


VERSIONS: dict[str, Callable[[str], object]] = {
    "UserAffinity.none().on": UserAffinity.none().on,
    "UserAffinity.legacy().on": UserAffinity.legacy().on,
    "UserAffinity.modern().on": UserAffinity.modern("https://mdm.contoso.com/signin").on,
    "EnrollmentProfile.plan": PROFILE.plan,
    "MacOSVersion.of": MacOSVersion.of,
    "SkipKeys.exists_on": SkipKeys.SIRI.exists_on,
    "SkipKeys.apple_agrees_on": SkipKeys.SIRI.apple_agrees_on,
    "SkipKeys.available": SkipKeys.available,
    "TargetMac": lambda version: TargetMac(serial_number="C02", product="Mac16,1", version=version),
    "SoftwareUpdatePolicy": lambda version: SoftwareUpdatePolicy(minimum=version),
    "check_existing_mac": lambda version: check_existing_mac(None, version=version),
    "renew_instructions": lambda version: renew_instructions(version, UserAffinity.none()),
    "build_account_configuration": lambda version: build_account_configuration(
        PROFILE, command_uuid="x", version=version
    ),
    "EnrollmentService.renew": lambda version: EnrollmentService(MemoryStore(), mdm=MDM, scep=SCEP).renew(
        "C02", version=version
    ),
}


@pytest.mark.parametrize("text", ["garbage", "", "14.x", "macOS 14", "9.0"])
@pytest.mark.parametrize("label", VERSIONS)
def test_a_malformed_version_is_refused_wherever_a_version_is_accepted(label: str, text: str) -> None:
    """Also if this affinity, profile or policy would not use the version."""
    with pytest.raises(VersionError):
        VERSIONS[label](text)


class TestCheckArguments:
    """``check_arguments`` itself."""

    def test_the_error_does_not_contain_texts_or_bytes(self) -> None:
        for secret in ("hunter2", b"hunter2", ["hunter2", 5], {"hunter2": 1}):
            with pytest.raises(ArgumentError) as caught:
                managed_apple_account_jwt(secret, "uuid")
            assert "hunter2" not in str(caught.value)
        with pytest.raises(ArgumentError, match="is a whole number"):
            pyade.crypto.TokenKeypair.from_pem(b"", 1234)

    def test_the_error_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="SyncPolicy: request_cooldown is 15: a timedelta"):
            SyncPolicy(request_cooldown=15)

    def test_an_object_with_the_methods_is_accepted_as_store_or_client(self, world: World) -> None:
        class Wrapped:
            """Delegates everything, as a caller's own class may."""

            def __init__(self, inner: Any) -> None:
                self._inner = inner

            def __getattr__(self, name: str) -> Any:
                return getattr(self._inner, name)

        syncer = Syncer(Wrapped(world.client), Wrapped(world.store), clock=world.clock)
        assert syncer.sync(full=True).devices == 2
        service = EnrollmentService(Wrapped(world.store), mdm=MDM, scep=SCEP)
        assert service.enroll(b"x").status == 400

        class Older:
            """A caller's store that lacks methods that were added later."""

            def __getattr__(self, name: str) -> Any:
                if name in ("records_of", "add_or_renew_token"):
                    raise AttributeError(name)
                return print

        with pytest.raises(ArgumentError) as caught:
            Syncer(world.client, Older())
        assert "an Older without" in str(caught.value)
        assert "records_of" in str(caught.value)

        class Awaits:
            token_name = "hq"

            def call(self, call: Any) -> Any:
                return world.waiting.call(call)

        assert awaited(AsyncSyncer(Awaits(), world.store, clock=world.clock).sync).action.value == "wait"

    def test_decorated_functions_stay_coroutine_and_generator_functions(self) -> None:
        @check_arguments
        async def waits(seconds: float) -> float:
            return seconds

        @check_arguments
        async def items(count: int, /) -> Any:
            for number in range(count):
                yield number

        async def work() -> list[int]:
            return [number async for number in items(3)]

        assert inspect.iscoroutinefunction(waits)
        assert inspect.isasyncgenfunction(items)
        assert awaited(waits, 1) == 1
        assert anyio.run(work) == [0, 1, 2]

    def test_variadic_arguments_are_not_confused_with_others(self) -> None:
        @check_arguments
        def script(name: str, *faults: Any, forever: bool = False) -> int:
            return len(faults)

        assert script("x", 1, 2, None) == 3
        with pytest.raises(ArgumentError, match="forever is 2: True or False is allowed"):
            script("x", 1, forever=2)

    def test_an_iterator_is_not_consumed(self) -> None:
        @check_arguments
        def names(values: tuple[str, ...] | Iterator[str]) -> int:
            return len(list(values))

        assert names(iter("ab")) == 2


@each(
    ("call", "message"),
    [
        (lambda world, api: api.Client(), "Client: token is missing: a Token or a function is allowed"),
        (
            lambda world, api: api.Client(world.store.tokens()[0], tranport=None),
            "Client: tranport is not an argument: transport is allowed",
        ),
        (
            lambda world, api: api.Syncer(world.client, world.store).sync(ful=True),
            "Syncer.sync: ful is not an argument: full is allowed",
        ),
        (
            lambda world, api: api.Syncer(world.client, world.store, None),
            "Syncer: argument 3 is given without a name: policy= or clock= or progress= is allowed",
        ),
    ],
)
def test_an_argument_that_is_missing_unknown_or_one_too_many_is_named(
    world: World, call: Callable[[World, Any], object], message: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        call(world, pyade)
    assert str(caught.value) == message


def test_a_type_error_from_inside_stays_what_it_is() -> None:
    @check_arguments
    def add(one: int, other: Any) -> Any:
        return one + other

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        add(1, "2")
    assert not isinstance(caught.value, ArgumentError)
