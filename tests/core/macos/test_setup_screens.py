"""The Setup Assistant panes: every one is there, with the versions of both sources."""

import pickle

import msgspec
import pytest
from tests.cases import each

from pyade.core.macos.setup_screens import NOT_ON_MACOS, SkipKeys
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.plan import Effect
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError, VersionError

# Intune, "Setup Assistant screen reference": label, Apple's key, first macOS.
SPECIFICATION = [
    ("Location Services", "Location", "10.11"),
    ("Restore", "Restore", "10.9"),
    ("Apple ID", "AppleID", "10.9"),
    ("Terms and conditions", "TOS", "10.9"),
    ("Touch ID and Face ID", "Biometric", "10.12.4"),
    ("Apple Pay", "Payment", "10.12.4"),
    ("Siri", "Siri", "10.12"),
    ("Diagnostics Data", "Diagnostics", "10.9"),
    ("Display Tone", "DisplayTone", "10.13.6"),
    ("FileVault", "FileVault", "10.10"),
    ("iCloud Diagnostics", "iCloudDiagnostics", "10.12.4"),
    ("Registration", "Registration", "10.9"),
    ("iCloud Storage", "iCloudStorage", "10.13.4"),
    ("Appearance", "Appearance", "10.14"),
    ("Screen Time", "ScreenTime", "10.15"),
    ("Privacy", "Privacy", "10.13.4"),
    ("Accessibility", "Accessibility", "11.0"),
    ("Auto unlock with Apple Watch", "UnlockWithWatch", "12.0"),
    ("Terms of Address", "TermsOfAddress", "13.0"),
    ("Wallpaper", "Wallpaper", "14.1"),
    ("Lockdown mode", "EnableLockdownMode", "14.0"),
    ("Intelligence", "Intelligence", "15.0"),
]

# Apple, SkipKeys (other/skipkeys.yaml), macOS: introduced, deprecated, removed, always skippable.
APPLE = {
    "Accessibility": ("11.0", None, None, False),
    "Appearance": ("10.14", None, None, True),
    "AppleID": ("10.9", None, None, True),
    "AppStore": ("11.1", None, None, True),
    "Biometric": ("10.12.4", None, None, True),
    "Diagnostics": ("10.9", None, None, True),
    "DisplayTone": ("10.13.6", "12.0", None, True),
    "EnableLockdownMode": ("14.0", None, None, True),
    "FileVault": ("10.10", None, None, True),
    "iCloudDiagnostics": ("10.12.4", None, None, True),
    "iCloudStorage": ("10.13.4", None, None, True),
    "Intelligence": ("15.0", None, None, True),
    "LiquidGlass": ("27.0", None, None, True),
    "Location": ("10.11", None, None, True),
    "OSShowcase": ("26.1", None, "27.0", True),
    "Passcode": ("10.9", None, None, True),
    "Payment": ("10.12.4", None, None, True),
    "Privacy": ("10.13.4", None, None, True),
    "Restore": ("10.9", None, None, True),
    "ScreenTime": ("10.15", None, None, True),
    "Siri": ("10.12", None, None, True),
    "SoftwareUpdate": ("15.4", None, None, True),
    "TermsOfAddress": ("13.0", None, None, False),
    "TOS": ("10.9", None, None, True),
    "UnlockWithWatch": ("15.0", None, None, True),
    "UpdateCompleted": ("26.1", None, None, True),
    "Wallpaper": ("14.1", None, "26.0", True),
    "Welcome": ("15.0", None, None, True),
}

# Known from other sources: no effect on Macs is promised.
OTHERS = {"AgeAssurance", "AgeBasedSafetySettings", "DeviceFeaturesTour"}


def _text(version: MacOSVersion | None) -> str | None:
    return None if version is None else str(version)


@each(("label", "value", "introduced"), SPECIFICATION)
def test_every_screen_of_the_specification_has_the_versions_of_the_specification(
    label: str, value: str, introduced: str
) -> None:
    key = SkipKeys(value)
    assert (key.label, str(key.introduced), key.removed) == (label, introduced, None)


def test_every_mac_pane_of_apple_has_apples_own_versions() -> None:
    found = {
        str(key): (
            _text(key.apple_introduced),
            _text(key.deprecated),
            _text(key.apple_removed),
            key.always_skippable,
        )
        for key in SkipKeys
        if key.apple_introduced is not None
    }
    assert found == APPLE


def test_every_pane_has_a_source() -> None:
    assert {str(key) for key in SkipKeys} == APPLE.keys() | {value for _, value, _ in SPECIFICATION} | OTHERS
    assert not NOT_ON_MACOS & {str(key) for key in SkipKeys}


def test_panes_that_only_apple_names_have_apples_versions() -> None:
    for value in APPLE.keys() - {value for _, value, _ in SPECIFICATION}:
        assert SkipKeys(value).introduced == SkipKeys(value).apple_introduced


@each("key", SkipKeys)
def test_every_pane_says_what_showing_and_hiding_it_means(key: SkipKeys) -> None:
    assert key.when_visible
    assert key.when_hidden
    assert key.note or key.apple_introduced == key.introduced


def test_facts_that_depend_on_the_mac_are_conditions() -> None:
    assert "Voice Over" in SkipKeys.ACCESSIBILITY.when_hidden
    assert "macOS 11" in SkipKeys.ACCESSIBILITY.conditions
    assert "languages" in SkipKeys.TERMS_OF_ADDRESS.conditions
    assert "Apple Account" in SkipKeys.ENABLE_LOCKDOWN_MODE.conditions
    assert "default wallpaper" in SkipKeys.WALLPAPER.when_hidden
    assert "upgrade" in SkipKeys.WALLPAPER.conditions


