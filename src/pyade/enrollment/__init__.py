"""Enroll Macs: verify a Mac in Setup Assistant, decide, and respond.

``EnrollmentService`` is independent of web frameworks. ``EnrollmentApp`` is a small ASGI application around
it, ``StepCaWebhook`` one for the webhook of a certificate authority.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.enrollment.asgi import EnrollmentApp, SignInReturn
    from pyade.enrollment.credentials import Credential, CredentialRequest
    from pyade.enrollment.decision import EnrollmentDecision, EnrollmentOutcome, EnrollmentResponse
    from pyade.enrollment.device_trust import DeviceSignature, DeviceTrust, SignedContent
    from pyade.enrollment.final_configuration import (
        AsyncFinalConfiguration,
        DeviceMessage,
        FinalConfiguration,
        read_message,
    )
    from pyade.enrollment.final_configuration_flow import Command, WaitingMac
    from pyade.enrollment.final_configuration_state import (
        AwaitPhase,
        AwaitProgress,
        SetupAction,
        SetupCommand,
    )
    from pyade.enrollment.machine_info import MachineInfo, check_model_claim
    from pyade.enrollment.redemption import may_issue, redeem_client_identifier, redeem_scep_request
    from pyade.enrollment.service import AsyncEnrollmentService, EnrollmentService
    from pyade.enrollment.settings import EnrollmentLimits, EnrollmentRequest, PlatformSso, SignIn
    from pyade.enrollment.webhook import StepCaWebhook
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.enrollment.asgi": "EnrollmentApp SignInReturn",
            "pyade.enrollment.credentials": "Credential CredentialRequest",
            "pyade.enrollment.decision": "EnrollmentDecision EnrollmentOutcome EnrollmentResponse",
            "pyade.enrollment.device_trust": "DeviceSignature DeviceTrust SignedContent",
            "pyade.enrollment.final_configuration": (
                "AsyncFinalConfiguration DeviceMessage FinalConfiguration read_message"
            ),
            "pyade.enrollment.final_configuration_flow": "Command WaitingMac",
            "pyade.enrollment.final_configuration_state": "AwaitPhase AwaitProgress SetupAction SetupCommand",
            "pyade.enrollment.machine_info": "MachineInfo check_model_claim",
            "pyade.enrollment.redemption": "may_issue redeem_client_identifier redeem_scep_request",
            "pyade.enrollment.service": "AsyncEnrollmentService EnrollmentService",
            "pyade.enrollment.settings": "EnrollmentLimits EnrollmentRequest PlatformSso SignIn",
            "pyade.enrollment.webhook": "StepCaWebhook",
        },
    )

__all__ = [
    "AsyncEnrollmentService",
    "AsyncFinalConfiguration",
    "AwaitPhase",
    "AwaitProgress",
    "Command",
    "Credential",
    "CredentialRequest",
    "DeviceMessage",
    "DeviceSignature",
    "DeviceTrust",
    "EnrollmentApp",
    "EnrollmentDecision",
    "EnrollmentLimits",
    "EnrollmentOutcome",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EnrollmentService",
    "FinalConfiguration",
    "MachineInfo",
    "PlatformSso",
    "SetupAction",
    "SetupCommand",
    "SignIn",
    "SignInReturn",
    "SignedContent",
    "StepCaWebhook",
    "WaitingMac",
    "check_model_claim",
    "may_issue",
    "read_message",
    "redeem_client_identifier",
    "redeem_scep_request",
]
