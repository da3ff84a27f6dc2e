"""An enrollment profile as Intune's ``depMacOSEnrollmentProfile``, and back.

The rules of this file:

1. Intune's address (``configurationEndpointUrl``) is never taken for the profile's ``url``: Macs would enroll
   into the old tenant. What has no place in Intune's JSON comes from ``OwnSettings``.
2. What pyade has no setting for is kept in ``extra`` and written back; where it would have an effect, a
   problem names it.
3. A second export says the same as the first, byte for byte.
4. Reading keeps what was said; writing says what holds. Where account settings, or ``auto_advance``, switch
   another setting on, both ways report it.
5. An enrollment policy and its mirror (the id begins with ``ECV2_``) are written as a classic profile only by
   force: a copy that Intune does not take back.

Source: Microsoft Graph (beta), ``depMacOSEnrollmentProfile`` and its bases; how they relate to Apple's keys
is observed, or inferred from the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from pyade.builders.intune import fields
from pyade.builders.intune.fields import SKIP, read_accounts, read_screens, write_accounts, write_screens
from pyade.builders.intune.json_reader import TYPE, Members, masked_passwords, warning
from pyade.builders.intune.model import IntuneExport, IntuneProfile, OwnSettings
from pyade.builders.intune.object_types import PROFILE, check_kind
from pyade.builders.intune.unmapped import read_extra
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.settings import host_of, switched_on
from pyade.errors import IntuneError, ProfileError


@check_arguments(but=("body",))
def profile_from_intune(body: Mapping[str, Any], own: OwnSettings, *, path: str = "$") -> IntuneProfile:
    """Return the profile of one object of Intune's.

    Args:
        body: A ``depMacOSEnrollmentProfile``, with its type or without, of any age.
        own: What Intune's JSON has no place for.
        path: Where the object is, for problems and problems.

    Raises:
        IntuneError: It is of another platform, a member has the wrong kind, or the profile breaks a rule.

    Source: Microsoft Graph, ``depMacOSEnrollmentProfile``.
    """
    body = masked_passwords(body)
    members = Members(body, path)
    members.check()
    check_kind(body, PROFILE, path)
    return read_profile(members, own)


def read_profile(members: Members, own: OwnSettings) -> IntuneProfile:
    """Return the profile that members of a classic profile say, wherever they came from.

    Raises:
        IntuneError: A member has the wrong kind, or the profile breaks a rule.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {setting: members.text(name) for name, setting in fields.TEXTS.items()}
    values |= {setting: bool(members.flag(name)) for name, setting in fields.FLAGS.items()}
    profile_id, is_default = members.text("id"), bool(members.flag("isDefault"))
    skip, elsewhere = read_screens(members, problems)
    affinity = _read_affinity(members, own)
    has_user = affinity.kind is not AffinityKind.NONE
    accounts = read_accounts(members, problems, has_user=has_user)
    has_accounts = accounts.primary is not None or accounts.administrator is not None
    awaits = {members.flag(name) for name in (fields.AWAIT, fields.OLD_AWAIT)}
    if members.text(fields.ENDPOINT):
        fix = "the url is the one of your own settings"
        problems.append(warning(members.at(fields.ENDPOINT), "not used: it leads to the old tenant", fix))
    if has_accounts and True not in awaits:
        allowed = "true: accounts are only made while the Mac waits"
        problems.append(warning(members.at(fields.AWAIT), allowed, "it was switched on, as Intune does it"))
    if values["auto_advance"] and accounts.administrator is not None:
        accounts = _unattended(members, accounts, problems)
    if values["mandatory"] != values["locked"]:
        allowed = "the same as isMandatory: sources disagree which of them the portal's lock is"
        problems.append(
            warning(members.at("profileRemovalDisabled"), allowed, "check that it is as you want")
        )
    extra = read_extra(members, problems)
    members.check()
    try:
        profile = EnrollmentProfile(
            **values,
            url=own.url,
            user_affinity=affinity,
            # Nothing said is what the accounts say; false is remembered.
            await_final_configuration=True in awaits or (has_accounts and False not in awaits),
            primary_account=accounts.primary,
            administrator=accounts.administrator,
            standard_user=accounts.standard_user,
            skip_primary_account=accounts.skip_primary,
            skip=skip,
            anchor_certificates=own.anchor_certificates,
            support_email_address=own.support_email_address,
            language=own.language,
            region=own.region,
            org_magic=own.org_magic or host_of(own.url),
        )
    except ProfileError as exc:
        raise IntuneError(tuple(_at_path(problem, members) for problem in exc.problems)) from None
    return IntuneProfile(
        profile=profile,
        id=profile_id,
        is_default=is_default,
        other_screens=elsewhere,
        extra=extra,
        administrator_password=accounts.password,
        problems=tuple(problems),
    )


def _unattended(members: Members, accounts: fields.Accounts, problems: list[Problem]) -> fields.Accounts:
    """Return the accounts of a set-up that nobody attends and that has an administrator."""
    if accounts.skip_primary:
        return accounts
    allowed = "true with autoAdvanceSetupEnabled and an administrator: nobody is there to make an account"
    problems.append(warning(members.at(SKIP), allowed, "it was switched on"))
    if accounts.standard_user:
        allowed = "false with autoAdvanceSetupEnabled and an administrator: it has no effect"
        problems.append(warning(members.at(fields.REGULAR), allowed, "set it to false", "True"))
    primary = accounts.primary
    if primary is not None and not (primary.account_name or primary.full_name):
        return attrs.evolve(accounts, primary=None)  # it only says that nothing is prefilled
    return accounts


