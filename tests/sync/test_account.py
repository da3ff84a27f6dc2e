"""Each full sync reads the token's server and organization, and compares them with the stored ones."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from pyade.core.fleet.events import EventKind
from pyade.core.fleet.sync_policy import SyncAction
from pyade.core.problems import Severity
from pyade.core.token import Token
from pyade.errors import TermsError
from pyade.operations import doctor, overview
from pyade.storage import Store
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

ACCOUNT = "GET /account"


def changes(world: World) -> list[str]:
    """Return the reasons of the events about the account."""
    events = world.store.events(limit=10_000)
    return [one.details["reason"] for one in events if one.kind is EventKind.TOKEN_ACCOUNT_CHANGED]


def account_problems(world: World) -> list[str]:
    problems = doctor(world.store, clock=world.clock).problems
    return [str(one) for one in problems if "Apple names" in str(one)]


@pytest.mark.twins
def test_first_sync_and_each_full_sync_read_and_store_the_account(world: World) -> None:
    """``overview`` then knows the organization without a TokenService."""
    world.apple.add_devices(2, server="hq")
    assert world.sync().problems == ()
    server = world.apple.server("hq")
    token = world.store.token("hq")
    known = (token.server_uuid, token.org_id, token.org_name)
    assert known == (server.server_uuid, server.organization.org_id, "Contoso")
    (one,) = overview(world.store, now=world.clock())
    assert one.organization == "Contoso"
    assert "not known yet" not in str(one)
    assert world.requests(ACCOUNT) == 1
    world.later(days=1).sync()
    assert world.requests(ACCOUNT) == 1
    assert world.later(days=6).sync().action is SyncAction.FULL
    world.apple.faults.expire_cursors("hq")
    assert world.later(days=1).sync().action is SyncAction.RECOVERY
    assert world.requests(ACCOUNT) == 3
    assert (changes(world), account_problems(world), world.store.token("hq")) == ([], [], token)


@pytest.mark.twins
def test_changed_server_or_organization_is_an_event_and_a_problem_until_it_matches_again(
    world: World,
) -> None:
    world.sync()
    before = world.store.token("hq")
    server = world.apple.server("hq")
    contoso = server.organization
    server.organization = world.apple.add_organization("Fabrikam")
    assert world.later(days=1).sync().problems == ()
    asked = doctor(world.store, lambda _: world.client(), clock=world.clock)
    assert len([one for one in asked.problems if "Apple names" in str(one)]) == 1
    report = world.later(days=6).sync()
    (problem,) = report.problems
    assert (problem.setting, problem.severity, report.is_complete) == ("account", Severity.ERROR, True)
    assert "Fabrikam" in str(problem)
    assert "not Contoso" in str(report)
    assert changes(world) == [problem.allowed]
    assert len(account_problems(world)) == 1
    asked = doctor(world.store, lambda _: world.client(), clock=world.clock)
    assert len([one for one in asked.problems if "Apple names" in str(one)]) == 1
    (one,) = overview(world.store, now=world.clock())
    assert "Fabrikam" in str(one)
    assert world.store.token("hq") == before
    world.later(days=1).sync()
    assert (len(changes(world)), len(account_problems(world))) == (1, 1)
    server.organization = contoso
    assert world.later(days=1).sync().problems == ()
    assert (len(changes(world)), account_problems(world), world.state.account_problem) == (1, [], "")


def test_changed_server_is_reported(world: World) -> None:
    world.sync()
    token = world.store.token("hq")
    world.store.replace_token(attrs.evolve(token, server_uuid="0" * 32))
    report = world.later(days=7).sync()
    assert f"the MDM server {token.server_uuid}, not {'0' * 32}" in str(report)
    world.store.replace_token(token)
    assert world.later(days=1).sync().problems == ()


def test_new_name_of_the_organization_is_stored_and_reported_once(world: World) -> None:
    world.sync()
    world.apple.server("hq").organization.name = "Contoso Ltd"
    (problem,) = world.later(days=7).sync().problems
    assert (problem.severity, problem.value) == (Severity.WARNING, "Contoso Ltd")
    assert world.store.token("hq").org_name == "Contoso Ltd"
    assert world.later(days=7).sync().problems == ()
    assert (len(changes(world)), account_problems(world)) == (1, [])


@pytest.mark.parametrize(
    "fault",
    [
        Fault.server_error(),
        Fault.html(),
        Fault.unreachable(),
        Fault.refused("T_C_NOT_SIGNED"),
        Fault.refused("ACCESS_DENIED"),
        Fault.answered(json={"server_uuid": {}, "org_name": "\x00"}),
        Fault.answered(json=[]),
    ],
)
def test_unreadable_account_does_not_fail_the_sync(world: World, fault: Fault) -> None:
    """The next sync reads it again."""
    (serial,) = world.apple.add_devices(1, server="hq")
    world.apple.script(ACCOUNT, *[fault] * 4)
    report = world.sync()
    assert report.is_complete
    assert serial in world.listed()
    assert (world.state.last_error, world.state.failures, world.state.suspended) == ("", 0, "")
    world.apple.script(ACCOUNT)
    world.later(days=1).sync()
    assert world.store.token("hq").server_uuid == world.apple.server("hq").server_uuid
    assert world.listed() == world.at_apple()


def test_rate_limited_account_delays_the_next_sync(world: World) -> None:
    world.apple.script(ACCOUNT, *[Fault.rate_limited(7_200)] * 4)
    report = world.sync()
    assert report.is_complete
    assert "RateLimitError" in str(report)
    assert report.next_allowed_at >= report.started_at + timedelta(hours=2)
    assert world.later(hours=1).sync().action is SyncAction.WAIT


def test_account_does_not_overwrite_a_token_renewed_meanwhile(world: World) -> None:
    """The account's values are not written over the renewed token."""
    renewed = world.apple.token("hq", name="hq")

    def renew(store: Store = world.store) -> None:
        store.replace_token(renewed)

    world.token = renewed
    world.on_page = renew
    assert world.sync().is_complete
    stored: Token = world.store.token("hq")
    assert stored.fingerprint == renewed.fingerprint
    world.on_page = lambda: None
    world.later(days=1).sync()
    assert world.store.token("hq").server_uuid == world.apple.server("hq").server_uuid


def test_failed_sync_does_not_read_the_account(world: World) -> None:
    world.apple.script("POST /server/devices", Fault.refused("T_C_NOT_SIGNED"))
    with pytest.raises(TermsError):
        world.sync()
    assert world.requests(ACCOUNT) == 0
