"""For all tests: one thread a worker, as workers are as many as cores; compiled kernels are kept between runs; no
terminal, however wide.
"""

import gc
import os

from support.paths import ROOT

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; processes that tests start inherit it
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))  # before numba is; `make clean` removes it
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is, which some tests import before exporter
os.environ.pop("COLUMNS", None)  # xdist's workers have it; messages are only wrapped where there is a width


def pytest_collection_finish() -> None:
    """Takes what imports and collection made out of the garbage collector's sight.

    coremltools collects garbage after every conversion: a quarter of a second for all that, and hundreds of times.
    """
    gc.collect()
    gc.freeze()
