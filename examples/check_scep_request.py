#!/usr/bin/env python3
"""Check for a SCEP server whether it may issue a certificate: exits with 0 for yes, 1 for no.

Needs: pyade alone, and a SCEP server such as Debian's ``scep``.
Run: the server does, as ``examples/check_scep_request.py``. The standard input is the certificate request
that it decrypted, in DER::

    export PYADE_STORE=/var/lib/mdm/ade.db
    scepserver -depot depot -allowrenew 0 -csrverifierexec examples/check_scep_request.py

``PYADE_STORE`` is the store of the enrollment service, which put the challenge into the profile of one Mac.
The challenge is used up in either case; the same request again gets the same result for two minutes.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from pyade import PyadeError
from pyade.enrollment import redeem_scep_request
from pyade.storage import SQLiteStore

MAX_BYTES = 64 * 1024


def main() -> int:
    """Check the request on the standard input."""
    # One byte more than is allowed: it shows that the request is too long.
    request = sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with SQLiteStore(os.environ["PYADE_STORE"]) as store:
            serial_number = redeem_scep_request(store, request, now=datetime.now(UTC))
    except KeyError:
        print("set PYADE_STORE to the file of the store", file=sys.stderr)
        return 1
    except PyadeError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(f"a certificate for {serial_number!a}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
