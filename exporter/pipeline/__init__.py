"""The flows: one file for each command, one for each step of an export."""
