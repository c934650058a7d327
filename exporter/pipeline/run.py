"""`kogata run`: an answer or an embedding from the files of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.bundle.encoders import default_prompt
from exporter.bundle.graphs import graph_specs
from exporter.bundle.opened import OpenBundle, open_bundle, stated_scores
from exporter.bundle.tree import printable
from exporter.checkpoint.folder import Folder
from exporter.errors import InputError, UnsupportedError, UsageError
from exporter.formats import FORMS, Form
from exporter.graph.model import GraphSpec
from exporter.pipeline.answers import HeadAnswer, HeadFacts, read_logits
from exporter.runners.base import SENTENCE, DecoderRunner
from exporter.runners.greedy import greedy
from exporter.runners.shipped import Conditions, shipped_file
from exporter.runners.threads import stored_bytes, threads_for
from exporter.texts import PAIRED, Prompt

MAX_TOKENS = 128  # where neither the user nor the model's generation_config says how long an answer may be
MAX_CONTEXT = 2048  # tokens of a text model that states no length
SHOWN = 8  # elements of an embedding that text output shows


@dataclass(frozen=True)
class Answer:
    """The model's output. text: of a decoder. embedding: of an encoder, float32 `[hidden]`. head: what an encoder's
    head says. runner: what ran the model.
    """

    artifact: Form
    runner: str
    tokens: int
    text: str | None = None
    embedding: np.ndarray | None = None
    head: HeadAnswer | None = None

    def as_json(self) -> Mapping[str, Any]:
        """All of it."""
        facts: dict[str, Any] = {"artifact": self.artifact.label, "runner": self.runner, "tokens": self.tokens}
        if self.text is not None:
            facts["text"] = self.text
        if self.embedding is not None:
            facts["embedding"] = [float(f"{x:.7g}") for x in self.embedding]
        return facts | (dict(self.head.as_json()) if self.head is not None else {})

    def as_text(self) -> str:
        """The answer alone, or the beginning of the embedding."""
        if self.head is not None:
            return self.head.as_text()
        if self.embedding is None:
            return self.text or ""
        shown = " ".join(f"{x:+.4f}" for x in self.embedding[:SHOWN])
        norm = float(np.linalg.norm(self.embedding))
        return f"[{shown} …]  {self.embedding.size} dimensions, norm {norm:.4f}  (all of them: --format json)"


def run_bundle(folder: Path, text: str, asked: str | None, max_tokens: int | None, second: str | None = None) -> Answer:
    """Like `run_opened`, for the bundle in `folder`."""
    return run_opened(open_bundle(folder), text, asked, max_tokens, second)


def run_opened(
    bundle: OpenBundle, text: str, asked: str | None, max_tokens: int | None, second: str | None = None
) -> Answer:
    """Runs one text, or a pair of them. asked: a format, or a form such as "onnx/portable"; None means ONNX where the
    bundle has it.

    Raises InputError for an artifact that isn't in the bundle, and for a text that
    doesn't fit; UsageError for a second text where the task takes one, and the other way round.
    """
    folder, manifest = bundle.folder, bundle.manifest
    tokenizer, context = bundle.tokenizer, manifest.context or MAX_CONTEXT
    specs = graph_specs(manifest)
    if tokenizer is None or (specs and manifest.task != "text-generation" and not _embeds_text(specs)):
        message = f"`kogata run` takes texts for decoders and encoders; this model is for {manifest.task}"
        hint = "its README.md shows how apps run it; `kogata check` runs it on built-in inputs"
        raise UnsupportedError.of("run.task", message, where=printable(str(folder)), hint=hint)
    artifacts = bundle.artifacts()
    chosen = _chosen(tuple(artifacts), asked, folder)
    _check_pair(manifest.task, second)
    conditions = Conditions(threads_for(stored_bytes(artifacts[chosen])), tokenizer.pad_id or 0)
    file = shipped_file(chosen, artifacts[chosen], conditions)
    if manifest.task == "text-generation":
        ids = Prompt(text).tokens(tokenizer, chat=True)
        _check_length(len(ids), context)
        return _generate(file.decoder(), bundle, ids, chosen, max_tokens)
    encoded = tokenizer.encode_text(default_prompt(manifest.model) + text, second)
    _check_length(len(encoded.ids), context)
    encoder = file.encoder()
    made = encoder.encode(encoded.ids, encoded.types)
    if manifest.task == "feature-extraction":  # without pooling, the first token stands for the text
        vector = made.tokens[0] if made.sentence is None else made.sentence
        return Answer(chosen, encoder.name, len(encoded.ids), embedding=vector)
    labels, scores = manifest.model.get("labels", ()), stated_scores(manifest.model.get("scores"))
    facts = HeadFacts(manifest.task, tuple(map(str, labels)), scores)
    head = read_logits(facts, made.tokens, encoded, [text, second or ""], tokenizer)
    return Answer(chosen, encoder.name, len(encoded.ids), head=head)


def _chosen(forms: Sequence[Form], asked: str | None, folder: Path) -> Form:
    """The first artifact of the format or form that was asked for. Raises InputError where the bundle has none."""
    if asked is None:
        return min(forms, key=list(FORMS).index)
    found = [form for form in forms if asked in (form.format, str(form))]
    if not found:
        hint = f"it has {', '.join(map(str, forms))}"
        raise InputError.of("run.artifact", f"the bundle has no {asked} artifact", where=str(folder), hint=hint)
    return found[0]


def _embeds_text(specs: Sequence[GraphSpec]) -> bool:
    """Whether the graph turns nothing but a text into a sentence embedding."""
    ports = {port.name for spec in specs for port in spec.inputs}
    return any(SENTENCE in spec.outputs for spec in specs) and ports <= {
        "input_ids",
        "attention_mask",
        "token_type_ids",
    }


def _check_length(tokens: int, context: int) -> None:
    if not 0 < tokens <= context:
        message = f"the text has {tokens} tokens; the model takes 1 to {context}"
        raise InputError.of("run.length", message, hint="give a shorter text" if tokens else "give a text")


def _check_pair(task: str, second: str | None) -> None:
    if task in PAIRED and second is None:
        what = "the text to answer from" if task == "question-answering" else "the passage to rank"
        raise UsageError.of("run.second", f"{task} takes two texts: give {what} with --second", where="--second")
    if second is not None and task not in (*PAIRED, "text-classification"):
        raise UsageError.of("run.second", f"{task} takes one text", where="--second")


def _generate(
    runner: DecoderRunner, bundle: OpenBundle, prompt: NDArray[np.int64], form: Form, max_tokens: int | None
) -> Answer:
    """Greedy decoding with the cache, until an end token or the bound."""
    tokenizer, context = bundle.require_tokenizer(), bundle.manifest.context or MAX_CONTEXT
    bound = min(max_tokens or _stated_length(bundle.folder) or MAX_TOKENS, context - len(prompt) + 1)
    answer = [token for token in greedy(runner, prompt, bound, tokenizer.eos_ids) if token not in tokenizer.eos_ids]
    return Answer(form, runner.name, len(answer), text=tokenizer.decode(answer))


def _stated_length(folder: Path) -> int | None:
    """`max_new_tokens` of the bundle's generation_config.json."""
    stated = (Folder.at(folder / "tokenizer").read_object("generation_config.json") or {}).get("max_new_tokens")
    return stated if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0 else None
