"""What an export of a tenant holds, and what is doubtful about it as a whole.

The rules of this file:

1. A token's default profile is the one that its navigation property names; where the export has none, it is
   the only profile of the token that says so itself. A default that is not known is a finding.
2. Intune names an enrollment policy with ``ECV2_`` and without: both are the same profile.

Source: Microsoft Graph (beta), ``depOnboardingSetting``. That a plain list of tokens has no navigation
property, and that ``isDefault`` of a classic profile can be relied on, is observed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from pyade.builders.intune import names
from pyade.builders.intune.device import IntuneDevice
from pyade.builders.intune.limits import (
    MAX_DEVICES_PER_PROFILE,
    MAX_DEVICES_PER_TOKEN,
    MAX_PROFILES_PER_TOKEN,
    MAX_TOKENS_PER_TENANT,
)
from pyade.builders.intune.model import IntuneProfile
from pyade.builders.intune.reading import warning
from pyade.builders.intune.token import MAC_DEFAULT, IntuneToken
from pyade.core.problems import Problem
from pyade.core.profile import EnrollmentProfile


@attrs.frozen(kw_only=True)
class IntuneTenant:
    """What an export holds.

    Attributes:
        tokens: The server tokens, without their secrets.
        profiles: The profiles for Macs, classic ones and enrollment policies.
        devices: The devices of all platforms.
        others: Objects that pyade has no use for, or could not read, as they came but for
            passwords.
        findings: What concerns the export as a whole, an error for each object that could not be read, and
            the findings of everything in it.
    """

    tokens: tuple[IntuneToken, ...] = ()
    profiles: tuple[IntuneProfile, ...] = ()
    devices: tuple[IntuneDevice, ...] = ()
    others: tuple[Mapping[str, Any], ...] = attrs.field(default=(), repr=False)
    findings: tuple[Problem, ...] = ()

    def default_profile(self, token: IntuneToken) -> IntuneProfile | None:
        """Return the default profile of *token* for Macs.

        Where the export does not say which one it is, that is the only profile of the token with
        ``is_default``.

        Returns:
            The profile; None if the token has none, several say so, or it is not in the export.
        """
        wanted = plain_id(token.default_profile_id)
        if wanted:
            return next((one for one in self.profiles if plain_id(one.id) == wanted), None)
        marked = [one for one in _profiles_of(self, token) if one.is_default]
        return marked[0] if len(marked) == 1 else None

    def devices_of(self, profile: IntuneProfile) -> tuple[IntuneDevice, ...]:
        """Return the devices that are to have *profile*, which Intune names with and without ``ECV2_``."""
        wanted = plain_id(profile.id)
        return tuple(one for one in self.devices if wanted and plain_id(one.requested_profile_id) == wanted)


def plain_id(id_: str) -> str:
    """Return the id of a profile without the mark of a policy."""
    return id_.removeprefix(names.POLICY_PREFIX)


def doubtful(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield what concerns the export as a whole: more than Intune allows, and defaults that are not known."""
    yield from _beyond_limits(tenant)
    yield from _unknown_defaults(tenant)


def differences(policy: IntuneProfile, mirror: IntuneProfile) -> Iterator[Problem]:
    """Yield what a policy says in another way than its mirror; Intune makes the one of the other."""
    # Under the name by which a setting is given stands what holds.
    found = [
        field.alias
        for field in attrs.fields(EnrollmentProfile)
        if field.alias and getattr(policy.profile, field.alias) != getattr(mirror.profile, field.alias)
    ]
    if found:
        fix = "compare both in Intune; the policy was taken"
        yield warning(
            f"profile {policy.id}", "the same in the policy and in its mirror", fix, ", ".join(found)
        )


def _profiles_of(tenant: IntuneTenant, token: IntuneToken) -> Iterator[IntuneProfile]:
    """Yield the profiles of *token*; one without an id belongs to the only token that there is."""
    for one in tenant.profiles:
        if one.token_id == token.id if one.token_id else len(tenant.tokens) == 1:
            yield one


def _unknown_defaults(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield each token of which the export has profiles, but does not tell which one is the default."""
    for token in tenant.tokens:
        profiles = list(_profiles_of(tenant, token))
        if tenant.default_profile(token) is not None:
            continue
        where = f"token {token.id or token.name}.{MAC_DEFAULT}"
        marked = [one.profile.name for one in profiles if one.is_default]
        if token.default_profile_id:
            fix = "export the profiles with it, or see why it could not be read"
            yield warning(where, "a profile of this export", fix, token.default_profile_id)
        elif marked:
            fix = f"export the token with $expand={MAC_DEFAULT}"
            yield warning(where, "one profile with isDefault, not several", fix, ", ".join(marked))
        elif profiles:
            fix = (
                f"choose a default: new Macs get no profile without one; or export with $expand={MAC_DEFAULT}"
            )
            yield warning(where, "a default profile, and no profile has isDefault", fix)


def _beyond_limits(tenant: IntuneTenant) -> Iterator[Problem]:
    """Yield what is more than Intune allows; devices are counted where their profile tells the token."""
    per_token = Counter(profile.token_id for profile in tenant.profiles if profile.token_id)
    wanted = Counter(one.requested_profile_id for one in tenant.devices if one.requested_profile_id)
    counts = [
        *((f"token {one.id or one.name}", one.device_count, MAX_DEVICES_PER_TOKEN) for one in tenant.tokens),
        *((f"token {key}", count, MAX_PROFILES_PER_TOKEN) for key, count in per_token.items()),
        *((f"profile {key}", count, MAX_DEVICES_PER_PROFILE) for key, count in wanted.items()),
        ("tenant", len(tenant.tokens), MAX_TOKENS_PER_TENANT),
    ]
    for what, count, limit in counts:
        if count > limit:
            yield warning(what, f"at most {limit} for Intune", "split it before you go back", str(count))
