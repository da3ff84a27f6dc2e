"""``FakeBusiness``: the Apple School Manager and Apple Business API over the fleet of a ``FakeApple``."""

from pyade.testing.business.fake import FakeBusiness
from pyade.testing.business.settings import BusinessSettings

__all__ = ["BusinessSettings", "FakeBusiness"]
