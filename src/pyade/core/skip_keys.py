"""The Setup Assistant panes of a Mac: what each is, where it exists, and what showing or hiding it means.

Where sources disagree, the specification's gate is the one in force and Apple's own is recorded beside it
(``apple_introduced``, ``apple_deprecated``, ``apple_removed``). A gate never forbids anything: a Mac
ignores a key that it does not know.

Source: Intune, "Setup Assistant screen reference"; Apple, ``SkipKeys`` (other/skipkeys.yaml).
"""

from __future__ import annotations

import enum
from typing import Final, Self

import attrs

from pyade.core.versions import MacOSVersion


def _version(value: str | None) -> MacOSVersion | None:
    return None if value is None else MacOSVersion.parse(value)


@attrs.frozen(kw_only=True)
class _Pane:
    """The facts of one pane, as written in the table below."""

    label: str
    introduced: str
    deprecated: str | None = None
    removed: str | None = None
    apple_introduced: str | None = "same"
    apple_removed: str | None = None
    always_skippable: bool = True
    seen_on_macs: bool = True
    shown: str
    hidden: str
    conditions: str = ""
    note: str = ""
    note_from: str | None = None


class SkipKeys(enum.StrEnum):
    """Apple's key for each Setup Assistant pane of a Mac; the value is the string that Apple expects.

    Keys that Apple adds later are plain strings wherever a SkipKeys is taken.

    Attributes:
        label: The name of the screen, the specification's where it has one.
        introduced: The first macOS with the pane.
        deprecated: The macOS from which Apple discourages the key; the pane is still taken as there.
        removed: The first macOS without the pane.
        apple_introduced: Apple's own first version; None if Apple's schema does not have the key.
        apple_removed: Apple's own first version without the pane.
        always_skippable: False if the pane may appear although it is hidden.
        seen_on_macs: False if Apple's list has the key for Macs but no Mac is known to show the pane.
        when_visible: What the user meets if the screen is shown.
        when_hidden: What it means if the screen is hidden.
        conditions: On which devices, languages or occasions that holds; "" if on all.
        note: Where sources disagree, or what else to know; "" if nothing.
        note_from: The first macOS that the note matters for; None if it holds for all.

    Source: Intune, "Setup Assistant screen reference"; Apple, ``SkipKeys``.
    """

    label: str
    introduced: MacOSVersion
    deprecated: MacOSVersion | None
    removed: MacOSVersion | None
    apple_introduced: MacOSVersion | None
    apple_removed: MacOSVersion | None
    always_skippable: bool
    seen_on_macs: bool
    when_visible: str
    when_hidden: str
    conditions: str
    note: str
    note_from: MacOSVersion | None

    def __new__(cls, value: str, pane: _Pane) -> Self:
        """Make a member that carries the facts of its pane."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = pane.label
        member.introduced = MacOSVersion.parse(pane.introduced)
        member.deprecated = _version(pane.deprecated)
        member.removed = _version(pane.removed)
        own = pane.introduced if pane.apple_introduced == "same" else pane.apple_introduced
        member.apple_introduced = _version(own)
        member.apple_removed = _version(pane.apple_removed)
        member.always_skippable = pane.always_skippable
        member.seen_on_macs = pane.seen_on_macs
        member.when_visible = pane.shown
        member.when_hidden = pane.hidden
        member.conditions = pane.conditions
        member.note = pane.note
        member.note_from = _version(pane.note_from)
        return member

    LOCATION = (
        "Location",
        _Pane(
            label="Location Services",
            introduced="10.11",
            shown="the user is asked whether apps may use the location of the Mac",
            hidden="location services stay off until the user turns them on",
        ),
    )
    RESTORE = (
        "Restore",
        _Pane(
            label="Restore",
            introduced="10.9",
            shown="the user can bring apps and data over from a backup or another computer",
            hidden="the Mac starts empty; Migration Assistant can still be opened later",
            note="later sources say that it always shows from 15.4, and that macOS 15 can offer a data "
            "transfer before enrollment",
            note_from="15.0",
        ),
    )
    APPLE_ID = (
        "AppleID",
        _Pane(
            label="Apple ID",
            introduced="10.9",
            shown="the user can sign in with an Apple Account and use iCloud",
            hidden="no Apple Account is asked for; the user can sign in later",
        ),
    )
    TOS = (
        "TOS",
        _Pane(
            label="Terms and conditions",
            introduced="10.9",
            shown="the user must accept Apple's terms to go on",
            hidden="the user is not asked to accept Apple's terms",
        ),
    )
    BIOMETRIC = (
        "Biometric",
        _Pane(
            label="Touch ID and Face ID",
            introduced="10.12.4",
            shown="the user can enroll a fingerprint",
            hidden="no fingerprint is enrolled; the user can add one later",
            conditions="only on a Mac or keyboard with Touch ID",
        ),
    )
    PAYMENT = (
        "Payment",
        _Pane(
            label="Apple Pay",
            introduced="10.12.4",
            shown="the user can add cards to Apple Pay",
            hidden="no card is added; the user can add one later",
        ),
    )
    SIRI = (
        "Siri",
        _Pane(
            label="Siri",
            introduced="10.12",
            shown="the user can turn Siri on",
            hidden="Siri stays off until the user turns it on",
        ),
    )
    DIAGNOSTICS = (
        "Diagnostics",
        _Pane(
            label="Diagnostics Data",
            introduced="10.9",
            shown="the user can agree to send diagnostic data to Apple",
            hidden="the user is not asked for diagnostic data",
        ),
    )
    DISPLAY_TONE = (
        "DisplayTone",
        _Pane(
            label="Display Tone",
            introduced="10.13.6",
            deprecated="12.0",
            shown="the user can turn True Tone on",
            hidden="True Tone keeps its default",
            conditions="only on displays with True Tone",
            note="Apple deprecates the key from 12.0; the specification names no end",
            note_from="12.0",
        ),
    )
    FILE_VAULT = (
        "FileVault",
        _Pane(
            label="FileVault",
            introduced="10.10",
            shown="the user can encrypt the disk",
            hidden="the user is not offered encryption; a policy or the user can turn it on later",
        ),
    )
    ICLOUD_DIAGNOSTICS = (
        "iCloudDiagnostics",
        _Pane(
            label="iCloud Diagnostics",
            introduced="10.12.4",
            shown="the user can agree to the analysis of iCloud data",
            hidden="the user is not asked for iCloud data",
        ),
    )
    REGISTRATION = (
        "Registration",
        _Pane(
            label="Registration",
            introduced="10.9",
            apple_introduced=None,
            shown="the user can register the Mac with Apple",
            hidden="the Mac is not registered with Apple",
            note="a pane of old macOS: Apple's current list of keys lacks it, the specification offers it",
        ),
    )
    ICLOUD_STORAGE = (
        "iCloudStorage",
        _Pane(
            label="iCloud Storage",
            introduced="10.13.4",
            shown="the user can keep the Desktop and Documents folders in iCloud",
            hidden="both folders stay on the Mac; the user can change that later",
        ),
    )
    APPEARANCE = (
        "Appearance",
        _Pane(
            label="Appearance",
            introduced="10.14",
            shown="the user chooses a light, dark or automatic look",
            hidden="the Mac keeps its default look; the user can change it later",
        ),
    )
    SCREEN_TIME = (
        "ScreenTime",
        _Pane(
            label="Screen Time",
            introduced="10.15",
            shown="the user can turn on reports about the use of the screen, apps and websites",
            hidden="Screen Time stays off until the user turns it on",
        ),
    )
    PRIVACY = (
        "Privacy",
        _Pane(
            label="Privacy",
            introduced="10.13.4",
            shown="the user reads how Apple handles data",
            hidden="the user does not see the information",
        ),
    )
    ACCESSIBILITY = (
        "Accessibility",
        _Pane(
            label="Accessibility",
            introduced="11.0",
            always_skippable=False,
            shown="the user can turn on aids for seeing, hearing and moving, Voice Over among them",
            hidden="Voice Over cannot be used in Setup Assistant",
            conditions="Voice Over needs macOS 11, a wired network and a serial number in Apple "
            "Business Manager or Apple School Manager",
            note="Apple: the key hides the pane only for users added later, not in the first setup",
        ),
    )
    UNLOCK_WITH_WATCH = (
        "UnlockWithWatch",
        _Pane(
            label="Auto unlock with Apple Watch",
            introduced="12.0",
            apple_introduced="15.0",
            shown="the user can let an Apple Watch unlock the Mac",
            hidden="the watch does not unlock the Mac until the user turns it on",
            note="the pane exists from 12.0; Apple lists this key from 15.0 only",
        ),
    )
    TERMS_OF_ADDRESS = (
        "TermsOfAddress",
        _Pane(
            label="Terms of Address",
            introduced="13.0",
            always_skippable=False,
            shown="the user chooses a feminine, masculine or neutral form of address",
            hidden="the Mac keeps its form of address; the user can change it later",
            conditions="only in languages that tell the forms apart",
            note="it can show before the Mac has fetched the profile",
        ),
    )
    WALLPAPER = (
        "Wallpaper",
        _Pane(
            label="Wallpaper",
            introduced="14.1",
            apple_removed="26.0",
            shown="the user chooses a wallpaper",
            hidden="the Mac gets the default wallpaper",
            conditions="after a software upgrade",
            note="Apple removes the key in 26.0; the specification names no end",
            note_from="26.0",
        ),
    )
    ENABLE_LOCKDOWN_MODE = (
        "EnableLockdownMode",
        _Pane(
            label="Lockdown mode",
            introduced="14.0",
            shown="the user can turn on Lockdown Mode",
            hidden="Lockdown Mode stays off until the user turns it on",
            conditions="only for users who set up an Apple Account",
        ),
    )
    INTELLIGENCE = (
        "Intelligence",
        _Pane(
            label="Intelligence",
            introduced="15.0",
            shown="the user can set up Apple Intelligence",
            hidden="Apple Intelligence is not set up; the user can do it later",
        ),
    )
    APP_STORE = (
        "AppStore",
        _Pane(
            label="App Store",
            introduced="11.1",
            shown="the user reads about the App Store",
            hidden="the user does not see the information",
        ),
    )
    SOFTWARE_UPDATE = (
        "SoftwareUpdate",
        _Pane(
            label="Software Update",
            introduced="15.4",
            shown="the user chooses whether updates install by themselves",
            hidden="automatic updates keep their default or follow a policy",
        ),
    )
    WELCOME = (
        "Welcome",
        _Pane(
            label="Get Started",
            introduced="15.0",
            shown="the user is greeted at the start of the setup",
            hidden="the setup starts without a greeting",
        ),
    )
    OS_SHOWCASE = (
        "OSShowcase",
        _Pane(
            label="OS Showcase",
            introduced="26.1",
            shown="the user is shown what is new",
            hidden="the user is not shown what is new",
            note="other sources name 26.0",
        ),
    )
    UPDATE_COMPLETED = (
        "UpdateCompleted",
        _Pane(
            label="Update Completed",
            introduced="26.1",
            shown="the user is told that a software update is complete",
            hidden="the user is not told",
            conditions="after a software update",
            note="other sources name 26.0",
        ),
    )
    LIQUID_GLASS = (
        "LiquidGlass",
        _Pane(
            label="Liquid Glass",
            introduced="27.0",
            shown="the user chooses the look of Liquid Glass",
            hidden="Liquid Glass keeps its default; the user can change it later",
        ),
    )
    PASSCODE = (
        "Passcode",
        _Pane(
            label="Passcode",
            introduced="10.9",
            seen_on_macs=False,
            shown="the user is asked for a passcode",
            hidden="the user is not asked for a passcode",
            conditions="no Mac is known to show it",
            note="Apple's list does not exclude macOS; the key does no harm",
        ),
    )

    def exists_on(self, version: MacOSVersion | str) -> bool:
        """Return True if a Mac of that version has the pane.

        Raises:
            VersionError: The text is not a version.
        """
        at = MacOSVersion.of(version)
        return self.introduced <= at and (self.removed is None or at < self.removed)

    def apple_agrees_on(self, version: MacOSVersion | str) -> bool:
        """Return True if Apple's own gate says the same as `exists_on`.

        Raises:
            VersionError: The text is not a version.
        """
        at = MacOSVersion.of(version)
        listed = self.apple_introduced is not None and self.apple_introduced <= at
        return (listed and (self.apple_removed is None or at < self.apple_removed)) == self.exists_on(at)

    @classmethod
    def available(cls, version: MacOSVersion | str) -> frozenset[SkipKeys]:
        """Return the panes of that version: ``available("14.1") - {...}`` hides all but those.

        Raises:
            VersionError: The text is not a version.
        """
        at = MacOSVersion.of(version)
        return frozenset(key for key in cls if key.exists_on(at))


NOT_ON_MACOS: Final[frozenset[str]] = frozenset({
    "AccessibilityAppearance", "ActionButton", "Android", "CameraButton", "DeviceToDeviceMigration",
    "HomeButtonSensitivity", "iMessageAndFaceTime", "Keyboard", "MessagingActivationUsingPhoneNumber",
    "Multitasking", "OnBoarding", "RestoreCompleted", "Safety", "SafetyAndHandling", "ScreenSaver",
    "SIMSetup", "SpokenLanguage", "TapToSetup", "Tips", "TVHomeScreenSync", "TVProviderSignIn", "TVRoom",
    "WatchMigration", "WebContentFiltering", "Zoom",
})  # fmt: skip
"""Apple's keys for panes that no Mac has; a Mac ignores them. Source: Apple, ``SkipKeys``."""
