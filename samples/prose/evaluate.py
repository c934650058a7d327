"""Perplexity of a checkpoint on held-out text.

    python samples/prose/evaluate.py [CHECKPOINT] [--data FILE] [--dtype float16|float32]

Every document is read on its own: the end token, then its tokens, in windows of MAX_LENGTH
positions that do not overlap. Each token of the text is predicted once, from what stands before it
in its window; the end token is never a target.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM
from transformers import PreTrainedTokenizerFast as Tokenizer

from corpus import HELDOUT_FILE, read_documents
from tokenization import MAX_LENGTH

CHECKPOINT = Path(__file__).with_name("checkpoint")
BATCH_SIZE = 16
IGNORED = -100
_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Score:
    """The summed loss (in nats) and how often the most likely token was the right one."""

    loss: float
    right: int
    tokens: int
    characters: int

    @property
    def perplexity(self) -> float:
        """The perplexity per token."""
        return math.exp(self.loss / self.tokens)

    @property
    def bits_per_character(self) -> float:
        """The loss in a unit that does not depend on the tokenizer."""
        return self.loss / math.log(2) / self.characters

    def report(self) -> str:
        """Describe the score in a line."""
        bits = self.bits_per_character
        return (
            f"perplexity {self.perplexity:.2f} per token, {bits:.3f} bits per character, top-1 "
            f"{self.right / self.tokens:.2%} ({self.tokens} tokens, {self.characters} characters)"
        )


def windows(tokenizer: Tokenizer, text: str) -> list[list[int]]:
    """Return the windows of a document; each repeats the last token of the one before it."""
    ids = [tokenizer.eos_token_id, *tokenizer(text, verbose=False)["input_ids"]]
    return [ids[at : at + MAX_LENGTH + 1] for at in range(0, len(ids) - 1, MAX_LENGTH)]


@torch.inference_mode()
def evaluate(model: Qwen3ForCausalLM, tokenizer: Tokenizer, texts: Iterable[str]) -> Score:
    """Score a model on documents."""
    texts = list(texts)
    rows = sorted((row for text in texts for row in windows(tokenizer, text)), key=len)
    loss, right, tokens = 0.0, 0, 0
    for at in range(0, len(rows), BATCH_SIZE):
        batch = rows[at : at + BATCH_SIZE]
        width = max(map(len, batch))
        # Causal attention with right padding needs no mask: no target's position sees the padding.
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in batch])
        labels = torch.tensor([row + [IGNORED] * (width - len(row)) for row in batch])[:, 1:]
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
        wanted = labels != IGNORED
        chosen, targets = logits[wanted], labels[wanted]
        loss += torch.nn.functional.cross_entropy(chosen, targets, reduction="sum").item()
        right += int((chosen.argmax(-1) == targets).sum())
        tokens += len(targets)
    return Score(loss, right, tokens, sum(map(len, texts)))


def load(folder: Path, dtype: str = "float32") -> tuple[Qwen3ForCausalLM, Tokenizer]:
    """Load a checkpoint folder for inference."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=_DTYPES[dtype])
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoint", nargs="?", type=Path, default=CHECKPOINT)
    parser.add_argument("--data", type=Path, default=HELDOUT_FILE, help="as corpus.py writes it")
    parser.add_argument("--dtype", choices=tuple(_DTYPES), default="float32")
    args = parser.parse_args()
    model, tokenizer = load(args.checkpoint, args.dtype)
    texts = read_documents(args.data.read_text(encoding="utf-8"))
    print(evaluate(model, tokenizer, texts).report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
