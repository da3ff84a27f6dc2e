"""Apple's keys for the Setup Assistant screens of a Mac.

Where sources disagree, the specification's gate is the one in force and Apple's own is recorded beside it
(``apple_introduced``, ``apple_removed``). A gate never forbids anything: a Mac ignores a key that it does
not know.

Source: specification, "Setup Assistant screen reference"; Apple, ``SkipKeys`` (other/skipkeys.yaml).
"""

from __future__ import annotations

import difflib
import enum
from typing import Final

from pyade.core.kinds import checks_kinds
from pyade.core.panes import PANES, SET_UP_LATER, SKIPPED
from pyade.core.problems import Problem
from pyade.core.versions import MacOSVersion
from pyade.errors import ProfileError


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
    @checks_kinds
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
