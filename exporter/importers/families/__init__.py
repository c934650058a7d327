"""One file per model family: configuration → layout, weight role → checkpoint name. Data, not code paths."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.importers.families import bert, llama
from exporter.importers.family import Family

FAMILIES: Mapping[str, Family] = {family.model_type: family for family in (bert.FAMILY, llama.FAMILY)}
