"""Whole exports of a tenant: tokens, profiles and devices in whatever order and form they come, and back.

The rules of this file:

1. One object that cannot be read does not stop the others: it is kept as it came, and an error among the
   findings says where it is and why.
2. So is every object that is not about Macs or not about enrollment.
3. What stands inside a token (expanded profiles, devices and defaults) is read as if it stood beside it.
4. An enrollment policy is preferred to its read-only mirror among the profiles: where the export has both,
   only the policy is a profile of the tenant. Where the policy is only named or cannot be read, it is the
   mirror.
5. Nothing is written if one profile cannot be.

Source: Microsoft Graph (beta), ``depOnboardingSetting`` and its navigation properties. That an expanded
default profile comes without its type is observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from pyade.builders.intune import kinds
from pyade.builders.intune.device import IntuneDevice, device_from_intune, device_to_intune
from pyade.builders.intune.documents import (
    MAX_BYTES,
    Found,
    decode,
    masked_passwords,
    more_pages,
    objects,
)
from pyade.builders.intune.model import IntuneExport, IntuneProfile, OwnSettings
from pyade.builders.intune.policy import not_for_macs, policy_from_intune, policy_to_intune
from pyade.builders.intune.profile import profile_from_intune, profile_to_intune
from pyade.builders.intune.reading import ADMIN_PASSWORD, TYPE, member, warning
from pyade.builders.intune.tenant import IntuneTenant, differences, doubtful, plain_id
from pyade.builders.intune.token import (
    EXPANDED_LISTS,
    MAC_DEFAULT,
    IntuneToken,
    the_only,
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

    Source: Microsoft Graph, ``depOnboardingSetting``, ``depMacOSEnrollmentProfile``,
    ``deviceManagementConfigurationPolicy`` and ``importedAppleDeviceIdentity``.
    """
    source = masked(source)  # passwords may be in it
    document = decode(source, max_bytes=max_bytes) if isinstance(source, bytes | str) else source
    document = source = masked_passwords(document)
    reader = _Reader(own)
    for found in objects(document, reader.findings):
        reader.read(found)
    return reader.tenant()


@checks_kinds
def write_intune(
    items: Iterable[Writable], *, as_policies: bool = False, token_id: str = "", force: bool = False
) -> IntuneExport:
    """Return a page of objects, as Graph and the tools for Intune write it.

    A profile is written in the form in which it was read: as an enrollment policy if it has ``policy``, else
    as a classic profile.

    Args:
        items: Tokens, profiles and devices, and other objects as they came.
        as_policies: Write each profile as an enrollment policy, complete as Graph wants it for a new one.
        token_id: Intune's id of the token that all enrollment policies are for; "" for the one that each
            profile belongs to.
        force: Write the mirrors of enrollment policies as classic profiles, and policies without what they
            cannot hold, which is reported.

    Raises:
        IntuneError: Profiles cannot be written; each path says which one, and nothing is written.
    """
    exports: list[IntuneExport] = []
    problems: list[Problem] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, IntuneProfile | EnrollmentProfile) and (as_policies or _has_policy(item)):
                exports.append(policy_to_intune(item, token_id=token_id, force=force))
            else:
                exports.append(_written(item, force=force))
        except IntuneError as exc:
            problems += (_within(problem, index) for problem in exc.problems)
    if problems:
        raise IntuneError(tuple(problems))
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
            elif kind == kinds.POLICY:
                self._read_policy(found)
            elif kind == kinds.DEVICE:
                device = device_from_intune(found.body, path=found.path)
                self._unknown.update(device.extra.keys())
                self._devices.append(device)
            else:
                what = kind[:80] or "an unknown object"
                allowed = f"a profile or policy for Macs, a token or a device, not {what}"
                self._keep(found, warning(found.path, allowed, "kept as it came"))
        except IntuneError as exc:
            self._keep(found, *exc.problems)

    def tenant(self) -> IntuneTenant:
        """Return everything that was read."""
        for found in self._defaults:
            known = {plain_id(one.id) for one in self._profiles} | {
                str(one.get("id")) for one in self._others
            }
            if plain_id(str(found.body.get("id"))) not in known:
                self.read(found)
        self._prefer_policies()
        for name, count in sorted(self._unknown.items()):
            if name != "status":
                allowed, fix = f"not a member that pyade knows, in {count} devices", "kept for the way back"
                self.findings.append(warning(member("devices", name), allowed, fix))
        of_parts = [problem for token in self._tokens for problem in token.findings]
        of_parts += [problem for profile in self._profiles for problem in profile.findings]
        tenant = IntuneTenant(
            tokens=tuple(self._tokens),
            profiles=tuple(self._profiles),
            devices=tuple(self._devices),
            others=tuple(self._others),
        )
        return attrs.evolve(tenant, findings=(*self.findings, *doubtful(tenant), *of_parts))

    def _read_policy(self, found: Found) -> None:
        if reason := not_for_macs(found.body):
            self._keep(found, warning(found.path, reason, "kept as it came"))
        else:
            self._profiles.append(policy_from_intune(found.body, self._own, path=found.path))

    def _prefer_policies(self) -> None:
        """Leave out each mirror of which the policy is there; it tells the token if the policy does not."""
        mirrors = {one.policy_id: one for one in self._profiles if one.policy is None and one.policy_id}
        kept: list[IntuneProfile] = []
        for one in self._profiles:
            mirror = mirrors.get(one.policy_id)
            if one.policy is None or mirror is None or one.token_id not in ("", mirror.token_id):
                kept.append(one)
                continue
            policy = attrs.evolve(one.policy, token_id=mirror.token_id)
            kept.append(attrs.evolve(one, id=mirror.id, policy=policy))
            self.findings += differences(kept[-1], mirror)
        with_policy = {one.id for one in kept if one.policy is not None}
        self._profiles = [one for one in kept if one.policy is not None or one.id not in with_policy]

    def _read_token(self, found: Found) -> None:
        body = dict(found.body)
        inside: list[Found] = []
        for name in EXPANDED_LISTS:
            more_pages(body, name, self.findings, found.path)
            for part in objects(body.pop(name, None) or [], self.findings, member(found.path, name)):
                by_place = {TYPE: kinds.DEVICE} if name == kinds.DEVICES else {}
                inside.append(attrs.evolve(part, body={**by_place, **part.body}))
        for name, value in found.body.items():
            one = the_only(value) if value and _is_default(name) else None
            if isinstance(one, dict):
                body[name] = {"id": one["id"]} if one.get("id") else {}
                if one.keys() - {"id"}:
                    typed = {TYPE: _DEFAULTS.get(name, ""), **one}
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


def _has_policy(item: IntuneProfile | EnrollmentProfile) -> bool:
    return isinstance(item, IntuneProfile) and item.policy is not None


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


_LONGEST_PATH: Final = 500
_DEFAULTS: Final = {
    MAC_DEFAULT: f"#microsoft.graph.{kinds.PROFILE}",
    "defaultIosEnrollmentProfile": "#microsoft.graph.depIOSEnrollmentProfile",
    "defaultTvOSEnrollmentProfile": "#microsoft.graph.depTvOSEnrollmentProfile",
    "defaultVisionOSEnrollmentProfile": "#microsoft.graph.depVisionOSEnrollmentProfile",
}
