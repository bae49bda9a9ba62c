"""Every record goes through Arrow and comes back the same."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import arrow_schema, arrow_type, to_arrow
from schemas.duckdb_types import duckdb_columns
from schemas.records import RECORDS, Cluster, Message, Metric, Prompt, Record, Review, Verdict

text = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["", "\0", "a\0b", "😀", "中文", "\u2028"])
small = st.integers(1, 2**31)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))
messages = st.lists(st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=text), min_size=1)


def literals(annotation: Any) -> list[str]:
    """The values that a column may have where it has no others."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for inner in get_args(annotation) for value in literals(inner)]


# Columns that hold only some texts.
MADE_UP: dict[type[Record], dict[str, st.SearchStrategy[Any]]] = {
    Cluster: {"id": text.map(lambda end: f"b{end}"), "cluster_id": text.map(lambda end: f"a{end}")},
    Review: {
        "review_id": st.just("0f" * 16),
        "reviewer": st.sampled_from(["ann", "名", "a b"]),
        "verdict": st.sampled_from(["flag", "withdraw"]),
        "text": st.none(),
        "child_id": st.none(),
        "pair_id": text,
        "a_first": st.booleans(),
    },
}


def records(record: type[Record]) -> st.SearchStrategy[Record]:
    made = {
        "str": text,
        "int": small,
        "float": st.floats(allow_nan=False),
        "datetime": moments,
        "list[Message]": messages,
        "list[str]": st.lists(text),
    }
    columns = dict(MADE_UP.get(record, {}))
    for name, field in record.model_fields.items():
        if name in columns:
            continue
        kind, nullable = arrow_type(field.annotation)
        if values := literals(field.annotation):
            column: st.SearchStrategy[object] = st.sampled_from(values)
        elif pa.types.is_string(kind):
            column = made["str"]
        elif pa.types.is_boolean(kind):
            column = st.booleans()
        elif pa.types.is_int64(kind):
            column = made["int"]
        elif pa.types.is_float64(kind):
            column = made["float"]
        elif pa.types.is_timestamp(kind):
            column = made["datetime"]
        else:
            column = made["list[str]" if kind.equals(pa.list_(pa.string())) else "list[Message]"]
        columns[name] = (st.none() | column) if nullable else column
    return st.builds(record, **columns)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
@given(data=st.data())
def test_a_record_comes_back_the_same(record: type[Record], data: st.DataObject) -> None:
    rows = data.draw(st.lists(records(record), max_size=3))
    table = to_arrow(record, rows)
    assert table.schema.equals(arrow_schema(record))
    assert [record(**row) for row in table.to_pylist()] == rows


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_columns_are_the_fields_in_their_order_and_keys_are_among_them(record: type[Record]) -> None:
    assert arrow_schema(record).names == list(record.model_fields)
    assert set(record.KEYS) <= set(record.model_fields)


def test_a_lone_surrogate_becomes_the_replacement_character_and_the_rest_stays() -> None:
    prompt = Prompt.make([Message(role="user", content="a\ud83db 😀 \0")], domain="x\udfff", source="s")
    (row,) = to_arrow(Prompt, [prompt]).to_pylist()
    assert row["messages"] == [{"role": "user", "content": "a\ufffdb 😀 \0"}]
    assert row["domain"] == "x\ufffd"


def test_types_are_what_the_tables_promise() -> None:
    schema = arrow_schema(Prompt)
    assert schema.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("messages").type.value_type.field("content").type == pa.string()
    assert arrow_schema(Verdict).field("score").type == pa.float64()
    assert arrow_schema(Metric).field("step").type == pa.int64()


def test_a_union_of_two_types_has_no_arrow_type() -> None:
    with pytest.raises(TypeError, match=r"only `X \| None` unions"):
        arrow_type(int | str)
    assert arrow_type(Literal["a"] | None) == (pa.string(), True)


def test_rows_cannot_hold_unknown_columns_and_cannot_be_changed() -> None:
    prompt = Prompt.make([Message(role="user", content="?")], domain="d", source="s")
    with pytest.raises(ValueError, match="Extra inputs"):
        Prompt(**prompt.model_dump(), colour="red")
    with pytest.raises(ValueError, match="frozen"):
        prompt.domain = "other"  # type: ignore[misc]


def test_a_prompt_is_its_messages_and_its_reference_is_what_it_is_checked_against() -> None:
    def made(**columns: object) -> Prompt:
        values = {"domain": "d", "source": "s", "reference": "1", "verifier": "exact", **columns}
        return Prompt.make([Message(role="user", content="?")], **values)  # type: ignore[arg-type]

    first = made()
    assert made(source="other", domain="e", language="de").prompt_id == first.prompt_id
    assert made(source="other").against == first.against
    assert made(reference="2").against != first.against
    assert made(metadata={"verify": {"aliases": ["one"]}}).against != first.against
    assert made(metadata={"note": "nothing to do with the verifier"}).against == first.against


@pytest.mark.parametrize("table", RECORDS)
def test_an_empty_table_has_the_types_of_a_full_one(table: str, tmp_path: Path) -> None:
    file = tmp_path / "empty.parquet"
    pq.write_table(arrow_schema(RECORDS[table]).empty_table(), file)
    with duckdb.connect(":memory:") as connection:
        described = connection.execute(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
        declared = ", ".join(f'"{name}" {kind}' for name, kind in duckdb_columns(RECORDS[table]).items())
        connection.execute(f"CREATE TABLE declared ({declared})")
        assert [r[:2] for r in connection.execute("DESCRIBE declared").fetchall()] == [r[:2] for r in described]
