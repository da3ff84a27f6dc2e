"""The server token, which connects pyade to one MDM server of Apple Business or School Manager.

Source: specification, "Create enrollment program token" and "Renew enrollment program token"; Apple, device
assignment, ``AccountDetail``.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from pyade.core import token_fields as fields
from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret, as_secret, masked
from pyade.errors import TokenError
from pyade.loading import lazy_modules
from pyade.text import Printed, short_repr

if TYPE_CHECKING:
    from pyade.core import problems, values
    from pyade.core.problems import Problem
    from pyade.crypto.keypair import TokenKeypair
else:
    lazy_modules(globals(), problems="pyade.core.problems", values="pyade.core.values")

EXPIRING_WITHIN: Final = timedelta(days=30)
"""How long before its expiry a token counts as expiring."""

REMINDER_DAYS: Final = (1, 7, 14, 30)
"""How many days before its expiry an administrator is reminded to renew a token."""


class Portal(enum.StrEnum):
    """Apple's portal in which the MDM server was added."""

    BUSINESS = "Apple Business Manager"
    SCHOOL = "Apple School Manager"


class TokenStatus(enum.StrEnum):
    """Whether Apple still accepts a token, by its expiry alone."""

    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


def status_at(expires_at: datetime | None, now: datetime) -> TokenStatus:
    """Return whether a token with that expiry is still valid at *now*, both with their time zone."""
    if expires_at is None:
        return TokenStatus.UNKNOWN
    remaining = expires_at - now
    if remaining <= timedelta():
        return TokenStatus.EXPIRED
    return TokenStatus.EXPIRING if remaining <= EXPIRING_WITHIN else TokenStatus.VALID


@attrs.frozen(kw_only=True)
class TokenHealth(Printed):
    """How long a token is still valid, and what to do about it.

    Attributes:
        status: Expiring means: within 30 days.
        expires_at: When Apple stops accepting it, UTC; None if the token file did not say.
        remaining: Time left, negative once it is expired; None if unknown.
        next_step: Who must do what; "" while nothing is to be done.
    """

    status: TokenStatus
    expires_at: datetime | None
    remaining: timedelta | None
    next_step: str

    def _words(self) -> str:
        if self.expires_at is None or self.remaining is None:
            when = "unknown expiry"
        else:
            days = abs(self.remaining) // timedelta(days=1)
            count = "less than a day" if days == 0 else "1 day" if days == 1 else f"{days} days"
            is_over = self.status is TokenStatus.EXPIRED
            until = "expired on" if is_over else "expires on" if self.next_step else "valid until"
            when = f"{until} {self.expires_at:%Y-%m-%d %H:%M} UTC ({count} {'ago' if is_over else 'left'})"
        return f"{when}: {self.next_step}" if self.next_step else when


