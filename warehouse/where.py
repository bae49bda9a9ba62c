"""What a mix's `where` may not be: more than one condition, or one that the warehouse's rows do not decide alone."""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

# What is written without brackets, and functions, whose answer another call, day or machine changes.
_BARE = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
_CHANGING = _BARE | {
    *("random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval", "currval", "now", "today"),
    *("current_localtime", "current_localtimestamp", "get_current_time", "get_current_timestamp"),
    *("transaction_timestamp", "current_setting", "current_query", "current_connection_id", "current_query_id"),
    *("current_transaction_id", "txid_current", "getvariable", "getenv"),
}
_OF_VALUES = {"unnest", "range", "generate_series"}


def refuse_no_condition(connection: duckdb.DuckDBPyConnection, where: str | None) -> None:
    """Raises duckdb.Error for a `where` that would close its bracket, start another statement or read anything else.

    Nor may it ask for the time or draw at random: the same rows have to make the same snapshot.
    """
    if not where:
        return
    select = f"SELECT 1 FROM trajectory_facts WHERE {where}"
    if len(connection.extract_statements(select)) != 1:
        raise duckdb.ParserException("one condition is expected, without a semicolon")
    row = connection.execute("SELECT json_serialize_sql(?)", [select]).fetchone()
    for node in _nodes(json.loads(row[0] if row else "{}")):
        kind, name = node.get("type"), str(node.get("function_name", "")).lower()
        column = node["column_names"][-1].lower() if kind == "COLUMN_REF" else ""
        if name in _CHANGING or column in _BARE:
            raise duckdb.BinderException(
                f"{name or column} has another answer each time, and the same rows have to be taken again"
            )
        if node.get("sample"):
            raise duckdb.BinderException("a sample is another one each time, and the same rows have to be taken again")
        if kind == "TABLE_FUNCTION" and (read := str(node["function"]["function_name"]).lower()) not in _OF_VALUES:
            raise duckdb.BinderException(f"{read} is refused: a condition reads the tables of the warehouse alone")
        if kind == "BASE_TABLE" and not re.fullmatch(r"\w+", node["table_name"]):
            raise duckdb.BinderException(
                f"{node['table_name']} is refused: a condition reads the tables of the warehouse alone"
            )


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every node of a serialized statement, in order."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(inner)
