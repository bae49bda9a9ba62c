"""Hostile servers against whole runs: every attempt is one row, none is there twice, and the end tells the truth."""

import hashlib
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from schemas.keys import canonical_json
from tests.dataengine.conftest import FAULTS

# These stop a run at once, rightly: every request would meet them.
EVERYBODY = {"401", "404"}
# Whole replies, if odd ones.
REPLIES = {"2 MB", "surrogate", "null content", "odd reason"}
FAULTY = sorted(set(FAULTS) - EVERYBODY | {"reset", "cut"})

TWICE = (
    "SELECT (SELECT count(*) - count(DISTINCT (trajectory_id, attempt)) FROM trajectories), "
    '(SELECT count(*) - count(DISTINCT (trajectory_id, attempt, "check", version, against)) FROM verdicts)'
)
CURRENT = "SELECT error IS NULL, count(*) FROM trajectories_current GROUP BY 1 ORDER BY 1"


def drawn(body: dict[str, Any], share: float) -> str | None:
    """The fault of a request, always the same for the same one, or none."""
    chance = random.Random(hashlib.sha256(canonical_json(body).encode()).digest())
    return chance.choice(FAULTY) if chance.random() < share else None


def end(out: str) -> str:
    return out.strip().splitlines()[-1]


@pytest.mark.slow
def test_of_all_faults_at_once_each_becomes_one_row_and_the_next_run_mends_them(
    cli: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    scripted.fault = lambda body, before: drawn(body, 0.5)
    # What is tried again fails last, and so many in a row: a run is stopped after as many as it sends at once.
    path = recipe(scripted, prompts=80, engine={"max_in_flight": 64})
    done = cli("run", path, "--warehouse", "data")
    told: dict[str, str | None] = {canonical_json(body): drawn(body, 0.5) for body in scripted.asked}
    assert set(FAULTY) <= set(told.values()), "the sample is large enough for each to come up"
    failed = sum(fault is not None and fault not in REPLIES for fault in told.values())
    assert done.code == 1
    assert f"{failed} requests failed (recorded; run again to ask them again)" in done.out
    assert f"{failed} requests or checks failed and are recorded" in end(done.out)
    assert rows(CURRENT) == [(False, failed), (True, 160 - failed)]
    assert rows("SELECT count(*) FROM trajectories") == [(160,)]
    assert rows(TWICE) == [(0, 0)]

    scripted.fault = lambda body, before: None
    scripted.asked.clear()
    done = cli("run", path, "--warehouse", "data")
    assert done.code == 0
    assert len(scripted.asked) == failed
    assert rows("SELECT attempt, count(*) FROM trajectories GROUP BY 1 ORDER BY 1") == [(1, 160), (2, failed)]
    assert rows(CURRENT) == [(True, 160)]


@pytest.mark.slow
def test_in_a_storm_of_refusals_everything_is_answered_in_the_end(
    cli: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    scripted.seconds = 0.005
    scripted.most = 3
    path = recipe(scripted, prompts=60, engine={"max_in_flight": 48, "start_in_flight": 48, "retries": 12})
    done = cli("run", path, "--warehouse", "data")
    assert done.code == 0, done
    assert len(scripted.asked) > 200, "it was a storm"
    assert rows("SELECT count(*), count(error) FROM trajectories") == [(120, 0)]


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_is_waited_for(
    cli: Any, recipe: Any, scripted: Any, scripted_server: Callable[..., Any], rows: Any
) -> None:
    scripted.seconds = 0.005
    scripted.fault = lambda body, before: "die" if len(scripted.asked) >= 40 else None
    back: list[Any] = []

    def revive() -> None:
        scripted._thread.join()
        time.sleep(0.5)
        back.append(scripted_server(scripted.port))

    reviver = threading.Thread(target=revive)
    reviver.start()
    path = recipe(scripted, prompts=60, engine={"patience": 20, "retries": 3})
    done = cli("run", path, "--warehouse", "data")
    reviver.join()
    assert done.code == 0, done
    assert len(back[0].asked) >= 120 - 40
    assert rows("SELECT count(*), count(error) FROM trajectories") == [(120, 0)]
    assert rows(TWICE) == [(0, 0)]


def test_a_prompt_that_two_sources_hold_is_asked_once_and_stored_for_both(
    cli: Any, recipe: Any, scripted: Any, rows: Any
) -> None:
    other = {"source": "inline", "name": "other", "domain": "math", "prompts": [{"prompt": "What is 2 + 3?"}]}
    path = recipe(scripted, prompts=2, sources={"other": other})
    assert cli("run", path, "steps.sample.prompts=[sums, other]", "--warehouse", "data").code == 0
    assert len(scripted.asked) == 4
    assert rows("SELECT source, count(*) FROM prompts GROUP BY 1 ORDER BY 1") == [("other", 1), ("sums", 2)]


@pytest.mark.slow
def test_killed_and_stopped_anywhere_amid_faults_nothing_is_lost_or_twice(
    process: Callable[..., "subprocess.Popen[str]"], recipe: Any, scripted: Any, rows: Any
) -> None:
    faulty = [*FAULTY, "slow", "trickle"]

    def fault(body: dict[str, Any], before: int) -> str | None:
        # What fails, fails for the first tries: a run that goes on comes to its end.
        chance = random.Random(f"{canonical_json(body)} {before}")
        return chance.choice(faulty) if before < 4 and chance.random() < 0.4 else None

    scripted.fault = fault
    scripted.seconds = 0.02
    path = recipe(scripted, prompts=100, samples=4, engine={"max_in_flight": 12, "timeout": 1, "retries": 2})
    chance = random.Random(5)
    ends: Counter[str] = Counter()
    kept = 0
    for turn in range(40):
        asked = len(scripted.asked)
        child = process("run", path, "--warehouse", "data")
        sent = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT][turn % 3]
        # Anywhere from the first request on, early more often: the first runs have the most to do.
        while child.poll() is None and len(scripted.asked) == asked:
            time.sleep(0.01)
        try:
            out, err = child.communicate(timeout=chance.uniform(0.0, 0.2 + 0.1 * turn))
        except subprocess.TimeoutExpired:
            child.send_signal(sent)
            out, err = child.communicate(timeout=60)
        assert "Traceback" not in err
        if child.returncode == -signal.SIGKILL:
            ends["killed"] += 1
        elif child.returncode == 130:
            ends["stopped"] += 1
            assert sent in (signal.SIGTERM, signal.SIGINT)
            assert end(err).startswith("interrupted: what was finished is kept"), err
        else:
            ends["ran through"] += 1
            failed = dict(rows(CURRENT)).get(False, 0)
            assert child.returncode == (1 if failed else 0), (out, err)
            assert dict(rows(CURRENT)).get(True, 0) + failed == 400
        if rows("SELECT count(*) FROM runs") == [(0,)]:
            continue
        assert rows(TWICE) == [(0, 0)]
        answered = rows("SELECT count(*) FROM trajectories WHERE error IS NULL")[0][0]
        assert answered >= kept, "what was there stays"
        kept = answered
        if child.returncode == 0:
            break
    assert ends["killed"] and ends["stopped"], ends
    assert child.returncode == 0, ends
    assert rows(CURRENT) == [(True, 400)]
    finished = rows("SELECT counts FROM runs_current WHERE state = 'finished'")
    # A run that was killed between its last row and its end has left nothing to do.
    assert all(json.loads(counts) for (counts,) in finished) if finished else "nothing to do" in out
