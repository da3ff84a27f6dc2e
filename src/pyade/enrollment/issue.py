"""Issue the profile of one Mac, renew its certificate, and record its registration.

Source: specification, "Certificates"; Apple, "Authenticating through web views".
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs

from pyade.builders.mobileconfig import build_enrollment_profile
from pyade.builders.payloads import TargetMac, subject_pairs
from pyade.core.fleet.enrollment import Enrollment, OneTime, OneTimeKind, Registration, registration_of
from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.macos.identity import IdentityChoice, IdentityKind, IdentityRefusal, KeyType, decide_identity
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem
from pyade.core.profile.accounts import User
from pyade.core.secret import masked
from pyade.enrollment.admission import DeviceContext, load_context, require_enrolled, with_issue
from pyade.enrollment.credentials import Credential, CredentialRequest
from pyade.enrollment.decision import PROFILE_TYPE, EnrollmentDecision, EnrollmentOutcome, EnrollmentResponse
from pyade.enrollment.final_configuration_flow import waiting_state
from pyade.enrollment.hook_checks import check_answer, storable_user
from pyade.enrollment.machine_info import MachineInfo, check_model_claim
from pyade.enrollment.redemption import subject_of
from pyade.enrollment.settings import Settings
from pyade.enrollment.steps import in_store, retried
from pyade.errors import PolicyError
from pyade.flow import CallHook, Compute, Flow, Now, ask
from pyade.text import logger

_log = logger(__name__)

_ONE_TIME_KINDS: Final = {
    IdentityKind.SCEP: OneTimeKind.SCEP_CHALLENGE,
    IdentityKind.ACME: OneTimeKind.ACME_CLIENT_IDENTIFIER,
}


class Issue:
    """Issues one profile to one Mac.

    Attributes:
        choice: The identity of the profile; None if the policy allows none.
        refusal: Why there is no identity, as text; "" if there is one.
        problems: The problems of the Mac, its user and its identity, also if there is no identity.
    """

    def __init__(
        self,
        settings: Settings,
        context: DeviceContext,
        machine: MachineInfo,
        user: User | None,
        *,
        now: datetime,
        keep: IdentityKind | None = None,
    ) -> None:
        """Decide the identity; for a renewal, *keep* is the kind with which the Mac enrolled."""
        self._settings = settings
        self._context = context
        self._machine = machine
        self._user = user
        user_problems: tuple[Problem, ...] = ()
        if user is not None:
            self._user, user_problems = storable_user(user)
        decided = decide_identity(
            machine.version,
            machine.chip,
            acme=settings.acme is not None,
            scep=settings.scep is not None,
            accepts_unattested=settings.acme is not None and settings.acme.accepts_unattested,
            policy=settings.identity,
            keep=keep,
        )
        self._now = now
        self._keep = keep
        self.choice: IdentityChoice | None = decided if isinstance(decided, IdentityChoice) else None
        self.refusal: str = decided.reason if isinstance(decided, IdentityRefusal) else ""
        claims = {"product": machine.product, "version": machine.build}
        self.problems: tuple[Problem, ...] = tuple(
            attrs.evolve(one, value=one.value or claims.get(one.setting, "")[:80]) for one in decided.problems
        )
        if machine.signature is not None:
            self.problems += machine.signature.check(now=now)
        if context.record is not None:
            self.problems += check_model_claim(machine.product, context.record.device)
        self.problems += user_problems

    def steps(self) -> Flow[EnrollmentResponse]:
        """Build the profile, store its records in one transaction, and return the response."""
        choice, context = self.choice, self._context
        if choice is None or context.record is None or context.profile is None:
            raise AssertionError  # pragma: no cover - callers check refusal first
        credential = yield from self._request_credential(choice)
        body = yield from ask(Compute(lambda: self._build_profile(choice, credential)))
        enrollment = self._build_enrollment(choice)
        decision = self._build_decision(choice, enrollment)
        one_time = self._build_one_time(choice, credential)
        yield from in_store(
            lambda store: store.save_enrollment(
                enrollment, credential=one_time, is_new=True, events=decision.events()
            )
        )
        _log.info("%s", decision)
        headers = {
            "Content-Type": PROFILE_TYPE,
            "Content-Disposition": 'attachment; filename="enrollment.mobileconfig"',
            "Cache-Control": "no-store",
        }
        return EnrollmentResponse(status=200, headers=headers, body=bytes(body), decision=decision)

    def _request_credential(self, choice: IdentityChoice) -> Flow[Credential]:
        is_acme = choice.kind is IdentityKind.ACME
        source = self._settings.acme_credential if is_acme else self._settings.scep_credential
        request = CredentialRequest(
            kind=choice.kind, machine=self._machine, user=self._user, is_renewal=self._keep is not None
        )
        name = "acme_credential" if is_acme else "scep_credential"
        credential = yield from ask(CallHook(source, (request,), name))
        return check_answer(credential, Credential, name)

    def _build_profile(self, choice: IdentityChoice, credential: Credential) -> bytes:
        settings, profile = self._settings, self._context.profile
        if profile is None:
            raise AssertionError  # pragma: no cover - see steps
        acme, scep = settings.acme, settings.scep
        document = build_enrollment_profile(
            profile,
            settings.mdm,
            self._target,
            acme=acme and attrs.evolve(acme, client_identifier=credential.secret),
            scep=scep and attrs.evolve(scep, challenge=credential.secret),
            choice=choice,
        )
        return masked(document if settings.signer is None else settings.signer.sign(document))

    def _build_one_time(self, choice: IdentityChoice, credential: Credential) -> OneTime | None:
        """Return what is stored about *credential*; None if the authority checks it itself."""
        if credential.lifetime is None:
            return None
        scep, acme = self._settings.scep, self._settings.acme
        issuer = acme if choice.kind is IdentityKind.ACME else scep
        pairs = subject_pairs(self._settings.mdm, self._target, issuer.subject if issuer else ())
        is_scep = choice.kind is IdentityKind.SCEP
        size = scep.key_size if scep and is_scep else choice.key_size
        return OneTime.of(
            _ONE_TIME_KINDS[choice.kind],
            credential.secret,
            serial_number=self._machine.serial_number,
            expires_at=self._now + credential.lifetime,
            value={
                "subject": subject_of(pairs),
                "key_type": (KeyType.RSA if is_scep else choice.key_type).value,
                "key_size": size,
                "attest": choice.attest,
            },
        )

    def _build_enrollment(self, choice: IdentityChoice) -> Enrollment:
        context, machine = self._context, self._machine
        before, profile, record = context.enrollment, context.profile, context.record
        if profile is None or record is None:
            raise AssertionError  # pragma: no cover - see steps
        version = "" if machine.version is None else str(machine.version)
        if self._keep is not None and before is not None:
            before = attrs.evolve(before, issued_at=self._now, problems=self.problems)
            if before.installed is None:
                return attrs.evolve(before, version=version)
            return attrs.evolve(before, installed=attrs.evolve(before.installed, version=version))
        issued = Enrollment(
            serial_number=machine.serial_number,
            token_name=record.token_name,
            udid=machine.udid,
            product=machine.product,
            build=machine.build,
            version=version,
            profile_name=profile.name,
            profile_uuid=context.profile_uuid,
            identity=choice.kind,
            user=self._user,
            registration=registration_of(self._user),
            issued_at=self._now,
            recent_issues=with_issue(before, self._settings.limits, self._now),
            problems=self.problems,
            awaiting=waiting_state(profile, release_after=self._settings.release_after, before=before),
            revision=before.revision if before else 0,
        )
        if before is None or before.installed is None:
            return issued
        return attrs.evolve(
            issued,
            installed=before.installed,
            registration=before.registration,
            registered_at=before.registered_at,
        )

    def _build_decision(self, choice: IdentityChoice, enrollment: Enrollment) -> EnrollmentDecision:
        return EnrollmentDecision(
            at=self._now,
            outcome=EnrollmentOutcome.ENROLL if self._keep is None else EnrollmentOutcome.RENEW,
            reason=choice.reason,
            serial_number=enrollment.serial_number,
            token_name=enrollment.token_name,
            product=enrollment.product,
            build=enrollment.build,
            version=enrollment.version,
            profile_name=enrollment.profile_name,
            user="" if self._user is None else self._user.upn,
            identity=str(choice),
            registration=(enrollment.registration if self._keep else registration_of(self._user)).value,
            problems=self.problems,
        )

    @property
    def _target(self) -> TargetMac:
        machine = self._machine
        return TargetMac(
            serial_number=machine.serial_number, product=machine.product, version=machine.version
        )


def renewal_flow(settings: Settings, serial_number: str, version: str | None) -> Flow[EnrollmentResponse]:
    """Return a new copy of an enrolled Mac's profile; see ``EnrollmentService.renew``."""
    newer = None if version is None else str(MacOSVersion.of(version))
    now = yield from ask(Now())
    context = yield from in_store(lambda store: load_context(store, serial_number))
    if context.refusal:
        raise PolicyError(f"{serial_number[:80]!r} cannot renew its profile: {context.refusal}")
    enrollment = require_enrolled(context.enrollment, serial_number)
    installed = enrollment.installed or enrollment.newest
    machine = MachineInfo(
        udid=installed.udid,
        serial_number=serial_number,
        product=installed.product,
        build=installed.build,
        os_version=newer or installed.version or None,
    )
    kind = installed.identity
    issue = Issue(settings, context, machine, installed.user, now=now, keep=kind)
    if issue.choice is None:
        raise PolicyError(f"{serial_number[:80]!r} enrolled with {kind} and must keep it: {issue.refusal}")
    return (yield from issue.steps())


def registered_flow(serial_number: str) -> Flow[None]:
    """Record that a Mac is registered; see ``EnrollmentService.registration_completed``."""
    return retried(lambda: _record_registration(serial_number))


def _record_registration(serial_number: str) -> Flow[None]:
    now = yield from ask(Now())
    stored = yield from in_store(lambda store: store.enrollment(serial_number))
    enrollment = require_enrolled(stored, serial_number)
    if enrollment.registration is not Registration.PENDING:
        return
    done = attrs.evolve(enrollment, registration=Registration.COMPLETE, registered_at=now)
    # Any client can request another profile in the name of this Mac: its user registered nothing.
    user = (enrollment.installed or enrollment.newest).user
    details = {"user": user.upn} if user else {}
    group = EventGroup(EventKind.REGISTRATION_COMPLETED, (serial_number,), details)
    batch = EventBatch(enrollment.token_name, now, (group,))
    yield from in_store(lambda store: store.save_enrollment(done, events=batch))
