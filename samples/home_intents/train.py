"""Train the home-intents model from scratch: tokenizer, weights, checkpoint and evaluation.

    python samples/home_intents/train.py [--steps 8000] [--output samples/home_intents/checkpoint]

Everything is seeded. Progress goes to stderr; at the end the saved fp16 checkpoint is loaded back
and evaluated on test.jsonl, which no training or tuning decision looks at (progress is measured on
a development set of other semantic tuples).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as Tokenizer

from evaluate import CHECKPOINT, accuracy, evaluate, load, report
from generate import (
    TEST_FILE,
    TRAIN_COUNT,
    Example,
    examples,
    read_jsonl,
    training_examples,
    verify,
)
from model_card import write_model_card
from saving import save_checkpoint
from tokenization import MAX_LENGTH, prompt_ids, train_tokenizer

SEED = 20
DEV_COUNT = 500
TOKENIZER_SAMPLE = 60_000
MAX_NEW_TOKENS = 96
IGNORED = -100

# An encoded example: the ids, and how many of them are the prompt.
Encoded = tuple[list[int], int]


def log(message: str) -> None:
    """Print progress on stderr."""
    print(message, file=sys.stderr, flush=True)


def build_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """Create the untrained model."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        # Large enough not to vanish in fp16.
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # At this size plain attention trains as fast as the fused one, and in bf16 much faster.
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def tokenizer_texts(data: list[Example]) -> Iterator[str]:
    """Yield what the tokenizer learns from.

    Upper case is rare in the data; without a share of its own it would be spelled in letters.
    """
    for index, example in enumerate(data):
        yield example.prompt
        yield example.expected
        if index % 10 == 0:
            yield example.prompt.upper()


def encode(tokenizer: Tokenizer, data: list[Example]) -> list[Encoded]:
    """Tokenize examples: the prompt as the chat template makes it, then the answer and its end."""
    probe = "\N{REPLACEMENT CHARACTER}"
    template = tokenizer.apply_chat_template(
        [{"role": "user", "content": probe}], add_generation_prompt=True, tokenize=False
    )
    texts = [template.replace(probe, example.prompt) for example in data]
    prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
    answers = [f"{example.expected}{tokenizer.eos_token}" for example in data]
    targets = tokenizer(answers, add_special_tokens=False)["input_ids"]
    # The fast batch path above has to be what users get from the chat template.
    for example, prompt in list(zip(data, prompts, strict=True))[:100]:
        if prompt_ids(tokenizer, example.prompt) != prompt:
            raise ValueError(f"the chat template disagrees with training on {example.prompt!r}")
    return [(p + t, len(p)) for p, t in zip(prompts, targets, strict=True)]


def batches(data: list[Encoded], size: int, pad: int, seed: int) -> Iterator[list[torch.Tensor]]:
    """Yield (ids, labels) batches forever; each holds examples of similar length."""
    rng = random.Random(seed)
    pool = 40 * size
    while True:
        order = rng.sample(range(len(data)), len(data))
        for start in range(0, len(order) - pool + 1, pool):
            chosen = sorted(order[start : start + pool], key=lambda index: len(data[index][0]))
            groups = [chosen[at : at + size] for at in range(0, pool, size)]
            rng.shuffle(groups)
            for group in groups:
                yield collate([data[index] for index in group], pad)


def collate(rows: list[Encoded], pad: int) -> list[torch.Tensor]:
    """Right-pad rows; labels are the answers only, already shifted by one position."""
    width = max(len(ids) for ids, _ in rows)
    inputs, labels = [], []
    for ids, prompt in rows:
        inputs.append(ids + [pad] * (width - len(ids)))
        shifted = [IGNORED] * (prompt - 1) + ids[prompt:]
        labels.append(shifted + [IGNORED] * (width - len(shifted)))
    return [torch.tensor(inputs), torch.tensor(labels)]


def answer_loss(
    body: Callable[..., Any], head: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Cross entropy on the answer tokens; logits are only computed where they are needed.

    Causal attention with right padding needs no mask: no answer position sees the padding.
    """
    hidden = body(input_ids=ids, use_cache=False).last_hidden_state
    wanted = labels != IGNORED
    return torch.nn.functional.cross_entropy(head(hidden[wanted]).float(), labels[wanted])


def build_optimizer(model: LlamaForCausalLM, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW with weight decay on the matrices, which also keeps them easy to quantize."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def rate_factor(step: int, steps: int) -> float:
    """Linear warmup over 4 % of the steps, then a cosine down to 1 %."""
    warmup = max(1, steps // 25)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    model: LlamaForCausalLM, tokenizer: Tokenizer, data: list[Encoded], args: argparse.Namespace
) -> None:
    """Run the optimisation."""
    optimizer = build_optimizer(model, args.rate, args.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(step, args.steps)
    )
    stream = batches(data, args.batch_size, tokenizer.pad_token_id, args.seed)
    dev = examples("dev", DEV_COUNT)
    body = torch.compile(model.model, dynamic=True) if args.compile else model.model
    started = time.monotonic()
    running = 0.0
    model.train()
    for step in range(1, args.steps + 1):
        ids, labels = next(stream)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = answer_loss(body, model.lm_head, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step % 100 == 0 or step == args.steps:
            minutes = (time.monotonic() - started) / 60
            log(f"step {step}/{args.steps}  loss {running:.4f}  {minutes:.1f} min")
        if step % args.dev_every == 0:
            save_checkpoint(model, tokenizer, args.output)
            log(f"  dev exact match {accuracy(evaluate(*load(args.output), dev)):.2%}")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--examples", type=int, default=TRAIN_COUNT, help="training examples")
    parser.add_argument("--dev-every", type=int, default=1000, help="steps between dev scores")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast, for CPUs with AMX")
    parser.add_argument("--compile", action="store_true", help="torch.compile the training step")
    parser.add_argument("--output", type=Path, default=CHECKPOINT)
    return parser.parse_args()


def main() -> int:
    """Command line entry point."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    started = time.monotonic()
    data, test = training_examples(args.examples), read_jsonl(TEST_FILE)
    verify(data, test)
    log(f"{len(data)} training examples, none with a meaning or a text of the test set")
    tokenizer = train_tokenizer(tokenizer_texts(data[:TOKENIZER_SAMPLE]))
    encoded = encode(tokenizer, data)
    model = build_model(tokenizer)
    tokens = sum(len(ids) for ids, _ in encoded) / len(encoded)
    log(f"{model.num_parameters()} parameters, {len(tokenizer)} tokens, {tokens:.1f} per example")

    train(model, tokenizer, encoded, args)
    save_checkpoint(model, tokenizer, args.output)
    minutes = (time.monotonic() - started) / 60
    results = evaluate(*load(args.output), test)
    write_model_card(args.output, model, results, args, minutes)
    log(f"total {minutes:.1f} min; fp16 checkpoint on {TEST_FILE.name}:\n{report(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
