"""What the Swift tests of KogataTokenizer expect is what `tokenizers` gives."""

from support.swift_resources import OUTPUT, dumped


def test_the_components_of_the_swift_tests_are_fresh() -> None:
    """Where this fails, run `PYTHONPATH=tests python -m support.swift_resources`."""
    assert OUTPUT.read_text(encoding="utf-8") == dumped()
