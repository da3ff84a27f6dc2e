"""The device-facing side: verify a Mac in Setup Assistant, decide, answer.

``EnrollmentService`` knows no web framework; ``pyade.enrollment.asgi`` is a small application around it.
"""

from pyade.enrollment.credentials import (
    Credential,
    CredentialRequest,
    redeem_client_identifier,
    redeem_scep_request,
)
from pyade.enrollment.decision import EnrollmentDecision, EnrollmentResponse, Verdict
from pyade.enrollment.service import AsyncEnrollmentService, EnrollmentService
from pyade.enrollment.settings import EnrollmentLimits, EnrollmentRequest, PlatformSso, SignIn

__all__ = [
    "AsyncEnrollmentService",
    "Credential",
    "CredentialRequest",
    "EnrollmentDecision",
    "EnrollmentLimits",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EnrollmentService",
    "PlatformSso",
    "SignIn",
    "Verdict",
    "redeem_client_identifier",
    "redeem_scep_request",
]
