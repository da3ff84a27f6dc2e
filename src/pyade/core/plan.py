"""."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pyade.core.versions import MacOSVersion

if TYPE_CHECKING:
    from pyade.core.profile import EnrollmentProfile


@attrs.frozen(kw_only=True)
class ProfilePlan:
    """What each setting of a profile does on one version of macOS."""

    version: MacOSVersion


def make_plan(profile: EnrollmentProfile, version: MacOSVersion) -> ProfilePlan:
    """Return the plan of *profile* on *version*."""
    return ProfilePlan(version=version)
