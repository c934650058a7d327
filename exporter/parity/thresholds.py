"""Every limit of the gate, each with its reason. The reasons are printed in the report.

Rows that compare numbers which should be the same (import, lowering, fp16, cache, padding) are gated on PSNR and
relative error: these keep their meaning whatever the model was trained for, even for random weights. Rows that carry
the loss of compression are gated on what an app notices: KL and top-1 for decoders and classifiers (without near-ties:
an untrained model consists of them), cosines and retrieval for embeddings, the order of texts for rerankers.
Output metrics can't see every broken tensor (a query projection with its LUT reversed costs 0.02 nats, or nothing), so
compression is also gated tensor by tensor, on the weights' own error.

"Measured" in the reasons: optimal k-means in groups of 16 rows, on the built-in prompts, on all-MiniLM-L6-v2 (an
encoder of 22 million parameters), on the same fine-tuned for 90 to 250 steps on 400 English requests of
samples/home_intents (their 21 actions, slots as tags and as answers, pairs with the same action), and on the Llama
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.parity.options import Judged


@dataclass(frozen=True)
class Limit:
    """What a metric must keep; the direction is the metric's own (`METRICS[metric].higher_is_better`)."""

    metric: str
    value: float
    reason: str


FINITE = Limit("non_finite", 0, "NaN and infinity are never an answer")
SHAPES = Limit("shapes", 0, "outputs must have the reference's shape")

IMPORT = (
    FINITE,
    Limit("relative_error", 1e-4, "float32 on both sides: only the order of additions differs (measured 1e-6)"),
    Limit("psnr_db", 100, "float32 on both sides (measured 125 dB and more); a wrong epsilon already shows below this"),
)
LOWERING_ONNX = (
    FINITE,
    Limit("psnr_db", 80, "the same float32 numbers, fused in another order"),
)
ONNX_ROUNDED = (
    FINITE,
    Limit("psnr_db", 55, "float16 weights round by 2**-11 at most; 8-bit palettes are already allowed more than this"),
)
LOWERING_COREML = (
    FINITE,
    Limit("psnr_db", 60, "the same graph without rounding; only constants that the file stores as float16 differ"),
)
LOWERING_COREML_DENSE = (  # of graphs whose program may keep whole matrices as float16 that ONNX keeps as float32
    FINITE,
    Limit("psnr_db", 55, "the same graph without rounding, dense weights stored as float16: by 2**-11 at most"),
)
FP16 = (
    FINITE,
    Limit("overflow", 0, "values beyond ±65504 are infinite in float16"),
    Limit("psnr_db", 45, "float16 in every op; published converters ask for 40 dB after compiling"),
)
ARTIFACTS = (
    FINITE,
    Limit("psnr_db", 45, "the same palettes in both files: what remains is the float16 arithmetic of Core ML"),
)
CACHED_FP32 = (
    FINITE,
    Limit("psnr_db", 80, "the same model in float32, fed in pieces or in one go"),
)
CACHED_FP16 = (
    FINITE,
    Limit("psnr_db", 45, "the same model in float16, fed in pieces or in one go: as near as float16 to float32"),
)
PADDING = (
    FINITE,
    Limit("psnr_db", 80, "padding behind the mask must not matter; float32, another batch shape"),
)
MASKS = (
    FINITE,
    Limit("psnr_db", 80, "both callers' masks say the same, so the program must compute the same"),
)

_GIBBERISH = "gibberish has more than 5 nats and agrees in under 5 % of positions"
_UNRELATED = "a broken encoder has 0.06, as unrelated texts have"
_RETRIEVAL = "a broken encoder has 0.01, whatever cosines its texts have to each other"

