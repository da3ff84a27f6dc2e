"""An enrollment profile as plain JSON without loss, for stores.

Unlike Apple's JSON it holds everything: description, kind of sign-in, account settings, what was given where
other settings switch one on, and what Apple's own JSON looked like. Times and secrets are not part of a
profile; a password is there only as its hash.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem
from pyade.core.profile import (
    AdministratorAccount,
    AffinityKind,
    EnrollmentProfile,
    PrimaryAccount,
    UserAffinity,
)
from pyade.core.profile_account_rules import given
from pyade.errors import ProfileError, StoreVersionError

T = TypeVar("T")

VERSION = 1
"""The version of the document that this pyade writes."""


@checks_kinds
def profile_to_document(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return everything that *profile* holds as JSON types, in a fixed order."""
    primary, administrator = profile.primary_account, profile.administrator
    return {
        "version": VERSION,
        **{name: given(profile, name) for name in _PLAIN},
        "user_affinity": {"kind": str(profile.user_affinity.kind), "web_url": profile.user_affinity.web_url},
        "primary_account": None if primary is None else attrs.asdict(primary),
        "administrator": None
        if administrator is None
        else {**attrs.asdict(administrator), "password_hash": _text(administrator.password_hash)},
        "skip": sorted(map(str, profile.skip)),
        "anchor_certificates": [_text(der) for der in profile.anchor_certificates],
        "extra": dict(profile.extra),
        "apple_spelling": dict(profile.apple_spelling),
        "apple_keys": None if profile.apple_keys is None else sorted(profile.apple_keys),
    }


@checks_kinds
def profile_from_document(document: Mapping[str, Any]) -> EnrollmentProfile:
    """Return the profile of a document that ``profile_to_document`` wrote.

    Args:
        document: The document, after a way through JSON or not. Settings that it lacks have the defaults of
            a new profile, but for ``await_final_configuration``, which is then off as for any existing
            profile; keys that this version does not know are ignored.

    Raises:
        StoreVersionError: A newer pyade wrote it.
        ProfileError: It is no such document, or its profile breaks a rule.
    """
    version = document.get("version")
    if type(version) is not int or version < 1:
        problem = Problem(
            "version", str(version), f"a document of version 1 to {VERSION}", "give a stored profile"
        )
        raise ProfileError((problem,))
    if version > VERSION:
        raise StoreVersionError(
            f"the profile was written as version {version}, this pyade reads {VERSION}: update it"
        )
    settings: dict[str, Any] = {
        "await_final_configuration": False,
        **{name: document[name] for name in _PLAIN if name in document},
    }
    for name, read in _READERS.items():
        if name not in document:
            continue
        try:
            settings[name] = read(document[name])
        except (AttributeError, KeyError, TypeError, ValueError):
            problem = Problem(name, "", "the form that profile_to_document writes", "restore the document")
            break
    else:
        try:
            return EnrollmentProfile(**settings)
        except TypeError:
            problem = Problem("document", "", "at least a name and a url", "restore the document")
    # Outside the blocks above: the errors there hold parts of the document, which may have a password hash.
    raise ProfileError((problem,))


def _read_affinity(value: Mapping[str, Any]) -> UserAffinity:
    return UserAffinity(kind=AffinityKind(value["kind"]), web_url=value["web_url"])


def _read_administrator(value: Mapping[str, Any]) -> AdministratorAccount:
    return AdministratorAccount(**{**value, "password_hash": _bytes(value["password_hash"])})


def _optional(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else read(value)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_PLAIN = (
    "name",
    "url",
    "description",
    "await_final_configuration",
    "locked",
    "department",
    "support_phone_number",
    "support_email_address",
    "language",
    "region",
    "auto_advance",
    "org_magic",
    "supervised",
    "mandatory",
    "standard_user",
    "skip_primary_account",
    "managed_user",
    "requires_network_tether",
)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "user_affinity": _read_affinity,
    "primary_account": _optional(lambda value: PrimaryAccount(**value)),
    "administrator": _optional(_read_administrator),
    "skip": frozenset,
    "anchor_certificates": lambda value: tuple(map(_bytes, value)),
    "extra": dict,
    "apple_spelling": dict,
    "apple_keys": _optional(frozenset),
}
