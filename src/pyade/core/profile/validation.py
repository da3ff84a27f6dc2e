"""Check the rules of an enrollment profile; each function yields the problems of one group of settings.

Errors prevent the profile from being made. Warnings are for doubtful values, so that a profile that works at
Apple can always be read and written back.

The rules of this file:

1. Account settings switch ``await_final_configuration`` on, since accounts are only created while the Mac
   waits; ``auto_advance`` with an administrator switches ``skip_primary_account`` on, since no user is there
   to create an account. The given value is kept beside the effective one, and is effective again when the
   reason is gone.
2. Settings that leave a Mac without an administrator are an error, as is an account that no user could
   create.
3. A setting that macOS ignores is a warning.

Source: Apple, ``AccountConfiguration`` and ``Profile``; specification, "Create an Apple enrollment profile",
Account Settings. That an unattended set-up needs an administrator and no account pane is observed.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Final

import attrs

from pyade.core.certificate_values import check_all_base64, check_der
from pyade.core.macos.setup_screens import NOT_ON_MACOS, SkipKeys, nearest_screens
from pyade.core.problems import Problem, Severity, warning
from pyade.core.profile.accounts import (
    ACCOUNT_NAME_VARIABLES,
    FULL_NAME_VARIABLES,
    AdministratorAccount,
    PrimaryAccount,
    check_account_name,
    check_full_name,
    check_variables,
    is_password_hash,
    without_variables,
)
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.settings import GIVEN, ProfileSettings, given, host_of, split_url, switched_on
from pyade.text import is_unicode

_SHOWN: Final = 80


def check_account_settings(profile: ProfileSettings) -> Iterator[Problem]:
    """Yield the problems of the account settings of *profile* in combination."""
    if "await_final_configuration" in switched_on(profile):  # rule 1
        yield warning(
            "await_final_configuration",
            "False",
            "True with account settings: accounts are only made while the Mac waits, so it is switched on",
            "set it to True, or leave the account settings out",
        )
    if profile.administrator is None:
        yield from _without_administrator(profile)
    elif profile.skip_primary_account:
        yield from _only_administrator(profile)
    yield from _managed_user(profile)
    if profile.requires_network_tether and not profile.has_account_settings:  # rule 3
        allowed = "True only with account settings: it concerns the command that makes accounts"
        yield warning("requires_network_tether", "True", allowed, "leave it out")


def check_auto_advance(profile: ProfileSettings) -> Iterator[Problem]:
    """Yield the settings at which an unattended set-up would stop."""
    if not profile.auto_advance:
        return
    if profile.user_affinity.kind is not AffinityKind.NONE:
        yield warning(
            "auto_advance", "True", "the setup stops until the user has signed in", "use no user affinity"
        )
    missing = " and ".join(name for name in ("language", "region") if not getattr(profile, name))
    if missing:
        yield warning(
            "auto_advance", "True", f"the setup stops where {missing} must be chosen", f"set {missing}"
        )
    if profile.administrator is None:
        instead = "" if profile.primary_account is None else " in the place of primary_account"
        yield warning(
            "auto_advance", "True", "no account is made by itself", f"add an administrator{instead}"
        )
    elif profile.primary_account is not None:
        yield Problem(
            "auto_advance",
            "True",
            "with an administrator, only without a primary_account: no user is there to create one",
            "leave primary_account out, or set auto_advance=False",
        )


def _without_administrator(profile: ProfileSettings) -> Iterator[Problem]:  # rule 2
    for setting in ("standard_user", "skip_primary_account"):
        if getattr(profile, setting):
            allowed = "True only with an administrator: a Mac needs at least one"
            yield Problem(setting, "True", allowed, "add an administrator, or set it to False")


def _only_administrator(profile: ProfileSettings) -> Iterator[Problem]:
    """Yield the settings that contradict an administrator as the only account."""
    if profile.skip_primary_account_given and profile.primary_account is not None:
        allowed = "True only without a primary_account: no account is created in Setup Assistant"
        yield Problem("skip_primary_account", "True", allowed, "choose one of them")
    if profile.standard_user:
        allowed = "no effect if no account is created in Setup Assistant"
        yield warning("standard_user", "True", allowed, "leave it out")
    if profile.administrator is not None and profile.administrator.hidden:
        allowed = "False if no other account exists: only users of a directory could log in"
        yield warning("administrator.hidden", "True", allowed, "set it to False")


def _managed_user(profile: ProfileSettings) -> Iterator[Problem]:
    name = profile.managed_user
    if not name:
        return
    has_user = profile.user_affinity.kind is not AffinityKind.NONE
    yield from check_variables("managed_user", name, ACCOUNT_NAME_VARIABLES, has_user=has_user)
    yield from check_account_name("managed_user", name, without_variables(name))
    primary, administrator = profile.primary_account, profile.administrator
    made = (
        primary.account_name if primary is not None else "",
        administrator.short_name if administrator is not None else "",
    )
    if name.lower() not in {one.lower() for one in made}:
        allowed = "the account_name of the primary_account, or the short_name of the administrator"
        yield warning("managed_user", name[:_SHOWN], allowed, "make sure that this account will exist")


APPLE_KEYS: Final[frozenset[str]] = frozenset(
    {
        "anchor_certs",
        "auto_advance_setup",
        "await_device_configured",
        "configuration_web_url",
        "department",
        "is_mandatory",
        "is_mdm_removable",
        "is_supervised",
        "language",
        "org_magic",
        "profile_name",
        "region",
        "skip_setup_items",
        "support_email_address",
        "support_phone_number",
        "url",
    }
)
"""Apple's keys for which a profile has settings, and which ``extra`` therefore must not contain."""

