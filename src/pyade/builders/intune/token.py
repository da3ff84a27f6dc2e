"""The state of a server token as Intune's ``depOnboardingSetting``.

The secrets of a token are in no such object: it says how a token fares, and cannot bring one over.

Source: Microsoft Graph (beta), ``depOnboardingSetting``. That code 3 means terms that wait for acceptance,
and that 0 and null mean success, is observed; other codes are known to nobody outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Self

import attrs

from pyade.builders.intune.json_reader import TYPE, WHOLE, Members, items, warning, written_time
from pyade.builders.intune.model import IntuneExport, plain_mapping
from pyade.builders.intune.object_types import DEVICES, TOKEN, check_kind
from pyade.core.arguments import check_arguments
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import suspended_reason
from pyade.core.problems import Problem
from pyade.core.token import Portal, Token, TokenStatus, status_at
from pyade.core.values import OpenStrEnum
from pyade.errors import TermsError

MAC_DEFAULT: Final = "defaultMacOsEnrollmentProfile"

TERMS_NOT_ACCEPTED: Final = 3
"""The ``lastSyncErrorCode`` for terms of Apple's that wait for acceptance."""

SYNC_FAILED: Final = -1
"""Written for any other failure: not Intune's, but reports take everything except 0 and null for one."""


class TokenType(OpenStrEnum):
    """Which portal of Apple's a token is from, in Intune's words."""

    NONE = "none"
    DEP = "dep"
    APPLE_SCHOOL_MANAGER = "appleSchoolManager"


def _tags(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


@attrs.frozen(kw_only=True)
class IntuneToken:
    """How a server token fares, without its secrets.

    Attributes:
        name: Its name.
        id: Intune's; "" if it has none.
        apple_id: The Apple ID with which it was downloaded, and must be renewed.
        token_type: The portal.
        expires_at: When Apple stops accepting it, UTC.
        uploaded_at: When it was uploaded last, UTC.
        sync_requested_at: When a sync was asked for last, UTC; may be before ``synced_at``, as automatic
            syncs do not count for Intune.
        synced_at: When a sync last succeeded, UTC.
        sync_error_code: Of the last sync; 0 or None if it succeeded.
        device_count: How many devices are known.
        shares_data: True if somebody agreed to share data with Apple.
        scope_tags: Who may see and manage it.
        default_profile_id: Intune's id of the default profile for Macs; "" if there is none, or the export
            does not say: see ``IntuneTenant.default_profile``.
        extra: Members that pyade has no use for or does not know, as they came.
        problems: What is worth a look, or has no place; not compared.
    """

    name: str
    id: str = ""
    apple_id: str = ""
    token_type: TokenType = TokenType.NONE
    expires_at: datetime | None = None
    uploaded_at: datetime | None = None
    sync_requested_at: datetime | None = None
    synced_at: datetime | None = None
    sync_error_code: int | None = None
    device_count: int = 0
    shares_data: bool = False
    scope_tags: frozenset[str] = attrs.field(default=frozenset(), converter=_tags)
    default_profile_id: str = ""
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=plain_mapping, hash=False, repr=False)
    problems: tuple[Problem, ...] = attrs.field(default=(), eq=False)

    @classmethod
    def of(
        cls,
        token: Token,
        state: SyncState,
        *,
        device_count: int,
        id: str = "",  # noqa: A002 - as the attribute
        uploaded_at: datetime | None = None,
        default_profile_id: str = "",
    ) -> Self:
        """Return how *token* fares by its sync *state*; ``problems`` says what has no place.

        Args:
            token: Its secrets stay where they are.
            state: The last run counts as the last request, whoever asked for it.
            device_count: How many devices are known.
            id: Intune's, or one of your own.
            uploaded_at: When it was uploaded or renewed, UTC.
            default_profile_id: Intune's id of the default profile for Macs.
        """
        is_school = token.portal is Portal.SCHOOL
        reason = suspended_reason(token, state)
        failure = reason or state.last_error
        succeeded = None if state.succeeded_at is None else 0
        code = SYNC_FAILED if failure else succeeded
        if reason.partition(":")[0] == TermsError.__name__:
            code = TERMS_NOT_ACCEPTED
        return cls(
            name=token.name,
            id=id,
            apple_id=token.apple_id,
            token_type=TokenType.APPLE_SCHOOL_MANAGER if is_school else TokenType.DEP,
            expires_at=token.access_token_expiry,
            uploaded_at=uploaded_at,
            sync_requested_at=state.run_at,
            synced_at=state.succeeded_at,
            sync_error_code=code,
            device_count=device_count,
            shares_data=True,
            scope_tags=token.scope_tags,
            default_profile_id=default_profile_id,
            problems=tuple(_left_out(token, failure, code)),
        )

    @property
    def portal(self) -> Portal | None:
        """Apple's portal; None if Intune's word for it is not known."""
        portals = {TokenType.DEP: Portal.BUSINESS, TokenType.APPLE_SCHOOL_MANAGER: Portal.SCHOOL}
        return portals.get(self.token_type)

    @property
    def sync_result(self) -> str:
        """How the last sync ended, in words; codes whose meaning is not known stay numbers."""
        if self.sync_error_code == TERMS_NOT_ACCEPTED:
            return "terms not accepted"
        if self.sync_error_code:
            return f"unknown ({self.sync_error_code})"
        return "never synced" if self.synced_at is None else "succeeded"

    def status(self, now: datetime) -> TokenStatus:
        """Return whether the token is still good at *now*, UTC, by its expiry and not by an error code."""
        return status_at(self.expires_at, now)


