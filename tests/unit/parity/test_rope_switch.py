"""The padding row of a LongRoPE model whose texts lie on both sides of the original length.

The longest text of a batch chooses the factors for all of its texts, in transformers too, so a batch of both sides
differs from its texts alone by design: by a third of the largest logit here.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.encoder_checkpoints import write_pooling

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.graph.model import GraphSpec, Hub
from exporter.importers import import_checkpoint, reference_points
from exporter.parity import ParityOptions, ParityReport, Subjects, check_parity
from exporter.texts import PromptFile

TEXTS = ["yes", "Dim the lamp.", "Dim the bedroom lamp, close the blinds", "Tell me what the weather is in the hills"]


def report(folder: Path, change: Callable[[Hub], Hub] = lambda hub: hub) -> ParityReport:
    checkpoint = open_checkpoint(folder)
    hub, tokenizer = import_checkpoint(checkpoint), load_tokenizer(checkpoint)
    switch = None if isinstance(hub.spec, GraphSpec) else hub.spec.rope_switch
    lengths = [len(tokenizer.encode(text)) for text in TEXTS]
    assert switch == 16
    assert min(lengths) < switch < max(lengths)
    (folder / "texts.txt").write_text("".join(f"{text}\n" * 4 for text in TEXTS))  # "quick" takes every fourth
    subjects = Subjects(
        task=hub.task, context=64, tokenizer=tokenizer, checkpoint=folder, hub=change(hub),
        reference_points=reference_points(hub), rope_switch=switch,
    )  # fmt: skip
    return check_parity(subjects, ParityOptions(depth="quick", prompts=PromptFile(folder / "texts.txt")))


def without_padding_mask(hub: Hub) -> Hub:
    model = ir.from_proto(ir.to_proto(hub.model))
    nodes = {node.name: node for node in model.graph}
    nodes["mask/seen"].replace_input_with(0, nodes["mask/causal"].outputs[0])
    return replace(hub, model=model)


@pytest.mark.parametrize("embeds", [False, True])
def test_texts_on_either_side_are_batches_of_their_own(embeds: bool, tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, "phi3", **DECODERS["phi3"]["longrope"])
    if embeds:
        write_pooling(folder, "lasttoken", normalize=True)
    found = report(folder)
    assert found.verdict == "passed", found.findings
    assert [row.name for row in found.rows] == ["import", "hub padding", "tokenizer"]


def test_a_missing_padding_mask_is_still_found(tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, "phi3", **DECODERS["phi3"]["longrope"])
    found = report(folder, without_padding_mask)
    assert [row.name for row in found.rows if not all(c.passed for c in row.checks)] == ["hub padding"]
