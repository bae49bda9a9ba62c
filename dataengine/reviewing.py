"""What a person's review does: a verdict of the check `human`, and of an edit a new trajectory beside the old one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from dataengine.generate import run_id
from dataengine.preferring import missing_preferences
from dataengine.prompting import take_apart
from dataengine.runlog import RunLog
from schemas.keys import canonical_json, key, storable
from schemas.records import HUMAN, Outcome, Pair, Review, Role, Trajectory, Verdict, Word, now, reviewer_name
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import item_of, publish
from warehouse.standing import Item
from warehouse.store import Warehouse

RULES = "1"
_MOST_TEXT = 1_000_000
_MOST_NOTE = 20_000


class Taken(NamedTuple):
    """From where a person had what they reviewed; columns of `reviews`."""

    queue: str = ""
    guideline: str = ""
    role: Role = "annotator"
    repeat: int = 0


def review_of(
    seen: Trajectory,
    reviewer: str,
    verdict: Word,
    *,
    text: str | None = None,
    note: str = "",
    tags: Sequence[str] = (),
    review_id: str | None = None,
    taken: Taken | None = None,
) -> Review:
    """A review of an attempt that a person saw, to be submitted to the journal.

    `text` is what an edit made of it; other verdicts may come with the text as it was. `taken` says from which queue it
    was. Raises ValueError, with one line for the reviewer, for what is no review.
    """
    if seen.error is not None:
        raise ValueError("it has no reply: the request failed")
    reviewer, text = reviewer_name(reviewer), None if text is None else storable(text)
    if verdict == "edit":
        if text is None or not text.strip():
            raise ValueError("an edit needs the edited `text`")
        if len(text) > _MOST_TEXT:
            raise ValueError(f"the text is longer than {_MOST_TEXT:,} characters")
        if text.strip() == seen.text.strip():
            raise ValueError("the edited text is the text as it was: approve it, or change it")
    elif text is not None and text.strip() not in ("", seen.text.strip()):
        raise ValueError(f"{verdict}, but the text was changed: say edit, or leave `text` out")
    edited = text if verdict == "edit" else None
    return Review(
        review_id=review_id or uuid4().hex,
        trajectory_id=seen.trajectory_id,
        attempt=seen.attempt,
        reviewer=reviewer,
        verdict=verdict,
        text=edited,
        child_id=None if edited is None else _child_id(seen, reviewer, edited),
        note=_note(note),
        tags=_tags(tags),
        created_at=now(),
        **(taken or Taken())._asdict(),
    )


def preference_of(
    pair: Pair,
    reviewer: str,
    verdict: Word,
    *,
    a_first: bool,
    attempt: int = 1,
    note: str = "",
    tags: Sequence[str] = (),
    review_id: str | None = None,
    taken: Taken | None = None,
) -> Review:
    """A review of a pair of answers; `a_first` says whether the person saw `a` left, `attempt` which one of it."""
    return Review(
        review_id=review_id or uuid4().hex,
        trajectory_id=pair.a_id,
        attempt=attempt,
        pair_id=pair.pair_id,
        a_first=a_first,
        reviewer=reviewer_name(reviewer),
        verdict=verdict,
        note=_note(note),
        tags=_tags(tags),
        created_at=now(),
        **(taken or Taken())._asdict(),
    )


def withdrawal_of(review: Review) -> Review:
    """That the reviewer takes back what they said: a further event, as all."""
    emptied: dict[str, Any] = {"text": None, "child_id": None, "note": "", "tags": [], "seconds": None}
    return review.model_copy(update=emptied | {"review_id": uuid4().hex, "verdict": "withdraw", "created_at": now()})


def _note(note: str) -> str:
    note = storable(note).strip()
    if len(note) > _MOST_NOTE:
        raise ValueError(f"the note is longer than {_MOST_NOTE:,} characters")
    return note


def _tags(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(t for t in (storable(t).strip() for t in tags) if t))


def _policy(reviewer: str) -> str:
    return f"human:{reviewer}"


def _child_id(parent: Trajectory, reviewer: str, text: str) -> str:
    """As the key of a sample, with the reviewer and the text for what was drawn."""
    policy, parent_id = _policy(reviewer), parent.trajectory_id
    return key(parent.prompt_id, parent.stage, parent.rendered_key, policy, {}, 0, parent_id, reviewer, text)


@dataclass
class Settled:
    """What became of the reviews: how many are new in the warehouse, and the rows that came of them."""

    reviews: int = 0
    edits: int = 0
    verdicts: int = 0

    @property
    def worked(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.reviews or self.edits or self.verdicts)


def settle(warehouse: Warehouse) -> Settled:
    """Publishes what was submitted and gives every review its verdict, every edit its trajectory.

    What is left to do is asked of the tables, so it may be killed anywhere and called again, and by several processes
    at once: the rows follow from the table `reviews` alone.
    """
    done = Settled(reviews=publish(warehouse))
    log = RunLog(warehouse, run_id(), "review", {}, [])
    # An edit may be of what another edit made: that one is there in the next round.
    while children := _missing_children(warehouse.path, log.run_id):
        log.begin()
        done.edits += len(warehouse.append("trajectories", children).added)
    for words in _rounds(_missing_verdicts(warehouse.path)):
        log.begin()
        done.verdicts += len(warehouse.append("verdicts", [w.verdict(log.run_id) for w in words]).added)
    for preferred in missing_preferences(warehouse.path, log.run_id):
        log.begin()
        done.verdicts += len(warehouse.append("pair_verdicts", preferred).added)
    log.end("finished", {"edits": done.edits, "verdicts": done.verdicts})
    return done


def _missing_children(path: Path, run: str) -> list[Trajectory]:
    edits = (
        "FROM reviews r JOIN trajectories t USING (trajectory_id, attempt) "
        "ANTI JOIN trajectories c ON c.trajectory_id = r.child_id "
        "WHERE r.verdict = 'edit' AND r.repeat = 0 ORDER BY r.review_id"
    )
    with connect(path, only=("reviews", "trajectories")) as connection:
        reviews = records(connection.execute(f"SELECT r.* {edits}"), Review)
        parents = records(connection.execute(f"SELECT t.* {edits}"), Trajectory)
    return [_child(parent, review, run) for parent, review in zip(parents, reviews, strict=True)]


def _child(parent: Trajectory, edit: Review, run: str) -> Trajectory:
    assert edit.text is not None and edit.child_id is not None
    parts = take_apart(edit.text)
    return Trajectory(
        trajectory_id=edit.child_id,
        prompt_id=parent.prompt_id,
        stage=parent.stage,
        policy=_policy(edit.reviewer),
        engine="review",
        sampling="{}",
        sample_index=0,
        parent_id=parent.trajectory_id,
        rendered_key=parent.rendered_key,
        system_prompt=parent.system_prompt,
        reasoning=parts.reasoning,
        answer=parts.answer,
        text=edit.text,
        finish_reason="stop",
        seconds=edit.seconds,
        run_id=run,
        created_at=now(),
    )


class _Said(NamedTuple):
    """One person's latest word on an attempt, and the review that it is from."""

    word: Word
    review: Review


