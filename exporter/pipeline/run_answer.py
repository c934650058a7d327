"""One answer of `kogata run`, as JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.errors import Diagnostic
from exporter.formats import Form
from exporter.pipeline.answers import HeadAnswer
from exporter.runners.generation import StopReason
from exporter.runners.sampling import Sampling

SHOWN = 8  # elements of an embedding that text output shows


@dataclass(frozen=True)
class AnswerText:
    """A decoder's answer. prompt_tokens: of the prompt; reused_tokens: of these, in the cache already."""

    text: str
    stopped: StopReason
    prompt_tokens: int
    reused_tokens: int
    sampling: Sampling

    def as_json(self) -> dict[str, Any]:
        """All of it; `sampling` where chance was asked for."""
        facts: dict[str, Any] = {
            "text": self.text,
            "stopped": self.stopped,
            "prompt_tokens": self.prompt_tokens,
            "reused_tokens": self.reused_tokens,
        }
        return facts if self.sampling.is_greedy else {**facts, "sampling": vars(self.sampling)}


@dataclass(frozen=True)
class Answer:
    """The model's output. runner: what ran the model. tokens: of the answer, else of the text.

    said: of a decoder. embedding: of an encoder, float32 `[hidden]`. head: what an encoder's head says. where: the
    text's file and line, or the turn. notes: what the user should know about it.
    """

    artifact: Form
    runner: str
    tokens: int
    said: AnswerText | None = None
    embedding: np.ndarray | None = None
    head: HeadAnswer | None = None
    where: str = ""
    notes: tuple[Diagnostic, ...] = ()

    @property
    def text(self) -> str | None:
        """A decoder's answer."""
        return None if self.said is None else self.said.text

    def as_json(self) -> Mapping[str, Any]:
        """All of it."""
        facts: dict[str, Any] = {"input": self.where} if self.where else {}
        facts |= {"artifact": self.artifact.label, "runner": self.runner, "tokens": self.tokens}
        if self.said is not None:
            facts |= self.said.as_json()
        if self.embedding is not None:
            facts["embedding"] = [float(str(x)) for x in self.embedding]  # the shortest spelling of each float32
        return facts | (dict(self.head.as_json()) if self.head is not None else {})

    def as_text(self) -> str:
        """The answer alone, or the beginning of the embedding."""
        if self.head is not None:
            return self.head.as_text()
        if self.embedding is None:
            return self.text or ""
        shown = " ".join(f"{x:+.4f}" for x in self.embedding[:SHOWN])
        norm = float(np.linalg.norm(self.embedding))
        return (
            f"[{shown} …]  {self.embedding.size} dimensions, norm {norm:.4f}  (all of them: --format json, -o FILE.npy)"
        )
