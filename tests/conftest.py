"""For all tests: each worker computes on one core, as workers are as many as cores and waiting threads spin."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; processes that tests start inherit it
