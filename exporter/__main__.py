"""The `kogata` command, also as `python -m exporter`. Nothing is imported here before signals are taken care of."""

from exporter.interrupt import run_supervised


def main() -> None:
    """Entry point of the `kogata` script."""
    run_supervised(_command, _remove_work)


def _command() -> None:
    from exporter.cli.main import main as command

    command()


def _remove_work(destination: str) -> None:
    from pathlib import Path

    from exporter.bundle.work_area import remove_stale

    remove_stale(Path(destination))


if __name__ == "__main__":
    main()
