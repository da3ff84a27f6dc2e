"""The limits and intervals of the Intune service, for checks and for planning.

The defaults of ``SyncPolicy`` apply to pyade's own sync; here they are repeated as Intune's.

Source: Microsoft Intune, "Manage Apple device enrollment program tokens" (2026-04-15), whose table is on the
page for iPhone and iPad and applies to the same tokens; specification, "Sync restrictions".
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

MAX_PROFILES_PER_TOKEN: Final = 1_000
"""Enrollment profiles per token. Source: the table, the same since 2020."""

MAX_DEVICES_PER_PROFILE: Final = 200_000
"""Devices per enrollment profile. Source: the table."""

MAX_DEVICES_PER_TOKEN: Final = 200_000
"""Devices per token; above it syncs have problems. Source: the table; 75,000 in 2020, 60,000 later."""

MAX_TOKENS_PER_TENANT: Final = 2_000
"""Tokens per tenant; the value of a tenant is ``maximumDepTokens``. Source: the table; Microsoft Graph."""

MAX_CONFIGURATOR_PROFILES: Final = 1_000
"""Profiles for Apple Configurator. Source: Microsoft Intune, what's new, 2020."""

AUTOMATIC_SYNC_INTERVAL: Final = timedelta(hours=24)
"""Between automatic syncs of Macs. Source: specification, "Sync restrictions"."""

AUTOMATIC_SYNC_INTERVAL_MOBILE: Final = timedelta(hours=12)
"""Between automatic syncs of iPhone, iPad, Apple TV and Vision. Source: the page for these."""

SYNC_COOLDOWN: Final = timedelta(minutes=15)
"""Between syncs that an administrator requests. Source: specification, "Sync restrictions"."""

SYNC_TIME_LIMIT: Final = timedelta(minutes=15)
"""Maximum duration of a sync. Source: specification, "Sync restrictions"."""

FULL_SYNC_INTERVAL: Final = timedelta(days=7)
"""Between full syncs, from Apple's limits for traffic. Source: specification, "Sync restrictions"."""

DEVICES_PER_MINUTE: Final = 3_000
"""Approximate number of devices that Apple returns per minute. Source: the page for iPhone and iPad."""

RELEASED_DEVICES_KEPT: Final = (timedelta(days=30), timedelta(days=45))
"""Earliest and latest time until a released device disappears. Source: specification, "Sync restrictions"."""

SCEP_TIME_LIMIT: Final = timedelta(minutes=15)
"""Maximum time from the download of the profile to the certificate. Source: the page for iPhone and iPad."""

PASSWORD_ROTATION_DAYS: Final = (1, 180)
"""Allowed period for the password of the local administrator. Source: Intune, LAPS for macOS (2025-11-17)."""

PASSWORD_ROTATION_HOURS: Final = (1, 24)
"""Allowed delay after an administrator viewed it. Source: Graph, ``depProfileDelayAutoRotationSetting``."""

DEFAULT_PASSWORD_ROTATION: Final = timedelta(days=180)
"""Period if the profile names none. Source: Intune, LAPS for macOS."""