@dataclass(frozen=True)
class _Opinion:
    """What people together say of an attempt after its `number`-th word."""

    attempt: Item
    number: int
    said: tuple[_Said, ...]
    by: Review

    def verdict(self, run: str) -> Verdict:
        """As a row: one word a person, of which an adjudicator's decides alone."""
        looks, approvals = len(self.said), sum(s.word == "approve" for s in self.said)
        adjudicated = _latest_adjudication(self.said)
        outcome, reason = _told(adjudicated, self.said, looks, approvals)
        details: dict[str, Any] = {"review_id": self.by.review_id, "reviewer": self.by.reviewer, "note": self.by.note}
        details |= {"tags": self.by.tags, "looks": looks, "approvals": approvals}
        return Verdict(
            trajectory_id=self.attempt.item_id,
            attempt=self.attempt.attempt,
            check=HUMAN,
            version=f"{RULES}.{self.number}",
            kind="person",
            outcome=outcome,
            score=approvals / looks if looks else None,
            reason=reason,
            details=canonical_json(details | ({"adjudicated": True} if adjudicated else {})),
            seconds=self.by.seconds,
            run_id=run,
            created_at=now(),
        )


def _latest_adjudication(said: Sequence[_Said]) -> _Said | None:
    by = [s for s in said if s.review.role == "adjudicator" and s.word in ("approve", "reject", "edit")]
    return max(by, key=lambda s: (s.review.created_at, s.review.number), default=None)


