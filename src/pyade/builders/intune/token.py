"""Convert Intune's ``depOnboardingSetting`` to the state of a server token, and back.

The object has no secrets: it reports the state of a token, but cannot transfer the token.

Source: Microsoft Graph (beta), ``depOnboardingSetting``. That code 3 means that Apple's terms are not
accepted, and that 0 and null mean success, is observed; other codes are not documented.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Self

import attrs

from pyade.builders.intune.json_reader import (
    EXPORT_DEEPER,
    TYPE,
    JsonReader,
    format_optional_time,
    list_items,
)
from pyade.builders.intune.model import IntuneExport, clean_mapping, tags
from pyade.builders.intune.object_types import DEVICES, TOKEN, check_kind
from pyade.core.arguments import check_arguments
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import suspended_reason
from pyade.core.problems import Problem, warning
from pyade.core.token import Portal, Token, TokenStatus, status_at
from pyade.core.values import OpenStrEnum
from pyade.errors import TermsError
from pyade.text import short_repr

MAC_DEFAULT: Final = "defaultMacOsEnrollmentProfile"

TERMS_NOT_ACCEPTED: Final = 3
"""The ``lastSyncErrorCode`` for terms of Apple that an administrator must accept."""

SYNC_FAILED: Final = -1
"""Written for any other failure. Not a code of Intune, but reports treat all except 0 and null as failure."""


class TokenType(OpenStrEnum):
    """The Apple portal of a token, in Intune's terms."""

    NONE = "none"
    DEP = "dep"
    APPLE_SCHOOL_MANAGER = "appleSchoolManager"


