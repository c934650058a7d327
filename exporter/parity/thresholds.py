"""Every limit of the gate, each with its reason. Reports print the reasons.

Rows whose two sides should be equal (import, lowering, fp16, cache, padding) have limits on PSNR and relative error:
these mean the same for every model, even with random weights. Rows that include the loss of compression have limits on
what an app notices: KL and top-1 for decoders and classifiers (without near-ties, since an untrained model has almost
only these), cosines and retrieval for embeddings, the order of texts for rerankers. Output metrics can't detect every
broken tensor (a query projection with a reversed LUT costs 0.02 nats, or nothing), so the error of each palettized
weight has a limit, too.

"Test models" in the reasons, each measured on the built-in prompts with optimal k-means in groups of 16 rows:
all-MiniLM-L6-v2 (an encoder of 22 million parameters); the same encoder, fine-tuned for 90 to 250 steps on 400 English
requests of samples/home_intents (their 21 actions, slots as tags and as answers, pairs with the same action); and the
Llama of samples/home_intents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.parity.options import Judged


@dataclass(frozen=True)
class Limit:
    """The limit of a metric: a minimum if `METRICS[metric].higher_is_better`, else a maximum."""

    metric: str
    value: float
    reason: str


FINITE = Limit("non_finite", 0, "an output must never be NaN or infinite")
SHAPES = Limit("shapes", 0, "outputs must have the reference's shape")
DEFINED = Limit("undefined", 0, "a metric that is not a number says nothing, so it can't pass")

EXACT = Limit("unequal", 0.001, "whole numbers are the same; 1 in 1000 may come from a tie that rounding decides")
ROUNDED = Limit("unequal", 0.1, "whole numbers that come from a comparison of rounded ones: near-ties may differ")

IMPORT = (
    FINITE,
    EXACT,
    Limit("relative_error", 1e-4, "both sides compute in float32; only the order of additions differs (usual: 1e-6)"),
    Limit("psnr_db", 100, "both sides compute in float32 (usual: 125 dB or more); even a wrong epsilon gives less"),
)
IMPORT_HALF = (
    FINITE,
    ROUNDED,
    Limit("psnr_db", 55, "float16 on both sides: runtimes fuse ops and round at other places, by 2**-11 at most"),
)
IMPORT_QUANTIZED = (
    FINITE,
    ROUNDED,
    Limit("psnr_db", 30, "quantized activations on both sides: a sum in another order may land a step beside, of 256"),
)
LOWERING_ONNX = (
    FINITE,
    EXACT,
    Limit("psnr_db", 80, "both sides compute the same in float32; only the order of operations differs"),
)
ONNX_ROUNDED = (
    FINITE,
    ROUNDED,
    Limit("psnr_db", 55, "the file stores float16 weights, with errors up to 2**-11; 8-bit palettes may lose more"),
)
LOWERING_COREML = (
    FINITE,
    EXACT,
    Limit("psnr_db", 60, "both sides compute without rounding; only constants stored as float16 differ"),
)
LOWERING_COREML_DENSE = (  # for graphs whose program may store whole matrices as float16 that ONNX stores as float32
    FINITE,
    ROUNDED,
    Limit("psnr_db", 55, "both sides compute without rounding; weights stored as float16 have errors up to 2**-11"),
)
FP16 = (
    FINITE,
    ROUNDED,
    Limit("overflow", 0, "values beyond ±65504 become infinite in float16"),
    Limit("psnr_db", 45, "every op rounds to float16; other converters require 40 dB for this"),
)
INT8 = (
    FINITE,
    ROUNDED,
    Limit("psnr_db", 25, "products round their inputs to int8, in blocks with one scale: some 1 in 250 of the largest"),
)
ARTIFACTS = (
    FINITE,
    ROUNDED,
    Limit("psnr_db", 45, "both files store the same weights; only Core ML's float16 arithmetic differs"),
)
CACHED_FP32 = (
    FINITE,
    Limit("psnr_db", 80, "the KV cache must not change results; float32 arithmetic, other shapes"),
)
CACHED_FP16 = (
    FINITE,
    Limit("psnr_db", 45, "the KV cache must not change results; float16 arithmetic, so the limit of fp16 applies"),
)
CACHED_INT8 = (
    FINITE,
    Limit("psnr_db", 25, "the KV cache must not change results; inputs rounded to int8 may land a step beside"),
)
PADDING = (
    FINITE,
    Limit("psnr_db", 80, "masked padding must not change results; float32 arithmetic, other shapes"),
)
PADDING_INT8 = (
    FINITE,
    Limit("psnr_db", 25, "masked padding must not change results; inputs rounded to int8 may land a step beside"),
)
MASKS = (
    FINITE,
    Limit("psnr_db", 80, "both kinds of mask mean the same, so the results must be the same"),
)

TOKENIZER = (
    Limit("ids_differ", 0, "the model must get the ids that it was trained with"),
    Limit("marks_differ", 0, "token types are inputs; marks of special tokens decide which positions count"),
    Limit("special_differ", 0, "beginning, end, padding and mask tokens must be the model's own"),
)

_BROKEN_KL = "a broken model loses more than 5 nats"
_BROKEN_TOP1 = "a broken model has less than 0.05"
_BROKEN_COSINE = "a broken model has 0.06, like unrelated texts"
_BROKEN_RETRIEVAL = "a broken model has 0.01"

# bits → limits on decoder logits after compression
DECODER: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit(
            "kl", 1e-3, "nothing is compressed: float16 arithmetic cost test models 1e-6 nats, deep models lose more"
        ),
        Limit("top1_or_tie", 0.99, "nothing is compressed: only near-ties may change"),
    ),
    8: (
        Limit("kl", 0.01, "test models lost 0.0001 nats, small random models 0.004"),
        Limit("top1_or_tie", 0.98, "test models had 1"),
    ),
    6: (
        Limit("kl", 0.02, "test models lost 0.002 nats"),
        Limit("top1_or_tie", 0.96, "test models had 0.999"),
    ),
    4: (
        Limit("kl", 0.20, f"test models lost 0.05 nats, large models with published 4-bit recipes 0.2; {_BROKEN_KL}"),
        Limit("top1_or_tie", 0.80, f"test models had 0.93; {_BROKEN_TOP1}"),
    ),
    3: (
        Limit("kl", 0.45, f"test models lost 0.2 nats; {_BROKEN_KL}"),
        Limit("top1_or_tie", 0.70, f"test models had 0.79; {_BROKEN_TOP1}"),
    ),
    2: (
        Limit("kl", 0.80, f"test models lost 0.67 nats; {_BROKEN_KL}"),
        Limit("top1_or_tie", 0.50, f"test models had 0.63; {_BROKEN_TOP1}"),
    ),
    1: (
        Limit("kl", 1.20, f"test models lost 2.5 nats with k-means, and fail; {_BROKEN_KL}"),
        Limit("top1_or_tie", 0.40, f"test models had 0.19 with k-means, and fail; {_BROKEN_TOP1}"),
    ),
}

# bits → limits on embeddings after compression
ENCODER: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit("cosine_mean", 0.9999, "nothing is compressed: test models had 0.99999 with float16 arithmetic"),
        Limit("cosine_min", 0.9995, "nothing is compressed: no text may stand out"),
        Limit("self_retrieval", 0.95, "only texts with the same meaning may be confused"),
    ),
    8: (
        Limit("cosine_mean", 0.9995, "test models had 0.9998"),
        Limit("cosine_min", 0.998, "no text may stand out: test models had 0.9994"),
        Limit("self_retrieval", 0.95, f"test models had 1; {_BROKEN_RETRIEVAL}"),
    ),
    6: (
        Limit("cosine_mean", 0.99, "test models had 0.997"),
        Limit("cosine_min", 0.96, "no text may stand out: test models had 0.987"),
        Limit("self_retrieval", 0.95, f"test models had 1; {_BROKEN_RETRIEVAL}"),
    ),
    4: (
        Limit("cosine_mean", 0.90, f"test models had 0.946; {_BROKEN_COSINE}"),
        Limit("cosine_min", 0.65, "no text may stand out: test models had 0.82"),
        Limit("self_retrieval", 0.90, f"test models had 1; {_BROKEN_RETRIEVAL}"),
    ),
    3: (
        Limit("cosine_mean", 0.80, f"test models had 0.798 with k-means, and just fail; {_BROKEN_COSINE}"),
        Limit("self_retrieval", 0.90, f"test models had 1; {_BROKEN_RETRIEVAL}"),
    ),
    2: (
        Limit("cosine_mean", 0.65, f"test models had 0.47 with k-means, and fail; {_BROKEN_COSINE}"),
        Limit("self_retrieval", 0.80, f"test models had 0.95; {_BROKEN_RETRIEVAL}"),
    ),
    1: (
        Limit("cosine_mean", 0.50, f"test models had 0.10 with k-means, and fail; {_BROKEN_COSINE}"),
        Limit("self_retrieval", 0.70, f"test models had 0.14 with k-means, and fail; {_BROKEN_RETRIEVAL}"),
    ),
}

_FOREIGN = "on texts outside their domain, where classifiers are unsure"
_WRONG_KL = "a broken classifier of 21 labels loses 2.3 nats"
_WRONG_TOP1 = "a broken classifier of 21 labels has 0.06"

# bits → limits on the probabilities of classes, tags and answers after compression
CLASSES: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit(
            "kl", 1e-3, "nothing is compressed: float16 arithmetic cost test models 1e-5 nats, deep models lose more"
        ),
        Limit("top1_or_tie", 0.99, "nothing is compressed: only near-ties may change"),
    ),
    8: (
        Limit("kl", 0.005, "test models lost 0.0001 nats"),
        Limit("top1_or_tie", 0.95, "test models had 1; a quick run has 35 texts, so one change is 0.03"),
    ),
    6: (
        Limit("kl", 0.02, f"test models lost 0.003 nats {_FOREIGN}"),
        Limit("top1_or_tie", 0.88, f"test models had 0.95 {_FOREIGN}"),
    ),
    4: (
        Limit("kl", 0.20, f"test models lost 0.06 nats {_FOREIGN}; {_WRONG_KL}"),
        Limit("top1_or_tie", 0.55, f"test models had 0.71 (answers) and 0.84 (labels) {_FOREIGN}; {_WRONG_TOP1}"),
    ),
    3: (
        Limit("kl", 0.40, f"test models lost 0.21 nats {_FOREIGN}; {_WRONG_KL}"),
        Limit("top1_or_tie", 0.40, f"test models had 0.54 (answers) and 0.77 (labels) {_FOREIGN}; {_WRONG_TOP1}"),
    ),
    2: (
        Limit("kl", 0.80, f"test models lost 0.56 nats {_FOREIGN}; {_WRONG_KL}"),
        Limit("top1_or_tie", 0.22, f"test models had 0.31 (answers) and 0.53 (labels) {_FOREIGN}; {_WRONG_TOP1}"),
    ),
    1: (
        Limit("kl", 0.90, f"test models lost 1.0 to 2.3 nats with k-means, and fail; {_WRONG_KL}"),
        Limit("top1_or_tie", 0.20, f"test models had 0.12 with k-means, and fail; {_WRONG_TOP1}"),
    ),
}

_CONSTANT_ERROR = "a model with constant scores has 1"
_CONSTANT_ORDER = "a model with constant scores has 0.5"

# bits → limits on scores (regressions, rerankers) after compression
SCORES: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit("unexplained", 1e-4, "nothing is compressed: test models had 1e-6 with float16 arithmetic"),
        Limit("order", 0.99, "nothing is compressed: only near-ties may change places"),
    ),
    8: (
        Limit("unexplained", 0.005, "test models had 0.0001"),
        Limit("order", 0.98, "test models had 1"),
    ),
    6: (
        Limit("unexplained", 0.02, "test models had 0.002"),
        Limit("order", 0.96, "test models had 0.994"),
    ),
    4: (
        Limit("unexplained", 0.25, f"test models had 0.06; {_CONSTANT_ERROR}"),
        Limit("order", 0.85, f"test models had 0.95; {_CONSTANT_ORDER}"),
    ),
    3: (
        Limit("unexplained", 0.45, f"test models had 0.20; {_CONSTANT_ERROR}"),
        Limit("order", 0.75, f"test models had 0.86; {_CONSTANT_ORDER}"),
    ),
    2: (
        Limit("unexplained", 0.80, f"test models had 0.63; {_CONSTANT_ERROR}"),
        Limit("order", 0.65, f"test models had 0.77; {_CONSTANT_ORDER}"),
    ),
    1: (
        Limit("unexplained", 0.90, f"test models had 1.0 to 1.4 with k-means, and fail; {_CONSTANT_ERROR}"),
        Limit("order", 0.60, f"test models had 0.53 to 0.63 with k-means; {_CONSTANT_ORDER}"),
    ),
}

LOSSY: Mapping[Judged, Mapping[int, tuple[Limit, ...]]] = {
    "tokens": DECODER,
    "classes": CLASSES,
    "scores": SCORES,
    "embeddings": ENCODER,
}

# Palette bits → squared error over variance that a single weight may have. Optimal quantizers have 0.5, 0.18, 0.055,
# 0.015, 0.001 and 0.0001 for a Laplace distribution; palettes fitted to text minimize other errors and have more. For
# samples/home_intents they had at most 0.88, 0.67, 0.15 and 0.04 at 1, 2, 3 and 4 bits with --bpw 3.5, and 0.88 at 2
# bits with --bpw 2.5; fits beyond 0.9 are not used. LUTs of other rows or groups have 1 to 4, and a 4-bit LUT that is
# shifted by one entry has at least 0.09.
WEIGHT_ERROR: Mapping[int, float] = {1: 0.96, 2: 0.96, 3: 0.96, 4: 0.08, 6: 0.01, 8: 0.002}
WEIGHT_ERROR_REASON = (
    "0 means no error, 1 is as wrong as a constant. Palettes fitted to a test model had at most 0.88, 0.67, 0.15 and "
    "0.04 at 1, 2, 3 and 4 bits. A 4-bit lookup table (LUT) shifted by one entry has at least 0.09, weights of other "
    "rows have 1 to 4"
)

# Integers of 8 bits with one scale a block, and inputs rounded to them, cost as much as palettes of about 6 bits.
INTEGER_BITS = 6

TASK_DROP = 1.0  # allowed loss of task accuracy, in percentage points
TASK_DROP_REASON = "at most 10 of 1000 answers, at any number of bits; --max-task-drop sets another limit"


def bits_class(bits: float) -> int:
    """The key in the tables of limits for `bits` per weight, which may be a mean: the highest that is not above it."""
    return max((known for known in DECODER if known <= bits), default=1)


def compression_limits(bits: float, judged: Judged) -> tuple[Limit, ...]:
    """Limits on outputs after compression to `bits` per weight."""
    return (FINITE, *LOSSY[judged][bits_class(bits)])


def replaced(limits: tuple[Limit, ...], asked: Mapping[str, float]) -> tuple[Limit, ...]:
    """`limits`, where those of a budget or target replace the ones of the same metric. asked: metric → limit."""
    own = tuple(Limit(metric, value, "set by the budget (--max-kl) or the target") for metric, value in asked.items())
    return (*(limit for limit in limits if limit.metric not in asked), *own)


def weight_limit(bits: float) -> float:
    """The squared error over variance that a weight palettized to `bits` per weight may have."""
    return WEIGHT_ERROR[bits_class(bits)]
