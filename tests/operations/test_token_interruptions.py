"""The life of a token goes on after it was interrupted anywhere, and with several administrators at once."""

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
    """What nobody catches, as the end of a process."""


class MortalStore(MemoryStore):
    """Dies instead of writing, once *writes* of tokens and secrets are done; None lives on.

    ``meanwhile`` runs before the next write: what somebody else does.
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
class Office:
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

    def made(self) -> bytes:
        certificate = self.begin()
        self.upload(self.download(certificate))
        self.clock.advance(hours=1)
        return certificate

    @property
    def kept(self) -> list[str]:
        """Which secrets the store has, and which tokens."""
        secrets = [kind for kind in KINDS if self.store.secret(f"{kind} of hq") is not None]
        return [*secrets, *(token.name for token in self.store.tokens())]

    def interruptions(self, work: Callable[[], object]) -> Iterator[None]:
        """Begin *work* again and again, and let it die at its first write, its second, and so on."""
        for writes in itertools.count():
            self.store.writes = writes
            try:
                work()
            except KilledError:
                self.store.writes = None
                yield
            else:
                self.store.writes = None
                assert writes, "it wrote something"
                return


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    with office.store:
        yield office


def test_a_creation_that_dies_is_begun_again(office: Office) -> None:
    for _ in office.interruptions(lambda: office.service.create("hq", consent=True)):
        with pytest.raises(UnknownTokenError):
            office.service.next_step("hq")
    assert office.kept == ["key pair", "setup"]
    office.upload(office.download(office.service.certificate("hq")))
    assert office.kept == ["key pair", "hq"]


def test_a_first_upload_that_dies_is_done_again(office: Office) -> None:
    p7m = office.download(office.begin())
    for _ in office.interruptions(lambda: office.upload(p7m)):
        is_stored = "hq" in office.kept
        step = office.service.next_step("hq")
        # Nobody is sent to add a second server, or to download a file that ends a token that is there.
        assert step.title == (_FINISH if is_stored else _ADD_SERVER)
        assert [one.name for one in office.service.under_way()] == ["hq"]
    assert office.kept == ["key pair", "hq"]


def test_one_staged_token_may_be_accepted_again_but_no_other(office: Office) -> None:
    certificate = office.begin()
    other = office.service.stage("hq", office.download(certificate), apple_id=APPLE_ID)
    staged = office.service.stage("hq", office.download(certificate), apple_id=APPLE_ID)
    office.service.accept(staged)
    assert office.service.accept(staged, scope_tags={"emea"}).token.scope_tags == {"emea"}
    with pytest.raises(DuplicateTokenError):
        office.service.accept(other)


def test_a_renewal_that_dies_is_done_again(office: Office) -> None:
    certificate = office.made()
    p7m = office.download(certificate)
    before = office.store.token("hq")
    for _ in office.interruptions(lambda: office.upload(p7m)):
        assert office.service.certificate("hq") == certificate
        assert office.service.next_step("hq").title == "Download a new server token"
    assert office.store.token("hq") != before
    assert office.kept == ["key pair", "hq"]


def test_a_renewal_for_a_new_key_pair_that_dies_is_done_again(office: Office) -> None:
    office.made()
    certificate = office.service.replace_keypair("hq")
    p7m = office.download(certificate)
    for _ in office.interruptions(lambda: office.upload(p7m)):
        assert office.service.certificate("hq") == certificate, "the one that the portal has"
    assert office.kept == ["key pair", "hq"]
    assert office.service.certificate("hq") == certificate
    assert office.service.next_step("hq").total == 2


def test_an_adoption_that_dies_is_done_again(office: Office) -> None:
    keypair = TokenKeypair.generate("Contoso MDM")
    token = Token.from_p7m(
        office.download(keypair.certificate_pem),
        keypair,
        name="hq",
        apple_id=APPLE_ID,
        consented_at=office.clock(),
    )
    for _ in office.interruptions(lambda: office.service.add(token, keypair)):
        if "hq" in office.kept:
            has_keypair = "key pair" in office.kept
            title = office.service.next_step("hq").title
            assert title == (_FINISH if has_keypair else "Download the public key certificate")
    assert office.kept == ["key pair", "hq"]
    assert office.service.next_step("hq").title == "Download a new server token"


def test_a_replacement_that_dies_loses_no_certificate(office: Office) -> None:
    old = office.made()
    for _ in office.interruptions(lambda: office.service.replace_keypair("hq")):
        assert office.service.certificate("hq") == old
    new = office.service.certificate("hq")
    assert office.service.replace_keypair("hq") == new, "it may be in the portal already"
    office.upload(office.download(new))


def test_a_renewal_with_the_older_key_pair_leaves_the_newer_one_waiting(office: Office) -> None:
    old = office.made()
    new = office.service.replace_keypair("hq")
    office.upload(office.download(old))
    assert office.service.next_step("hq").title == "Replace the key and download a new server token"
    office.upload(office.download(new))
    assert office.service.next_step("hq").title == "Download a new server token"


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_deletion_that_dies_leaves_no_key_behind(office: Office, writes: int) -> None:
    office.made()
    office.service.replace_keypair("hq")
    office.store.writes = writes
    with pytest.raises(KilledError):
        office.service.delete("hq", cascade=True)
    office.store.writes = None
    assert office.kept == [["key pair", "next key pair", "hq"], [*KINDS[:2]], [*KINDS[1:2]]][writes]
    if writes:
        with pytest.raises(UnknownTokenError):
            office.service.next_step("hq")
    office.service.delete("hq", cascade=True)
    assert office.kept == []
    with pytest.raises(UnknownTokenError):
        office.service.delete("hq")


def test_a_token_that_was_begun_is_taken_back(office: Office) -> None:
    office.service.create("hq", consent=True, portal=Portal.SCHOOL)
    removal = office.service.delete("hq")
    assert (removal.devices, removal.portal, office.kept) == (0, Portal.SCHOOL, [])
    assert "stays in Apple School Manager" in str(removal)
    assert "sign in as" not in str(removal)


def test_two_administrators_who_begin_at_once_get_one_key_pair(office: Office) -> None:
    certificates: list[bytes] = []
    real = office.store.secret

    def slow(name: str) -> Secret | None:
        # The first look, before a key pair is made, finds none; the other one is done before the second.
        office.store.secret = real  # type: ignore[method-assign]
        found = real(name)
        certificates.append(office.begin())
        return found

    office.store.secret = slow  # type: ignore[method-assign]
    office.service.create("hq", consent=True)
    assert [office.service.certificate("hq")] == certificates


def test_an_older_file_does_not_take_the_place_of_a_newer_one(office: Office) -> None:
    certificate = office.made()
    older = office.service.stage("hq", office.download(certificate), apple_id=APPLE_ID)
    office.clock.advance(hours=1)
    office.upload(office.download(certificate))
    newer = office.store.token("hq")
    with pytest.raises(TokenError, match="an older file"):
        office.service.accept(older)
    assert office.store.token("hq") == newer


def test_what_changed_meanwhile_stays(office: Office) -> None:
    certificate = office.made()
    staged = office.service.stage("hq", office.download(certificate), apple_id=APPLE_ID)
    office.store.replace_token(attrs.evolve(office.store.token("hq"), scope_tags={"emea"}))
    assert office.service.accept(staged).token.scope_tags == {"emea"}


def test_a_token_that_was_deleted_meanwhile_does_not_come_back(office: Office) -> None:
    certificate = office.made()
    staged = office.service.stage("hq", office.download(certificate), apple_id=APPLE_ID)
    office.service.delete("hq", cascade=True)
    with pytest.raises(UnknownTokenError, match="deleted meanwhile"):
        office.service.accept(staged)
    assert office.kept == []


def test_of_two_who_store_a_token_at_once_one_is_told(office: Office) -> None:
    certificate = office.begin()
    first = office.service.stage("hq", office.download(certificate), apple_id=APPLE_ID)
    second = office.service.stage("hq", office.download(certificate), apple_id=APPLE_ID)
    office.store.meanwhile = lambda: office.service.accept(second)
    with pytest.raises(DuplicateTokenError):
        office.service.accept(first)
    assert office.store.token("hq") == second.token
    assert office.kept == ["key pair", "hq"]


_ADD_SERVER = "Add MDM server and download server token"
_FINISH = "Upload server token and finish"
