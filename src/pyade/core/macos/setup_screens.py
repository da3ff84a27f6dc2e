"""Apple's keys for the Setup Assistant screens of a Mac.

Where sources disagree, the specification's gate is the one in force and Apple's own is recorded beside it
(``apple_introduced``, ``apple_removed``). A gate never forbids anything: a Mac ignores a key that it does
not know.

Source: specification, "Setup Assistant screen reference"; Apple, ``SkipKeys`` (other/skipkeys.yaml).

What is known of each Setup Assistant pane of a Mac, by Apple's key; ``SkipKeys`` is the door to it.

Where sources disagree, the specification's gate is the one in force and Apple's own is recorded beside it.

Source: specification, "Setup Assistant screen reference"; Apple, ``SkipKeys`` (other/skipkeys.yaml).
"""

from __future__ import annotations

import difflib
import enum
from typing import Final

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem
from pyade.errors import ProfileError


def _gate(value: str) -> MacOSVersion:
    return MacOSVersion.parse(value)


def _version(value: str | None) -> MacOSVersion | None:
    return None if value is None else _gate(value)


def _same(pane: Pane) -> MacOSVersion:
    return pane.introduced


@attrs.frozen(kw_only=True)
class Pane:
    """The facts of one pane.

    Attributes:
        label: The name of the screen, the specification's where it has one.
        introduced: The first macOS with the pane.
        deprecated: The macOS from which Apple discourages the key; the pane is still taken as there.
        removed: The first macOS without the pane.
        apple_introduced: Apple's own first version; None if Apple's list does not have the key.
        apple_removed: Apple's own first version without the pane.
        always_skippable: False if the pane may appear although it is hidden.
        seen_on_macs: False if a source has the key for Macs but no Mac is known to show the pane.
        when_visible: What the user meets if the screen is shown.
        when_hidden: What it means if the screen is hidden, before the user sets it up in the settings.
        needs_action: True if the user cannot go on without it; all other screens can be skipped.
        conditions: On which devices, languages or occasions that holds; "" if on all.
        note: Where sources disagree, or what else to know; "" if nothing.
        note_from: The first macOS that the note matters for; None if it holds for all.
    """

    label: str
    introduced: MacOSVersion = attrs.field(converter=_gate)
    deprecated: MacOSVersion | None = attrs.field(default=None, converter=_version)
    removed: MacOSVersion | None = attrs.field(default=None, converter=_version)
    apple_introduced: MacOSVersion | None = attrs.Factory(_same, takes_self=True)
    apple_removed: MacOSVersion | None = attrs.field(default=None, converter=_version)
    always_skippable: bool = True
    seen_on_macs: bool = True
    when_visible: str
    when_hidden: str
    conditions: str = ""
    note: str = ""
    note_from: MacOSVersion | None = attrs.field(default=None, converter=_version)
    needs_action: bool = False


SET_UP_LATER: Final = "it can be set up later, in the settings"
"""What holds for every hidden screen. Source: specification, "Create an Apple enrollment profile", Hide."""

SKIPPED: Final = "it can be skipped and set up later, in the settings"
"""What holds for every shown screen that requires no immediate action. Source: the same place, Show."""

