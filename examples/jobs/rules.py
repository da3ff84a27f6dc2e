"""Profiles by rules, with a preview before anything is sent. Run it: ``python examples/jobs/rules.py``."""

from pyade import Assigner, AssignmentPolicy, EnrollmentProfile, Rule, Syncer
from pyade.testing import demo

world = demo()  # in a service: a Client, and a SQLiteStore or PostgresStore
world.fake.add_devices(2, server=world.server, asset_tag="LAB-7")
office = EnrollmentProfile(name="Office", url="https://mdm.contoso.com/enroll")
lab = EnrollmentProfile(name="Lab", url="https://mdm.contoso.com/enroll", department="Lab")
policy = AssignmentPolicy([Rule(profile=lab, asset_tag="LAB-*")])

Syncer(world.client, world.store).sync()
assigner = Assigner(world.client, world.store, policy=policy)
plan = assigner.preview(default=office)
print(plan)
for device in plan.devices():
    print(device.serial_number, device.selection.profile.name, device.reason)
if input("Send it? [y/N] ") == "y":
    print(assigner.run(default=office))
