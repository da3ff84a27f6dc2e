"""Convert one of Intune's enrollment policies to an enrollment profile, and back.

Since 2026 Intune stores enrollment settings in policies of its settings catalog. Classic profiles get no new
settings, and each policy has a read-only mirror among them.

The rules of this file:

1. Read a policy through the members of a classic profile, so that both forms and the mirror are equivalent.
2. Report everything that a policy cannot contain before writing. Setup Assistant (legacy) cannot be written
   at all; *force* omits the rest, with a warning.
3. Write a complete policy, with the token, the template and every setting of the top level, because Graph
   refuses an incomplete one.
4. Keep settings that pyade does not know; see ``policy_settings``.

Source: Microsoft Graph (beta), ``deviceManagementConfigurationPolicy``; shapes and ids are observed in live
tenants. Modern authentication is the only kind of sign-in that Graph was observed to accept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.builders.intune import fields, policy_settings
from pyade.builders.intune.fields import KEYS
from pyade.builders.intune.json_reader import TYPE, JsonReader, list_items
from pyade.builders.intune.limits import DEFAULT_PASSWORD_ROTATION
from pyade.builders.intune.model import IntuneExport, IntunePolicy, IntuneProfile, OwnSettings
from pyade.builders.intune.object_types import POLICY, check_kind
from pyade.builders.intune.policy_settings import SETTINGS, read_tree, values_in, write_tree
from pyade.builders.intune.profile import classic_members, read_profile, unmapped_settings
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem, Severity, warning
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import IntuneError


@check_arguments(but=("body",))
def policy_from_intune(body: Mapping[str, Any], own: OwnSettings, *, path: str = "$") -> IntuneProfile:
    """Return the profile of one enrollment policy for Macs.

    Args:
        body: A ``deviceManagementConfigurationPolicy`` with its settings (``$expand=settings``).
        own: The settings that Intune's JSON lacks.
        path: Path of the object, for problems.

    Returns:
        The profile, with ``policy``; its ``id`` is that of the policy's mirror.

    Raises:
        IntuneError: The policy is for another platform or purpose, has no settings, has a setting with an
            unknown value, or the profile breaks a rule.

    Source: Microsoft Graph, ``deviceManagementConfigurationPolicy``.
    """
    reader = JsonReader(body, path)
    reader.check()
    check_kind(body, POLICY, path)
    if reason := not_for_macs(body):
        raise IntuneError(
            (Problem(path, "", reason, "use another function for it, or export it with its settings"),)
        )
    problems: list[Problem] = []
    tree = read_tree(reader, problems)
    if body.get(f"{SETTINGS}@odata.nextLink"):
        reader.add_error(SETTINGS, "all settings: the last page is missing")
    policy_id, token_id = reader.text("id"), _read_token(reader, problems)
    classic = {
        "id": f"{fields.POLICY_PREFIX}{token_id}_{policy_id}" if policy_id else "",
        fields.NAME: reader.text("name"),
        "description": reader.text("description"),
        fields.SUPERVISED: True,
        **{name: value for name, value in tree.members.items() if not policy_settings.is_screen(name)},
        KEYS: [
            policy_settings.key_of(name)
            for name, value in tree.members.items()
            if policy_settings.is_screen(name) and value
        ],
    }
    places = {fields.NAME: reader.path_of("name"), KEYS: reader.path_of(SETTINGS), **tree.places}
    scope_tags = reader.texts("roleScopeTagIds") or ("0",)
    _read_template(reader, problems)
    extra = _read_extra(reader, problems)
    reader.check()
    profile = read_profile(JsonReader(classic, path, places), own)  # rule 1
    # Rule 4
    policy = IntunePolicy(token_id=token_id, scope_tags=scope_tags, unknown=tree.unknown, extra=extra)
    return attrs.evolve(profile, policy=policy, problems=(*problems, *profile.problems))


@check_arguments
def policy_to_intune(
    profile: EnrollmentProfile | IntuneProfile,
    *,
    token_id: str = "",
    writable_only: bool = False,
    force: bool = False,
) -> IntuneExport:
    """Return *profile* as an enrollment policy, complete as Graph requires for a new one.

    Args:
        profile: The profile; a policy that was read keeps its id and the settings that pyade does not know.
        token_id: Intune's id of the token; "" for the token of *profile*.
        writable_only: True omits members that Graph does not accept, for the body of a POST.
        force: Omit what a policy cannot contain, with a warning, instead of raising an error.

    Raises:
        IntuneError: A policy cannot contain the profile, or the token is unknown; each problem names a
            setting.

    Source: Microsoft Graph, ``deviceManagementConfigurationPolicy``.
    """
    given = profile if isinstance(profile, IntuneProfile) else IntuneProfile(profile=profile)
    policy = given.policy or IntunePolicy()
    token = token_id or given.token_id
    members = _members_to_write(given)
    settings = write_tree(members, policy.unknown)
    unsupported = list(_unsupported(given, policy, settings))
    errors = [*_write_errors(given, token, writable_only=writable_only), *(() if force else unsupported)]
    if errors:  # rule 2
        raise IntuneError(tuple(errors))
    outside: dict[str, Any] = {}
    if not writable_only:
        # With another token it is another policy, so it has no id.
        known_id = given.policy_id if token in ("", given.token_id) else ""
        outside = {**({"id": known_id} if known_id else {}), **dict(sorted(policy.extra.items()))}
    body = {
        TYPE: f"#microsoft.graph.{POLICY}",
        **outside,
        "name": given.profile.name,
        "description": given.profile.description,
        "platforms": policy_settings.PLATFORM,
        "technologies": policy_settings.TECHNOLOGY,
        "roleScopeTagIds": sorted(policy.scope_tags),
        **({"creationSource": f"{policy_settings.TOKEN_PREFIX}{token}"} if token else {}),
        "templateReference": {"templateId": policy_settings.TEMPLATE},  # rule 3
        SETTINGS: settings,
    }
    problems = [attrs.evolve(problem, severity=Severity.WARNING) for problem in unsupported]
    return IntuneExport(
        body=body, problems=(*problems, *_changed_on_write(given, token), *unmapped_settings(given.profile))
    )


def not_for_macs(body: Mapping[str, Any]) -> str:
    """Return why a policy is not an enrollment policy for Macs that can be read; "" if it is one."""
    reference = body.get("templateReference")
    template = str(reference.get("templateId") or "") if isinstance(reference, Mapping) else ""
    technologies = str(body.get("technologies") or "").replace(" ", "").split(",")
    platform = str(body.get("platforms") or "")
    of_template = policy_settings.OTHER_TEMPLATES.get(template.partition("_")[0], "")
    if template.partition("_")[0] != _TEMPLATE:
        if of_template or (policy_settings.TECHNOLOGY in technologies and platform.lower() != "macos"):
            return f"an enrollment policy for Macs, not for {(of_template or platform)[:80] or 'no platform'}"
        if policy_settings.TECHNOLOGY not in technologies:
            return "a policy for enrollment, not for another purpose"
    if not list_items(body.get(SETTINGS)):
        return "a policy with its settings: export it with $expand=settings"
    return ""


def _read_token(reader: JsonReader, problems: list[Problem]) -> str:
    source = reader.text("creationSource")
    if source.startswith(policy_settings.TOKEN_PREFIX):
        return source.removeprefix(policy_settings.TOKEN_PREFIX)
    allowed = f"{policy_settings.TOKEN_PREFIX} and the id of a token: its token is unknown"
    fix = "export the profiles of its token as well, or pass token_id when you write it"
    problems.append(warning(reader.path_of("creationSource"), source, allowed, fix))
    return ""


def _read_template(reader: JsonReader, problems: list[Problem]) -> None:
    reference = reader.take("templateReference")
    template = reference.get("templateId") if isinstance(reference, Mapping) else None
    if template and template != policy_settings.TEMPLATE:
        fix = "check the profile; it is written with the known template"
        where = f"{reader.path_of('templateReference')}.templateId"
        problems.append(warning(where, str(template), f"the known template, {policy_settings.TEMPLATE}", fix))
    for name in ("platforms", "technologies"):  # not_for_macs checked them
        reader.take(name)


def _read_extra(reader: JsonReader, problems: list[Problem]) -> dict[str, Any]:
    kept = {name: value for name, value in reader.rest().items() if value is not None}
    for name, value in kept.items():
        if name not in _INFORMATIVE and value not in (False, "", []):
            fix = "check whether you need it"
            problems.append(
                warning(reader.path_of(name), "", "not a member that pyade knows; kept for writing", fix)
            )
    return kept


def _members_to_write(given: IntuneProfile) -> dict[str, Any]:
    """Return the members of a classic profile, as the settings catalog expects them."""
    members = classic_members(given)
    for key in members[KEYS]:
        members[policy_settings.screen_member(key)] = True
    # A policy requires names if it prefills the account.
    prefills = members[fields.ACCOUNT_NAME] or members[fields.FULL_NAME]
    members[fields.MANUAL] = members[fields.MANUAL] or not prefills
    # If they differ, the lock follows the setting for removal.
    members[fields.MANDATORY] = members[fields.LOCKED]
    rotation = given.password_rotation
    members[fields.ROTATION] = DEFAULT_PASSWORD_ROTATION.days if rotation is None else rotation.period_days
    return members


def _write_errors(given: IntuneProfile, token: str, *, writable_only: bool) -> Iterator[Problem]:
    if given.profile.user_affinity.kind is AffinityKind.LEGACY:
        allowed = "none or modern: an enrollment policy has no Setup Assistant (legacy)"
        fix = 'use UserAffinity.modern("https://...") or none(), or keep the classic profile'
        yield Problem("user_affinity", str(AffinityKind.LEGACY), allowed, fix)
    if not token and (writable_only or given.policy is None):
        yield Problem("token_id", "", "the id of the policy's token", "pass token_id")


def _unsupported(
    given: IntuneProfile, policy: IntunePolicy, settings: list[dict[str, Any]]
) -> Iterator[Problem]:
    """Yield the problems with settings that a policy cannot contain."""
    profile = given.profile
    for setting in ("auto_advance", "requires_network_tether"):
        if getattr(profile, setting):
            yield _no_setting(setting, "True", "set it to False, or keep the classic profile")
    if not profile.supervised:
        allowed = "true: Macs of an enrollment policy are always supervised"
        yield Problem("supervised", "False", allowed, "set it to True")
    screens = {*policy_settings.SCREENS.values(), *(kept.screen for kept in policy.unknown)}
    for key in sorted({*map(str, profile.skip), *given.other_screens} - screens):
        yield _no_setting("skip", key, "show the screen, or keep the classic profile")
    yield from _unsupported_extra(given)
    values = {"", *values_in(settings)}
    for kept in policy.unknown:
        if kept.parent not in values:
            allowed = f"only below {kept.parent}, which the profile no longer selects"
            yield Problem("policy.unknown", kept.definition, allowed, "remove it from policy.unknown")


def _unsupported_extra(given: IntuneProfile) -> Iterator[Problem]:
    for name, value in sorted(given.extra.items()):
        has_value = value not in (None, False, "", []) and not name.endswith("DateTime")
        if has_value and name not in (fields.ROTATION, fields.APP):
            fix = (
                "set the group with setEnrollmentTimeDeviceMembershipTarget" if name == fields.GROUPS else ""
            )
            yield _no_setting(f"extra.{name}", "", fix or "remove it from extra")
    rotation = given.extra.get(fields.ROTATION) or {}
    if (given.password_rotation and given.password_rotation.hours_after_viewing) or rotation.keys() - _PERIOD:
        yield _no_setting(f"extra.{fields.ROTATION}", "", "use only a period in days")
    if given.extra.get(fields.APP) and given.profile.user_affinity.kind is not AffinityKind.MODERN:
        yield _no_setting(
            f"extra.{fields.APP}", "True", "remove it, or use modern authentication, which includes it"
        )


def _changed_on_write(given: IntuneProfile, token: str) -> Iterator[Problem]:
    """Yield warnings for settings that were written with another value, without a loss."""
    profile, account = given.profile, given.profile.primary_account
    if profile.mandatory != profile.locked:
        allowed = f"the same as locked, which is {profile.locked}: a policy has one lock for both"
        yield warning("mandatory", str(profile.mandatory), allowed, "set both to the same value")
    if not token:
        fix = "pass token_id before you send it to Graph"
        yield warning("creationSource", "", "the token of the policy, which is unknown", fix)
    if given.is_default:
        fix = "make the new policy the default with setDefaultProfile"
        yield warning("is_default", "True", "not part of an enrollment policy", fix)
    if given.profile.administrator is not None and given.password_rotation is None:
        days = str(DEFAULT_PASSWORD_ROTATION.days)
        fix = f"set {fields.ROTATION} in extra for another period"
        yield warning(fields.ROTATION, days, "a period; Intune's default was written", fix)
    if account is not None and account.restrict_editing and not (account.account_name or account.full_name):
        setting = "primary_account.restrict_editing"
        yield warning(setting, "True", "true only with prefilled names: it was omitted", "prefill the names")


def _no_setting(setting: str, value: str, fix: str) -> Problem:
    return Problem(setting, value, "only what an enrollment policy has a setting for", fix)


_TEMPLATE: Final = policy_settings.TEMPLATE.partition("_")[0]
_PERIOD: Final = frozenset({fields.PERIOD, fields.DELAY})
_INFORMATIVE: Final = frozenset({"settingCount", "isAssigned", "createdDateTime", "lastModifiedDateTime"})
