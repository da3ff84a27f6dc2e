"""What the caller's hooks may answer: an error that names the hook, before anything comes of the answer.

An identity provider that forgets a claim must not enroll a Mac without its user. The answers themselves are
not shown: an address holds the state of a sign-in, a credential is a secret.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from pyade.core.profile_rules import host_of
from pyade.core.secret import masked
from pyade.core.user import User
from pyade.errors import PolicyError

T = TypeVar("T")

_WORDS: Final[dict[type, str]] = {str: "a text", bool: "True or False"}
_LONGEST_NAME: Final = 255  # a directory allows 113, and all of it is kept in the record


def check_user(answer: object, hook: str) -> User:
    """Return the user that a hook named.

    Raises:
        PolicyError: It is no user, or one without a user principal name.
    """
    if not isinstance(answer, User):
        raise PolicyError(f"{hook} gave {type(answer).__name__}: a User is needed")
    name: object = answer.upn
    is_good = isinstance(name, str) and name.strip() and name.isprintable() and len(name) <= _LONGEST_NAME
    if not is_good:
        raise PolicyError(
            f"{hook} gave a User whose upn is empty or no name: 1 to {_LONGEST_NAME} printable characters"
            " are needed, look at what the identity provider sends"
        )
    return answer


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
