"""The flow of `kogata run`: options, texts and bundle are checked, then every text is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from exporter.bundle.opened import OpenBundle, open_bundle
from exporter.errors import Diagnostic, Gathered, UsageError
from exporter.pipeline.run import open_text_model, require_runnable
from exporter.pipeline.run_answer import Answer
from exporter.pipeline.run_files import AnswerFile
from exporter.pipeline.run_inputs import RunInputs
from exporter.pipeline.run_models import Conversation, DecoderModel, EncoderModel
from exporter.pipeline.run_options import RunOptions
from exporter.progress import Progress
from exporter.texts import Prompt


class Listener(Protocol):
    """Receives the answers while they are made."""

    def piece(self, text: str) -> None:
        """The next part of a decoder's answer."""

    def add(self, answer: Answer) -> None:
        """An answer is complete."""


@dataclass(frozen=True)
class RunRequest:
    """What the command line asks for. output: where the answers go; None: they are shown. stdin: None where closed."""

    bundle: Path
    inputs: RunInputs
    options: RunOptions
    output: AnswerFile | None = None
    stdin: BinaryIO | None = None


@dataclass(frozen=True)
class ReadyTexts:
    """A request that was checked. prompts: empty for a conversation, whose turns are read as they come."""

    request: RunRequest
    bundle: OpenBundle
    model: DecoderModel | EncoderModel
    prompts: tuple[Prompt, ...]

    @property
    def have_lines(self) -> bool:
        """Whether the answers to several texts may have more than one line each."""
        several = self.request.inputs.are_several and not self.request.options.chat
        return several and self.bundle.manifest.task != "feature-extraction"


def ready(request: RunRequest, progress: Progress) -> ReadyTexts:
    """Reads the texts, the bundle and its model. Raises UsageError or InputError with all problems that can be known
    before the model is read.
    """
    UsageError.raise_all(_option_problems(request))
    inputs, output, found = request.inputs, request.output, Gathered()
    prompts = () if inputs.chat else found.read(inputs.prompts, request.stdin)
    progress.stage("load", 1)  # not before standard input was read, which may take as long as the user types
    bundle = found.read(open_bundle, request.bundle)
    model = None if bundle is None else found.read(open_text_model, bundle, request.options)
    if output is not None and bundle is not None:
        problem = output.task_problem(bundle.manifest.task)
        found.read(UsageError.raise_all, [] if problem is None else [problem])
    found.raise_all()
    assert bundle is not None
    assert model is not None
    assert prompts is not None
    require_runnable(model, prompts)
    model.load()
    return ReadyTexts(request, bundle, model, prompts)


def _option_problems(request: RunRequest) -> list[Diagnostic]:
    inputs, output = request.inputs, request.output
    problems = [*inputs.problems(), *request.options.sampling.problems()]
    if output is not None:
        problems += output.problems(request.bundle, inputs.path)
        if inputs.chat:
            message, hint = "a conversation isn't written to a file", "--format json writes its answers as JSON lines"
            problems.append(Diagnostic("run.output", message, "--output", hint))
    return problems


def run_texts(texts: ReadyTexts, listener: Listener, ask: Callable[[], None], progress: Progress) -> None:
    """Answers every text, and writes the answers where a file is asked for. ask: called before a turn is read."""
    request, model = texts.request, texts.model
    if request.options.chat:
        assert isinstance(model, DecoderModel)  # `open_text_model` refuses --chat for other models
        conversation = Conversation(model)
        for text in request.inputs.turns(request.stdin, ask):
            listener.add(conversation.say(text, listener.piece))
        return
    if request.output is not None:
        progress.stage("run", len(texts.prompts))
    answers = []
    for prompt in texts.prompts:
        answer = model.answer(prompt, listener.piece)
        listener.add(answer)
        if request.output is not None:
            answers.append(answer)
            progress.advance()
    if request.output is not None:
        request.output.write(answers)
