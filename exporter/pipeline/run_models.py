"""A bundle's model as `kogata run` uses it: an encoder, a decoder, a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from exporter.bundle.encoders import default_prompt
from exporter.bundle.opened import OpenBundle, stated_scores
from exporter.errors import Diagnostic, InputError, KogataError
from exporter.formats import Form
from exporter.pipeline.answers import HeadFacts, read_logits
from exporter.pipeline.run_answer import Answer, AnswerText
from exporter.runners.base import EncoderRunner
from exporter.runners.generation import CachedDecoder, GenerationSettings, generate
from exporter.runners.shipped import ModelFile
from exporter.texts import PAIRED, Message, Prompt

MAX_CONTEXT = 2048  # tokens of a text model that states no length
GENERATES = "text-generation"

Show = Callable[[str], None]


class TextModel(Protocol):
    """A bundle's model, ready to answer texts. Its file is read by `load`, or at the first answer."""

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """What the user should know about the options."""

    def problem(self, prompt: Prompt) -> Diagnostic | None:
        """Why the model can't take the text, as far as that is known without running it."""

    def load(self) -> None:
        """Reads the model's file, unless it was read before. Raises InputError where its runtime refuses it."""

    def answer(self, prompt: Prompt, show: Show) -> Answer:
        """The model's output. show: gets a decoder's answer piece by piece. Raises InputError."""


@dataclass(frozen=True)
class EncoderModel:
    """An encoder, with or without a head. A text that is longer than the model takes is cut, with a warning."""

    bundle: OpenBundle
    form: Form
    file: ModelFile
    notes: tuple[Diagnostic, ...] = ()

    @cached_property
    def runner(self) -> EncoderRunner:
        """The file in its runtime."""
        return self.file.encoder()

    def problem(self, prompt: Prompt) -> Diagnostic | None:
        """See `TextModel`."""
        task = self.bundle.manifest.task
        if prompt.messages:
            return Diagnostic("run.messages", f"{task} takes no conversation", prompt.where, 'write the text as "text"')
        return _pair_problem(task, prompt)

    def load(self) -> None:
        """See `TextModel`."""
        _ = self.runner

    def answer(self, prompt: Prompt, show: Show) -> Answer:  # noqa: ARG002 - it has no text
        """See `TextModel`. Texts are cut as transformers and sentence-transformers cut them: of a pair the longer one
        first, and the special tokens stay.
        """
        with _naming(prompt.where):
            return self._answer(prompt)

    def _answer(self, prompt: Prompt) -> Answer:
        manifest, tokenizer = self.bundle.manifest, self.bundle.require_tokenizer()
        context, text = manifest.context or MAX_CONTEXT, default_prompt(manifest.model) + prompt.text
        encoded = tokenizer.encode_text(text, prompt.second)
        length = len(encoded.ids)
        notes: tuple[Diagnostic, ...] = ()
        if not length:
            raise _empty(prompt.where)
        if length > context:
            encoded = tokenizer.encode_text(text, prompt.second, max_length=context)
            message = f"the text has {length} tokens; the model takes {context}, so that the rest was left out"
            notes = (Diagnostic("run.truncated", message, prompt.where, "give a shorter text", "warning"),)
        made = self.runner.encode(encoded.ids, encoded.types)
        answer = Answer(self.form, self.runner.name, len(encoded.ids), where=prompt.where, notes=notes)
        if manifest.task == "feature-extraction":  # without pooling, the first token stands for the text
            return replace(answer, embedding=made.tokens[0] if made.sentence is None else made.sentence)
        labels, scores = manifest.model.get("labels", ()), stated_scores(manifest.model.get("scores"))
        facts = HeadFacts(manifest.task, tuple(map(str, labels)), scores)
        head = read_logits(facts, made.tokens, encoded, [prompt.text, prompt.second or ""], tokenizer)
        return replace(answer, head=head)


