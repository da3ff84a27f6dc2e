"""What is missing for Macs to enroll is found, with the next step, and nothing else."""

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
from pyade.core.problems import Problem, Severity
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Token
from pyade.crypto.push_certificate import PushCertificate
from pyade.errors import AccessDeniedError, ArgumentError, PolicyError
from pyade.operations import HealthReport, doctor, doctor_async
from pyade.storage import MemoryStore
from pyade.sync import Syncer
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
class Ward:
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

    def sync(self) -> None:
        with self.client(self.store.token("hq")) as client:
            Syncer(client, self.store, clock=self.clock).sync()

    def look(self, *, asks: bool = True, **options: Any) -> HealthReport:
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
def ward(request: pytest.FixtureRequest) -> Iterator[Ward]:
    ward = Ward(kind=request.param)
    with ward.store:
        yield ward


def the(diagnosis: HealthReport, text: str) -> Problem:
    found = [problem for problem in diagnosis.problems if text in str(problem)]
    assert len(found) == 1, diagnosis
    assert found[0].fix
    return found[0]


@pytest.mark.twins
def test_where_all_is_well_nothing_is_found(ward: Ward) -> None:
    diagnosis = ward.look(push=ward.push(200), topic=TOPIC, expected_serials=ward.serials)
    assert (diagnosis.problems, diagnosis.is_healthy, diagnosis.checked_at) == ((), True, ward.clock())
    assert "0 problems" in str(diagnosis)


def test_the_push_certificate_is_looked_at(ward: Ward) -> None:
    assert the(ward.look(push=ward.push(20)), "push_certificate").severity is Severity.WARNING
    assert not ward.look(push=ward.push(-1)).is_healthy
    assert the(ward.look(push=ward.push(200), topic=f"{TOPIC}2"), "topic").severity is Severity.ERROR


def test_that_the_push_certificate_was_not_looked_at_is_said(ward: Ward) -> None:
    """It is one of the specification's prerequisites."""
    diagnosis = ward.look(push=None)
    problem = the(diagnosis, "push_certificate")
    assert (problem.severity, diagnosis.is_healthy) == (Severity.INFO, True)
    assert "push=" in problem.fix


def test_a_token_is_needed() -> None:
    with MemoryStore() as store:
        assert "TokenService.create" in the(doctor(store), "a server token is needed").fix


@pytest.mark.parametrize(("days", "severity"), [(20, Severity.WARNING), (-1, Severity.ERROR)])
def test_the_health_of_a_token(ward: Ward, days: int, severity: Severity) -> None:
    token = attrs.evolve(ward.store.token("hq"), access_token_expiry=ward.clock() + days * DAY)
    ward.store.replace_token(token)
    problem = the(ward.look(asks=False), "expire")
    assert problem.severity is severity
    assert token.apple_id in problem.fix


def test_a_personal_apple_id_is_worth_a_look(ward: Ward) -> None:
    ward.store.replace_token(attrs.evolve(ward.store.token("hq"), apple_id="me@gmail.com"))
    assert the(ward.look(), "token hq.apple_id").severity is Severity.WARNING


def test_terms_that_nobody_signed(ward: Ward) -> None:
    ward.apple.faults.change_terms()
    problem = the(ward.look(), "T_C_NOT_SIGNED")
    assert problem.severity is Severity.ERROR
    assert "administrator" in problem.fix


def test_a_token_that_apple_refuses(ward: Ward) -> None:
    ward.apple.generate_token("hq")
    assert the(ward.look(), "signature_invalid").severity is Severity.ERROR
    assert ward.look(asks=False).is_healthy, "nobody was asked"


def test_a_clock_that_is_off(ward: Ward) -> None:
    ward.skew = timedelta(minutes=10)
    problem = the(ward.look(), "clock")
    assert (problem.setting, problem.severity) == ("clock", Severity.ERROR)
    assert "NTP" in problem.fix


def test_a_token_of_another_server_than_the_one_that_is_known(ward: Ward) -> None:
    ward.store.replace_token(attrs.evolve(ward.store.token("hq"), server_uuid="0" * 32))
    assert the(ward.look(), "is expected").severity is Severity.ERROR


def test_a_token_that_is_parked_or_out_of_step(ward: Ward) -> None:
    ward.clock.advance(days=3)
    assert "Scheduler" in the(ward.look(), "last synced with Apple at").fix
    state = ward.store.sync_state("hq")
    token = ward.store.token("hq")
    suspended = attrs.evolve(state, suspended="TermsError: sign them", suspended_with=token.fingerprint)
    ward.store.save_sync_state("hq", suspended)
    assert the(ward.look(), "TermsError: sign them").severity is Severity.ERROR
    ward.store.add_token(attrs.evolve(token, name="new", server_uuid=None))
    assert "never synced" in str(the(ward.look(), "never synced"))


