"""Snapshots at full size: create, export, verify, diff and a trainer's first batch, beside the tools below them.

    python benchmarks/snapshots.py [--rows 800000] [--verdicts 10000000] [--growth 10000 100000 1000000] [--folder F]

Makes warehouses of replies of 5 KB on average (log-normal lengths; words drawn by Zipf's law), four of a prompt and
four verdicts on each, of which a mix takes about half, and one of many verdicts on short replies. What is in the folder
already is not made again. Every measurement is a process of its own: seconds by the clock, and the peak of its memory
(resident set).
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from dataengine.shipped import systems_of
from schemas.arrow import arrow_schema
from schemas.mix import MixFile
from schemas.records import Message, Prompt, Record, Trajectory, Verdict
from warehouse.connect import connect
from warehouse.diff import diff_snapshots
from warehouse.export import export_snapshot
from warehouse.snapshot import create_snapshot, open_snapshot
from warehouse.store import Warehouse
from warehouse.verifying import snapshot_targets, verify

Checks = Sequence[tuple[str, str, float]]

BATCH = 20_000
A_PROMPT = 4
SIGMA = 0.8
MADE = datetime(2026, 1, 1, tzinfo=UTC)
# Check, kind, and the share of replies that pass.
CHECKS: Checks = (
    ("math", "verifier", 0.62),
    ("format", "filter", 0.98),
    ("length", "filter", 0.95),
    ("language_mix", "filter", 0.97),
)
MANY_CHECKS: Checks = (CHECKS[0], *((f"check_{i}", "filter", 0.9) for i in range(9)))
SOURCE = {
    "stage": "reasoning",
    "policy": "rule",
    "require": ["format"],
    "not_failed": ["length", "language_mix"],
    "max_per_prompt": 3,
}


class Texts:
    """Made-up texts: slices of a long one, at random places, of given lengths."""

    def __init__(self, seed: int, words: int = 16_000_000) -> None:
        self.random = np.random.default_rng(seed)
        letters = np.array(list("etaoinshrdlcumwfgypbvk"))
        lengths = self.random.integers(2, 11, 30_000)
        known = np.array(["".join(self.random.choice(letters, n)) for n in lengths], dtype=object)
        self.pool = " ".join(known[np.minimum(self.random.zipf(1.2, words), len(known)) - 1])

    def some(self, lengths: "np.ndarray[Any, Any]") -> list[str]:
        places = self.random.integers(0, len(self.pool) - lengths.max(), len(lengths))
        return [self.pool[p : p + n] for p, n in zip(places, lengths, strict=True)]

    def uneven(self, rows: int, mean: int) -> "np.ndarray[Any, Any]":
        """Lengths in characters."""
        # The mean of a log-normal distribution is exp(mu + sigma squared / 2).
        mu = np.log(mean) - SIGMA**2 / 2
        lengths: np.ndarray[Any, Any] = np.minimum(self.random.lognormal(mu, SIGMA, rows), 60_000).astype(int)
        return lengths


def made(folder: Path, rows: int, checks: Checks = CHECKS, length: int = 5000) -> None:
    """Makes the warehouse unless it is there."""
    if not folder.exists():
        making = _fresh(folder.with_name(f"{folder.name}.making"))
        print(f"making {folder} of {rows:,} replies", flush=True)
        # In a process of its own: children count the peak of their parent's memory as theirs.
        filling = get_context("spawn").Process(target=fill, args=(making, rows, checks, length))
        filling.start()
        filling.join()
        if filling.exitcode:
            sys.exit(f"{making} could not be made")
        making.rename(folder)


def fill(folder: Path, rows: int, checks: Checks, length: int) -> None:
    """Writes a warehouse of `rows` replies of `length` characters on average, with a verdict of each of the checks."""
    warehouse = Warehouse.open(folder, create=True)
    texts = Texts(seed=0)

    def write(record: type[Record], columns: dict[str, Any], n: int) -> None:
        schema = arrow_schema(record)
        arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in schema]
        write_deltalake(warehouse.delta(record.TABLE), pa.Table.from_arrays(arrays, schema=schema), mode="append")

    for start in range(0, rows, BATCH):
        n = min(BATCH, rows - start)
        asked = texts.some(np.full(n // A_PROMPT, 300))
        prompts = [_prompt(text, start + i) for i, text in enumerate(asked)]
        columns = {name: [getattr(p, name) for p in prompts] for name in Prompt.model_fields}
        columns["messages"] = [[m.model_dump() for m in p.messages] for p in prompts]
        write(Prompt, columns, len(prompts))
        ids = [sha256(str(start + i).encode()).hexdigest() for i in range(n)]
        lengths = texts.uneven(n, length * 7 // 8)
        reasoning, answers = texts.some(lengths), texts.some(np.full(n, length // 8))
        columns = {
            "trajectory_id": ids,
            "prompt_id": [prompts[i // A_PROMPT].prompt_id for i in range(n)],
            "sample_index": [i % A_PROMPT for i in range(n)],
            "reasoning": reasoning,
            "answer": answers,
            "text": [f"<think>\n{r}\n</think>\n{a}" for r, a in zip(reasoning, answers, strict=True)],
            "completion_tokens": (lengths // 4 + length // 32).tolist(),
        }
        alike = {"attempt": 1, "stage": "reasoning", "policy": "model@1", "engine": "endpoint", "sampling": "{}"}
        alike |= {"rendered_key": "k", "finish_reason": "stop", "prompt_tokens": 80, "max_tokens": 32768}
        write(Trajectory, columns | {k: [v] * n for k, v in (alike | {"run_id": "r", "created_at": MADE}).items()}, n)
        for check, kind, share in checks:
            passed = texts.random.random(n) < share
            against = [prompts[i // A_PROMPT].against if kind == "verifier" else "" for i in range(n)]
            columns = {"trajectory_id": ids, "against": against, "score": passed.astype(float).tolist()}
            columns["outcome"] = ["pass" if p else "fail" for p in passed]
            alike = {"attempt": 1, "check": check, "version": "1", "kind": kind, "reason": "", "details": "{}"}
            write(Verdict, columns | {k: [v] * n for k, v in (alike | {"run_id": "r", "created_at": MADE}).items()}, n)
    warehouse.compact()


def _prompt(text: str, number: int) -> Prompt:
    return Prompt.make(
        [Message(role="user", content=f"{text} {number}?")],
        domain="math",
        source=f"set-{number % 7}",
        reference="7",
        verifier="math",
        license="MIT",
    )


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


# What is measured, each in a process of its own. `half@1` and `half@2` are the two snapshots.


def _create(folder: Path, code: str = "1", **changes: Any) -> dict[str, Any]:
    settings = {"mix": "half", "validation": 0.01, "salt": "bench", "sources": [SOURCE], **changes}
    mix = MixFile.model_validate(settings).root
    snapshot, new = create_snapshot(folder, mix, systems_of(mix), {"dataengine": code})
    return {"rows": snapshot.manifest.rows, "MB": _megabytes(snapshot.data_files()), "new": new}


def _megabytes(files: Sequence[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 1e6


def _export(folder: Path) -> dict[str, Any]:
    out = export_snapshot(open_snapshot(folder, "half@1"), "messages", _fresh(folder / "exported"))
    return {"MB": _megabytes(out)}


def _verify(folder: Path) -> dict[str, Any]:
    found = verify(snapshot_targets(folder, ["half@1"]))
    return {"faults": sum(len(each.faults) for each in found)}


def _diff(folder: Path) -> dict[str, Any]:
    found = diff_snapshots(open_snapshot(folder, "half@1"), open_snapshot(folder, "half@2"))
    return {"added": found.rows.added, "removed": found.rows.removed, "changed": found.rows.changed}


def _first_batch(folder: Path) -> dict[str, Any]:
    from datasets import load_dataset

    rows = load_dataset(str(folder / "exported"), split="train", streaming=True)
    return {"rows": len(next(iter(rows.batch(8)))["messages"])}


def _raw(folder: Path) -> dict[str, Any]:
    """All replies as one file, as other tools would have them: a snapshot's columns, and which to keep."""
    with connect(folder) as connection:
        connection.execute(
            f"""COPY (
                SELECT trajectory_id, attempt, prompt_id, stage, domain, source, language, policy, license,
                    list_concat(messages, [{{'role': 'assistant', 'content': text}}]) AS messages,
                    prompt_tokens, completion_tokens, kept AS keep
                FROM trajectory_facts
            ) TO '{folder / "raw.parquet"}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 10240)"""
        )
    return {"MB": _megabytes([folder / "raw.parquet"])}