# Apple, define a profile: error codes PROFILE_NAME_INVALID, DEPARTMENT_INVALID, ... name these limits.
_LENGTHS: Final = {
    "name": 125,
    "department": 125,
    "support_phone_number": 50,
    "support_email_address": 250,
    "org_magic": 256,
}
_URL_LENGTH: Final = 2000
_REQUIRED: Final = ("name", "org_magic")
_TEXTS: Final = ("url", "description", "language", "region", "managed_user", *_LENGTHS)
_SWITCHES: Final = (
    "locked", "auto_advance", "supervised", "mandatory", "standard_user", "requires_network_tether", *GIVEN,
)  # fmt: skip
_PARTS: Final[tuple[tuple[str, type, dict[str, type]], ...]] = (
    ("user_affinity", UserAffinity, {"kind": AffinityKind, "web_url": str}),
    ("primary_account", PrimaryAccount, {"account_name": str, "full_name": str, "restrict_editing": bool}),
    (
        "administrator",
        AdministratorAccount,
        {"short_name": str, "full_name": str, "hidden": bool, "password_hash": bytes},
    ),
)
_COLLECTIONS: Final[tuple[tuple[str, type, type], ...]] = (
    ("skip", frozenset, str),
    ("anchor_certificates", tuple, bytes),
    ("extra", dict, str),
)
_KIND_NAMES: Final[dict[type, str]] = {
    str: "text",
    bool: "True or False",
    frozenset: "a set of SkipKeys or texts",
    tuple: "a sequence of certificates",
    dict: "a mapping from Apple's keys to JSON values",
}
_HOST_CERTIFICATES: Final = "supervising_host_certs"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def check(profile: ProfileSettings) -> Iterator[Problem]:
    """Yield every problem of *profile*; only those of wrong types if there are any."""
    wrong_types = list(_types(profile))
    yield from wrong_types
    if wrong_types:
        return
    yield from _texts(profile)
    yield from _urls(profile)
    yield from _flags(profile)
    yield from _locale(profile)
    yield from _affinity(profile)
    yield from _primary_account(profile)
    yield from _administrator(profile)
    yield from check_account_settings(profile)
    yield from _screens(profile)
    yield from _certificates(profile)
    yield from check_auto_advance(profile)
    yield from _extra(profile)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _types(profile: ProfileSettings) -> Iterator[Problem]:
    """Yield the values of wrong types, all of them, which a converter could not report together."""
    for setting, value, kind in _typed_values(profile):
        if not isinstance(value, kind):
            allowed = f"{_KIND_NAMES.get(kind, kind.__name__)}, not {type(value).__name__}"
            yield Problem(setting, "", allowed, "pass a value of that type")
        elif isinstance(value, str) and not is_unicode(value):
            yield Problem(setting, "", "text that can be written as UTF-8", "remove the unpaired surrogates")


def _typed_values(profile: ProfileSettings) -> Iterator[tuple[str, object, type]]:
    yield from ((setting, getattr(profile, setting), str) for setting in _TEXTS)
    yield from ((setting, given(profile, setting), bool) for setting in _SWITCHES)
    for setting, kind, parts in _PARTS:
        part = getattr(profile, setting)
        if part is not None or setting == "user_affinity":
            yield setting, part, kind
        if isinstance(part, kind):
            yield from ((f"{setting}.{name}", getattr(part, name), of) for name, of in parts.items())
    for setting, kind, item_kind in _COLLECTIONS:
        values = getattr(profile, setting)
        yield setting, values, kind
        items = values if isinstance(values, frozenset | tuple | dict) else ()
        yield from ((setting, item, item_kind) for item in items)


