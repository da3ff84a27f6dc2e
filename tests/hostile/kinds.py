"""The kinds of hostile answers: a name, what is sent, and what a client has to make of it.

Each module ``kinds_*`` has a family. A kind answers the request for a session as well as any other one,
unless it says what it is for.
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
    """A kind of answer.

    Attributes:
        name: Says what is hostile about it.
        answer: What is sent.
        expected: What has to come of it.
        only: The endpoints that it is for; empty for all.
        is_large: True if it attacks memory, so that a process of its own is asked how much it took.
        is_slow: True if only the deadline ends it, so that no test of it waits for longer.
    """

    name: str
    answer: Answerer | Connecting
    expected: Expectation
    only: frozenset[str] = frozenset()
    is_large: bool = False
    is_slow: bool = False

    @property
    def key(self) -> str:
        """What stands for it in an address."""
        return f"{zlib.crc32(self.name.encode()):08x}"

    @property
    def endpoints(self) -> list[Endpoint]:
        """What it is tried on."""
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
        """Add a kind whose answer is a function, or always the same."""
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
        """Add a kind that is called as the function that it decorates."""

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
