"""What every group of rows is given."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import attrs

from fleet import PAGE


@attrs.frozen
class Setting:
    """Where and how large the groups measure.

    Attributes:
        scale: 1 for the sizes of the table, less for a share of them.
        folder: On a disk, for stores.
        address: Of the server on loopback; the name of a fleet follows it.
    """

    scale: float
    folder: Path
    address: str

    def size(self, devices: int) -> int:
        """Return the number of devices to take for *devices*; one page at least."""
        return max(PAGE, round(devices * self.scale))

    def new_file(self) -> Path:
        """Return a path in the folder that nothing is at."""
        return self.folder / f"{uuid4().hex}.db"
