"""Build the enrollment profile that a Mac installs: ``com.apple.mdm`` with its identity and certificates.

Source: Apple, profile payloads ``TopLevel`` and ``com.apple.mdm``; specification, "Certificates".
"""

from __future__ import annotations

import plistlib
from logging import INFO, WARNING
from typing import Any, Final

import attrs

from pyade.builders.linter import check_enrollment_profile
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
from pyade.core.arguments import check_arguments
from pyade.core.macos.identity import (
    IdentityChoice,
    IdentityKind,
    IdentityRefusal,
    choose_identity,
    decide_identity,
)
from pyade.core.problems import Problem, Severity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError
from pyade.text import logger

_log = logger(__name__)


@check_arguments
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

    Equal arguments result in equal bytes. Another profile for the same Mac, with another challenge or for
    another macOS version, replaces the first one: identifiers and UUIDs depend only on the identifier of
    *service* and the serial number.

    Args:
        profile: Decides whether the profile can be removed, and which anchors the Mac must trust.
        service: The device management service.
        mac: The Mac that the profile is for.
        acme: The ACME server, used if the choice is ACME.
        scep: The SCEP server, used if the choice is SCEP.
        choice: The identity; None for the one that ``EnrollmentService`` would choose for this Mac with these
            issuers and the default policy, see ``decide_identity``; if it is not the best one, the log says
            so.

    Returns:
        The content for ``Signer.sign``, or for the response, as a signature is not required over TLS.

    Raises:
        ProfileError: A value breaks a rule of Apple, under Apple's name of the setting, or is not safe, such
            as an RSA key of 1024 bits; or the issuer for the choice is missing. ``problems`` lists all of
            them.

    Source: Apple, profile payload ``TopLevel``; specification, "Certificates".
    """
    problems: list[Problem] = []
    if not mac.serial_number.strip():
        problems.append(
            Problem("serial_number", mac.serial_number, "not empty", "use the serial number of the Mac")
        )
    identity = _identity(service, mac, acme, scep, choice)
    if isinstance(identity, Problem):
        raise ProfileError((*problems, identity))
    # dict.fromkeys: a certificate that is both an anchor and pinned is one payload.
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


def _identity(
    service: MdmService,
    mac: TargetMac,
    acme: AcmeIssuer | None,
    scep: ScepIssuer | None,
    choice: IdentityChoice | None,
) -> dict[str, Any] | Problem:
    """Return the payload of the identity, or the problem if these issuers allow none."""
    decided = choice or _choose_default(mac, acme, scep)
    if isinstance(decided, IdentityRefusal):
        # SCEP works on every Mac.
        return Problem("scep", "", f"an issuer for this Mac: {decided.reason}", "pass scep=")
    if decided.kind is IdentityKind.ACME and acme is not None:
        return acme_payload(service, mac, acme, decided)
    if decided.kind is IdentityKind.SCEP and scep is not None:
        return scep_payload(service, mac, scep)
    name = decided.kind.lower()
    return Problem(name, "", f"an issuer for {decided}", f"pass {name}=, or another choice=")


def _choose_default(
    mac: TargetMac, acme: AcmeIssuer | None, scep: ScepIssuer | None
) -> IdentityChoice | IdentityRefusal:
    accepts_unattested = acme is not None and acme.accepts_unattested
    decided = decide_identity(
        mac.version,
        mac.chip,
        acme=acme is not None,
        scep=scep is not None,
        accepts_unattested=accepts_unattested,
    )
    best = choose_identity(mac.version, mac.chip, accepts_unattested=accepts_unattested)
    if isinstance(decided, IdentityChoice) and (decided.kind is not best.kind or decided.problems):
        # With only one issuer this applies to every Mac, so it is not a warning.
        _log.log(WARNING if decided.problems else INFO, "%s: %s", mac.serial_number, decided)
    return decided


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
"""Settings with warnings that are errors here: macOS accepts them, but they are unsafe or undocumented."""
