"""`python -m exporter` is `kogata`."""

from exporter.cli.main import main

main()