def check_portal(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    """Accept one of Apple's portals."""
    if not isinstance(value, Portal):
        raise TokenError(
            f"portal {str(value)[:80]!r} is none of Apple's", "use Portal.BUSINESS or Portal.SCHOOL"
        )


@attrs.frozen(kw_only=True)
class Token(Printed):
    """One server token with the consent of the administrator who created it; ``print`` shows it.

    Secrets are not part of ``print``, of ``repr`` or of errors. A store keeps several tokens, identified by
    ``name``.

    Attributes:
        name: The caller's own name for it, unique in a store.
        consumer_key: Stable over renewals by the same portal user.
        consumer_secret: Secret; a text is converted to one, as with the next two.
        access_token: Secret.
        access_secret: Secret.
        access_token_expiry: When Apple stops accepting it, UTC; None if the file did not say.
        apple_id: The Apple ID that was used in the portal and must be used to renew.
        consented_at: When an administrator agreed to share user and device data with Apple, UTC.
        portal: Business or School.
        scope_tags: Who may see and manage it, in the caller's own terms.
        server_uuid: Identity of the MDM server; None until ``/account`` was read.
        org_id: Identity of the organization; None until ``/account`` was read.
        org_name: Name of the organization; None until ``/account`` was read.
        org_type: Apple's type of the organization, such as ``edu``; None until ``/account`` was read.
        admin_id: The Apple ID that downloaded the token; None until ``/account`` was read.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    name: str = attrs.field(validator=fields.text)
    consumer_key: str = attrs.field(validator=fields.text)
    consumer_secret: Secret = attrs.field(repr=False, converter=as_secret, validator=fields.secret_text)
    access_token: Secret = attrs.field(repr=False, converter=as_secret, validator=fields.secret_text)
    access_secret: Secret = attrs.field(repr=False, converter=as_secret, validator=fields.secret_text)
    access_token_expiry: datetime | None = attrs.field(
        converter=fields.utc_or_none, validator=fields.optional_time
    )
    apple_id: str = attrs.field(validator=fields.address)
    consented_at: datetime = attrs.field(converter=fields.utc, validator=fields.consent)
    portal: Portal = attrs.field(default=Portal.BUSINESS, validator=check_portal)
    scope_tags: frozenset[str] = attrs.field(default=frozenset(), converter=fields.tags)
    server_uuid: str | None = attrs.field(default=None, validator=fields.optional_text)
    org_id: str | None = attrs.field(default=None, validator=fields.optional_text)
    org_name: str | None = attrs.field(default=None, validator=fields.optional_text)
    org_type: str | None = attrs.field(default=None, validator=fields.optional_text)
    admin_id: str | None = attrs.field(default=None, validator=fields.optional_text)

    @classmethod
    def from_p7m(
        cls,
        data: bytes,
        keypair: TokenKeypair,
        *,
        name: str,
        apple_id: str,
        consented_at: datetime,
        portal: Portal = Portal.BUSINESS,
        scope_tags: Iterable[str] = (),
    ) -> Self:
        """Return the token of the file that was downloaded in the portal.

        Args:
            data: The ``.p7m`` file, at most 1 MiB.
            keypair: The key pair whose certificate was uploaded in the portal.
            name: The caller's own name for the token.
            apple_id: The Apple ID that was used in the portal; the same one must be used to renew.
            consented_at: When an administrator agreed to send user and device data to Apple.
            portal: Business or School.
            scope_tags: Who may see and manage it.

        Returns:
            The token. Its expiry is None if the file has none that can be read; everything else about the
            token still works, and ``health`` says so.

        Raises:
            TokenError: The file cannot be read with this key pair (the reason says why), or a value is
                missing or wrong.

        Source: specification, "Create enrollment program token", steps 1, 2, 4 and 5.
        """
        # The only import against the direction of the packages: it makes ``Token.from_p7m`` possible.
        from pyade.crypto.token_file import read_token_file  # noqa: PLC0415

        data = masked(data)  # another file may not be encrypted
        secrets = read_token_file(data, keypair)
        return cls(
            name=name,
            consumer_key=secrets.consumer_key,
            consumer_secret=secrets.consumer_secret,
            access_token=secrets.access_token,
            access_secret=secrets.access_secret,
            access_token_expiry=_read_expiry(secrets.access_token_expiry),
            apple_id=apple_id,
            consented_at=consented_at,
            portal=portal,
            scope_tags=scope_tags,
        )

    def _words(self) -> str:
        whose = f" of {self.org_name}" if self.org_name else ""
        expiry = self.access_token_expiry
        until = "unknown expiry" if expiry is None else f"expires on {expiry:%Y-%m-%d %H:%M} UTC"
        return f"{self.name}: server token{whose} in {self.portal_to_use}, as {self.apple_id}, {until}"

    @property
    def portal_to_use(self) -> Portal:
        """The portal of the organization, as Apple reported it; else ``portal``."""
        return _PORTALS.get((self.org_type or "").lower(), self.portal)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Warnings about a token that works.

        A personal Apple ID, one that Apple does not name, and a portal that is not the organization's.

        Source: specification, "Create enrollment program token", steps 2 and 4.
        """
        return tuple(token_problems(self))

    @property
    def fingerprint(self) -> str:
        """A digest of the secrets, which differs from that of a renewed token and reveals nothing."""
        secrets = (self.consumer_secret, self.access_token, self.access_secret)
        texts = (self.consumer_key, *(secret.reveal() for secret in secrets))
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]

    def reminder(self, now: datetime) -> int | None:
        """Return the newest of ``REMINDER_DAYS`` that is due; None before the first, or after the expiry.

        Args:
            now: UTC.

        Raises:
            TokenError: *now* is no time, or has no time zone.
        """
        fields.check_time(now, "now")
        if self.access_token_expiry is None or now >= self.access_token_expiry:
            return None
        remaining = self.access_token_expiry - now
        return next((days for days in REMINDER_DAYS if remaining <= timedelta(days=days)), None)

    def health(self, now: datetime) -> TokenHealth:
        """Return whether the token is valid, expires within 30 days, or is expired.

        Args:
            now: With its time zone.

        Raises:
            TokenError: *now* is no time, or has no time zone.
        """
        fields.check_time(now, "now")
        download = (
            f"sign in to {self.portal_to_use} as {self.apple_id}, download a new token of this MDM server"
            " and renew with it"
        )
        expires_at = self.access_token_expiry
        if expires_at is None:
            return TokenHealth(
                status=TokenStatus.UNKNOWN,
                expires_at=None,
                remaining=None,
                next_step=f"a token is good for one year from its download; before that, {download}",
            )
        remaining = expires_at - now
        status = status_at(expires_at, now)
        next_step = "" if status is TokenStatus.VALID else download
        return TokenHealth(status=status, expires_at=expires_at, remaining=remaining, next_step=next_step)

    @check_arguments
    def renewal_problems(self, new_token: Token) -> tuple[Problem, ...]:
        """Return the problems of renewing this token with *new_token*.

        Errors stop ``renew`` unless it is forced; warnings do not. ``server_uuid`` and ``org_id`` decide if
        both tokens have them, because they name the server itself; else ``consumer_key`` decides, which a
        renewal by another portal user may change. A new token that expires earlier is the older file: Apple
        invalidated it when the newer one was generated. Another Apple ID is a warning if Apple named it
        already with this token.
        """
        return tuple(renewal_problems(self, new_token))

    @check_arguments(but=("scope_tags",))
    def renew(
        self, new_token: Token, scope_tags: Iterable[str] | None = None, *, force: bool = False
    ) -> Token:
        """Return the renewed token, for ``store.replace_token``: cursor, devices and profiles survive.

        ``store.add_or_renew_token`` does both in one step. The result has the secrets, expiry, Apple ID and
        consent of *new_token*, and name, server and organization of this one; the portal, too, unless Apple
        says that the organization is in that of *new_token*. ``renewal_problems`` has the warnings that do
        not stop a renewal.

        Args:
            new_token: Made by ``Token.from_p7m`` from the file that was downloaded to renew; its name does
                not matter.
            scope_tags: None keeps those of this token.
            force: Renew although the new token seems to be for another server, organization or Apple ID, or
                to be an older file; server and organization are then those of *new_token*, if it has them.

        Raises:
            TokenError: One of the problems of ``renewal_problems`` is an error, and *force* is false.

        Source: specification, "Renew enrollment program token".
        """
        errors = [one for one in self.renewal_problems(new_token) if one.severity is problems.Severity.ERROR]
        if errors and not force:
            raise TokenError("; ".join(map(str, errors)), "or renew with force=True if this is intended")
        admin_id = new_token.admin_id
        if admin_id is None and is_same_person(self.apple_id, new_token.apple_id):
            admin_id = self.admin_id
        renewed = attrs.evolve(
            new_token,
            name=self.name,
            scope_tags=self.scope_tags if scope_tags is None else scope_tags,
            server_uuid=new_token.server_uuid or self.server_uuid,
            org_id=new_token.org_id or self.org_id,
            org_name=new_token.org_name or self.org_name,
            org_type=new_token.org_type or self.org_type,
            admin_id=admin_id,
        )
        is_in_new_portal = renewed.org_type and renewed.portal_to_use is new_token.portal
        return renewed if is_in_new_portal else attrs.evolve(renewed, portal=self.portal)


