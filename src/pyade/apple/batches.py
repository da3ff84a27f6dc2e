"""Batches of devices as flows: split into chunks, read back after a lost response, one outcome per serial.

The flows yield only ``SendCall``; ``Client.drive`` and ``AsyncClient.drive`` run them.

Source: Apple, device assignment, "Assign a profile" (1000 devices per request).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

import attrs

from pyade.apple import calls
from pyade.apple.calls import CHUNK
from pyade.apple.http.calls import Call, SendCall, may_have_acted
from pyade.core.fleet.assignment import NO_PROFILE
from pyade.core.fleet.device import Device, DeviceResult
from pyade.core.fleet.outcomes import DeviceResults
from pyade.errors import (
    AppleError,
    BatchError,
    InvalidRequestError,
    TransportError,
)
from pyade.flow import Flow, ask

NOT_CONFIRMED = ("disown devices", 0, "", "confirm is not True", "disowning is permanent: pass confirm=True")
"""Arguments of the ``InvalidRequestError`` for a call without confirmation."""

_SHOWN = 10

Sent: TypeAlias = tuple[DeviceResults, AppleError | TransportError | None]
"""The known results of a chunk, and the error that left some devices unknown; None if there was none."""


def details_flow(serials: Iterable[str]) -> Flow[dict[str, Device]]:
    """Return what Apple knows about each of *serials* now, in their order."""
    found: dict[str, Device] = {}
    for chunk in chunks(distinct("read device details", serials)):
        found |= yield from ask(SendCall(calls.device_details(chunk)))
    return found


def assign_flow(profile_uuid: str, serials: Iterable[str]) -> Flow[DeviceResults]:
    """Assign a profile to any number of devices and return what Apple did for each.

    Raises:
        BatchError: A later chunk failed; its outcome holds what is known about every serial.
        AppleError: The first chunk was refused; nothing was assigned.
        TransportError: The first chunk got no response, and reading back failed, too.
    """

    def proven(device: Device) -> DeviceResult | None:
        return DeviceResult.SUCCESS if device.shows(profile_uuid) else None

    def make(chunk: tuple[str, ...]) -> Call[DeviceResults]:
        return calls.assign_profile(profile_uuid, chunk)

    results = yield from _batch(make, serials, lambda chunk: _send_chunk(make, chunk, proven))
    return attrs.evolve(results, profile_uuid=results.profile_uuid or profile_uuid)


def remove_flow(serials: Iterable[str]) -> Flow[DeviceResults]:
    """Remove the assigned profile from any number of devices and return what Apple did for each.

    Raises as ``assign_flow``.
    """

    def proven(device: Device) -> DeviceResult | None:
        return DeviceResult.SUCCESS if device.shows(NO_PROFILE) else None

    make = calls.remove_profile
    return (yield from _batch(make, serials, lambda chunk: _send_chunk(make, chunk, proven)))


def disown_flow(serials: Iterable[str]) -> Flow[DeviceResults]:
    """Disown any number of devices permanently and return what Apple did for each.

    No device is sent twice. After a lost response the details are read: a device that Apple no longer shows
    is ``NOT_ACCESSIBLE``, since it is gone or never belonged to this server; one that it still shows is
    ``REQUEST_FAILED``, and the caller decides.

    Raises:
        BatchError: A response was lost and left devices unknown, or a later chunk failed; its outcome holds
            what is known about every serial.
        AppleError: The first chunk was refused; nothing was disowned.
        TransportError: The first chunk did not reach Apple; nothing was disowned.
    """
    try:
        return (yield from _batch(calls.disown_devices, serials, _disown_chunk))
    except BatchError as error:
        cause = error.__cause__
        if not isinstance(cause, AppleError | TransportError) or not may_have_acted(cause):
            raise
        unknown = error.outcome.serials(DeviceResult.REQUEST_FAILED)
        raise BatchError(error.operation, error.reason + _next_step(unknown), error.outcome) from cause


def _batch(
    make: Callable[[tuple[str, ...]], Call[DeviceResults]],
    serials: Iterable[str],
    send: Callable[[tuple[str, ...]], Flow[Sent]],
) -> Flow[DeviceResults]:
    operation = make(()).operation
    wanted = distinct(operation, serials)
    done: list[DeviceResults] = []
    for chunk in chunks(wanted):
        try:
            results, failure = yield from send(chunk)
        except (AppleError, TransportError) as error:
            if not done:
                raise
            results, failure = _all(chunk, DeviceResult.REQUEST_FAILED), error
        done.append(results)
        if failure is not None:
            known = DeviceResults.joined(done)
            rest = _all((serial for serial in wanted if serial not in known.results), DeviceResult.NOT_SENT)
            outcome = DeviceResults.joined([known, rest])
            raise BatchError(operation, str(failure), outcome) from failure
    return DeviceResults.joined(done)


def _send_chunk(
    make: Callable[[tuple[str, ...]], Call[DeviceResults]],
    chunk: tuple[str, ...],
    proven: Callable[[Device], DeviceResult | None],
) -> Flow[Sent]:
    """Send one chunk; after a lost response read the devices and send the difference, once.

    Args:
        make: Returns the call for a chunk.
        chunk: The devices.
        proven: Returns the result that a device's details prove; None if they prove none.
    """
    try:
        return (yield from ask(SendCall(make(chunk)))), None
    except (AppleError, TransportError) as error:
        if not may_have_acted(error):
            raise
        lost = error
    try:
        details = yield from ask(SendCall(calls.device_details(chunk)))
    except (AppleError, TransportError) as error:
        # The caller must learn that the write may have happened, not that the read failed.
        raise lost from error
    results: dict[str, DeviceResult] = {}
    for serial in chunk:
        if details[serial].response_status == DeviceResult.NOT_ACCESSIBLE:
            results[serial] = DeviceResult.NOT_ACCESSIBLE
        elif (result := proven(details[serial])) is not None:
            results[serial] = result
    rest = tuple(serial for serial in chunk if serial not in results)
    if not rest:
        return _ordered(chunk, DeviceResults(results=results)), None
    try:
        second = yield from ask(SendCall(make(rest)))
    except (AppleError, TransportError) as error:
        if not results:
            raise
        second, failure = _all(rest, DeviceResult.REQUEST_FAILED), error
        return _ordered(chunk, DeviceResults.joined([DeviceResults(results=results), second])), failure
    return _ordered(chunk, DeviceResults.joined([DeviceResults(results=results), second])), None


def _disown_chunk(chunk: tuple[str, ...]) -> Flow[Sent]:
    """Send one chunk, once; after a lost response read which devices are gone."""
    try:
        return (yield from ask(SendCall(calls.disown_devices(chunk)))), None
    except (AppleError, TransportError) as error:
        if not may_have_acted(error):
            raise
        lost = error
    try:
        details = yield from ask(SendCall(calls.device_details(chunk)))
    except (AppleError, TransportError):
        return _all(chunk, DeviceResult.REQUEST_FAILED), lost
    is_gone = {serial: details[serial].response_status == DeviceResult.NOT_ACCESSIBLE for serial in chunk}
    results = {
        serial: DeviceResult.NOT_ACCESSIBLE if gone else DeviceResult.REQUEST_FAILED
        for serial, gone in is_gone.items()
    }
    return DeviceResults(results=results), None if all(is_gone.values()) else lost


def _next_step(serials: tuple[str, ...]) -> str:
    shown = ", ".join(serials[:_SHOWN]) + (f" and {len(serials) - _SHOWN} more" if serials[_SHOWN:] else "")
    return (
        f"; the result is unknown for {shown}: read device_details of "
        "outcome.serials(DeviceResult.REQUEST_FAILED), NOT_ACCESSIBLE there means gone"
    )


def _all(serials: Iterable[str], result: DeviceResult) -> DeviceResults:
    return DeviceResults(results=dict.fromkeys(serials, result))


def _ordered(chunk: tuple[str, ...], results: DeviceResults) -> DeviceResults:
    ordered = {serial: results.results[serial] for serial in chunk}
    return attrs.evolve(results, results=ordered | dict(results.results))


def distinct(operation: str, serials: Iterable[str]) -> tuple[str, ...]:
    """Return each of *serials* once, in their order.

    Raises:
        InvalidRequestError: *serials* is a single string or no iterable, or an item is no string.
    """
    expected = "a list of serial numbers is allowed"
    if isinstance(serials, str):
        detail = f"serials {serials!r}: {expected}"
        raise InvalidRequestError(operation, 0, "", detail, f"pass [{serials!r}]")
    given: Any = serials
    if not isinstance(given, Iterable):
        raise InvalidRequestError(operation, 0, "", f"serials is {type(given).__name__}: {expected}")
    found: dict[Any, None] = {}
    for serial in given:
        if not isinstance(serial, str):
            detail = f"serials holds {type(serial).__name__}: {expected}"
            raise InvalidRequestError(operation, 0, "", detail)
        found[serial] = None
    return tuple(found)


def chunks(serials: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield *serials* in chunks of at most ``CHUNK``, which fit into one request."""
    remaining = iter(serials)
    while chunk := tuple(islice(remaining, CHUNK)):
        yield chunk
