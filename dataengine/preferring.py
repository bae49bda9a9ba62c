"""What people's words on pairs of answers come to: verdicts of the check `human` in the table `pair_verdicts`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.keys import canonical_json
from schemas.records import HUMAN, Outcome, PairVerdict, Review, now
from warehouse.connect import connect
from warehouse.fetching import records

_RULES = "1"
_VOTES = {"prefer_a": 1, "tie": 0, "prefer_b": -1}

# All words on the pairs of which one has no verdict yet, in their order.
_UNSETTLED = """
WITH settled AS (
    SELECT pair_id, details ->> 'review_id' AS review_id FROM pair_verdicts WHERE "check" = $check
), said AS (
    SELECT * FROM reviews WHERE pair_id IS NOT NULL AND repeat = 0
)
SELECT r.*, s.review_id IS NOT NULL AS is_settled
FROM said r
LEFT JOIN settled s USING (pair_id, review_id)
SEMI JOIN (FROM said ANTI JOIN settled USING (pair_id, review_id)) open ON open.pair_id = r.pair_id
ORDER BY r.created_at, r.number
"""


def missing_preferences(path: Path, run: str) -> Iterator[list[PairVerdict]]:
    """The verdicts of reviews of pairs that have none yet, in commits: of one pair a verdict in each."""
    with connect(path, only=("reviews", "pair_verdicts")) as connection:
        connection.execute(f"CREATE TABLE unsettled AS {_UNSETTLED}", {"check": HUMAN})
        reviews = records(connection.execute("FROM unsettled ORDER BY created_at, number"), Review)
        missing = {r[0] for r in connection.execute("SELECT review_id FROM unsettled WHERE NOT is_settled").fetchall()}
    rounds: dict[int, list[PairVerdict]] = defaultdict(list)
    place: Counter[str] = Counter()
    for review, verdict in zip(reviews, _verdicts(reviews, run), strict=True):
        if review.review_id in missing:
            rounds[place[verdict.pair_id]].append(verdict)
            place[verdict.pair_id] += 1
    for number in sorted(rounds):
        yield rounds[number]


def _verdicts(reviews: Iterable[Review], run: str) -> Iterator[PairVerdict]:
    said: dict[str, dict[str, Review]] = defaultdict(dict)
    numbers: Counter[str] = Counter()
    for review in reviews:
        assert review.pair_id is not None
        words = said[review.pair_id]
        words.pop(review.reviewer, None)
        if review.verdict != "withdraw":
            words[review.reviewer] = review
        numbers[review.pair_id] += 1
        yield _verdict(review, list(words.values()), numbers[review.pair_id], run)


def _verdict(latest: Review, said: list[Review], number: int, run: str) -> PairVerdict:
    """What stands after a pair's `number`-th word; `said` is one word a person, the latest last."""
    assert latest.pair_id is not None and latest.a_first is not None
    outcome, score, reason = _told(said)
    details = {
        "review_id": latest.review_id,
        "reviewer": latest.reviewer,
        "note": latest.note,
        "tags": latest.tags,
        "looks": len(said),
        "for_a": sum(r.verdict == "prefer_a" for r in said),
        "for_b": sum(r.verdict == "prefer_b" for r in said),
    }
    return PairVerdict(
        pair_id=latest.pair_id,
        check=HUMAN,
        version=f"{_RULES}.{number}",
        draw=0,
        draws=1,
        a_first=latest.a_first,
        outcome=outcome,
        score=score,
        reason=reason,
        details=canonical_json(details),
        seconds=latest.seconds,
        run_id=run,
        created_at=now(),
    )


def _told(said: list[Review]) -> tuple[Outcome, float | None, str]:
    """Outcome, score and reason of people's words: an adjudicator's latest alone, else all of them.

    The score is above 1 where more people prefer `a` than `b`, 2 where all do, below -1 the other way round, and 0
    where neither side has more: the view `preferences` keeps what is beyond 1, as it does of judges.
    """
    decided = [r for r in said if r.role == "adjudicator" and r.verdict in _VOTES]
    if not decided and any(r.verdict == "flag" for r in said):
        return "undecided", None, "flagged"
    votes = [_VOTES[r.verdict] for r in (decided[-1:] or said)]
    if not votes:
        return "undecided", None, "withdrawn"
    mean = sum(votes) / len(votes)
    if not mean:
        return "undecided", 0.0, "tie" if not any(votes) else "disagreement"
    return ("pass", 1 + mean, "") if mean > 0 else ("fail", mean - 1, "")
