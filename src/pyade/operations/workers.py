"""Many nodes on an existing engine: what a task queue needs to keep tokens in step.

``sync_token`` and ``assign_token`` are all that any engine calls, Celery or cron included: each does its work
if it is due, never raises for what a later call can put right, and returns when to call it again.
``register`` puts them on the caller's Procrastinate app (the extra ``workers``).

Nothing rests on the engine being right. Tasks may run twice, late, on several nodes, or beside a
``Scheduler``: the lease and the limits are in the store.

Source: specification, "Sync restrictions".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack

import attrs

from pyade.apple.client import Client
from pyade.apple.http.connection import utc_now
from pyade.apple.http.network import Network
from pyade.assignment.assigner import Assigner
from pyade.assignment.report import AssignReport
from pyade.assignment.rules import AssignmentPolicy
from pyade.core.arguments import check_arguments
from pyade.core.fleet.schedule import Pace, RetryState, Work, next_due
from pyade.core.fleet.suspension import SUSPENDING_ERRORS, suspended_reason, was_renewed
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Token
from pyade.errors import DamagedRecordError, LeaseHeldError, PyadeError, UnknownTokenError
from pyade.operations.due_queue import partial_report
from pyade.operations.scheduler import AssignerFactory, rules_of
from pyade.storage.protocol import Store
from pyade.sync.damage import DamageLog, read_fleet
from pyade.sync.runners import Progress, client_of, through
from pyade.sync.suspension import remind_of, suspend_damaged
from pyade.sync.syncer import Syncer
from pyade.text import logger

if TYPE_CHECKING:
    from procrastinate import App
    from procrastinate.tasks import Task

_log = logger(__name__)

_PACE = Pace()


@check_arguments
def due_tokens(
    store: Store,
    *,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
    now: datetime,
    early: bool = True,
    damaged: Callable[[Mapping[str, DamagedRecordError]], object] | None = None,
) -> tuple[str, ...]:
    """Return the names of the tokens that are due for a sync, for a periodic job.

    Args:
        store: Where the tokens are.
        policy: The limits.
        now: UTC.
        early: Name also a token that is due within five minutes, or 5 % of the interval if that is less: for
            a job of every night, which never comes to the second. False for a tick of every minute.
        damaged: Called with what cannot be read, by the names of the tokens, which are left out; None logs
            a warning for each.
    """
    fleet = read_fleet(store)
    (DamageLog().update if damaged is None else damaged)(fleet.damaged)
    return tuple(
        token.name
        for token, state in fleet.readable()
        if next_due(token, state, RetryState(), policy=policy, pace=_PACE, now=now, early=early).at <= now
    )


@check_arguments
def sync_token(
    store: Store,
    client_for: Callable[[Token], Client],
    token_name: str,
    *,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
    clock: Callable[[], datetime] = utc_now,
    **network: Unpack[Network],
) -> datetime | None:
    """Sync a token if an automatic run is due, and return when to call again, UTC; None if it is gone.

    Args:
        store: Where the token is.
        client_for: Returns a new client for a token; it is closed at the end.
        token_name: Which token.
        policy: The limits.
        clock: Returns the time, UTC.
        network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to ``client_for``.

    Raises:
        StoreError: The store cannot be read.
    """
    retry_state = RetryState()
    try:
        token = store.token(token_name)
        is_renewed = was_renewed(token, store.sync_state(token_name))
        with client_of(through(client_for, network), token) as client:
            report = Syncer(client, store, policy=policy, clock=clock).sync(automatic=not is_renewed)
    except UnknownTokenError:
        return None
    except DamagedRecordError as error:
        _log_failure(token_name, Work.SYNC, error)
        suspend_damaged(store, token_name, now=clock())
        return clock() + policy.automatic_interval
    except Exception as error:  # noqa: BLE001 - whatever it was, a later call may put it right
        _log_failure(token_name, Work.SYNC, error)
        retry_state = RetryState().failed(error, Work.SYNC, clock(), _PACE)
        retry_state = attrs.evolve(retry_state, assign_at=None)
    else:
        _log.info("%s", report)
        if not report.action.sends_requests:
            return max(report.allowed_at or report.next_automatic_at, clock() + _PACE.look_every)
    try:
        token, state = store.token(token_name), store.sync_state(token_name)
    except UnknownTokenError:
        return None
    return next_due(token, state, retry_state, policy=policy, pace=_PACE, now=clock()).at


@check_arguments
def assign_token(
    store: Store,
    client_for: Callable[[Token], Client],
    token_name: str,
    *,
    assigner: AssignmentPolicy | AssignerFactory | None = None,
    clock: Callable[[], datetime] = utc_now,
    **network: Unpack[Network],
) -> datetime | None:
    """Hand out profiles, and return when to call again, UTC; None if the next sync brings more work.

    Args:
        store: Where the token and its devices are.
        client_for: As for ``sync_token``.
        token_name: Which token.
        assigner: The rules, or what returns an assigner of your own; None for one without rules.
        clock: Returns the time, UTC.
        network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to ``client_for``.

    Raises:
        StoreError: The store cannot be read.
    """
    try:
        token = store.token(token_name)
        if suspended_reason(token, store.sync_state(token_name)):
            return None
        with client_of(through(client_for, network), token) as client:
            if callable(assigner):
                report = assigner(client, _ignore).run()
            else:
                report = Assigner(client, store, policy=rules_of(assigner), clock=clock).run()
    except UnknownTokenError:
        return None
    except LeaseHeldError as held:
        return clock() + max(timedelta(seconds=held.remaining_s or 0), _PACE.look_every)
    except Exception as error:  # noqa: BLE001 - as above
        _log_failure(token_name, Work.ASSIGN, error)
        return _after_failure(error, clock())
    _log.info("%s", report)
    return _after(report, clock())


def _after_failure(error: Exception, now: datetime) -> datetime | None:
    """Return when an assignment is to be called again after *error*."""
    if isinstance(error, SUSPENDING_ERRORS):
        return None
    if (partial := partial_report(error)) is not None:
        return _after(partial, now)
    return RetryState().failed(error, Work.ASSIGN, now, _PACE).assign_at


def _after(report: AssignReport, now: datetime) -> datetime | None:
    return None if report.next_due_at is None else max(report.next_due_at, now + _PACE.first_backoff)


@check_arguments
def register(
    app: App,
    store: Store,
    client_for: Callable[[Token], Client],
    *,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
    assign: bool | AssignmentPolicy | AssignerFactory = True,
    clock: Callable[[], datetime] = utc_now,
    cron: str = "* * * * *",
    **network: Unpack[Network],
) -> tuple[Task[Any, Any, Any], ...]:
    """Register a periodic tick, a sync task and an assignment task on a Procrastinate app; return them.

    The tick defers a sync for each token that is due, reminds of tokens that expire soon, and replaces the
    jobs of workers that died. Sync and assignment defer themselves to the time at which they are to be called
    again; the locks per token keep one of each waiting and one at work.

    A worker counts as dead after the ``stalled_worker_timeout`` of the app's ``worker_defaults``, 30 seconds
    if they name none, and a job of it is replaced once the token's lease is free.

    Args:
        app: The caller's app; tasks are called ``pyade.tick``, ``pyade.sync`` and ``pyade.assign``.
        store: A store that all nodes share.
        client_for: As for ``sync_token``.
        policy: The limits.
        assign: As for ``Scheduler``.
        clock: Returns the time, UTC.
        cron: When the tick comes.
        network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to ``client_for``.
    """
    from pyade.operations.job_queue import Queue  # noqa: PLC0415 - an extra

    client_for = through(client_for, network)
    queue = Queue(app, store, clock)
    damage = DamageLog()

    @app.task(name="pyade.assign")
    def assign_task(token_name: str) -> None:
        assigner = None if isinstance(assign, bool) else assign
        again_at = assign_token(store, client_for, token_name, assigner=assigner, clock=clock)
        if again_at is not None:
            queue.defer(assign_task, token_name, again_at)

    @app.task(name="pyade.sync")
    def sync_task(token_name: str) -> None:
        again_at = sync_token(store, client_for, token_name, policy=policy, clock=clock)
        if again_at is None:
            return
        # First, since a tick would make up for a sync, and nothing for an assignment.
        if assign is not False:
            queue.defer(assign_task, token_name)
        queue.defer(sync_task, token_name, again_at)

    @app.periodic(cron=cron)
    @app.task(name="pyade.tick", queueing_lock="pyade.tick")
    def tick_task(timestamp: int) -> None:
        _log.debug("tick of %s", timestamp)
        for token_name in due_tokens(store, policy=policy, now=clock(), early=False, damaged=damage.update):
            queue.defer(sync_task, token_name)
        remind_of(store, read_fleet(store), clock(), damage)
        queue.rescue((tick_task, sync_task, assign_task))

    return tick_task, sync_task, assign_task


def _ignore(progress: Progress) -> None:
    """Do nothing with *progress*."""


def _log_failure(token_name: str, work: Work, error: Exception) -> None:
    # The text of an error that is not ours may hold anything.
    text = str(error) if isinstance(error, PyadeError) else ""
    _log.warning("%s: %s failed: %s %s", token_name, work, type(error).__name__, text)
