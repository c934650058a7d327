"""`kogata verify`: compare a bundle's files with its checksums, manifest and signature, and show its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exporter.cli.output import FormatOption, Output, QuietOption, run_command
from exporter.errors import UsageError
from exporter.progress import Progress
from exporter.report import Report


def verify(
    bundle: Annotated[Path, typer.Argument(help="A folder that `kogata export` wrote.")],
    require: Annotated[
        Literal["passed"] | None,
        typer.Option(help="Also exit 1 for a bundle that was never compared with its checkpoint."),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="PEM", help="Also check the signature of `kogata sign` with this key."),
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The signature, with --public-key. [default: BUNDLE.sig]", show_default=False
        ),
    ] = None,
    format: FormatOption = "text",
    quiet: QuietOption = False,
) -> int:
    """Check a bundle's hashes, sizes, manifest, verdict and signature, without running a model.

    Exits 1 when a file differs, for a bundle that failed a gate when it was exported, and with --public-key when the
    signature is absent or not of these files by this key.
    """

    def body(_: Progress) -> Report:
        from exporter.bundle import verify_bundle
        from exporter.bundle.signing import check_signatures, read_public_key
        from exporter.cli.signatures import with_signatures
        from exporter.cli.verdict import verify_report

        if signature is not None and public_key is None:
            raise UsageError.of("verify.key", "--signature needs --public-key", where="--signature")
        key = None if public_key is None else read_public_key(public_key)
        found = verify_bundle(bundle)
        report = verify_report(found, require_passed=require is not None)
        return with_signatures(report, check_signatures(found, key, signature), sums=found.ok)

    return run_command("verify", Output(format, quiet, about=bundle), body)
