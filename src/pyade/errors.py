"""Every error that pyade raises.

::

    PyadeError
    ├── ArgumentError             an argument of a wrong type; also a ``TypeError``   (the caller acts)
    ├── VersionError              a macOS version or build that cannot be read        (the caller acts)
    ├── TokenError                a server token that cannot be used                  (the caller acts)
    ├── ProfileError              an enrollment profile that breaks rules; ``problems`` lists all of them
    │   └── IntuneError           Intune's JSON cannot be read or written; each problem has its path
    ├── PolicyError               a limit of Apple's or Intune's; ``allowed_at`` says from when it is allowed
    ├── SigningError              a certificate or key that cannot sign or decrypt
    ├── BypassCodeError           a text that is no bypass code of an activation lock (the caller acts)
    ├── CryptoPolicyError         this machine's policy forbids what Macs sign with (its administrator acts)
    ├── TrustError                what a device sent cannot be read or trusted; ``is_malformed`` tells which
    ├── AppleError                Apple refused; ``code``, ``status`` and ``next_step`` say who must act
    │   ├── OAuthRequestError     /session: the OAuth request was malformed
    │   ├── TokenSupersededError  /session: a newer token was generated in the portal
    │   ├── TokenRejectedError    /session: the token is unknown or was revoked
    │   ├── TokenExpiredError     the token is past its expiry
    │   ├── TokenOwnerError       /session: the portal user who downloaded the token lost the role
    │   ├── ClockError            /session: the nonce or the timestamp was refused
    │   ├── SessionError          a session or an access token was refused twice in a row
    │   ├── TermsError            an administrator of that organization must accept Apple's new terms
    │   ├── AccessDeniedError     this token may not do that
    │   ├── CursorError
    │   │   ├── ExhaustedCursorError   everything for that cursor was delivered already
    │   │   ├── ExpiredCursorError     older than 7 days: a full fetch is needed
    │   │   └── InvalidCursorError     not recognised: a full fetch is needed
    │   ├── CredentialError       Apple does not accept the API account: key revoked or account gone
    │   ├── ConflictError         409: the state at Apple forbids it, or a value in the request does not exist
    │   ├── NotFoundError         a profile, a discovery URL or another record that Apple does not have
    │   ├── InvalidRequestError   a value that Apple does not accept
    │   ├── UserAgentError        the User-Agent is missing or on Apple's deny list
    │   ├── RateLimitError        429; ``retry_after_s`` if Apple said so
    │   ├── ServerError           5xx, also after the retries
    │   └── ResponseError         a success whose body cannot be read
    ├── TransportError            no response arrived; ``effect_unknown`` says whether Apple may have acted
    │   ├── CertificateError      the certificate of the server is not trusted; nothing was sent
    │   └── DeadlineError         not within ``deadline_s``
    ├── ClientError               a client that was closed, or is used in a second event loop
    ├── ActivityError             an activity did not end in time or was lost; ``outcome`` can be resumed
    ├── BatchError                a later chunk of a batch failed; ``outcome`` holds what is known per serial
    └── StoreError                the store cannot do that
        ├── UnknownTokenError     no token of that name is stored
        ├── DuplicateTokenError   a token of that name is stored already
        ├── StoreConflictError    another worker changed the same sync state meanwhile
        ├── LeaseHeldError        another worker works on the token until ``expires_at``; ``owner`` says who
        ├── LeaseLostError        this worker's lease ended, so that it may not write any more
        ├── DamagedRecordError    a stored record cannot be read; ``token_name`` names its token
        ├── StoreVersionError     the file was written by a newer pyade
        └── StoreClosedError      the store was closed

Every error can be pickled with its notes, so that workers can send it on, and none contains a secret.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

from pyade.loading import lazy_modules
from pyade.text import Printed

if TYPE_CHECKING:
    from pyade.core import problems as problem_types
    from pyade.core.fleet import outcomes
else:
    lazy_modules(globals(), outcomes="pyade.core.fleet.outcomes", problem_types="pyade.core.problems")

# attrs gives a class with slots its own __setstate__, which drops the notes of a pickled error: every error
# class leaves that to Exception, and so must a new one. One common repr makes the import faster.


class PyadeError(Printed, Exception):
    """Base of everything that pyade raises on purpose.

    Its text contains no line breaks and no direction marks of what Apple or a Mac sent; its attributes are
    unescaped.

    Attributes:
        report: The report of the work until then, if it makes one (``AssignReport``); else None. It is not
            pickled with the error.
    """

    report: Any = None

    def __reduce__(self) -> Any:
        reduced = super().__reduce__()
        if isinstance(reduced, tuple) and len(reduced) > 2 and isinstance(reduced[2], dict):
            return (*reduced[:2], {name: value for name, value in reduced[2].items() if name != "report"})
        return reduced

    def __repr__(self) -> str:
        fields = [one.name for one in getattr(type(self), "__attrs_attrs__", ()) if one.repr]
        if not fields:
            return Exception.__repr__(self)
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"

    def _words(self) -> str | list[str]:
        return Exception.__str__(self)


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class ArgumentError(PyadeError, TypeError):
    """An argument of a wrong type, such as a text where a profile is meant; nothing was done or stored.

    Attributes:
        function: The class or function that was called, such as "Assigner.run"; "" if it is not known.
        argument: The name of the argument.
        given: What was given, in words; nothing of a text or of bytes is shown.
        allowed: What is allowed, in words.
    """

    function: str
    argument: str
    given: str
    allowed: str

    def _words(self) -> str:
        words = f"{self.argument} is {self.given}: {self.allowed} is allowed"
        return f"{self.function}: {words}" if self.function else words


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class VersionError(PyadeError):
    """A macOS version or build that cannot be read.

    Attributes:
        value: What was given.
        allowed: What can be read, in words.
    """

    value: str
    allowed: str

    def _words(self) -> str:
        return f"{self.value!r} cannot be read: {self.allowed}"


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class TokenError(PyadeError):
    """A server token that cannot be used, and why.

    Attributes:
        reason: What is wrong, in words, without any part of the token.
        next_step: What to do about it.
    """

    reason: str
    next_step: str = ""

    def _words(self) -> str:
        return f"{self.reason}: {self.next_step}" if self.next_step else self.reason


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class ProfileError(PyadeError):
    """An enrollment profile, or a document made from one, that breaks rules.

    Attributes:
        problems: Every broken rule: setting, value, what is allowed, fix.
    """

    problems: tuple[problem_types.Problem, ...]

    def _words(self) -> str | list[str]:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return [f"{len(self.problems)} rules are broken", *(f"  {problem}" for problem in self.problems)]


class IntuneError(ProfileError):
    """Intune's JSON that cannot be read, or something that cannot be written as Intune's JSON.

    The settings of its problems are paths, such as ``$.value[3].displayName``.
    """


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class PolicyError(PyadeError):
    """A request that a rule of Apple or Intune forbids now, or always.

    Attributes:
        reason: The rule, in words.
        allowed_at: When it will be allowed, UTC; None if waiting does not help.
    """

    reason: str
    allowed_at: datetime | None = None

    def _words(self) -> str:
        return (
            f"{self.reason}; allowed from {self.allowed_at.isoformat()}" if self.allowed_at else self.reason
        )


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class SigningError(PyadeError):
    """A certificate or private key that cannot be used for the requested operation.

    Attributes:
        reason: What is wrong, in words.
    """

    reason: str

    def _words(self) -> str:
        return self.reason


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class BypassCodeError(PyadeError):
    """A text or value that is no bypass code; the error shows nothing of it.

    Attributes:
        reason: What is wrong, in words.
    """

    reason: str

    def _words(self) -> str:
        return self.reason


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class CryptoPolicyError(PyadeError):
    """The cryptography of this machine refuses an algorithm that Macs use; no Mac enrolls until that changes.

    Attributes:
        algorithm: The refused algorithm, such as "SHA-1".
        next_step: What to do about it.
    """

    algorithm: str
    next_step: str

    def _words(self) -> str:
        return f"{self.algorithm} is refused by the cryptography of this machine: {self.next_step}"


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class TrustError(PyadeError):
    """Untrusted input that should come from a device cannot be read, or was not signed by a device.

    The text is for the operator's log, not for the sender. Of the input it shows only numbers of algorithms
    and types.

    Attributes:
        reason: What is wrong, in words.
        is_malformed: True if it cannot be read (HTTP 400); False if it can be read and must not be trusted
            (HTTP 403).
    """

    reason: str
    is_malformed: bool = False

    def _words(self) -> str:
        return self.reason


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class AppleError(PyadeError):
    """Apple's service refused a call.

    Attributes:
        operation: The operation, such as "fetch devices".
        status: HTTP status of the response; 0 if no request was sent.
        code: Apple's code (``T_C_NOT_SIGNED``), a known problem of ``/session`` (``token_rejected``), or ""
            if the response had none.
        detail: What Apple sent instead of a known code, at most 1 KiB, or more about the error.
        next_step: Who must do what.
        retry_after_s: Seconds that Apple asked to wait, if it did.
        errors: Every error that the Apple School Manager and Apple Business API listed.
        request_id: The id to quote to Apple's support, if Apple sent one.
    """

    operation: str
    status: int
    code: str = ""
    detail: str = ""
    next_step: str = ""
    retry_after_s: float | None = None
    errors: tuple[problem_types.ErrorObject, ...] = ()
    request_id: str = ""

    def _words(self) -> str:
        status = str(self.status) if self.status else "not sent:"
        text = f"{self.operation}: {' '.join(filter(None, (status, self.code, self.detail)))}"
        return f"{text}; {self.next_step}" if self.next_step else text


class OAuthRequestError(AppleError):
    """Apple could not read the OAuth request: a configuration error, retrying does not help."""


class TokenSupersededError(AppleError):
    """The secrets do not match: usually a newer token was generated in the portal and not imported here."""


class TokenRejectedError(AppleError):
    """Apple does not know this token (any more): it was revoked or belongs to a deleted server."""


class TokenExpiredError(AppleError):
    """The token is past its expiry: renew it in the portal."""


class TokenOwnerError(AppleError):
    """The portal user who downloaded the token was deleted, lost the role or changed the password."""


class ClockError(AppleError):
    """Apple refused nonce or timestamp twice: the clock of this machine is off."""


class SessionError(AppleError):
    """A new session or access token was refused, too."""


class TermsError(AppleError):
    """An administrator of this organization must accept Apple's new terms; the token itself is good."""


