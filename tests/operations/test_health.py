"""``doctor`` finds what prevents Macs from enrolling, with the next step, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pyade.apple.client import AsyncClient, Client
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.problems import Problem, Severity
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.crypto.push_certificate import PushCertificate
from pyade.errors import AccessDeniedError, ArgumentError, PolicyError, TokenSupersededError
from pyade.operations import HealthReport, doctor, doctor_async
from pyade.storage import MemoryStore
from pyade.sync import Syncer, SyncReport
from pyade.testing import FakeApple, FrozenClock

DAY = timedelta(days=1)
TOPIC = "com.apple.mgmt.External.00000000-0000-4000-8000-000000000001"
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")


def certificate(*, ends: datetime, topic: str = "") -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, "anchor")]
    parts += [x509.NameAttribute(NameOID.USER_ID, topic)] if topic else []
    name = x509.Name(parts)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(ends - 400 * DAY).not_valid_after(ends)
    return made.sign(key, hashes.SHA256())


@attrs.define(kw_only=True)
class HealthWorld:
    """A healthy organization, until a test breaks something."""

    kind: str
    clock: FrozenClock = attrs.Factory(FrozenClock)
    store: MemoryStore = attrs.Factory(MemoryStore)
    apple: FakeApple = attrs.field(init=False)
    serials: tuple[str, ...] = ()
    skew: timedelta = timedelta(0)

    def __attrs_post_init__(self) -> None:
        self.apple = FakeApple(clock=self.clock)
        server = self.apple.add_server("hq")
        self.serials = self.apple.add_devices(3, server=server)
        self.store.add_token(self.apple.token("hq", name="hq"))
        self.store.set_default_profile("hq", PROFILE)
        self.sync()

    def client(self, token: Token) -> Client:
        return Client(token, transport=self.apple.transport(), clock=self.now, sleep=self.clock.sleep)

    def now(self) -> datetime:
        return self.clock() + self.skew

    def sync(self) -> SyncReport:
        with self.client(self.store.token("hq")) as client:
            return Syncer(client, self.store, clock=self.clock).sync()

    def diagnose(self, *, asks: bool = True, **options: Any) -> HealthReport:
        options = {"push": self.push(200), **options}
        if self.kind == "sync":
            return doctor(self.store, self.client if asks else None, clock=self.clock, **options)

        def client_for(token: Token) -> AsyncClient:
            return AsyncClient(
                token, transport=self.apple.transport(), clock=self.now, sleep=self.clock.sleep_async
            )

        async def main() -> HealthReport:
            return await doctor_async(self.store, client_for if asks else None, clock=self.clock, **options)

        return anyio.run(main, backend=self.kind)

    def push(self, days: float) -> PushCertificate:
        ends = self.clock() + timedelta(days=days)
        return PushCertificate(certificate=certificate(ends=ends, topic=TOPIC))

    def default(self, **changes: Any) -> None:
        self.store.set_default_profile("hq", attrs.evolve(PROFILE, **changes))


@pytest.fixture(params=["sync", "asyncio", "trio"])
def world(request: pytest.FixtureRequest) -> Iterator[HealthWorld]:
    world = HealthWorld(kind=request.param)
    with world.store:
        yield world


def only_problem(diagnosis: HealthReport, text: str) -> Problem:
    found = [problem for problem in diagnosis.problems if text in str(problem)]
    assert len(found) == 1, diagnosis
    assert found[0].fix
    return found[0]


@pytest.mark.twins
def test_healthy_organization_has_no_problems(world: HealthWorld) -> None:
    diagnosis = world.diagnose(push=world.push(200), topic=TOPIC, expected_serials=world.serials)
    assert (diagnosis.problems, diagnosis.is_healthy, diagnosis.checked_at) == ((), True, world.clock())
    assert "0 problems" in str(diagnosis)


def test_push_certificate_is_checked(world: HealthWorld) -> None:
    assert only_problem(world.diagnose(push=world.push(20)), "push_certificate").severity is Severity.WARNING
    assert not world.diagnose(push=world.push(-1)).is_healthy
    assert (
        only_problem(world.diagnose(push=world.push(200), topic=f"{TOPIC}2"), "topic").severity
        is Severity.ERROR
    )


def test_missing_push_certificate_is_reported(world: HealthWorld) -> None:
    """It is one of the specification's prerequisites."""
    diagnosis = world.diagnose(push=None)
    problem = only_problem(diagnosis, "push_certificate")
    assert (problem.severity, diagnosis.is_healthy) == (Severity.NOTE, True)
    assert "push=" in problem.fix


def test_missing_token_is_reported() -> None:
    with MemoryStore() as store:
        assert "TokenService.create" in only_problem(doctor(store), "a server token is needed").fix


