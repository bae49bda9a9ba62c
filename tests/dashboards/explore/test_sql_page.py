"""The SQL page: shipped questions and one's own, bounded and read-only, as table, chart and file."""

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboards.explore import sql as sql_page
from schemas.errors import QueryError
from tests.dashboards.explore.conftest import Open
from tests.dashboards.explore.told import HOSTILE, Told
from warehouse.sql import answer, named_queries
from warehouse.store import Warehouse

# Pages are run many times: some minutes in all.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("sql") / "told")


def codes(app: Any) -> list[str]:
    return [c.value for c in app.code]


@pytest.mark.parametrize("name", sorted(named_queries()))
def test_every_shipped_question_is_answered_with_its_text(told: Told, open_page: Open, name: str) -> None:
    app = open_page(told.path, "sql", name=name)
    assert not app.error
    assert named_queries()[name][1].strip() in codes(app)
    assert any(" row" in c.value for c in app.caption)


def test_own_sql_comes_from_the_address_and_its_command_is_told(told: Told, open_page: Open) -> None:
    sql = "SELECT 'it''s' AS said, count(*) AS n FROM trajectories"
    app = open_page(told.path, "sql", q=sql)
    assert app.dataframe[0].value.to_dict("records") == [{"said": "it's", "n": 7}]
    assert shlex.split(next(c for c in codes(app) if c.startswith("dataengine sql")))[2] == sql


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP TABLE trajectories", "refused"),
        ("COPY (SELECT 1) TO 'x.csv'", "refused"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Permission Error"),
        ("SELEC 1", "syntax error"),
        ("SELECT error('a\nb')", "a"),
        ("SELECT '<b>x</b>'::INT", "Conversion Error"),
    ],
)
def test_errors_are_one_line(told: Told, open_page: Open, sql: str, said: str) -> None:
    app = open_page(told.path, "sql", q=sql)
    (error,) = app.error
    assert "\n" not in error.value
    assert said in error.value.replace("\\", "")
    assert not app.dataframe


@pytest.mark.parametrize("given", [{"name": "'; DROP"}, {"name": "<script>"}, {"q": "SELECT 1 -- " + "x" * 30_000}])
def test_hostile_addresses_get_one_line(told: Told, open_page: Open, given: dict[str, str]) -> None:
    app = open_page(told.path, "sql", **given)
    assert [len(e.value) < 900 and "\n" not in e.value and "DROP" not in e.value for e in app.error] == [True]


def test_rows_are_bounded_and_it_says_that_there_are_more(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "sql", q="SELECT * FROM range(1000000)")
    assert len(app.dataframe[0].value) == sql_page.MOST_ROWS
    assert any("there are more" in c.value for c in app.caption)


def test_a_question_that_takes_too_long_is_stopped(told: Told) -> None:
    for sql in ("SELECT count(*) FROM range(1000000000000) t(x) WHERE x % 7 = 3",
                "EXPLAIN ANALYZE SELECT count(*) FROM range(1000000000000) t(x) WHERE x % 7 = 3"):  # fmt: skip
        with pytest.raises(QueryError, match=r"stopped after 0\.2 s"):
            answer(told.path, sql, most=5, seconds=0.2)


def test_a_chart_of_columns_with_any_names(told: Told, open_page: Open) -> None:
    sql = 'SELECT source AS "a.b[0]:Q\'", count(*) AS "n:N" FROM trajectory_facts GROUP BY ALL ORDER BY 2 DESC'
    app = open_page(told.path, "sql", q=sql, kind="bar", x="a.b[0]:Q'", y="n:N")
    (chart,) = app.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    assert spec["encoding"]["x"]["field"] == "x"
    assert spec["encoding"]["x"]["title"] == "a.b[0]:Q'"
    assert pa.ipc.open_stream(chart.proto.data.data or chart.proto.datasets[0].data.data).read_all()[
        "y"
    ].to_pylist() == [5, 1]


def test_values_of_every_kind_are_shown_and_written(told: Told, open_page: Open) -> None:
    sql = (
        "SELECT 1 AS a, 2 AS a, 170141183460469231731687303715884105727::HUGEINT AS h, INTERVAL 1 DAY AS i, "
        "MAP{'k': 1} AS m, '\\x00\\x01'::BLOB AS b, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS t, "
        "{'x': [1]} AS s, 1.5::DECIMAL(9, 2) AS d, "
        f"NULL AS n, 'nan'::DOUBLE AS f, ${'$'}{HOSTILE}${'$'} AS z, DATE '2026-01-02' AS day"
    )
    app = open_page(told.path, "sql", q=sql)
    assert not app.error
    (row,) = app.dataframe[0].value.to_dict("records")
    assert "\x1b" not in row["z"]
    found = answer(told.path, sql, most=5, seconds=10).rows
    assert pq.read_table(io.BytesIO(sql_page._as_parquet(found))).num_rows == 1
    assert json.loads(sql_page._as_jsonl(found))["z"] == HOSTILE
    assert HOSTILE.split("'q'")[0] in sql_page._as_csv(found).decode()


def test_tables_and_views_are_listed_with_their_columns(told: Told, open_page: Open) -> None:
    app = open_page(told.path, "sql")
    (browser,) = [e.proto.body for e in app.get("html") if 'class="schema"' in e.proto.body]
    assert "<summary>trajectory_facts</summary>" in browser
    assert "language_mix_score" in browser
    app.text_input(key="columns").set_value("finish_rea").run()
    (browser,) = [e.proto.body for e in app.get("html") if 'class="schema"' in e.proto.body]
    assert "finish_reason" in browser
    assert "calibrations" not in browser


def test_an_empty_warehouse_answers_too(tmp_path: Path, open_page: Open) -> None:
    Warehouse.open(tmp_path / "w", create=True)
    app = open_page(tmp_path / "w", "sql", q="SELECT * FROM trajectories")
    assert not app.error
    assert len(app.dataframe[0].value) == 0
