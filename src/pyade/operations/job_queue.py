"""Defer the jobs of a Procrastinate app, one waiting per task and token, and replace those of dead workers.

The rules of this file:

1. A job holds the lock of its task and token while it runs, and the queueing lock while it waits. The lease
   in the store would exclude a second job as well; the locks avoid useless attempts to acquire it.
2. Of two jobs for the same task and token the earlier one is kept: work that is due now does not wait for a
   later job.
3. A killed worker leaves its jobs in "doing", with their locks. Such a job is replaced by a new one, not
   retried: a retry fails if another job waits under the same queueing lock. The new job is deferred before
   the old one is finished, so a crash in between leaves an extra job rather than none.
4. A worker without a heartbeat may be alive: a worker that is stopping sends none while its jobs finish. A
   working job holds the lease of the token, so a job is only replaced if the lease is free. If the worker is
   alive nevertheless, the limits in the store apply to both.

Needs the extra ``workers``.
"""

# pyright: reportMissingImports=false
# procrastinate is an optional dependency; types are checked with it and without it.

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pyade.errors import DamagedRecordError, LeaseHeldError, UnknownTokenError
from pyade.flow import Runner
from pyade.loading import missing_extra
from pyade.storage.protocol import Store
from pyade.sync.leases import worker_name
from pyade.text import logger

try:
    from asgiref.sync import async_to_sync
    from procrastinate import App
    from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
    from procrastinate.jobs import Job, Status
    from procrastinate.tasks import Task
except ImportError as _missing:
    raise missing_extra("register_tasks", "workers", _missing) from _missing

_STALLED_SECONDS = 30.0
"""How long after its last heartbeat a worker is considered dead; Procrastinate's default."""

_log = logger(__name__)


class Queue:
    """The jobs of an app whose tasks have a ``token_name`` argument."""

    def __init__(self, app: App, store: Store, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._store = store
        self._clock = clock

    def defer(self, task: Task[Any, Any, Any], token_name: str, at: datetime | None = None) -> None:
        """Defer *task* for a token, unless a job for it waits already that is not later.

        Args:
            task: The task.
            token_name: The token.
            at: When to run it, UTC; None for now.
        """
        lock = f"{task.name}:{token_name}"
        deferrer = task.configure(lock=lock, queueing_lock=lock, schedule_at=at)  # rule 1
        try:
            deferrer.defer(token_name=token_name)
        except AlreadyEnqueued:
            if self._cancel_later(lock, at or self._clock()):  # rule 2
                with contextlib.suppress(AlreadyEnqueued):
                    deferrer.defer(token_name=token_name)
            else:
                _log.debug("%s: %s waits already", token_name, task.name)

    def rescue(self, tasks: Sequence[Task[Any, Any, Any]]) -> None:
        """Replace the jobs of *tasks* whose worker died; a job without a token is only finished.

        Args:
            tasks: The tasks.

        Raises:
            StoreError: The store cannot be read.
        """
        # Users set it here for their workers; the command line of Procrastinate has no option for it.
        seconds = self._app.worker_defaults.get("stalled_worker_timeout", _STALLED_SECONDS)
        stalled_jobs = async_to_sync(self._app.job_manager.get_stalled_jobs)
        for task in tasks:
            for job in stalled_jobs(task_name=task.name, seconds_since_heartbeat=seconds):
                if "token_name" not in job.task_kwargs or self._replace(
                    task, str(job.task_kwargs["token_name"])
                ):
                    self._finish(job)

    def _replace(self, task: Task[Any, Any, Any], token_name: str) -> bool:
        """Defer a new job for a dead worker's one; return False if the lease of the token is held."""
        if not self._is_lease_free(token_name):  # rule 4
            return False
        self.defer(task, token_name)  # rule 3
        _log.warning("%s: the worker of a %s job died, another one takes over", token_name, task.name)
        return True

    def _cancel_later(self, lock: str, at: datetime) -> bool:
        """Cancel the job that waits for a time after *at*; return False if there was none."""
        manager = self._app.job_manager
        waiting = manager.list_jobs(queueing_lock=lock, status=Status.TODO.value)
        later = [job.id for job in waiting if job.id and job.scheduled_at and job.scheduled_at > at]
        # There is at most one: the queueing lock guarantees that.
        return any(manager.cancel_job_by_id(job_id, delete_job=True) for job_id in later)

    def _is_lease_free(self, token_name: str) -> bool:
        """Return True if no worker holds the lease of a token, or if the token was removed.

        False if the lease cannot be read: an administrator must act first.
        """
        try:
            lease = self._store.acquire_lease(token_name, Runner().run(worker_name()))
        except (LeaseHeldError, DamagedRecordError):
            return False
        except UnknownTokenError:
            return True
        self._store.release_lease(lease)
        return True

    def _finish(self, job: Job) -> None:
        try:
            async_to_sync(self._app.job_manager.finish_job)(job, Status.FAILED, delete_job=False)
        except ConnectorException:
            # It has finished meanwhile, or another tick was faster. If not, the next tick finds it again.
            _log.debug("%s is over already", job.call_string)
