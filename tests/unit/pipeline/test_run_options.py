"""Which numbers `kogata run` samples with: the options', the file's, or transformers' defaults."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GenerationConfig

from exporter.errors import InputError, UsageError
from exporter.pipeline.run_options import GREEDY, RunOptions, StatedSampling, settle_sampling
from exporter.runners.sampling import Sampling

QWEN = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05}


@pytest.mark.parametrize(
    ("stated", "config", "expected"),
    [
        (StatedSampling(), {}, Sampling()),
        (StatedSampling(), QWEN, Sampling(0.7, 20, 0.8, 0.0, 1.05)),
        (StatedSampling(seed=9, min_p=0.1, top_k=0), QWEN, Sampling(0.7, 0, 0.8, 0.1, 1.05, 9)),
        (StatedSampling(greedy=True), QWEN, Sampling(repetition_penalty=1.05)),  # as do_sample=False in transformers
        (StatedSampling(greedy=True, repetition_penalty=1.2), QWEN, Sampling(repetition_penalty=1.2)),
        (GREEDY, QWEN, Sampling()),
        (StatedSampling(), {**QWEN, "do_sample": False}, Sampling(repetition_penalty=1.05)),
        (StatedSampling(temperature=0.5), {"top_p": 0.9}, Sampling(0.5, 50, 0.9)),
        (StatedSampling(top_k=3), {}, Sampling(1.0, 3)),
        (StatedSampling(temperature=0), QWEN, Sampling(0, 20, 0.8, 0.0, 1.05)),
        (StatedSampling(), {"do_sample": True, "top_k": None, "min_p": None, "temperature": None}, Sampling(1.0)),
        (StatedSampling(), {"do_sample": False, "temperature": "hot"}, Sampling()),  # isn't used
    ],
)
def test_options_come_before_the_file_and_the_file_before_defaults(
    stated: StatedSampling, config: dict[str, Any], expected: Sampling
) -> None:
    assert settle_sampling(stated, config)[0] == expected


def test_defaults_are_those_of_transformers() -> None:
    usual = GenerationConfig(do_sample=True)
    found, _ = settle_sampling(StatedSampling(), {"do_sample": True})
    assert (found.temperature, found.top_k, found.top_p) == (usual.temperature, usual.top_k, usual.top_p)
    assert found.repetition_penalty == usual.repetition_penalty
    assert GenerationConfig(do_sample=True, top_k=None).top_k is None  # no filter: null isn't the same as nothing
    assert usual.min_p is None
    assert found.min_p == 0


def test_all_options_that_are_out_of_range_are_named_at_once() -> None:
    nan, infinite = float("nan"), float("inf")
    wrong = StatedSampling(True, nan, -1, 1.1, -0.1, infinite, 2**64)
    with pytest.raises(UsageError) as caught:
        settle_sampling(wrong, {})
    named = [d.where for d in caught.value.diagnostics]
    assert named == ["--temperature", "--top-k", "--top-p", "--min-p", "--repetition-penalty", "--seed", "--greedy"]


def test_all_numbers_of_the_file_that_are_used_and_wrong_are_named_at_once() -> None:
    config = {"do_sample": True, "temperature": True, "top_k": 2.5, "top_p": "x", "min_p": -1, "repetition_penalty": 0}
    with pytest.raises(InputError) as caught:
        settle_sampling(StatedSampling(top_p=0.5), config)
    messages = " ".join(d.message for d in caught.value.diagnostics)
    assert len(caught.value.diagnostics) == 4
    assert all(key in messages for key in ("temperature", "top_k", "min_p", "repetition_penalty"))


@pytest.mark.parametrize("option", [{"temperature": 0.7}, {"top_k": 5}, {"min_p": 0.0}])
def test_greedy_and_an_option_of_chance_contradict_each_other(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="nothing to chance"):
        settle_sampling(StatedSampling(greedy=True, **option), {})
    assert settle_sampling(StatedSampling(greedy=True, temperature=0, seed=1), QWEN)[0].is_greedy


def test_settings_that_are_not_done_are_named_unless_they_change_nothing() -> None:
    usual = {key: value for key, value in GenerationConfig().to_dict().items() if value is not None}
    assert settle_sampling(StatedSampling(), usual)[1] == ()
    _, notes = settle_sampling(StatedSampling(), {"no_repeat_ngram_size": 3, "num_beams": 4})
    assert [note.level for note in notes] == ["note"]
    assert "no_repeat_ngram_size 3, num_beams 4" in notes[0].message


def test_a_seed_without_chance_is_named() -> None:
    _, notes = settle_sampling(StatedSampling(seed=4), {})
    assert [note.code for note in notes] == ["run.seed"]
    assert settle_sampling(StatedSampling(seed=4), QWEN)[1] == ()


def test_options_that_only_decoders_take() -> None:
    options = RunOptions(max_tokens=3, system="", chat=True, sampling=StatedSampling(top_k=0, seed=0))
    assert set(options.of_decoders) == {"--max-tokens", "--system", "--chat", "--top-k", "--seed"}
    assert RunOptions("onnx").of_decoders == ()
