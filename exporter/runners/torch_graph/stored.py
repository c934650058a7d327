"""The graph's stored tensors as torch tensors, read when they are asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch

from exporter.errors import Diagnostic
from exporter.graph.palette import Palette
from exporter.runners.torch_graph.attributes import torch_dtype

_WIDER = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}
_SMALL = (ir.DataType.UINT2, ir.DataType.INT2, ir.DataType.UINT4, ir.DataType.INT4)


def unreadable(tensor: ir.TensorProtocol, name: str) -> Diagnostic | None:
    """Why `tensor` can't be a torch tensor; None where it can."""
    if torch_dtype(tensor.dtype, torch.float32) is not None or tensor.dtype in _SMALL:
        return None
    return Diagnostic("calibration.dtype", f"calibration can't compute with {tensor.dtype.name} tensors", where=name)


def from_array(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.Tensor:
    """The array's memory where torch has its dtype, not to be written to."""
    if array.dtype == ml_dtypes.bfloat16:
        return _shared(array.view(np.int16)).view(torch.bfloat16)
    if array.dtype.kind == "V" or array.dtype.name in ("int2", "uint2", "int4", "uint4"):
        return _shared(array.astype(np.int8 if array.dtype.name.startswith("int") else np.uint8))
    wider = _WIDER.get(array.dtype)
    return _shared(array if wider is None else array.astype(wider))


def _shared(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.Tensor:
    if any(stride < 0 for stride in array.strides) or not array.dtype.isnative:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    with warnings.catch_warnings():  # that a mapped file can't be written to: nobody does
        warnings.filterwarnings("ignore", message=".*not writ[ae]*ble.*")
        return torch.from_numpy(array)


@dataclass(frozen=True)
class Stored:
    """One tensor. It is read anew each time. dtype: of its floats in torch."""

    tensor: ir.TensorProtocol | Palette
    device: torch.device
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        if isinstance(self.tensor, Palette):
            return self.tensor.shape
        return tuple(int(size) for size in self.tensor.shape.numpy())

    def read(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """All of it; integers stay on the CPU, where shapes and places are computed. dtype: of floats, if another."""
        return self._placed(self._raw(), dtype or self.dtype)

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows `ids` `[…]` of a matrix: `[…, in]`. No others are read."""
        table = self._raw()
        ids = ids.cpu()
        return self._placed(table[torch.where(ids < 0, ids + table.shape[0], ids)], self.dtype)

    def _raw(self) -> torch.Tensor:
        if isinstance(self.tensor, Palette):
            return torch.from_numpy(self.tensor.dense())
        return from_array(np.asarray(self.tensor.numpy()))

    def _placed(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        dtype = tensor.dtype if tensor.dtype == torch.float64 else dtype
        placed = tensor.to(self.device, dtype)
        if dtype in (torch.float16, torch.bfloat16) and tensor.numel() <= 1:
            limits = torch.finfo(dtype)  # "very low" in a mask stays a number, infinity infinite
            placed = torch.where(tensor.isinf().to(self.device), placed, placed.clamp(limits.min, limits.max))
        return placed
