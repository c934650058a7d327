"""Reports in every format: for people, for programs, and against hostile strings."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import Diagnostic, ExitCode
from exporter.report import Case, Report, Table, render

FORMATS = ("text", "json", "junit", "github")
FAILURE = Report(
    "export",
    ExitCode.INPUT,
    None,
    (
        Diagnostic("checkpoint.truncated", "12 bytes are missing", "model.safetensors", "download it again"),
        Diagnostic("checkpoint.license", "no licence is stated", level="warning"),
    ),
)
HOSTILE = "a\x1b[31m\r\n::error::b\n]]></failure>%0A</script><!--\x00\x07\x9b2J\u202e\ud800 &amp; ::set-env name=x::"


def hostile_report(text: str) -> Report:
    return Report(
        "check",
        ExitCode.GATE,
        {"text": text, text: [text]},
        (Diagnostic("parity.failed", text, text, text), Diagnostic("x.y", text, text, text, "note")),
        (Table(text, (text, "n"), [(text, 1)]), text),
        (Case(text, False, text), Case(text, None, text), Case(text, True, text)),
    )


def test_the_envelope_is_the_contract_s() -> None:
    assert json.loads(render(FAILURE, "json")) == {
        "command": "export",
        "ok": False,
        "exit_code": 2,
        "result": None,
        "diagnostics": [
            {
                "code": "checkpoint.truncated",
                "level": "error",
                "message": "12 bytes are missing",
                "where": "model.safetensors",
                "hint": "download it again",
            },
            {
                "code": "checkpoint.license",
                "level": "warning",
                "message": "no licence is stated",
                "where": "",
                "hint": "",
            },
        ],
    }
    done = json.loads(render(Report("verify", 0, {"files": 3, "kl": float("nan"), "inf": [float("inf")]}), "json"))
    assert done == {
        "command": "verify",
        "ok": True,
        "exit_code": 0,
        "result": {"files": 3, "kl": None, "inf": [None]},
        "diagnostics": [],
    }
    assert list(done) == ["command", "ok", "exit_code", "result", "diagnostics"]


def test_text_says_error_blank_hint() -> None:
    assert render(FAILURE, "text") == (
        "error: model.safetensors: 12 bytes are missing\n\nhint: download it again\n\nwarning: no licence is stated\n"
    )


def test_tables_align_numbers_right_and_wide_characters_by_what_they_take() -> None:
    table = Table(
        "Sizes", ("file", "bytes", "share"), [("a", 5, "3 %"), ("日本", 12345, None), ("longer", 0.123456, "12 %")]
    )
    assert render(Report("x", 0, {}, sections=(table,)), "text") == (
        "Sizes\nfile     bytes  share\na            5    3 %\n日本     12345      –\nlonger  0.1235   12 %\n"
    )


def test_a_table_without_header_or_title_has_none() -> None:
    table = Table("", ("", ""), [("bits", "4"), ("group size", "16")])
    assert render(Report("x", 0, {}, sections=(table,)), "text") == "bits         4\ngroup size  16\n"


def test_rows_must_fit_the_columns() -> None:
    with pytest.raises(ValueError, match="2 columns"):
        Table("", ("a", "b"), [("only one",)])


def test_colour_changes_nothing_but_colour_and_only_where_asked() -> None:
    table = Table("T", ("what", "verdict"), [("failed imports", "passed"), ("x", "failed")])
    report = Report("x", 1, {}, FAILURE.diagnostics, (table,))
    plain, coloured = render(report, "text"), render(report, "text", colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    assert "failed imports  \x1b[32mpassed\x1b[0m" in coloured
    for format in ("json", "junit", "github"):
        assert "\x1b" not in render(report, format, colour=True)


def test_a_failure_is_never_silent_or_green() -> None:
    """Even if whoever made the report forgot to say why."""
    report = Report("check", ExitCode.GATE, {"verdict": "failed"})
    assert "exit code 1" in render(report, "text")
    assert "::error " in render(report, "github")
    assert ElementTree.fromstring(render(report, "junit")).find("testsuite").get("failures") == "1"
    assert json.loads(render(report, "json"))["ok"] is False


def test_junit_counts_cases_and_errors() -> None:
    cases = (Case("onnx / kl", True, "0.01 ≤ 0.02"), Case("coreml / kl", False, "0.03 > 0.02"), Case("device", None))
    suite = ElementTree.fromstring(render(Report("check", 1, {}, FAILURE.diagnostics, (), cases), "junit")).find(
        "testsuite"
    )
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped")} == {
        "tests": "4",
        "failures": "2",
        "skipped": "1",
    }
    failures = [case.find("failure") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert [f.get("message") for f in failures] == ["0.03 > 0.02", "12 bytes are missing"]
    assert suite.find("system-out").text == "warning: no licence is stated"
    done = ElementTree.fromstring(render(Report("verify", 0, {}), "junit")).find("testsuite")
    assert [(c.get("classname"), c.get("name"), len(c)) for c in done] == [("kogata.verify", "verify", 0)]


def test_github_annotations_follow_its_escaping() -> None:
    report = Report("x", 2, None, (Diagnostic("a.b", "100%\r\nsure", "k:v,w", "try", "error"),))
    assert render(report, "github") == "::error title=a.b::k:v,w: 100%25\\r%0Asure%0Ahint: try\n"
    titled = Report("a,b:c%", 1, None)
    assert render(titled, "github").startswith("::error title=kogata a%2Cb%3Ac%25::")
    assert render(Report("verify", 0, {}), "github") == "::notice title=kogata verify::done\n"


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.just(HOSTILE), st.text(st.characters(), max_size=60)))
def test_no_string_breaks_a_format(text: str) -> None:
    report = hostile_report(text)
    for format in FORMATS:
        output = render(report, format)
        output.encode("utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", output)
    assert json.loads(render(report, "json"))["result"]["text"] == text
    suite = ElementTree.fromstring(render(report, "junit").encode()).find("testsuite")
    assert len(suite.findall("testcase")) == int(suite.get("tests")) == 4
    annotations = render(report, "github").split("\n")
    assert [line.split("=")[0] for line in annotations] == ["::error title", "::notice title", ""]


def test_hostile_text_can_t_forge_lines_in_a_terminal() -> None:
    """A value can't add a line that looks like a diagnostic or a row of its own."""
    forged = "fine\nerror: rm -rf /"
    report = Report("x", 2, None, (Diagnostic("a.b", forged, forged, forged),), (Table("", ("",), [(forged,)]),))
    assert [line for line in render(report, "text").split("\n") if line.startswith("error: rm")] == []


