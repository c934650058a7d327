"""Hub to an .mlpackage, written as a MIL program."""
