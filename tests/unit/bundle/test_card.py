"""The model card says what is known, what is not, and is not led astray by what a checkpoint calls itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results
from onnx import TensorProto, helper
from support.bundles import write_bundle
from tokenizers import Tokenizer, models

from exporter.bundle import (
    UNCHECKED,
    Bound,
    BundlePlan,
    Example,
    Interface,
    ParityFacts,
    Port,
    TaskFacts,
    read_manifest,
)


def card(plan: BundlePlan, tmp_path: Path) -> str:
    return (write_bundle(plan, tmp_path / "out") / "README.md").read_text("utf-8")


def front_matter(text: str) -> dict[str, object]:
    _, front, _ = text.split("---\n", 2)
    return dict(yaml.safe_load(front))


def plain(text: str) -> str:
    """Without Markdown's escapes and line breaks."""
    return re.sub(r"\s+", " ", text.replace("\\", ""))


def test_front_matter_is_yaml_that_the_hub_understands(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    assert front_matter(card(decoder_plan, tmp_path)) == {
        "library_name": "coreml",
        "license": "apache-2.0",
        "language": ["en", "ja"],
        "base_model": "org/tiny",
        "base_model_relation": "quantized",
        "pipeline_tag": "text-generation",
        "tags": ["kogata", "coreml", "onnx", "palettized"],
    }


def test_numbers(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    text = plain(card(decoder_plan, tmp_path))
    assert "4.496 bits per weight" in text
    assert (
        "| Difference of the predictions (KL divergence, mean over positions) | 0.0123 nats | at most 0.02 nats |"
        in text
    )
    assert "| Distance of the outputs (PSNR, larger is closer) | not finite | none |" in text
    assert not re.search(r"\b(kl|top1|psnr_db)\b", text)  # metrics' names belong into report.json
    assert "revision `0123456789abcdef`" in text
    assert "| Core ML, for iPhone | coreml/tiny.mlpackage | 0.1 kB | not measured | iOS 18 | any |" in text
    assert "| onnx/model.onnx | " in text
    assert "| not measured | not stated; onnxruntime 1.23 | android |" in text


def test_four_rows_say_what_was_lost_and_a_broken_limit_is_never_left_out(
    decoder_plan: BundlePlan, tmp_path: Path
) -> None:
    metrics = {"kl": 0.5, "top1_or_tie": 0.91, "greedy_equal": 0.75, "cosine_min": 0.98, "psnr_db": 30.0, "order": 1.0}
    limits = {"kl": Bound(max=0.2), "top1_or_tie": Bound(min=0.8), "psnr_db": Bound(min=20.0)}
    metrics |= {"inconsistent": 2.0, "relative_error": 0.1}
    limits |= {"inconsistent": Bound(max=0.0)}
    failed = ParityFacts("failed", "a test", metrics, limits)
    plan = replace(decoder_plan, artifacts=tuple(replace(a, parity=failed) for a in decoder_plan.artifacts[:1]))
    text = plain((write_bundle(plan, tmp_path / "out") / "README.md").read_text("utf-8"))
    rows = re.findall(r"\| ([^|]*) \| ([^|]*) \| ([^|]*) \|", text.split("## What was lost")[1].split("## ")[0])
    assert rows[1:] == [
        (
            "Difference of the predictions (KL divergence, mean over positions)",
            "**0.5 nats**",
            "at most 0.2 nats: broken",
        ),
        ("Positions where the most likely token is the checkpoint's", "91 %", "at least 80 %"),
        ("Answers that are the same, word for word", "75 %", "none"),
        ("Distance of the outputs (PSNR, larger is closer)", "30 dB", "at least 20 dB"),
        ("inconsistent", "**2**", "at most 0: broken"),
    ]


def test_the_task_file_s_numbers_are_in_the_model_index(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    facts = ParityFacts("passed", "a test", tasks=(TaskFacts(95, 100, 97, 3.0, "passed"),))
    onnx, coreml = decoder_plan.artifacts
    source = replace(decoder_plan.source, license="other", license_link="https://example.org/LICENSE")
    text = card(replace(decoder_plan, source=source, artifacts=(replace(onnx, parity=facts), coreml)), tmp_path)
    front = front_matter(text)
    assert front["license_link"] == "https://example.org/LICENSE"
    assert front["model-index"] == [
        {
            "name": "tiny",
            "results": [
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"type": "custom", "name": "task file of the export"},
                    "metrics": [{"type": "exact_match", "name": "exact match, onnx/model.onnx", "value": 0.95}],
                }
            ],
        }
    ]
    index = model_index_to_eval_results(front["model-index"])  # huggingface_hub's own reader
    assert (index[0], [result.metric_value for result in index[1]]) == ("tiny", [0.95])
    assert "95 of 100 answers" in text


def test_the_example_is_text_and_stays_in_the_manifest(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    example = Example("What is <b>it</b>?\n# no heading", "a | lamp")
    path = write_bundle(replace(decoder_plan, example=example), tmp_path / "out")
    text = (path / "README.md").read_text("utf-8")
    assert read_manifest(path / "manifest.json").example == example
    assert "> What is \\<b\\>it\\</b\\>? \\# no heading\n" in text
    assert "> a \\| lamp\n" in text
    assert "## Example" not in card(decoder_plan, tmp_path / "without")


def test_what_was_not_measured_is_always_said(
    decoder_plan: BundlePlan, encoder_plan: BundlePlan, tmp_path: Path
) -> None:
    for index, plan in enumerate((decoder_plan, encoder_plan)):
        text = card(plan, tmp_path / str(index))
        assert "**Not run on a device**" in text
        assert "Speed, memory, energy" in text


def test_each_verdict_is_said_as_it_is(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    text = card(decoder_plan, tmp_path)
    assert "**onnx/model.onnx: unchecked.**" in text
    assert "**coreml/tiny.mlpackage: passed.** Compared with the checkpoint; runner: a test." in text
    artifacts = tuple(replace(a, parity=ParityFacts("failed", "a test")) for a in decoder_plan.artifacts)
    rejected = write_bundle(replace(decoder_plan, artifacts=artifacts), tmp_path / "bad")
    assert "**onnx/model.onnx: failed.**" in (rejected / "README.md").read_text("utf-8")


def test_unchecked_throughout_claims_nothing(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    artifacts = tuple(replace(a, parity=UNCHECKED) for a in decoder_plan.artifacts)
    text = card(replace(decoder_plan, artifacts=artifacts, parity_report=None, parity_html=None), tmp_path)
    assert "passed" not in text
    assert "parity/report" not in text
    assert "nor anywhere else" in text


def test_snippets_follow_the_task_and_the_files(
    decoder_plan: BundlePlan, encoder_plan: BundlePlan, tmp_path: Path
) -> None:
    decoder, encoder = card(decoder_plan, tmp_path / "d"), card(encoder_plan, tmp_path / "e")
    assert "model.makeState()" in decoder
    assert "GeneratorParams(model)" in decoder
    assert "ORTModelForCausalLM" in decoder
    assert "makeState" not in encoder
    assert "let length = [32, 64, 128].first" in encoder
    assert '"token_type_ids" to OnnxTensor' in encoder
    assert "apply_chat_template" in decoder
    for text in (decoder, encoder):
        assert text.count("```") % 2 == 0


def test_the_python_snippet_of_an_encoder_runs(
    encoder_plan: BundlePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tokenizer that pads to 8, as MiniLM's does to 128: the mask must come from it, not be all ones."""
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(encoder_plan.tokenizer_files["tokenizer.json"]))
    values = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "s"]) for n in ("input_ids", "attention_mask")]
    values.append(helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["b", "s"]))
    nodes = [
        helper.make_node("Add", ["input_ids", "token_type_ids"], ["token_embeddings"]),
        helper.make_node("Identity", ["attention_mask"], ["sentence_embedding"]),
    ]
    outputs = [
        helper.make_tensor_value_info(o, TensorProto.INT64, ["b", "s"])
        for o in ("token_embeddings", "sentence_embedding")
    ]
    graph = helper.make_model(
        helper.make_graph(nodes, "g", values, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    graph.ir_version = 8
    onnx.save(graph, encoder_plan.artifacts[0].path)
    (code,) = re.findall(r"```python\n(.*?)```", card(encoder_plan, tmp_path), re.DOTALL)
    monkeypatch.chdir(tmp_path / "out")
    found: dict[str, np.ndarray] = {}
    exec(compile(code, "README.md", "exec"), found)
    assert found["embedding"].tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]]