@check_arguments(but=("body",))
def token_from_intune(body: Mapping[str, Any], *, path: str = "$") -> IntuneToken:
    """Return the state of a token from one object of Intune's.

    Args:
        body: A ``depOnboardingSetting``. Of an expanded default profile only the id is taken, and expanded
            lists are left out: ``read_intune`` reads them.
        path: Where the object is, for problems and problems.

    Raises:
        IntuneError: It is something else, or a member has the wrong kind.

    Source: Microsoft Graph, ``depOnboardingSetting``.
    """
    members = Members(body, path)
    members.check()
    check_kind(body, TOKEN, path)
    default = the_only(members.take(MAC_DEFAULT))
    is_cut = isinstance(default, str)
    default_id = Members({} if is_cut else default, members.at(MAC_DEFAULT))
    token = IntuneToken(
        name=members.text("tokenName"),
        id=members.text("id"),
        apple_id=members.text("appleIdentifier"),
        token_type=TokenType(members.text("tokenType") or TokenType.NONE),
        expires_at=members.time("tokenExpirationDateTime"),
        uploaded_at=members.time("lastModifiedDateTime"),
        sync_requested_at=members.time("lastSyncTriggeredDateTime"),
        synced_at=members.time("lastSuccessfulSyncDateTime"),
        sync_error_code=members.number("lastSyncErrorCode"),
        device_count=members.number("syncedDeviceCount") or 0,
        shares_data=bool(members.flag("dataSharingConsentGranted")),
        scope_tags=members.texts("roleScopeTagIds") or (),
        default_profile_id=default_id.text("id"),
    )
    members.problems += default_id.problems
    problems = [
        warning(members.at(name), "not part of a token", "read them with read_intune")
        for name in EXPANDED_LISTS
        if members.take(name)
    ]
    if is_cut:
        problems.append(warning(members.at(MAC_DEFAULT), "an object; it was passed over", WHOLE))
    problems += _doubtful(members, token)
    for name, value in members.rest().items():
        if value not in (None, False, "", []):
            allowed, fix = "no equal; kept for the way back", "check whether you need it"
            problems.append(warning(members.at(name), allowed, fix))
    members.check()
    return attrs.evolve(token, extra=members.rest(), problems=tuple(problems))


def the_only(value: Any) -> Any:
    """Return the object that a navigation property holds, also where it came as a list; {} for none."""
    found = items(value)
    if not found:
        return {}
    return found[0] if len(found) == 1 else value


@check_arguments
def token_to_intune(token: IntuneToken) -> IntuneExport:
    """Return *token* as a ``depOnboardingSetting``; its problems are those of the token.

    Source: Microsoft Graph, ``depOnboardingSetting``.
    """
    default = {"id": token.default_profile_id} if token.default_profile_id else None
    body = {
        TYPE: f"#microsoft.graph.{TOKEN}",
        "id": token.id,
        "appleIdentifier": token.apple_id,
        "tokenName": token.name,
        "tokenType": str(token.token_type),
        "tokenExpirationDateTime": written_time(token.expires_at),
        "lastModifiedDateTime": written_time(token.uploaded_at),
        "lastSyncTriggeredDateTime": written_time(token.sync_requested_at),
        "lastSuccessfulSyncDateTime": written_time(token.synced_at),
        "lastSyncErrorCode": token.sync_error_code,
        "syncedDeviceCount": token.device_count,
        "dataSharingConsentGranted": token.shares_data,
        "roleScopeTagIds": sorted(token.scope_tags),
        MAC_DEFAULT: default,
    }
    return IntuneExport(body=dict(sorted(token.extra.items())) | body, problems=token.problems)


def _doubtful(members: Members, token: IntuneToken) -> Iterable[Problem]:
    if token.sync_error_code == TERMS_NOT_ACCEPTED:
        fix = "an administrator of the organization accepts them in Apple's portal"
        yield warning(members.at("lastSyncErrorCode"), "Apple's new terms wait for acceptance", fix, "3")
    elif token.sync_error_code:
        fix = "sync the token with pyade, which says why it fails"
        yield warning(
            members.at("lastSyncErrorCode"),
            "the last sync failed, and nobody outside knows the code",
            fix,
            str(token.sync_error_code),
        )
    if not token.shares_data:
        fix = "ask for it: a Token needs the time of the consent"
        yield warning(members.at("dataSharingConsentGranted"), "nobody agreed to share data with Apple", fix)


def _left_out(token: Token, failure: str, code: int | None) -> Iterable[Problem]:
    for name in ("consented_at", "server_uuid", "org_id", "org_name"):
        if getattr(token, name):
            yield warning(name, "no place in Intune's JSON", "it stays in the token")
    if code == SYNC_FAILED:
        allowed = f"no code of Intune's is known for it: {SYNC_FAILED} is written"
        yield warning("last_error", allowed, "see the sync state", failure)


EXPANDED_LISTS: Final = ("enrollmentProfiles", DEVICES)
