"""What a verdict leaves open, in words that stand beside it."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.parity.graphs.samples import BUILTIN, Samples

INPUTS_HINT = "for real inputs, give --prompts FILE.npz with an array [samples, …] for every input"
_NAMED = 4  # inputs or outputs listed by name


def inputs_note(samples: Samples, undecided: Sequence[str]) -> str:
    """What made-up inputs leave open; "" for a user's own, and where the checkpoint says what its inputs are.

    undecided: outputs that gave the same yes or no for every input.
    """
    if samples.source != BUILTIN:
        return ""
    notes = []
    if samples.guessed:
        notes.append(f"inputs were made up, since nothing is known of {_listed(samples.guessed)}")
    if undecided:
        notes.append(f"on every input {_listed(undecided)} stayed on one side of 0.5, so no change of mind was tried")
    return "; ".join(notes)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
