"""The server token: what connects pyade to one MDM server of Apple Business or School Manager.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import msgspec

from pyade.core.device import parse_time
from pyade.core.problems import Problem, Severity
from pyade.core.secret import Secret, as_secret, masked
from pyade.errors import TokenError
from pyade.text import Printed

if TYPE_CHECKING:
    from pyade.crypto.keypair import TokenKeypair

EXPIRING_WITHIN: Final = timedelta(days=30)
"""How long before its end a token counts as expiring."""

REMINDER_DAYS: Final = (1, 7, 14, 30)
"""How many days before its end somebody is reminded to renew a token."""

_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
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
    """Return whether a token with that expiry is still good at *now*, both with their time zone."""
    if expires_at is None:
        return TokenStatus.UNKNOWN
    remaining = expires_at - now
    if remaining <= timedelta():
        return TokenStatus.EXPIRED
    return TokenStatus.EXPIRING if remaining <= EXPIRING_WITHIN else TokenStatus.VALID


@attrs.frozen(kw_only=True)
class TokenHealth(Printed):
    """How long a token is still good, and what to do about it.

    Attributes:
        status: Expiring means: within 30 days.
        expires_at: When Apple stops accepting it, UTC; None if the token file did not say.
        remaining: Time left, negative once it is expired; None if unknown.
        next_step: Who must do what; "" while nothing needs doing.
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