WIDE = Table(
    "artifacts",
    ("path", "bytes", "speed", "runner"),
    [
        (
            "coreml/[red]x[/red].mlpackage",
            1614216,
            "51.2 GB/s",
            "Core ML program, executed by an executor on 8 GB of RAM",
        ),
        ("onnx/model.onnx", 999, "none", "onnxruntime 1.32.0, CPU"),
    ],
)


@pytest.mark.parametrize("width", [20, 40, 60, 66, 72, 80, 100, 120])
@pytest.mark.parametrize("colour", [False, True])
def test_no_line_breaks_inside_a_word_or_before_a_unit(width: int, colour: bool) -> None:
    """Every word is there once and whole; a line is too long only where it holds one word besides the column's name."""
    output = render(Report("x", 0, {}, sections=(WIDE,)), "text", colour=colour, width=width)
    output = re.sub(r"\x1b\[[\d;]*m", "", output)
    words = [word for row in WIDE.rows for cell in row for word in str(cell).split()]
    assert sorted(words) == sorted(word for word in output.split() if word in words)
    assert "51.2 GB/s" in output
    assert re.search(r"8 GB\b", output)
    assert all(len(line) <= width or len(line.split()) <= 2 for line in output.split("\n"))


def test_a_table_that_does_not_fit_is_written_row_by_row() -> None:
    assert render(Report("x", 0, {}, sections=(WIDE,)), "text", width=48) == (
        "artifacts\n"
        "path: coreml/[red]x[/red].mlpackage\n"
        "  bytes: 1614216\n"
        "  speed: 51.2 GB/s\n"
        "  runner: Core ML program, executed by an\n"
        "    executor on 8 GB of RAM\n"
        "path: onnx/model.onnx\n"
        "  bytes: 999\n"
        "  speed: none\n"
        "  runner: onnxruntime 1.32.0, CPU\n"
    )
    digest = "sha256:" + "0123456789abcdef" * 4
    facts = Table("bundle", ("", ""), [("digest", digest), ("context", 256), ("note", "")])
    assert render(Report("x", 0, {}, sections=(facts,)), "text", width=40) == (
        f"bundle\ndigest:\n  {digest}\ncontext: 256\nnote\n"
    )


def test_messages_and_hints_wrap_with_an_indent() -> None:
    found = Diagnostic("a.b", "one two three four five\nsix", "file", "seven eight nine ten")
    assert render(Report("x", 2, None, (found,)), "text", width=24) == (
        "error: file: one two\n  three four five\n  six\n\nhint: seven eight nine\n  ten\n"
    )


@pytest.mark.parametrize("width", [40, 80, 200])
def test_wrapping_lets_no_value_begin_a_line(width: int) -> None:
    """A name long enough to be wrapped just before words that look like a diagnostic."""
    forged = " ".join(["a" * 9] * 3) + " error: forged " * 4 + "and on" * 20
    sections = (Table(forged, ("", "n"), [(forged, 1)]), Table("", ("one",), [(forged,)]))
    output = render(
        Report("x", 2, None, (Diagnostic("a.b", forged, forged + "!", forged),), sections), "text", width=width
    )
    assert output.count("error: forged") >= 12
    assert not re.search("^error: forged", output, re.MULTILINE)
