"""What the fake portal consists of: organizations, servers, devices, and what happened to them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa

from pyade.errors import PyadeError

Record: TypeAlias = dict[str, Any]
"""A device as Apple's newest protocol version shows it; never changed, only replaced."""


@attrs.define(eq=False, getstate_setstate=False)
class PortalError(PyadeError):
    """A request to the fake portal that makes no sense; the text says what exists.

    Attributes:
        reason: What is wrong.
    """

    reason: str

    def _words(self) -> str:
        return self.reason


class Operation(NamedTuple):
    """Something that happened to a device, with the device as it was right after."""

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
        allows_activation_lock: False if Apple says ``ORG_NOT_SUPPORTED`` to a lock.
        allows_account_driven_enrollment: False if Apple says ``ORG_NOT_SUPPORTED`` there.
        allows_beta_access: False if somebody turned beta access off in the portal.
    """

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
        organization: Where it belongs.
        admin_id: Who generated the token in use.
        may_disown: False if the portal does not let this server release devices.
        discovery: The account-driven enrollment profile, by Apple's keys; empty if none is set.
    """

    name: str
    server_uuid: str
    organization: Organization
    admin_id: str
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
        """Return the devices as of now, by the time of their last operation; shared until one changes."""
        if self._snapshot is None or self._snapshot[0] != self._revision:
            self._snapshot = (self._revision, tuple(device.operation for device in self.devices.values()))
        return self._snapshot[1]

    def changed(self) -> None:
        """Forget the snapshot: a device is not what it was."""
        self._revision += 1

    def operation_time(self, wanted: datetime) -> datetime:
        """Return *wanted*, or the time of the last operation if that is later: operations never go back."""
        self._last_operation = max(wanted, self._last_operation)
        return self._last_operation


@attrs.frozen(kw_only=True)
class ActivationLock:
    """A lock that an MDM server set.

    Attributes:
        escrow_key: Hash of the bypass code, lower case; None if only *person* can unlock the device.
        person: To whom the lock is bound without a bypass code.
        message: Text on the locked screen.
    """

    escrow_key: str | None = attrs.field(repr=False)
    person: str
    message: str = ""


@attrs.define(eq=False)
class OwnedDevice:
    """A device that an organization owns, assigned to one of its servers or to none."""

    organization: Organization
    record: Record
    server: Server | None = None
    last_operation: Operation | None = None
    changes: list[datetime] = attrs.field(factory=list)
    throttled_until: datetime | None = None
    activation_lock: ActivationLock | None = None

    @property
    def operation(self) -> Operation:
        """The last operation of a device that is assigned to a server."""
        if self.last_operation is None:
            msg = f"{self.record['serial_number']} was never assigned to a server"
            raise PortalError(msg)
        return self.last_operation


@lru_cache(maxsize=16)
def timestamp(when: datetime) -> str:
    """Return *when* in Apple's form: UTC, whole seconds, ``Z``."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
