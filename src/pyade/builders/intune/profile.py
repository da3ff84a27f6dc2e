"""Convert Intune's ``depMacOSEnrollmentProfile`` to an enrollment profile, and back.

The rules of this file:

1. Never use Intune's address (``configurationEndpointUrl``) as the profile's ``url``, because Macs would
   enroll in the old tenant. ``OwnSettings`` supplies the settings that Intune's JSON lacks.
2. Keep members without a setting in ``extra`` and write them back; add a problem for each that would have an
   effect.
3. A second export is equal to the first, byte for byte.
4. Reading keeps the given values; writing uses the effective values. If account settings, or
   ``auto_advance``, switch another setting on, both report it.
5. Write an enrollment policy or its mirror (the id begins with ``ECV2_``) as a classic profile only with
   *force*: Intune does not accept that copy as the policy.

Source: Microsoft Graph (beta), ``depMacOSEnrollmentProfile`` and its bases; the relation to Apple's keys is
observed, or inferred from the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from pyade.builders.intune import fields
from pyade.builders.intune.fields import SKIP, read_accounts, read_screens, write_accounts, write_screens
from pyade.builders.intune.json_reader import TYPE, JsonReader, mask_passwords
from pyade.builders.intune.model import IntuneExport, IntuneProfile, OwnSettings
from pyade.builders.intune.object_types import PROFILE, check_kind
from pyade.builders.intune.unmapped import read_extra
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem, warning
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.settings import host_of, switched_on
from pyade.errors import IntuneError, ProfileError


@check_arguments(but=("body",))
def profile_from_intune(body: Mapping[str, Any], own: OwnSettings, *, path: str = "$") -> IntuneProfile:
    """Return the profile of one object from Intune.

    Args:
        body: A ``depMacOSEnrollmentProfile`` of any version, with or without its type.
        own: The settings that Intune's JSON lacks.
        path: Path of the object, for problems.

    Raises:
        IntuneError: The object is for another platform, a member has the wrong type, or the profile breaks a
            rule.

    Source: Microsoft Graph, ``depMacOSEnrollmentProfile``.
    """
    body = mask_passwords(body)
    reader = JsonReader(body, path)
    reader.check()
    check_kind(body, PROFILE, path)
    return read_profile(reader, own)


def read_profile(reader: JsonReader, own: OwnSettings) -> IntuneProfile:
    """Return the profile from the members of a classic profile or of a converted policy.

    Raises:
        IntuneError: A member has the wrong type, or the profile breaks a rule.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {setting: reader.text(name) for name, setting in fields.TEXTS.items()}
    values |= {setting: bool(reader.flag(name)) for name, setting in fields.FLAGS.items()}
    profile_id, is_default = reader.text("id"), bool(reader.flag("isDefault"))
    skip, elsewhere = read_screens(reader, problems)
    affinity = _read_affinity(reader, own)
    has_user = affinity.kind is not AffinityKind.NONE
    accounts = read_accounts(reader, problems, has_user=has_user)
    has_accounts = accounts.primary is not None or accounts.administrator is not None
    awaits = {reader.flag(name) for name in (fields.AWAIT, fields.OLD_AWAIT)}
    if reader.text(fields.ENDPOINT):  # rule 1
        fix = "the url comes from OwnSettings"
        problems.append(
            warning(reader.path_of(fields.ENDPOINT), "", "not used: it belongs to the old tenant", fix)
        )
    if has_accounts and True not in awaits:
        allowed = "true: accounts are only created while the Mac waits"
        problems.append(
            warning(reader.path_of(fields.AWAIT), "", allowed, "it was switched on, as Intune does")
        )
    if values["auto_advance"] and accounts.administrator is not None:
        accounts = _adapt_to_auto_advance(reader, accounts, problems)
    if values["mandatory"] != values["locked"]:
        allowed = "equal to isMandatory, which differs: it is unclear which of them the portal's lock sets"
        problems.append(warning(reader.path_of("profileRemovalDisabled"), "", allowed, "check both values"))
    extra = read_extra(reader, problems)  # rule 2
    reader.check()
    try:
        profile = EnrollmentProfile(
            **values,
            url=own.url,
            user_affinity=affinity,
            # Rule 4: without a value the accounts decide; false is remembered.
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
        raise IntuneError(tuple(_at_path(problem, reader) for problem in exc.problems)) from None
    return IntuneProfile(
        profile=profile,
        id=profile_id,
        is_default=is_default,
        other_screens=elsewhere,
        extra=extra,
        administrator_password=accounts.password,
        problems=tuple(problems),
    )


def _adapt_to_auto_advance(
    reader: JsonReader, accounts: fields.Accounts, problems: list[Problem]
) -> fields.Accounts:
    """Return the accounts for auto advance with an administrator, where no user creates an account."""
    if accounts.skip_primary:
        return accounts
    allowed = "true with autoAdvanceSetupEnabled and an administrator: no user creates an account"
    problems.append(warning(reader.path_of(SKIP), "", allowed, "it was switched on"))
    if accounts.standard_user:
        allowed = "false with autoAdvanceSetupEnabled and an administrator: it has no effect"
        problems.append(warning(reader.path_of(fields.REGULAR), "True", allowed, "set it to false"))
    primary = accounts.primary
    if primary is not None and not (primary.account_name or primary.full_name):
        return attrs.evolve(accounts, primary=None)  # it only means that nothing is prefilled
    return accounts


@check_arguments
def profile_to_intune(
    profile: EnrollmentProfile | IntuneProfile, *, writable_only: bool = False, force: bool = False
) -> IntuneExport:
    """Return *profile* as a ``depMacOSEnrollmentProfile``.

    The administrator's password is null and Intune's own address is empty. ``problems`` has the settings that
    Intune's JSON lacks, except Apple's ``url`` and sign-in page, for which Intune has its own.

    Args:
        profile: The profile; an imported profile keeps its id and members without a setting.
        writable_only: True omits members that Graph does not accept, for the body of a POST or PATCH.
        force: Also write a classic copy of an enrollment policy or of its mirror.

    Raises:
        IntuneError: It is such a policy or mirror, or has a combination that Intune refuses.

    Source: Microsoft Graph, ``depMacOSEnrollmentProfile``.
    """
    given = profile if isinstance(profile, IntuneProfile) else IntuneProfile(profile=profile)
    problems = tuple(_write_errors(given, force=force))
    if problems:
        raise IntuneError(problems)
    body = classic_members(given)
    if writable_only:
        body = {name: value for name, value in body.items() if name not in fields.READ_ONLY}
    return IntuneExport(
        body=body, problems=(*unmapped_settings(given.profile), *_unmapped_policy_settings(given))
    )


def classic_members(given: IntuneProfile) -> dict[str, Any]:
    """Return *given* as the members of a classic profile."""
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
        **dict(sorted(given.extra.items())),  # rules 2, 3
    }


