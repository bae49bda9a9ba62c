"""`mix check`: does every row of a snapshot survive a chat template, and how many tokens are learnt of it."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataengine.chat_template import FAULTS, ChatTemplate
from dataengine.chat_tokenizer import open_tokenizer
from dataengine.progress import Progress
from dataengine.rewriting import rewritten
from dataengine.tables import table
from schemas.errors import SnapshotError
from warehouse.snapshot import Snapshot, verify_files

# Rows that are read and rendered together.
_BATCH = 256
# Ids kept of what is wrong with rows; the screen shows the first few of them.
_KEPT_IDS = 10_000
_SHOWN_IDS = 10
_QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass
class Named:
    """Rows that have something in common: how many, the first ids in the order of the files, and more of the first."""

    rows: int = 0
    ids: list[str] = field(default_factory=list)
    detail: str = ""

    def add(self, ident: str, detail: str) -> None:
        """One more row."""
        if not self.rows:
            self.detail = detail
        self.rows += 1
        if len(self.ids) < _KEPT_IDS:
            self.ids.append(ident)


@dataclass
class Counted:
    """Rows, the tokens of those without a fault, and those of them that are learnt."""

    rows: int = 0
    failed: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    overlong: int = 0


@dataclass
class MixCheck:
    """What a chat template makes of a snapshot's rows. `lengths` counts rows by their length in tokens.

    `template` is the sha256 of its text, `promised` that of the template which the snapshot's manifest names.
    """

    snapshot: str
    logical_hash: str
    tokenizer: str
    template: str
    promised: str | None
    max_length: int | None
    total: Counted = field(default_factory=Counted)
    sources: dict[str, Counted] = field(default_factory=dict)
    lengths: Counter[int] = field(default_factory=Counter)
    faults: dict[str, Named] = field(default_factory=dict)
    overlong: Named = field(default_factory=Named)
    overlong_lengths: list[int] = field(default_factory=list)
    forgotten: int = 0

    @property
    def good(self) -> bool:
        """Whether no row has a fault or is too long."""
        return not self.total.failed and not self.total.overlong

    @property
    def quantiles(self) -> dict[str, int]:
        """Of the rows' lengths in tokens: `p50` is the length that half of the rows do not exceed."""
        return {f"p{q * 100:g}" if q < 1 else "max": _quantile(self.lengths, q) for q in _QUANTILES}

    @property
    def histogram(self) -> dict[int, int]:
        """Rows by the smallest power of two that their length does not exceed."""
        counts: Counter[int] = Counter()
        for length, rows in self.lengths.items():
            counts[1 << (length - 1).bit_length()] += rows
        return dict(sorted(counts.items()))

    @property
    def lines(self) -> list[str]:
        """The report for people."""
        t = self.total
        told = [
            f"{self.snapshot}   {t.rows:,} rows, hash {self.logical_hash[:12]}",
            f"tokenizer {self.tokenizer}, chat template {self.template[:12]}",
            self._promise,
            "",
            f"{t.rows:,} rows = {t.rows - t.failed:,} sound + {t.failed:,} with a fault",
        ]
        for fault, named in self.faults.items():
            told.append(f"{fault}: {FAULTS[fault]}; {named.rows:,} rows")
            told += [f"    the first: {named.detail}"] if named.detail else []
            told += _first(named.ids, named.rows)
        if self.forgotten:
            told.append(
                f"{self.forgotten:,} rows have earlier turns whose reasoning the template leaves out of the prompt; "
                "it is not learnt, so this is no fault"
            )
        told += ["", "tokens of sound rows:", table(self._by_source())]
        if self.lengths:
            told += ["", f"length in tokens: {', '.join(f'{n} {v:,}' for n, v in self.quantiles.items())}"]
            told.append(table([{"up to": edge, "rows": rows} for edge, rows in self.histogram.items()]))
        if self.max_length is not None:
            told += ["", f"longer than {self.max_length:,} tokens: {self.overlong.rows:,} rows"]
            overlong = zip(self.overlong.ids, self.overlong_lengths, strict=True)
            told += _first([f"{ident}  {length:,}" for ident, length in overlong], self.overlong.rows)
        return told

    def as_json(self) -> dict[str, Any]:
        """The same for programs; of faults and of rows too long the first 10,000 ids."""
        return {
            "snapshot": self.snapshot,
            "logical_hash": self.logical_hash,
            "tokenizer": self.tokenizer,
            "template": self.template,
            "promised_template": self.promised,
            "max_length": self.max_length,
            "good": self.good,
            **vars(self.total),
            "sources": {name: vars(counted) for name, counted in sorted(self.sources.items())},
            "faults": {fault: vars(named) for fault, named in self.faults.items()},
            "overlong_rows": [
                {"id": ident, "tokens": length}
                for ident, length in zip(self.overlong.ids, self.overlong_lengths, strict=True)
            ],
            "forgotten": self.forgotten,
            "lengths": {"quantiles": self.quantiles if self.lengths else {}, "up_to": self.histogram},
        }

    @property
    def _promise(self) -> str:
        if self.promised is None:
            return "the manifest names no chat template: the mix has no `chat_template`"
        if self.promised == self.template:
            return "it is the chat template of the manifest"
        return f"it is NOT the chat template of the manifest, {self.promised[:12]}"

    def _by_source(self) -> list[dict[str, Any]]:
        rows = [
            {"source": name, **vars(counted)} for name, counted in [*sorted(self.sources.items()), ("all", self.total)]
        ]
        return [{n: v for n, v in row.items() if n != "overlong" or self.max_length is not None} for row in rows]


