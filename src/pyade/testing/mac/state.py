"""The state of a simulated Mac, and the MachineInfo that it sends; ``FakeMac`` documents the attributes."""

from __future__ import annotations

import base64
import functools
import plistlib
import string
import uuid
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final

import attrs
import httpx

from pyade.core.arguments import check_arguments
from pyade.core.macos.models import ChipClass, classify_product
from pyade.core.macos.versions import MacOSVersion
from pyade.errors import VersionError
from pyade.testing.mac.authority import DeviceIdentity
from pyade.testing.mac.cms import CmsForm

_SSO_FROM: Final = MacOSVersion(26)
_DEVICE_ID_FROM: Final = MacOSVersion(14, 4)


@functools.cache
def build_of(version: MacOSVersion) -> str:
    """Return a build of *version*; its last number is invented.

    Raises:
        VersionError: No build of that version is known.
    """
    # The letter encodes the minor version; for the last ones of a build train, the number does too.
    for train, letter, number in product(range(13, 27), string.ascii_uppercase, (101, 300, 900)):
        build = f"{train}{letter}{number}"
        try:
            found = MacOSVersion.from_build(build)
        except VersionError:
            continue
        parts = 3 if version.major == 10 else 2
        if attrs.astuple(found)[:parts] == attrs.astuple(version)[:parts]:
            return build
    raise VersionError(str(version), "a version whose builds are known; otherwise give the build")


def _parse_version(value: MacOSVersion | str) -> MacOSVersion:
    return MacOSVersion.of(value)


@check_arguments
@attrs.define(kw_only=True, eq=False)
class MacState:
    """The state of a Mac; ``FakeMac`` documents the attributes."""

    serial_number: str
    identity: DeviceIdentity = attrs.field(repr=False)
    product: str = "Mac16,1"
    version: MacOSVersion = attrs.field(default=MacOSVersion(15, 4), converter=_parse_version)
    build: str = attrs.field(default=attrs.Factory(lambda mac: build_of(mac.version), takes_self=True))
    udid: str = attrs.field(
        default=attrs.Factory(
            lambda mac: str(uuid.uuid5(uuid.NAMESPACE_OID, mac.serial_number)).upper(), takes_self=True
        )
    )
    software_update_device_id: str = "J604AP"
    language: str = "en"
    can_update: bool | None = None
    can_use_platform_sso: bool | None = None
    url: str = ""
    web_url: str = ""
    anchors: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    form: CmsForm = CmsForm.APPLE
    name: str = ""
    password: str = attrs.field(default="", repr=False)
    browse: Callable[[httpx.Response], httpx.Request | None] | None = attrs.field(default=None, repr=False)
    keeps_cookies: bool = True
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    history: list[str] = attrs.field(factory=list, init=False, repr=False)

    @property
    def chip(self) -> ChipClass:
        """The chip, which determines the keys that the Mac can hold."""
        return classify_product(self.product)

    def machine_info(self, **changes: Any) -> dict[str, Any]:
        """Return the MachineInfo of the Mac; None in *changes* removes a key.

        Source: Apple, ``MachineInfo``.
        """
        version, is_14 = self.version, self.version >= MacOSVersion(14)
        numbers = f"{version.major}.{version.minor}" + (f".{version.patch}" if version.patch else "")
        can_update = is_14 if self.can_update is None else self.can_update
        can_sso = version >= _SSO_FROM if self.can_use_platform_sso is None else self.can_use_platform_sso
        keys: dict[str, Any] = {
            "UDID": self.udid,
            "SERIAL": self.serial_number,
            "PRODUCT": self.product,
            "VERSION": self.build,
            "LANGUAGE": self.language,
            "OS_VERSION": numbers if is_14 else None,
            "SUPPLEMENTAL_OS_VERSION_EXTRA": f"({version.supplement})" if version.supplement else None,
            "MDM_CAN_REQUEST_SOFTWARE_UPDATE": True if can_update else None,
            "SOFTWARE_UPDATE_DEVICE_ID": self.software_update_device_id
            if version >= _DEVICE_ID_FROM
            else None,
            "MDM_CAN_REQUEST_PSSO_CONFIG": True if can_sso else None,
            **self.extra,
            **changes,
        }
        return {key: value for key, value in keys.items() if value is not None}

    def signed(self, **changes: Any) -> bytes:
        """Return the signed MachineInfo: the body of its ``POST``."""
        return self.identity.sign(plistlib.dumps(self.machine_info(**changes)), form=self.form)

    def header(self, **changes: Any) -> str:
        """Return ``signed()`` in Base64: the header ``x-apple-aspen-deviceinfo`` of its first ``GET``."""
        return base64.b64encode(self.signed(**changes)).decode()

    def update(self, version: MacOSVersion | str, build: str = "") -> None:
        """Install another version of macOS.

        Args:
            version: Which version.
            build: Which build; "" for an invented one of that version.
        """
        self.version = MacOSVersion.of(version)
        self.build = build or build_of(self.version)

    def _follow(self, profile: Mapping[str, Any]) -> None:
        """Take the addresses and anchors of the JSON profile that Apple gives the Mac."""
        self.url = profile["url"]
        self.web_url = profile.get("configuration_web_url", "")
        self.anchors = tuple(base64.b64decode(anchor) for anchor in profile.get("anchor_certs", ()))
