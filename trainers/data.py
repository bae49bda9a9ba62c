"""From a snapshot's files to micro-batches of token ids, in an order that depends on seed and content only."""

import math
import os
import random
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from dataengine.chat_template import FAULTS, ChatTemplate, Rendered
from schemas.errors import ConfigError, SnapshotError, UserError
from schemas.keys import key
from schemas.manifest import Manifest
from warehouse.hashing import sha256_of
from warehouse.snapshot import find_snapshot, open_snapshot
from warehouse.writing import io_error

if TYPE_CHECKING:
    import numpy as np
    import torch

# Rows of this many batches are sorted by length together: enough that a batch holds rows of one length, few enough
# that an epoch of a large snapshot still mixes.
_WINDOW_BATCHES = 50
# Rows encoded in one go, in well under a second; a snapshot of no more is encoded before a training starts.
_AT_ONCE = 1024
_SHOWN_IDS = 5
_COLUMNS = ["split", "trajectory_id", "attempt", "messages", "weight"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a snapshot: its `messages` end with the assistant's turn that is to be learnt.

    They are read when they are asked for, from a copy of the rows on the disk: memory does not grow with the texts.
    """

    id: str
    read: Callable[[], list[dict[str, str]]]
    weight: float

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns, each with `role` and `content`."""
        return self.read()


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

    Every file is held against the sha256 in the manifest first. The texts go into an unnamed file in the folder for
    temporary ones (TMPDIR), uncompressed. Raises SnapshotError naming what is damaged.
    """
    folder = find_snapshot(warehouse.expanduser(), manifest.id)
    remedy = f"restore it from a copy; `dataengine snapshot verify {manifest.id}` names all that is wrong"
    paths = []
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
        paths.append(path)
    rows: dict[str, list[Row]] = {"train": [], "validation": []}
    for batch in _copied(paths):
        texts = batch.column("messages")
        others = (batch.column(name).to_pylist() for name in _COLUMNS if name != "messages")
        for i, (split, trajectory, attempt, weight) in enumerate(zip(*others, strict=True)):
            rows[split].append(Row(f"{trajectory}/{attempt}", partial(_messages, texts, i), weight))
    for found in rows.values():
        found.sort(key=lambda r: r.id)
    bad = [r.id for found in rows.values() for r in found if not 0 < r.weight < math.inf]
    if bad:
        raise SnapshotError(f"{manifest.id}: {name_rows(bad)} with a weight that is no positive number; mend the mix")
    return rows


def _copied(paths: Sequence[Path]) -> list[Any]:
    """The files' rows as record batches that lie in a file without a name, mapped into memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not paths:
        return []
    with tempfile.NamedTemporaryFile() as file:
        try:
            schema = pa.schema([pq.read_schema(paths[0]).field(name) for name in _COLUMNS])
            with pa.ipc.new_file(file, schema) as copy:
                for path in paths:
                    for batch in pq.ParquetFile(path).iter_batches(columns=_COLUMNS):
                        copy.write_batch(batch.cast(schema))
            file.flush()
        except OSError as e:
            raise io_error(e, Path(tempfile.gettempdir()), UserError) from None
        opened = pa.ipc.open_file(pa.memory_map(file.name))
        return [opened.get_batch(i) for i in range(opened.num_record_batches)]


def _messages(texts: Any, place: int) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = texts[place].as_py()
    return messages


class Encoded(Sequence[Example]):
    """Rows as token ids, which are worked out when they are first asked for, and kept in a file without a name.

    So the first step need not wait until a large snapshot is encoded: the order of an epoch wants the lengths of a
    window's rows only (`epoch_batches`), and `read_ahead` encodes the others beside the first steps. What that costs:
    a row that has to be refused may be met after some steps. `finish` is called before anything of a training is kept,
    so none is kept that has not looked at every row. Where rows are dropped for their length, the order depends on all
    of them, so all are encoded at once, as those of a small snapshot are.
    """

    def __init__(
        self,
        template: ChatTemplate,
        rows: Sequence[Row],
        end_ids: set[int],
        max_length: int,
        overlong: Literal["error", "drop", "truncate"],
    ) -> None:
        import numpy as np

        self._template, self._rows, self._end_ids = template, rows, end_ids
        self._max_length, self._policy = max_length, overlong
        # Of every row, by its number: where its ids lie in the file, how many they are (0: not encoded yet), how many
        # of them are the prompt's.
        self._starts = np.zeros(len(rows), dtype=np.int64)
        self._sizes = np.zeros(len(rows), dtype=np.int32)
        self._prompts = np.zeros(len(rows), dtype=np.int32)
        self._overlong = np.zeros(len(rows), dtype=bool)
        self._kept: np.ndarray[Any, np.dtype[np.int64]] = np.arange(len(rows))
        self._end = 0
        # Not in memory: pages of a file are given back when memory is short.
        with tempfile.TemporaryFile() as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._lock = threading.Lock()
        self._fault: BaseException | None = None
        self._ahead: threading.Thread | None = None
        self._waiting = 0
        if overlong == "drop" or len(rows) <= _AT_ONCE:
            self.finish()
        if overlong == "drop":
            self._kept = np.flatnonzero(~self._overlong)

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        import numpy as np

        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = int(self._kept[index])
        self._encode([row])
        found = os.pread(self._file, 4 * int(self._sizes[row]), 4 * int(self._starts[row]))
        ids = np.frombuffer(found, dtype=np.int32)
        return Example(self._rows[row].id, ids, int(self._prompts[row]), self._rows[row].weight)

    def __iter__(self) -> Iterator[Example]:
        self.finish()
        return (self[i] for i in range(len(self)))

    @property
    def row_ids(self) -> list[str]:
        """The rows' ids, for which nothing is encoded."""
        return [self._rows[i].id for i in self._kept]

    @property
    def overlong(self) -> list[str]:
        """The ids of rows that were too long: left out or cut, as configured."""
        self.finish()
        return [row.id for row, long in zip(self._rows, self._overlong, strict=True) if long]

    def lengths(self, indices: Sequence[int]) -> list[int]:
        """How many tokens each of these has; what is not encoded yet is, in one go."""
        rows = self._kept[indices]
        self._encode(rows.tolist())
        lengths: list[int] = self._sizes[rows].tolist()
        return lengths

    def finish(self) -> None:
        """Encodes what is left. Raises what `encode` says for rows that have to be refused."""
        for first in range(0, len(self._rows), _AT_ONCE):
            self._encode(range(first, min(first + _AT_ONCE, len(self._rows))))

    def read_ahead(self, batches: Iterable[Sequence[int]]) -> None:
        """Encodes these and then all others beside the caller, who meets what has to be refused at the next call."""

        def walk() -> None:
            try:
                for batch in batches:
                    self.lengths(batch)
                self.finish()
            except BaseException as e:  # noqa: BLE001  (it is raised where somebody waits for rows)
                self._fault = e

        self._ahead = threading.Thread(target=walk, daemon=True, name="encoding")
        self._ahead.start()

    def _encode(self, numbers: Sequence[int]) -> None:
        if self._fault:
            raise self._fault
        if self._sizes[numbers].all():
            return
        caller = threading.current_thread() is not self._ahead
        # Who takes a lock right after giving it back leaves none to those who wait.
        while self._waiting and not caller:
            time.sleep(0.001)
        self._waiting += caller
        with self._lock:
            self._waiting -= caller
            for first in range(0, len(numbers), _AT_ONCE):
                missing = [i for i in numbers[first : first + _AT_ONCE] if not self._sizes[i]]
                if missing:
                    self._add(missing)

    def _add(self, numbers: Sequence[int]) -> None:
        import numpy as np

        rows = [self._rows[i] for i in numbers]
        turns, conversations = [], []
        for row in rows:
            conversations.append(row.messages)
            turns.append(_rendered(self._template, row.id, conversations[-1], self._end_ids))
        encoded = self._template.encode([c[:-1] for c in conversations], turns)
        written, empty = [], []
        for number, row, turn, (prompt, reply) in zip(numbers, rows, turns, encoded, strict=True):
            ids = np.asarray([*prompt, *reply, turn.end], dtype=np.int32)
            if len(ids) > self._max_length:
                self._overlong[number] = True
                if self._policy == "truncate":
                    ids = ids[: self._max_length]
            dropped = self._policy == "drop" and self._overlong[number]
            if not dropped and (not reply or len(ids) <= len(prompt)):
                empty.append(row.id)
            self._prompts[number] = len(prompt)
            written.append((number, ids))
        if self._policy == "error" and (
            long := [row.id for i, row in zip(numbers, rows, strict=True) if self._overlong[i]]
        ):
            raise ConfigError(
                f"{name_rows(long)} longer than max_length {self._max_length}: raise it, or set overlong to drop or "
                "truncate"
            )
        if empty:
            raise ConfigError(
                f"{name_rows(empty)} without a token to learn: the reply is empty, or max_length {self._max_length} "
                "cuts it off; leave such rows out in the mix, or raise max_length"
            )
        self._write(np.concatenate([ids for _, ids in written]))
        for number, ids in written:
            self._starts[number], self._sizes[number] = self._end, len(ids)
            self._end += len(ids)

    def _write(self, ids: "np.ndarray[Any, np.dtype[np.int32]]") -> None:
        left, place = memoryview(ids.tobytes()), 4 * self._end
        try:
            while left:
                wrote = os.pwrite(self._file, left, place)
                left, place = left[wrote:], place + wrote
        except OSError as e:
            raise io_error(e, Path(tempfile.gettempdir()), UserError) from None


def ids_of(examples: Sequence[Example]) -> list[str]:
    """The rows' ids, for which nothing is encoded."""
    return examples.row_ids if isinstance(examples, Encoded) else [e.id for e in examples]


def lengths_of(examples: Sequence[Example]) -> Callable[[list[int]], Sequence[int]]:
    """What gives the numbers of tokens of some rows: those that are not encoded yet are, in one go."""
    if isinstance(examples, Encoded):
        return examples.lengths
    return known([len(e.ids) for e in examples])


def known(lengths: Sequence[int]) -> Callable[[list[int]], Sequence[int]]:
    """What gives some of these."""
    return lambda rows: [lengths[i] for i in rows]


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
    text. `end_ids` are the token ids that end a generation. Where a row is first asked for, ConfigError is raised when
    the template loses part of its reply, does not end it, or when the row is longer than `max_length` and `overlong`
    says `error`, or has nothing to learn.
    """
    return Encoded(ChatTemplate(tokenizer, end_ids), rows, end_ids, max_length, overlong)


def _rendered(template: ChatTemplate, row: str, messages: list[dict[str, str]], end_ids: set[int]) -> Rendered:
    """The row's reply as the template writes it and the token that it ends with, or the first fault as an error."""
    turn = template.render(messages)
    if not turn.faults:
        return turn
    fault = turn.faults[0]
    if fault == "no_reply":
        raise SnapshotError(f"row {row}: {FAULTS[fault].removeprefix('the row ')}; mend the mix")
    if fault == "no_end":
        known = ", ".join(map(str, sorted(end_ids)))
        raise ConfigError(f"row {row}: {FAULTS[fault]} ({known}); mend eos_token_id in generation_config.json")
    raise ConfigError(
        f"row {row}: {FAULTS[fault]}: {turn.detail}; mend chat_template.jinja in the model's folder "
        "(`dataengine mix check` looks at every row)"
    )


class EpochBatches(Sequence[list[int]]):
    """The batches of an epoch; each is worked out when it is asked for, with the lengths of its window's rows."""

    def __init__(self, rows: int, lengths: Callable[[list[int]], Sequence[int]], batch_size: int, seed: str) -> None:
        count = math.ceil(rows / batch_size)
        rng = random.Random(seed)
        self._lengths, self._rows, self._places = lengths, list(range(rows)), list(range(count))
        rng.shuffle(self._rows)
        rng.shuffle(self._places)
        self._edges = [rows * i // count for i in range(count + 1)]
        self._windows: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = self._places[index]
        first = place - place % _WINDOW_BATCHES
        begin = self._edges[first]
        if first not in self._windows:
            last = min(first + _WINDOW_BATCHES, len(self._places))
            rows = self._rows[begin : self._edges[last]]
            lengths = dict(zip(rows, self._lengths(rows), strict=True))
            self._windows[first] = sorted(rows, key=lambda i: (-lengths[i], i))
        return self._windows[first][self._edges[place] - begin : self._edges[place + 1] - begin]


def epoch_batches(
    rows: int,
    lengths: Callable[[list[int]], Sequence[int]],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    snapshot: str,
) -> EpochBatches:
    """The batches of an epoch as row indices: every row once, rows of similar length together, longest first.

    A pure function of its arguments: how many rows there are, what gives the lengths of some of them, and `snapshot`,
    the logical hash. Batches differ by one row in size at most, so that no small rest gets the weight of a full step.

    >>> list(epoch_batches(4, known([5, 90, 6, 80]), 2, seed=0, epoch=0, snapshot=""))
    [[1, 3], [2, 0]]
    """
    return EpochBatches(rows, lengths, batch_size, key(seed, epoch, snapshot))


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
