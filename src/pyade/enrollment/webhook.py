"""A small ASGI application that step-ca asks before it signs a certificate.

The rules of this file:

1. Check the signature over the bytes of the body before parsing them.
2. Allow only a request that belongs to an issued profile: from an ACME server by the identifier that the Mac
   attested, from a SCEP server by the challenge in the certificate request.
3. The same request again gets the same response, see ``enrollment.redemption``: step-ca asks again if it
   gets no response, or a status of 500 or more. At a status from 400 to 499 it refuses the Mac.

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

from pyade.core.arguments import check_arguments
from pyade.core.input_limits import MAX_BYTES
from pyade.core.secret import Secret, masked
from pyade.enrollment.asgi import BODY_TIME, AsgiApp, HttpResponse, Scope, header_of
from pyade.enrollment.redemption import redeem_client_identifier, redeem_scep_request
from pyade.enrollment.steps import in_store
from pyade.errors import PolicyError, TrustError
from pyade.flow import AsyncRunner, Flow, Now, ask, clock_of
from pyade.storage.protocol import EnrollmentStore
from pyade.text import logger

_log = logger(__name__)

_HEADER: Final = b"x-smallstep-signature"


@check_arguments
class StepCaWebhook(AsgiApp):
    """An ASGI application that tells step-ca whether it may issue a certificate.

    Add it with ``step ca provisioner webhook add``: to an ACME provisioner with ``--kind ENRICHING``, where
    the service has ``acme_credential=credentials.serial_number``; to a SCEP provisioner with ``--kind
    SCEPCHALLENGE``.
    Each webhook has its own secret, and so needs its own application. It runs under any ASGI server, alone or
    as a route of another application; the caller opens and closes the store.

    The response is ``{"allow": true}`` once for each profile that ``EnrollmentService`` issued to a Mac, for
    a request with the key and the subject that the profile asked for, and again for the same request within
    two minutes. Every other request gets ``{"allow": false}``, also one without attestation data or a
    challenge.

    Args:
        store: The store of the enrollment service.
        secret: The key with which step-ca signs its requests, in base64, as that command prints it.
        path: The path of the webhook.
        body_time: How long the body of a request may take, to its last byte; then the response is 408.
        clock: Returns the time, UTC; None for the clock of *store*.

    Raises:
        PolicyError: *secret* is empty or not base64, *path* does not begin with a slash, or *body_time* is
            not longer than zero.

    Source: step-ca documentation, "Webhooks".
    """

    def __init__(
        self,
        store: EnrollmentStore,
        *,
        secret: str | Secret,
        path: str = "/step-ca",
        body_time: timedelta = BODY_TIME,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        secret = Secret(secret)
        super().__init__({path: {"POST": self._handle_webhook}}, body_time=body_time)
        self._key: bytes = _key_of(secret)
        self._runner: AsyncRunner = AsyncRunner(store=store, clock=clock_of(clock, store))

    async def _handle_webhook(self, scope: Scope, body: bytes) -> HttpResponse:
        if len(body) > MAX_BYTES:
            _log.warning("a webhook request has more than %s bytes", MAX_BYTES)
            return _json_response(413, allow=False)
        wanted = hmac.new(self._key, body, hashlib.sha256).hexdigest().encode()
        given = (header_of(scope, _HEADER) or "").lower().encode("latin-1")
        if not hmac.compare_digest(wanted, given):  # rule 1
            _log.warning("a webhook request is not signed with the secret of this webhook")
            return _json_response(401, allow=False)
        try:
            request = msgspec.json.decode(body, type=_Body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            _log.warning("a webhook request is signed but cannot be read: check that step-ca sent it")
            return _json_response(400, allow=False)
        refusal = await self._runner.run(_redeem_flow(request))
        if refusal:
            # The attested identifier is not secret: the serial number or the UDID, as step-ca compared it.
            mac = request.identifier[:40] or "a Mac without attestation"
            _log.warning("a webhook request for %s is refused: %s", mac, refusal)
        return _json_response(200, allow=not refusal)


class _Attestation(msgspec.Struct, rename="camel"):
    permanent_identifier: str = ""


class _CertificateRequest(msgspec.Struct, rename="camel"):
    raw: bytes = b""


class _Body(msgspec.Struct, rename="camel"):
    """The fields of a webhook request that are used."""

    attestation_data: _Attestation | None = None
    x509_certificate_request: _CertificateRequest | None = None
    scep_challenge: str = ""

    @property
    def identifier(self) -> str:
        """The identifier that the Mac attested; "" if it attested none."""
        return "" if self.attestation_data is None else self.attestation_data.permanent_identifier

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # a field may hold a challenge


def _redeem_flow(body: _Body) -> Flow[str]:
    """Redeem the credential of a request; return why no certificate may be issued, "" if one may."""
    if body.x509_certificate_request is None:
        return "it holds no certificate request: add the webhook with the kind ENRICHING or SCEPCHALLENGE"
    request = masked(body.x509_certificate_request.raw)
    now = yield from ask(Now())
    try:
        if body.identifier:  # rule 2
            identifier = Secret(body.identifier)
            yield from in_store(
                lambda store: redeem_client_identifier(store, identifier, now=now, request=request)  # rule 3
            )
        elif body.scep_challenge:
            yield from in_store(lambda store: redeem_scep_request(store, request, now=now))
        else:
            return "it holds no attestation data, which would show which Mac it is"
    except TrustError as error:
        return error.reason
    return ""


def _key_of(secret: Secret) -> bytes:
    try:
        key = base64.b64decode(secret.reveal(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise PolicyError("the secret of the webhook is empty or not base64: give it as step-ca printed it")
    return masked(key)


def _json_response(status: int, *, allow: bool) -> HttpResponse:
    fields = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return HttpResponse(status=status, headers=fields, body=msgspec.json.encode({"allow": allow}))
