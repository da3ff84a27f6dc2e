"""The required outcome of a hostile response: an error of the documented class, or the right result.

The table of refusals is repeated here by hand, so that a mistake in pyade's table is found.
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
    """The allowed outcomes of a call.

    Attributes:
        errors: Exactly these classes.
        right: True if the result of a valid response is allowed.
        typed: True if any result of the right type is allowed, since decoders are tolerant.
        check: The condition for the result, instead of equality with that of a valid response.
    """

    errors: Classes = ()
    right: bool = False
    typed: bool = False
    check: Callable[[Any], bool] | None = None


Expectation: TypeAlias = Callable[[Endpoint], Expected]


def right(endpoint: Endpoint) -> Expected:
    """Expect the result of a valid response."""
    return Expected(right=True)


def lost(endpoint: Endpoint) -> Expected:
    """Expect an error for an incomplete response."""
    return Expected((TransportError,))


def bounded(endpoint: Endpoint) -> Expected:
    """Expect an error for a response that cannot be Apple's, for any content."""
    return Expected((ResponseError,))


def unreadable(endpoint: Endpoint) -> Expected:
    """Expect an error for an unreadable response, if anything must be read."""
    return Expected((ResponseError,), right=not endpoint.needs_body)


def unreadable_members(endpoint: Endpoint) -> Expected:
    """Expect an error for an unreadable response, except from the account, whose members are separate."""
    return typed(endpoint) if endpoint.name == "apple.account" else unreadable(endpoint)


def typed(endpoint: Endpoint) -> Expected:
    """Expect an error for an unreadable response, or a partial result."""
    return Expected((ResponseError,), typed=True)


def one_of(*classes: type[PyadeError], is_right: bool = False) -> Expectation:
    """Expect one of some errors, or the result of a valid response."""
    return lambda endpoint: Expected(classes, right=is_right)


def broken(endpoint: Endpoint) -> Expected:
    """Expect an error for an incomplete or an invalid response."""
    return Expected((TransportError, ResponseError))


def tolerated(endpoint: Endpoint) -> Expected:
    """Expect the result of a valid response, or an error of a strict client."""
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


def _class_of(endpoint: Endpoint, status: int) -> type[AppleError]:
    if status >= 500:
        return ServerError
    table = (_SESSION if endpoint.attacks_session else _CALL)[endpoint.service]
    if status in table:
        return table[status]
    is_token = endpoint.attacks_session and endpoint.service == "business"
    return OAuthRequestError if is_token and not 300 <= status < 400 else AppleError


def refused(status: int, **others: type[AppleError]) -> Expectation:
    """Expect the class that the tables give for *status*.

    Args:
        status: HTTP status.
        others: Another class because of the code in the body, by service (``apple``) or by service and
            attacked request (``apple_session``).
    """

    def expect(endpoint: Endpoint) -> Expected:
        place = f"{endpoint.service}_session" if endpoint.attacks_session else endpoint.service
        return Expected((others.get(place) or _class_of(endpoint, status),))

    return expect


def not_ok(endpoint: Endpoint) -> Expected:
    """Expect the outcome of a success other than 200: a refusal for a session, otherwise its content."""
    if endpoint.attacks_session:
        refusal = OAuthRequestError if endpoint.service == "business" else AppleError
        return Expected((refusal, ResponseError), right=True)
    return Expected((ResponseError,), right=True)
