"""Where the repository lies, and what a process that a test starts needs to import it."""

import os
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PYTHONPATH = os.pathsep.join(map(str, (ROOT, TESTS)))  # for `exporter` and for `support`
