"""``FakeBusiness``: the Apple School Manager and Apple Business API over the fleet of a ``FakeApple``."""

from __future__ import annotations

import threading
from base64 import b32encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import attrs

from pyade.business import ApiAccount
from pyade.core.arguments import check_arguments
from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.model import Organization
from pyade.testing.business.accounts import TOKEN_PATHS, Accounts, form, key_file
from pyade.testing.business.activities import FakeActivity
from pyade.testing.business.endpoints import LOG_HOST, Endpoints
from pyade.testing.business.settings import BusinessSettings
from pyade.testing.business.views import ApiRefusedError
from pyade.testing.http.service import Exchange, FakeService, RequestRecord
from pyade.testing.http.wire import WireRequest, WireResponse

_TOKEN_HOST = "account.apple.com"  # noqa: S105 - a host
_ACCEPTED = frozenset({"application/json", "application/*", "*/*"})


@check_arguments
class FakeBusiness(FakeService):
    """The Apple School Manager and Apple Business API of one organization, for tests and demonstrations.

    It changes the fleet of the ``FakeApple``: a device that is assigned here shows in the next sync of its
    server. It answers for the API, the authorization server and the host of the logs, through
    ``transport()`` in the same process or through ``serve()`` over real HTTP.

    Example::

        apple = FakeApple(clock=clock)
        server = apple.add_server("hq")
        (serial,) = apple.add_devices(1)
        business = FakeBusiness(apple)
        account = business.add_account()
        client = BusinessClient(account, transport=business.transport(), clock=clock, sleep=clock.sleep)
        with client:
            client.assign_devices(server.server_uuid, [serial])

    Args:
        apple: The fake that holds the fleet; None for a new one.
        organization: Which organization; None for the first one, which is created if there is none.

    Attributes:
        apple: The portal and the device assignment service.
        clock: The clock of *apple*.
        organization: The organization that the API acts for.
        settings: Behaviour that lasts.
    """

    def __init__(
        self, apple: FakeApple | None = None, *, organization: Organization | str | None = None
    ) -> None:
        super().__init__()
        self.apple: FakeApple = FakeApple() if apple is None else apple
        self.clock: Callable[[], datetime] = self.apple.clock
        # Both services share one lock and one source of ids.
        self._lock: threading.RLock = self.apple._lock  # noqa: SLF001
        self._identifiers = self.apple._identifiers  # noqa: SLF001
        self.organization: Organization = self.apple.organization(organization)
        self.settings: BusinessSettings = BusinessSettings()
        self._accounts = Accounts(
            self.settings, self._identifiers, is_school=self.organization.org_type == "edu"
        )
        self._endpoints = Endpoints(self.apple, self._identifiers, self.organization, self.settings)

    # API accounts

    def add_account(self) -> ApiAccount:
        """Return a new API account with its key."""
        with self._lock:
            return self._accounts.add()

    def new_key(self, account: ApiAccount) -> ApiAccount:
        """Return *account* with a new key; the previous key stays valid until ``revoke_key``."""
        with self._lock:
            return self._accounts.add_key(account.client_id)

    def revoke_key(self, account: ApiAccount) -> None:
        """Revoke the key of *account*, and the access tokens of the account."""
        with self._lock:
            self._accounts.revoke(account)

    def key_file(self, account: ApiAccount) -> bytes:
        """Return the key file of the portal: PKCS #8, mislabelled ``EC PRIVATE KEY``."""
        return key_file(account)

    def end_access(self) -> None:
        """Revoke every issued access token."""
        with self._lock:
            self._accounts.end_access()

    # What devices have

    def device_issue(
        self, serials: Iterable[str], sub_status: str = "INVALID_INPUT", *, times: int | None = 1
    ) -> None:
        """Let activities fail for *serials* without changing the devices.

        Args:
            serials: Which devices.
            sub_status: The sub-status in the log.
            times: For how many activities of each device; None for all, 0 stops it.
        """
        with self._lock:
            self._endpoints.fleet.issues.set(serials, sub_status, times)

    def add_coverage(self, serial_number: str, **attributes: Any) -> None:
        """Add an AppleCare plan to a device, with Apple's *attributes*, beside its warranty."""
        with self._lock:
            self._endpoints.coverage.setdefault(serial_number, []).append(attributes)

    def lock_device(self, serial_number: str, lock_type: str = "MDM") -> None:
        """Set the activation lock of a device."""
        with self._lock:
            self._endpoints.locks[serial_number] = {"isLocked": True, "lockType": lock_type}

    def add_builtin_device(self, device_id: str, **attributes: Any) -> None:
        """Add a device to Apple's built-in management, with Apple's *attributes*."""
        with self._lock:
            self._endpoints.builtin[device_id] = attributes

    @property
    def activities(self) -> tuple[FakeActivity, ...]:
        """Every activity so far, oldest first."""
        with self._lock:
            return tuple(self._endpoints.activities.values())

    # The web service

    def _perform(self, exchange: Exchange) -> WireResponse:
        request, now = exchange.request, exchange.now
        host = request.host.partition(":")[0]
        if request.path in TOKEN_PATHS and host not in (LOG_HOST, self._api_host):
            return self._accounts.give_access(request, now)
        if request.path.startswith("/logs/") and host not in (_TOKEN_HOST, self._api_host):
            return self._endpoints.log(request, now)
        try:
            self._check(request, host, now)
            return self._endpoints.perform(request, now)
        except ApiRefusedError as refused:
            return refused.response(exchange.id)

    def _check(self, request: WireRequest, host: str, now: datetime) -> None:
        if host in (_TOKEN_HOST, LOG_HOST):
            raise ApiRefusedError(404, "NOT_FOUND", "nothing is here")
        if self._accounts.owner(request, now) is None:
            raise ApiRefusedError(401, "NOT_AUTHORIZED", "the access token is missing or invalid")
        accepted = request.headers.get("accept", "*/*").split(",")
        if _ACCEPTED.isdisjoint(media.partition(";")[0].strip().lower() for media in accepted):
            raise ApiRefusedError(406, "NOT_ACCEPTABLE", "the media type is not offered")

    @property
    def _api_host(self) -> str:
        kind = "school" if self.organization.org_type == "edu" else "business"
        return f"api-{kind}.apple.com"

    def _error_response(self, response: WireResponse, code: str) -> WireResponse:
        refused = ApiRefusedError(response.status, code, "as scripted").response("scripted")
        return attrs.evolve(refused, headers={**refused.headers, **response.headers})

    def _headers(self, exchange: Exchange) -> Mapping[str, str]:
        return {
            "Date": format_datetime(exchange.now, usegmt=True),
            "X-Apple-Jingle-Correlation-Key": b32encode(UUID(exchange.id).bytes).decode().rstrip("="),
            "X-Apple-Request-Uuid": exchange.id,
        }

    def _new_id(self) -> str:
        return self._identifiers.uuid("request")

    def _record(self, exchange: Exchange, response: WireResponse | None, number: int) -> RequestRecord:
        record = super()._record(exchange, response, number)
        if exchange.request.path in TOKEN_PATHS:
            body = {**form(exchange.request), "client_assertion": "(redacted)"}
            record = attrs.evolve(record, body=body, query={})
        return record
