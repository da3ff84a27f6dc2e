"""``FakeMac``: a Mac in Setup Assistant that walks the way to its enrollment profile over HTTP.

Source: Apple, "Authenticating through web views", ``MachineInfo``, ``com.apple.softwareupdate.required``,
"Implementing Platform SSO during device enrollment"; header fields as observed.
"""

from __future__ import annotations

import base64
import functools
import plistlib
import ssl
import string
import uuid
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final, Self

import attrs
import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.core.kinds import checks_kinds
from pyade.core.models import ChipClass, classify_product
from pyade.core.versions import MacOSVersion
from pyade.errors import VersionError
from pyade.flow import AsyncRunner, Hook, Runner
from pyade.testing.apple.catalogue import PRODUCT_TYPES
from pyade.testing.apple.fake import FakeApple
from pyade.testing.errors import MacError
from pyade.testing.mac.authority import DeviceAuthority, DeviceIdentity
from pyade.testing.mac.cms import CmsForm
from pyade.testing.mac.enrollment import FakeEnrollment
from pyade.testing.mac.overhearing import overheard
from pyade.testing.mac.setup import FakeSetup, setup_flow
from pyade.testing.mac.walk import SendRequest, Walk


@functools.cache
def build_of(version: MacOSVersion) -> str:
    """Return a build that belongs to *version*; its last number is made up.

    Raises:
        VersionError: No build of that version is known.
    """
    # The minor version is in the letter, of the last ones of a train also in the number.
    for train, letter, number in product(range(13, 27), string.ascii_uppercase, (101, 300, 900)):
        build = f"{train}{letter}{number}"
        try:
            found = MacOSVersion.from_build(build)
        except VersionError:
            continue
        parts = 3 if version.major == 10 else 2
        if attrs.astuple(found)[:parts] == attrs.astuple(version)[:parts]:
            return build
    raise VersionError(str(version), "a version whose builds are known, or give the build")


def _version(value: MacOSVersion | str) -> MacOSVersion:
    return MacOSVersion.of(value)


