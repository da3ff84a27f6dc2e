"""The results of reading and writing Intune's profiles, and the settings that Intune lacks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import msgspec

from pyade.builders.intune import fields
from pyade.builders.intune.json_reader import JsonReader
from pyade.builders.intune.policy_settings import UnknownSetting
from pyade.builders.intune.unmapped import read_extra
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import Secret, secret_or_none
from pyade.errors import IntuneError
from pyade.text import short_repr


@check_arguments
@attrs.frozen(kw_only=True)
class OwnSettings:
    """The settings that a profile needs and Intune's JSON lacks, the same for all profiles of an import.

    Attributes:
        url: The URL of your server that answers a Mac with its enrollment profile.
        web_url: The page where a user signs in, on the same host; required if a profile uses modern
            authentication.
        anchor_certificates: DER certificates that the Mac trusts when it connects to the server.
        support_email_address: "" for none.
        org_magic: "" for the host of ``url``.
        language: For auto advance; "" for none.
        region: For auto advance; "" for none.
    """

    url: str
    web_url: str = ""
    anchor_certificates: tuple[bytes, ...] = ()
    support_email_address: str = ""
    org_magic: str = ""
    language: str = ""
    region: str = ""


@check_arguments
@attrs.frozen(kw_only=True)
class PasswordRotation:
    """When Intune changes the password of the local administrator.

    Attributes:
        period_days: 1 to 180; 0 for never.
        hours_after_viewing: 1 to 24 hours after an administrator viewed it; None if viewing has no effect.
    """

    period_days: int
    hours_after_viewing: int | None = None


@attrs.frozen(kw_only=True)
class IntuneExport:
    """An object in Intune's JSON, and the problems of converting it.

    Attributes:
        body: JSON types, in a fixed order.
        problems: Warnings for values that Intune's JSON cannot contain, or that were changed.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    body: dict[str, Any]
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> bytes:
        """Return the body as JSON in UTF-8; equal objects result in equal bytes.

        Raises:
            IntuneError: A value cannot be written as JSON.
        """
        try:
            # json does not use its C code to indent, and takes four times as long.
            return msgspec.json.format(_encode(self.body), indent=2) + b"\n"
        except (TypeError, ValueError, RecursionError) as exc:
            kind = type(exc).__name__
        # The encoder's error contains the whole text, so it is never chained to this one.
        raise IntuneError((Problem("$", "", f"only JSON values ({kind})", "correct the body"),))


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def clean_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with only JSON values, without annotations.

    Raises:
        IntuneError: A value cannot be written as JSON.
    """
    reader = JsonReader(value, "extra")
    reader.check()
    return reader.rest()


def tags(value: Iterable[str]) -> frozenset[str]:
    """Return scope tags as a set; a converter for attrs."""
    return frozenset(value)


@check_arguments
@attrs.frozen(kw_only=True)
class IntunePolicy:
    """The parts of an enrollment policy that are not in the profile.

    Attributes:
        token_id: Intune's id of its token; "" if the export does not have it.
        scope_tags: Intune's scope tags, which limit who can see and manage it; ``0`` is Intune's default.
        unknown: Settings that pyade does not know, as they were read; restored when the policy is written.
        extra: Members of the policy that pyade does not use, as they were read.
    """

    token_id: str = ""
    scope_tags: frozenset[str] = attrs.field(default=frozenset({"0"}), converter=tags)
    unknown: tuple[UnknownSetting, ...] = ()
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=clean_mapping, hash=False, repr=False)


@check_arguments
@attrs.frozen(kw_only=True)
class IntuneProfile:
    """An enrollment profile with the other members of Intune's JSON.

    Attributes:
        profile: The settings that pyade and Apple support.
        id: Intune's id, ``{token id}_{profile id}``, or ``ECV2_{token id}_{policy id}`` for an enrollment
            policy and its mirror; "" if it has none yet.
        is_default: ``isDefault`` of the object. It was observed as false for a default profile: use
            ``IntuneToken.default_profile_id`` instead.
        other_screens: Keys of screens that no Mac has; kept for Intune, not sent to Apple.
        extra: Members that pyade has no setting for or does not know, as they were read.
        policy: The other parts of its enrollment policy; None for a classic profile and for a mirror whose
            policy is not in the export.
        administrator_password: Secret. The password from the file, to be moved to a secret store; never
            written.
        problems: Warnings from reading, for members without an equivalent or with another meaning; not
            compared.

    Raises:
        IntuneError: ``extra`` has a member that has a setting.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    profile: EnrollmentProfile
    id: str = ""
    is_default: bool = False
    other_screens: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=clean_mapping, hash=False, repr=False)
    policy: IntunePolicy | None = None
    administrator_password: Secret | None = attrs.field(
        default=None, repr=False, eq=False, converter=secret_or_none
    )
    problems: tuple[Problem, ...] = attrs.field(default=(), eq=False)

    def __attrs_post_init__(self) -> None:
        problems = tuple(_contradictions(self))
        if problems:
            raise IntuneError(problems)

    @property
    def skip_primary_account(self) -> bool:
        """True if Setup Assistant creates no account, from ``profile``."""
        return self.profile.skip_primary_account

    @property
    def standard_user(self) -> bool:
        """True if the user's account is not an administrator, from ``profile``."""
        return self.profile.standard_user

    @property
    def token_id(self) -> str:
        """Intune's id of its token; "" if that is unknown."""
        if self.policy is not None and self.policy.token_id:
            return self.policy.token_id
        return self.id.removeprefix(fields.POLICY_PREFIX).rpartition("_")[0]

    @property
    def is_policy_backed(self) -> bool:
        """True if it is an enrollment policy, or its read-only mirror among the classic profiles."""
        return self.policy is not None or self.id.startswith(fields.POLICY_PREFIX)

    @property
    def policy_id(self) -> str:
        """Intune's id of its enrollment policy; "" if there is none."""
        return self.id.rpartition("_")[2] if self.id.startswith(fields.POLICY_PREFIX) else ""

    @property
    def password_rotation(self) -> PasswordRotation | None:
        """When the administrator's password changes; None if not set, which means 180 days for Intune."""
        setting = self.extra.get(fields.ROTATION)
        if setting is None:
            return None
        delay = setting.get(fields.DELAY) or {}
        hours = delay.get(fields.ON_VIEW_HOURS) if delay.get(fields.ON_VIEW) else None
        return PasswordRotation(period_days=setting.get(fields.PERIOD) or 0, hours_after_viewing=hours)


def _contradictions(given: IntuneProfile) -> Iterator[Problem]:
    if given.policy is not None:
        yield from _policy_contradictions(given, given.policy)
    reader = JsonReader(given.extra, "extra")
    read_extra(reader, [])
    yield from reader.problems
    for name in sorted(fields.SETTING_MEMBERS & given.extra.keys()):
        yield Problem(f"extra.{name}", "", "only members without a setting", "use the setting instead")


def _policy_contradictions(given: IntuneProfile, policy: IntunePolicy) -> Iterator[Problem]:
    in_id = given.id.removeprefix(fields.POLICY_PREFIX).rpartition("_")[0]
    if given.policy_id and policy.token_id != in_id:
        allowed = f"the token id in id, which is {in_id!r}"
        yield Problem("policy.token_id", policy.token_id[:80], allowed, "change both, or neither")
    for name in sorted(fields.POLICY_MEMBERS & policy.extra.keys()):
        yield Problem(f"policy.extra.{name}", "", "only members without a setting", "use the setting instead")