@each(
    ("version", "there", "missing"),
    [
        ("10.9", {SkipKeys.APPLE_ID, SkipKeys.TOS, SkipKeys.REGISTRATION}, {SkipKeys.FILE_VAULT}),
        ("10.12.3", {SkipKeys.SIRI}, {SkipKeys.PAYMENT, SkipKeys.BIOMETRIC}),
        ("10.12.4", {SkipKeys.PAYMENT, SkipKeys.BIOMETRIC}, {SkipKeys.PRIVACY}),
        ("14.0", {SkipKeys.UNLOCK_WITH_WATCH, SkipKeys.ENABLE_LOCKDOWN_MODE}, {SkipKeys.WALLPAPER}),
        ("14.1", {SkipKeys.WALLPAPER, SkipKeys.DISPLAY_TONE}, {SkipKeys.INTELLIGENCE, SkipKeys.WELCOME}),
        ("26.0", {SkipKeys.WALLPAPER, SkipKeys.RESTORE}, {SkipKeys.OS_SHOWCASE}),
        ("26.1", {SkipKeys.OS_SHOWCASE}, {SkipKeys.LIQUID_GLASS}),
        ("27", set(SkipKeys) - {SkipKeys.OS_SHOWCASE}, {SkipKeys.OS_SHOWCASE}),
    ],
)
def test_available_is_the_set_of_panes_of_that_version(
    version: str, there: set[SkipKeys], missing: set[SkipKeys]
) -> None:
    available = SkipKeys.available(version)
    assert there <= available
    assert not missing & available
    assert available == SkipKeys.available(MacOSVersion.parse(version))


def test_show_only_these_is_set_arithmetic() -> None:
    hidden = SkipKeys.available("14.1") - {SkipKeys.FILE_VAULT, SkipKeys.LOCATION}
    assert SkipKeys.SIRI in hidden
    assert SkipKeys.FILE_VAULT not in hidden


def test_available_refuses_what_is_no_version() -> None:
    with pytest.raises(VersionError):
        SkipKeys.available("Sonoma")


@each(
    ("key", "version", "agrees"),
    [
        (SkipKeys.UNLOCK_WITH_WATCH, "11.0", True),
        (SkipKeys.UNLOCK_WITH_WATCH, "14.1", False),
        (SkipKeys.UNLOCK_WITH_WATCH, "15.0", True),
        (SkipKeys.WALLPAPER, "15.0", True),
        (SkipKeys.WALLPAPER, "26.0", False),
        (SkipKeys.REGISTRATION, "10.9", False),
    ],
)
def test_it_is_known_where_apple_disagrees(key: SkipKeys, version: str, agrees: bool) -> None:
    assert key.apple_agrees_on(version) is agrees


@each("value", OTHERS)
def test_a_key_without_a_known_effect_is_kept_and_promises_nothing(value: str) -> None:
    key = SkipKeys(value)
    profile = EnrollmentProfile(name="P", url="https://mdm.contoso.com/enroll", skip=[value])
    assert profile.skip == {key}
    assert (profile.problems, key.seen_on_macs) == ((), False)
    assert profile.plan("27").row(key).effect is Effect.NOT_THERE


@each(
    "name",
    ["Touch ID and Face ID", "touch id AND face id", "Biometric", "BIOMETRIC", " touch-id and face-id "],
)
def test_a_key_is_found_by_the_name_of_its_screen(name: str) -> None:
    """The specification's name, Apple's key, or the name in Python; in any letter case."""
    assert SkipKeys.named(name) is SkipKeys.BIOMETRIC


@each(("label", "value", "introduced"), SPECIFICATION)
def test_every_screen_of_the_specification_is_found_by_its_name(
    label: str, value: str, introduced: str
) -> None:
    assert SkipKeys.named(label) == SkipKeys.named(label.upper()) == value


@each(
    ("name", "near"),
    [
        ("Touch ID and Fase ID", "'Biometric'"),
        ("Sirri", "'Siri'"),
        ("touch id", "'Biometric'"),
        ("Lock down modes", "'EnableLockdownMode'"),
    ],
)
def test_a_wrong_name_of_a_screen_suggests_the_nearest(name: str, near: str) -> None:
    """In the lookup, and in the profile that hides it."""
    with pytest.raises(ProfileError, match=f"did you mean {near}"):
        SkipKeys.named(name)
    [problem] = EnrollmentProfile(name="P", url="https://mdm.contoso.com/enroll", skip=[name]).problems
    assert (problem.setting, problem.value) == ("skip", name)
    assert f"did you mean {near}" in problem.fix


@each("name", ["", " ", "Flying Cars", "\ud800", "x" * 10_000])
def test_a_name_like_no_screen_is_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="the name of a Setup Assistant screen"):
        SkipKeys.named(name)


@each("key", SkipKeys)
def test_a_plan_and_a_review_have_a_row_for_each_key(key: SkipKeys) -> None:
    profile = EnrollmentProfile(name="P", url="https://mdm.contoso.com/enroll")
    assert profile.plan("15").row(key) == profile.plan("15").row(f"skip.{key}")
    assert profile.review().row(key) == profile.review().row(f"skip.{key}") == profile.review().row(key.value)


@each("key", SkipKeys)
def test_a_key_is_the_string_that_apple_expects(key: SkipKeys) -> None:
    assert key == key.value == str(key)
    assert pickle.loads(pickle.dumps(key)) is key
    assert msgspec.json.decode(msgspec.json.encode(key), type=SkipKeys) is key
