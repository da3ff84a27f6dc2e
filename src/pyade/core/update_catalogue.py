"""What Apple offers to which Mac: the answer of its software lookup service.

Source: Apple, "Deploying software updates using declarative management", lookup service; the keys as observed
in its answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, Self

import attrs
import msgspec

from pyade.core.device import parse_date
from pyade.core.problems import Problem, Severity
from pyade.core.versions import MacOSVersion
from pyade.errors import PolicyError, VersionError


@attrs.frozen(kw_only=True)
class Update:
    """One release of macOS that Apple offers.

    Attributes:
        version: The version, with the letter of a supplemental update.
        build: Its build.
        devices: Ids of the devices that it is for.
        expires_on: The last day on which it can be installed, UTC; None if no end is known.
        is_public: False if only device management may ask for it, from macOS 15 on.
        prerequisite_build: The build that it improves; "" for a whole release.
    """

    version: MacOSVersion
    build: str
    devices: frozenset[str]
    expires_on: date | None = None
    is_public: bool = True
    prerequisite_build: str = ""


@attrs.frozen(kw_only=True)
class UpdateCatalogue:
    """The releases of macOS that Apple offers, as of when the caller fetched them.

    Attributes:
        updates: Every release that could be read.
        findings: The entries that could not be read, and were left out.
    """

    updates: tuple[Update, ...]
    findings: tuple[Problem, ...] = ()

    @classmethod
    def from_pmv(cls, document: Mapping[str, Any]) -> Self:
        """Return the catalogue of the JSON object at ``https://gdmf.apple.com/v2/pmv``.

        Keys that are not known, and other platforms, are ignored. An entry that cannot be read is a finding,
        not an error: the others still hold.

        Args:
            document: The object as ``json`` reads it.

        Raises:
            PolicyError: It is no JSON object, or holds none of Apple's lists.

        Source: Apple, "Use the Apple Software Lookup Service"; keys as observed in its answers.
        """
        if not _is_pmv(document):
            raise PolicyError("the update catalogue: the JSON object of gdmf.apple.com/v2/pmv is allowed")
        updates: list[Update] = []
        findings: list[Problem] = []
        for name, is_public in _LISTS.items():
            for index, entry in enumerate(_macos(document.get(name))):
                try:
                    updates.append(_read_update(entry, is_public=is_public))
                except (AttributeError, KeyError, TypeError, ValueError, VersionError):
                    allowed = "ProductVersion, Build and SupportedDevices"
                    fix = "nothing; the other releases are used"
                    findings.append(Problem(f"{name}.macOS[{index}]", "", allowed, fix, Severity.WARNING))
        return cls(updates=tuple(updates), findings=tuple(findings))

    def offered(self, device_id: str, *, version: MacOSVersion, build: str, now: datetime) -> list[Update]:
        """Return what a Mac can be told to install, newer than what it has, the lowest version first.

        Args:
            device_id: ``SOFTWARE_UPDATE_DEVICE_ID``.
            version: The version that it has.
            build: The build that it has.
            now: The time, UTC.
        """
        today = now.astimezone(UTC).date()
        fitting = (
            update
            for update in self.updates
            if device_id in update.devices
            and update.version > version
            and (update.is_public or version >= _NON_PUBLIC_FROM)
            and (update.expires_on is None or update.expires_on >= today)
            and update.prerequisite_build in ("", build)
        )
        return sorted(fitting, key=lambda update: update.version)


def _is_pmv(document: object) -> bool:
    return isinstance(document, Mapping) and not _LISTS.keys().isdisjoint(document)


def _macos(platforms: Any) -> Iterable[Any]:
    entries = platforms.get("macOS") if isinstance(platforms, Mapping) else None
    return entries if isinstance(entries, list) else ()


def _read_update(entry: Mapping[str, Any], *, is_public: bool) -> Update:
    version = MacOSVersion.parse(entry["ProductVersion"])
    if letter := (entry.get("ProductVersionExtra") or "").strip("() "):
        version = attrs.evolve(version, supplement=letter)
    expires = entry.get("ExpirationDate")
    return Update(
        version=version,
        build=msgspec.convert(entry["Build"], str),
        devices=msgspec.convert(entry["SupportedDevices"], frozenset[str]),
        expires_on=None if expires is None else parse_date(expires),
        is_public=is_public,
        prerequisite_build=msgspec.convert(entry.get("PrerequisiteBuild") or "", str),
    )


# Which lists Apple has, and whether any Mac may be told to install what they hold.
_LISTS: Final = {
    "PublicAssetSets": True,
    "AssetSets": False,
    "PublicBackgroundSecurityImprovements": True,
}
_NON_PUBLIC_FROM: Final = MacOSVersion(15)
