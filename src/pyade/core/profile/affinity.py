"""User affinity: whether a Mac belongs to a user, how that user signs in, and what follows from it."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from pyade.core.macos.versions import MacOSVersion

MODERN_FROM: Final = MacOSVersion(10, 15)


class AffinityKind(enum.StrEnum):
    """Whether a Mac enrolls with a user, and how the user signs in.

    Attributes:
        NONE: Without a user; for shared Macs.
        MODERN: With a user, who signs in on a web page (Setup Assistant with modern authentication).
        LEGACY: With a user, who enters name and password in Setup Assistant (legacy).
    """

    NONE = "none"
    MODERN = "modern"
    LEGACY = "legacy"


@attrs.frozen(kw_only=True)
class AffinityConsequences:
    """What a kind of user affinity means, in sentences.

    Attributes:
        sign_in: Who authenticates, and where.
        mfa: Whether a second factor can be asked for.
        company_portal: What Company Portal is for on this Mac.
        registration: When the Mac is registered with Microsoft Entra ID.
        compliance: Whether the Mac can be evaluated for compliance.
        conditional_access: When the Mac reaches resources protected by conditional access.
        license: Which license is needed.

    Source: specification, "Create an Apple enrollment profile", User Affinity; "Distribute devices".
    """

    sign_in: str
    mfa: str
    company_portal: str
    registration: str
    compliance: str
    conditional_access: str
    license: str


@attrs.frozen(kw_only=True)
class UserAffinity:
    """Whether a Mac belongs to a user, and how that user signs in: use ``none``, ``modern`` or ``legacy``.

    The rules are checked with the profile that holds it.

    Attributes:
        kind: None, modern or legacy.
        web_url: The page on which the user signs in, on the host of the profile's url; "" unless modern.
    """

    kind: AffinityKind
    web_url: str = ""

    @classmethod
    def none(cls) -> UserAffinity:
        """Return no user affinity: for shared Macs and Macs that need no user data."""
        return cls(kind=AffinityKind.NONE)

    @classmethod
    def modern(cls, configuration_web_url: str) -> UserAffinity:
        """Return Setup Assistant with modern authentication; below macOS 10.15 it falls back to legacy.

        Args:
            configuration_web_url: The https page on which the user signs in, on the host of the
                profile's url.
        """
        return cls(kind=AffinityKind.MODERN, web_url=configuration_web_url)

    @classmethod
    def legacy(cls) -> UserAffinity:
        """Return Setup Assistant (legacy): the user enters name and password in a pane of Apple."""
        return cls(kind=AffinityKind.LEGACY)

    @property
    def consequences(self) -> AffinityConsequences:
        """What this kind means for sign-in, Company Portal, registration, compliance and access."""
        return _CONSEQUENCES[self.kind]

    def on(self, version: MacOSVersion | str) -> AffinityKind:
        """Return the kind that takes effect on that version: modern needs 10.15, else it is legacy.

        Raises:
            VersionError: The text is not a version.
        """
        is_old = MacOSVersion.of(version) < MODERN_FROM
        return AffinityKind.LEGACY if is_old and self.kind is AffinityKind.MODERN else self.kind


_CONSEQUENCES: Final = {
    AffinityKind.NONE: AffinityConsequences(
        sign_in="there is no sign-in",
        mfa="none, as there is no sign-in",
        company_portal="does not work on a Mac without a user",
        registration="not registered with Microsoft Entra ID for a user",
        compliance="not evaluated for a user",
        conditional_access="no access for a user through this Mac's registration",
        license="a device license",
    ),
    AffinityKind.MODERN: AffinityConsequences(
        sign_in="the user signs in on a web page in Setup Assistant before the Mac enrolls",
        mfa="can be asked for on the web page",
        company_portal="the user must sign in to it after Setup Assistant; until then, protected apps send "
        "the user there",
        registration="with Microsoft Entra ID once the user signs in to Company Portal; the Mac is then "
        "one of the user's devices",
        compliance="evaluated once the user has signed in to Company Portal",
        conditional_access="given once the user has signed in to Company Portal",
        license="an Intune license for the user",
    ),
    AffinityKind.LEGACY: AffinityConsequences(
        sign_in="the user types name and password into Setup Assistant before the Mac enrolls; with "
        "Active Directory Federation Services a WS-Trust 1.3 Username/Mixed endpoint is needed",
        mfa="available with user affinity, but not in Setup Assistant, whose pane takes name and password",
        company_portal="the user must sign in to it after Setup Assistant to finish registration",
        registration="with Microsoft Entra ID once the user signs in to Company Portal",
        compliance="evaluated once the user has signed in to Company Portal",
        conditional_access="given once the user has signed in to Company Portal",
        license="an Intune license for the user",
    ),
}
