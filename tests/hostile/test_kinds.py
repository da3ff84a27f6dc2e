"""Each kind of hostile response once, with one endpoint and one driver, chosen by its name.

`test_matrix` has every endpoint and both drivers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from tests import cases
from tests.hostile import (
    kinds_endings,
    kinds_framing,
    kinds_json,
    kinds_packed,
    kinds_refusals,
    kinds_slow,
)
from tests.hostile.conftest import Measure
from tests.hostile.driver import DEADLINE_S, KINDS, MODES, Case, complaint_about
from tests.hostile.endpoints import APPLE, BUSINESS, ENDPOINTS, described
from tests.hostile.kinds import Kind
from tests.hostile.server import HostileServer

from pyade.apple import calls as apple_calls
from pyade.business import calls as business_calls

SHORT_S = 0.2
"""The deadline for kinds that only the deadline ends."""


def case_of(kind: Kind) -> tuple[Case, str]:
    """Return the endpoint and driver of *kind* in the fast run: a session as often as another call."""
    number = zlib.crc32(kind.name.encode())
    sessions = [one for one in kind.endpoints if one.attacks_session]
    others = [one for one in kind.endpoints if not one.attacks_session]
    places = (sessions or others) if number % 2 else (others or sessions)
    # The largest checksum, so that another endpoint moves few kinds.
    place = max(places, key=lambda one: zlib.crc32(f"{kind.name} {one.name}".encode()))
    return Case(kind=kind, endpoint=place), MODES[number // 64 % len(MODES)]


def small(module: ModuleType) -> Iterable[Kind]:
    family: Mapping[str, Kind] = module.FAMILY
    return [kind for kind in family.values() if not kind.is_large]


def check(kind: Kind, server: HostileServer) -> None:
    case, mode = case_of(kind)
    complaint = complaint_about(case, server.ports, mode, SHORT_S if kind.is_slow else DEADLINE_S)
    assert not complaint, complaint


@cases.each("kind", [kind for kind in KINDS.values() if kind.is_large])
def test_no_response_takes_much_memory(kind: Kind, measured: Measure) -> None:
    complaint = measured(*case_of(kind))
    assert not complaint, complaint


@cases.each("kind", small(kinds_slow))
def test_deadline_ends_endless_responses(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_packed))
def test_only_requested_encodings_are_decompressed(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_framing))
def test_invalid_http_is_refused(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_endings))
def test_incomplete_response_is_refused(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_refusals))
def test_refusal_has_the_class_of_the_tables(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_json))
def test_invalid_body_is_reported(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("name", ENDPOINTS)
def test_valid_response_gives_the_right_result(name: str, server: HostileServer) -> None:
    case = Case(kind=KINDS["a good answer"], endpoint=ENDPOINTS[name])
    for mode in MODES:
        assert not complaint_about(case, server.ports, mode)


def test_every_endpoint_has_an_example() -> None:
    assert set(described(apple_calls)) == set(APPLE)
    assert set(described(business_calls)) == set(BUSINESS)


def test_number_of_kinds() -> None:
    assert len(KINDS) >= 60
    assert len({kind.key for kind in KINDS.values()}) == len(KINDS)
