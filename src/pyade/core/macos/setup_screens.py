"""Apple's keys for the Setup Assistant screens of a Mac, each with what is known about its pane.

Where sources disagree on the versions that have a pane, those of the specification count; Apple's own are
recorded beside them (``apple_introduced``, ``apple_removed``). A key is allowed on every version: a Mac
ignores one that it does not know.

Source: specification, "Setup Assistant screen reference"; Apple, ``SkipKeys`` (other/skipkeys.yaml).
"""

from __future__ import annotations

import difflib
import enum
from typing import Any, Final, Self

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem
from pyade.errors import ProfileError

SET_UP_LATER: Final = "it can be set up later, in the settings"
"""What holds for every hidden screen. Source: specification, "Create an Apple enrollment profile", Hide."""

SKIPPED: Final = "it can be skipped and set up later, in the settings"
"""What holds for every shown screen that requires no immediate action. Source: the same place, Show."""


def _version(value: MacOSVersion | str) -> MacOSVersion:
    return MacOSVersion.of(value)


def _version_or_none(value: MacOSVersion | str | None) -> MacOSVersion | None:
    return None if value is None else MacOSVersion.of(value)


def _same(pane: _Pane) -> MacOSVersion:
    return pane.introduced


@attrs.frozen(kw_only=True)
class _Pane:
    """One entry of ``SkipKeys``, which documents the attributes.

    ``apple_introduced`` is ``introduced`` unless it is given; the two texts are without the sentence that
    says whether, or that, the pane can be set up later.
    """

    key: str = attrs.field(kw_only=False)
    label: str
    introduced: MacOSVersion = attrs.field(converter=_version)
    deprecated: MacOSVersion | None = attrs.field(default=None, converter=_version_or_none)
    removed: MacOSVersion | None = attrs.field(default=None, converter=_version_or_none)
    apple_introduced: MacOSVersion | None = attrs.field(
        default=attrs.Factory(_same, takes_self=True), converter=_version_or_none
    )
    apple_removed: MacOSVersion | None = attrs.field(default=None, converter=_version_or_none)
    always_skippable: bool = True
    seen_on_macs: bool = True
    when_visible: str
    when_hidden: str
    needs_action: bool = False
    conditions: str = ""
    note: str = ""
    note_from: MacOSVersion | None = attrs.field(default=None, converter=_version_or_none)


