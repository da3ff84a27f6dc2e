"""Handle one request of a Mac as a flow of steps: verify, load, decide, answer.

The rules of this file:

1. Nothing that a Mac sent is used before its signature is verified. A client learns nothing from a refusal:
   all refusals have the same text, the reason is in the audit record only.
2. The checks run in this order, and the first that fails decides: who the Mac is, too many profiles, Platform
   SSO, macOS too old, the user, the license, the caller's own check, the identity.
3. Checks made before a profile is issued never write, so a Mac can retry after updating. Only a sign-in is
   used up by the request that ends it.
4. A profile, its credential and the audit record are stored in one transaction, which revokes the credential
   of the previous profile. Of two concurrent requests, the second is repeated on top of the first.
5. The response is built before that transaction, so that no credential is stored for a profile that was
   never made.
6. Each response without a profile is recorded, and only counted where too many come: see ``tally``.
7. The header ``Authorization`` holds a name and a password, or a token of Platform SSO; both are secret.

::

    POST url ------------+
                         v
    GET web url ----> verify --> known? --> limit --> Platform SSO? --> macOS? --> user?
                                                                                     |
         sign in <-------------------------------------------------------------------+ no
            |                                                                        | yes
            +--> state taken --> known? --> limit --> license --> check --> identity --> profile

Source: specification, "Certificates", "Limitations", "Create an Apple enrollment profile" and "Distribute
devices"; Apple, "Authenticating through web views"; RFC 7617, RFC 6750.
"""

from __future__ import annotations

import base64
import binascii
import logging
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec

from pyade.builders.error_bodies import ErrorBody, build_update_required
from pyade.core.fleet.enrollment import OneTime, OneTimeKind, digest_of
from pyade.core.macos.updates import UpdateCatalogue, UpdateOutcome, decide_update
from pyade.core.profile.accounts import User
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.settings import host_of
from pyade.core.secret import Secret, secret_or_none
from pyade.enrollment.admission import DeviceContext, affinity_of, load_context, wait_of
from pyade.enrollment.decision import EnrollmentDecision, EnrollmentOutcome, EnrollmentResponse
from pyade.enrollment.hook_checks import check_address, check_answer, check_user
from pyade.enrollment.issue import Issue
from pyade.enrollment.machine_info import MachineInfo
from pyade.enrollment.settings import EnrollmentRequest, Settings
from pyade.enrollment.steps import ATTEMPTS, audit, in_store, retried
from pyade.errors import TrustError
from pyade.flow import CallHook, Compute, Flow, Now, RandomText, ask
from pyade.text import logger, printable

BEARER: Final = "bearer "
BASIC: Final = "basic "
_STATE_BYTES: Final = 32
_MAX_TEXT: Final = 500  # characters of a hook's text, in the record and in the log

_log = logger(__name__)


def scheme_of(authorization: Secret | None) -> tuple[str, Secret]:
    """Return ``BASIC`` or ``BEARER`` and the value after it; two empty values for any other scheme."""
    text = "" if authorization is None else authorization.reveal().strip()
    for scheme in (BEARER, BASIC):
        if text[: len(scheme)].lower() == scheme:
            return scheme, Secret(text[len(scheme) :].strip())  # rule 7
    return "", Secret("")