def _text(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    # The value is a secret in some of these fields, so it is in none of the messages.
    if not isinstance(value, str):
        raise TokenError(f"{attribute.name} is not text")
    if not value.strip():
        raise TokenError(f"{attribute.name} is empty")


def _secret_text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    _text(instance, attribute, masked(value.reveal()) if isinstance(value, Secret) else value)
    # Else an encoder would fail later, with an error that holds the text.
    if isinstance(value, Secret) and value.reveal().encode(errors="replace").decode() != value.reveal():
        raise TokenError(f"{attribute.name} is not valid Unicode: read it from the token file again")


def _optional_text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        _text(instance, attribute, value)


def _address(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
    _text(instance, attribute, value)
    if len(value) > 320 or not _ADDRESS.fullmatch(value):
        raise TokenError(
            f"{attribute.name} {value[:80]!r} is not an address like it@contoso.com",
            "give the Apple ID with which the token was downloaded in the portal",
        )


def _consent(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, datetime):
        raise TokenError(
            "a token cannot be made without consent to send user and device data to Apple",
            "ask for it, and give the time of the consent as consented_at",
        )
    if value.tzinfo is None:
        raise TokenError(f"consented_at {value.isoformat()} has no time zone", "use UTC")


def _expiry(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, datetime):
        raise TokenError("access_token_expiry is not a time", "use a datetime in UTC, or None if unknown")
    if value.tzinfo is None:
        raise TokenError(f"access_token_expiry {value.isoformat()} has no time zone", "use UTC")


def _portal(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Portal):
        raise TokenError(
            f"portal {str(value)[:80]!r} is none of Apple's", "use Portal.BUSINESS or Portal.SCHOOL"
        )


def _utc(value: datetime) -> datetime:
    # A converter runs before the validators: what is no time yet passes on to them.
    return value.astimezone(UTC) if getattr(value, "tzinfo", None) is not None else value


def _utc_or_none(value: datetime | None) -> datetime | None:
    return None if value is None else _utc(value)


def _tags(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        raise TokenError(f"scope_tags {value[:80]!r} is one text", "give a set of texts")
    try:
        tags: frozenset[Any] = frozenset(value)
    except TypeError:
        raise TokenError("scope_tags is no set of texts", "give a set of texts, () for none") from None
    if not all(isinstance(tag, str) and tag.strip() for tag in tags):
        raise TokenError("scope_tags holds something else than texts, or an empty one", "give a set of texts")
    return tags


@attrs.frozen(kw_only=True)
class Token:
    """One server token with what the person who made it agreed to.

    Secrets are not part of ``repr`` or of errors. Several tokens live side by side, told apart by ``name``.

    Attributes:
        name: The caller's own name for it, unique in a store.
        consumer_key: Stable over renewals by the same portal user.
        consumer_secret: Secret; a text that is given is made one, as with the next two.
        access_token: Secret.
        access_secret: Secret.
        access_token_expiry: When Apple stops accepting it, UTC; None if the file did not say.
        apple_id: The Apple ID that was used in the portal and must be used to renew.
        consented_at: When somebody agreed to share user and device data with Apple, UTC.
        portal: Business or School.
        scope_tags: Who may see and manage it, in the caller's own terms.
        server_uuid: Identity of the MDM server, once ``/account`` told it.
        org_id: Identity of the organization, once ``/account`` told it.
        org_name: Name of the organization, once ``/account`` told it.
    """

    name: str = attrs.field(validator=_text)
    consumer_key: str = attrs.field(validator=_text)
    consumer_secret: Secret = attrs.field(repr=False, converter=as_secret, validator=_secret_text)
    access_token: Secret = attrs.field(repr=False, converter=as_secret, validator=_secret_text)
    access_secret: Secret = attrs.field(repr=False, converter=as_secret, validator=_secret_text)
    access_token_expiry: datetime | None = attrs.field(converter=_utc_or_none, validator=_expiry)
    apple_id: str = attrs.field(validator=_address)
    consented_at: datetime = attrs.field(converter=_utc, validator=_consent)
    portal: Portal = attrs.field(default=Portal.BUSINESS, validator=_portal)
    scope_tags: frozenset[str] = attrs.field(default=frozenset(), converter=_tags)
    server_uuid: str | None = attrs.field(default=None, validator=_optional_text)
    org_id: str | None = attrs.field(default=None, validator=_optional_text)
    org_name: str | None = None

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
            consented_at: When somebody agreed to send user and device data to Apple.
            portal: Business or School.
            scope_tags: Who may see and manage it.

        Returns:
            The token. Its expiry is None where the file says none that can be read; everything else about
            the token still works, and ``health`` says so.

        Raises:
            TokenError: The file cannot be read with this key pair (the reason says why), or a value is
                missing or wrong.

        Source: specification, "Create enrollment program token", steps 1, 2, 4 and 5.
        """
        # An import against the direction of the house, for an API that reads as a sentence.
        from pyade.crypto.token_file import read_token_file  # noqa: PLC0415

        data = masked(data)  # a file of another kind may be in clear
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

    @property
    def findings(self) -> tuple[Problem, ...]:
        """What is worth a look although the token works.

        Source: specification, "Create enrollment program token", step 2: the Apple ID belongs to the
        organization, not to a person.
        """
        domain = self.apple_id.rpartition("@")[2].lower()
        if domain not in _CONSUMER_DOMAINS and not _CONSUMER_BRANDS.fullmatch(domain):
            return ()
        return (
            Problem(
                "apple_id",
                self.apple_id,
                "one of the organization is expected: whoever holds it renews and manages the token",
                f"download the token in {self.portal} with a company Apple ID",
                Severity.WARNING,
            ),
        )

    @property
    def fingerprint(self) -> str:
        """What tells these secrets from those of a renewed token, and reveals nothing about them."""
        secrets = (self.consumer_secret, self.access_token, self.access_secret)
        texts = (self.consumer_key, *(secret.reveal() for secret in secrets))
        return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]

    def reminder(self, now: datetime) -> int | None:
        """Return which of ``REMINDER_DAYS`` has come; None before the first, or after the end.

        Args:
            now: UTC.
        """
        if self.access_token_expiry is None or now >= self.access_token_expiry:
            return None
        remaining = self.access_token_expiry - now
        return next((days for days in REMINDER_DAYS if remaining <= timedelta(days=days)), None)

    def health(self, now: datetime) -> TokenHealth:
        """Return whether the token is valid, expires within 30 days, or is expired.

        Args:
            now: With its time zone.

        Raises:
            TokenError: *now* has no time zone.
        """
        if now.tzinfo is None:
            raise TokenError(f"now {now.isoformat()} has no time zone", "use UTC")
        download = (
            f"sign in to {self.portal} as {self.apple_id}, download a new token of this MDM server"
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

    def renewal_problems(self, new_token: Token) -> tuple[Problem, ...]:
        """Return what speaks against renewing this token with *new_token*.

        Errors stop ``renew`` unless it is forced; warnings do not. ``server_uuid`` and ``org_id`` decide
        where both tokens have them, because they name the server itself; ``consumer_key`` only stands in for
        them, and a renewal by another portal user may change it. A new token that expires earlier is the
        older file: Apple ended it when the newer one was made.
        """
        problems = [
            Problem(
                field,
                new,
                f"is {old} so far, a renewal is for the same {thing}",
                "add it as a token of its own",
            )
            for field, thing in (("server_uuid", "MDM server"), ("org_id", "organization"))
            if (old := getattr(self, field)) and (new := getattr(new_token, field)) and old != new
        ]
        if self.apple_id.casefold() != new_token.apple_id.casefold():
            problems.append(
                Problem(
                    "apple_id",
                    new_token.apple_id,
                    f"is {self.apple_id} so far, the same one must renew",
                    f"download the token in {self.portal} as {self.apple_id}",
                )
            )
        if self.consumer_key != new_token.consumer_key:
            is_same_server = self.server_uuid is not None and self.server_uuid == new_token.server_uuid
            problems.append(
                Problem(
                    "consumer_key",
                    "",
                    "differs from the one so far, although the MDM server is the same"
                    if is_same_server
                    else "differs from the one so far, so the file may belong to another MDM server",
                    "" if is_same_server else "download the token of the same MDM server",
                    Severity.WARNING if is_same_server else Severity.ERROR,
                )
            )
        expiry, new_expiry = self.access_token_expiry, new_token.access_token_expiry
        if expiry is not None and new_expiry is not None and new_expiry < expiry:
            problems.append(
                Problem(
                    "access_token_expiry",
                    f"{new_expiry:%Y-%m-%dT%H:%M:%SZ}",
                    f"is before that of the token so far, {expiry:%Y-%m-%dT%H:%M:%SZ}: an older file",
                    "use the file that was downloaded last",
                )
            )
        return tuple(problems)

    def renew(
        self, new_token: Token, scope_tags: Iterable[str] | None = None, *, force: bool = False
    ) -> Token:
        """Return the renewed token, for ``store.replace_token``: cursor, devices and profiles survive.

        It has the secrets, expiry, Apple ID and consent of *new_token*, and name, portal, server and
        organization of this one. Read ``renewal_problems`` for warnings that do not stop a renewal.

        Args:
            new_token: Made by ``Token.from_p7m`` from the file that was downloaded to renew; its name does
                not matter.
            scope_tags: None keeps those of this token.
            force: Renew although the new token seems to be for another server, organization or Apple ID, or
                to be an older file; server and organization are then those of *new_token*, where it has them.

        Raises:
            TokenError: One of the problems of ``renewal_problems`` is an error, and *force* is false.

        Source: specification, "Renew enrollment program token".
        """
        errors = [one for one in self.renewal_problems(new_token) if one.severity is Severity.ERROR]
        if errors and not force:
            raise TokenError("; ".join(map(str, errors)), "or renew with force=True if this is intended")
        return attrs.evolve(
            new_token,
            name=self.name,
            portal=self.portal,
            scope_tags=self.scope_tags if scope_tags is None else scope_tags,
            server_uuid=new_token.server_uuid or self.server_uuid,
            org_id=new_token.org_id or self.org_id,
            org_name=new_token.org_name or self.org_name,
        )


def _read_expiry(text: str | None) -> datetime | None:
    try:
        return None if text is None else parse_time(text)
    except (msgspec.ValidationError, OverflowError):
        return None
