"""The enrollment profile: what a Mac does in Setup Assistant when it enrolls."""

from __future__ import annotations

from datetime import datetime

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity
from pyade.core.profile.diff import ProfileDiff, compare
from pyade.core.profile.plan import ProfilePlan
from pyade.core.profile.plan_rows import make_plan
from pyade.core.profile.preview import ProfilePreview, make_preview
from pyade.core.profile.review import ProfileReview, make_review
from pyade.core.profile.settings import ProfileSettings
from pyade.core.profile.validation import check
from pyade.errors import ProfileError
from pyade.text import short_repr


@attrs.frozen(kw_only=True)
class EnrollmentProfile(ProfileSettings):
    """The settings that a Mac receives when it enrolls; every rule is checked when the object is made.

    Account settings switch ``await_final_configuration`` on, and ``auto_advance`` with an administrator
    switches ``skip_primary_account`` on, whatever was given. Both attributes have the effective value. The
    given value is effective again in a profile without the reason, as ``attrs.evolve`` makes it.

    Attributes:
        name: Shown to administrators; 1 to 125 characters. Group rules use it.
        url: The address of the enrollment profile: https, at most 2000 characters, percent-encoded.
        description: Kept by the server; no Mac receives it.
        user_affinity: Whether the Mac belongs to a user, and how that user signs in.
        await_final_configuration_given: What was given for ``await_final_configuration``: True holds the
            user in Setup Assistant until the server releases the Mac.
        locked: True if the user cannot remove the management profile; needs ``supervised``.
        primary_account: The user's account; None leaves it to the user. Needs user affinity.
        administrator: One more administrator account.
        standard_user: True if the account that Setup Assistant creates is no administrator; needs
            ``administrator``.
        skip_primary_account_given: What was given for ``skip_primary_account``: True if no account is created
            in Setup Assistant, so that the administrator is the only one; needs ``administrator``, and no
            ``primary_account``.
        managed_user: Account name of the local user that is managed, on macOS 11 and later, with variables
            as in a primary account; "" for the account that Setup Assistant creates.
        requires_network_tether: True if the Mac creates its accounts only while it is on a wired network.
        department: Shown under About Configuration; at most 125 characters, "" for none.
        support_phone_number: Shown under Need Help; at most 50 characters, "" for none.
        support_email_address: At most 250 characters, "" for none.
        skip: The Setup Assistant screens to hide; all others show. Keys that pyade does not know are kept.
        anchor_certificates: DER certificates that the Mac trusts when it connects to the server.
        language: For auto advance: ISO 639-1, else 639-2, lower case; "" for none.
        region: For auto advance: ISO 3166-1, two capitals; "" for none.
        auto_advance: True if Setup Assistant continues by itself; macOS 11 and later, wired network. With an
            administrator and without a primary account no user is needed.
        org_magic: The same text for all services of one organization, 1 to 256 characters; the host of
            ``url`` if not given.
        supervised: True if the Mac is to be supervised.
        mandatory: True if the user may not skip the enrollment.
        extra: Apple's keys that pyade does not model, sent as they are.
        apple_keys: The keys of the JSON that Apple sent, if this profile was read from it; else None.
        apple_spelling: Values of that JSON that mean the same and are written otherwise than pyade would,
            such as another order of screens; written back as long as the setting is not changed.

    Raises:
        ProfileError: At least one rule is broken; ``problems`` contains every one.

    Source: specification, "Create an Apple enrollment profile"; Apple, device assignment, ``Profile``.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    def __attrs_post_init__(self) -> None:
        errors = tuple(problem for problem in check(self) if problem.severity is Severity.ERROR)
        if errors:
            raise ProfileError(errors)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every warning about the profile, with its fix; never an error."""
        return tuple(check(self))

    @check_arguments
    def diff(self, other: EnrollmentProfile | None) -> ProfileDiff:
        """Return what changes if *other* replaces this profile, and which Macs the change reaches.

        Args:
            other: The new content; None if this profile itself is new: every setting is then a change from
                "not set".
        """
        return compare(None, self) if other is None else compare(self, other)

    def review(self) -> ProfileReview:
        """Return every setting with its value in words, as before a profile is created; it prints as a list.

        It depends on no version of macOS, and shows no secret.

        Source: specification, "Create an Apple enrollment profile", the last page: "Review the summary of
        changes, and then select Create".
        """
        return make_review(self)

    def plan(self, version: MacOSVersion | str) -> ProfilePlan:
        """Return the effect of each setting on that version of macOS, and why; it prints as a table.

        Raises:
            VersionError: The text is not a version.
        """
        return make_plan(self, MacOSVersion.of(version))

    def preview(self, version: MacOSVersion | str | None = None) -> ProfilePreview:
        """Return what a person meets in Setup Assistant, in order: text when printed, a picture in notebooks.

        Args:
            version: Only this version of macOS; None for a column for each major version.

        Raises:
            VersionError: The text is not a version.
        """
        return make_preview(self, None if version is None else MacOSVersion.of(version))


@check_arguments
@attrs.frozen(kw_only=True)
class DefinedProfile:
    """A profile that was defined at Apple.

    Attributes:
        profile_uuid: Apple's id for exactly this content.
        profile: The content, with the settings that Apple's JSON lacks.
        digest: ``builders.dep_profile.digest`` of what was sent, so that equal content is defined once.
        defined_at: When it was defined, UTC.
        individual: True if it was defined for devices that an administrator chose individually. Such devices
            are recognised by this ``profile_uuid``, and do not get the default profile; equal content may be
            defined once more for the default.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    profile_uuid: str
    profile: EnrollmentProfile
    digest: str
    defined_at: datetime
    individual: bool = False
