"""Read and verify a Mac's description of itself, and compare its model with Apple's device record.

A valid signature proves that some Apple device signed the message at some time. It does not prove the serial
number: no device certificate holds one, and the message has neither a recipient nor a nonce.

The model is a claim, too: a sender can sign any model, and with an old one get an identity that is not bound
to hardware. Apple's device record has only a product name. That is enough to tell an iMac from a MacBook Air,
but not an old MacBook Air from a new one.

Source: Apple, ``MachineInfo`` and its ``PRODUCT``; "Authenticating through web views"; device assignment,
``Device``, ``model`` and ``device_family``.
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
from pyade.core.problems import Problem, warning
from pyade.enrollment.device_trust import DeviceSignature, DeviceTrust
from pyade.errors import VersionError
from pyade.text import short_repr

HEADER: Final = "x-apple-aspen-deviceinfo"
"""The header of the first request of a web view."""

_MAX_HEADER: Final = 2 * MAX_BYTES
_MAX_TEXT: Final = 255  # a Mac sends 36 at most, and the record keeps the whole text
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE: Final = b" \t\n\r\f\v"


@attrs.frozen(kw_only=True)
class MachineInfo:
    """A Mac's description of itself.

    Attributes:
        udid: Hardware UUID. Attestation certificates hold a different one.
        serial_number: Compared exactly, without changing case or spaces.
        product: Model identifier, such as ``Mac14,2``.
        build: Build of macOS, such as ``22A380``; Apple calls it ``VERSION``.
        os_version: Such as ``14.1``; None before macOS 14.
        supplemental_build: Build of an installed rapid security response.
        supplemental_version_extra: Letter of that response with parentheses, such as ``(a)``.
        language: Selected language, such as ``en``.
        can_request_software_update: True if the server may ask the Mac to update first.
        software_update_device_id: Names the Mac in Apple's catalogue of updates, such as ``J413AP``.
        can_request_psso_config: True if the server may ask the Mac to set up Platform SSO first.
        mandatory_software_update_required: True if the Mac will update in any case.
        extra: Keys that pyade does not know or use, with their unchanged values.
        signature: What the verified signature showed; None after ``from_plist``, which verifies none.
    """

    def __repr__(self) -> str:
        return short_repr(self)

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
        """Verify and read the body of a Mac's ``POST``.

        Args:
            data: The body of the request: CMS in DER or BER, at most 64 KiB.
            trust: Whose devices are trusted; None for Apple's.

        Raises:
            TrustError: The body cannot be read, or no trusted device signed it.

        Source: Apple, "Authenticating through web views"; RFC 5652, 5.
        """
        if trust is None:
            trust = DeviceTrust.of_apple()
        signed = trust.verify(data)
        return cls._read(signed.content, signed.signature)

    @classmethod
    def from_header(cls, value: str | bytes | None, *, trust: DeviceTrust | None = None) -> Self:
        """Verify and read the header of the first request of a Mac's web view.

        Args:
            value: The header ``x-apple-aspen-deviceinfo``: base64 in the standard or the URL-safe alphabet,
                with padding; white space is ignored. None, if the header is missing, is refused.
            trust: Whose devices are trusted; None for Apple's.

        Raises:
            TrustError: The header is missing or cannot be read, or no trusted device signed it.

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
        """Read a property list without a signature; the caller must have verified it before.

        Args:
            data: XML, at most 64 KiB.

        Raises:
            TrustError: It is not a property list of a Mac, a key is missing, or a value has the wrong type.

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
        """The version of macOS that the Mac sent, else the one of its build; None if neither can be read."""
        return _version_of(self.os_version, self.supplemental_version_extra or "", self.build)

    @property
    def chip(self) -> ChipClass:
        """The chip class of its model, which decides which keys the Mac can hold."""
        return classify_product(self.product)

    @property
    def is_mac(self) -> bool:
        """False for the families of Apple's other devices; an unknown model counts as a Mac."""
        return not self.product.startswith(_OTHER_FAMILIES)


@functools.lru_cache(maxsize=64)  # called seven times for each enrollment; most Macs have the same version
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
# Macs do not send the last three, but Apple documents their types.
_KINDS: Final[dict[str, type]] = {
    **{key: bool if key in _BOOLEANS else str for key in _NAMES},
    "IMEI": str,
    "MEID": str,
    "PAIRING_TOKEN": bytes,
}


@check_arguments
def check_model_claim(product: str, device: Device) -> tuple[Problem, ...]:
    """Return a problem for each contradiction between the claimed model and Apple's device record.

    An empty result proves nothing: an unknown model, or a record without a model, causes no problem.

    Args:
        product: Model identifier that the Mac sent, such as ``Mac14,2``.
        device: Apple's record of the serial number that the Mac sent.

    Returns:
        Problems of severity warning, since Apple may sell a model under a name that pyade does not know. To
        prevent downgrades, refuse a Mac with such a problem.
    """
    problems: list[Problem] = []
    fix = "find out who has this Mac before you send it anything secret"
    if not device.is_mac:
        family = device.device_family or device.os
        problems.append(
            warning("product", product, f"a device whose family is {family} in Apple's record", fix)
        )
    elif classify_product(product) is ChipClass.VIRTUAL:
        named = device.model or "a Mac"
        problems.append(
            warning("product", product, f"{named}, as in Apple's record, and no virtual machine", fix)
        )
    claimed, recorded = name_of_product(product), name_in_text(device.model or "")
    if claimed and recorded and claimed != recorded:
        problems.append(warning("product", product, f"{recorded}, as in Apple's record, not {claimed}", fix))
    return tuple(problems)
