"""The distance between a model's outputs and the uncompressed model's: calibration measures it, recovery minimizes it.

An output is treated as rows of numbers. The link says what a row means: logits of one distribution ("softmax"), logits
of independent labels ("sigmoid"), an embedding of which only the direction matters ("unit") or numbers ("plain"). Each
link has a distance between two rows, and a random loss whose gradients g have E[g gᵀ] = the Hessian of the distance at
equal rows: the Fisher information with labels sampled from the model for distributions, the Gauss-Newton matrix JᵀJ for
the others.
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
    """How the outputs of a model are compared.

    outputs: names of the outputs that are compared. link: the meaning of their rows. over_positions: a row runs over
    the positions of a text (the logits of where an answer starts) instead of over the last axis.
    """

    outputs: tuple[str, ...]
    link: Link
    over_positions: bool = False

    @property
    def kind(self) -> Literal["kl", "distance"]:
        """The unit of distances: "kl" in nats, or "distance": half the squared distance, 1 - cosine for embeddings."""
        return "kl" if self.link in ("softmax", "sigmoid") else "distance"

    def rows(self, output: Tensor, batch: Batch) -> Tensor:
        """The rows `[n, width]` of an output `[batch, width]`, `[batch, seq, width]` or `[batch, seq]`, no padding."""
        if self.over_positions:
            return output.float().masked_fill(~batch.real.to(output.device), -1e4)
        if _by_position(output, batch):
            real = batch.real.to(output.device)
            own = output.flatten(0, 1) if bool(real.all()) else output[real]  # avoids a copy of the logits if possible
            return own.flatten(1).float()
        return output.flatten(1).float()

    def row_weights(self, output: Tensor, batch: Batch) -> Tensor:
        """float32 `[n]`: the weight of each row."""
        if self.over_positions or not _by_position(output, batch):
            return torch.ones(len(output), device=output.device)
        weights = batch.real.float() if batch.loss_weights is None else batch.loss_weights
        return weights[batch.real].to(output.device)

    def count(self, outputs: Outputs, batch: Batch) -> float:
        """The sum of all rows' weights: their number, if all weights are 1."""
        return sum(float(self.row_weights(outputs[name], batch).sum()) for name in self.outputs)

    def distance(self, reference: Outputs, actual: Outputs, batch: Batch) -> Tensor:
        """The weighted sum of the distances of all rows, a scalar; differentiable in `actual`."""
        return torch.stack([self._distance(reference[name], actual[name], batch) for name in self.outputs]).sum()

    def _distance(self, reference: Tensor, actual: Tensor, batch: Batch) -> Tensor:
        """The distance in one output."""
        distances = self._distances(self.rows(reference, batch), self.rows(actual, batch))
        return (distances * self.row_weights(actual, batch)).sum()

    def split(self, *outputs: Outputs, batch: Batch) -> Iterator[tuple[slice, list[dict[str, Tensor]], Batch]]:
        """Splits outputs into parts whose distances add up, as (slice of the batch, outputs detached, batch).

        A part is one sequence, since float32 logits of all sequences may take more memory than the model; or the whole
        batch for links whose distance depends on other rows.
        """
        count = len(batch.real)
        single = self.kind == "kl" and all(len(tensor) == count for own in outputs for tensor in own.values())
        for first in range(0, count, 1 if single else count):
            part = slice(first, first + 1 if single else count)
            sliced = [{name: own[name].detach()[part] for name in self.outputs} for own in outputs]
            loss_weights = None if batch.loss_weights is None else batch.loss_weights[part]
            yield part, sliced, Batch(batch.feeds, batch.real[part], batch.rows[part], loss_weights)

    def random_loss(self, outputs: Outputs, batch: Batch, generator: torch.Generator) -> Tensor:
        """The sum over all rows, each times the square root of its weight: squared gradients then have the weight."""
        sums = []
        for name in self.outputs:
            losses = self._losses(self.rows(outputs[name], batch), generator)
            sums.append((losses * self.row_weights(outputs[name], batch).sqrt()).sum())
        return torch.stack(sums).sum()

    def curvature(self, output: Tensor, batch: Batch) -> Tensor:
        """`[n, width]`: the expected square of the gradient of `random_loss` with respect to one output."""
        rows = self.rows(output, batch)
        return self._curvatures(rows).mul_(self.row_weights(output, batch)[:, None])

    def _curvatures(self, rows: Tensor) -> Tensor:
        """The curvature of rows with weight 1."""
        if self.link in ("softmax", "sigmoid"):
            p = torch.softmax(rows, -1) if self.link == "softmax" else torch.sigmoid(rows)
            variance: Tensor = torch.addcmul(p, p, p, value=-1)
            return variance
        norm: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)
        if self.link == "unit":
            return (1 - (rows / norm) ** 2) / norm**2
        return torch.ones_like(rows) / _scale(rows)

    def _distances(self, reference: Tensor, actual: Tensor) -> Tensor:
        """`[n]`: the distance of each row."""
        match self.link:
            case "softmax":
                p, q = torch.log_softmax(reference, -1), torch.log_softmax(actual, -1)
                return (p.exp() * (p - q)).sum(-1)
            case "sigmoid":
                p, q = torch.sigmoid(reference), actual
                softplus = torch.nn.functional.softplus
                entropy = softplus(reference) - p * reference
                return (softplus(q) - p * q - entropy).sum(-1)
            case "unit":
                unit = torch.nn.functional.normalize
                return ((unit(reference, dim=-1) - unit(actual, dim=-1)) ** 2).sum(-1) / 2
            case "plain":
                return ((reference - actual) ** 2).sum(-1) / _scale(reference) / 2

    def _losses(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """`[n]`: the random loss of each row."""
        if self.link == "softmax":
            return torch.nn.functional.cross_entropy(rows, sample_indices(rows.detach(), generator), reduction="none")
        noise = torch.randn(rows.shape, generator=generator).to(rows.device)
        match self.link:
            case "sigmoid":
                p = torch.sigmoid(rows).detach()
                return (rows * (p * (1 - p)).sqrt() * noise).sum(-1)
            case "unit":
                return (torch.nn.functional.normalize(rows, dim=-1) * noise).sum(-1)
            case _:
                return (rows * noise).sum(-1) / _scale(rows.detach()).sqrt()


def sample_indices(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Samples an index for each row of logits `[n, width]` from their softmax, int64 `[n]`.

    It takes one random number for each row; `torch.multinomial` would take one for each element.
    """
    sums = torch.softmax(logits.float(), -1).cumsum_(-1)
    levels = torch.rand(len(sums), 1, generator=generator).to(sums.device) * sums[:, -1:]
    return torch.searchsorted(sums, levels, right=True)[:, 0].clamp_max(sums.shape[1] - 1)


def objective_of(hub: Hub) -> Objective:
    """The objective for a graph's task and outputs. Raises UnsupportedError for a graph without float outputs."""
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
            return Objective(("start_logits", "end_logits"), "softmax", over_positions=True)
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
        raise UnsupportedError.of("calibration.outputs", "the graph has no float output to calibrate for")
    return Objective(counted, "plain")


def _by_position(output: Tensor, batch: Batch) -> bool:
    """Whether the output is `[batch, seq, width]`."""
    return output.dim() >= 3 and output.shape[:2] == batch.real.shape


def _scale(rows: Tensor) -> Tensor:
    """The mean squared norm of the rows."""
    return (rows**2).sum(-1).mean().clamp_min(1e-12)
