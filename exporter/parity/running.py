"""Runs the subjects one after the other on the same texts and tasks, and keeps what they answered."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.parity import selfcheck
from exporter.parity.locate.mil_values import OverflowScan
from exporter.parity.outputs import Outputs
from exporter.parity.results import Artifact, Row
from exporter.parity.subjects import TITLES, Key, Opener
from exporter.parity.task import Answers, EncodedItem, answer_tasks
from exporter.parity.texts import GREEDY_TOKENS, Texts
from exporter.progress import Progress
from exporter.runners.base import DecoderRunner, EncoderRunner
from exporter.runners.greedy import greedy

_TASK_SUBJECTS: tuple[Key, ...] = ("checkpoint", "onnx", "coreml")  # the reference, and what is shipped


@dataclass
class Running:
    """What has been computed so far: outputs per text, rows of subjects against themselves, answers to tasks.

    overflow: float16 tensor of the Core ML program → its largest value, where that is beyond ±65504, in program order.
    """

    opener: Opener
    outputs: Outputs
    progress: Progress
    texts: Texts
    tasks: tuple[EncodedItem, ...] = ()
    runners: dict[Key, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    answers: dict[Key, Answers] = field(default_factory=dict)
    overflow: dict[str, float] = field(default_factory=dict)

    def run(self, key: Key) -> None:
        """Runs one subject; its model is let go of afterwards. The first one to run continues the prompts."""
        scan = OverflowScan(self.opener.mil_model()) if key == "coreml unrounded" else None
        runner = self.opener.open(key, scan)
        first = not self.runners
        self.runners[key] = runner.name
        if isinstance(runner, DecoderRunner):
            self._decoder(key, runner, first)
        else:
            self._encoder(key, runner)
        if key in ("hub", "onnx"):
            artifacts: tuple[Artifact, ...] = ("onnx",) if key == "onnx" else ()
            row = selfcheck.padding_row(runner, key, artifacts, self.texts, self.outputs)
            self.rows += [row] if row else []
        if scan is not None:
            self.overflow = scan.largest

    def _decoder(self, key: Key, runner: DecoderRunner, first: bool) -> None:
        if first and self.opener.options.depth == "full":
            self.texts = self.texts.continued(self._greedy(runner))
        self.progress.stage(f"parity: {TITLES[key]}", len(self.texts.ids))
        for index, ids in enumerate(self.texts.ids):
            self.outputs.put(key, index, runner.session().feed(ids), None)
            self.progress.advance(self.texts.prompts[index].shown)
        switch = self.opener.subjects.rope_switch
        if key in ("onnx", "coreml"):
            self.rows.append(selfcheck.cached_decode_row(runner, key, self.texts, self.outputs, switch))
        callers = self.opener.subjects.coreml_callers
        if key == "coreml unrounded" and len(callers) > 1:
            other = self.opener.mil(rounding=False, mask=callers[1])
            assert isinstance(other, DecoderRunner)
            self.rows.append(selfcheck.masks_row(other, key, self.texts, self.outputs, switch))
        if self.tasks and key in _TASK_SUBJECTS:
            self.progress.stage(f"tasks: {TITLES[key]}", len(self.tasks))
            tokenizer, context = self.opener.subjects.tokenizer, self.opener.subjects.context
            self.answers[key] = answer_tasks(runner, self.tasks, tokenizer, context, self.progress)

    def _encoder(self, key: Key, runner: EncoderRunner) -> None:
        self.progress.stage(f"parity: {TITLES[key]}", len(self.texts.ids))
        for index, (ids, types) in enumerate(zip(self.texts.ids, self.texts.types, strict=True)):
            made = runner.encode(ids, types)
            self.outputs.put(key, index, self.texts.counted(index, made.tokens), made.sentence)
            self.progress.advance(self.texts.prompts[index].shown)

    def _greedy(self, runner: DecoderRunner) -> list[NDArray[np.int64]]:
        """What the first subject says after each prompt: up to `GREEDY_TOKENS`, the end token included.

        No more than the context has room for; the last token is never fed, so it may stand behind it.
        """
        self.progress.stage("parity: greedy continuations", len(self.texts.ids))
        tails = []
        for ids in self.texts.ids:
            bound = min(GREEDY_TOKENS, self.opener.subjects.context - len(ids) + 1)
            tails.append(np.asarray(greedy(runner, ids, bound, self.opener.subjects.tokenizer.eos_ids), np.int64))
            self.progress.advance()
        return tails
