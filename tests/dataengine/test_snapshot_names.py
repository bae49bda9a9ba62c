"""Names of mixes, snapshots, folders, and damaged files: handled, or refused in one line that names what is wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.errors import ConfigError, SnapshotError
from schemas.yaml_file import load_yaml
from tests.tiny_model import save_tiny_model
from tests.warehouse.conftest import NEWEST, unpacked
from trainers.config import SftConfig
from trainers.data import read_manifest, read_rows
from warehouse.export import export_snapshot
from warehouse.snapshot import list_snapshots, open_snapshot, verify_files

LONG = "x" * 300
MIX = "mix: new\nsources:\n  - {stage: reasoning, require: [format]}\n"
NO_NAMES = [
    *("", ".", "..", "../old-samples", "/etc/passwd", "a/b", ".hidden", "a b", "it's", 'say"so"', "per%20cent", "st*r"),
    *("dämo", "样本", "x\ny", LONG),
]
NO_REFS = [
    *NO_NAMES,
    *("@", "@1", "old-samples@-1", "old-samples@99999999999", "old-samples@1.0", "old-samples@١", "old@1@1"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A warehouse with snapshots, as the program makes it."""
    (tmp_path / "mix.yaml").write_text(MIX)
    return unpacked(NEWEST, tmp_path)


@pytest.fixture
def refuse(cli: Any) -> Callable[..., str]:
    """Runs a command that has to be refused; what it says, which is one line where no argument holds more."""

    def run(*args: object) -> str:
        done = cli(*args)
        assert (done.code, done.out) == (2, ""), done
        assert len(done.err.splitlines()) == 1 + sum(str(a).count("\n") for a in args), done.err
        return str(done.err)

    return run


@pytest.mark.parametrize("ref", NO_REFS)
def test_what_is_no_snapshots_name_is_refused_wherever_one_is_asked_for(
    ref: str, data: Path, refuse: Callable[..., str], tmp_path: Path
) -> None:
    for command in (
        ("snapshot", "show", ref),
        ("snapshot", "export", ref, "--out", tmp_path / "out"),
        ("mix", "check", ref, "--tokenizer", "none"),
    ):
        said = refuse(*command, "--warehouse", data)
        assert said.startswith(f"SnapshotError: {ref}: a snapshot is called name@version")
    if "@" in ref:
        assert refuse("sql", "SELECT 1", "--at", ref, "--warehouse", data).startswith("SnapshotError: ")
    assert not (tmp_path / "out").exists()
    config = tmp_path / "sft.yaml"
    config.write_text("")
    with pytest.raises(ConfigError, match="snapshot"):
        load_yaml(config, SftConfig, [f"snapshot={ref!r}", "model=none", f"warehouse={data}"])
    with pytest.raises(SnapshotError):
        read_manifest(data, ref)


@pytest.mark.parametrize("ref", ["old-samples@0", "old-samples@3", "other", "other@1"])
def test_a_snapshot_that_is_not_there_is_not_taken_for_another(
    ref: str, data: Path, refuse: Callable[..., str], tmp_path: Path
) -> None:
    for command in (("show", ref), ("export", ref, "--out", tmp_path / "out")):
        said = refuse("snapshot", *command, "--warehouse", data)
        assert said.startswith(f"SnapshotError: there is no snapshot {ref} ")


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_mix_of_such_a_name_makes_no_snapshot(name: str, data: Path, refuse: Callable[..., str]) -> None:
    before = sorted((data / "snapshots").iterdir())
    said = refuse("snapshot", "create", "mix.yaml", f"mix={name!r}", "--warehouse", data)
    assert said.startswith("ConfigError: mix.yaml: ")
    assert sorted((data / "snapshots").iterdir()) == before


def test_what_else_lies_among_the_snapshots_is_left_alone(data: Path, cli: Any) -> None:
    known = [s.manifest.id for s in list_snapshots(data)]
    samples = data / "snapshots" / "old-samples"
    for stray in ("copy of old-samples", ".making-0123456789ab", "old-samples/v02", "old-samples/.making-0123456789ab"):
        shutil.copytree(samples / "v1", data / "snapshots" / stray / ("" if stray.startswith("old") else "v1"))
    (data / "snapshots" / "notes.txt").touch()
    (samples / "v7").touch()
    assert [s.manifest.id for s in list_snapshots(data)] == known
    assert cli("snapshot", "create", "mix.yaml", "mix=old-samples", "--warehouse", data).code == 0
    assert open_snapshot(data, "old-samples").manifest.version == 3
    assert cli("snapshot", "list", "--warehouse", data).code == 0


