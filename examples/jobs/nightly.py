"""A nightly job for two server tokens, and a CSV of the Macs at risk.

Run it: ``python examples/jobs/nightly.py``.
"""

import csv
import sys

from pyade import Assigner, EnrollmentProfile, PyadeError, Syncer
from pyade.assignment import risks
from pyade.testing import demo

world = demo()  # in a job: SQLiteStore("ade.db"), and Client(token) for each token
world.fake.add_devices(2, server=world.fake.add_server("EMEA MDM"))
world.store.add_token(world.fake.token("EMEA MDM", name="emea"))
defaults = {"hq": EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")}
rows = csv.writer(sys.stdout)
for token in world.store.tokens():
    with world.client_for(token) as apple:
        try:
            print(Syncer(apple, world.store).sync(automatic=True), file=sys.stderr)
            print(Assigner(apple, world.store).run(default=defaults.get(token.name)), file=sys.stderr)
        except PyadeError as error:
            print(f"{token.name}: {error}", file=sys.stderr)
    rows.writerows(
        (token.name, record.serial_number, risk) for record, risk in risks(world.store, token.name)
    )
