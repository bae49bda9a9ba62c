"""What a mix would take, counted without writing anything: for tuning one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.mix import AnyMix
from warehouse.chosen import left_out_of
from warehouse.connect import connect
from warehouse.fitting import OpenChat, chat_of
from warehouse.row_kind import refuse_empty
from warehouse.snapshot import KINDS
from warehouse.splits import near_duplicates


@dataclass(frozen=True)
class SourcePreview:
    """One source of a mix, numbered from 1: how many rows are its candidates, are left out by each rule, are taken.

    `tokens` are the completion tokens of what it takes, each row's times its `weight`; None where rows have none.
    """

    number: int
    candidates: int
    left_out: Mapping[str, int]
    rows: int
    prompts: int
    validation: int
    weight: float | None
    tokens: float | None


@dataclass(frozen=True)
class MixPreview:
    """What a mix would take, in all and by source. `near_duplicates` is as in a manifest's counts."""

    rows: int
    prompts: int
    near_duplicates: Mapping[str, int]
    sources: list[SourcePreview]


def preview_mix(
    path: str | Path, mix: AnyMix, systems: Mapping[str, str | None], open_chat: OpenChat | None = None
) -> MixPreview:
    """What `create_snapshot` would take, given the same. Raises SnapshotError and ConfigError where that would."""
    kind = KINDS[mix.rows]
    ident = kind.ident
    tokens = "sum(s.weight * s.completion_tokens)" if mix.rows == "samples" else "NULL"
    with connect(path) as connection:
        kind.select(connection, mix, systems, chat_of(mix, open_chat))
        refuse_empty(connection, mix, kind)
        taken = connection.execute(
            f"""
            SELECT c.source, count(*), count(DISTINCT s.prompt_id), count(*) FILTER (WHERE split = 'validation'),
                max(s.weight), {tokens}
            FROM selected s JOIN chosen c ON c.id = s.{ident}
            WHERE c.dropped IS NULL GROUP BY 1"""
        ).fetchall()
        left_out = left_out_of(connection)
        total = connection.execute("SELECT count(*), count(DISTINCT prompt_id) FROM taken").fetchone()
        near = near_duplicates(connection, mix)
    assert total is not None
    whole = {"rows": total[0], "prompts": total[1]}
    by_source = {source: counted for source, *counted in taken}
    sources = []
    for number in range(len(mix.sources)):
        rows, prompts, validation, weight, summed = by_source.get(number, (0, 0, 0, None, None))
        out = left_out.get(number, {})
        sources.append(
            SourcePreview(number + 1, rows + sum(out.values()), out, rows, prompts, validation, weight, summed)
        )
    return MixPreview(**whole, near_duplicates=near, sources=sources)
