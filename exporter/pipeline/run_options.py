"""How `kogata run` chooses tokens: what the user asks for, else what generation_config.json states."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from exporter.errors import Diagnostic, InputError, UsageError
from exporter.runners.sampling import SEEDS, Sampling

_FILE = "generation_config.json"


@dataclass(frozen=True)
class _Number:
    """A number that sampling takes, under the name that transformers gives it. default: transformers', for sampling.
    off: the value that changes nothing.
    """

    key: str
    default: float
    off: float
    is_allowed: Callable[[float], bool]
    words: str
    is_whole: bool = False

    @property
    def option(self) -> str:
        return "--" + self.key.replace("_", "-")

    def accepts(self, value: object) -> bool:
        """Whether it is a finite number of this kind."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.is_whole and not isinstance(value, int):
            return False
        return (isinstance(value, int) or math.isfinite(value)) and self.is_allowed(value)


_NUMBERS = (
    _Number("temperature", 1.0, 1.0, lambda value: value >= 0, "0 or a positive number"),
    _Number("top_k", 50, 0, lambda value: value >= 0, "0 (all tokens) or a positive whole number", is_whole=True),
    _Number("top_p", 1.0, 1.0, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    _Number("min_p", 0.0, 0.0, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    _Number("repetition_penalty", 1.0, 1.0, lambda value: value > 0, "a positive number"),
)
_CHANCE = ("temperature", "top_k", "top_p", "min_p")  # any of these as an option asks for sampling
_IGNORED: Mapping[str, tuple[object, ...]] = {  # what else a generation_config may state → values that change nothing
    "bad_words_ids": (None, []),
    "begin_suppress_tokens": (None, []),
    "encoder_repetition_penalty": (None, 1),
    "epsilon_cutoff": (None, 0),
    "eta_cutoff": (None, 0),
    "exponential_decay_length_penalty": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "guidance_scale": (None, 1),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "no_repeat_ngram_size": (None, 0),
    "num_beams": (None, 1),
    "penalty_alpha": (None, 0),
    "sequence_bias": (None, {}),
    "suppress_tokens": (None, []),
    "top_h": (None,),
    "typical_p": (None, 1),
}


@dataclass(frozen=True)
class StatedSampling:
    """Options of the command line; None where an option isn't given."""

    greedy: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The options that are given."""
        values = {name.name: getattr(self, name.name) for name in fields(self)}
        return tuple(
            "--" + name.replace("_", "-") for name, value in values.items() if value is not None and value is not False
        )

    def problems(self) -> list[Diagnostic]:
        """Every option that is out of range or contradicts another."""
        found = [
            Diagnostic("run.sampling", f"{number.option} must be {number.words}", number.option)
            for number in _NUMBERS
            if (value := getattr(self, number.key)) is not None and not number.accepts(value)
        ]
        if self.seed is not None and not 0 <= self.seed < SEEDS:
            found.append(Diagnostic("run.sampling", "--seed must be a whole number from 0 to 2^64 - 1", "--seed"))
        chance = [
            number.option for number in _NUMBERS if number.key in _CHANCE and getattr(self, number.key) is not None
        ]
        against = [option for option in chance if option != "--temperature" or self.temperature != 0]
        if self.greedy and against:
            message = f"--greedy leaves nothing to chance, so {', '.join(against)} can't be given with it"
            found.append(Diagnostic("run.sampling", message, "--greedy"))
        return found


GREEDY = StatedSampling(greedy=True, repetition_penalty=1.0)  # always the most likely token, whatever the model states


@dataclass(frozen=True)
class RunOptions:
    """How texts are run. artifact: a format, or a form such as "onnx/portable"; None: ONNX where the bundle has it.

    max_tokens: of an answer; None: as the model states, else 128. system: the system's turn. chat: whether texts are
    the turns of one conversation.
    """

    artifact: str | None = None
    max_tokens: int | None = None
    system: str | None = None
    chat: bool = False
    sampling: StatedSampling = field(default_factory=StatedSampling)

    @property
    def of_decoders(self) -> tuple[str, ...]:
        """The options that are given and that only a decoder takes."""
        stated = {"--chat": self.chat, "--system": self.system is not None, "--max-tokens": self.max_tokens is not None}
        return (*(name for name, is_given in stated.items() if is_given), *self.sampling.given)


def settle_sampling(stated: StatedSampling, config: Mapping[str, Any]) -> tuple[Sampling, tuple[Diagnostic, ...]]:
    """The sampling to use, and what the user should know about it. config: generation_config.json.

    As in transformers: the file's numbers count where no option is given, and transformers' defaults (a `top_k` of 50)
    where neither is. Sampling is used where `do_sample` is true or an option asks for it.
    Raises UsageError for the options, InputError for the file, with all problems of it.
    """
    UsageError.raise_all(stated.problems())
    asked = any(getattr(stated, key) is not None for key in _CHANCE)
    by_chance = not stated.greedy and (asked or config.get("do_sample") is True)
    values: dict[str, Any] = {}
    problems = []
    for number in _NUMBERS:
        option, written = getattr(stated, number.key), config.get(number.key)
        is_used = by_chance or number.key not in _CHANCE
        if option is None and written is not None and is_used and not number.accepts(written):
            message, hint = (
                f"{number.key} is {str(written)[:40]!r}",
                f"it must be {number.words}; or give {number.option}",
            )
            problems.append(Diagnostic("run.sampling", message, _FILE, hint))
        usual = number.off if number.key in config else number.default  # null in the file turns a filter off
        values[number.key] = option if option is not None else usual if written is None else written
    InputError.raise_all(problems)
    notes = _notes(stated, config, by_chance)
    if not by_chance:
        return Sampling(repetition_penalty=values["repetition_penalty"]), notes
    return Sampling(**values, seed=stated.seed or 0), notes


def _notes(stated: StatedSampling, config: Mapping[str, Any], by_chance: bool) -> tuple[Diagnostic, ...]:
    found = []
    ignored = [f"{key} {config[key]}"[:60] for key, usual in _IGNORED.items() if config.get(key) not in usual]
    if ignored and stated != GREEDY:
        message = f"it asks for {', '.join(ignored)}, which `kogata run` doesn't do"
        hint = "an app's runtime may do it, so that answers differ"
        found.append(Diagnostic("run.generation-config", message, _FILE, hint, "note"))
    if stated.seed is not None and not by_chance:
        message = "this model's answers are greedy, so --seed changes nothing"
        found.append(Diagnostic("run.seed", message, "--seed", "add --temperature to sample", "note"))
    return tuple(found)
