"""Which device needs which profile, decided from state, and what came of asking for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from pyade.core.device import DeviceResult


@attrs.frozen(kw_only=True)
class DeviceResults:
    """What Apple did for each device of a request; every serial that was asked for is in it.

    Attributes:
        results: Serial number to result, in the order of the request.
        profile_uuid: The profile in question, where there is one.
        retry_after_s: Seconds before a throttled device may be tried again, if Apple said so (version 10).
    """

    results: Mapping[str, DeviceResult] = attrs.field(hash=False)
    profile_uuid: str | None = None
    retry_after_s: float | None = None

    def serials(self, *wanted: DeviceResult) -> tuple[str, ...]:
        """Return the serial numbers with one of the *wanted* results, in the order of the request."""
        return tuple(serial for serial, result in self.results.items() if result in wanted)

    @property
    def succeeded(self) -> tuple[str, ...]:
        """The serial numbers for which Apple did what was asked."""
        return self.serials(DeviceResult.SUCCESS)

    @property
    def is_complete(self) -> bool:
        """True if Apple did what was asked for every device."""
        return all(result == DeviceResult.SUCCESS for result in self.results.values())

    def summary(self) -> str:
        """Return the counts in words: ``998 SUCCESS, 2 FAILED``."""
        counts = Counter(self.results.values())
        return ", ".join(f"{count} {result}" for result, count in counts.most_common()) or "no devices"

    @classmethod
    def joined(cls, parts: Iterable[DeviceResults]) -> DeviceResults:
        """Return one object for the chunks of one request; the longest wait of any chunk counts."""
        results: dict[str, DeviceResult] = {}
        uuid: str | None = None
        waits: list[float] = []
        for part in parts:
            results.update(part.results)
            uuid = part.profile_uuid or uuid
            if part.retry_after_s is not None:
                waits.append(part.retry_after_s)
        return cls(results=results, profile_uuid=uuid, retry_after_s=max(waits, default=None))