def _read_expiry(text: str | None) -> datetime | None:
    try:
        return None if text is None else values.parse_time(text)
    except (ValueError, OverflowError):
        return None


_PORTALS: Final = {"edu": Portal.SCHOOL, "org": Portal.BUSINESS}
"""The portal of an organization by its ``org_type``; others, such as ``tvprovider``, may be in either."""


_CONSUMER_DOMAINS: Final = frozenset(
    """
    126.com 163.com aim.com aol.com comcast.net duck.com fastmail.com free.fr gmail.com googlemail.com
    hey.com icloud.com laposte.net libero.it mac.com mail.com mail.ru me.com msn.com naver.com orange.fr
    passport.com pm.me proton.me protonmail.ch protonmail.com qq.com rocketmail.com sfr.fr t-online.de
    tuta.com tutanota.com verizon.net wanadoo.fr web.de ymail.com
    """.split()  # noqa: SIM905 - a list of 40 short words reads worse with quotes
)
# These providers have one domain per country, such as hotmail.co.uk.
_CONSUMER_BRANDS: Final = re.compile(r"(?:gmx|hotmail|live|outlook|yahoo|yandex)\.(?:com?\.)?[a-z]{2,3}")


def token_problems(token: Token) -> Iterator[Problem]:
    """Yield the warnings about *token*.

    The Apple ID should belong to the organization, not to an individual, and should be the one that
    downloaded the token; the portal should be that of the organization.
    """
    holder = token.admin_id or token.apple_id
    domain = holder.rpartition("@")[2].strip().lower()
    if domain in _CONSUMER_DOMAINS or _CONSUMER_BRANDS.fullmatch(domain):
        yield problems.Problem(
            "apple_id",
            holder,
            "one of the organization is expected: its holder renews and manages the token",
            f"download the token in {token.portal_to_use} with a company Apple ID",
            problems.Severity.WARNING,
        )
    if token.admin_id and not is_same_person(token.admin_id, token.apple_id):
        yield problems.Problem(
            "apple_id",
            token.apple_id,
            f"Apple names {token.admin_id}, who downloaded the token and must renew it",
            f"enter {token.admin_id} at the next renewal, or download the token as {token.apple_id}",
            problems.Severity.WARNING,
        )
    if token.portal_to_use is not token.portal:
        yield problems.Problem(
            "portal",
            token.portal.value,
            f"Apple says that the organization is one of {token.portal_to_use}",
            "the steps lead there now; at the next renewal give Token.from_p7m"
            f" portal=Portal.{token.portal_to_use.name}",
            problems.Severity.WARNING,
        )


