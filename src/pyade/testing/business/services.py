"""Create, update and delete the device management services of the fake.

Source: Apple, Apple Business API, "Create", "Modify" and "Delete an MDM Server"; observed: a product
family must be removed from its old service before another service can have it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.model import Organization, Server
from pyade.testing.business.views import ApiRefusedError, decode, moment

_FAMILIES = ("APPLE_TV", "IPAD", "IPHONE", "IPOD", "MAC", "VISION", "WATCH")


class Services:
    """The services of one organization: the servers of the ``FakeApple``."""

    def __init__(self, apple: FakeApple, organization: Organization) -> None:
        self._apple = apple
        self._organization = organization
        self._more: dict[str, dict[str, Any]] = {}

    @property
    def all(self) -> list[Server]:
        """Every service that a device can be assigned to."""
        return [
            server for server in self._apple.servers.values() if server.organization is self._organization
        ]

    def find(self, service_id: str) -> Server | None:
        """Return the service with that id; ids are compared exactly."""
        return next((server for server in self.all if server.server_uuid == service_id), None)

    def more(self, server: Server) -> dict[str, Any]:
        """Return the attributes that only the API stores."""
        return self._more.setdefault(server.server_uuid, {"defaultProductFamilies": []})

    def create(self, body: bytes) -> Server:
        """Create a service.

        Raises:
            ApiRefusedError: The body is not valid, or the name is taken.
        """
        attributes = _attributes(body)
        if not attributes.serverName or attributes.serverCertificate is None:
            pointer = (
                "/data/attributes/serverCertificate"
                if attributes.serverName
                else "/data/attributes/serverName"
            )
            raise ApiRefusedError(
                409, "ENTITY_ERROR.ATTRIBUTE.REQUIRED", "a value is missing", pointer=pointer
            )
        self._check_name(attributes.serverName)
        server = self._apple.add_server(attributes.serverName, organization=self._organization)
        server.may_disown = False
        self._change(server, attributes)
        return server

    def update(self, server: Server, body: bytes) -> Server:
        """Update a service.

        Raises:
            ApiRefusedError: The body is not valid, or the new name is taken.
        """
        attributes = _attributes(body)
        if attributes.serverName and attributes.serverName != server.name:
            self._check_name(attributes.serverName)
            del self._apple.servers[server.name]
            server.name = attributes.serverName
            self._apple.servers[server.name] = server
        self._change(server, attributes)
        return server

    def delete(self, server: Server) -> None:
        """Delete a service.

        Raises:
            ApiRefusedError: It has devices.
        """
        if server.devices:
            raise ApiRefusedError(409, "STATE_ERROR", "The service has devices")
        del self._apple.servers[server.name]

    def _change(self, server: Server, attributes: _WireAttributes) -> None:
        families = attributes.defaultProductFamilies
        for family in families or ():
            pointer = "/data/attributes/defaultProductFamilies"
            if family not in _FAMILIES:
                raise ApiRefusedError(409, "ENTITY_ERROR.ATTRIBUTE.INVALID", f"'{family}'", pointer=pointer)
            owners = [other for other in self.all if family in self.more(other)["defaultProductFamilies"]]
            if owners not in ([], [server]):
                detail = f"'{family}' is of another service"
                raise ApiRefusedError(409, "STATE_ERROR", detail, pointer=pointer)
        more = self.more(server)
        if families is not None:
            more["defaultProductFamilies"] = families
        if attributes.enableMdmDisownFlag is not None:
            server.may_disown = attributes.enableMdmDisownFlag
        more["updatedDateTime"] = moment(self._apple.clock())

    def _check_name(self, name: str) -> None:
        if name in self._apple.servers:
            pointer = "/data/attributes/serverName"
            raise ApiRefusedError(409, "ENTITY_ERROR.ATTRIBUTE.INVALID", "the name is taken", pointer=pointer)


def _attributes(body: bytes) -> _WireAttributes:
    return decode(body, _RequestDocument).data.attributes


class _WireCertificate(msgspec.Struct):
    name: str
    data: bytes


class _WireAttributes(msgspec.Struct):
    serverName: str | None = None  # noqa: N815 - Apple's name
    enableMdmDisownFlag: bool | None = None  # noqa: N815 - Apple's name
    defaultProductFamilies: list[str] | None = None  # noqa: N815 - Apple's name
    serverCertificate: _WireCertificate | None = None  # noqa: N815 - Apple's name


class _WireData(msgspec.Struct):
    type: str
    attributes: _WireAttributes
    id: str | None = None


class _RequestDocument(msgspec.Struct):
    data: _WireData
