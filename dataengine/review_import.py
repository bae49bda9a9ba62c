"""Reviews from a file: which trajectory or pair each is of, what the reviewer said, and why a row cannot be taken."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataengine.reviewing import preference_of, review_of
from dataengine.sources.files import reason_of, refuse_unknown
from dataengine.sources.rows import read_rows
from schemas.errors import ConfigError, InputError
from schemas.keys import key, storable
from schemas.recipe import FileSpec
from schemas.records import OF_PAIRS, Pair, Review, Trajectory
from warehouse.connect import connect
from warehouse.fetching import records
from warehouse.journal import Journal
from warehouse.store import Warehouse
from warehouse.views import names_in

FIELDS = ("trajectory_id", "prompt", "response", "pair_id", "a_first", "reviewer", "verdict", "text", "note", "tags")
# `withdraw` is of what somebody said in the app.
WORDS = ("approve", "reject", "edit", "flag", *OF_PAIRS)
_BATCH = 5000
_ID = 64
_SHORTEST = 4


@dataclass(frozen=True)
class _Row:
    """A row of the file that says what a review has to say."""

    place: str
    fields: dict[str, Any]


def import_reviews(warehouse: Warehouse, spec: FileSpec, notes: list[str]) -> tuple[int, int, int]:
    """Submits the reviews of a file to the journal: how many rows it has, how many reviews are new, how many known.

    A row that cannot be taken is named in `notes`. The same row again is the same review. Raises ConfigError for
    settings that mean nothing here, InputError for a file without any review.
    """
    rows, read = _rows(spec, notes)
    added = known = 0
    with Journal(warehouse) as journal:
        for start in range(0, len(rows), _BATCH):
            reviews = _reviews(warehouse.path, rows[start : start + _BATCH], notes)
            new = len(journal.submit(reviews))
            added, known = added + new, known + len(reviews) - new
    return read, added, known


def _rows(spec: FileSpec, notes: list[str]) -> tuple[list[_Row], int]:
    refuse_unknown(spec.map, FIELDS)
    for option in ("layout", "domain", "language", "verifier", "license"):
        if getattr(spec, option):
            raise ConfigError(f"--{option} says nothing about reviews; leave it out")
    path = Path(spec.path).expanduser()
    rows, read = [], 0
    for row in read_rows(path):
        read += 1
        try:
            if row.problem:
                raise ValueError(row.problem)
            fields = {f: row.value[f] for f in FIELDS if f in row.value}
            fields |= {f: row.value[c] for f, c in spec.map.items() if c in row.value}
            rows.append(_Row(row.place, _fields({f: v for f, v in fields.items() if v not in (None, "")})))
        except (ValueError, TypeError) as e:
            notes.append(f"{row.place}: left out: {reason_of(e, row.value)}")
    if not rows:
        detail = f"; first problem: {notes[0]}" if notes else ""
        raise InputError(f"{path}: no review in it{detail}")
    return rows, read


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """A row's fields, each of the type that it has to be."""
    for field, value in given.items():
        if field not in ("tags", "a_first") and not isinstance(value, str):
            raise ValueError(f"`{field}` is {type(value).__name__}, not text")
    for field in ("reviewer", "verdict"):
        if field not in given:
            raise ValueError(f"there is no `{field}`; name its column with --map {field}=COLUMN")
    word = given["verdict"].strip().lower()
    if word not in WORDS:
        raise ValueError(f"the verdict is {given['verdict']!r}; there are: {', '.join(WORDS)}")
    tags = given.get("tags", [])
    tags = tags.split(",") if isinstance(tags, str) else tags
    if not isinstance(tags, list) or not all(isinstance(t, str) for t in tags):
        raise ValueError("`tags` is neither a list of texts nor a text with commas")
    texts = {f: storable(v) for f, v in given.items() if isinstance(v, str)} | {"verdict": word, "tags": tags}
    if "pair_id" in given:
        return texts | {"pair_id": _id(given["pair_id"]), "a_first": _shown_first(given.get("a_first", True))}
    if word in OF_PAIRS:
        raise ValueError(f"{word} is said of a pair: give its `pair_id`")
    if not given.get("trajectory_id") and not ("prompt" in given and "response" in given):
        raise ValueError("it names no trajectory: give `trajectory_id`, or `prompt` and `response`")
    return texts | {"trajectory_id": _id(given.get("trajectory_id", ""))}


def _id(given: str) -> str:
    ident = given.strip().lower()
    if given and (len(ident) < _SHORTEST or set(ident) - set("0123456789abcdef")):
        raise ValueError(f"{ident!r} is no id: give at least {_SHORTEST} of its hexadecimal characters")
    return ident


def _shown_first(given: Any) -> bool:
    known = {"true": True, "false": False, "1": True, "0": False}
    told = known.get(str(given).strip().lower())
    if told is None:
        raise ValueError(f"`a_first` is {given!r}; there are: true and false")
    return told


def _reviews(path: Path, rows: Sequence[_Row], notes: list[str]) -> list[Review]:
    found, pairs = _trajectories(path, rows), _pairs(path, rows)
    reviews = []
    for number, row in enumerate(rows):
        try:
            of_pair = "pair_id" in row.fields
            reviews.append(
                _preference(row.fields, pairs[row.fields["pair_id"]])
                if of_pair
                else _review(row.fields, found.get(number, []))
            )
        except ValueError as e:
            notes.append(f"{row.place}: left out: {reason_of(e, row.fields)}")
    return reviews