PANES: Final[dict[str, Pane]] = {
    "Location": Pane(
        label="Location Services",
        introduced="10.11",
        when_visible="the user is asked whether apps may use the location of the Mac",
        when_hidden="location services stay off until the user turns them on",
    ),
    "Restore": Pane(
        label="Restore",
        introduced="10.9",
        when_visible="the user can bring apps and data over from iCloud Backup or another computer",
        when_hidden="the Mac starts empty; Migration Assistant is still there",
        note="later sources say that it always shows from 15.4, and that macOS 15 can offer a data "
        "transfer before enrollment",
        note_from="15.0",
    ),
    "AppleID": Pane(
        label="Apple ID",
        introduced="10.9",
        when_visible="the user can sign in with an Apple Account and use iCloud",
        when_hidden="no Apple Account is asked for",
    ),
    "TOS": Pane(
        label="Terms and conditions",
        introduced="10.9",
        when_visible="the user must accept Apple's terms to go on",
        when_hidden="the user is not asked to accept Apple's terms",
        needs_action=True,
    ),
    "Biometric": Pane(
        label="Touch ID and Face ID",
        introduced="10.12.4",
        when_visible="the user can enroll a fingerprint",
        when_hidden="no fingerprint is enrolled",
        conditions="only on a Mac or keyboard with Touch ID",
    ),
    "Payment": Pane(
        label="Apple Pay",
        introduced="10.12.4",
        when_visible="the user can add cards to Apple Pay",
        when_hidden="no card is added",
    ),
    "Siri": Pane(
        label="Siri",
        introduced="10.12",
        when_visible="the user can turn Siri on",
        when_hidden="Siri stays off until the user turns it on",
    ),
    "Diagnostics": Pane(
        label="Diagnostics Data",
        introduced="10.9",
        when_visible="the user can agree to send diagnostic data to Apple",
        when_hidden="the user is not asked for diagnostic data",
    ),
    "DisplayTone": Pane(
        label="Display Tone",
        introduced="10.13.6",
        deprecated="12.0",
        when_visible="the user can turn True Tone on",
        when_hidden="True Tone keeps its default",
        conditions="only on displays with True Tone",
        note="Apple deprecates the key from 12.0; Intune names no end",
        note_from="12.0",
    ),
    "FileVault": Pane(
        label="FileVault",
        introduced="10.10",
        when_visible="the user can encrypt the disk",
        when_hidden="the user is not offered encryption; a policy can turn it on",
    ),
    "iCloudDiagnostics": Pane(
        label="iCloud Diagnostics",
        introduced="10.12.4",
        when_visible="the user can agree to the analysis of iCloud data",
        when_hidden="the user is not asked for iCloud data",
    ),
    "Registration": Pane(
        label="Registration",
        introduced="10.9",
        apple_introduced=None,
        when_visible="the user can register the Mac with Apple",
        when_hidden="the Mac is not registered with Apple",
        note="a pane of old macOS: Apple's current list of keys lacks it, Intune offers it",
    ),
    "iCloudStorage": Pane(
        label="iCloud Storage",
        introduced="10.13.4",
        when_visible="the user can keep the Desktop and Documents folders in iCloud",
        when_hidden="both folders stay on the Mac",
    ),
    "Appearance": Pane(
        label="Appearance",
        introduced="10.14",
        when_visible="the user chooses a light, dark or automatic look",
        when_hidden="the Mac keeps its default look",
    ),
    "ScreenTime": Pane(
        label="Screen Time",
        introduced="10.15",
        when_visible="the user can turn on reports about the use of the screen, apps and websites",
        when_hidden="Screen Time stays off until the user turns it on",
    ),
    "Privacy": Pane(
        label="Privacy",
        introduced="10.13.4",
        when_visible="the user reads how Apple handles data",
        when_hidden="the user does not see the information",
    ),
    "Accessibility": Pane(
        label="Accessibility",
        introduced="11.0",
        always_skippable=False,
        when_visible="the user can turn on aids for seeing, hearing and moving, Voice Over among them",
        when_hidden="Voice Over cannot be used in Setup Assistant",
        conditions="Voice Over needs macOS 11, a wired network and a serial number in Apple "
        "Business Manager or Apple School Manager",
        note="Apple: the key hides the pane only for users added later, not in the first setup",
    ),
    "UnlockWithWatch": Pane(
        label="Auto unlock with Apple Watch",
        introduced="12.0",
        apple_introduced=MacOSVersion(15),
        when_visible="the user can let an Apple Watch unlock the Mac",
        when_hidden="the watch does not unlock the Mac until the user turns it on",
        note="the pane exists from 12.0; Apple lists this key from 15.0 only",
    ),
    "TermsOfAddress": Pane(
        label="Terms of Address",
        introduced="13.0",
        always_skippable=False,
        when_visible="the user chooses a feminine, masculine or neutral form of address",
        when_hidden="the Mac keeps its form of address",
        conditions="only in languages that tell the forms apart",
        note="it can show before the Mac has fetched the profile",
    ),
    "Wallpaper": Pane(
        label="Wallpaper",
        introduced="14.1",
        apple_removed="26.0",
        when_visible="the user chooses a wallpaper",
        when_hidden="the Mac gets the default wallpaper",
        conditions="only after a software upgrade",
        note="Apple removes the key in 26.0; Intune names no end",
        note_from="26.0",
    ),
    "EnableLockdownMode": Pane(
        label="Lockdown mode",
        introduced="14.0",
        when_visible="the user can turn on Lockdown Mode",
        when_hidden="Lockdown Mode stays off until the user turns it on",
        conditions="only for users who set up an Apple Account",
    ),
    "Intelligence": Pane(
        label="Intelligence",
        introduced="15.0",
        when_visible="the user can set up Apple Intelligence",
        when_hidden="Apple Intelligence is not set up",
    ),
    "AppStore": Pane(
        label="App Store",
        introduced="11.1",
        when_visible="the user reads about the App Store",
        when_hidden="the user does not see the information",
    ),
    "SoftwareUpdate": Pane(
        label="Software Update",
        introduced="15.4",
        when_visible="the user chooses whether updates install by themselves",
        when_hidden="automatic updates keep their default or follow a policy",
    ),
    "Welcome": Pane(
        label="Get Started",
        introduced="15.0",
        when_visible="the user is greeted at the start of the setup",
        when_hidden="the setup starts without a greeting",
    ),
    "OSShowcase": Pane(
        label="OS Showcase",
        introduced="26.1",
        removed="27.0",
        apple_removed="27.0",
        when_visible="the user is shown what is new",
        when_hidden="the user is not shown what is new",
        note="other sources name 26.0",
    ),
    "UpdateCompleted": Pane(
        label="Update Completed",
        introduced="26.1",
        when_visible="the user is told that a software update is complete",
        when_hidden="the user is not told",
        conditions="only after a software update",
        note="other sources name 26.0",
    ),
    "LiquidGlass": Pane(
        label="Liquid Glass",
        introduced="27.0",
        when_visible="the user chooses the look of Liquid Glass",
        when_hidden="Liquid Glass keeps its default",
    ),
    "Passcode": Pane(
        label="Passcode",
        introduced="10.9",
        seen_on_macs=False,
        when_visible="the user is asked for a passcode",
        when_hidden="the user is not asked for a passcode",
        conditions="no Mac is known to show it",
        note="Apple's list does not exclude macOS; the key does no harm",
    ),
    "DeviceFeaturesTour": Pane(
        label="Device Features Tour",
        introduced="27.0",
        apple_introduced=None,
        seen_on_macs=False,
        when_visible="the user is shown what the device can do",
        when_hidden="the user is not shown what the device can do",
        conditions="no Mac is known to show it",
        note="Apple's page has the key for iOS only, other sources also for macOS 27; it does no harm",
    ),
    "AgeAssurance": Pane(
        label="Age Assurance",
        introduced="26.0",
        apple_introduced=None,
        seen_on_macs=False,
        when_visible="the user is asked for an age range",
        when_hidden="the user is not asked for an age range",
        conditions="no Mac is known to show it",
        note="it was in Apple's schemas of 26 and is gone from them since; the key does no harm",
    ),
    "AgeBasedSafetySettings": Pane(
        label="Age-based Safety Settings",
        introduced="26.0",
        apple_introduced=None,
        seen_on_macs=False,
        when_visible="the user can set limits that suit an age",
        when_hidden="the user is not asked for such limits",
        conditions="no Mac is known to show it",
        note="it was in Apple's schemas of 26 and is gone from them since; the key does no harm",
    ),
}


