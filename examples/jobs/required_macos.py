"""A Mac must have macOS 15.4 to enroll, and updates first.

Run it: ``python examples/jobs/required_macos.py``.
"""

from pyade import AcmeIssuer, Assigner, EnrollmentProfile, EnrollmentService, MdmService, Syncer
from pyade.core import SoftwareUpdatePolicy
from pyade.testing import demo

world = demo()
Syncer(world.client, world.store).sync()
profile = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")
Assigner(world.client, world.store).run(default=profile)
service = EnrollmentService(
    world.store,
    mdm=MdmService(
        identifier="com.contoso.mdm",
        organization="Contoso",
        server_url="https://mdm.contoso.com/mdm",
        topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    ),
    acme=AcmeIssuer(directory_url="https://ca.contoso.com/acme/directory"),
    updates=SoftwareUpdatePolicy(minimum="15.4", refuse_older=True),
    trust=world.trust,  # a service for real Macs leaves this out
)
mac = world.mac(version="14.6")
print(mac.enroll(service), *mac.history, f"now macOS {mac.version}", sep="\n")
