"""`kogata targets`: the device profiles."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import ExitCode
from exporter.progress import Progress
from exporter.report import Report, Table, shown_size

if TYPE_CHECKING:
    from exporter.targets import Fact, Hardware, Limits, Target


# What the devices of a platform don't have.
_OTHER: dict[str, tuple[str, ...]] = {"ios": ("android_soc",), "android": ()}


def target_names() -> list[str]:
    """For the shell's completion."""
    from exporter.targets import load_targets

    return list(load_targets())


def targets(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=target_names, help="Show this profile in full. [default: a table of all profiles]"
        ),
    ] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Show the device profiles that --for takes, with the source of each number."""

    def body(_: Progress) -> Report:
        from exporter.targets import load_target

        return _one(load_target(name)) if name else _all()

    return run_command("targets", Output(format, quiet), body)


def _all() -> Report:
    from exporter.targets import load_targets

    found = sorted(load_targets().values(), key=lambda t: t.name)
    rows = [
        (t.name, t.title, " + ".join(t.formats), _short(t.hardware.ram), _short(t.hardware.memory_bandwidth))
        for t in found
    ]
    table = Table("", ("name", "device", "formats", "memory", "bandwidth"), rows)
    return Report("targets", ExitCode.OK, {"targets": [_json(t) for t in found]}, (), (table,))


def _one(target: Target) -> Report:
    from exporter.targets import STANDINGS

    rows = [
        ("formats", ", ".join(target.formats), target.reasons.get("formats", "")),
        ("oldest system", target.min_os, target.reasons.get("min_os", "")),
        ("bits", ", ".join(map(str, target.bits)), target.reasons.get("bits", "")),
        ("group size", str(target.group_size), target.reasons.get("group_size", "")),
    ]
    hardware = {label: fact for label, fact in vars(target.hardware).items() if label not in _OTHER[target.platform]}
    facts = {**hardware, **{f"largest {k}": v for k, v in vars(target.limits).items()}}
    for label, fact in facts.items():
        if fact is None:
            rows.append((label.replace("_", " "), "unknown", ""))
        else:
            rows.append((label.replace("_", " "), _short(fact), f"{fact.standing}: {fact.source}"))
    used = {fact.standing for fact in facts.values() if fact is not None}
    tables = (
        Table(f"{target.title} ({target.name})", ("", "value", "why"), rows),
        Table("notes", ("",), [(note,) for note in target.notes]),
        Table("how far a number can be trusted", ("", ""), [(s, m) for s, m in STANDINGS.items() if s in used]),
    )
    return Report("targets", ExitCode.OK, {"target": _json(target)}, (), [table for table in tables if table.rows])


def _json(target: Target) -> dict[str, Any]:
    def known(facts: Hardware | Limits) -> dict[str, Any]:
        return {name: None if fact is None else asdict(fact) for name, fact in vars(facts).items()}

    plain = {name: getattr(target, name) for name in ("name", "title", "platform", "formats", "min_os", "bits")}
    return {
        **plain,
        "group_size": target.group_size,
        "reasons": dict(target.reasons),
        "models": target.models,
        "hardware": known(target.hardware),
        "limits": known(target.limits),
        "notes": target.notes,
    }


def _short(fact: Fact[Any, Any] | None) -> str:
    if fact is None:
        return "unknown"
    return shown_size(int(fact.value)) if fact.unit == "bytes" else f"{fact.value} {fact.unit}".strip()
