"""The state of one lowering: maps graph values to MIL variables and makes constants of weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.errors import UnsupportedError
from exporter.graph.model import Hub
from exporter.graph.names import identifier
from exporter.graph.palette import Palette
from exporter.lower.coreml.deferred import deferred_float16, deferred_indices
from exporter.lower.coreml.masks import within_range
from exporter.lower.coreml.mil import Var, mb, types

if TYPE_CHECKING:
    from exporter.lower.coreml.cache import StateCache

FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
MIN_DEFERRED_ELEMENTS = 1 << 14  # smaller constants are passed to coremltools with their values

INDEX_TYPES = {
    1: types.np_uint1_dtype,
    2: types.np_uint2_dtype,
    3: types.np_uint3_dtype,
    4: types.np_uint4_dtype,
    6: types.np_uint6_dtype,
    8: np.dtype(np.uint8),
}


class Lowering:
    """Maps graph values to MIL variables while a program is built.

    All floats are float16 and all integers int32, the types in which the Neural Engine and the GPU compute. A weight
    becomes a constant at its first use, so tied weights are stored once.
    """

    def __init__(self, hub: Hub, *, cache: StateCache | None = None) -> None:
        self.hub = hub
        self._cache = cache
        self._vars: dict[str, Var] = {}
        self._names: dict[str, int] = {}
        self._zero: set[str] = set()
        self._by_heads: dict[str, Var] = {}
        self._shared: dict[tuple[object, ...], Var] = {}

    @property
    def cache(self) -> StateCache:
        """The KV cache. Raises ValueError for programs without one."""
        if self._cache is None:
            raise ValueError("this program has no KV cache")
        return self._cache

    def bind_zero(self, value: ir.Value) -> None:
        """Declares that the integer graph input `value` is 0 everywhere and not an input of the program."""
        self._zero.add(_name(value))

    def is_zero(self, value: ir.Value) -> bool:
        """Whether `value` was bound to zero."""
        return _name(value) in self._zero

    def bind(self, value: ir.Value, var: Var) -> None:
        """Makes `var` the variable of `value`."""
        self._vars[_name(value)] = var

    def bound(self, value: ir.Value) -> bool:
        """Whether `value` has a variable."""
        return _name(value) in self._vars

    def bind_by_heads(self, value: ir.Value, var: Var) -> None:
        """Binds `var` `[1, heads, tokens, head_dim]` to a graph value `[1, tokens, heads * head_dim]`."""
        self._by_heads[_name(value)] = var

    def by_heads(self, value: ir.Value) -> Var | None:
        """The variable from `bind_by_heads`, or None. Attention uses this layout and needs no second transpose."""
        return self._by_heads.get(_name(value))

    def var(self, value: ir.Value) -> Var:
        """The variable of a computed value, or the constant of a weight."""
        name = _name(value)
        if name not in self._vars:
            if name in self._by_heads:
                self._vars[name] = self._tokens_first(name, self._by_heads[name])
                return self._vars[name]
            if value.name in self.hub.palettes:
                self._vars[name] = self._palettized(value, self.hub.palettes[name])
            else:
                self._vars[name] = mb.const(val=self._constant(value), name=self.op_name(name))
        return self._vars[name]

    def _constant(self, value: ir.Value) -> NDArray[np.generic]:
        """A constant's elements; a large matrix of the checkpoint is deferred until the program is written."""
        stored, node = _stored(value), value.producer()
        origin = value if node is None or node.op_type != "Cast" else node.inputs[0]
        from_checkpoint = origin is not None and origin.name in self.hub.stored
        if stored is None or stored.size < MIN_DEFERRED_ELEMENTS or not from_checkpoint:
            return self.array(value)
        if len(stored.shape) != 2 or stored.dtype not in FLOATS:
            return self.array(value)
        name, (rows, columns) = _name(value), stored.shape.numpy()
        return deferred_float16((rows, columns), lambda part: as_float16(stored.numpy()[part], name))

    def is_constant(self, value: ir.Value) -> bool:
        """Whether `value` is a constant."""
        return value.name in self.hub.palettes or _stored(value) is not None

    def array(self, value: ir.Value) -> NDArray[np.generic]:
        """A constant's elements: floats as float16, integers as int32, bools unchanged."""
        name = _name(value)
        if name in self.hub.palettes:
            return self.hub.palettes[name].halves()
        stored = _stored(value)
        if stored is None:
            raise ValueError(f"{name} is computed, not constant")
        array = stored.numpy()
        if array.dtype == np.bool_:
            return array
        if np.issubdtype(array.dtype, np.integer):
            return np.clip(array, -(2**31), 2**31 - 1).astype(np.int32)
        return as_float16(array if name in self.hub.stored else within_range(array, strict=False), name)

    def zeros(self, width: int) -> Var:
        """A shared constant of zeros, float16 `[width]`: MIL's `linear` requires a bias."""
        key = ("zeros", width)
        if key not in self._shared:
            self._shared[key] = mb.const(val=np.zeros(width, np.float16), name=self.op_name(f"zeros_{width}"))
        return self._shared[key]

    def palette(self, value: ir.Value) -> Palette | None:
        """The palette of a weight, or None."""
        return self.hub.palettes.get(_name(value))

    def repeated_mask(self, mask: ir.Value, repeats: int) -> Var:
        """The mask `[1, 1, q, total]` repeated for `repeats` stacked blocks of queries: `[1, 1, repeats * q, total]`.

        A mask with a single row (only padding) fits any number of queries and isn't repeated.
        """
        var = self.var(mask)
        if var.shape[2] == 1:
            return var
        key = ("mask", mask.name, repeats)
        if key not in self._shared:
            name = self.op_name(f"{mask.name}_x{repeats}")
            self._shared[key] = mb.tile(x=var, reps=[1, 1, repeats, 1], name=name)
        return self._shared[key]

    def rotary_table(
        self, table: ir.Value, position_ids: ir.Value, *, signs: tuple[int, int], interleaved: bool = False
    ) -> Var:
        """Rows of the cosine or sine table `[positions, rotary_dim/2]` at the positions, for all elements of pairs.

        Result: `[1, 1, q, rotary_dim]`. signs: factors of the first and the second element of each pair. Pairs consist
        of elements of both halves, or of neighbours if interleaved.
        """
        key = ("rotary", table.name, position_ids.name, signs, interleaved)
        if key not in self._shared:
            half = self.array(table).astype(np.float32)
            both = np.stack([signs[0] * half, signs[1] * half], axis=-1 if interleaved else 1)
            rows = mb.gather(
                x=both.reshape(half.shape[0], -1).astype(np.float16),
                indices=self.var(position_ids),
                axis=0,
                validate_indices=False,
                name=self.op_name(f"{table.name}/rows"),
            )
            self._shared[key] = mb.expand_dims(x=rows, axes=[1], name=self.op_name(f"{table.name}/rows_by_head"))
        return self._shared[key]

    def op_name(self, name: str) -> str:
        """A MIL identifier made from `name`, unique in this program (see `identifier`)."""
        base = identifier(name)
        count = self._names.get(base, 0)
        self._names[base] = count + 1
        return base if count == 0 else f"{base}_{count}"

    def _tokens_first(self, name: str, var: Var) -> Var:
        turned = mb.transpose(x=var, perm=[0, 2, 1, 3], name=self.op_name(f"{name}/tokens_first"))
        return mb.reshape(x=turned, shape=[1, -1, var.shape[1] * var.shape[3]], name=self.op_name(f"{name}/joined"))

    def _palettized(self, value: ir.Value, palette: Palette) -> Var:
        """`constexpr_lut_to_dense`. An incomplete last group is padded, because the op needs whole groups.

        The dense weight then has extra rows at the end: lookups never read them, `linear` removes them from its result.
        For other ops all groups are made smaller instead, and LUTs repeated.
        """
        rows, columns = palette.shape
        lut, size = palette.lut, palette.group_size
        if rows % size and _needs_exact_rows(value):
            size = math.gcd(rows, size)
            lut = lut[np.arange(0, rows, size) // palette.group_size]
        return mb.constexpr_lut_to_dense(
            indices=palette_indices(palette, (len(lut) * size, columns)),
            lut=lut.reshape(len(lut), 1, -1, 1),  # groups along output rows only: see docs/coreml.md
            name=self.op_name(_name(value)),
        )


def _needs_exact_rows(value: ir.Value) -> bool:
    """Whether an op reads the weight that isn't a lookup or a linear layer."""
    for use in value.uses():
        kind = use.node.op_type
        if kind == "Reshape" or (kind == "MatMul" and use.idx == 0):
            return True
        if kind == "Cast" and _needs_exact_rows(use.node.outputs[0]):
            return True
    return False


def palette_indices(palette: Palette, shape: tuple[int, ...]) -> NDArray[Any]:
    """The indices in `shape` and in coremltools' type with the palette's bits, padded with zeros at the end."""
    dtype = np.dtype(INDEX_TYPES[palette.bits])
    if palette.size >= MIN_DEFERRED_ELEMENTS:
        return deferred_indices(palette, shape, dtype)
    indices = palette.indices.reshape(-1)
    return np.pad(indices, (0, math.prod(shape) - indices.size)).reshape(shape).astype(dtype)


def first_columns(x: Var, count: int, name: str) -> Var:
    """The first `count` elements along the last axis."""
    return mb.slice_by_index(
        x=x,
        begin=[0] * x.rank,
        end=[0] * (x.rank - 1) + [count],
        end_mask=[True] * (x.rank - 1) + [False],
        name=name,
    )


def as_float16(array: NDArray[np.generic], name: str) -> NDArray[np.float16]:
    """Rounds to float16. A mask's -inf or lowest float32 becomes -4e4. Raises UnsupportedError for other values beyond
    float16's range."""
    with np.errstate(over="ignore"):
        half = within_range(np.asarray(array).astype(np.float32)).astype(np.float16)
    if not np.isfinite(half).all():
        raise UnsupportedError.of(
            "coreml.weight-overflow",
            f"the tensor has values beyond float16's range of ±65504; the largest is {np.abs(array).max()}",
            where=name,
            hint="export with --to onnx, or rescale this tensor in the checkpoint",
        )
    return half


def _name(value: ir.Value) -> str:
    if value.name is None:
        raise ValueError(f"a value of the graph has no name: {value}")
    return value.name


def _stored(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor of a value: of an initializer, of a Constant node, or of one of these before a Cast; else None."""
    if value.const_value is not None:
        return value.const_value
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Constant" and "value" in node.attributes:
        return node.attributes["value"].as_tensor()
    if node.op_type == "Constant":
        attribute = next(iter(node.attributes.values()))
        return ir.tensor(np.asarray(attribute.value))
    if node.op_type == "Cast" and node.inputs[0] is not None:
        return _stored(node.inputs[0])
    return None