class AccessDeniedError(AppleError):
    """This token has no right to the request."""


class CursorError(AppleError):
    """Apple does not accept the cursor."""


class ExhaustedCursorError(CursorError):
    """Everything for this cursor was delivered already: continue with a sync."""


class ExpiredCursorError(CursorError):
    """The cursor is older than 7 days: a full fetch is needed."""


class InvalidCursorError(CursorError):
    """The cursor was not recognised: a full fetch is needed."""


class CredentialError(AppleError):
    """Apple does not accept the API account or its key: make a new key in the portal."""


class ConflictError(AppleError):
    """The state at Apple forbids the request, or it names a service or a serial number that Apple lacks."""


class NotFoundError(AppleError):
    """Apple has no such profile, discovery URL or other record."""


class InvalidRequestError(AppleError):
    """A value in the request that Apple does not accept; ``code`` names the field."""


class UserAgentError(AppleError):
    """The User-Agent is missing or not acceptable: set ``user_agent=`` to a product of your own."""


class RateLimitError(AppleError):
    """Apple asked to slow down, and the deadline of the call ended before it may be repeated."""


class ServerError(AppleError):
    """Apple's service failed, also after the bounded retries."""


class ResponseError(AppleError):
    """Apple answered with success and a body that cannot be read."""


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class TransportError(PyadeError):
    """No response arrived: the connection was refused, reset, timed out or cut short.

    Attributes:
        operation: The operation.
        reason: What the transport reported, without headers or bodies.
        effect_unknown: True if the request may have reached Apple, so that its effect must be read back.
        next_step: What to do about it; "" if trying again is all.
    """

    operation: str
    reason: str
    effect_unknown: bool = True
    next_step: str = ""

    def _words(self) -> str:
        known = "; Apple may have acted on it" if self.effect_unknown else ""
        step = f"; {self.next_step}" if self.next_step else ""
        return f"{self.operation}: {self.reason}{known}{step}"


