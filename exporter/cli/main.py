"""The `kogata` command."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Annotated, cast, get_args

import typer

from exporter import __version__
from exporter.cli import bench, check, diff, doctor, export, inspect, pack, run, sign, targets, verify
from exporter.cli.output import Output, bug, failure, stdout_lost
from exporter.errors import Diagnostic, ExitCode
from exporter.report import ReportFormat

app = typer.Typer(
    name="kogata",
    help="From a language-model checkpoint to checked ONNX and Core ML bundles for phones.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("export", short_help="Export a checkpoint as a checked bundle.")(export.export)
app.command("check", short_help="Run parity again on a bundle's files.")(check.check)
app.command("verify", short_help="Verify a bundle's checksums, manifest and signature.")(verify.verify)
app.command("sign", short_help="Sign a bundle with a key.")(sign.sign)
app.command("inspect", short_help="Show what a checkpoint, artifact or bundle contains.")(inspect.inspect)
app.command("diff", short_help="Show what changed between two bundles, with gates.")(diff.diff)
app.command("run", short_help="Run a bundle's model on a text.")(run.run)
app.command("bench", short_help="Time a bundle's files, or compare two models.")(bench.bench)
app.command("pack", short_help="Write a bundle as Xcode and the App Store take it.")(pack.pack)
app.command("targets", short_help="Show the device profiles that --for takes.")(targets.targets)
app.command("doctor", short_help="Show what kogata can do on this machine.")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        print(f"kogata {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point. It always ends with a documented exit code and never with a traceback."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = app(arguments, prog_name="kogata", standalone_mode=False)
    except OSError as error:  # from printing --help or --version; commands report their own errors
        code = stdout_lost(error)
    except Exception as error:
        # Typer's own errors, such as an unknown option, have this method; their class is private to Typer.
        message = getattr(error, "format_message", None)
        known = [command.name for command in app.registered_commands]
        command = next((word for word in arguments if word in known), "kogata")
        if message is not None:
            hint = f"kogata {command} --help" if command != "kogata" else "kogata --help"
            found = (Diagnostic("cli.usage", message() or "no command was given", hint=f"see `{hint}`"),)
            report = failure(command, ExitCode.INPUT, found)
        else:
            report = failure(command, ExitCode.BUG, (bug(error),))
        code = Output(_format(arguments), quiet=False).write(report)
    sys.exit(code if isinstance(code, int) else 0)


def _format(arguments: list[str]) -> ReportFormat:
    """The report format that was asked for, found without the parser, which has just failed."""
    for word, following in pairwise([*arguments, ""]):
        value = following if word == "--format" else word.removeprefix("--format=") if "=" in word else ""
        if value in get_args(ReportFormat):
            return cast(ReportFormat, value)
    return "text"
