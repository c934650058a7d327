"""Attention and rotary position embedding."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from exporter.errors import UnsupportedError
from exporter.lower.coreml.attributes import integer, number, optional_input, required_input
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb


def lower_attention(lowering: Lowering, node: ir.Node) -> None:
    """Attention (opset 23), with the KV cache as states if the node has a past.

    Queries that share a key head are stacked along the rows, so that keys and values needn't be copied for each query
    head.
    """
    _refuse_unknown(node)
    name = node.outputs[0].name or ""
    query, heads = _by_heads(lowering, node, 0, integer(node, "q_num_heads", 0))
    key, kv_heads = _by_heads(lowering, node, 1, integer(node, "kv_num_heads", 0))
    value, _ = _by_heads(lowering, node, 2, integer(node, "kv_num_heads", 0))
    past = optional_input(node, 4)
    if past is not None:
        layer = lowering.cache.layer_of(past)
        key = lowering.cache.append("key", layer, key)
        value = lowering.cache.append("value", layer, value)
    head_dim = query.shape[-1]
    scale, cap = number(node, "scale", 1 / math.sqrt(head_dim)), number(node, "softcap", 0.0)
    mask = optional_input(node, 3)
    repeats = heads // kv_heads
    if repeats > 1:
        query = mb.reshape(x=query, shape=[1, kv_heads, -1, head_dim], name=lowering.op_name(f"{name}/grouped"))
    bias = None if mask is None else lowering.repeated_mask(mask, repeats) if repeats > 1 else lowering.var(mask)
    if cap:
        query = _scaled(lowering, query, scale, name)
        var = _capped_attention(lowering, (query, key, value), bias, cap, name)
    else:
        query = _scaled(lowering, query, scale * math.sqrt(head_dim), name)  # MIL's op divides by sqrt(head_dim)
        masked = {} if bias is None else {"attn_mask": bias}
        label = lowering.op_name(f"{name}/heads")
        var = mb.scaled_dot_product_attention(query=query, key=key, value=value, name=label, **masked)
    if repeats > 1:
        var = mb.reshape(x=var, shape=[1, heads, -1, value.shape[-1]], name=lowering.op_name(f"{name}/ungrouped"))
    if integer(node, "q_num_heads", 0):
        var = mb.transpose(x=var, perm=[0, 2, 1, 3], name=lowering.op_name(f"{name}/tokens_first"))
        var = mb.reshape(x=var, shape=[1, -1, heads * value.shape[-1]], name=lowering.op_name(name))
    lowering.bind(node.outputs[0], var)


def _capped_attention(lowering: Lowering, qkv: tuple[Var, Var, Var], mask: Var | None, cap: float, name: str) -> Var:
    """softmax(cap · tanh(q·kᵀ / cap) + mask) · v, for which MIL has no op. The queries are already scaled."""
    query, key, value = qkv

    def label(part: str) -> str:
        return lowering.op_name(f"{name}/{part}")

    ratio = mb.mul(x=query, y=np.float16(1 / cap), name=label("ratio"))  # before the product, to keep it small
    scores = mb.matmul(x=ratio, y=key, transpose_y=True, name=label("scores"))
    scores = mb.mul(x=mb.tanh(x=scores, name=label("bounded")), y=np.float16(cap), name=label("capped"))
    if mask is not None:
        scores = mb.add(x=scores, y=mask, name=label("masked"))
    return mb.matmul(x=mb.softmax(x=scores, axis=-1, name=label("shares")), y=value, name=label("heads"))


def _refuse_unknown(node: ir.Node) -> None:
    if integer(node, "is_causal", 0):
        raise UnsupportedError.of(
            "coreml.attention",
            "the Core ML lowering has no rule for an implicit causal mask (is_causal)",
            where=node.name or node.op_type,
            hint="export with --to onnx",
        )


def _by_heads(lowering: Lowering, node: ir.Node, index: int, heads: int) -> tuple[Var, int]:
    """Input `index` as `[1, heads, tokens, head_dim]`, and its number of heads."""
    value = required_input(node, index)
    ready = lowering.by_heads(value)
    if ready is not None:
        return ready, int(ready.shape[1])
    x = lowering.var(value)
    if x.rank == 4:
        return x, int(x.shape[1])
    label = f"{node.outputs[0].name}/{'qkv'[index]}"
    split = mb.reshape(x=x, shape=[1, -1, heads, x.shape[-1] // heads], name=lowering.op_name(f"{label}_split"))
    return mb.transpose(x=split, perm=[0, 2, 1, 3], name=lowering.op_name(f"{label}_heads")), heads


def _scaled(lowering: Lowering, query: Var, factor: float, name: str) -> Var:
    """The queries times the scale of the scores: they have fewer elements than the scores."""
    if math.isclose(factor, 1.0, rel_tol=1e-6):
        return query
    return mb.mul(x=query, y=np.float16(factor), name=lowering.op_name(f"{name}/scaled"))


def lower_rotary(lowering: Lowering, node: ir.Node) -> None:
    """RotaryEmbedding (opset 23): x·cos + swapped(x)·sin for the first `rotary_embedding_dim` elements of each head.

    swapped(x) exchanges the two halves, or, if interleaved, the two elements of each neighbouring pair. The table of
    sines contains the signs.
    """
    name = node.outputs[0].name or ""
    heads, interleaved = integer(node, "num_heads", 0), bool(integer(node, "interleaved", 0))
    x, _ = _by_heads(lowering, node, 0, heads)
    width = x.shape[-1]
    rotated = integer(node, "rotary_embedding_dim", 0) or width
    rest = None
    if rotated < width:
        sizes = [rotated, width - rotated]
        x, rest = mb.split(x=x, split_sizes=sizes, axis=-1, name=lowering.op_name(f"{name}/parts"))
    cos = lowering.rotary_table(required_input(node, 1), required_input(node, 3), signs=(1, 1), interleaved=interleaved)
    sin = lowering.rotary_table(
        required_input(node, 2), required_input(node, 3), signs=(-1, 1), interleaved=interleaved
    )
    swapped = _swapped(lowering, x, interleaved, name)
    last = name if rest is None else f"{name}/rotated"
    var = mb.add(
        x=mb.mul(x=x, y=cos, name=lowering.op_name(f"{name}/cos")),
        y=mb.mul(x=swapped, y=sin, name=lowering.op_name(f"{name}/sin")),
        name=lowering.op_name(last),
    )
    if rest is not None:
        var = mb.concat(values=[var, rest], axis=-1, name=lowering.op_name(name))
    (lowering.bind_by_heads if heads else lowering.bind)(node.outputs[0], var)


def _swapped(lowering: Lowering, x: Var, interleaved: bool, name: str) -> Var:
    width = x.shape[-1]
    if interleaved:
        order = np.arange(width, dtype=np.int32).reshape(-1, 2)[:, ::-1].reshape(-1)
        label = lowering.op_name(f"{name}/swapped")
        return mb.gather(x=x, indices=order, axis=-1, validate_indices=False, name=label)
    first, second = mb.split(
        x=x, split_sizes=[width // 2, width // 2], axis=-1, name=lowering.op_name(f"{name}/halves")
    )
    return mb.concat(values=[second, first], axis=-1, name=lowering.op_name(f"{name}/swapped"))


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {
    "Attention": lower_attention,
    "RotaryEmbedding": lower_rotary,
}
