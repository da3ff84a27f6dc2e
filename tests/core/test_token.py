"""The token: what it must have, its health, and its renewal."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from tests.cases import each
from tests.leaks import leaks

from pyade.core.problems import Severity
from pyade.core.secret import Secret
from pyade.core.token import Portal, Token, TokenStatus
from pyade.errors import ArgumentError, TokenError

EXPIRY = datetime(2027, 1, 14, 21, 27, 41, tzinfo=UTC)
CONSENT = datetime(2026, 1, 14, tzinfo=UTC)
SECRETS = ("CS_secret", "AT_secret", "AS_secret")


def make(**changes: Any) -> Token:
    fields: dict[str, Any] = {
        "name": "hq",
        "consumer_key": "CK_1",
        "consumer_secret": "CS_secret",
        "access_token": "AT_secret",
        "access_secret": "AS_secret",
        "access_token_expiry": EXPIRY,
        "apple_id": "it@contoso.com",
        "consented_at": CONSENT,
    }
    return Token(**{**fields, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(TokenError) as caught:
        make(**changes)
    return str(caught.value)


# Making one


def test_no_token_without_consent() -> None:
    assert "cannot be made without consent" in refusal(consented_at=None)
    assert "consented_at 2026-01-14T00:00:00 has no time zone" in refusal(
        consented_at=CONSENT.replace(tzinfo=None)
    )


OPTIONAL = ("server_uuid", "org_id", "org_name", "org_type", "admin_id")


@each(
    "name",
    ["name", "consumer_key", "consumer_secret", "access_token", "access_secret", *OPTIONAL],
)
def test_texts_are_texts_and_not_empty(name: str) -> None:
    assert refusal(**{name: " "}) == f"{name} is empty"
    assert refusal(**{name: b"AS_secret"}) == f"{name} is not text"
    assert "is not valid Unicode" in refusal(**{name: "a\ud800"})


@each(
    "apple_id",
    ["it", "it@", "@contoso.com", "it@contoso", "a b@contoso.com", "a@b@c.com", "it@.com", "x" * 400],
)
def test_an_apple_id_is_an_address(apple_id: str) -> None:
    text = refusal(apple_id=apple_id)
    assert repr(apple_id[:80]) in text
    assert "is not an address" in text
    assert len(text) < 300


def test_an_apple_id_is_needed() -> None:
    assert refusal(apple_id="") == "apple_id is empty"


def test_an_expiry_has_a_time_zone() -> None:
    assert "has no time zone" in refusal(access_token_expiry=EXPIRY.replace(tzinfo=None))
    assert "is not a time" in refusal(access_token_expiry="2027-01-14T21:27:41Z")
    assert make(access_token_expiry=None).access_token_expiry is None


def test_times_are_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    token = make(access_token_expiry=EXPIRY.astimezone(berlin), consented_at=CONSENT.astimezone(berlin))
    assert token == make()
    assert token.access_token_expiry is not None
    assert token.access_token_expiry.tzinfo is UTC
    assert token.consented_at.tzinfo is UTC


def test_a_time_that_utc_does_not_have_is_refused() -> None:
    early = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))
    for name in ("consented_at", "access_token_expiry"):
        assert "does not exist in UTC" in refusal(**{name: early})


def test_a_portal_is_one_of_two() -> None:
    assert "use Portal.BUSINESS or Portal.SCHOOL" in refusal(portal="Apple Classroom")


def test_scope_tags_are_a_set() -> None:
    assert make(scope_tags=["emea", "hq", "emea"]).scope_tags == {"emea", "hq"}
    assert "scope_tags 'emea' is one text" in refusal(scope_tags="emea")
    assert "() for none" in refusal(scope_tags=None)
    assert "is one text" in refusal(scope_tags=b"emea")
    for tags in ([5], [""], [" "], ["a\ud800"]):
        assert "an empty text or another value" in refusal(scope_tags=tags)


def test_secrets_do_not_show() -> None:
    token = make()
    shown = f"{token!r} {token} {token.health(EXPIRY)} {token.problems}"
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("name", ["consumer_secret", "access_token", "access_secret"])
def test_a_secret_of_the_wrong_type_is_refused_and_not_shown(name: str) -> None:
    for value, reason in (("hunter2 \ud800", "is not valid Unicode"), (" ", "is empty"), (5, "is not text")):
        with pytest.raises(TokenError, match=f"{name} {reason}") as caught:
            make(**{name: Secret(value) if isinstance(value, str) else value})
        assert not leaks(caught.value, "hunter2")
        assert caught.value.__context__ is None
    assert make(**{name: "given"}) == make(**{name: Secret("given")})


def test_tokens_compare_hash_and_pickle() -> None:
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make() != make(access_secret="AS_other")
    assert pickle.loads(pickle.dumps(make())) == make()


# Findings


@each(
    "domain",
    [
        "gmail.com",
        "iCloud.com",
        "outlook.com",
        "outlook.de",
        "hotmail.co.uk",
        "yahoo.com.br",
        "gmx.net",
        "me.com",
    ],
)
def test_a_consumer_mail_domain_is_a_warning(domain: str) -> None:
    (problem,) = make(apple_id=f"jo@{domain}").problems
    assert problem.severity is Severity.WARNING
    assert problem.setting == "apple_id"
    assert "company Apple ID" in str(problem)


@each("domain", ["contoso.com", "outlook.contoso.com", "live.contoso.de", "notgmail.com"])
def test_a_company_domain_is_none(domain: str) -> None:
    assert make(apple_id=f"it@{domain}").problems == ()


@each(
    ("portal", "org_type", "is_said"),
    [
        (Portal.BUSINESS, "edu", True),
        (Portal.SCHOOL, "org", True),
        (Portal.SCHOOL, "edu", False),
        (Portal.BUSINESS, "ORG", False),
        (Portal.BUSINESS, "tvprovider", False),
        (Portal.SCHOOL, None, False),
    ],
)
def test_the_portal_is_the_one_that_apple_names(portal: Portal, org_type: str | None, is_said: bool) -> None:
    token = make(portal=portal, org_type=org_type)
    other = Portal.SCHOOL if portal is Portal.BUSINESS else Portal.BUSINESS
    assert token.portal_to_use is (other if is_said else portal)
    assert [(one.setting, one.severity) for one in token.problems] == [("portal", Severity.WARNING)] * is_said
    assert "<Portal" not in "".join(map(str, token.problems))
    assert f"sign in to {token.portal_to_use}" in token.health(EXPIRY).next_step


def test_the_apple_id_is_the_one_that_apple_names() -> None:
    assert make(admin_id="IT@contoso.COM ").problems == ()
    mistaken, personal = make(admin_id="jo@gmail.com").problems[::-1]
    assert (personal.value, mistaken.value) == ("jo@gmail.com", "it@contoso.com"), "who really holds it"
    (problem,) = make(admin_id="jo@contoso.com").problems
    assert (problem.setting, problem.value, problem.severity) == (
        "apple_id",
        "it@contoso.com",
        Severity.WARNING,
    )
    assert "Apple names jo@contoso.com" in str(problem)


# Health


@each(
    ("left", "status", "words"),
    [
        (timedelta(days=365), TokenStatus.VALID, "valid until 2027-01-14 21:27 UTC (365 days left)"),
        (timedelta(days=30, seconds=1), TokenStatus.VALID, "(30 days left)"),
        (timedelta(days=30), TokenStatus.EXPIRING, "expires on 2027-01-14 21:27 UTC (30 days left): "),
        (timedelta(days=1, hours=23), TokenStatus.EXPIRING, "(1 day left)"),
        (timedelta(seconds=1), TokenStatus.EXPIRING, "(less than a day left)"),
        (timedelta(), TokenStatus.EXPIRED, "expired on 2027-01-14 21:27 UTC (less than a day ago): "),
        (timedelta(days=-3), TokenStatus.EXPIRED, "(3 days ago)"),
    ],
)
def test_health(left: timedelta, status: TokenStatus, words: str) -> None:
    health = make().health(EXPIRY - left)
    assert health.status is status
    assert health.remaining == left
    assert health.expires_at == EXPIRY
    assert words in str(health)
    assert bool(health.next_step) == (status is not TokenStatus.VALID)


def test_the_next_step_names_portal_and_apple_id() -> None:
    step = make(portal=Portal.SCHOOL, apple_id="it@school.edu").health(EXPIRY).next_step
    assert "sign in to Apple School Manager as it@school.edu, download a new token" in step


def test_health_without_an_expiry() -> None:
    health = make(access_token_expiry=None).health(CONSENT)
    assert health.status is TokenStatus.UNKNOWN
    assert health.remaining is None
    assert health.expires_at is None
    assert str(health).startswith("unknown expiry: a token is good for one year")


@each("ask", [Token.health, Token.reminder])
def test_health_needs_a_time_and_its_zone(ask: Callable[[Token, Any], object]) -> None:
    with pytest.raises(TokenError, match="no time zone"):
        ask(make(), CONSENT.replace(tzinfo=None))
    with pytest.raises(TokenError, match="now is not a time"):
        ask(make(), "2026-01-14")


# Renewal

RENEWED = {
    "name": "next",
    "consumer_secret": "CS_new",
    "access_token": "AT_new",
    "access_secret": "AS_new",
    "access_token_expiry": EXPIRY + timedelta(days=300),
    "consented_at": CONSENT + timedelta(days=300),
}
OLD = make(scope_tags={"emea"}, portal=Portal.SCHOOL, server_uuid="S1", org_id="O1", org_name="Contoso")


def kinds(old: Token, new: Token) -> dict[str, Severity]:
    return {problem.setting: problem.severity for problem in old.renewal_problems(new)}


def test_a_renewal_replaces_secrets_and_keeps_the_identity() -> None:
    renewed = OLD.renew(make(**RENEWED))
    assert renewed == attrs.evolve(
        OLD,
        consumer_secret="CS_new",
        access_token="AT_new",
        access_secret="AS_new",
        access_token_expiry=EXPIRY + timedelta(days=300),
        consented_at=CONSENT + timedelta(days=300),
    )
    assert kinds(OLD, make(**RENEWED)) == {}


def test_scope_tags_can_be_changed_on_renewal() -> None:
    assert OLD.renew(make(**RENEWED), ["apac"]).scope_tags == {"apac"}
    assert OLD.renew(make(**RENEWED), ()).scope_tags == frozenset()


def test_the_same_file_again_is_no_problem() -> None:
    assert OLD.renew(make()) == OLD


def test_an_apple_id_is_compared_without_case() -> None:
    assert OLD.renew(make(**RENEWED, apple_id="IT@Contoso.com")).apple_id == "IT@Contoso.com"
    assert make(apple_id="IT@Contoso.com").renew(make(**RENEWED)).apple_id == OLD.apple_id


@each(
    ("changes", "setting"),
    [
        ({"apple_id": "jo@contoso.com"}, "apple_id"),
        ({"consumer_key": "CK_2"}, "consumer_key"),
        ({"consumer_key": "CK_2", "org_id": "O1"}, "consumer_key"),
        ({"server_uuid": "S2"}, "server_uuid"),
        ({"server_uuid": "S1", "org_id": "O2"}, "org_id"),
        ({"access_token_expiry": EXPIRY - timedelta(seconds=1)}, "access_token_expiry"),
    ],
)
def test_a_likely_mix_up_is_refused_unless_forced(changes: dict[str, Any], setting: str) -> None:
    new = make(**{**RENEWED, **changes})
    assert kinds(OLD, new) == {setting: Severity.ERROR}
    with pytest.raises(TokenError, match=setting) as caught:
        OLD.renew(new)
    assert "force=True" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (*SECRETS, "CS_new", "AT_new", "AS_new"))
    forced = OLD.renew(new, force=True)
    assert forced.name == "hq"
    assert getattr(forced, setting) == getattr(new, setting)


@each(("value", "allowed"), [({"new_token": "hq"}, "a Token"), ({"force": "no"}, "True or False")])
def test_a_renewal_takes_a_token_and_a_switch(value: dict[str, Any], allowed: str) -> None:
    with pytest.raises(ArgumentError, match=allowed):
        make().renew(**{"new_token": make(), **value})
    with pytest.raises(ArgumentError, match="new_token is a text: a Token"):
        make().renewal_problems("hq")  # type: ignore[arg-type]


def test_an_apple_id_that_was_wrong_at_first_is_put_right_by_a_renewal() -> None:
    old, new = make(admin_id="jo@contoso.com"), make(**RENEWED, apple_id="jo@contoso.com")
    assert kinds(old, new) == {"apple_id": Severity.ERROR}, "Apple did not say yet who downloaded the new one"
    known = attrs.evolve(new, admin_id="Jo@contoso.com")
    assert kinds(old, known) == {"apple_id": Severity.WARNING}
    assert old.renew(known).problems == ()


def test_what_apple_named_lasts_as_long_as_it_may_be_so() -> None:
    old = make(admin_id="jo@contoso.com", org_type="edu")
    renewed = old.renew(make(**RENEWED))
    assert (renewed.admin_id, renewed.org_type, renewed.portal) == ("jo@contoso.com", "edu", Portal.BUSINESS)
    assert old.renew(make(**RENEWED, apple_id="al@contoso.com"), force=True).admin_id is None
    assert old.renew(make(**RENEWED, admin_id="it@contoso.com")).admin_id == "it@contoso.com"
    assert old.renew(make(**RENEWED, portal=Portal.SCHOOL)).portal is Portal.SCHOOL, "as Apple says"
    assert make().renew(make(**RENEWED, portal=Portal.SCHOOL)).portal is Portal.BUSINESS


def test_a_token_reads_as_text() -> None:
    assert str(make(org_name="Contoso")) == (
        "hq: server token of Contoso in Apple Business Manager, as it@contoso.com,"
        " expires on 2027-01-14 21:27 UTC"
    )
    assert str(make(name="a\nb", access_token_expiry=None)).startswith(
        "a\\nb: server token in Apple Business"
    )


def test_all_problems_are_reported_together() -> None:
    new = make(apple_id="jo@contoso.com", consumer_key="CK_2", server_uuid="S2")
    with pytest.raises(TokenError, match=r"server_uuid 'S2': .*apple_id .*consumer_key: "):
        OLD.renew(new)


def test_the_same_server_makes_a_changed_consumer_key_a_warning() -> None:
    """Apple may change it if another portal user renews; the server itself decides."""
    new = make(**RENEWED, consumer_key="CK_2", server_uuid="S1", org_id="O1")
    assert kinds(OLD, new) == {"consumer_key": Severity.WARNING}
    assert OLD.renew(new).consumer_key == "CK_2"


def test_an_unknown_expiry_is_not_compared() -> None:
    assert kinds(make(access_token_expiry=None), make()) == {}
    assert kinds(make(), make(access_token_expiry=None)) == {}


def test_the_account_data_of_the_new_token_is_kept() -> None:
    renewed = make().renew(make(**RENEWED, server_uuid="S1", org_id="O1", org_name="Contoso"))
    assert (renewed.server_uuid, renewed.org_id, renewed.org_name) == ("S1", "O1", "Contoso")
