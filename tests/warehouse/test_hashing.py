"""The logical hash, held to the same rules written again in Python."""

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.hashing import logical_hash

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MAYBE_TEXT = st.none() | TEXT
TURN = st.fixed_dictionaries({"role": TEXT, "content": MAYBE_TEXT})
ROW = st.fixed_dictionaries(
    {
        "name": MAYBE_TEXT,
        "number": st.none() | st.integers(-(2**63), 2**63 - 1),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "right": st.none() | st.booleans(),
        "messages": st.none() | st.lists(TURN, max_size=3),
    }
)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("number", pa.int64()),
        ("weight", pa.float64()),
        ("right", pa.bool_()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)


def bencoded(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"i%de" % value
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, float):
        return bencoded(f"{value:.17g}")
    if isinstance(value, str):
        return b"%d:%s" % (len(value.encode()), value.encode())
    if isinstance(value, list):
        return b"l" + b"".join(map(bencoded, value)) + b"e"
    return b"d" + b"".join(bencoded(k) + bencoded(v) for k, v in sorted(value.items())) + b"e"


def written(folder: Path, rows: list[dict[str, Any]], files: int) -> list[Path]:
    made = []
    for number in range(files):
        made.append(folder / f"{number}.parquet")
        pq.write_table(pa.Table.from_pylist(rows[number::files], schema=SCHEMA), made[-1])
    return made


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=6), files=st.integers(1, 3))
def test_it_is_what_the_rules_say_whatever_the_files(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], files: int
) -> None:
    numbered = [{"id": i, **row} for i, row in enumerate(rows)]
    lines = [hashlib.sha256(bencoded([row[name] for name in SCHEMA.names])).hexdigest() + "\n" for row in numbered]
    with duckdb.connect() as connection:
        found = logical_hash(connection, written(tmp_path_factory.mktemp("f"), numbered, files), SCHEMA.names, "id")
    assert found == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_an_empty_text_an_empty_list_and_nothing_differ(tmp_path: Path) -> None:
    told = [
        {"name": ""},
        {"name": None},
        {"messages": []},
        {"messages": [{"role": "", "content": ""}]},
        {"weight": 0.0},
    ]
    with duckdb.connect() as connection:
        hashes = {
            json.dumps(row): logical_hash(connection, written(tmp_path, [{"id": 1, **row}], 1), SCHEMA.names, "id")
            for row in told
        }
    # A row without a name is one whose name is NULL.
    assert len(set(hashes.values())) == len(told)
