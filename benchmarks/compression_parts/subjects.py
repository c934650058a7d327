"""Decoders and sentence encoders in torch with replaceable weights; scores measure the change of their outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from exporter.graph.model import Hub
from exporter.importers.routes import ImportOptions, import_model, open_model

from .parts import Scores, Weights

BATCH = 2048  # about so many tokens in a forward pass, because logits of a large vocabulary take much memory
NEIGHBOURS = 10


def hub_of(checkpoint: Path) -> Hub:
    """The graph that Kogata imports, for the names of its tensors and the matrices that can be compressed."""
    with tempfile.TemporaryDirectory() as work:
        return import_model(open_model(str(checkpoint)), ImportOptions(), Path(work)).hubs[0]


class Replaceable:
    """A torch model whose parameters can be replaced by their names in the checkpoint."""

    def __init__(self, checkpoint: Path, loader: type[AutoModel]) -> None:
        self.checkpoint, self.hub = checkpoint, hub_of(checkpoint)
        self.model: PreTrainedModel = loader.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        named = dict(self.model.named_parameters(remove_duplicate=False))
        prefix = f"{self.model.base_model_prefix}."
        self.parameters: dict[str, torch.nn.Parameter] = {}
        for weight in self.hub.weights:
            found = next(
                (n for n in (weight.name, prefix + weight.name, weight.name.removeprefix(prefix)) if n in named), ""
            )
            if not found or tuple(named[found].shape) != weight.shape:
                raise SystemExit(f"error: transformers has no parameter for {weight.name} {weight.shape}")
            self.parameters[weight.name] = named[found]
        judged = {id(parameter) for parameter in self.parameters.values()}
        for parameter in self.model.parameters():  # unused parameters, such as a pooler's, have no gradient
            parameter.requires_grad_(id(parameter) in judged)

    @contextmanager
    def replaced(self, weights: Weights) -> Iterator[None]:
        """The model computes with `weights` inside the `with` block."""
        before = {name: self.parameters[name].data for name in weights}
        try:
            for name, weight in weights.items():
                self.parameters[name].data = torch.from_numpy(np.array(weight, np.float32))
            yield
        finally:
            for name, data in before.items():
                self.parameters[name].data = data


class Decoder(Replaceable):
    """A decoder. Its scores are the KL of its next-token distributions to the uncompressed ones, and its perplexity.

    held_out, calibration: sequences of token ids. task: additional measurements of the model with its current weights.
    """

    def __init__(
        self, name: str, checkpoint: Path, task: Callable[[PreTrainedModel], Mapping[str, float]] | None = None
    ) -> None:
        super().__init__(checkpoint, AutoModelForCausalLM)
        self.name, self.task = name, task
        self.metrics: tuple[str, ...] = ("KL", "perplexity", "top-1")
        self.held_out: Sequence[Sequence[int]] = ()
        self.calibration: Sequence[Sequence[int]] = ()
        self._reference: list[torch.Tensor] = []

    def score(self, weights: Weights) -> Scores:
        batches = list(batched(self.held_out))
        if not self._reference:
            self._reference = [self._log_probabilities(ids, mask) for ids, mask, _ in batches]
        kl = nll = agreed = 0.0
        positions = targets = 0
        with self.replaced(weights):
            for (ids, mask, following), reference in zip(batches, self._reference, strict=True):
                found = self._log_probabilities(ids, mask)
                kl += float((reference.exp() * (reference - found)).sum(dtype=torch.float64))
                agreed += int((reference.argmax(-1) == found.argmax(-1)).sum())
                known = following[mask.bool()]
                nll -= float(found[known >= 0].gather(1, known[known >= 0, None]).sum(dtype=torch.float64))
                positions, targets = positions + len(found), targets + int((known >= 0).sum())
            extra = self.task(self.model) if self.task else {}
        return {"KL": kl / positions, "perplexity": float(np.exp(nll / targets)), "top-1": agreed / positions, **extra}

    @torch.no_grad()
    def _log_probabilities(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return torch.log_softmax(logits[mask.bool()], -1)

    def losses(self) -> Iterator[torch.Tensor]:
        """Cross-entropy of each calibration text."""
        for sequence in self.calibration:
            ids = torch.tensor([sequence])
            yield self.model(input_ids=ids, labels=ids, use_cache=False).loss


class Encoder(Replaceable):
    """An encoder. Its scores are the cosine of its sentence embeddings (mean of the tokens) to the uncompressed ones,
    and the share of each sentence's ten nearest neighbours that stay the same.
    """

    metrics = ("1 - cosine", "lowest cosine", "top-10 overlap")

    def __init__(self, name: str, checkpoint: Path) -> None:
        super().__init__(checkpoint, AutoModel)
        self.name = name
        self.held_out: Sequence[str] = ()
        self.calibration: Sequence[str] = ()
        self._reference: NDArray[np.float32] | None = None

    def score(self, weights: Weights) -> Scores:
        if self._reference is None:
            self._reference = self._embeddings()
        with self.replaced(weights):
            found = self._embeddings()
        cosines = (found * self._reference).sum(1, dtype=np.float64)
        before, after = neighbours(self._reference), neighbours(found)
        kept = [len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(before, after, strict=True)]
        return {
            "1 - cosine": max(1 - float(cosines.mean()), 0.0),  # rounding can make it negative
            "lowest cosine": float(cosines.min()),
            "top-10 overlap": float(np.mean(kept)),
        }

    @torch.no_grad()
    def _embeddings(self) -> NDArray[np.float32]:
        encoded = self.tokenizer(list(self.held_out), truncation=True, max_length=128)["input_ids"]
        order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i]), i))
        result = np.empty((len(encoded), self.model.config.hidden_size), np.float32)
        start = 0
        for ids, mask, _ in batched([encoded[i] for i in order]):
            result[order[start : start + len(ids)]] = self._pooled(ids, mask).numpy()
            start += len(ids)
        return result

    def _pooled(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=-1)

    def losses(self) -> Iterator[torch.Tensor]:
        """A random projection of each calibration text's embedding, since there are no labels. The mean of its squared
        gradients is the diagonal of JᵀJ of the embedding.
        """
        generator = torch.Generator().manual_seed(0)
        for text in self.calibration:
            ids = torch.tensor([self.tokenizer(text, truncation=True, max_length=128)["input_ids"]])
            embedding = self._pooled(ids, torch.ones_like(ids))[0]
            yield embedding @ torch.randn(len(embedding), generator=generator)


def neighbours(embeddings: NDArray[np.float32]) -> NDArray[np.intp]:
    """The ten nearest other rows of each row by cosine, `[n, 10]`; of equal ones the earlier row comes first."""
    similar = embeddings @ embeddings.T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :NEIGHBOURS]


def batched(sequences: Sequence[Sequence[int]]) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Ids, mask and next ids (-1: none), int64 `[batch, longest]`, padded on the right, in the order of sequences."""
    start = 0
    while start < len(sequences):
        stop, longest = start, 0
        while stop < len(sequences):
            longest = max(longest, len(sequences[stop]))
            if stop > start and longest * (stop + 1 - start) > BATCH:
                break
            stop += 1
        rows = sequences[start:stop]
        ids, mask, following = (torch.full((len(rows), max(map(len, rows))), fill) for fill in (0, 0, -1))
        for row, sequence in enumerate(rows):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
            following[row, : len(sequence) - 1] = ids[row, 1 : len(sequence)]
        yield ids, mask, following
        start = stop
