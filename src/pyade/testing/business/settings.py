"""How the fake of the Apple School Manager and Apple Business API behaves all the time."""

from __future__ import annotations

from typing import Literal

import attrs

from pyade.core.arguments import check_arguments


@check_arguments
@attrs.define(kw_only=True)
class BusinessSettings:
    """Standing behaviour of a ``FakeBusiness``; a changed attribute holds from the next request.

    Where Apple publishes no figure, the default is this project's choice or what was observed.

    Attributes:
        single_use_assertions: True refuses a client assertion that was used before; Apple takes one again as
            long as it lasts.
        page_default: Records per page without ``limit``, which the addresses of next pages lack.
        activity_seconds: How long an activity takes; its effects are there at once.
        writes_log: False ends activities as ``COMPLETED_POST_PROCESSING_FAILED``.
        log_lag_seconds: How long the address of the log is missing after the end.
        assigned_server_lag_seconds: How long ``assignedServer`` shows the service before.
        unassigned_answer: What ``assignedServer`` says of a device without a service: an empty id, nothing,
            or 404; all three were observed.
        unknown_serials: What an activity does about serial numbers that the organization lacks: 409, nothing
            at all, or an issue in the log; the first is documented, the second was observed.
        next_link_origin: Scheme and host of the addresses of next pages; None for those of the request.
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
