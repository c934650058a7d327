"""Distances against torch's own, and gradients of random losses against the distances' Hessians.

A random loss is right if E[g gᵀ] is the Hessian of the distance where both rows are the same. `COPIES` of one row draw
as many gradients at once; each entry of their mean may be off by six of its own standard errors, which are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir
import pytest
import torch
from support.graph_models import hub_of
from torch import Tensor
from torch.nn import functional

from exporter.calibration.feeds import Batch
from exporter.calibration.objective import Link, Objective, objective_of, sample_indices
from exporter.errors import UnsupportedError
from exporter.graph.model import EncoderSpec, GraphSpec, Hub

COPIES = 200_000
WIDTH = 5
LINKS: tuple[Link, ...] = ("softmax", "sigmoid", "unit", "plain")


def rows(count: int, seed: int, width: int = WIDTH) -> Tensor:
    return 2 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def batch_of(real: list[list[bool]]) -> Batch:
    return Batch({}, torch.tensor(real), tuple(range(len(real))))


def texts(count: int, length: int = 1) -> Batch:
    return batch_of([[True] * length] * count)


def kl(reference: Tensor, found: Tensor) -> Tensor:
    return functional.kl_div(found.log_softmax(-1), reference.log_softmax(-1), reduction="sum", log_target=True)


def bernoulli(reference: Tensor, found: Tensor) -> Tensor:
    odds = reference.sigmoid()
    return functional.binary_cross_entropy_with_logits(found, odds, reduction="sum") - functional.binary_cross_entropy(
        odds, odds, reduction="sum"
    )


def one_minus_cosine(reference: Tensor, found: Tensor) -> Tensor:
    return (1 - functional.cosine_similarity(reference, found, dim=-1)).sum()


def relative(reference: Tensor, found: Tensor) -> Tensor:
    return 0.5 * functional.mse_loss(found, reference, reduction="sum") / (reference**2).sum(-1).mean()


REFERENCES: dict[Link, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": kl, "sigmoid": bernoulli, "unit": one_minus_cosine, "plain": relative
}  # fmt: skip


@pytest.mark.parametrize("link", LINKS)
def test_distances_are_torchs(link: Link) -> None:
    reference, found = rows(7, 0), rows(7, 1)
    objective = Objective(("x",), link)
    told = objective.distance({"x": reference}, {"x": found}, texts(7))
    torch.testing.assert_close(told, REFERENCES[link](reference.double(), found.double()).float(), rtol=1e-5, atol=0)
    same = objective.distance({"x": reference}, {"x": reference.clone()}, texts(7))
    assert abs(float(same)) < 1e-6 * float(told)


def test_distances_of_several_outputs_add_up() -> None:
    objective = Objective(("a", "b"), "softmax")
    old, new = ({name: rows(3, 2 * i + j) for i, name in enumerate("ab")} for j in (0, 1))
    alone = [float(Objective((name,), "softmax").distance(old, new, texts(3))) for name in "ab"]
    assert float(objective.distance(old, new, texts(3))) == pytest.approx(sum(alone))
    assert objective.count(old, texts(3)) == 6


def gradients(objective: Objective, row: Tensor, batch: Batch) -> Tensor:
    """Of `COPIES` of one row."""
    leaf = row.expand(COPIES, -1).clone().requires_grad_(True)
    objective.random_loss({"x": leaf}, batch, torch.Generator().manual_seed(4)).backward()
    assert leaf.grad is not None
    return leaf.grad.double()


def hessian(objective: Objective, row: Tensor, batch: Batch) -> Tensor:
    def distance(found: Tensor) -> Tensor:
        return objective.distance({"x": row[None]}, {"x": found[None]}, batch)

    return torch.autograd.functional.hessian(distance, row).double()


@pytest.mark.parametrize(("link", "over_positions"), [*((link, False) for link in LINKS), ("softmax", True)])
def test_random_gradients_have_the_distance_s_hessian(link: Link, over_positions: bool) -> None:
    """over_positions: the last two numbers are padding."""
    real = [True] * (WIDTH - 2) + [not over_positions] * 2
    objective = Objective(("x",), link, over_positions)
    row = rows(1, 5)[0]
    found = gradients(objective, row, batch_of([real]) if over_positions else texts(COPIES))
    products = found[:, :, None] * found[:, None]
    expected = hessian(objective, row, batch_of([real]) if over_positions else texts(1))
    error = 6 * products.std(0) / COPIES**0.5
    assert (error < 0.05 * expected.diagonal().mean()).all()
    assert ((products.mean(0) - expected).abs() <= error + 1e-6).all()
    if over_positions:
        assert (found[:, WIDTH - 2 :] == 0).all()


@pytest.mark.parametrize("link", LINKS)
def test_curvature_is_the_hessian_s_diagonal(link: Link) -> None:
    objective = Objective(("x",), link)
    row = rows(1, 6)
    expected = hessian(objective, row[0], texts(1)).diagonal().float()
    torch.testing.assert_close(objective.curvature(row, texts(1))[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("link", LINKS)
def test_padding_is_left_out(link: Link) -> None:
    """Tokens that are none: no row, no distance, no gradient, whatever stands there."""
    batch = batch_of([[True] * 4, [True, True, False, False]])
    first, second = rows(8, 7).reshape(2, 4, WIDTH), rows(8, 8).reshape(2, 4, WIDTH)
    wild = [torch.where(batch.real[..., None], value, 1e3 * value + 17) for value in (first, second)]
    objective = Objective(("x",), link)
    assert objective.count({"x": first}, batch) == 6
    assert torch.equal(objective.rows(wild[0], batch), first[batch.real])
    assert torch.equal(objective.curvature(wild[0], batch), objective.curvature(first, batch))
    plain, odd = (objective.distance({"x": a}, {"x": b}, batch) for a, b in ((first, second), wild))
    assert plain == odd
    leaf = wild[0].clone().requires_grad_(True)
    objective.random_loss({"x": leaf}, batch, torch.Generator()).backward()
    assert leaf.grad is not None
    assert (leaf.grad[~batch.real] == 0).all()
    assert leaf.grad[batch.real].abs().min() > 0


@pytest.mark.parametrize("link", LINKS)
def test_rows_count_as_much_as_they_should(link: Link) -> None:
    """Distances, their Hessian and how many there are; nothing that counts for all alike is changed."""
    batch = batch_of([[True] * 2, [True, False]])
    counted = replace(batch, loss_weights=torch.tensor([[1.0, 4.0], [0.25, 0.0]]))
    first, second = rows(4, 7).reshape(2, 2, WIDTH), rows(4, 8).reshape(2, 2, WIDTH)
    objective = Objective(("x",), link)
    assert objective.count({"x": first}, counted) == 5.25
    shares = torch.tensor([1.0, 4.0, 0.25])
    curvature = objective.curvature(first, batch) * shares[:, None]
    torch.testing.assert_close(objective.curvature(first, counted), curvature)
    grads = []
    for own in (batch, counted):
        leaf = first.clone().requires_grad_(True)
        objective.random_loss({"x": leaf}, own, torch.Generator().manual_seed(0)).backward()
        assert leaf.grad is not None
        grads.append(leaf.grad[batch.real])
    torch.testing.assert_close(grads[1], grads[0] * shares.sqrt()[:, None])
    if link == "plain":  # measured by all rows together
        return
    told = objective.distance({"x": first}, {"x": second}, counted)
    alone = [
        objective.distance({"x": first[i, j][None, None]}, {"x": second[i, j][None, None]}, batch_of([[True]]))
        for i, j in ((0, 0), (0, 1), (1, 0))
    ]
    assert float(told) == pytest.approx(float(torch.stack(alone) @ shares), rel=1e-5)


def test_across_positions_a_text_is_a_row() -> None:
    batch = batch_of([[True] * 4, [True, True, False, False]])
    starts = rows(2, 9, 4)
    objective = Objective(("s",), "softmax", over_positions=True)
    assert objective.count({"s": starts}, batch) == 2
    told = objective.distance({"s": starts}, {"s": 3 * starts}, batch)
    assert float(told) == pytest.approx(
        float(kl(starts[:1], 3 * starts[:1]) + kl(starts[1:, :2], 3 * starts[1:, :2])), rel=1e-5
    )


def test_outputs_of_a_text_are_a_row_each() -> None:
    batch = batch_of([[True] * 3, [True, False, False]])
    pooled = rows(2, 10, 3)  # as wide as the texts are long
    assert torch.equal(Objective(("x",), "unit").rows(pooled, batch), pooled)
    assert Objective(("x",), "unit").count({"x": pooled}, batch) == 2


def test_drawn_tokens_follow_the_distribution() -> None:
    """What has no probability never comes; the counts of the others are off by no more than six standard errors."""
    logits = torch.tensor([0.3, -1.0, float("-inf"), 2.0, 0.0, float("-inf")])
    found = sample_indices(logits.expand(COPIES, -1), torch.Generator().manual_seed(3))
    odds = logits.softmax(-1)
    shares = torch.bincount(found, minlength=6) / COPIES
    assert shares[2] == shares[5] == 0
    assert ((shares - odds).abs() <= 6 * (odds * (1 - odds) / COPIES).sqrt()).all()
    assert torch.equal(found, sample_indices(logits.expand(COPIES, -1), torch.Generator().manual_seed(3)))


def test_the_objective_of_a_decoder() -> None:
    assert objective_of(hub_of("llama/plain")) == Objective(("logits",), "softmax")


@pytest.mark.parametrize(
    ("head", "changes", "expected"),
    [
        ("Model", {}, Objective(("token_embeddings",), "unit")),
        ("ForTokenClassification", {}, Objective(("logits",), "softmax")),
        ("ForMaskedLM", {}, Objective(("logits",), "softmax")),
        ("ForQuestionAnswering", {}, Objective(("start_logits", "end_logits"), "softmax", over_positions=True)),
        ("ForSequenceClassification", {"scores": "softmax"}, Objective(("logits",), "softmax")),
        ("ForSequenceClassification", {"scores": "sigmoid"}, Objective(("logits",), "sigmoid")),
        ("ForSequenceClassification", {"scores": "identity"}, Objective(("logits",), "plain")),
        ("ForSequenceClassification", {"scores": "sigmoid", "task": "text-ranking"}, Objective(("logits",), "sigmoid")),
    ],
)
def test_objectives_of_encoders(head: str, changes: dict[str, str], expected: Objective) -> None:
    hub = hub_of(f"bert:{head}")
    assert isinstance(hub.spec, EncoderSpec)
    found = objective_of(replace(hub, spec=replace(hub.spec, **changes)))
    assert found == expected
    assert set(found.outputs) <= {value.name for value in hub.model.graph.outputs}
    assert found.kind == ("distance" if found.link in ("unit", "plain") else "kl")


def graph_hub(task: str, **outputs: ir.DataType) -> Hub:
    values = [ir.Value(name=name, type=ir.TensorType(dtype)) for name, dtype in outputs.items()]
    model = ir.Model(ir.Graph([], values, nodes=[], opset_imports={"": 23}), ir_version=10)
    return Hub(model, "test", GraphSpec(task, (), tuple(outputs)), ())


FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
PRESENT = {"present.0.key": FLOAT, "present.0.value": FLOAT}


@pytest.mark.parametrize(
    ("hub", "expected"),
    [
        (graph_hub("text-generation", logits=FLOAT, **PRESENT), Objective(("logits",), "softmax")),
        (graph_hub("fill-mask", logits=FLOAT), Objective(("logits",), "softmax")),
        (graph_hub("token-classification", logits=FLOAT), Objective(("logits",), "softmax")),
        (graph_hub("text-classification", logits=FLOAT), Objective(("logits",), "plain")),
        (
            graph_hub("feature-extraction", last_hidden_state=FLOAT, sentence_embedding=FLOAT),
            Objective(("sentence_embedding",), "unit"),
        ),
        (
            graph_hub("zero-shot-image-classification", last_hidden_state=FLOAT, text_embeds=FLOAT),
            Objective(("text_embeds",), "unit"),
        ),
        (
            graph_hub("text2text-generation", last_hidden_state=FLOAT, lengths=INT64, **PRESENT),
            Objective(("last_hidden_state",), "plain"),
        ),
        (graph_hub("other", a=FLOAT, b=ir.DataType.FLOAT16), Objective(("a", "b"), "plain")),
    ],
)
def test_objectives_of_other_graphs(hub: Hub, expected: Objective) -> None:
    assert objective_of(hub) == expected


@pytest.mark.parametrize("outputs", [{}, {"ids": INT64}, PRESENT])
def test_without_numbers_there_is_nothing_to_calibrate_for(outputs: dict[str, ir.DataType]) -> None:
    with pytest.raises(UnsupportedError, match="no float output"):
        objective_of(graph_hub("other", **outputs))


def test_a_pooled_embedding_is_what_counts() -> None:
    pooled = graph_hub("feature-extraction", token_embeddings=FLOAT, sentence_embedding=FLOAT)
    encoder = replace(pooled, spec=hub_of("bert:Model").spec)
    assert objective_of(encoder) == Objective(("sentence_embedding",), "unit")


def test_an_embedding_of_zeros_has_a_distance() -> None:
    told = Objective(("x",), "unit").distance({"x": torch.zeros(1, 3)}, {"x": rows(1, 0, 3)}, texts(1))
    assert float(told) == pytest.approx(0.5)