class SkipKeys(enum.StrEnum):
    """The key of each Setup Assistant screen of a Mac; the value is the string that Apple expects.

    Keys that Apple adds later are plain strings wherever a SkipKeys is taken.

    Attributes:
        label: The name of the screen, the specification's where it has one.
        introduced: The first macOS with the pane.
        deprecated: The macOS from which Apple discourages the key; the pane is still taken as there.
        removed: The first macOS without the pane.
        apple_introduced: Apple's own first version; None if Apple's list does not have the key.
        apple_removed: Apple's own first version without the pane.
        always_skippable: False if the pane may appear although it is hidden.
        seen_on_macs: False if a source has the key for Macs but no Mac is known to show the pane.
        when_visible: What the user meets if the screen is shown, and whether it can be skipped.
        when_hidden: What it means if the screen is hidden, and that it can be set up later.
        needs_action: True if the user cannot go on without it; all other screens can be skipped.
        conditions: On which devices, languages or occasions that holds; "" if on all.
        note: Where sources disagree, or what else to know; "" if nothing.
        note_from: The first macOS that the note matters for; None if it holds for all.

    Source: specification, "Setup Assistant screen reference"; Apple, ``SkipKeys``.
    """

    _value_: str
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
    needs_action: bool
    conditions: str
    note: str
    note_from: MacOSVersion | None

    LOCATION = _Pane(
        "Location",
        label="Location Services",
        introduced="10.11",
        when_visible="the user is asked whether apps may use the location of the Mac",
        when_hidden="location services stay off until the user turns them on",
    )
    RESTORE = _Pane(
        "Restore",
        label="Restore",
        introduced="10.9",
        when_visible="the user can bring apps and data over from iCloud Backup or another computer",
        when_hidden="the Mac starts empty; Migration Assistant is still there",
        note="later sources say that it always shows from 15.4, and that macOS 15 can offer a data "
        "transfer before enrollment",
        note_from="15.0",
    )
    APPLE_ID = _Pane(
        "AppleID",
        label="Apple ID",
        introduced="10.9",
        when_visible="the user can sign in with an Apple Account and use iCloud",
        when_hidden="no Apple Account is asked for",
    )
    TOS = _Pane(
        "TOS",
        label="Terms and conditions",
        introduced="10.9",
        when_visible="the user must accept Apple's terms to go on",
        when_hidden="the user is not asked to accept Apple's terms",
        needs_action=True,
    )
    BIOMETRIC = _Pane(
        "Biometric",
        label="Touch ID and Face ID",
        introduced="10.12.4",
        when_visible="the user can enroll a fingerprint",
        when_hidden="no fingerprint is enrolled",
        conditions="only on a Mac or keyboard with Touch ID",
    )
    PAYMENT = _Pane(
        "Payment",
        label="Apple Pay",
        introduced="10.12.4",
        when_visible="the user can add cards to Apple Pay",
        when_hidden="no card is added",
    )
    SIRI = _Pane(
        "Siri",
        label="Siri",
        introduced="10.12",
        when_visible="the user can turn Siri on",
        when_hidden="Siri stays off until the user turns it on",
    )
    DIAGNOSTICS = _Pane(
        "Diagnostics",
        label="Diagnostics Data",
        introduced="10.9",
        when_visible="the user can agree to send diagnostic data to Apple",
        when_hidden="the user is not asked for diagnostic data",
    )
    DISPLAY_TONE = _Pane(
        "DisplayTone",
        label="Display Tone",
        introduced="10.13.6",
        deprecated="12.0",
        when_visible="the user can turn True Tone on",
        when_hidden="True Tone keeps its default",
        conditions="only on displays with True Tone",
        note="Apple deprecates the key from 12.0; Intune names no end",
        note_from="12.0",
    )
    FILE_VAULT = _Pane(
        "FileVault",
        label="FileVault",
        introduced="10.10",
        when_visible="the user can encrypt the disk",
        when_hidden="the user is not offered encryption; a policy can turn it on",
    )
    ICLOUD_DIAGNOSTICS = _Pane(
        "iCloudDiagnostics",
        label="iCloud Diagnostics",
        introduced="10.12.4",
        when_visible="the user can agree to the analysis of iCloud data",
        when_hidden="the user is not asked for iCloud data",
    )
    REGISTRATION = _Pane(
        "Registration",
        label="Registration",
        introduced="10.9",
        apple_introduced=None,
        when_visible="the user can register the Mac with Apple",
        when_hidden="the Mac is not registered with Apple",
        note="a pane of old macOS: Apple's current list of keys lacks it, Intune offers it",
    )
    ICLOUD_STORAGE = _Pane(
        "iCloudStorage",
        label="iCloud Storage",
        introduced="10.13.4",
        when_visible="the user can keep the Desktop and Documents folders in iCloud",
        when_hidden="both folders stay on the Mac",
    )
    APPEARANCE = _Pane(
        "Appearance",
        label="Appearance",
        introduced="10.14",
        when_visible="the user chooses a light, dark or automatic look",
        when_hidden="the Mac keeps its default look",
    )
    SCREEN_TIME = _Pane(
        "ScreenTime",
        label="Screen Time",
        introduced="10.15",
        when_visible="the user can turn on reports about the use of the screen, apps and websites",
        when_hidden="Screen Time stays off until the user turns it on",
    )
    PRIVACY = _Pane(
        "Privacy",
        label="Privacy",
        introduced="10.13.4",
        when_visible="the user reads how Apple handles data",
        when_hidden="the user does not see the information",
    )
    ACCESSIBILITY = _Pane(
        "Accessibility",
        label="Accessibility",
        introduced="11.0",
        always_skippable=False,
        when_visible="the user can turn on aids for seeing, hearing and moving, Voice Over among them",
        when_hidden="Voice Over cannot be used in Setup Assistant",
        conditions="Voice Over needs macOS 11, a wired network and a serial number in Apple "
        "Business Manager or Apple School Manager",
        note="Apple: the key hides the pane only for users added later, not in the first setup",
    )
    UNLOCK_WITH_WATCH = _Pane(
        "UnlockWithWatch",
        label="Auto unlock with Apple Watch",
        introduced="12.0",
        apple_introduced="15.0",
        when_visible="the user can let an Apple Watch unlock the Mac",
        when_hidden="the watch does not unlock the Mac until the user turns it on",
        note="the pane exists from 12.0; Apple lists this key from 15.0 only",
    )
    TERMS_OF_ADDRESS = _Pane(
        "TermsOfAddress",
        label="Terms of Address",
        introduced="13.0",
        always_skippable=False,
        when_visible="the user chooses a feminine, masculine or neutral form of address",
        when_hidden="the Mac keeps its form of address",
        conditions="only in languages that tell the forms apart",
        note="it can show before the Mac has fetched the profile",
    )
    WALLPAPER = _Pane(
        "Wallpaper",
        label="Wallpaper",
        introduced="14.1",
        apple_removed="26.0",
        when_visible="the user chooses a wallpaper",
        when_hidden="the Mac gets the default wallpaper",
        conditions="only after a software upgrade",
        note="Apple removes the key in 26.0; Intune names no end",
        note_from="26.0",
    )
    ENABLE_LOCKDOWN_MODE = _Pane(
        "EnableLockdownMode",
        label="Lockdown mode",
        introduced="14.0",
        when_visible="the user can turn on Lockdown Mode",
        when_hidden="Lockdown Mode stays off until the user turns it on",
        conditions="only for users who set up an Apple Account",
    )
    INTELLIGENCE = _Pane(
        "Intelligence",
        label="Intelligence",
        introduced="15.0",
        when_visible="the user can set up Apple Intelligence",
        when_hidden="Apple Intelligence is not set up",
    )
    APP_STORE = _Pane(
        "AppStore",
        label="App Store",
        introduced="11.1",
        when_visible="the user reads about the App Store",
        when_hidden="the user does not see the information",
    )
    SOFTWARE_UPDATE = _Pane(
        "SoftwareUpdate",
        label="Software Update",
        introduced="15.4",
        when_visible="the user chooses whether updates install by themselves",
        when_hidden="automatic updates keep their default or follow a policy",
    )
    WELCOME = _Pane(
        "Welcome",
        label="Get Started",
        introduced="15.0",
        when_visible="the user is greeted",
        when_hidden="the user is not greeted",
    )
    OS_SHOWCASE = _Pane(
        "OSShowcase",
        label="OS Showcase",
        introduced="26.1",
        removed="27.0",
        apple_removed="27.0",
        when_visible="the user is shown what is new",
        when_hidden="the user is not shown what is new",
        note="other sources name 26.0",
    )
    UPDATE_COMPLETED = _Pane(
        "UpdateCompleted",
        label="Update Completed",
        introduced="26.1",
        when_visible="the user is told that a software update is complete",
        when_hidden="the user is not told",
        conditions="only after a software update",
        note="other sources name 26.0",
    )
    LIQUID_GLASS = _Pane(
        "LiquidGlass",
        label="Liquid Glass",
        introduced="27.0",
        when_visible="the user chooses the look of Liquid Glass",
        when_hidden="Liquid Glass keeps its default",
    )
    PASSCODE = _Pane(
        "Passcode",
        label="Passcode",
        introduced="10.9",
        seen_on_macs=False,
        when_visible="the user is asked for a passcode",
        when_hidden="the user is not asked for a passcode",
        conditions="no Mac is known to show it",
        note="Apple's list does not exclude macOS; the key does no harm",
    )
    DEVICE_FEATURES_TOUR = _Pane(
        "DeviceFeaturesTour",
        label="Device Features Tour",
        introduced="27.0",
        apple_introduced=None,
        seen_on_macs=False,
        when_visible="the user is shown what the device can do",
        when_hidden="the user is not shown what the device can do",
        conditions="no Mac is known to show it",
        note="Apple's page has the key for iOS only, other sources also for macOS 27; it does no harm",
    )
    AGE_ASSURANCE = _Pane(
        "AgeAssurance",
        label="Age Assurance",
        introduced="26.0",
        apple_introduced=None,
        seen_on_macs=False,
        when_visible="the user is asked for an age range",
        when_hidden="the user is not asked for an age range",
        conditions="no Mac is known to show it",
        note="it was in Apple's schemas of 26 and is gone from them since; the key does no harm",
    )
    AGE_BASED_SAFETY_SETTINGS = _Pane(
        "AgeBasedSafetySettings",
        label="Age-based Safety Settings",
        introduced="26.0",
        apple_introduced=None,
        seen_on_macs=False,
        when_visible="the user can set limits that suit an age",
        when_hidden="the user is not asked for such limits",
        conditions="no Mac is known to show it",
        note="it was in Apple's schemas of 26 and is gone from them since; the key does no harm",
    )

    def __new__(cls, entry: Any) -> Self:
        """Make the member of an entry, which is a ``_Pane``; ``SkipKeys("Siri")`` only looks one up."""
        pane: _Pane = entry
        key = str.__new__(cls, pane.key)
        key._value_ = pane.key
        for field in attrs.fields(_Pane)[1:]:
            setattr(key, field.name, getattr(pane, field.name))
        key.when_visible += f"; {'it cannot be skipped' if pane.needs_action else SKIPPED}"
        key.when_hidden += f"; {SET_UP_LATER}"
        return key

    def exists_on(self, version: MacOSVersion | str) -> bool:
        """Return True if a Mac of that version has the pane.

        Raises:
            VersionError: The text is not a version.
        """
        at = MacOSVersion.of(version)
        return self.introduced <= at and (self.removed is None or at < self.removed)

    def apple_agrees_on(self, version: MacOSVersion | str) -> bool:
        """Return True if Apple's own versions say the same as ``exists_on``.

        Raises:
            VersionError: The text is not a version.
        """
        at = MacOSVersion.of(version)
        listed = self.apple_introduced is not None and self.apple_introduced <= at
        return (listed and (self.apple_removed is None or at < self.apple_removed)) == self.exists_on(at)

    @classmethod
    @check_arguments
    def named(cls, name: str) -> SkipKeys:
        """Return the key of a screen by its name, such as "Touch ID and Face ID".

        Args:
            name: The specification's name of the screen, Apple's key, or the name here (``TOS``). Letter
                case, spaces and punctuation do not count.

        Raises:
            ProfileError: No screen has that name; the nearest are named.

        Source: specification, "Setup Assistant screen reference".
        """
        found = _BY_NAME.get(_folded(name))
        if found is None:
            near = nearest_screens(name)
            fix = f"did you mean {near}?" if near else "see the names with [key.label for key in SkipKeys]"
            raise ProfileError((Problem("skip", name[:80], "the name of a Setup Assistant screen", fix),))
        return found

    @classmethod
    def available(cls, version: MacOSVersion | str) -> frozenset[SkipKeys]:
        """Return the panes of that version: ``available("14.1") - {...}`` hides all but those.

        Raises:
            VersionError: The text is not a version.
        """
        at = MacOSVersion.of(version)
        return frozenset(key for key in cls if key.exists_on(at))