def name_and_password(value: Secret) -> tuple[str, Secret]:
    """Return name and password; two empty values if *value* does not follow RFC 7617."""
    try:
        name, colon, password = base64.b64decode(value.reveal(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", Secret("")
    return (name, Secret(password)) if colon else ("", Secret(""))


class RequestHandler:
    """Handles one request: call one of its public methods, once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._machine: MachineInfo | None = None
        self._context = DeviceContext()
        self._user: User | None = None

    def plain(self, body: bytes, authorization: str | Secret | None) -> Flow[EnrollmentResponse]:
        """Answer a ``POST`` to the profile's ``url``."""
        header = secret_or_none(authorization)
        del authorization  # the lambdas below would keep it alive
        return self._verify_and_load(
            lambda: MachineInfo.from_cms(body, trust=self._settings.trust),
            lambda now: self._handle_plain(header, now),
        )

    def web_view(self, header: str | None, host: str) -> Flow[EnrollmentResponse]:
        """Answer the first ``GET`` of a web view."""
        return self._verify_and_load(
            lambda: MachineInfo.from_header(header, trust=self._settings.trust),
            lambda now: self._handle_web_view(host, now),
        )

    def signed_in(self, state: str | Secret, user: User, host: str) -> Flow[EnrollmentResponse]:
        """Answer the request with which a web view returns after the user signed in."""
        state = Secret(state)
        now = yield from ask(Now())
        yield from write_counts_flow(self._settings, now)
        user = check_user(user, "close_web_view")
        digest = digest_of(state)
        begun = yield from in_store(  # rule 3
            lambda store: store.take_one_time(OneTimeKind.WEB_VIEW, digest, now=now)
        )
        if begun is None:
            return (yield from self._refuse("this sign-in is unknown, has expired, or was used before", now))
        try:
            self._machine = msgspec.convert(begun.value["machine"], MachineInfo)
        except msgspec.ValidationError:
            return (yield from self._refuse("this sign-in was started by a newer version of pyade", now))
        self._user = user
        before, after = begun.value["host"], _normalize_host(host)
        if before != after:
            reason = f"the sign-in started on {before!r} and ended on {after[:80]!r}"
            return (yield from self._refuse(reason, now))
        return (yield from self._with_context(lambda: self._handle_signed_in(host, now), now))

    def not_signed_in(self, reason: str) -> Flow[EnrollmentResponse]:
        """Answer a web view that the identity provider sent back without a user."""
        now = yield from ask(Now())
        yield from write_counts_flow(self._settings, now)
        response = yield from self._refuse(f"no user signed in: {_limit_text(reason)}", now)
        return attrs.evolve(response, body=_NOT_SIGNED_IN)

    # The steps that all requests share

    def _verify_and_load(
        self, verify: Callable[[], MachineInfo], handle: Callable[[datetime], Flow[EnrollmentResponse]]
    ) -> Flow[EnrollmentResponse]:
        now = yield from ask(Now())
        yield from write_counts_flow(self._settings, now)
        try:
            self._machine = yield from ask(Compute(verify))  # rule 1
        except TrustError as error:
            outcome = EnrollmentOutcome.MALFORMED if error.is_malformed else EnrollmentOutcome.REFUSE
            return (yield from self._respond(outcome, error.reason, now))
        if not self._machine.is_mac:
            return (yield from self._refuse("the product is not a Mac", now))
        return (yield from self._with_context(lambda: handle(now), now))

    def _with_context(
        self, handle: Callable[[], Flow[EnrollmentResponse]], now: datetime
    ) -> Flow[EnrollmentResponse]:
        """Load the device context and call *handle*; repeat both after a ``StoreConflictError`` (rule 4)."""
        serial = self._verified_machine.serial_number

        def attempt() -> Flow[EnrollmentResponse]:
            self._context = yield from in_store(lambda store: load_context(store, serial))
            if self._context.refusal:
                return (yield from self._refuse(self._context.refusal, now))
            wait = wait_of(self._context.enrollment, self._settings.limits, now)  # rule 2
            if wait is not None:
                return (yield from self._respond_limited(wait.total_seconds(), now))
            return (yield from handle())

        # Each conflict means that another request got a profile; after limits.profiles of them, wait_of
        # answers all others.
        return retried(attempt, self._settings.limits.profiles + ATTEMPTS)

    def _handle_plain(self, authorization: Secret | None, now: datetime) -> Flow[EnrollmentResponse]:
        kind, value = scheme_of(authorization)
        sso = self._settings.platform_sso
        has_token = sso is not None and kind == BEARER
        early = yield from self._check_before_sign_in(now, has_token=has_token)  # rule 2
        if early is not None:
            return early
        if sso is not None and has_token and self._user is None:
            user = yield from ask(CallHook(sso.verify, (value,), "platform_sso.verify"))
            if user is None:
                return (yield from self._refuse("the token of Platform SSO was not accepted", now))
            self._user = check_user(user, "platform_sso.verify")
        profile = self._context.profile
        affinity = affinity_of(profile, self._verified_machine.version) if profile else AffinityKind.NONE
        if affinity is AffinityKind.MODERN and self._user is None:
            return (yield from self._refuse("the user must sign in on the web page first", now))
        if affinity is AffinityKind.LEGACY and self._user is None and self._settings.authenticate is None:
            reason = "no hook checks name and password: give authenticate="
            return (yield from self._refuse(reason, now))
        if affinity is AffinityKind.LEGACY and self._user is None:
            self._user = yield from self._check_password(kind, value)
            if self._user is None:
                why = _WRONG_LOGIN if kind == BASIC else "name and password are needed"
                return (
                    yield from self._respond(
                        EnrollmentOutcome.SIGN_IN, why, now, headers=_BASIC_CHALLENGE, status=401
                    )
                )
        if affinity is AffinityKind.NONE:
            self._user = None
        return (yield from self._check_and_issue(now))

    def _handle_web_view(self, host: str, now: datetime) -> Flow[EnrollmentResponse]:
        early = yield from self._check_before_sign_in(now)
        if early is not None:
            return early
        machine, profile, sign_in = self._verified_machine, self._context.profile, self._settings.sign_in
        if profile is None or affinity_of(profile, machine.version) is AffinityKind.NONE:
            # The profile changed after Apple sent its address to the Mac: no sign-in is needed any more.
            return (yield from self._check_and_issue(now))
        if sign_in is None:
            return (yield from self._refuse("no identity provider is configured: give sign_in=", now))
        wrong = self._host_mismatch(host)
        if wrong:
            return (yield from self._refuse(wrong, now))
        state = yield from ask(RandomText(_STATE_BYTES))
        limits = self._settings.limits
        one_time = OneTime.of(
            OneTimeKind.WEB_VIEW,
            state,
            serial_number=machine.serial_number,
            expires_at=now + limits.sign_in_lifetime,
            value={"machine": _machine_to_json(machine), "host": _normalize_host(host)},
        )
        begin = CallHook(sign_in.begin, (state, machine), "sign_in.begin")
        address = Secret(check_address((yield from ask(begin)), "sign_in.begin"))
        yield from in_store(lambda store: store.save_one_time(one_time, now=now, keep=limits.sign_ins))
        reason = "the user signs in with the identity provider"
        response = yield from self._respond(EnrollmentOutcome.SIGN_IN, reason, now, status=302)
        return attrs.evolve(response, headers={**response.headers, "Location": address.reveal()})

    def _handle_signed_in(self, host: str, now: datetime) -> Flow[EnrollmentResponse]:
        wrong = self._host_mismatch(host)
        if wrong:
            return (yield from self._refuse(wrong, now))
        if self._context.profile is not None:
            affinity = affinity_of(self._context.profile, self._verified_machine.version)
            self._user = None if affinity is AffinityKind.NONE else self._user
        return (yield from self._check_and_issue(now))

    # Checks

    def _check_before_sign_in(
        self, now: datetime, *, has_token: bool = False
    ) -> Flow[EnrollmentResponse | None]:
        machine, settings = self._verified_machine, self._settings
        sso = settings.platform_sso
        if sso is not None and machine.can_request_psso_config and not has_token:
            body = sso.error_body()
            reason = "Platform SSO comes first"
            return (yield from self._respond(EnrollmentOutcome.PLATFORM_SSO, reason, now, document=body))
        catalogue = None
        if settings.catalogue is not None and settings.updates is not None:
            catalogue = yield from ask(CallHook(settings.catalogue, (), "catalogue"))
            catalogue = None if catalogue is None else check_answer(catalogue, UpdateCatalogue, "catalogue")
        decision = decide_update(
            settings.updates,
            version=machine.version,
            build=machine.build,
            can_request=machine.can_request_software_update,
            now=now,
            device_id=machine.software_update_device_id or "",
            is_mandatory=machine.mandatory_software_update_required,
            catalogue=catalogue,
        )
        if decision.outcome is UpdateOutcome.UPDATE:
            update = build_update_required(decision)
            return (yield from self._respond(EnrollmentOutcome.UPDATE, decision.reason, now, document=update))
        if decision.outcome is UpdateOutcome.REFUSE:
            return (yield from self._refuse(decision.reason, now))
        return None

    def _check_password(self, kind: str, value: Secret) -> Flow[User | None]:
        verify = self._settings.authenticate
        name, password = name_and_password(value) if kind == BASIC else ("", Secret(""))
        if verify is None or not name:
            return None
        user = yield from ask(CallHook(verify, (name, password), "authenticate"))
        return None if user is None else check_user(user, "authenticate")

    def _check_and_issue(self, now: datetime) -> Flow[EnrollmentResponse]:
        """Issue the profile if the license, the caller's check and the identity policy allow it."""
        settings, record, profile = self._settings, self._context.record, self._context.profile
        if record is None or profile is None:
            raise AssertionError  # pragma: no cover - load_context refused
        if self._user is not None and self._user.is_enrollment_manager:
            reason = "a device enrollment manager cannot enroll a Mac with an enrollment profile"
            return (yield from self._refuse(reason, now))
        request = EnrollmentRequest(
            machine=self._verified_machine, record=record, profile=profile, user=self._user
        )
        if settings.is_licensed is not None:
            is_licensed = yield from ask(CallHook(settings.is_licensed, (request,), "is_licensed"))
            if not check_answer(is_licensed, bool, "is_licensed"):
                whose = "the user" if self._user else "the device"
                return (yield from self._refuse(f"{whose} has no license", now))
        if settings.check is not None:
            objection = yield from ask(CallHook(settings.check, (request,), "check"))
            if objection is not None and check_answer(objection, str, "check"):  # type: ignore[redundant-expr]
                return (
                    yield from self._refuse(f"refused by the organization: {_limit_text(objection)}", now)
                )
        issue = Issue(settings, self._context, self._verified_machine, self._user, now=now)
        if issue.refusal:
            facts = {"identity": issue.refusal, "problems": issue.problems}
            return (yield from self._refuse(issue.refusal, now, **facts))
        return (yield from issue.steps())  # rules 4 and 5

    # Responses

    def _refuse(self, reason: str, now: datetime, **facts: Any) -> Flow[EnrollmentResponse]:
        return (yield from self._respond(EnrollmentOutcome.REFUSE, reason, now, facts=facts))

    def _respond_limited(self, seconds: float, now: datetime) -> Flow[EnrollmentResponse]:
        limits = self._settings.limits
        reason = f"more than {limits.profiles} profiles in {limits.window}"
        headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
        return (yield from self._respond(EnrollmentOutcome.LIMITED, reason, now, headers=headers, status=429))

    def _respond(
        self,
        outcome: EnrollmentOutcome,
        reason: str,
        now: datetime,
        *,
        document: ErrorBody | None = None,
        headers: dict[str, str] | None = None,
        status: int | None = None,
        facts: dict[str, Any] | None = None,
    ) -> Flow[EnrollmentResponse]:
        decision = decision_of(
            outcome,
            reason,
            now,
            machine=self._machine,
            context=self._context,
            user=self._user,
            **(facts or {}),
        )
        yield from self._write_record(decision)
        if status is None:
            status = 400 if outcome is EnrollmentOutcome.MALFORMED else 403
        if document is not None:
            return EnrollmentResponse(
                status=status,
                headers={"Content-Type": document.content_type, **_NO_STORE},
                body=document.body,
                decision=decision,
            )
        return EnrollmentResponse(
            status=status,
            headers={"Content-Type": "text/plain; charset=utf-8", **_NO_STORE, **(headers or {})},
            body=_BODIES[outcome],  # rule 1
            decision=decision,
        )

    def _write_record(self, decision: EnrollmentDecision) -> Flow[None]:
        """Log and store *decision*, or only count it where too many came."""
        is_known = self._context.record is not None
        if self._settings.tally.is_recorded(decision, is_known=is_known):  # rule 6
            is_refusal = decision.outcome in _WARNED_OUTCOMES or decision.reason == _WRONG_LOGIN
            _log.log(logging.WARNING if is_refusal else logging.INFO, "%s", decision)
            yield from audit(decision.events())

    @property
    def _verified_machine(self) -> MachineInfo:
        if self._machine is None:
            raise AssertionError  # pragma: no cover - set by _verify_and_load
        return self._machine

    def _host_mismatch(self, host: str) -> str:
        profile = self._context.profile
        expected = host_of(profile.user_affinity.web_url) if profile else ""
        if not expected or expected == host_of(f"https://{host}"):
            return ""
        return f"the web view was opened on {host[:80]!r}, the profile sends Macs to {expected!r}"


def write_counts_flow(settings: Settings, now: datetime, *, force: bool = False) -> Flow[None]:
    """Log and store the counted responses once their minute is over; *force* does so now."""
    counted = settings.tally.take(now, force=force)
    if counted is not None:
        _log.warning("%s", counted)
        yield from audit(counted.events(now))


def _limit_text(text: str) -> str:
    """Return a hook's text shortened and escaped for log and store: it may quote untrusted input."""
    return printable(text[:_MAX_TEXT])


def decision_of(
    outcome: EnrollmentOutcome,
    reason: str,
    now: datetime,
    *,
    machine: MachineInfo | None,
    context: DeviceContext,
    user: User | None,
    **facts: Any,
) -> EnrollmentDecision:
    """Return the audit record of a request, with what is known about the Mac."""
    if machine is not None:
        facts = {
            "serial_number": machine.serial_number,
            "product": machine.product,
            "build": machine.build,
            "version": "" if machine.version is None else str(machine.version),
            **facts,
        }
    return EnrollmentDecision(
        at=now,
        outcome=outcome,
        reason=reason,
        token_name=context.token_name,
        profile_name="" if context.profile is None else context.profile.name,
        user="" if user is None else user.upn,
        **facts,
    )


def _normalize_host(host: str) -> str:
    return host.strip().lower()


def _machine_to_json(machine: MachineInfo) -> Any:
    """Return *machine* as JSON values, without the keys that pyade does not use."""
    return msgspec.to_builtins(attrs.evolve(machine, extra={}))


_WRONG_LOGIN: Final = "name or password is wrong"
_NOT_SIGNED_IN: Final = b"You are not signed in. Start again, or contact your organization.\n"
_WARNED_OUTCOMES: Final = (EnrollmentOutcome.REFUSE, EnrollmentOutcome.LIMITED, EnrollmentOutcome.MALFORMED)
_NO_STORE: Final = {"Cache-Control": "no-store"}
_BASIC_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="Device enrollment", charset="UTF-8"'}
_BODIES: Final = {
    EnrollmentOutcome.SIGN_IN: b"Sign in to enroll this Mac.\n",
    EnrollmentOutcome.REFUSE: b"This Mac cannot be enrolled. Contact your organization.\n",
    EnrollmentOutcome.LIMITED: b"Try again later.\n",
    EnrollmentOutcome.MALFORMED: b"This page is for Macs in Setup Assistant.\n",
}
