"""The server token: what connects pyade to one MDM server of Apple Business or School Manager.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs

from pyade.core.problems import Problem, Severity
from pyade.errors import TokenError

if TYPE_CHECKING:
    from pyade.crypto.keypair import TokenKeypair


class Portal(enum.StrEnum):
    """Apple's portal in which the MDM server was added."""

    BUSINESS = "Apple Business Manager"
    SCHOOL = "Apple School Manager"


@attrs.frozen(kw_only=True)
class Token:
    """One server token with what the person who made it agreed to.

    Secrets are not part of ``repr``. Several tokens live side by side, told apart by ``name``.

    Attributes:
        name: The caller's own name for it, unique in a store.
        consumer_key: Stable over renewals by the same portal user.
        consumer_secret: Secret.
        access_token: Secret.
        access_secret: Secret.
        access_token_expiry: When Apple stops accepting it, UTC; None if the file did not say.
        apple_id: The Apple ID that was used in the portal and must be used to renew.
        consented_at: When somebody agreed to share user and device data with Apple, UTC.
        portal: Business or School.
        scope_tags: Who may see and manage it, in the caller's own terms.
        server_uuid: Identity of the MDM server, once ``/account`` told it.
        org_id: Identity of the organisation, once ``/account`` told it.
        org_name: Name of the organisation, once ``/account`` told it.
    """

    name: str
    consumer_key: str
    consumer_secret: str = attrs.field(repr=False)
    access_token: str = attrs.field(repr=False)
    access_secret: str = attrs.field(repr=False)
    access_token_expiry: datetime | None
    apple_id: str
    consented_at: datetime
    portal: Portal = Portal.BUSINESS
    scope_tags: frozenset[str] = attrs.field(default=frozenset(), converter=frozenset)
    server_uuid: str | None = None
    org_id: str | None = None
    org_name: str | None = None
