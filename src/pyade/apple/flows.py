"""Batches of devices as flows: chunks, read back after a lost answer, an outcome for every serial.

The flows yield only ``SendCall``; ``Client.drive`` and ``AsyncClient.drive`` perform them.

Source: Apple, device assignment, "Assign a profile" (1000 devices per request).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import attrs

from pyade.apple import calls
from pyade.apple.calls import CHUNK, Call
from pyade.core.assignment import DeviceResults
from pyade.core.device import Device, DeviceResult, ProfileStatus
from pyade.core.flow import Flow, Step, ask
from pyade.errors import (
    AppleError,
    BatchError,
    InvalidRequestError,
    ResponseError,
    ServerError,
    TransportError,
)

T = TypeVar("T")

OPEN_SESSION = "open a session"
"""The operation of errors that came before the call itself was sent."""

NOT_CONFIRMED = ("disown devices", 0, "", "confirm is not True", "disowning is for ever: pass confirm=True")
"""What ``InvalidRequestError`` says where nobody confirmed."""


@attrs.frozen
class SendCall(Step[T], Generic[T]):
    """Send *call* to Apple with authentication and retries, and answer with what it decodes to."""

    call: Call[T]


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
        TransportError: The first chunk got no answer, and reading back failed, too.
    """

    def settled(device: Device) -> DeviceResult | None:
        # ``removed`` keeps the profile_uuid of the profile that is gone.
        is_ours = (device.profile_uuid or "").casefold() == profile_uuid.casefold()
        has_it = device.profile_status in (ProfileStatus.ASSIGNED, ProfileStatus.PUSHED)
        return DeviceResult.SUCCESS if is_ours and has_it else None

    def make(chunk: tuple[str, ...]) -> Call[DeviceResults]:
        return calls.assign_profile(profile_uuid, chunk)

    results = yield from _batch(make, serials, settled)
    return attrs.evolve(results, profile_uuid=results.profile_uuid or profile_uuid)


def remove_flow(serials: Iterable[str]) -> Flow[DeviceResults]:
    """Take the assigned profile from any number of devices and return what Apple did for each.

    Raises:
        BatchError: As for ``assign_flow``; so are the others.
    """

    def settled(device: Device) -> DeviceResult | None:
        has_none = device.profile_status in (ProfileStatus.REMOVED, ProfileStatus.EMPTY)
        return DeviceResult.SUCCESS if has_none else None

    return (yield from _batch(calls.remove_profile, serials, settled))


def disown_flow(serials: Iterable[str]) -> Flow[DeviceResults]:
    """Give any number of devices up for ever and return what Apple did for each.

    After a lost answer the devices that Apple no longer shows are ``NOT_ACCESSIBLE``: they are gone, or never
    were this server's.

    Raises:
        BatchError: As for ``assign_flow``; so are the others.
    """
    return (yield from _batch(calls.disown_devices, serials, lambda _device: None))


def _batch(
    make: Callable[[tuple[str, ...]], Call[DeviceResults]],
    serials: Iterable[str],
    settled: Callable[[Device], DeviceResult | None],
) -> Flow[DeviceResults]:
    operation = make(()).operation
    wanted = distinct(operation, serials)
    done: list[DeviceResults] = []
    for chunk in chunks(wanted):
        try:
            results, failure = yield from _send_chunk(make, chunk, settled)
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
    settled: Callable[[Device], DeviceResult | None],
) -> Flow[tuple[DeviceResults, AppleError | TransportError | None]]:
    """Send one chunk; after a lost answer read back and send the difference, once.

    Returns:
        The results, and the error that left some of them unknown.
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
        # What matters to the caller is that the write may have happened, not that the read failed.
        raise lost from error
    results: dict[str, DeviceResult] = {}
    for serial in chunk:
        if details[serial].response_status == DeviceResult.NOT_ACCESSIBLE:
            results[serial] = DeviceResult.NOT_ACCESSIBLE
        elif (result := settled(details[serial])) is not None:
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


def may_have_acted(error: AppleError | TransportError) -> bool:
    """Return True if Apple may have carried out the request that ended in *error*."""
    if isinstance(error, TransportError):
        return error.effect_unknown
    return isinstance(error, (ServerError, ResponseError)) and error.operation != OPEN_SESSION


def _all(serials: Iterable[str], result: DeviceResult) -> DeviceResults:
    return DeviceResults(results=dict.fromkeys(serials, result))


def _ordered(chunk: tuple[str, ...], results: DeviceResults) -> DeviceResults:
    ordered = {serial: results.results[serial] for serial in chunk}
    return attrs.evolve(results, results=ordered | dict(results.results))


def distinct(operation: str, serials: Iterable[str]) -> tuple[str, ...]:
    """Return each of *serials* once, in their order.

    Raises:
        InvalidRequestError: It is one text and no list.
    """
    if isinstance(serials, str):
        raise InvalidRequestError(
            operation,
            0,
            "",
            f"serials {serials!r}: a list of serial numbers is allowed",
            f"pass [{serials!r}]",
        )
    return tuple(dict.fromkeys(serials))


def chunks(serials: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield *serials* in parts that fit into one request."""
    for start in range(0, len(serials), CHUNK):
        yield serials[start : start + CHUNK]


def call_of(step: Step[Any]) -> Call[Any]:
    """Return the call of *step*, the only kind of step that a client performs for others."""
    if not isinstance(step, SendCall):
        raise unknown_step(step)
    call: Call[Any] = step.call
    return call


def unknown_step(step: Step[Any]) -> TypeError:
    """Return the error for a step that a client cannot perform."""
    return TypeError(f"a client performs SendCall, not {type(step).__name__}")
