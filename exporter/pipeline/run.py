"""`kogata run` on one bundle: which file runs, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.bundle.graphs import graph_specs
from exporter.bundle.opened import OpenBundle, open_bundle
from exporter.bundle.tree import printable
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.chat_pieces import CHAT_PIECES
from exporter.errors import Diagnostic, Gathered, InputError, UnsupportedError, UsageError
from exporter.formats import FORMS, Form
from exporter.graph.model import GraphSpec
from exporter.pipeline.run_answer import Answer
from exporter.pipeline.run_models import GENERATES, MAX_CONTEXT, DecoderModel, EncoderModel, TextModel, no_template
from exporter.pipeline.run_options import GREEDY, RunOptions, settle_sampling
from exporter.runners.base import SENTENCE
from exporter.runners.generation import GenerationSettings
from exporter.runners.shipped import Conditions, ModelFile, shipped_file
from exporter.runners.threads import stored_bytes, threads_for
from exporter.texts import Prompt

MAX_TOKENS = 128  # where neither the user nor the model's generation_config says how long an answer may be
_MAX_PROBLEMS = 20  # so many texts of a file are named


def run_bundle(folder: Path, text: str, asked: str | None, max_tokens: int | None, second: str | None = None) -> Answer:
    """Like `run_opened`, for the bundle in `folder`."""
    return run_opened(open_bundle(folder), text, asked, max_tokens, second)


def run_opened(
    bundle: OpenBundle, text: str, asked: str | None, max_tokens: int | None, second: str | None = None
) -> Answer:
    """Runs one text, or a pair of them; a decoder always takes the most likely token.

    asked: as `RunOptions.artifact`. max_tokens: for decoders. Raises InputError for an artifact that isn't in the
    bundle, and for a text that doesn't fit; UsageError for a second text where the task takes one, and the other way
    round.
    """
    generates = bundle.manifest.task == GENERATES
    options = RunOptions(asked, max_tokens, sampling=GREEDY) if generates else RunOptions(asked)
    prompt, model = Prompt(text, second=second), open_text_model(bundle, options)
    require_runnable(model, [prompt])
    return model.answer(prompt, lambda _: None)


def open_text_model(bundle: OpenBundle, options: RunOptions) -> DecoderModel | EncoderModel:
    """The model of a bundle. Raises UnsupportedError for a model that takes no texts; InputError for an artifact that
    isn't in the bundle and for a damaged generation_config.json; UsageError for options that don't fit the model.
    """
    folder, manifest, tokenizer = bundle.folder, bundle.manifest, bundle.tokenizer
    specs = graph_specs(manifest)
    if tokenizer is None or (specs and manifest.task != GENERATES and not _embeds_text(specs)):
        message = f"`kogata run` takes texts for decoders and encoders; this model is for {manifest.task}"
        hint = "its README.md shows how apps run it; `kogata check` runs it on built-in inputs"
        raise UnsupportedError.of("run.task", message, where=printable(str(folder)), hint=hint)
    artifacts, problems = bundle.artifacts(), Gathered()
    form = problems.read(_chosen, tuple(artifacts), options.artifact, folder)
    if manifest.task != GENERATES:
        problems.read(_require_no_decoder_options, manifest.task, options)
        problems.raise_all()
        return EncoderModel(bundle, *_file(bundle, form))
    settled = problems.read(_generation, bundle, options)
    problems.raise_all()
    assert settled is not None
    return DecoderModel(bundle, *_file(bundle, form), options.system, *settled)


def _file(bundle: OpenBundle, form: Form | None) -> tuple[Form, ModelFile]:
    assert form is not None  # else the problem was raised
    path, tokenizer = bundle.artifacts()[form], bundle.require_tokenizer()
    return form, shipped_file(form, path, Conditions(threads_for(stored_bytes(path)), tokenizer.pad_id or 0))


def require_runnable(model: TextModel, prompts: Sequence[Prompt]) -> None:
    """Raises UsageError or InputError with the first 20 texts that the model can't take."""
    problems: list[Diagnostic] = []
    for prompt in prompts:
        problem = model.problem(prompt)
        if problem is not None:
            problems.append(problem)
        if len(problems) == _MAX_PROBLEMS:
            break
    about_option = bool(problems) and problems[0].where.startswith("--")
    (UsageError if about_option else InputError).raise_all(problems)


def _generation(bundle: OpenBundle, options: RunOptions) -> tuple[GenerationSettings, tuple[Diagnostic, ...]]:
    """How answers are generated, and what the user should know about it."""
    tokenizer, folder = bundle.require_tokenizer(), Folder.at(bundle.folder / "tokenizer")
    if tokenizer.chat_template is None and (options.chat or options.system is not None):
        asked = [name for name in options.of_decoders if name in ("--chat", "--system")]
        raise UsageError(no_template(" and ".join(asked), asked[0]))
    config = folder.read_object("generation_config.json") or {}
    sampling, notes = settle_sampling(options.sampling, config)
    ids, texts = _ends(folder) if tokenizer.chat_template is not None else ((), ())
    longest = options.max_tokens or _stated_length(config) or MAX_TOKENS
    context = bundle.manifest.context or MAX_CONTEXT
    return GenerationSettings(longest, context, frozenset({*tokenizer.eos_ids, *ids}), texts, sampling), notes


def _ends(folder: Folder) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The ids and the texts that end an answer by the chat template; none where chat.json states none."""
    pieces = folder.read_object(CHAT_PIECES) or {}
    ids, texts = pieces.get("stop_ids"), pieces.get("stop_texts")
    return (
        tuple(token for token in ids if type(token) is int) if isinstance(ids, list) else (),
        tuple(text for text in texts if isinstance(text, str)) if isinstance(texts, list) else (),
    )


def _stated_length(config: Mapping[str, Any]) -> int | None:
    """`max_new_tokens` of generation_config.json."""
    stated = config.get("max_new_tokens")
    return stated if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0 else None


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


def _require_no_decoder_options(task: str, options: RunOptions) -> None:
    UsageError.raise_all(
        [
            Diagnostic("run.option", f"{option} is for models that generate text; this one is for {task}", option)
            for option in options.of_decoders
        ]
    )
