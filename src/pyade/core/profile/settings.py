"""The settings of an enrollment profile, and the ones that others switch on.

``EnrollmentProfile`` documents each setting and checks them all; plan, review and diff read them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import attrs

from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import UserAffinity

_KEY_OF_VALUE = {key.value: key for key in SkipKeys}


# A converter returns a value of a wrong type unchanged: the rules report it with all other problems.


def _skip_keys(values: Iterable[SkipKeys | str]) -> frozenset[SkipKeys | str]:
    # A single key is taken as one key, never as its letters.
    keys: Iterable[SkipKeys | str] = [values] if isinstance(values, str) else values
    try:
        return frozenset(_KEY_OF_VALUE.get(key, key) for key in keys)
    except TypeError:
        return cast("frozenset[SkipKeys | str]", values)


def _certificates(values: Iterable[bytes] | bytes) -> tuple[bytes, ...]:
    # A single certificate is taken as one certificate.
    try:
        return (values,) if isinstance(values, bytes) else tuple(values)
    except TypeError:
        return cast("tuple[bytes, ...]", values)


def _extra(values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(values)
    except (TypeError, ValueError):
        return cast("dict[str, Any]", values)


def _organization(settings: ProfileSettings) -> str:
    return host_of(settings.url)


@attrs.frozen(kw_only=True)
class ProfileSettings:
    """The settings of a profile; ``EnrollmentProfile`` documents the attributes."""

    name: str
    url: str
    description: str = ""
    user_affinity: UserAffinity = attrs.field(factory=UserAffinity.none)
    await_final_configuration_given: bool = attrs.field(default=True, alias="await_final_configuration")
    locked: bool = False
    primary_account: PrimaryAccount | None = None
    administrator: AdministratorAccount | None = None
    standard_user: bool = False
    skip_primary_account_given: bool = attrs.field(default=False, alias="skip_primary_account")
    managed_user: str = ""
    requires_network_tether: bool = False
    department: str = ""
    support_phone_number: str = ""
    support_email_address: str = ""
    skip: frozenset[SkipKeys | str] = attrs.field(default=frozenset(), converter=_skip_keys)
    anchor_certificates: tuple[bytes, ...] = attrs.field(default=(), converter=_certificates)
    language: str = ""
    region: str = ""
    auto_advance: bool = False
    org_magic: str = attrs.field(default=attrs.Factory(_organization, takes_self=True))
    supervised: bool = True
    mandatory: bool = True
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=_extra, hash=False)
    apple_keys: frozenset[str] | None = None
    apple_spelling: Mapping[str, Any] = attrs.field(factory=dict, converter=_extra, hash=False)

    @property
    def has_account_settings(self) -> bool:
        """True if the profile has settings of accounts: one, two, or the managed user."""
        return self.primary_account is not None or self.administrator is not None or self.managed_user != ""

    @property
    def await_final_configuration(self) -> bool:
        """True if the Mac is held in Setup Assistant until the server releases it.

        Account settings switch it on, whatever was given: accounts are only created while the Mac waits.

        Source: specification, "Create an Apple enrollment profile", Account Settings: the setting is enabled
        in the background if it was not configured.
        """
        return self.await_final_configuration_given or self.has_account_settings

    @property
    def skip_primary_account(self) -> bool:
        """True if no account is created in Setup Assistant: the administrator is the only one.

        ``auto_advance`` with an administrator switches it on, whatever was given: no user is there to create
        an account.

        Source: Apple, ``AccountConfiguration``, ``SkipPrimarySetupAccountCreation``. That an unattended
        set-up needs it is observed.
        """
        return self.skip_primary_account_given or (self.auto_advance and self.administrator is not None)

    def dynamic_membership_rule(self) -> str:
        """Return the rule of a Microsoft Entra group that holds the Macs enrolled with this profile's name.

        A double quote in the name is escaped with a backtick.

        Source: specification, "Create an Apple enrollment profile", Basics; Microsoft Entra, rules for
        devices.
        """
        name = self.name.replace("`", "``").replace('"', '`"')
        return f'(device.enrollmentProfileName -eq "{name}")'


GIVEN: Final = {
    "await_final_configuration": "await_final_configuration_given",
    "skip_primary_account": "skip_primary_account_given",
}
"""The settings that others switch on, and the attributes with the values that were given for them."""


def given(profile: ProfileSettings, setting: str) -> object:
    """Return a setting of *profile* as it was given, whether or not others switched it on."""
    return getattr(profile, GIVEN.get(setting, setting))


def switched_on(profile: ProfileSettings) -> tuple[str, ...]:
    """Return the settings of *profile* that were given as False and are True because of others."""
    return tuple(name for name in GIVEN if getattr(profile, name) and not given(profile, name))


def host_of(url: object) -> str:
    """Return the host of *url* in lower case; "" if it has none or is no text."""
    parts = split_url(url) if isinstance(url, str) else None
    return (parts.hostname or "").rstrip(".") if parts else ""


def split_url(url: str) -> SplitResult | None:
    """Return the parts of *url*; None if it has no host or cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname else None
