"""How far a model's answers are from the uncompressed model's: what calibration measures and recovery trains on.

Every output counts as rows of numbers, each with a link that gives them meaning: logits of a distribution, logits of
independent labels, an embedding whose direction counts, or plain numbers. A link has a distance between two rows, and a
random loss whose gradients g have E[g gᵀ] = the distance's Hessian where both rows are the same: for distributions that
is Fisher's information with labels drawn from the model itself, for the others Gauss and Newton's JᵀJ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.errors import UnsupportedError
from exporter.graph.model import DecoderSpec, EncoderSpec, GraphSpec, Hub

Link = Literal["softmax", "sigmoid", "unit", "plain"]
Outputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """outputs: those that count. link: of all their rows. across: a row goes over a text's positions (start of an
    answer), and not over the last axis."""

    outputs: tuple[str, ...]
    link: Link
    across: bool = False

    @property
    def kind(self) -> Literal["kl", "distance"]:
        """What distances are: KL in nats, or half a squared distance, which is 1 - cosine for embeddings."""
        return "kl" if self.link in ("softmax", "sigmoid") else "distance"

    def rows(self, output: Tensor, batch: Batch) -> Tensor:
        """`[n, width]` of an output `[batch, width]`, `[batch, seq, width]` or `[batch, seq]`, without padding."""
        if self.across:
            return output.float().masked_fill(~batch.real.to(output.device), -1e4)
        if _by_position(output, batch):
            real = batch.real.to(output.device)
            own = output.flatten(0, 1) if bool(real.all()) else output[real]  # logits are large: no copy without need
            return own.flatten(1).float()
        return output.flatten(1).float()

    def weights(self, output: Tensor, batch: Batch) -> Tensor:
        """float32 `[n]`: how much each of the rows counts."""
        if self.across or not _by_position(output, batch):
            return torch.ones(len(output), device=output.device)
        weights = batch.real.float() if batch.counts is None else batch.counts
        return weights[batch.real].to(output.device)

    def count(self, outputs: Outputs, batch: Batch) -> float:
        """How many rows there are, each as much as it counts."""
        return sum(float(self.weights(outputs[name], batch).sum()) for name in self.outputs)

    def distance(self, reference: Outputs, found: Outputs, batch: Batch) -> Tensor:
        """Summed over all rows, each as much as it counts; differentiable in `found`."""
        return torch.stack([self._apart(reference[name], found[name], batch) for name in self.outputs]).sum()

    def _apart(self, reference: Tensor, found: Tensor, batch: Batch) -> Tensor:
        """Of one output."""
        distances = self._distances(self.rows(reference, batch), self.rows(found, batch))
        return (distances * self.weights(found, batch)).sum()

    def parts(self, *outputs: Outputs, batch: Batch) -> Iterator[tuple[slice, list[dict[str, Tensor]], Batch]]:
        """What a distance is the sum of: one sequence after the other, as logits of all may take more memory than the
        model; all at once where rows are measured by each other. Of some outputs without their history."""
        count = len(batch.real)
        apart = self.kind == "kl" and all(len(tensor) == count for own in outputs for tensor in own.values())
        for first in range(0, count, 1 if apart else count):
            part = slice(first, first + 1 if apart else count)
            sliced = [{name: own[name].detach()[part] for name in self.outputs} for own in outputs]
            counts = None if batch.counts is None else batch.counts[part]
            yield part, sliced, Batch(batch.feeds, batch.real[part], batch.rows[part], counts)

    def random_loss(self, outputs: Outputs, batch: Batch, generator: torch.Generator) -> Tensor:
        """Summed over all rows, each by the root of what it counts: squares of gradients count as much as it does."""
        losses = [
            (self._losses(self.rows(outputs[name], batch), generator) * self.weights(outputs[name], batch).sqrt()).sum()
            for name in self.outputs
        ]
        return torch.stack(losses).sum()

    def curvature(self, output: Tensor, batch: Batch) -> Tensor:
        """`[n, width]`: the expected square of the gradient of `random_loss` for one output's own numbers."""
        rows = self.rows(output, batch)
        return self._curvatures(rows).mul_(self.weights(output, batch)[:, None])

    def _curvatures(self, rows: Tensor) -> Tensor:
        """Of rows that all count once."""
        if self.link in ("softmax", "sigmoid"):
            p = torch.softmax(rows, -1) if self.link == "softmax" else torch.sigmoid(rows)
            variance: Tensor = torch.addcmul(p, p, p, value=-1)
            return variance
        norm: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)
        if self.link == "unit":
            return (1 - (rows / norm) ** 2) / norm**2
        return torch.ones_like(rows) / _scale(rows)

    def _distances(self, reference: Tensor, found: Tensor) -> Tensor:
        """`[n]`, of each row."""
        match self.link:
            case "softmax":
                p, q = torch.log_softmax(reference, -1), torch.log_softmax(found, -1)
                return (p.exp() * (p - q)).sum(-1)
            case "sigmoid":
                p, q = torch.sigmoid(reference), found
                softplus = torch.nn.functional.softplus
                entropy = softplus(reference) - p * reference
                return (softplus(q) - p * q - entropy).sum(-1)
            case "unit":
                unit = torch.nn.functional.normalize
                return ((unit(reference, dim=-1) - unit(found, dim=-1)) ** 2).sum(-1) / 2
            case "plain":
                return ((reference - found) ** 2).sum(-1) / _scale(reference) / 2

    def _losses(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """`[n]`, of each row."""
        if self.link == "softmax":
            return torch.nn.functional.cross_entropy(rows, draw(rows.detach(), generator), reduction="none")
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        match self.link:
            case "sigmoid":
                p = torch.sigmoid(rows).detach()
                return (rows * (p * (1 - p)).sqrt() * noise).sum(-1)
            case "unit":
                return (torch.nn.functional.normalize(rows, dim=-1) * noise).sum(-1)
            case _:
                return (rows * noise).sum(-1) / _scale(rows.detach()).sqrt()


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """int64 `[n]`: an index for each row of `[n, width]`, by softmax. One random number a row, where
    `torch.multinomial` takes one for each of the row's."""
    sums = torch.softmax(logits.float(), -1).cumsum_(-1)
    levels = torch.rand(len(sums), 1, generator=generator).to(sums.device) * sums[:, -1:]
    return torch.searchsorted(sums, levels, right=True)[:, 0].clamp_max(sums.shape[1] - 1)


def objective_of(hub: Hub) -> Objective:
    """By the hub's task and outputs. Raises UnsupportedError for a graph without floats among its outputs."""
    spec, made = hub.spec, [str(value.name) for value in hub.model.graph.outputs]
    if isinstance(spec, DecoderSpec):
        return Objective(("logits",), "softmax")
    if isinstance(spec, EncoderSpec):
        return _of_encoder(spec, made)
    return _of_graph(spec, hub, made)


def _of_encoder(spec: EncoderSpec, made: list[str]) -> Objective:
    match spec.task:
        case "feature-extraction":
            return Objective(("sentence_embedding" if "sentence_embedding" in made else "token_embeddings",), "unit")
        case "question-answering":
            return Objective(("start_logits", "end_logits"), "softmax", across=True)
        case "text-classification" | "text-ranking":
            single: Link = "sigmoid" if spec.scores == "sigmoid" else "plain"
            return Objective(("logits",), "softmax" if spec.scores == "softmax" else single)
        case _:
            return Objective(("logits",), "softmax")


def _of_graph(spec: GraphSpec, hub: Hub, made: list[str]) -> Objective:
    values = {str(value.name): value for value in hub.model.graph.outputs}
    floats = [n for n in made if values[n].dtype is None or values[n].dtype.is_floating_point()]  # type: ignore[union-attr]
    if "logits" in floats and spec.task in ("text-generation", "fill-mask", "token-classification"):
        return Objective(("logits",), "softmax")
    for name in ("sentence_embedding", "text_embeds", "pooler_output"):
        if name in floats and spec.task in (
            "feature-extraction",
            "sentence-similarity",
            "zero-shot-image-classification",
        ):
            return Objective((name,), "unit")
    counted = tuple(name for name in floats if not name.startswith("present"))
    if not counted:
        raise UnsupportedError.of("calibration.outputs", "the graph has no numbers among its outputs to calibrate for")
    return Objective(counted, "plain")


def _by_position(output: Tensor, batch: Batch) -> bool:
    """Whether it is `[batch, seq, width]`."""
    return output.dim() >= 3 and output.shape[:2] == batch.real.shape


def _scale(rows: Tensor) -> Tensor:
    """The mean square of a row's norm."""
    return (rows**2).sum(-1).mean().clamp_min(1e-12)
