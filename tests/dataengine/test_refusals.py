"""Wrong input: one line that says what is wrong and what to do, exit code 2, and nothing left behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Refused = Callable[..., str]

SMALL = {
    "recipe": "small",
    "engines": {"e": {"kind": "endpoint", "url": "http://127.0.0.1:9/v1", "model": "m"}},
    "prompts": {"p": {"source": "inline", "name": "p", "prompts": [{"prompt": "What is 1 + 1?", "reference": "2"}]}},
    "steps": {"s": {"kind": "generate", "stage": "reasoning", "prompts": "p", "engine": "e", "checks": ["exact"]}},
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    def write(value: Any, name: str = "small.yaml") -> Path:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
        return path

    return write


def test_a_recipe_that_is_not_there_is_named(refused: Refused, tmp_path: Path) -> None:
    assert refused("run", "no.yaml") == "ConfigError: no.yaml: no such file or directory"
    line = refused("run", "nosuchrecipe")
    assert line.startswith("ConfigError: nosuchrecipe: no file, and no shipped name; shipped recipes: laptop")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_recipe(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert refused("run", "folder.yaml") == "ConfigError: folder.yaml: is a directory"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("recipe: [", "small.yaml:1: no YAML: "),
        ("recipe: a\nrecipe: b\n", "small.yaml:2: 'recipe' stands here twice"),
        ("just text", "holds no settings; write one `setting: value` per line"),
        ("", "holds no settings; write one `setting: value` per line"),
        ("recipe: x\nsteps: {}\n", "small.yaml:2: steps"),
    ],
)
def test_a_malformed_recipe_is_named_with_its_line(refused: Refused, written: Any, text: str, told: str) -> None:
    assert told in refused("run", written(text, "small.yaml"))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("steps.s.sample=3", "sample"),
        ("steps.s.samples=0", "samples"),
        (
            "steps.s.checks=[nocheck]",
            "there is no check 'nocheck'; there are: choice, code, contamination, duplicate, exact",
        ),
        ("steps.s.checks=[{check: length, params: {nosuch: 1}}]", "check length: "),
        ("steps.s.engine=other", "'other' is not defined (known: e)"),
        ("steps.s.prompts=other", "'other' is not defined (known: p)"),
        ("steps.s.template=other", "there is no template 'other'; there are: plain, think"),
        ("steps.s.kind=other", "kind"),
        ("steps.s.stage=other", "stage"),
        ("steps.s.demonstrations=2", "p: 0 demonstrations, the step wants 2"),
        ("engines.e.kind=sglang", "vllm"),
        ("engines.e.url=ftp://x", "url"),
        ("engines.e={kind: embedded, model: no-such-model}", "neither a shipped model (smollm2-135m-instruct) nor"),
        ("nosuch", "overrides are written key=value"),
        ("steps.s.samples=[", "is no YAML value"),
        ("prompts.p={source: reasoning_gym, tasks: [{task: no_such_task, count: 1}]}", "no_such_task"),
        ("prompts.p={source: file, path: gone.jsonl}", "prompts.p.path: there is no file gone.jsonl"),
        ("steps.s={kind: snapshot, mix: nosuchmix}", "nosuchmix: no file, and no shipped name; shipped mixes: "),
        ("steps.s={kind: report, evaluations: [x]}", "'x' is not defined (known: none is defined)"),
    ],
)
def test_a_wrong_setting_is_named(
    refused: Refused, written: Any, rows: Any, tmp_path: Path, setting: str, told: str
) -> None:
    assert told in refused("run", written(SMALL), setting)
    if (tmp_path / "warehouse-data").exists():
        for table in ("prompts", "trajectories", "verdicts", "runs"):
            assert rows(f"SELECT count(*) FROM {table}", tmp_path / "warehouse-data") == [(0,)]


def test_a_key_that_is_none_is_named_with_its_line(refused: Refused, written: Any) -> None:
    line = refused("run", written("recipe: x\nstep: {}\nsteps:\n  s: {kind: snapshot, mix: laptop-sft, mixes: 1}\n"))
    assert "small.yaml:" in line
    assert "step" in line


def test_a_file_or_a_folder_in_use_is_no_warehouse(refused: Refused, written: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    for name in ("file", "used"):
        assert "not empty and no warehouse" in refused("run", written(SMALL), "--warehouse", name)
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["explain", "abcd1234"],
        ["sql", "SELECT 1"],
        ["snapshot", "list"],
        ["snapshot", "show", "a@1"],
        ["snapshot", "create", "laptop-sft"],
        ["snapshot", "export", "a@1", "--out", "there"],
        ["compact"],
        ["dashboard"],
    ],
)
def test_a_warehouse_that_is_not_there_is_named(refused: Refused, tmp_path: Path, command: list[str]) -> None:
    line = refused(*command)
    assert line.startswith("WarehouseError: warehouse-data: no warehouse here; `dataengine run RECIPE")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["prompts", "trajectories"])
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.jsonl", b"", "empty.jsonl: the file is empty"),
        ("blank.jsonl", b"\n\n", "in it"),
        ("some.csv", b"a,b\n", "some.csv: unknown kind of file; there are .jsonl, .json, .tsv or .parquet"),
        ("some.tsv", b"a\tb\n", "some.tsv: unknown kind of file"),
        ("bad.json", b"{", "bad.json: no JSON: "),
        ("object.json", b"{}", "object.json: a JSON dict, not a list of objects"),
        ("bad.parquet", b"PAR1 no", "bad.parquet: no readable Parquet: "),
        ("bad.jsonl.gz", b"no gzip", "bad.jsonl.gz:1: left out: the file ends in the middle"),
        ("other.jsonl", b'{"question": "x"}\n', "other.jsonl:1: left out: "),
    ],
)
def test_a_file_that_holds_nothing_to_import_leaves_no_warehouse(
    refused: Refused, tmp_path: Path, kind: str, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in refused("import", name, "--as", kind)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--as", "poems"], "--as poems: there are prompts, trajectories"),
        (["--as", "prompts", "--layout", "nosuch"], "there is no layout 'nosuch'; there are: gsm8k, mgsm, math, arc"),
        (["--as", "prompts", "--map", "nosuch=a"], "there is no field 'nosuch'; there are: id, prompt"),
        (["--as", "prompts", "--map", "prompt"], "--map prompt: write field=column, such as prompt=question"),
        (["--as", "trajectories", "--stage", "nosuch"], "--stage nosuch: there are cold_start"),
    ],
)
def test_a_wrong_option_of_import_is_named(refused: Refused, tmp_path: Path, options: list[str], told: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "What is 1 + 1?", "response": "2"}\n')
    assert told in refused("import", "a.jsonl", *options)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize(
    ("file", "options", "told"),
    [
        ("gone.jsonl", ["--with", "format", "--out", "out.jsonl"], "gone.jsonl: no such file"),
        ("empty.jsonl", ["--with", "format", "--out", "out.jsonl"], "empty.jsonl: the file is empty"),
        ("a.jsonl", ["--with", "nosuch", "--out", "out.jsonl"], "there is no check 'nosuch'"),
        ("a.jsonl", ["--with", " , ", "--out", "out.jsonl"], "--with: name at least one check"),
        ("a.jsonl", ["--with", "format", "--out", "a.jsonl"], "--out a.jsonl: is the input file; name another"),
        ("a.jsonl", ["--with", "format", "--out", "folder"], "--out folder: "),
        ("a.jsonl", ["--with", "format", "--out", "a.jsonl/out.jsonl"], "--out a.jsonl/out.jsonl: "),
        ("a.jsonl", ["--with", "format", "--out", "o", "--map", "nosuch=a"], "there is no field 'nosuch'"),
        ("a.jsonl", ["--with", "format", "--out", "o", "--layout", "nosuch"], "there is no layout 'nosuch'"),
    ],
)
def test_a_wrong_use_of_check_is_named_and_writes_nothing(
    refused: Refused, tmp_path: Path, file: str, options: list[str], told: str
) -> None:
    (tmp_path / "a.jsonl").write_text('{"response": "2"}\n')
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    assert told in refused("check", file, *options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "empty.jsonl", "folder"]


def test_a_failure_halfway_leaves_the_old_output_as_it_was(
    cli: Any, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text('{"response": "2"}\n')
    assert cli("check", "a.jsonl", "--with", "format", "--out", "out.jsonl").code in (0, 1)
    before = (tmp_path / "out.jsonl").read_bytes()

    def full(*args: Any, **kwargs: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dataengine.rewriting.canonical_row", full)
    said = refused("check", "a.jsonl", "--with", "length", "--out", "out.jsonl")
    assert said == "OSError: No space left on device; free some space and run the same command again"
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "out.jsonl"]
