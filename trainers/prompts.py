"""The prompts of a snapshot, and the order in which a training takes them."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from schemas.errors import SnapshotError
from schemas.keys import key
from schemas.manifest import Manifest
from schemas.records import Message, Prompt, now
from warehouse.snapshot import Snapshot, find_snapshot, verify_files

_COLUMNS = [
    *("split", "prompt_id", "domain", "source", "language", "license", "prompt", "reference", "verifier", "against"),
    "metadata",
]


def read_prompts(warehouse: Path, manifest: Manifest) -> dict[str, list[Prompt]]:
    """The prompts of a snapshot by split (`train`, `validation`), in the order of their ids.

    Every file is held against the sha256 in the manifest first. Raises SnapshotError naming what is damaged.
    """
    import pyarrow.parquet as pq

    folder = find_snapshot(warehouse.expanduser(), manifest.id)
    verify_files(Snapshot(manifest, folder))
    prompts: dict[str, list[Prompt]] = {"train": [], "validation": []}
    made = now()
    for file in manifest.files:
        for batch in pq.ParquetFile(folder / file.path).iter_batches(columns=_COLUMNS):
            for row in batch.to_pylist():
                split, messages = row.pop("split"), [Message(**m) for m in row.pop("prompt")]
                prompts[split].append(Prompt(**row, messages=messages, created_at=made))
    for split_prompts in prompts.values():
        split_prompts.sort(key=lambda p: p.prompt_id)
    open_ended = [p.prompt_id for p in prompts["train"] if p.verifier is None]
    if open_ended:
        raise SnapshotError(
            f"{manifest.id}: {len(open_ended):,} prompts without a verifier, e.g. {open_ended[0]}; no rule can reward "
            "their replies: name `verifiers` in the mix's sources"
        )
    return prompts


def prompt_order(count: int, start: int, number: int, *, seed: int, snapshot: str) -> Iterator[int]:
    """Indices of the prompts number `start` to `start + number` of a training that takes all `count` again and again.

    Each epoch has an order of its own, a pure function of seed, epoch and snapshot (its logical hash).

    >>> sorted(prompt_order(3, 0, 3, seed=0, snapshot=""))
    [0, 1, 2]
    """
    order: Sequence[int] = ()
    known = -1
    for place in range(start, start + number):
        epoch, index = divmod(place, count)
        if epoch != known:
            order, known = list(range(count)), epoch
            random.Random(key(seed, epoch, snapshot)).shuffle(order)
        yield order[index]