@pytest.mark.parametrize(("days", "severity"), [(20, Severity.WARNING), (-1, Severity.ERROR)])
def test_problems_of_a_token_are_reported(world: HealthWorld, days: int, severity: Severity) -> None:
    token = attrs.evolve(world.store.token("hq"), access_token_expiry=world.clock() + days * DAY)
    world.store.replace_token(token)
    problem = only_problem(world.diagnose(asks=False), "expire")
    assert problem.severity is severity
    assert token.apple_id in problem.fix


def test_personal_apple_id_is_reported(world: HealthWorld) -> None:
    world.store.replace_token(attrs.evolve(world.store.token("hq"), apple_id="me@gmail.com"))
    assert only_problem(world.diagnose(), "token hq.apple_id").severity is Severity.WARNING


def test_unaccepted_terms_are_reported(world: HealthWorld) -> None:
    world.apple.faults.change_terms()
    problem = only_problem(world.diagnose(), "T_C_NOT_SIGNED")
    assert problem.severity is Severity.ERROR
    assert "administrator" in problem.fix
    assert str(problem).count(problem.fix) == 1


def test_token_that_apple_refuses_is_reported(world: HealthWorld) -> None:
    world.apple.generate_token("hq")
    problem = only_problem(world.diagnose(), "signature_invalid")
    assert problem.severity is Severity.ERROR
    assert str(problem).count(problem.fix) == 1
    assert world.diagnose(asks=False).is_healthy, "no request was sent"


def test_wrong_clock_is_reported(world: HealthWorld) -> None:
    world.skew = timedelta(minutes=10)
    problem = only_problem(world.diagnose(), "clock")
    assert (problem.setting, problem.severity) == ("clock", Severity.ERROR)
    assert "NTP" in problem.fix


def test_token_of_another_server_is_reported(world: HealthWorld) -> None:
    world.store.replace_token(attrs.evolve(world.store.token("hq"), server_uuid="0" * 32))
    assert only_problem(world.diagnose(), "is expected").severity is Severity.ERROR


def test_suspended_or_outdated_token_is_reported(world: HealthWorld) -> None:
    world.clock.advance(days=3)
    assert "Scheduler" in only_problem(world.diagnose(), "last synced with Apple at").fix
    state = world.store.sync_state("hq")
    token = world.store.token("hq")
    suspended = attrs.evolve(state, suspended="TermsError: sign them", suspended_with=token.fingerprint)
    world.store.save_sync_state("hq", suspended)
    assert only_problem(world.diagnose(), "TermsError: sign them").severity is Severity.ERROR
    world.store.add_token(attrs.evolve(token, name="new", server_uuid=None))
    assert "never synced" in str(only_problem(world.diagnose(), "never synced"))


def test_a_renewed_token_is_to_be_synced(world: HealthWorld) -> None:
    """Its old error says nothing about the next sync, which the specification allows 15 minutes later."""
    world.clock.advance(hours=3)
    world.apple.generate_token("hq")
    with pytest.raises(TokenSupersededError):
        world.sync()
    known = world.store.token("hq").server_uuid
    world.store.replace_token(attrs.evolve(world.apple.token("hq", name="hq"), server_uuid=known))
    problem = only_problem(world.diagnose(asks=False), "not synced since the token was renewed")
    assert "15 minutes after the last sync" in problem.fix
    assert world.sync().action is SyncAction.WAIT
    world.clock.advance(minutes=15)
    assert world.sync().is_complete
    assert not world.diagnose(asks=False).problems


def test_failed_sync_is_reported_until_one_succeeds(world: HealthWorld) -> None:
    """If an administrator must fix the token, only that is reported."""
    world.clock.advance(hours=3)
    world.apple.faults.deny_access()
    with pytest.raises(AccessDeniedError) as caught:
        world.sync()
    world.apple.faults.restore_access()
    diagnosis = world.diagnose(asks=False)
    problem = only_problem(diagnosis, "the last sync ended with")
    assert str(caught.value) in problem.allowed
    assert (problem.setting, problem.value, problem.severity) == ("token hq", "", Severity.WARNING)
    assert diagnosis.is_healthy
    assert len(diagnosis.problems) == 1

    state = world.store.sync_state("hq")
    token = world.store.token("hq")
    suspended = attrs.evolve(state, suspended="TermsError: sign them", suspended_with=token.fingerprint)
    world.store.save_sync_state("hq", suspended)
    first, *others = (one.allowed for one in world.diagnose(asks=False).problems)
    assert first == "TermsError: sign them"
    assert others == [
        "3 devices without a profile would fail to enroll: the newest assignment ended before their turn"
    ]
    world.clock.advance(days=1)
    world.sync()
    assert world.diagnose().problems == ()


