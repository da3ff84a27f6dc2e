"""What the caller's hooks may answer: an error that names the hook, before anything comes of the answer.

An identity provider that forgets a claim must not enroll a Mac without its user. The answers themselves are
not shown: an address holds the state of a sign-in, a credential is a secret.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import attrs

from pyade.core.problems import Problem, Severity
from pyade.core.profile_rules import host_of
from pyade.core.secret import masked
from pyade.core.user import User
from pyade.errors import PolicyError
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
