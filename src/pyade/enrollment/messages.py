"""What a managed Mac sends that matters while it waits: check-in messages and results of commands.

Who sent a message is told by the Mac's certificate, not by the message: verify that before.

Source: Apple, check-in messages ``Authenticate``, ``TokenUpdate`` and ``CheckOut``; "Sending MDM commands".
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from pyade.core.kinds import checks_kinds
from pyade.core.plist import read_plist
from pyade.core.untrusted import malformed


@attrs.frozen(kw_only=True)
class DeviceMessage:
    """A check-in message, or the result of a command.

    Attributes:
        message_type: ``Authenticate``, ``TokenUpdate`` and others; "" for the result of a command.
        status: ``Acknowledged``, ``Error``, ``NotNow``, ``Idle`` and others; "" for a check-in message.
        command_uuid: Of the command that this is the result of; "" if it is of none.
        udid: Hardware UUID, as the Mac says.
        serial_number: As the Mac says; only ``Authenticate`` has one, else "".
        awaiting: True if the Mac awaits its configuration, as ``TokenUpdate`` says.
        is_user_channel: True if a user of the Mac is concerned, not the Mac.
    """

    message_type: str = ""
    status: str = ""
    command_uuid: str = ""
    udid: str = ""
    serial_number: str = ""
    awaiting: bool = False
    is_user_channel: bool = False

    @property
    def asks_for_command(self) -> bool:
        """True if the Mac, not one of its users, wants a command in the answer to this message."""
        is_result = bool(self.status) and not self.message_type
        return is_result and self.status != "NotNow" and not self.is_user_channel


@checks_kinds
def read_message(body: bytes) -> DeviceMessage:
    """Return what a Mac sent to the check-in or the server URL of its profile.

    Args:
        body: The property list in XML, at most 64 KiB. Larger ones are results of other commands.

    Raises:
        TrustError: It is something else, or a key has the wrong type.

    Source: Apple, check-in; "Sending MDM commands".
    """
    document = read_plist(body)
    for key, kind in _KINDS.items():
        if key in document and type(document[key]) is not kind:
            raise malformed(f"{key} is {type(document[key]).__name__}, {kind.__name__} is needed")
    if not document.get("MessageType") and not document.get("Status"):
        raise malformed("the property list is neither a check-in message nor the result of a command")
    facts: dict[str, Any] = {name: document[key] for key, name in _NAMES.items() if key in document}
    return DeviceMessage(**facts, is_user_channel=bool(document.get("UserID")))


_NAMES: Final = {
    "MessageType": "message_type",
    "Status": "status",
    "CommandUUID": "command_uuid",
    "UDID": "udid",
    "SerialNumber": "serial_number",
    "AwaitingConfiguration": "awaiting",
}
_KINDS: Final[dict[str, type]] = {**dict.fromkeys(_NAMES, str), "AwaitingConfiguration": bool, "UserID": str}
