"""The life of one prompt or trajectory, in words."""

import json
from pathlib import Path
from typing import Any

import duckdb

from dataengine.lineage import family
from dataengine.tables import table
from schemas.errors import InputError
from warehouse.connect import connect
from warehouse.snapshot import list_snapshots
from warehouse.store import Warehouse


def explain(path: Path, ident: str) -> str:
    """What happened to the prompt or trajectory whose id starts with `ident`.

    Raises InputError when no id starts so, or several do.
    """
    with connect(path) as connection:
        kind, full = _find(connection, ident.strip().lower())
        text = _prompt(connection, full) if kind == "prompt" else _trajectory(connection, full)
        snapshots = _snapshots(Warehouse.open(path).path, kind, full)
    return f"{text}\n\n{snapshots}"


def _find(connection: duckdb.DuckDBPyConnection, ident: str) -> tuple[str, str]:
    if len(ident) < 4 or any(c not in "0123456789abcdef" for c in ident):
        raise InputError(
            f"{ident!r} is no id: give at least 4 characters of the hexadecimal id of a prompt or trajectory"
        )
    found = connection.execute(
        "SELECT DISTINCT 'trajectory', trajectory_id FROM trajectories WHERE starts_with(trajectory_id, $id) "
        "UNION ALL SELECT DISTINCT 'prompt', prompt_id FROM prompts WHERE starts_with(prompt_id, $id) LIMIT 6",
        {"id": ident},
    ).fetchall()
    if not found:
        raise InputError(f"no prompt or trajectory has an id that starts with {ident}")
    if len(found) > 1:
        listed = ", ".join(f"{kind} {full[:16]}" for kind, full in found[:5])
        raise InputError(f"{ident} is the start of several ids: {listed}; give more characters")
    return found[0]


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, ident: str) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, {"id": ident})
    names = [d[0] for d in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _prompt(connection: duckdb.DuckDBPyConnection, ident: str) -> str:
    current = _rows(connection, "SELECT * FROM prompts_current WHERE prompt_id = $id", ident)[0]
    history = _rows(
        connection,
        "SELECT source, revision, source_ref, reference, verifier, license, strftime(created_at, '%Y-%m-%d %H:%M') AS "
        "created FROM prompts WHERE prompt_id = $id ORDER BY created_at",
        ident,
    )
    attempts = _rows(
        connection,
        "SELECT left(trajectory_id, 12) AS trajectory, stage, policy, sample_index AS sample, finish_reason AS finish, "
        "correct, kept, array_to_string(not_passed, ' ') AS not_passed, error FROM trajectory_facts "
        "WHERE prompt_id = $id ORDER BY created_at, sample_index",
        ident,
    )
    lines = [f"prompt {ident}", _fields(current, ("domain", "language", "source", "reference", "verifier"))]
    if current["conflict"]:
        lines.append(
            "CONFLICT: sources give different references, so it is verified against none; import the right one with "
            "--source resolution"
        )
    lines += [_indented(f"{m['role']}: {m['content']}") for m in current["messages"]]
    lines += ["", "rows of this prompt:", table(history), "", f"{len(attempts)} trajectories:", table(attempts)]
    return "\n".join(lines)


def _trajectory(connection: duckdb.DuckDBPyConnection, ident: str) -> str:
    attempts = _rows(connection, "SELECT * FROM trajectories WHERE trajectory_id = $id ORDER BY attempt", ident)
    current = _rows(connection, "SELECT * FROM trajectories_current WHERE trajectory_id = $id", ident)[0]
    prompt = _rows(
        connection,
        "SELECT p.* FROM prompts_current p JOIN trajectories_current t USING (prompt_id) WHERE t.trajectory_id = $id",
        ident,
    )[0]
    lines = [
        f"trajectory {ident}",
        _fields(current, ("stage", "policy", "engine", "sampling", "sample_index", "parent_id", "run_id")),
        f"prompt {prompt['prompt_id']}  ({prompt['domain']}, {prompt['source']}, reference {prompt['reference']!r})",
        *(_indented(f"{m['role']}: {m['content']}") for m in prompt["messages"]),
        "",
        "attempts:",
        table([{k: a[k] for k in ("attempt", "finish_reason", "prompt_tokens", "completion_tokens", "max_tokens",
                                  "seconds", "error")} for a in attempts], most=100),
    ]  # fmt: skip
    if linked := family(connection, ident):
        lines += ["", linked]
    if current["error"] is not None:
        lines += ["", "it has no reply: the request failed, and is asked again by the next run of its recipe"]
        return "\n".join(lines)
    lines += ["", "reply:", _indented(current["text"]), "", "verdicts:"]
    verdicts = _rows(connection, 'SELECT * FROM verdicts WHERE trajectory_id = $id ORDER BY attempt, "check"', ident)
    lines.append(
        table([{k: v[k] for k in ("attempt", "check", "version", "outcome", "score", "reason")} for v in verdicts])
    )
    for verdict in verdicts:
        details = json.loads(verdict["details"])
        if verdict["outcome"] != "pass" and details:
            lines.append(f"  {verdict['check']}: {json.dumps(details, ensure_ascii=False)[:400]}")
            lines += [_indented(s) for s in _evidence(current["text"], details)]
    facts = _rows(connection, "SELECT kept, not_passed FROM trajectory_facts WHERE trajectory_id = $id", ident)[0]
    against = ", ".join(facts["not_passed"] or []) or "no check has a verdict"
    lines += ["", "kept: the verifier passed and no check failed" if facts["kept"] else f"not kept: {against}"]
    return "\n".join(lines)


def _evidence(text: str, details: dict[str, Any]) -> list[str]:
    spans = details.get("spans") or []
    return [f"…{text[s[0] : s[1]][:120]}…" for s in spans[:5] if isinstance(s, list) and len(s) >= 2]


def _snapshots(warehouse: Path, kind: str, ident: str) -> str:
    column = f"{kind}_id"
    found = []
    with duckdb.connect(":memory:") as connection:
        for snapshot in list_snapshots(warehouse):
            rows = connection.execute(
                f"SELECT split, count(*) FROM read_parquet($files) WHERE {column} = $id GROUP BY 1",
                {"files": [str(p) for p in snapshot.data_files()], "id": ident},
            ).fetchall()
            found += [f"{snapshot.manifest.id} ({count} in {split})" for split, count in rows]
    return "in snapshots: " + (", ".join(found) or "none")


def _fields(row: dict[str, Any], names: tuple[str, ...]) -> str:
    return "\n".join(f"  {name:<13} {row[name]}" for name in names if row[name] is not None)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
