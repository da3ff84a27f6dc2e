"""The life of a token, from its key pair to its deletion, with a fake of Apple's portal."""

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
class TokenWorld:
    """An administrator between the portal and pyade; ``kind`` says which service is used."""

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

    def add_school(self, admin_id: str = APPLE_ID) -> None:
        """Add a school's server, called School."""
        add_school = self.apple.add_organization("Contoso School", org_type="edu")
        server = self.apple.add_server("School", organization=add_school, admin_id=admin_id)
        self.apple.add_devices(2, server=server)

    def upload(self, p7m: bytes, name: str = "hq", apple_id: str = APPLE_ID) -> Any:
        return self.do(lambda service: service.upload(name, p7m, apple_id=apple_id))

    def create_token(self) -> bytes:
        """Create the token, and return the certificate that the portal has."""
        certificate = self.begin()
        self.upload(self.download(certificate))
        self.clock.advance(hours=1)
        return certificate


@pytest.fixture(params=["sync", "asyncio", "trio"])
def world(request: pytest.FixtureRequest) -> Iterator[TokenWorld]:
    world = TokenWorld(kind=request.param)
    with world.store:
        yield world


def test_token_is_created_verified_and_synced(world: TokenWorld) -> None:
    certificate = world.begin()
    assert certificate == world.do(lambda service: service.certificate("hq")), "the same each time"
    assert not world.store.tokens()
    accepted = world.upload(world.download(certificate))
    token = world.store.token("hq")
    assert accepted.token == token
    assert (token.apple_id, token.org_name) == (
        APPLE_ID,
        world.apple.server("Contoso MDM").organization.name,
    )
    assert token.server_uuid
    assert token.consented_at == world.clock()
    assert (accepted.sync.action, accepted.sync.devices, accepted.error) == (SyncAction.FULL, 3, "")
    assert len(list(world.store.devices("hq"))) == 3


def test_consent_is_required_and_stored(world: TokenWorld) -> None:
    with pytest.raises(TokenError, match="consent=True"):
        world.do(lambda service: service.create("hq", consent=False))
    assert world.store.secret("key pair of hq") is None


def test_staging_stores_nothing(world: TokenWorld) -> None:
    p7m = world.download(world.begin())
    staged = world.do(lambda service: service.stage("hq", p7m, apple_id="somebody@gmail.com"))
    assert not world.store.tokens()
    assert staged.account.server_name == "Contoso MDM"
    assert [problem.setting for problem in staged.problems] == ["apple_id"]
    assert "PRIVATE" not in repr(staged)
    accepted = world.do(lambda service: service.accept(staged, scope_tags={"emea"}))
    assert world.store.token("hq").scope_tags == {"emea"} == accepted.token.scope_tags


def test_token_that_apple_refuses_is_not_stored(world: TokenWorld) -> None:
    certificate = world.begin()
    p7m = world.download(certificate)
    world.download(certificate)
    with pytest.raises(TokenSupersededError):
        world.upload(p7m)
    p7m = world.download(certificate)
    world.apple.faults.revoke_token("Contoso MDM")
    with pytest.raises(TokenRejectedError):
        world.upload(p7m)
    assert not world.store.tokens()


def test_unaccepted_terms_are_reported_first(world: TokenWorld) -> None:
    p7m = world.download(world.begin())
    world.apple.faults.change_terms()
    with pytest.raises(TermsError):
        world.upload(p7m)
    assert not world.store.tokens()
    world.apple.faults.accept_terms()
    assert world.upload(p7m).sync is not None


def test_failed_sync_keeps_the_token(world: TokenWorld) -> None:
    p7m = world.download(world.begin())
    world.apple.script("POST /server/devices", *[Fault.unreachable()] * 20)
    accepted = world.upload(p7m)
    assert (accepted.sync, TransportError.__name__ in accepted.error) == (None, True)
    assert world.store.token("hq") == accepted.token


def test_file_of_another_key_pair_is_refused(world: TokenWorld) -> None:
    world.begin()
    other = TokenKeypair.generate("Other").certificate_pem
    with pytest.raises(TokenError):
        world.upload(world.download(other))
    with pytest.raises(UnknownTokenError, match="create"):
        world.upload(world.download(other), name="unknown")


def test_renewal_keeps_all_data_and_reaches_a_running_client(world: TokenWorld) -> None:
    certificate = world.create_token()
    world.store.set_default_profile("hq", PROFILE)
    before, state = world.store.token("hq"), world.store.sync_state("hq")
    with Client(
        lambda: world.store.token("hq"),
        transport=world.apple.transport(),
        clock=world.clock,
        sleep=world.clock.sleep,
    ) as running:
        assert running.account().server_name == "Contoso MDM"
        world.clock.advance(days=300)
        accepted = world.upload(world.download(certificate))
        assert running.account().server_name == "Contoso MDM"
    after = world.store.token("hq")
    assert after.access_token_expiry is not None
    assert before.access_token_expiry is not None
    assert after.access_token_expiry - before.access_token_expiry > timedelta(days=299)
    assert accepted.sync is not None
    assert world.store.sync_state("hq").full_sync >= state.full_sync
    assert world.store.default_profile("hq") == PROFILE
    assert len(list(world.store.devices("hq"))) == 3