def test_devices_without_a_profile_are_reported(world: HealthWorld) -> None:
    world.store.set_default_profile("hq", None)
    diagnosis = world.diagnose(expected_serials=world.serials[:1])
    assert only_problem(diagnosis, "no default profile").severity is Severity.WARNING
    assert world.serials[0] in only_problem(diagnosis, "3 devices without a profile").value
    assert only_problem(diagnosis, "1 device of the purchase without a profile").severity is Severity.ERROR
    assert diagnosis.problems[0].severity is Severity.ERROR, "the worst comes first"


@pytest.mark.parametrize(("days", "severity"), [(20, Severity.WARNING), (-1, Severity.ERROR), (90, None)])
def test_expiring_anchors_are_reported(world: HealthWorld, days: int, severity: Severity | None) -> None:
    anchor = certificate(ends=world.clock() + days * DAY)
    world.default(anchor_certificates=(anchor.public_bytes(Encoding.DER),))
    problems = world.diagnose().problems
    assert [problem.severity for problem in problems] == ([severity] if severity else [])


def test_misleading_account_settings_are_reported_while_a_profile_has_them(
    world: HealthWorld,
) -> None:
    """Accounts switch on the wait; a setup without interaction stops there."""
    world.default(await_final_configuration=False, managed_user="ada", auto_advance=True)
    found = {problem.setting: problem for problem in world.diagnose().problems}
    where = f"profile {PROFILE.name}"
    assert "switched on" in str(found[f"{where}.await_final_configuration"])
    assert found.keys() == {
        f"{where}.{name}" for name in ("await_final_configuration", "managed_user", "auto_advance")
    }
    assert {problem.severity for problem in found.values()} == {Severity.WARNING}
    world.default(await_final_configuration=False)
    assert world.diagnose().problems == ()


def test_legacy_authentication_without_an_endpoint_is_reported(world: HealthWorld) -> None:
    world.default(user_affinity=UserAffinity.legacy())
    reminder = only_problem(world.diagnose(), "WS-Trust 1.3")
    assert (reminder.severity, "Get-ADfsEndpoint" in reminder.fix) == (Severity.NOTE, True)
    assert world.diagnose().is_healthy
    assert not world.diagnose(check_ws_trust=lambda: "").problems
    assert only_problem(world.diagnose(check_ws_trust=lambda: "404"), "404").severity is Severity.ERROR


@pytest.mark.twins
def test_devices_of_a_purchase_are_checked(world: HealthWorld) -> None:
    (elsewhere,) = world.apple.add_devices(1)
    expected = [*world.serials, elsewhere, "NOTBOUGHT", "NOTBOUGHT"]
    problem = only_problem(
        world.diagnose(expected_serials=expected), "2 devices of the purchase on no MDM server"
    )
    assert "may not be in the program" in problem.fix
    asked: list[Sequence[str]] = []

    def find(serials: Sequence[str]) -> set[str]:
        asked.append(serials)
        return {elsewhere}

    diagnosis = world.diagnose(expected_serials=expected, find_in_program=find)
    assert asked == [(elsewhere, "NOTBOUGHT")]
    assert "NOTBOUGHT" in only_problem(diagnosis, "1 device of the purchase not yet in Apple's program").value
    assert elsewhere in only_problem(diagnosis, "1 device of the purchase on no MDM server").value


@pytest.mark.parametrize("answer", [True, False, None, 404, b"closed"])
def test_hook_that_returns_no_text_is_refused(world: HealthWorld, answer: object) -> None:
    """True does not describe a problem, and None does not mean "nothing"."""
    world.default(user_affinity=UserAffinity.legacy())
    with pytest.raises(ArgumentError, match=r"what check_ws_trust returned.*a text"):
        world.diagnose(check_ws_trust=lambda: answer)
    with pytest.raises(ArgumentError, match=r"what find_in_program returned.*a list of texts"):
        world.diagnose(expected_serials=["NOTBOUGHT"], find_in_program=lambda serials: answer)


@pytest.mark.twins
def test_async_doctor_accepts_coroutine_functions_as_hooks(world: HealthWorld) -> None:
    world.default(user_affinity=UserAffinity.legacy())

    async def check() -> str:
        return "closed"

    if world.kind == "sync":
        with pytest.raises(PolicyError, match="check_ws_trust is asynchronous: use doctor_async"):
            world.diagnose(check_ws_trust=check)
    else:
        assert only_problem(world.diagnose(check_ws_trust=check), "closed").severity is Severity.ERROR


def test_report_shows_no_secrets_and_shortens_long_lists(world: HealthWorld) -> None:
    expected = [f"C02{number:06}" for number in range(500)]
    text = str(world.diagnose(expected_serials=expected))
    token = world.store.token("hq")
    assert len(text) < 1_000
    assert not any(
        secret.reveal() in text for secret in (token.consumer_secret, token.access_token, token.access_secret)
    )