class SkipKeys(enum.StrEnum):
    """The key of each Setup Assistant screen of a Mac; the value is the string that Apple expects.

    Keys that Apple adds later are plain strings wherever a SkipKeys is taken.

    Source: specification, "Setup Assistant screen reference"; Apple, ``SkipKeys``.
    """

    LOCATION = "Location"
    RESTORE = "Restore"
    APPLE_ID = "AppleID"
    TOS = "TOS"
    BIOMETRIC = "Biometric"
    PAYMENT = "Payment"
    SIRI = "Siri"
    DIAGNOSTICS = "Diagnostics"
    DISPLAY_TONE = "DisplayTone"
    FILE_VAULT = "FileVault"
    ICLOUD_DIAGNOSTICS = "iCloudDiagnostics"
    REGISTRATION = "Registration"
    ICLOUD_STORAGE = "iCloudStorage"
    APPEARANCE = "Appearance"
    SCREEN_TIME = "ScreenTime"
    PRIVACY = "Privacy"
    ACCESSIBILITY = "Accessibility"
    UNLOCK_WITH_WATCH = "UnlockWithWatch"
    TERMS_OF_ADDRESS = "TermsOfAddress"
    WALLPAPER = "Wallpaper"
    ENABLE_LOCKDOWN_MODE = "EnableLockdownMode"
    INTELLIGENCE = "Intelligence"
    APP_STORE = "AppStore"
    SOFTWARE_UPDATE = "SoftwareUpdate"
    WELCOME = "Welcome"
    OS_SHOWCASE = "OSShowcase"
    UPDATE_COMPLETED = "UpdateCompleted"
    LIQUID_GLASS = "LiquidGlass"
    PASSCODE = "Passcode"
    DEVICE_FEATURES_TOUR = "DeviceFeaturesTour"
    AGE_ASSURANCE = "AgeAssurance"
    AGE_BASED_SAFETY_SETTINGS = "AgeBasedSafetySettings"

    @property
    def label(self) -> str:
        """The name of the screen, the specification's where it has one."""
        return PANES[self.value].label

    @property
    def introduced(self) -> MacOSVersion:
        """The first macOS with the pane."""
        return PANES[self.value].introduced

    @property
    def deprecated(self) -> MacOSVersion | None:
        """The macOS from which Apple discourages the key; the pane is still taken as there."""
        return PANES[self.value].deprecated

    @property
    def removed(self) -> MacOSVersion | None:
        """The first macOS without the pane."""
        return PANES[self.value].removed

    @property
    def apple_introduced(self) -> MacOSVersion | None:
        """Apple's own first version; None if Apple's list does not have the key."""
        return PANES[self.value].apple_introduced

    @property
    def apple_removed(self) -> MacOSVersion | None:
        """Apple's own first version without the pane."""
        return PANES[self.value].apple_removed

    @property
    def always_skippable(self) -> bool:
        """False if the pane may appear although it is hidden."""
        return PANES[self.value].always_skippable

    @property
    def seen_on_macs(self) -> bool:
        """False if a source has the key for Macs but no Mac is known to show the pane."""
        return PANES[self.value].seen_on_macs

    @property
    def when_visible(self) -> str:
        """What the user meets if the screen is shown, and whether it can be skipped."""
        pane = PANES[self.value]
        return f"{pane.when_visible}; {'it cannot be skipped' if pane.needs_action else SKIPPED}"

    @property
    def when_hidden(self) -> str:
        """What it means if the screen is hidden, and that it can be made up for."""
        return f"{PANES[self.value].when_hidden}; {SET_UP_LATER}"

    @property
    def conditions(self) -> str:
        """On which devices, languages or occasions that holds; "" if on all."""
        return PANES[self.value].conditions

    @property
    def note(self) -> str:
        """Where sources disagree, or what else to know; "" if nothing."""
        return PANES[self.value].note

    @property
    def note_from(self) -> MacOSVersion | None:
        """The first macOS that the note matters for; None if it holds for all."""
        return PANES[self.value].note_from

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
    """Return the keys whose key or name is most like *name*, as text; "" if none is."""
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
