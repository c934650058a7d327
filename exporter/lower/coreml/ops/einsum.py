"""Einsum as transpositions, reshapes and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from exporter.lower.coreml.attributes import fixed_shape, required_input, string
from exporter.lower.coreml.emit import name_of, operand, set_result
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.shape import MAX_RANK, has_fixed_shape

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # letters for the axes of an ellipsis


@dataclass(frozen=True)
class _Term:
    """A tensor and the letters of its axes."""

    var: Var
    letters: str

    def size(self, letter: str) -> int:
        return int(self.var.shape[self.letters.index(letter)])


def lower_einsum(lowering: Lowering, node: ir.Node) -> None:
    """Einsum: multiplies the operands one after the other and sums over letters that aren't needed any more."""
    parsed = _parse(node)
    assert not isinstance(parsed, str)
    operands, result = parsed
    terms = [_Term(operand(lowering, node, i), letters) for i, letters in enumerate(operands)]
    joined = _summed(lowering, node, terms[0], set("".join(operands[1:]) + result))
    for i, term in enumerate(terms[1:], 1):
        needed = set("".join(operands[i + 1 :]) + result)
        joined = _product(lowering, node, joined, _summed(lowering, node, term, needed | set(joined.letters)), needed)
    set_result(lowering, node, _ordered(lowering, node, joined, result).var)


def _parse(node: ir.Node) -> tuple[list[str], str] | str:
    """The letters of each operand and of the result; or the problem with the equation."""
    equation = string(node, "equation", "").replace(" ", "")
    left, arrow, result = equation.partition("->")
    operands = left.split(",")
    ranks = [len(required_input(node, i).shape or ()) for i in range(len(node.inputs))]
    if len(operands) != len(ranks):
        return "an equation for another number of operands"
    free = [letter for letter in _LETTERS if letter not in equation]
    spans = [rank - len(term.replace("...", "")) for term, rank in zip(operands, ranks, strict=True) if "..." in term]
    widest = "".join(free[: max(spans, default=0)])
    operands = [
        term.replace("...", widest[len(widest) - (rank - len(term.replace("...", ""))) :] if "..." in term else "")
        for term, rank in zip(operands, ranks, strict=True)
    ]
    if not arrow:
        once = sorted(letter for letter in set("".join(operands)) - set(widest) if "".join(operands).count(letter) == 1)
        result = "..." + "".join(once) if widest else "".join(once)
    result = result.replace("...", widest)
    if any(len(set(term)) != len(term) for term in [*operands, result]):
        return "a diagonal (a letter twice in one term)"
    return operands, result


def _summed(lowering: Lowering, node: ir.Node, term: _Term, needed: set[str]) -> _Term:
    axes = [i for i, letter in enumerate(term.letters) if letter not in needed]
    if not axes:
        return term
    var = mb.reduce_sum(x=term.var, axes=axes, keep_dims=False, name=name_of(lowering, node, "summed"))
    return _Term(var, "".join(letter for letter in term.letters if letter in needed))


def _product(lowering: Lowering, node: ir.Node, left: _Term, right: _Term, needed: set[str]) -> _Term:
    """The product `[batch, rows, shared] · [batch, shared, columns]`; each axis has any number of letters."""
    common = [letter for letter in left.letters if letter in right.letters]
    batch = "".join(letter for letter in common if letter in needed)
    shared = "".join(letter for letter in common if letter not in needed)
    rows = "".join(letter for letter in left.letters if letter not in common)
    columns = "".join(letter for letter in right.letters if letter not in common)
    sizes = {letter: term.size(letter) for term in (left, right) for letter in term.letters}
    x = _matrix(lowering, node, left, [batch, rows, shared], sizes)
    y = _matrix(lowering, node, right, [batch, shared, columns], sizes)
    product = mb.matmul(x=x, y=y, name=name_of(lowering, node, "product"))
    letters = batch + rows + columns
    shape = [sizes[letter] for letter in letters]
    if not shape:
        return _Term(mb.squeeze(x=product, axes=[0, 1, 2], name=name_of(lowering, node, "number")), letters)
    return _Term(mb.reshape(x=product, shape=shape, name=name_of(lowering, node, "unfolded")), letters)


def _matrix(lowering: Lowering, node: ir.Node, term: _Term, groups: list[str], sizes: dict[str, int]) -> Var:
    ordered = _ordered(lowering, node, term, "".join(groups)).var
    shape = [math.prod(sizes[letter] for letter in group) for group in groups]
    return mb.reshape(x=ordered, shape=shape, name=name_of(lowering, node, "folded"))


def _ordered(lowering: Lowering, node: ir.Node, term: _Term, letters: str) -> _Term:
    perm = [term.letters.index(letter) for letter in letters]
    if perm == sorted(perm):
        return term
    return _Term(mb.transpose(x=term.var, perm=perm, name=name_of(lowering, node, "ordered")), letters)


def refuse_einsum(node: ir.Node) -> str:
    """Diagonals, and letters that stand for two sizes (broadcasting)."""
    values = [required_input(node, i) for i in range(len(node.inputs))]
    if any(value.dtype is not None and not value.dtype.is_floating_point() for value in values):
        return "integers"
    if not all(has_fixed_shape(value) for value in values):
        return ""
    parsed = _parse(node)
    if isinstance(parsed, str):
        return parsed
    sizes: dict[str, int] = {}
    for letters, value in zip(parsed[0], values, strict=True):
        for letter, size in zip(letters, fixed_shape(value), strict=True):
            if sizes.setdefault(letter, size) != size:
                return f"two sizes of '{letter}'"
    most = max(len(set(a) | set(b)) for a in parsed[0] for b in parsed[0])
    return "a product of more than five axes" if most > MAX_RANK + 1 else ""


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {"Einsum": lower_einsum}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"Einsum": refuse_einsum}
