"""Whole exports of a tenant: tokens, profiles and devices in whatever order and form they come, and back.

The rules of this file:

1. One object that cannot be read does not stop the others: it is kept as it came, and an error among the
   problems says where it is and why.
2. So is every object that is not about Macs or not about enrollment.
3. What stands inside a token (expanded profiles, devices and defaults) is read as if it stood beside it.
4. An enrollment policy is preferred to its read-only mirror among the profiles: where the export has both,
   only the policy is a profile of the tenant. Where the policy is only named or cannot be read, it is the
   mirror.
5. Nothing is written if one profile cannot be.

Source: Microsoft Graph (beta), ``depOnboardingSetting`` and its navigation properties. That an expanded
default profile comes without its type is observed.

What an export of a tenant holds, and what is doubtful about it as a whole.

The rules of this file:

1. A token's default profile is the one that its navigation property names; where the export has none, it is
   the only profile of the token that says so itself. A default that is not known is a problem.
2. Intune names an enrollment policy with ``ECV2_`` and without: both are the same profile.

Source: Microsoft Graph (beta), ``depOnboardingSetting``. That a plain list of tokens has no navigation
property, and that ``isDefault`` of a classic profile can be relied on, is observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

from pyade.builders.intune import fields, object_types
from pyade.builders.intune.device import IntuneDevice, device_from_intune, device_to_intune
from pyade.builders.intune.json_reader import (
    ADMIN_PASSWORD,
    MAX_BYTES,
    TYPE,
    Found,
    decode,
    masked_passwords,
    member,
    more_pages,
    objects,
    warning,
)
from pyade.builders.intune.limits import (
    MAX_DEVICES_PER_PROFILE,
    MAX_DEVICES_PER_TOKEN,
    MAX_PROFILES_PER_TOKEN,
    MAX_TOKENS_PER_TENANT,
)
from pyade.builders.intune.model import IntuneExport, IntuneProfile, OwnSettings
from pyade.builders.intune.policy import not_for_macs, policy_from_intune, policy_to_intune
from pyade.builders.intune.profile import profile_from_intune, profile_to_intune
from pyade.builders.intune.token import (
    EXPANDED_LISTS,
    MAC_DEFAULT,
    IntuneToken,
    the_only,
    token_from_intune,
    token_to_intune,
)
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import masked
from pyade.errors import IntuneError


@attrs.frozen(kw_only=True)
class IntuneTenant:
    """What an export holds.

    Attributes:
        tokens: The server tokens, without their secrets.
        profiles: The profiles for Macs, classic ones and enrollment policies.
        devices: The devices of all platforms.
        others: Objects that pyade has no use for, or could not read, as they came but for
            passwords.
        problems: What concerns the export as a whole, an error for each object that could not be read, and
            the problems of everything in it.
    """

    tokens: tuple[IntuneToken, ...] = ()
    profiles: tuple[IntuneProfile, ...] = ()
    devices: tuple[IntuneDevice, ...] = ()
    others: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False)
    problems: tuple[Problem, ...] = ()

    def default_profile(self, token: IntuneToken) -> IntuneProfile | None:
        """Return the default profile of *token* for Macs.

        Where the export does not say which one it is, that is the only profile of the token with
        ``is_default``.

        Returns:
            The profile; None if the token has none, several say so, or it is not in the export.
        """
        wanted = plain_id(token.default_profile_id)
        if wanted:
            return next((one for one in self.profiles if plain_id(one.id) == wanted), None)
        marked = [one for one in _profiles_of(self, token) if one.is_default]
        return marked[0] if len(marked) == 1 else None

    def devices_of(self, profile: IntuneProfile) -> tuple[IntuneDevice, ...]:
        """Return the devices that are to have *profile*, which Intune names with and without ``ECV2_``."""
        wanted = plain_id(profile.id)
        return tuple(one for one in self.devices if wanted and plain_id(one.requested_profile_id) == wanted)


def plain_id(id_: str) -> str:
    """Return the id of a profile without the mark of a policy."""
    return id_.removeprefix(fields.POLICY_PREFIX)


def doubtful(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield what concerns the export as a whole: more than Intune allows, and defaults that are not known."""
    yield from _beyond_limits(tenant)
    yield from _unknown_defaults(tenant)


def differences(policy: IntuneProfile, mirror: IntuneProfile) -> Iterator[Problem]:
    """Yield what a policy says in another way than its mirror; Intune makes the one of the other."""
    # Under the name by which a setting is given stands what holds.
    found = [
        field.alias
        for field in attrs.fields(EnrollmentProfile)
        if field.alias and getattr(policy.profile, field.alias) != getattr(mirror.profile, field.alias)
    ]
    if found:
        fix = "compare both in Intune; the policy was taken"
        yield warning(
            f"profile {policy.id}", "the same in the policy and in its mirror", fix, ", ".join(found)
        )


def _profiles_of(tenant: IntuneTenant, token: IntuneToken) -> Iterator[IntuneProfile]:
    """Yield the profiles of *token*; one without an id belongs to the only token that there is."""
    for one in tenant.profiles:
        if one.token_id == token.id if one.token_id else len(tenant.tokens) == 1:
            yield one


