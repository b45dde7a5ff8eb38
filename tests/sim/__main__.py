"""`python -m tests.sim` from the root of the repository; see `campaign`."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = str(Path(__file__).parent.parent)

if __name__ == "__main__":
    # Here it is tests.sim, everywhere else sim; workers that are spawned inherit the path.
    sys.path.insert(0, TESTS)
    from sim.campaign import main

    sys.exit(main())
