"""The kogata command: one file per subcommand, thin."""