def _duckdb(folder: Path, order: str = "ORDER BY trajectory_id", memory: str | None = None) -> dict[str, Any]:
    with duckdb.connect() as connection:
        if memory:
            connection.execute("SET memory_limit = ?", [memory])
        connection.execute(f"SET temp_directory = '{folder / 'spill'}'")
        connection.execute(
            f"COPY (SELECT * EXCLUDE (keep) FROM '{folder / 'raw.parquet'}' WHERE keep {order}) "
            f"TO '{folder / 'duckdb.parquet'}' (FORMAT parquet, COMPRESSION zstd)"
        )
    return {"MB": _megabytes([folder / "duckdb.parquet"])}


def _pyarrow(folder: Path) -> dict[str, Any]:
    """The snapshot's files, batch by batch, at pyarrow's own level of zstd."""
    copies = []
    for number, file in enumerate(open_snapshot(folder, "half@1").data_files()):
        copies.append(folder / f"pyarrow-{number}.parquet")
        with (
            pq.ParquetFile(file) as opened,
            pq.ParquetWriter(copies[-1], opened.schema_arrow, compression="zstd") as writer,
        ):
            for batch in opened.iter_batches(4096):
                writer.write_batch(batch)
    return {"MB": _megabytes(copies)}


def _datasets(folder: Path) -> dict[str, Any]:
    from datasets import Dataset

    rows = Dataset.from_parquet(str(folder / "raw.parquet"), cache_dir=str(_fresh(folder / "cache")))
    rows.filter(lambda keep: keep, input_columns="keep").to_parquet(folder / "datasets.parquet")
    cache = _megabytes([file for file in (folder / "cache").rglob("*") if file.is_file()])
    shutil.rmtree(folder / "cache")
    return {"MB": _megabytes([folder / "datasets.parquet"]), "MB of cache": cache}