def _first(names: Sequence[str], rows: int) -> list[str]:
    """Lines of the first names, and how many more rows there are."""
    shown = [f"    {name}" for name in names[:_SHOWN_IDS]]
    return shown + ([f"    ... and {rows - len(shown):,} more"] if rows > len(shown) else [])


def check_snapshot(
    snapshot: Snapshot,
    tokenizer: str,
    *,
    template: Path | None = None,
    max_length: int | None = None,
    out: Path | None = None,
) -> MixCheck:
    """Renders every row of a snapshot of samples with the chat template of a tokenizer, or with that of a file.

    `tokenizer` is a shipped model's name or a folder, `out` a JSON file for the report. Rows are read in batches.
    Raises SnapshotError for rows that are no samples or for damaged files, ConfigError for a tokenizer or template that
    cannot be used or an `out` that cannot be written.
    """
    manifest = snapshot.manifest
    if manifest.rows_of != "samples":
        raise SnapshotError(
            f"{manifest.id}: its rows are {manifest.rows_of}; a chat template is checked on rows that are samples"
        )
    opened = open_tokenizer(tokenizer, "--tokenizer", template)
    verify_files(snapshot)
    chat = opened.template
    promised = manifest.chat_template.sha256 if manifest.chat_template else None
    found = MixCheck(manifest.id, manifest.logical_hash, opened.name, chat.sha256, promised, max_length)
    if out is None:
        _check(snapshot, chat, found)
    else:
        with rewritten(None, out) as write:
            _check(snapshot, chat, found)
            write(found.as_json())
    return found


def _check(snapshot: Snapshot, chat: ChatTemplate, found: MixCheck) -> None:
    with Progress("mix check", snapshot.manifest.rows) as progress:
        for rows in _batches(snapshot):
            _count(chat, rows, found)
            progress.advance(len(rows))
    found.faults = {fault: found.faults[fault] for fault in FAULTS if fault in found.faults}


def _batches(snapshot: Snapshot) -> Iterator[list[dict[str, Any]]]:
    import pyarrow.parquet as pq

    columns = ["trajectory_id", "attempt", "source", "messages"]
    for path in snapshot.data_files():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                yield batch.to_pylist()


def _count(chat: ChatTemplate, rows: Sequence[Mapping[str, Any]], found: MixCheck) -> None:
    """Adds a batch of rows to what was found."""
    for row, turn in zip(rows, chat.measure([row["messages"] for row in rows]), strict=True):
        ident = f"{row['trajectory_id']}/{row['attempt']}"
        counts = (found.total, found.sources.setdefault(row["source"], Counted()))
        found.forgotten += bool(turn.forgotten)
        for number, fault in enumerate(turn.faults):
            found.faults.setdefault(fault, Named()).add(ident, "" if number else turn.detail)
        overlong = not turn.faults and found.max_length is not None and turn.tokens > found.max_length
        for counted in counts:
            counted.rows += 1
            counted.failed += bool(turn.faults)
            counted.overlong += overlong
            counted.tokens += turn.tokens
            counted.loss_tokens += turn.loss_tokens
        if not turn.faults:
            found.lengths[turn.tokens] += 1
        if overlong:
            found.overlong.add(ident, "")
            found.overlong_lengths += [turn.tokens] if len(found.overlong_lengths) < _KEPT_IDS else []


def _quantile(lengths: Counter[int], share: float) -> int:
    ordered = sorted(lengths.items())
    reached = itertools.accumulate(rows for _, rows in ordered)
    return next(n for (n, _), rows in zip(ordered, reached, strict=True) if rows >= share * lengths.total())
