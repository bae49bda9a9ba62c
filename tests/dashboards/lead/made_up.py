"""A warehouse with made-up people and what they said, for the tests of the pages of leads and for their pictures."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.keys import key
from schemas.queue import Queue
from schemas.records import Message, Pair, PairVerdict, Prompt, Review, Run, Trajectory, Verdict, now
from warehouse.store import Warehouse

NAMES = (
    "ada", "ben", "cem", "dot", "eli", "fay", "gil", "hua", "ida", "jun", "kai", "lea", "mio", "nur", "ola", "pia",
    "quy", "rex", "sia", "tom",
)  # fmt: skip
REASONS = {"wrong_step": "A step is wrong", "gap": "A step is missing"}
SQL = "SELECT trajectory_id FROM trajectories_current WHERE engine = 'import'"


def queue(name: str, **settings: Any) -> Queue:
    given = {"title": name, "sql": SQL, "guideline": "Look.", "reasons": REASONS, "reviewers": 2}
    if settings.get("rows") == "pairs":
        given |= {"sql": "SELECT pair_id FROM pairs", "reasons": {}}
    return Queue.model_validate({"queue": name, **given, **settings})


QUEUES = {
    q.queue: q
    for q in (
        queue("second-look", title="Second look at rewrites"),
        queue("audit", title="Random audit", reviewers=3, sql=f"{SQL} AND sample_index < 40"),
        queue("preferences", title="Which answer is better", rows="pairs", reviewers=2),
    )
}


def trajectories(warehouse: Warehouse, number: int, *, outcomes: random.Random | None = None) -> list[Trajectory]:
    """So many replies to one prompt, with verdicts of the rule `math` and the judge `correctness` where asked for."""
    prompt = Prompt.make(
        [Message(role="user", content="3 + 4?")], domain="math", source="s", reference="7", verifier="math"
    )
    warehouse.append("prompts", [prompt])
    warehouse.append("runs", [Run(run_id="r", event="started", recipe="x", config="{}", created_at=now())])
    rows = [
        Trajectory(
            trajectory_id=key("made up", i), prompt_id=prompt.prompt_id, stage="cold_start", policy="p@1",
            engine="import", sampling="{}", sample_index=i, rendered_key="k",
            text=f"<think>I add them, {i} times.</think>It is 7.", answer="7", finish_reason="stop", run_id="r",
            created_at=now(),
        )
        for i in range(number)
    ]  # fmt: skip
    warehouse.append("trajectories", rows)
    if outcomes is not None:
        verdicts = []
        for i, row in enumerate(rows):
            for check, kind, right in (("math", "verifier", 0.9), ("correctness", "judge", 0.75)):
                good = good_one(i) == (outcomes.random() < right)
                outcome = "undecided" if outcomes.random() < 0.05 else "pass" if good else "fail"
                verdicts.append(
                    Verdict(
                        trajectory_id=row.trajectory_id, attempt=1, check=check, version="1",
                        against=prompt.against if check == "math" else "", kind=kind, outcome=outcome,
                        score=1.0 if outcome == "pass" else 0.0, run_id="r", created_at=now(),
                    )
                )  # fmt: skip
        warehouse.append("verdicts", verdicts)
    return rows


def good_one(index: int) -> bool:
    """Whether a made-up reply is a good one."""
    return index % 3 != 0


def pairs(warehouse: Warehouse, rows: list[Trajectory], chance: random.Random) -> list[Pair]:
    """Pairs of replies that stand beside each other, with the opinion of a judge."""
    made = [
        Pair(
            pair_id=key(a.trajectory_id, b.trajectory_id), prompt_id=a.prompt_id, a_id=a.trajectory_id,
            b_id=b.trajectory_id, run_id="r", created_at=now(),
        )
        for a, b in zip(rows[::2], rows[1::2], strict=False)
    ]  # fmt: skip
    warehouse.append("pairs", made)
    warehouse.append(
        "pair_verdicts",
        [
            PairVerdict(
                pair_id=p.pair_id, check="preference", version="1", draw=0, draws=1, a_first=True,
                outcome="pass" if (better := chance.choice((2.0, -2.0))) > 0 else "fail", score=better, run_id="r",
                created_at=now(),
            )
            for p in made
        ],
    )  # fmt: skip
    return made


def review(
    of: Trajectory | Pair, reviewer: str, verdict: Any, *, at: datetime | None = None, number: int = 0, **more: Any
) -> Review:
    """A review as the table has it."""
    about: dict[str, Any] = {"trajectory_id": of.a_id, "pair_id": of.pair_id, "a_first": True} if isinstance(
        of, Pair
    ) else {"trajectory_id": of.trajectory_id}  # fmt: skip
    if verdict == "edit":
        more = {"text": "<think>Three and four.</think>It is 7.", "child_id": key("child", reviewer, number), **more}
    at = at or now()
    return Review(
        review_id=key("review", reviewer, about, number, at.isoformat(), verdict, more.get("repeat", 0)), attempt=1,
        number=number, reviewer=reviewer, verdict=verdict, created_at=at, **about, **more,
    )  # fmt: skip


def busy(path: Path, *, people: int = 20, reviews: int = 500, seed: int = 11) -> Warehouse:
    """Many people, some weeks: two queues of replies and one of pairs, gold items, repeats, a change of guideline."""
    chance = random.Random(seed)
    warehouse = Warehouse.open(path, create=True)
    rows = trajectories(warehouse, 240, outcomes=chance)
    made = pairs(warehouse, rows, chance)
    start, team = datetime(2026, 10, 5, 8, tzinfo=UTC), NAMES[:people]
    skill = {who: chance.uniform(0.7, 0.97) for who in team}
    pace = {who: chance.uniform(40, 160) for who in team}
    said: list[Review] = []

    def at(place: float) -> datetime:
        return start + timedelta(days=place * 42, minutes=chance.uniform(0, 480))

    def word(who: str, good: bool, place: float) -> str:
        careful = skill[who] + (0.06 if place > 0.5 else -0.06)
        if chance.random() < 0.03:
            return "flag"
        if good == (chance.random() < careful):
            return "approve" if chance.random() < 0.93 else "edit"
        return "reject" if chance.random() < 0.8 else "edit"

    def say(of: Trajectory | Pair, who: str, verdict: str, place: float, queue: str, **more: Any) -> None:
        tags = [chance.choice(list(REASONS))] if verdict == "reject" else []
        away = 3000 if chance.random() < 0.02 else 0
        said.append(
            review(
                of, who, verdict, at=at(place), number=len(said) + 1, queue=queue, tags=tags,
                guideline="a1b2c3d4e5f6" if place < 0.5 else "0f9e8d7c6b5a",
                seconds=round(pace[who] * chance.lognormvariate(0, 0.5) + away, 1),
                note="See line 2." if verdict == "reject" and chance.random() < 0.4 else "", **more,
            )
        )  # fmt: skip

    gold = rows[-12:]
    for i, row in enumerate(gold):
        known = "approve" if good_one(228 + i) else "reject"
        said.append(review(row, "gold", known, at=start - timedelta(days=3), number=len(said) + 1))
    count = 0
    while count < reviews:
        place = count / reviews
        index = int(place * 200)
        if chance.random() < 0.25:
            pair = made[int(place * 80)]
            for who in chance.sample(team, 2):
                verdict = chance.choices(("prefer_a", "tie", "prefer_b"), (6, 2, 2) if index % 2 else (2, 2, 6))[0]
                say(pair, who, verdict, place, "preferences")
                count += 1
        else:
            queue = "audit" if chance.random() < 0.25 else "second-look"
            for who in chance.sample(team, QUEUES[queue].reviewers):
                say(rows[index], who, word(who, good_one(index), place), place, queue)
                count += 1
                if chance.random() < 0.12:
                    say(rows[index], who, word(who, good_one(index), place), place, queue, repeat=1)
        if chance.random() < 0.3:
            which = chance.randrange(12)
            who = chance.choice(team)
            say(gold[which], who, word(who, good_one(228 + which), place), place, "second-look")
    said.sort(key=lambda r: r.created_at)
    warehouse.append("reviews", [r.model_copy(update={"number": i + 1}) for i, r in enumerate(said)])
    return warehouse
