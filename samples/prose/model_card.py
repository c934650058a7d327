"""Writes the model card of a trained checkpoint, with the numbers of the run that made it."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version
from pathlib import Path

from transformers import Qwen3ForCausalLM

from corpus import PACKAGES
from evaluate import Score

_CARD = """\
---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: text-generation
tags:
- on-device
- base-model
metrics:
- perplexity
---

# Kogata prose sample

A base model with {parameters:.2f} M parameters that continues text in the way of Python's
documentation: the docstrings, comments and help topics of the standard library and of five packages
for numerical work.

Qwen3 architecture: {layers} layers, hidden size {hidden}, {heads} query heads and {kv_heads}
key/value heads of {head_dim} with RMSNorm on queries and keys, SwiGLU with {ffn}, RMSNorm, RoPE,
tied embeddings, {vocab:,} byte-level BPE tokens, {context} positions. Weights are stored in fp16.

## Perplexity

On the sample's `heldout.txt`, with these fp16 weights computed in float32, as `evaluate.py` of the
sample defines it (every document on its own, windows of {context} tokens that do not overlap). No
run of 10 words of that text occurs in the training data.

| Measure | Value |
|---|---|
| Perplexity per token | {perplexity:.2f} |
| Bits per character | {bits:.3f} |
| Most likely token is the right one | {top1:.2%} |
| Tokens | {tokens:,} |

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
ids = tokenizer("<|end|>Return True if the", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids)[0]))
```

There is no chat template. `<|end|>` stands between documents: before a text it says that a
document begins here, and the model writes it where a document ends.

## How it was made

Trained from scratch by `train.py` of the sample: {steps:,} steps of {batch} windows of {context}
tokens, AdamW (peak rate {rate}, weight decay {decay}), warmup and cosine to zero, seed {seed},
{precision}. It took {minutes:.0f} minutes with {threads}, the reading of the corpus included.

All text comes from these sources, as they are installed, through the sample's `corpus.py`:

| Source | Licence |
|---|---|
| Standard library of Python {python} | Python Software Foundation License Version 2 |
{packages}

No other data and no other model was used.

## Limits

It has the tone of documentation and none of its truth: do not ask it about Python. It knows no
other language and follows no instructions. It exists to measure what compression does to a model.
"""


def write_model_card(
    folder: Path,
    model: Qwen3ForCausalLM,
    score: Score,
    args: argparse.Namespace,
    minutes: float,
) -> None:
    """Write README.md into the checkpoint folder."""
    config = model.config
    packages = [f"| {name} {version(name)} | BSD 3-Clause |" for name in PACKAGES.values()]
    card = _CARD.format(
        parameters=model.num_parameters() / 1e6,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        ffn=config.intermediate_size,
        vocab=config.vocab_size,
        context=config.max_position_embeddings,
        perplexity=score.perplexity,
        bits=score.bits_per_character,
        top1=score.right / score.tokens,
        tokens=score.tokens,
        steps=args.steps,
        batch=args.batch_size,
        rate=args.rate,
        decay=args.weight_decay,
        seed=args.seed,
        minutes=minutes,
        threads="1 CPU thread" if args.threads == 1 else f"{args.threads} CPU threads",
        precision="bf16 autocast" if args.bf16 else "fp32",
        python=platform.python_version(),
        packages="\n".join(packages),
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
