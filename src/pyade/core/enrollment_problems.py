"""What is wrong with the enrollment of one Mac, for as long as it is worth a look.

The rules of this file:

1. What a Mac waits for too long, or what is wrong with its accounts, counts as long as it waits.
2. After that it counts for 30 days from the last word about it, so that the list stays one to act on; so does
   what was doubtful when its newest profile was given.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pyade.core.await_configuration import AwaitConfigurationFlow, AwaitPhase
from pyade.core.enrollment import Enrollment
from pyade.core.problems import Problem

COUNTS_FOR: Final = timedelta(days=30)
"""How long problems of a Mac that waits no longer count."""


def problems_of(enrollment: Enrollment, now: datetime) -> tuple[Problem, ...]:
    """Return what is wrong with a Mac's enrollment, and worth a look now.

    Args:
        enrollment: The Mac.
        now: The time, UTC.

    Raises:
        StoreError: The state of its wait cannot be read.
    """
    issued = enrollment.problems if now - enrollment.issued_at < COUNTS_FOR else ()
    return (*issued, *_of_wait(enrollment, now))


def _of_wait(enrollment: Enrollment, now: datetime) -> tuple[Problem, ...]:
    state = None if enrollment.awaiting is None else AwaitConfigurationFlow.from_json(enrollment.awaiting)
    problems = () if state is None else state.progress(now).findings
    if not problems or state is None or state.phase is AwaitPhase.AWAITING:
        return problems
    times = (
        state.accounts.sent_at,
        state.accounts.answered_at,
        state.release.sent_at,
        state.release.answered_at,
    )
    last = max(one for one in (enrollment.issued_at, state.awaiting_since, *times) if one is not None)
    return problems if now - last < COUNTS_FOR else ()
