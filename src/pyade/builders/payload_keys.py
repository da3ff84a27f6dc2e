"""The keys of the payloads in an enrollment profile: their types, and the values that Apple allows.

Source: Apple, profile payloads of the same names. Rules that tie keys together are in ``builders.checks``.

How dictionaries of Apple's documents are held to their keys: what all checks of this room share.

The value of a secret key is never part of a problem; of an address only scheme and host are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import attrs

from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity


@attrs.frozen
class Key:
    """One key of a payload.

    Attributes:
        type: What ``plistlib`` reads for it.
        required: True if it must be there.
        allowed: The values that it may have; none for any.
        pattern: Regular expression for the whole text; "" for any.
        form: *pattern* in words.
        secret: True if the value must not be shown.
        wanted: Why it should be there although it is not required; "" if it need not.
    """

    type: type
    required: bool = False
    allowed: tuple[Any, ...] = ()
    pattern: str = ""
    form: str = ""
    secret: bool = False
    wanted: str = ""


_TEXT = Key(str)
_FLAG = Key(bool)
_FILLED = Key(str, True, pattern=r"(?s).*\S.*", form="a text that is not empty")
UUID = re.compile(r"[0-9A-Za-z]{8}(-[0-9A-Za-z]{4}){3}-[0-9A-Za-z]{12}")
"""Apple's form of a UUID."""


CAPABILITIES = frozenset(
    {"com.apple.mdm.per-user-connections", "com.apple.mdm.bootstraptoken", "com.apple.mdm.token"}
)
"""What Apple documents for ``ServerCapabilities``."""

COMMON: Mapping[str, Key] = {
    "PayloadType": _FILLED,
    "PayloadVersion": Key(int, True, allowed=(1,)),
    "PayloadIdentifier": _FILLED,
    "PayloadUUID": _FILLED,
    "PayloadDisplayName": _TEXT,
    "PayloadDescription": _TEXT,
    "PayloadOrganization": _TEXT,
}
"""``CommonPayloadKeys``."""

TOP_LEVEL: Mapping[str, Key] = {
    "PayloadType": Key(str, True, allowed=("Configuration",)),
    "PayloadContent": Key(list, True),
    "PayloadScope": Key(str, allowed=("System", "User")),
    "PayloadRemovalDisallowed": _FLAG,
    "HasRemovalPasscode": _FLAG,
    "RemovalDate": Key(datetime),
    "DurationUntilRemoval": Key(float),
    "PayloadExpirationDate": Key(datetime),
    "TargetDeviceType": Key(int, allowed=(0, 1, 2, 3, 4, 5, 6)),
    "ConsentText": Key(dict),
    "IsEncrypted": _FLAG,
    "EncryptedPayloadContent": Key(bytes),
}
"""``TopLevel``, without the common keys."""

SCEP: Mapping[str, Key] = {
    "URL": Key(str, True),
    "Name": _TEXT,
    "Subject": Key(list),
    "Challenge": Key(str, secret=True, wanted="present, unless the server recognises Macs in another way"),
    "Keysize": Key(int, allowed=(1024, 2048, 4096)),
    "Key Type": Key(str, allowed=("RSA",)),
    "Key Usage": Key(int),
    "CAFingerprint": Key(bytes),
    "Retries": Key(int),
    "RetryDelay": Key(int),
    "SubjectAltName": Key(dict),
    "KeyIsExtractable": _FLAG,
    "AllowAllAppsAccess": _FLAG,
}
"""The dictionary ``PayloadContent`` inside a ``com.apple.security.scep`` payload."""

_CERTIFICATE: Mapping[str, Key] = {"PayloadCertificateFileName": _TEXT, "PayloadContent": Key(bytes, True)}

BY_TYPE: Mapping[str, Mapping[str, Key]] = {
    "com.apple.mdm": {
        "IdentityCertificateUUID": Key(str, True, pattern=UUID.pattern, form="a UUID, 8-4-4-4-12"),
        "Topic": Key(
            str, True, pattern=r"com\.apple\.mgmt\.\S+", form="a topic that begins with com.apple.mgmt."
        ),
        "ServerURL": Key(str, True),
        "CheckInURL": _TEXT,
        "SignMessage": _FLAG,
        "AccessRights": Key(int, wanted="present: without it the server has no rights; 8191 is all of them"),
        "UseDevelopmentAPNS": _FLAG,
        "ServerCapabilities": Key(list),
        "CheckOutWhenRemoved": _FLAG,
        "ServerURLPinningCertificateUUIDs": Key(list),
        "CheckInURLPinningCertificateUUIDs": Key(list),
        "PinningRevocationCheckRequired": _FLAG,
        "PromptUserToAllowBootstrapTokenForAuthentication": _FLAG,
        "AssignedManagedAppleID": _TEXT,
        "EnrollmentMode": Key(str, allowed=("BYOD", "ADDE")),
        "ManagedAppleID": _TEXT,
        "RequiredAppIDForMDM": Key(int),
    },
    "com.apple.security.acme": {
        "DirectoryURL": Key(str, True),
        "ClientIdentifier": Key(str, True, pattern=_FILLED.pattern, form=_FILLED.form, secret=True),
        "KeyType": Key(str, True, allowed=("RSA", "ECSECPrimeRandom")),
        "KeySize": Key(int, True),
        "HardwareBound": Key(bool, True),
        "Subject": Key(list, True),
        "SubjectAltName": Key(dict),
        "UsageFlags": Key(int),
        "ExtendedKeyUsage": Key(list),
        "Attest": _FLAG,
        "KeyIsExtractable": _FLAG,
        "AllowAllAppsAccess": _FLAG,
    },
    "com.apple.security.scep": {"PayloadContent": Key(dict, True)},
    "com.apple.security.root": _CERTIFICATE,
    "com.apple.security.pkcs1": _CERTIFICATE,
    "com.apple.security.pem": _CERTIFICATE,
    "com.apple.security.pkcs12": {
        **_CERTIFICATE,
        "Password": Key(str, secret=True),
        "AllowAllAppsAccess": _FLAG,
        "KeyIsExtractable": _FLAG,
    },
}
"""The keys of each payload type, without the common ones."""


UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What no XML property list can hold."""

WRITABLE = ("text that XML can hold, without control characters", "remove them")
"""What is allowed instead, and what to do."""


def good_values(
    where: str,
    values: Mapping[str, Any],
    keys: Mapping[str, Key],
    problems: list[Problem],
    *,
    known: bool = True,
) -> dict[str, Any]:
    """Return the *values* whose form is right, so that later rules can rely on it; report the others.

    Args:
        where: What comes before the names of the keys in problems; "" for nothing.
        values: The dictionary in question.
        keys: Apple's keys for it.
        problems: Where problems are added.
        known: False if other keys than *keys* are nothing to report.
    """
    good: dict[str, Any] = {}
    prefix = f"{where}." if where else ""
    for name, value in values.items():
        key = keys.get(name)
        if key is None:
            good[name] = value
            if known:
                problems.append(warning(f"{prefix}{name}", "", "only keys that Apple documents", "remove it"))
            continue
        if (objection := _objection(key, value)) is None:
            good[name] = value
        else:
            problems.append(error(f"{prefix}{name}", "" if key.secret else value, *objection))
    for name, key in keys.items():
        if name not in values and key.required:
            problems.append(error(f"{prefix}{name}", "", "required", "add it"))
        elif name not in values and key.wanted:
            problems.append(warning(f"{prefix}{name}", "", key.wanted, "add it"))
    return good


def known_to(
    version: MacOSVersion | None, values: Mapping[str, Any], since: Mapping[str, MacOSVersion]
) -> dict[str, Any]:
    """Return *values* without the keys that came after *version*; all of them where that is not known."""
    return {
        key: value
        for key, value in values.items()
        if version is None or key not in since or version >= since[key]
    }


def check_texts(setting: str, values: Iterable[Any]) -> Iterator[Problem]:
    """Yield an error for each of *values* that is no text, or none that XML can hold."""
    for value in values:
        if not isinstance(value, str):
            yield error(setting, value, "texts only", "correct it")
        elif UNWRITABLE.search(value):
            yield error(setting, value, *WRITABLE)


def check_url(setting: str, url: str, schemes: tuple[str, ...] = ("https",)) -> Iterator[Problem]:
    """Yield an error if *url* is not an absolute address of one of the *schemes* without secrets in it.

    A fragment, which never leaves the Mac, is a warning.
    """
    allowed = f"an absolute {' or '.join(schemes)} URL without user name and password"
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        secret, has_fragment = "@" in parts.netloc, bool(parts.fragment)
    except ValueError:
        good, secret, has_fragment = False, "@" in url, False
    if not good or secret or re.search(r"[\s\x00-\x1f]", url):
        yield error(setting, _origin(url), allowed, "correct it")
    elif has_fragment:
        yield warning(setting, _origin(url), "an address without fragment, which no Mac sends", "remove it")


def error(setting: str, value: object, allowed: str, fix: str) -> Problem:
    """Return what prevents the use of a document."""
    return Problem(setting, _shown(value), allowed, fix)


def warning(setting: str, value: object, allowed: str, fix: str) -> Problem:
    """Return what is worth a look."""
    return Problem(setting, _shown(value), allowed, fix, Severity.WARNING)


def _objection(key: Key, value: Any) -> tuple[str, str] | None:
    """Return what is allowed instead of *value* and what to do; None if it has the right form."""
    if not _has_type(value, key.type):
        return f"type {key.type.__name__}", "correct it"
    if key.allowed and value not in key.allowed:
        return f"one of {', '.join(map(str, key.allowed))}", "correct it"
    if key.pattern and re.fullmatch(key.pattern, value) is None:
        return key.form, "correct it"
    if isinstance(value, str) and UNWRITABLE.search(value):
        return WRITABLE
    return None


def _has_type(value: Any, wanted: type) -> bool:
    if wanted is bool or isinstance(value, bool):
        return isinstance(value, bool) and wanted is bool
    if wanted is float:
        return isinstance(value, int | float)
    return isinstance(value, wanted)


def _origin(url: str) -> str:
    """Return scheme and host; user, path and query may hold secrets."""
    scheme, mark, rest = url.rpartition("://")
    host = re.split(r"[/?#\s]", rest, maxsplit=1)[0]
    return "" if "@" in host else f"{scheme}{mark}{host}"


def _shown(value: object) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    text = str(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
