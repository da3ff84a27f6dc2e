"""A whole export of a tenant: tokens, profiles and devices in whatever order and form they come.

The rules of this file:

1. One object that cannot be read does not stop the others: it is kept as it came, and an error among the
   findings says where it is and why.
2. So is every object that is not about Macs or not about enrollment.
3. What stands inside a token (expanded profiles, devices and defaults) is read as if it stood beside it.

Source: Microsoft Graph (beta), ``depOnboardingSetting`` and its navigation properties. That an expanded
default profile comes without its type is observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

from pyade.builders.intune import kinds
from pyade.builders.intune.device import (
    IntuneDevice,
    device_from_intune,
    device_to_intune,
)
from pyade.builders.intune.limits import (
    MAX_DEVICES_PER_PROFILE,
    MAX_DEVICES_PER_TOKEN,
    MAX_PROFILES_PER_TOKEN,
    MAX_TOKENS_PER_TENANT,
)
from pyade.builders.intune.model import IntuneExport, IntuneProfile, OwnSettings
from pyade.builders.intune.profile import profile_from_intune, profile_to_intune
from pyade.builders.intune.reading import (
    ADMIN_PASSWORD,
    MAX_BYTES,
    TYPE,
    Found,
    decode,
    masked_passwords,
    member,
    objects,
    warning,
)
from pyade.builders.intune.token import (
    EXPANDED_LISTS,
    MAC_DEFAULT,
    IntuneToken,
    token_from_intune,
    token_to_intune,
)
from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem
from pyade.core.profile import EnrollmentProfile
from pyade.core.secret import masked
from pyade.errors import IntuneError

Writable: TypeAlias = IntuneToken | IntuneProfile | EnrollmentProfile | IntuneDevice | Mapping[str, Any]
"""What a file of Intune's JSON is made of; a mapping is written as it is."""


@attrs.frozen(kw_only=True)
class IntuneTenant:
    """What an export holds.

    Attributes:
        tokens: The server tokens, without their secrets.
        profiles: The profiles for Macs.
        devices: The devices of all platforms.
        others: Objects that pyade has no use for, or could not read, as they came but for
            passwords.
        findings: What concerns the export as a whole, an error for each object that could not be read, and
            the findings of everything in it.
    """

    tokens: tuple[IntuneToken, ...] = ()
    profiles: tuple[IntuneProfile, ...] = ()
    devices: tuple[IntuneDevice, ...] = ()
    others: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False)
    findings: tuple[Problem, ...] = ()

    def default_profile(self, token: IntuneToken) -> IntuneProfile | None:
        """Return the default profile of *token*; None if it has none, or it is not in the export."""
        wanted = _plain_id(token.default_profile_id)
        return next((one for one in self.profiles if wanted and _plain_id(one.id) == wanted), None)


@checks_kinds
def read_intune(source: object, own: OwnSettings, *, max_bytes: int = MAX_BYTES) -> IntuneTenant:
    """Return what an export of Intune's holds.

    Args:
        source: The content of a file, or its JSON: an object, a list, a page with ``value``, or a list of
            pages. UTF-8 and UTF-16, with a byte order mark or without.
        own: What profiles need and Intune's JSON has no place for.
        max_bytes: Largest file that is read.

    Returns:
        All objects; those that cannot be read and those of other platforms are in ``others``, and each has a
        finding.

    Raises:
        IntuneError: *source* is too large, no JSON, or holds something else than objects.

    Source: Microsoft Graph, ``depOnboardingSetting``, ``depMacOSEnrollmentProfile`` and
    ``importedAppleDeviceIdentity``.
    """
    source = masked(source)  # passwords may be in it
    document = decode(source, max_bytes=max_bytes) if isinstance(source, bytes | str) else source
    document = source = masked_passwords(document)
    reader = _Reader(own)
    for found in objects(document, reader.findings):
        reader.read(found)
    return reader.tenant()


@checks_kinds
def write_intune(items: Iterable[Writable], *, force: bool = False) -> IntuneExport:
    """Return a page of objects, as Graph and the tools for Intune write it.

    Args:
        items: Tokens, profiles and devices, and other objects as they came.
        force: Write the mirrors of enrollment policies, too.

    Raises:
        IntuneError: A profile cannot be written; the path says which.
    """
    exports: list[IntuneExport] = []
    for index, item in enumerate(items):
        try:
            exports.append(_written(item, force=force))
        except IntuneError as exc:
            raise IntuneError(tuple(_within(problem, index) for problem in exc.problems)) from None
    findings = (_within(problem, index) for index, one in enumerate(exports) for problem in one.findings)
    return IntuneExport(body={"value": [one.body for one in exports]}, findings=tuple(findings))


