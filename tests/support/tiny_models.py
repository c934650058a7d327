"""Small random models of many families, and their ONNX export by torch's TorchScript exporter with open dimensions, as
optimum writes them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
IMAGE = {"image_size": 32, "patch_size": 8}


class _One(torch.nn.Module):
    """One tensor of what a transformers model gives."""

    def __init__(self, model: torch.nn.Module, key: str, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.key, self.names = model, key, names

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        given = dict(zip(self.names, arrays, strict=True))
        return getattr(self.model(**given, return_dict=True), self.key)


@dataclass(frozen=True)
class Tiny:
    """make: the torch model; inputs: its example inputs by name; output: which field of its result is exported.

    vmap: whether its masks are made by torch.vmap, which the exporter can't trace and optimum replaces.
    """

    make: Callable[[Any], torch.nn.Module]
    inputs: Callable[[], dict[str, torch.Tensor]]
    output: str = "last_hidden_state"
    vmap: bool = False


def pixels(size: int = 32) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(1, 3, size, size)}


def tokens(length: int = 7, vocabulary: int = 99) -> dict[str, torch.Tensor]:
    mask = torch.ones(1, length, dtype=torch.int64)
    mask[0, length - 2 :] = 0
    return {"input_ids": torch.randint(3, vocabulary, (1, length)), "attention_mask": mask}


def encoded(length: int, hidden: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(3, 99, (1, 5)), "encoder_hidden_states": torch.randn(1, length, hidden)}


def _text(name: str, **more: Any) -> Callable[[Any], torch.nn.Module]:
    sizes = {**VISION, "vocab_size": 99, "max_position_embeddings": 32, **more}
    return lambda t: getattr(t, f"{name}Model")(getattr(t, f"{name}Config")(**sizes))


def _vision(name: str, **more: Any) -> Callable[[Any], torch.nn.Module]:
    return lambda t: getattr(t, f"{name}Model")(getattr(t, f"{name}Config")(**{**VISION, **IMAGE, **more}))


def _plain(name: str, **sizes: Any) -> Callable[[Any], torch.nn.Module]:
    return lambda t: getattr(t, f"{name}Model")(getattr(t, f"{name}Config")(**sizes))


def _t5(part: str, **more: Any) -> Callable[[Any], torch.nn.Module]:
    sizes = {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, **more}
    return lambda t: getattr(t.T5Model(t.T5Config(**sizes, use_cache=False)), part)


def _whisper(part: str) -> Callable[[Any], torch.nn.Module]:
    sizes = {
        **{"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 99, "num_mel_bins": 8},
        **{"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "use_cache": False},
        **{"max_source_positions": 16, "max_target_positions": 16},
    }
    return lambda t: getattr(t.WhisperModel(t.WhisperConfig(**sizes)), part)


_WAV2VEC2 = {
    **VISION, "vocab_size": 20, "conv_dim": (16, 16), "conv_stride": (4, 2), "conv_kernel": (8, 3),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip

FAMILIES: dict[str, Tiny] = {
    "vit": Tiny(_vision("ViT"), pixels),
    "deit": Tiny(_vision("DeiT"), pixels),
    "dinov2": Tiny(_vision("Dinov2", image_size=40), pixels),
    "clip-vision": Tiny(_vision("CLIPVision"), pixels, "pooler_output"),
    "clip-text": Tiny(_text("CLIPText", eos_token_id=98), tokens, "pooler_output"),
    "siglip-vision": Tiny(_vision("SiglipVision"), pixels, "pooler_output"),
    "siglip-text": Tiny(_text("SiglipText", max_position_embeddings=16), tokens, "pooler_output"),
    "beit": Tiny(_vision("Beit", use_relative_position_bias=True), pixels),
    "mobilevit": Tiny(
        _plain("MobileViT", hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32],
               num_attention_heads=2, image_size=64, patch_size=2), lambda: pixels(64)),
    "convnext": Tiny(_plain("ConvNext", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1]), lambda: pixels(64)),
    "convnextv2": Tiny(_plain("ConvNextV2", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]), lambda: pixels(64)),
    "resnet": Tiny(_plain("ResNet", embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2]), lambda: pixels(64)),
    "regnet": Tiny(_plain("RegNet", embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], groups_width=8), pixels),
    "mobilenet-v1": Tiny(_plain("MobileNetV1", depth_multiplier=0.25), lambda: pixels(64)),
    "mobilenet-v2": Tiny(_plain("MobileNetV2", depth_multiplier=0.25, tf_padding=False), lambda: pixels(64)),
    "swin": Tiny(_plain("Swin", image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2],
                        window_size=4), pixels),
    "swinv2": Tiny(_plain("Swinv2", image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2],
                          window_size=4), pixels),
    "segformer": Tiny(_plain("Segformer", hidden_sizes=[8, 16], depths=[1, 1], num_attention_heads=[1, 2],
                             num_encoder_blocks=2, sr_ratios=[2, 1], patch_sizes=[7, 3], strides=[4, 2],
                             mlp_ratios=[2, 2]), pixels),
    "levit": Tiny(_plain("Levit", image_size=64, hidden_sizes=[16, 24, 32], num_attention_heads=[2, 3, 4],
                         depths=[1, 1, 1], key_dim=[8, 8, 8]), lambda: pixels(64)),
    "poolformer": Tiny(_plain("PoolFormer", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]), lambda: pixels(64)),
    "yolos": Tiny(_vision("Yolos", image_size=[32, 32], num_detection_tokens=5), pixels),
    "t5-encoder": Tiny(_t5("encoder"), tokens),
    "t5-decoder": Tiny(_t5("decoder"), lambda: encoded(6, 32)),
    "t5-gated-encoder": Tiny(_t5("encoder", feed_forward_proj="gated-gelu"), tokens),
    "whisper-encoder": Tiny(_whisper("encoder"), lambda: {"input_features": torch.randn(1, 8, 32)}),
    "whisper-decoder": Tiny(_whisper("decoder"), lambda: encoded(16, 32), vmap=True),
    "wav2vec2": Tiny(_plain("Wav2Vec2", **_WAV2VEC2), lambda: {"input_values": torch.randn(1, 400)}),
    "hubert": Tiny(_plain("Hubert", **_WAV2VEC2), lambda: {"input_values": torch.randn(1, 400)}),
    "ast": Tiny(_plain("AST", **VISION, patch_size=8, max_length=40, num_mel_bins=16, frequency_stride=8,
                       time_stride=8), lambda: {"input_values": torch.randn(1, 40, 16)}),
    "bert": Tiny(_text("Bert"), tokens),
    "distilbert": Tiny(_plain("DistilBert", dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=99), tokens),
    "deberta-v2": Tiny(_text("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"]), tokens),
    "albert": Tiny(_text("Albert", embedding_size=16), tokens),
    "electra": Tiny(_text("Electra", embedding_size=16), tokens),
    "mpnet": Tiny(_text("MPNet"), tokens),
    "roformer": Tiny(_text("RoFormer"), tokens),
    "nystromformer": Tiny(_text("Nystromformer", num_landmarks=4, segment_means_seq_len=8), lambda: tokens(8)),
    "squeezebert": Tiny(_text("SqueezeBert", embedding_size=32), tokens),
    "xlm-roberta": Tiny(_text("XLMRoberta"), tokens),
}  # fmt: skip


def make(name: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The wrapped model and its inputs, the same in every run."""
    import transformers

    torch.manual_seed(0)
    family = FAMILIES[name]
    model = family.make(transformers).eval()
    for parameter in model.parameters():  # initial weights of many families make activations vanish
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    inputs = family.inputs()
    _settle_statistics(model, inputs)
    return _One(model, family.output, tuple(inputs)).eval(), inputs


