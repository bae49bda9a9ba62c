"""Snapshots in the shapes that trainers read."""

import shutil
import uuid
from pathlib import Path

import duckdb

from schemas.errors import SnapshotError
from warehouse.snapshot import KINDS, SPLITS, Snapshot, card, sha256_of, verify_files

_PARQUET = ("parquet", "FORMAT parquet, COMPRESSION zstd")
_ABOUT = "prompt_id, domain, source, language"
_IDS = f"trajectory_id, {_ABOUT}, policy, weight"
# format: file ending, COPY options, and by kind of rows that it can hold the columns
FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    "messages": (*_PARQUET, {"samples": f"messages, {_IDS}"}),
    "prompt-completion": (
        *_PARQUET,
        {
            "samples": f"messages[:-2] AS prompt, messages[-1:] AS completion, {_IDS}",
            "labels": f"prompt, completion, label, score, {_IDS}",
        },
    ),
    "openai": ("jsonl", "FORMAT json", {"samples": "messages"}),
    "preference": (
        *_PARQUET,
        {
            "pairs": "prompt, chosen, rejected, score, pair_id, chosen_id, rejected_id, "
            f"{_ABOUT}, chosen_policy, rejected_policy, weight",
        },
    ),
    "prompts": (
        *_PARQUET,
        {"prompts": f"prompt, reference, verifier, metadata, answer_form, solve_rate, n, {_ABOUT}, weight"},
    ),
}


def export_snapshot(snapshot: Snapshot, form: str, out: Path) -> list[Path]:
    """Writes a snapshot to the folder `out` and returns its files, one per split beside a card and SHA256SUMS.

    The folder appears whole or not at all. Raises SnapshotError for an unknown format or one that the snapshot's rows
    cannot take, a folder that is in use, or a damaged snapshot.
    """
    if form not in FORMATS:
        raise SnapshotError(f"there is no format {form!r}; there are: {', '.join(FORMATS)}")
    ending, options, by_kind = FORMATS[form]
    kind = snapshot.manifest.rows_of
    if kind not in by_kind:
        takes = ", ".join(name for name, (_, _, kinds) in FORMATS.items() if kind in kinds)
        raise SnapshotError(
            f"{snapshot.manifest.id}: its rows are {kind}, and {form!r} is for {' and '.join(by_kind)}; take {takes}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SnapshotError(f"{out}: exists already; name a new folder")
    verify_files(snapshot)
    out = out.resolve()
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
                        f"COPY (SELECT {by_kind[kind]} FROM rows ORDER BY {KINDS[kind].order}) TO "
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
