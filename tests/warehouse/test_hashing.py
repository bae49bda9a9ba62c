"""The logical hash, held to the same rules written again in plain Python."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.keys import canonical_json
from warehouse import hashing
from warehouse.hashing import logical_hash

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MAYBE_TEXT = st.none() | TEXT
ROW = st.fixed_dictionaries(
    {
        "name": MAYBE_TEXT,
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "right": st.none() | st.booleans(),
        "messages": st.none() | st.lists(st.fixed_dictionaries({"role": TEXT, "content": MAYBE_TEXT}), max_size=3),
    }
)
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("number", pa.int64()),
        ("weight", pa.float64()),
        ("right", pa.bool_()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)


def streams(name: str, values: list[Any], kind: pa.DataType) -> dict[str, bytes]:
    """Of a column the bytes of each stream."""
    found = {f"{name}?": bytes(value is not None for value in values)}
    if pa.types.is_list(kind):
        items = [item for value in values for item in value or []]
        found[f"{name}#"] = b"".join(struct.pack("<q", len(value or [])) for value in values)
        return found | streams(f"{name}[]", items, kind.value_type)
    if pa.types.is_struct(kind):
        for field in kind:
            found |= streams(f"{name}.{field.name}", [value and value[field.name] for value in values], field.type)
        return found
    if pa.types.is_string(kind):
        encoded = [(value or "").encode() for value in values]
        return found | {f"{name}#": b"".join(struct.pack("<q", len(e)) for e in encoded), name: b"".join(encoded)}
    form = "<d" if pa.types.is_floating(kind) else "<q"
    return found | {name: b"".join(struct.pack(form, 0 if value is None else value) for value in values)}


def by_the_rules(rows: list[dict[str, Any]]) -> str:
    every: dict[str, bytes] = {}
    for field in SCHEMA:
        every |= streams(field.name, [row[field.name] for row in rows], field.type)
    digests = {name: hashlib.sha256(stream).hexdigest() for name, stream in every.items()}
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()


def written(folder: Path, rows: list[dict[str, Any]], cuts: list[int]) -> list[Path]:
    """The rows in order, in files that end at the cuts."""
    made = []
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(rows)], strict=True)):
        made.append(folder / f"{number}.parquet")
        table = pa.Table.from_pylist(rows[start:end], schema=SCHEMA)
        pq.write_table(table, made[-1], row_group_size=2, compression="zstd", use_dictionary=bool(number % 2))
    return made


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=6), cut=st.integers(0, 6), at_once=st.integers(1, 4))
def test_it_is_what_the_rules_say_whatever_the_files(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], cut: int, at_once: int
) -> None:
    files = written(tmp_path_factory.mktemp("files"), rows, [min(cut, len(rows))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_AT_ONCE", at_once)
        # A weight of -0.0 is other bytes than 0.0, here and there.
        assert logical_hash(files, SCHEMA.names) == by_the_rules(rows)


def test_an_empty_text_an_empty_list_nothing_and_where_a_text_ends_differ(tmp_path: Path) -> None:
    nothing = dict.fromkeys(SCHEMA.names)
    told: list[list[dict[str, Any]]] = [
        [nothing],
        [nothing, nothing],
        [{**nothing, "name": ""}],
        [{**nothing, "messages": []}],
        [{**nothing, "messages": [{"role": "", "content": ""}]}],
        [{**nothing, "messages": [{"role": "", "content": None}]}],
        [{**nothing, "weight": 0.0}],
        [{**nothing, "name": "ab"}, {**nothing, "name": "c"}],
        [{**nothing, "name": "a"}, {**nothing, "name": "bc"}],
        [{**nothing, "name": "c"}, {**nothing, "name": "ab"}],
    ]
    hashes = {json.dumps(rows): logical_hash(written(tmp_path, rows, []), SCHEMA.names) for rows in told}
    assert len(set(hashes.values())) == len(told)
