"""`kogata sign`: sign a bundle with a key."""

from __future__ import annotations

import contextlib
import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import ExitCode
from exporter.progress import Progress
from exporter.report import Report, Table


def sign(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    key: Annotated[Path, typer.Option("--key", metavar="PEM", help="File with an ECDSA private key.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write, outside the bundle. [default: BUNDLE.sig]", show_default=False
        ),
    ] = None,
    provenance: Annotated[
        bool,
        typer.Option(
            help="Also write BUNDLE.provenance.json: from which checkpoint, with which options and tools the bundle "
            "was exported."
        ),
    ] = True,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Sign a bundle in the format of OpenSSF model-signing; `kogata verify --public-key` checks it.

    The bundle is verified first; it keeps its bytes. The password of an encrypted key comes from the environment
    variable KOGATA_KEY_PASSWORD, or you are asked. Exits 1 for a bundle with changed files or a failed verdict.
    """

    def body(progress: Progress) -> Report:
        from exporter.cli.verdict import verdict_findings
        from exporter.pipeline.sign import SignRequest, sign_bundle

        made = sign_bundle(SignRequest(bundle, key, output, provenance, _asker(key)), progress)
        paths = [str(path) for path in made.written]
        result = {"signature": paths[0], "provenance": paths[1] if provenance else None}
        rows = [("signature", paths[0]), *((("provenance", paths[1]),) if provenance else ())]
        return Report(
            "sign",
            ExitCode.OK,
            result | {"key": made.key, "files": made.files},
            (*verdict_findings(made.manifest), *made.warnings),
            [Table(f"signed {made.files} files", ("", ""), [*rows, ("id of the public key", made.key)])],
            verdict=made.manifest.verdict,
        )

    return run_command("sign", Output(format, quiet), body)


def _asker(key: Path) -> Callable[[], str] | None:
    """Asks for a password where somebody sits at a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None

    def ask() -> str:
        with contextlib.suppress(EOFError):  # Ctrl-D: no password
            return getpass.getpass(f"Password of {key}: ")
        return ""

    return ask
