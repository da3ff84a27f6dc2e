"""What a service is told, checked where the service is made: else the first Mac finds the mistake, as a 500.

Hooks must be callable with what they will get, and the profile that a Mac would get must be one that macOS
takes: it is built once for each issuer, for a Mac that there is not.
"""

from __future__ import annotations

from typing import Final

import attrs

from pyade.builders.mobileconfig import build_enrollment_profile
from pyade.builders.payloads import TargetMac
from pyade.core.identity import IdentityChoice, IdentityKind
from pyade.core.problems import Problem
from pyade.core.profile import EnrollmentProfile
from pyade.core.secret import Secret
from pyade.enrollment.settings import Settings
from pyade.errors import ProfileError
from pyade.hooks import check_hook

_PROFILE: Final = EnrollmentProfile(name="Check", url="https://mdm.example.com/enroll")
_MAC: Final = TargetMac(serial_number="C02CHECK0001", product="Mac14,2", version="15.4")
_WHY: Final = "to check the service"
_CREDENTIAL: Final = Secret("check")


def check_wiring(settings: Settings, *, asynchronous: str) -> None:
    """Check what a service is told.

    Args:
        settings: What it is told.
        asynchronous: The class that takes coroutine functions; "" if it is that class.

    Raises:
        PolicyError: A hook takes other arguments than it will get, or is a coroutine function in the
            synchronous class.
        ProfileError: A topic, an address or another value of *mdm* or of an issuer makes a profile that macOS
            refuses.
    """
    _check_hooks(settings, asynchronous)
    _check_profiles(settings)


def _check_hooks(settings: Settings, asynchronous: str) -> None:
    sso, sign_in = settings.platform_sso, settings.sign_in
    for name, hook, arguments in (
        ("catalogue", settings.catalogue, ""),
        ("authenticate", settings.authenticate, "name, password"),
        ("is_licensed", settings.is_licensed, "request"),
        ("check", settings.check, "request"),
        ("acme_credential", settings.acme_credential, "request"),
        ("scep_credential", settings.scep_credential, "request"),
        ("platform_sso.verify", None if sso is None else sso.verify, "token"),
        ("sign_in.begin", None if sign_in is None else sign_in.begin, "state, machine"),
    ):
        check_hook(name, hook, arguments, asynchronous=asynchronous)


def _check_profiles(settings: Settings) -> None:
    problems: dict[str, Problem] = {}
    choices = (
        (settings.acme, IdentityChoice(kind=IdentityKind.ACME, reason=_WHY)),
        (settings.scep, IdentityChoice(kind=IdentityKind.SCEP, reason=_WHY)),
    )
    acme = settings.acme and attrs.evolve(settings.acme, client_identifier=_CREDENTIAL)
    scep = settings.scep and attrs.evolve(settings.scep, challenge=_CREDENTIAL)
    for issuer, choice in choices:
        if issuer is None:
            continue
        try:
            build_enrollment_profile(_PROFILE, settings.mdm, _MAC, acme=acme, scep=scep, choice=choice)
        except ProfileError as error:
            problems |= {str(problem): problem for problem in error.problems}
    if problems:
        raise ProfileError(tuple(problems.values()))
