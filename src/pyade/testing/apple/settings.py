"""How the fake behaves all the time; what happens once is in ``faults``."""

from __future__ import annotations

from typing import Literal

import attrs

from pyade.core.kinds import checks_kinds


@checks_kinds
@attrs.define(kw_only=True)
class AppleSettings:
    """Standing behaviour of a ``FakeApple``; change an attribute at any time, it holds from the next request.

    Where Apple publishes no figure, the default is this project's choice and the attribute says so.

    Attributes:
        requires_json_type: True refuses a body without ``Content-Type: application/json`` with 415, as a
            gateway may; with or without a charset (not published; Apple's pages name the type).
        single_session: True if a new session ends the older ones of the same server token.
        page_default: Devices per page without ``limit``, advertised by ``/account``.
        page_maximum: Highest ``limit``, advertised by ``/account``; a higher one is reduced to it.
        cursor_length: Exact number of characters of a cursor; None for the usual short form.
        device_assigned_by: What new assignments carry; ``-1`` occurs at Apple.
        throttle_changes: Assignment changes of one device per hour before it is throttled for a day; None
            never throttles (not published).
        throttle_extends: True if an attempt during that day starts it again.
        disown_refusal: What a server gets that may not disown: a result per device, or a refusal (not
            published).
        beta_tokens_key: Under which key the beta enrollment tokens are sent; both were seen.
    """

    requires_json_type: bool = False
    single_session: bool = False
    page_default: int = 1000
    page_maximum: int = 1000
    cursor_length: int | None = None
    device_assigned_by: str = "admin@contoso.example"
    throttle_changes: int | None = 20
    throttle_extends: bool = True
    disown_refusal: Literal["FAILED", "ACCESS_DENIED"] = "FAILED"
    beta_tokens_key: Literal["betaEnrollmentTokens", "seedBuildTokens"] = "betaEnrollmentTokens"
