"""Licence and languages from model cards and licence files."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.licence import Licence, license_files, read_licence
from exporter.errors import InputError


def card(tmp_path: Path, front_matter: str) -> Licence:
    (tmp_path / "README.md").write_text(f"---\n{front_matter}\n---\n# Model\nlicense: proprietary\n", "utf-8")
    return read_licence(Folder.at(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("license: apache-2.0\nlanguage: en", Licence("Apache-2.0", None, ("en",))),
        ("language:\n- en\n- ja\nlicense: mit", Licence("MIT", None, ("en", "ja"))),
        ("language: [en, no, multilingual]", Licence(None, None, ("en", "no", "multilingual"))),
        ("license: other\nlicense_name: llama3.2\nlicense_link: LICENSE", Licence("llama3.2", "LICENSE")),
        ("license: other", Licence("other")),
        ("license: gemma", Licence("gemma")),
        ('license: "cc-by-nc-4.0" # no trade', Licence("CC-BY-NC-4.0")),
        ("license:\n- mit\n- apache-2.0", Licence("MIT")),
        ("license: null\nlanguage: ~", Licence()),
        ("license:\nlanguage:", Licence()),
        ("model-index:\n- name: [unclosed\n  bad: : :\nlicense: mit", Licence("MIT")),
        ("license: {a: b}", Licence()),
        ("license: !!python/object/apply:os._exit ['1']", Licence("1")),  # text like any other: nothing is run
        ("license: |\n  two\n  lines", Licence()),
        ("license: " + "x" * 501, Licence()),
        ("license: &a [*a, *a]", Licence()),
        ("license: " + "[" * 5000, Licence()),
        ("language:\n" + "- x\n" * 50_000, Licence()),
        ("tags:\n- license: mit", Licence()),
    ],
)
def test_front_matter(tmp_path: Path, text: str, expected: Licence) -> None:
    assert card(tmp_path, text) == expected


@pytest.mark.parametrize(
    "text", ["", "license: mit", "---\nlicense: mit", "# Model\n---\nlicense: mit\n---\n", "\n---\nlicense: mit\n---\n"]
)
def test_what_is_not_front_matter_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_licence(Folder.at(tmp_path)) == Licence()


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n")
    assert read_licence(Folder.at(tmp_path)).license == "MIT"


def test_megabytes_of_results_in_the_front_matter_are_skipped(tmp_path: Path) -> None:
    results = "model-index:\n" + "- name: x\n  value: 1.5\n" * 100_000
    assert card(tmp_path, f"{results}license: mit").license == "MIT"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_no_card_stops_an_export(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "README.md").write_bytes(b"---\nlicense: " + content + b"\n---\n")
    assert isinstance(read_licence(Folder.at(tmp_path)), Licence)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\n                                 Apache License\n                           Version 2.0, January",
            "Apache-2.0",
        ),
        ("MIT License\n\nCopyright", "MIT"),
        ("Copyright X\n\nPermission is hereby granted, free of charge, to any person obtaining a copy", "MIT"),
        ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT", "llama3.2"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "llama3"),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT", "llama2"),
        ("Gemma Terms of Use", "gemma"),
        ("Redistribution and use in source and binary forms, … Neither the name of X", "BSD-3-Clause"),
        ("Redistribution and use in source and binary forms, with or without modification", "BSD-2-Clause"),
        ("SPDX-License-Identifier: MPL-2.0", "MPL-2.0"),
        ("Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("All rights reserved.", None),
    ],
)
def test_licence_files_are_recognized_by_their_text(tmp_path: Path, text: str, expected: str | None) -> None:
    (tmp_path / "LICENSE").write_text(text)
    assert read_licence(Folder.at(tmp_path)).license == expected


def test_this_projects_own_licence_is_recognized(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "LICENSE").read_text()
    (tmp_path / "LICENSE.txt").write_text(text)
    assert read_licence(Folder.at(tmp_path)).license == "Apache-2.0"


def test_the_card_wins_over_the_file_and_reaches_the_source(folder: Path) -> None:
    (folder / "LICENSE").write_text("MIT License")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: ja\nlicense_link: https://x.y\n---\n")
    source = open_checkpoint(folder).source
    assert (source.license, source.license_link, source.languages) == ("Apache-2.0", "https://x.y", ("ja",))


def test_a_licence_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """It would bring any file of this machine into the bundle."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "LICENSE").symlink_to("/etc/passwd")
    (folder / "NOTICE").symlink_to(tmp_path)  # a folder is no text
    (folder / "COPYING.txt").symlink_to("/dev/zero")
    (folder / "license.md").symlink_to("gone")
    with pytest.raises(InputError) as caught:
        license_files(Folder.at(folder))
    assert {d.where: d.code for d in caught.value.diagnostics} == {
        "LICENSE": "checkpoint.symlink",
        "COPYING.txt": "checkpoint.symlink",
        "license.md": "checkpoint.unreadable",
    }


def test_licences_and_notices_are_found_by_name(tmp_path: Path) -> None:
    for name in ("LICENSE", "Notice.txt", "USE_POLICY.md", "LICENSES.md", "config.json"):
        (tmp_path / name).write_text("text")
    (tmp_path / "real.txt").write_text("text")
    (tmp_path / "COPYING").symlink_to("real.txt")  # inside the folder
    assert license_files(Folder.at(tmp_path)) == {
        name: tmp_path / name for name in ("COPYING", "LICENSE", "Notice.txt", "USE_POLICY.md")
    }
