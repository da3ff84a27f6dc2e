"""What a managed Mac sends that matters while it waits: check-in messages and results of commands.

Who sent a message is told by the Mac's certificate, not by the message: verify that before. Results are
large: 120 applications have 64 KiB. Of 16 MiB the few keys are read that matter here, in a second.

Source: Apple, check-in messages ``Authenticate``, ``TokenUpdate`` and ``CheckOut``; "Sending MDM commands".
That servers take up to 16 MiB is observed.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from pyade.core.kinds import checks_kinds
from pyade.core.plist import MAX_LARGE_BYTES, read_top
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
        is_too_large: True if it has more than 16 MiB: nothing of it was read, and nothing else is said here.
    """

    message_type: str = ""
    status: str = ""
    command_uuid: str = ""
    udid: str = ""
    serial_number: str = ""
    awaiting: bool = False
    is_user_channel: bool = False
    is_too_large: bool = False

    @property
    def asks_for_command(self) -> bool:
        """True if the Mac, not one of its users, wants a command in the answer to this message."""
        is_result = bool(self.status) and not self.message_type
        return is_result and self.status != "NotNow" and not self.is_user_channel


@checks_kinds
def read_message(body: bytes) -> DeviceMessage:
    """Return what a Mac sent to the check-in or the server URL of its profile.

    Args:
        body: The property list in XML. Of one with more than 16 MiB only that is said.

    Raises:
        TrustError: It is something else, or a key has the wrong type.

    Source: Apple, check-in; "Sending MDM commands".
    """
    if len(body) > MAX_MESSAGE_BYTES:
        return DeviceMessage(is_too_large=True)
    top = read_top(body, _KINDS)
    for key, value in top.items():
        if value.kind not in _KINDS[key]:
            raise malformed(f"{key} has the type {value.kind}, {_KINDS[key][0]} is needed")
    facts: dict[str, Any] = {name: top[key].text for key, name in _NAMES.items() if key in top}
    if not facts.get("message_type") and not facts.get("status"):
        raise malformed("the property list is neither a check-in message nor the result of a command")
    awaiting = "AwaitingConfiguration" in top and top["AwaitingConfiguration"].kind == "true"
    is_user_channel = "UserID" in top and bool(top["UserID"].text)
    return DeviceMessage(**facts, awaiting=awaiting, is_user_channel=is_user_channel)


MAX_MESSAGE_BYTES: Final = MAX_LARGE_BYTES
_NAMES: Final = {
    "MessageType": "message_type",
    "Status": "status",
    "CommandUUID": "command_uuid",
    "UDID": "udid",
    "SerialNumber": "serial_number",
}
_KINDS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_NAMES, ("string",)),
    "AwaitingConfiguration": ("true", "false"),
    "UserID": ("string",),
}
