"""``FakeMac``: a Mac in Setup Assistant that enrolls, over HTTP or with a server in the same process.

It also records why a service in the same process refused a request: the service logs the reason, and no
response contains it.

Source: Apple, "Authenticating through web views", ``MachineInfo``, ``com.apple.softwareupdate.required``,
"Implementing Platform SSO during device enrollment"; header fields as observed.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Self

import attrs
import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.core.arguments import check_arguments
from pyade.enrollment.service import AsyncEnrollmentService, EnrollmentService
from pyade.flow import AsyncRunner, Runner
from pyade.hooks import Hook
from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.model import PRODUCT_TYPES
from pyade.testing.errors import MacError
from pyade.testing.mac.authority import DeviceAuthority
from pyade.testing.mac.enrollment import FakeEnrollment
from pyade.testing.mac.final_configuration import FakeSetup, setup_flow
from pyade.testing.mac.setup_assistant import EnrollmentAttempt, SendRequest
from pyade.testing.mac.state import MacState
from pyade.testing.mac.transports import transport_to, transport_to_async
from pyade.text import logger, short_repr

_UNKNOWN_MAC: Final = "unknown Mac: "

_log = logger("pyade.enrollment")


class _RefusalCollector(logging.Handler):
    """Collects the log lines about one Mac, and those about unidentified senders."""

    def __init__(self, serial_number: str) -> None:
        super().__init__(logging.WARNING)
        self.reasons: list[str] = []
        self._start = f"{serial_number[:40]!r} "

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line.startswith((self._start, _UNKNOWN_MAC)):
            self.reasons.append(line.partition(": ")[2])


@contextmanager
def collect_refusals(serial_number: str) -> Iterator[list[str]]:
    """Yield a list that collects the logged reasons of refusals while the context is active.

    It stays empty if the service runs in another process, or does not log at ``WARNING``.

    Args:
        serial_number: The Mac; reasons about unidentified senders are collected as well.
    """
    listener = _RefusalCollector(serial_number)
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
        serial_number: Sent in its MachineInfo, like all attributes up to *language* except *identity*.
        identity: The key that signs its MachineInfo; it holds no serial number, so Macs may share one.
        product: Model identifier; determines the chip.
        version: Version of macOS; a required update changes it.
        build: Build of macOS; omitted, derived from *version*.
        udid: Hardware UUID; omitted, derived from the serial number.
        software_update_device_id: Its name in Apple's catalogue of updates, sent from macOS 14.4 on.
        language: Selected language.
        can_update: Whether the server can require an update; by default from macOS 14 on.
        can_use_platform_sso: Whether the server can require Platform SSO; by default from macOS 26 on.
        url: The ``url`` of its Automated Device Enrollment profile.
        web_url: The ``configuration_web_url`` of that profile; "" for none.
        anchors: The certificates (DER) of its ``anchor_certs``.
        form: The format of its signed messages.
        name: The user name that the user enters if asked.
        password: The password that the user enters if asked; secret.
        browse: Called with each page of the web view; returns the next request of the user, None to give up.
        keeps_cookies: False for a web view that loses its cookies between requests.
        extra: Further keys of its MachineInfo; they override those above, and None removes a key.
        history: One entry for each request: method, URL without its query, status, Apple's code. If the
            service runs in this process and logs at ``WARNING``, also the reason of a refusal, which no
            response contains.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    @classmethod
    def from_apple(
        cls, apple: FakeApple, serial_number: str, authority: DeviceAuthority, **changes: Any
    ) -> Self:
        """Return the Mac of a device of *apple*, after it fetched its assigned profile.

        Args:
            apple: The fake that holds the device.
            serial_number: Which device.
            authority: Issues its identity, unless *changes* contains one.
            changes: Attributes of the Mac.

        Raises:
            MacError: No profile is assigned.
            PortalError: There is no such device.
        """
        model = str(apple.device(serial_number).get("model", ""))
        values: dict[str, Any] = {"product": PRODUCT_TYPES.get(model, "Mac16,1"), **changes}
        if "identity" not in values:
            values["identity"] = authority.issue()
        mac = cls(serial_number=serial_number, **values)
        mac.activate(apple)
        return mac

    def activate(self, apple: FakeApple) -> None:
        """Fetch the assigned profile from Apple, as an erased Mac does.

        Raises:
            MacError: No profile is assigned.
        """
        profile = apple.activate(self.serial_number)
        if profile is None:
            raise MacError("Apple has no profile for this Mac, which stays unmanaged: assign one")
        self._follow(profile)

    def enroll(
        self, server: httpx.Client | EnrollmentService | Callable[..., Any] | None = None
    ) -> FakeEnrollment:
        """Fetch the enrollment profile, obeying the server on the way, and return how the Mac would enroll.

        Args:
            server: Where the requests go: an HTTP client, a WSGI application of this process, or a service
                alone, which answers at every address and cannot take a user back from a sign-in page. Each
                Mac has its own cookies. None for the network: a client that trusts ``tls_context()`` and
                ignores the proxies of environment variables, which could not reach a server on loopback.

        Raises:
            MacError: The server refuses the Mac, or the Mac refuses a response.
            httpx.TransportError: The server cannot be reached.
        """
        if isinstance(server, httpx.Client):
            return self._runner(server).run(EnrollmentAttempt(self).steps())
        with httpx.Client(**self._client_options(), transport=transport_to(server)) as own:
            return self.enroll(own)

    async def enroll_async(
        self, server: httpx.AsyncClient | AsyncEnrollmentService | Callable[..., Any] | None = None
    ) -> FakeEnrollment:
        """Do what ``enroll`` does, with an asynchronous client, an ASGI application or a service."""
        if isinstance(server, httpx.AsyncClient):
            return await self._runner_async(server).run(EnrollmentAttempt(self).steps())
        async with httpx.AsyncClient(**self._client_options(), transport=transport_to_async(server)) as own:
            return await self.enroll_async(own)

    def finish_setup(self, send: Callable[[bytes], bytes], *, checks_in: bool = True) -> FakeSetup:
        """Check in, carry out the commands of the server while awaiting configuration, and return the result.

        Args:
            send: Takes the body of each message to the server, and returns the body of the response, b"" for
                none.
            checks_in: False for a Mac that has checked in already and only polls again.

        Raises:
            MacError: A response is not a command, or the commands do not end.
        """
        return Runner(asynchronous="finish_setup_async").run(setup_flow(self, send, checks_in=checks_in))

    async def finish_setup_async(self, send: Hook[bytes], *, checks_in: bool = True) -> FakeSetup:
        """Do what ``finish_setup`` does; *send* may be a coroutine function."""
        return await AsyncRunner().run(setup_flow(self, send, checks_in=checks_in))

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS context of its connections: it trusts the anchors or, without any, the system roots.

        A real Mac trusts its own roots in addition to the anchors.
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

    def _client_options(self) -> dict[str, Any]:
        return {"verify": self.tls_context(), "trust_env": False, "timeout": 30}

    def _runner(self, http: httpx.Client) -> Runner:
        def send(step: SendRequest) -> httpx.Response:
            with self._collecting() as reasons:
                return self._record_response(http.send(step.request), reasons)

        return Runner({SendRequest: send})

    def _runner_async(self, http: httpx.AsyncClient) -> AsyncRunner:
        async def send(step: SendRequest) -> httpx.Response:
            with self._collecting() as reasons:
                return self._record_response(await http.send(step.request), reasons)

        return AsyncRunner({SendRequest: send})

    def _collecting(self) -> AbstractContextManager[list[str]]:
        # ``extra`` may change the serial number that the service reads and logs.
        return collect_refusals(str(self.machine_info().get("SERIAL", "")))

    def _record_response(self, response: httpx.Response, reasons: list[str]) -> httpx.Response:
        # The query may contain a secret.
        address = str(response.request.url.copy_with(query=None))
        why = f" ({reasons[-1]})" if response.is_error and reasons else ""
        self.history.append(f"{response.request.method} {address}: {response.status_code}{why}")
        return response
