"""What the caller's hooks may answer: an error that names the hook, before anything comes of the answer.

An identity provider that forgets a claim must not enroll a Mac without its user. The answers themselves are
not shown: an address holds the state of a sign-in, a credential is a secret.
"""

from __future__ import annotations

import re
from typing import Final

from pyade.core.profile_rules import host_of
from pyade.core.secret import masked
from pyade.core.user import User
from pyade.enrollment.credentials import Credential
from pyade.errors import PolicyError

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


def check_license(answer: object, hook: str) -> bool:
    """Return whether a hook found a license.

    Raises:
        PolicyError: It is neither True nor False: a text such as "no" would count as a license.
    """
    if not isinstance(answer, bool):
        raise PolicyError(f"{hook} gave {type(answer).__name__}: True or False is needed")
    return answer


def check_objection(answer: object, hook: str) -> str:
    """Return why a hook refuses a Mac; "" if it does not.

    Raises:
        PolicyError: It is no text, such as True, of which nobody can say what it means.
    """
    if answer is not None and not isinstance(answer, str):
        raise PolicyError(
            f"{hook} gave {type(answer).__name__}: a text is needed, why the Mac may not enroll,"
            ' or "" if it may'
        )
    return answer or ""


def check_credential(answer: object, hook: str) -> Credential:
    """Return the credential that a hook made.

    Raises:
        PolicyError: It is none.
    """
    if not isinstance(answer, Credential):
        raise PolicyError(f"{hook} gave {type(answer).__name__}: a Credential is needed")
    return answer
