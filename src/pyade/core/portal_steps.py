"""What a person does next in Apple's portal, in the order of the specification's steps.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

from datetime import datetime

import attrs

from pyade.core.token import Portal
from pyade.text import Printed


@attrs.frozen(kw_only=True)
class PortalStep(Printed):
    """One step; ``print`` shows it.

    Attributes:
        number: Which step, from 1.
        total: How many there are.
        title: The step, in the specification's words.
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


@attrs.frozen(kw_only=True)
class TokenSetup:
    """A server token that is being made or renewed, before its file is uploaded.

    Attributes:
        name: The caller's own name for the token.
        portal: Business or School.
        consented_at: When somebody agreed to share user and device data with Apple, UTC.
        apple_id: The Apple ID that must be used; "" if it is not known yet.
        scope_tags: Who may see and manage the token.
        is_renewal: True if a token of that name is stored already.
        certificate_is_new: True if the certificate must be uploaded in the portal first.
        certificate_taken_at: When the certificate of a new token was handed out, UTC; None before.
    """

    name: str
    portal: Portal = Portal.BUSINESS
    consented_at: datetime
    apple_id: str = ""
    scope_tags: frozenset[str] = frozenset()
    is_renewal: bool = False
    certificate_is_new: bool = True
    certificate_taken_at: datetime | None = None

    @property
    def steps(self) -> tuple[PortalStep, ...]:
        """Everything that there is to do, in order."""
        titled = self._renewal() if self.is_renewal else self._creation()
        return tuple(
            PortalStep(number=number, total=len(titled), title=title, actions=actions)
            for number, (title, actions) in enumerate(titled, 1)
        )

    @property
    def next_step(self) -> PortalStep:
        """What comes next: the certificate, as long as it was not handed out, then the portal."""
        # A new certificate for a stored token is handed out as soon as it is made.
        is_handed_out = self.is_renewal or self.certificate_taken_at is not None
        return self.steps[1 if is_handed_out and self.certificate_is_new else 0]

    def _creation(self) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (
                "Download the public key certificate",
                (f"save the certificate of {self.name!r} as a PEM file, such as {self.name}.pem",),
            ),
            (
                "Add MDM server and download server token",
                (
                    *self._way_to_the_servers(),
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
            ("Upload server token and finish", ("upload the .p7m file here, with that Apple ID",)),
        ]

    def _renewal(self) -> list[tuple[str, tuple[str, ...]]]:
        upload = ("Renew token", ("upload the .p7m file here, with the Apple ID that was used",))
        if self.certificate_is_new:
            return [
                (
                    "Download the public key certificate",
                    (f"save the new certificate of {self.name!r} as a PEM file",),
                ),
                (
                    "Replace the key and download a new server token",
                    (
                        *self._way_to_the_servers(),
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
                    *self._way_to_the_servers(),
                    "select the MDM server and download a new server token (.p7m file); it ends the old one",
                ),
            ),
            upload,
        ]

    def _way_to_the_servers(self) -> tuple[str, ...]:
        who = self.apple_id or "your company Apple ID, no personal one: it must renew the token"
        return (
            f"sign in to {self.portal} with {who}",
            "go to your account profile > Preferences",
            "go to your MDM server assignments",
        )
