"""How scattered a table's rows are over its files: what a reader of one key has to read."""

from collections.abc import Iterable
from itertools import accumulate

import pyarrow.parquet as pq


def rows_met(files: Iterable[str], column: str) -> tuple[int, int]:
    """How many rows the worst value of a column of text may make a reader read, and how many there are.

    A reader passes over row groups whose smallest and largest value say that it is not there; one that says nothing is
    read for every value.
    """
    total = always = 0
    steps: list[tuple[str, bool, int]] = []
    for file in files:
        with pq.ParquetFile(file) as opened:
            metadata = opened.metadata
        at = metadata.schema.names.index(column)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            total += group.num_rows
            told = group.column(at).statistics
            if told is None or not told.has_min_max:
                always += group.num_rows
            else:
                # Of equal values the beginnings come first: both groups may hold it.
                steps += [(told.min, False, group.num_rows), (told.max, True, -group.num_rows)]
    return always + max(accumulate(rows for *_, rows in sorted(steps)), default=0), total
