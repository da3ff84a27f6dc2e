"""Build the body of a 403 that makes a Mac do something before it enrolls.

Keys are in lower case at the top level and in Apple's spelling in ``details``. ``description`` is for the
Mac's log; the Mac may show ``message`` to the user.

Source: Apple, ``com.apple.softwareupdate.required``; "Implementing Platform SSO during device enrollment" for
``com.apple.psso.required``.
"""

from __future__ import annotations

import json
import plistlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
from cryptography import x509

from pyade.builders.payload_keys import FILLED, Key, check_url, valid_values
from pyade.core.arguments import check_arguments
from pyade.core.macos.updates import UpdateDecision
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem, Severity, error
from pyade.core.secret import masked
from pyade.errors import ProfileError, VersionError

JSON_TYPE: Final = "application/json"
PLIST_TYPE: Final = "application/xml"


@attrs.frozen(kw_only=True)
class ErrorBody:
    """The response to a Mac that must do something before it enrolls.

    Attributes:
        code: Apple's code.
        content_type: Header ``Content-Type``; without it the Mac does not read the body.
        body: Secret if it has the token of a beta program.
        status: The HTTP status.
    """

    code: str
    content_type: str
    body: bytes = attrs.field(repr=False)
    status: int = 403


@check_arguments
def build_update_required(decision: UpdateDecision, *, description: str = "", message: str = "") -> ErrorBody:
    """Return the body that makes a Mac update before it enrolls.

    Args:
        decision: A decision of ``decide_update`` that requires an update.
        description: For the Mac's log; "" for the reason of the decision.
        message: For the user, if the Mac can show it; "" for none.

    Raises:
        ProfileError: The decision requires no update, or a text cannot be sent.

    Source: Apple, ``com.apple.softwareupdate.required``.
    """
    if decision.version is None:
        problem = Problem(
            "decision", str(decision.outcome), "a decision to update", "answer with the profile instead"
        )
        raise ProfileError((problem,))
    details: dict[str, Any] = {"OSVersion": str(decision.version)}
    if decision.build:
        details["BuildVersion"] = decision.build
    if decision.beta_program is not None:
        program = decision.beta_program
        token = masked(program.token.reveal())
        details["RequireBetaProgram"] = {"Description": program.description, "Token": token}
    return _build_body(_UPDATE, details, description=description or decision.reason, message=message)


def build_platform_sso_required(
    *,
    profile_url: str,
    manifest_url: str,
    auth_url: str,
    pinned_certificates: Iterable[bytes] | bytes = (),
    pinning_needs_revocation_check: bool = False,
    description: str = "",
    message: str = "",
) -> ErrorBody:
    """Return the body that makes a Mac set up Platform SSO before it enrolls; macOS 26 and later.

    Args:
        profile_url: https; a profile with Platform SSO whose ``EnableRegistrationDuringSetup`` is true.
        manifest_url: https; the manifest of the app that holds the SSO extension.
        auth_url: https; the page where the user signs in, which ends with the Mac's access token.
        pinned_certificates: Certificates (DER) that the manifest and the app are pinned to. JSON cannot
            contain them, so the body is then a property list.
        pinning_needs_revocation_check: True if a pinned connection requires a positive revocation check.
        description: For the Mac's log; "" for none.
        message: For the user, if the Mac can show it; "" for none.

    Raises:
        ProfileError: An address is not https, a certificate cannot be read, or a text cannot be sent.

    Source: Apple, "Implementing Platform SSO during device enrollment".
    """
    package: dict[str, Any] = {"ManifestURL": manifest_url}
    # Without this check a single certificate would be read as an iterable of numbers.
    certificates = (
        [pinned_certificates] if isinstance(pinned_certificates, bytes) else list(pinned_certificates)
    )
    if certificates:
        package["PinningCerts"] = certificates
        package["PinningRevocationCheckRequired"] = pinning_needs_revocation_check
    details = {"ProfileURL": profile_url, "Package": package, "AuthURL": auth_url}
    return _build_body(_SSO, details, description=description, message=message)


