"""What a snapshot's content comes down to: one hash that does not depend on the layout of its files."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.keys import canonical_json

# Rows at a time; a batch may be as many times the size of a row.
_AT_ONCE = 4096


class LogicalHash:
    """A hash over rows, in the order in which they are added.

    Every column is taken apart into streams of bytes, each of which has its sha256: `NAME?` is a byte for each value,
    0 for NULL and 1 else; `NAME#` the length of each text (in bytes) or list, and `NAME` the texts themselves in UTF-8,
    or numbers; lengths and whole numbers as 8 bytes, floats as IEEE 754 doubles, little endian, 0 and the empty text
    for NULL. The items of lists are `NAME[]`, the fields of structs `NAME.FIELD`. The hash is sha256 over the canonical
    JSON of the object that has each stream's sha256 by its name.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._streams: dict[str, Any] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds rows; the columns that are not hashed may be among theirs."""
        for name in self.columns:
            self._take(name, batch.column(name))

    def hexdigest(self) -> str:
        """The hash of all that was added."""
        digests = {name: stream.hexdigest() for name, stream in self._streams.items()}
        return hashlib.sha256(canonical_json(digests).encode()).hexdigest()

    def _take(self, name: str, values: pa.Array) -> None:
        self._update(f"{name}?", pc.cast(pc.is_valid(values), pa.uint8()))
        kind = values.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._update(f"{name}#", pc.cast(pc.fill_null(pc.list_value_length(values), 0), pa.int64()))
            # Of a NULL there are no items, wherever its slot points.
            self._take(f"{name}[]", values.flatten())
        elif pa.types.is_struct(kind):
            for field, part in zip(kind, values.flatten(), strict=True):
                self._take(f"{name}.{field.name}", part)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            texts = pc.fill_null(values, "") if values.null_count else values
            self._update(f"{name}#", pc.cast(pc.binary_length(texts), pa.int64()))
            self._update(name, texts)
        elif pa.types.is_floating(kind):
            self._update(name, pc.cast(pc.fill_null(values, 0.0), pa.float64()))
        elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            self._update(name, pc.fill_null(pc.cast(values, pa.int64()), 0))
        else:
            raise TypeError(f"rows of snapshots have no values of type {kind}")

    def _update(self, name: str, values: pa.Array) -> None:
        stream = self._streams.setdefault(name, hashlib.sha256())
        *_, data = values.buffers()
        if data is None:
            return
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            offsets = memoryview(values.buffers()[1]).cast("q" if pa.types.is_large_string(values.type) else "i")
            first, last = offsets[values.offset], offsets[values.offset + len(values)]
        else:
            width = values.type.bit_width // 8
            first, last = values.offset * width, (values.offset + len(values)) * width
        stream.update(memoryview(data)[first:last])


def logical_hash(files: Sequence[Path], columns: Sequence[str]) -> str:
    """The logical hash over those columns of all rows of the files, one file after the other."""
    found = LogicalHash(columns)
    for file in files:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(_AT_ONCE, columns=found.columns):
                found.add(batch)
    return found.hexdigest()


BLOCK = 1 << 20


def sha256_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """Hex sha256 of a file's bytes; `advance` is called with 1 after each block of 1 MiB, the last one included."""
    digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as f:
        while read := f.readinto(block):
            digest.update(block[:read])
            if advance:
                advance(1)
    return digest.hexdigest()
