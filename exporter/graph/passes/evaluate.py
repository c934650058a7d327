"""Evaluates one node on constants with ONNX's reference implementation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.graph.names import words
from exporter.graph.passes.rewrite import is_standard, static_shape
from exporter.graph.resize import Matrix, resize_plan

# Deterministic ops that the reference implementation computes fast and with the same results as onnxruntime.
_COMPUTING = words(
    """
    Abs Add And ArgMax ArgMin Ceil Clip Cos CumSum DequantizeLinear Div Equal Erf Exp EyeLike Floor
    Greater GreaterOrEqual
    IsInf IsNaN Less LessOrEqual Log Max Mean Min Mod Mul Neg NonZero Not OneHot Or Pow Range Reciprocal
    ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Resize Round
    Sigmoid Sign Sin Sqrt Sub Sum Tanh TopK Trilu Where Xor
    """
)
_MOVING = words(
    """
    Cast CastLike Concat ConstantOfShape Expand Flatten Gather GatherElements GatherND Identity Pad Reshape
    ScatterElements ScatterND Slice Split Squeeze Tile Transpose Unsqueeze
    """
)
_REFERENCE_ERRORS = (ArithmeticError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)


def can_evaluate(node: ir.Node) -> bool:
    """Whether `Evaluation` supports this op."""
    return is_standard(node, *_COMPUTING, *_MOVING)


@dataclass(frozen=True)
class Evaluation:
    """One node and its constant operands, which are read only when it runs."""

    proto: onnx.NodeProto
    operands: tuple[tuple[str, ir.TensorProtocol], ...]
    opset: int
    ir_version: int
    resize: tuple[tuple[int, Matrix], ...] | None = None

    def run(self) -> list[NDArray[np.generic]] | None:
        """The node's results, or None if the reference can't compute them."""
        if self.resize is not None:
            return [self._resized(np.asarray(self.operands[0][1].numpy()), self.resize)]
        feeds = {name: np.asarray(tensor.numpy()) for name, tensor in self.operands}
        dtypes = {name: int(tensor.dtype) for name, tensor in self.operands}
        graph = onnx.helper.make_graph(
            [self.proto],
            "one_node",
            [
                onnx.helper.make_tensor_value_info(name, dtypes[name], list(array.shape))
                for name, array in feeds.items()
            ],
            [onnx.helper.make_empty_tensor_value_info(name) for name in self.proto.output if name],
        )
        opset = onnx.helper.make_opsetid("", self.opset)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=self.ir_version)
        from onnx.reference import ReferenceEvaluator

        try:
            with np.errstate(all="ignore"):
                results = ReferenceEvaluator(model).run(None, feeds)
        except _REFERENCE_ERRORS:  # a case that the reference doesn't implement: the node isn't folded
            return None
        return [np.asarray(result) for result in results]

    @staticmethod
    def _resized(x: NDArray[np.generic], plan: tuple[tuple[int, Matrix], ...]) -> NDArray[np.generic]:
        """Resize by interpolation matrices: the reference implementation loops over every element in Python."""
        result: NDArray[np.floating] = x.astype(np.float64)
        for axis, matrix in plan:
            result = np.moveaxis(np.tensordot(matrix, result, (1, axis)), 0, axis)
        return result.astype(x.dtype)


def evaluation(node: ir.Node, opset: int, ir_version: int) -> Evaluation | None:
    """The evaluation of a node; None if an operand isn't constant or the op isn't supported."""
    operands = {}
    for value in node.inputs:
        if value is not None:
            if value.const_value is None or value.const_value.dtype == ir.DataType.STRING:
                return None
            operands[str(value.name)] = value.const_value
    if not can_evaluate(node):
        return None
    resize = None
    if node.op_type == "Resize":
        shape = static_shape(node.outputs[0])
        plan = "a size that is known only at run time" if shape is None else resize_plan(node, shape)
        if isinstance(plan, str):
            return None
        resize = tuple(plan.items())
    return Evaluation(ir.serde.serialize_node(node), tuple(operands.items()), opset, ir_version, resize)