def check_error_body(document: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Return all problems of the body of a 403, errors and warnings.

    Args:
        document: The body, parsed by ``json`` or ``plistlib``.

    Source: Apple, ``com.apple.softwareupdate.required``, ``com.apple.psso.required``.
    """
    if not isinstance(document, Mapping):
        return (error("body", type(document).__name__, "a dictionary", "pass the parsed body"),)
    problems: list[Problem] = []
    valid = valid_values("", document, _TOP, problems)
    code, details = valid.get("code"), valid.get("details")
    problems += (
        error(key, "", f"{key.lower()}: a Mac only reads lower case keys", "rename it")
        for key in document
        if str(key).lower() in _TOP and key not in _TOP
    )
    if code not in _CHECKS or details is None:
        return tuple(problems)
    valid = valid_values("details", details, _DETAILS[code], problems)
    problems += _CHECKS[code](valid)
    return tuple(problems)


def _build_body(code: str, details: dict[str, Any], *, description: str, message: str) -> ErrorBody:
    document: dict[str, Any] = {"code": code, "details": details}
    if description:
        document["description"] = description
    if message:
        document["message"] = message
    errors = tuple(problem for problem in check_error_body(document) if problem.severity is Severity.ERROR)
    if errors:
        raise ProfileError(errors)
    if "PinningCerts" in details.get("Package", {}):
        data = plistlib.dumps(document, sort_keys=True)
        return ErrorBody(code=code, content_type=PLIST_TYPE, body=data)
    data = json.dumps(document, ensure_ascii=False, sort_keys=True).encode()
    return ErrorBody(code=code, content_type=JSON_TYPE, body=data)


def _check_update_details(details: Mapping[str, Any]) -> Iterator[Problem]:
    if "OSVersion" in details:
        try:
            MacOSVersion.parse(details["OSVersion"])
        except VersionError as exc:
            yield error("details.OSVersion", details["OSVersion"], exc.allowed, "correct the version")
    if "RequireBetaProgram" in details:
        problems: list[Problem] = []
        valid_values("details.RequireBetaProgram", details["RequireBetaProgram"], _BETA, problems)
        yield from problems


def _check_sso_details(details: Mapping[str, Any]) -> Iterator[Problem]:
    problems: list[Problem] = []
    package = valid_values("details.Package", details.get("Package", {}), _PACKAGE, problems)
    # A missing package is reported once, not again for each of its keys.
    yield from problems if "Package" in details else ()
    for key in ("ProfileURL", "AuthURL"):
        if key in details:
            yield from check_url(f"details.{key}", details[key])
    if "ManifestURL" in package:
        yield from check_url("details.Package.ManifestURL", package["ManifestURL"])
    for der in package.get("PinningCerts", ()):
        try:
            x509.load_der_x509_certificate(der)
        except (TypeError, ValueError):
            yield error("details.Package.PinningCerts", "", "certificates in DER", "convert them to DER")


_UPDATE: Final = "com.apple.softwareupdate.required"
_SSO: Final = "com.apple.psso.required"
_TOP: Final[Mapping[str, Key]] = {
    "code": Key(str, True, allowed=(_UPDATE, _SSO)),
    "description": Key(str),
    "message": Key(str),
    "details": Key(dict, True),
}
_DETAILS: Final[Mapping[str, Mapping[str, Key]]] = {
    _UPDATE: {
        "OSVersion": Key(str, True),
        "BuildVersion": Key(str, pattern=r"[0-9]{2}[A-Z][0-9]+[a-z]?", form="a build, such as 25C56"),
        "RequireBetaProgram": Key(dict),
    },
    _SSO: {"ProfileURL": Key(str, True), "Package": Key(dict, True), "AuthURL": Key(str, True)},
}
_BETA: Final[Mapping[str, Key]] = {
    "Description": FILLED,
    "Token": attrs.evolve(FILLED, secret=True),
}
_PACKAGE: Final[Mapping[str, Key]] = {
    "ManifestURL": Key(str, True),
    "PinningCerts": Key(list),
    "PinningRevocationCheckRequired": Key(bool),
}
_CHECKS: Final = {_UPDATE: _check_update_details, _SSO: _check_sso_details}
