"""How the fake behaves all the time; what happens once is in ``faults``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import attrs

DENIED_USER_AGENTS: Mapping[str, int] = {"python-httpx": 9, "python-requests": 9, "Go-http-client": 9}


@attrs.define(kw_only=True)
class AppleSettings:
    """Standing behaviour of a ``FakeApple``; change an attribute at any time, it holds from the next request.

    Where Apple publishes no figure, the default is this project's choice and the attribute says so.

    Attributes:
        simulator: Behave like Apple's simulator: quoted codes, assign with PUT only, ISO 8601 ``Date``,
            a strict ``Content-Type`` on ``/session``. Set it in ``FakeApple(simulator=True)``, since ids
            that were handed out before do not change.
        clock_skew_seconds: How far ``oauth_timestamp`` may be off (not published).
        session_seconds: Lifetime of a session (not published).
        single_session: True if a new session ends the older ones of the same server token.
        unknown_session_status: What a session that was never issued, or was forgotten, gets.
        denied_user_agents: Start of a ``User-Agent`` (any letter case), and the lowest protocol version that
            refuses it (not published; agents of HTTP libraries were refused after the version was raised).
        page_default: Devices per page without ``limit``, advertised by ``/account``; None advertises no
            limits and pages by Apple's documented 100.
        page_maximum: Highest ``limit``, advertised by ``/account``.
        clamp_limit: True if a ``limit`` above the maximum is reduced to it, False if it is obeyed.
        facilitator_id: True if ``/account`` has the deprecated ``facilitator_id``.
        cursor_days: Days until a cursor expires.
        cursor_length: Exact number of characters of a cursor; None for the usual short form.
        fetched_until: False leaves the key out of every page.
        operations_in_fetch: True if fetched records carry ``op_type`` and ``op_date``, too.
        added_lag_seconds: How much later than ``device_assigned_date`` the ``op_date`` of an ``added`` is.
        device_assigned_by: What new assignments carry; ``-1`` occurs at Apple.
        profile_uuid_any_case: True if profile ids are found in any letter case.
        unsupported_locales: Pairs of language and region that get ``LOCALE_INVALID``.
        assign_maximum: Most devices in one assign request; None accepts any number, as Apple does.
        throttle_changes: Assignment changes of one device per window before it is throttled; None never
            throttles (not published).
        throttle_window_seconds: Length of that window (not published).
        throttle_cooldown_seconds: How long a throttled device stays so.
        throttle_extends: True if an attempt during the cooldown starts it again.
        disown_refusal: What a server gets that may not disown: a result per device, or a refusal (not
            published).
        beta_tokens_key: Under which key the beta enrollment tokens are sent; both were seen.
        jwt_seconds: How old a JWT for Managed Apple Accounts may be, and how far ahead (not published).
    """

    simulator: bool = False
    clock_skew_seconds: float = 300
    session_seconds: float = 180
    single_session: bool = False
    unknown_session_status: Literal[401, 403] = 403
    denied_user_agents: Mapping[str, int] = DENIED_USER_AGENTS
    page_default: int | None = 1000
    page_maximum: int = 1000
    clamp_limit: bool = True
    facilitator_id: bool = True
    cursor_days: float = 7
    cursor_length: int | None = None
    fetched_until: bool = True
    operations_in_fetch: bool = False
    added_lag_seconds: int = 0
    device_assigned_by: str = "admin@contoso.example"
    profile_uuid_any_case: bool = True
    unsupported_locales: Collection[tuple[str, str]] = ()
    assign_maximum: int | None = None
    throttle_changes: int | None = 20
    throttle_window_seconds: float = 3600
    throttle_cooldown_seconds: float = 86400
    throttle_extends: bool = True
    disown_refusal: Literal["FAILED", "ACCESS_DENIED"] = "FAILED"
    beta_tokens_key: Literal["betaEnrollmentTokens", "seedBuildTokens"] = "betaEnrollmentTokens"
    jwt_seconds: float = 300