class CertificateError(TransportError):
    """The certificate of the server or of a proxy is not trusted: nothing was sent or retried."""


class DeadlineError(TransportError):
    """No complete response arrived within ``deadline_s`` of the client."""


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class ClientError(PyadeError):
    """A client that is closed, or cannot be used in this event loop; nothing was sent.

    Attributes:
        reason: Why.
        next_step: What to do instead.
    """

    reason: str
    next_step: str = ""

    def _words(self) -> str:
        return f"{self.reason}: {self.next_step}" if self.next_step else self.reason


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class ActivityError(PyadeError):
    """A change of many devices did not finish; ``__cause__`` says why, unless the time ran out.

    Attributes:
        operation: The operation.
        reason: Why it ended, in words.
        outcome: What is known about every serial number; ``resume_activity`` continues from it.
    """

    operation: str
    reason: str
    outcome: outcomes.ActivityOutcome

    def _words(self) -> str:
        return f"{self.operation}: {self.reason}; {self.outcome.summary()}"


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class BatchError(PyadeError):
    """A later chunk of a batch failed; ``__cause__`` says why.

    Attributes:
        operation: The operation.
        reason: The text of the error that ended the batch.
        outcome: What is known about every serial number of the batch, including those that were not sent.
    """

    operation: str
    reason: str
    outcome: outcomes.DeviceResults

    def _words(self) -> str:
        return f"{self.operation}: {self.reason}; {self.outcome.summary()}"


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class StoreError(PyadeError):
    """The store refused or failed; no transaction was written in part.

    Attributes:
        reason: What is wrong and what to do, in words.
    """

    reason: str

    def _words(self) -> str:
        return self.reason


