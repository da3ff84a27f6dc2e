"""Is everything there that Macs need to enroll? One list of findings, each with the next step.

Source: specification, "Prerequisites", "Renew enrollment program token", "Create an Apple enrollment
profile" and "Distribute devices".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.connection import utc_now
from pyade.core.kinds import checks_kinds
from pyade.core.token import Token
from pyade.crypto.push_certificate import PushCertificate
from pyade.flow import AsyncRunner, Hook, Runner
from pyade.storage.protocol import Store
from pyade.sync.checkup import Diagnosis, Questions, diagnosis_flow
from pyade.sync.runners import account_handlers, async_account_handlers


@checks_kinds
def doctor(
    store: Store,
    client_for: Callable[[Token], Client] | None = None,
    *,
    push: PushCertificate | None = None,
    topic: str | None = None,
    expected_serials: Iterable[str] = (),
    find_in_program: Callable[[Sequence[str]], Collection[str]] | None = None,
    check_ws_trust: Callable[[], str] | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Diagnosis:
    """Check everything that Macs need to enroll, and return what was found; nothing is changed.

    Args:
        store: Where tokens and devices are.
        client_for: Returns a client for a token, with which Apple is asked whether it works and whether the
            terms are signed; None asks nobody.
        push: The MDM push certificate, a prerequisite; None leaves a reminder.
        topic: The topic that Macs enroll with, held against *push*.
        expected_serials: The serial numbers of the purchase.
        find_in_program: Returns those of the given serial numbers that the organization has in Apple's
            program, such as by the Apple Business API; None where nobody can tell.
        check_ws_trust: Checks the WS-Trust 1.3 endpoint and returns what is wrong, "" for nothing. Called if
            a profile signs users in with legacy authentication; None leaves a reminder.
        clock: Returns the time, UTC.

    Raises:
        ArgumentError: A hook answered with another kind than it should.
        StoreError: The store failed.
    """
    questions = Questions(
        asks_apple=client_for is not None,
        push=push,
        topic=topic,
        expected_serials=expected_serials,
        find_in_program=find_in_program,
        check_ws_trust=check_ws_trust,
    )

    handlers = {} if client_for is None else account_handlers(client_for)
    runner = Runner(handlers, store=store, clock=clock, asynchronous="async_doctor")
    return runner.run(diagnosis_flow(questions))


@checks_kinds
async def async_doctor(
    store: Store,
    client_for: Callable[[Token], AsyncClient] | None = None,
    *,
    push: PushCertificate | None = None,
    topic: str | None = None,
    expected_serials: Iterable[str] = (),
    find_in_program: Hook[Collection[str]] | None = None,
    check_ws_trust: Hook[str] | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Diagnosis:
    """Do what ``doctor`` does with ``AsyncClient``; the hooks may be coroutine functions."""
    questions = Questions(
        asks_apple=client_for is not None,
        push=push,
        topic=topic,
        expected_serials=expected_serials,
        find_in_program=find_in_program,
        check_ws_trust=check_ws_trust,
    )

    handlers = {} if client_for is None else async_account_handlers(client_for)
    runner = AsyncRunner(handlers, store=store, clock=clock)
    return await runner.run(diagnosis_flow(questions))
