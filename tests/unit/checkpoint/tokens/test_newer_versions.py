"""What transformers 5 and sentence-transformers 6 write, read with the versions before them.

The files' contents are those that transformers 5.23 and sentence-transformers 6.2 wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import tiny_bert, write_json
from support.encoder_checkpoints import tiny_encoder, write_pooling
from support.shipped_files import shipped_of
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import EncoderSpec
from exporter.importers import import_checkpoint

TYPES = {
    "": "base.modules.transformer.Transformer",
    "1_Pooling": "sentence_transformer.modules.pooling.Pooling",
    "2_Normalize": "base.modules.normalize.Normalize",
}
VERSIONS = {"pytorch": "2.13.0", "sentence_transformers": "6.2.0", "transformers": "5.23.0"}


def write_modules(folder: Path, paths: list[str], general: dict[str, Any], task: str, output: str) -> None:
    types = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{TYPES[path]}"}
        for i, path in enumerate(paths)
    ]
    write_json(folder / "modules.json", types)
    general = {"__version__": VERSIONS, "default_prompt_name": None} | general
    write_json(folder / "config_sentence_transformers.json", general)
    text = {"method": "forward", "method_output_name": output}
    settings = {"transformer_task": task, "modality_config": {"text": text}, "module_output_name": "any"}
    write_json(folder / "sentence_bert_config.json", settings)


def sentence_encoder(folder: Path) -> Path:
    tiny_bert(folder, pooling=None)
    general = {"model_type": "SentenceTransformer", "prompts": {"document": "", "query": ""}}
    write_modules(folder, list(TYPES), general, "feature-extraction", "last_hidden_state")
    pooling = {"embedding_dimension": 36, "pooling_mode": "mean", "include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", pooling)
    ends = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    write_json(folder / "2_Normalize" / "config.json", ends)
    return folder


def cross_encoder(folder: Path, activation: str | None, labels: int = 1) -> Path:
    tiny_encoder(folder, "bert", "ForSequenceClassification", num_labels=labels)
    general = {"model_type": "CrossEncoder", "activation_fn": activation, "prompts": {}}
    write_modules(folder, [""], general, "sequence-classification", "logits")
    return folder


def edit(path: Path, **changes: Any) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


def spec_of(folder: Path) -> EncoderSpec:
    spec = import_checkpoint(open_checkpoint(folder)).spec
    assert isinstance(spec, EncoderSpec)
    return spec


def test_the_longest_text_is_the_tokenizers_where_no_other_is_stated(tmp_path: Path) -> None:
    folder = sentence_encoder(tmp_path)
    edit(folder / "tokenizer_config.json", model_max_length=40)
    spec = spec_of(folder)
    assert (spec.task, spec.pooling, spec.normalize, spec.context) == ("feature-extraction", "mean", True, 40)
    edit(folder / "tokenizer_config.json", model_max_length=10**30)
    assert spec_of(folder).context == 64


@pytest.mark.parametrize(
    ("activation", "scores"),
    [
        ("torch.nn.modules.linear.Identity", "identity"),
        ("torch.nn.modules.activation.Sigmoid", "sigmoid"),
        (None, "sigmoid"),
    ],
)
def test_a_cross_encoder_keeps_its_head(activation: str | None, scores: str, tmp_path: Path) -> None:
    folder = cross_encoder(tmp_path, activation)
    edit(folder / "tokenizer_config.json", model_max_length=50)
    spec = spec_of(folder)
    assert (spec.task, spec.scores, spec.pooling, spec.context) == ("text-ranking", scores, None, 50)


def test_a_cross_encoder_of_several_labels_classifies(tmp_path: Path) -> None:
    spec = spec_of(cross_encoder(tmp_path, "torch.nn.modules.linear.Identity", labels=3))
    assert (spec.task, spec.scores, len(spec.labels)) == ("text-classification", "softmax", 3)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "a transformer for fill-mask"),
        ("sentence_bert_config.json", {"modality_config": {"image": {}}}, "whose text settings are not"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"padding": "max_length"}}}, "processing_kwargs"),
        ("config_sentence_transformers.json", {"activation_fn": "torch.nn.modules.activation.Tanh"}, "'Tanh'"),
        ("config.json", {"architectures": ["BertModel"]}, "without a head"),
    ],
)
def test_what_a_cross_encoder_does_otherwise_is_refused(
    file: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = cross_encoder(tmp_path, None)
    edit(folder / file, **changes)
    with pytest.raises(UnsupportedError, match=message):
        import_checkpoint(open_checkpoint(folder))


def test_a_dense_layer_with_a_residual_is_refused(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, pooling=None)
    write_pooling(folder, "mean_tokens", dense=[(36, "torch.nn.modules.activation.Tanh")])
    import_checkpoint(open_checkpoint(folder))
    edit(folder / "2_Dense" / "config.json", use_residual=True)
    with pytest.raises(UnsupportedError, match="Dense with a residual"):
        import_checkpoint(open_checkpoint(folder))


def test_a_model_in_a_folder_of_its_own_is_told_how_to_become_one(tmp_path: Path) -> None:
    """As sentence-transformers saved it before version 2."""
    tiny_bert(tmp_path)
    (tmp_path / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).rename(tmp_path / "0_Transformer" / name)
    with pytest.raises(InputError) as caught:
        open_checkpoint(tmp_path)
    hint = caught.value.diagnostics[0].hint
    assert "0_Transformer" in hint
    assert "SentenceTransformer(folder).save(new_folder)" in hint


def llama_tokenizer(folder: Path, **settings: Any) -> Path:
    """A Llama tokenizer whose file puts `</s>` behind a text and nothing before it."""
    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "wake": 3, "me": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", **tokens, **settings})
    return folder


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({}, [0, 3, 4]),  # transformers 4 makes the template of its class's defaults
        ({"backend": "tokenizers"}, [3, 4, 1]),  # 5 takes what the file says,
        ({"backend": "tokenizers", "add_bos_token": True}, [0, 3, 4]),  # unless the settings say otherwise
    ],
)
def test_the_template_is_that_of_the_version_that_wrote_it(
    settings: dict[str, Any], ids: list[int], tmp_path: Path
) -> None:
    assert load_tokenizer(llama_tokenizer(tmp_path, **settings)).encode("wake me") == ids


def test_a_class_that_only_transformers_5_has_is_shipped_under_the_name_it_had(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "checkpoint")
    edit(folder / "tokenizer_config.json", tokenizer_class="TokenizersBackend", backend="tokenizers")
    with pytest.raises(ValueError, match="TokenizersBackend"):
        AutoTokenizer.from_pretrained(folder)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for name, content in shipped_of(folder).files.items():
        (shipped / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    reference = AutoTokenizer.from_pretrained(shipped)
    assert reference("Wake me up.")["input_ids"] == load_tokenizer(folder).encode("Wake me up.")


def test_vision_towers_under_new_names_are_no_obstacle_for_text(tmp_path: Path) -> None:
    """transformers 5 names what is in Gemma 3's vision tower otherwise; the reference computes text."""
    from support.checkpoints import _bpe_tokenizer, _save
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    from exporter.runners.reference import load_reference

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = sizes | {"num_key_value_heads": 1, "head_dim": 8, "vocab_size": 331, "pad_token_id": 2}
    config = Gemma3Config(text_config=text, vision_config=sizes | {"image_size": 28, "patch_size": 14})
    _save(Gemma3ForConditionalGeneration(config), _bpe_tokenizer(), tmp_path, seed=0, dtype="float32",
          max_shard_size="5GB")  # fmt: skip
    state = load_file(tmp_path / "model.safetensors")
    renamed = {name.replace("vision_tower.vision_model.", "vision_tower."): tensor for name, tensor in state.items()}
    assert set(renamed) != set(state)
    ids = torch.arange(5, 15)[None]
    before = load_reference(tmp_path, "AutoModelForCausalLM")[0](input_ids=ids).logits
    save_file(renamed, tmp_path / "model.safetensors", {"format": "pt"})
    after = load_reference(tmp_path, "AutoModelForCausalLM")[0](input_ids=ids).logits
    assert torch.equal(after, before)
    import_checkpoint(open_checkpoint(tmp_path))
