"""An enrollment profile as one of Intune's enrollment policies, and back.

Since 2026 Intune keeps enrollment settings in policies of its settings catalog; classic profiles get no
new settings, and each policy shows among them as a read-only mirror.

The rules of this file:

1. A policy is read through the members of a classic profile, so that both forms, and the mirror, say the
   same.
2. What a policy cannot hold is named before anything is written. Setup Assistant (legacy) has no form in
   a policy at all; the rest is left out by force, and reported.
3. What is written is complete: with the token, the template and every setting at the top, as Graph refuses
   less.
4. Settings that pyade does not know survive; see ``policy_tree``.

Source: Microsoft Graph (beta), ``deviceManagementConfigurationPolicy``; shapes and ids are observed in live
tenants. Modern authentication is the only kind of sign-in that Graph was seen to take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.builders.intune import fields, policy_settings
from pyade.builders.intune.fields import KEYS
from pyade.builders.intune.json_reader import TYPE, Members, items, warning
from pyade.builders.intune.limits import DEFAULT_PASSWORD_ROTATION
from pyade.builders.intune.model import IntuneExport, IntunePolicy, IntuneProfile, OwnSettings
from pyade.builders.intune.object_types import POLICY, check_kind
from pyade.builders.intune.policy_settings import SETTINGS, read_tree, values_in, write_tree
from pyade.builders.intune.profile import classic_members, left_out, read_profile
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem, Severity
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import IntuneError


@check_arguments(but=("body",))
def policy_from_intune(body: Mapping[str, Any], own: OwnSettings, *, path: str = "$") -> IntuneProfile:
    """Return the profile of one enrollment policy for Macs.

    Args:
        body: A ``deviceManagementConfigurationPolicy`` with its settings (``$expand=settings``).
        own: What Intune's JSON has no place for.
        path: Where the object is, for problems and problems.

    Returns:
        The profile, with ``policy``; its ``id`` is the one of the policy's mirror.

    Raises:
        IntuneError: It is for another platform or purpose, has no settings, a setting has a value that is not
            known, or the profile breaks a rule.

    Source: Microsoft Graph, ``deviceManagementConfigurationPolicy``.
    """
    members = Members(body, path)
    members.check()
    check_kind(body, POLICY, path)
    if reason := not_for_macs(body):
        raise IntuneError(
            (Problem(path, "", reason, "read it as what it is, or export it with its settings"),)
        )
    problems: list[Problem] = []
    tree = read_tree(members, problems)
    if body.get(f"{SETTINGS}@odata.nextLink"):
        members.wrong(SETTINGS, "all settings: the last page is missing")
    policy_id, token_id = members.text("id"), _read_token(members, problems)
    classic = {
        "id": f"{fields.POLICY_PREFIX}{token_id}_{policy_id}" if policy_id else "",
        fields.NAME: members.text("name"),
        "description": members.text("description"),
        fields.SUPERVISED: True,
        **{name: value for name, value in tree.members.items() if not policy_settings.is_screen(name)},
        KEYS: [
            policy_settings.key_of(name)
            for name, value in tree.members.items()
            if policy_settings.is_screen(name) and value
        ],
    }
    places = {fields.NAME: members.at("name"), KEYS: members.at(SETTINGS), **tree.places}
    scope_tags = members.texts("roleScopeTagIds") or ("0",)
    _read_template(members, problems)
    extra = _read_extra(members, problems)
    members.check()
    found = read_profile(Members(classic, path, places), own)
    policy = IntunePolicy(token_id=token_id, scope_tags=scope_tags, unknown=tree.unknown, extra=extra)
    return attrs.evolve(found, policy=policy, problems=(*problems, *found.problems))


@check_arguments
def policy_to_intune(
    profile: EnrollmentProfile | IntuneProfile,
    *,
    token_id: str = "",
    writable_only: bool = False,
    force: bool = False,
) -> IntuneExport:
    """Return *profile* as an enrollment policy, complete as Graph wants it for a new one.

    Args:
        profile: The profile; a policy that was read keeps its id and the settings that pyade does not know.
        token_id: Intune's id of the token that it is for; "" for the one that *profile* belongs to.
        writable_only: True leaves out what Graph does not take: the body of a POST.
        force: Leave out what a policy cannot hold, and report it, instead of refusing.

    Raises:
        IntuneError: A policy cannot hold it, or no token is known; each problem names a setting.

    Source: Microsoft Graph, ``deviceManagementConfigurationPolicy``.
    """
    given = profile if isinstance(profile, IntuneProfile) else IntuneProfile(profile=profile)
    policy = given.policy or IntunePolicy()
    token = token_id or given.token_id
    members = _members_to_write(given)
    settings = write_tree(members, policy.unknown)
    lost = list(_lost(given, policy, settings))
    errors = [*_refusals(given, token, writable_only=writable_only), *(() if force else lost)]
    if errors:
        raise IntuneError(tuple(errors))
    outside: dict[str, Any] = {}
    if not writable_only:
        # For another token it is another policy.
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
        "templateReference": {"templateId": policy_settings.TEMPLATE},
        SETTINGS: settings,
    }
    problems = [attrs.evolve(problem, severity=Severity.WARNING) for problem in lost]
    return IntuneExport(body=body, problems=(*problems, *_doubtful(given, token), *left_out(given.profile)))


def not_for_macs(body: Mapping[str, Any]) -> str:
    """Return why a policy is not read as an enrollment profile for Macs; "" if it is one."""
    reference = body.get("templateReference")
    template = str(reference.get("templateId") or "") if isinstance(reference, Mapping) else ""
    technologies = str(body.get("technologies") or "").replace(" ", "").split(",")
    platform = str(body.get("platforms") or "")
    of_template = policy_settings.OTHER_TEMPLATES.get(template.partition("_")[0], "")
    if template.partition("_")[0] != _TEMPLATE:
        if of_template or (policy_settings.TECHNOLOGY in technologies and platform.lower() != "macos"):
            return f"an enrollment policy for Macs, not for {(of_template or platform)[:80] or 'no platform'}"
        if policy_settings.TECHNOLOGY not in technologies:
            return "a policy for enrollment, not for something else"
    if not items(body.get(SETTINGS)):
        return "a policy with its settings, not only its name: export it with $expand=settings"
    return ""


def _read_token(members: Members, problems: list[Problem]) -> str:
    source = members.text("creationSource")
    if source.startswith(policy_settings.TOKEN_PREFIX):
        return source.removeprefix(policy_settings.TOKEN_PREFIX)
    allowed = f"{policy_settings.TOKEN_PREFIX} and the id of a token: which token it is for is not known"
    fix = "export the profiles of its token, too, or give token_id when you write it"
    problems.append(warning(members.at("creationSource"), allowed, fix, source))
    return ""


def _read_template(members: Members, problems: list[Problem]) -> None:
    reference = members.take("templateReference")
    template = reference.get("templateId") if isinstance(reference, Mapping) else None
    if template and template != policy_settings.TEMPLATE:
        fix = "check the profile; it is written with the one that is known"
        where = f"{members.at('templateReference')}.templateId"
        problems.append(
            warning(where, f"the template that is known, {policy_settings.TEMPLATE}", fix, str(template))
        )
    for name in ("platforms", "technologies"):  # not_for_macs has looked at them
        members.take(name)


def _read_extra(members: Members, problems: list[Problem]) -> dict[str, Any]:
    kept = {name: value for name, value in members.rest().items() if value is not None}
    for name, value in kept.items():
        if name not in _INFORMATIVE and value not in (False, "", []):
            fix = "check whether you need it"
            problems.append(
                warning(members.at(name), "not a member that pyade knows; kept for the way back", fix)
            )
    return kept


def _members_to_write(given: IntuneProfile) -> dict[str, Any]:
    """Return the members of a classic profile, in the words of the catalog."""
    members = classic_members(given)
    for key in members[KEYS]:
        members[policy_settings.screen_member(key)] = True
    # A policy asks for names where it prefills any.
    prefills = members[fields.ACCOUNT_NAME] or members[fields.FULL_NAME]
    members[fields.MANUAL] = members[fields.MANUAL] or not prefills
    # Where both are not alike, removal is what a lock is about.
    members[fields.MANDATORY] = members[fields.LOCKED]
    rotation = given.password_rotation
    members[fields.ROTATION] = DEFAULT_PASSWORD_ROTATION.days if rotation is None else rotation.period_days
    return members


def _refusals(given: IntuneProfile, token: str, *, writable_only: bool) -> Iterator[Problem]:
    if given.profile.user_affinity.kind is AffinityKind.LEGACY:
        allowed = "none or modern: Setup Assistant (legacy) has no form in an enrollment policy"
        fix = 'use UserAffinity.modern("https://...") or none(), or keep the classic profile'
        yield Problem("user_affinity", str(AffinityKind.LEGACY), allowed, fix)
    if not token and (writable_only or given.policy is None):
        yield Problem("token_id", "", "the id of the token that the policy is for", "give token_id")


def _lost(given: IntuneProfile, policy: IntunePolicy, settings: list[dict[str, Any]]) -> Iterator[Problem]:
    """Yield what a policy cannot hold."""
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
    yield from _lost_extra(given)
    values = {"", *values_in(settings)}
    for kept in policy.unknown:
        if kept.parent not in values:
            allowed = f"only below {kept.parent}, which the profile no longer says"
            yield Problem("policy.unknown", kept.definition, allowed, "remove it from policy.unknown")


def _lost_extra(given: IntuneProfile) -> Iterator[Problem]:
    for name, value in sorted(given.extra.items()):
        is_said = value not in (None, False, "", []) and not name.endswith("DateTime")
        if is_said and name not in (fields.ROTATION, fields.APP):
            fix = (
                "set the group with setEnrollmentTimeDeviceMembershipTarget" if name == fields.GROUPS else ""
            )
            yield _no_setting(f"extra.{name}", "", fix or "remove it from extra")
    rotation = given.extra.get(fields.ROTATION) or {}
    if (given.password_rotation and given.password_rotation.hours_after_viewing) or rotation.keys() - _PERIOD:
        yield _no_setting(f"extra.{fields.ROTATION}", "", "give a period in days only")
    if given.extra.get(fields.APP) and given.profile.user_affinity.kind is not AffinityKind.MODERN:
        yield _no_setting(f"extra.{fields.APP}", "True", "it comes with modern authentication only")


def _doubtful(given: IntuneProfile, token: str) -> Iterator[Problem]:
    """Yield what was written in another way than it was said, without a loss."""
    profile, account = given.profile, given.profile.primary_account
    if profile.mandatory != profile.locked:
        allowed = f"the same as locked, which is {profile.locked}: a policy has one lock for both"
        yield warning("mandatory", allowed, "set both alike if it matters", str(profile.mandatory))
    if not token:
        fix = "give token_id before you send it to Graph"
        yield warning("creationSource", "the token of the policy, which is not known", fix)
    if given.is_default:
        fix = "make the new policy the default with setDefaultProfile"
        yield warning("is_default", "no place in an enrollment policy", fix, "True")
    if given.profile.administrator is not None and given.password_rotation is None:
        days = str(DEFAULT_PASSWORD_ROTATION.days)
        fix = f"say it with {fields.ROTATION} in extra if it should be another"
        yield warning(fields.ROTATION, "a period; Intune's own was written", fix, days)
    if account is not None and account.restrict_editing and not (account.account_name or account.full_name):
        setting = "primary_account.restrict_editing"
        yield warning(
            setting, "true only with names that are prefilled: it was left out", "prefill them", "True"
        )


def _no_setting(setting: str, value: str, fix: str) -> Problem:
    return Problem(setting, value, "only what an enrollment policy has a setting for", fix)


_TEMPLATE: Final = policy_settings.TEMPLATE.partition("_")[0]
_PERIOD: Final = frozenset({fields.PERIOD, fields.DELAY})
_INFORMATIVE: Final = frozenset({"settingCount", "isAssigned", "createdDateTime", "lastModifiedDateTime"})
