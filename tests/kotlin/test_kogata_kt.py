"""`Kogata.kt`, compiled with the facts that `kogata pack` wrote, prepares packed bundles on a stand-in for a phone.

The runtimes' classes are stand-ins (`stand-ins/`), so this checks their use by type only.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.bundle_plans import make_decoder_plan, write
from support.bundles import write_bundle
from support.command import kogata

from exporter.bundle.android import packs

HERE = Path(__file__).parent
Prepare = Callable[..., str]


class Packed:
    """A bundle, what `kogata pack` made of it, and the folders of assets in that."""

    def __init__(self, bundle: Path, path: Path) -> None:
        self.bundle, self.path = bundle, path

    @property
    def assets(self) -> list[Path]:
        return sorted(self.path.glob("*/src/main/assets"))

    def shipped(self) -> dict[str, bytes]:
        names = [line[66:] for line in (self.bundle / "SHA256SUMS").read_text("utf-8").splitlines()]
        own = "tokenizer/tokenizer_config.json"  # the other files of tokenizer/ lie in onnx/ with the same bytes
        names = [name for name in names if name == own or name.startswith(("onnx/", "licenses/", "manifest"))]
        return {name: (self.bundle / name).read_bytes() for name in [*names, "SHA256SUMS"]}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Packed]:
    """A bundle in one pack, and in several with a file in parts. One file's name has signs that mean much to Kotlin."""
    made = {}
    for name in ("whole", "split"):
        folder = tmp_path_factory.mktemp(name)
        plan = make_decoder_plan(folder / "made")
        write(folder / "made" / "onnx" / "model.onnx.data", bytes(range(256)) * 40)
        licences = {"$name ${1} \"é\" '😀'.txt": write(folder / "made" / "licence", "as it is")}
        bundle = write_bundle(replace(plan, name=name, license_files=licences), folder / "bundle")
        with pytest.MonkeyPatch.context() as patch:
            if name == "split":
                patch.setattr(packs, "_BLOCK", 4096)
                patch.setattr(packs, "_FILL", 40 / 1_500_000_000)  # bytes: every block has a pack of its own
            assert kogata("pack", bundle, "--for", "android", "-o", folder / "packed", "-q") == 0
        made[name] = Packed(bundle, folder / "packed")
    assert len(made["whole"].assets) == 1
    assert len(made["split"].assets) > 3
    return made


@pytest.fixture(scope="module")
def prepare(packed: dict[str, Packed], tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Runs `Phone.kt`, and returns what it prints."""
    kotlinc, javac = shutil.which("kotlinc"), shutil.which("javac")
    assert kotlinc is not None, "no kotlinc on PATH: run make test-kotlin"
    assert javac is not None
    out = tmp_path_factory.mktemp("classes")
    stand_ins = HERE / "stand-ins"
    java = [str(path) for path in sorted(stand_ins.rglob("*.java"))]
    subprocess.run([javac, "-Werror", "-d", str(out / "java"), *java], check=True)
    facts = [made.path / "kotlin" / f"{name.title()}Model.kt" for name, made in packed.items()]
    sources = [
        *sorted(stand_ins.glob("*.kt")),
        packed["whole"].path / "kotlin" / "Kogata.kt",
        *facts,
        HERE / "Phone.kt",
    ]
    jar = out / "phone.jar"
    compiled = subprocess.run(
        [kotlinc, "-Werror", "-include-runtime", "-cp", str(out / "java"), "-d", str(jar), *map(str, sources)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr[-4000:]

    def run(name: str, files: Path, assets: list[Path], play: Path | None = None) -> str:
        places = [name, str(files), ":".join(map(str, assets)), *([str(play)] if play else [])]
        command = ["java", "-Dsun.jnu.encoding=UTF-8", "-cp", f"{out / 'java'}:{jar}", "PhoneKt", *places]
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stdout.strip()

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["whole", "split"])
def test_assets_become_the_bundle_again(packed: dict[str, Packed], prepare: Prepare, tmp_path: Path, name: str) -> None:
    made = packed[name]
    folder = Path(prepare(name, tmp_path, made.assets))
    assert contents(folder) == made.shipped()
    assert Path(prepare(name, tmp_path, [tmp_path / "nothing"])) == folder  # the second start reads nothing
    assert sorted(path.name for path in tmp_path.glob("kogata/*")) == [f"{name}_model", f"{name}_model.verified"]


def test_a_folder_of_google_play_is_used_where_it_lies(
    packed: dict[str, Packed], prepare: Prepare, tmp_path: Path
) -> None:
    shutil.copytree(packed["whole"].assets[0], tmp_path / "play" / "whole_model")
    folder = prepare("whole", tmp_path / "files", [tmp_path / "nothing"], tmp_path / "play")
    assert Path(folder) == tmp_path / "play" / "whole_model" / "whole_model"
    assert [path.name for path in (tmp_path / "files").rglob("*")] == ["kogata", "whole_model.verified"]


def test_packs_of_google_play_are_joined(packed: dict[str, Packed], prepare: Prepare, tmp_path: Path) -> None:
    for assets in packed["split"].assets:
        shutil.copytree(assets, tmp_path / "play" / assets.parents[2].name)
    folder = Path(prepare("split", tmp_path / "files", [tmp_path / "nothing"], tmp_path / "play"))
    assert contents(folder) == packed["split"].shipped()


@pytest.mark.parametrize("play", [False, True])
def test_a_changed_file_is_refused(packed: dict[str, Packed], prepare: Prepare, tmp_path: Path, play: bool) -> None:
    assets = tmp_path / "play" / "whole_model"
    shutil.copytree(packed["whole"].assets[0], assets)
    config = assets / "whole_model" / "onnx" / "config.json"
    config.write_bytes(config.read_bytes() + b" ")
    place = tmp_path / "play" if play else None
    assert prepare("whole", tmp_path / "files", [assets], place) == "refused: whole: onnx/config.json was changed"
    assert not list((tmp_path / "files").rglob("*.*"))


def test_a_hash_that_was_changed_with_its_file_is_refused(
    packed: dict[str, Packed], prepare: Prepare, tmp_path: Path
) -> None:
    assets = tmp_path / "assets"
    shutil.copytree(packed["whole"].assets[0], assets)
    config, sums = (assets / "whole_model" / name for name in ("onnx/config.json", "SHA256SUMS"))
    before = hashlib.sha256(config.read_bytes()).hexdigest()
    config.write_bytes(b"{}")
    sums.write_text(sums.read_text("utf-8").replace(before, hashlib.sha256(b"{}").hexdigest()), "utf-8")
    assert prepare("whole", tmp_path / "files", [assets]) == "refused: whole: SHA256SUMS was changed"


def test_a_part_that_is_missing_is_named(packed: dict[str, Packed], prepare: Prepare, tmp_path: Path) -> None:
    told = prepare("split", tmp_path, packed["split"].assets[:-1])
    assert told.startswith("refused: split: ")
    assert "is missing. The pack isn't downloaded yet, or Google Play doesn't deliver it to this device" in told
    assert not (tmp_path / "kogata" / "split_model").exists()
