"""The steps an administrator gets for a token, from any process, and which of them are refused."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest
from tests.cases import each
from tests.operations.test_token_service import APPLE_ID, TokenWorld

from pyade.core.problems import Severity
from pyade.core.secret import Secret
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import (
    ArgumentError,
    DamagedRecordError,
    DuplicateTokenError,
    PolicyError,
    SigningError,
    TokenError,
    UnknownTokenError,
)
from pyade.operations import AsyncTokenService, TokenService, doctor
from pyade.operations.portal_steps import TokenSetup
from pyade.testing import Fault

pytestmark = pytest.mark.twins

FINISH = "Upload server token and finish"


@pytest.fixture(params=["sync", "asyncio", "trio"])
def world(request: pytest.FixtureRequest) -> Iterator[TokenWorld]:
    world = TokenWorld(kind=request.param)
    with world.store:
        yield world


def ask(world: TokenWorld, method: str, *given: Any, **options: Any) -> Any:
    """Return what *method* of the service returns."""
    return world.do(lambda service: getattr(service, method)(*given, **options))


def next_title(world: TokenWorld, name: str = "hq") -> str:
    title: str = ask(world, "next_step", name).title
    return title


def under_way(world: TokenWorld) -> list[str]:
    return [setup.name for setup in ask(world, "under_way")]


def store_token_of_program(world: TokenWorld, name: str = "hq") -> tuple[Token, TokenKeypair]:
    """Store a token as the README does, and return it with the key pair that the program kept."""
    keypair = TokenKeypair.generate("Contoso MDM")
    token = Token.from_p7m(
        world.download(keypair.certificate_pem),
        keypair,
        name=name,
        apple_id=APPLE_ID,
        consented_at=world.clock(),
    )
    return world.store.add_or_renew_token(token), keypair


# A token that was stored without the service


def test_token_without_its_key_pair_begins_with_a_new_one(world: TokenWorld) -> None:
    """Downloading a file is not the first step: it would end the token in use, and could not be read."""
    store_token_of_program(world)
    step = ask(world, "next_step", "hq")
    assert (step.number, step.total, step.title) == (1, 3, "Download the public key certificate")
    assert "replace_keypair()" in str(step)
    assert under_way(world) == []
    new = ask(world, "replace_keypair", "hq")
    assert (next_title(world), under_way(world)) == (
        "Replace the key and download a new server token",
        ["hq"],
    )
    world.upload(world.download(new))
    assert (next_title(world), under_way(world)) == ("Download a new server token", [])


def test_token_is_adopted_with_its_key_pair_and_renewed(world: TokenWorld) -> None:
    token, keypair = store_token_of_program(world)
    adopted = ask(world, "add", token, keypair)
    assert (adopted.error, adopted.sync.devices, adopted.token.org_name) == ("", 3, "Contoso")
    assert adopted.token == world.store.token("hq")
    assert ask(world, "keypair", "hq") == keypair
    assert next_title(world) == "Download a new server token"
    world.clock.advance(hours=1)
    assert world.upload(world.download(keypair.certificate_pem)).error == ""


def test_token_that_is_not_stored_is_added_with_its_key_pair(world: TokenWorld) -> None:
    token, keypair = store_token_of_program(world)
    world.store.remove_token("hq", now=world.clock())
    adopted = ask(world, "add", token, keypair)
    assert world.store.token("hq") == adopted.token
    assert ask(world, "keypair", "hq") == keypair


def test_expired_token_can_be_adopted_and_renewed(world: TokenWorld) -> None:
    token, keypair = store_token_of_program(world)
    world.clock.advance(days=400)
    adopted = ask(world, "add", token, keypair)
    assert (adopted.sync, "TokenExpiredError" in adopted.error) == (None, True)
    assert next_title(world) == "Download a new server token"
    renewed = world.upload(world.download(keypair.certificate_pem))
    assert (renewed.error, next_title(world)) == ("", "Download a new server token")


def test_superseded_token_can_be_adopted_and_needs_a_new_file(world: TokenWorld) -> None:
    """A sync cannot help it, and the adopted token is synced as soon as that file is stored."""
    token, keypair = store_token_of_program(world)
    p7m = world.download(keypair.certificate_pem)
    adopted = ask(world, "add", token, keypair)
    assert "TokenSupersededError" in adopted.error
    assert (next_title(world), under_way(world)) == ("Download a new server token", [])
    assert world.store.sync_state("hq").suspended.startswith("TokenSupersededError")
    assert world.upload(p7m).sync.devices == 3


def test_invalid_token_is_not_adopted(world: TokenWorld) -> None:
    token, keypair = store_token_of_program(world)
    ask(world, "add", token, keypair)
    other = TokenKeypair.generate("Other")
    with pytest.raises(TokenError, match="another one is stored for this same token"):
        ask(world, "add", token, other)
    second = attrs.evolve(token, name="second")
    with pytest.raises(TokenError, match="renew 'hq'"):
        ask(world, "add", second, keypair)
    world.download(keypair.certificate_pem)
    with pytest.raises(Exception, match="signature_invalid"):
        ask(world, "add", second, keypair)
    assert [found.name for found in world.store.tokens()] == ["hq"]
    assert ask(world, "keypair", "hq") == keypair


@each("position", [0, 1])
def test_adoption_takes_only_a_token_and_a_key_pair(position: int) -> None:
    world = TokenWorld(kind="sync")
    given: list[Any] = list(store_token_of_program(world))
    given[position] = "hq"
    with pytest.raises(ArgumentError, match=["token is a text", "keypair is a text"][position]):
        ask(world, "add", *given)


# The five steps


def test_each_step_is_shown_and_survives_a_restart(world: TokenWorld) -> None:
    seen = [ask(world, "create", "hq", consent=True).next_step.title]
    certificate = ask(world, "certificate", "hq")
    for number in (2, 3, 4):
        seen.append(next_title(world))
        step = ask(world, "step_done", "hq", number, apple_id=APPLE_ID if number == 4 else None)
        assert (step.number, step.title) == (number + 1, next_title(world))
        assert under_way(world) == ["hq"]
    seen.append(next_title(world))
    (setup,) = ask(world, "under_way")
    assert seen == [step.title for step in setup.steps]
    assert APPLE_ID in str(setup.next_step)
    p7m = world.download(certificate)
    world.apple.script("POST /server/devices", *[Fault.unreachable()] * 20)
    failed = ask(world, "upload", "hq", p7m)
    assert (failed.sync, failed.token.apple_id) == (None, APPLE_ID)
    step = ask(world, "next_step", "hq")
    assert (step.number, step.title, under_way(world)) == (5, FINISH, ["hq"])
    assert "TransportError" in str(step)
    assert "sync it once" in str(step)
    world.apple.script("POST /server/devices")
    world.clock.advance(days=1)
    with world.client() as client:
        world.sync(client)
    assert (next_title(world), under_way(world)) == ("Download a new server token", [])


def test_steps_must_be_done_in_order(world: TokenWorld) -> None:
    ask(world, "create", "hq", consent=True)
    with pytest.raises(PolicyError, match="step 1 of 'hq' comes first"):
        ask(world, "step_done", "hq", 2)
    ask(world, "certificate", "hq")
    for number in (0, 1, 5, True, "2"):
        with pytest.raises(TokenError, match="give 2, 3 or 4"):
            ask(world, "step_done", "hq", number)
    with pytest.raises(TokenError, match="apple_id is missing"):
        ask(world, "step_done", "hq", 4)
    with pytest.raises(TokenError, match="is not an address"):
        ask(world, "step_done", "hq", 4, apple_id="it")
    assert ask(world, "step_done", "hq", 3).number == 4
    assert ask(world, "step_done", "hq", 2).number == 4, "done once is done"
    with pytest.raises(UnknownTokenError):
        ask(world, "step_done", "unknown", 2)
    world.upload(world.download(ask(world, "certificate", "hq")))
    with pytest.raises(PolicyError, match="stored already"):
        ask(world, "step_done", "hq", 4, apple_id=APPLE_ID)


def test_missing_apple_id_is_requested(world: TokenWorld) -> None:
    p7m = world.download(world.begin())
    for _ in range(2):
        with pytest.raises(TokenError, match="apple_id is missing"):
            ask(world, "upload", "hq", p7m)
        if not world.store.tokens():
            world.upload(p7m)  # and a renewal compares it with the stored one


def test_setup_that_is_begun_again_continues(world: TokenWorld) -> None:
    ask(world, "create", "hq", consent=True, portal=Portal.SCHOOL, scope_tags={"emea"})
    certificate = ask(world, "certificate", "hq")
    ask(world, "step_done", "hq", 2)
    world.clock.advance(days=1)
    again = ask(world, "create", "hq", consent=True)
    assert (again.portal, again.scope_tags, again.steps_done) == (Portal.SCHOOL, {"emea"}, 2)
    assert again.consented_at == world.clock() - timedelta(days=1)
    assert ask(world, "certificate", "hq") == certificate
    changed = ask(world, "create", "hq", consent=True, scope_tags=["apac"])
    assert changed == attrs.evolve(again, scope_tags={"apac"}), "the new values, and nothing else"


def test_token_without_its_first_sync_is_not_begun_again(world: TokenWorld) -> None:
    p7m = world.download(world.begin())
    world.apple.script("POST /server/devices", *[Fault.unreachable()] * 20)
    world.upload(p7m)
    assert ask(world, "create", "hq", consent=True).next_step.title == FINISH
    world.apple.faults.revoke_token("Contoso MDM")
    world.clock.advance(days=1)
    world.apple.script("POST /server/devices")
    with world.client() as client, pytest.raises(Exception, match="token_rejected"):
        world.sync(client)
    world.store.save_sync_state(
        "hq",
        attrs.evolve(
            world.store.sync_state("hq"),
            suspended="TokenRejectedError: revoked",
            suspended_with=world.store.token("hq").fingerprint,
        ),
    )
    assert next_title(world) == "Download a new server token", "nothing else helps"
    with pytest.raises(DuplicateTokenError):
        world.begin()


def test_several_setups_are_listed_by_name(world: TokenWorld) -> None:
    world.create_token()
    for name in ("zürich", "emea"):
        ask(world, "create", name, consent=True)
    ask(world, "replace_keypair", "hq")
    assert under_way(world) == ["emea", "hq", "zürich"]
    ask(world, "delete", "emea")
    assert under_way(world) == ["hq", "zürich"]


# Damaged data


def test_damaged_setup_is_named_and_begun_again(world: TokenWorld) -> None:
    for name in ("hq", "other"):
        ask(world, "create", name, consent=True)
    good = world.store.secret("setup of hq")
    assert good is not None
    for text in ("{", "[]", "{}", good.reveal().replace('"name":"hq"', '"name":" "'), '{"name": 5}'):
        world.store.save_secret("setup of hq", text)
        for call in ("next_step", "certificate"):
            with pytest.raises(
                DamagedRecordError, match="the stored setup of token 'hq' cannot be read"
            ) as caught:
                ask(world, call, "hq")
            assert caught.value.token_name == "hq"
            assert caught.value.__cause__ is caught.value.__context__ is None
        with pytest.raises(DamagedRecordError):
            under_way(world)
        damaged: list[DamagedRecordError] = []
        found = ask(world, "under_way", damaged=damaged.append)
        assert [setup.name for setup in found] == ["other"]
        assert [error.token_name for error in damaged] == ["hq"]
    assert ask(world, "delete", "hq").portal is None
    assert world.begin()


def test_damaged_key_pair_is_named_and_replaced(world: TokenWorld) -> None:
    token, keypair = store_token_of_program(world)
    world.store.save_secret("key pair of hq", "-----BEGIN PRIVATE KEY-----")
    with pytest.raises(SigningError, match=r"the stored key pair of token 'hq' cannot be used: .* cut short"):
        ask(world, "keypair", "hq")
    with pytest.raises(TokenError, match="force=True"):
        ask(world, "add", token, keypair)
    assert ask(world, "add", token, keypair, force=True).error == ""
    assert ask(world, "keypair", "hq") == keypair


# Refused before anything is created or stored


@each("consent", [False, None, "no", "yes", 1, [True]])
def test_only_true_is_consent(consent: Any) -> None:
    world = TokenWorld(kind="sync")
    with pytest.raises(TokenError, match="consent=True"):
        ask(world, "create", "hq", consent=consent)
    assert world.store.secret_names() == ()


@each(
    ("options", "said"),
    [
        ({"scope_tags": "emea"}, "scope_tags 'emea' is one text"),
        ({"scope_tags": [1]}, "an empty text or another value"),
        ({"scope_tags": [""]}, "an empty text or another value"),
        ({"scope_tags": ["\ud800"]}, "an empty text or another value"),
        ({"scope_tags": 5}, "no set of texts"),
        ({"portal": "school"}, "portal 'school' is none of Apple's"),
        ({"portal": "Apple School Manager"}, "use Portal.BUSINESS or Portal.SCHOOL"),
    ],
)
def test_setup_that_could_not_be_read_back_is_not_begun(options: dict[str, Any], said: str) -> None:
    world = TokenWorld(kind="sync")
    with pytest.raises(TokenError, match=said):
        ask(world, "create", "hq", consent=True, **options)
    assert world.store.secret_names() == ()
    before = ask(world, "create", "hq", consent=True)
    with pytest.raises(TokenError, match=said):
        ask(world, "create", "hq", consent=True, **options)
    assert ask(world, "under_way") == (before,)


@each("name", ["ü" * 33, "x" * 65, None, 5, "", "  ", "a\nb", "a\0b", "\ud800"])
def test_name_that_no_certificate_can_have_is_refused(name: Any) -> None:
    world = TokenWorld(kind="sync")
    with pytest.raises(SigningError, match="common_name"):
        ask(world, "create", name, consent=True)
    assert world.store.secret_names() == ()


@each("name", ["ü" * 40, "a\nb", "日" * 30])
def test_stored_token_of_any_name_gets_a_new_key_pair(name: str) -> None:
    world = TokenWorld(kind="sync")
    store_token_of_program(world, name)
    new = ask(world, "replace_keypair", name)
    assert world.upload(world.download(new), name=name).error == ""


@each("scope_tags", ["emea", [1], [""]])
def test_scope_tags_must_be_a_set_of_texts(scope_tags: Any) -> None:
    world = TokenWorld(kind="sync")
    p7m = world.download(world.begin())
    staged = ask(world, "stage", "hq", p7m, apple_id=APPLE_ID)
    for call in (
        lambda service: service.accept(staged, scope_tags=scope_tags),
        lambda service: service.upload("hq", p7m, apple_id=APPLE_ID, scope_tags=scope_tags),
    ):
        with pytest.raises(TokenError, match="scope_tags"):
            world.do(call)
    assert not world.store.tokens()


@each("value", ["no", 1, None])
def test_switch_must_be_true_or_false(value: Any) -> None:
    world = TokenWorld(kind="sync")
    world.create_token()
    p7m = world.download(ask(world, "certificate", "hq"))
    staged = ask(world, "stage", "hq", p7m, apple_id=APPLE_ID)
    before = world.store.token("hq")
    keypair = ask(world, "keypair", "hq")
    for call in (
        lambda service: service.accept(staged, force=value),
        lambda service: service.upload("hq", p7m, apple_id=APPLE_ID, force=value),
        lambda service: service.add(before, keypair, force=value),
        lambda service: service.delete("hq", cascade=value),
    ):
        with pytest.raises(ArgumentError, match="True or False is allowed"):
            world.do(call)
    with pytest.raises(ArgumentError, match="staged is a text"):
        ask(world, "accept", "hq")
    assert world.store.token("hq") == before
    assert len(list(world.store.devices("hq"))) == 3


@each(
    "changes",
    [
        {"name": 5},
        {"portal": "school"},
        {"scope_tags": "emea"},
        {"apple_id": "it"},
        {"consented_at": True},
        {"is_renewal": "no"},
        {"steps_done": 5},
        {"steps_done": "2"},
        {"steps_done": 3, "is_renewal": True},
    ],
)
def test_setup_that_could_not_be_read_back_cannot_be_created(changes: dict[str, Any]) -> None:
    good = {"name": "hq", "consented_at": TokenWorld(kind="sync").clock()}
    with pytest.raises(TokenError):
        TokenSetup(**{**good, **changes})


def test_new_token_with_a_lost_key_pair_begins_again(world: TokenWorld) -> None:
    """The file of the old certificate can never be read; ``replace_keypair`` is for stored tokens only."""
    p7m = world.download(world.begin())
    ask(world, "step_done", "hq", 4, apple_id=APPLE_ID)
    world.store.save_secret("key pair of hq", None)
    for method, given in (("certificate", ()), ("upload", (p7m,))):
        with pytest.raises(UnknownTokenError, match="create\\(\\) to make another one"):
            ask(world, method, "hq", *given)
    setup = ask(world, "create", "hq", consent=True)
    assert (setup.steps_done, setup.apple_id) == (0, APPLE_ID)
    assert ask(world, "certificate", "hq")
    assert next_title(world) == "Add MDM server and download server token"


@each(
    "changes",
    [
        {"name": "other"},
        {"is_renewal": True},
        {"is_stored": True},
        {"scope_tags": [""]},
        {"steps_done": 4, "is_renewal": True, "certificate_is_new": False},
    ],
)
def test_setup_with_values_of_no_new_token_is_damaged(changes: dict[str, Any]) -> None:
    world = TokenWorld(kind="sync")
    world.begin()
    kept = json.loads((world.store.secret("setup of hq") or Secret("")).reveal())
    world.store.save_secret("setup of hq", json.dumps({**kept, **changes}))
    for method in ("next_step", "certificate"):
        with pytest.raises(DamagedRecordError, match="the stored setup of token 'hq'"):
            ask(world, method, "hq")
    errors: list[Exception] = []
    assert ask(world, "under_way", damaged=errors.append) == ()
    assert len(errors) == 1


# The downloading administrator, and the portal


def test_apple_id_other_than_the_downloading_one_is_a_problem(world: TokenWorld) -> None:
    """At creation and at renewal, and in ``doctor`` until it is corrected."""
    certificate = world.begin()
    create_token = world.upload(world.download(certificate), apple_id="jo@contoso.example")
    (problem,) = create_token.problems
    assert (problem.setting, problem.severity) == ("apple_id", Severity.WARNING)
    assert f"Apple names {APPLE_ID}" in str(problem)
    assert str(problem) in str(create_token)
    renewed = world.upload(world.download(certificate), apple_id="jo@contoso.example")
    assert renewed.problems == create_token.problems
    assert _apple_ids(world) == [f"token hq.apple_id 'jo@contoso.example': {problem.allowed} ({problem.fix})"]
    right = world.upload(world.download(certificate), apple_id=APPLE_ID.upper())
    assert [one.severity for one in right.problems] == [Severity.WARNING], "another one than before"
    assert _apple_ids(world) == []
    assert world.upload(world.download(certificate), apple_id=APPLE_ID).problems == ()


def test_doctor_reads_the_apple_id_that_downloaded_a_token(world: TokenWorld) -> None:
    store_token_of_program(world)
    world.store.replace_token(attrs.evolve(world.store.token("hq"), apple_id="jo@contoso.example"))
    assert _apple_ids(world) == []
    (found,) = _apple_ids(world, asks=True)
    assert f"Apple names {APPLE_ID}" in found


def _apple_ids(world: TokenWorld, *, asks: bool = False) -> list[str]:
    client_for = (lambda _: world.client()) if asks else None
    problems = doctor(world.store, client_for, clock=world.clock).problems
    return [str(problem) for problem in problems if problem.setting == "token hq.apple_id"]


@pytest.mark.parametrize("is_school", [True, False])
def test_steps_use_the_words_of_the_portal_that_apple_names(world: TokenWorld, is_school: bool) -> None:
    world.add_school()
    server, said, real = (
        ("School", Portal.BUSINESS, Portal.SCHOOL)
        if is_school
        else ("Contoso MDM", Portal.SCHOOL, Portal.BUSINESS)
    )
    ask(world, "create", "hq", consent=True, portal=said)
    certificate = ask(world, "certificate", "hq")
    assert f"sign in to {said}" in str(ask(world, "next_step", "hq"))
    p7m = world.download(certificate, server)
    staged = ask(world, "stage", "hq", p7m, apple_id=APPLE_ID)
    assert [(one.setting, one.value) for one in staged.problems] == [("portal", said)]
    ask(world, "accept", staged)
    assert f"sign in to {real}" in str(ask(world, "next_step", "hq"))
    assert f"sign in to {real}" in str(world.store.token("hq").health(world.clock() + timedelta(days=400)))
    settings = [problem.setting for problem in doctor(world.store, clock=world.clock).problems]
    assert "token hq.portal" in settings
    world.upload(world.download(certificate, server))
    assert world.store.token("hq").portal is real, "a renewal notes it"
    settings = [problem.setting for problem in doctor(world.store, clock=world.clock).problems]
    assert "token hq.portal" not in settings
    assert ask(world, "delete", "hq", cascade=True).portal is real


# Upload, text, twins


def test_upload_does_the_same_as_stage_and_accept(world: TokenWorld) -> None:
    certificate = world.begin()
    tagged = ask(world, "upload", "hq", world.download(certificate), apple_id=APPLE_ID, scope_tags={"emea"})
    assert tagged.token.scope_tags == {"emea"}
    p7m = world.download(certificate)
    with pytest.raises(TokenError, match="force=True"):
        world.upload(p7m, apple_id="jo@contoso.example")
    forced = ask(world, "upload", "hq", p7m, apple_id="jo@contoso.example", force=True)
    assert forced.token.apple_id == "jo@contoso.example"


def test_all_objects_of_a_token_have_readable_texts(world: TokenWorld) -> None:
    setup = ask(world, "create", "hq", consent=True)
    assert str(setup).splitlines()[:3] == [
        "hq: new token in Apple Business Manager, 0 of 5 steps done",
        "  next  1. Download the public key certificate",
        "        2. Add MDM server and download server token",
    ]
    p7m = world.download(ask(world, "certificate", "hq"))
    (setup,) = ask(world, "under_way")
    assert "  done  1. Download the public key certificate" in str(setup)
    staged = ask(world, "stage", "hq", p7m, apple_id="jo@gmail.com")
    assert str(staged).startswith("hq: a new token, which Apple accepts for Contoso MDM; not stored yet\n")
    assert "  warning: apple_id 'jo@gmail.com': Apple names it@contoso.example, who downloaded" in str(staged)
    accepted = ask(world, "accept", staged)
    assert str(accepted).startswith("hq: stored\n  hq: server token of Contoso in Apple Business Manager")
    assert "    caught up with Apple" in str(accepted)
    keypair = ask(world, "keypair", "hq")
    removal = ask(world, "delete", "hq", cascade=True)
    shown = [setup, setup.next_step, staged, staged.token, accepted, keypair, removal]
    for one in shown:
        assert type(one).__name__ not in str(one)
        assert "PRIVATE" not in str(one)
        assert not any(
            secret.reveal() in str(one)
            for secret in (
                staged.token.consumer_secret,
                staged.token.access_token,
                staged.token.access_secret,
            )
        )


def test_both_classes_have_the_same_methods() -> None:
    names = [name for name in vars(TokenService) if not name.startswith("_")]
    assert names == [name for name in vars(AsyncTokenService) if not name.startswith("_")]
    for name in names:
        one, other = (inspect.signature(getattr(kind, name)) for kind in (TokenService, AsyncTokenService))
        assert one.parameters == other.parameters
