"""Facts of a device's report as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.report import Cell, Table, shown_size

if TYPE_CHECKING:
    from exporter.parity.device.report import DeviceReport


def device_tables(report: DeviceReport) -> list[Table]:
    """What ran the vectors and how, and how fast it was. What the app didn't measure is left out."""
    device, runtime, speed = report.device, report.runtime, report.speed
    facts: list[tuple[str, Cell]] = [("device", device.model), ("system", device.system)]
    if device.memory_bytes is not None:
        facts.append(("memory", shown_size(device.memory_bytes)))
    facts += [("engine", runtime.engine), ("artifact", f"{runtime.artifact}, form {runtime.form}")]
    if runtime.compute_units is not None:
        facts.append(("compute units", runtime.compute_units))
    rates: list[tuple[str, float | None, str]] = [
        ("load", speed.load_seconds, "s"),
        ("first token", speed.first_token_seconds, "s"),
        ("prefill", speed.prefill_tokens_per_second, "tokens/s"),
        ("decode", speed.decode_tokens_per_second, "tokens/s"),
    ]
    measured: list[tuple[str, Cell]] = [
        (name, f"{value:.4g} {unit}") for name, value, unit in rates if value is not None
    ]
    if speed.peak_memory_bytes is not None:
        measured.append(("peak memory", shown_size(speed.peak_memory_bytes)))
    tables = [Table("device", ("", ""), facts)]
    return [*tables, Table("measured by the app", ("", ""), measured)] if measured else tables