def nearest_screens(name: str) -> str:
    """Return the keys of the screens whose key or name is most like *name*, as text; "" if none is."""
    folded = _folded(name[:80])
    near = difflib.get_close_matches(folded, _BY_NAME, n=3, cutoff=0.7)
    near += (one for one in _BY_NAME if len(folded) > 3 and folded in one)
    return " or ".join(dict.fromkeys(repr(_BY_NAME[folded].value) for folded in near))


def _folded(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


_BY_NAME: Final = {_folded(name): key for key in SkipKeys for name in (key.name, key.label, key.value)}


NOT_ON_MACOS: Final[frozenset[str]] = frozenset({
    "AccessibilityAppearance", "ActionButton", "Android", "CameraButton", "DeviceToDeviceMigration",
    "HomeButtonSensitivity", "iMessageAndFaceTime", "Keyboard", "MessagingActivationUsingPhoneNumber",
    "Multitasking", "OnBoarding", "RestoreCompleted", "Safety", "SafetyAndHandling", "ScreenSaver",
    "SIMSetup", "SpokenLanguage", "TapToSetup", "Tips", "TVHomeScreenSync", "TVProviderSignIn", "TVRoom",
    "WatchMigration", "WebContentFiltering", "Zoom",
})  # fmt: skip
"""Apple's keys for panes that no Mac has; a Mac ignores them. Source: Apple, ``SkipKeys``."""
