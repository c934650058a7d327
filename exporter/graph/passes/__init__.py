"""One pass per file: Given, Result, Refuses."""
