"""Ask Apple which server and organization a token belongs to, in the course of a sync."""

from __future__ import annotations

import attrs

from pyade.apple import calls
from pyade.apple.http.calls import SendCall
from pyade.core.account import note_account
from pyade.core.events import EventGroup
from pyade.core.inventory import SyncState
from pyade.core.policy import left_alone
from pyade.core.problems import Problem
from pyade.core.token import Token
from pyade.errors import PyadeError, StoreConflictError
from pyade.flow import Flow, ask
from pyade.sync.leases import StoreTime
from pyade.sync.steps import in_store


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