class UnknownTokenError(StoreError):
    """No token of that name is stored."""


class DuplicateTokenError(StoreError):
    """A token of that name is stored already: renew it or choose another name."""


class StoreConflictError(StoreError):
    """Another worker changed this token's sync state: read it again."""


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class LeaseHeldError(StoreError):
    """Another worker works on this token: try again when it is done, at the latest after ``expires_at``.

    Attributes:
        owner: The other worker.
        expires_at: When its lease expires unless it renews it, by the store's clock, UTC.
        remaining_s: Seconds until then, independent of the clock; None if not known.
    """

    owner: str
    expires_at: datetime
    remaining_s: float | None = None

    def _words(self) -> str:
        return self.reason


class LeaseLostError(StoreError):
    """The lease of this worker expired or was taken over: nothing was written, stop working on the token."""


@attrs.define(eq=False, getstate_setstate=False, repr=False)
class DamagedRecordError(StoreError):
    """A stored record cannot be read: restore a backup, or store it again.

    Attributes:
        token_name: The token that it belongs to; "" if it belongs to none, or if that is unknown.
    """

    token_name: str = ""

    def _words(self) -> str:
        return self.reason


class StoreVersionError(StoreError):
    """The data was written by a newer version of pyade."""


class StoreClosedError(StoreError):
    """The store was closed."""
