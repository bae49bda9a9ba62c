"""SQL from users reads the warehouse and nothing else, and changes nothing."""

import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from schemas.errors import QueryError, SnapshotError, UserError, WarehouseError
from schemas.keys import canonical_json
from schemas.records import Cluster
from tests.warehouse.conftest import MakeMix, MakePrompt, MakeRun, MakeTrajectory, MakeVerdict
from warehouse.snapshot import create_snapshot
from warehouse.sql import locked_connection, named_queries, named_query, query
from warehouse.store import Warehouse


@pytest.fixture
def filled(
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
    make_run: MakeRun,
) -> Path:
    prompt = make_prompt()
    row = make_trajectory(prompt)
    warehouse.append("runs", [make_run(checks=[("reasoning", "format", "1", False)])])
    warehouse.append("prompts", [prompt, make_prompt(source="other", reference="3")])
    warehouse.append("trajectories", [row, make_trajectory(prompt, 1, error="lost", finish_reason=None)])
    warehouse.append("verdicts", [make_verdict(row), make_verdict(row, "error", check="length")])
    return warehouse.path


def refusal(path: Path, sql: str, kind: type[UserError] = QueryError, at: str | None = None) -> str:
    """The one line with which the statement is refused, when it is read or when its rows are fetched."""
    with pytest.raises((kind, duckdb.Error)) as error:
        query(path, sql, at=at).fetchall()
    message = str(error.value)
    if isinstance(error.value, UserError):
        assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) FROM trajectories", [(2,)]),
        ("WITH t AS (SELECT * FROM verdicts) SELECT count(*) FROM t;", [(2,)]),
        ("FROM prompts SELECT count(*)", [(2,)]),
        ("VALUES (1)", [(1,)]),
        ("-- a comment first\nSELECT 1", [(1,)]),
        ("SELECT v.check FROM verdicts v ORDER BY 1", [("format",), ("length",)]),
        ("SELECT unnest([1, 2])", [(1,), (2,)]),
    ],
)
def test_selects_are_answered(filled: Path, sql: str, rows: list[tuple[object, ...]]) -> None:
    assert query(filled, sql).fetchall() == rows


@pytest.mark.parametrize(
    "sql",
    ["EXPLAIN SELECT * FROM funnel", "EXPLAIN ANALYZE SELECT 1", "DESCRIBE runs", "SUMMARIZE prompts", "SHOW TABLES"],
)  # fmt: skip
def test_questions_about_the_tables_are_answered(filled: Path, sql: str) -> None:
    assert query(filled, sql).fetchall()


WRITES = [
    "COPY (SELECT 1) TO 'stolen.csv'",
    "COPY prompts FROM 'x.csv'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "CREATE SECRET s (TYPE s3)",
    "INSERT INTO prompts VALUES (1)",
    "UPDATE prompts SET domain = 'x'",
    "DELETE FROM prompts",
    "DROP VIEW prompts",
    "ALTER VIEW prompts RENAME TO p",
    "ATTACH 'other.duckdb'",
    "USE memory",
    "SET memory_limit = '100GB'",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "PRAGMA enable_external_access",
    "PRAGMA version",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPORT DATABASE 'out'",
    "IMPORT DATABASE 'out'",
    "CALL pragma_version()",
    "CHECKPOINT",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "VACUUM",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "EXPLAIN DROP VIEW prompts",
]


