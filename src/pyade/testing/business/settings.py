"""The settings of a ``FakeBusiness``."""

from __future__ import annotations

from typing import Literal

import attrs

from pyade.core.arguments import check_arguments


@check_arguments
@attrs.define(kw_only=True)
class BusinessSettings:
    """Lasting behaviour of a ``FakeBusiness``; a changed attribute takes effect with the next request.

    Where Apple publishes no figure, the default was observed or is this project's choice.

    Attributes:
        single_use_assertions: True refuses a client assertion that was used before; Apple accepts one again
            until it expires.
        page_default: Records per page without ``limit``; the links to next pages have none.
        activity_seconds: How long an activity takes; its effects are immediate.
        writes_log: False ends activities as ``COMPLETED_POST_PROCESSING_FAILED``.
        log_lag_seconds: How long the URL of the log is missing after the end.
        assigned_server_lag_seconds: How long ``assignedServer`` returns the previous service after a change.
        unassigned_answer: The ``assignedServer`` of a device without a service: an empty id, null, or 404;
            all three were observed.
        unknown_serials: How an activity treats serial numbers that the organization lacks: ``refused`` with
            409 (documented), ``silent`` (observed), or ``logged`` as an issue in the log.
        next_link_origin: Scheme and host of the links to next pages; None for those of the request.
    """

    single_use_assertions: bool = False
    page_default: int = 100
    activity_seconds: float = 12
    writes_log: bool = True
    log_lag_seconds: float = 0
    assigned_server_lag_seconds: float = 0
    unassigned_answer: Literal["empty", "null", "missing"] = "empty"
    unknown_serials: Literal["refused", "silent", "logged"] = "refused"
    next_link_origin: str | None = None
