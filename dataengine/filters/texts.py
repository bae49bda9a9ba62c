"""Texts as a polars column, so that a whole batch is screened by compiled patterns."""

from collections.abc import Sequence

import polars as pl


def screened(texts: Sequence[str], patterns: Sequence[str]) -> list[list[int]]:
    """Per pattern (in the syntax of Rust's `regex`) the indices of the texts that it is found in, ascending.

    Lone surrogates, which Arrow cannot hold, are read as question marks.
    """
    try:
        column = pl.Series("", texts, dtype=pl.String)
    except UnicodeEncodeError:
        column = pl.Series("", [t.encode(errors="replace").decode() for t in texts], dtype=pl.String)
    where = [pl.first().str.contains(p).arg_true().implode().alias(str(n)) for n, p in enumerate(patterns)]
    return list(column.to_frame().select(where).row(0))
