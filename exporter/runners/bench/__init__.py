"""Speed, load time and memory of one model file, measured in a process of its own."""

from exporter.runners.bench.processes import Engine, WorkerCall, measure, runner_name

__all__ = ["Engine", "WorkerCall", "measure", "runner_name"]
