"""Read from Apple, during a sync, which server and organization a token belongs to, and store it.

The rules of this file:

1. Facts that the token lacks, and a new name of its organization, are copied from Apple's account.
2. Another MDM server or organization is not copied: the token keeps the known one, so that a renewal is still
   compared with it, and the difference is a problem until Apple and the token agree again.
3. A change causes one event, in the commit of the state that records it.

Source: Apple, device assignment, "Get account details": the identities of the server and the organization.
"""

from __future__ import annotations

import attrs

from pyade.apple import calls
from pyade.apple.http.calls import SendCall
from pyade.core.fleet.events import EventGroup, EventKind
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.sync_policy import with_retry_after
from pyade.core.problems import Problem, Severity
from pyade.core.token import Token
from pyade.errors import PyadeError, StoreConflictError
from pyade.flow import Flow, ask
from pyade.sync.leases import StoreTime
from pyade.sync.runners import in_store

_MAX_TEXT = 1_000


def account_problem(token: Token, named: Token) -> str:
    """Return, as text, how the server or organization in Apple's account differs from the token's.

    Args:
        token: As it is stored.
        named: The same token with the server and the organization of the account.

    Returns:
        The differences; "" if there are none.
    """
    differences = []
    if token.server_uuid and named.server_uuid != token.server_uuid:
        differences.append(f"the MDM server {named.server_uuid}, not {token.server_uuid}")
    if token.org_id and named.org_id != token.org_id:
        was, is_now = (_organization(one) for one in (token, named))
        differences.append(f"the organization {is_now}, not {was}")
    return f"Apple names {' and '.join(differences)}"[:_MAX_TEXT] if differences else ""


def note_account(
    state: SyncState, token: Token, named: Token
) -> tuple[SyncState, Token, tuple[EventGroup, ...], tuple[Problem, ...]]:
    """Apply Apple's account to the state and the token, and return both with events and problems.

    Args:
        state: The stored sync state.
        token: As it is stored.
        named: The same token with the server and the organization of the account.

    Returns:
        The state and the token to store, each the same object if nothing changed; the events; the problems.
    """
    problem = account_problem(token, named)
    noted = state if problem == state.account_problem else attrs.evolve(state, account_problem=problem)
    if problem:  # rule 2
        groups = (_event(problem, named),) if noted is not state else ()  # rule 3
        return noted, token, groups, (changed_account(problem),)
    if token.org_name and named.org_name != token.org_name:
        reason = f"the organization {_organization(token)} is called {named.org_name} now"
        renamed = Problem("org_name", named.org_name or "", reason, "nothing to do", Severity.WARNING)
        return noted, named, (_event(reason, named),), (renamed,)  # rule 1
    return noted, named, (), ()  # rule 1


def changed_account(problem: str) -> Problem:
    """Return the ``Problem`` for *problem*, the text of ``SyncState.account_problem``."""
    fix = "check the MDM server in the portal; renew with the file of the right one, or with force=True"
    return Problem("account", "", problem, fix)


def _event(reason: str, named: Token) -> EventGroup:
    details = {
        "reason": reason[:_MAX_TEXT],
        "server_uuid": named.server_uuid,
        "org_id": named.org_id,
        "org_name": named.org_name,
    }
    return EventGroup(EventKind.TOKEN_ACCOUNT_CHANGED, details=details)


def _organization(token: Token) -> str:
    return f"{token.org_name} ({token.org_id})" if token.org_name else f"{token.org_id}"


@attrs.frozen(kw_only=True)
class AccountNews:
    """Outcome of reading the account.

    Attributes:
        state: The state to store.
        groups: The events to store with it.
        problems: Problems found.
        note: Why the account could not be read; "" if it was read.
    """

    state: SyncState
    groups: tuple[EventGroup, ...] = ()
    problems: tuple[Problem, ...] = ()
    note: str = ""


def account_flow(state: SyncState, token: Token, time: StoreTime) -> Flow[AccountNews]:
    """Read server and organization of *token* from Apple, and store the token with them.

    No error of Apple ends the sync, which does not depend on the account.

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
        # The token was renewed meanwhile: the next full list reads the account with the new one.
        return AccountNews(state=state)
    except PyadeError as error:
        reason = f"server and organization could not be read from Apple: {type(error).__name__}"
        state = with_retry_after(state, error, (yield from time.now()))
        return AccountNews(state=state, note=reason)
    return AccountNews(state=state, groups=groups, problems=problems)
