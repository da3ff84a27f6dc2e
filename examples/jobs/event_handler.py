"""An event handler of your application with its test. Run it: ``pytest examples/jobs/event_handler.py``."""

from pyade import Syncer
from pyade.sync import Subscription


def revoke_access(event, revoked):
    """Keep the serial numbers of Macs that left the organization."""
    if event.kind == "released":
        revoked.append(event.serial_number)


def test_a_released_mac_loses_its_access(pyade_world, fake_apple, frozen_clock):
    revoked = []
    subscription = Subscription(pyade_world.store, "access", lambda event: revoke_access(event, revoked))
    Syncer(pyade_world.client, pyade_world.store).sync()
    fake_apple.release([pyade_world.serials[0]])
    frozen_clock.advance(minutes=15)  # a sync runs once in 15 minutes
    Syncer(pyade_world.client, pyade_world.store).sync()
    assert subscription.deliver() == 4  # three added, one released
    assert revoked == [pyade_world.serials[0]]
