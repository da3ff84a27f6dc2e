"""What a service is told, checked where the service is made: else the first Mac finds the mistake, as a 500.

Hooks must be callable with what they will get, and the profile that a Mac would get must be one that macOS
takes: it is built once for each issuer, for a Mac that there is not.

What the caller's hooks may answer: an error that names the hook, before anything comes of the answer.

An identity provider that forgets a claim must not enroll a Mac without its user. The answers themselves are
not shown: an address holds the state of a sign-in, a credential is a secret.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import attrs

from pyade.builders.mobileconfig import build_enrollment_profile
from pyade.builders.payloads import TargetMac
from pyade.core.macos.identity import IdentityChoice, IdentityKind
from pyade.core.problems import Problem, Severity
from pyade.core.profile.accounts import User
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.profile.settings import host_of
from pyade.core.secret import Secret, masked
from pyade.enrollment.settings import Settings
from pyade.errors import PolicyError, ProfileError
from pyade.hooks import check_hook
from pyade.text import is_unicode, printable

T = TypeVar("T")

_WORDS: Final[dict[type, str]] = {str: "a text", bool: "True or False"}
_LONGEST_NAME: Final = 255  # a directory allows 113, and all of it is kept in the record
_SHOWN: Final = 80


def check_user(answer: object, hook: str) -> User:
    """Return the user that a hook named.

    Raises:
        PolicyError: It is no user, or one without a user principal name.
    """
    if not isinstance(answer, User):
        raise PolicyError(f"{hook} gave {type(answer).__name__}: a User is needed")
    name = answer.upn
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise PolicyError(
            f"{hook} gave a User whose upn is empty or no name: 1 to {_LONGEST_NAME} printable characters"
            " are needed, look at what the identity provider sends"
        )
    return answer


def keepable_user(user: User) -> tuple[User, tuple[Problem, ...]]:
    """Return *user* as a store can keep it, and a problem for each name that is left out.

    Who the user is must be right, or the Mac does not enroll; what else the user is called only fills in the
    names of an account.
    """
    problems = tuple(
        Problem(
            f"user.{field}",
            printable(value[:_SHOWN])[:_SHOWN],
            f"at most {_LONGEST_NAME} characters of Unicode, without half of a pair of surrogates",
            "correct what the identity provider sends; it counts as not known",
            Severity.WARNING,
        )
        for field in ("full_name", "on_premises_account_name")
        if len(value := getattr(user, field)) > _LONGEST_NAME or not is_unicode(value)
    )
    left_out: dict[str, Any] = {one.setting.removeprefix("user."): "" for one in problems}
    return attrs.evolve(user, **left_out), problems


def check_address(answer: object, hook: str) -> str:
    """Return the address that a hook named.

    Raises:
        PolicyError: It is no https address.
    """
    answer = masked(answer)
    is_good = isinstance(answer, str) and re.fullmatch("(?i)https://[!-~]+", answer) and host_of(answer)
    if not isinstance(answer, str) or not is_good:
        raise PolicyError(f"{hook} gave no https address: one in ASCII with a host is needed")
    return answer


def check_answer(answer: object, kind: type[T], hook: str) -> T:
    """Return what a hook answered, which is of one *kind*: True is no text, and a text is no True.

    Raises:
        PolicyError: It is of another.
    """
    if not isinstance(answer, kind):
        needed = _WORDS.get(kind, kind.__name__)
        raise PolicyError(f"{hook} gave {type(answer).__name__}: {needed} is needed")
    return answer


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
