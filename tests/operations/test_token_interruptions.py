"""The life of a token continues after an interruption at any write, and with several administrators."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import attrs
import pytest

from pyade.apple.client import Client
from pyade.core.secret import Secret
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import DuplicateTokenError, TokenError, UnknownTokenError
from pyade.operations import TokenService
from pyade.storage import MemoryStore
from pyade.testing import FakeApple, FrozenClock

APPLE_ID = "it@contoso.example"
KINDS = ("key pair", "next key pair", "setup")


class KilledError(BaseException):
    """No code catches this, as with the end of a process."""


class MortalStore(MemoryStore):
    """Dies instead of writing after *writes* writes of tokens and secrets; with None it never dies.

    ``meanwhile`` runs before the next write, as another administrator's action.
    """

    writes: int | None = None
    meanwhile: Callable[[], object] | None = None

    def add_token(self, token: Token) -> None:
        self._write()
        super().add_token(token)

    def replace_token(self, token: Token, *, instead_of: Token | None = None) -> None:
        self._write()
        super().replace_token(token, instead_of=instead_of)

    def remove_token(self, name: str, *, now: object) -> None:
        self._write()
        super().remove_token(name, now=now)  # type: ignore[arg-type]

    def save_secret(self, name: str, secret: str | Secret | None) -> None:
        self._write()
        super().save_secret(name, secret)

    def _write(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if self.writes == 0:
            raise KilledError
        if self.writes is not None:
            self.writes -= 1


@attrs.define
class TokenWorld:
    """A portal, a store and the service between them."""

    clock: FrozenClock = attrs.Factory(FrozenClock)
    store: MortalStore = attrs.Factory(MortalStore)
    apple: FakeApple = attrs.field(init=False)
    service: TokenService = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.apple = FakeApple(clock=self.clock)
        self.apple.add_devices(1, server=self.apple.add_server("Contoso MDM", admin_id=APPLE_ID))
        self.service = TokenService(self.store, self.client_for, clock=self.clock)

    def client_for(self, token: Token) -> Client:
        return Client(token, transport=self.apple.transport(), clock=self.clock, sleep=self.clock.sleep)

    def begin(self) -> bytes:
        self.service.create("hq", consent=True)
        return self.service.certificate("hq")

    def download(self, certificate: bytes) -> bytes:
        return self.apple.issue_token("Contoso MDM", certificate)

    def upload(self, p7m: bytes) -> None:
        self.service.upload("hq", p7m, apple_id=APPLE_ID)

    def create_token(self) -> bytes:
        certificate = self.begin()
        self.upload(self.download(certificate))
        self.clock.advance(hours=1)
        return certificate

    @property
    def stored_names(self) -> list[str]:
        """Return which secrets and which tokens the store has."""
        secrets = [kind for kind in KINDS if self.store.secret(f"{kind} of hq") is not None]
        return [*secrets, *(token.name for token in self.store.tokens())]

    def interruptions(self, work: Callable[[], object]) -> Iterator[None]:
        """Repeat *work*, and let it die at its first write, then at its second, and so on."""
        for writes in itertools.count():
            self.store.writes = writes
            try:
                work()
            except KilledError:
                self.store.writes = None
                yield
            else:
                self.store.writes = None
                assert writes, "no write was made"
                return


@pytest.fixture
def world() -> Iterator[TokenWorld]:
    world = TokenWorld()
    with world.store:
        yield world


def test_interrupted_creation_can_be_repeated(world: TokenWorld) -> None:
    for _ in world.interruptions(lambda: world.service.create("hq", consent=True)):
        with pytest.raises(UnknownTokenError):
            world.service.next_step("hq")
    assert world.stored_names == ["key pair", "setup"]
    world.upload(world.download(world.service.certificate("hq")))
    assert world.stored_names == ["key pair", "hq"]


def test_interrupted_first_upload_can_be_repeated(world: TokenWorld) -> None:
    p7m = world.download(world.begin())
    for _ in world.interruptions(lambda: world.upload(p7m)):
        is_stored = "hq" in world.stored_names
        step = world.service.next_step("hq")
        # No step asks to add a second server, or to download a file that would end the existing token.
        assert step.title == (_FINISH if is_stored else _ADD_SERVER)
        assert [one.name for one in world.service.under_way()] == ["hq"]
    assert world.stored_names == ["key pair", "hq"]


def test_staged_token_can_be_accepted_again_but_no_other(world: TokenWorld) -> None:
    certificate = world.begin()
    other = world.service.stage("hq", world.download(certificate), apple_id=APPLE_ID)
    staged = world.service.stage("hq", world.download(certificate), apple_id=APPLE_ID)
    world.service.accept(staged)
    assert world.service.accept(staged, scope_tags={"emea"}).token.scope_tags == {"emea"}
    with pytest.raises(DuplicateTokenError):
        world.service.accept(other)


def test_interrupted_renewal_can_be_repeated(world: TokenWorld) -> None:
    certificate = world.create_token()
    p7m = world.download(certificate)
    before = world.store.token("hq")
    for _ in world.interruptions(lambda: world.upload(p7m)):
        assert world.service.certificate("hq") == certificate
        assert world.service.next_step("hq").title == "Download a new server token"
    assert world.store.token("hq") != before
    assert world.stored_names == ["key pair", "hq"]


def test_interrupted_renewal_with_a_new_key_pair_can_be_repeated(world: TokenWorld) -> None:
    world.create_token()
    certificate = world.service.replace_keypair("hq")
    p7m = world.download(certificate)
    for _ in world.interruptions(lambda: world.upload(p7m)):
        assert world.service.certificate("hq") == certificate, "the one that the portal has"
    assert world.stored_names == ["key pair", "hq"]
    assert world.service.certificate("hq") == certificate
    assert world.service.next_step("hq").total == 2


def test_interrupted_adoption_can_be_repeated(world: TokenWorld) -> None:
    keypair = TokenKeypair.generate("Contoso MDM")
    token = Token.from_p7m(
        world.download(keypair.certificate_pem),
        keypair,
        name="hq",
        apple_id=APPLE_ID,
        consented_at=world.clock(),
    )
    for _ in world.interruptions(lambda: world.service.add(token, keypair)):
        if "hq" in world.stored_names:
            has_keypair = "key pair" in world.stored_names
            title = world.service.next_step("hq").title
            assert title == (_FINISH if has_keypair else "Download the public key certificate")
    assert world.stored_names == ["key pair", "hq"]
    assert world.service.next_step("hq").title == "Download a new server token"


def test_interrupted_replacement_loses_no_certificate(world: TokenWorld) -> None:
    old = world.create_token()
    for _ in world.interruptions(lambda: world.service.replace_keypair("hq")):
        assert world.service.certificate("hq") == old
    new = world.service.certificate("hq")
    assert world.service.replace_keypair("hq") == new, "it may be in the portal already"
    world.upload(world.download(new))


def test_renewal_with_the_older_key_pair_keeps_the_newer_one_pending(world: TokenWorld) -> None:
    old = world.create_token()
    new = world.service.replace_keypair("hq")
    world.upload(world.download(old))
    assert world.service.next_step("hq").title == "Replace the key and download a new server token"
    world.upload(world.download(new))
    assert world.service.next_step("hq").title == "Download a new server token"


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_interrupted_deletion_leaves_no_key_behind(world: TokenWorld, writes: int) -> None:
    world.create_token()
    world.service.replace_keypair("hq")
    world.store.writes = writes
    with pytest.raises(KilledError):
        world.service.delete("hq", cascade=True)
    world.store.writes = None
    assert world.stored_names == [["key pair", "next key pair", "hq"], [*KINDS[:2]], [*KINDS[1:2]]][writes]
    if writes:
        with pytest.raises(UnknownTokenError):
            world.service.next_step("hq")
    world.service.delete("hq", cascade=True)
    assert world.stored_names == []
    with pytest.raises(UnknownTokenError):
        world.service.delete("hq")


def test_begun_setup_can_be_deleted(world: TokenWorld) -> None:
    world.service.create("hq", consent=True, portal=Portal.SCHOOL)
    removal = world.service.delete("hq")
    assert (removal.devices, removal.portal, world.stored_names) == (0, Portal.SCHOOL, [])
    assert "stays in Apple School Manager" in str(removal)
    assert "sign in as" not in str(removal)


def test_two_administrators_who_begin_together_get_one_key_pair(world: TokenWorld) -> None:
    certificates: list[bytes] = []
    real = world.store.secret

    def slow(name: str) -> Secret | None:
        # The first read, before a key pair is made, finds none; the other setup ends before the second read.
        world.store.secret = real  # type: ignore[method-assign]
        found = real(name)
        certificates.append(world.begin())
        return found

    world.store.secret = slow  # type: ignore[method-assign]
    world.service.create("hq", consent=True)
    assert [world.service.certificate("hq")] == certificates


def test_older_token_file_does_not_replace_a_newer_one(world: TokenWorld) -> None:
    certificate = world.create_token()
    older = world.service.stage("hq", world.download(certificate), apple_id=APPLE_ID)
    world.clock.advance(hours=1)
    world.upload(world.download(certificate))
    newer = world.store.token("hq")
    with pytest.raises(TokenError, match="an older file"):
        world.service.accept(older)
    assert world.store.token("hq") == newer


def test_settings_changed_meanwhile_are_kept(world: TokenWorld) -> None:
    certificate = world.create_token()
    staged = world.service.stage("hq", world.download(certificate), apple_id=APPLE_ID)
    world.store.replace_token(attrs.evolve(world.store.token("hq"), scope_tags={"emea"}))
    assert world.service.accept(staged).token.scope_tags == {"emea"}


def test_token_deleted_meanwhile_is_not_stored_again(world: TokenWorld) -> None:
    certificate = world.create_token()
    staged = world.service.stage("hq", world.download(certificate), apple_id=APPLE_ID)
    world.service.delete("hq", cascade=True)
    with pytest.raises(UnknownTokenError, match="deleted meanwhile"):
        world.service.accept(staged)
    assert world.stored_names == []


def test_one_of_two_concurrent_uploads_gets_an_error(world: TokenWorld) -> None:
    certificate = world.begin()
    first = world.service.stage("hq", world.download(certificate), apple_id=APPLE_ID)
    second = world.service.stage("hq", world.download(certificate), apple_id=APPLE_ID)
    world.store.meanwhile = lambda: world.service.accept(second)
    with pytest.raises(DuplicateTokenError):
        world.service.accept(first)
    assert world.store.token("hq") == second.token
    assert world.stored_names == ["key pair", "hq"]


_ADD_SERVER = "Add MDM server and download server token"
_FINISH = "Upload server token and finish"
