"""The rows of a plan: what each setting does on one version of macOS, and why.

Source: specification, "Create an Apple enrollment profile"; Apple, ``Profile``, ``AccountConfiguration`` and
``SkipKeys`` for what the specification does not say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from pyade.core.accounts import ACCOUNTS_FROM
from pyade.core.affinity import AffinityKind, UserAffinity
from pyade.core.existing_macs import RENEW_FROM, renewal
from pyade.core.identity import ACME_FROM, HARDWARE_KEYS_FROM
from pyade.core.plan import Effect, PlanRow, ProfilePlan, counted_certificates, yes
from pyade.core.plan_accounts import account_settings, administrator, primary_account
from pyade.core.plan_advance import advances, auto_advance
from pyade.core.plan_screens import screens
from pyade.core.profile_account_rules import switched_on
from pyade.core.versions import MacOSVersion

if TYPE_CHECKING:
    from pyade.core.profile import EnrollmentProfile

_ALWAYS_SUPERVISED_FROM: Final = MacOSVersion(11)
_ENFORCED_FROM: Final = MacOSVersion(14)

_KIND_NAMES: Final = {
    AffinityKind.NONE: "none",
    AffinityKind.MODERN: "modern",
    AffinityKind.LEGACY: "legacy",
}


def make_plan(profile: EnrollmentProfile, version: MacOSVersion) -> ProfilePlan:
    """Return what *profile* does on *version*."""
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


def _text(setting: str, value: str, why: str, unset: str, effect: Effect = Effect.APPLIES) -> PlanRow:
    return PlanRow(setting, value, effect, why) if value else PlanRow(setting, "", Effect.NOT_SET, unset)


def _basics(profile: EnrollmentProfile) -> Iterator[PlanRow]:
    yield PlanRow(
        "name",
        profile.name,
        Effect.SERVER_ONLY,
        "users do not see it; group rules on enrollmentProfileName use it",
    )
    yield _text(
        "description",
        profile.description,
        "users do not see it",
        "users would not see it",
        Effect.SERVER_ONLY,
    )


def _sign_in(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
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
        why = "the Mac asks here for its enrollment profile; nobody signs in"
        url = PlanRow("url", profile.url, Effect.APPLIES, why)
    yield url
    rows = _affinity(affinity, kind)
    if kind is not AffinityKind.NONE and advances(profile, version):
        rows = (_stopping(row) for row in rows)
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


def _stopping(row: PlanRow) -> PlanRow:
    """Return *row* for a set-up that goes on by itself, but for the sign-in."""
    why = _WITHOUT_PEOPLE.get(row.setting)
    return row if why is None else attrs.evolve(row, why=why)


_WITHOUT_PEOPLE: Final = {
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


def _management(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
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
    elif version >= _ENFORCED_FROM:
        why = "the user can skip the enrollment in Setup Assistant; macOS asks again and then requires it"
    else:
        why = "the user can skip the enrollment"
    yield PlanRow("mandatory", yes(profile.mandatory), Effect.APPLIES, why)


def _await(profile: EnrollmentProfile, version: MacOSVersion) -> PlanRow:
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


def _locked(profile: EnrollmentProfile, version: MacOSVersion) -> PlanRow:
    if not profile.locked:
        why = "an administrator of the Mac can remove the management profile"
    elif version < MacOSVersion(10, 15):
        why = "nobody can remove the management profile, administrators included; only a wipe changes that"
    else:
        why = "nobody can remove the management profile; only a wipe changes that"
    if version >= MacOSVersion(10, 15):
        why += "; the other profiles that the server installs can never be removed by users"
    return PlanRow("locked", yes(profile.locked), Effect.APPLIES, why)


def _support(profile: EnrollmentProfile) -> Iterator[PlanRow]:
    why = "shown when the user selects About Configuration during activation"
    yield _text("department", profile.department, why, "About Configuration names no department")
    why = "shown when the user selects Need Help during activation"
    yield _text("support_phone_number", profile.support_phone_number, why, "Need Help names no phone number")
    why = "sent to the Mac; no source says where it shows"
    yield _text("support_email_address", profile.support_email_address, why, "no e-mail address is sent")


def _transport(profile: EnrollmentProfile) -> Iterator[PlanRow]:
    yield _text(
        "anchor_certificates",
        counted_certificates(profile.anchor_certificates),
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
