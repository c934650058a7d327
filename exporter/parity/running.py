"""Runs a text model's subjects one after the other on the same prompts and tasks, and compares their outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from exporter.formats import Form
from exporter.parity import selfcheck
from exporter.parity.engine import Engine, Measured
from exporter.parity.fit_limits import narrowed
from exporter.parity.keys import Key, Unrounded, title
from exporter.parity.locate.divergence import Divergence
from exporter.parity.locate.search import Text, TextSearch
from exporter.parity.measures import measured
from exporter.parity.outputs import Outputs
from exporter.parity.results import Row
from exporter.parity.rows import Comparison
from exporter.parity.subjects import TextOpener
from exporter.parity.task import Answers, EncodedItem, answer_tasks
from exporter.parity.texts import GREEDY_TOKENS, Texts
from exporter.parity.thresholds import Limit, compression_limits
from exporter.runners.base import DecoderRunner, EncoderRunner
from exporter.runners.greedy import greedy
from exporter.runners.shipped import rounds
from exporter.texts import choose

KEPT_TASKS = 8  # answers of a task file that become test vectors for devices, beside as many prompts


@dataclass(kw_only=True)
class TextEngine(Engine):
    """A text model: outputs per prompt, rows of subjects against themselves, answers to tasks."""

    opener: TextOpener
    outputs: Outputs
    texts: Texts
    tasks: tuple[EncodedItem, ...] = ()
    rows: list[Row] = field(default_factory=list)
    answers: dict[Key, Answers] = field(default_factory=dict)

    @property
    def labels(self) -> Sequence[str]:
        """The beginning of each prompt."""
        return [prompt.shown for prompt in self.texts.prompts]

    def lossy(self, bits: float) -> tuple[Limit, ...]:
        """The limits for this kind of outputs."""
        options, judged = self.opener.options, self.opener.judged
        return narrowed(compression_limits(bits, judged), options.cost, judged, options.depth)

    def measure(self, comparison: Comparison) -> Measured:
        """Compares two subjects prompt by prompt."""
        sigmoid = self.opener.judged == "classes" and self.opener.subjects.scores == "sigmoid"
        pairs = [
            (self.outputs.get(comparison.reference, index), self.outputs.get(comparison.artifact, index))
            for index in range(len(self.texts.ids))
        ]
        return measured(self.opener.judged, pairs, comparison.psnr_limit, self.texts.greedy_from, sigmoid=sigmoid)

    def locate(self, comparison: Comparison, index: int) -> Divergence | None:
        """The first tensor that diverges on one prompt."""
        types = self.texts.types[index] if self.texts.types else None
        return TextSearch(self.opener).find(comparison, Text.of(self.texts.ids[index], types))

    def run(self, key: Key) -> None:
        """Runs one subject and lets go of its model. The first one to run continues the prompts."""
        begun = time.perf_counter()
        scan = self.opener.scan(key)
        runner = self.opener.open(key, scan)
        first = not self.runners
        self.runners[key] = runner.name
        if isinstance(runner, DecoderRunner):
            self._decoder(key, runner, first)
        else:
            self._encoder(key, runner)
        if key == "hub" or isinstance(key, Form) or self._exact(key):
            switch = self.opener.subjects.rope_switch
            row = selfcheck.padding_row(runner, key, self.texts, self.outputs, switch)
            self.rows += [row] if row else []
        if scan is not None:
            self.overflow[key] = scan.largest
        self.spent[key] = time.perf_counter() - begun

    def _decoder(self, key: Key, runner: DecoderRunner, first: bool) -> None:
        if first and self.opener.options.depth == "full":
            self.texts = self.texts.continued(self._greedy(runner))
        self.progress.stage(f"parity: {title(key)}", len(self.texts.ids))
        for index, ids in enumerate(self.texts.ids):
            self.outputs.put(key, index, runner.session().feed(ids), None)
            self.progress.advance(self.texts.prompts[index].shown)
        switch = self.opener.subjects.rope_switch
        if isinstance(key, Form) or self._exact(key):
            self.rows.append(selfcheck.cached_decode_row(runner, key, self.texts, self.outputs, switch))
        other = self.opener.other_caller(key) if isinstance(key, Unrounded) else None
        if isinstance(key, Unrounded) and other is not None:
            self.rows.append(selfcheck.masks_row(other, key, self.texts, self.outputs, switch))
        if self.tasks and (key == "checkpoint" or isinstance(key, Form)):
            self.progress.stage(f"tasks: {title(key)}", len(self.tasks))
            tokenizer, context = self.opener.subjects.tokenizer, self.opener.subjects.context
            self.answers[key] = answer_tasks(runner, self.tasks, tokenizer, context, self.progress, self._keep(key))

    @cached_property
    def kept_tasks(self) -> tuple[int, ...]:
        """The task items whose logits are kept for device.json, evenly chosen; behind those of the prompts."""
        return choose(range(len(self.tasks)), KEPT_TASKS) if self.opener.options.device_vectors else ()

    @staticmethod
    def _exact(key: Key) -> TypeGuard[Unrounded]:
        """Whether it is a file that rounds activations, executed without: what the cache and padding change shows."""
        return isinstance(key, Unrounded) and rounds(key.form) == "int8"

    def _keep(self, key: Key) -> Callable[[int, NDArray[np.float32]], None]:
        def keep(index: int, logits: NDArray[np.float32]) -> None:
            if index in self.kept_tasks:
                self.outputs.put(key, len(self.texts.ids) + index, logits.copy(), None)

        return keep

    def _encoder(self, key: Key, runner: EncoderRunner) -> None:
        self.progress.stage(f"parity: {title(key)}", len(self.texts.ids))
        for index, (ids, types) in enumerate(zip(self.texts.ids, self.texts.types, strict=True)):
            made = runner.encode(ids, types)
            self.outputs.put(key, index, self.texts.counted(index, made.tokens), made.sentence)
            self.progress.advance(self.texts.prompts[index].shown)

    def _greedy(self, runner: DecoderRunner) -> list[NDArray[np.int64]]:
        """The first subject's continuation of each prompt: up to `GREEDY_TOKENS`, the end token included.

        It is no longer than the context has room for; the last token is never fed, so it may lie one behind the end.
        """
        self.progress.stage("parity: greedy continuations", len(self.texts.ids))
        tails = []
        for ids in self.texts.ids:
            bound = min(GREEDY_TOKENS, self.opener.subjects.context - len(ids) + 1)
            tails.append(np.asarray(greedy(runner, ids, bound, self.opener.subjects.tokenizer.eos_ids), np.int64))
            self.progress.advance()
        return tails