def test_a_sync_that_failed_is_worth_a_look_until_one_ends_well(ward: Ward) -> None:
    """Where the token needs a person, that alone is told."""
    ward.clock.advance(hours=3)
    ward.apple.faults.deny_access()
    with pytest.raises(AccessDeniedError) as caught:
        ward.sync()
    ward.apple.faults.restore_access()
    diagnosis = ward.look(asks=False)
    problem = the(diagnosis, "the last sync ended with")
    assert str(caught.value) in problem.allowed
    assert (problem.setting, problem.value, problem.severity) == ("token hq", "", Severity.WARNING)
    assert diagnosis.is_healthy
    assert len(diagnosis.problems) == 1

    state = ward.store.sync_state("hq")
    token = ward.store.token("hq")
    suspended = attrs.evolve(state, suspended="TermsError: sign them", suspended_with=token.fingerprint)
    ward.store.save_sync_state("hq", suspended)
    first, *others = (one.allowed for one in ward.look(asks=False).problems)
    assert first == "TermsError: sign them"
    assert others == [
        "3 devices without a profile would fail to enroll: the newest assignment ended before their turn"
    ]
    ward.clock.advance(days=1)
    ward.sync()
    assert ward.look().problems == ()


def test_devices_without_a_profile(ward: Ward) -> None:
    ward.store.set_default_profile("hq", None)
    diagnosis = ward.look(expected_serials=ward.serials[:1])
    assert the(diagnosis, "no default profile").severity is Severity.WARNING
    assert ward.serials[0] in the(diagnosis, "3 devices without a profile").value
    assert the(diagnosis, "1 device of the purchase without a profile").severity is Severity.ERROR
    assert diagnosis.problems[0].severity is Severity.ERROR, "the worst comes first"


@pytest.mark.parametrize(("days", "severity"), [(20, Severity.WARNING), (-1, Severity.ERROR), (90, None)])
def test_anchors_that_end(ward: Ward, days: int, severity: Severity | None) -> None:
    anchor = certificate(ends=ward.clock() + days * DAY)
    ward.default(anchor_certificates=(anchor.public_bytes(Encoding.DER),))
    problems = ward.look().problems
    assert [problem.severity for problem in problems] == ([severity] if severity else [])


def test_account_settings_that_mean_something_else_are_told_as_long_as_a_profile_says_them(
    ward: Ward,
) -> None:
    """The wait that accounts switch on, and a set-up without people that stops."""
    ward.default(await_final_configuration=False, managed_user="ada", auto_advance=True)
    found = {problem.setting: problem for problem in ward.look().problems}
    where = f"profile {PROFILE.name}"
    assert "switched on" in str(found[f"{where}.await_final_configuration"])
    assert found.keys() == {
        f"{where}.{name}" for name in ("await_final_configuration", "managed_user", "auto_advance")
    }
    assert {problem.severity for problem in found.values()} == {Severity.WARNING}
    ward.default(await_final_configuration=False)
    assert ward.look().problems == ()


def test_legacy_authentication_needs_an_endpoint(ward: Ward) -> None:
    ward.default(user_affinity=UserAffinity.legacy())
    reminder = the(ward.look(), "WS-Trust 1.3")
    assert (reminder.severity, "Get-ADfsEndpoint" in reminder.fix) == (Severity.INFO, True)
    assert ward.look().is_healthy
    assert not ward.look(check_ws_trust=lambda: "").problems
    assert the(ward.look(check_ws_trust=lambda: "404"), "404").severity is Severity.ERROR


@pytest.mark.twins
def test_the_devices_of_a_purchase(ward: Ward) -> None:
    (elsewhere,) = ward.apple.add_devices(1)
    expected = [*ward.serials, elsewhere, "NOTBOUGHT", "NOTBOUGHT"]
    problem = the(ward.look(expected_serials=expected), "2 devices of the purchase on no MDM server")
    assert "may not be in the program" in problem.fix
    asked: list[Sequence[str]] = []

    def find(serials: Sequence[str]) -> set[str]:
        asked.append(serials)
        return {elsewhere}

    diagnosis = ward.look(expected_serials=expected, find_in_program=find)
    assert asked == [(elsewhere, "NOTBOUGHT")]
    assert "NOTBOUGHT" in the(diagnosis, "1 device of the purchase not yet in Apple's program").value
    assert elsewhere in the(diagnosis, "1 device of the purchase on no MDM server").value


@pytest.mark.parametrize("answer", [True, False, None, 404, b"closed"])
def test_a_hook_that_answers_no_text_is_refused(ward: Ward, answer: object) -> None:
    """True is no description of what is wrong, and None is not "nothing"."""
    ward.default(user_affinity=UserAffinity.legacy())
    with pytest.raises(ArgumentError, match=r"what check_ws_trust returned.*a text"):
        ward.look(check_ws_trust=lambda: answer)
    with pytest.raises(ArgumentError, match=r"what find_in_program returned.*a list of texts"):
        ward.look(expected_serials=["NOTBOUGHT"], find_in_program=lambda serials: answer)


@pytest.mark.twins
def test_hooks_may_be_coroutine_functions_for_the_asynchronous_kind(ward: Ward) -> None:
    ward.default(user_affinity=UserAffinity.legacy())

    async def check() -> str:
        return "closed"

    if ward.kind == "sync":
        with pytest.raises(PolicyError, match="check_ws_trust is asynchronous: use doctor_async"):
            ward.look(check_ws_trust=check)
    else:
        assert the(ward.look(check_ws_trust=check), "closed").severity is Severity.ERROR


def test_nothing_secret_and_no_endless_list_is_shown(ward: Ward) -> None:
    expected = [f"C02{number:06}" for number in range(500)]
    text = str(ward.look(expected_serials=expected))
    token = ward.store.token("hq")
    assert len(text) < 1_000
    assert not any(
        secret.reveal() in text for secret in (token.consumer_secret, token.access_token, token.access_secret)
    )
