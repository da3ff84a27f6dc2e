"""The life of a token, from its key pair to its end, with a fake of Apple's portal."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import anyio
import attrs
import pytest

from pyade.apple.client import AsyncClient, Client
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import (
    DuplicateTokenError,
    PolicyError,
    TermsError,
    TokenError,
    TokenRejectedError,
    TokenSupersededError,
    TransportError,
    UnknownTokenError,
)
from pyade.operations import AsyncTokenService, TokenService
from pyade.storage import MemoryStore
from pyade.sync import Syncer, SyncReport
from pyade.testing import FakeApple, Fault, FrozenClock

pytestmark = pytest.mark.twins


APPLE_ID = "it@contoso.example"
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")


@attrs.define(kw_only=True)
class Office:
    """An administrator between the portal and pyade; ``kind`` says which service works."""

    kind: str
    clock: FrozenClock = attrs.Factory(FrozenClock)
    store: MemoryStore = attrs.Factory(MemoryStore)
    apple: FakeApple = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.apple = FakeApple(clock=self.clock)
        self.apple.add_devices(3, server=self.apple.add_server("Contoso MDM", admin_id=APPLE_ID))

    def do(self, call: Callable[[Any], Any]) -> Any:
        """Return what *call* returns for a service."""
        options: dict[str, Any] = {
            "transport": self.apple.transport(),
            "clock": self.clock,
            "random": lambda: 0.5,
        }
        if self.kind == "sync":
            client_for = lambda token: Client(token, sleep=self.clock.sleep, **options)  # noqa: E731
            return call(TokenService(self.store, client_for, clock=self.clock))

        async def main() -> Any:
            def client_for(token: Token) -> AsyncClient:
                return AsyncClient(token, sleep=self.clock.sleep_async, **options)

            answer = call(AsyncTokenService(self.store, client_for, clock=self.clock))
            return await answer if inspect.isawaitable(answer) else answer

        return anyio.run(main, backend=self.kind)

    def client(self) -> Client:
        """Return a client of the stored token ``hq``."""
        return Client(
            self.store.token("hq"),
            transport=self.apple.transport(),
            clock=self.clock,
            sleep=self.clock.sleep,
            random=lambda: 0.5,
        )

    def sync(self, client: Client) -> SyncReport:
        return Syncer(client, self.store, clock=self.clock).sync()

    def begin(self, name: str = "hq") -> bytes:
        self.do(lambda service: service.create(name, consent=True))
        certificate: bytes = self.do(lambda service: service.certificate(name))
        return certificate

    def download(self, certificate: bytes, server: str = "Contoso MDM") -> bytes:
        return self.apple.issue_token(server, certificate)

    def school(self, admin_id: str = APPLE_ID) -> None:
        """Add the server of a school, called School."""
        school = self.apple.add_organization("Contoso School", org_type="edu")
        server = self.apple.add_server("School", organization=school, admin_id=admin_id)
        self.apple.add_devices(2, server=server)

    def upload(self, p7m: bytes, name: str = "hq", apple_id: str = APPLE_ID) -> Any:
        return self.do(lambda service: service.upload(name, p7m, apple_id=apple_id))

    def made(self) -> bytes:
        """Make the token, and return the certificate that the portal has."""
        certificate = self.begin()
        self.upload(self.download(certificate))
        self.clock.advance(hours=1)
        return certificate


@pytest.fixture(params=["sync", "asyncio", "trio"])
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    office = Office(kind=request.param)
    with office.store:
        yield office


def test_a_token_is_made_verified_and_synced_at_once(office: Office) -> None:
    certificate = office.begin()
    assert certificate == office.do(lambda service: service.certificate("hq")), "the same each time"
    assert not office.store.tokens()
    accepted = office.upload(office.download(certificate))
    token = office.store.token("hq")
    assert accepted.token == token
    assert (token.apple_id, token.org_name) == (
        APPLE_ID,
        office.apple.server("Contoso MDM").organization.name,
    )
    assert token.server_uuid
    assert token.consented_at == office.clock()
    assert (accepted.sync.action, accepted.sync.devices, accepted.error) == (SyncAction.FULL, 3, "")
    assert len(list(office.store.devices("hq"))) == 3


def test_consent_is_needed_and_kept(office: Office) -> None:
    with pytest.raises(TokenError, match="consent=True"):
        office.do(lambda service: service.create("hq", consent=False))
    assert office.store.secret("key pair of hq") is None


def test_staging_stores_nothing(office: Office) -> None:
    p7m = office.download(office.begin())
    staged = office.do(lambda service: service.stage("hq", p7m, apple_id="somebody@gmail.com"))
    assert not office.store.tokens()
    assert staged.account.server_name == "Contoso MDM"
    assert [problem.setting for problem in staged.problems] == ["apple_id"]
    assert "PRIVATE" not in repr(staged)
    accepted = office.do(lambda service: service.accept(staged, scope_tags={"emea"}))
    assert office.store.token("hq").scope_tags == {"emea"} == accepted.token.scope_tags


def test_a_token_that_apple_refuses_is_not_stored(office: Office) -> None:
    certificate = office.begin()
    p7m = office.download(certificate)
    office.download(certificate)
    with pytest.raises(TokenSupersededError):
        office.upload(p7m)
    p7m = office.download(certificate)
    office.apple.faults.revoke_token("Contoso MDM")
    with pytest.raises(TokenRejectedError):
        office.upload(p7m)
    assert not office.store.tokens()


def test_terms_that_nobody_signed_come_first(office: Office) -> None:
    p7m = office.download(office.begin())
    office.apple.faults.change_terms()
    with pytest.raises(TermsError):
        office.upload(p7m)
    assert not office.store.tokens()
    office.apple.faults.accept_terms()
    assert office.upload(p7m).sync is not None


def test_a_sync_that_fails_undoes_nothing(office: Office) -> None:
    p7m = office.download(office.begin())
    office.apple.script("POST /server/devices", *[Fault.unreachable()] * 20)
    accepted = office.upload(p7m)
    assert (accepted.sync, TransportError.__name__ in accepted.error) == (None, True)
    assert office.store.token("hq") == accepted.token


def test_a_file_of_another_key_pair_is_told(office: Office) -> None:
    office.begin()
    other = TokenKeypair.generate("Other").certificate_pem
    with pytest.raises(TokenError):
        office.upload(office.download(other))
    with pytest.raises(UnknownTokenError, match="create"):
        office.upload(office.download(other), name="nobody")


def test_a_renewal_keeps_everything_and_reaches_a_running_client(office: Office) -> None:
    certificate = office.made()
    office.store.set_default_profile("hq", PROFILE)
    before, state = office.store.token("hq"), office.store.sync_state("hq")
    with Client(
        lambda: office.store.token("hq"),
        transport=office.apple.transport(),
        clock=office.clock,
        sleep=office.clock.sleep,
    ) as running:
        assert running.account().server_name == "Contoso MDM"
        office.clock.advance(days=300)
        accepted = office.upload(office.download(certificate))
        assert running.account().server_name == "Contoso MDM"
    after = office.store.token("hq")
    assert after.access_token_expiry is not None
    assert before.access_token_expiry is not None
    assert after.access_token_expiry - before.access_token_expiry > timedelta(days=299)
    assert accepted.sync is not None
    assert office.store.sync_state("hq").full_sync >= state.full_sync
    assert office.store.default_profile("hq") == PROFILE
    assert len(list(office.store.devices("hq"))) == 3


def test_a_renewal_for_another_server_or_organization_is_refused(office: Office) -> None:
    certificate = office.made()
    office.apple.add_server("Other", organization=office.apple.add_organization("Fabrikam"))
    p7m = office.download(certificate, "Other")
    before = office.store.token("hq")
    with pytest.raises(TokenError, match="same MDM server"):
        office.upload(p7m)
    assert office.store.token("hq") == before
    staged = office.do(lambda service: service.stage("hq", p7m, apple_id=APPLE_ID))
    assert {"server_uuid", "org_id"} <= {problem.setting for problem in staged.problems}
    accepted = office.do(lambda service: service.accept(staged, force=True))
    assert accepted.token.org_name == "Fabrikam"


def test_a_renewal_with_another_apple_id_is_refused(office: Office) -> None:
    certificate = office.made()
    with pytest.raises(TokenError, match="the same one must renew"):
        office.upload(office.download(certificate), apple_id="other@contoso.example")


def test_one_server_has_one_token_here(office: Office) -> None:
    office.made()
    second = office.begin("second")
    with pytest.raises(TokenError, match="renew 'hq'"):
        office.upload(office.download(second), name="second")
    with pytest.raises(DuplicateTokenError):
        office.begin("hq")


def test_the_older_key_pair_reads_files_until_the_newer_one_is_used(office: Office) -> None:
    old = office.made()
    new = office.do(lambda service: service.replace_keypair("hq"))
    assert new != old
    office.upload(office.download(old))
    assert office.store.secret("next key pair of hq") is not None
    assert office.do(lambda service: service.keypair("hq")).certificate_pem == old
    office.upload(office.download(new))
    assert office.do(lambda service: service.keypair("hq")).certificate_pem == new
    assert office.store.secret("next key pair of hq") is None
    with pytest.raises(TokenError):
        office.upload(office.download(old))
    assert office.do(lambda service: service.certificate("hq")) == new
    with pytest.raises(UnknownTokenError):
        office.do(lambda service: service.replace_keypair("nobody"))


def test_a_token_whose_key_pair_is_kept_elsewhere_says_what_to_do(office: Office) -> None:
    keypair = TokenKeypair.generate("Elsewhere")
    p7m = office.download(keypair.certificate_pem)
    token = Token.from_p7m(p7m, keypair, name="hq", apple_id=APPLE_ID, consented_at=office.clock())
    office.store.add_token(token)
    with pytest.raises(TokenError, match="replace_keypair"):
        office.upload(p7m)
    with pytest.raises(UnknownTokenError, match="replace_keypair"):
        office.do(lambda service: service.certificate("hq"))
    with pytest.raises(UnknownTokenError, match="replace_keypair"):
        office.do(lambda service: service.keypair("hq"))
    new = office.do(lambda service: service.replace_keypair("hq"))
    assert office.upload(office.download(new)).error == ""


def test_a_token_with_devices_is_deleted_only_by_who_says_so(office: Office) -> None:
    office.made()
    office.store.set_default_profile("hq", PROFILE)
    with pytest.raises(PolicyError, match="3 devices and 1 profile: pass cascade=True"):
        office.do(lambda service: service.delete("hq"))
    removal = office.do(lambda service: service.delete("hq", cascade=True))
    assert (removal.devices, removal.profiles, removal.apple_id) == (3, 1, APPLE_ID)
    assert "stay in Apple Business Manager: sign in as it@contoso.example" in str(removal)
    assert not office.store.tokens()
    kinds = ("key pair", "next key pair", "setup")
    assert not any(office.store.secret(f"{kind} of hq") for kind in kinds)
    with pytest.raises(UnknownTokenError):
        office.do(lambda service: service.delete("hq"))


def test_an_empty_token_is_deleted_without_more_words(office: Office) -> None:
    office.apple.add_server("Empty")
    office.upload(office.download(office.begin("empty"), "Empty"), name="empty")
    assert office.do(lambda service: service.delete("empty")).devices == 0


def test_what_a_person_does_next(office: Office) -> None:
    office.school()
    setup = office.do(lambda service: service.create("hq", consent=True, portal=Portal.SCHOOL))
    assert [step.title for step in setup.steps] == [
        "Download the public key certificate",
        "Add MDM server and download server token",
        "Assign devices to MDM server",
        "Save Apple ID",
        "Upload server token and finish",
    ]
    assert office.do(lambda service: service.next_step("hq")).number == 1
    certificate = office.do(lambda service: service.certificate("hq"))
    step = office.do(lambda service: service.next_step("hq"))
    assert (step.number, step.total) == (2, 5)
    assert "sign in to Apple School Manager with your company Apple ID" in str(step)
    office.upload(office.download(certificate, "School"))
    step = office.do(lambda service: service.next_step("hq"))
    assert (step.number, step.total, step.title) == (1, 2, "Download a new server token")
    assert f"sign in to Apple School Manager with {APPLE_ID}" in str(step)
    office.do(lambda service: service.replace_keypair("hq"))
    step = office.do(lambda service: service.next_step("hq"))
    assert (step.number, step.total) == (2, 3)
    assert "upload the new certificate" in str(step)
    with pytest.raises(UnknownTokenError):
        office.do(lambda service: service.next_step("nobody"))
