"""Small random checkpoints of models that Kogata doesn't draw itself: images, speech, encoder-decoders.

Weights are drawn as for the others (`checkpoints.draw_weights`): much larger than transformers' initialization, batch
norm statistics included, so that a wrong wiring shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import transformers as t

from support.checkpoints import _wordpiece_tokenizer, draw_weights

_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
_CLASSES = {"id2label": dict(enumerate(["cat", "dog", "小鳥", "fish", "none of these"]))}
PREPROCESSOR = {
    "do_center_crop": True,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 36},
}


def _vit() -> t.PreTrainedModel:
    return t.ViTForImageClassification(t.ViTConfig(**_VIT, **_CLASSES))


def _dinov2() -> t.PreTrainedModel:
    settings = {key: value for key, value in _VIT.items() if key != "intermediate_size"}
    return t.Dinov2Model(t.Dinov2Config(**settings, mlp_ratio=2))


def _clip() -> t.PreTrainedModel:
    text = {**_TEXT, "vocab_size": 300, "max_position_embeddings": 16, "eos_token_id": 299, "bos_token_id": 298}
    return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=dict(_VIT), projection_dim=24))


def _siglip() -> t.PreTrainedModel:
    text = {**_TEXT, "vocab_size": 300, "max_position_embeddings": 16}
    return t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=dict(_VIT)))


def _mobilevit() -> t.PreTrainedModel:
    sizes = {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 32]}
    config = t.MobileViTConfig(image_size=64, **sizes, num_attention_heads=2, **_CLASSES)
    return t.MobileViTForImageClassification(config)


def _convnext() -> t.PreTrainedModel:
    config = t.ConvNextConfig(hidden_sizes=[16, 32, 32, 32], depths=[1, 1, 1, 1], image_size=32, **_CLASSES)
    return t.ConvNextForImageClassification(config)


def _resnet() -> t.PreTrainedModel:
    config = t.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 32, 32], depths=[1, 1, 1, 1], **_CLASSES)
    return t.ResNetForImageClassification(config)


def _swin() -> t.PreTrainedModel:
    sizes = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "patch_size": 4, "window_size": 4}
    return t.SwinForImageClassification(t.SwinConfig(**sizes, image_size=32, **_CLASSES))


def _beit() -> t.PreTrainedModel:
    return t.BeitForImageClassification(t.BeitConfig(**_VIT, use_relative_position_bias=True, **_CLASSES))


def _t5() -> t.PreTrainedModel:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "n_positions": 24}
    return t.T5ForConditionalGeneration(t.T5Config(**sizes, vocab_size=300, decoder_start_token_id=0))


def _bart() -> t.PreTrainedModel:
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = t.BartConfig(**_SEQ2SEQ, **ids, vocab_size=300, max_position_embeddings=24, forced_eos_token_id=None)
    return t.BartForConditionalGeneration(config)


def _whisper() -> t.PreTrainedModel:
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    sizes = {"max_source_positions": 30, "max_target_positions": 20, "num_mel_bins": 8, "vocab_size": 300}
    config = t.WhisperConfig(**_SEQ2SEQ, **ids, **sizes, begin_suppress_tokens=None)
    return t.WhisperForConditionalGeneration(config)


def _wav2vec2() -> t.PreTrainedModel:
    sizes = {"conv_dim": (16, 16), "conv_kernel": (40, 10), "conv_stride": (40, 8), "num_feat_extract_layers": 2}
    position = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    return t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**_TEXT, **sizes, **position, vocab_size=31))


def _bloom() -> t.PreTrainedModel:
    return t.BloomForCausalLM(t.BloomConfig(hidden_size=32, n_layer=2, n_head=2, vocab_size=300, eos_token_id=1))


def _qwen3_moe() -> t.PreTrainedModel:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "num_hidden_layers": 2}
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "intermediate_size": 96}
    return t.Qwen3MoeForCausalLM(
        t.Qwen3MoeConfig(**heads, **experts, hidden_size=32, vocab_size=300, max_position_embeddings=64)
    )


MODELS: Mapping[str, Callable[[], t.PreTrainedModel]] = {
    "beit": _beit,
    "bart": _bart,
    "bloom": _bloom,
    "clip": _clip,
    "convnext": _convnext,
    "dinov2": _dinov2,
    "mobilevit": _mobilevit,
    "qwen3_moe": _qwen3_moe,
    "resnet": _resnet,
    "siglip": _siglip,
    "swin": _swin,
    "t5": _t5,
    "vit": _vit,
    "wav2vec2": _wav2vec2,
    "whisper": _whisper,
}
READS_TEXT = ("bart", "bloom", "clip", "qwen3_moe", "siglip", "t5")
SEES = ("beit", "clip", "convnext", "dinov2", "mobilevit", "resnet", "siglip", "swin", "vit")


def tiny_model(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Saves a model of `MODELS`, with a preprocessor_config.json where it sees, a tokenizer where it reads."""
    model = MODELS[kind]().eval()
    draw_weights(model, seed)
    _draw_kernels(model, seed)
    _draw_statistics(model, seed)
    model.save_pretrained(folder)
    if kind in SEES:
        size = 64 if kind == "mobilevit" else 32
        crop = {"crop_size": {"height": size, "width": size}}
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | crop), encoding="utf-8")
    if kind in READS_TEXT:
        _wordpiece_tokenizer().save_pretrained(folder)
    return folder


def _draw_kernels(model: torch.nn.Module, seed: int) -> None:
    """Kernels with std 1.2/√(all that one output sums up): deep convolutions neither fade nor explode."""
    generator = torch.Generator().manual_seed(seed + 2)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 2:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise * 1.2 / parameter[0].numel() ** 0.5)


def _draw_statistics(model: torch.nn.Module, seed: int) -> None:
    """Batch norm's running mean and variance, as a trained network has them."""
    generator = torch.Generator().manual_seed(seed + 1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
