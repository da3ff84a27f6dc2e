"""Convert an enrollment profile to and from the JSON of Apple's service.

A profile that was read from Apple is written back exactly as it was read, including unknown keys, empty texts
and the order of lists. ``EnrollmentProfile.extra`` keeps keys that pyade does not model. ``apple_spelling``
keeps an equivalent value in Apple's form, and is used as long as the setting has that value.

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

    Empty texts and lists are omitted, because Apple refuses them. ``url`` is always there, with
    ``configuration_web_url`` for modern authentication: macOS below 10.15 only knows ``url``. The JSON has no
    keys for the description, the kind of sign-in and account settings.

    Source: Apple, device assignment, ``Profile``; specification, "Create an Apple enrollment profile".
    """
    body = dict(profile.extra)
    spelling = profile.apple_spelling
    for key, value in _settings_of(profile).items():
        if key in spelling and _canonical(key, spelling[key], profile.url) == value:
            body[key] = spelling[key]
        elif _must_write(profile, key, value):
            body[key] = value
    return body


@check_arguments
def definition(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return the JSON that defines *profile* at Apple.

    Unlike ``to_apple`` it is the same for equal settings, independent of the spelling that was read: it has
    all keys that Apple requires, and omits ``profile_uuid``, ``devices`` and empty values.

    Source: Apple, device assignment, "Define a Profile".
    """
    body = {**profile.extra, **_settings_of(profile)}
    return {
        key: value
        for key, value in body.items()
        if key not in ("profile_uuid", "devices") and value not in ("", None, [])
    }


@check_arguments
def digest(profile: EnrollmentProfile) -> str:
    """Return the SHA-256 of ``definition`` in hex: equal for profiles that are the same to Macs."""
    canonical = json.dumps(definition(profile), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@check_arguments
def from_apple(
    mapping: Mapping[str, Any], *, remembered: EnrollmentProfile | None = None
) -> EnrollmentProfile:
    """Return the profile from Apple's JSON.

    Absent keys have Apple's default, which is false for ``await_device_configured``, ``is_supervised`` and
    ``is_mandatory``. Without *remembered*, a ``configuration_web_url`` means modern authentication; without
    that key the profile has no user affinity.

    Args:
        mapping: Apple's response, or the JSON of another program.
        remembered: The profile as it was defined. The result has its description, kind of sign-in and
            account settings, because Apple's JSON has no keys for them.

    Raises:
        ProfileError: A value has the wrong type, or the profile, defined by another product, breaks a rule
            of the specification; *mapping* still has what Apple sent.

    Source: Apple, device assignment, ``Profile``.
    """
    url = mapping.get("url")
    meanings = {key: _canonical(key, mapping.get(key), url) for key in _ABSENT}
    problems = tuple(
        problem
        for key, value in meanings.items()
        if value is None
        for problem in _type_problems(key, mapping[key])
    )
    if problems:
        raise ProfileError(problems)
    settings = {name: meanings[key] for key, name in (*_TEXTS.items(), *_FLAGS.items())}
    if remembered is not None:
        settings |= {name: given(remembered, name) for name in _REMEMBERED}
        if remembered.await_final_configuration is settings["await_final_configuration"]:
            # Apple has the effective value, which other settings may have switched on.
            settings["await_final_configuration"] = remembered.await_final_configuration_given
    return EnrollmentProfile(
        **settings,
        user_affinity=_read_affinity(meanings["configuration_web_url"], remembered),
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


def _read_affinity(web_url: str, remembered: EnrollmentProfile | None) -> UserAffinity:
    if web_url:
        return UserAffinity.modern(web_url)
    if remembered is not None and remembered.user_affinity.kind is AffinityKind.LEGACY:
        return UserAffinity.legacy()
    return UserAffinity.none()


def _settings_of(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return every setting that Apple's JSON has a key for, in canonical form."""
    return {
        **{key: getattr(profile, name) for key, name in (*_TEXTS.items(), *_FLAGS.items())},
        "configuration_web_url": profile.user_affinity.web_url,
        "is_mdm_removable": not profile.locked,
        "skip_setup_items": sorted(map(str, profile.skip)),
        "anchor_certs": [base64.b64encode(der).decode("ascii") for der in profile.anchor_certificates],
    }


def _must_write(profile: EnrollmentProfile, key: str, value: Any) -> bool:
    if value in ("", []):
        return False
    if profile.apple_keys is None:
        return key in _REQUIRED or key in _FLAGS or value != _ABSENT[key]
    absent = host_of(profile.url) if key == "org_magic" else _ABSENT[key]
    return key in profile.apple_keys or value != absent


def _canonical(key: str, raw: Any, url: Any) -> Any:
    """Return *raw* in canonical form; None if it has the wrong type."""
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


def _type_problems(key: str, raw: Any) -> Iterator[Problem]:
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
# Apple's default for an absent key.
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
