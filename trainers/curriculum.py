"""The order of an epoch: at random, or easy rows first."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from schemas.errors import ConfigError
from schemas.keys import key
from schemas.manifest import Manifest
from trainers.config import SftConfig
from trainers.data import Example, epoch_batches, known, lengths_of, name_rows
from trainers.origins import origins, solve_rates

_UNRATED = math.inf


@dataclass(frozen=True)
class Order:
    """What the batches of an epoch are made of: the rows and what gives the lengths of some of them (`lengths_of`).

    With a curriculum, how hard each row is.
    """

    rows: int
    lengths: Callable[[list[int]], Sequence[int]]
    batch_size: int
    seed: int
    snapshot: str
    difficulty: list[float] | None = None
    stages: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return math.ceil(self.rows / self.batch_size)

    def batches(self, epoch: int) -> Sequence[list[int]]:
        """The batches of an epoch as row indices: every row once.

        Without a curriculum each is made when it is asked for. With one the rows, easy ones first and equally hard ones
        in random order, are dealt out to `stages` of as many batches each, to one batch more or less; each stage is
        then ordered as an epoch is without one, so that a batch holds rows of similar length. A pure function of the
        seed, the epoch and the snapshot.

        >>> order = Order(4, known([9, 9, 5, 5]), 1, seed=0, snapshot="", difficulty=[0.5, 0.0, 1.0, 0.25], stages=4)
        >>> order.batches(0)
        [[1], [3], [0], [2]]
        """
        if self.difficulty is None:
            settings: dict[str, Any] = {"seed": self.seed, "epoch": epoch, "snapshot": self.snapshot}
            return epoch_batches(self.rows, self.lengths, self.batch_size, **settings)
        made = []
        for number, rows in enumerate(self._stages(epoch)):
            settings = {"seed": self.seed, "epoch": epoch, "snapshot": f"{self.snapshot}/{number}"}
            lengths = self.lengths(rows)
            batches = epoch_batches(len(rows), known(lengths), self.batch_size, **settings)
            made += [[rows[i] for i in batch] for batch in batches]
        return made

    def mean_difficulties(self) -> list[float | None]:
        """Of each stage, over the rows that have one; None where none has."""
        if self.difficulty is None:
            return []
        return [_mean([self.difficulty[i] for i in rows]) for rows in self._stages(0)]

    def _stages(self, epoch: int) -> list[list[int]]:
        assert self.difficulty is not None
        rows = list(range(self.rows))
        count = self.steps_per_epoch
        random.Random(key(self.seed, epoch, self.snapshot)).shuffle(rows)
        rows.sort(key=self.difficulty.__getitem__)
        # Stages end where batches do, and those are cut as they are without stages: all of a size, to one row.
        stages = min(self.stages, count)
        ends = [len(rows) * (count * stage // stages) // count for stage in range(stages + 1)]
        return [rows[first:last] for first, last in pairwise(ends)]


def order_of(config: SftConfig, manifest: Manifest, learnt: Sequence[Example]) -> Order:
    """The order in which rows are learnt. Raises ConfigError for rows without a solve rate, unless they may come last.

    By length, a row is as hard as its reply has tokens; by solve rate, as the share of replies to its prompt that are
    not right.
    """
    order = Order(len(learnt), lengths_of(learnt), config.batch_size, config.seed, manifest.logical_hash)
    curriculum = config.curriculum
    if curriculum is None:
        return order
    if curriculum.by == "length":
        difficulty = [float(e.labelled) for e in learnt]
    else:
        rates, told = solve_rates(config.warehouse, manifest), origins(config.warehouse, manifest)
        found = [rates.get(told[e.id].prompt_id) for e in learnt]
        unrated = [e.id for e, rate in zip(learnt, found, strict=True) if rate is None]
        if unrated and curriculum.unrated == "error":
            raise ConfigError(
                f"{name_rows(unrated)} without a solve rate, since no verifier decided on replies to the prompt: set "
                "curriculum.unrated to last, or curriculum.by to length"
            )
        difficulty = [_UNRATED if rate is None else 1 - rate for rate in found]
    return replace(order, difficulty=difficulty, stages=curriculum.stages)


def told(config: SftConfig, order: Order) -> dict[str, Any]:
    """What is written down of the curriculum: by what, and the mean of each stage (tokens, or solve rate)."""
    assert config.curriculum is not None and order.difficulty is not None
    means = order.mean_difficulties()
    if config.curriculum.by == "solve_rate":
        means = [None if mean is None else 1 - mean for mean in means]
    unrated = order.difficulty.count(_UNRATED)
    return {"by": config.curriculum.by, "stages": [m and round(m, 4) for m in means], "unrated": unrated}


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if value != _UNRATED]
    return math.fsum(known) / len(known) if known else None
