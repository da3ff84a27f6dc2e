"""The enrollment profile that a Mac installs: ``com.apple.mdm`` with its identity and its trust.

Source: Apple, profile payloads ``TopLevel`` and ``com.apple.mdm``; specification, "Certificates".
"""

from __future__ import annotations

import plistlib
from typing import Any, Final

import attrs

from pyade.builders.checks import check_enrollment_profile
from pyade.builders.payloads import (
    AcmeIssuer,
    MdmService,
    ScepIssuer,
    TargetMac,
    acme_payload,
    certificate_payload,
    mdm_payload,
    scep_payload,
    top_level,
)
from pyade.core.identity import IdentityChoice, IdentityKind, choose_identity
from pyade.core.kinds import checks_kinds
from pyade.core.problems import Problem, Severity
from pyade.core.profile import EnrollmentProfile
from pyade.errors import ProfileError


@checks_kinds
def build_enrollment_profile(
    profile: EnrollmentProfile,
    service: MdmService,
    mac: TargetMac,
    *,
    acme: AcmeIssuer | None = None,
    scep: ScepIssuer | None = None,
    choice: IdentityChoice | None = None,
) -> bytes:
    """Return the enrollment profile for one Mac as an XML property list, not yet signed.

    Equal arguments give equal bytes. A profile made again for the same Mac, with another challenge or on
    another macOS version, replaces the first one: identifiers and UUIDs come from the identifier of
    *service* and the serial number only.

    Args:
        profile: Decides whether the profile can be removed, and which anchors the Mac must trust.
        service: The device management service.
        mac: The Mac in question.
        acme: The ACME server, used if the choice is ACME.
        scep: The SCEP server, used if the choice is SCEP.
        choice: The identity; None for ``choose_identity`` by macOS version and chip.

    Returns:
        The content for ``Signer.sign``, or for the answer itself: over TLS a signature is not needed.

    Raises:
        ProfileError: A value breaks a rule of Apple's, named as Apple names it, or is not safe, such as an
            RSA key of 1024 bits; or the issuer for the choice was not given. ``problems`` lists all of them.

    Source: Apple, profile payload ``TopLevel``; specification, "Certificates".
    """
    accepts_unattested = acme is not None and acme.accepts_unattested
    choice = choice or choose_identity(mac.version, mac.chip, accepts_unattested=accepts_unattested)
    problems: list[Problem] = []
    if not mac.serial_number.strip():
        problems.append(
            Problem("serial_number", mac.serial_number, "not empty", "use the serial number of the Mac")
        )
    identity: dict[str, Any] = {}
    if choice.kind is IdentityKind.ACME and acme is not None:
        identity = acme_payload(service, mac, acme, choice)
    elif choice.kind is IdentityKind.SCEP and scep is not None:
        identity = scep_payload(service, mac, scep)
    else:
        name = choice.kind.lower()
        fix = f"give {name}=, or another choice="
        raise ProfileError((*problems, Problem(name, "", f"an issuer for {choice}", fix)))
    # dict.fromkeys: a certificate that is an anchor and pinned is still one payload.
    trusted = dict.fromkeys(
        (*profile.anchor_certificates, *service.certificates, *service.pinned_certificates)
    )
    plist = top_level(
        service,
        mac,
        locked=profile.locked,
        payloads=[
            *(certificate_payload(service, mac, der) for der in trusted),
            identity,
            mdm_payload(service, mac, identity_uuid=identity["PayloadUUID"]),
        ],
    )
    found = check_enrollment_profile(plist, mac=mac)
    problems += (
        attrs.evolve(problem, severity=Severity.ERROR)
        for problem in found
        if problem.severity is Severity.ERROR or problem.setting in _STRICT
    )
    if problems:
        raise ProfileError(tuple(problems))
    return plistlib.dumps(plist, sort_keys=True)


_STRICT: Final = frozenset(
    {
        "com.apple.mdm.AccessRights",
        *(f"com.apple.security.acme.{key}" for key in ("KeySize", "Subject", "UsageFlags")),
        *(
            f"com.apple.security.scep.PayloadContent.{key}"
            for key in ("Keysize", "Key Usage", "Retries", "RetryDelay")
        ),
    }
)
"""What macOS works with, but is not safe or not documented: a profile of pyade's own never has it."""
