"""Records of Macs that were given an enrollment profile, and of secrets that may be used once.

Source: specification, "Certificates" and "Distribute devices".
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Self

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.macos.identity import IdentityKind
from pyade.core.problems import Problem
from pyade.core.profile.accounts import User
from pyade.core.secret import Secret
from pyade.errors import StoreConflictError
from pyade.text import short_repr


class OneTimeKind(enum.StrEnum):
    """What a one-time secret is for.

    Attributes:
        WEB_VIEW: The state of a sign-in on a web page, until the profile is sent.
        SCEP_CHALLENGE: The challenge in a profile, for one certificate.
        ACME_CLIENT_IDENTIFIER: The client identifier in a profile, for one certificate.
    """

    WEB_VIEW = "web_view"
    SCEP_CHALLENGE = "scep_challenge"
    ACME_CLIENT_IDENTIFIER = "acme_client_identifier"


REPEAT_WINDOW: Final = timedelta(minutes=2)
"""How long the same request gets the same response: authorities and clients repeat it if one is lost."""


@check_arguments
@attrs.frozen(kw_only=True)
class OneTime:
    """A secret that may be used once, as a store keeps it: without the secret itself.

    Attributes:
        kind: What it is for.
        digest: Digest of the secret, by which it is found.
        serial_number: The Mac that it was made for.
        expires_at: When it expires, UTC.
        value: Data that belongs to it, plain JSON values.
        redeemed_by: Digest of the request that used it; "" if none did.
    """

    kind: OneTimeKind
    digest: str
    serial_number: str
    expires_at: datetime
    value: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    redeemed_by: str = ""

    @classmethod
    def of(
        cls,
        kind: OneTimeKind,
        secret: str | Secret,
        *,
        serial_number: str,
        expires_at: datetime,
        value: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the record of *secret*; see the attributes."""
        secret = Secret(secret)
        return cls(
            kind=kind,
            digest=digest_of(secret),
            serial_number=serial_number,
            expires_at=expires_at,
            value=value or {},
        )


def can_redeem(one_time: OneTime, *, by: str, now: datetime) -> bool:
    """Return True if a request may use *one_time*: it is unused, or the same request used it just now.

    Args:
        one_time: The stored record.
        by: Digest of the request; "" if it is not known, which never counts as the same request.
        now: UTC.
    """
    return one_time.expires_at > now and one_time.redeemed_by in ("", by or None)


def redeemed_one_time(one_time: OneTime, *, by: str, now: datetime) -> OneTime:
    """Return the record *one_time* after its first use by the request *by*."""
    return attrs.evolve(one_time, redeemed_by=by, expires_at=now + REPEAT_WINDOW)


def digest_of(secret: str | Secret) -> str:
    """Return the digest by which a one-time secret is found; it reveals nothing of the secret."""
    # Untrusted input may contain any character, also lone surrogates.
    return hashlib.sha256(Secret(secret).reveal().encode(errors="surrogatepass")).hexdigest()


class Registration(enum.StrEnum):
    """Whether a Mac with a user is registered with the identity provider.

    Attributes:
        NOT_NEEDED: Without user affinity there is no user to register it for.
        PENDING: The user has not signed in to Company Portal yet.
        COMPLETE: The caller reported that it is done.

    Source: specification, "Distribute devices".
    """

    NOT_NEEDED = "not needed"
    PENDING = "pending"
    COMPLETE = "complete"


@attrs.frozen(kw_only=True)
class Installed:
    """What a Mac reported about itself when it authenticated with the profile that it installed.

    Attributes:
        identity: The kind of its certificate, which it keeps until it enrolls again.
        product: Model identifier.
        udid: Unique device identifier, as the Mac reported it.
        build: Build of macOS.
        version: Version of macOS, as text; of the newest renewal. "" if it could not be read.
        user: Who signed in; None without user affinity.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    identity: IdentityKind
    product: str
    udid: str
    build: str
    version: str = ""
    user: User | None = None


@attrs.frozen(kw_only=True)
class Enrollment:
    """A Mac and the newest enrollment profile that it was given.

    Attributes:
        serial_number: Apple's serial number, by which it is kept.
        token_name: The token to which the Mac belonged.
        udid: Unique device identifier, as the Mac reported it, like the next three.
        product: Model identifier.
        build: Build of macOS.
        version: Version of macOS, as text; "" if it could not be read.
        profile_name: Name of the profile that it enrolled with.
        profile_uuid: Apple's id of it; None if the Mac follows the default that Apple does not know yet.
        identity: How the Mac gets its certificate with that profile.
        user: Who signed in; None without user affinity.
        registration: Whether registration is pending: of the Mac with its installed profile; of the newest
            profile until its ``Authenticate`` is reported.
        registered_at: When its completion was reported, UTC.
        issued_at: When the newest profile was sent, UTC.
        recent_issues: When profiles were sent recently, UTC, for the limit per Mac.
        awaiting: ``AwaitConfigurationFlow.to_json()``; None if the profile does not hold the Mac back.
        installed: The profile that it installed; None before its ``Authenticate`` was reported, and after its
            ``CheckOut``. A profile that was only sent, which any client can request in the name of this Mac,
            changes neither this nor the registration.
        problems: What was doubtful when the newest profile was sent, such as a model that pyade does not
            know; replaced with the next profile, also by a renewal.
        revision: Counts the writes; a write with an older revision is refused.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    serial_number: str
    token_name: str
    udid: str
    product: str
    build: str
    version: str = ""
    profile_name: str
    profile_uuid: str | None = None
    identity: IdentityKind
    user: User | None = None
    registration: Registration = Registration.NOT_NEEDED
    registered_at: datetime | None = None
    issued_at: datetime
    recent_issues: tuple[datetime, ...] = ()
    awaiting: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    installed: Installed | None = None
    problems: tuple[Problem, ...] = ()
    revision: int = 0

    @property
    def newest(self) -> Installed:
        """The data of ``installed`` if the Mac installs the newest profile."""
        return Installed(
            identity=self.identity,
            product=self.product,
            udid=self.udid,
            build=self.build,
            version=self.version,
            user=self.user,
        )

    def authenticated(self) -> Self:
        """Return the record after the Mac authenticated with the newest profile.

        A registration that was completed since that profile was sent belongs to this enrollment: messages
        may arrive late, and twice.
        """
        if self.registered_at is not None and self.registered_at >= self.issued_at:
            return attrs.evolve(self, installed=self.newest)
        registration = registration_of(self.user)
        return attrs.evolve(self, installed=self.newest, registration=registration, registered_at=None)


def registration_of(user: User | None) -> Registration:
    """Return the registration with which the enrollment of a Mac for *user* starts."""
    return Registration.NOT_NEEDED if user is None else Registration.PENDING


def conflict(enrollment: Enrollment, stored_revision: int) -> StoreConflictError:
    """Return the error for *enrollment*, which another writer changed since it was read.

    Args:
        enrollment: The record that was to be stored.
        stored_revision: The revision that the store has now; 0 if nothing is stored.
    """
    return StoreConflictError(
        f"the enrollment of {enrollment.serial_number[:80]!r} has revision {stored_revision}, "
        f"not {enrollment.revision}: another writer changed it, read it again"
    )
