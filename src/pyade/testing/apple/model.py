"""The data of the fake portal: settings, organizations, servers, devices, their operations, and identifiers.

Every identifier and secret is derived from the seed of the fake. Behaviour that lasts is set in
``AppleSettings``; failures are switched on in ``faults``.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa

from pyade.core.arguments import check_arguments
from pyade.testing.errors import PortalError
from pyade.text import short_repr


@check_arguments
@attrs.define(kw_only=True)
class AppleSettings:
    """Lasting behaviour of a ``FakeApple``; a changed attribute takes effect with the next request.

    Where Apple publishes no figure, the default is this project's choice and marked "not published".

    Attributes:
        requires_json_type: True refuses a body without ``Content-Type: application/json`` with 415, as a
            gateway may; a charset is allowed (not published; Apple's pages name the type).
        single_session: True ends the older sessions of a server token when a new one is opened.
        page_default: Devices per page without ``limit``, advertised by ``/account``.
        page_maximum: Highest ``limit``, advertised by ``/account``; a higher one is reduced to it.
        cursor_length: Exact number of characters of a cursor; None for the usual length.
        device_assigned_by: The value of this key in new assignments; ``-1`` was observed.
        throttle_changes: Assignment changes of one device per hour before it is throttled for a day; None
            never throttles (not published).
        throttle_extends: True restarts that day with every further attempt.
        disown_refusal: The response to a server that may not disown: ``FAILED`` for each device, or 403
            ``ACCESS_DENIED`` for the request (not published).
        beta_tokens_key: The key that holds the beta enrollment tokens; both were observed.
    """

    requires_json_type: bool = False
    single_session: bool = False
    page_default: int = 1000
    page_maximum: int = 1000
    cursor_length: int | None = None
    device_assigned_by: str = "it@contoso.com"
    throttle_changes: int | None = 20
    throttle_extends: bool = True
    disown_refusal: Literal["FAILED", "ACCESS_DENIED"] = "FAILED"
    beta_tokens_key: Literal["betaEnrollmentTokens", "seedBuildTokens"] = "betaEnrollmentTokens"


_SERIAL_DIGITS = "0123456789CDFGHJKLMNPQRTVWXY"


class Identifiers:
    """Generates values that look random and depend only on the seed and the order of requests.

    Args:
        seed: Two fakes with the same seed generate the same values.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()
        self._serial_prefix = "".join(
            _SERIAL_DIGITS[byte % len(_SERIAL_DIGITS)] for byte in self.octets("serial", 4)
        )

    def octets(self, purpose: str, length: int) -> bytes:
        """Return the next *length* bytes for *purpose*; each purpose has its own sequence."""
        self._counts[purpose] += 1
        start = f"{self._seed}:{purpose}:{self._counts[purpose]}".encode()
        return hashlib.shake_256(start).digest(length)

    def hexadecimal(self, purpose: str, digits: int) -> str:
        """Return the next *digits* lower-case hexadecimal digits for *purpose*."""
        return self.octets(purpose, (digits + 1) // 2).hex()[:digits]

    def profile_uuid(self) -> str:
        """Return a profile id: 32 upper-case digits."""
        return self.hexadecimal("profile", 32).upper()

    def server_uuid(self) -> str:
        """Return a server id: 32 upper-case digits."""
        return self.hexadecimal("server", 32).upper()

    def uuid(self, purpose: str) -> str:
        """Return the next UUID for *purpose*, in lower case."""
        return str(UUID(bytes=self.octets(purpose, 16)))

    def session(self) -> str:
        """Return a session token of 128 upper-case digits."""
        return self.hexadecimal("session", 128).upper()

    def serial_number(self) -> str:
        """Return a serial number that this fake has not used: 10 characters."""
        self._counts["serial number"] += 1
        number = self._counts["serial number"]
        digits = []
        for _ in range(6):
            number, digit = divmod(number, len(_SERIAL_DIGITS))
            digits.append(_SERIAL_DIGITS[digit])
        return self._serial_prefix + "".join(reversed(digits))

    def cursor(self, now: datetime, position: int, *, length: int | None) -> str:
        """Return a cursor that differs from every earlier one.

        Args:
            now: Time of the request, UTC.
            position: The position that the cursor stands for; part of the value only to help debugging.
            length: The exact number of characters; None for a length of the usual size.
        """
        milliseconds = int(now.timestamp() * 1000)
        fields = f"0:{position}:{milliseconds}:{milliseconds}:true:{self.hexadecimal('cursor', 16)}"
        if length is not None:
            fields += ":" + self.hexadecimal("cursor padding", length)
        return b64encode(fields.encode()).decode().rstrip("=")[:length]


Record: TypeAlias = dict[str, Any]
"""A device as Apple's newest protocol version returns it; replaced when it changes, never modified."""


class Operation(NamedTuple):
    """One operation on a device, with the record of the device right after it."""

    serial_number: str
    op_type: str
    op_date: str
    record: Record


@attrs.define(eq=False, kw_only=True)
class Organization:
    """An organization in Apple Business Manager or Apple School Manager.

    Attributes:
        name: Unique in the fake.
        org_id: Digits.
        org_id_hash: Opaque.
        org_type: ``org`` or ``edu``.
        org_version: ``v1`` or ``v2``.
        email: Contact of the organization.
        phone: Contact of the organization.
        address: Contact of the organization.
        allows_activation_lock: False answers a lock with ``ORG_NOT_SUPPORTED``.
        allows_account_driven_enrollment: False answers its endpoints with ``ORG_NOT_SUPPORTED``.
        allows_beta_access: False if an administrator turned beta access off in the portal.
        terms_block_session: True if ``/session`` answers ``T_C_NOT_SIGNED``; see ``Faults.change_terms``.
        terms_block_calls: True if the other endpoints do.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    name: str
    org_id: str
    org_id_hash: str
    org_type: Literal["org", "edu"] = "org"
    org_version: Literal["v1", "v2"] = "v2"
    email: str = ""
    phone: str = ""
    address: str = ""
    allows_activation_lock: bool = True
    allows_account_driven_enrollment: bool = True
    allows_beta_access: bool = True
    terms_block_session: bool = attrs.field(default=False, repr=False)
    terms_block_calls: bool = attrs.field(default=False, repr=False)


@attrs.frozen(eq=False, kw_only=True)
class Credentials:
    """The content of one server token file.

    Attributes:
        server: The server it belongs to.
        consumer_key: Starts with ``CK_``.
        consumer_secret: Starts with ``CS_``.
        access_token: Starts with ``AT_``.
        access_secret: Starts with ``AS_``.
        expires_at: One year after issue, UTC.
    """

    server: Server
    consumer_key: str
    consumer_secret: str = attrs.field(repr=False)
    access_token: str = attrs.field(repr=False)
    access_secret: str = attrs.field(repr=False)
    expires_at: datetime


@attrs.define(eq=False, kw_only=True)
class Server:
    """An MDM server in the portal: what one server token gives access to.

    Attributes:
        name: Unique in the fake.
        server_uuid: Its identity, stable over token renewals.
        organization: The organization that it belongs to.
        admin_id: The portal user who generated the current token.
        created_at: UTC.
        may_disown: False if the portal does not let this server release devices.
        discovery: The account-driven enrollment profile, by Apple's keys; empty if none is set.
        token_key: The public key of the newest uploaded certificate; None before the first upload.
        devices: The assigned devices by serial number, in the order of their last operations.
        operations: Every operation that sync reports, oldest first.
        profiles: The defined profiles by ``profile_uuid``, by Apple's keys.
        credentials: The current token; None before the first one.
        session_refusal: The 403 code of ``/session``, see ``Faults.deny_access``; None for none.
        hidden_from_sync: Serial numbers that sync leaves out, see ``Faults.hide_from_sync``.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    name: str
    server_uuid: str
    organization: Organization
    admin_id: str
    created_at: datetime
    may_disown: bool = True
    discovery: dict[str, str] = attrs.field(factory=dict, repr=False)
    token_key: rsa.RSAPublicKey | None = attrs.field(default=None, repr=False)
    devices: dict[str, OwnedDevice] = attrs.field(factory=dict, repr=False)
    operations: list[Operation] = attrs.field(factory=list, repr=False)
    profiles: dict[str, dict[str, Any]] = attrs.field(factory=dict, repr=False)
    credentials: Credentials | None = attrs.field(default=None, repr=False)
    session_refusal: str | None = attrs.field(default=None, repr=False)
    hidden_from_sync: set[str] = attrs.field(factory=set, repr=False)
    _last_operation: datetime = attrs.field(default=datetime.min.replace(tzinfo=UTC), repr=False)
    _revision: int = attrs.field(default=0, repr=False)
    _snapshot: tuple[int, tuple[Operation, ...]] | None = attrs.field(default=None, repr=False)

    def snapshot(self) -> tuple[Operation, ...]:
        """Return the last operation of each device, oldest first; the same tuple until a device changes."""
        if self._snapshot is None or self._snapshot[0] != self._revision:
            self._snapshot = (self._revision, tuple(device.operation for device in self.devices.values()))
        return self._snapshot[1]

    def changed(self) -> None:
        """Invalidate the snapshot after a device changed."""
        self._revision += 1

    def operation_time(self, wanted: datetime) -> datetime:
        """Return *wanted*, or the time of the last operation if that is later: times never decrease."""
        self._last_operation = max(wanted, self._last_operation)
        return self._last_operation


@attrs.frozen(kw_only=True)
class ActivationLock:
    """A lock that an MDM server set.

    Attributes:
        escrow_key: Hash of the bypass code, lower case; None if only *person* can unlock the device.
        person: The portal user who can unlock the device without a bypass code.
        message: Text on the locked screen.
    """

    escrow_key: str | None = attrs.field(repr=False)
    person: str
    message: str = ""


@attrs.define(eq=False)
class OwnedDevice:
    """A device that an organization owns.

    Attributes:
        organization: The owner.
        record: The device by Apple's keys.
        bought_at: UTC.
        changed_at: The time of the last change, UTC.
        server: The server that it is assigned to; None if unassigned.
        last_operation: Its last operation at that server; None if unassigned.
        changes: Times of the recent assignment changes, for throttling.
        throttled_until: The end of the throttling, UTC; None if it was never throttled.
        activation_lock: The lock that an MDM server set; None if unlocked.
    """

    organization: Organization
    record: Record
    bought_at: datetime
    changed_at: datetime
    server: Server | None = None
    last_operation: Operation | None = None
    changes: list[datetime] = attrs.field(factory=list)
    throttled_until: datetime | None = None
    activation_lock: ActivationLock | None = None

    @property
    def operation(self) -> Operation:
        """The last operation; raises ``PortalError`` for a device that is not assigned to a server."""
        if self.last_operation is None:
            raise PortalError(f"{self.record['serial_number']} was never assigned to a server")
        return self.last_operation


@lru_cache(maxsize=16)
def timestamp(when: datetime) -> str:
    """Return *when* in Apple's form: UTC, whole seconds, ``Z``."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Family: TypeAlias = Literal["Mac", "iPad", "iPhone", "AppleTV", "Vision"]


def _model(family: str, os: str, model: str, description: str, color: str) -> Mapping[str, Any]:
    return {"model": model, "description": description, "color": color, "device_family": family, "os": os}


CATALOGUE: Mapping[Family, tuple[Mapping[str, Any], ...]] = {
    "Mac": (
        _model("Mac", "OSX", "MacBook Pro", "MBP 14 SPACE BLACK/M4/16GB/512GB-USA", "SPACE BLACK"),
        _model("Mac", "OSX", "MacBook Air", "MBA 13.6 MIDNIGHT/M3/16GB/256GB-USA", "MIDNIGHT"),
        _model("Mac", "OSX", "Mac mini", "MAC MINI SILVER/M4/16GB/256GB-USA", "SILVER"),
        _model("Mac", "OSX", "iMac", "IMAC 24 BLUE/M4/16GB/256GB-USA", "BLUE"),
    ),
    "iPad": (_model("iPad", "iPadOS", "iPad Air", "IPAD AIR 11 WI-FI 128GB SPACE GRAY-USA", "SPACE GRAY"),),
    "iPhone": (_model("iPhone", "iOS", "iPhone 16", "IPHONE 16 BLACK 128GB-USA", "BLACK"),),
    "AppleTV": (_model("AppleTV", "tvOS", "Apple TV 4K", "APPLE TV 4K 64GB-USA", "BLACK"),),
    "Vision": (_model("Vision", "visionOS", "Apple Vision Pro", "APPLE VISION PRO 256GB-USA", "SILVER"),),
}

PRODUCT_TYPES: Mapping[str, str] = {
    "MacBook Pro": "Mac16,1",
    "MacBook Air": "Mac15,12",
    "Mac mini": "Mac16,10",
    "iMac": "Mac16,3",
    "iPad Air": "iPad15,3",
    "iPhone 16": "iPhone17,3",
    "Apple TV 4K": "AppleTV14,1",
    "Apple Vision Pro": "RealityDevice14,1",
}
