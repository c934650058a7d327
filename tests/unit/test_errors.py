"""`Gathered`: the problems of all options in one error."""

from __future__ import annotations

import pytest

from exporter.errors import Gathered, InputError, UnsupportedError, UsageError


def refuse(kind: type[UsageError | InputError | UnsupportedError], code: str) -> None:
    raise kind.of(code, f"{code} is wrong")


def test_problems_are_raised_together_and_once() -> None:
    options = Gathered()
    assert options.read(int, "3") == 3
    for kind, code in ((UsageError, "a"), (InputError, "b"), (UsageError, "a")):
        assert options.read(refuse, kind, code) is None
    with pytest.raises(UsageError) as raised:
        options.raise_all()
    assert [problem.code for problem in raised.value.diagnostics] == ["a", "b"]


def test_another_error_hides_no_problem() -> None:
    options = Gathered()
    with pytest.raises(UnsupportedError):
        options.read(refuse, UnsupportedError, "c")
    options.read(refuse, UsageError, "a")
    with pytest.raises(UsageError, match="a is wrong"):
        options.read(refuse, UnsupportedError, "c")
