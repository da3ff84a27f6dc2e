"""The jobs of a Procrastinate app: one waiting per task and token, and none that a dead worker keeps.

The rules of this file:

1. A job has the lock of its task and token while it runs, and the queueing lock while it waits. The lease in
   the store would keep two apart as well; the locks save a worker from asking for that in vain.
2. Of two times for the same job the earlier one counts: what is due now does not wait for a job of tomorrow.
3. A worker that is killed leaves its jobs in "doing", and with them their locks. Such a job is replaced by a
   new one. It is not retried: that fails where another one waits under the same queueing lock. The new one
   comes first, so that whoever dies in between leaves one too many rather than none.
4. A worker without a heartbeat need not be dead: one that was told to stop sends none while its jobs come to
   their end. Whoever works holds the lease of the token, so a job is left alone until that is free. If it is
   alive even so, the limits in the store hold for both.

Needs the extra ``workers``.
"""

# pyright: reportMissingImports=false
# procrastinate is an optional dependency; types are checked with it and without it.

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from procrastinate import App
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.tasks import Task

from pyade.errors import DamagedRecordError, LeaseHeldError, UnknownTokenError
from pyade.flow import Runner
from pyade.storage.protocol import Store
from pyade.sync.leases import worker_name
from pyade.text import logger

STALLED_SECONDS = 30.0
"""A worker that was not heard of for so long has stalled; Procrastinate's own default."""

_log = logger(__name__)


class Queue:
    """The jobs of an app whose tasks take a ``token_name``."""

    def __init__(self, app: App, store: Store, clock: Callable[[], datetime]) -> None:
        self._app = app
        self._store = store
        self._clock = clock

    def defer(self, task: Task[Any, Any, Any], token_name: str, at: datetime | None = None) -> None:
        """Let *task* run for a token, unless a job for it waits that is not later.

        Args:
            task: Which task.
            token_name: Which token.
            at: When, UTC; None for now.
        """
        lock = f"{task.name}:{token_name}"
        deferrer = task.configure(lock=lock, queueing_lock=lock, schedule_at=at)
        try:
            deferrer.defer(token_name=token_name)
        except AlreadyEnqueued:
            if self._cancel_later(lock, at or self._clock()):
                with contextlib.suppress(AlreadyEnqueued):
                    deferrer.defer(token_name=token_name)
            else:
                _log.debug("%s: %s waits already", token_name, task.name)

    def rescue(self, tasks: Sequence[Task[Any, Any, Any]]) -> None:
        """Replace the jobs of *tasks* whose worker died; one without a token is only ended.

        Args:
            tasks: Which tasks.

        Raises:
            StoreError: The store cannot be read.
        """
        # Where a user says it for the workers; the command line of Procrastinate has no option for it.
        seconds = self._app.worker_defaults.get("stalled_worker_timeout", STALLED_SECONDS)
        stalled_jobs = async_to_sync(self._app.job_manager.get_stalled_jobs)
        for task in tasks:
            for job in stalled_jobs(task_name=task.name, seconds_since_heartbeat=seconds):
                if "token_name" not in job.task_kwargs or self._replace(
                    task, str(job.task_kwargs["token_name"])
                ):
                    self._end(job)

    def _replace(self, task: Task[Any, Any, Any], token_name: str) -> bool:
        """Let another worker do what a dead one did for a token; False if somebody is at it."""
        if not self._is_free(token_name):
            return False
        self.defer(task, token_name)
        _log.warning("%s: the worker of a %s job died, another one takes over", token_name, task.name)
        return True

    def _cancel_later(self, lock: str, at: datetime) -> bool:
        """Cancel the job that waits for a time after *at*; False if there was none."""
        manager = self._app.job_manager
        waiting = manager.list_jobs(queueing_lock=lock, status=Status.TODO.value)
        later = [job.id for job in waiting if job.id and job.scheduled_at and job.scheduled_at > at]
        # There is one at most: the queueing lock sees to that.
        return any(manager.cancel_job_by_id(job_id, delete_job=True) for job_id in later)

    def _is_free(self, token_name: str) -> bool:
        """Return True if nobody holds the lease of a token, also if the token is gone.

        False, too, if the lease cannot be read: a person must act first.
        """
        try:
            lease = self._store.acquire_lease(token_name, Runner().run(worker_name()))
        except (LeaseHeldError, DamagedRecordError):
            return False
        except UnknownTokenError:
            return True
        self._store.release_lease(lease)
        return True

    def _end(self, job: Job) -> None:
        try:
            async_to_sync(self._app.job_manager.finish_job)(job, Status.FAILED, delete_job=False)
        except ConnectorException:
            # It came to its end meanwhile, or another tick was quicker. If not, the next tick meets it again.
            _log.debug("%s is over already", job.call_string)
