"""``FakeBusiness``: the Apple School Manager and Apple Business API over the fleet of a ``FakeApple``."""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.testing.business.activities import FakeActivity
    from pyade.testing.business.fake import FakeBusiness
    from pyade.testing.business.settings import BusinessSettings
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.testing.business.activities": "FakeActivity",
            "pyade.testing.business.fake": "FakeBusiness",
            "pyade.testing.business.settings": "BusinessSettings",
        },
    )

__all__ = [
    "BusinessSettings",
    "FakeActivity",
    "FakeBusiness",
]
