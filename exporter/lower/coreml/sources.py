"""Questions about what a value is computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

Step = Callable[[ir.Value], bool | Sequence[ir.Value | None]]


def any_source(value: ir.Value | None, step: Step) -> bool:
    """Whether `step` is true for `value` or for a value that it leads to. Each value is asked once.

    step: the answer for one value, or the operands that are asked instead.
    """
    seen: set[int] = set()
    stack = [value]
    while stack:
        current = stack.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        answer = step(current)
        if isinstance(answer, bool):
            if answer:
                return True
        else:
            stack.extend(answer)
    return False
