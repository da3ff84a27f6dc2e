"""The steps of an administrator, in Apple's portal and here, to make or renew a token.

The rules of this file:

1. A new token has five steps. The first is done when the certificate was returned, the next three when the
   caller reports them, the last when the token is stored and was synced once.
2. A stored token is renewed: for the certificate that the portal has, or for a new one.
3. If the key pair of a stored token is missing, files from the portal cannot be decrypted. Downloading one
   would end the token in use, so a new key pair must be made first.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs

from pyade.core import token_fields as fields
from pyade.core.token import Portal, Token, check_portal
from pyade.errors import PolicyError, TokenError
from pyade.text import Printed

_LAST_STEP: Final = 5
"""The number of the step that stores a new token."""


@attrs.frozen(kw_only=True)
class PortalStep(Printed):
    """One step of an administrator; ``print`` shows it.

    Attributes:
        number: The number of the step, from 1.
        total: The number of all steps.
        title: The title of the step in the specification.
        actions: What to do, in order.
    """

    number: int
    total: int
    title: str
    actions: tuple[str, ...]

    def _words(self) -> list[str]:
        lines = [f"Step {self.number} of {self.total}: {self.title}"]
        lines += [f"  {number}. {action}" for number, action in enumerate(self.actions, 1)]
        return lines


def _validate_steps_done(_instance: object, attribute: fields.Field, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LAST_STEP:
        raise TokenError(
            f"{attribute.name} {value!r:.40} is not a number of steps", f"give 0 to {_LAST_STEP - 1}"
        )


@attrs.frozen(kw_only=True)
class TokenSetup(Printed):
    """A server token that is being made or renewed, with its steps; ``print`` shows them.

    Attributes:
        name: The caller's own name for the token.
        portal: Business or School.
        consented_at: When an administrator agreed to share user and device data with Apple, UTC.
        apple_id: The Apple ID that must be used; "" if it is not known yet.
        scope_tags: The tags that decide who may see and manage the token.
        is_renewal: True if a token of that name is in use.
        is_stored: True if a token of that name is stored; a new one then needs only its first sync.
        certificate_is_new: True if the certificate must be uploaded in the portal first.
        steps_done: The number of steps that are done.
        last_error: The error that ended the last sync of a new stored token, as text; "" if there was none.
    """

    name: str = attrs.field(validator=fields.text)
    portal: Portal = attrs.field(default=Portal.BUSINESS, validator=check_portal)
    consented_at: datetime = attrs.field(converter=fields.utc, validator=fields.consent)
    apple_id: str = attrs.field(default="", validator=fields.address_or_empty)
    scope_tags: frozenset[str] = attrs.field(default=frozenset(), converter=fields.tags)
    is_renewal: bool = attrs.field(default=False, validator=fields.flag)
    is_stored: bool = attrs.field(default=False, validator=fields.flag)
    certificate_is_new: bool = attrs.field(default=True, validator=fields.flag)
    steps_done: int = attrs.field(default=0, validator=_validate_steps_done)
    last_error: str = attrs.field(default="")

    def __attrs_post_init__(self) -> None:
        if self.steps_done >= len(self.steps):
            raise TokenError(
                f"steps_done is {self.steps_done} of {len(self.steps)}", "at least one step must remain"
            )

    @property
    def steps(self) -> tuple[PortalStep, ...]:
        """All steps, in order."""
        titled = self._renewal_steps() if self.is_renewal else self._creation_steps()
        return tuple(
            PortalStep(number=number, total=len(titled), title=title, actions=actions)
            for number, (title, actions) in enumerate(titled, 1)
        )

    @property
    def next_step(self) -> PortalStep:
        """The first step that is not done."""
        return self.steps[self.steps_done]

    @property
    def is_under_way(self) -> bool:
        """True if a new token is not finished, or if a renewal with a new key pair was begun."""
        return not self.is_renewal or self.steps_done > 0

    def after(self, number: int, apple_id: str | None = None) -> TokenSetup:
        """Return the setup of a new token after step *number* and those before are done.

        Args:
            number: 2, 3 or 4.
            apple_id: The Apple ID that step 4 saves.

        Raises:
            PolicyError: The certificate was not returned yet.
            TokenError: There is no such step, or step 4 has no Apple ID.
        """
        if isinstance(number, bool) or number not in (2, 3, 4):
            raise TokenError(
                f"step {number!r:.40} is not done in the portal",
                "give 2, 3 or 4: certificate() does step 1, upload() does step 5",
            )
        if not self.steps_done:
            raise PolicyError(f"step 1 of {self.name!r} comes first: call certificate()")
        if apple_id is None and number >= 4 and not self.apple_id:
            raise TokenError("apple_id is missing", "save the Apple ID that downloaded the token")
        return attrs.evolve(
            self,
            steps_done=max(self.steps_done, number),
            apple_id=self.apple_id if apple_id is None else apple_id,
        )

    def _words(self) -> list[str]:
        what = "renewal of the token" if self.is_renewal else "new token"
        lines = [f"{self.name}: {what} in {self.portal}, {self.steps_done} of {len(self.steps)} steps done"]
        for step in self.steps:
            mark = "done" if step.number <= self.steps_done else "next" if step == self.next_step else ""
            lines.append(f"  {mark:<4}  {step.number}. {step.title}")
        return lines

    def _creation_steps(self) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (
                "Download the public key certificate",
                (f"save the certificate of {self.name!r} as a PEM file, such as {self.name}.pem",),
            ),
            (
                "Add MDM server and download server token",
                (
                    *self._open_servers_actions(),
                    "select the option to add an MDM server and give it a name, which is for the portal only",
                    "upload the certificate and save the changes",
                    "download the server token (.p7m file)",
                ),
            ),
            (
                "Assign devices to MDM server",
                (f"assign devices to the new server in {self.portal} now, or later",),
            ),
            (
                "Save Apple ID",
                ("note the Apple ID that was used: it must renew the token every year",),
            ),
            ("Upload server token and finish", self._last_step_actions()),
        ]

    def _last_step_actions(self) -> tuple[str, ...]:
        if not self.is_stored:
            return (f"upload the .p7m file here, with the Apple ID {self.apple_id or 'that was used'}",)
        ended = (f"the last sync ended with: {self.last_error}",) if self.last_error else ()
        return ("the token is stored: sync it once, on request or by a scheduler", *ended)

    def _renewal_steps(self) -> list[tuple[str, tuple[str, ...]]]:
        upload = ("Renew token", ("upload the .p7m file here, with the Apple ID that was used",))
        if self.certificate_is_new:
            return [
                (
                    "Download the public key certificate",
                    (
                        "make a new key pair with replace_keypair(), or pass the existing one to add()",
                        f"save the new certificate of {self.name!r} as a PEM file",
                    ),
                ),
                (
                    "Replace the key and download a new server token",
                    (
                        *self._open_servers_actions(),
                        "select the MDM server, edit it, and upload the new certificate",
                        "save the changes and download a new server token (.p7m file)",
                    ),
                ),
                upload,
            ]
        return [
            (
                "Download a new server token",
                (
                    *self._open_servers_actions(),
                    "select the MDM server and download a new server token (.p7m file); it ends the old one",
                ),
            ),
            upload,
        ]

    def _open_servers_actions(self) -> tuple[str, ...]:
        who = self.apple_id or "your company Apple ID, not a personal one: it must renew the token"
        return (
            f"sign in to {self.portal} with {who}",
            "go to your account profile > Preferences",
            "go to your MDM server assignments",
        )


def setup_of(
    token: Token,
    *,
    has_keypair: bool = True,
    has_new_keypair: bool = False,
    is_new: bool = False,
    last_error: str = "",
) -> TokenSetup:
    """Return the steps of a stored token.

    Args:
        token: The stored token.
        has_keypair: False if the key pair that decrypts its files is not stored here.
        has_new_keypair: True if a new key pair was made, whose certificate must be uploaded in the portal.
        is_new: True if it was never synced completely, and no error shows that it does not work.
        last_error: The error that ended its last sync.
    """
    setup = TokenSetup(
        name=token.name,
        portal=token.portal_to_use,
        consented_at=token.consented_at,
        apple_id=token.apple_id,
        scope_tags=token.scope_tags,
        is_stored=True,
    )
    if has_new_keypair:
        return attrs.evolve(setup, is_renewal=True, steps_done=1)
    if not has_keypair:  # rule 3
        return attrs.evolve(setup, is_renewal=True)
    if is_new:
        return attrs.evolve(setup, steps_done=_LAST_STEP - 1, last_error=last_error)  # rule 1
    return attrs.evolve(setup, is_renewal=True, certificate_is_new=False)  # rule 2
