"""What each product owes to the answer, against transformers' own models with hooks: the same texts, the same labels.

float32 on both sides, in another order of additions: 1e-3 of the largest number, for squares of gradients.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.encoder_checkpoints import tiny_encoder
from support.graph_models import hub_of
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForTokenClassification

from exporter.calibration.feeds import Batch, text_batches
from exporter.calibration.objective import Objective, objective_of, sample_indices
from exporter.calibration.saliency import Saliency, measure_saliency
from exporter.checkpoint import open_checkpoint
from exporter.graph.model import Hub
from exporter.importers import import_checkpoint
from exporter.progress import NoProgress
from exporter.runners.torch_graph.graph import TorchGraph
from exporter.runners.torch_graph.products import WeightUse

RNG = np.random.default_rng(31)
TEXTS = [RNG.integers(5, 200, length) for length in (7, 4, 4, 2)]
TOGETHER = sum(map(len, TEXTS)) * 2  # tokens: all of them in one batch


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-3) -> None:
    assert found.shape == expected.shape
    error = (found.double() - expected.double()).abs().max()
    assert error <= tolerance * expected.abs().max(), float(error / expected.abs().max())


def measured(hub: Hub, batches: Sequence[Batch]) -> tuple[TorchGraph, Saliency]:
    graph = TorchGraph(hub)
    return graph, measure_saliency(graph, objective_of(hub), batches, NoProgress())


def uses_of(graph: TorchGraph, weight: str) -> list[WeightUse]:
    return [use for use in graph.uses if use.weight == weight]


class Hooked:
    """A transformers model whose matrices' outputs keep their gradients, without padding: `[tokens, width]`."""

    def __init__(self, model: torch.nn.Module, batch: Batch) -> None:
        self.model, self.batch = model.eval(), batch
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                module.register_forward_hook(self.hook(f"{name}.weight"))

    def hook(self, name: str) -> Callable[..., None]:
        def keep(_module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            output.retain_grad()
            self.inputs[name], self.outputs[name] = inputs[0], output

        return keep

    def __call__(self) -> Any:
        feeds = {name: self.batch.feeds[name] for name in ("input_ids", "attention_mask")}
        return self.model(**feeds)

    def gradients(self, name: str) -> Tensor:
        grad = self.outputs[name].grad
        assert grad is not None
        return grad[self.batch.real].double()


def llama(folder: Path, **settings: Any) -> tuple[Hub, Any]:
    tiny_decoder(folder, "llama", **DECODERS["llama"]["plain"], **settings)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return import_checkpoint(open_checkpoint(folder)), model


def test_every_product_of_a_decoder(tmp_path: Path) -> None:
    """In two batches, one of them with padding: labels are drawn in the order of the texts."""
    hub, model = llama(tmp_path)
    batches = text_batches(hub, TEXTS, tokens=12, pad_id=2)
    assert [len(batch.rows) for batch in batches] == [1, 3]
    graph, found = measured(hub, batches)
    generator = torch.Generator().manual_seed(0)
    hooked = Hooked(model, batches[0])
    grads: dict[str, list[Tensor]] = {}
    for batch in batches:
        hooked.batch = batch
        logits = hooked().logits[batch.real]
        labels = sample_indices(logits.detach(), generator)
        torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
        for name in hooked.outputs:
            grads.setdefault(name, []).append(hooked.gradients(name))
    assert found.count == sum(map(len, TEXTS))
    assert len(found.uses) == len(graph.uses) == len(grads) == 3 * 7 + 2
    for name, expected in grads.items():
        (use,) = uses_of(graph, name)
        told = found.uses[use.output]
        assert told.total is None
        if name == "lm_head.weight":
            continue
        for tokens, own in zip(told.tokens, expected, strict=True):
            close(tokens, (own**2).mean(1))
        close(told.rows, sum((own**2).sum(0) for own in expected))
        if use.kind == "embedding":
            assert told.outer is not None
            close(told.outer, sum(own.T @ own for own in expected))
        else:
            assert told.outer is None


def test_a_tied_embedding_is_known_before_it_is_first_used(tmp_path: Path) -> None:
    """How often each row is looked up, and Σ share · x xᵀ of what the head is multiplied with."""
    hub, model = llama(tmp_path, tie_word_embeddings=True)
    batches = text_batches(hub, TEXTS, tokens=12, pad_id=2)
    graph, found = measured(hub, batches)
    lookup, head = uses_of(graph, "model.embed_tokens.weight")
    counts = np.bincount(np.concatenate(TEXTS), minlength=graph.shape(lookup.weight)[0])
    looked_up, multiplied = found.uses[lookup.output].total, found.uses[head.output].total
    assert looked_up is not None
    assert multiplied is not None
    assert looked_up.tolist() == counts.tolist()
    expected = torch.zeros(32, 32, dtype=torch.float64)
    for batch, share in zip(batches, found.uses[head.output].tokens, strict=True):
        hooked = Hooked(model, batch)
        hooked()
        x = hooked.inputs["lm_head.weight"][batch.real].double()
        expected += (x * share[:, None]).T @ x
    close(multiplied, expected)
    for use in graph.uses:
        assert (found.uses[use.output].total is not None) == (use in (lookup, head))


HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "llama/plain": lambda y: y,
    "granite/multipliers": lambda y: y / 2.5,
    "cohere/plain": lambda y: 0.25 * y,
    "gemma2/soft caps": lambda y: 30 * torch.tanh(y / 30),
    "phi/plain": lambda y: y,  # and a bias, which is part of the same number
}