def _read_affinity(reader: JsonReader, own: OwnSettings) -> UserAffinity:
    has_user, has_page = bool(reader.flag(fields.USER)), bool(reader.flag(fields.WEB))
    if has_page and not has_user:
        reader.add_error(fields.WEB, f"false without {fields.USER}: no user signs in")
    if has_page and reader.peek(fields.SSO) is True:
        reader.add_error(fields.SSO, f"false with {fields.WEB}: Intune refuses both together")
    if has_page and not own.web_url:
        reader.add_error(fields.WEB, "true only if own.web_url is the page where users sign in")
    if not has_user:
        return UserAffinity.none()
    return UserAffinity.modern(own.web_url) if has_page else UserAffinity.legacy()


def _at_path(problem: Problem, reader: JsonReader) -> Problem:
    """Return a problem with the path of its member in Intune's JSON, or the name of its own setting."""
    name = fields.MEMBER_OF.get(problem.setting)
    own = problem.setting.removeprefix("user_affinity.")
    return attrs.evolve(problem, setting=reader.path_of(name) if name else f"own.{own}")


def _write_errors(given: IntuneProfile, *, force: bool) -> Iterator[Problem]:
    if given.is_policy_backed and not force:  # rule 5
        fix = "write it as a policy (policy_to_intune), or use force=True for a classic copy"
        yield Problem("id", given.id, "not an enrollment policy: its classic form is read-only", fix)
    if given.extra.get(fields.SSO) and given.profile.user_affinity.kind is AffinityKind.MODERN:
        fix = f"remove {fields.SSO} from extra, or use another user affinity"
        yield Problem(fields.SSO, "True", f"false with {fields.WEB}: Intune refuses both together", fix)


def _unmapped_policy_settings(given: IntuneProfile) -> Iterator[Problem]:
    for kept in given.policy.unknown if given.policy else ():
        yield warning(
            "policy.unknown", kept.definition, "not part of a classic profile", "write it as a policy"
        )


def unmapped_settings(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield a warning for each setting that neither of Intune's forms can contain."""
    for setting in ("anchor_certificates", "support_email_address", "language", "region"):
        if getattr(profile, setting):
            yield warning(setting, "", "not part of Intune's JSON", "set it again when you import")
    if profile.org_magic != host_of(profile.url):
        yield warning("org_magic", "", "not part of Intune's JSON", "set it again when you import")
    if profile.managed_user:
        fix = "set it in the profile again when you import"
        yield warning("managed_user", profile.managed_user, "not part of Intune's JSON", fix)
    if profile.administrator is not None and profile.administrator.password_hash:
        fix = "Intune creates its own password"
        yield warning("administrator.password_hash", "", "not part of Intune's JSON", fix)
    yield from _effective_values(profile)
    for key in sorted(profile.extra):
        yield warning(f"extra.{key[:80]}", "", "not part of Intune's JSON", "it only exists at Apple")


def _effective_values(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield a warning for each setting whose effective value differs from the given one."""
    for setting in switched_on(profile):  # rule 4
        allowed = "true was written, because other settings switch it on"
        yield warning(
            setting, "False", allowed, "set it to True, so that an import results in the same value"
        )
    if profile.standard_user and profile.skip_primary_account:
        allowed = "false was written: it has no effect if Setup Assistant creates no account"
        yield warning("standard_user", "True", allowed, "set it to False")
