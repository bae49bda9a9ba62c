"""A rewrite step makes new trajectories of earlier ones, verifies them again, and asks nothing twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROWS = "SELECT trajectory_id, attempt, parent_id, text, reasoning, answer, finish_reason FROM trajectories ORDER BY ALL"


@pytest.fixture
def run(cli: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Path, *settings: str) -> Any:
        return cli("run", path, "--warehouse", "data", *settings)

    return call


def test_a_chain_is_made_verified_again_and_kept(run: Any, chain: Any, rewriter: Any, rows: Any) -> None:
    done = run(chain(rewriter, prompts=12))
    print(done.out)
    assert done.code == 0, done
