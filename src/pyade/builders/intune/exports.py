"""Read and write whole exports of a tenant: tokens, profiles and devices, in any order and form.

The rules of this file:

1. An object that cannot be read does not stop the others: keep it as it was read, and add an error with its
   path and the reason.
2. Also keep objects that do not concern Macs or enrollment, with a warning.
3. Read objects inside a token (expanded profiles, devices and defaults) like objects next to it.
4. Prefer an enrollment policy to its read-only mirror among the profiles: if the export has both, only the
   policy is a profile of the tenant. If the policy is only named or cannot be read, use the mirror.
5. Write nothing if one profile cannot be written.
6. A token's default profile is the one that its navigation property names; without that property, the only
   profile of the token with ``isDefault``. An unknown default is a problem.
7. Intune names an enrollment policy with and without ``ECV2_``: both are the same profile.

Source: Microsoft Graph (beta), ``depOnboardingSetting`` and its navigation properties. Observed: an expanded
default profile has no type; a plain list of tokens has no navigation property; ``isDefault`` of a classic
profile is reliable.
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
    FoundObject,
    decode,
    iter_objects,
    mask_passwords,
    member,
    report_next_page,
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
    single_object,
    token_from_intune,
    token_to_intune,
)
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem, warning
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import masked
from pyade.errors import IntuneError
from pyade.text import short_repr


@attrs.frozen(kw_only=True)
class IntuneTenant:
    """The contents of an export.

    Attributes:
        tokens: The server tokens, without their secrets.
        profiles: The profiles for Macs, classic ones and enrollment policies.
        devices: The devices of all platforms.
        others: Objects that pyade does not use, or could not read, as they were read but without passwords.
        problems: The problems of the export as a whole, an error for each object that could not be read, and
            the problems of its tokens and profiles.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    tokens: tuple[IntuneToken, ...] = ()
    profiles: tuple[IntuneProfile, ...] = ()
    devices: tuple[IntuneDevice, ...] = ()
    others: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False)
    problems: tuple[Problem, ...] = ()

    def default_profile(self, token: IntuneToken) -> IntuneProfile | None:
        """Return the default profile of *token* for Macs.

        If the export does not name it, that is the only profile of the token with ``is_default``.

        Returns:
            The profile; None if the token has none, several have ``is_default``, or it is not in the export.
        """
        wanted = plain_id(token.default_profile_id)
        if wanted:  # rule 6
            return next((one for one in self.profiles if plain_id(one.id) == wanted), None)
        marked = [one for one in _profiles_of(self, token) if one.is_default]
        return marked[0] if len(marked) == 1 else None

    def devices_of(self, profile: IntuneProfile) -> tuple[IntuneDevice, ...]:
        """Return the devices that *profile* is assigned to in Intune, named with or without ``ECV2_``."""
        wanted = plain_id(profile.id)
        return tuple(one for one in self.devices if wanted and plain_id(one.requested_profile_id) == wanted)


def plain_id(id_: str) -> str:
    """Return the id of a profile without the prefix of a policy."""
    return id_.removeprefix(fields.POLICY_PREFIX)  # rule 7


