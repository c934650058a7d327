"""Names the first tensor that differs between two computations of the same model.

Each module here captures the intermediate values of one runtime by hub value name; `first_divergence` compares any two
such captures in graph order.
"""

from exporter.parity.locate.divergence import Divergence, first_divergence, signal_to_noise

__all__ = ["Divergence", "first_divergence", "signal_to_noise"]
