"""An enrollment profile exported from Intune, imported and compared with your own.

Run it: ``python examples/jobs/intune_profile.py [EXPORT.json]``.
"""

import sys
from pathlib import Path

from pyade import EnrollmentProfile, SkipKeys
from pyade.builders import OwnSettings, read_intune

EXPORT = """{
  "@odata.type": "#microsoft.graph.depMacOSEnrollmentProfile", "id": "1_2", "displayName": "Standard Mac",
  "isMandatory": true, "profileRemovalDisabled": true, "supervisedModeEnabled": true,
  "supportDepartment": "IT", "enabledSkipKeys": ["Siri", "Payment"], "siriDisabled": true}"""
ours = EnrollmentProfile(
    name="Standard Mac",
    url="https://mdm.contoso.com/enroll",
    locked=True,
    department="Help desk",
    skip={SkipKeys.SIRI},
)
text = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else EXPORT
tenant = read_intune(text, OwnSettings(url=ours.url))
for problem in tenant.problems:
    print(problem.severity, problem)
for imported in tenant.profiles:
    print(imported.profile.diff(ours))