def tenant_problems(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield the problems of the export as a whole: exceeded limits of Intune, and unknown defaults."""
    yield from _exceeded_limits(tenant)
    yield from _unknown_defaults(tenant)


def mirror_differences(policy: IntuneProfile, mirror: IntuneProfile) -> Iterator[Problem]:
    """Yield a warning if a policy differs from its mirror, which Intune derives from it."""
    # The attribute with the name of the alias has the effective value.
    found = [
        field.alias
        for field in attrs.fields(EnrollmentProfile)
        if field.alias and getattr(policy.profile, field.alias) != getattr(mirror.profile, field.alias)
    ]
    if found:
        fix = "compare both in Intune; pyade used the policy"
        yield warning(
            f"profile {policy.id}", ", ".join(found), "the same in the policy and in its mirror", fix
        )


def _profiles_of(tenant: IntuneTenant, token: IntuneToken) -> Iterator[IntuneProfile]:
    """Yield the profiles of *token*; without an id it belongs to a single token."""
    for one in tenant.profiles:
        if one.token_id == token.id if one.token_id else len(tenant.tokens) == 1:
            yield one


def _unknown_defaults(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield a warning for each token with profiles whose default is unknown."""
    for token in tenant.tokens:
        profiles = list(_profiles_of(tenant, token))
        if tenant.default_profile(token) is not None:
            continue
        where = f"token {token.id or token.name}.{MAC_DEFAULT}"
        marked = [one.profile.name for one in profiles if one.is_default]
        if token.default_profile_id:
            fix = "export the profiles as well, or find out why this one could not be read"
            yield warning(where, token.default_profile_id, "a profile of this export", fix)
        elif marked:
            fix = f"export the token with $expand={MAC_DEFAULT}"
            yield warning(where, ", ".join(marked), "one profile with isDefault, not several", fix)
        elif profiles:
            fix = f"choose a default, or new Macs get no profile; or export with $expand={MAC_DEFAULT}"
            yield warning(where, "", "a default profile; no profile has isDefault", fix)


def _exceeded_limits(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield a warning for each exceeded limit of Intune."""
    per_token = Counter(profile.token_id for profile in tenant.profiles if profile.token_id)
    wanted = Counter(one.requested_profile_id for one in tenant.devices if one.requested_profile_id)
    counts = [
        *((f"token {one.id or one.name}", one.device_count, MAX_DEVICES_PER_TOKEN) for one in tenant.tokens),
        *((f"token {key}", count, MAX_PROFILES_PER_TOKEN) for key, count in per_token.items()),
        *((f"profile {key}", count, MAX_DEVICES_PER_PROFILE) for key, count in wanted.items()),
        ("tenant", len(tenant.tokens), MAX_TOKENS_PER_TENANT),
    ]
    for name, count, limit in counts:
        if count > limit:
            yield warning(
                name,
                str(count),
                f"at most {limit} for Intune",
                "split it before you import it into Intune again",
            )


Writable: TypeAlias = IntuneToken | IntuneProfile | EnrollmentProfile | IntuneDevice | Mapping[str, Any]
"""The objects in a file of Intune's JSON; a mapping is written unchanged."""


@check_arguments
def read_intune(source: object, own: OwnSettings, *, max_bytes: int = MAX_BYTES) -> IntuneTenant:
    """Return the contents of an Intune export.

    Args:
        source: The content of a file, or its JSON: an object, a list, a page with ``value``, or a list of
            pages. UTF-8 and UTF-16, with or without a byte order mark.
        own: The settings that profiles need and Intune's JSON lacks.
        max_bytes: Maximum size of the file.

    Returns:
        All objects; those that cannot be read and those of other platforms are in ``others``, each with a
        problem.

    Raises:
        IntuneError: *source* is too large, is not JSON, or has other values than objects.

    Source: Microsoft Graph, ``depOnboardingSetting``, ``depMacOSEnrollmentProfile``,
    ``deviceManagementConfigurationPolicy`` and ``importedAppleDeviceIdentity``.
    """
    source = masked(source)  # it may contain passwords
    document = decode(source, max_bytes=max_bytes) if isinstance(source, bytes | str) else source
    document = source = mask_passwords(document)
    reader = _TenantReader(own)
    for found in iter_objects(document, reader.problems):
        reader.read(found)
    return reader.tenant()


@check_arguments
def write_intune(
    items: Iterable[Writable], *, as_policies: bool = False, token_id: str = "", force: bool = False
) -> IntuneExport:
    """Return a page of objects, as Graph and Intune tools write it.

    A profile is written in the form in which it was read: as an enrollment policy if it has ``policy``, else
    as a classic profile.

    Args:
        items: Tokens, profiles and devices, and other objects as they were read.
        as_policies: Write each profile as an enrollment policy, complete as Graph requires for a new one.
        token_id: Intune's id of the token for all enrollment policies; "" for the token of each profile.
        force: Write the mirrors of enrollment policies as classic profiles, and policies without settings
            that they cannot contain, which are reported.

    Raises:
        IntuneError: A profile cannot be written; the path of each problem names it, and nothing is written.
    """
    exports: list[IntuneExport] = []
    errors: list[Problem] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, IntuneProfile | EnrollmentProfile) and (as_policies or _has_policy(item)):
                exports.append(policy_to_intune(item, token_id=token_id, force=force))
            else:
                exports.append(_write_object(item, force=force))
        except IntuneError as exc:
            errors += (_at_index(problem, index) for problem in exc.problems)
    if errors:  # rule 5
        raise IntuneError(tuple(errors))
    problems = (_at_index(problem, index) for index, one in enumerate(exports) for problem in one.problems)
    return IntuneExport(body={"value": [one.body for one in exports]}, problems=tuple(problems))


class _TenantReader:
    """Reads objects by their type, and collects them for ``IntuneTenant``."""

    def __init__(self, own: OwnSettings) -> None:
        self.problems: list[Problem] = []
        self._own = own
        self._tokens: list[IntuneToken] = []
        self._profiles: list[IntuneProfile] = []
        self._devices: list[IntuneDevice] = []
        self._others: list[Mapping[str, Any]] = []
        self._defaults: list[FoundObject] = []
        self._unknown: Counter[str] = Counter()

    def read(self, found: FoundObject) -> None:
        """Read one object, and the objects that are expanded in it."""
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
                name = kind[:80] or "an unknown object"
                allowed = f"a profile or policy for Macs, a token or a device, not {name}"
                self._keep(found, warning(found.path, "", allowed, "kept unchanged"))  # rule 2
        except IntuneError as exc:  # rule 1
            self._keep(found, *exc.problems)

    def tenant(self) -> IntuneTenant:
        """Return the contents of the export."""
        for found in self._defaults:
            known = {plain_id(one.id) for one in self._profiles} | {
                str(one.get("id")) for one in self._others
            }
            if plain_id(str(found.body.get("id"))) not in known:
                self.read(found)
        self._prefer_policies()
        for name, count in sorted(self._unknown.items()):
            if name != "status":
                allowed, fix = f"not a member that pyade knows, in {count} devices", "kept for writing"
                self.problems.append(warning(member("devices", name), "", allowed, fix))
        part_problems = [problem for token in self._tokens for problem in token.problems]
        part_problems += [problem for profile in self._profiles for problem in profile.problems]
        tenant = IntuneTenant(
            tokens=tuple(self._tokens),
            profiles=tuple(self._profiles),
            devices=tuple(self._devices),
            others=tuple(self._others),
        )
        return attrs.evolve(tenant, problems=(*self.problems, *tenant_problems(tenant), *part_problems))

    def _read_policy(self, found: FoundObject) -> None:
        if reason := not_for_macs(found.body):
            self._keep(found, warning(found.path, "", reason, "kept unchanged"))
        else:
            self._profiles.append(policy_from_intune(found.body, self._own, path=found.path))

    def _prefer_policies(self) -> None:
        """Remove mirrors of policies in the export; a mirror supplies the token id if its policy has none."""
        mirrors = {one.policy_id: one for one in self._profiles if one.policy is None and one.policy_id}
        kept: list[IntuneProfile] = []
        for one in self._profiles:
            mirror = mirrors.get(one.policy_id)
            if one.policy is None or mirror is None or one.token_id not in ("", mirror.token_id):
                kept.append(one)
                continue
            policy = attrs.evolve(one.policy, token_id=mirror.token_id)
            kept.append(attrs.evolve(one, id=mirror.id, policy=policy))
            self.problems += mirror_differences(kept[-1], mirror)
        with_policy = {one.id for one in kept if one.policy is not None}
        # Rule 4
        self._profiles = [one for one in kept if one.policy is not None or one.id not in with_policy]

    def _read_token(self, found: FoundObject) -> None:
        body = dict(found.body)
        inside: list[FoundObject] = []
        for name in EXPANDED_LISTS:
            report_next_page(body, name, self.problems, found.path)
            for part in iter_objects(body.pop(name, None) or [], self.problems, member(found.path, name)):
                by_place = {TYPE: object_types.DEVICE} if name == object_types.DEVICES else {}
                inside.append(attrs.evolve(part, body={**by_place, **part.body}))
        for name, value in found.body.items():
            one = single_object(value) if value and _is_default(name) else None
            if isinstance(one, dict):
                body[name] = {"id": one["id"]} if one.get("id") else {}
                if one.keys() - {"id"}:
                    typed = {TYPE: _DEFAULTS.get(name, ""), **one}
                    self._defaults.append(FoundObject(path=member(found.path, name), body=typed))
        try:
            self._tokens.append(token_from_intune(body, path=found.path))
        except IntuneError as exc:
            # Without the objects inside it, which are read anyway.
            self._keep(attrs.evolve(found, body=body), *exc.problems)
        for part in inside:
            self.read(part)  # rule 3

    def _keep(self, found: FoundObject, *problems: Problem) -> None:
        body, passwords = _without_passwords(found.body)
        for path in passwords:
            allowed, fix = "no password in a file: it was removed", "find it in the file"
            problems = (*problems, warning(f"{found.path}{path}", "", allowed, fix))
        self._others.append(body)
        self.problems += problems


def _is_default(name: object) -> bool:
    return isinstance(name, str) and name.startswith("default") and name.endswith("EnrollmentProfile")


def _without_passwords(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a copy without passwords at any depth, and the paths where there were any."""
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


def _write_object(item: Writable, *, force: bool) -> IntuneExport:
    if isinstance(item, IntuneToken):
        return token_to_intune(item)
    if isinstance(item, IntuneDevice):
        return device_to_intune(item)
    if isinstance(item, IntuneProfile | EnrollmentProfile):
        return profile_to_intune(item, force=force)
    return IntuneExport(body=dict(item))


def _at_index(problem: Problem, index: int) -> Problem:
    return attrs.evolve(problem, setting=f"$.value[{index}].{problem.setting.removeprefix('$.')}")


_LONGEST_PATH: Final = 500
_DEFAULTS: Final = {
    MAC_DEFAULT: f"#microsoft.graph.{object_types.PROFILE}",
    "defaultIosEnrollmentProfile": "#microsoft.graph.depIOSEnrollmentProfile",
    "defaultTvOSEnrollmentProfile": "#microsoft.graph.depTvOSEnrollmentProfile",
    "defaultVisionOSEnrollmentProfile": "#microsoft.graph.depVisionOSEnrollmentProfile",
}
