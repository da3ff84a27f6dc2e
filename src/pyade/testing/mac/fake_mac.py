"""``FakeMac``: a Mac in Setup Assistant that walks the way to its enrollment profile over HTTP.

Source: Apple, "Authenticating through web views", ``MachineInfo``, ``com.apple.softwareupdate.required``,
"Implementing Platform SSO during device enrollment"; header fields as observed.

What a service in the same process logs while it answers: why it refuses, which it tells no Mac.
"""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import attrs
import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.core.arguments import check_arguments
from pyade.flow import AsyncRunner, Hook, Runner
from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.model import PRODUCT_TYPES
from pyade.testing.errors import MacError
from pyade.testing.mac.authority import DeviceAuthority
from pyade.testing.mac.enrollment import FakeEnrollment
from pyade.testing.mac.final_configuration import FakeSetup, setup_flow
from pyade.testing.mac.setup_assistant import EnrollmentAttempt, SendRequest
from pyade.testing.mac.state import MacState
from pyade.text import logger

_UNKNOWN_MAC: Final = "unknown Mac: "

_log = logger("pyade.enrollment")


class _Listener(logging.Handler):
    """Keeps the lines about one Mac, and those about nobody in particular."""

    def __init__(self, serial_number: str) -> None:
        super().__init__(logging.WARNING)
        self.reasons: list[str] = []
        self._start = f"{serial_number[:40]!r} "

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line.startswith((self._start, _UNKNOWN_MAC)):
            self.reasons.append(line.partition(": ")[2])


@contextmanager
def overheard(serial_number: str) -> Iterator[list[str]]:
    """Give a list that fills with the reasons for which a Mac is refused meanwhile.

    It stays empty where the service runs in another process, or logs nothing at ``WARNING``.

    Args:
        serial_number: The Mac; of those that nothing is known of the reasons are taken as well.
    """
    listener = _Listener(serial_number)
    _log.addHandler(listener)
    try:
        yield listener.reasons
    finally:
        _log.removeHandler(listener)


@check_arguments
@attrs.define(kw_only=True, eq=False)
class FakeMac(MacState):
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
        return self._runner(http).run(EnrollmentAttempt(self).steps())

    async def enroll_async(self, http: httpx.AsyncClient | None = None) -> FakeEnrollment:
        """Do what ``enroll`` does with an asynchronous client."""
        if http is None:
            async with httpx.AsyncClient(**self._straight()) as own:
                return await self.enroll_async(own)
        return await self._async_runner(http).run(EnrollmentAttempt(self).steps())

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
