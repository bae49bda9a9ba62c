"""Snapshots in the shapes that trainers read."""

import shutil
import uuid
from pathlib import Path

import duckdb

from schemas.errors import SnapshotError
from warehouse.snapshot import SPLITS, Snapshot, card, sha256_of, verify_files

_IDS = "trajectory_id, prompt_id, domain, source, language, policy, weight"
# format: file ending, COPY options, columns
FORMATS: dict[str, tuple[str, str, str]] = {
    "messages": ("parquet", "FORMAT parquet, COMPRESSION zstd", f"messages, {_IDS}"),
    "prompt-completion": (
        "parquet",
        "FORMAT parquet, COMPRESSION zstd",
        f"messages[:-2] AS prompt, messages[-1:] AS completion, {_IDS}",
    ),
    "openai": ("jsonl", "FORMAT json", "messages"),
}


def export_snapshot(snapshot: Snapshot, form: str, out: Path) -> list[Path]:
    """Writes a snapshot to the folder `out` and returns its files, one per split beside a card and SHA256SUMS.

    The folder appears whole or not at all. Raises SnapshotError for an unknown format, a folder that is in use, or a
    damaged snapshot.
    """
    if form not in FORMATS:
        raise SnapshotError(f"there is no format {form!r}; there are: {', '.join(FORMATS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SnapshotError(f"{out}: exists already; name a new folder")
    verify_files(snapshot)
    out = out.resolve()
    ending, options, columns = FORMATS[form]
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f".{out.name}-{uuid.uuid4().hex[:8]}")
    work.mkdir()
    try:
        for split in SPLITS:
            sources = [str(p) for p in snapshot.data_files(split)]
            if sources:
                target = work / f"{split}-00000-of-00001.{ending}"
                with duckdb.connect(":memory:") as connection:
                    relation = connection.read_parquet(sources).select(duckdb.SQLExpression("*"))
                    relation.query(
                        "rows",
                        f"COPY (SELECT {columns} FROM rows ORDER BY trajectory_id) TO "
                        f"'{str(target).replace(chr(39), chr(39) * 2)}' ({options})",
                    )
        text = card(snapshot.manifest).replace("*.parquet", f"*.{ending}")
        (work / "README.md").write_text(text, encoding="utf-8")
        sums = [f"{sha256_of(p)}  {p.name}" for p in sorted(work.iterdir())]
        (work / "SHA256SUMS").write_text("\n".join(sums) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return sorted(out.iterdir())
