import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.keys import key
from schemas.manifest import Manifest, SnapshotFile
from schemas.mix import MixFile
from schemas.records import Message, Prompt
from tests.tiny_model import numbered_sums, save_tiny_model
from warehouse.snapshot import create_snapshot
from warehouse.store import Warehouse

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_VERDICTS = pa.list_(pa.struct([("check", pa.string()), ("version", pa.string()), ("outcome", pa.string())]))


@pytest.fixture(scope="session")
def sums() -> Callable[..., list[dict[str, Any]]]:
    return numbered_sums


@pytest.fixture
def write_snapshot(tmp_path: Path) -> Callable[..., Path]:
    """Writes the snapshot `sums@1` by hand into a warehouse folder, two files to a split."""

    def write(train: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]] = (), version: int = 1) -> Path:
        warehouse = tmp_path / "warehouse"
        folder = warehouse / "snapshots" / "sums" / f"v{version}"
        folder.mkdir(parents=True)
        files, written = [], []
        for split, rows in (("train", train), ("validation", validation)):
            full = [_row(split, i, row) for i, row in enumerate(rows)]
            written += full
            for part, half in enumerate((full[: len(full) // 2], full[len(full) // 2 :])):
                path = folder / f"{split}-{part:05d}.parquet"
                pq.write_table(_table(half), path)
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                files.append(SnapshotFile(path=path.name, rows=len(half), bytes=path.stat().st_size, sha256=sha256))
        manifest = Manifest(
            name="sums",
            version=version,
            created_at=datetime.now(UTC),
            logical_hash=key(written),
            mix={},
            rows=len(written),
            prompts=len(written),
            counts={},
            tables={},
            checks={},
            code={},
            files=files,
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json())
        return warehouse

    return write


def _row(split: str, index: int, row: dict[str, Any]) -> dict[str, Any]:
    messages = row.get("messages") or [
        {"role": "user", "content": row["question"]},
        {"role": "assistant", "content": row["reply"]},
    ]
    return {
        "split": split,
        "trajectory_id": f"{split}{index:04d}",
        "attempt": 1,
        "prompt_id": f"prompt{index}",
        "stage": "cold_start",
        "domain": "math",
        "source": "sums",
        "language": "en",
        "policy": row.get("policy", "hand@1"),
        "messages": messages,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "weight": float(row.get("weight", 1.0)),
        "verdicts": [{"check": "math", "version": "1", "outcome": "pass"}],
    }


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    names = list(_row("train", 0, {"question": "", "reply": ""}))
    kinds = {"attempt": pa.int64(), "prompt_tokens": pa.int64(), "completion_tokens": pa.int64()}
    kinds |= {"weight": pa.float64(), "messages": _MESSAGES, "verdicts": _VERDICTS}
    return pa.Table.from_pylist(rows, schema=pa.schema([(n, kinds.get(n, pa.string())) for n in names]))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of about 1M parameters with a byte-level tokenizer and SmolLM2's kind of chat template."""
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def write_config(tmp_path: Path, tiny_model: Path) -> Callable[..., Path]:
    """Writes a training file for the tiny model; keyword arguments are further settings."""

    def write(**settings: Any) -> Path:
        values = {
            "name": "tiny",
            "warehouse": str(tmp_path / "warehouse"),
            "snapshot": "sums@1",
            "model": str(tiny_model),
            "output": str(tmp_path / "checkpoints"),
            "threads": 1,
            **settings,
        }
        path = tmp_path / "sft.yaml"
        path.write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in values.items()))
        return path

    return write


@pytest.fixture
def write_prompts(tmp_path: Path) -> Callable[..., Path]:
    """Makes a warehouse with prompts and their snapshot `asked@1`, by default fifty sums, a quarter held out."""

    def write(questions: dict[str, str] | None = None, validation: float = 0.25, verifier: str = "math") -> Path:
        questions = questions or {f"What is {a} + {b}?": str(a + b) for a in range(10) for b in range(5)}
        warehouse = Warehouse.open(tmp_path / "warehouse", create=True)
        about = {"domain": "math", "source": "sums", "verifier": verifier}
        warehouse.append(
            "prompts",
            [Prompt.make([Message(role="user", content=q)], reference=a, **about) for q, a in questions.items()],
        )
        source = {"domain": "math", "verifiers": [verifier]}
        mix = {"mix": "asked", "rows": "prompts", "validation": validation, "sources": [source]}
        create_snapshot(warehouse.path, MixFile.model_validate(mix).root, {"plain": None})
        return warehouse.path

    return write


@pytest.fixture(scope="session")
def trainers_command() -> list[str]:
    return [sys.executable, "-m", "trainers.cli"]


@dataclass
class Done:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of a command that went well."""
        assert self.code == 0, self.stderr
        result: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return result


@pytest.fixture
def trainers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The `trainers` command in this process, without the seconds that another needs to load torch."""
    from trainers.cli import main

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["trainers", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr())

    return run