@checks_kinds
@attrs.define(kw_only=True, eq=False)
class FakeMac:
    """A Mac in Setup Assistant.

    Example::

        mac = FakeMac.from_apple(apple, serials[0], DeviceAuthority.generate())
        print(mac.enroll())

    Attributes:
        serial_number: What it says of itself, like all that follow up to *language*.
        identity: The key that it signs with; several Macs may share one, which holds no serial number.
        product: Model identifier; decides the chip.
        version: Version of macOS; an order to update changes it.
        build: Build of macOS; made up from *version* if not given.
        udid: Hardware UUID; made from the serial number if not given.
        software_update_device_id: Its name in Apple's catalogue of updates, sent from macOS 14.4 on.
        language: Selected language.
        can_update: Whether it can be told to update; by default from macOS 14 on.
        can_use_platform_sso: Whether it can be told to set up Platform SSO; by default from macOS 26 on.
        url: Where Apple sends it for its profile.
        web_url: Where Apple sends it to sign in first; "" for nowhere.
        anchors: Certificates (DER) that Apple tells it to trust.
        form: How it signs.
        name: What the user types if asked for name and password.
        password: Likewise; secret.
        browse: Called with a page that the web view shows; returns what the user sends from it, None to give
            up.
        keeps_cookies: False for a web view that loses its cookies between requests.
        extra: Further keys of its MachineInfo; they win over those above, and None takes a key away.
        history: What became of each request: method, address without its query, status, Apple's code. Where
            the service runs in this process and logs at ``WARNING``, also why a request was refused, which no
            answer says.
    """

    serial_number: str
    identity: DeviceIdentity = attrs.field(repr=False)
    product: str = "Mac16,1"
    version: MacOSVersion = attrs.field(default=MacOSVersion(15, 4), converter=_version)
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

    @classmethod
    def from_apple(
        cls, apple: FakeApple, serial_number: str, authority: DeviceAuthority, **changes: Any
    ) -> Self:
        """Return the Mac of that serial number, as Apple knows it, with the profile that it gets.

        Args:
            apple: Where it was bought.
            serial_number: Which device.
            authority: Issues its identity, unless *changes* holds one.
            changes: Attributes of the Mac.

        Raises:
            MacError: It gets no profile.
            PortalError: There is no such device.
        """
        model = str(apple.device(serial_number).get("model", ""))
        facts: dict[str, Any] = {"product": PRODUCT_TYPES.get(model, "Mac16,1"), **changes}
        if "identity" not in facts:
            facts["identity"] = authority.issue()
        mac = cls(serial_number=serial_number, **facts)
        mac.activate(apple)
        return mac

    def activate(self, apple: FakeApple) -> None:
        """Ask Apple for the profile that is assigned, as a Mac does that was erased.

        Raises:
            MacError: It gets none.
        """
        profile = apple.activate(self.serial_number)
        if profile is None:
            raise MacError("Apple has no profile for this Mac: it sets itself up without management")
        self.url = profile["url"]
        self.web_url = profile.get("configuration_web_url", "")
        self.anchors = tuple(base64.b64decode(anchor) for anchor in profile.get("anchor_certs", ()))

    def enroll(self, http: httpx.Client | None = None) -> FakeEnrollment:
        """Get the profile, doing on the way what the server orders, and return what it would enroll with.

        Args:
            http: Sends the requests; each Mac keeps its cookies to itself. None for a client that trusts
                ``tls_context()`` and goes straight to the server: the proxies that environment variables
                name cannot reach a server on loopback.

        Raises:
            MacError: The server refuses the Mac, or the Mac refuses what it gets.
            httpx.TransportError: The server cannot be reached.
        """
        if http is None:
            with httpx.Client(**self._straight()) as own:
                return self.enroll(own)
        return self._runner(http).run(Walk(self).steps())

    async def enroll_async(self, http: httpx.AsyncClient | None = None) -> FakeEnrollment:
        """Do what ``enroll`` does with an asynchronous client."""
        if http is None:
            async with httpx.AsyncClient(**self._straight()) as own:
                return await self.enroll_async(own)
        return await self._async_runner(http).run(Walk(self).steps())

    def finish_setup(self, send: Callable[[bytes], bytes], *, checks_in: bool = True) -> FakeSetup:
        """Check in, await the configuration, do what the server commands, and return what came of it.

        Args:
            send: Takes the body of each message to the server, and returns that of its answer, b"" for none.
            checks_in: False for a Mac that has checked in already, and asks once more.

        Raises:
            MacError: An answer is no command, or they do not end.
        """
        return Runner(asynchronous="finish_setup_async").run(setup_flow(self, send, checks_in=checks_in))

    async def finish_setup_async(self, send: Hook[bytes], *, checks_in: bool = True) -> FakeSetup:
        """Do what ``finish_setup`` does; *send* may be a coroutine function."""
        return await AsyncRunner().run(setup_flow(self, send, checks_in=checks_in))

    @property
    def chip(self) -> ChipClass:
        """What decides which keys it can hold."""
        return classify_product(self.product)

    def machine_info(self, **changes: Any) -> dict[str, Any]:
        """Return what it says about itself; None takes a key away.

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
        """Return its signed MachineInfo: the body of its ``POST``."""
        return self.identity.sign(plistlib.dumps(self.machine_info(**changes)), form=self.form)

    def header(self, **changes: Any) -> str:
        """Return the same in base64: the header ``x-apple-aspen-deviceinfo`` of its first ``GET``."""
        return base64.b64encode(self.signed(**changes)).decode()

    def update(self, version: MacOSVersion | str, build: str = "") -> None:
        """Install another version of macOS.

        Args:
            version: Which version.
            build: Which build; "" for one that is made up.
        """
        self.version = MacOSVersion.of(version)
        self.build = build or build_of(self.version)

    def tls_context(self) -> ssl.SSLContext:
        """Return what its connections trust: the anchors, and without any the roots of this machine.

        A real Mac trusts its own roots beside the anchors.
        """
        if not self.anchors:
            return ssl.create_default_context()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor need not be a root
        certificates = (x509.load_der_x509_certificate(anchor) for anchor in self.anchors)
        context.load_verify_locations(
            cadata="".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)
        )
        return context

    def _straight(self) -> dict[str, Any]:
        return {"verify": self.tls_context(), "trust_env": False, "timeout": 30}

    def _runner(self, http: httpx.Client) -> Runner:
        def send(step: SendRequest) -> httpx.Response:
            with overheard(self.serial_number) as reasons:
                return self._note(http.send(step.request), reasons)

        return Runner({SendRequest: send})

    def _async_runner(self, http: httpx.AsyncClient) -> AsyncRunner:
        async def send(step: SendRequest) -> httpx.Response:
            with overheard(self.serial_number) as reasons:
                return self._note(await http.send(step.request), reasons)

        return AsyncRunner({SendRequest: send})

    def _note(self, response: httpx.Response, reasons: list[str]) -> httpx.Response:
        # The query may hold a secret.
        address = str(response.request.url.copy_with(query=None))
        why = f" ({reasons[-1]})" if response.is_error and reasons else ""
        self.history.append(f"{response.request.method} {address}: {response.status_code}{why}")
        return response


_SSO_FROM: Final = MacOSVersion(26)
_DEVICE_ID_FROM: Final = MacOSVersion(14, 4)
