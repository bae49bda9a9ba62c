"""What docs/screenshots.py puts into its copy of a warehouse: made-up people, a made-up judge, one made-up reply."""

import random
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEOPLE = ("ada", "ben", "cem", "dot")
# Of the second look: replies that two people look at each, and those with known answers; and pairs.
REPLIES, GOLD, PAIRS = 60, 6, 20


def made_up_reviews(path: Path) -> None:
    """Has made-up people review in a warehouse, each as careful as is set here, at the same desk as anybody."""
    from dataengine.desk import Desk, Words
    from dataengine.review_queues import load_queues
    from dataengine.review_settling import Settler
    from dataengine.reviewing import review_of
    from schemas.access import Person
    from warehouse.store import Warehouse

    warehouse, chance = Warehouse.open(path), random.Random(5)
    queues = load_queues(path, [])
    _made_up_judge(warehouse, chance)
    _made_up_reply(warehouse)
    _made_up_pairs(warehouse, queues["preferences"].sql)
    # The journal goes on from its last event: only where there is none yet can this have been weeks ago.
    clock = _Clock(time.time() - 20 * 86_400)
    desk = Desk(warehouse, queues, clock=clock)
    careful = dict(zip(PEOPLE, (0.95, 0.9, 0.85, 0.75), strict=True))

    def good(item: str) -> bool:
        return random.Random(item).random() < 0.7

    def say(queue: str, name: str) -> bool:
        person = Person(name, ("annotator",))
        task = desk.take(queue, person)
        if task is None:
            return False
        right = chance.random() < careful[name]
        clock.now += 60 * chance.lognormvariate(0, 0.6)
        words: dict[str, Any] = {"nonce": str(chance.random())}
        if task.contents.pair is not None:
            better = "left" if good(task.item.item_id) == bool(task.a_first) else "right"
            other = chance.choice(("left", "right", "tie"))
            desk.submit(task, person, Words(task.preference(better if right else other), **words))
        elif chance.random() < 0.03:
            desk.submit(task, person, Words("flag", note="Is the reference right?", **words))
        elif good(task.item.item_id) == right:
            desk.submit(task, person, Words("approve", **words))
        elif chance.random() < 0.15 and task.queue.edit:
            text = task.contents.replies[0].trajectory.text
            edited = text.replace("<think>", "<think>Let me see. ", 1) if "<think>" in text else f"Let me see. {text}"
            desk.submit(task, person, Words("edit", text=edited, **words))
        else:
            reasons = chance.sample(list(task.queue.reasons)[:4], chance.choice((1, 1, 2)))
            note = chance.choice(("", "", "The second step does not follow."))
            desk.submit(task, person, Words("reject", reasons=reasons, note=note, **words))
        return True

    listed = desk.lists.of("second-look").items
    for item in listed[-GOLD:]:
        reply = desk.reader.read(item).replies[0].trajectory
        known = ("approve", [], "") if good(item.item_id) else ("reject", [], "not good enough")
        desk.journal.submit([review_of(reply, "gold", known[0], tags=known[1], note=known[2])])
    Settler(warehouse).finish()
    desk.lists.forget("second-look")
    for number in range(REPLIES // 2):
        for name in chance.sample(PEOPLE, len(PEOPLE)):
            say("second-look", name)
        for name in PEOPLE[:3] if number < PAIRS else ():
            say("preferences", name)
        if number % 3 == 0:
            say("audit", PEOPLE[0])
        clock.now += 20 * 86_400 / (REPLIES // 2) - 600
    desk.close()
    settler = Settler(warehouse)
    settler.finish()
    settler.close()


class _Clock:
    """Time that goes on when it is told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def _made_up_pairs(warehouse: Any, waiting: str) -> None:
    """Where few pairs wait for people, some of two replies to one prompt that the rule finds equally good."""
    from schemas.keys import key
    from schemas.records import Pair, now
    from warehouse.connect import connect

    with connect(warehouse.path) as connection:
        if len(connection.execute(waiting).fetchall()) > PAIRS:
            return
        found = connection.execute(
            "SELECT prompt_id, min_by(trajectory_id, answer), max_by(trajectory_id, answer) FROM trajectory_facts "
            "WHERE error IS NULL AND stage NOT IN ('eval', 'rl_rollout') AND answer IS NOT NULL "
            "GROUP BY prompt_id, correct HAVING min(answer) <> max(answer) "
            "ORDER BY correct DESC, prompt_id LIMIT ?",
            [2 * PAIRS],
        ).fetchall()
    warehouse.append(
        "pairs",
        [
            Pair(pair_id=key(a, b), prompt_id=p, a_id=a, b_id=b, run_id="pictures", created_at=now())
            for p, a, b in found
        ],
    )


def _made_up_judge(warehouse: Any, chance: random.Random) -> None:
    """Where no judge has said anything, one that is right four times of five."""
    from schemas.records import Verdict, now
    from warehouse.connect import connect

    with connect(warehouse.path) as connection:
        if connection.execute("SELECT count(*) FROM verdicts WHERE kind = 'judge'").fetchall() != [(0,)]:
            return
        found = connection.execute(
            "SELECT r.trajectory_id, t.attempt, r.outcome = 'pass' FROM ruled r JOIN trajectories_current t "
            "USING (trajectory_id) WHERE r.outcome IN ('pass', 'fail') AND t.stage NOT IN ('eval', 'rl_rollout')"
        ).fetchall()
    told = [(ident, attempt, right == (chance.random() < 0.8)) for ident, attempt, right in found]
    warehouse.append(
        "verdicts",
        [
            Verdict(
                trajectory_id=ident, attempt=attempt, check="made_up_judge", version="1", kind="judge",
                outcome="pass" if good else "fail", score=chance.betavariate(*((5, 2) if good else (2, 5))),
                reason="" if good else "doubts", run_id="pictures", created_at=now(),
            )
            for ident, attempt, good in told
        ],
    )  # fmt: skip


GERMAN = "Das ist die Summe der ersten Hälfte."
REPLY = f"""<think>
I want the sum of the first hundred even numbers, \\(2 + 4 + \\dots + 200\\).

Each of them is twice a number from $1$ to $100$, so the sum is twice
\\[ \\sum_{{k=1}}^{{100}} k = \\frac{{100 \\cdot 101}}{{2}}. \\]

Wait, is that formula right? For $n = 3$ it gives $\\frac{{3 \\cdot 4}}{{2}} = 6$, and $1 + 2 + 3 = 6$. Good. {GERMAN}

So the inner sum is $5050$. Let me check with a few lines:

```python
total = sum(2 * k for k in range(1, 101))
print(total)
```

By pairs: $2 + 200 = 202$, $4 + 198 = 202$, and so on. There are $50$ pairs, and $50 \\cdot 202 = 10100$.

Hmm, both ways give the same, $2 \\cdot 5050 = 10100$.
</think>
The even numbers up to $200$ are twice the numbers up to $100$:

$$2 \\cdot \\frac{{100 \\cdot 101}}{{2}} = \\boxed{{10100}}$$

| pairs | each | sum |
|---|---|---|
| 50 | 202 | **10100** |
"""


def _made_up_reply(warehouse: Any) -> None:
    """A long reply with formulas, code and a stretch in another language, in a queue of its own."""
    from schemas.keys import canonical_json, key
    from schemas.records import Message, Prompt, Trajectory, Verdict, now

    question = "What is the sum of the first \\(100\\) positive even numbers? Put the answer in a box."
    prompt = Prompt.make(
        [Message(role="user", content=question)], domain="math", source="made_up", reference="10100", verifier="math"
    )
    reasoning, answer = REPLY.removeprefix("<think>").split("</think>")
    reply = Trajectory(
        trajectory_id=key("pictures"), prompt_id=prompt.prompt_id, stage="cold_start", policy="made-up@1",
        engine="import", sampling="{}", sample_index=0, rendered_key="k", reasoning=reasoning.strip(),
        answer=answer.strip(), text=REPLY, finish_reason="stop", prompt_tokens=24, completion_tokens=420,
        run_id="pictures", created_at=now(),
    )  # fmt: skip
    at = REPLY.index(GERMAN)
    spans = canonical_json({"spans": [[at, at + len(GERMAN), "de"]]})
    told = (("math", "verifier", "pass", 1.0, "", "{}"), ("language_mix", "filter", "fail", 0.93, "mixed", spans))
    warehouse.append("prompts", [prompt])
    warehouse.append("trajectories", [reply])
    warehouse.append(
        "verdicts",
        [
            Verdict(
                trajectory_id=reply.trajectory_id, attempt=1, check=check, version="pictures", kind=kind,  # type: ignore
                against=prompt.against if kind == "verifier" else "", outcome=outcome, score=score, reason=reason,
                details=details, run_id="pictures", created_at=now(),
            )
            for check, kind, outcome, score, reason, details in told
        ],
    )  # fmt: skip
    (warehouse.path / "queues").mkdir(exist_ok=True)
    shipped = (ROOT / "dataengine" / "queues" / "second-look.yaml").read_text(encoding="utf-8")
    head, rest = shipped[: shipped.index("sql: |")], shipped[shipped.index("reviewers:") :]
    sql = f"sql: SELECT '{reply.trajectory_id}' AS trajectory_id\n"
    example = head.replace("queue: second-look", "queue: example") + sql + rest.replace("gold: 0.05", "gold: 0")
    (warehouse.path / "queues" / "example.yaml").write_text(example.replace("repeats: 0.05", "repeats: 0"))