def _told(adjudicated: _Said | None, said: Sequence[_Said], looks: int, approvals: int) -> tuple[Outcome, str]:
    """The outcome and its reason: an adjudicator's word, else an edit, a flag, the greater number."""
    if adjudicated is not None:
        outcome: Outcome = "pass" if adjudicated.word == "approve" else "fail"
        return outcome, {"approve": "", "reject": "rejected"}.get(adjudicated.word, "edited")
    words = {s.word for s in said}
    if not looks:
        return "undecided", "withdrawn"
    if "edit" in words:
        return "fail", "edited"
    if "flag" in words:
        return "undecided", "flagged"
    if approvals * 2 > looks:
        return "pass", ""
    if approvals * 2 == looks:
        return "undecided", "disagreement"
    return "fail", "rejected" if "reject" in words else "withdrawn"


# The reviews whose verdict is missing, with all others that have to do with the same attempts: what was said of them,
# of what they were made of, and of what edits made of them.
_UNSETTLED = """
WITH RECURSIVE decisive AS (
    SELECT * FROM reviews WHERE pair_id IS NULL AND repeat = 0
), edits AS (
    SELECT trajectory_id AS one, child_id AS other FROM decisive WHERE verdict = 'edit'
    UNION ALL SELECT child_id, trajectory_id FROM decisive WHERE verdict = 'edit'
), settled AS (
    SELECT trajectory_id, attempt, details ->> 'review_id' AS review_id FROM verdicts WHERE "check" = $check
), family(trajectory_id) AS (
    SELECT trajectory_id FROM decisive ANTI JOIN settled USING (trajectory_id, attempt, review_id)
    UNION SELECT other FROM edits JOIN family ON family.trajectory_id = one
)
SELECT r.* REPLACE (CASE WHEN verdict = 'edit' THEN '' END AS text), s.review_id IS NOT NULL AS is_settled
FROM decisive r
LEFT JOIN settled s USING (trajectory_id, attempt, review_id)
SEMI JOIN family f ON f.trajectory_id = r.trajectory_id
ORDER BY r.created_at, r.number
"""


def _missing_verdicts(path: Path) -> list[list[_Opinion]]:
    """The opinions of each review that has none yet."""
    with connect(path, only=("reviews", "verdicts")) as connection:
        connection.execute(f"CREATE TABLE unsettled AS {_UNSETTLED}", {"check": HUMAN})
        reviews = records(connection.execute("FROM unsettled ORDER BY created_at, number"), Review)
        missing = {r[0] for r in connection.execute("SELECT review_id FROM unsettled WHERE NOT is_settled").fetchall()}
    every = zip(reviews, _opinions(reviews), strict=True)
    return [opinions for review, opinions in every if review.review_id in missing]


def _opinions(reviews: Iterable[Review]) -> Iterator[list[_Opinion]]:
    """What each review makes of the attempts that it has to do with, its own first; reviews in their order."""
    said: dict[Item, dict[str, _Said]] = defaultdict(dict)
    numbers: Counter[Item] = Counter()

    def opinion(attempt: Item, word: _Said) -> _Opinion:
        said[attempt][word.review.reviewer] = word
        if word.word == "withdraw" and attempt.item_id == word.review.trajectory_id:
            # Taken back by themself: as if they had said nothing.
            del said[attempt][word.review.reviewer]
        numbers[attempt] += 1
        return _Opinion(attempt, numbers[attempt], tuple(said[attempt].values()), word.review)

    for review in reviews:
        attempt = item_of(review)
        before = said[attempt].get(review.reviewer)
        made = [opinion(attempt, _Said(review.verdict, review))]
        if before is not None and before.word == "edit" and before.review.child_id != review.child_id:
            # Another word takes the place of an edit: what the edit made goes with it, unless they looked at it since.
            child = _child_of(before.review)
            approval = said[child].get(review.reviewer)
            if approval is not None and approval.review is before.review:
                made.append(opinion(child, _Said("withdraw", review)))
        if review.verdict == "edit":
            made.append(opinion(_child_of(review), _Said("approve", review)))
        yield made


def _child_of(edit: Review) -> Item:
    assert edit.child_id is not None
    return Item(edit.child_id, 1)


def _rounds(reviews: Sequence[list[_Opinion]]) -> Iterator[list[_Opinion]]:
    """The opinions in commits: those of a review together; of an attempt one in each, so that its last is latest."""
    rounds: dict[int, list[_Opinion]] = defaultdict(list)
    after: Counter[Item] = Counter()
    for opinions in reviews:
        place = max(after[o.attempt] for o in opinions)
        rounds[place] += opinions
        after.update({o.attempt: place + 1 - after[o.attempt] for o in opinions})
    for place in sorted(rounds):
        yield rounds[place]
