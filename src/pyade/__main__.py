"""``python -m pyade`` is the command line; see ``pyade.cli``."""

from pyade.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
