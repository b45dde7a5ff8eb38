"""`python -m tests.sim` from the root of the repository; see `campaign`."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = str(Path(__file__).parent.parent)

if __name__ == "__main__":
    # Workers that are spawned start here again, so the path is set for them, too.
    if TESTS not in sys.path:
        sys.path.insert(0, TESTS)
    from sim.campaign import main

    sys.exit(main())
