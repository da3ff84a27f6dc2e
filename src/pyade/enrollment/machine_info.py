"""What a Mac says about itself when it asks for its enrollment profile.

A good signature proves that some Apple device signed these words at some time. It does not prove the serial
number: no device certificate holds one, and the message has neither a recipient nor a nonce.

Source: Apple, ``MachineInfo``; "Authenticating through web views".

What a Mac says about its model, held against what Apple says about its serial number.

The model in a MachineInfo is a claim: whoever signs one can write any model into it, and with an old one
get an identity that is not bound to hardware. Apple's device record names the product in words, which is
enough to see that an iMac is no MacBook Air. It cannot tell an old MacBook Air from a new one.

Source: Apple, ``MachineInfo``, ``PRODUCT``; device assignment, ``Device``, ``model`` and ``device_family``.
"""

from __future__ import annotations

import base64
import contextlib
import functools
from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.fleet.device import Device
from pyade.core.input_limits import MAX_BYTES, malformed, reading
from pyade.core.macos.models import ChipClass, classify_product, name_in_text, name_of_product
from pyade.core.macos.versions import MacOSVersion
from pyade.core.plist import read_plist
from pyade.core.problems import Problem, Severity
from pyade.enrollment.device_trust import DeviceSignature, DeviceTrust
from pyade.errors import VersionError

HEADER: Final = "x-apple-aspen-deviceinfo"
"""The header of the first request of a web view."""

_MAX_HEADER: Final = 2 * MAX_BYTES
_MAX_TEXT: Final = 255  # a Mac sends 36 at most, and all of it is kept in the record
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE: Final = b" \t\n\r\f\v"


@attrs.frozen(kw_only=True)
class MachineInfo:
    """A Mac's description of itself.

    Attributes:
        udid: Hardware UUID. Not the one in attestation certificates.
        serial_number: Compared exactly as given.
        product: Model identifier, such as ``Mac14,2``.
        build: Build of macOS, such as ``22A380``; Apple calls it ``VERSION``.
        os_version: Such as ``14.1``; None before macOS 14.
        supplemental_build: Of an installed rapid security response.
        supplemental_version_extra: Its letter with parentheses, such as ``(a)``.
        language: Selected language, such as ``en``.
        can_request_software_update: True if the Mac can be told to update first.
        software_update_device_id: Names the Mac in Apple's catalogue of updates, such as ``J413AP``.
        can_request_psso_config: True if the Mac can be told to set up Platform SSO first.
        mandatory_software_update_required: True if the Mac will update in any case.
        extra: Keys that pyade does not know or use, as they came.
        signature: What was learned from the signature; None if ``from_plist`` read the words alone.
    """

    udid: str
    serial_number: str
    product: str
    build: str
    os_version: str | None = None
    supplemental_build: str | None = None
    supplemental_version_extra: str | None = None
    language: str | None = None
    can_request_software_update: bool = False
    software_update_device_id: str | None = None
    can_request_psso_config: bool = False
    mandatory_software_update_required: bool = False
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    signature: DeviceSignature | None = None

    @classmethod
    def from_cms(cls, data: bytes, *, trust: DeviceTrust | None = None) -> Self:
        """Return what a Mac posted, once its signature is verified.

        Args:
            data: The body of the request: CMS in DER or BER, at most 64 KiB.
            trust: Whose devices are trusted; None for Apple's.

        Raises:
            TrustError: It cannot be read, or no trusted device signed it.

        Source: Apple, "Authenticating through web views"; RFC 5652, 5.
        """
        if trust is None:
            trust = DeviceTrust.of_apple()
        signed = trust.verify(data)
        return cls._read(signed.content, signed.signature)

    @classmethod
    def from_header(cls, value: str | bytes | None, *, trust: DeviceTrust | None = None) -> Self:
        """Return what the first request of a Mac's web view holds, once its signature is verified.

        Args:
            value: The header ``x-apple-aspen-deviceinfo``: base64 in the standard or the URL-safe alphabet,
                padded, white space in it is ignored. None, where there is no such header, is refused.
            trust: Whose devices are trusted; None for Apple's.

        Raises:
            TrustError: It is missing, cannot be read, or no trusted device signed it.

        Source: Apple, "Authenticating through web views".
        """
        if not isinstance(value, str | bytes):
            raise malformed(f"the header {HEADER} is missing")
        if len(value) > _MAX_HEADER:
            raise malformed(
                f"the header {HEADER} has {len(value)} characters, at most {_MAX_HEADER} are allowed"
            )
        with reading(f"the base64 of the header {HEADER}"):
            text = value.encode("ascii") if isinstance(value, str) else value
            data = base64.b64decode(text.translate(_URL_SAFE, _WHITE_SPACE), validate=True)
        return cls.from_cms(data, trust=trust)

    @classmethod
    def from_plist(cls, data: bytes) -> Self:
        """Return what a property list says; its signature must have been verified before.

        Args:
            data: XML, at most 64 KiB.

        Raises:
            TrustError: It is no such property list, a key is missing, or a value has the wrong type.

        Source: Apple, ``MachineInfo``.
        """
        return cls._read(data, None)

    @classmethod
    def _read(cls, data: bytes, signature: DeviceSignature | None) -> Self:
        document = read_plist(data)
        known, extra = {}, {}
        for key, value in document.items():
            kind = _KINDS.get(key)
            if kind is not None and type(value) is not kind:
                raise malformed(f"{key} is {type(value).__name__}, {kind.__name__} is needed")
            if kind is str and len(value) > _MAX_TEXT:
                raise malformed(f"{key} has {len(value)} characters, at most {_MAX_TEXT} are allowed")
            if (name := _NAMES.get(key)) is None:
                extra[key] = value
            else:
                known[name] = value
        for key in _REQUIRED:
            if not document.get(key, "").strip():
                raise malformed(f"{key} is {'empty' if key in document else 'missing'}")
        return cls(**known, extra=extra, signature=signature)

    @property
    def version(self) -> MacOSVersion | None:
        """The version of macOS as the Mac names it, else as far as its build tells; None if neither does."""
        return _version_of(self.os_version, self.supplemental_version_extra or "", self.build)

    @property
    def chip(self) -> ChipClass:
        """What decides which keys the Mac can hold, by its model."""
        return classify_product(self.product)

    @property
    def is_mac(self) -> bool:
        """False for the families of Apple's other devices; a model that nobody knows yet may be a Mac."""
        return not self.product.startswith(_OTHER_FAMILIES)


