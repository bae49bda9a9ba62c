"""What differs between two snapshots: rows, their content, what they are of, and how they were made."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import SnapshotError
from warehouse.compared import Compared, compared, refuse_place, write_rows
from warehouse.mix_diff import FieldChange, changes, mix_changes
from warehouse.quoting import identifier
from warehouse.snapshot import Snapshot


@dataclass(frozen=True)
class RowCounts:
    """before = removed + changed + same, after = added + changed + same."""

    before: int
    after: int
    added: int = 0
    removed: int = 0
    changed: int = 0
    same: int = 0


@dataclass
class ValueCounts:
    """Rows of one value of a column: after = before + added - removed + moved_in - moved_out.

    Rows that moved are in both snapshots and have another value after than before. `changed` are rows in both that
    differ in any column, by their value after.
    """

    value: str | None
    before: int = 0
    after: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    moved_in: int = 0
    moved_out: int = 0

    @property
    def differs(self) -> bool:
        """Whether any row of it is not the same."""
        return bool(self.added or self.removed or self.changed or self.moved_out)


@dataclass(frozen=True)
class TokenShare:
    """A source's tokens to learn, completion_tokens x weight, and its share of all, 0.0 to 1.0, before and after."""

    source: str | None
    before: float
    after: float
    share_before: float
    share_after: float
    difference: float


@dataclass(frozen=True)
class PromptMove:
    """How many prompts stand in the split `before` of one snapshot and in `after` of the other."""

    before: str
    after: str
    prompts: int


@dataclass(frozen=True)
class PromptCounts:
    """Prompts that rows are of; `moved` are those in both that changed split."""

    before: int
    after: int
    added: int = 0
    removed: int = 0
    moved: Sequence[PromptMove] = ()


@dataclass(frozen=True)
class VerdictChange:
    """How many rows of both have another verdict of a check, in a column of verdicts. None stands for no verdict."""

    column: str
    check: str
    before: str | None
    after: str | None
    version_before: str | None
    version_after: str | None
    rows: int


