"""Given a decoder's graph, with masks named as in `DecoderSpec`,
Result: attention is onnxruntime's GroupQueryAttention, which makes the causal mask itself, rotates queries and keys
where they were rotated just before, and may write into the buffer of the past. The nodes of the masks are unused then.
Refuses: attention with another mask, or heads that aren't a multiple of 8 wide.

A batch may have texts of different lengths only if the padding is on the right: the op counts the ones of
`attention_mask` and takes them for the first keys.

Op: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from exporter.graph.passes.rewrite import Attribute, Rewriter, constant_of

MICROSOFT = "com.microsoft"
_HEAD, _ROTATED_HEAD, _HALF = 8, 16, 8  # widths are multiples of these: heads, rotated heads, half of what is rotated
_MASK = re.compile(r"mask(?:\.window\.(\d+))?")


def attention_problem(graph: ir.Graph, head_dim: int) -> str | None:
    """What about the graph's attention the op can't express; None where it can express all of it."""
    nodes = _attention(graph)
    if not nodes:
        return "it has no attention"
    if head_dim % _HEAD:
        return f"onnxruntime's GroupQueryAttention takes heads of a multiple of {_HEAD}, and these are {head_dim} wide"
    other = next((node for node in nodes if _window(node) is None), None)
    if other is not None:
        return f"the mask of {other.name} isn't the usual one of causal attention"
    return None


def fuse_attention(rewriter: Rewriter, head_dim: int) -> None:
    """Replaces attention in place; `attention_problem` finds none with the graph."""
    graph = rewriter.graph
    lengths = _lengths(rewriter, graph)
    for node in _attention(graph):
        _fuse(graph, node, lengths, head_dim)


def _attention(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_type == "Attention" and node.domain == ""]


def _window(node: ir.Node) -> int | None:
    """The width of the sliding window, -1 without one; None for a mask or an input that the op doesn't have."""
    if len(node.inputs) < 6 or node.inputs[5] is None or any(value is not None for value in node.inputs[6:]):
        return None
    mask = node.inputs[3]
    match = _MASK.fullmatch((mask.name if mask is not None else None) or "")
    if match is None:
        return None
    return int(match[1]) if match[1] else -1


def _lengths(rewriter: Rewriter, graph: ir.Graph) -> tuple[ir.Value, ir.Value]:
    """`seqlens_k` int32 `[batch]`, the index of each text's last key, and the length of all, int32 scalar."""
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    first = graph[0]
    one = rewriter.constant(np.array([1], np.int64), "integers/1")
    count = rewriter.op(first, "ReduceSum", [mask, one], keepdims=0)
    last = rewriter.op(first, "Sub", [count, rewriter.constant(np.array(1, np.int64), "integer/1")])
    total = rewriter.op(first, "Shape", [mask], start=1, end=2)
    total = rewriter.op(first, "Squeeze", [total])
    int32 = int(ir.DataType.INT32)
    return rewriter.op(first, "Cast", [last], to=int32), rewriter.op(first, "Cast", [total], to=int32)


def _fuse(graph: ir.Graph, node: ir.Node, lengths: tuple[ir.Value, ir.Value], head_dim: int) -> None:
    query, key, value, _, past_key, past_value = node.inputs[:6]
    attributes: dict[str, Attribute] = {
        "num_heads": node.attributes["q_num_heads"].as_int(),
        "kv_num_heads": node.attributes["kv_num_heads"].as_int(),
        "scale": node.attributes["scale"].as_float(),
    }
    softcap, window = node.attributes.get("softcap"), _window(node)
    if softcap is not None:
        attributes["softcap"] = softcap.as_float()
    if window is not None and window > 0:
        attributes["local_window_size"] = window
    rotary: list[ir.Value | None] = []
    turned = _rotation(query, head_dim), _rotation(key, head_dim)
    if turned[0] is not None and turned[1] is not None and turned[0].inputs[1:] == turned[1].inputs[1:]:
        query, key = turned[0].inputs[0], turned[1].inputs[0]
        rotary = list(turned[0].inputs[1:4])  # cos, sin, positions
        interleaved = turned[0].attributes.get("interleaved")
        attributes |= {"do_rotary": 1, "rotary_interleaved": interleaved.as_int() if interleaved is not None else 0}
    fused = ir.node(
        "GroupQueryAttention",
        [query, key, value, past_key, past_value, *lengths, *rotary],
        attributes=attributes,
        domain=MICROSOFT,
        num_outputs=3,
        name=node.name,
    )
    for old, new in zip(node.outputs, fused.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], [fused], node.outputs, fused.outputs)


def _rotation(value: ir.Value | None, head_dim: int) -> ir.Node | None:
    """The node that rotates a value which only attention reads; None where the op can't do what it does."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "RotaryEmbedding" or len(node.outputs[0].uses()) > 1:
        return None
    table = constant_of(node.inputs[1])
    fits = table is not None and int(table.shape.numpy()[1]) % _HALF == 0 and head_dim % _ROTATED_HEAD == 0
    return node if fits else None