def _texts(profile: ProfileSettings) -> Iterator[Problem]:
    """Yield the problems of texts. Apple counts UTF-8 characters; whether bytes or code points is unknown."""
    for setting, limit in _LENGTHS.items():
        value: str = getattr(profile, setting)
        if not value.strip() and (value or setting in _REQUIRED):
            if setting == "org_magic" and not host_of(profile.url):
                continue  # Derived from a url that is reported itself.
            fix = "give it a text" if setting in _REQUIRED else 'use "" to leave it out'
            yield Problem(setting, _cut(value), f"1 to {limit} characters, not only space", fix)
        elif len(value) > limit:
            yield Problem(setting, _cut(value), f"at most {limit} characters, not {len(value)}", "shorten it")
        elif (size := len(value.encode())) > limit:
            yield warning(
                setting,
                _cut(value),
                f"at most {limit} characters; these are {size} bytes of UTF-8, and Apple may count bytes",
                "shorten it to be safe",
            )
        if re.search(r"[\x00-\x1f\x7f]", value):
            yield Problem(setting, _cut(value), "text on one line, without control characters", "remove them")
    if (phone := profile.support_phone_number.strip()) and not re.search(r"\d", phone):
        yield warning("support_phone_number", _cut(phone), "a phone number", "users will see it as it is")
    email = profile.support_email_address.strip()
    if email and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        yield warning("support_email_address", _cut(email), "an e-mail address", "users will see it as it is")


def _url(setting: str, url: str) -> Iterator[Problem]:
    parts = split_url(url)
    # Query, user and password may be secret: only the rest is shown.
    place = parts.netloc.rpartition("@")[2] if parts else ""
    shown = _cut(f"{parts.scheme}://{place}{parts.path}") if parts else ""
    if not re.fullmatch(r"[!-~]+", url) or re.search(r'["<>\\^`{|}]|%(?![0-9A-Fa-f]{2})', url):
        yield Problem(
            setting, shown, "a percent-encoded https URL in ASCII", "encode space and other characters"
        )
    elif parts is None or parts.scheme not in ("https", "http"):
        yield Problem(setting, shown, "an https URL with a host", "write https://host/path")
    elif parts.username is not None or parts.password is not None:
        yield Problem(
            setting, shown, "a URL without user and password", "remove them, devices would show them"
        )
    elif parts.scheme == "http" and host_of(url) not in _LOOPBACK:
        yield Problem(setting, shown, "an https URL: a Mac refuses http", "serve it over https")
    elif parts.scheme == "http":
        yield warning(
            setting, shown, "http on this machine is for tests only", "serve it over https for Macs"
        )
    if len(url) > _URL_LENGTH:
        yield Problem(setting, shown, f"at most {_URL_LENGTH} characters, not {len(url)}", "shorten it")


def _urls(profile: ProfileSettings) -> Iterator[Problem]:
    yield from _url("url", profile.url)
    if profile.user_affinity.kind is AffinityKind.MODERN and (web_url := profile.user_affinity.web_url):
        yield from _url("user_affinity.web_url", web_url)
        hosts = host_of(profile.url), host_of(web_url)
        if all(hosts) and hosts[0] != hosts[1]:
            yield Problem(
                "user_affinity.web_url",
                _cut(hosts[1]),
                f"a page on the host of url, {hosts[0]}: a Mac takes the profile from the same host only",
                "serve both on one host",
            )


def _flags(profile: ProfileSettings) -> Iterator[Problem]:
    if profile.locked and not profile.supervised:
        yield Problem(
            "locked", "True", "locked enrollment needs supervised=True", "set supervised=True or locked=False"
        )


def _locale(profile: ProfileSettings) -> Iterator[Problem]:
    if profile.language and not re.fullmatch("[a-z]{2,3}", profile.language):
        yield Problem(
            "language",
            _cut(profile.language),
            'two or three lower-case letters, ISO 639: "en", "haw"',
            "put the country into region",
        )
    if profile.region and not re.fullmatch("[A-Z]{2}", profile.region):
        yield Problem("region", _cut(profile.region), 'two capitals, ISO 3166-1: "US", "GB"', "use that code")


def _affinity(profile: ProfileSettings) -> Iterator[Problem]:
    affinity = profile.user_affinity
    if affinity.kind is AffinityKind.MODERN and not affinity.web_url:
        yield Problem(
            "user_affinity.web_url",
            "",
            "modern authentication needs the page on which the user signs in",
            'use UserAffinity.modern("https://...")',
        )
    if affinity.kind is not AffinityKind.MODERN and affinity.web_url:
        yield Problem(
            "user_affinity.web_url",
            _cut(host_of(affinity.web_url)),
            f"no page with the kind {affinity.kind}: a Mac would open it all the same",
            "use UserAffinity.modern(...) or leave it out",
        )


