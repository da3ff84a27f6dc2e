"""The device-facing side: verify a Mac in Setup Assistant, decide, answer.

``EnrollmentService`` knows no web framework; ``EnrollmentApp`` is a small ASGI application around it.
"""

from pyade.enrollment.asgi import EnrollmentApp, SignInReturn
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
    "EnrollmentApp",
    "EnrollmentDecision",
    "EnrollmentLimits",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EnrollmentService",
    "PlatformSso",
    "SignIn",
    "SignInReturn",
    "Verdict",
    "redeem_client_identifier",
    "redeem_scep_request",
]
