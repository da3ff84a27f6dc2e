"""The settings of a run, passed to each group of measurements."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import attrs

from fleet import PAGE


@attrs.frozen
class Setting:
    """The settings of a run.

    Attributes:
        scale: 1 for the sizes of the table, less for a fraction of them.
        folder: Folder on a disk, for stores.
        address: Address of the server on loopback; append the name of a fleet.
    """

    scale: float
    folder: Path
    address: str

    def size(self, devices: int) -> int:
        """Return *devices* scaled, but at least one page."""
        return max(PAGE, round(devices * self.scale))

    def new_file(self) -> Path:
        """Return an unused path in the folder."""
        return self.folder / f"{uuid4().hex}.db"
