"""What an export will do, once its options and its targets are brought together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.errors import Diagnostic, UnsupportedError, UsageError
from exporter.targets import PALETTE_BITS, Format, Target

FORMATS: tuple[Format, ...] = ("onnx", "coreml")
GROUP_SIZE = 16  # as in Apple's shipped model: fine enough for 4 bits, and the tables cost some 2 % at 1,024 columns
CACHED_TOKENS = 4096  # a decoder's context unless asked for: phones allocate the KV cache in full, 0.1 GB and more


@dataclass(frozen=True)
class Settings:
    """formats: what to write, in that order; group_size: output rows that share one lookup table."""

    formats: tuple[Format, ...]
    targets: tuple[Target, ...]
    bits: int
    group_size: int

    def targets_of(self, kind: Format) -> tuple[Target, ...]:
        """The targets that take this format."""
        return tuple(target for target in self.targets if kind in target.formats)


def settle(formats: Sequence[Format], targets: Sequence[Target], bits: int, group_size: int | None) -> Settings:
    """Options win over targets, targets over defaults.

    Raises UsageError for options that make no sense, UnsupportedError with everything that a target can't take.
    """
    if bits not in PALETTE_BITS:
        raise UsageError.of(
            "options.bits", f"{bits} bits can't be stored", where="--bits", hint=f"one of {_listed(PALETTE_BITS)}"
        )
    asked = tuple(f for f in FORMATS if f in formats) if formats else ()
    brought = tuple(f for f in FORMATS if any(f in target.formats for target in targets)) if targets else FORMATS
    UsageError.raise_all(
        [
            Diagnostic(
                "options.to", f"{t.title} takes {_listed(t.formats)}, not {_listed(asked)}", "--to", "leave out --to"
            )
            for t in targets
            if asked and not set(asked) & set(t.formats)
        ]
    )
    UnsupportedError.raise_all(
        [
            Diagnostic(
                "target.bits",
                f"{t.title} can't take palettes of {bits} bits: {t.reasons.get('bits', 'see its profile')}",
                where=f"--for {t.name}",
                hint=f"one of {_listed(t.bits)}",
            )
            for t in targets
            if bits not in t.bits
        ]
    )
    sizes = [target.group_size for target in targets]
    return Settings(asked or brought, tuple(targets), bits, group_size or min(sizes, default=GROUP_SIZE))


def _listed(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))