def _review(fields: dict[str, Any], seen: Sequence[Trajectory]) -> Review:
    ident, response = fields["trajectory_id"], fields.get("response")
    named = f"an id that starts with {ident}" if ident else "this prompt and response"
    if not seen:
        raise ValueError(f"no trajectory has {named}")
    if len(seen) > 1:
        listed = ", ".join(t.trajectory_id[:16] for t in seen[:3])
        raise ValueError(f"{len(seen)} trajectories have {named}: {listed} ...; give more of its `trajectory_id`")
    if response is not None and response.strip() != seen[0].text.strip():
        raise ValueError("its `response` is not the text that the trajectory has now; look at it again")
    said = {f: fields[f] for f in ("text", "note") if f in fields}
    review = review_of(seen[0], fields["reviewer"], fields["verdict"], tags=fields["tags"], **said)
    # From what it says, so that the same row is the same review.
    content = review.model_dump(include={"trajectory_id", "attempt", "reviewer", "verdict", "text", "note", "tags"})
    return review.model_copy(update={"review_id": key("import", content)})


def _preference(fields: dict[str, Any], seen: Sequence[tuple[Pair, int]]) -> Review:
    named = f"an id that starts with {fields['pair_id']}"
    if len(seen) != 1:
        raise ValueError(f"{len(seen) or 'no'} pairs have {named}" + ("; give more of it" if seen else ""))
    if fields["verdict"] not in (*OF_PAIRS, "flag"):
        raise ValueError(f"{fields['verdict']} is not said of a pair; there are: {', '.join(OF_PAIRS)}, flag")
    if "text" in fields:
        raise ValueError("`text` says nothing about a pair; leave it out")
    ((pair, attempt),) = seen
    said = {f: fields[f] for f in ("note", "tags", "a_first") if f in fields}
    review = preference_of(pair, fields["reviewer"], fields["verdict"], attempt=attempt, **said)
    content = review.model_dump(include={"pair_id", "a_first", "reviewer", "verdict", "note", "tags"})
    return review.model_copy(update={"review_id": key("import", content)})


def _pairs(path: Path, rows: Sequence[_Row]) -> dict[str, list[tuple[Pair, int]]]:
    """The pairs that an id or its start may mean, each with the current attempt of its first answer."""
    asked = sorted({row.fields["pair_id"] for row in rows if "pair_id" in row.fields})
    found: dict[str, list[tuple[Pair, int]]] = {ident: [] for ident in asked}
    if not asked:
        return found
    with connect(path, only=("pairs", "trajectories_current")) as connection:
        connection.execute("CREATE TABLE asked AS SELECT unnest(?::VARCHAR[]) AS ident", [asked])
        matched = (
            "FROM asked JOIN pairs ON pair_id >= ident AND pair_id < ident || 'g' "
            "JOIN trajectories_current t ON t.trajectory_id = a_id ORDER BY ident, pair_id"
        )
        places = connection.execute(f"SELECT ident, attempt {matched}").fetchall()
        pairs = records(connection.execute(f"SELECT pairs.* {matched}"), Pair)
    for (ident, attempt), pair in zip(places, pairs, strict=True):
        found[ident].append((pair, attempt))
    return found


# By the whole id, by its start (hexadecimal digits stand before g), or by what was asked and answered.
_MATCHED = f"""
WITH ids AS (
    SELECT row, t.trajectory_id FROM asked JOIN trajectories_current t ON t.trajectory_id = asked.ident
    UNION ALL
    SELECT row, t.trajectory_id FROM asked
    JOIN trajectories_current t ON t.trajectory_id >= asked.ident AND t.trajectory_id < asked.ident || 'g'
    WHERE length(asked.ident) BETWEEN 1 AND {_ID - 1}
    UNION ALL
    SELECT row, t.trajectory_id FROM asked
    JOIN prompts_current p ON trim(p.messages[-1].content, $space) = trim(asked.prompt, $space)
    JOIN trajectories_current t ON t.prompt_id = p.prompt_id
        AND trim(t.text, $space) = trim(asked.response, $space)
    WHERE asked.ident = '' AND t.error IS NULL
)
"""


def _trajectories(path: Path, rows: Sequence[_Row]) -> dict[int, list[Trajectory]]:
    """The trajectories that each row may mean, by the row's number; their current attempts."""
    of_replies = [r.fields if "pair_id" not in r.fields else {} for r in rows]
    columns = [[fields.get(f) for fields in of_replies] for f in ("trajectory_id", "prompt", "response")]
    with connect(path, only=names_in(_MATCHED)) as connection:
        connection.execute(
            "CREATE TABLE asked AS SELECT unnest(?::BIGINT[]) AS row, unnest(?::VARCHAR[]) AS ident, "
            "unnest(?::VARCHAR[]) AS prompt, unnest(?::VARCHAR[]) AS response",
            [list(range(len(rows))), *columns],
        )
        connection.execute(f"CREATE TABLE matched AS {_MATCHED} SELECT DISTINCT * FROM ids", {"space": " \n\r\t"})
        numbers = defaultdict(list)
        for number, ident in connection.execute("SELECT row, trajectory_id FROM matched ORDER BY ALL").fetchall():
            numbers[ident].append(number)
        seen = records(
            connection.execute(
                "SELECT * FROM trajectories_current SEMI JOIN matched USING (trajectory_id) ORDER BY trajectory_id"
            ),
            Trajectory,
        )
    found = defaultdict(list)
    for trajectory in seen:
        for number in numbers[trajectory.trajectory_id]:
            found[number].append(trajectory)
    return found
