"""The kinds of hostile responses: a name, the bytes sent, and the required outcome.

Each module ``kinds_*`` has a family. A kind answers the request for a session and all other requests,
unless it is limited to some endpoints.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping

import attrs
from tests.hostile.endpoints import ENDPOINTS, Endpoint
from tests.hostile.expectations import Expectation, right
from tests.hostile.server import Answerer, Connecting, Piece, good_answer


@attrs.frozen(kw_only=True)
class Kind:
    """A kind of response.

    Attributes:
        name: Says what is hostile about it.
        answer: What is sent.
        expected: The required outcome.
        only: The endpoints that it is for; empty for all.
        is_large: True if it attacks memory, so that its memory is measured in a separate process.
        is_slow: True if only the deadline ends it, so that tests give it a short deadline.
    """

    name: str
    answer: Answerer | Connecting
    expected: Expectation
    only: frozenset[str] = frozenset()
    is_large: bool = False
    is_slow: bool = False

    @property
    def key(self) -> str:
        """Return its name as used in an address."""
        return f"{zlib.crc32(self.name.encode()):08x}"

    @property
    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints it is tested with."""
        return [one for name, one in ENDPOINTS.items() if not self.only or name in self.only]


class Family(dict[str, Kind]):
    """Kinds by name."""

    def add(
        self,
        name: str,
        expected: Expectation,
        answer: Answerer | Connecting | bytes | tuple[Piece, ...],
        *,
        only: Iterable[str] = (),
        is_large: bool = False,
        is_slow: bool = False,
    ) -> None:
        """Add a kind whose response is a function, or constant."""
        assert name not in self, name
        pieces = (answer,) if isinstance(answer, bytes) else answer
        self[name] = Kind(
            name=name,
            answer=(lambda _: pieces) if isinstance(pieces, tuple) else pieces,
            expected=expected,
            only=frozenset(only),
            is_large=is_large,
            is_slow=is_slow,
        )

    def kind(
        self,
        expected: Expectation,
        *,
        only: Iterable[str] = (),
        is_large: bool = False,
        is_slow: bool = False,
    ) -> Callable[[Answerer], Answerer]:
        """Add a kind with the name of the decorated function."""

        def add(answer: Answerer) -> Answerer:
            name = getattr(answer, "__name__", "")
            self.add(name, expected, answer, only=only, is_large=is_large, is_slow=is_slow)
            return answer

        return add


PLAIN = Family()
PLAIN.add("a good answer", right, good_answer)


def all_kinds() -> Mapping[str, Kind]:
    """Return every kind by its name."""
    from tests.hostile import (
        kinds_endings,
        kinds_framing,
        kinds_json,
        kinds_packed,
        kinds_refusals,
        kinds_slow,
    )

    found: dict[str, Kind] = dict(PLAIN)
    modules = (kinds_endings, kinds_framing, kinds_json, kinds_packed, kinds_refusals, kinds_slow)
    for module in modules:
        assert not found.keys() & module.FAMILY.keys()
        found |= module.FAMILY
    return found
