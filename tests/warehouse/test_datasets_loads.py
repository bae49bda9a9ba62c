"""`datasets` reads every export to the snapshot's rows: every column that both have, in order, whole and streamed."""

from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.talks import ASSISTANT, Talk, apart, kept, said, talk_of
from warehouse.export import export_snapshot
from warehouse.formats import FORMATS
from warehouse.snapshot import Snapshot

EVERY = [
    (form, kind, reasoning)
    for form, shape in FORMATS.items()
    for kind in shape.kinds
    for reasoning in (("content", "split") if shape.splits else ("content",))
]
# The columns that hold messages, by kind of rows; all others stand in an export as they are in the snapshot.
MESSAGES = {
    "samples": ("messages",),
    "pairs": ("prompt", "chosen", "rejected"),
    "labels": ("prompt", "completion"),
    "prompts": ("prompt",),
}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()


def talk_in(row: dict[str, Any], form: str, kind: str) -> Talk:
    """The messages of an exported row as one list of turns."""
    if form == "sharegpt":
        return said(row["conversations"], "from", "value")
    if form == "alpaca":
        system = [("system", row["system"])] if row["system"] else []
        earlier = [turn for asked, replied in row["history"] for turn in (("user", asked), (ASSISTANT, replied))]
        assert row["input"] == ""
        return [*system, *earlier, ("user", row["instruction"]), (ASSISTANT, row["output"])]
    columns = ("prompt", "completion") if form == "prompt-completion" else MESSAGES[kind]
    return said([turn for column in columns for turn in row[column]])


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("form", "kind", "reasoning"), EVERY)
def test_every_column_of_every_row_comes_back(
    every_kind: dict[str, Snapshot], tmp_path: Path, form: str, kind: str, reasoning: str, streaming: bool
) -> None:
    import datasets

    snapshot = every_kind[kind]
    out = tmp_path / "out"
    export_snapshot(snapshot, form, out, reasoning=reasoning, shard_rows=2)
    found = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"), streaming=streaming)
    before = kept(snapshot)
    assert list(found) == list(before) == ["train", "validation"]
    for split, rows in found.items():
        for row, was in zip(rows, before[split], strict=True):
            talk = [turn for column in MESSAGES[kind] for turn in talk_of({"messages": was[column]})]
            if form == "alpaca":  # it has no word for a system message that says nothing
                talk = [turn for turn in talk if turn != ("system", "")]
            assert talk_in(row, form, kind) == (apart(talk) if reasoning == "split" else talk)
            same = [column for column in was if column in row and column not in MESSAGES[kind]]
            assert {column: row[column] for column in same} == {column: was[column] for column in same}
            if form != "openai":
                assert {"prompt_id", "weight", "domain", "source", "language"} <= set(same)
