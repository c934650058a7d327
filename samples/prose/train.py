"""Train the prose model from scratch: tokenizer, weights, checkpoint and evaluation.

    python samples/prose/train.py [--steps 4200] [--output samples/prose/checkpoint]

Everything is seeded. Progress goes to stderr; at the end the saved fp16 checkpoint is loaded back
and evaluated on heldout.txt, which no training or tuning decision looks at (progress is measured
on a development set of other documents).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM
from transformers import PreTrainedTokenizerFast as Tokenizer

from corpus import HELDOUT_FILE, Document, describe, load_corpus, read_documents, verify
from evaluate import CHECKPOINT, evaluate, load
from model_card import write_model_card
from saving import save_checkpoint
from tokenization import MAX_LENGTH, train_tokenizer

SEED = 20
MAX_NEW_TOKENS = 96
LIBRARY_COPIES = 2  # per epoch: the held-out text is the library's, and the packages are more text


def log(message: str) -> None:
    """Print progress on stderr."""
    print(message, file=sys.stderr, flush=True)


def build_model(tokenizer: Tokenizer) -> Qwen3ForCausalLM:
    """Create the untrained model."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=MAX_LENGTH,
        # Large enough not to vanish in fp16.
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        attention_bias=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # At this size plain attention trains as fast as the fused one, and in bf16 much faster.
    config._attn_implementation = "eager"
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def texts_of(data: Iterable[Document]) -> list[str]:
    """Return the documents as plain text."""
    return ["\n\n".join(document.paragraphs) for document in data]


def batches(data: list[list[int]], size: int, end: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield ids `[size, MAX_LENGTH + 1]` forever: the documents in a new order in every epoch."""
    rng = random.Random(seed)
    width = MAX_LENGTH + 1
    rest: list[int] = []
    while True:
        order = rng.sample(range(len(data)), len(data))
        stream = rest + [token for index in order for token in (end, *data[index])]
        whole = len(stream) // width
        rows = [stream[at * width : (at + 1) * width] for at in range(whole)]
        rest = stream[whole * width :]
        rng.shuffle(rows)
        for at in range(0, whole - size + 1, size):
            yield torch.tensor(rows[at : at + size])


def next_token_loss(model: Qwen3ForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Cross entropy of every token but the first."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def build_optimizer(model: Qwen3ForCausalLM, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW with weight decay on the matrices, which also keeps them easy to quantize."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def rate_factor(step: int, steps: int) -> float:
    """Linear warmup over 4 % of the steps, then a cosine down to zero."""
    warmup = max(1, steps // 25)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def train(
    model: Qwen3ForCausalLM,
    tokenizer: Tokenizer,
    stream: Iterator[torch.Tensor],
    dev: list[str],
    args: argparse.Namespace,
) -> None:
    """Run the optimisation."""
    optimizer = build_optimizer(model, args.rate, args.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(step, args.steps)
    )
    step_loss = torch.compile(next_token_loss) if args.compile else next_token_loss
    started = time.monotonic()
    running = 0.0
    model.train()
    for step in range(1, args.steps + 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = step_loss(model, next(stream))
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
            log(f"  dev {evaluate(*load(args.output), dev).report()}")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=4200)
    parser.add_argument("--batch-size", type=int, default=8, help=f"windows of {MAX_LENGTH} tokens")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--dev-every", type=int, default=350, help="steps between dev scores")
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
    corpus, heldout = load_corpus(), HELDOUT_FILE.read_text(encoding="utf-8")
    verify(corpus.train + corpus.packages, heldout)
    log(f"{describe(corpus)}\nno run of words of the held-out text is in the text for training")
    library, packages = texts_of(corpus.train), texts_of(corpus.packages)
    texts = library * LIBRARY_COPIES + packages
    tokenizer = train_tokenizer(texts)
    encoded = tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
    model = build_model(tokenizer)
    tokens = sum(map(len, encoded))
    log(f"{model.num_parameters()} parameters, {len(tokenizer)} tokens, {tokens} in an epoch")

    stream = batches(encoded, args.batch_size, tokenizer.eos_token_id, args.seed)
    train(model, tokenizer, stream, texts_of(corpus.dev), args)
    save_checkpoint(model, tokenizer, args.output)
    minutes = (time.monotonic() - started) / 60
    score = evaluate(*load(args.output), read_documents(heldout))
    write_model_card(args.output, model, score, args, minutes)
    log(f"total {minutes:.1f} min; fp16 checkpoint on {HELDOUT_FILE.name}:\n{score.report()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
