"""One request of a Mac as a flow of steps: verify, find, decide, answer.

The rules of this file:

1. Nothing that a Mac sent counts before its signature is verified. A stranger learns nothing: refusals say
   the same words to everybody, the reason is in the record.
2. The gates come in this order, and the first that is closed decides: who it is, too many profiles, Platform
   SSO, macOS too old, the user, the license, the caller's own check, the identity.
3. Gates before the profile change nothing in the store, so that a Mac may come again after an update. A
   sign-in is used up by the request that ends it.
4. A profile, the credential in it and the record of the decision are one commit, which revokes the
   credential of the profile before. Of two requests at the same time the second is made anew on top of the
   first.
5. The answer is built before the commit, so that no credential is stored for a profile that was never made.
6. Answers without a profile are written down, and counted where too many come: see ``tally``.

::

    POST url ------------+
                         v
    GET web url ----> verify --> known? --> limit --> Platform SSO? --> macOS? --> user?
                                                                                     |
         sign in <-------------------------------------------------------------------+ no
            |                                                                        | yes
            +--> state taken --> known? --> limit --> license --> check --> identity --> profile

Source: specification, "Certificates", "Limitations", "Create an Apple enrollment profile" and "Distribute
devices"; Apple, "Authenticating through web views".

The header ``Authorization``: a name and a password, or a token of Platform SSO; both secret.

Source: RFC 7617, RFC 6750.
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


def scheme_of(authorization: Secret | None) -> tuple[str, Secret]:
    """Return ``BASIC`` or ``BEARER`` with what follows it; empty ones for anything else."""
    text = "" if authorization is None else authorization.reveal().strip()
    for scheme in (BEARER, BASIC):
        if text[: len(scheme)].lower() == scheme:
            return scheme, Secret(text[len(scheme) :].strip())
    return "", Secret("")


def name_and_password(value: Secret) -> tuple[str, Secret]:
    """Return name and password; empty ones where *value* is none of RFC 7617."""
    try:
        name, colon, password = base64.b64decode(value.reveal(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", Secret("")
    return (name, Secret(password)) if colon else ("", Secret(""))


_STATE_BYTES: Final = 32
_LONGEST: Final = 500  # of what a hook says, in the record and in the log

_log = logger(__name__)


class RequestHandler:
    """One request: call one of its public methods, once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._machine: MachineInfo | None = None
        self._context = DeviceContext()
        self._user: User | None = None

    def plain(self, body: bytes, authorization: str | Secret | None) -> Flow[EnrollmentResponse]:
        """Answer a ``POST`` to the profile's ``url``."""
        header = secret_or_none(authorization)
        del authorization  # the functions below keep what they refer to
        return self._guarded(
            lambda: MachineInfo.from_cms(body, trust=self._settings.trust),
            lambda now: self._plain(header, now),
        )

    def web_view(self, header: str | None, host: str) -> Flow[EnrollmentResponse]:
        """Answer the first ``GET`` of a web view."""
        return self._guarded(
            lambda: MachineInfo.from_header(header, trust=self._settings.trust),
            lambda now: self._web_view(host, now),
        )

    def signed_in(self, state: str | Secret, user: User, host: str) -> Flow[EnrollmentResponse]:
        """Answer the request that comes when the user has signed in."""
        state = Secret(state)
        now = yield from ask(Now())
        yield from counted_flow(self._settings, now)
        user = check_user(user, "close_web_view")
        digest = digest_of(state)
        taken = yield from in_store(lambda store: store.take_one_time(OneTimeKind.WEB_VIEW, digest, now=now))
        if taken is None:
            return (yield from self._refuse("this sign-in is unknown, has expired, or was used before", now))
        try:
            self._machine = msgspec.convert(taken.value["machine"], MachineInfo)
        except msgspec.ValidationError:
            return (yield from self._refuse("this sign-in was begun by a newer version of pyade", now))
        self._user = user
        if taken.value["host"] != _host(host):
            reason = f"the sign-in began at {taken.value['host']!r} and ended at {_host(host)[:80]!r}"
            return (yield from self._refuse(reason, now))
        return (yield from self._with_place(lambda: self._signed_in(host, now), now))

    def not_signed_in(self, reason: str) -> Flow[EnrollmentResponse]:
        """Answer the web view of a user whom the identity provider does not let in."""
        now = yield from ask(Now())
        yield from counted_flow(self._settings, now)
        answer = yield from self._refuse(f"nobody signed in: {_said(reason)}", now)
        return attrs.evolve(answer, body=_NOT_SIGNED_IN)

    # Ways in

    def _guarded(
        self, verify: Callable[[], MachineInfo], go_on: Callable[[datetime], Flow[EnrollmentResponse]]
    ) -> Flow[EnrollmentResponse]:
        now = yield from ask(Now())
        yield from counted_flow(self._settings, now)
        try:
            self._machine = yield from ask(Compute(verify))
        except TrustError as error:
            outcome = EnrollmentOutcome.MALFORMED if error.is_malformed else EnrollmentOutcome.REFUSE
            return (yield from self._answer(outcome, error.reason, now))
        if not self._machine.is_mac:
            return (yield from self._refuse("the product is no Mac", now))
        return (yield from self._with_place(lambda: go_on(now), now))

    def _with_place(
        self, go_on: Callable[[], Flow[EnrollmentResponse]], now: datetime
    ) -> Flow[EnrollmentResponse]:
        """Go on with what is stored of the Mac; again if somebody else changed that before the commit."""
        serial = self._known.serial_number

        def attempt() -> Flow[EnrollmentResponse]:
            self._context = yield from in_store(lambda store: load_context(store, serial))
            if self._context.refusal:
                return (yield from self._refuse(self._context.refusal, now))
            wait = wait_of(self._context.enrollment, self._settings.limits, now)
            if wait is not None:
                return (yield from self._limited(wait.total_seconds(), now))
            return (yield from go_on())

        # Who loses saw somebody else win, and only so many can before the limit answers all the others.
        return retried(attempt, self._settings.limits.profiles + ATTEMPTS)

    def _plain(self, authorization: Secret | None, now: datetime) -> Flow[EnrollmentResponse]:
        kind, value = scheme_of(authorization)
        sso = self._settings.platform_sso
        has_token = sso is not None and kind == BEARER
        early = yield from self._before_the_user(now, has_token=has_token)
        if early is not None:
            return early
        if sso is not None and has_token and self._user is None:
            answer = yield from ask(CallHook(sso.verify, (value,), "platform_sso.verify"))
            if answer is None:
                return (yield from self._refuse("the token of Platform SSO is not good", now))
            self._user = check_user(answer, "platform_sso.verify")
        profile = self._context.profile
        affinity = affinity_of(profile, self._known.version) if profile else AffinityKind.NONE
        if affinity is AffinityKind.MODERN and self._user is None:
            return (yield from self._refuse("the user must sign in on the web page first", now))
        if affinity is AffinityKind.LEGACY and self._user is None and self._settings.authenticate is None:
            return (yield from self._refuse("nobody checks name and password: give authenticate=", now))
        if affinity is AffinityKind.LEGACY and self._user is None:
            self._user = yield from self._authenticated(kind, value)
            if self._user is None:
                why = _WRONG_PAIR if kind == BASIC else "name and password are needed"
                return (
                    yield from self._answer(
                        EnrollmentOutcome.SIGN_IN, why, now, headers=_CHALLENGE, status=401
                    )
                )
        if affinity is AffinityKind.NONE:
            self._user = None
        return (yield from self._issue(now))

    def _web_view(self, host: str, now: datetime) -> Flow[EnrollmentResponse]:
        early = yield from self._before_the_user(now)
        if early is not None:
            return early
        machine, profile, sign_in = self._known, self._context.profile, self._settings.sign_in
        if profile is None or affinity_of(profile, machine.version) is AffinityKind.NONE:
            # The profile was changed after Apple told the Mac its address: nobody has to sign in any more.
            return (yield from self._issue(now))
        if sign_in is None:
            return (yield from self._refuse("no identity provider is configured: give sign_in=", now))
        wrong = self._wrong_host(host)
        if wrong:
            return (yield from self._refuse(wrong, now))
        state = yield from ask(RandomText(_STATE_BYTES))
        limits = self._settings.limits
        kept = OneTime.of(
            OneTimeKind.WEB_VIEW,
            state,
            serial_number=machine.serial_number,
            expires_at=now + limits.sign_in_lifetime,
            value={"machine": _plain_machine(machine), "host": _host(host)},
        )
        begin = CallHook(sign_in.begin, (state, machine), "sign_in.begin")
        address = Secret(check_address((yield from ask(begin)), "sign_in.begin"))
        yield from in_store(lambda store: store.save_one_time(kept, now=now, keep=limits.sign_ins))
        reason = "the user signs in with the identity provider"
        answer = yield from self._answer(EnrollmentOutcome.SIGN_IN, reason, now, status=302)
        return attrs.evolve(answer, headers={**answer.headers, "Location": address.reveal()})

    def _signed_in(self, host: str, now: datetime) -> Flow[EnrollmentResponse]:
        wrong = self._wrong_host(host)
        if wrong:
            return (yield from self._refuse(wrong, now))
        if self._context.profile is not None:
            affinity = affinity_of(self._context.profile, self._known.version)
            self._user = None if affinity is AffinityKind.NONE else self._user
        return (yield from self._issue(now))

    # Gates

    def _before_the_user(self, now: datetime, *, has_token: bool = False) -> Flow[EnrollmentResponse | None]:
        machine, settings = self._known, self._settings
        sso = settings.platform_sso
        if sso is not None and machine.can_request_psso_config and not has_token:
            body = sso.error_body()
            reason = "Platform SSO comes first"
            return (yield from self._answer(EnrollmentOutcome.PLATFORM_SSO, reason, now, document=body))
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
            return (yield from self._answer(EnrollmentOutcome.UPDATE, decision.reason, now, document=update))
        if decision.outcome is UpdateOutcome.REFUSE:
            return (yield from self._refuse(decision.reason, now))
        return None

    def _authenticated(self, kind: str, value: Secret) -> Flow[User | None]:
        verify = self._settings.authenticate
        name, password = name_and_password(value) if kind == BASIC else ("", Secret(""))
        if verify is None or not name:
            return None
        answer = yield from ask(CallHook(verify, (name, password), "authenticate"))
        return None if answer is None else check_user(answer, "authenticate")

    def _issue(self, now: datetime) -> Flow[EnrollmentResponse]:
        """Make the profile, if license, the caller and the Mac's hardware allow it."""
        settings, record, profile = self._settings, self._context.record, self._context.profile
        if record is None or profile is None:
            raise AssertionError  # pragma: no cover - load_context refused
        if self._user is not None and self._user.is_enrollment_manager:
            return (yield from self._refuse("device enrollment managers enroll no Macs this way", now))
        request = EnrollmentRequest(machine=self._known, record=record, profile=profile, user=self._user)
        if settings.is_licensed is not None:
            is_licensed = yield from ask(CallHook(settings.is_licensed, (request,), "is_licensed"))
            if not check_answer(is_licensed, bool, "is_licensed"):
                whose = "the user" if self._user else "the device"
                return (yield from self._refuse(f"{whose} has no license", now))
        if settings.check is not None:
            objection = yield from ask(CallHook(settings.check, (request,), "check"))
            if objection is not None and check_answer(objection, str, "check"):  # type: ignore[redundant-expr]
                return (yield from self._refuse(f"refused by the organization: {_said(objection)}", now))
        issue = Issue(settings, self._context, self._known, self._user, now=now)
        if issue.refusal:
            facts = {"identity": issue.refusal, "problems": issue.problems}
            return (yield from self._refuse(issue.refusal, now, **facts))
        return (yield from issue.steps())

    # Answers

    def _refuse(self, reason: str, now: datetime, **facts: Any) -> Flow[EnrollmentResponse]:
        return (yield from self._answer(EnrollmentOutcome.REFUSE, reason, now, facts=facts))

    def _limited(self, seconds: float, now: datetime) -> Flow[EnrollmentResponse]:
        limits = self._settings.limits
        reason = f"more than {limits.profiles} profiles in {limits.window}"
        headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
        return (yield from self._answer(EnrollmentOutcome.LIMITED, reason, now, headers=headers, status=429))

    def _answer(
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
        yield from self._record(decision)
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
            body=_WORDS[outcome],
            decision=decision,
        )

    def _record(self, decision: EnrollmentDecision) -> Flow[None]:
        """Write down an answer without a profile, unless too many came: then it is counted."""
        if self._settings.tally.is_recorded(decision, is_ours=self._context.record is not None):
            is_refusal = decision.outcome in _REFUSALS or decision.reason == _WRONG_PAIR
            _log.log(logging.WARNING if is_refusal else logging.INFO, "%s", decision)
            yield from audit(decision.events())

    @property
    def _known(self) -> MachineInfo:
        if self._machine is None:
            raise AssertionError  # pragma: no cover - nothing is asked of it before it is verified
        return self._machine

    def _wrong_host(self, host: str) -> str:
        profile = self._context.profile
        expected = host_of(profile.user_affinity.web_url) if profile else ""
        if not expected or expected == host_of(f"https://{host}"):
            return ""
        return f"the web view is at {host[:80]!r}, the profile sends Macs to {expected!r}"


