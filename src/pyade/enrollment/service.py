"""The services that answer Macs in Setup Assistant, independent of any web framework."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import ClassVar

from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer
from pyade.core.arguments import TIME, check_arguments, check_returned
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.macos.identity import IdentityPolicy
from pyade.core.macos.updates import SoftwareUpdatePolicy, UpdateCatalogue
from pyade.core.problems import Problem
from pyade.core.profile.accounts import User
from pyade.core.secret import Secret, secret_or_none
from pyade.crypto.push_certificate import PushCertificate
from pyade.crypto.signing import Signer
from pyade.enrollment.credentials import CredentialSource, one_time
from pyade.enrollment.decision import EnrollmentResponse
from pyade.enrollment.device_trust import DeviceTrust
from pyade.enrollment.hook_checks import check_settings
from pyade.enrollment.issue import registered_flow, renewal_flow
from pyade.enrollment.request import RequestHandler, write_counts_flow
from pyade.enrollment.settings import EnrollmentLimits, PlatformSso, Settings, SignIn
from pyade.enrollment.steps import in_store
from pyade.errors import ProfileError
from pyade.flow import AsyncRunner, Flow, Now, Runner, ask, clock_of
from pyade.hooks import Hook, check_hook
from pyade.storage.protocol import EnrollmentStore


@check_arguments
class _Service:
    _asynchronous: ClassVar[str] = "AsyncEnrollmentService"

    def __init__(
        self,
        store: EnrollmentStore,
        *,
        mdm: MdmService,
        identity: IdentityPolicy = IdentityPolicy(),  # noqa: B008 - frozen
        acme: AcmeIssuer | None = None,
        scep: ScepIssuer | None = None,
        acme_credential: CredentialSource = one_time(),  # noqa: B008 - has no state
        scep_credential: CredentialSource = one_time(),  # noqa: B008 - has no state
        push: PushCertificate | None = None,
        signer: Signer | None = None,
        trust: DeviceTrust | None = None,
        updates: SoftwareUpdatePolicy | None = None,
        catalogue: Hook[UpdateCatalogue | None] | None = None,
        platform_sso: PlatformSso | None = None,
        sign_in: SignIn | None = None,
        authenticate: Hook[User | None] | None = None,
        is_licensed: Hook[bool] | None = None,
        check: Hook[str] | None = None,
        release_after: timedelta | None = None,
        limits: EnrollmentLimits = EnrollmentLimits(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Validate the settings, the same for the synchronous and the asynchronous class.

        Args:
            store: The store with tokens and devices; issued profiles and credentials are recorded there. All
                workers share one.
            mdm: The device management service that Macs enroll with.
            identity: Decides which identity a Mac gets.
            acme: The ACME server; its ``client_identifier`` is replaced for each profile.
            scep: The SCEP server; its ``challenge`` is replaced for each profile.
            acme_credential: Makes the client identifiers; see ``enrollment.credentials``.
            scep_credential: Makes the challenges; see there as well.
            push: The push certificate, whose topic must be that of *mdm*; None skips this check.
            signer: Signs the profiles; None leaves them unsigned, which a Mac accepts over TLS.
            trust: Whose devices are trusted; None for Apple's.
            updates: Which macOS a Mac must have; None for any.
            catalogue: Returns Apple's current catalogue of updates, for *updates*.
            platform_sso: Platform SSO before the enrollment; None for none.
            sign_in: The identity provider, for modern authentication.
            authenticate: Called with name and password, for legacy authentication; returns the user, or None
                if they are wrong.
            is_licensed: Called with an ``EnrollmentRequest``; returns True if the user, or the device of an
                enrollment without a user, has a license. None skips this check.
            check: Called with an ``EnrollmentRequest``; returns why the Mac may not enroll, "" if it may.
            release_after: How long a Mac awaits its final configuration at most, then it is released whatever
                is outstanding; None for no limit.
            limits: Limits for each Mac.
            clock: Returns the time, UTC; None for the clock of *store*.

        Raises:
            PolicyError: Neither *acme* nor *scep* is given, *release_after* is not longer than zero, or a
                hook does not take its arguments, or is asynchronous in the synchronous class.
            ProfileError: The topic of *mdm* is not that of *push*, or macOS would refuse every profile, as
                for an address that is not https.
            CryptoPolicyError: This machine refuses SHA-1, with which Macs sign.
        """
        self._store = store
        self._clock: Callable[[], datetime] = clock_of(clock, store)
        check_hook("clock", self._clock, "")
        check_returned("clock", self._clock(), TIME)
        self._push = push
        self._settings = Settings(
            mdm=mdm,
            identity=identity,
            acme=acme,
            scep=scep,
            acme_credential=acme_credential,
            scep_credential=scep_credential,
            signer=signer,
            trust=DeviceTrust.apple() if trust is None else trust,
            updates=updates,
            catalogue=catalogue,
            platform_sso=platform_sso,
            sign_in=sign_in,
            authenticate=authenticate,
            is_licensed=is_licensed,
            check=check,
            release_after=release_after,
            limits=limits,
        )
        check_settings(self._settings, asynchronous=self._asynchronous)
        wrong = [problem for problem in self.problems() if problem.setting in ("topic", "development_push")]
        if wrong:
            raise ProfileError(tuple(wrong))

    @property
    def has_sign_in(self) -> bool:
        """True if users sign in on a web page, after which the web view returns."""
        return self._settings.sign_in is not None

    def problems(self) -> tuple[Problem, ...]:
        """Return what an administrator should check soon, such as a push certificate that ends in 30 days."""
        if self._push is None:
            return ()
        mdm = self._settings.mdm
        return self._push.check(now=self._clock(), topic=mdm.topic, development_push=mdm.development_push)


