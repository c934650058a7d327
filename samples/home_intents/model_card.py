"""Writes the model card of a trained checkpoint, with the numbers of the run that made it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers import LlamaForCausalLM

from evaluate import Result, accuracy

_CARD = """\
---
license: apache-2.0
language:
- en
- ja
library_name: transformers
pipeline_tag: text-generation
tags:
- smart-home
- intent-parsing
- on-device
- json
metrics:
- exact_match
---

# Kogata home-intents sample

A decoder with {parameters:.2f} M parameters that turns one spoken-style smart-home request, in
English or Japanese, into one compact JSON action, or declines it:

| Request | Answer |
|---|---|
| `dim the bedroom lamp to thirty percent at nine` | `{{"action":"set_brightness","room":"bedroom",\
"device":"lamp","value":30,"time":"09:00"}}` |
| `what's the weather like in Osaka tomorrow` | \
`{{"action":"decline","reason":"unsupported"}}` |
| `明日の朝7時に起こして` | `{{"action":"set_alarm","day":"tomorrow","time":"07:00"}}` |

Llama architecture: {layers} layers, hidden size {hidden}, {heads} query heads and {kv_heads}
key/value heads of {head_dim}, SwiGLU with {ffn}, RMSNorm, RoPE, tied embeddings, {vocab:,}
byte-level BPE tokens, {context} positions. Weights are stored in fp16.

## Accuracy

Greedy exact match of the whole JSON string, measured with these fp16 weights on the sample's
`test.jsonl`. None of its action/slot combinations occurs in the training data, and a quarter of it
has words that training lacks. The sample's README has the other held-out sets, and the numbers at
4 bits.

| Requests | Count | Exact match |
|---|---|---|
{rows}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
messages = [{{"role": "user", "content": "turn off the kitchen lights in ten minutes"}}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
print(tokenizer.decode(model.generate(ids)[0, ids.shape[1]:], skip_special_tokens=True))
```

The prompt is `<|user|>REQUEST<|end|><|assistant|>`; the answer ends with `<|end|>`.

## How it was made

Trained from scratch by `train.py` of the sample: {steps:,} steps of {batch} synthetic requests (out
of {examples:,}), AdamW (peak rate {rate}, weight decay {decay}), warmup and cosine, loss on the
answer only, seed {seed}, {precision}. It took {minutes:.0f} minutes with {threads}.

All data comes from the sample's own seeded grammar (`generate.py`); no other data and no other
model was used.

## Limits

It knows the rooms, devices, actions and phrasings of its grammar, and takes one request at a time.
It declines most, but not all, of what the home can't do, and it may misspell words that training
never had. Treat its answers as suggestions to validate, above all for locks. The folder that holds
`train.py` documents the actions, their slots, and how times are read.
"""


def _row(name: str, results: Sequence[Result]) -> str:
    return f"| {name} | {len(results)} | {accuracy(results):.1%} |"


def write_model_card(
    folder: Path,
    model: LlamaForCausalLM,
    results: Sequence[Result],
    args: argparse.Namespace,
    minutes: float,
) -> None:
    """Write README.md into the checkpoint folder."""
    config = model.config
    english = [result for result in results if result.example.language == "en"]
    japanese = [result for result in results if result.example.language == "ja"]
    rows = (_row("English", english), _row("Japanese", japanese), _row("All", results))
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
        rows="\n".join(rows),
        steps=args.steps,
        batch=args.batch_size,
        examples=args.examples,
        rate=args.rate,
        decay=args.weight_decay,
        seed=args.seed,
        minutes=minutes,
        threads="1 CPU thread" if args.threads == 1 else f"{args.threads} CPU threads",
        precision="bf16 autocast" if args.bf16 else "fp32",
    )
    (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
