"""The device-facing side: verify a Mac in Setup Assistant, decide, answer.

``EnrollmentService`` knows no web framework; ``EnrollmentApp`` is a small ASGI application around it, and
``StepCaWebhook`` one that a certificate authority asks.
"""

from typing import TYPE_CHECKING

from pyade.loading import when_asked

if TYPE_CHECKING:
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
else:
    __getattr__, __dir__ = when_asked(
        __name__,
        {
            "pyade.enrollment.asgi": "EnrollmentApp SignInReturn",
            "pyade.enrollment.credentials": "Credential CredentialRequest",
            "pyade.enrollment.decision": "EnrollmentDecision EnrollmentResponse Verdict",
            "pyade.enrollment.messages": "DeviceMessage read_message",
            "pyade.enrollment.redemption": "may_issue redeem_client_identifier redeem_scep_request",
            "pyade.enrollment.service": "AsyncEnrollmentService EnrollmentService",
            "pyade.enrollment.settings": "EnrollmentLimits EnrollmentRequest PlatformSso SignIn",
            "pyade.enrollment.waiting": "AsyncFinalConfiguration FinalConfiguration",
            "pyade.enrollment.waiting_flow": "Command WaitingMac",
            "pyade.enrollment.webhook": "StepCaWebhook",
        },
    )

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