@check_arguments(but=("user",))
class EnrollmentService(_Service):
    """Answers Macs in Setup Assistant; safe for several threads, and for workers that share the store."""

    def enroll(self, body: bytes, *, authorization: str | Secret | None = None) -> EnrollmentResponse:
        """Answer a ``POST`` to the ``url`` of a profile.

        Args:
            body: The unchanged body of the request; more than 64 KiB is refused.
            authorization: The header of that name, for legacy authentication and Platform SSO.

        Returns:
            The profile, an order to update or to sign in first, or a refusal without a reason.

        Raises:
            PolicyError: A hook returned a wrong value; the Mac may try again.
            ProfileError: The profile cannot be built from the settings; the Mac may try again.
            StoreError: The store failed; the Mac may try again.

        Source: Apple, "Authenticating through web views"; specification, "Distribute devices".
        """
        authorization = secret_or_none(authorization)
        return self._runner.run(RequestHandler(self._settings).plain(body, authorization))

    def open_web_view(self, header: str | None, *, host: str) -> EnrollmentResponse:
        """Answer the first ``GET`` of a web view, at the ``configuration_web_url`` of a profile.

        Args:
            header: ``x-apple-aspen-deviceinfo``, which only that request carries; None if there is none.
            host: The ``Host`` header.

        Returns:
            A redirection to the identity provider, or a response like those of ``enroll``.

        Raises:
            PolicyError: ``SignIn.begin`` returned no https address, and as for ``enroll``.
            ProfileError: As for ``enroll``.
            StoreError: As for ``enroll``.
        """
        return self._runner.run(RequestHandler(self._settings).web_view(header, host))

    def close_web_view(self, state: str | Secret, user: User, *, host: str) -> EnrollmentResponse:
        """Answer the web view with the profile, once the user has signed in.

        Args:
            state: The state that was passed to ``SignIn.begin``; it works once.
            user: The user who signed in. Verify that with the identity provider first.
            host: The ``Host`` header; it must be the same as in ``open_web_view``.

        Raises:
            PolicyError: *user* is not a ``User``, or has no user principal name: *state* can still be used.
                And as for ``enroll``.
            ProfileError: As for ``enroll``.
            StoreError: As for ``enroll``.
        """
        state = Secret(state)
        return self._runner.run(RequestHandler(self._settings).signed_in(state, user, host))

    def sign_in_failed(self, reason: str) -> EnrollmentResponse:
        """Record a failed sign-in and answer the returning web view with 403.

        Args:
            reason: Why no user signed in, as text for the organization.

        Raises:
            StoreError: The store failed.
        """
        return self._runner.run(RequestHandler(self._settings).not_signed_in(reason))

    def renew(self, serial_number: str, *, version: str | None = None) -> EnrollmentResponse:
        """Return a new copy of an enrolled Mac's profile, for ``InstallProfile``, with a new certificate.

        The Mac keeps the kind of identity that it enrolled with: that of its last ``Authenticate``, if it was
        reported with ``FinalConfiguration.authenticated``, else that of the newest profile issued to it.

        Args:
            serial_number: The Mac.
            version: Its current version of macOS; None for the one at its enrollment.

        Raises:
            PolicyError: The Mac is not enrolled, or its issuer is no longer configured.
            VersionError: *version* is not a version of macOS.
            ProfileError: As for ``enroll``.
            StoreError: As for ``enroll``.

        Source: specification, "Certificates": an enrolled Mac changes its certificate only by enrolling
        again.
        """
        return self._runner.run(renewal_flow(self._settings, serial_number, version))

    def registration_completed(self, serial_number: str) -> None:
        """Record that the user of a Mac registered it, as in Company Portal; does nothing if it is recorded.

        Raises:
            PolicyError: The Mac is not enrolled.
        """
        self._runner.run(registered_flow(serial_number))

    def record_refusals(self) -> None:
        """Store the counts of refused requests now; call it when a worker ends.

        Otherwise they are stored with the first request after a minute.

        Raises:
            StoreError: The store failed.
        """
        self._runner.run(_write_counts_now_flow(self._settings))

    def check_store(self) -> None:
        """Check that the store answers, for a health check; nothing is written.

        Raises:
            StoreError: The store does not answer.
        """
        self._runner.run(_check_store_flow())

    @property
    def _runner(self) -> Runner:
        return Runner(store=self._store, clock=self._clock, asynchronous=self._asynchronous)