@pytest.mark.parametrize("name", sorted(HEADS))
def test_the_head_has_the_squares_of_all_labels(name: str) -> None:
    """Σ over labels of probability · gradient², by the Jacobian of the log-probabilities; in two batches."""
    hub = hub_of(name)
    batches = text_batches(hub, [TEXTS[0][:3], TEXTS[1][:2]], tokens=3)
    graph, found = measured(hub, batches)
    head = graph.uses[-1]
    told = found.uses[head.output]
    head_of, total = HEADS[name], torch.zeros(graph.shape(head.weight)[0], dtype=torch.float64)
    for batch, tokens in zip(batches, told.tokens, strict=True):
        with torch.no_grad():
            made = graph.run(batch.feeds, [head.output, "logits"])
        before, logits = made[head.output][0].double(), made["logits"][0].double()
        rest = logits - head_of(before)  # a bias, the same for all tokens; else rounding
        torch.testing.assert_close(rest, rest[:1].expand_as(rest), rtol=0, atol=1e-4)
        assert (float(rest.abs().max()) > 0.1) == (name == "phi/plain")

        def logs(y: Tensor, rest: Tensor = rest[0]) -> Tensor:
            return (head_of(y) + rest).log_softmax(-1)

        for y, share in zip(before, tokens, strict=True):
            squares = (logs(y).exp()[:, None] * torch.autograd.functional.jacobian(logs, y) ** 2).sum(0)
            assert float(share) == pytest.approx(float(squares.mean()), rel=2e-4)
            total += squares
    close(told.rows, total, 2e-4)


def test_a_matrix_as_wide_as_the_answer_is_not_the_head(tmp_path: Path) -> None:
    """A classifier of tokens, which stays as it is, with as many labels as its hidden layers have numbers."""
    tiny_encoder(tmp_path, "bert", "ForTokenClassification", num_labels=36)
    hub = import_checkpoint(open_checkpoint(tmp_path))
    (batch,) = text_batches(hub, TEXTS, tokens=TOGETHER)
    graph, found = measured(hub, [batch])
    hooked = Hooked(AutoModelForTokenClassification.from_pretrained(tmp_path, attn_implementation="eager"), batch)
    logits = hooked().logits[batch.real]
    labels = sample_indices(logits.detach(), torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    compare(graph, found, hooked)


def test_an_encoder_s_products(tmp_path: Path) -> None:
    """Directions of embeddings: the same normal numbers, through transformers' BERT."""
    tiny_encoder(tmp_path, "bert")
    hub = import_checkpoint(open_checkpoint(tmp_path))
    (batch,) = text_batches(hub, TEXTS, tokens=TOGETHER)
    graph, found = measured(hub, [batch])
    hooked = Hooked(AutoModel.from_pretrained(tmp_path, attn_implementation="eager"), batch)
    made = hooked().last_hidden_state[batch.real]
    noise = torch.randn(made.shape, generator=torch.Generator().manual_seed(0))
    (torch.nn.functional.normalize(made, dim=-1) * noise).sum().backward()
    compare(graph, found, hooked)


def compare(graph: TorchGraph, found: Saliency, hooked: Hooked) -> None:
    """All but positions, which are looked up once for all texts of a batch."""
    compared = [use for use in graph.uses if "position" not in use.weight]
    assert len(compared) == 2 * 6 + 1
    for use in compared:
        told, own = found.uses[use.output], hooked.gradients(use.weight)
        close(told.tokens[0], (own**2).mean(1))
        close(told.rows, (own**2).sum(0))


@pytest.mark.parametrize("name", ["llama/plain", "gpt2", "bert:ForMaskedLM"])
def test_batches_add_up(name: str) -> None:
    """One batch with much padding, or one for each text: sums are the same, and so are tokens' shares."""
    hub = hub_of(name)
    (one,), many = (text_batches(hub, TEXTS, tokens=tokens, pad_id=3) for tokens in (TOGETHER, 1))
    assert len(many) == len(TEXTS)
    (_, whole), (_, parts) = measured(hub, [one]), measured(hub, many)
    assert whole.count == parts.count
    assert whole.uses.keys() == parts.uses.keys()
    for output, use in whole.uses.items():
        other = parts.uses[output]
        if len(use.tokens[0]) < sum(map(len, TEXTS)):
            continue  # positions, which are looked up once for all texts of a batch
        close(other.rows, use.rows)
        close(torch.cat(other.tokens), use.tokens[0])
        for mine, theirs in ((use.outer, other.outer), (use.total, other.total)):
            assert (mine is None) == (theirs is None)
            if mine is not None and theirs is not None:
                close(theirs, mine)


def test_nothing_of_a_batch_outlives_it() -> None:
    """With the collector of cycles off, no tensor that a gradient was made with is left."""
    hub = hub_of("llama/plain")
    graph, batches = TorchGraph(hub), text_batches(hub, TEXTS, tokens=12)
    objective: Objective = objective_of(hub)
    measure_saliency(graph, objective, batches, NoProgress())
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(thing, Tensor) and thing.requires_grad for thing in gc.get_objects())
        measure_saliency(graph, objective, batches, NoProgress())
        assert sum(isinstance(thing, Tensor) and thing.requires_grad for thing in gc.get_objects()) == before
    finally:
        gc.enable()
