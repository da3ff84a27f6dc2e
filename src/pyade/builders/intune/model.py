"""What comes of reading Intune's profiles, and what goes into writing them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import msgspec

from pyade.builders.intune import fields
from pyade.builders.intune.json_reader import Members
from pyade.builders.intune.policy_settings import UnknownSetting
from pyade.builders.intune.unmapped import read_extra
from pyade.core.arguments import check_arguments
from pyade.core.problems import Problem
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import Secret, secret_or_none
from pyade.errors import IntuneError


@check_arguments
@attrs.frozen(kw_only=True)
class OwnSettings:
    """What a profile needs and Intune's JSON has no place for, the same for all profiles of an import.

    Attributes:
        url: Where a Mac gets its enrollment profile from your server.
        web_url: The page on which a user signs in, on the same host; needed if a profile uses modern
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
        hours_after_viewing: 1 to 24 after somebody looked at it; None if that changes nothing.
    """

    period_days: int
    hours_after_viewing: int | None = None


@attrs.frozen(kw_only=True)
class IntuneExport:
    """An object in Intune's form, and what could not go with it.

    Attributes:
        body: JSON types, in a fixed order.
        problems: What has no place there.
    """

    body: dict[str, Any]
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> bytes:
        """Return the body as JSON in UTF-8; equal objects give equal bytes.

        Raises:
            IntuneError: It holds what JSON cannot.
        """
        try:
            # json alone indents without its C code, which takes four times as long.
            return msgspec.json.format(_json(self.body), indent=2) + b"\n"
        except (TypeError, ValueError, RecursionError) as exc:
            kind = type(exc).__name__
        # Outside the block above: the error of an encoder holds the whole text, and would hang on this one.
        raise IntuneError((Problem("$", "", f"values of JSON ({kind})", "correct the body"),))


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def plain_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of what JSON can hold, without annotations.

    Raises:
        IntuneError: JSON cannot hold all of it.
    """
    members = Members(value, "extra")
    members.check()
    return members.rest()


def _tags(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


@check_arguments
@attrs.frozen(kw_only=True)
class IntunePolicy:
    """What an enrollment policy holds beside the profile.

    Attributes:
        token_id: Intune's id of the token that it is for; "" if the export did not tell.
        scope_tags: Who may see and manage it; ``0`` is Intune's default.
        unknown: Settings that pyade does not know, as they came; put back when the policy is written.
        extra: Members of the policy that pyade has no use for, as they came.
    """

    token_id: str = ""
    scope_tags: frozenset[str] = attrs.field(default=frozenset({"0"}), converter=_tags)
    unknown: tuple[UnknownSetting, ...] = ()
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=plain_mapping, hash=False, repr=False)


@check_arguments
@attrs.frozen(kw_only=True)
class IntuneProfile:
    """An enrollment profile with what else Intune's JSON says.

    Attributes:
        profile: What pyade and Apple understand of it.
        id: Intune's, ``{token id}_{profile id}``, or ``ECV2_{token id}_{policy id}`` for an enrollment policy
            and its mirror; "" if it has none yet.
        is_default: What the object said of itself. It has been seen false for a profile that was the default:
            rely on ``IntuneToken.default_profile_id``.
        other_screens: Keys of screens that no Mac has; kept for Intune, not sent to Apple.
        extra: Members that pyade has no setting for or does not know, as they came.
        policy: What its enrollment policy holds beside it; None for a classic profile and for a mirror whose
            policy is not in the export.
        administrator_password: Secret. What a file held, to be moved to a store of secrets; never written.
        problems: What has no equal or was taken for something else when it was read; not compared.

    Raises:
        IntuneError: ``extra`` holds what has a setting.
    """

    profile: EnrollmentProfile
    id: str = ""
    is_default: bool = False
    other_screens: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=plain_mapping, hash=False, repr=False)
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
        """True if nobody makes an account in Setup Assistant, as ``profile`` says."""
        return self.profile.skip_primary_account

    @property
    def standard_user(self) -> bool:
        """True if the user's account is no administrator, as ``profile`` says."""
        return self.profile.standard_user

    @property
    def token_id(self) -> str:
        """Intune's id of the token that it belongs to; "" if that is not known."""
        if self.policy is not None and self.policy.token_id:
            return self.policy.token_id
        return self.id.removeprefix(fields.POLICY_PREFIX).rpartition("_")[0]

    @property
    def is_policy_backed(self) -> bool:
        """True if it is an enrollment policy, or the read-only mirror of one among the classic profiles."""
        return self.policy is not None or self.id.startswith(fields.POLICY_PREFIX)

    @property
    def policy_id(self) -> str:
        """Intune's id of its enrollment policy; "" if there is none."""
        return self.id.rpartition("_")[2] if self.id.startswith(fields.POLICY_PREFIX) else ""

    @property
    def password_rotation(self) -> PasswordRotation | None:
        """When the administrator's password changes; None if it is not said, which is 180 days for Intune."""
        setting = self.extra.get(fields.ROTATION)
        if setting is None:
            return None
        delay = setting.get(fields.DELAY) or {}
        hours = delay.get(fields.ON_VIEW_HOURS) if delay.get(fields.ON_VIEW) else None
        return PasswordRotation(period_days=setting.get(fields.PERIOD) or 0, hours_after_viewing=hours)


def _contradictions(given: IntuneProfile) -> Iterator[Problem]:
    if given.policy is not None:
        yield from _policy_contradictions(given, given.policy)
    members = Members(given.extra, "extra")
    read_extra(members, [])
    yield from members.problems
    for name in sorted(fields.SETTING_MEMBERS & given.extra.keys()):
        yield Problem(f"extra.{name}", "", "members that have no setting", "use the setting instead")


def _policy_contradictions(given: IntuneProfile, policy: IntunePolicy) -> Iterator[Problem]:
    in_id = given.id.removeprefix(fields.POLICY_PREFIX).rpartition("_")[0]
    if given.policy_id and policy.token_id != in_id:
        allowed = f"the token in id, which is {in_id!r}"
        yield Problem("policy.token_id", policy.token_id[:80], allowed, "change both, or neither")
    for name in sorted(fields.POLICY_MEMBERS & policy.extra.keys()):
        yield Problem(f"policy.extra.{name}", "", "members that have no setting", "use the setting instead")
