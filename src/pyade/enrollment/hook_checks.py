"""Check the settings of a service when it is created, and what the caller's hooks return.

The rules of this file:

1. Check the settings at creation: otherwise the first Mac would find the mistake, as a 500. Each hook must
   take its arguments, and macOS must accept the profile, which is built once for each issuer and an example
   Mac.
2. Check what a hook returns before it is used, and name the hook in the error. An identity provider that
   forgets a claim must not enroll a Mac without its user.
3. Errors never show what a hook returned: an address holds the state of a sign-in, a credential is a secret.
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

_TYPE_NAMES: Final[dict[type, str]] = {str: "a text", bool: "True or False"}
_MAX_NAME: Final = 255  # a directory allows 113, and the record keeps the whole name
_MAX_SHOWN: Final = 80


def check_user(answer: object, hook: str) -> User:
    """Return the user that a hook returned.

    Raises:
        PolicyError: It is not a ``User``, or has no usable user principal name.
    """
    if not isinstance(answer, User):  # rule 2
        raise PolicyError(f"{hook}: got {type(answer).__name__}, a User is needed")
    name = answer.upn
    if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME:
        raise PolicyError(
            f"{hook}: got a User with an empty or unusable upn: 1 to {_MAX_NAME} printable characters"
            " are needed, check what the identity provider sends"
        )
    return answer


def storable_user(user: User) -> tuple[User, tuple[Problem, ...]]:
    """Return *user* without names that a store cannot keep, and a problem for each of them.

    Only the user principal name must be valid for the Mac to enroll (``check_user``); the other names only
    fill in the names of an account.
    """
    problems = tuple(
        Problem(
            f"user.{field}",
            printable(value[:_MAX_SHOWN])[:_MAX_SHOWN],
            f"at most {_MAX_NAME} characters of Unicode, without half of a pair of surrogates",
            "correct what the identity provider sends; the name was ignored",
            Severity.WARNING,
        )
        for field in ("full_name", "on_premises_account_name")
        if len(value := getattr(user, field)) > _MAX_NAME or not is_unicode(value)
    )
    emptied: dict[str, Any] = {one.setting.removeprefix("user."): "" for one in problems}
    return attrs.evolve(user, **emptied), problems


def check_address(answer: object, hook: str) -> str:
    """Return the address that a hook returned.

    Raises:
        PolicyError: It is not an https address.
    """
    answer = masked(answer)
    is_good = isinstance(answer, str) and re.fullmatch("(?i)https://[!-~]+", answer) and host_of(answer)
    if not isinstance(answer, str) or not is_good:
        raise PolicyError(f"{hook} returned no https address: one in ASCII with a host is needed")  # rule 3
    return answer


def check_answer(answer: object, kind: type[T], hook: str) -> T:
    """Return *answer*, which a hook returned, if it is an instance of *kind*; nothing is converted.

    Raises:
        PolicyError: It has another type.
    """
    if not isinstance(answer, kind):
        needed = _TYPE_NAMES.get(kind, kind.__name__)
        raise PolicyError(f"{hook} returned {type(answer).__name__}: {needed} is needed")
    return answer


_EXAMPLE: Final = EnrollmentProfile(name="Check", url="https://mdm.example.com/enroll")
_EXAMPLE_MAC: Final = TargetMac(serial_number="C02CHECK0001", product="Mac14,2", version="15.4")
_CHECK_REASON: Final = "to check the service"
_EXAMPLE_CREDENTIAL: Final = Secret("check")


def check_settings(settings: Settings, *, asynchronous: str) -> None:
    """Check the settings of a service.

    Args:
        settings: The settings.
        asynchronous: The class that accepts coroutine functions; "" if this is that class.

    Raises:
        PolicyError: A hook does not take its arguments, or is a coroutine function in the synchronous class.
        ProfileError: A topic, an address or another value of *mdm* or of an issuer makes a profile that macOS
            refuses.
    """
    _check_hooks(settings, asynchronous)  # rule 1
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
        (settings.acme, IdentityChoice(kind=IdentityKind.ACME, reason=_CHECK_REASON)),
        (settings.scep, IdentityChoice(kind=IdentityKind.SCEP, reason=_CHECK_REASON)),
    )
    acme = settings.acme and attrs.evolve(settings.acme, client_identifier=_EXAMPLE_CREDENTIAL)
    scep = settings.scep and attrs.evolve(settings.scep, challenge=_EXAMPLE_CREDENTIAL)
    for issuer, choice in choices:
        if issuer is None:
            continue
        try:
            build_enrollment_profile(
                _EXAMPLE, settings.mdm, _EXAMPLE_MAC, acme=acme, scep=scep, choice=choice
            )
        except ProfileError as error:
            problems |= {str(problem): problem for problem in error.problems}
    if problems:
        raise ProfileError(tuple(problems.values()))
