"""The portal of ``pyade fake serve`` over HTTP: what an administrator does there.

The rules of this file:

1. It is below ``/portal`` on the server of the fake of device assignment: Apple's service has no such path.
2. A wrong request is answered with 400 and one line of text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import attrs

from pyade.testing.apple.fake import FakeApple
from pyade.testing.errors import PortalError
from pyade.testing.http.wire import (
    TEXT_TYPE,
    ServedResponse,
    WireRequest,
    WireResponse,
    json_response,
)

PREFIX: Final = "/portal"


@attrs.frozen
class PortalOverHttp:
    """Answers requests under ``/portal`` itself, and leaves others to the fake (rule 1)."""

    apple: FakeApple

    def handle(self, request: WireRequest) -> ServedResponse:
        """Answer a request."""
        if not request.path.startswith(f"{PREFIX}/"):
            return self.apple.handle(request)
        endpoints: dict[str, Callable[[bytes], WireResponse]] = {
            f"POST {PREFIX}/token": self._issue_token,
            f"POST {PREFIX}/devices": self._add_devices,
            f"POST {PREFIX}/unassign": self._unassign,
            f"POST {PREFIX}/release": self._release,
        }
        answer = endpoints.get(request.endpoint)
        if answer is None:
            return ServedResponse(response=_text(404, f"there are {', '.join(endpoints)}"))
        try:
            return ServedResponse(response=answer(request.body))
        except (PortalError, ValueError, TypeError, KeyError) as error:
            return ServedResponse(response=_text(400, str(error)))  # rule 2

    def _issue_token(self, body: bytes) -> WireResponse:
        data = self.apple.issue_token(None, body)
        return WireResponse(body=data, headers={"Content-Type": "application/pkcs7-mime"})

    def _add_devices(self, body: bytes) -> WireResponse:
        wanted = _object(body)
        serials = wanted.get("serial_numbers")
        count = int(wanted.get("count", 1))
        server = self.apple.server()
        if serials is None:
            return json_response({"serial_numbers": self.apple.add_devices(count, server=server)})
        added = self.apple.add_devices(server=server, serials=_texts(serials))
        return json_response({"serial_numbers": added})

    def _unassign(self, body: bytes) -> WireResponse:
        serials = _texts(_object(body)["serial_numbers"])
        self.apple.unassign(serials)
        return json_response({"serial_numbers": serials})

    def _release(self, body: bytes) -> WireResponse:
        serials = _texts(_object(body)["serial_numbers"])
        self.apple.release(serials)
        return json_response({"serial_numbers": serials})


def _object(body: bytes) -> dict[str, Any]:
    value = json.loads(body or b"{}")
    if not isinstance(value, dict):
        raise TypeError("a JSON object is needed")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError("serial_numbers is a list of texts")
    return value


def _text(status: int, text: str) -> WireResponse:
    return WireResponse(status=status, body=f"{text}\n".encode(), headers={"Content-Type": TEXT_TYPE})
