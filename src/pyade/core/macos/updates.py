"""Decide whether a Mac must update macOS before it enrolls, and to which version of Apple's catalogue.

The rules of this file, all pure and stateless, as the Mac asks again after each update:

1. Only a Mac that reports that it can update in Setup Assistant must update. Others enroll, or are refused if
   the policy says so.
2. A Mac that has the required version enrolls. A version without supplemental letter sorts first.
3. A required update is offered to that Mac: in the catalogue, for its device id, not expired. If none is
   offered, none is required: the Mac would be stuck.
4. Without a catalogue or a device id, a fixed version is required unchecked, and "latest" means enroll.
5. A Background Security Improvement is only offered to the build that it improves. Before macOS 15 a Mac
   needs two steps, first the version that it improves.

Source: Apple, ``com.apple.softwareupdate.required``, ``MachineInfo``, and "Deploying software updates using
declarative management" (lookup service, request during enrollment); the keys of the lookup service as
observed in its responses.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, Self

import attrs
import msgspec

from pyade.core.arguments import check_arguments
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity
from pyade.core.secret import Secret
from pyade.core.values import parse_date
from pyade.errors import PolicyError, VersionError
from pyade.text import Printed, short_repr


@attrs.frozen(kw_only=True)
class Update:
    """One release of macOS that Apple offers.

    Attributes:
        version: The version, with the letter of a supplemental update.
        build: Its build.
        devices: Ids of the devices that it is for.
        expires_on: The last day on which it can be installed, UTC; None if none is known.
        is_public: False if only device management may install it, from macOS 15 on.
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
    """The releases of macOS that Apple offered when the caller fetched them.

    Attributes:
        updates: Every release that could be read.
        problems: One for each entry that could not be read, and was ignored.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    updates: tuple[Update, ...]
    problems: tuple[Problem, ...] = ()

    @classmethod
    def from_pmv(cls, document: Mapping[str, Any]) -> Self:
        """Return the catalogue of the JSON object at ``https://gdmf.apple.com/v2/pmv``.

        Unknown keys, and other platforms, are ignored. An entry that cannot be read is a problem, not an
        error: the others are used.

        Args:
            document: The object as ``json`` reads it.

        Raises:
            PolicyError: It is no JSON object, or contains none of Apple's lists.

        Source: Apple, "Use the Apple Software Lookup Service"; keys as observed in its responses.
        """
        if not _is_pmv(document):
            raise PolicyError("the update catalogue: the JSON object of gdmf.apple.com/v2/pmv is allowed")
        updates: list[Update] = []
        problems: list[Problem] = []
        for name, is_public in _LISTS.items():
            for index, entry in enumerate(_macos(document.get(name))):
                try:
                    updates.append(_read_update(entry, is_public=is_public))
                except (AttributeError, KeyError, TypeError, ValueError, VersionError):
                    allowed = "ProductVersion, Build and SupportedDevices"
                    fix = "nothing; the other releases are used"
                    problems.append(Problem(f"{name}.macOS[{index}]", "", allowed, fix, Severity.WARNING))
        return cls(updates=tuple(updates), problems=tuple(problems))

    def offered(self, device_id: str, *, version: MacOSVersion, build: str, now: datetime) -> list[Update]:
        """Return the updates that a Mac can be required to install, newer than its own, the lowest first.

        Args:
            device_id: ``SOFTWARE_UPDATE_DEVICE_ID``.
            version: Its version.
            build: Its build.
            now: The time, UTC.
        """
        today = now.astimezone(UTC).date()
        fitting = (
            update
            for update in self.updates
            if device_id in update.devices  # rule 3
            and update.version > version
            and (update.is_public or version >= _NON_PUBLIC_FROM)
            and (update.expires_on is None or update.expires_on >= today)
            and update.prerequisite_build in ("", build)  # rule 5
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


# Apple's lists, and whether every Mac may be required to install their updates.
_LISTS: Final = {
    "PublicAssetSets": True,
    "AssetSets": False,
    "PublicBackgroundSecurityImprovements": True,
}
_NON_PUBLIC_FROM: Final = MacOSVersion(15)


@check_arguments
@attrs.frozen(kw_only=True)
class BetaProgram:
    """A beta program that the Mac joins, and stays in, to get the required version.

    Attributes:
        description: Its name, for readers.
        token: Secret. The organization's token of Apple's seeding service.

    Source: Apple, ``com.apple.softwareupdate.required``, ``RequireBetaProgram``.
    """

    description: str
    token: Secret = attrs.field(repr=False, converter=Secret)


class Latest(enum.StrEnum):
    """The newest version instead of a fixed one.

    Attributes:
        ANY: The newest of all that the Mac is offered.
        SAME_MAJOR: The newest that the Mac is offered of the major version that it has.
    """

    ANY = "any"
    SAME_MAJOR = "same major"


def _version(value: MacOSVersion | str | None) -> MacOSVersion | None:
    return None if value is None else MacOSVersion.of(value)


@check_arguments
@attrs.frozen(kw_only=True)
class SoftwareUpdatePolicy:
    """The macOS that a Mac must have to enroll: a fixed minimum, or the newest that it is offered.

    Attributes:
        minimum: The lowest version; None with *latest*. A supplemental letter is part of it.
        latest: The newest version; None with *minimum*.
        build: Required with *minimum*, for seeds and for one supplemental update among several; "" for any.
        beta_program: With *minimum*, if that version is a beta; needs macOS 14.5 on the Mac.
        refuse_older: True refuses a Mac below *minimum* that cannot update in Setup Assistant; False enrolls
            it.

    Raises:
        PolicyError: Neither or both of *minimum* and *latest* are given, or another setting is given without
            *minimum*, or *build* or *beta_program* cannot be used.
        VersionError: *minimum* is no version.
    """

    minimum: MacOSVersion | None = attrs.field(default=None, converter=_version)
    latest: Latest | None = None
    build: str = ""
    beta_program: BetaProgram | None = None
    refuse_older: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.minimum is None) is (self.latest is None):
            raise PolicyError("minimum and latest: exactly one of them is needed")
        for name in ("build", "beta_program", "refuse_older"):
            if self.minimum is None and getattr(self, name):
                raise PolicyError(f"{name}: it belongs to a minimum, and there is none")
        if self.build and _BUILD.fullmatch(self.build) is None:
            raise PolicyError(f"build {self.build[:80]!r}: a build such as 25C56 or 25C5031i is allowed")
        program = self.beta_program
        if program is not None and not (program.description.strip() and program.token.reveal().strip()):
            raise PolicyError("beta_program: description and token are both needed")


class UpdateOutcome(enum.StrEnum):
    """The outcome of this check for a Mac.

    Attributes:
        ENROLL: It may enroll.
        UPDATE: It must update first.
        REFUSE: It is too old and cannot update in Setup Assistant.
    """

    ENROLL = "enroll"
    UPDATE = "update"
    REFUSE = "refuse"


@attrs.frozen(kw_only=True)
class UpdateDecision(Printed):
    """Whether a Mac must update, and why.

    Attributes:
        outcome: What to do.
        reason: Why, in words.
        version: The required version; None unless it must update.
        build: The required build; "" for any.
        beta_program: The program to join for it; None for none.
    """

    outcome: UpdateOutcome
    reason: str
    version: MacOSVersion | None = None
    build: str = ""
    beta_program: BetaProgram | None = None

    def _words(self) -> str:
        target = f" to {self.version}" if self.version else ""
        return f"{self.outcome}{target}: {self.reason}"


@check_arguments(but=("now",))
def decide_update(
    policy: SoftwareUpdatePolicy | None,
    *,
    version: MacOSVersion | None,
    build: str,
    can_request: bool,
    now: datetime,
    device_id: str = "",
    is_mandatory: bool = False,
    catalogue: UpdateCatalogue | None = None,
) -> UpdateDecision:
    """Return whether a Mac must update before it enrolls.

    Args:
        policy: The requirement of the organization; None for none.
        version: Version of macOS, with the letter of a supplemental update; None if it cannot be read.
        build: Build, ``VERSION`` of its MachineInfo.
        can_request: ``MDM_CAN_REQUEST_SOFTWARE_UPDATE``.
        now: The time, UTC, for releases that expire.
        device_id: ``SOFTWARE_UPDATE_DEVICE_ID``; "" if the Mac sends none, as before 14.4.
        is_mandatory: ``MANDATORY_SOFTWARE_UPDATE_REQUIRED``: the Mac will update anyway; if an update is
            required here, it installs that version.
        catalogue: What Apple offers; None if it could not be fetched.

    Raises:
        PolicyError: *now* has no time zone.

    Source: Apple, ``com.apple.softwareupdate.required``; ``MachineInfo``.
    """
    if now.tzinfo is None:
        raise PolicyError(f"now {now.isoformat()} has no time zone: use UTC")
    if policy is None:
        return _enroll("no version of macOS is required", is_mandatory=is_mandatory)
    if version is None:
        reason = "the macOS version could not be read, and cannot be compared"
        return _enroll(reason, is_mandatory=is_mandatory)
    offered = None
    if catalogue is not None and device_id:
        offered = catalogue.offered(device_id, version=version, build=build, now=now)
    mac = _Mac(version, build, device_id[:40], can_request, is_mandatory, offered)
    if policy.minimum is not None:
        return _at_least(policy.minimum, policy, mac)
    return _latest(policy, mac)


@attrs.frozen
class _Mac:
    """The facts about a Mac that the rules use; *offered* is None if it is unknown."""

    version: MacOSVersion
    build: str
    device_id: str
    can_request: bool
    is_mandatory: bool
    offered: list[Update] | None


_CANNOT: Final = "the Mac does not say that it can update in Setup Assistant"


def _enroll(reason: str, *, is_mandatory: bool) -> UpdateDecision:
    note = "; it will take a mandatory update by itself" if is_mandatory else ""
    return UpdateDecision(outcome=UpdateOutcome.ENROLL, reason=f"{reason}{note}")


def _latest(policy: SoftwareUpdatePolicy, mac: _Mac) -> UpdateDecision:
    offered = mac.offered or []
    if policy.latest is Latest.SAME_MAJOR:
        offered = [update for update in offered if update.version.major == mac.version.major]
    if not mac.can_request:
        reason = _CANNOT
    elif mac.offered is None:  # rule 4
        reason = "which macOS is the latest for this Mac is not known"
    elif not offered:
        reason = f"nothing newer than macOS {mac.version} is offered for {mac.device_id!r}"
    else:
        newest = offered[-1]
        return _require(
            newest, f"macOS {mac.version} is older than {newest.version}, the latest for this Mac"
        )
    return _enroll(reason, is_mandatory=mac.is_mandatory)


def _at_least(minimum: MacOSVersion, policy: SoftwareUpdatePolicy, mac: _Mac) -> UpdateDecision:
    if not _is_below(mac.version, mac.build, minimum, policy.build):  # rule 2
        reason = f"macOS {mac.version} is {minimum} or later"
        return _enroll(reason, is_mandatory=mac.is_mandatory)
    if not mac.can_request:
        reason = _CANNOT
    elif policy.beta_program is not None and mac.version < _BETA_FROM:
        reason = f"macOS {mac.version} cannot join a beta program, which needs 14.5"
    elif (decision := _step_to(minimum, policy, mac)) is not None:
        return decision
    else:
        reason = f"no macOS from {minimum} on is offered for {mac.device_id!r}"
    if policy.refuse_older:  # rule 1
        reason = f"macOS {mac.version} is below the required {minimum}, and {reason}"
        return UpdateDecision(outcome=UpdateOutcome.REFUSE, reason=reason)
    return _enroll(reason, is_mandatory=mac.is_mandatory)


def _step_to(minimum: MacOSVersion, policy: SoftwareUpdatePolicy, mac: _Mac) -> UpdateDecision | None:
    """Return the update that is required to reach *minimum*; None if it is not offered."""
    reason = f"macOS {mac.version} is below the required {minimum}"
    if minimum == mac.version:
        reason = f"the build of macOS {mac.version} is older than the required {policy.build}"
    base = attrs.evolve(minimum, supplement="")
    needs_base = mac.version < base < minimum
    # Rule 4: the catalogue lists no betas, and without a catalogue only the policy names a version.
    if policy.beta_program is not None or mac.offered is None:
        two_steps = needs_base and mac.version < _COMBINED_FROM  # rule 5
        return UpdateDecision(
            outcome=UpdateOutcome.UPDATE,
            reason=reason,
            version=base if two_steps else minimum,
            build="" if two_steps else policy.build,
            beta_program=policy.beta_program,
        )
    for update in mac.offered:
        if update.version >= minimum and policy.build in ("", update.build):
            decision = _require(update, reason)
            return attrs.evolve(decision, build=policy.build or decision.build)
    for update in mac.offered:
        if needs_base and update.version == base:
            return _require(update, reason)
    return None


def _require(update: Update, reason: str) -> UpdateDecision:
    # Without a build the Mac itself chooses among the supplemental updates of a version.
    build = update.build if update.version.supplement else ""
    return UpdateDecision(outcome=UpdateOutcome.UPDATE, reason=reason, version=update.version, build=build)


def _is_below(version: MacOSVersion, build: str, minimum: MacOSVersion, required_build: str) -> bool:
    if version != minimum or not required_build:
        return version < minimum
    have, want = _BUILD.fullmatch(build), _BUILD.fullmatch(required_build)
    return have is not None and want is not None and _build_key(have) < _build_key(want)


def _build_key(build: re.Match[str]) -> tuple[int, str, bool, int, str]:
    """Return the sort key of a build: a beta, whose number starts at 5000, sorts before its release."""
    number = int(build[3])
    is_beta = bool(build[4]) and 5_000 <= number < 100_000
    return int(build[1]), build[2], not is_beta, number, build[4]


_BUILD: Final = re.compile(r"([0-9]{2})([A-Z])([0-9]{1,8})([a-z]?)")
_BETA_FROM: Final = MacOSVersion(14, 5)
_COMBINED_FROM: Final = MacOSVersion(15)