def counted_flow(settings: Settings, now: datetime, *, at_once: bool = False) -> Flow[None]:
    """Write down the refusals that were counted, once their minute is over."""
    counted = settings.tally.take(now, at_once=at_once)
    if counted is not None:
        _log.warning("%s", counted)
        yield from audit(counted.events(now))


def _said(words: str) -> str:
    """Return what the caller said, as every store and log can keep it: it may quote a stranger."""
    return printable(words[:_LONGEST])


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
    """Return the record of a request, with what is known of the Mac."""
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


def _host(host: str) -> str:
    return host.strip().lower()


def _plain_machine(machine: MachineInfo) -> Any:
    """Return *machine* as JSON values; keys that pyade does not use are not needed any more."""
    return msgspec.to_builtins(attrs.evolve(machine, extra={}))


_WRONG_PAIR: Final = "name or password are wrong"
_NOT_SIGNED_IN: Final = b"You are not signed in. Start again, or contact your organization.\n"
_REFUSALS: Final = (EnrollmentOutcome.REFUSE, EnrollmentOutcome.LIMITED, EnrollmentOutcome.MALFORMED)
_NO_STORE: Final = {"Cache-Control": "no-store"}
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="Device enrollment", charset="UTF-8"'}
_WORDS: Final = {
    EnrollmentOutcome.SIGN_IN: b"Sign in to enroll this Mac.\n",
    EnrollmentOutcome.REFUSE: b"This Mac cannot be enrolled. Contact your organization.\n",
    EnrollmentOutcome.LIMITED: b"Try again later.\n",
    EnrollmentOutcome.MALFORMED: b"This page is for Macs in Setup Assistant.\n",
}
