"""Given a graph and dense matrices for some of its weights,
Result: the same graph with these values, as float32, in place of its own.
Refuses: nothing; names that aren't the graph's initializers are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.graph.model import Hub


def with_matrices(hub: Hub, matrices: Mapping[str, Callable[[], NDArray[np.float32]]]) -> Hub:
    """Returns a new hub without palettes. matrices: name → what makes the matrix float32 `[out, in]`, at each use."""
    model = hub.model.clone()
    for name, make in matrices.items():
        old = model.graph.initializers.get(name)
        if old is None or old.shape is None:
            continue
        model.graph.initializers.pop(name)
        old.name = f"{name}/replaced"
        tensor = ir.LazyTensor(partial(_tensor, make), dtype=ir.DataType.FLOAT, shape=old.shape, name=name)
        new = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=old.shape, const_value=tensor)
        model.graph.register_initializer(new)
        for use in list(old.uses()):
            if use.node.op_type == "Cast":  # from the checkpoint's dtype to float32
                ir.convenience.replace_all_uses_with(use.node.outputs[0], new)
                model.graph.remove(use.node, safe=True)
            else:
                use.node.replace_input_with(use.idx, new)
    return replace(hub, model=model)


def _tensor(make: Callable[[], NDArray[np.float32]]) -> ir.TensorProtocol:
    return ir.tensor(make())
