"""The device-facing side: verify a Mac in Setup Assistant, decide, answer.

``EnrollmentService`` knows no web framework; ``EnrollmentApp`` is a small ASGI application around it, and
``StepCaWebhook`` one that a certificate authority asks.
"""

from pyade.enrollment.asgi import EnrollmentApp, SignInReturn
from pyade.enrollment.credentials import Credential, CredentialRequest
from pyade.enrollment.decision import EnrollmentDecision, EnrollmentResponse, Verdict
from pyade.enrollment.messages import DeviceMessage, read_message
from pyade.enrollment.redemption import may_issue, redeem_client_identifier, redeem_scep_request
from pyade.enrollment.service import AsyncEnrollmentService, EnrollmentService
from pyade.enrollment.settings import EnrollmentLimits, EnrollmentRequest, PlatformSso, SignIn
from pyade.enrollment.waiting import AsyncFinalConfiguration, FinalConfiguration
from pyade.enrollment.waiting_flow import Command, WaitingMac
from pyade.enrollment.webhook import StepCaWebhook

__all__ = [
    "AsyncEnrollmentService",
    "AsyncFinalConfiguration",
    "Command",
    "Credential",
    "CredentialRequest",
    "DeviceMessage",
    "EnrollmentApp",
    "EnrollmentDecision",
    "EnrollmentLimits",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EnrollmentService",
    "FinalConfiguration",
    "PlatformSso",
    "SignIn",
    "SignInReturn",
    "StepCaWebhook",
    "Verdict",
    "WaitingMac",
    "may_issue",
    "read_message",
    "redeem_client_identifier",
    "redeem_scep_request",
]