@pytest.mark.slow
def test_anything_but_reading_is_refused(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for sql in WRITES:
        assert refusal(filled, sql), sql
        assert not list(work.iterdir()), sql


def test_a_refusal_names_the_statement(filled: Path) -> None:
    assert refusal(filled, "COPY (SELECT 1) TO 'x.csv'") == (
        "COPY refused: only SELECT and EXPLAIN SELECT are run here, the warehouse is read-only"
    )


@pytest.mark.parametrize("lead", ["EXPLAIN ANALYZE", "explain  analyze", "EXPLAIN /* EXPLAIN ANALYZE */ ANALYZE",
                                  "-- EXPLAIN \nEXPLAIN ANALYZE", "EXPLAIN (ANALYZE)"])  # fmt: skip
def test_explain_analyze_cannot_overwrite_a_table(filled: Path, lead: str) -> None:
    files = [Path(f) for f in Warehouse.open(filled).files("prompts")[1]]
    before = [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]
    refusal(filled, f"{lead} COPY (SELECT 1 AS x) TO '{files[0]}' (FORMAT parquet, USE_TMP_FILE false)")
    assert [hashlib.sha256(f.read_bytes()).hexdigest() for f in files] == before


@pytest.mark.parametrize(
    ("sql", "count"), [("SELECT 1; SELECT 2", 2), ("SELECT 1; DROP VIEW prompts", 2), ("", 0), ("--", 0)]
)
def test_there_is_one_statement(filled: Path, sql: str, count: int) -> None:
    assert refusal(filled, sql) == f"give one statement, not {count}"


OTHER_FILES = [
    "read_csv('/etc/passwd')",
    "read_text('/etc/passwd')",
    "read_blob('/etc/passwd')",
    "read_json('/etc/passwd')",
    "'/etc/passwd'",
    "'/etc/passwd.csv'",
    "glob('/etc/*')",
    "glob('/**')",
    "read_parquet('{outside}')",
    "'{outside}'",
    "parquet_schema('{outside}')",
    "read_parquet('{inside}/../../../outside.parquet')",
    "read_text('{inside}/_delta_log/00000000000000000000.json')",
    "read_parquet('https://example.org/x.parquet')",
    "query('SELECT * FROM read_text(''/etc/passwd'')')",
    "query_table(['{outside}'])",
    "sqlite_scan('x.db', 't')",
]


@pytest.mark.slow
def test_other_files_cannot_be_read(filled: Path) -> None:
    outside = filled.parent / "outside.parquet"
    duckdb.execute(f"COPY (SELECT 'secret' AS s) TO '{outside}'")
    inside = filled / "tables" / "prompts"
    for source in OTHER_FILES:
        assert refusal(filled, f"SELECT * FROM {source.format(outside=outside, inside=inside)}"), source


def test_nothing_unlocks_the_connection(filled: Path) -> None:
    settings = dict(query(filled, "SELECT name, value FROM duckdb_settings()").fetchall())
    assert settings["enable_external_access"] == "false"
    assert settings["lock_configuration"] == "true"
    connection = locked_connection(filled)
    # Even by a route that runs statements of any type, and one after another.
    for sql in (
        "SET lock_configuration = false",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
        "SET allowed_directories = ['/']",
        "SET autoload_known_extensions = true",
        "SET python_enable_replacements = true",
        "PRAGMA disable_verification; SET GLOBAL lock_configuration = false",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '/tmp/x.duckdb_extension'",
        "ATTACH '/tmp/other.duckdb' AS other",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(sql)
    connection.close()


def test_variables_of_the_program_are_no_tables(filled: Path) -> None:
    for name in ("connection", "statements", "re", "duckdb"):
        assert "does not exist" in refusal(filled, f"SELECT * FROM {name}")


def test_the_word_check_gets_a_hint(filled: Path) -> None:
    hint = '(check is a word of SQL: write "check" in double quotes)'
    assert refusal(filled, "SELECT check FROM verdicts").endswith(hint)
    assert "check is a word" not in refusal(filled, 'SELECT "check" FROM verdicts WHERE')
    assert len(query(filled, 'SELECT "check" FROM verdicts').fetchall()) == 2


@pytest.mark.parametrize(
    "sql", ["SELEKT 1", "SELECT nothing FROM prompts", "SELECT * FROM nowhere", "SELECT '\udcff'x y z"]
)
def test_wrong_sql_is_one_line(filled: Path, sql: str) -> None:
    assert refusal(filled, sql)


@pytest.mark.parametrize("name", named_queries())
def test_every_shipped_question_runs_on_an_empty_and_a_filled_warehouse(
    filled: Path, tmp_path: Path, name: str
) -> None:
    empty = Warehouse.open(tmp_path / "empty", create=True).path
    assert query(empty, named_query(name)).fetchall() == []
    assert named_queries()[name][0], "its first line says what it answers"
    query(filled, named_query(name)).fetchall()


def test_shipped_questions_find_what_they_ask_for(filled: Path) -> None:
    assert len(query(filled, named_query("conflicts")).fetchall()) == 2
    assert query(filled, named_query("errors")).fetchall() == [
        ("check", "length", "", 1),
        ("request", "reasoning", "lost", 1),
    ]


def test_the_question_about_contamination_counts_per_benchmark(
    warehouse: Warehouse, make_prompt: MakePrompt, make_trajectory: MakeTrajectory, make_verdict: MakeVerdict
) -> None:
    prompts = [make_prompt(f"What is {n} + 1?") for n in range(3)]
    rows = [make_trajectory(prompt, sample) for prompt in prompts for sample in range(2)]
    sums = {"benchmark": "sums", "item": "sums:1", "share": 1.0, "in": "prompt", "text": "What is\n 0 + 1"}
    words = {"benchmark": "words", "item": "words:7", "share": 0.25, "in": "reply", "text": "is 0 not"}
    found = {0: [sums, words], 1: [sums], 2: [words | {"item": "words:8", "share": 0.5}], 3: [sums | {"in": "reply"}]}
    warehouse.append("prompts", prompts)
    warehouse.append("trajectories", rows)
    warehouse.append(
        "verdicts",
        [
            make_verdict(row, "fail", check="contamination", details=canonical_json({"matches": found[i]}))
            if i in found
            else make_verdict(row, check="contamination")
            for i, row in enumerate(rows)
        ],
    )
    relation = query(warehouse.path, named_query("contamination"))
    assert relation.columns == [
        *("benchmark", "trajectories", "prompts", "items", "half_or_more", "largest", "example")
    ]
    assert relation.fetchall() == [
        ("sums", 3, 1, 1, 3, 1.0, "sums:1: What is 0 + 1"),
        ("words", 2, 0, 2, 1, 0.5, "words:8: is 0 not"),
    ]


def test_an_unknown_question_lists_the_known(filled: Path) -> None:
    with pytest.raises(QueryError, match=r"there is no query 'nothing'.*funnel"):
        named_query("nothing")


def test_the_tables_as_they_were(
    filled: Path, warehouse: Warehouse, make_prompt: MakePrompt, make_mix: MakeMix
) -> None:
    count = "SELECT count(*) FROM prompts"
    snapshot, _ = create_snapshot(filled, make_mix(), {"plain": None})
    # A commit's time is that of its file, which the system's clock gives in steps of some milliseconds.
    time.sleep(0.05)
    moment = time.time()
    time.sleep(0.05)
    warehouse.append("prompts", [make_prompt("later?")])
    warehouse.compact()
    assert query(filled, count).fetchall() == [(3,)]
    assert query(filled, count, at=snapshot.manifest.id).fetchall() == [(2,)]
    assert query(filled, count, at=as_iso(moment)).fetchall() == [(2,)]
    assert query(filled, count, at="2999-01-01").fetchall() == [(3,)]


def test_a_snapshot_of_before_a_table_was_there_sees_it_empty(
    filled: Path, warehouse: Warehouse, make_mix: MakeMix
) -> None:
    snapshot, _ = create_snapshot(filled, make_mix(), {"plain": None})
    cluster = Cluster(kind="prompt", id="a", version="1", cluster_id="a", created_at=datetime.now(UTC))
    warehouse.append("clusters", [cluster])
    file = snapshot.path / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["tables"]["clusters"]
    file.write_text(json.dumps(manifest))
    assert query(filled, "SELECT count(*) FROM clusters", at=snapshot.manifest.id).fetchall() == [(0,)]
    assert query(filled, "SELECT count(*) FROM prompts", at=snapshot.manifest.id).fetchall() == [(2,)]


def as_iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_times_and_snapshots_that_mean_nothing(filled: Path, tmp_path: Path) -> None:
    assert refusal(filled, "SELECT 1", at="yesterday").startswith("--at yesterday: neither a snapshot")
    assert refusal(filled, "SELECT 1", SnapshotError, at="none@1").startswith("there is no snapshot none@1")
    assert refusal(tmp_path / "none", "SELECT 1", WarehouseError).endswith("makes one")
