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
        topic="com.apple.mgmt.External.0b6fd0ee-0000-4000-8000-000000000001",
    ),
    acme=AcmeIssuer(directory_url="https://ca.contoso.com/acme/directory"),
    updates=SoftwareUpdatePolicy(minimum="15.4", refuse_older=True),
    trust=world.trust,  # a service for real Macs leaves this out
)
mac = world.mac(version="14.6")
print(mac.enroll(service), *mac.history, f"now macOS {mac.version}", sep="\n")
