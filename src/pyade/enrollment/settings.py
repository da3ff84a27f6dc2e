"""The settings of an enrollment service, shared by its synchronous and asynchronous class."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

import attrs

from pyade.builders.error_bodies import ErrorBody, build_platform_sso_required
from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer
from pyade.core.arguments import check_arguments
from pyade.core.durations import check_span
from pyade.core.fleet.records import DeviceRecord
from pyade.core.macos.identity import IdentityPolicy
from pyade.core.macos.updates import SoftwareUpdatePolicy, UpdateCatalogue
from pyade.core.profile.accounts import User
from pyade.core.profile.profile import EnrollmentProfile
from pyade.crypto.signing import Signer
from pyade.enrollment.credentials import CredentialSource
from pyade.enrollment.device_trust import DeviceTrust
from pyade.enrollment.machine_info import MachineInfo
from pyade.enrollment.tally import RefusalTally
from pyade.errors import PolicyError
from pyade.hooks import Hook, check_hook
from pyade.text import short_repr


@attrs.frozen(kw_only=True)
class EnrollmentRequest:
    """The argument of the hooks that decide whether a Mac may enroll.

    Attributes:
        machine: What the Mac says about itself, signed by a trusted device.
        record: Apple's record of its serial number.
        profile: The profile that it would get.
        user: The user who signed in; None without user affinity.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    machine: MachineInfo
    record: DeviceRecord
    profile: EnrollmentProfile
    user: User | None


@check_arguments
@attrs.frozen(kw_only=True)
class PlatformSso:
    """Platform SSO during enrollment, macOS 26 and later.

    Attributes:
        profile_url: https; a profile with Platform SSO.
        manifest_url: https; the manifest of the app that holds the SSO extension.
        auth_url: https; the page where the user signs in, which gives the Mac an access token.
        verify: Called with that token when the Mac asks again; returns the user, or None if the token is not
            valid.
        pinned_certificates: Certificates (DER) that the manifest and the app are pinned to.

    Raises:
        ProfileError: An address is not https, or a certificate cannot be read.
        PolicyError: *verify* does not take a token as its only argument.

    Source: Apple, "Implementing Platform SSO during device enrollment".
    """

    profile_url: str
    manifest_url: str
    auth_url: str
    verify: Hook[User | None]
    pinned_certificates: tuple[bytes, ...] = ()

    def __attrs_post_init__(self) -> None:
        self.error_body()
        check_hook("platform_sso.verify", self.verify, "token")

    def error_body(self) -> ErrorBody:
        """Return the response body that makes a Mac set up Platform SSO."""
        return build_platform_sso_required(
            profile_url=self.profile_url,
            manifest_url=self.manifest_url,
            auth_url=self.auth_url,
            pinned_certificates=self.pinned_certificates,
        )


class SignIn(Protocol):
    """The interface to the caller's identity provider."""

    def begin(self, state: str, machine: MachineInfo) -> str:
        """Return the https address to which the web view is sent to sign in.

        The identity provider must send *state* back unchanged, such as in the ``state`` of OpenID Connect or
        the ``RelayState`` of SAML. It is a secret of this Mac, and works once. Do not rely on cookies: the
        web view may lose them.
        """
        ...


@check_arguments
@attrs.frozen(kw_only=True)
class EnrollmentLimits:
    """Limits for each Mac.

    Attributes:
        profiles: How many profiles a serial number gets within *window*.
        window: The time over which *profiles* are counted.
        sign_ins: How many open sign-ins a serial number may have; a new one ends the oldest.
        sign_in_lifetime: How long a user may take to sign in.

    Raises:
        PolicyError: A number is less than 1, or a time is not longer than zero, or longer than ten years.
    """

    profiles: int = 10
    window: timedelta = timedelta(hours=1)
    sign_ins: int = 10
    sign_in_lifetime: timedelta = timedelta(minutes=30)

    def __attrs_post_init__(self) -> None:
        for name in ("profiles", "sign_ins"):
            if getattr(self, name) < 1:
                raise PolicyError(f"{name} is {getattr(self, name)}: 1 or more is allowed")
        for name in ("window", "sign_in_lifetime"):
            check_span(name, getattr(self, name))


@attrs.frozen(kw_only=True)
class Settings:
    """The validated settings of a service; see ``EnrollmentService`` for each."""

    mdm: MdmService
    identity: IdentityPolicy
    acme: AcmeIssuer | None
    scep: ScepIssuer | None
    acme_credential: CredentialSource
    scep_credential: CredentialSource
    signer: Signer | None
    trust: DeviceTrust
    updates: SoftwareUpdatePolicy | None
    catalogue: Hook[UpdateCatalogue | None] | None
    platform_sso: PlatformSso | None
    sign_in: SignIn | None
    authenticate: Hook[User | None] | None
    is_licensed: Hook[bool] | None
    check: Hook[str] | None
    release_after: timedelta | None
    limits: EnrollmentLimits
    tally: RefusalTally = attrs.field(factory=RefusalTally, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.acme is None and self.scep is None:
            raise PolicyError("no certificate issuer is given: give acme=, scep=, or both")
        self._check_policy()
        if self.release_after is not None:
            check_span("release_after", self.release_after)

    def _check_policy(self) -> None:
        """Raise a ``PolicyError`` if the identity policy needs an issuer that is not given."""
        policy = self.identity
        if self.scep is None and (policy.scep_only or policy.acme_only_attested):
            setting = "scep_only" if policy.scep_only else "acme_only_attested"
            raise PolicyError(f"identity has {setting}, and no SCEP issuer is given: give scep=")
        if self.acme is None and (policy.require_attestation or policy.acme_only_attested):
            setting = "require_attestation" if policy.require_attestation else "acme_only_attested"
            raise PolicyError(f"identity has {setting}, and no ACME issuer is given: give acme=")