def _unknown_defaults(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield each token of which the export has profiles, but does not tell which one is the default."""
    for token in tenant.tokens:
        profiles = list(_profiles_of(tenant, token))
        if tenant.default_profile(token) is not None:
            continue
        where = f"token {token.id or token.name}.{MAC_DEFAULT}"
        marked = [one.profile.name for one in profiles if one.is_default]
        if token.default_profile_id:
            fix = "export the profiles with it, or see why it could not be read"
            yield warning(where, "a profile of this export", fix, token.default_profile_id)
        elif marked:
            fix = f"export the token with $expand={MAC_DEFAULT}"
            yield warning(where, "one profile with isDefault, not several", fix, ", ".join(marked))
        elif profiles:
            fix = (
                f"choose a default: new Macs get no profile without one; or export with $expand={MAC_DEFAULT}"
            )
            yield warning(where, "a default profile, and no profile has isDefault", fix)


def _beyond_limits(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield what is more than Intune allows; devices are counted where their profile tells the token."""
    per_token = Counter(profile.token_id for profile in tenant.profiles if profile.token_id)
    wanted = Counter(one.requested_profile_id for one in tenant.devices if one.requested_profile_id)
    counts = [
        *((f"token {one.id or one.name}", one.device_count, MAX_DEVICES_PER_TOKEN) for one in tenant.tokens),
        *((f"token {key}", count, MAX_PROFILES_PER_TOKEN) for key, count in per_token.items()),
        *((f"profile {key}", count, MAX_DEVICES_PER_PROFILE) for key, count in wanted.items()),
        ("tenant", len(tenant.tokens), MAX_TOKENS_PER_TENANT),
    ]
    for what, count, limit in counts:
        if count > limit:
            yield warning(what, f"at most {limit} for Intune", "split it before you go back", str(count))


Writable: TypeAlias = IntuneToken | IntuneProfile | EnrollmentProfile | IntuneDevice | Mapping[str, Any]
"""What a file of Intune's JSON is made of; a mapping is written as it is."""


@check_arguments
def read_intune(source: object, own: OwnSettings, *, max_bytes: int = MAX_BYTES) -> IntuneTenant:
    """Return what an export of Intune's holds.

    Args:
        source: The content of a file, or its JSON: an object, a list, a page with ``value``, or a list of
            pages. UTF-8 and UTF-16, with a byte order mark or without.
        own: What profiles need and Intune's JSON has no place for.
        max_bytes: Largest file that is read.

    Returns:
        All objects; those that cannot be read and those of other platforms are in ``others``, and each has a
        problem.

    Raises:
        IntuneError: *source* is too large, no JSON, or holds something else than objects.

    Source: Microsoft Graph, ``depOnboardingSetting``, ``depMacOSEnrollmentProfile``,
    ``deviceManagementConfigurationPolicy`` and ``importedAppleDeviceIdentity``.
    """
    source = masked(source)  # passwords may be in it
    document = decode(source, max_bytes=max_bytes) if isinstance(source, bytes | str) else source
    document = source = masked_passwords(document)
    reader = _Reader(own)
    for found in objects(document, reader.problems):
        reader.read(found)
    return reader.tenant()


@check_arguments
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
    errors: list[Problem] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, IntuneProfile | EnrollmentProfile) and (as_policies or _has_policy(item)):
                exports.append(policy_to_intune(item, token_id=token_id, force=force))
            else:
                exports.append(_written(item, force=force))
        except IntuneError as exc:
            errors += (_within(problem, index) for problem in exc.problems)
    if errors:
        raise IntuneError(tuple(errors))
    problems = (_within(problem, index) for index, one in enumerate(exports) for problem in one.problems)
    return IntuneExport(body={"value": [one.body for one in exports]}, problems=tuple(problems))


class _Reader:
    """Sorts objects by what they are."""

    def __init__(self, own: OwnSettings) -> None:
        self.problems: list[Problem] = []
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
            kind = object_types.kind_of(found.body)
            if kind == object_types.TOKEN:
                self._read_token(found)
            elif kind == object_types.PROFILE:
                self._profiles.append(profile_from_intune(found.body, self._own, path=found.path))
            elif kind == object_types.POLICY:
                self._read_policy(found)
            elif kind == object_types.DEVICE:
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
                self.problems.append(warning(member("devices", name), allowed, fix))
        of_parts = [problem for token in self._tokens for problem in token.problems]
        of_parts += [problem for profile in self._profiles for problem in profile.problems]
        tenant = IntuneTenant(
            tokens=tuple(self._tokens),
            profiles=tuple(self._profiles),
            devices=tuple(self._devices),
            others=tuple(self._others),
        )
        return attrs.evolve(tenant, problems=(*self.problems, *doubtful(tenant), *of_parts))

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
            self.problems += differences(kept[-1], mirror)
        with_policy = {one.id for one in kept if one.policy is not None}
        self._profiles = [one for one in kept if one.policy is not None or one.id not in with_policy]

    def _read_token(self, found: Found) -> None:
        body = dict(found.body)
        inside: list[Found] = []
        for name in EXPANDED_LISTS:
            more_pages(body, name, self.problems, found.path)
            for part in objects(body.pop(name, None) or [], self.problems, member(found.path, name)):
                by_place = {TYPE: object_types.DEVICE} if name == object_types.DEVICES else {}
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

    def _keep(self, found: Found, *problems: Problem) -> None:
        body, passwords = _without_passwords(found.body)
        for path in passwords:
            allowed, fix = "no password in a file: it was left out", "find it in the file"
            problems = (*problems, warning(f"{found.path}{path}", allowed, fix))
        self._others.append(body)
        self.problems += problems


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
    MAC_DEFAULT: f"#microsoft.graph.{object_types.PROFILE}",
    "defaultIosEnrollmentProfile": "#microsoft.graph.depIOSEnrollmentProfile",
    "defaultTvOSEnrollmentProfile": "#microsoft.graph.depTvOSEnrollmentProfile",
    "defaultVisionOSEnrollmentProfile": "#microsoft.graph.depVisionOSEnrollmentProfile",
}
