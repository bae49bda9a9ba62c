"""A row as a snapshot saw it: which source took it, what stands in the file, and what was said since."""

import json
from collections.abc import Sequence
from typing import Any

import duckdb

from dataengine.explain_mix import sources_of
from dataengine.lineage import Row
from dataengine.screen import one_line
from dataengine.tables import table
from schemas.mix import AnyMix
from warehouse.exported import ROW_ID
from warehouse.quoting import literal, parquet
from warehouse.snapshot import Snapshot

# The columns of snapshots that hold verdicts.
_VERDICTS = ("verdicts", "chosen_verdicts", "rejected_verdicts")
# What grows after a snapshot was made, and what tells one from another.
_GROWS = {"rows": ("source", "revision"), "trajectories": ("trajectory_id",), "attempts": ("attempt",),
          "rollouts": ("attempt",), "verdicts": ("attempt", "check", "version", "against"), "reviews": ("review_id",),
          "draws": ("check", "version", "draw"), "steps": ("recipe", "step")}  # fmt: skip


def seen_by(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, mix: AnyMix, then: Row, now: Row) -> Row:
    """The record `then`, read on the `connection` to what the snapshot saw, with `snapshot` and `since`.

    `since` is what `now` has more.
    """
    manifest = snapshot.manifest
    held = [row for row in now["snapshots"] if row["snapshot"] == manifest.id]
    key = ROW_ID[manifest.rows_of]
    taken = sources_of(connection, mix, [row[key] for row in held])
    stored = _stored(connection, snapshot, key, [row[key] for row in held])
    rows = []
    for row in held:
        source = taken.get(row[key])  # from 1
        asked = mix.sources[source - 1].model_dump(mode="json", exclude_defaults=True) if source else None
        about = {"source": source, "asked": asked, **stored[row[key]]}
        rows.append({k: row[k] for k in ("split", "file", "row", "weight")} | {key: row[key]} | about)
    return {
        **then,
        "snapshot": {
            "id": manifest.id,
            "logical_hash": manifest.logical_hash,
            "created_at": manifest.created_at.isoformat(),
            "rows_of": manifest.rows_of,
            "mix": manifest.mix,
            "checks": manifest.checks,
            "tables": manifest.tables,
            "code": manifest.code,
            "rows": rows,
        },
        "since": _since(then, now),
        "snapshots": now["snapshots"],
    }


def _stored(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, key: str, idents: Sequence[str]
) -> dict[str, Row]:
    """Of rows of the snapshot what tells how they stand there: the system prompt that they begin with, and verdicts."""
    if not idents:
        return {}
    relation = connection.sql(
        f"FROM {parquet(snapshot.data_files())} WHERE {key} IN ({', '.join(map(literal, idents))})"
    )
    columns = set(relation.columns)
    messages = "messages" if "messages" in columns else "prompt"
    chosen = [f"CASE WHEN {messages}[1].role = 'system' THEN {messages}[1].content END AS system"]
    chosen += [name for name in ("attempt", "label", "score", "solve_rate", *_VERDICTS) if name in columns]
    found = relation.select(duckdb.SQLExpression(key), *map(duckdb.SQLExpression, chosen))
    names = found.columns
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {row[key]: {k: v for k, v in row.items() if k != key} for row in rows}


def _since(then: Row, now: Row) -> Row:
    """By part of a record what `now` has that `then` had not; of a pair also of both replies."""
    found: dict[str, Any] = {}
    for part, columns in _GROWS.items():
        known = {tuple(row[c] for c in columns) for row in then.get(part, [])}
        more = [row for row in now.get(part, []) if tuple(row[c] for c in columns) not in known]
        if more:
            found[part] = more
    for side, reply in now.get("replies", {}).items():
        before = then["replies"].get(side)
        if reply and before and (later := _since(before, reply)):
            found[side] = later
    return found


def snapshot_lines(record: Row) -> list[str]:
    """What `seen_by` added, in words."""
    of = record["snapshot"]
    lines = [
        f"snapshot {of['id']}",
        f"  hash   {of['logical_hash']}",
        f"  made   {of['created_at'][:16].replace('T', ' ')} UTC",
        f"  code   {_pairs(of['code'])}",
        f"  tables {_pairs(of['tables'])}",
    ]
    if not of["rows"]:
        lines.append("  it is not in it")
    for row in of["rows"]:
        number = row["source"]
        lines.append(f"  {row['file']} row {row['row']}, split {row['split']}, weight {row['weight']:g}")
        if number is None:
            lines.append("    which source took it cannot be told: this version would not make it of the same mix")
        else:
            asked = json.dumps(row["asked"], ensure_ascii=False)
            lines.append(f"    source {number} of {len(of['mix']['sources'])}: {asked}")
        if row["system"]:
            lines.append(f"    system: {one_line(row['system'])}")
        for name in _VERDICTS:
            if row.get(name):
                told = ", ".join(f"{v['check']} {v['version']} {v['outcome']}" for v in row[name])
                lines.append(f"    {name.replace('_', ' ')}: {told}")
    return [*lines, *_since_lines(record["since"])]


def _since_lines(since: Row, within: str = "") -> list[str]:
    lines = [] if since or within else ["", "since then: nothing"]
    for part, found in since.items():
        if isinstance(found, dict):
            lines += _since_lines(found, f" of {part}")
        else:
            shown = [{k: _short(v) for k, v in row.items() if k not in ("details", "text")} for row in found]
            title = "rows of its prompt" if part == "rows" else part
            lines += ["", f"since then, {title}{within}:", table(shown)]
    return lines


def _short(value: Any) -> Any:
    return value[:12] if isinstance(value, str) and len(value) == 64 else value


def _pairs(values: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
