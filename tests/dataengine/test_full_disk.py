"""A disk that takes no more ends a run with one line; what was committed before is kept, and the next run goes on."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    recipe: Any, scripted: Any, rows: Any, cli: Any, tmp_path: Path
) -> None:
    path = recipe(scripted, prompts=40, samples=1, engine={"max_in_flight": 4, "start_in_flight": 4})
    # The first rows are small; a batch with such a reply is larger than any file may become.
    scripted.fault = lambda body, before: "2 MB" if len(scripted.asked) > 10 else None
    child = subprocess.run(
        [sys.executable, "-m", "dataengine.cli", "run", str(path), "--warehouse", "data"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    )
    assert child.returncode == 2, child
    last = child.stderr.splitlines()[-1]
    assert last.startswith(f"WarehouseError: {tmp_path / 'data'}: table trajectories cannot be written: ")
    assert "File too large" in last
    assert "Traceback" not in child.stderr
    assert rows("SELECT event FROM runs ORDER BY created_at") == [("started",), ("failed",)]

    scripted.fault = lambda body, before: None
    assert cli("run", path, "--warehouse", "data").code == 0
    assert rows("SELECT count(*), count(DISTINCT trajectory_id), count(error) FROM trajectories") == [(40, 40, 0)]