@dataclass(frozen=True)
class DecoderModel:
    """A decoder. A text is the user's turn where the model has a chat template, else it is continued.

    system: the system's turn, before every text. settings: `context` is that of the model.
    """

    bundle: OpenBundle
    form: Form
    file: ModelFile
    system: str | None
    settings: GenerationSettings
    notes: tuple[Diagnostic, ...] = ()

    @cached_property
    def decoder(self) -> CachedDecoder:
        """The file in its runtime."""
        return CachedDecoder(self.file.decoder())

    def problem(self, prompt: Prompt) -> Diagnostic | None:
        """See `TextModel`."""
        problem = _pair_problem(GENERATES, prompt)
        if problem is None and prompt.messages:
            if self.bundle.require_tokenizer().chat_template is None:
                problem = no_template("a conversation", prompt.where)
            elif self.system is not None and prompt.messages[0]["role"] == "system":
                message = "the conversation has a system turn of its own, so --system can't be given with it"
                problem = Diagnostic("run.system", message, prompt.where)
        if problem is not None:
            return problem
        try:
            self.ids(prompt)
        except InputError as error:
            return error.diagnostics[0]
        return None

    def load(self) -> None:
        """See `TextModel`."""
        _ = self.decoder

    def ids(self, prompt: Prompt) -> list[int]:
        """The token ids of the prompt. Raises InputError for one that doesn't fit, or that the template refuses."""
        system: tuple[Message, ...] = () if self.system is None else ({"role": "system", "content": self.system},)
        if system:
            prompt = replace(prompt, messages=(*system, *_messages(prompt)))
        with _naming(prompt.where):
            ids = [int(token) for token in prompt.tokens(self.bundle.require_tokenizer(), chat=True)]
            if not ids:
                raise _empty(prompt.where)
            if len(ids) > self.settings.context:
                message = f"the prompt has {len(ids)} tokens; the model's context is {self.settings.context}"
                raise InputError.of("run.length", message, hint="give a shorter text, or fewer turns")
        return ids

    def answer(self, prompt: Prompt, show: Show) -> Answer:
        """See `TextModel`."""
        ids = self.ids(prompt)
        with _naming(prompt.where):
            made = generate(self.decoder, self.bundle.require_tokenizer(), ids, self.settings, show)
        said = AnswerText(made.text, made.reason, len(ids), made.reused, self.settings.sampling)
        return Answer(self.form, self.decoder.runner.name, len(made.ids), said, where=prompt.where)


class Conversation:
    """The turns of one conversation. The model only runs what a turn adds to it."""

    def __init__(self, model: DecoderModel) -> None:
        self._model = model
        self._messages: list[Message] = []

    def say(self, text: str, show: Show) -> Answer:
        """The answer to the user's next turn. Raises InputError where the conversation doesn't fit any more."""
        self._messages.append({"role": "user", "content": text})
        where = f"turn {(len(self._messages) + 1) // 2}"
        answer = self._model.answer(Prompt("", tuple(self._messages), where=where), show)
        self._messages.append({"role": "assistant", "content": answer.text or ""})
        return answer


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    return prompt.messages or ({"role": "user", "content": prompt.text},)


def _pair_problem(task: str, prompt: Prompt) -> Diagnostic | None:
    """A second text where the task takes none, or none where it takes one."""
    if task in PAIRED and prompt.second is None:
        what = "the text to answer from" if task == "question-answering" else "the passage to rank"
        how = f'{what} as "second"' if prompt.where else f"{what} with --second"
        return Diagnostic("run.second", f"{task} takes two texts: give {how}", prompt.where or "--second")
    if prompt.second is not None and task not in (*PAIRED, "text-classification"):
        return Diagnostic("run.second", f"{task} takes one text", prompt.where or "--second")
    return None


def no_template(what: str, where: str) -> Diagnostic:
    """What was asked for needs a chat template, which the model lacks."""
    message = f"{what}: this model has no chat template; it only continues texts"
    return Diagnostic("run.template", message, where, "give the text that it should continue")


def _empty(where: str) -> KogataError:
    return InputError.of("run.length", "the text has no tokens", where=where, hint="give a text")


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Adds the text's place to errors."""
    try:
        yield
    except InputError as error:
        if not where:
            raise
        raise InputError(*(replace(d, where=_at(where, d.where)) for d in error.diagnostics)) from error


def _at(where: str, inner: str) -> str:
    return where if not inner or inner == where else f"{where}, {inner}"