def test_a_number_whose_manifest_was_removed_is_not_given_twice(data: Path, cli: Any) -> None:
    samples = data / "snapshots" / "old-samples"
    (samples / "v2" / "manifest.json").unlink()
    done = cli("snapshot", "create", "mix.yaml", "mix=old-samples", "--warehouse", data)
    assert done.code == 0 and done.out.startswith("old-samples@3 made")
    assert (samples / "v2" / "README.md").is_file()


@pytest.mark.parametrize(
    "out",
    [
        *(
            "a/b/c",
            ".hidden",
            "dot.",
            "a b",
            "it's",
            'say"so"',
            "per%20cent",
            "st*r",
            "br[a]ck{et}s",
            "qu?ry",
            "ü/样本",
        ),
        *("back\\slash", "$HOME", "x\ny", "x" * 255, "é" * 127, "-"),
    ],
)
def test_an_export_goes_to_a_folder_of_any_name(out: str, data: Path, tmp_path: Path, cli: Any) -> None:
    done = cli("snapshot", "export", "old-samples@1", "--out", tmp_path / out, "--warehouse", data)
    assert done.code == 0, done
    assert sum(pq.read_metadata(f).num_rows for f in (tmp_path / out).iterdir() if f.suffix == ".parquet") == 4
    assert not [p for p in (tmp_path / out).parent.iterdir() if p.name.startswith(".") and p.name != out]


@pytest.mark.parametrize(
    ("out", "why"),
    [
        (LONG, "File name too long; choose a shorter name"),
        ("é" * 128, "File name too long; choose a shorter name"),
        ("mix.yaml/out", "Not a directory; name another folder"),
        ("", "exists already; name a new folder"),
        (".", "exists already; name a new folder"),
        ("..", "exists already; name a new folder"),
        ("mix.yaml", "exists already; name a new folder"),
        ("warehouse/snapshots/old-samples/v1", "exists already; name a new folder"),
    ],
)
def test_an_export_that_has_no_place_is_refused(
    out: str, why: str, data: Path, tmp_path: Path, refuse: Callable[..., str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    said = refuse("snapshot", "export", "old-samples@1", "--out", out, "--warehouse", data)
    assert said.startswith("SnapshotError: ") and said.endswith(f"{why}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_three_hundred_characters_are_one_line_wherever_a_path_is_asked_for(
    data: Path, refuse: Callable[..., str]
) -> None:
    for command in (
        ("snapshot", "create", LONG, "--warehouse", data),
        ("snapshot", "create", f"{LONG}.yaml", "--warehouse", data),
        ("snapshot", "create", "mix.yaml", "--warehouse", LONG),
        ("snapshot", "list", "--warehouse", LONG),
        ("sql", "SELECT 1", "--warehouse", LONG),
        ("mix", "check", "old-samples", "--tokenizer", LONG, "--warehouse", data),
    ):
        assert "ile name too long" in refuse(*command)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def flipped(at: float) -> Callable[[Path], None]:
    def flip(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[min(int(at * len(content)), len(content) - 1)] ^= 1
        file.write_bytes(content)

    return flip


def replaced_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "first byte": flipped(0),
    "a byte amid": flipped(0.5),
    "last byte": flipped(1),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "gone": lambda file: file.unlink(),
    "a folder": replaced_by_a_folder,
    "a dangling link": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "another split's": lambda file: shutil.copy(file.with_name(file.name.replace("train", "validation")), file),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_by_whatever_reads_it(
    damage: str, data: Path, tmp_path: Path, tokenizer: Path, cli: Any, refuse: Callable[..., str]
) -> None:
    snapshot = open_snapshot(data, "old-samples@2")
    file = snapshot.data_files("train")[0]
    DAMAGE[damage](file)
    for command in (
        ("snapshot", "export", "old-samples@2", "--out", tmp_path / "out"),
        ("mix", "check", "old-samples@2", "--tokenizer", tokenizer),
    ):
        said = refuse(*command, "--warehouse", data)
        assert said.startswith("SnapshotError: ") and str(file) in said
    assert not (tmp_path / "out").exists()
    for read in (lambda: verify_files(snapshot), lambda: read_rows(data, read_manifest(data, "old-samples@2"))):
        with pytest.raises(SnapshotError) as error:
            read()
        assert str(file) in str(error.value) and "\n" not in str(error.value)
    # What reads no data says what it says of a sound one, and other snapshots are what they were.
    assert cli("snapshot", "show", "old-samples@2", "--warehouse", data).code == 0
    assert cli("snapshot", "list", "--warehouse", data).out.count("old-samples@") == 2
    assert cli("sql", "SELECT 1", "--at", "old-samples@2", "--warehouse", data).code == 0
    export_snapshot(open_snapshot(data, "old-samples@1"), "messages", tmp_path / "other")
