"""What people said beside what judges and rules said of the same attempts and pairs: tables, kappa, the rows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dashboards.lead.context import Rows
from dataengine.agreement import Figure, cohen
from schemas.access import GOLD
from schemas.records import HUMAN

#: What people say, and what of it is held against the outcome of a check; a flag is neither.
SAYS = {"approve": "pass", "edit": "fail", "reject": "fail"}
PREFERS = {"prefer_a": "a", "tie": "tie", "prefer_b": "b"}
OUTCOMES = ("pass", "fail", "undecided", "error")
SIDES = ("a", "tie", "b", "undecided")
_COMPARED = {"attempts": ("pass", "fail"), "pairs": ("a", "tie", "b")}

# People's and checks' words on one attempt or pair, one row for each two; `told` is what the check said.
_BESIDE = """
SELECT 'attempts' AS rows, v."check", v.kind, v.version, v.outcome AS told, v.score, r.reviewer, r.verdict AS said,
    r.trajectory_id AS id, r.queue
FROM reviews_current r
JOIN verdicts_current v ON v.trajectory_id = r.trajectory_id AND v.attempt = r.attempt
WHERE v.kind IN ('judge', 'verifier') AND r.pair_id IS NULL AND NOT r.by_editing AND r.reviewer <> $2
    AND ($1 = '' OR r.queue = $1)
"""
_BESIDE_PAIRS = """
SELECT 'pairs' AS rows, p."check", CASE p."check" WHEN 'rule' THEN 'verifier' ELSE 'judge' END AS kind, p.version,
    CASE sign(p.score) WHEN 1 THEN 'a' WHEN -1 THEN 'b' WHEN 0 THEN 'tie' ELSE 'undecided' END AS told, p.score,
    r.reviewer, r.verdict AS said, r.pair_id AS id, r.queue
FROM reviews_current r
JOIN preferences p ON p.pair_id = r.pair_id
WHERE p."check" <> $3 AND r.reviewer <> $2 AND ($1 = '' OR r.queue = $1)
"""


class Beside(NamedTuple):
    """A check beside people: of attempts or of pairs, in one version."""

    rows: str
    check: str
    kind: str
    version: str
    cells: Mapping[tuple[str, str], int]
    """(What a person said, what the check told) -> how often."""
    kappa: Figure
    """Of what both could tell: people's flags and what the check could not decide are no words."""
    by_person: Mapping[str, Figure]

    @property
    def n(self) -> int:
        """People's words beside a verdict of the check."""
        return sum(self.cells.values())

    @property
    def agreement(self) -> float | None:
        """The share of what both could tell in which they say the same."""
        table = _table(self.rows, self.cells)
        n = sum(map(sum, table))
        return sum(table[i][i] for i in range(len(table))) / n if n else None


def beside(rows: Rows, queue: str = "") -> list[Beside]:
    """Each check that judged what people judged; rules first, then judges by name."""
    counted: dict[tuple[str, str, str, str], Counter[tuple[str, str, str]]] = defaultdict(Counter)
    columns = 'rows, "check", kind, version, reviewer, said, told'
    for sql, parameters in ((_BESIDE, [queue, GOLD]), (_BESIDE_PAIRS, [queue, GOLD, HUMAN])):
        for r in rows(f"SELECT {columns}, count(*) AS n FROM ({sql}) GROUP BY ALL", parameters):
            counted[r["rows"], r["check"], r["kind"], r["version"]][r["reviewer"], r["said"], r["told"]] = r["n"]
    found = []
    for (of, check, kind, version), cells in counted.items():
        people: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for (who, said, told), n in cells.items():
            people[who][said, told] += n
        together = sum(people.values(), Counter[tuple[str, str]]())
        by_person = {who: cohen(_table(of, them)) for who, them in sorted(people.items())}
        found.append(Beside(of, check, kind, version, together, cohen(_table(of, together)), by_person))
    return sorted(found, key=lambda b: (b.rows, b.kind != "verifier", b.check, b.version))


def differing(
    rows: Rows, one: Beside, *, queue: str = "", said: str | None = None, told: str | None = None, most: int = 100
) -> list[dict[str, Any]]:
    """The rows in which people and a check differ, or said and told as asked for: id, reviewer, said, told, score."""
    sql = _BESIDE if one.rows == "attempts" else _BESIDE_PAIRS
    parameters: list[Any] = [queue, GOLD]
    if one.rows == "pairs":
        parameters.append(HUMAN)
    at = len(parameters)
    conditions = [f'"check" = ${at + 1}', f"version = ${at + 2}"]
    parameters += [one.check, one.version]
    if said is None and told is None:
        words = SAYS if one.rows == "attempts" else PREFERS
        cases = " ".join(f"WHEN '{word}' THEN '{stands}'" for word, stands in words.items())
        conditions.append(f"CASE said {cases} END <> told AND told IN {_COMPARED[one.rows]}")
    for column, value in (("said", said), ("told", told)):
        if value is not None:
            parameters.append(value)
            conditions.append(f"{column} = ${len(parameters)}")
    return rows(
        f"SELECT id, reviewer, said, told, score, queue FROM ({sql}) WHERE {' AND '.join(conditions)} "
        f"ORDER BY id, reviewer LIMIT {int(most)}",
        parameters,
    )


def _table(of: str, cells: Mapping[tuple[str, str], int]) -> Sequence[Sequence[int]]:
    """What both could tell, as a square: what people said by what the check told."""
    labels, words = _COMPARED[of], SAYS if of == "attempts" else PREFERS
    table = [[0] * len(labels) for _ in labels]
    for (said, told), n in cells.items():
        if said in words and told in labels:
            table[labels.index(words[said])][labels.index(told)] += n
    return table


def counts(one: Beside) -> Iterable[dict[str, Any]]:
    """The cells as rows for a chart, empty ones included: said, told, n."""
    words = (*(SAYS if one.rows == "attempts" else PREFERS), "flag")
    for said in words:
        for told in OUTCOMES if one.rows == "attempts" else SIDES:
            yield {"said": said, "told": told, "n": one.cells.get((said, told), 0)}
