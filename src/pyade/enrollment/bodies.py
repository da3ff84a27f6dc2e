"""Bodies of requests to an ASGI application: read in bounded size and time, from whatever server.

The rules of this file:

1. Of a body a byte more than is allowed is kept, whatever ``Content-Length`` says, so that it shows.
2. The time is for the whole body: a byte now and then does not prolong it.
3. A connection on which more may follow is cut off after the answer. ASGI has no word for that, and a polite
   end of TLS takes in what the client still sends: uvloop does so for half a minute, at any speed. So the
   transport of uvicorn, which its ``receive`` belongs to, is aborted; other servers are left alone.

Source: ASGI specification, HTTP; RFC 9110, 15.5.9 (408).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Any, Final, TypeAlias

import anyio

from pyade.core.untrusted import MAX_BYTES
from pyade.errors import PolicyError

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]

BODY_TIME: Final = timedelta(seconds=30)
"""How long a body may take by default; a Mac's is one packet or a few."""

_GRACE_S: Final = 0.1  # for the answer on its way out


def check_body_time(value: timedelta) -> None:
    """Accept a time limit that a body can keep.

    Raises:
        PolicyError: It is not longer than zero.
    """
    if value <= timedelta(0):
        raise PolicyError(f"body_time is {value}: it must be longer than zero")


async def read_body(receive: Receive, *, most: int = MAX_BYTES, time: timedelta = BODY_TIME) -> bytes | None:
    """Return the body of a request.

    Args:
        receive: As the server gave it.
        most: How many bytes are allowed; of a longer body *most* + 1 are returned, and the rest is not read.
        time: For all of it.

    Returns:
        None if the client went away.

    Raises:
        TimeoutError: It did not end in *time*: answer 408, and ``cut_off``.
    """
    body = bytearray()
    with anyio.fail_after(time.total_seconds()):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")[: most + 1 - len(body)]
            if len(body) > most or not message.get("more_body", False):
                return bytes(body)


async def cut_off(receive: Receive) -> None:
    """End the connection after the answer was sent, whatever the client still sends.

    Args:
        receive: As the server gave it.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    abort = getattr(transport, "abort", None)
    if callable(abort):
        await anyio.sleep(_GRACE_S)
        abort()
