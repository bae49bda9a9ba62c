"""From a snapshot's files to micro-batches of token ids, in an order that depends on seed and content only."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataengine.chat_template import FAULTS, ChatTemplate, Rendered
from schemas.errors import ConfigError, SnapshotError
from schemas.keys import key
from schemas.manifest import Manifest
from warehouse.hashing import sha256_of
from warehouse.snapshot import find_snapshot, open_snapshot

if TYPE_CHECKING:
    import numpy as np
    import torch

# Rows of this many batches are sorted by length together: enough that a batch holds rows of one length, few enough
# that an epoch of a large snapshot still mixes.
_WINDOW_BATCHES = 50
_SHOWN_IDS = 5
_COLUMNS = ["split", "trajectory_id", "attempt", "messages", "weight"]


@dataclass(frozen=True)
class Row:
    """One row of a snapshot: `messages` ends with the assistant's turn that is to be learnt."""

    id: str
    messages: list[dict[str, str]]
    weight: float


@dataclass(frozen=True)
class Example:
    """A row as token ids (int32): `prompt` tokens that are only read, then the reply that is learnt."""

    id: str
    ids: "np.ndarray[Any, np.dtype[np.int32]]"
    prompt: int
    weight: float

    @property
    def labelled(self) -> int:
        """How many tokens are learnt."""
        return len(self.ids) - self.prompt


@dataclass(frozen=True)
class Encoded:
    """The rows that are trained on, and the ids of those that were too long (left out or cut, as configured)."""

    examples: list[Example]
    overlong: list[str]


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes.

    `input_ids` is (rows, length), padded on the right; `positions` (labelled tokens,) are indices into its flattened
    form whose next token is learnt; `targets` are those next tokens and `weights` their rows' weights.
    """

    input_ids: "torch.Tensor"
    positions: "torch.Tensor"
    targets: "torch.Tensor"
    weights: "torch.Tensor"

    def to(self, device: Any) -> "MicroBatch":
        """The same on another device."""
        moved = (t.to(device) for t in (self.input_ids, self.positions, self.targets, self.weights))
        return MicroBatch(*moved)


def read_manifest(warehouse: Path, snapshot: str) -> Manifest:
    """The manifest of `name@version` or `name@tag`. Raises SnapshotError when it is missing or unreadable."""
    return open_snapshot(warehouse.expanduser(), snapshot).manifest


def read_rows(warehouse: Path, manifest: Manifest) -> dict[str, list[Row]]:
    """The rows of a snapshot by split (`train`, `validation`), in the order of their ids, whatever the file layout.

    Every file is held against the sha256 in the manifest first. Raises SnapshotError naming what is damaged.
    """
    import pyarrow.parquet as pq

    folder = find_snapshot(warehouse.expanduser(), manifest.id)
    remedy = f"restore it from a copy; `dataengine snapshot verify {manifest.id}` names all that is wrong"
    rows: dict[str, list[Row]] = {"train": [], "validation": []}
    for file in manifest.files:
        path = folder / file.path
        if not path.resolve().is_relative_to(folder.resolve()):
            raise SnapshotError(f"{folder}: the manifest names {file.path}, outside of the snapshot's folder")
        try:
            digest = sha256_of(path)
        except OSError as e:
            raise SnapshotError(f"{path}: cannot be read: {e.strerror}; {remedy}") from None
        if digest != file.sha256:
            raise SnapshotError(f"{path}: damaged, its sha256 is not the manifest's; {remedy}")
        for batch in pq.ParquetFile(path).iter_batches(columns=_COLUMNS):
            for r in batch.to_pylist():
                rows[r["split"]].append(Row(f"{r['trajectory_id']}/{r['attempt']}", r["messages"], r["weight"]))
    for split in rows.values():
        split.sort(key=lambda r: r.id)
    bad = [r.id for split in rows.values() for r in split if not 0 < r.weight < math.inf]
    if bad:
        raise SnapshotError(f"{manifest.id}: {name_rows(bad)} with a weight that is no positive number; mend the mix")
    return rows


def encode(
    tokenizer: Any,
    rows: Sequence[Row],
    end_ids: set[int],
    max_length: int,
    overlong: Literal["error", "drop", "truncate"],
) -> Encoded:
    """Rows as token ids: the chat template's generation prompt, the reply as plain text, the end-of-turn token.

    This is what the model sees when it is sampled, so the learnt tokens are exactly those it would have to write: the
    reply and its end, not the template's newline after it. Control tokens written out in somebody's text are encoded as
    text. `end_ids` are the token ids that end a generation. Raises ConfigError when the template loses part of a reply,
    does not end it, or when a row is longer than `max_length` and `overlong` says `error`, or has nothing to learn.
    """
    import numpy as np

    if not rows:
        return Encoded([], [])
    template = ChatTemplate(tokenizer, end_ids)
    turns = [_rendered(template, row, end_ids) for row in rows]
    encoded = template.encode([row.messages[:-1] for row in rows], [turn.reply for turn in turns])
    examples, too_long, empty = [], [], []
    for row, turn, (prompt, reply) in zip(rows, turns, encoded, strict=True):
        ids = np.asarray([*prompt, *reply, turn.end], dtype=np.int32)
        if len(ids) > max_length:
            too_long.append(row.id)
            if overlong != "truncate":
                continue
            ids = ids[:max_length]
        if not reply or len(ids) <= len(prompt):
            empty.append(row.id)
        examples.append(Example(row.id, ids, len(prompt), row.weight))
    if too_long and overlong == "error":
        raise ConfigError(
            f"{name_rows(too_long)} longer than max_length {max_length}: raise it, or set overlong to drop or truncate"
        )
    if empty:
        raise ConfigError(
            f"{name_rows(empty)} without a token to learn: the reply is empty, or max_length {max_length} cuts it "
            "off; leave such rows out in the mix, or raise max_length"
        )
    return Encoded(examples, too_long)


def _rendered(template: ChatTemplate, row: Row, end_ids: set[int]) -> Rendered:
    """The row's reply as the template writes it and the token that it ends with, or the first fault as an error."""
    turn = template.render(row.messages)
    if not turn.faults:
        return turn
    fault = turn.faults[0]
    if fault == "no_reply":
        raise SnapshotError(f"row {row.id}: {FAULTS[fault].removeprefix('the row ')}; mend the mix")
    if fault == "no_end":
        known = ", ".join(map(str, sorted(end_ids)))
        raise ConfigError(f"row {row.id}: {FAULTS[fault]} ({known}); mend eos_token_id in generation_config.json")
    raise ConfigError(
        f"row {row.id}: {FAULTS[fault]}: {turn.detail}; mend chat_template.jinja in the model's folder "
        "(`dataengine mix check` looks at every row)"
    )


