"""The picture of a training's curves, by the command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.keys import canonical_json, key
from schemas.records import Message, Prompt, Rollout, Trajectory, Verdict, now
from trainers.cli import main
from warehouse.store import Warehouse

KEY = key("a training")


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """Rollouts of three steps, and evaluations before and after, on two sets."""
    made = Warehouse.open(tmp_path / "data", create=True)
    prompts = [
        Prompt.make(
            [Message(role="user", content=f"{n}?")], domain="math", source=f"set $ {n}", reference="1", verifier="math"
        )
        for n in range(2)
    ]
    trajectories, verdicts, rollouts = [], [], []
    for prompt in prompts:
        for stage, steps in (("rl_rollout", (0, 1, 2)), ("eval", (0, 2))):
            for step in steps:
                for i in range(4):
                    ids = {"trajectory_id": key(prompt.prompt_id, stage, step, i), "attempt": 1}
                    shared = {**ids, "run_id": KEY, "created_at": now()}
                    right = i <= step
                    trajectories.append(
                        Trajectory.model_validate(
                            {
                                **shared, "prompt_id": prompt.prompt_id, "stage": stage, "policy": f"p@{step}",
                                "engine": "trainer", "sampling": "{}", "sample_index": i, "rendered_key": "r",
                                "text": "x", "step": step, "completion_tokens": 10 * (step + 1),
                            }
                        )
                    )  # fmt: skip
                    word = "pass" if right else "fail"
                    said = [("math", "verifier", prompt.against), ("features", "filter", ""), ("vote", "filter", "")]
                    said += [("language_mix", "filter", "")] if stage == "eval" else []
                    said += [(f"reward_{p}", "reward", "") for p in ("accuracy", "format", "language")]
                    verdicts += [
                        Verdict.model_validate(
                            {
                                **shared, "check": check, "version": "1", "kind": kind, "against": against,
                                "outcome": word if kind != "filter" else "pass", "score": float(right),
                                "details": canonical_json({"reflections": step, "answer": str(right)}),
                            }
                        )
                        for check, kind, against in said
                    ]  # fmt: skip
                    if stage == "rl_rollout":
                        rollouts.append(
                            Rollout.model_validate(
                                {**shared, "step": step, "reward": 3.0 * right, "advantage": 0.0, "clipped": i == 0}
                            )
                        )
    for table, rows in (
        ("prompts", prompts), ("trajectories", trajectories), ("verdicts", verdicts), ("rollouts", rollouts),
    ):  # fmt: skip
        made.append(table, rows)
    return made.path


@pytest.fixture
def curves(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trainers", "curves", *map(str, args), "--warehouse", str(warehouse)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


TITLES = (
    "Held-out pass@1 and cons@k",
    "Response length",
    "Reflective words",
    "Language consistency",
    "Reward and its parts",
    "Groups without spread, replies cut",
)


def test_small_multiples_show_what_the_report_shows(
    curves: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    import matplotlib

    out = tmp_path / "curves.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        code, told, _ = curves(f"checkpoints/tiny-{KEY[:12]}", "--out", out)
    assert (code, json.loads(told)) == (0, {"training": KEY, "picture": str(out)})
    drawn = out.read_text(encoding="utf-8")
    for text in (
        *TITLES,
        *("set $ 0 pass@1, n = 1", "set $ 1 cons@4, n = 1", "rollouts, n = 8", "accuracy, n = 8", "sum, n = 8"),
        *("tokens per reply", "optimizer step", "groups without spread, n = 2", f"Training {KEY[:12]}"),
    ):
        assert text in drawn, text
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        curves(KEY[:8], "--out", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_text(encoding="utf-8") == drawn


def test_a_picture_for_the_screen(curves: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert curves(KEY, "--out", tmp_path / "curves.png")[0] == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.glob("*curves*")] == ["curves.png"]


@pytest.mark.parametrize(
    ("training", "out", "said"),
    [
        (KEY, "curves.pdf", "ConfigError: curves.pdf: a picture's name ends in .png or .svg"),
        ("f" * 12, "curves.svg", f"QueryError: {'f' * 12}: no training or policy with curves begins so"),
        (KEY, "no/such/folder/curves.svg", "ConfigError: no/such/folder/curves.svg: cannot be"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    curves: Callable[..., tuple[int, str, str]], training: str, out: str, said: str
) -> None:
    code, told, err = curves(training, "--out", out)
    assert (code, told) == (2, "")
    assert err.startswith(said) and err.count("\n") == 1
