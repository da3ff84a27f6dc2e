"""A nightly job for two server tokens, and a CSV of the Macs at risk.

Run it: ``python examples/jobs/nightly.py``.
"""

import sys

from pyade import Assigner, EnrollmentProfile, PyadeError, Syncer
from pyade.assignment import risks
from pyade.core import write_csv
from pyade.testing import demo


def nightly(store, client_for):
    """Sync and assign every token; an error of one does not stop the others."""
    for token in store.tokens():
        try:
            with client_for(token) as apple:
                print(Syncer(apple, store).sync(automatic=True), file=sys.stderr)
                print(Assigner(apple, store).run(), file=sys.stderr)
        except PyadeError as error:
            print(f"{token.name}: {error}", file=sys.stderr)
    rows = (row for token in store.tokens() for row in risks(store, token.name))
    write_csv(rows, sys.stdout, columns=["token_name", "serial_number", "model", "risk"])


world = demo()  # in a job: SQLiteStore("ade.db"), and Client in place of world.client_for
world.fake.add_devices(2, server=world.fake.add_server("EMEA MDM"))
world.store.add_token(world.fake.token("EMEA MDM", name="emea"))
profile = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")
world.store.set_default_profile("hq", profile)  # emea has none: its Macs are at risk
nightly(world.store, world.client_for)
