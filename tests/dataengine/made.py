"""A small warehouse for tests of reviewing: replies, pairs and words that stand in its tables."""

from pathlib import Path
from typing import Any

from schemas.keys import key
from schemas.records import Message, Pair, PairVerdict, Prompt, Review, Trajectory, Verdict, now
from warehouse.store import Warehouse


class Made:
    """A small warehouse that tests fill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warehouse = Warehouse.open(path, create=True)
        self.prompt = Prompt.make(
            [Message(role="user", content="3 + 4?")], domain="math", source="s", reference="7", verifier="exact"
        )
        self.warehouse.append("prompts", [self.prompt])

    def reply(self, name: str, *, checks: dict[str, str] | None = None, **columns: Any) -> str:
        values: dict[str, Any] = {
            "trajectory_id": key(name), "prompt_id": self.prompt.prompt_id, "stage": "reasoning", "policy": "p@1",
            "engine": "embedded", "sampling": "{}", "sample_index": 0, "rendered_key": "k", "text": name,
            "answer": name, "finish_reason": "stop", "run_id": "r", "created_at": now(), **columns,
        }  # fmt: skip
        row = Trajectory(**values)
        self.warehouse.append("trajectories", [row])
        kinds = {"exact": "verifier", "judge": "judge"}
        self.warehouse.append(
            "verdicts",
            [
                Verdict(
                    trajectory_id=row.trajectory_id, attempt=row.attempt, check=check, version="1",
                    against=self.prompt.against if check in kinds else "", kind=kinds.get(check, "filter"),
                    outcome=outcome, score=0.5, run_id="r", created_at=now(),
                )
                for check, outcome in (checks or {}).items()
            ],
        )  # fmt: skip
        return row.trajectory_id

    def pair(self, a: str, b: str, *scores: float) -> str:
        pair = Pair(pair_id=key(a, b), prompt_id=self.prompt.prompt_id, a_id=a, b_id=b, run_id="r", created_at=now())
        self.warehouse.append("pairs", [pair])
        self.warehouse.append(
            "pair_verdicts",
            [
                PairVerdict(
                    pair_id=pair.pair_id, check="judge", version="1", draw=n, draws=len(scores), a_first=True,
                    outcome="pass" if score > 0 else "fail", score=score, run_id="r", created_at=now(),
                )
                for n, score in enumerate(scores)
            ],
        )  # fmt: skip
        return pair.pair_id

    def said(self, trajectory_id: str, *, role: str = "annotator", **verdicts: str) -> None:
        self.warehouse.append(
            "reviews",
            [
                Review(
                    review_id=key(trajectory_id, who), trajectory_id=trajectory_id, attempt=1, reviewer=who,
                    verdict=verdict, role=role, created_at=now(),
                )
                for who, verdict in verdicts.items()
            ],
        )  # fmt: skip
