"""The life of one prompt or trajectory, in words: what happened to it, and what speaks against it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb

from dataengine.evidence import lines_of, secrets_hidden, spans_of
from dataengine.explain_mix import mix_of_prompt, mix_of_trajectory
from dataengine.lineage import family
from dataengine.screen import indented, printable
from dataengine.tables import table
from schemas.errors import InputError
from schemas.mix import AnyMix
from warehouse.connect import connect
from warehouse.snapshot import list_snapshots
from warehouse.store import Warehouse


def explain(path: Path, ident: str, mixes: Sequence[AnyMix] = ()) -> str:
    """What happened to the prompt or trajectory whose id starts with `ident`, and what each of `mixes` makes of it.

    Passwords and keys that the check `pii` found are masked, and so is what would act on a terminal. Raises InputError
    when no id starts so, or several do, SnapshotError for a mix whose `where` is no condition.
    """
    with connect(path) as connection:
        kind, full = _find(connection, ident.strip().lower())
        tell = _prompt if kind == "prompt" else _trajectory
        text = tell(connection, full, mixes)
        snapshots = _snapshots(Warehouse.open(path).path, kind, full)
    return printable(f"{text}\n\n{snapshots}")


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


def _prompt(connection: duckdb.DuckDBPyConnection, ident: str, mixes: Sequence[AnyMix]) -> str:
    current = _rows(connection, "SELECT * FROM prompts_current WHERE prompt_id = $id", ident)[0]
    history = _rows(
        connection,
        "SELECT source, revision, source_ref, reference, verifier, license, strftime(created_at, '%Y-%m-%d %H:%M') AS "
        "created FROM prompts WHERE prompt_id = $id ORDER BY created_at",
        ident,
    )
    facts = _rows(
        connection,
        "SELECT trajectory_id, stage, policy, sample_index AS sample, finish_reason AS finish, "
        "correct, kept, array_to_string(not_passed, ' ') AS not_passed, error FROM trajectory_facts "
        "WHERE prompt_id = $id ORDER BY created_at, sample_index, trajectory_id",
        ident,
    )
    attempts = [{"trajectory": f["trajectory_id"][:12], **{k: f[k] for k in list(f)[1:]}} for f in facts]
    lines = [f"prompt {ident}", _fields(current, ("domain", "language", "source", "reference", "verifier"))]
    if current["conflict"]:
        lines.append(
            "CONFLICT: sources give different references, so it is verified against none; import the right one with "
            "--source resolution"
        )
    lines += [indented(f"{m['role']}: {m['content']}") for m in current["messages"]]
    lines += ["", "rows of this prompt:", table(history), "", f"{len(attempts)} trajectories:", table(attempts)]
    for mix in mixes:
        told = mix_of_prompt(connection, mix, {f["trajectory_id"]: f["stage"] for f in facts})
        lines += ["", f"mix {mix.mix}:", *told]
    return "\n".join(lines)


def _trajectory(connection: duckdb.DuckDBPyConnection, ident: str, mixes: Sequence[AnyMix]) -> str:
    attempts = _rows(connection, "SELECT * FROM trajectories WHERE trajectory_id = $id ORDER BY attempt", ident)
    current = _rows(connection, "SELECT * FROM trajectory_facts WHERE trajectory_id = $id", ident)[0]
    given = _rows(connection, 'SELECT * FROM verdicts_current WHERE trajectory_id = $id ORDER BY "check"', ident)
    details = {v["check"]: _details(v["details"]) for v in given}
    hide = _hider(current["text"], details)
    texts = {"prompt": hide(current["messages"][-1]["content"]), "reply": hide(current["text"])}
    first = {c: s[0].within(texts.get(s[0].of, "")) for c, told in details.items() if (s := spans_of(told))}
    lines = [
        f"trajectory {ident}",
        _fields({**attempts[-1], **current}, ("stage", "policy", "engine", "sampling", "sample_index", "parent_id",
                                              "run_id")),
        f"prompt {current['prompt_id']}  ({current['domain']}, {current['source']}, "
        f"reference {current['reference']!r})",
        *(indented(f"{m['role']}: {hide(m['content'])}") for m in current["messages"]),
        "",
        "attempts:",
        table([{k: a[k] for k in ("attempt", "finish_reason", "prompt_tokens", "completion_tokens", "max_tokens",
                                  "seconds", "error")} for a in attempts], most=100),
        "",
    ]  # fmt: skip
    if linked := family(connection, ident):
        lines += [linked, ""]
    if current["error"] is not None:
        lines.append("it has no reply: the request failed, and is asked again by the next run of its recipe")
    else:
        lines += ["reply:", indented(texts["reply"]), "", "verdicts:", _verdicts(connection, ident, given)]
        for verdict in given:
            if verdict["outcome"] != "pass":
                lines += [
                    "",
                    f"{verdict['check']}: {_said(verdict)}",
                    *map(indented, lines_of(details[verdict["check"]], texts, hide)),
                ]
        lines += ["", _kept(current, given)]
    for mix in mixes:
        told = mix_of_trajectory(connection, mix, ident, {v["check"]: _said(v) for v in given}, first)
        lines += ["", f"mix {mix.mix}:", *told]
    return "\n".join(lines)


def _said(verdict: dict[str, Any]) -> str:
    """A verdict in a few words: `fail, language_mixed, score 0.82`."""
    score = "" if verdict["score"] is None else f"score {verdict['score']:.4g}"
    return ", ".join(part for part in (verdict["outcome"], verdict["reason"], score) if part)


def _details(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return value if isinstance(value, dict) else {}


def _hider(text: str, details: dict[str, dict[str, Any]]) -> Callable[[str], str]:
    spans = spans_of(details.get("pii", {}))
    return secrets_hidden(text, spans) if spans else str


def _verdicts(connection: duckdb.DuckDBPyConnection, ident: str, given: Sequence[dict[str, Any]]) -> str:
    keys = ("attempt", "check", "version", "against")
    counting = {tuple(v[k] for k in keys) for v in given}
    every = _rows(connection, 'SELECT * FROM verdicts WHERE trajectory_id = $id ORDER BY attempt, "check", created_at',
                  ident)  # fmt: skip
    return table(
        [
            {k: v[k] for k in ("attempt", "check", "version", "outcome", "score", "reason")}
            | {"counts": "yes" if tuple(v[k] for k in keys) in counting else "no"}
            for v in every
        ]
    )


def _kept(current: dict[str, Any], given: Sequence[dict[str, Any]]) -> str:
    if current["kept"]:
        return "kept: the verifier passed and no check failed"
    against = [
        f"{v['check']} ({v['outcome']})"
        for v in given
        if v["outcome"] in ("fail", "error") or (v["kind"] == "verifier" and v["outcome"] == "undecided")
    ]
    return f"not kept: {', '.join(against) or 'no check has a verdict'}"


# By what the rows of a snapshot are the columns that hold ids of trajectories.
_REPLIES: dict[str, tuple[str, ...]] = {
    "samples": ("trajectory_id",),
    "pairs": ("chosen_id", "rejected_id"),
    "labels": ("trajectory_id",),
    "prompts": (),
}


def _snapshots(warehouse: Path, kind: str, ident: str) -> str:
    found = []
    with duckdb.connect(":memory:") as connection:
        for snapshot in list_snapshots(warehouse):
            columns = ("prompt_id",) if kind == "prompt" else _REPLIES[snapshot.manifest.rows_of]
            if not columns:
                continue
            rows = connection.execute(
                f"SELECT split, count(*) FROM read_parquet($files) WHERE $id IN ({', '.join(columns)}) GROUP BY 1",
                {"files": [str(p) for p in snapshot.data_files()], "id": ident},
            ).fetchall()
            found += [f"{snapshot.manifest.id} ({count} in {split})" for split, count in rows]
    return "in snapshots: " + (", ".join(found) or "none")


def _fields(row: dict[str, Any], names: tuple[str, ...]) -> str:
    return "\n".join(f"  {name:<13} {row[name]}" for name in names if row[name] is not None)
