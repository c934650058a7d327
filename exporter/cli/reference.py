"""`python -m exporter.cli.reference DOCS` writes the generated pages of docs/; a test keeps them current.

commands.md comes from the commands' help, limits.md from parity's tables of limits, families.md from the importers'
families, coreml-ops.md from the registry of the Core ML lowering.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from exporter.cli.main import app
from exporter.parity.thresholds import Limit

INTRODUCTION = """\
# Commands

Generated from `kogata COMMAND --help` by `make docs`.

The report goes to stdout, and in text format its errors to stderr. On a terminal it fits the terminal's width.
Elsewhere tables are up to 100 columns wide, and messages aren't wrapped. `COLUMNS` sets another width. Colours appear
on a terminal only, and not with `NO_COLOR`.

Progress goes to stderr. On a terminal it is a bar with count, elapsed and estimated remaining time. Elsewhere each
stage prints a line when it begins, and one every 30 seconds. `--quiet` or `NO_PROGRESS` turns progress off.

`--format json` writes the same envelope on success and on failure:
`{"command", "ok", "exit_code", "verdict", "result", "diagnostics": [{"code", "level", "message", "where", "hint"}]}`.
`verdict` is there where the command is about a bundle: `passed`, `failed` or `unchecked`; so are `bundle`, with `name`
and `path`, and, where something is to be done, `next_step`. In JUnit XML these are properties. The first of GitHub's
annotations has the verdict; with `--format github` all rows are also added to the step's summary
(`GITHUB_STEP_SUMMARY`). [ci.md](ci.md) describes both. The format never changes the exit code.

`kogata --install-completion` installs completion of commands, options and target names for bash, zsh, fish or
PowerShell; `kogata --show-completion` prints the script instead.

| exit | meaning |
|---|---|
| 0 | done, all gates passed |
| 1 | a gate failed: parity, size or integrity |
| 2 | wrong usage, or an input that is unreadable or damaged |
| 3 | the model, an op or a feature is not supported; the report lists everything that is missing |
| 4 | a runtime that was asked for is missing |
| 70 | a bug in Kogata; `KOGATA_TRACEBACK=1` shows where |
| 130, 143 | ended by Ctrl-C, by SIGTERM: within two seconds, with one line on stderr; a bundle is whole or absent |

A prompt file is `.txt` with one prompt per line, or `.jsonl` with `"text"`, `"prompt"` or `"messages"` in each line.
A task file is `.jsonl` with `"prompt"` (or `"messages"`) and `"expected"` in each line. `"group"` or `"language"` adds
numbers per group. An answer is correct if greedy decoding gives exactly the expected text.
"""

LIMITS = """\
# Parity limits

Generated from the tables in `exporter/parity` by `make docs`. [parity.md](parity.md) says what the rows compare.
Limits on KL, errors and counts are maxima; limits on shares, cosines and PSNR (dB) are minima. "Test models" are the
small trained models on which limits were measured: all-MiniLM-L6-v2, fine-tunes of it, and the Llama of
`samples/home_intents`, with k-means palettes in groups of 16 rows unless the reason says otherwise.
"""


def pages() -> dict[str, str]:
    """File name in docs/ → text."""
    from exporter.cli.reference_models import families_page, ops_page

    made = {"commands.md": commands(), "limits.md": limits()}
    return made | {"families.md": families_page(), "coreml-ops.md": ops_page()}


def limits() -> str:
    """docs/limits.md."""
    from exporter.parity import thresholds as t

    rows = {
        "import": t.IMPORT,
        "import, float16": t.IMPORT_HALF,
        "import, quantized": t.IMPORT_QUANTIZED,
        "onnx lowering": t.LOWERING_ONNX,
        "coreml lowering": t.LOWERING_COREML,
        "fp16": t.FP16,
        "onnx vs coreml": t.ARTIFACTS,
        "onnx cached decode": t.CACHED_FP32,
        "coreml cached decode": t.CACHED_FP16,
        "padding": t.PADDING,
        "coreml masks": t.MASKS,
        "tokenizer": t.TOKENIZER,
    }
    parts = [LIMITS, _table("Rows that should be equal", rows.items())]
    tables = {
        "Decoders and fill-mask": t.DECODER,
        "Sentence and token embeddings": t.ENCODER,
        "Classes, tags and answers": t.CLASSES,
        "Rerankers and regressions": t.SCORES,
    }
    for title, table in tables.items():
        by_bits = ((f"{bits} bits", limits) for bits, limits in table.items())
        parts.append(_table(f"{title}: compression, onnx, coreml", by_bits))
    parts.append(_table("Other models: embeddings, feature maps and classes", _graphs()))
    parts.append(_table("Device reports, beside the limits of the artifact", _device()))
    errors = ", ".join(f"{bits} bits {limit:g}" for bits, limit in sorted(t.WEIGHT_ERROR.items(), reverse=True))
    parts.append(f"## Error of each weight\n\nAt most {errors}: {t.WEIGHT_ERROR_REASON}.\n")
    drop = f"Largest loss against the checkpoint: {t.TASK_DROP:g} percentage point: {t.TASK_DROP_REASON}."
    parts.append(f"## Task accuracy\n\n{drop}\n")
    return "\n".join(parts)


def _graphs() -> Iterator[tuple[str, tuple[Limit, ...]]]:
    """Limits of graphs that aren't imported natively. Logits over a vocabulary have the decoders' limits."""
    from exporter.parity import thresholds as t
    from exporter.parity.graphs import limits as g

    yield "coreml lowering", t.LOWERING_COREML_DENSE
    for bits in g.COSINES:
        classes = (Limit("top1_or_tie", g.CLASSES[bits], f"classes; {g.CHOICE}"),) if bits in g.CLASSES else ()
        yield f"{bits} bits", (*g.output_limits(bits), *classes)


def _device() -> Iterator[tuple[str, tuple[Limit, ...]]]:
    """Limits that device.json has beside those of the artifact's own row."""
    from exporter.parity.device import gates as d

    yield "device tokenizer, device chat", (d.IDS, d.MISSING)
    yield "device decode", (d.MISSING, d.INCONSISTENT, d.CONTINUATIONS)
    yield "device decode, device embed, device scores", (d.beyond_limit("the program that ran it then", d.TOLD_MARGIN),)


def _table(title: str, rows: Iterable[tuple[str, Iterable[Limit]]]) -> str:
    lines = [f"| {row} | {limit.metric} | {limit.value:g} | {limit.reason} |" for row, found in rows for limit in found]
    return "\n".join([f"## {title}", "", "| row | metric | limit | why |", "|---|---|---|---|", *lines, ""])


def commands() -> str:
    """docs/commands.md."""
    root = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for name, command in sorted(getattr(root, "commands").items()):  # noqa: B009 - Typer keeps the group's type private
        context = command.make_context(f"kogata {name}", ["--help"], resilient_parsing=True, max_content_width=100)
        context.terminal_width = 100
        text = re.sub(r"[ \t]+$", "", command.get_help(context), flags=re.MULTILINE)
        parts.append(f"## kogata {name}\n\n```\n{text.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")
