"""What is doubtful about a token, and what speaks against renewing one token with another.

Source: specification, "Create enrollment program token", steps 2 and 4, and "Renew enrollment program
token"; Apple, device assignment, ``AccountDetail``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pyade.core.problems import Problem, Severity

if TYPE_CHECKING:
    from pyade.core.token import Token

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
    """Yield what is worth a look although *token* works; all of it warnings.

    The Apple ID belongs to the organization, not to a person, and is the one that downloaded the token; the
    portal is the one in which the organization is.
    """
    holder = token.admin_id or token.apple_id
    domain = holder.rpartition("@")[2].strip().lower()
    if domain in _CONSUMER_DOMAINS or _CONSUMER_BRANDS.fullmatch(domain):
        yield Problem(
            "apple_id",
            holder,
            "one of the organization is expected: its holder renews and manages the token",
            f"download the token in {token.portal_to_use} with a company Apple ID",
            Severity.WARNING,
        )
    if token.admin_id and not is_same_person(token.admin_id, token.apple_id):
        yield Problem(
            "apple_id",
            token.apple_id,
            f"Apple names {token.admin_id}, who downloaded the token and must renew it",
            f"enter {token.admin_id} at the next renewal, or download the token as {token.apple_id}",
            Severity.WARNING,
        )
    if token.portal_to_use is not token.portal:
        yield Problem(
            "portal",
            token.portal.value,
            f"Apple says that the organization is one of {token.portal_to_use}",
            "the steps lead there now; at the next renewal give Token.from_p7m"
            f" portal=Portal.{token.portal_to_use.name}",
            Severity.WARNING,
        )


def renewal_problems(old: Token, new: Token) -> Iterator[Problem]:
    """Yield what speaks against renewing *old* with *new*; see ``Token.renewal_problems``."""
    for field, thing in (("server_uuid", "MDM server"), ("org_id", "organization")):
        before, after = getattr(old, field), getattr(new, field)
        if before and after and before != after:
            allowed = f"is {before} so far, a renewal is for the same {thing}"
            yield Problem(field, after, allowed, "add it as a token of its own")
    if not is_same_person(old.apple_id, new.apple_id):
        yield _other_apple_id(old, new)
    if old.consumer_key != new.consumer_key:
        is_same_server = old.server_uuid is not None and old.server_uuid == new.server_uuid
        yield Problem(
            "consumer_key",
            "",
            "differs from the one so far, although the MDM server is the same"
            if is_same_server
            else "differs from the one so far, so the file may belong to another MDM server",
            "" if is_same_server else "download the token of the same MDM server",
            Severity.WARNING if is_same_server else Severity.ERROR,
        )
    expiry, new_expiry = old.access_token_expiry, new.access_token_expiry
    if expiry is not None and new_expiry is not None and new_expiry < expiry:
        yield Problem(
            "access_token_expiry",
            f"{new_expiry:%Y-%m-%dT%H:%M:%SZ}",
            f"is before that of the token so far, {expiry:%Y-%m-%dT%H:%M:%SZ}: an older file",
            "use the file that was downloaded last",
        )


def is_same_person(one: str, other: str) -> bool:
    """Return True if two Apple IDs are the same, letter case ignored."""
    return one.strip().casefold() == other.strip().casefold()


def _other_apple_id(old: Token, new: Token) -> Problem:
    # Whom Apple named all along was entered wrongly at first.
    is_put_right = all(one.admin_id and is_same_person(one.admin_id, new.apple_id) for one in (old, new))
    return Problem(
        "apple_id",
        new.apple_id,
        f"is {old.apple_id} so far, "
        + ("though Apple named the new one" if is_put_right else "the same one must renew"),
        "" if is_put_right else f"download the token in {old.portal_to_use} as {old.apple_id}",
        Severity.WARNING if is_put_right else Severity.ERROR,
    )
