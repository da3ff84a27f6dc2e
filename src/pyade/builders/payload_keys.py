"""The keys of the payloads in an enrollment profile: their types, and the values that Apple allows.

Source: Apple, profile payloads of the same names. Rules that tie keys together are in ``builders.checks``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs


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
