"""Which device gets which enrollment profile: rules, selection, plan, run."""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.assignment.assigner import Assigner, AsyncAssigner
    from pyade.assignment.plan import AssignmentPlan, PlannedDevice, PlannedGroup
    from pyade.assignment.report import AssignReport
    from pyade.assignment.risk import DeviceAtRisk, devices_at_risk, risks
    from pyade.assignment.rules import AssignmentPolicy, Rule
    from pyade.assignment.selection import ProfileSelection
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.assignment.assigner": "Assigner AsyncAssigner",
            "pyade.assignment.plan": "AssignmentPlan PlannedDevice PlannedGroup",
            "pyade.assignment.report": "AssignReport",
            "pyade.assignment.risk": "DeviceAtRisk devices_at_risk risks",
            "pyade.assignment.rules": "AssignmentPolicy Rule",
            "pyade.assignment.selection": "ProfileSelection",
        },
    )

__all__ = [
    "AssignReport",
    "Assigner",
    "AssignmentPlan",
    "AssignmentPolicy",
    "AsyncAssigner",
    "DeviceAtRisk",
    "PlannedDevice",
    "PlannedGroup",
    "ProfileSelection",
    "Rule",
    "devices_at_risk",
    "risks",
]
