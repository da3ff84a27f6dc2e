"""The keys of the payloads in an enrollment profile: their types and allowed values, and how to check them.

``builders.linter`` has the rules for combinations of keys. A problem never contains the value of a secret
key; of an address it only contains scheme and host.

Source: Apple, profile payloads of the same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import attrs

from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, error, warning


@attrs.frozen
class Key:
    """One key of a payload.

    Attributes:
        type: Its type, as ``plistlib`` reads it.
        required: True if it must be present.
        allowed: The allowed values; empty for any.
        pattern: Regular expression for the whole text; "" for any.
        form: Description of *pattern* for users.
        secret: True if the value must not be shown.
        wanted: Why it should be present although it is not required; "" if it is optional.
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
FILLED = Key(str, True, pattern=r"(?s).*\S.*", form="a text that is not blank")
"""A required text that is not blank."""

UUID = re.compile(r"[0-9A-Za-z]{8}(-[0-9A-Za-z]{4}){3}-[0-9A-Za-z]{12}")
"""Apple's form of a UUID."""


CAPABILITIES = frozenset(
    {"com.apple.mdm.per-user-connections", "com.apple.mdm.bootstraptoken", "com.apple.mdm.token"}
)
"""The values that Apple documents for ``ServerCapabilities``."""

COMMON: Mapping[str, Key] = {
    "PayloadType": FILLED,
    "PayloadVersion": Key(int, True, allowed=(1,)),
    "PayloadIdentifier": FILLED,
    "PayloadUUID": FILLED,
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
    "Challenge": Key(str, secret=True, wanted="present, unless the server authenticates Macs in another way"),
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
        "ClientIdentifier": Key(str, True, pattern=FILLED.pattern, form=FILLED.form, secret=True),
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
"""Characters that an XML property list cannot contain."""

WRITABLE = ("text that XML can contain, without control characters", "remove them")
"""``allowed`` and ``fix`` of a problem with such characters."""


def valid_values(
    where: str,
    values: Mapping[str, Any],
    keys: Mapping[str, Key],
    problems: list[Problem],
    *,
    known: bool = True,
) -> dict[str, Any]:
    """Return the *values* with a valid type and form, for rules that rely on them; report the others.

    Args:
        where: Prefix of the key names in problems; "" for none.
        values: The dictionary to check.
        keys: Apple's keys for it.
        problems: The list to which problems are added.
        known: False if keys other than *keys* are not reported.
    """
    valid: dict[str, Any] = {}
    prefix = f"{where}." if where else ""
    for name, value in values.items():
        key = keys.get(name)
        if key is None:
            valid[name] = value
            if known:
                problems.append(warning(f"{prefix}{name}", "", "only keys that Apple documents", "remove it"))
            continue
        if (mismatch := _mismatch(key, value)) is None:
            valid[name] = value
        else:
            problems.append(error(f"{prefix}{name}", "" if key.secret else value, *mismatch))
    for name, key in keys.items():
        if name not in values and key.required:
            problems.append(error(f"{prefix}{name}", "", "required", "add it"))
        elif name not in values and key.wanted:
            problems.append(warning(f"{prefix}{name}", "", key.wanted, "add it"))
    return valid


def without_newer_keys(
    version: MacOSVersion | None, values: Mapping[str, Any], since: Mapping[str, MacOSVersion]
) -> dict[str, Any]:
    """Return *values* without the keys that are newer than *version*; all of them if it is None."""
    return {
        key: value
        for key, value in values.items()
        if version is None or key not in since or version >= since[key]
    }


def check_texts(setting: str, values: Iterable[Any]) -> Iterator[Problem]:
    """Yield an error for each of *values* that is not a text, or a text that XML cannot contain."""
    for value in values:
        if not isinstance(value, str):
            yield error(setting, value, "texts only", "use a text")
        elif UNWRITABLE.search(value):
            yield error(setting, value, *WRITABLE)


def check_url(setting: str, url: str, schemes: tuple[str, ...] = ("https",)) -> Iterator[Problem]:
    """Yield an error if *url* is not an absolute URL of one of the *schemes* without user name and password.

    Yield a warning for a fragment, which a Mac never sends.
    """
    allowed = f"an absolute {' or '.join(schemes)} URL without user name and password"
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        secret, has_fragment = "@" in parts.netloc, bool(parts.fragment)
    except ValueError:
        is_valid, secret, has_fragment = False, "@" in url, False
    if not is_valid or secret or re.search(r"[\s\x00-\x1f]", url):
        yield error(setting, _origin(url), allowed, "correct the URL")
    elif has_fragment:
        yield warning(
            setting, _origin(url), "a URL without a fragment, because a Mac never sends it", "remove it"
        )


def _mismatch(key: Key, value: Any) -> tuple[str, str] | None:
    """Return ``allowed`` and ``fix`` if *value* is not valid for *key*; None if it is."""
    if not _has_type(value, key.type):
        return f"type {key.type.__name__}", "correct the value"
    if key.allowed and value not in key.allowed:
        return f"one of {', '.join(map(str, key.allowed))}", "use one of these"
    if key.pattern and re.fullmatch(key.pattern, value) is None:
        return key.form, "correct the value"
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
    """Return scheme and host; user, path and query may contain secrets."""
    scheme, mark, rest = url.rpartition("://")
    host = re.split(r"[/?#\s]", rest, maxsplit=1)[0]
    return "" if "@" in host else f"{scheme}{mark}{host}"