def epoch_batches(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int, snapshot: str) -> list[list[int]]:
    """The batches of an epoch as row indices: every row once, rows of similar length together, longest first.

    A pure function of its arguments (`snapshot` is the logical hash). Batches differ by one row in size at most, so
    that no small rest gets the weight of a full step.

    >>> epoch_batches([5, 90, 6, 80], 2, seed=0, epoch=0, snapshot="")
    [[1, 3], [2, 0]]
    """
    count = math.ceil(len(lengths) / batch_size)
    rng = random.Random(key(seed, epoch, snapshot))
    order = list(range(len(lengths)))
    rng.shuffle(order)
    edges = [len(order) * i // count for i in range(count + 1)]
    batches = []
    for first in range(0, count, _WINDOW_BATCHES):
        last = min(first + _WINDOW_BATCHES, count)
        window = sorted(order[edges[first] : edges[last]], key=lambda i: (-lengths[i], i))
        batches += [window[edges[b] - edges[first] : edges[b + 1] - edges[first]] for b in range(first, last)]
    rng.shuffle(batches)
    return batches


def micro_batches(examples: Sequence[Example], max_tokens: int, pad_id: int) -> Iterator[MicroBatch]:
    """Examples, longest first, in groups of at most `max_tokens` padded tokens; a longer one makes a group alone."""
    group: list[Example] = []
    for example in examples:
        if group and (len(group) + 1) * (len(group[0].ids) - 1) > max_tokens:
            yield collate(group, pad_id)
            group = []
        group.append(example)
    if group:
        yield collate(group, pad_id)


def collate(examples: Sequence[Example], pad_id: int) -> MicroBatch:
    """Examples as tensors. The last token of a row is only a target, so it is no input."""
    import numpy as np
    import torch

    length = max(len(e.ids) for e in examples) - 1
    input_ids = np.full((len(examples), length), pad_id, dtype=np.int64)
    positions = []
    for row, e in enumerate(examples):
        input_ids[row, : len(e.ids) - 1] = e.ids[:-1]
        positions.append(np.arange(e.prompt - 1, len(e.ids) - 1) + row * length)
    return MicroBatch(
        torch.from_numpy(input_ids),
        torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate([e.ids[e.prompt :] for e in examples]).astype(np.int64)),
        torch.from_numpy(np.repeat([e.weight for e in examples], [e.labelled for e in examples]).astype(np.float32)),
    )


def name_rows(ids: Sequence[str]) -> str:
    """`3 rows (a/1, b/1, c/1)`, the first few of many."""
    shown = ", ".join(ids[:_SHOWN_IDS]) + (", ..." if len(ids) > _SHOWN_IDS else "")
    return f"{len(ids):,} {'row' if len(ids) == 1 else 'rows'} ({shown})"