def _settle_statistics(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    """Batch statistics of what the model really sees, so that activations keep their size through any depth."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if norms:
        for norm in norms:
            norm.momentum = 1.0
        model.train()
        with torch.no_grad():
            model(**{key: torch.randn(8, *value.shape[1:]) for key, value in inputs.items()})
        model.eval()


@contextlib.contextmanager
def _traceable_masks() -> Iterator[None]:
    """optimum's way to make the same masks without torch.vmap."""
    from optimum.exporters.onnx.model_patcher import find_packed_sequence_indices_patched, sdpa_mask_without_vmap
    from transformers import masking_utils

    packed = masking_utils.find_packed_sequence_indices
    masking_utils.ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", sdpa_mask_without_vmap)
    masking_utils.find_packed_sequence_indices = find_packed_sequence_indices_patched
    try:
        yield
    finally:
        masking_utils.ALL_MASK_ATTENTION_FUNCTIONS.register("sdpa", masking_utils.sdpa_mask)
        masking_utils.find_packed_sequence_indices = packed


def export(name: str, opset: int = 17) -> tuple[ir.Model, dict[str, np.ndarray], np.ndarray]:
    """The family as an ONNX graph of open dimensions, example inputs, and what torch computes from them."""
    model, inputs = make(name)
    buffer = io.BytesIO()
    axes = {key: {i: f"{key}_{i}" for i in range(value.ndim)} for key, value in inputs.items()}
    masks = _traceable_masks() if FAMILIES[name].vmap else contextlib.nullcontext()
    with masks, warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, tuple(inputs.values()), buffer, input_names=list(inputs), output_names=["output"],
            opset_version=opset, dynamo=False, dynamic_axes=axes,
        )  # fmt: skip
        expected = model(*inputs.values()).numpy()
    graph = ir.serde.deserialize_model(onnx.load_from_string(buffer.getvalue()))
    return graph, {key: value.numpy() for key, value in inputs.items()}, expected
