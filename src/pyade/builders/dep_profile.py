"""The JSON that Apple's service takes and gives for an enrollment profile.

A profile that was read from Apple is written back exactly as it was read, unknown keys, empty texts and the
order of lists included. ``EnrollmentProfile.extra`` keeps what pyade does not model; ``apple_spelling`` keeps
what says the same in another way than pyade would, and counts as long as the setting has that value.

Source: Apple, device assignment, ``Profile``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pyade.core.arguments import check_arguments
from pyade.core.certificate_values import check_all_base64, plain_base64
from pyade.core.problems import Problem
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.settings import given, host_of
from pyade.errors import ProfileError


@check_arguments
def to_apple(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return *profile* as Apple's JSON.

    Empty texts and lists are left out, since Apple takes them for invalid. ``url`` is always there, and
    ``configuration_web_url`` beside it for modern authentication: macOS below 10.15 knows only ``url``.
    Description, kind of sign-in and account settings have no place in it.

    Source: Apple, device assignment, ``Profile``; specification, "Create an Apple enrollment profile".
    """
    body = dict(profile.extra)
    spelling = profile.apple_spelling
    for key, value in _values(profile).items():
        if key in spelling and _meaning(key, spelling[key], profile.url) == value:
            body[key] = spelling[key]
        elif _is_written(profile, key, value):
            body[key] = value
    return body


@check_arguments
def definition(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return the JSON that defines *profile* at Apple.

    Unlike ``to_apple`` it is the same for equal settings, however they were spelled when they were read: all
    that Apple requires is there, and ``profile_uuid``, ``devices`` and whatever is empty is not.

    Source: Apple, device assignment, "Define a Profile".
    """
    body = {**profile.extra, **_values(profile)}
    return {
        key: value
        for key, value in body.items()
        if key not in ("profile_uuid", "devices") and value not in ("", None, [])
    }


@check_arguments
def digest(profile: EnrollmentProfile) -> str:
    """Return a SHA-256 in hex over ``definition``: equal for profiles that Macs cannot tell apart."""
    canonical = json.dumps(definition(profile), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@check_arguments
def from_apple(
    mapping: Mapping[str, Any], *, remembered: EnrollmentProfile | None = None
) -> EnrollmentProfile:
    """Return the profile that Apple's JSON holds.

    Keys that are absent have Apple's default, which for ``await_device_configured``, ``is_supervised`` and
    ``is_mandatory`` is false. Without *remembered*, a ``configuration_web_url`` means modern authentication
    and none means no user affinity.

    Args:
        mapping: Apple's answer, or the JSON of another program.
        remembered: The profile as it was when it was defined: description, kind of sign-in and account
            settings are taken from it, since Apple's JSON has no place for them.

    Raises:
        ProfileError: A value has the wrong type, or the profile, made by another product, breaks a rule
            of the specification; what Apple sent is unchanged in *mapping*.

    Source: Apple, device assignment, ``Profile``.
    """
    url = mapping.get("url")
    meanings = {key: _meaning(key, mapping.get(key), url) for key in _ABSENT}
    problems = tuple(
        problem for key, value in meanings.items() if value is None for problem in _wrong(key, mapping[key])
    )
    if problems:
        raise ProfileError(problems)
    settings = {name: meanings[key] for key, name in (*_TEXTS.items(), *_FLAGS.items())}
    if remembered is not None:
        settings |= {name: given(remembered, name) for name in _REMEMBERED}
        if remembered.await_final_configuration is settings["await_final_configuration"]:
            # Apple was told what holds, which others may have switched on.
            settings["await_final_configuration"] = remembered.await_final_configuration_given
    return EnrollmentProfile(
        **settings,
        user_affinity=_affinity(meanings["configuration_web_url"], remembered),
        locked=not meanings["is_mdm_removable"],
        skip=meanings["skip_setup_items"],
        anchor_certificates=tuple(map(base64.b64decode, meanings["anchor_certs"])),
        extra={key: value for key, value in mapping.items() if key not in meanings},
        apple_keys=frozenset(mapping),
        apple_spelling={
            key: mapping[key]
            for key, value in meanings.items()
            if key in mapping and (mapping[key] != value or value in ("", []))
        },
    )


def _affinity(web_url: str, remembered: EnrollmentProfile | None) -> UserAffinity:
    if web_url:
        return UserAffinity.modern(web_url)
    if remembered is not None and remembered.user_affinity.kind is AffinityKind.LEGACY:
        return UserAffinity.legacy()
    return UserAffinity.none()


def _values(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return every setting that Apple's JSON has a key for, in pyade's spelling."""
    return {
        **{key: getattr(profile, name) for key, name in (*_TEXTS.items(), *_FLAGS.items())},
        "configuration_web_url": profile.user_affinity.web_url,
        "is_mdm_removable": not profile.locked,
        "skip_setup_items": sorted(map(str, profile.skip)),
        "anchor_certs": [base64.b64encode(der).decode("ascii") for der in profile.anchor_certificates],
    }


def _is_written(profile: EnrollmentProfile, key: str, value: Any) -> bool:
    if value in ("", []):
        return False
    if profile.apple_keys is None:
        return key in _REQUIRED or key in _FLAGS or value != _ABSENT[key]
    absent = host_of(profile.url) if key == "org_magic" else _ABSENT[key]
    return key in profile.apple_keys or value != absent


def _meaning(key: str, raw: Any, url: Any) -> Any:
    """Return what *raw* means, in pyade's spelling; None if it has the wrong type."""
    absent = _ABSENT[key]
    if key == "org_magic" and raw in ("", None):
        return host_of(url) if isinstance(url, str) else ""
    if raw is None:
        return absent
    if not isinstance(raw, type(absent)):
        return None
    if not isinstance(raw, list):
        return raw
    if not all(isinstance(item, str) for item in raw):
        return None
    return sorted(set(raw)) if key == "skip_setup_items" else _read_certificates(raw)


def _wrong(key: str, raw: Any) -> Iterator[Problem]:
    if key == "anchor_certs":
        yield from check_all_base64(key, raw)
    else:
        yield Problem(key, str(raw)[:100], _FORMS[type(_ABSENT[key])], "correct Apple's JSON")


def _read_certificates(raw: list[str]) -> list[str] | None:
    if any(check_all_base64("", raw)):
        return None
    return [base64.b64encode(base64.b64decode(plain_base64(text))).decode("ascii") for text in raw]


_TEXTS = {
    "profile_name": "name",
    "url": "url",
    "org_magic": "org_magic",
    "department": "department",
    "support_phone_number": "support_phone_number",
    "support_email_address": "support_email_address",
    "language": "language",
    "region": "region",
}
_FLAGS = {
    "is_supervised": "supervised",
    "is_mandatory": "mandatory",
    "await_device_configured": "await_final_configuration",
    "auto_advance_setup": "auto_advance",
}
# What it means to Apple that a key is not there.
_ABSENT: Mapping[str, Any] = {
    **dict.fromkeys(_TEXTS, ""),
    **dict.fromkeys(_FLAGS, False),
    "configuration_web_url": "",
    "is_mdm_removable": True,
    "skip_setup_items": [],
    "anchor_certs": [],
}
_REMEMBERED = (
    *("description", "primary_account", "administrator"),
    *("standard_user", "skip_primary_account", "managed_user", "requires_network_tether"),
)
_REQUIRED = ("profile_name", "url", "org_magic", "is_mdm_removable")
_FORMS = {str: "a text", bool: "true or false", list: "a list of texts"}
