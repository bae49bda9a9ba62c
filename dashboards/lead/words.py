"""Who said what of which item in a queue: what the figures of leads are worked out from."""

from datetime import datetime
from typing import NamedTuple

from dashboards.lead.context import Rows
from schemas.access import GOLD

#: Of each verdict whether it says that the item may stand; None where it says neither.
STANDS: dict[str, bool | None] = {"approve": True, "reject": False, "edit": False, "flag": None}
#: What may be said of attempts and of pairs, in the order in which it is shown; that of pairs is a scale.
OF_ATTEMPTS = ("approve", "edit", "reject", "flag")
OF_PAIRS = ("prefer_a", "tie", "prefer_b", "flag")

#: The item of a row of `reviews`: a pair, or an attempt.
ITEM = "coalesce({0}pair_id, {0}trajectory_id || '/' || {0}attempt)"
_GOLD_ITEMS = f"SELECT {ITEM.format('')} AS item FROM reviews_current WHERE reviewer = $2"

# The words of a queue that can be held against each other. Who decides after others has seen their words; what editors
# think of their own text is no second opinion; items with a known answer are given to all, and would count most.
_WORDS = f"""
SELECT {ITEM.format("")} AS item, reviewer, verdict, guideline, created_at
FROM reviews_current
WHERE queue = $1 AND NOT by_editing AND role <> 'adjudicator' AND reviewer <> $2
    AND {ITEM.format("")} NOT IN ({_GOLD_ITEMS})
ORDER BY created_at, number
"""
# What was said to items with a known answer, beside that answer.
_AT_GOLD = f"""
SELECT {ITEM.format("r.")} AS item, r.reviewer, r.verdict, g.verdict AS known, r.created_at
FROM reviews_current r
JOIN reviews_current g ON g.reviewer = $2 AND {ITEM.format("g.")} = {ITEM.format("r.")} AND NOT g.by_editing
WHERE r.reviewer <> $2 AND NOT r.by_editing AND ($1 = '' OR r.queue = $1)
ORDER BY r.created_at, r.number
"""
# The first word and the latest one to the same item that came again.
_AGAIN = f"""
WITH again AS (
    SELECT {ITEM.format("")} AS item, reviewer, verdict, created_at FROM reviews
    WHERE repeat > 0 AND ($1 = '' OR queue = $1)
    QUALIFY row_number() OVER (
        PARTITION BY {ITEM.format("")}, reviewer, repeat ORDER BY created_at DESC, number DESC
    ) = 1
)
SELECT item, a.reviewer, f.verdict AS first, a.verdict AS second, a.created_at
FROM again a
JOIN (SELECT *, {ITEM.format("")} AS item FROM reviews_current WHERE NOT by_editing) f USING (item, reviewer)
WHERE a.verdict <> 'withdraw'
ORDER BY a.created_at, item
"""
_GUIDELINES = """
SELECT guideline AS version, min(created_at) AS since, count(*) AS words
FROM reviews
WHERE queue = $1 AND guideline <> ''
GROUP BY guideline ORDER BY since
"""


class Word(NamedTuple):
    """What one person last said of an item."""

    item: str
    reviewer: str
    verdict: str
    guideline: str
    at: datetime


class Answered(NamedTuple):
    """What one person said of an item with a known answer."""

    item: str
    reviewer: str
    verdict: str
    known: str
    at: datetime

    @property
    def right(self) -> bool | None:
        """Whether it says what is known: of a reply that it may stand, or not, however; None for neither."""
        if self.verdict == "flag":
            return None
        if self.known not in STANDS:
            return self.verdict == self.known
        return STANDS.get(self.verdict) == STANDS[self.known]


class Twice(NamedTuple):
    """What one person said of an item, and when it came again."""

    item: str
    reviewer: str
    first: str
    second: str
    at: datetime


class Guideline(NamedTuple):
    """A version of a queue's guideline, and the first word that was said by it."""

    version: str
    since: datetime
    words: int


def words(rows: Rows, queue: str) -> list[Word]:
    """The words of a queue that can be compared, in their order."""
    return [Word(*r.values()) for r in rows(_WORDS, [queue, GOLD])]


def at_gold(rows: Rows, queue: str = "") -> list[Answered]:
    """What people said to items with a known answer, in a queue or in all."""
    return [Answered(*r.values()) for r in rows(_AT_GOLD, [queue, GOLD])]


def twice(rows: Rows, queue: str = "") -> list[Twice]:
    """What people said to items that came again."""
    return [Twice(*r.values()) for r in rows(_AGAIN, [queue])]


def guidelines(rows: Rows, queue: str) -> list[Guideline]:
    """The versions of a queue's guideline that people judged by, the oldest first."""
    return [Guideline(*r.values()) for r in rows(_GUIDELINES, [queue])]
