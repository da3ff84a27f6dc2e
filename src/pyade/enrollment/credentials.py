"""The credentials with which a Mac orders its certificate: SCEP challenges and ACME client identifiers.

A *source* is called for each profile. ``one_time`` is the default: a random secret of which the store keeps
only the digest, which expires, and which a newer profile of the same Mac revokes. ``enrollment.redemption``
redeems it.

Source: Apple, ``com.apple.security.scep`` and ``com.apple.security.acme``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeAlias

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.durations import check_span
from pyade.core.macos.identity import IdentityKind
from pyade.core.profile.accounts import User
from pyade.core.secret import Secret
from pyade.enrollment.machine_info import MachineInfo
from pyade.errors import PolicyError
from pyade.hooks import Hook
from pyade.text import short_repr

LIFETIME: Final = timedelta(hours=1)
"""How long the credential of a Mac that enrolls can be redeemed, by default."""

RENEWAL_LIFETIME: Final = timedelta(days=30)
"""The same for a renewal: long because Macs sleep; it is valid for one Mac and one certificate only."""


@attrs.frozen(kw_only=True)
class CredentialRequest:
    """The argument of a credential source.

    Attributes:
        kind: The protocol.
        machine: The Mac.
        user: The user who signed in; None without user affinity.
        is_renewal: True if an enrolled Mac gets a new copy of its profile, False if a Mac enrolls.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    kind: IdentityKind
    machine: MachineInfo
    user: User | None
    is_renewal: bool = False


@check_arguments
@attrs.frozen(kw_only=True)
class Credential:
    """A secret for one profile.

    Attributes:
        secret: The value in the profile; a ``str`` is converted to a ``Secret``.
        lifetime: How long it can be redeemed here; None if it is checked elsewhere, such as by the authority.

    Raises:
        PolicyError: *secret* is empty, or *lifetime* is not longer than zero, or longer than ten years.
    """

    secret: Secret = attrs.field(repr=False, converter=Secret)
    lifetime: timedelta | None = None

    def __attrs_post_init__(self) -> None:
        if not self.secret:
            raise PolicyError("the secret of the credential is empty: give one that cannot be guessed")
        if self.lifetime is not None:
            check_span("lifetime", self.lifetime)


CredentialSource: TypeAlias = Hook[Credential]
"""A hook that is called with a ``CredentialRequest`` for each profile; it may be a coroutine function for the
asynchronous service."""


@check_arguments
def one_time(
    lifetime: timedelta = LIFETIME, *, renewal_lifetime: timedelta = RENEWAL_LIFETIME
) -> Callable[[CredentialRequest], Credential]:
    """Return a source of random secrets, each to be redeemed here once.

    Args:
        lifetime: Maximum time from the profile of a Mac that enrolls to the order of its certificate, usually
            seconds to minutes.
        renewal_lifetime: The same for a renewal: a sleeping Mac installs its profile when it wakes up.

    Raises:
        PolicyError: A time is not longer than zero, or longer than ten years.
    """
    check_span("lifetime", lifetime)
    check_span("renewal_lifetime", renewal_lifetime)

    def source(request: CredentialRequest) -> Credential:
        return Credential(
            secret=secrets.token_urlsafe(32), lifetime=renewal_lifetime if request.is_renewal else lifetime
        )

    return source


@check_arguments
def static(secret: str | Secret) -> Callable[[CredentialRequest], Credential]:
    """Return a source that always gives the same secret, which the authority checks itself.

    A reader of one profile can then order any certificate: prefer ``one_time`` if the authority can call
    pyade.

    Args:
        secret: The value for every profile. It is secret.

    Raises:
        PolicyError: *secret* is empty.
    """
    secret = Secret(secret)
    credential = Credential(secret=secret)
    return lambda _: credential


def serial_number(request: CredentialRequest) -> Credential:
    """Return the Mac's serial number, for ACME servers that compare it with the attestation.

    It is not secret: only the attestation protects it. It can be redeemed here for one key, for as long as
    the secrets of ``one_time``: ``may_issue`` and the webhook allow nothing else. Such servers also accept
    the UDID, which does not work: the UDID that a Mac attests differs from the one it sends when it enrolls.
    """
    lifetime = RENEWAL_LIFETIME if request.is_renewal else LIFETIME
    return Credential(secret=request.machine.serial_number, lifetime=lifetime)
