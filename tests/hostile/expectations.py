"""What a client has to make of a hostile answer: an error of the documented class, or the right result.

The table of refusals stands here once more, by hand, so that a mistake in pyade's does not show itself right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
from tests.hostile.endpoints import Endpoint

from pyade import errors
from pyade.errors import (
    AccessDeniedError,
    AppleError,
    ClockError,
    CredentialError,
    InvalidRequestError,
    NotFoundError,
    OAuthRequestError,
    PyadeError,
    RateLimitError,
    ResponseError,
    ServerError,
    SessionError,
    TransportError,
)

Classes: TypeAlias = tuple[type[PyadeError], ...]


@attrs.frozen
class Expected:
    """What may come of a call.

    Attributes:
        errors: Exactly these classes.
        right: True if the result of a good answer may come.
        typed: True if any result of the right type may come, since decoders are tolerant.
        check: What must hold for the result instead of being that of a good answer.
    """

    errors: Classes = ()
    right: bool = False
    typed: bool = False
    check: Callable[[Any], bool] | None = None


Expectation: TypeAlias = Callable[[Endpoint], Expected]


def right(endpoint: Endpoint) -> Expected:
    """Expect what a good answer brings."""
    return Expected(right=True)


def lost(endpoint: Endpoint) -> Expected:
    """Expect that no whole answer came."""
    return Expected((TransportError,))


def bounded(endpoint: Endpoint) -> Expected:
    """Expect that it is no answer of Apple's, whatever is in it."""
    return Expected((ResponseError,))


def unreadable(endpoint: Endpoint) -> Expected:
    """Expect that it cannot be read, where anything has to be."""
    return Expected((ResponseError,), right=not endpoint.needs_body)


def unreadable_members(endpoint: Endpoint) -> Expected:
    """Expect that it cannot be read, but for the account, of which each member is read on its own."""
    return typed(endpoint) if endpoint.name == "apple.account" else unreadable(endpoint)


def typed(endpoint: Endpoint) -> Expected:
    """Expect that it cannot be read, or a result as far as it can."""
    return Expected((ResponseError,), typed=True)


def one_of(*classes: type[PyadeError], is_right: bool = False) -> Expectation:
    """Expect one of some errors, or also what a good answer brings."""
    return lambda endpoint: Expected(classes, right=is_right)


def broken(endpoint: Endpoint) -> Expected:
    """Expect an error that says so either way: no whole answer, or one that cannot be right."""
    return Expected((TransportError, ResponseError))


def tolerated(endpoint: Endpoint) -> Expected:
    """Expect what a good answer brings or, of who is strict, an error."""
    return Expected((TransportError, ResponseError), right=True)


def holding(check: Callable[[Any], bool]) -> Expectation:
    """Expect a result for which *check* is true."""
    return lambda endpoint: Expected(check=check)


_CALL: Mapping[str, Mapping[int, type[AppleError]]] = {
    "apple": {
        400: InvalidRequestError,
        401: SessionError,
        403: AccessDeniedError,
        404: NotFoundError,
        429: RateLimitError,
    },
    "business": {
        400: InvalidRequestError,
        401: SessionError,
        403: AccessDeniedError,
        404: NotFoundError,
        406: InvalidRequestError,
        409: errors.ConflictError,
        422: InvalidRequestError,
        429: RateLimitError,
    },
}
_SESSION: Mapping[str, Mapping[int, type[AppleError]]] = {
    "apple": {
        400: OAuthRequestError,
        401: ClockError,
        403: AccessDeniedError,
        404: NotFoundError,
        429: RateLimitError,
    },
    "business": {401: CredentialError, 403: AccessDeniedError, 429: RateLimitError},
}


def _meant(endpoint: Endpoint, status: int) -> type[AppleError]:
    if status >= 500:
        return ServerError
    table = (_SESSION if endpoint.attacks_session else _CALL)[endpoint.service]
    if status in table:
        return table[status]
    is_token = endpoint.attacks_session and endpoint.service == "business"
    return OAuthRequestError if is_token and not 300 <= status < 400 else AppleError


def refused(status: int, **others: type[AppleError]) -> Expectation:
    """Expect what the tables say about *status*.

    Args:
        status: HTTP status.
        others: Another class because of the code in the body, by service (``apple``) or by service and
            attacked request (``apple_session``).
    """

    def expect(endpoint: Endpoint) -> Expected:
        place = f"{endpoint.service}_session" if endpoint.attacks_session else endpoint.service
        return Expected((others.get(place) or _meant(endpoint, status),))

    return expect


def not_ok(endpoint: Endpoint) -> Expected:
    """Expect what a success that is not 200 is: for a session a refusal, else what is in it."""
    if endpoint.attacks_session:
        refusal = OAuthRequestError if endpoint.service == "business" else AppleError
        return Expected((refusal, ResponseError), right=True)
    return Expected((ResponseError,), right=True)
