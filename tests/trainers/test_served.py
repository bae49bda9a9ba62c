"""Rollouts from a server: the weights it is handed, the proof that it has them, what is asked, and how it may fail."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import EngineError
from tests.trainers.standin import StandIn
from tests.trainers.test_grpo import SETTINGS, lines, risen, rows
from trainers import grpo
from trainers.checkpoint import Plan, make_plan
from trainers.grpo_config import GrpoConfig

pytestmark = pytest.mark.slow

Make = Callable[..., Plan]
Serve = Callable[..., dict[str, Any]]


@pytest.fixture
def planned(write_prompts: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> Make:
    warehouse = write_prompts()

    def make(output: str = "out", **settings: Any) -> Plan:
        given = {**SETTINGS, "warehouse": warehouse, "model": tiny_model, "output": tmp_path / output, **settings}
        return make_plan(GrpoConfig.model_validate(given))

    return make


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    started: list[StandIn] = []
    yield started
    for server in started:
        server.close()


@pytest.fixture
def serve(servers: list[StandIn], tiny_model: Path) -> Serve:
    """Starts a server; the engine that asks it."""

    def start(**how: Any) -> dict[str, Any]:
        servers.append(StandIn(tiny_model, **how))
        url = servers[-1].url
        return {"kind": "endpoint", "url": url, "model": "rl", "retries": 1, "backoff": 0.01, "patience": 0.3}

    return start


def test_it_learns_what_it_learns_from_replies_of_its_own(planned: Make, serve: Serve, servers: list[StandIn]) -> None:
    alone, served = planned("alone", steps=16), planned("served", steps=16, engine=serve())
    assert alone.key != served.key
    for plan in (alone, served):
        grpo.train(plan)
        assert risen(plan) > 0.2
    counts = "SELECT engine, count(*), count(DISTINCT step) FROM trajectories GROUP BY engine ORDER BY engine"
    assert rows(served, counts) == [("trainer", 512, 8), ("vllm", 512, 8)]
    assert rows(served, "SELECT bool_and(logprob_sum < 0) FROM trajectories") == [(True,)]
    assert [line.keys() for line in lines(served)] == [
        line.keys() | {"rollout/logprob_gap"} if "rewards/sum/mean" in line else line.keys() for line in lines(alone)
    ]
    gaps = [line["rollout/logprob_gap"] for line in lines(served) if "rollout/logprob_gap" in line]
    assert len(gaps) == 8 and max(gaps) < 1e-4
    # Weights were handed over before each rollout, and nothing of them is left.
    assert servers[0].loaded == [f"weights-{step:08d}" for step in range(0, 16, 2)]
    assert not served.partial.exists()
    sampling = [body for body in servers[0].asked if "prompt_logprobs" not in body]
    assert len(sampling) == 512 and len({body["seed"] for body in sampling}) == 512
    # A model's generation_config.json has no say.
    assert {(b["top_p"], b["top_k"], b["min_p"], b["repetition_penalty"]) for b in sampling} == {(1.0, 0, 0.0, 1.0)}


def test_evaluations_are_of_the_weights_as_they_are_then(planned: Make, serve: Serve, servers: list[StandIn]) -> None:
    grpo.train(planned(engine=serve(), steps=4, evaluation={"every": 4, "samples": 2}))
    assert servers[0].loaded == [f"weights-{step:08d}" for step in (0, 0, 2, 4)]


def test_adapters_are_handed_over_merged(planned: Make, serve: Serve) -> None:
    plan = planned(engine=serve(), lora={"r": 4, "alpha": 8}, learning_rate=1e-2, steps=4)
    grpo.train(plan)
    assert max(line.get("rollout/logprob_gap", 0.0) for line in lines(plan)) < 1e-4


def test_at_another_temperature_the_gap_is_measured_at_that_of_the_server(planned: Make, serve: Serve) -> None:
    plan = planned(engine=serve(), temperature=0.5, steps=4)
    grpo.train(plan)
    assert max(line.get("rollout/logprob_gap", 0.0) for line in lines(plan)) < 1e-4


@pytest.mark.parametrize(
    ("keeps", "rate", "message"),
    [
        ("", 1e-3, "its weights are still those of the rollout before"),
        # Far below any tolerance: the known change tells.
        ("", 1e-6, "its weights are still those of the rollout before"),
        ("embed_tokens", 1e-3, r"its weights are not those handed over: .* nats off, and may be 0\.01;"),
    ],
    ids=["all", "all-of-little-change", "some"],
)
def test_a_server_that_keeps_old_weights_is_refused(
    planned: Make, serve: Serve, keeps: str, rate: float, message: str
) -> None:
    plan = planned(engine=serve(keeps=keeps), learning_rate=rate, steps_per_rollout=4)
    with pytest.raises(EngineError, match=message) as refused:
        grpo.train(plan)
    assert "\n" not in str(refused.value)
    assert [state.name for state in plan.partial.glob("state-*")] == ["state-00000004"]
    assert rows(plan, "SELECT DISTINCT step FROM trajectories") == [(0,)]


def test_a_server_that_dies_costs_nothing_that_was_learnt(planned: Make, serve: Serve, servers: list[StandIn]) -> None:
    engine = serve()
    plan = planned(engine=engine, steps=6)
    # The first rollout asks for 64 replies, and for 16 proofs before and after; it dies in the second.
    servers[0].dies_after = 120
    with pytest.raises(EngineError, match=r"connection lost: .*; mend the server and run the same command again"):
        grpo.train(plan)
    assert [state.name for state in plan.partial.glob("state-*")] == ["state-00000002"]
    assert rows(plan, "SELECT state FROM runs_current") == [("failed",)]
    # The same training, whatever the address of the server is now.
    again = planned(engine=serve(), steps=6)
    assert again.key == plan.key
    assert grpo.train(again)["steps"] == 6
    assert [line["step"] for line in lines(again)] == list(range(1, 7))
    assert rows(plan, "SELECT count(*), count(DISTINCT trajectory_id) FROM trajectories") == [(192, 192)]
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1/v1: .*; is the server running there\?"):
        grpo.train(planned("other", engine={**engine, "url": "http://127.0.0.1:1/v1"}))


def test_a_passing_failure_is_asked_again(planned: Make, serve: Serve, servers: list[StandIn]) -> None:
    assert grpo.train(planned(engine=serve(busy=3), steps=2))["steps"] == 2
    assert servers[0].busy == 0


def test_a_server_without_token_ids_has_its_text_tokenised_again_which_is_said_once(
    planned: Make, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(engine=serve(token_ids=False), steps=4)
    grpo.train(plan)
    said = capsys.readouterr().err
    assert said.count("the server gives no token ids: its text is tokenised again") == 1
    assert rows(plan, "SELECT count(*) FROM rollouts") == [(128,)]


def test_a_server_that_takes_no_orders_is_refused_with_the_remedy(planned: Make, serve: Serve) -> None:
    with pytest.raises(EngineError, match=r"takes no weights \(HTTP 404.*start vLLM with VLLM_SERVER_DEV_MODE=1"):
        grpo.train(planned(engine=serve(orders=False)))


def test_an_engine_that_would_sample_another_model_is_refused(planned: Make, tiny_model: Path) -> None:
    engine = planned(engine={"kind": "vllm", "python": "python3"}).config.engine  # type: ignore[attr-defined]
    assert engine.model == str(tiny_model)
    with pytest.raises(ValueError, match="it samples the weights in training; leave out its model"):
        planned(engine={"kind": "vllm", "model": "other"})
    with pytest.raises(ValueError, match="give either `model` or `checkpoint`"):
        planned(engine={"kind": "vllm", "checkpoint": "other"})


def test_of_two_processes_the_first_asks_for_both(
    planned: Make, serve: Serve, servers: list[StandIn], tmp_path: Path
) -> None:
    plan = planned(engine=serve(), steps=4)
    path = tmp_path / "grpo.yaml"
    path.write_text(plan.config.model_dump_json())
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "trainers.cli", "grpo", str(path)]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 4
    assert rows(plan, "SELECT count(*), count(DISTINCT trajectory_id) FROM trajectories") == [(128, 128)]
    assert [line["rollout/logprob_gap"] < 1e-4 for line in lines(plan) if "rollout/logprob_gap" in line] == [True] * 2
    assert servers[0].loaded == ["weights-00000000", "weights-00000002"]
    # One that dies ends both, with one line.
    servers[0].dies_after = 0
    done = subprocess.run([sys.executable, *launch, "seed=1"], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode != 0
    assert "mend the server and run the same command again" in done.stderr