# bits → limits on decoder logits after compression
DECODER: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit("kl", 1e-3, "nothing is compressed: float16 arithmetic costs 1e-6 nats (measured), deep models more"),
        Limit("top1_or_tie", 0.99, "nothing is compressed: only near-ties may flip"),
    ),
    8: (
        Limit("kl", 0.01, "256 values per group of rows: measured 0.0001 nats"),
        Limit("top1_or_tie", 0.98, "measured 1"),
    ),
    6: (
        Limit("kl", 0.03, "64 values per group of rows: measured 0.002 nats"),
        Limit("top1_or_tie", 0.96, "measured 0.999"),
    ),
    4: (
        Limit("kl", 0.30, f"measured 0.04 nats; published 4-bit recipes cost large models up to 0.2; {_GIBBERISH}"),
        Limit("top1_or_tie", 0.80, f"measured 0.93; {_GIBBERISH}"),
    ),
    3: (
        Limit("kl", 0.45, f"measured 0.2 nats, and plain k-means is known to ruin some models; {_GIBBERISH}"),
        Limit("top1_or_tie", 0.70, f"measured 0.79; {_GIBBERISH}"),
    ),
    2: (
        Limit("kl", 0.80, f"measured 0.67 nats; {_GIBBERISH}"),
        Limit("top1_or_tie", 0.50, f"measured 0.63; {_GIBBERISH}"),
    ),
    1: (
        Limit("kl", 1.20, f"who loses more says other things: plain k-means has 2.5 nats and fails; {_GIBBERISH}"),
        Limit("top1_or_tie", 0.40, f"another model: plain k-means has 0.19 and fails; {_GIBBERISH}"),
    ),
}

# bits → limits on embeddings after compression
ENCODER: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit("cosine_mean", 0.9999, "nothing is compressed: float16 arithmetic keeps 5 nines (measured)"),
        Limit("cosine_min", 0.9995, "nothing is compressed"),
        Limit("self_retrieval", 0.95, "only texts with the same meaning may be mistaken for each other"),
    ),
    8: (
        Limit("cosine_mean", 0.9995, "256 values per group of rows: measured 0.9998"),
        Limit("cosine_min", 0.998, "no text may stand out: measured 0.9994"),
        Limit("self_retrieval", 0.95, f"measured 1; {_RETRIEVAL}"),
    ),
    6: (
        Limit("cosine_mean", 0.99, "64 values per group of rows: measured 0.997"),
        Limit("cosine_min", 0.96, "no text may stand out: measured 0.987"),
        Limit("self_retrieval", 0.95, f"measured 1; {_RETRIEVAL}"),
    ),
    4: (
        Limit("cosine_mean", 0.90, f"measured 0.946; {_UNRELATED}"),
        Limit("cosine_min", 0.65, "measured 0.82"),
        Limit("self_retrieval", 0.90, f"measured 1; {_RETRIEVAL}"),
    ),
    3: (
        Limit("cosine_mean", 0.80, f"plain k-means has 0.798 and just fails; {_UNRELATED}"),
        Limit("self_retrieval", 0.90, f"measured 1; {_RETRIEVAL}"),
    ),
    2: (
        Limit("cosine_mean", 0.65, f"plain k-means has 0.47 and fails; {_UNRELATED}"),
        Limit("self_retrieval", 0.80, f"measured 0.95; {_RETRIEVAL}"),
    ),
    1: (
        Limit("cosine_mean", 0.50, f"plain k-means has 0.10 and fails; {_UNRELATED}"),
        Limit("self_retrieval", 0.70, f"plain k-means has 0.14 and fails; {_RETRIEVAL}"),
    ),
}

_FOREIGN = "on texts of another domain than its own, where a classifier is unsure"
_WRONG = "a broken one of 21 labels has 2.3 nats and agrees in 6 % of texts"

# bits → limits on the probabilities of classes, tags and answers after compression
CLASSES: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit("kl", 1e-3, "nothing is compressed: float16 arithmetic costs 1e-5 nats (measured), deep models more"),
        Limit("top1_or_tie", 0.99, "nothing is compressed: only near-ties may flip"),
    ),
    8: (
        Limit("kl", 0.005, "256 values per group of rows: measured 0.0001 nats"),
        Limit("top1_or_tie", 0.95, "measured 1; one flip in a quick run of 35 texts is 0.03"),
    ),
    6: (
        Limit("kl", 0.02, f"64 values per group of rows: measured 0.003 nats {_FOREIGN}"),
        Limit("top1_or_tie", 0.88, f"measured 0.95 {_FOREIGN}"),
    ),
    4: (
        Limit("kl", 0.20, f"measured 0.06 nats {_FOREIGN}; {_WRONG}"),
        Limit("top1_or_tie", 0.55, f"measured 0.71 (answers) and 0.84 (labels) {_FOREIGN}; {_WRONG}"),
    ),
    3: (
        Limit("kl", 0.40, f"measured 0.21 nats {_FOREIGN}; {_WRONG}"),
        Limit("top1_or_tie", 0.40, f"measured 0.54 (answers) and 0.77 (labels) {_FOREIGN}; {_WRONG}"),
    ),
    2: (
        Limit("kl", 0.80, f"measured 0.56 nats {_FOREIGN}; {_WRONG}"),
        Limit("top1_or_tie", 0.22, f"measured 0.31 (answers) and 0.53 (labels) {_FOREIGN}; {_WRONG}"),
    ),
    1: (
        Limit("kl", 0.90, f"plain k-means has 1.0 to 2.3 nats and fails; {_WRONG}"),
        Limit("top1_or_tie", 0.20, f"plain k-means has 0.12 and fails; {_WRONG}"),
    ),
}

