"""What a person is told to do about a token, from any process, and what of it is refused."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest
from tests.cases import each
from tests.operations.test_token_service import APPLE_ID, Office

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
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    office = Office(kind=request.param)
    with office.store:
        yield office


def ask(office: Office, method: str, *given: Any, **options: Any) -> Any:
    """Return what *method* of the service returns."""
    return office.do(lambda service: getattr(service, method)(*given, **options))


def next_title(office: Office, name: str = "hq") -> str:
    title: str = ask(office, "next_step", name).title
    return title


def under_way(office: Office) -> list[str]:
    return [setup.name for setup in ask(office, "under_way")]


def came_in(office: Office, name: str = "hq") -> tuple[Token, TokenKeypair]:
    """Store a token as the README does, and return it with the key pair that the program kept."""
    keypair = TokenKeypair.generate("Contoso MDM")
    token = Token.from_p7m(
        office.download(keypair.certificate_pem),
        keypair,
        name=name,
        apple_id=APPLE_ID,
        consented_at=office.clock(),
    )
    return office.store.add_or_renew_token(token), keypair


# A token that came in without the service


def test_a_token_without_its_key_pair_begins_with_a_new_one(office: Office) -> None:
    """To download a file comes first nowhere: it would end the token in use, and nobody could read it."""
    came_in(office)
    step = ask(office, "next_step", "hq")
    assert (step.number, step.total, step.title) == (1, 3, "Download the public key certificate")
    assert "replace_keypair()" in str(step)
    assert under_way(office) == []
    new = ask(office, "replace_keypair", "hq")
    assert (next_title(office), under_way(office)) == (
        "Replace the key and download a new server token",
        ["hq"],
    )
    office.upload(office.download(new))
    assert (next_title(office), under_way(office)) == ("Download a new server token", [])


def test_a_token_is_adopted_with_its_key_pair_and_renewed(office: Office) -> None:
    token, keypair = came_in(office)
    adopted = ask(office, "add", token, keypair)
    assert (adopted.error, adopted.sync.devices, adopted.token.org_name) == ("", 3, "Contoso")
    assert adopted.token == office.store.token("hq")
    assert ask(office, "keypair", "hq") == keypair
    assert next_title(office) == "Download a new server token"
    office.clock.advance(hours=1)
    assert office.upload(office.download(keypair.certificate_pem)).error == ""


def test_a_token_that_is_not_stored_is_added_with_its_key_pair(office: Office) -> None:
    token, keypair = came_in(office)
    office.store.remove_token("hq", now=office.clock())
    adopted = ask(office, "add", token, keypair)
    assert office.store.token("hq") == adopted.token
    assert ask(office, "keypair", "hq") == keypair


def test_an_expired_token_is_adopted_so_that_it_can_be_renewed(office: Office) -> None:
    token, keypair = came_in(office)
    office.clock.advance(days=400)
    adopted = ask(office, "add", token, keypair)
    assert (adopted.sync, "TokenExpiredError" in adopted.error) == (None, True)
    assert next_title(office) == "Download a new server token"
    renewed = office.upload(office.download(keypair.certificate_pem))
    assert (renewed.error, next_title(office)) == ("", "Download a new server token")


def test_a_superseded_token_is_adopted_and_the_next_step_is_another_file(office: Office) -> None:
    """A sync cannot help it, and what was adopted is synced at once when that file came."""
    token, keypair = came_in(office)
    p7m = office.download(keypair.certificate_pem)
    adopted = ask(office, "add", token, keypair)
    assert "TokenSupersededError" in adopted.error
    assert (next_title(office), under_way(office)) == ("Download a new server token", [])
    assert office.store.sync_state("hq").suspended.startswith("TokenSupersededError")
    assert office.upload(p7m).sync.devices == 3


def test_what_speaks_against_a_token_speaks_against_adopting_it(office: Office) -> None:
    token, keypair = came_in(office)
    ask(office, "add", token, keypair)
    other = TokenKeypair.generate("Other")
    with pytest.raises(TokenError, match="another one is stored for this same token"):
        ask(office, "add", token, other)
    second = attrs.evolve(token, name="second")
    with pytest.raises(TokenError, match="renew 'hq'"):
        ask(office, "add", second, keypair)
    office.download(keypair.certificate_pem)
    with pytest.raises(Exception, match="signature_invalid"):
        ask(office, "add", second, keypair)
    assert [found.name for found in office.store.tokens()] == ["hq"]
    assert ask(office, "keypair", "hq") == keypair


@each("position", [0, 1])
def test_only_a_token_and_a_key_pair_are_adopted(position: int) -> None:
    office = Office(kind="sync")
    given: list[Any] = list(came_in(office))
    given[position] = "hq"
    with pytest.raises(ArgumentError, match=["token is a text", "keypair is a text"][position]):
        ask(office, "add", *given)


# The five steps


def test_each_step_is_shown_and_survives_a_restart(office: Office) -> None:
    seen = [ask(office, "create", "hq", consent=True).next_step.title]
    certificate = ask(office, "certificate", "hq")
    for number in (2, 3, 4):
        seen.append(next_title(office))
        step = ask(office, "step_done", "hq", number, apple_id=APPLE_ID if number == 4 else None)
        assert (step.number, step.title) == (number + 1, next_title(office))
        assert under_way(office) == ["hq"]
    seen.append(next_title(office))
    (setup,) = ask(office, "under_way")
    assert seen == [step.title for step in setup.steps]
    assert APPLE_ID in str(setup.next_step)
    p7m = office.download(certificate)
    office.apple.script("POST /server/devices", *[Fault.unreachable()] * 20)
    failed = ask(office, "upload", "hq", p7m)
    assert (failed.sync, failed.token.apple_id) == (None, APPLE_ID)
    step = ask(office, "next_step", "hq")
    assert (step.number, step.title, under_way(office)) == (5, FINISH, ["hq"])
    assert "TransportError" in str(step)
    assert "sync it once" in str(step)
    office.apple.script("POST /server/devices")
    office.clock.advance(days=1)
    with office.client() as client:
        office.sync(client)
    assert (next_title(office), under_way(office)) == ("Download a new server token", [])


def test_steps_are_done_in_their_order(office: Office) -> None:
    ask(office, "create", "hq", consent=True)
    with pytest.raises(PolicyError, match="step 1 of 'hq' comes first"):
        ask(office, "step_done", "hq", 2)
    ask(office, "certificate", "hq")
    for number in (0, 1, 5, True, "2"):
        with pytest.raises(TokenError, match="give 2, 3 or 4"):
            ask(office, "step_done", "hq", number)
    with pytest.raises(TokenError, match="apple_id is missing"):
        ask(office, "step_done", "hq", 4)
    with pytest.raises(TokenError, match="is not an address"):
        ask(office, "step_done", "hq", 4, apple_id="it")
    assert ask(office, "step_done", "hq", 3).number == 4
    assert ask(office, "step_done", "hq", 2).number == 4, "done once is done"
    with pytest.raises(UnknownTokenError):
        ask(office, "step_done", "nobody", 2)
    office.upload(office.download(ask(office, "certificate", "hq")))
    with pytest.raises(PolicyError, match="stored already"):
        ask(office, "step_done", "hq", 4, apple_id=APPLE_ID)


def test_without_a_saved_apple_id_one_is_asked_for(office: Office) -> None:
    p7m = office.download(office.begin())
    for _ in range(2):
        with pytest.raises(TokenError, match="apple_id is missing"):
            ask(office, "upload", "hq", p7m)
        if not office.store.tokens():
            office.upload(p7m)  # and a renewal compares it with the stored one


def test_a_token_that_is_begun_again_goes_on(office: Office) -> None:
    ask(office, "create", "hq", consent=True, portal=Portal.SCHOOL, scope_tags={"emea"})
    certificate = ask(office, "certificate", "hq")
    ask(office, "step_done", "hq", 2)
    office.clock.advance(days=1)
    again = ask(office, "create", "hq", consent=True)
    assert (again.portal, again.scope_tags, again.steps_done) == (Portal.SCHOOL, {"emea"}, 2)
    assert again.consented_at == office.clock() - timedelta(days=1)
    assert ask(office, "certificate", "hq") == certificate
    changed = ask(office, "create", "hq", consent=True, scope_tags=["apac"])
    assert changed == attrs.evolve(again, scope_tags={"apac"}), "what is given anew, and nothing else"


def test_a_token_whose_first_sync_is_missing_is_begun_no_second_time(office: Office) -> None:
    p7m = office.download(office.begin())
    office.apple.script("POST /server/devices", *[Fault.unreachable()] * 20)
    office.upload(p7m)
    assert ask(office, "create", "hq", consent=True).next_step.title == FINISH
    office.apple.faults.revoke_token("Contoso MDM")
    office.clock.advance(days=1)
    office.apple.script("POST /server/devices")
    with office.client() as client, pytest.raises(Exception, match="token_rejected"):
        office.sync(client)
    office.store.save_sync_state(
        "hq",
        attrs.evolve(
            office.store.sync_state("hq"),
            suspended="TokenRejectedError: revoked",
            suspended_with=office.store.token("hq").fingerprint,
        ),
    )
    assert next_title(office) == "Download a new server token", "nothing else helps"
    with pytest.raises(DuplicateTokenError):
        office.begin()


def test_what_is_under_way_of_several_is_listed_by_name(office: Office) -> None:
    office.made()
    for name in ("zürich", "emea"):
        ask(office, "create", name, consent=True)
    ask(office, "replace_keypair", "hq")
    assert under_way(office) == ["emea", "hq", "zürich"]
    ask(office, "delete", "emea")
    assert under_way(office) == ["hq", "zürich"]


# What is damaged


def test_a_damaged_setup_is_named_and_begun_again(office: Office) -> None:
    for name in ("hq", "other"):
        ask(office, "create", name, consent=True)
    good = office.store.secret("setup of hq")
    assert good is not None
    for text in ("{", "[]", "{}", good.reveal().replace('"name":"hq"', '"name":" "'), '{"name": 5}'):
        office.store.save_secret("setup of hq", text)
        for call in ("next_step", "certificate"):
            with pytest.raises(
                DamagedRecordError, match="the stored setup of token 'hq' cannot be read"
            ) as caught:
                ask(office, call, "hq")
            assert caught.value.token_name == "hq"
            assert caught.value.__cause__ is caught.value.__context__ is None
        with pytest.raises(DamagedRecordError):
            under_way(office)
        damaged: list[DamagedRecordError] = []
        found = ask(office, "under_way", damaged=damaged.append)
        assert [setup.name for setup in found] == ["other"]
        assert [error.token_name for error in damaged] == ["hq"]
    assert ask(office, "delete", "hq").portal is None
    assert office.begin()


def test_a_damaged_key_pair_is_named_and_replaced(office: Office) -> None:
    token, keypair = came_in(office)
    office.store.save_secret("key pair of hq", "-----BEGIN PRIVATE KEY-----")
    with pytest.raises(SigningError, match=r"the stored key pair of token 'hq' cannot be used: .* cut short"):
        ask(office, "keypair", "hq")
    with pytest.raises(TokenError, match="force=True"):
        ask(office, "add", token, keypair)
    assert ask(office, "add", token, keypair, force=True).error == ""
    assert ask(office, "keypair", "hq") == keypair


# What is refused before anything is made or stored


@each("consent", [False, None, "no", "yes", 1, [True]])
def test_only_true_is_consent(consent: Any) -> None:
    office = Office(kind="sync")
    with pytest.raises(TokenError, match="consent=True"):
        ask(office, "create", "hq", consent=consent)
    assert office.store.secret_names() == ()


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
def test_what_could_not_be_read_back_is_not_begun(options: dict[str, Any], said: str) -> None:
    office = Office(kind="sync")
    with pytest.raises(TokenError, match=said):
        ask(office, "create", "hq", consent=True, **options)
    assert office.store.secret_names() == ()
    before = ask(office, "create", "hq", consent=True)
    with pytest.raises(TokenError, match=said):
        ask(office, "create", "hq", consent=True, **options)
    assert ask(office, "under_way") == (before,)


@each("name", ["ü" * 33, "x" * 65, None, 5, "", "  ", "a\nb", "a\0b", "\ud800"])
def test_a_name_that_no_certificate_can_have_is_not_begun(name: Any) -> None:
    office = Office(kind="sync")
    with pytest.raises(SigningError, match="common_name"):
        ask(office, "create", name, consent=True)
    assert office.store.secret_names() == ()


@each("name", ["ü" * 40, "a\nb", "日" * 30])
def test_a_stored_token_of_any_name_gets_a_new_key_pair(name: str) -> None:
    office = Office(kind="sync")
    came_in(office, name)
    new = ask(office, "replace_keypair", name)
    assert office.upload(office.download(new), name=name).error == ""


@each("scope_tags", ["emea", [1], [""]])
def test_scope_tags_of_a_token_are_a_set_of_texts(scope_tags: Any) -> None:
    office = Office(kind="sync")
    p7m = office.download(office.begin())
    staged = ask(office, "stage", "hq", p7m, apple_id=APPLE_ID)
    for call in (
        lambda service: service.accept(staged, scope_tags=scope_tags),
        lambda service: service.upload("hq", p7m, apple_id=APPLE_ID, scope_tags=scope_tags),
    ):
        with pytest.raises(TokenError, match="scope_tags"):
            office.do(call)
    assert not office.store.tokens()


@each("value", ["no", 1, None])
def test_a_switch_is_true_or_false(value: Any) -> None:
    office = Office(kind="sync")
    office.made()
    p7m = office.download(ask(office, "certificate", "hq"))
    staged = ask(office, "stage", "hq", p7m, apple_id=APPLE_ID)
    before = office.store.token("hq")
    keypair = ask(office, "keypair", "hq")
    for call in (
        lambda service: service.accept(staged, force=value),
        lambda service: service.upload("hq", p7m, apple_id=APPLE_ID, force=value),
        lambda service: service.add(before, keypair, force=value),
        lambda service: service.delete("hq", cascade=value),
    ):
        with pytest.raises(ArgumentError, match="True or False is allowed"):
            office.do(call)
    with pytest.raises(ArgumentError, match="staged is a text"):
        ask(office, "accept", "hq")
    assert office.store.token("hq") == before
    assert len(list(office.store.devices("hq"))) == 3


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
def test_a_setup_that_could_not_be_read_back_cannot_be_made(changes: dict[str, Any]) -> None:
    good = {"name": "hq", "consented_at": Office(kind="sync").clock()}
    with pytest.raises(TokenError):
        TokenSetup(**{**good, **changes})


def test_a_new_token_whose_key_pair_is_lost_begins_again(office: Office) -> None:
    """The file of the old certificate can never be read; ``replace_keypair`` is for stored tokens only."""
    p7m = office.download(office.begin())
    ask(office, "step_done", "hq", 4, apple_id=APPLE_ID)
    office.store.save_secret("key pair of hq", None)
    for method, given in (("certificate", ()), ("upload", (p7m,))):
        with pytest.raises(UnknownTokenError, match="create\\(\\) to make another one"):
            ask(office, method, "hq", *given)
    setup = ask(office, "create", "hq", consent=True)
    assert (setup.steps_done, setup.apple_id) == (0, APPLE_ID)
    assert ask(office, "certificate", "hq")
    assert next_title(office) == "Add MDM server and download server token"


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
def test_a_setup_that_is_none_of_a_new_token_is_damaged(changes: dict[str, Any]) -> None:
    office = Office(kind="sync")
    office.begin()
    kept = json.loads((office.store.secret("setup of hq") or Secret("")).reveal())
    office.store.save_secret("setup of hq", json.dumps({**kept, **changes}))
    for method in ("next_step", "certificate"):
        with pytest.raises(DamagedRecordError, match="the stored setup of token 'hq'"):
            ask(office, method, "hq")
    errors: list[Exception] = []
    assert ask(office, "under_way", damaged=errors.append) == ()
    assert len(errors) == 1


# Who downloaded it, and where


def test_another_apple_id_than_the_one_that_downloaded_the_token_is_a_problem(office: Office) -> None:
    """At creation and at renewal, and in ``doctor`` until it is put right."""
    certificate = office.begin()
    made = office.upload(office.download(certificate), apple_id="jo@contoso.example")
    (problem,) = made.problems
    assert (problem.setting, problem.severity) == ("apple_id", Severity.WARNING)
    assert f"Apple names {APPLE_ID}" in str(problem)
    assert str(problem) in str(made)
    renewed = office.upload(office.download(certificate), apple_id="jo@contoso.example")
    assert renewed.problems == made.problems
    assert _apple_ids(office) == [
        f"token hq.apple_id 'jo@contoso.example': {problem.allowed} ({problem.fix})"
    ]
    right = office.upload(office.download(certificate), apple_id=APPLE_ID.upper())
    assert [one.severity for one in right.problems] == [Severity.WARNING], "another one than before"
    assert _apple_ids(office) == []
    assert office.upload(office.download(certificate), apple_id=APPLE_ID).problems == ()


def test_doctor_asks_apple_for_the_one_who_downloaded_a_token(office: Office) -> None:
    came_in(office)
    office.store.replace_token(attrs.evolve(office.store.token("hq"), apple_id="jo@contoso.example"))
    assert _apple_ids(office) == []
    (found,) = _apple_ids(office, asks=True)
    assert f"Apple names {APPLE_ID}" in found


def _apple_ids(office: Office, *, asks: bool = False) -> list[str]:
    client_for = (lambda _: office.client()) if asks else None
    problems = doctor(office.store, client_for, clock=office.clock).problems
    return [str(problem) for problem in problems if problem.setting == "token hq.apple_id"]


@pytest.mark.parametrize("is_school", [True, False])
def test_the_portal_that_apple_names_sets_the_words_of_the_steps(office: Office, is_school: bool) -> None:
    office.school()
    server, said, real = (
        ("School", Portal.BUSINESS, Portal.SCHOOL)
        if is_school
        else ("Contoso MDM", Portal.SCHOOL, Portal.BUSINESS)
    )
    ask(office, "create", "hq", consent=True, portal=said)
    certificate = ask(office, "certificate", "hq")
    assert f"sign in to {said}" in str(ask(office, "next_step", "hq"))
    p7m = office.download(certificate, server)
    staged = ask(office, "stage", "hq", p7m, apple_id=APPLE_ID)
    assert [(one.setting, one.value) for one in staged.problems] == [("portal", said)]
    ask(office, "accept", staged)
    assert f"sign in to {real}" in str(ask(office, "next_step", "hq"))
    assert f"sign in to {real}" in str(office.store.token("hq").health(office.clock() + timedelta(days=400)))
    settings = [problem.setting for problem in doctor(office.store, clock=office.clock).problems]
    assert "token hq.portal" in settings
    office.upload(office.download(certificate, server))
    assert office.store.token("hq").portal is real, "a renewal notes it"
    settings = [problem.setting for problem in doctor(office.store, clock=office.clock).problems]
    assert "token hq.portal" not in settings
    assert ask(office, "delete", "hq", cascade=True).portal is real


# Upload, text, twins


def test_upload_does_all_that_stage_and_accept_do(office: Office) -> None:
    certificate = office.begin()
    tagged = ask(office, "upload", "hq", office.download(certificate), apple_id=APPLE_ID, scope_tags={"emea"})
    assert tagged.token.scope_tags == {"emea"}
    p7m = office.download(certificate)
    with pytest.raises(TokenError, match="force=True"):
        office.upload(p7m, apple_id="jo@contoso.example")
    forced = ask(office, "upload", "hq", p7m, apple_id="jo@contoso.example", force=True)
    assert forced.token.apple_id == "jo@contoso.example"


def test_every_object_of_a_tokens_life_reads_as_text(office: Office) -> None:
    setup = ask(office, "create", "hq", consent=True)
    assert str(setup).splitlines()[:3] == [
        "hq: new token in Apple Business Manager, 0 of 5 steps done",
        "  next  1. Download the public key certificate",
        "        2. Add MDM server and download server token",
    ]
    p7m = office.download(ask(office, "certificate", "hq"))
    (setup,) = ask(office, "under_way")
    assert "  done  1. Download the public key certificate" in str(setup)
    staged = ask(office, "stage", "hq", p7m, apple_id="jo@gmail.com")
    assert str(staged).startswith("hq: a new token, which Apple accepts for Contoso MDM; not stored yet\n")
    assert "  warning: apple_id 'jo@gmail.com': Apple names it@contoso.example, who downloaded" in str(staged)
    accepted = ask(office, "accept", staged)
    assert str(accepted).startswith("hq: stored\n  hq: server token of Contoso in Apple Business Manager")
    assert "    caught up with Apple" in str(accepted)
    keypair = ask(office, "keypair", "hq")
    removal = ask(office, "delete", "hq", cascade=True)
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


def test_both_kinds_have_the_same_methods() -> None:
    names = [name for name in vars(TokenService) if not name.startswith("_")]
    assert names == [name for name in vars(AsyncTokenService) if not name.startswith("_")]
    for name in names:
        one, other = (inspect.signature(getattr(kind, name)) for kind in (TokenService, AsyncTokenService))
        assert one.parameters == other.parameters