def _read(folder: Path) -> dict[str, Any]:
    """The snapshot's bytes, as fast as one reader has them."""
    files = open_snapshot(folder, "half@1").data_files()
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while stream.read(1 << 20):
                pass
    return {"MB": _megabytes(files)}


def _asked(folder: Path, sql: str) -> dict[str, Any]:
    with connect(folder) as connection:
        started = time.perf_counter()
        rows = connection.execute(sql).fetchall()
        return {"rows": len(rows), "seconds of the query": time.perf_counter() - started}


def _one_prompt(folder: Path) -> dict[str, Any]:
    with connect(folder) as connection:
        found = connection.execute("SELECT prompt_id FROM prompts LIMIT 1 OFFSET 777").fetchone()
    assert found is not None
    return _asked(folder, f"SELECT * FROM trajectory_facts WHERE prompt_id = '{found[0]}'")


SNAPSHOTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "raw": _raw,
    "create": _create,
    "create, the same again": _create,
    "create, the same rows by other code": lambda folder: _create(folder, code="2"),
    "create, other rows": lambda folder: _create(folder, seed=1, validation=0.02),
    "DuckDB: COPY WHERE ORDER BY": _duckdb,
    "DuckDB: COPY WHERE ORDER BY, with 2 GB": lambda folder: _duckdb(folder, memory="2GB"),
    "DuckDB: COPY WHERE": lambda folder: _duckdb(folder, ""),
    "datasets: from_parquet, filter, to_parquet": _datasets,
    "export to messages": _export,
    "pyarrow: copy": _pyarrow,
    "verify": _verify,
    "read": _read,
    "diff": _diff,
    "first batch": _first_batch,
}
QUESTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "one prompt": _one_prompt,
    "funnel": lambda folder: _asked(folder, "FROM funnel"),
}
GROWTH = ("create", "export to messages", "verify")


def measure(name: str, folder: Path) -> None:
    """Runs one measurement in a process of its own, and prints what it took."""
    # Else what the one before wrote is still on its way to the disk.
    os.sync()
    command = [sys.executable, __file__, "--folder", str(folder), "--one", name]
    done = json.loads(
        subprocess.run(
            command, check=True, stdout=subprocess.PIPE, env=os.environ | {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        ).stdout.splitlines()[-1]
    )
    told = ", ".join(f"{v:,.2f} {k}" if isinstance(v, float) else f"{v:,} {k}" for k, v in done.items())
    print(f"{folder.name:<10} {name:<42} {told}", flush=True)


def _measure_here(name: str, folder: Path) -> None:
    started = time.perf_counter()
    told = (SNAPSHOTS | QUESTIONS)[name](folder)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"s": seconds, "GB": peak, **told}), flush=True)
    # A stream of `datasets` that was not read to its end waits for its threads for ever.
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=800_000, help="0: not measured")
    parser.add_argument("--verdicts", type=int, default=10_000_000, help="0: not measured")
    parser.add_argument("--growth", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "dataengine-benchmark")
    parser.add_argument("--one", choices=[*SNAPSHOTS, *QUESTIONS], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        _measure_here(asked.one, asked.folder)
        return
    if asked.rows:
        folder = asked.folder / f"r{asked.rows}"
        made(folder, asked.rows)
        _fresh(folder / "snapshots")
        for name in SNAPSHOTS:
            measure(name, folder)
    if asked.verdicts:
        folder = asked.folder / f"v{asked.verdicts}"
        made(folder, asked.verdicts // len(MANY_CHECKS), MANY_CHECKS, length=200)
        for name in QUESTIONS:
            measure(name, folder)
    for rows in asked.growth:
        folder = asked.folder / f"r{rows}"
        made(folder, rows)
        _fresh(folder / "snapshots")
        for name in GROWTH:
            measure(name, folder)


if __name__ == "__main__":
    main()
