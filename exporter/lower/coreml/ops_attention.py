"""Attention and rotary position embedding."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from coremltools.converters.mil.mil import Builder as mb

from exporter.errors import UnsupportedError
from exporter.lower.coreml.attributes import given, integer, number, optional
from exporter.lower.coreml.lowering import Lowering, Var


def lower_attention(lowering: Lowering, node: ir.Node) -> None:
    """Attention (opset 23), with the KV cache as states where the node has a past.

    Grouped heads stay grouped: queries that share a key head are stacked along the rows, so that keys and values are
    never copied per query head.
    """
    _refuse_unknown(node)
    name = node.outputs[0].name or ""
    query, heads = _by_heads(lowering, node, 0, integer(node, "q_num_heads", 0))
    key, kv_heads = _by_heads(lowering, node, 1, integer(node, "kv_num_heads", 0))
    value, _ = _by_heads(lowering, node, 2, integer(node, "kv_num_heads", 0))
    past = optional(node, 4)
    if past is not None:
        layer = lowering.cache.layer_of(past)
        key = lowering.cache.append("key", layer, key)
        value = lowering.cache.append("value", layer, value)
    head_dim = query.shape[-1]
    query = _scaled(lowering, query, number(node, "scale", 1 / math.sqrt(head_dim)) * math.sqrt(head_dim), name)
    mask = lowering.var(given(node, 3))
    repeats = heads // kv_heads
    if repeats > 1:
        query = mb.reshape(x=query, shape=[1, kv_heads, -1, head_dim], name=lowering.op_name(f"{name}/grouped"))
        mask = lowering.repeated_mask(given(node, 3), repeats)
    var = mb.scaled_dot_product_attention(
        query=query, key=key, value=value, attn_mask=mask, name=lowering.op_name(f"{name}/heads")
    )
    if repeats > 1:
        var = mb.reshape(x=var, shape=[1, heads, -1, value.shape[-1]], name=lowering.op_name(f"{name}/ungrouped"))
    if integer(node, "q_num_heads", 0):
        var = mb.transpose(x=var, perm=[0, 2, 1, 3], name=lowering.op_name(f"{name}/tokens_first"))
        var = mb.reshape(x=var, shape=[1, -1, heads * value.shape[-1]], name=lowering.op_name(name))
    lowering.bind(node.outputs[0], var)


def _refuse_unknown(node: ir.Node) -> None:
    problems = []
    if number(node, "softcap", 0.0):
        problems.append("soft-capped scores")
    if integer(node, "is_causal", 0):
        problems.append("an implicit causal mask (is_causal)")
    if optional(node, 3) is None:
        problems.append("attention without a mask")
    if problems:
        raise UnsupportedError.of(
            "coreml.attention",
            f"the Core ML lowering has no rule for {' and '.join(problems)}",
            where=node.name or node.op_type,
            hint="export with --to onnx",
        )


def _by_heads(lowering: Lowering, node: ir.Node, index: int, heads: int) -> tuple[Var, int]:
    """Input `index` as `[1, heads, tokens, head_dim]`, and its number of heads."""
    value = given(node, index)
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
    """MIL's op always divides by sqrt(head_dim); another scale goes into the queries."""
    if math.isclose(factor, 1.0, rel_tol=1e-6):
        return query
    return mb.mul(x=query, y=np.float16(factor), name=lowering.op_name(f"{name}/scaled"))


def lower_rotary(lowering: Lowering, node: ir.Node) -> None:
    """RotaryEmbedding (opset 23), the half-split kind: x·cos + rotate_half(x)·sin."""
    if integer(node, "interleaved", 0) or integer(node, "rotary_embedding_dim", 0):
        raise UnsupportedError.of(
            "coreml.rotary",
            "the Core ML lowering has no rule for interleaved or partial rotary embeddings",
            where=node.name or node.op_type,
            hint="export with --to onnx",
        )
    name = node.outputs[0].name or ""
    heads = integer(node, "num_heads", 0)
    x, _ = _by_heads(lowering, node, 0, heads)
    cos = lowering.rotary_table(given(node, 1), given(node, 3), signs=(1, 1))
    sin = lowering.rotary_table(given(node, 2), given(node, 3), signs=(-1, 1))
    half = x.shape[-1] // 2
    first, second = mb.split(x=x, split_sizes=[half, half], axis=-1, name=lowering.op_name(f"{name}/halves"))
    swapped = mb.concat(values=[second, first], axis=-1, name=lowering.op_name(f"{name}/swapped"))
    var = mb.add(
        x=mb.mul(x=x, y=cos, name=lowering.op_name(f"{name}/cos")),
        y=mb.mul(x=swapped, y=sin, name=lowering.op_name(f"{name}/sin")),
        name=lowering.op_name(name),
    )
    (lowering.bind_by_heads if heads else lowering.bind)(node.outputs[0], var)


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {
    "Attention": lower_attention,
    "RotaryEmbedding": lower_rotary,
}
