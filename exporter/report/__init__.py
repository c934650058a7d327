"""Diagnostics and results as text, JSON, JUnit, GitHub annotations and HTML."""
