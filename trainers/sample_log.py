"""What was learnt at which step, row by row: `samples.parquet` of a checkpoint."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.writing import fsync

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 1 << 16


class SampleLog:
    """Rows of one schema, kept in parts beside the states, so that a training that goes on ends in the same rows.

    Without a folder, in all processes but the first, nothing is kept.
    """

    def __init__(self, folder: Path | None, schema: "pa.Schema", step: int) -> None:
        """Goes on after `step`: rows of later ones, which a killed training left, are removed."""
        self._folder = folder
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        if folder is not None:
            folder.mkdir(exist_ok=True)
            for path in folder.iterdir():
                if path.suffix != ".parquet" or int(path.stem) > step:
                    path.unlink()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of one more step, with the schema's columns."""
        if self._folder is not None:
            self._rows += rows

    def keep(self, step: int) -> None:
        """Writes what came since the last call; to be called before the state of `step` is written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._folder is None or not self._rows:
            return
        making = self._folder / f"{step:08d}.making"
        pq.write_table(pa.Table.from_pylist(self._rows, schema=self._schema), making)
        fsync(making)
        making.rename(making.with_suffix(".parquet"))
        self._rows = []


def join_parts(folder: Path, path: Path) -> None:
    """Writes all rows of a log's folder into one file, whose bytes do not depend on where the parts end."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = sorted(folder.glob("*.parquet"))
    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as writer:
        waiting: list[pa.Table] = []
        for part in parts:
            waiting.append(pq.read_table(part))
            rows = sum(table.num_rows for table in waiting)
            if rows >= _ROW_GROUP or part == parts[-1]:
                table = pa.concat_tables(waiting)
                whole = rows if part == parts[-1] else rows - rows % _ROW_GROUP
                writer.write_table(table.slice(0, whole), row_group_size=_ROW_GROUP)
                waiting = [table.slice(whole)]
