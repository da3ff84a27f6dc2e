"""A small ASGI application that step-ca asks before it signs a certificate.

The rules of this file:

1. The signature over the bytes of the body is checked before they are read as anything.
2. Only a request that pyade can tie to a profile is allowed: of an ACME server with the identifier that the
   Mac attested, of a SCEP server with the challenge in the certificate request.
3. The same request again gets the same answer, see ``enrollment.redemption``: step-ca asks once more if it
   gets no answer, or a status from 500 up. With a status from 400 up it refuses the Mac.

Source: step-ca documentation, "Webhooks": request body, ``X-Smallstep-Signature``, response.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from pyade.apple.http.connection import utc_now
from pyade.core.arguments import check_arguments
from pyade.core.input_limits import MAX_BYTES
from pyade.core.secret import Secret, masked
from pyade.enrollment.asgi import BODY_TIME, Answer, AsgiApp, Scope, header_of
from pyade.enrollment.redemption import redeem_client_identifier, redeem_scep_request
from pyade.enrollment.steps import in_store
from pyade.errors import PolicyError, TrustError
from pyade.flow import AsyncRunner, Flow, Now, ask
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger

_log = logger(__name__)

_HEADER: Final = b"x-smallstep-signature"


@check_arguments
class StepCaWebhook(AsgiApp):
    """An ASGI application: the address that step-ca asks whether it may issue a certificate.

    Add it with ``step ca provisioner webhook add``: to an ACME provisioner with ``--kind ENRICHING``, where
    the service has ``acme_credential=credentials.serial_number``; to a SCEP provisioner with ``--kind
    SCEPCHALLENGE``.
    Each has a secret of its own, and so an application of its own. It runs under any ASGI server, alone or as
    a route of another application; opening and closing the store stays with the caller.

    The answer is ``{"allow": true}`` once for each profile that ``EnrollmentService`` gave to a Mac, for a
    request with the key and the subject that the profile asked for, and again for the same request within two
    minutes. Everything else is ``{"allow": false}``: without attestation data or a challenge, too.

    Args:
        store: Where the enrollment service keeps what it issued.
        secret: With which step-ca signs, in base64, as that command prints it.
        path: Where it is asked.
        body_time: How long the body of a request may take, to its last byte; then the answer is 408.
        clock: Returns the time, UTC.

    Raises:
        PolicyError: *secret* is empty or no base64, *path* does not begin with a slash, or *body_time* is not
            longer than zero.

    Source: step-ca documentation, "Webhooks".
    """

    def __init__(
        self,
        store: EnrollmentStore,
        *,
        secret: str | Secret,
        path: str = "/step-ca",
        body_time: timedelta = BODY_TIME,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        secret = Secret(secret)
        super().__init__({path: {"POST": self._decide}}, body_time=body_time)
        self._key: bytes = _key_of(secret)
        self._runner: AsyncRunner = AsyncRunner(store=store, clock=clock)

    async def _decide(self, scope: Scope, body: bytes) -> Answer:
        if len(body) > MAX_BYTES:
            _log.warning("a webhook request has more than %s bytes", MAX_BYTES)
            return _answer(413, allow=False)
        wanted = hmac.new(self._key, body, hashlib.sha256).hexdigest().encode()
        given = (header_of(scope, _HEADER) or "").lower().encode("latin-1")
        if not hmac.compare_digest(wanted, given):
            _log.warning("a webhook request is not signed with the secret of this webhook")
            return _answer(401, allow=False)
        try:
            asked = msgspec.json.decode(body, type=_Body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            _log.warning("a webhook request cannot be read, although it is signed: is it step-ca that asks?")
            return _answer(400, allow=False)
        refusal = await self._runner.run(_redeemed(asked))
        if refusal:
            # What was attested is no secret: the serial number or the UDID, as step-ca compared.
            who = asked.identifier[:40] or "a Mac that attested nothing"
            _log.warning("a webhook request for %s is refused: %s", who, refusal)
        return _answer(200, allow=not refusal)


class _Attestation(msgspec.Struct, rename="camel"):
    permanent_identifier: str = ""


class _CertificateRequest(msgspec.Struct, rename="camel"):
    raw: bytes = b""


class _Body(msgspec.Struct, rename="camel"):
    """What counts of a webhook request."""

    attestation_data: _Attestation | None = None
    x509_certificate_request: _CertificateRequest | None = None
    scep_challenge: str = ""

    @property
    def identifier(self) -> str:
        """What the Mac attested; "" if it attested nothing."""
        return "" if self.attestation_data is None else self.attestation_data.permanent_identifier

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # it may hold a challenge


def _redeemed(asked: _Body) -> Flow[str]:
    """Use up what the request comes with, and return why it may not have a certificate; "" if it may."""
    if asked.x509_certificate_request is None:
        return "it holds no certificate request: is the webhook of the kind ENRICHING or SCEPCHALLENGE?"
    request = masked(asked.x509_certificate_request.raw)
    now = yield from ask(Now())
    try:
        if asked.identifier:
            named = Secret(asked.identifier)
            yield from in_store(
                lambda store: redeem_client_identifier(store, named, now=now, request=request)
            )
        elif asked.scep_challenge:
            yield from in_store(lambda store: redeem_scep_request(store, request, now=now))
        else:
            return "it holds no attestation data: nobody showed which Mac it is"
    except TrustError as error:
        return error.reason
    return ""


def _key_of(secret: Secret) -> bytes:
    try:
        key = base64.b64decode(secret.reveal(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise PolicyError("the secret of the webhook is no base64: give it as step-ca printed it")
    return masked(key)


def _answer(status: int, *, allow: bool) -> Answer:
    fields = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Answer(status=status, headers=fields, body=msgspec.json.encode({"allow": allow}))