class _Reader:
    """Sorts objects by what they are."""

    def __init__(self, own: OwnSettings) -> None:
        self.findings: list[Problem] = []
        self._own = own
        self._tokens: list[IntuneToken] = []
        self._profiles: list[IntuneProfile] = []
        self._devices: list[IntuneDevice] = []
        self._others: list[Mapping[str, Any]] = []
        self._defaults: list[Found] = []
        self._unknown: Counter[str] = Counter()

    def read(self, found: Found) -> None:
        """Read one object, and whatever is expanded inside it."""
        try:
            kind = kinds.kind_of(found.body)
            if kind == kinds.TOKEN:
                self._read_token(found)
            elif kind == kinds.PROFILE:
                self._profiles.append(profile_from_intune(found.body, self._own, path=found.path))
            elif kind == kinds.DEVICE:
                device = device_from_intune(found.body, path=found.path)
                self._unknown.update(device.extra.keys())
                self._devices.append(device)
            else:
                allowed = f"a profile for Macs, a token or a device, not {kind[:80] or 'an unknown object'}"
                self._keep(found, warning(found.path, allowed, "kept as it came"))
        except IntuneError as exc:
            self._keep(found, *exc.problems)

    def tenant(self) -> IntuneTenant:
        """Return everything that was read."""
        for found in self._defaults:
            known = {_plain_id(one.id) for one in self._profiles} | {
                str(one.get("id")) for one in self._others
            }
            if _plain_id(str(found.body.get("id"))) not in known:
                self.read(found)
        for name, count in sorted(self._unknown.items()):
            if name != "status":
                allowed, fix = f"not a member that pyade knows, in {count} devices", "kept for the way back"
                self.findings.append(warning(member("devices", name), allowed, fix))
        of_parts = [problem for token in self._tokens for problem in token.findings]
        of_parts += [problem for profile in self._profiles for problem in profile.findings]
        return IntuneTenant(
            tokens=tuple(self._tokens),
            profiles=tuple(self._profiles),
            devices=tuple(self._devices),
            others=tuple(self._others),
            findings=(
                *self.findings,
                *_beyond_limits(self._tokens, self._profiles, self._devices),
                *of_parts,
            ),
        )

    def _read_token(self, found: Found) -> None:
        body = dict(found.body)
        inside: list[Found] = []
        for name in EXPANDED_LISTS:
            for part in objects(body.pop(name, None) or [], self.findings, member(found.path, name)):
                by_place = {TYPE: kinds.DEVICE} if name == kinds.DEVICES else {}
                inside.append(attrs.evolve(part, body={**by_place, **part.body}))
        for name, value in found.body.items():
            if _is_default(name) and isinstance(value, dict):
                body[name] = {"id": value["id"]} if value.get("id") else {}
                if value.keys() - {"id"}:
                    typed = {TYPE: _DEFAULTS.get(name, ""), **value}
                    self._defaults.append(Found(path=member(found.path, name), body=typed))
        try:
            self._tokens.append(token_from_intune(body, path=found.path))
        except IntuneError as exc:
            # Without what is inside it, which is read all the same.
            self._keep(attrs.evolve(found, body=body), *exc.problems)
        for part in inside:
            self.read(part)

    def _keep(self, found: Found, *findings: Problem) -> None:
        body, passwords = _without_passwords(found.body)
        for path in passwords:
            allowed, fix = "no password in a file: it was left out", "find it in the file"
            findings = (*findings, warning(f"{found.path}{path}", allowed, fix))
        self._others.append(body)
        self.findings += findings


def _is_default(name: object) -> bool:
    return isinstance(name, str) and name.startswith("default") and name.endswith("EnrollmentProfile")


def _without_passwords(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a copy without passwords, however deep they are, and the paths where there were any."""
    copy, passwords = dict(body), []
    parts: list[tuple[str, Any]] = [("", copy)]
    while parts:
        path, part = parts.pop()
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            where = member(path, key) if isinstance(key, str) else f"{path}[{key}]"
            if key == ADMIN_PASSWORD and value:
                part[key] = None
                passwords.append(where)
            elif isinstance(value, dict | list):
                part[key] = value.copy()
                parts.append((where[:_LONGEST_PATH], part[key]))
    return copy, passwords


def _written(item: Writable, *, force: bool) -> IntuneExport:
    if isinstance(item, IntuneToken):
        return token_to_intune(item)
    if isinstance(item, IntuneDevice):
        return device_to_intune(item)
    if isinstance(item, IntuneProfile | EnrollmentProfile):
        return profile_to_intune(item, force=force)
    return IntuneExport(body=dict(item))


def _within(problem: Problem, index: int) -> Problem:
    return attrs.evolve(problem, setting=f"$.value[{index}].{problem.setting.removeprefix('$.')}")


def _plain_id(id_: str) -> str:
    return id_.removeprefix("ECV2_")


def _beyond_limits(
    tokens: list[IntuneToken], profiles: list[IntuneProfile], devices: list[IntuneDevice]
) -> Iterator[Problem]:
    """Yield what is more than Intune allows; devices are counted where their profile tells the token."""
    per_token = Counter(profile.token_id for profile in profiles if profile.token_id)
    wanted = Counter(one.requested_profile_id for one in devices if one.requested_profile_id)
    counts = [
        *((f"token {one.id or one.name}", one.device_count, MAX_DEVICES_PER_TOKEN) for one in tokens),
        *((f"token {key}", count, MAX_PROFILES_PER_TOKEN) for key, count in per_token.items()),
        *((f"profile {key}", count, MAX_DEVICES_PER_PROFILE) for key, count in wanted.items()),
        ("tenant", len(tokens), MAX_TOKENS_PER_TENANT),
    ]
    for what, count, limit in counts:
        if count > limit:
            yield warning(what, f"at most {limit} for Intune", "split it before you go back", str(count))


_LONGEST_PATH: Final = 500
_DEFAULTS: Final = {
    MAC_DEFAULT: f"#microsoft.graph.{kinds.PROFILE}",
    "defaultIosEnrollmentProfile": "#microsoft.graph.depIOSEnrollmentProfile",
    "defaultTvOSEnrollmentProfile": "#microsoft.graph.depTvOSEnrollmentProfile",
    "defaultVisionOSEnrollmentProfile": "#microsoft.graph.depVisionOSEnrollmentProfile",
}