def test_only_what_is_there_is_described(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    onnx, coreml = decoder_plan.artifacts
    assert "## iPhone" not in card(replace(decoder_plan, artifacts=(onnx,)), tmp_path / "onnx")
    assert "## Android" not in card(replace(decoder_plan, artifacts=(coreml,)), tmp_path / "coreml")


def test_without_an_end_token_the_card_says_why_genai_is_missing(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    text = card(replace(decoder_plan, config={}), tmp_path)
    assert "There is no `genai_config.json`" in text
    assert "GeneratorParams" not in text
    assert not (tmp_path / "out" / "onnx" / "genai_config.json").exists()


def test_an_unknown_source_stays_unknown(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    source = replace(decoder_plan.source, repo=None, revision=None, license=None)
    text = card(replace(decoder_plan, source=source, languages=()), tmp_path)
    assert set(front_matter(text)) == {"library_name", "pipeline_tag", "tags"}
    assert "**The checkpoint states no licence.**" in text
    assert "None" not in text


@pytest.mark.parametrize(
    "evil", ['mit"\nextra: "1', "a\n---\n# b", "<script>x</script>", "| x | [y](z) `", "{{ 7 * 7000 }}"]
)
def test_hostile_names_stay_text(decoder_plan: BundlePlan, tmp_path: Path, evil: str) -> None:
    source = replace(decoder_plan.source, license=evil, repo=evil)
    text = card(replace(decoder_plan, source=source), tmp_path)
    front = front_matter(text)
    assert (front["license"], front["base_model"]) == (evil, evil)
    assert "extra" not in front
    body = text.split("---\n", 2)[2]
    assert "\n# b" not in body
    assert "<script>" not in body
    assert "49000" not in body


def test_names_of_a_users_graph_cant_leave_their_place(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    """An input may be called anything; the card's code stays code, and its tables tables."""
    import onnx_ir as ir

    from exporter.graph.model import GraphInput, GraphSpec

    name = 'a"b`\n```\n# owned | <b>'
    spec = GraphSpec("other", (GraphInput(name, ir.DataType.FLOAT, (1, 4), "numbers"),), ("y",))
    ports = tuple(
        replace(a, interface=Interface((Port(name, "float32", ("N", 4)),), (Port("y", "float32", (1,)),)))
        for a in decoder_plan.artifacts
    )
    plan = replace(decoder_plan, task="other", family="onnx", spec=(spec,), context=None, artifacts=ports)
    text = card(plan, tmp_path)
    assert "\n# owned" not in text
    assert text.count("\n```") % 2 == 0
    assert '"a\\"b`\\n```\\n# owned | <b>"' in text  # in code, as a JSON text
