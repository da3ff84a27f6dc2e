"""The Setup Assistant screens in Intune's JSON.

``enabledSkipKeys`` is the complete list; the Booleans are an older and partial view of it, and newer screens
have none. Older exports have only Booleans. Importing takes the union, exporting writes both from one set.

Source: Microsoft Graph, ``depEnrollmentBaseProfile`` and ``depMacOSEnrollmentProfile``. Which Boolean belongs
to which key is observed, and inferred from the name for ``passCodeDisabled`` and ``zoomDisabled``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pyade.builders.intune.reading import Members, warning
from pyade.core.problems import Problem
from pyade.core.skip_keys import NOT_ON_MACOS, SkipKeys

KEYS: Final = "enabledSkipKeys"

BOOLEANS: Final[dict[str, str]] = {
    "locationDisabled": SkipKeys.LOCATION.value,
    "restoreBlocked": SkipKeys.RESTORE.value,
    "appleIdDisabled": SkipKeys.APPLE_ID.value,
    "termsAndConditionsDisabled": SkipKeys.TOS.value,
    "touchIdDisabled": SkipKeys.BIOMETRIC.value,
    "applePayDisabled": SkipKeys.PAYMENT.value,
    "siriDisabled": SkipKeys.SIRI.value,
    "diagnosticsDisabled": SkipKeys.DIAGNOSTICS.value,
    "displayToneSetupDisabled": SkipKeys.DISPLAY_TONE.value,
    "privacyPaneDisabled": SkipKeys.PRIVACY.value,
    "screenTimeScreenDisabled": SkipKeys.SCREEN_TIME.value,
    "registrationDisabled": SkipKeys.REGISTRATION.value,
    "fileVaultDisabled": SkipKeys.FILE_VAULT.value,
    "iCloudDiagnosticsDisabled": SkipKeys.ICLOUD_DIAGNOSTICS.value,
    "iCloudStorageDisabled": SkipKeys.ICLOUD_STORAGE.value,
    # Apple calls the pane "Choose Your Look"; it is neither the lock screen nor the wallpaper.
    "chooseYourLockScreenDisabled": SkipKeys.APPEARANCE.value,
    "accessibilityScreenDisabled": SkipKeys.ACCESSIBILITY.value,
    "autoUnlockWithWatchDisabled": SkipKeys.UNLOCK_WITH_WATCH.value,
    "passCodeDisabled": SkipKeys.PASSCODE.value,
    "zoomDisabled": "Zoom",
}
"""The Booleans of a profile for Macs, in the order in which they are written."""

OLD_BOOLEANS: Final[dict[str, str]] = {
    "macOSFileVaultDisabled": SkipKeys.FILE_VAULT.value,
    "macOSRegistrationDisabled": SkipKeys.REGISTRATION.value,
}
"""Those of the older type ``depEnrollmentProfile``: read, never written."""

_BY_FOLDED: Final = {key.lower(): key for key in (*map(str, SkipKeys), *NOT_ON_MACOS)}


def read_screens(
    members: Members, findings: list[Problem]
) -> tuple[frozenset[SkipKeys | str], frozenset[str]]:
    """Return the keys to hide on a Mac, and those of screens that no Mac has."""
    listed = members.texts(KEYS)
    keys: set[str] = set()
    for key in listed or ():
        spelled = spelling(key)
        if spelled != key:
            findings.append(warning(members.at(KEYS), f"Apple's spelling: {spelled}", "it was taken", key))
        keys.add(spelled)
    union = set(keys)
    for name, key in {**BOOLEANS, **OLD_BOOLEANS}.items():
        is_hidden = members.flag(name)
        if is_hidden:
            union.add(key)
        if listed is not None and is_hidden is not None and is_hidden is not (key in keys):
            said = "the screen is listed" if key in keys else "the screen is not listed"
            fix = f"{label(key)} is hidden; show it in both if it should not be"
            findings.append(warning(members.at(name), f"the same as in {KEYS}: {said}", fix, str(is_hidden)))
    elsewhere = frozenset(union & NOT_ON_MACOS)
    findings += [
        warning(members.at(KEYS), "screens of a Mac", "kept for Intune, not sent to Apple", key)
        for key in sorted(elsewhere)
    ]
    return frozenset(union - elsewhere), elsewhere


def write_screens(keys: Iterable[SkipKeys | str]) -> dict[str, Any]:
    """Return the complete list, sorted, and every Boolean."""
    spelled = {spelling(str(key)) for key in keys}
    return {KEYS: sorted(spelled), **{name: key in spelled for name, key in BOOLEANS.items()}}


def spelling(key: str) -> str:
    """Return Apple's spelling of a known key, in whatever letter case it was given."""
    return _BY_FOLDED.get(key.lower(), key)


def label(key: str) -> str:
    """Return the name of a screen as people know it."""
    try:
        return SkipKeys(key).label
    except ValueError:
        return key
