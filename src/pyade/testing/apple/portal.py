"""The portal: what an administrator does with organizations, servers, tokens and devices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pyade.core.arguments import check_arguments
from pyade.testing.apple.model import (
    CATALOGUE,
    AppleSettings,
    Credentials,
    Family,
    Identifiers,
    Operation,
    Organization,
    OwnedDevice,
    Record,
    Server,
    timestamp,
)
from pyade.testing.errors import PortalError

_PROFILE_KEYS = ("profile_status", "profile_uuid", "profile_assign_time", "profile_push_time")
_SERVER_KEYS = ("device_assigned_date", "device_assigned_by")


@check_arguments
class FakePortal:
    """What an administrator can do in the portal; ``FakeApple`` adds the web service.

    Thread-safe. A server can be given as an object, by name or by ``server_uuid``; omitted where that is
    allowed, it is the only server.

    Attributes:
        clock: Returns the time, UTC.
        settings: Behaviour that lasts.
        organizations: The organizations by name.
        servers: The MDM servers by name.
        devices: The devices by serial number, assigned to a server or not.
    """

    def __init__(
        self, clock: Callable[[], datetime], identifiers: Identifiers, settings: AppleSettings
    ) -> None:
        self.clock = clock
        self.settings = settings
        self._lock: threading.RLock = threading.RLock()
        self._identifiers = identifiers
        self.organizations: dict[str, Organization] = {}
        self.servers: dict[str, Server] = {}
        self.devices: dict[str, OwnedDevice] = {}
        self._disowned: set[str] = set()

    # Organizations and servers

    def add_organization(
        self,
        name: str = "Contoso",
        *,
        org_type: Literal["org", "edu"] = "org",
        org_version: Literal["v1", "v2"] = "v2",
        email: str = "it@contoso.example",
        phone: str = "+1 555 0100",
        address: str = "1 Infinite Example, Cupertino, CA 95014",
    ) -> Organization:
        """Return a new organization.

        Raises:
            PortalError: The name exists already.
        """
        with self._lock:
            if name in self.organizations:
                raise PortalError(f"there is an organization {name!r} already")
            number = int.from_bytes(self._identifiers.octets("organization", 5), "big") % 10**9
            self.organizations[name] = Organization(
                name=name,
                org_id=f"{number:09d}",
                org_id_hash=self._identifiers.hexadecimal("organization hash", 64),
                org_type=org_type,
                org_version=org_version,
                email=email,
                phone=phone,
                address=address,
            )
            return self.organizations[name]

    def add_server(
        self,
        name: str = "Main",
        *,
        organization: Organization | str | None = None,
        admin_id: str = "it@contoso.com",
    ) -> Server:
        """Return a new MDM server.

        Args:
            name: Unique in the fake.
            organization: Its organization; omitted, the first one, which is created if there is none.
            admin_id: The portal user who generates its tokens.

        Raises:
            PortalError: There is a server of that name, or no such organization.
        """
        with self._lock:
            if name in self.servers:
                raise PortalError(f"there is a server {name!r} already")
            self.servers[name] = Server(
                name=name,
                server_uuid=self._identifiers.server_uuid(),
                organization=self.organization(organization),
                admin_id=admin_id,
                created_at=self.clock(),
            )
            return self.servers[name]

    def organization(self, organization: Organization | str | None = None) -> Organization:
        """Return an organization; None is the first one, which is created if there is none.

        Raises:
            PortalError: There is no such organization.
        """
        with self._lock:
            if organization is None:
                return next(iter(self.organizations.values()), None) or self.add_organization()
            name = organization if isinstance(organization, str) else organization.name
            if name not in self.organizations:
                raise PortalError(f"no organization {name!r}; there are {_abbreviate(self.organizations)}")
            return self.organizations[name]

    def server(self, server: Server | str | None = None) -> Server:
        """Return a server; None is the only one.

        Raises:
            PortalError: There is no such server, or None was given and there are several.
        """
        with self._lock:
            if server is None and len(self.servers) == 1:
                return next(iter(self.servers.values()))
            if server is None:
                raise PortalError(f"name the server; there are {_abbreviate(self.servers)}")
            wanted = server if isinstance(server, str) else server.name
            for candidate in self.servers.values():
                if wanted in (candidate.name, candidate.server_uuid):
                    return candidate
            raise PortalError(f"no server {wanted!r}; there are {_abbreviate(self.servers)}")

    # Tokens

    def generate_token(
        self, server: Server | str | None = None, *, change_consumer_key: bool = False
    ) -> Credentials:
        """Return new secrets for *server*; the previous ones get ``signature_invalid`` from now on.

        Args:
            server: Which server.
            change_consumer_key: True if another portal user generates it; otherwise the key stays the same.
        """
        with self._lock:
            found = self.server(server)
            now = self.clock()
            number = int.from_bytes(self._identifiers.octets("access token number", 4), "big")
            token = (
                f"O{number}O{self._identifiers.hexadecimal('access token', 40)}O{int(now.timestamp() * 1000)}"
            )
            before = found.credentials
            keep = before is not None and not change_consumer_key
            found.credentials = Credentials(
                server=found,
                consumer_key=before.consumer_key
                if before and keep
                else "CK_" + self._identifiers.hexadecimal("consumer key", 96),
                consumer_secret="CS_" + self._identifiers.hexadecimal("consumer secret", 40),
                access_token="AT_" + token,
                access_secret="AS_" + self._identifiers.hexadecimal("access secret", 40),
                expires_at=_one_year_after(now).replace(microsecond=0),
            )
            self._accept_credentials(found.credentials)
            return found.credentials

    def _accept_credentials(self, credentials: Credentials) -> None:
        """Accept *credentials* from now on; a subclass that verifies tokens overrides it."""

    # Devices

    def add_devices(
        self,
        count: int = 1,
        *,
        server: Server | str | None = None,
        organization: Organization | str | None = None,
        family: Family = "Mac",
        serials: Iterable[str] | None = None,
        **keys: Any,
    ) -> tuple[str, ...]:
        """Add devices that an organization bought, and return their serial numbers.

        Args:
            count: How many, 0 or more; ignored if *serials* is given.
            server: The server to assign them to; omitted, they stay unassigned.
            organization: The buyer; omitted, the server's organization or the first one.
            family: Apple's product family; the models of its catalogue alternate.
            serials: The serial numbers; omitted, generated ones.
            keys: Apple's keys and their values for every device, such as ``asset_tag="A-1"``.

        Raises:
            PortalError: *count* is below 0, a serial number exists already or was disowned, or there is no
                such server or organization.
        """
        if count < 0:
            raise PortalError(f"count is {count}: 0 or more is allowed")
        with self._lock:
            target = None if server is None else self.server(server)
            owner = (
                target.organization if target and organization is None else self.organization(organization)
            )
            numbers = (
                tuple(serials)
                if serials is not None
                else tuple(self._identifiers.serial_number() for _ in range(count))
            )
            for number in numbers:
                if number in self.devices:
                    raise PortalError(f"there is a device {number!r} already")
                if number in self._disowned:
                    raise PortalError(f"{number!r} was disowned, which cannot be undone")
            models, now = CATALOGUE[family], self.clock()
            for index, number in enumerate(numbers):
                record = {"serial_number": number, **models[index % len(models)], **keys}
                self.devices[number] = OwnedDevice(owner, record, now, now)
            if target is not None:
                self.assign(target, numbers)
            return numbers

    def assign(self, server: Server | str | None, devices: Iterable[str] | int) -> tuple[str, ...]:
        """Assign *devices* to *server* and return their serial numbers.

        A device of another server is moved, see ``move``. Assigning a device to its own server again removes
        its profile but keeps ``profile_uuid``, as Apple does.

        Args:
            server: Which server.
            devices: Serial numbers, or a number of the organization's unassigned devices.

        Raises:
            PortalError: There is no such device, or there are too few unassigned ones.
        """
        with self._lock:
            target = self.server(server)
            if isinstance(devices, int):
                unassigned = self._unassigned(target.organization)
                if len(unassigned) < devices:
                    owner = target.organization.name
                    raise PortalError(
                        f"{owner!r} has {len(unassigned)} devices without a server, not {devices}"
                    )
                serials = unassigned[:devices]
            else:
                serials = tuple(devices)
            for device in self._find_devices(serials):
                if device.server is target:
                    self._remove_profile(device)
                elif device.server is not None:
                    self.move([device.record["serial_number"]], target)
                else:
                    self._add_to_server(device, target)
            return serials

    def unassign(self, devices: Iterable[str], *, announce: bool = True) -> None:
        """Unassign *devices* from their server; they stay in the organization.

        Args:
            devices: Serial numbers.
            announce: False if the server's sync does not report it, which was observed.

        Raises:
            PortalError: There is no such device, or it has no server.
        """
        with self._lock:
            for device in self._find_devices(devices):
                self._remove_from_server(device, announce=announce)

    def move(
        self,
        devices: Iterable[str],
        server: Server | str,
        *,
        arrive_as: Literal["added", "modified"] = "added",
        announce: bool = True,
    ) -> None:
        """Move *devices* to another server, which may belong to another organization.

        Args:
            devices: Serial numbers.
            server: The new server.
            arrive_as: What the new server's sync reports: ``added`` without a profile, or only ``modified``
                with the status ``removed`` and the profile id of the old server; Apple does both.
            announce: False if the old server's sync does not report it, which was observed.

        Raises:
            PortalError: There is no such device or server.
        """
        with self._lock:
            target = self.server(server)
            for device in self._find_devices(devices):
                before = device.record
                if device.server is not None:
                    self._remove_from_server(device, announce=announce)
                device.organization = target.organization
                if arrive_as == "added":
                    self._add_to_server(device, target)
                    continue
                device.record = {**before, **self._assignment(self.clock())}
                if "profile_uuid" in before:
                    device.record["profile_status"] = "removed"
                device.server = target
                self.operate(device, "modified", device.record)

    def release(self, devices: Iterable[str], *, announce: bool = True) -> None:
        """Release *devices* from their organization for good; the fake removes them.

        Args:
            devices: Serial numbers.
            announce: False if the server's sync does not report it.

        Raises:
            PortalError: There is no such device.
        """
        with self._lock:
            for device in self._find_devices(devices):
                if device.server is not None:
                    self._remove_from_server(device, announce=announce)
                del self.devices[device.record["serial_number"]]

    def edit_device(self, serial_number: str, *, announce: bool = True, **keys: Any) -> None:
        """Set Apple's *keys* of a device, new keys and unknown values included; None removes a key.

        Args:
            serial_number: Which device.
            announce: True if its server's sync reports it as ``modified``.
            keys: Key and value, such as ``mdm_migration_deadline="2026-01-01T00:00:00Z"``.

        Raises:
            PortalError: There is no such device.
        """
        with self._lock:
            (device,) = self._find_devices([serial_number])
            record = {key: value for key, value in {**device.record, **keys}.items() if value is not None}
            device.changed_at = self.clock()
            if device.server is None:
                device.record = record
            elif announce:
                self.operate(device, "modified", record)
            else:
                device.record = record
                device.last_operation = device.operation._replace(record=record)
                device.server.changed()

    def announce(
        self,
        serial_number: str,
        *,
        server: Server | str | None = None,
        op_type: str,
        op_date: datetime,
        **keys: Any,
    ) -> None:
        """Let a server's sync report an operation that changes no device: duplicates, late and equal times.

        Args:
            serial_number: Any serial number, also one that the fake does not know.
            server: The server whose sync reports it; omitted, the only one.
            op_type: Such as ``modified``, or a value that Apple does not use yet.
            op_date: The reported time of the operation.
            keys: Further keys of the record; they override those of the device.
        """
        with self._lock:
            device = self.devices.get(serial_number)
            record = {**(device.record if device else {"serial_number": serial_number}), **keys}
            self.server(server).operations.append(
                Operation(serial_number, op_type, timestamp(op_date), record)
            )

    def device(self, serial_number: str) -> Mapping[str, Any]:
        """Return a device by Apple's keys.

        Raises:
            PortalError: There is no such device.
        """
        with self._lock:
            (device,) = self._find_devices([serial_number])
            return dict(device.record)

    def operate(self, device: OwnedDevice, op_type: str, record: Record) -> None:
        """Replace the record of *device* and report it in its server's sync."""
        server = device.server
        if server is None:
            raise PortalError(f"{record['serial_number']} has no server")
        when = server.operation_time(self.clock())
        serial = record["serial_number"]
        device.record, device.changed_at = record, when
        device.last_operation = Operation(serial, op_type, timestamp(when), record)
        # The dictionary is ordered by last operation, so the device moves to its end.
        server.devices.pop(serial, None)
        server.devices[serial] = device
        server.operations.append(device.last_operation)
        server.changed()

    def _find_devices(self, serials: Iterable[str]) -> list[OwnedDevice]:
        numbers = [serials] if isinstance(serials, str) else list(serials)
        unknown = [number for number in numbers if number not in self.devices]
        if unknown:
            raise PortalError(f"no device {_abbreviate(unknown)}; there are {_abbreviate(self.devices)}")
        return [self.devices[number] for number in numbers]

    def _unassigned(self, organization: Organization) -> tuple[str, ...]:
        return tuple(
            serial
            for serial, device in self.devices.items()
            if device.server is None and device.organization is organization
        )

    def _assignment(self, now: datetime) -> Record:
        return {
            "device_assigned_date": timestamp(now),
            "device_assigned_by": self.settings.device_assigned_by,
        }

    def _add_to_server(self, device: OwnedDevice, server: Server) -> None:
        device.server = server
        record = {key: value for key, value in device.record.items() if key not in _PROFILE_KEYS}
        record |= {"profile_status": "empty", **self._assignment(self.clock())}
        self.operate(device, "added", record)

    def _remove_from_server(self, device: OwnedDevice, *, announce: bool, **keys: Any) -> None:
        server, serial = device.server, device.record["serial_number"]
        if server is None:
            raise PortalError(f"{serial} has no server")
        without_profile = {key: value for key, value in device.record.items() if key not in _PROFILE_KEYS}
        if announce:
            when = timestamp(server.operation_time(self.clock()))
            server.operations.append(Operation(serial, "deleted", when, {**without_profile, **keys}))
        device.record = {key: value for key, value in without_profile.items() if key not in _SERVER_KEYS}
        device.server = device.last_operation = None
        device.changed_at = self.clock()
        del server.devices[serial]
        server.changed()

    def _remove_profile(self, device: OwnedDevice) -> None:
        record = {**device.record, **self._assignment(self.clock())}
        if "profile_uuid" in record:
            record["profile_status"] = "removed"
        self.operate(device, "modified", record)


def _one_year_after(when: datetime) -> datetime:
    try:
        return when.replace(year=when.year + 1)
    except ValueError:  # 29 February
        return when.replace(year=when.year + 1, month=3, day=1)


def _abbreviate(names: Iterable[str]) -> str:
    """Return up to ten of *names* for an error message."""
    listed = list(names)
    shown = ", ".join(repr(name) for name in listed[:10])
    return (f"{shown} and {len(listed) - 10} more" if len(listed) > 10 else shown) or "none"
