"""What lets one Mac order one certificate: the challenge of SCEP, the client identifier of ACME.

A *source* is asked for each profile. ``one_time`` is the default: a random secret that the store knows by its
digest, that expires, and that a newer profile of the same Mac revokes. ``enrollment.redemption`` uses it up.

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
from pyade.flow import Hook

LIFETIME: Final = timedelta(hours=1)
"""How long the credential of a Mac that enrolls can be redeemed, by default."""

RENEWAL_LIFETIME: Final = timedelta(days=30)
"""The same for a renewal: Macs sleep, and it is good for one Mac and one certificate only."""


@attrs.frozen(kw_only=True)
class CredentialRequest:
    """For what a credential is asked.

    Attributes:
        kind: The protocol.
        machine: The Mac.
        user: Who signed in; None without user affinity.
        is_renewal: True if an enrolled Mac gets a new copy of its profile, False if a Mac enrolls.
    """

    kind: IdentityKind
    machine: MachineInfo
    user: User | None
    is_renewal: bool = False


@check_arguments
@attrs.frozen(kw_only=True)
class Credential:
    """A secret for one profile.

    Attributes:
        secret: What the profile holds; a text that is given is made a ``Secret``.
        lifetime: How long it can be redeemed here; None if somebody else checks it, such as the authority.

    Raises:
        PolicyError: *secret* is empty, or *lifetime* not longer than zero, or longer than ten years.
    """

    secret: Secret = attrs.field(repr=False, converter=Secret)
    lifetime: timedelta | None = None

    def __attrs_post_init__(self) -> None:
        if not self.secret:
            raise PolicyError("the secret of the credential is empty: give one that nobody can guess")
        if self.lifetime is not None:
            check_span("lifetime", self.lifetime)


CredentialSource: TypeAlias = Hook[Credential]
"""Called with a ``CredentialRequest`` for each profile; a coroutine function for the asynchronous service."""


@check_arguments
def one_time(
    lifetime: timedelta = LIFETIME, *, renewal_lifetime: timedelta = RENEWAL_LIFETIME
) -> Callable[[CredentialRequest], Credential]:
    """Return a source of random secrets, each to be redeemed here once.

    Args:
        lifetime: From the profile of a Mac that enrolls to the order of its certificate, which are seconds to
            minutes apart.
        renewal_lifetime: The same for a renewal: a Mac that sleeps installs its profile when it wakes up.

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
    """Return a source of always the same secret, which the authority checks itself.

    Whoever reads one profile can then order any certificate: prefer ``one_time`` where the authority can ask.

    Args:
        secret: Secret.

    Raises:
        PolicyError: *secret* is empty.
    """
    secret = Secret(secret)
    credential = Credential(secret=secret)
    return lambda _: credential


def serial_number(request: CredentialRequest) -> Credential:
    """Return the Mac's serial number, as ACME servers want it that compare it with the attestation.

    It is no secret: all protection comes from the attestation. It can be redeemed here for one key, for as
    long as the secrets of ``one_time``: ``may_issue`` and the webhook allow nothing else. The UDID, which
    such servers take as well, is of no use: a Mac attests another one than it tells when it enrolls.
    """
    lifetime = RENEWAL_LIFETIME if request.is_renewal else LIFETIME
    return Credential(secret=request.machine.serial_number, lifetime=lifetime)