@dataclass(frozen=True)
class SnapshotDiff:
    """What differs between the snapshots `before` and `after`.

    `equal` says that the logical hashes are equal, so that rows were not looked at: `columns`, `by`, `tokens` and
    `verdicts` are empty. `columns` counts the rows of both that differ, by column; `by` has the values of columns that
    have few; `dropped` is what rules left out. `notes` are sentences on what could not be compared.
    """

    before: str
    after: str
    rows_of: str
    hash_before: str
    hash_after: str
    equal: bool
    rows: RowCounts
    prompts: PromptCounts
    mix: list[FieldChange]
    checks: list[FieldChange]
    code: list[FieldChange]
    dropped: list[FieldChange]
    columns: dict[str, int] = field(default_factory=dict)
    by: dict[str, list[ValueCounts]] = field(default_factory=dict)
    tokens: list[TokenShare] = field(default_factory=list)
    verdicts: list[VerdictChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def same_rows(self) -> bool:
        """Whether no row was added, removed or changed."""
        return not (self.rows.added or self.rows.removed or self.rows.changed)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {**asdict(self), "same_rows": self.same_rows}


def diff_snapshots(before: Snapshot, after: Snapshot, *, rows: Path | None = None) -> SnapshotDiff:
    """What differs between two snapshots of one kind of rows.

    Rows are told apart by their ids; one in both has changed when any column differs. With equal logical hashes ids,
    messages, splits, weights and verdicts are the same, and no row is read. Long values are compared by md5 in one pass
    over the files, which are not verified. `rows` is a file (.parquet, .jsonl, .csv) to write what happened to each
    row: see `warehouse.compared.write_rows`.

    Raises SnapshotError for different kinds of rows or files that cannot be read, ConfigError for a `rows` that cannot
    be written.
    """
    a, b = before.manifest, after.manifest
    if a.rows_of != b.rows_of:
        raise SnapshotError(f"the rows of {a.id} are {a.rows_of}, those of {b.id} {b.rows_of}: compare two of one kind")
    if rows is not None:
        refuse_place(rows, before, after)
    equal = a.logical_hash == b.logical_hash
    told: dict[str, Any] = {
        "before": a.id,
        "after": b.id,
        "rows_of": a.rows_of,
        "hash_before": a.logical_hash,
        "hash_after": b.logical_hash,
        "equal": equal,
        "mix": mix_changes(a.mix, b.mix),
        "checks": changes(a.checks, b.checks),
        "code": changes(a.code, b.code),
        "dropped": changes(a.counts.get("dropped", {}), b.counts.get("dropped", {})),
    }
    if equal:
        if rows is not None:
            with compared(before, after, limit=0) as nothing:
                write_rows(nothing, rows)
        return SnapshotDiff(
            **told, rows=RowCounts(a.rows, b.rows, same=a.rows), prompts=PromptCounts(a.prompts, b.prompts)
        )
    with compared(before, after) as found:
        if rows is not None:
            write_rows(found, rows)
        return SnapshotDiff(
            **told,
            rows=_rows(found),
            prompts=_prompts(found),
            columns=dict(
                found.ask("SELECT unnest(changed) AS name, count(*) FROM compared GROUP BY 1 ORDER BY 2 DESC, 1")
            ),
            by={name: _values(found, name) for name in found.by},
            tokens=_tokens(found),
            verdicts=_verdicts(found),
            notes=[*found.notes, *_uncounted(found, a.id, b.id)],
        )


def _rows(found: Compared) -> RowCounts:
    counts: dict[str, int] = dict(found.ask("SELECT what, count(*) FROM compared GROUP BY 1"))
    added, removed, changed, same = (counts.get(what, 0) for what in ("added", "removed", "changed", "same"))
    return RowCounts(removed + changed + same, added + changed + same, added, removed, changed, same)


def _prompts(found: Compared) -> PromptCounts:
    was, now = ("prompt_id",) * 2 if "prompt_id" in found.keys else ("prompt_id_before", "prompt_id_after")
    before = after = added = removed = 0
    moved = []
    for old, new, prompts in found.ask(
        f"""
        WITH placed AS (
            SELECT {was} AS prompt_id, split_before AS old, NULL AS new FROM compared WHERE what <> 'added'
            UNION ALL
            SELECT {now}, NULL, split_after FROM compared WHERE what <> 'removed'
        ), splits AS (
            SELECT string_agg(DISTINCT old, '+' ORDER BY old) AS old, string_agg(DISTINCT new, '+' ORDER BY new) AS new
            FROM placed GROUP BY prompt_id
        )
        SELECT old, new, count(*) FROM splits GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""
    ):
        before += prompts if old else 0
        after += prompts if new else 0
        added += prompts if not old else 0
        removed += prompts if not new else 0
        if old and new and old != new:
            moved.append(PromptMove(old, new, prompts))
    return PromptCounts(before, after, added, removed, moved)


def _values(found: Compared, name: str) -> list[ValueCounts]:
    """Rows by the values of a column, the most frequent first."""
    was, now = identifier(f"{name}_before"), identifier(f"{name}_after")
    counts: dict[str | None, ValueCounts] = {}
    for before, after, what, rows in found.ask(
        f"SELECT {was}::VARCHAR, {now}::VARCHAR, what, count(*) FROM compared GROUP BY ALL"
    ):
        old = counts.setdefault(before, ValueCounts(before)) if what != "added" else None
        new = counts.setdefault(after, ValueCounts(after)) if what != "removed" else None
        if old:
            old.before += rows
            old.removed += 0 if new else rows
            old.moved_out += rows if new and new is not old else 0
        if new:
            new.after += rows
            new.added += 0 if old else rows
            new.moved_in += rows if old and new is not old else 0
            new.changed += rows if what == "changed" else 0
    return sorted(counts.values(), key=lambda v: (-max(v.before, v.after), v.value or ""))


def _tokens(found: Compared) -> list[TokenShare]:
    """Tokens to learn by source, the largest first; none where rows have no count of tokens."""
    if not {"source", "completion_tokens", "weight"} <= {*found.told}:
        return []
    rows = found.ask(
        """
        WITH sized AS (
            SELECT source_before AS source, completion_tokens_before * weight_before AS old, NULL AS new
            FROM compared WHERE what <> 'added'
            UNION ALL
            SELECT source_after, NULL, completion_tokens_after * weight_after FROM compared WHERE what <> 'removed'
        )
        SELECT source, round(coalesce(fsum(old), 0), 3), round(coalesce(fsum(new), 0), 3) FROM sized GROUP BY 1"""
    )
    all_before, all_after = sum(row[1] for row in rows), sum(row[2] for row in rows)
    shares = []
    for source, before, after in rows:
        old, new = before / all_before if all_before else 0.0, after / all_after if all_after else 0.0
        shares.append(TokenShare(source, before, after, old, new, new - old))
    return sorted(shares, key=lambda s: (-max(s.share_before, s.share_after), s.source or ""))


def _uncounted(found: Compared, before: str, after: str) -> list[str]:
    """A sentence on the rows of each snapshot whose tokens are not known."""
    if "completion_tokens" not in found.told:
        return []
    (counts,) = found.ask(
        "SELECT count(*) FILTER (WHERE what <> 'added' AND completion_tokens_before IS NULL), "
        "count(*) FILTER (WHERE what <> 'removed' AND completion_tokens_after IS NULL) FROM compared"
    )
    return [
        f"{rows:,} rows of {name} have no completion_tokens and count as 0 tokens"
        for name, rows in zip((before, after), counts, strict=True)
        if rows
    ]


def _verdicts(found: Compared) -> list[VerdictChange]:
    """The verdicts that differ, the most frequent first."""
    rows = found.ask(
        'SELECT "column", "check", before, after, version_before, version_after, sum(rows)::BIGINT AS n '
        "FROM reworded GROUP BY ALL ORDER BY n DESC, 1, 2, 3, 4, 5, 6"
    )
    return [VerdictChange(*row) for row in rows]
