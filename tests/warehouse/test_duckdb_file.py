"""`warehouse.duckdb` answers to any DuckDB client, and is replaced under readers without disturbing them."""

import subprocess
import sys
from pathlib import Path

import duckdb

from tests.warehouse.conftest import MakePrompt, MakeTrajectory, MakeVerdict
from warehouse.connect import refresh_duckdb_file
from warehouse.store import Warehouse

CLIENT = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print(connection.execute('SELECT "check", applicable, pass FROM funnel').fetchall())
    assert len(connection.execute("FROM funnel_at('format', at_least := 0.5)").fetchall()) < 2
assert "warehouse" not in sys.modules
"""


def ask(file: Path, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(file)], capture_output=True, text=True, cwd=cwd, check=True
    )
    return done.stdout.strip()


def test_another_program_reads_the_views_before_and_after_a_refresh(
    tmp_path: Path,
    warehouse: Warehouse,
    make_prompt: MakePrompt,
    make_trajectory: MakeTrajectory,
    make_verdict: MakeVerdict,
) -> None:
    file = refresh_duckdb_file(warehouse)
    assert ask(file, tmp_path) == "[]"
    prompt = make_prompt()
    first, second = make_trajectory(prompt, 0), make_trajectory(prompt, 1)
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [first])
    warehouse.append("verdicts", [make_verdict(first)])
    assert refresh_duckdb_file(warehouse) == file
    assert ask(file, tmp_path) == "[('(replied)', 1, 1), ('format', 1, 1), ('(kept)', 1, 1)]"

    with duckdb.connect(str(file), read_only=True) as old:
        warehouse.append("trajectories", [second])
        warehouse.append("verdicts", [make_verdict(second, "fail")])
        warehouse.compact()
        refresh_duckdb_file(warehouse)
        assert ask(file, tmp_path) == "[('(replied)', 2, 2), ('format', 2, 1), ('(kept)', 2, 1)]"
        assert old.execute("SELECT count(*) FROM trajectories").fetchone() == (1,)
    assert not [p.name for p in warehouse.path.iterdir() if p.name.startswith(".warehouse")]
