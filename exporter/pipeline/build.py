"""From imported graphs to the files of a bundle: bits, palettes, and both formats, one graph after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.compress import Choice, CompressOptions, compress
from exporter.compress.choices import UNCOMPRESSED
from exporter.compress.proxy import WeightError
from exporter.compress.search import Choices, Sensitivity
from exporter.errors import Diagnostic
from exporter.formats import Format
from exporter.graph.model import DecoderSpec, GraphSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.graph.spill import Spill
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.lower.onnx import OnnxOptions, OnnxWeights, lower_onnx
from exporter.pipeline.bits import HEADROOM, Mixed, planned, replayed, require_kl, require_reachable
from exporter.pipeline.fit import (
    BUILTIN,
    Fitted,
    Recovery,
    answer_kind,
    decoder,
    fitted_compression,
    open_session,
    recovered,
)
from exporter.pipeline.pack import kogata_metadata
from exporter.pipeline.parts import Part, candidates
from exporter.pipeline.sensitivity import TextSensitivity
from exporter.pipeline.settings import Settings
from exporter.pipeline.sizes import beside_onnx, weighed
from exporter.progress import NoProgress, Progress

if TYPE_CHECKING:
    from exporter.calibration.session import Session

PLENTY = 8  # bits from which palettes are fitted to text only where that was asked for: there is nothing to gain
KL_TRIES = 4  # allocations for a limit on KL: what they cost together is known only when they are fitted
ROOMY = 0.85  # of the limit: an allocation that stays below that could be smaller
CLOSE = 0.95  # of the limit: what the next try should come to


@dataclass(frozen=True)
class Order:
    """settings: what to make. calibrate: "builtin", "none", a file; None: built-in texts where they make sense.

    recovery: of LUTs after fitting, None for none. device: of calibration, as torch calls it.
    """

    settings: Settings
    onnx_weights: OnnxWeights = "palette"
    calibrate: str | None = None
    recovery: Recovery | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Built:
    """parts: with files, uncompared. mixed: None where all matrices get the same bits. notes: for the report."""

    parts: tuple[Part, ...]
    mixed: Mixed | None
    notes: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class Workshop:
    """folder: the bundle to be; name: the bundle's."""

    order: Order
    folder: Path
    name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer | None
    hubs: tuple[Hub, ...]
    progress: Progress
    notes: list[Diagnostic] = field(default_factory=list)
    _sizes: dict[frozenset[tuple[str, Choice]], int] = field(default_factory=dict, repr=False)

    @cached_property
    def spill(self) -> Spill:
        """For palettes that wait for their writers."""
        return Spill(self.folder)

    @cached_property
    def sessions(self) -> tuple[Session | None, ...]:
        """Each graph with its calibration texts; None for one that is compressed without."""
        settings = self.order.settings
        few = settings.bits is None or settings.bits < PLENTY
        asked = self.order.calibrate or (BUILTIN if self.order.recovery else None)
        if asked == "none" or settings.bits == UNCOMPRESSED or not (few or asked):
            return (None,) * len(self.hubs)
        found: list[Session | None] = []
        for hub in self.hubs:
            session = open_session(hub, self.tokenizer, asked, self.progress, self.order.device)
            if isinstance(session, Diagnostic):
                self.notes.append(session)
            found.append(None if isinstance(session, Diagnostic) else session)
        return tuple(found)

    def build(self) -> Built:
        """Raises KogataError, as the stages do."""
        mixed, done = self._compressed()
        parts = []
        for hub, session, made in zip(self.hubs, self.sessions, done, strict=True):
            fitted = made if session is None else self._recovered(session, made)
            self.notes.extend(fitted.notes)
            facts = fitted.facts and replace(fitted.facts, component=_component(hub))
            part = Part(hub, apply_palettes(hub, fitted.compression.palettes), fitted.compression, {}, fit=facts)
            formats = self.order.settings.formats
            artifacts = {kind: self.write(part.compressed, self.folder / kind, kind) for kind in formats}
            parts.append(replace(part, artifacts=artifacts))
        return Built(tuple(parts), mixed, tuple(self.notes))

    def _recovered(self, session: Session, fitted: Fitted) -> Fitted:
        recovery = self.order.recovery
        return fitted if recovery is None else recovered(session, fitted, recovery, self.progress, self.spill)

    def _compressed(self) -> tuple[Mixed | None, list[Fitted]]:
        """Bits, and each graph's palettes. What a limit on KL yields is fitted, judged, and chosen anew if need be."""
        budget = self.order.settings.widths.budget
        if budget is not None and budget.kind == "kl":  # known at once: texts take their time
            require_kl(budget, answer_kind(self.hubs))
        require_reachable(self.hubs, self.order.settings, self._weigh)
        sensitivity, aim = self._sensitivity(), HEADROOM
        best = None
        for _ in range(KL_TRIES):
            mixed = self._mixed(sensitivity, aim)
            done = [self._palettes(index, mixed) for index in range(len(self.hubs))]
            session = self.sessions[0]
            if budget is None or budget.kind != "kl" or session is None:
                return mixed, done
            error, limit = session.distance(decoder(done[0].compression.palettes), bound=True), HEADROOM * budget.value
            if error <= limit and (best is None or _size(done) < _size(best[1])):
                best = mixed, done
            searched = mixed.found.chosen.measured if mixed is not None and mixed.found is not None else None
            if not searched or not error or ROOMY * limit <= error <= limit:
                break
            aim = CLOSE * HEADROOM * searched / error  # the search's palettes are fitted less thoroughly
        return best or (mixed, done)

    def _sensitivity(self) -> Sensitivity:
        budget = self.order.settings.widths.budget
        if budget is None or len(self.hubs) > 1 or self.sessions[0] is None:
            return WeightError()
        return TextSensitivity(self.sessions[0], self.spill, bound=budget.kind == "kl")

    def _mixed(self, sensitivity: Sensitivity, aim: float) -> Mixed | None:
        """Bits for every matrix of all graphs; None where all get the same."""
        settings = self.order.settings
        if settings.widths.plan is not None:
            return replayed(self.hubs, settings)
        if settings.widths.budget is None:
            return None
        return planned(self.hubs, settings, sensitivity, self._weigh, self.progress, aim)

    def _weigh(self, choices: Choices) -> int:
        """Bytes of the larger format's artifacts."""
        key = frozenset(choices.items())
        if key not in self._sizes:
            self._sizes[key] = self._weighed(choices)
        return self._sizes[key]

    def _weighed(self, choices: Choices) -> int:
        formats = self.order.settings.formats
        mixed, quiet, beside = Mixed(choices, ""), replace(self, progress=NoProgress()), beside_onnx(self.checkpoint)
        sizes = dict.fromkeys(formats, 0)
        for hub in self.hubs:
            own = weighed(hub, mixed.of(hub, self.hubs), formats, self.folder, quiet.write)
            sizes = {kind: size + own[kind] for kind, size in sizes.items()}
        return max(size + (beside if kind == "onnx" else 0) for kind, size in sizes.items())

    def _palettes(self, index: int, mixed: Mixed | None) -> Fitted:
        hub, session, settings = self.hubs[index], self.sessions[index], self.order.settings
        bits = UNCOMPRESSED if settings.bits is None else settings.bits
        choices: Mapping[str, Choice] = mixed.of(hub, self.hubs) if mixed else {}
        options, every = CompressOptions(bits, settings.group_size, choices), candidates(hub)
        if session is None:
            return Fitted(compress(every, options, self.progress, self.spill))
        return fitted_compression(session, every, options, self.progress, self.spill)

    def write(self, hub: Hub, place: Path, kind: Format) -> Path:
        """One format's files of a compressed graph, in the folder `place`; what an app opens."""
        self.progress.stage(f"write {kind}", 1)
        place.mkdir(exist_ok=True)
        spec = hub.spec
        metadata = kogata_metadata(self.name, self.checkpoint, () if isinstance(spec, DecoderSpec) else spec.labels)
        if kind == "onnx":
            return lower_onnx(hub, place, OnnxOptions(self.order.onnx_weights, metadata)).path
        described = CoreMLOptions(metadata=metadata, license=self.checkpoint.source.license)
        component = _component(hub)
        stem = self.name if component == "model" else f"{self.name}-{component}"
        return lower_coreml(hub, place / f"{stem}.mlpackage", described).path


def _component(hub: Hub) -> str:
    return hub.spec.component if isinstance(hub.spec, GraphSpec) else "model"


def _size(done: Sequence[Fitted]) -> int:
    return sum(fitted.compression.stored_bytes for fitted in done)
