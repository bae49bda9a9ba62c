"""Prompts from what the library `datasets` reads: folders in its formats; every row here is made up."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from dataengine.sources.build import build
from dataengine.sources.files import prompts_of
from schemas.errors import ConfigError, InputError
from schemas.recipe import DatasetsSource

datasets = pytest.importorskip("datasets")

SUMS = {"question": ["1 + 1?", "2 + 2?"], "answer": ["One more. <<1+1=2>>\n#### 2", "#### 4"]}


def source(path: Path, **settings: Any) -> DatasetsSource:
    return DatasetsSource.model_validate({"source": "datasets", "path": str(path), "layout": "gsm8k", **settings})


@pytest.fixture
def parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as on the hub: one file per split, named after it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "sums"
    folder.mkdir()
    datasets.Dataset.from_dict(SUMS).to_parquet(folder / "test.parquet")
    datasets.Dataset.from_dict({k: v[:1] for k, v in SUMS.items()}).to_parquet(folder / "train.parquet")
    return folder


def test_a_folder_of_parquet_files_gives_the_prompts_of_a_split(parquet: Path) -> None:
    found = prompts_of(source(parquet, name="adding"), solutions=True)
    assert [(p.source, p.source_ref, p.reference, p.verifier) for p in found.prompts] == [
        ("adding", "adding:test:0", "2", "math"),
        ("adding", "adding:test:1", "4", "math"),
    ]
    assert list(found.solutions.values()) == ["One more."]
    assert len(build("s", {"s": source(parquet, split="train")}).prompts) == 1


def test_what_was_saved_to_disk_is_read(tmp_path: Path) -> None:
    one = datasets.Dataset.from_dict(SUMS)
    one.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": one}).save_to_disk(tmp_path / "several")
    for folder in ("one", "several"):
        assert [p.reference for p in prompts_of(source(tmp_path / folder)).prompts] == ["2", "4"]
    with pytest.raises(InputError, match=r"several: there is no split 'dev' \(there are: test\)"):
        prompts_of(source(tmp_path / "several", split="dev"))


def test_a_set_excludes_another(parquet: Path) -> None:
    sets = {"held": source(parquet, split="train"), "rest": source(parquet, exclude=["held"])}
    assert [p.reference for p in build("rest", sets).prompts] == ["4"]


def test_what_cannot_be_read_is_one_line(parquet: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sums: Unknown split") as told:
        prompts_of(source(parquet, split="dev"))
    assert "\n" not in str(told.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: "):
        prompts_of(source(tmp_path / "empty"))
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "test.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="torn: ") as told:
        prompts_of(source(torn))
    assert "\n" not in str(told.value)


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "datasets":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'dataengine\[datasets\]'"):
        prompts_of(source(tmp_path))