_GUESS = "a model that always says the same has 1, and orders half of the pairs right"

# bits → limits on scores (regressions, rerankers) after compression
SCORES: Mapping[int, tuple[Limit, ...]] = {
    16: (
        Limit("unexplained", 1e-4, "nothing is compressed: float16 arithmetic costs 1e-6 (measured)"),
        Limit("order", 0.99, "nothing is compressed: only near-ties may change places"),
    ),
    8: (
        Limit("unexplained", 0.005, "256 values per group of rows: measured 0.0001"),
        Limit("order", 0.98, "measured 1"),
    ),
    6: (
        Limit("unexplained", 0.02, "64 values per group of rows: measured 0.002"),
        Limit("order", 0.96, "measured 0.994"),
    ),
    4: (
        Limit("unexplained", 0.25, f"measured 0.06; {_GUESS}"),
        Limit("order", 0.85, f"measured 0.95; {_GUESS}"),
    ),
    3: (
        Limit("unexplained", 0.45, f"measured 0.20; {_GUESS}"),
        Limit("order", 0.75, f"measured 0.86; {_GUESS}"),
    ),
    2: (
        Limit("unexplained", 0.80, f"measured 0.63; {_GUESS}"),
        Limit("order", 0.65, f"measured 0.77; {_GUESS}"),
    ),
    1: (
        Limit("unexplained", 0.90, f"plain k-means has 1.0 to 1.4 and fails; {_GUESS}"),
        Limit("order", 0.60, f"plain k-means has 0.53 to 0.63; {_GUESS}"),
    ),
}

LOSSY: Mapping[Judged, Mapping[int, tuple[Limit, ...]]] = {
    "tokens": DECODER,
    "classes": CLASSES,
    "scores": SCORES,
    "embeddings": ENCODER,
}

# palette bits → squared error over variance that a single weight may have
WEIGHT_ERROR: Mapping[int, float] = {1: 0.96, 2: 0.96, 3: 0.96, 4: 0.08, 6: 0.01, 8: 0.002}
WEIGHT_ERROR_REASON = (
    "squared error over variance; optimal quantizers leave 0.5, 0.18, 0.055, 0.015, 0.001 and 0.0001 of a Laplace "
    "distribution, and choosing by output error costs some of it: palettes fitted to text for samples/home_intents "
    "left 0.88, 0.67, 0.15 and 0.04 at most at 1, 2, 3 and 4 bits with --bpw 3.5, and 0.88 at 2 bits with --bpw 2.5; "
    "those beyond 0.9 are not used; values of other rows or groups leave 1 to 4, a 4-bit table shifted by one entry "
    "at least 0.09"
)

# bits → points of task accuracy that may be lost; None: reported, not gated
TASK_DROP: Mapping[int, float | None] = {16: 0.5, 8: 0.5, 6: 1.0, 4: None, 3: None, 2: None, 1: None}
TASK_DROP_REASONS: Mapping[int, str] = {
    16: "nothing is compressed: only near-ties may flip",
    8: "8 bits must not be noticed: at most 5 of 1000 answers",
    6: "6 bits: at most 10 of 1000 answers",
}


def bits_class(bits: float) -> int:
    """The row of the tables for `bits` per weight, which may be a mean: the highest that is not above it."""
    return max((known for known in DECODER if known <= bits), default=1)


def compression_limits(bits: float, judged: Judged) -> tuple[Limit, ...]:
    """Limits on outputs after compression to `bits` per weight."""
    return (FINITE, *LOSSY[judged][bits_class(bits)])


def replaced(limits: tuple[Limit, ...], asked: Mapping[str, float]) -> tuple[Limit, ...]:
    """`limits`, with those of a budget or target in place of its metrics'. asked: metric → limit."""
    own = tuple(Limit(metric, value, "asked for by the budget or target") for metric, value in asked.items())
    return (*(limit for limit in limits if limit.metric not in asked), *own)


def weight_limit(bits: float) -> float:
    """The squared error over variance that a weight palettized to `bits` per weight may have."""
    return WEIGHT_ERROR[bits_class(bits)]