def renewal_problems(old: Token, new: Token) -> Iterator[Problem]:
    """Yield the problems of renewing *old* with *new*; see ``Token.renewal_problems``."""
    for field, thing in (("server_uuid", "MDM server"), ("org_id", "organization")):
        before, after = getattr(old, field), getattr(new, field)
        if before and after and before != after:
            allowed = f"is {before} so far, a renewal is for the same {thing}"
            yield problems.Problem(field, after, allowed, "add it as a token of its own")
    if not is_same_person(old.apple_id, new.apple_id):
        yield _other_apple_id(old, new)
    if old.consumer_key != new.consumer_key:
        is_same_server = old.server_uuid is not None and old.server_uuid == new.server_uuid
        yield problems.Problem(
            "consumer_key",
            "",
            "differs from the one so far, although the MDM server is the same"
            if is_same_server
            else "differs from the one so far, so the file may belong to another MDM server",
            "" if is_same_server else "download the token of the same MDM server",
            problems.Severity.WARNING if is_same_server else problems.Severity.ERROR,
        )
    expiry, new_expiry = old.access_token_expiry, new.access_token_expiry
    if expiry is not None and new_expiry is not None and new_expiry < expiry:
        yield problems.Problem(
            "access_token_expiry",
            f"{new_expiry:%Y-%m-%dT%H:%M:%SZ}",
            f"is before that of the token so far, {expiry:%Y-%m-%dT%H:%M:%SZ}: an older file",
            "use the file that was downloaded last",
        )


def is_same_person(one: str, other: str) -> bool:
    """Return True if two Apple IDs are the same, letter case ignored."""
    return one.strip().casefold() == other.strip().casefold()


def _other_apple_id(old: Token, new: Token) -> Problem:
    # If Apple named the new Apple ID already, the old one was entered wrongly.
    is_corrected = all(one.admin_id and is_same_person(one.admin_id, new.apple_id) for one in (old, new))
    return problems.Problem(
        "apple_id",
        new.apple_id,
        f"is {old.apple_id} so far, "
        + ("though Apple named the new one" if is_corrected else "the same one must renew"),
        "" if is_corrected else f"download the token in {old.portal_to_use} as {old.apple_id}",
        problems.Severity.WARNING if is_corrected else problems.Severity.ERROR,
    )
