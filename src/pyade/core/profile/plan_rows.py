"""Make the rows of a plan: the effect of each setting and screen on one version of macOS, and why.

If Setup Assistant continues by itself, no row describes what a user does there. A row says instead where the
set-up stops.

Source: specification, "Create an Apple enrollment profile", also Account Settings, and "Setup Assistant
screen reference"; Apple, ``Profile`` (``auto_advance_setup``, ``language`` and ``region``),
``AccountConfiguration`` and ``SkipKeys`` for what the specification does not say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from pyade.core.macos.identity import ACME_FROM, HARDWARE_KEYS_FROM
from pyade.core.macos.setup_screens import NOT_ON_MACOS, SET_UP_LATER, SkipKeys
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.accounts import (
    ACCOUNTS_FROM,
    MANAGED_USER_FROM,
    PREFILL_FROM,
    PrimaryAccount,
    names_device,
)
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.plan import Effect, PlanRow, ProfilePlan, count_certificates, yes
from pyade.core.profile.settings import ProfileSettings, switched_on

ADVANCE_FROM: Final = MacOSVersion(11)


RENEW_FROM: Final = MacOSVersion(10, 13)

RENEW_COMMAND: Final = "profiles renew -type enrollment"

RENEW_BY_ANYONE_FROM: Final = MacOSVersion(15)

_ALWAYS_SUPERVISED_FROM: Final = MacOSVersion(11)

ENFORCED_FROM: Final = MacOSVersion(14)
"""The first macOS that requires an enrollment that the user skipped."""


def advances(profile: ProfileSettings, version: MacOSVersion) -> bool:
    """Return True if Setup Assistant continues by itself."""
    return profile.auto_advance and version >= ADVANCE_FROM


def auto_advance(profile: ProfileSettings, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of language, region and ``auto_advance``."""
    old = version < ADVANCE_FROM
    for setting in ("language", "region"):
        value: str = getattr(profile, setting)
        if value and old:
            yield PlanRow(setting, value, Effect.NO_EFFECT, "it needs macOS 11: the user chooses")
        elif value:
            yield PlanRow(setting, value, Effect.APPLIES, "chosen for the user")
        elif advances(profile, version):
            yield PlanRow(setting, "", Effect.NOT_SET, "Setup Assistant stops where it is chosen")
        else:
            yield PlanRow(setting, "", Effect.NOT_SET, "the user chooses")
    value = yes(profile.auto_advance)
    if not profile.auto_advance:
        effect, why = Effect.APPLIES, "the user goes through Setup Assistant"
    elif old:
        effect, why = Effect.NO_EFFECT, "it needs macOS 11: the user goes through Setup Assistant"
    else:
        effect = Effect.APPLIES
        why = f"Setup Assistant goes on by itself; it stops {', '.join(_stops(profile))}"
    yield PlanRow("auto_advance", value, effect, why)


def _stops(profile: ProfileSettings) -> Iterator[str]:
    yield "without a wired network"
    if profile.administrator is None:
        yield "at the account of the user"
    if profile.user_affinity.kind is not AffinityKind.NONE:
        yield "at the sign-in of the user"
    for name in ("language", "region"):
        if not getattr(profile, name):
            yield f"where the {name} is chosen"


