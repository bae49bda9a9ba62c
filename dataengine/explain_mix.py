"""What a mix makes of a trajectory: each condition met or not, then what the caps leave it; and of its other rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from dataengine.chat_tokenizer import open_chat
from dataengine.screen import one_line
from dataengine.shipped import systems_of
from dataengine.tables import table
from schemas.errors import SnapshotError
from schemas.mix import AnyMix, Mix
from warehouse.fetching import as_dicts
from warehouse.fitting import chat_of
from warehouse.gate import unproven
from warehouse.mixing import Condition, choose, conditions, unmet, without_verdicts
from warehouse.snapshot import KINDS
from warehouse.splits import SPLIT
from warehouse.targets import meet_targets


def mix_of_trajectory(
    connection: duckdb.DuckDBPyConnection,
    mix: Mix,
    ident: str,
    said: Mapping[str, str],
    spans: Mapping[str, str],
) -> list[str]:
    """Lines: every condition of each source and whether the trajectory meets it, then whether the mix takes it.

    `said` gives each check's verdict in words, `spans` the first span that it rests on, where it rests on one.
    """
    lines, candidate = [], False
    for number, source in enumerate(mix.sources):
        lines.append(f"  source {number + 1} of {len(mix.sources)}:")
        failing = unmet(connection, mix, source, [ident])[ident]
        candidate |= not failing
        for condition in conditions(source):
            check = condition.check or ""
            verdict = f": {said.get(check, 'no verdict')}" if check else ""
            lines.append(f"    {'no ' if condition in failing else 'yes'}  {one_line(condition.text)}{verdict}")
            if condition in failing and check in spans:
                lines.append(f"           {spans[check]}")
    return lines + [f"  {line}" for line in _outcome(connection, mix, ident, candidate)]


def mix_of_several(connection: duckdb.DuckDBPyConnection, mix: Mix, stages: Mapping[str, str]) -> list[str]:
    """A table of trajectories (id -> stage): taken, left out, or what each does not meet."""
    failing = [unmet(connection, mix, source, list(stages)) for source in mix.sources]
    fates = _fates(connection, mix, list(stages)) if any(not c for f in failing for c in f.values()) else {}
    rows = []
    for ident, stage in stages.items():
        own = [f[ident] for f, source in zip(failing, mix.sources, strict=True) if source.stage in (stage, None)]
        if not own:
            told = "no source has its stage"
        elif ident in fates:
            told = next((f"taken, {f['split']}" for f in fates[ident] if not f["dropped"]), fates[ident][0]["dropped"])
        else:
            # Of several sources of this stage the one that it comes nearest to.
            missed = ", ".join(_short(c) for c in min(own, key=len))
            told = f"not met: {missed}" if missed else "meets every condition"
        rows.append({"trajectory": ident[:12], "stage": stage, "mix": told})
    return [table(rows, most=100), *_cannot_be_made(connection, mix)]


def mix_of_other_rows(connection: duckdb.DuckDBPyConnection, mix: AnyMix, idents: Sequence[str]) -> list[str]:
    """Lines: what a mix of pairs, labels or prompts makes of the rows with these ids."""
    reason, fates = _other_fates(connection, mix, idents)
    if reason:
        return [f"  no snapshot of it can be made here yet: {reason}"]
    lines = []
    for ident in idents:
        if ident not in fates:
            lines.append(f"  {ident[:12]}  no source asks for it, or for what it is of")
        for fate in fates.get(ident, []):
            takes = f"takes it, into the split {fate['split']}"
            did = f"leaves it out ({fate['dropped']})" if fate["dropped"] else takes
            lines.append(f"  {ident[:12]}  source {fate['source'] + 1} of {len(mix.sources)} {did}")
    return lines or [f"  its rows are {mix.rows}, and there are none of this"]


def sources_of(connection: duckdb.DuckDBPyConnection, mix: AnyMix, idents: Sequence[str]) -> dict[str, int]:
    """The number, from 1, of the source that takes each of these rows; those that none takes are not in it."""
    fates = _fates(connection, mix, idents) if isinstance(mix, Mix) else _other_fates(connection, mix, idents)[1]
    return {ident: f["source"] + 1 for ident, found in fates.items() for f in found if f["dropped"] is None}


def _other_fates(
    connection: duckdb.DuckDBPyConnection, mix: AnyMix, idents: Sequence[str]
) -> tuple[str | None, dict[str, list[dict[str, Any]]]]:
    """As `_fates`, of a mix of other rows than samples, after the reason why it cannot be made, where there is one."""
    # Taken back, so that the next mix can be chosen on the same connection.
    connection.begin()
    try:
        # How rows are rendered is of no account here, and templates may be others than they were.
        KINDS[mix.rows].select(connection, mix, dict.fromkeys(source.template for source in mix.sources), None)
        return None, _chosen(connection, mix, idents)
    except SnapshotError as e:
        return str(e).removeprefix(f"mix {mix.mix}: "), {}
    finally:
        connection.rollback()


def _outcome(connection: duckdb.DuckDBPyConnection, mix: Mix, ident: str, candidate: bool) -> list[str]:
    missing = _cannot_be_made(connection, mix)
    if missing or not candidate:
        return missing or ["no source takes it"]
    return [_told(connection, mix, fate) for fate in _fates(connection, mix, [ident])[ident]]


def _told(connection: duckdb.DuckDBPyConnection, mix: Mix, fate: Mapping[str, Any]) -> str:
    """What becomes of a candidate of one source, with the trajectories that stand in its place."""
    source = mix.sources[fate["source"]]
    name = f"source {fate['source'] + 1}"
    if fate["dropped"] is None:
        return f"{name} takes it, into the split {fate['split']}"
    if fate["dropped"] == "duplicate_reply":
        why = f"{', '.join(_before(connection, fate, _SAME_TEXT))} says the same"
    elif fate["dropped"] == "over_max_per_prompt":
        others = _before(connection, fate, f"rank <= {source.max_per_prompt}")
        why = f"max_per_prompt is {source.max_per_prompt}, and of this prompt it chooses {', '.join(others)}"
    elif fate["dropped"] == "over_max_rows":
        why = f"max_rows is {source.max_rows}, and its place by lot is {fate['place']:,}"
    elif fate["dropped"] == "over_target":
        why = f"its target is reached before, since its place by lot is {fate['place']:,}"
    elif fate["dropped"] == "license":
        why = f"its prompt's licence is none of {', '.join(mix.licenses or ())}"
    elif fate["dropped"] == "contaminated":
        why = f"it holds an item of a benchmark; the mix is decontaminated of {', '.join(mix.decontaminated or ())}"
    elif fate["dropped"] == "not_decontaminated":
        why = f"it was never held against all of {', '.join(mix.decontaminated or ())}; the mix is refused until it is"
    elif fate["dropped"] == "overlong" and mix.chat_template:
        why = (
            f"it has more than {mix.chat_template.max_length:,} tokens with the tokenizer {mix.chat_template.tokenizer}"
        )
    elif fate["dropped"] == "prompt_in_another_source":
        why = "other_prompts is set, and an earlier source takes a row of its prompt"
    else:
        why = "an earlier source takes it"
    return f"{name} leaves it out ({fate['dropped']}): {why}"


_SAME_TEXT = "text = (SELECT text FROM trajectories_current WHERE trajectory_id = $id)"


def _before(connection: duckdb.DuckDBPyConnection, fate: Mapping[str, Any], which: str) -> list[str]:
    """The starts of the ids of those replies to the prompt that the source ranks before this one."""
    rows = connection.execute(
        "SELECT left(id, 12) FROM chosen JOIN trajectories_current t ON trajectory_id = id "
        "WHERE source = $source AND t.prompt_id = $prompt AND copy = 1 AND id <> $id "
        f"AND dropped IS DISTINCT FROM 'in_another_source' AND {which} ORDER BY rank LIMIT 5",
        {"source": fate["source"], "prompt": fate["prompt_id"], "id": fate["id"]},
    ).fetchall()
    return [row[0] for row in rows]


def _short(condition: Condition) -> str:
    return condition.check or condition.text.partition(":")[0]


def _cannot_be_made(connection: duckdb.DuckDBPyConnection, mix: Mix) -> list[str]:
    asked = [check for source in mix.sources for check in source.checks]
    missing = dict.fromkeys(without_verdicts(connection, asked))
    reasons = [f"no reply has a verdict of {', '.join(missing)}"] if missing else []
    if not reasons:
        reasons = [reason for source in mix.sources if (reason := unproven(connection, source))]
    return [f"no snapshot of it can be made here yet: {reason}" for reason in reasons]


def _fates(connection: duckdb.DuckDBPyConnection, mix: Mix, idents: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What the mix makes of those that meet every condition of a source; empty where no snapshot can be made."""
    if _cannot_be_made(connection, mix):
        return {}
    choose(connection, mix, systems_of(mix), chat_of(mix, open_chat))
    meet_targets(connection, mix)
    return _chosen(connection, mix, idents)


def _chosen(
    connection: duckdb.DuckDBPyConnection, mix: AnyMix, idents: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The rows of the table `chosen` with these ids, by id, with their split."""
    cursor = connection.execute(
        f"SELECT *, {SPLIT} AS split FROM chosen WHERE list_contains($ids::VARCHAR[], id) ORDER BY source",
        {"ids": list(idents), "salt": mix.salt, "share": mix.validation},
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for fate in as_dicts(cursor):
        found.setdefault(fate["id"], []).append(fate)
    return found