@attrs.frozen(kw_only=True)
class IntuneToken:
    """The state of a server token, without its secrets.

    Attributes:
        name: Its name.
        id: Intune's id; "" if it has none.
        apple_id: The Apple ID that downloaded it and must renew it.
        token_type: The portal.
        expires_at: When Apple stops accepting it, UTC.
        uploaded_at: When it was last uploaded, UTC.
        sync_requested_at: When a sync was last requested, UTC; may be before ``synced_at``, because Intune
            does not count automatic syncs.
        synced_at: When a sync last succeeded, UTC.
        sync_error_code: Error code of the last sync; 0 or None if it succeeded.
        device_count: Number of known devices.
        shares_data: True if an administrator agreed to share data with Apple.
        scope_tags: Intune's scope tags, which limit who can see and manage it.
        default_profile_id: Intune's id of the default profile for Macs; "" if there is none, or the export
            does not have it: see ``IntuneTenant.default_profile``.
        extra: Members that pyade does not use or does not know, as they were read.
        problems: Warnings, and values that Intune's JSON cannot contain; not compared.
    """

    def __repr__(self) -> str:
        return short_repr(self)

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
    scope_tags: frozenset[str] = attrs.field(default=frozenset(), converter=tags)
    default_profile_id: str = ""
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=clean_mapping, hash=False, repr=False)
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
        """Return the state of *token*; ``problems`` has the values that Intune's JSON cannot contain.

        Args:
            token: The token; its secrets are not used.
            state: The sync state; its last run counts as the last request, even if it was automatic.
            device_count: Number of known devices.
            id: Intune's id, or your own.
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
            problems=tuple(_unmapped(token, failure, code)),
        )

    @property
    def portal(self) -> Portal | None:
        """Apple's portal; None if Intune's value is unknown."""
        portals = {TokenType.DEP: Portal.BUSINESS, TokenType.APPLE_SCHOOL_MANAGER: Portal.SCHOOL}
        return portals.get(self.token_type)

    @property
    def sync_result(self) -> str:
        """The result of the last sync as text; unknown codes stay numbers."""
        if self.sync_error_code == TERMS_NOT_ACCEPTED:
            return "terms not accepted"
        if self.sync_error_code:
            return f"unknown ({self.sync_error_code})"
        return "never synced" if self.synced_at is None else "succeeded"

    def status(self, now: datetime) -> TokenStatus:
        """Return the status of the token at *now*, UTC, from its expiry only, not from an error code."""
        return status_at(self.expires_at, now)


@check_arguments(but=("body",))
def token_from_intune(body: Mapping[str, Any], *, path: str = "$") -> IntuneToken:
    """Return the state of a token from one object of Intune.

    Args:
        body: A ``depOnboardingSetting``. Only the id of an expanded default profile is read, and expanded
            lists are ignored: ``read_intune`` reads them.
        path: Path of the object, for problems.

    Raises:
        IntuneError: The object has another type, or a member has the wrong type.

    Source: Microsoft Graph, ``depOnboardingSetting``.
    """
    reader = JsonReader(body, path)
    reader.check()
    check_kind(body, TOKEN, path)
    default = single_object(reader.take(MAC_DEFAULT))
    is_cut = isinstance(default, str)
    default_id = JsonReader({} if is_cut else default, reader.path_of(MAC_DEFAULT))
    token = IntuneToken(
        name=reader.text("tokenName"),
        id=reader.text("id"),
        apple_id=reader.text("appleIdentifier"),
        token_type=TokenType(reader.text("tokenType") or TokenType.NONE),
        expires_at=reader.time("tokenExpirationDateTime"),
        uploaded_at=reader.time("lastModifiedDateTime"),
        sync_requested_at=reader.time("lastSyncTriggeredDateTime"),
        synced_at=reader.time("lastSuccessfulSyncDateTime"),
        sync_error_code=reader.number("lastSyncErrorCode"),
        device_count=reader.number("syncedDeviceCount") or 0,
        shares_data=bool(reader.flag("dataSharingConsentGranted")),
        scope_tags=reader.texts("roleScopeTagIds") or (),
        default_profile_id=default_id.text("id"),
    )
    reader.problems += default_id.problems
    problems = [
        warning(reader.path_of(name), "", "not part of a token", "read them with read_intune")
        for name in EXPANDED_LISTS
        if reader.take(name)
    ]
    if is_cut:
        problems.append(warning(reader.path_of(MAC_DEFAULT), "", "an object; it was ignored", EXPORT_DEEPER))
    problems += _state_problems(reader, token)
    for name, value in reader.rest().items():
        if value not in (None, False, "", []):
            allowed, fix = "no equivalent in pyade; kept for writing", "check whether you need it"
            problems.append(warning(reader.path_of(name), "", allowed, fix))
    reader.check()
    return attrs.evolve(token, extra=reader.rest(), problems=tuple(problems))


def single_object(value: Any) -> Any:
    """Return the object of a navigation property, even if it is a list with one object; {} for none."""
    found = list_items(value)
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
        "tokenExpirationDateTime": format_optional_time(token.expires_at),
        "lastModifiedDateTime": format_optional_time(token.uploaded_at),
        "lastSyncTriggeredDateTime": format_optional_time(token.sync_requested_at),
        "lastSuccessfulSyncDateTime": format_optional_time(token.synced_at),
        "lastSyncErrorCode": token.sync_error_code,
        "syncedDeviceCount": token.device_count,
        "dataSharingConsentGranted": token.shares_data,
        "roleScopeTagIds": sorted(token.scope_tags),
        MAC_DEFAULT: default,
    }
    return IntuneExport(body=dict(sorted(token.extra.items())) | body, problems=token.problems)


def _state_problems(reader: JsonReader, token: IntuneToken) -> Iterable[Problem]:
    if token.sync_error_code == TERMS_NOT_ACCEPTED:
        fix = "an administrator of the organization must accept them in Apple's portal"
        yield warning(reader.path_of("lastSyncErrorCode"), "3", "Apple's new terms are not accepted", fix)
    elif token.sync_error_code:
        fix = "sync the token with pyade, which reports why it fails"
        yield warning(
            reader.path_of("lastSyncErrorCode"),
            str(token.sync_error_code),
            "the last sync failed with a code that is not documented",
            fix,
        )
    if not token.shares_data:
        fix = "get the consent: a Token needs its time"
        yield warning(
            reader.path_of("dataSharingConsentGranted"),
            "",
            "no administrator agreed to share data with Apple",
            fix,
        )


def _unmapped(token: Token, failure: str, code: int | None) -> Iterable[Problem]:
    for name in ("consented_at", "server_uuid", "org_id", "org_name"):
        if getattr(token, name):
            yield warning(name, "", "not part of Intune's JSON", "it stays in the token")
    if code == SYNC_FAILED:
        allowed = f"no known code of Intune: {SYNC_FAILED} was written"
        yield warning("last_error", failure, allowed, "see the sync state")


EXPANDED_LISTS: Final = ("enrollmentProfiles", DEVICES)