def screens(profile: ProfileSettings, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield one row for each screen, for each other key in ``skip``, and for the screens without a key."""
    passes = advances(profile, version)
    for key in SkipKeys:
        row = _screen(key, hide=key in profile.skip, version=version)
        if passes and row.effect in (Effect.SHOWN, Effect.MAY_SHOW):
            row = attrs.evolve(row, effect=Effect.PASSED, why=_PASSED)
        yield row
    for other in sorted(str(key) for key in profile.skip if not isinstance(key, SkipKeys)):
        if other in NOT_ON_MACOS:
            effect, why = Effect.NOT_THERE, "no Mac has this screen; the key is ignored"
        else:
            effect, why = (
                Effect.SENT_AS_IS,
                "pyade does not know this key; a Mac that does not know it ignores it",
            )
        yield PlanRow(f"skip.{other}", "hide", effect, why, label=other)
    effect, why = Effect.SHOWN, "no key hides them; auto advance can answer language and region"
    if passes and profile.language and profile.region:
        effect, why = Effect.PASSED, "Setup Assistant goes past them by itself on a wired network"
    elif passes:
        why = "Setup Assistant stops here: only with language and region it goes on by itself"
    yield PlanRow("(always)", "", effect, why, label="Language, region, network, Remote Management")


_PASSED: Final = f"Setup Assistant goes past it by itself; {SET_UP_LATER}"


def _screen(key: SkipKeys, *, hide: bool, version: MacOSVersion) -> PlanRow:
    if not key.seen_on_macs:
        effect, why = Effect.NOT_THERE, [key.conditions]
    elif not key.exists_on(version):
        effect, why = (
            Effect.NOT_THERE,
            [f"from {key.introduced} on" if version < key.introduced else f"until {key.removed}"],
        )
    elif not hide:
        effect, why = Effect.SHOWN, [key.when_visible, key.conditions]
    else:
        effect = Effect.HIDDEN if key.always_skippable else Effect.MAY_SHOW
        why = [key.when_hidden, key.conditions]
    if effect is not Effect.NOT_THERE and _note_matters(key, version, hide=hide):
        why.append(key.note)
    text = "; ".join(filter(None, why))
    return PlanRow(f"skip.{key}", "hide" if hide else "show", effect, text, label=key.label)


def _note_matters(key: SkipKeys, version: MacOSVersion, *, hide: bool) -> bool:
    if (key.apple_introduced, key.apple_removed) != (key.introduced, key.removed):
        return not key.apple_agrees_on(version)
    return hide and (key.note_from is None or version >= key.note_from)


def primary_account(profile: ProfileSettings, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of the primary account."""
    account, passes = profile.primary_account, advances(profile, version)
    if account is None:
        yield PlanRow("primary_account", "", Effect.NOT_SET, _left_open(profile, version))
        return
    effect = Effect.NO_EFFECT if version < ACCOUNTS_FROM else Effect.APPLIES
    if passes:
        why = "Setup Assistant stops at the account; with an administrator in its place it goes on"
    elif version < ACCOUNTS_FROM:
        why = "account settings need 10.11: the user types an account, which is an administrator"
    elif profile.standard_user:
        why = "the account is a standard one, beside the administrator"
    else:
        why = "the account is an administrator: a Mac needs at least one"
    yield PlanRow("primary_account", "set", effect, why)
    for name in ("account_name", "full_name"):
        value = getattr(account, name)
        if not value:
            effect, why = Effect.NOT_SET, "not prefilled" if passes else "the user types it"
        elif version < PREFILL_FROM:
            effect, why = Effect.NO_EFFECT, "prefilling needs 10.15: the user types it"
        else:
            effect, why = Effect.APPLIES, "prefilled"
            why += "; the server puts in the user's own for the variable" if "{{" in value else ""
            why += _DEVICE_NAME + "the user types it" if names_device(value) else ""
        yield PlanRow(f"primary_account.{name}", value, effect, why)
    effect, why = _restrict_editing(account, profile.user_affinity.on(version), version)
    if passes:
        why = "it is for the account screen, at which Setup Assistant stops"
    yield PlanRow("primary_account.restrict_editing", yes(account.restrict_editing), effect, why)


def _left_open(profile: ProfileSettings, version: MacOSVersion) -> str:
    """Return who creates the user's account if the profile has no settings for it."""
    if profile.skip_primary_account and version >= ACCOUNTS_FROM:
        return "no account is made in Setup Assistant: the administrator is the only one"
    if advances(profile, version):
        return "no account is made by itself: without an administrator Setup Assistant stops there"
    kind = "a standard one" if profile.standard_user and version >= ACCOUNTS_FROM else "an administrator"
    return f"the user types name and password of the account in Setup Assistant; it is {kind}"


def _restrict_editing(
    account: PrimaryAccount, kind: AffinityKind, version: MacOSVersion
) -> tuple[Effect, str]:
    """Return the effect on the account screen; below 10.15 every user signs in with legacy authentication."""
    prefilled = sum(map(bool, (account.account_name, account.full_name)))
    if version < PREFILL_FROM:
        return (
            Effect.NO_EFFECT,
            "before 10.15 the account screen shows, and the user types names and password",
        )
    if not prefilled:
        effect = Effect.NO_EFFECT if account.restrict_editing else Effect.APPLIES
        return effect, "nothing is prefilled: the account screen shows, and the user types both names"
    if not account.restrict_editing:
        password = "from the sign-in" if kind is AffinityKind.LEGACY else "of the user's choice"
        return (
            Effect.APPLIES,
            f"the account screen shows prefilled, with a password {password}; all can be edited",
        )
    if prefilled == 1:
        return (
            Effect.APPLIES,
            "the account screen shows; the prefilled name cannot be edited, the user types the other",
        )
    if kind is AffinityKind.LEGACY:
        return (
            Effect.APPLIES,
            "the account screen never shows: the account is made with the password of the sign-in",
        )
    why = "the account screen shows, the names cannot be edited and the user chooses a password; it does not "
    return Effect.APPLIES, f"{why}show if the server learned the password on the sign-in page"


def administrator(profile: ProfileSettings, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of the administrator account."""
    admin = profile.administrator
    if admin is None:
        yield PlanRow("administrator", "", Effect.NOT_SET, "no account beside the user's")
        return
    works = version >= ACCOUNTS_FROM
    beside = "as the only account" if profile.skip_primary_account else "beside the user's account"
    made = f"made while the Mac waits, {beside}"
    made += _DEVICE_NAME + "the serial number stands for it" if names_device(admin.short_name) else ""
    rows = (
        ("", admin.short_name, made),
        (".full_name", admin.full_name, "shown at login"),
        (".hidden", yes(admin.hidden), _HIDDEN if admin.hidden else "shown at login and in the settings"),
        (".password_hash", "a secret" if admin.password_hash else "", "the password to log in with"),
    )
    unset = {".full_name": "the short name is used", ".password_hash": "the administrator cannot log in"}
    for part, value, why in rows:
        if not value:
            row = PlanRow(f"administrator{part}", "", Effect.NOT_SET, unset[part])
        elif works:
            row = PlanRow(f"administrator{part}", value, Effect.APPLIES, why)
        else:
            row = PlanRow(f"administrator{part}", value, Effect.NO_EFFECT, "account settings need 10.11")
        yield row


def account_settings(profile: ProfileSettings, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of the settings that concern all accounts."""
    yield _row("standard_user", profile.standard_user, version, _standard(profile))
    yield _row("skip_primary_account", profile.skip_primary_account, version, _skipped(profile, version))
    yield _managed(profile, version)
    tether = profile.requires_network_tether
    if not tether:
        why = "accounts are made over any network"
    elif not profile.has_account_settings:
        why = "it concerns the command that makes accounts, and there are no account settings"
    else:
        why = "accounts are made over a wired network only: over Wi-Fi the Mac does not carry the command out"
    has_effect = profile.has_account_settings or not tether
    yield _row("requires_network_tether", tether, version, (has_effect, why))


def _standard(profile: ProfileSettings) -> tuple[bool, str]:
    if profile.skip_primary_account:
        return not profile.standard_user, "no account is made in Setup Assistant"
    if profile.standard_user:
        return True, "the user's account is a standard one; the administrator is the other account"
    return True, "the user's account is an administrator"


def _skipped(profile: ProfileSettings, version: MacOSVersion) -> tuple[bool, str]:
    if not profile.skip_primary_account:
        stops = advances(profile, version)
        return True, f"Setup Assistant {'stops at' if stops else 'has'} the screen of the user's account"
    why = (
        "Setup Assistant has no screen for the user's account; on Apple silicon, FileVault and updates of "
        "macOS then need the bootstrap token"
    )
    if "skip_primary_account" in switched_on(profile):
        why = f"it follows from auto_advance with an administrator: {why}"
    return True, why


def _managed(profile: ProfileSettings, version: MacOSVersion) -> PlanRow:
    name = profile.managed_user
    if name and version < MANAGED_USER_FROM:
        why = "it needs macOS 11: the account that Setup Assistant makes is managed"
        return PlanRow("managed_user", name, Effect.NO_EFFECT, why)
    if name:
        return PlanRow("managed_user", name, Effect.APPLIES, "the account with this name is managed")
    why = "the account that Setup Assistant makes is managed"
    if profile.skip_primary_account:
        why = "no account is managed, as Setup Assistant makes none; the administrator can be named here"
    return PlanRow("managed_user", "", Effect.NOT_SET, why)


def _row(setting: str, value: bool, version: MacOSVersion, meaning: tuple[bool, str]) -> PlanRow:
    """Return the row of a switch; *meaning* is whether it has an effect from 10.11 on, and why."""
    has_effect, why = meaning
    if value and version < ACCOUNTS_FROM:
        return PlanRow(setting, yes(value), Effect.NO_EFFECT, "account settings need 10.11")
    return PlanRow(setting, yes(value), Effect.APPLIES if has_effect else Effect.NO_EFFECT, why)


_DEVICE_NAME: Final = (
    "; {{managedDeviceName}} has a value only if FinalConfiguration is given device_name or variables, else "
)
_HIDDEN: Final = "the login window and the settings do not show it"


_KIND_NAMES: Final = {
    AffinityKind.NONE: "none",
    AffinityKind.MODERN: "modern",
    AffinityKind.LEGACY: "legacy",
}


def make_plan(profile: ProfileSettings, version: MacOSVersion) -> ProfilePlan:
    """Return the plan of *profile* on *version*."""
    settings = (
        *_basics(profile),
        *_sign_in(profile, version),
        *_management(profile, version),
        *primary_account(profile, version),
        *administrator(profile, version),
        *account_settings(profile, version),
        *_support(profile),
        *auto_advance(profile, version),
        *_transport(profile),
        *_afterwards(version),
    )
    return ProfilePlan(
        profile_name=profile.name,
        version=version,
        settings=settings,
        screens=tuple(screens(profile, version)),
    )


def _row_of_text(setting: str, value: str, why: str, unset: str, effect: Effect = Effect.APPLIES) -> PlanRow:
    return PlanRow(setting, value, effect, why) if value else PlanRow(setting, "", Effect.NOT_SET, unset)


def _basics(profile: ProfileSettings) -> Iterator[PlanRow]:
    yield PlanRow(
        "name",
        profile.name,
        Effect.SERVER_ONLY,
        "users do not see it; group rules on enrollmentProfileName use it",
    )
    yield _row_of_text(
        "description",
        profile.description,
        "users do not see it",
        "users would not see it",
        Effect.SERVER_ONLY,
    )


def _sign_in(profile: ProfileSettings, version: MacOSVersion) -> Iterator[PlanRow]:
    affinity, kind = profile.user_affinity, profile.user_affinity.on(version)
    if kind is AffinityKind.MODERN:
        url = PlanRow(
            "url",
            profile.url,
            Effect.NOT_USED,
            "this Mac opens the sign-in page; macOS before 10.15 asks here",
        )
    elif kind is AffinityKind.LEGACY:
        why = "the Mac asks here for its enrollment profile, with the name and password of the user"
        url = PlanRow("url", profile.url, Effect.APPLIES, why)
    else:
        why = "the Mac asks here for its enrollment profile, without a sign-in"
        url = PlanRow("url", profile.url, Effect.APPLIES, why)
    yield url
    rows = _affinity(affinity, kind)
    if kind is not AffinityKind.NONE and advances(profile, version):
        rows = (_unattended(row) for row in rows)
    yield from rows


def _affinity(affinity: UserAffinity, kind: AffinityKind) -> Iterator[PlanRow]:
    name = _KIND_NAMES[affinity.kind]
    if kind is not affinity.kind:
        why = "modern authentication needs 10.15: this Mac falls back to Setup Assistant (legacy)"
        yield PlanRow("user_affinity", name, Effect.FALLS_BACK, why)
    else:
        yield PlanRow("user_affinity", name, Effect.APPLIES, _KIND_MEANINGS[kind])
    if affinity.kind is AffinityKind.MODERN:
        if kind is AffinityKind.MODERN:
            effect, why = Effect.APPLIES, "Setup Assistant opens this page; the user signs in there"
        else:
            effect, why = Effect.NOT_USED, "the page needs 10.15; the Mac uses url"
        yield PlanRow("user_affinity.web_url", affinity.web_url, effect, why)
    consequences = UserAffinity(kind=kind).consequences
    for field in attrs.fields(type(consequences)):
        why = getattr(consequences, field.name)
        yield PlanRow(f"user_affinity.{field.name}", "", Effect.FOLLOWS, why)


def _unattended(row: PlanRow) -> PlanRow:
    """Return *row* for a set-up that continues by itself, except for the sign-in."""
    why = _UNATTENDED.get(row.setting)
    return row if why is None else attrs.evolve(row, why=why)


_UNATTENDED: Final = {
    "user_affinity": "Setup Assistant stops at the sign-in; without user affinity it goes on by itself",
    "user_affinity.web_url": "Setup Assistant opens this page, and stops there",
    "user_affinity.sign_in": "Setup Assistant stops there before the Mac enrolls",
    "user_affinity.company_portal": "a sign-in to it after Setup Assistant finishes the registration",
    "user_affinity.registration": "with Microsoft Entra ID, by the sign-in to Company Portal",
}
_KIND_MEANINGS: Final = {
    AffinityKind.NONE: "the Mac belongs to no user; meant for shared Macs",
    AffinityKind.MODERN: "the Mac belongs to the user who signs in on a web page in Setup Assistant",
    AffinityKind.LEGACY: "the Mac belongs to the user who signs in with name and password in Setup Assistant",
}


def _management(profile: ProfileSettings, version: MacOSVersion) -> Iterator[PlanRow]:
    yield _await(profile, version)
    yield _locked(profile, version)
    if version >= _ALWAYS_SUPERVISED_FROM:
        why = "from macOS 11 every Mac that enrolls so is supervised"
        effect = Effect.APPLIES if profile.supervised else Effect.NO_EFFECT
    else:
        why = "the Mac is supervised; locked needs it" if profile.supervised else "the Mac is not supervised"
        effect = Effect.APPLIES
    yield PlanRow("supervised", yes(profile.supervised), effect, why)
    if advances(profile, version):
        why = "Setup Assistant enrolls the Mac by itself"
    elif profile.mandatory:
        why = "the user cannot skip the enrollment"
    elif version >= ENFORCED_FROM:
        why = "the user can skip the enrollment in Setup Assistant; macOS asks again and then requires it"
    else:
        why = "the user can skip the enrollment"
    yield PlanRow("mandatory", yes(profile.mandatory), Effect.APPLIES, why)


def _await(profile: ProfileSettings, version: MacOSVersion) -> PlanRow:
    setting, value = "await_final_configuration", yes(profile.await_final_configuration)
    if not profile.await_final_configuration:
        why = "the user reaches the desktop when Setup Assistant ends, although policies may still be missing"
        return PlanRow(setting, value, Effect.APPLIES, why)
    if version < ACCOUNTS_FROM:
        why = "it needs 10.11: the user reaches the desktop when Setup Assistant ends"
        return PlanRow(setting, value, Effect.NO_EFFECT, why)
    why = "once per enrollment, Setup Assistant ends locked until the server releases the Mac; no time limit"
    if setting in switched_on(profile):
        why += "; switched on by account settings, although False was given"
    elif profile.has_account_settings:
        why += "; always on with account settings"
    return PlanRow(setting, value, Effect.APPLIES, why)


def _locked(profile: ProfileSettings, version: MacOSVersion) -> PlanRow:
    if not profile.locked:
        why = "an administrator of the Mac can remove the management profile"
    elif version < MacOSVersion(10, 15):
        why = "no user can remove the management profile, not even an administrator; only a wipe changes that"
    else:
        why = "no user can remove the management profile; only a wipe changes that"
    if version >= MacOSVersion(10, 15):
        why += "; the other profiles that the server installs can never be removed by users"
    return PlanRow("locked", yes(profile.locked), Effect.APPLIES, why)


def _support(profile: ProfileSettings) -> Iterator[PlanRow]:
    why = "shown when the user selects About Configuration during activation"
    yield _row_of_text("department", profile.department, why, "About Configuration names no department")
    why = "shown when the user selects Need Help during activation"
    yield _row_of_text(
        "support_phone_number", profile.support_phone_number, why, "Need Help names no phone number"
    )
    why = "sent to the Mac; no source says where it shows"
    yield _row_of_text(
        "support_email_address", profile.support_email_address, why, "no e-mail address is sent"
    )


def _transport(profile: ProfileSettings) -> Iterator[PlanRow]:
    yield _row_of_text(
        "anchor_certificates",
        count_certificates(profile.anchor_certificates),
        "the Mac trusts only these when it connects to the server",
        "the Mac trusts its own root certificates",
    )
    yield PlanRow(
        "org_magic",
        profile.org_magic,
        Effect.APPLIES,
        "names the organization to the Mac; users do not see it",
    )
    for key in sorted(profile.extra):
        yield PlanRow(
            f"extra.{key}",
            "set",
            Effect.SENT_AS_IS,
            "a key of Apple's that pyade does not model",
            f"extra.{key}",
        )


def _afterwards(version: MacOSVersion) -> Iterator[PlanRow]:
    if version < ACME_FROM:
        yield PlanRow("(identity)", "SCEP", Effect.FOLLOWS, f"ACME needs {ACME_FROM}")
    elif version < HARDWARE_KEYS_FROM:
        why = f"from {ACME_FROM}; before {HARDWARE_KEYS_FROM} with software keys only"
        yield PlanRow("(identity)", "ACME", Effect.FOLLOWS, why)
    else:
        why = f"from {ACME_FROM}; bound to the hardware and attested where the chip can do it"
        yield PlanRow("(identity)", "ACME", Effect.FOLLOWS, why)
    if version < RENEW_FROM:
        value, why = "wipe", "Macs that are set up already can enroll without a wipe from 10.13 on"
    else:
        value = "profiles renew"
        why = f"Macs that are set up enroll {renewal(version)}; screens and accounts do not apply to them"
    yield PlanRow("(Macs in use)", value, Effect.FOLLOWS, why)


def renewal(version: MacOSVersion | None) -> str:
    """Return how a Mac that is set up already enrolls, and who may run the command, as part of a sentence.

    Source: specification, "Distribute devices", Existing Macs; Apple, "What's new for enterprise in macOS
    Sequoia".
    """
    usual = f"with sudo {RENEW_COMMAND}, run by a local administrator"
    if version is not None and version < RENEW_BY_ANYONE_FROM:
        return usual
    since = "" if version is not None else f" from macOS {RENEW_BY_ANYONE_FROM}"
    return f"{usual};{since} any user may run it without sudo where no server manages the Mac"
