"""Names, texts and files as SQL writes them."""

from collections.abc import Iterable
from pathlib import Path


def identifier(name: str) -> str:
    """A name, in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text, in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def parquet(files: Iterable[Path | str], *options: str) -> str:
    """The rows of Parquet files, one after the other, as they stand in a FROM."""
    listed = ", ".join(literal(str(file)) for file in files)
    return f"read_parquet({', '.join([f'[{listed}]', *options])})"
