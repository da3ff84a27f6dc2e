"""Local accounts that a profile sets up on a Mac; their rules are checked with the profile."""

from __future__ import annotations

from typing import Final

import attrs

from pyade.core.versions import MacOSVersion

ACCOUNTS_FROM: Final = MacOSVersion(10, 11)
PREFILL_FROM: Final = MacOSVersion(10, 15)

ACCOUNT_NAME_VARIABLE: Final = "{{partialupn}}"
FULL_NAME_VARIABLE: Final = "{{username}}"


@attrs.frozen
class PrimaryAccount:
    """The account that the user gets in Setup Assistant; it is an administrator.

    Attributes:
        account_name: The account name to prefill, ``{{partialupn}}`` allowed; "" lets the user type it.
        full_name: The full name to prefill, ``{{username}}`` allowed; "" lets the user type it.
        restrict_editing: True if the user may not change what is prefilled.

    Source: specification, "Create an Apple enrollment profile", Account Settings.
    """

    account_name: str = ""
    full_name: str = ""
    restrict_editing: bool = True


@attrs.frozen
class AdministratorAccount:
    """An administrator that the Mac gets beside the user's account.

    Attributes:
        short_name: The account name.
        full_name: The full name; "" means the short name.
        hidden: True if the login window and the settings do not show it.
        password_hash: Secret. The property list with the key ``SALTED-SHA512-PBKDF2``.

    Source: Apple, ``AccountConfiguration``, ``AutoSetupAdminAccounts``.
    """

    short_name: str
    full_name: str = ""
    hidden: bool = False
    password_hash: bytes = attrs.field(default=b"", repr=False)