@check_arguments(but=("user",))
class AsyncEnrollmentService(_Service):
    """``EnrollmentService`` for asyncio: hooks may be coroutine functions, store and keys run in threads."""

    _asynchronous: ClassVar[str] = ""

    async def enroll(self, body: bytes, *, authorization: str | Secret | None = None) -> EnrollmentResponse:
        """Answer a ``POST`` to the ``url`` of a profile; see ``EnrollmentService.enroll``."""
        authorization = secret_or_none(authorization)
        return await self._runner.run(RequestHandler(self._settings).plain(body, authorization))

    async def open_web_view(self, header: str | None, *, host: str) -> EnrollmentResponse:
        """Answer the first ``GET`` of a web view; see ``EnrollmentService.open_web_view``."""
        return await self._runner.run(RequestHandler(self._settings).web_view(header, host))

    async def close_web_view(self, state: str | Secret, user: User, *, host: str) -> EnrollmentResponse:
        """Answer the web view with the profile; see ``EnrollmentService.close_web_view``."""
        state = Secret(state)
        return await self._runner.run(RequestHandler(self._settings).signed_in(state, user, host))

    async def sign_in_failed(self, reason: str) -> EnrollmentResponse:
        """Answer a web view that returns without a user; see ``EnrollmentService.sign_in_failed``."""
        return await self._runner.run(RequestHandler(self._settings).not_signed_in(reason))

    async def renew(self, serial_number: str, *, version: str | None = None) -> EnrollmentResponse:
        """Return a new copy of the profile of an enrolled Mac; see ``EnrollmentService.renew``."""
        return await self._runner.run(renewal_flow(self._settings, serial_number, version))

    async def registration_completed(self, serial_number: str) -> None:
        """Record that a Mac was registered; see ``EnrollmentService.registration_completed``."""
        await self._runner.run(registered_flow(serial_number))

    async def record_refusals(self) -> None:
        """Store the counts of refused requests now; see ``EnrollmentService.record_refusals``."""
        await self._runner.run(_write_counts_now_flow(self._settings))

    async def check_store(self) -> None:
        """Check that the store answers; see ``EnrollmentService.check_store``."""
        await self._runner.run(_check_store_flow())

    @property
    def _runner(self) -> AsyncRunner:
        return AsyncRunner(store=self._store, clock=self._clock)


def _write_counts_now_flow(settings: Settings) -> Flow[None]:
    now = yield from ask(Now())
    yield from write_counts_flow(settings, now, force=True)


def _check_store_flow() -> Flow[Enrollment | None]:
    """Read a Mac that cannot exist: the call fails if the store does not answer."""
    return in_store(lambda store: store.enrollment(""))