def _primary_account(profile: ProfileSettings) -> Iterator[Problem]:
    account = profile.primary_account
    if account is None:
        return
    if profile.user_affinity.kind is AffinityKind.NONE:
        yield Problem(
            "primary_account",
            "",
            "primary account settings need user affinity with modern or legacy authentication",
            "set user_affinity, or leave primary_account out",
        )
    name, full_name = account.account_name, account.full_name
    yield from check_variables("primary_account.account_name", name, ACCOUNT_NAME_VARIABLES)
    yield from check_variables("primary_account.full_name", full_name, FULL_NAME_VARIABLES)
    if name:
        yield from check_account_name("primary_account.account_name", name, without_variables(name))
    yield from check_full_name("primary_account.full_name", full_name)
    if account.restrict_editing and not (name or full_name):
        yield Problem(
            "primary_account.restrict_editing",
            "True",
            "locks the prefilled names, and none is prefilled",
            "nothing, or prefill account_name and full_name",
            Severity.NOTE,
        )


def _administrator(profile: ProfileSettings) -> Iterator[Problem]:
    admin = profile.administrator
    if admin is None:
        return
    has_user = profile.user_affinity.kind is not AffinityKind.NONE
    for setting, text, allowed in (
        ("administrator.short_name", admin.short_name, ACCOUNT_NAME_VARIABLES),
        ("administrator.full_name", admin.full_name, FULL_NAME_VARIABLES),
    ):
        yield from check_variables(setting, text, allowed, has_user=has_user)
    if not admin.short_name:
        yield Problem("administrator.short_name", "", "an account name", 'use a name such as "localadmin"')
    else:
        rest = without_variables(admin.short_name)
        yield from check_account_name("administrator.short_name", admin.short_name, rest)
    yield from check_full_name("administrator.full_name", admin.full_name)
    account = profile.primary_account
    if account and account.account_name and account.account_name.lower() == admin.short_name.lower():
        yield Problem(
            "primary_account.account_name",
            _cut(account.account_name),
            "another name than the administrator's short_name",
            "rename one of them",
        )
    if not admin.password_hash:
        yield warning(
            "administrator.password_hash", "", "without it no user can log in as administrator", "give one"
        )
    elif not is_password_hash(admin.password_hash):
        yield warning(
            "administrator.password_hash",
            "",
            "a property list with the only key SALTED-SHA512-PBKDF2: entropy, iterations and salt",
            "create it again, macOS will not accept the password",
        )


def _screens(profile: ProfileSettings) -> Iterator[Problem]:
    for key in sorted(str(key) for key in profile.skip if not isinstance(key, SkipKeys)):
        if not key.strip():
            yield Problem("skip", repr(key), "the key of a Setup Assistant screen", "remove it")
        elif key in NOT_ON_MACOS:
            yield warning("skip", key, "a screen that Macs do not have", "remove it, Macs ignore it")
        else:
            near = nearest_screens(key)
            fix = f"did you mean {near}? It is sent as it is" if near else "check it; it is sent as it is"
            yield warning("skip", _cut(key), "a key that pyade knows, in Apple's spelling", fix)


def _certificates(profile: ProfileSettings) -> Iterator[Problem]:
    for index, certificate in enumerate(profile.anchor_certificates):
        yield from check_der(f"anchor_certificates[{index}]", certificate)


def _extra(profile: ProfileSettings) -> Iterator[Problem]:
    for key, value in sorted(profile.extra.items()):
        if not _is_json(value):
            yield Problem(
                f"extra.{_cut(key)}",
                "",
                "a value that JSON can hold",
                "use texts, numbers, lists and dictionaries; write certificates as base64 text",
            )
        elif key == _HOST_CERTIFICATES and value is not None:
            yield from check_all_base64(f"extra.{key}", value)
        if key in APPLE_KEYS:
            yield Problem(
                "extra",
                _cut(key),
                "keys that the profile has no setting for",
                "use the setting instead",
            )
        else:
            names = [*APPLE_KEYS, *(field.name for field in attrs.fields(type(profile)))]
            for near in difflib.get_close_matches(key[:80], names, n=1, cutoff=0.8):
                setting = f"the setting {near!r}, which Apple names otherwise"
                fix = f"did you mean {repr(near) if near in APPLE_KEYS else setting}? It is sent as it is"
                yield warning(f"extra.{_cut(key)}", "", "a key in Apple's spelling", fix)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True
