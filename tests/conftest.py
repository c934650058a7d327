"""For all tests: one thread a worker, as workers are as many as cores; compiled kernels are kept between runs."""

import gc
import os

from support.paths import ROOT

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; processes that tests start inherit it
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))  # before numba is; `make clean` removes it


def pytest_collection_finish() -> None:
    """Takes what imports and collection made out of the garbage collector's sight.

    coremltools collects garbage after every conversion: a quarter of a second for all that, and hundreds of times.
    """
    gc.collect()
    gc.freeze()