@functools.lru_cache(maxsize=64)  # asked for seven times for each enrollment, and the same of most Macs
def _version_of(os_version: str | None, extra: str, build: str) -> MacOSVersion | None:
    texts = () if os_version is None else (os_version + extra, os_version)
    for read, text in (*((MacOSVersion.parse, text) for text in texts), (MacOSVersion.from_build, build)):
        with contextlib.suppress(VersionError):
            return read(text)
    return None


_OTHER_FAMILIES: Final = ("iPhone", "iPad", "iPod", "AppleTV", "Watch", "RealityDevice", "AudioAccessory")
_REQUIRED: Final = ("UDID", "SERIAL", "PRODUCT", "VERSION")
_NAMES: Final = {
    "UDID": "udid",
    "SERIAL": "serial_number",
    "PRODUCT": "product",
    "VERSION": "build",
    "OS_VERSION": "os_version",
    "SUPPLEMENTAL_BUILD_VERSION": "supplemental_build",
    "SUPPLEMENTAL_OS_VERSION_EXTRA": "supplemental_version_extra",
    "LANGUAGE": "language",
    "MDM_CAN_REQUEST_SOFTWARE_UPDATE": "can_request_software_update",
    "SOFTWARE_UPDATE_DEVICE_ID": "software_update_device_id",
    "MDM_CAN_REQUEST_PSSO_CONFIG": "can_request_psso_config",
    "MANDATORY_SOFTWARE_UPDATE_REQUIRED": "mandatory_software_update_required",
}
_BOOLEANS: Final = frozenset(
    {"MDM_CAN_REQUEST_SOFTWARE_UPDATE", "MDM_CAN_REQUEST_PSSO_CONFIG", "MANDATORY_SOFTWARE_UPDATE_REQUIRED"}
)
# Macs do not use the last three, but Apple gives them a type.
_KINDS: Final[dict[str, type]] = {
    **{key: bool if key in _BOOLEANS else str for key in _NAMES},
    "IMEI": str,
    "MEID": str,
    "PAIRING_TOKEN": bytes,
}


@check_arguments
def check_model_claim(product: str, device: Device) -> tuple[Problem, ...]:
    """Return where the claimed model contradicts Apple's record of the same serial number.

    No contradiction is no proof: a model that pyade does not know, or a record without a model, passes.

    Args:
        product: Model identifier that the Mac sent, such as ``Mac14,2``.
        device: Apple's record of the serial number that the Mac sent.

    Returns:
        Warnings, as Apple may sell a model under a name that pyade does not know; a caller who wants no
        downgrades refuses the Mac.
    """
    problems: list[Problem] = []
    fix = "ask who has this Mac before anything secret is released to it"
    if not device.is_mac:
        family = device.device_family or device.os
        problems.append(_warning(product, f"a device whose family is {family} in Apple's record", fix))
    elif classify_product(product) is ChipClass.VIRTUAL:
        named = device.model or "a Mac"
        problems.append(_warning(product, f"{named}, as in Apple's record, and no virtual machine", fix))
    claimed, recorded = name_of_product(product), name_in_text(device.model or "")
    if claimed and recorded and claimed != recorded:
        problems.append(_warning(product, f"{recorded}, as in Apple's record, not {claimed}", fix))
    return tuple(problems)


def _warning(product: str, allowed: str, fix: str) -> Problem:
    return Problem("product", product[:80], allowed, fix, Severity.WARNING)
