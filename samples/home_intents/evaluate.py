"""Greedy exact match of a checkpoint or a bundle on the held-out sets, by language and action.

python samples/home_intents/evaluate.py [CHECKPOINT] [--data FILE ...] [--failures 10]
python samples/home_intents/evaluate.py --bundle DIR    # the ONNX file that `kogata export` wrote

For requests to decline it also says how many were declined at all, with whatever reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as Tokenizer

from generate import HAND_WRITTEN, TEST_FILE, Example, read_jsonl
from semantics import DECLINE, has_unseen_word

CHECKPOINT = Path(__file__).resolve().parent / "checkpoint"
HELD_OUT = (TEST_FILE, *HAND_WRITTEN)
_DTYPES = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Result:
    """An example and what the model answered."""

    example: Example
    answer: str

    @property
    def correct(self) -> bool:
        """Whether the answer is exactly the expected JSON."""
        return self.answer == self.example.expected

    @property
    def declined(self) -> bool:
        """Whether the answer declines the request, with whatever reason."""
        try:
            answer = json.loads(self.answer)
        except json.JSONDecodeError:
            return False
        return isinstance(answer, dict) and answer.get("action") == DECLINE


def answer_batch(model: LlamaForCausalLM, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Answer requests greedily, as one left-padded batch, with the checkpoint's own settings."""
    batch = tokenizer.apply_chat_template(
        [[{"role": "user", "content": text}] for text in texts],
        add_generation_prompt=True,
        padding=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        output = model.generate(**batch)
    answers = output[:, batch["input_ids"].shape[1] :]
    return tokenizer.batch_decode(answers, skip_special_tokens=True)


def evaluate(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    batch_size: int = 50,
) -> list[Result]:
    """Answer every example, in batches of similar length."""
    ordered = sorted(examples, key=lambda example: len(example.prompt.encode("utf-8")))
    results = []
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        answers = answer_batch(model, tokenizer, [example.prompt for example in batch])
        results += [Result(*pair) for pair in zip(batch, answers, strict=True)]
    return results


def evaluate_bundle(folder: Path, examples: Sequence[Example]) -> list[Result]:
    """Answer every example with the ONNX file of a bundle; needs the exporter's package."""
    from bundle_answers import answer_all

    answers = answer_all(folder, [example.prompt for example in examples])
    return [Result(*pair) for pair in zip(examples, answers, strict=True)]


def accuracy(results: Sequence[Result]) -> float:
    """Return the share of exactly right answers."""
    return sum(result.correct for result in results) / len(results)


def declined(results: Sequence[Result]) -> float:
    """Return the share of declined requests."""
    return sum(result.declined for result in results) / len(results)


def _line(name: str, part: Sequence[Result]) -> str:
    text = f"{name}: {accuracy(part):.2%} of {len(part)}"
    if any(result.example.action == DECLINE for result in part):
        text += f", declined {declined(part):.2%}"
    return text


def report(results: Sequence[Result], failures: int = 10) -> str:
    """Describe the accuracy in total, per language and per action, with some failures."""
    lines = [_line("exact match", results)]
    for language in sorted({result.example.language for result in results}):
        part = [result for result in results if result.example.language == language]
        lines.append(_line(f"  {language}", part))
    unseen = [result for result in results if has_unseen_word(result.example.expected)]
    if unseen:
        lines.append(_line("  with words that training lacks", unseen))
    wrong = [result for result in results if not result.correct]
    for action in sorted({result.example.action for result in wrong}):
        part = [result for result in results if result.example.action == action]
        lines.append(_line(f"  {action}", part))
    for result in wrong[:failures]:
        lines.append(f"- {result.example.prompt}")
        lines.append(f"    expected {result.example.expected}")
        lines.append(f"    answered {result.answer}")
    return "\n".join(lines)


def load(folder: Path, dtype: str = "float16") -> tuple[LlamaForCausalLM, Tokenizer]:
    """Load a checkpoint folder for inference."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=_DTYPES[dtype])
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("checkpoint", nargs="?", type=Path, default=CHECKPOINT)
    parser.add_argument("--bundle", type=Path, help="evaluate the ONNX file of this bundle instead")
    parser.add_argument("--data", type=Path, nargs="*", default=HELD_OUT, help="JSONL files")
    parser.add_argument("--dtype", choices=tuple(_DTYPES), default="float16")
    parser.add_argument("--failures", type=int, default=10, help="how many failures to print")
    args = parser.parse_args()
    model = None if args.bundle else load(args.checkpoint, args.dtype)
    for path in args.data:
        data = read_jsonl(path)
        results = evaluate(*model, data) if model else evaluate_bundle(args.bundle, data)
        print(f"{path.name}: {report(results, args.failures)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