def test_renewal_for_another_server_or_organization_is_refused(world: TokenWorld) -> None:
    certificate = world.create_token()
    world.apple.add_server("Other", organization=world.apple.add_organization("Fabrikam"))
    p7m = world.download(certificate, "Other")
    before = world.store.token("hq")
    with pytest.raises(TokenError, match="same MDM server"):
        world.upload(p7m)
    assert world.store.token("hq") == before
    staged = world.do(lambda service: service.stage("hq", p7m, apple_id=APPLE_ID))
    assert {"server_uuid", "org_id"} <= {problem.setting for problem in staged.problems}
    accepted = world.do(lambda service: service.accept(staged, force=True))
    assert accepted.token.org_name == "Fabrikam"


def test_renewal_with_another_apple_id_is_refused(world: TokenWorld) -> None:
    certificate = world.create_token()
    with pytest.raises(TokenError, match="the same one must renew"):
        world.upload(world.download(certificate), apple_id="other@contoso.example")


def test_second_token_of_one_server_is_refused(world: TokenWorld) -> None:
    world.create_token()
    second = world.begin("second")
    with pytest.raises(TokenError, match="renew 'hq'"):
        world.upload(world.download(second), name="second")
    with pytest.raises(DuplicateTokenError):
        world.begin("hq")


def test_older_key_pair_reads_files_until_the_newer_one_is_used(world: TokenWorld) -> None:
    old = world.create_token()
    new = world.do(lambda service: service.replace_keypair("hq"))
    assert new != old
    world.upload(world.download(old))
    assert world.store.secret("next key pair of hq") is not None
    assert world.do(lambda service: service.keypair("hq")).certificate_pem == old
    world.upload(world.download(new))
    assert world.do(lambda service: service.keypair("hq")).certificate_pem == new
    assert world.store.secret("next key pair of hq") is None
    with pytest.raises(TokenError):
        world.upload(world.download(old))
    assert world.do(lambda service: service.certificate("hq")) == new
    with pytest.raises(UnknownTokenError):
        world.do(lambda service: service.replace_keypair("unknown"))


def test_error_for_a_key_pair_stored_elsewhere_names_the_next_step(world: TokenWorld) -> None:
    keypair = TokenKeypair.generate("Elsewhere")
    p7m = world.download(keypair.certificate_pem)
    token = Token.from_p7m(p7m, keypair, name="hq", apple_id=APPLE_ID, consented_at=world.clock())
    world.store.add_token(token)
    with pytest.raises(TokenError, match="replace_keypair"):
        world.upload(p7m)
    with pytest.raises(UnknownTokenError, match="replace_keypair"):
        world.do(lambda service: service.certificate("hq"))
    with pytest.raises(UnknownTokenError, match="replace_keypair"):
        world.do(lambda service: service.keypair("hq"))
    new = world.do(lambda service: service.replace_keypair("hq"))
    assert world.upload(world.download(new)).error == ""


def test_token_with_devices_is_deleted_only_with_confirmation(world: TokenWorld) -> None:
    world.create_token()
    world.store.set_default_profile("hq", PROFILE)
    with pytest.raises(PolicyError, match="3 devices and 1 profile: pass cascade=True"):
        world.do(lambda service: service.delete("hq"))
    removal = world.do(lambda service: service.delete("hq", cascade=True))
    assert (removal.devices, removal.profiles, removal.apple_id) == (3, 1, APPLE_ID)
    assert "stay in Apple Business Manager: sign in as it@contoso.example" in str(removal)
    assert not world.store.tokens()
    kinds = ("key pair", "next key pair", "setup")
    assert not any(world.store.secret(f"{kind} of hq") for kind in kinds)
    with pytest.raises(UnknownTokenError):
        world.do(lambda service: service.delete("hq"))


def test_empty_token_is_deleted_without_confirmation(world: TokenWorld) -> None:
    world.apple.add_server("Empty")
    world.upload(world.download(world.begin("empty"), "Empty"), name="empty")
    assert world.do(lambda service: service.delete("empty")).devices == 0


def test_next_steps_for_the_administrator(world: TokenWorld) -> None:
    world.add_school()
    setup = world.do(lambda service: service.create("hq", consent=True, portal=Portal.SCHOOL))
    assert [step.title for step in setup.steps] == [
        "Download the public key certificate",
        "Add MDM server and download server token",
        "Assign devices to MDM server",
        "Save Apple ID",
        "Upload server token and finish",
    ]
    assert world.do(lambda service: service.next_step("hq")).number == 1
    certificate = world.do(lambda service: service.certificate("hq"))
    step = world.do(lambda service: service.next_step("hq"))
    assert (step.number, step.total) == (2, 5)
    assert "sign in to Apple School Manager with your company Apple ID" in str(step)
    world.upload(world.download(certificate, "School"))
    step = world.do(lambda service: service.next_step("hq"))
    assert (step.number, step.total, step.title) == (1, 2, "Download a new server token")
    assert f"sign in to Apple School Manager with {APPLE_ID}" in str(step)
    world.do(lambda service: service.replace_keypair("hq"))
    step = world.do(lambda service: service.next_step("hq"))
    assert (step.number, step.total) == (2, 3)
    assert "upload the new certificate" in str(step)
    with pytest.raises(UnknownTokenError):
        world.do(lambda service: service.next_step("unknown"))
