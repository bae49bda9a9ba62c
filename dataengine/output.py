"""What commands print: query results, snapshots, the list of questions."""

import csv
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from dataengine.tables import table
from schemas.errors import ConfigError, QueryError, SnapshotError

if TYPE_CHECKING:
    import duckdb

    from warehouse.garbage import Collected
    from warehouse.snapshot import Damaged, Snapshot

_VIEWS = {
    "prompts_current": "a row per prompt, corrected references applied",
    "trajectories_current": "the best attempt of each trajectory",
    "verdicts_current": "the latest verdict of each check on the current attempt",
    "trajectory_facts": "a wide row per trajectory: prompt, reply, one column per check",
    "funnel": "per stage and check: applicable, pass, fail, undecided, error, pending",
    "funnel_at": "a check at another threshold: FROM funnel_at('language_mix', at_least := 0.9)",
    "scored_verdicts": "verdicts with a score: is the reply kept, and would it be if this check passed",
    "language_mix": "the share of words in the prompt's language, with the stretches in another one",
    "yield_by_prompt": "samples, right and kept ones per prompt",
    "balance": "replies and kept ones per stage and source, domain, language, difficulty",
    "diversity": "per stage, of all replies and of kept ones: clusters, duplicates, effective numbers",
    "pass_at_k": "unbiased pass@k",
    "evaluation": "held-out scores per policy, source, shots and setting",
    "evaluated": "a row per evaluated sample, with its vote in cons@k",
    "throughput": "tokens and seconds per stage and policy",
    "curves": "rewards, scores, lengths and logged metrics by optimizer step",
    "snapshot_rows": "a row of a snapshot: its ids, split, weight, and its place in which file",
}


def list_queries() -> str:
    """The shipped questions, the tables and the views."""
    from schemas.records import RECORDS
    from warehouse.sql import named_queries

    lines = ["questions (dataengine sql --name NAME):"]
    lines += [f"  {name:<18} {about}" for name, (about, _) in named_queries().items()]
    lines += ["", "tables:"]
    lines += [f"  {name:<18} {', '.join(r.model_fields)}" for name, r in RECORDS.items()]
    lines += ["", "views:"]
    lines += [f"  {name:<18} {about}" for name, about in _VIEWS.items()]
    lines += ["", 'check is a word of SQL: write "check" in double quotes, or t.check']
    return "\n".join(lines)


def write_relation(relation: "duckdb.DuckDBPyRelation", form: str, out: TextIO) -> None:
    """Writes a query's rows as a table, csv, json (one object per line) or parquet.

    Raises QueryError when the query fails while it runs, ConfigError for an unknown form or Parquet to a terminal.
    """
    import duckdb

    forms = {"table": _as_table, "csv": _as_csv, "json": _as_json, "parquet": _as_parquet}
    if form not in forms:
        raise ConfigError(f"--format {form}: there are {', '.join(forms)}")
    try:
        forms[form](relation, out)
    except duckdb.Error as e:
        raise QueryError(str(e).splitlines()[0]) from e


def _as_table(relation: "duckdb.DuckDBPyRelation", out: TextIO) -> None:
    names = relation.columns
    rows = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
    print(table(rows) if rows else "  ".join(names) + "\n(no rows)", file=out)


def _as_csv(relation: "duckdb.DuckDBPyRelation", out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(relation.columns)
    writer.writerows(relation.fetchall())


def _as_json(relation: "duckdb.DuckDBPyRelation", out: TextIO) -> None:
    names = relation.columns
    for row in relation.fetchall():
        out.write(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=_plain) + "\n")


def _as_parquet(relation: "duckdb.DuckDBPyRelation", out: TextIO) -> None:
    import pyarrow.parquet as pq

    if out.isatty():
        raise ConfigError("--format parquet writes bytes: send them to a file with > rows.parquet")
    pq.write_table(relation.to_arrow_table(), out.buffer)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def list_snapshot_rows(found: "Sequence[Snapshot | Damaged]") -> list[dict[str, Any]]:
    """Snapshots as rows of a table; of a damaged one there is the name, and what tags it has."""
    from warehouse.snapshot import Damaged

    rows = []
    for s in found:
        m = None if isinstance(s, Damaged) else s.manifest
        rows.append(
            {
                "snapshot": s.id,
                "rows": m and m.rows,
                "prompts": m and m.prompts,
                "made": m and f"{m.created_at:%Y-%m-%d %H:%M}",
                "hash": m.logical_hash[:12] if m else "damaged",
                "tags": _tags(s),
            }
        )
    return rows


def _tags(snapshot: "Snapshot | Damaged") -> str:
    from warehouse.tagging import tags_of

    try:
        return ", ".join(tags_of(snapshot.path))
    except SnapshotError as e:
        return str(e)


def describe_snapshot(snapshot: "Snapshot") -> str:
    """A snapshot's manifest for people."""
    m = snapshot.manifest
    lines = [
        f"{m.id}   made {m.created_at:%Y-%m-%d %H:%M} UTC",
        f"rows          {m.rows:,} of {m.prompts:,} prompts",
        f"logical hash  {m.logical_hash}",
        f"folder        {snapshot.path}",
    ]
    if tags := _tags(snapshot):
        lines.append(f"tags          {tags}")
    lines += [f"file          {f.path}  {f.rows:,} rows  {f.bytes:,} bytes  sha256 {f.sha256}" for f in m.files]
    for column, counts in m.counts.items():
        lines.append(f"{column:<13} " + ", ".join(f"{value} {count:,}" for value, count in counts.items()))
    lines.append("checks        " + ", ".join(f"{name} {'/'.join(v)}" for name, v in m.checks.items()))
    for name, held in m.decontamination.items():
        lines.append(
            f"held against  {name}: {held.checked:,} candidates, {held.contaminated:,} contaminated and left out"
        )
    if m.chat_template:
        lines.append(f"tokenizer     {m.chat_template.tokenizer}: {m.chat_template.text}")
        lines.append(f"chat template sha256 {m.chat_template.sha256}")
    lines.append("tables        " + ", ".join(f"{name} v{v}" for name, v in m.tables.items()))
    lines.append("code          " + ", ".join(f"{name} {v}" for name, v in m.code.items()))
    lines.append("mix           " + json.dumps(m.mix, ensure_ascii=False))
    return "\n".join(lines)


def describe_garbage(found: "Collected", deleted: bool) -> str:
    """What `dataengine gc` found, a line each, and what it comes to."""
    if not found.garbage:
        return "nothing to remove"
    files = sum(g.files for g in found.garbage)
    lines = [f"{_size(g.bytes):>10}  {g.files:>6,} files  {g.path}: {g.reason}" for g in found.garbage]
    total = f"{_size(found.bytes):>10}  {files:>6,} files  "
    return "\n".join([*lines, total + ("removed" if deleted else "in all; --delete removes them")])


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} B"