@check_arguments
def profile_to_intune(
    profile: EnrollmentProfile | IntuneProfile, *, writable_only: bool = False, force: bool = False
) -> IntuneExport:
    """Return *profile* as a ``depMacOSEnrollmentProfile``.

    The administrator's password is null, Intune's own address is empty, and what has no place in it is in
    ``problems``: Apple's ``url`` and sign-in page, which Intune has its own of, are not counted.

    Args:
        profile: The profile; what was imported keeps its id and what pyade has no setting for.
        writable_only: True leaves out what Graph does not take: the body of a POST or PATCH.
        force: Write a classic copy of an enrollment policy or of its mirror, too.

    Raises:
        IntuneError: It is such a policy or mirror, or says what Intune refuses.

    Source: Microsoft Graph, ``depMacOSEnrollmentProfile``.
    """
    given = profile if isinstance(profile, IntuneProfile) else IntuneProfile(profile=profile)
    problems = tuple(_refusals(given, force=force))
    if problems:
        raise IntuneError(problems)
    body = classic_members(given)
    if writable_only:
        body = {name: value for name, value in body.items() if name not in fields.READ_ONLY}
    return IntuneExport(body=body, problems=(*left_out(given.profile), *_policy_left_out(given)))


def classic_members(given: IntuneProfile) -> dict[str, Any]:
    """Return *given* in the members of a classic profile."""
    settings, kind = given.profile, given.profile.user_affinity.kind
    return {
        TYPE: f"#microsoft.graph.{PROFILE}",
        "id": given.id,
        "isDefault": given.is_default,
        fields.ENDPOINT: "",
        **{
            name: getattr(settings, setting)
            for name, setting in (*fields.TEXTS.items(), *fields.FLAGS.items())
        },
        fields.USER: kind is not AffinityKind.NONE,
        fields.WEB: kind is AffinityKind.MODERN,
        fields.AWAIT: settings.await_final_configuration,
        **write_screens((*settings.skip, *given.other_screens)),
        **write_accounts(settings),
        **{name: default for name, (default, _) in fields.NO_EQUAL.items()},
        **dict(sorted(given.extra.items())),
    }


def _read_affinity(members: Members, own: OwnSettings) -> UserAffinity:
    has_user, has_page = bool(members.flag(fields.USER)), bool(members.flag(fields.WEB))
    if has_page and not has_user:
        members.wrong(fields.WEB, f"false without {fields.USER}: there is nobody to sign in")
    if has_page and members.peek(fields.SSO) is True:
        members.wrong(fields.SSO, f"false with {fields.WEB}: Intune refuses both together")
    if has_page and not own.web_url:
        members.wrong(fields.WEB, "true only where own.web_url names the page on which users sign in")
    if not has_user:
        return UserAffinity.none()
    return UserAffinity.modern(own.web_url) if has_page else UserAffinity.legacy()


def _at_path(problem: Problem, members: Members) -> Problem:
    """Return a broken rule with the member that breaks it, or the own setting."""
    name = fields.MEMBER_OF.get(problem.setting)
    own = problem.setting.removeprefix("user_affinity.")
    return attrs.evolve(problem, setting=members.at(name) if name else f"own.{own}")


def _refusals(given: IntuneProfile, *, force: bool) -> Iterator[Problem]:
    if given.is_policy_backed and not force:
        fix = "write it as a policy (policy_to_intune), or use force=True for a classic copy"
        yield Problem("id", given.id, "no enrollment policy: its classic form is read-only", fix)
    if given.extra.get(fields.SSO) and given.profile.user_affinity.kind is AffinityKind.MODERN:
        fix = f"remove {fields.SSO} from extra, or use another user affinity"
        yield Problem(fields.SSO, "True", f"false with {fields.WEB}: Intune refuses both together", fix)


def _policy_left_out(given: IntuneProfile) -> Iterator[Problem]:
    for kept in given.policy.unknown if given.policy else ():
        yield warning(
            "policy.unknown", "no place in a classic profile", "write it as a policy", kept.definition
        )


def left_out(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield what a profile says and neither form of Intune's has a place for."""
    for setting in ("anchor_certificates", "support_email_address", "language", "region"):
        if getattr(profile, setting):
            yield warning(setting, "no place in Intune's JSON", "give it again when you import")
    if profile.org_magic != host_of(profile.url):
        yield warning("org_magic", "no place in Intune's JSON", "give it again when you import")
    if profile.managed_user:
        fix = "give it to the profile again when you import"
        yield warning("managed_user", "no place in Intune's JSON", fix, profile.managed_user)
    if profile.administrator is not None and profile.administrator.password_hash:
        fix = "Intune makes a password of its own"
        yield warning("administrator.password_hash", "no place in Intune's JSON", fix)
    yield from _written_as_it_holds(profile)
    for key in sorted(profile.extra):
        yield warning(f"extra.{key[:80]}", "no place in Intune's JSON", "it is only known to Apple")


def _written_as_it_holds(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield what was given in another way than it is written."""
    for setting in switched_on(profile):
        allowed = "true was written, as it holds: other settings switch it on"
        yield warning(setting, allowed, "set it to True, so that the way back gives the same", "False")
    if profile.standard_user and profile.skip_primary_account:
        allowed = "false was written: it has no effect where nobody makes an account"
        yield warning("standard_user", allowed, "set it to False", "True")
