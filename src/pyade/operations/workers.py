"""Sync and assign tokens from the tasks of a job queue, on one node or many.

Any queue can call ``sync_token`` and ``assign_token``, Celery and cron included. ``register_tasks`` adds them
to the caller's Procrastinate app (the extra ``workers``).

The rules of this file:

1. ``sync_token`` and ``assign_token`` do their work if it is due, and return when to call them again.
2. They raise no error that a later call may resolve; they log it.
3. Correctness does not depend on the queue: tasks may run twice, late, on several nodes, or beside a
   ``Scheduler``, as the lease and the limits are in the store.

Source: specification, "Sync restrictions".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack

import attrs

from pyade.apple.client import Client
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
from pyade.flow import clock_of
from pyade.operations.due_queue import partial_report
from pyade.operations.scheduler import AssignerFactory, rules_of
from pyade.storage.protocol import Store
from pyade.sync.damage import DamageLog, read_fleet
from pyade.sync.runners import Progress, client_of, with_network
from pyade.sync.suspension import send_reminders_for, suspend_damaged
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
        store: The store with the tokens.
        policy: The limits.
        now: UTC.
        early: True includes tokens that are due within five minutes, or 5 % of the interval if that is less:
            for a nightly job, which never runs at the exact second. False for a job that runs every minute.
        damaged: Called with the errors of the tokens that cannot be read, by name; they are left out. None
            logs a warning for each.
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
    clock: Callable[[], datetime] | None = None,
    **network: Unpack[Network],
) -> datetime | None:
    """Sync a token if an automatic run is due, and return when to call again, UTC.

    Args:
        store: The store with the token.
        client_for: Returns a new client for a token; it is closed at the end.
        token_name: The token.
        policy: The limits.
        clock: Returns the time, UTC; None for the clock of *store*.
        network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to ``client_for``.

    Returns:
        When to call again; None if the token was removed during the run.

    Raises:
        UnknownTokenError: No token of that name is stored, so a job for it is over.
        StoreError: The store cannot be read.
    """
    clock = clock_of(clock, store)
    _check_known(store, token_name)
    retry_state = RetryState()
    try:
        token = store.token(token_name)
        is_renewed = was_renewed(token, store.sync_state(token_name))
        with client_of(with_network(client_for, network), token) as client:
            report = Syncer(client, store, policy=policy, clock=clock).sync(  # rule 3
                automatic=not is_renewed
            )
    except UnknownTokenError:
        return None
    except DamagedRecordError as error:
        _log_failure(token_name, Work.SYNC, error)
        suspend_damaged(store, token_name, now=clock())
        return clock() + policy.automatic_interval
    except Exception as error:  # noqa: BLE001 - rule 2
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
    return next_due(token, state, retry_state, policy=policy, pace=_PACE, now=clock()).at  # rule 1


@check_arguments
def assign_token(
    store: Store,
    client_for: Callable[[Token], Client],
    token_name: str,
    *,
    assigner: AssignmentPolicy | AssignerFactory | None = None,
    clock: Callable[[], datetime] | None = None,
    **network: Unpack[Network],
) -> datetime | None:
    """Assign profiles, and return when to call again, UTC; None if nothing is due before the next sync.

    Args:
        store: The store with the token and its devices.
        client_for: As for ``sync_token``.
        token_name: The token.
        assigner: The rules, or a factory for an assigner of your own; None for no rules.
        clock: Returns the time, UTC; None for the clock of *store*.
        network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to ``client_for``.

    Raises:
        UnknownTokenError: No token of that name is stored, so a job for it is over.
        StoreError: The store cannot be read.
    """
    clock = clock_of(clock, store)
    _check_known(store, token_name)
    try:
        token = store.token(token_name)
        if suspended_reason(token, store.sync_state(token_name)):
            return None
        with client_of(with_network(client_for, network), token) as client:
            if callable(assigner):
                report = assigner(client, _ignore_progress).run()
            else:
                report = Assigner(client, store, policy=rules_of(assigner), clock=clock).run()
    except UnknownTokenError:
        return None
    except LeaseHeldError as held:
        return clock() + max(timedelta(seconds=held.remaining_s or 0), _PACE.look_every)
    except Exception as error:  # noqa: BLE001 - rule 2
        _log_failure(token_name, Work.ASSIGN, error)
        return _retry_at_after_error(error, clock())
    _log.info("%s", report)
    return _retry_at(report, clock())


def _check_known(store: Store, token_name: str) -> None:
    with suppress(DamagedRecordError):  # it is dealt with in the run
        store.sync_state(token_name)


def _retry_at_after_error(error: Exception, now: datetime) -> datetime | None:
    """Return when to call ``assign_token`` again after *error*; None for not before the next sync."""
    if isinstance(error, SUSPENDING_ERRORS):
        return None
    if (partial := partial_report(error)) is not None:
        return _retry_at(partial, now)
    return RetryState().failed(error, Work.ASSIGN, now, _PACE).assign_at


def _retry_at(report: AssignReport, now: datetime) -> datetime | None:
    return None if report.next_due_at is None else max(report.next_due_at, now + _PACE.first_backoff)


@check_arguments
def register_tasks(
    app: App,
    store: Store,
    client_for: Callable[[Token], Client],
    *,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
    assign: bool | AssignmentPolicy | AssignerFactory = True,
    clock: Callable[[], datetime] | None = None,
    cron: str = "* * * * *",
    **network: Unpack[Network],
) -> tuple[Task[Any, Any, Any], ...]:
    """Register a periodic tick, a sync task and an assignment task on a Procrastinate app; return them.

    The tick defers a sync for each token that is due, stores the reminders of tokens that expire soon, and
    replaces the jobs of dead workers. The sync and assignment tasks defer themselves to the time of their
    next call; locks allow one waiting and one running job per task and token.

    A worker is considered dead after the ``stalled_worker_timeout`` of the app's ``worker_defaults``, by
    default 30 seconds; its job is replaced when the token's lease is free.

    Args:
        app: The caller's app; tasks are called ``pyade.tick``, ``pyade.sync`` and ``pyade.assign``.
        store: A store that all nodes share.
        client_for: As for ``sync_token``.
        policy: The limits.
        assign: As for ``Scheduler``.
        clock: Returns the time, UTC; None for the clock of *store*.
        cron: When the tick runs, in cron syntax.
        network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to ``client_for``.
    """
    from pyade.operations.job_queue import Queue  # noqa: PLC0415 - an extra

    clock = clock_of(clock, store)
    client_for = with_network(client_for, network)
    queue = Queue(app, store, clock)
    damage = DamageLog()

    @app.task(name="pyade.assign")
    def assign_task(token_name: str) -> None:
        assigner = None if isinstance(assign, bool) else assign
        retry_at = None
        with suppress(UnknownTokenError):  # the token was removed, and its jobs are over
            retry_at = assign_token(store, client_for, token_name, assigner=assigner, clock=clock)
        if retry_at is not None:
            queue.defer(assign_task, token_name, retry_at)

    @app.task(name="pyade.sync")
    def sync_task(token_name: str) -> None:
        retry_at = None
        with suppress(UnknownTokenError):  # as above
            retry_at = sync_token(store, client_for, token_name, policy=policy, clock=clock)
        if retry_at is None:
            return
        # The assignment first: if this fails, a tick defers a missing sync, but nothing defers an assignment.
        if assign is not False:
            queue.defer(assign_task, token_name)
        queue.defer(sync_task, token_name, retry_at)

    @app.periodic(cron=cron)
    @app.task(name="pyade.tick", queueing_lock="pyade.tick")
    def tick_task(timestamp: int) -> None:
        _log.debug("tick of %s", timestamp)
        for token_name in due_tokens(store, policy=policy, now=clock(), early=False, damaged=damage.update):
            queue.defer(sync_task, token_name)
        send_reminders_for(store, read_fleet(store), clock(), damage)
        queue.rescue((tick_task, sync_task, assign_task))

    return tick_task, sync_task, assign_task


def _ignore_progress(progress: Progress) -> None:
    """Do nothing with *progress*."""


def _log_failure(token_name: str, work: Work, error: Exception) -> None:
    # The text of a foreign error may contain anything.
    text = str(error) if isinstance(error, PyadeError) else ""
    _log.warning("%s: %s failed: %s %s", token_name, work, type(error).__name__, text)
