"""Ask Apple which server and organization a token belongs to, in the course of a sync.

What it means that Apple names a server and an organization for a token.

The rules of this file:

1. What the token does not know yet, and a new name of its organization, is taken over.
2. Another MDM server or organization is not: the token keeps what it had, so that a renewal is still compared
   with it, and the difference is a problem until Apple and the token agree again.
3. A change is told once, with the state that notes it.

Source: Apple, device assignment, "Get account details": the identities of the server and the organization.
"""

from __future__ import annotations

import attrs

from pyade.apple import calls
from pyade.apple.http.calls import SendCall
from pyade.core.fleet.events import EventGroup, EventKind
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.sync_policy import left_alone
from pyade.core.problems import Problem, Severity
from pyade.core.token import Token
from pyade.errors import PyadeError, StoreConflictError
from pyade.flow import Flow, ask
from pyade.sync.leases import StoreTime
from pyade.sync.runners import in_store

_LONGEST = 1_000


def account_problem(token: Token, named: Token) -> str:
    """Return how *named*, the token as Apple's account names it, is for another server or organization.

    Returns:
        In words; "" if it is not.
    """
    differences = []
    if token.server_uuid and named.server_uuid != token.server_uuid:
        differences.append(f"the MDM server {named.server_uuid}, not {token.server_uuid}")
    if token.org_id and named.org_id != token.org_id:
        was, is_now = (_organization(one) for one in (token, named))
        differences.append(f"the organization {is_now}, not {was}")
    return f"Apple names {' and '.join(differences)}"[:_LONGEST] if differences else ""


def note_account(
    state: SyncState, token: Token, named: Token
) -> tuple[SyncState, Token, tuple[EventGroup, ...], tuple[Problem, ...]]:
    """Return what Apple's account makes of the state and the token, with the events and the problems.

    Args:
        state: The stored sync state.
        token: As it is stored.
        named: The same token with the server and the organization that the account names.

    Returns:
        The state and the token to store: the same ones where nothing changed.
    """
    problem = account_problem(token, named)
    noted = state if problem == state.account_problem else attrs.evolve(state, account_problem=problem)
    if problem:
        groups = (_event(problem, named),) if noted is not state else ()
        return noted, token, groups, (changed_account(problem),)
    if token.org_name and named.org_name != token.org_name:
        reason = f"the organization {_organization(token)} is called {named.org_name} now"
        told = Problem("org_name", named.org_name or "", reason, "nothing to do", Severity.WARNING)
        return noted, named, (_event(reason, named),), (told,)
    return noted, named, (), ()


def changed_account(problem: str) -> Problem:
    """Return the problem for people that *problem*, from ``SyncState.account_problem``, is."""
    fix = "check the MDM server in the portal; renew with the file of the right one, or with force=True"
    return Problem("account", "", problem, fix)


def _event(reason: str, named: Token) -> EventGroup:
    details = {
        "reason": reason[:_LONGEST],
        "server_uuid": named.server_uuid,
        "org_id": named.org_id,
        "org_name": named.org_name,
    }
    return EventGroup(EventKind.TOKEN_ACCOUNT_CHANGED, details=details)


def _organization(token: Token) -> str:
    return f"{token.org_name} ({token.org_id})" if token.org_name else f"{token.org_id}"


@attrs.frozen(kw_only=True)
class AccountNews:
    """What came of asking.

    Attributes:
        state: The state to store.
        groups: The events to store with it.
        problems: What is wrong.
        note: Why it could not be asked; "" if it could.
    """

    state: SyncState
    groups: tuple[EventGroup, ...] = ()
    problems: tuple[Problem, ...] = ()
    note: str = ""


def account_flow(state: SyncState, token: Token, time: StoreTime) -> Flow[AccountNews]:
    """Return what Apple says of the server and the organization of *token*; the token is stored with it.

    Whatever Apple answers, and whether it does, the sync goes on: it does not need this.

    Args:
        state: The stored sync state.
        token: As it was stored when the run began.
        time: The time of the run.
    """
    try:
        account = yield from ask(SendCall(calls.account()))
        state, named, groups, problems = note_account(state, token, account.identify(token))
        if named != token:
            yield from in_store(lambda store: store.replace_token(named, instead_of=token))
    except StoreConflictError:
        # It was renewed meanwhile: the next full list asks with the new one.
        return AccountNews(state=state)
    except PyadeError as error:
        reason = f"server and organization could not be asked for: {type(error).__name__}"
        state = left_alone(state, error, (yield from time.now()))
        return AccountNews(state=state, note=reason)
    return AccountNews(state=state, groups=groups, problems=problems)
