"""The difference of two snapshots, for people."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from dataengine.screen import first_of, one_line
from dataengine.tables import table
from warehouse.diff import SnapshotDiff, VerdictChange
from warehouse.mix_diff import FieldChange

# Values of a column, and lines of a list; `--json` has all.
_MOST = 20


def describe_diff(diff: SnapshotDiff) -> str:
    """The whole report: what did not change is left out, but for the shares of tokens."""
    parts = [_rows(diff), *_values(diff), *_tokens(diff), *_verdicts(diff.verdicts)]
    told = {
        "mix": diff.mix,
        "versions of checks": diff.checks,
        "versions of code": diff.code,
        "rows that rules left out": diff.dropped,
    }
    parts += ["\n".join([f"{title}:", *first_of(_fields(found))]) for title, found in told.items() if found]
    if not any(told.values()):
        parts.append("mix, versions of checks and of code: no difference")
    return "\n\n".join(parts)


def _rows(diff: SnapshotDiff) -> str:
    rows, prompts = diff.rows, diff.prompts
    lines = [f"{diff.before} -> {diff.after}   {diff.rows_of}"]
    if diff.equal:
        lines.append(
            f"no difference: both hold the same {rows.before:,} rows, by their logical hash {diff.hash_before[:12]}; "
            "none was read"
        )
        return "\n".join(lines)
    if diff.same_rows:
        lines.append(f"no difference in any of the {rows.same:,} rows, but another logical hash")
    lines += [
        f"rows     {rows.before:,} - {rows.removed:,} removed + {rows.added:,} added = {rows.after:,}; "
        f"of those in both {rows.changed:,} changed, {rows.same:,} are the same",
        f"prompts  {prompts.before:,} - {prompts.removed:,} removed + {prompts.added:,} added = {prompts.after:,}",
    ]
    lines += [f"         {m.prompts:,} went from {m.before} to {m.after}" for m in prompts.moved]
    if diff.columns:
        lines.append(f"changed  {', '.join(f'{name} {rows:,}' for name, rows in diff.columns.items())}")
    return "\n".join([*lines, *(f"note: {note}" for note in diff.notes)])


def _values(diff: SnapshotDiff) -> Iterator[str]:
    # A column with one value would say no more than the count of all rows.
    differing = {
        name: [value for value in values if value.differs] for name, values in diff.by.items() if len(values) > 1
    }
    moved = any(value.moved_out for values in differing.values() for value in values)
    rows = [
        {
            "rows by": name,
            "value": _value(value.value),
            "before": value.before,
            "after": value.after,
            "added": value.added,
            "removed": value.removed,
            "changed": value.changed,
            **({"moved in": value.moved_in, "moved out": value.moved_out} if moved else {}),
        }
        for name, values in differing.items()
        for value in values[:_MOST]
    ]
    more = [
        f"\n... and {len(values) - _MOST:,} more of {name}" for name, values in differing.items() if len(values) > _MOST
    ]
    if rows:
        yield table(rows) + "".join(more)


def _tokens(diff: SnapshotDiff) -> Iterator[str]:
    rows = [
        {
            "source": _value(share.source),
            "before": round(share.before),
            "% before": round(100 * share.share_before, 2),
            "after": round(share.after),
            "% after": round(100 * share.share_after, 2),
            "points": round(100 * share.difference, 2),
        }
        for share in diff.tokens
    ]
    if rows:
        more = f"\n... and {len(rows) - _MOST:,} more" if len(rows) > _MOST else ""
        yield f"tokens to learn, completion_tokens x weight:\n{table(rows[:_MOST])}{more}"


def _verdicts(changes: Sequence[VerdictChange]) -> Iterator[str]:
    outcomes, versions = _summed(changes, "before", "after"), _summed(changes, "version_before", "version_after")
    for title, rows in (("outcomes that changed, of rows in both", outcomes), ("versions that changed", versions)):
        if rows:
            more = f"\n... and {len(rows) - _MOST:,} more" if len(rows) > _MOST else ""
            yield f"{title}:\n{table(rows[:_MOST])}{more}"


def _summed(changes: Sequence[VerdictChange], was: str, now: str) -> list[dict[str, Any]]:
    """Rows by check and what it was and is, the most first."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for change in changes:
        old, new = getattr(change, was), getattr(change, now)
        if old != new:
            counts[change.column, change.check, old or "none", new or "none"] += change.rows
    columns = {column for column, *_ in counts}
    return [
        {**({"column": column} if len(columns) > 1 else {}), "check": check, "before": old, "after": new, "rows": rows}
        for (column, check, old, new), rows in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _fields(found: Sequence[FieldChange]) -> list[str]:
    return [f"  {change.field}: {_value(change.before)} -> {_value(change.after)}" for change in found]


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
