"""Preferences that somebody has already: two replies to one prompt, and which of them was chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dataengine.checking import check_missing
from dataengine.reusing import Reply, Taken
from dataengine.runlog import RunLog
from dataengine.sources.chats import CHATS, Turn, answered, refuse_no_question, turn_of, turns_of
from dataengine.sources.files import prompt_of, reader_of, reason_of
from dataengine.sources.rows import read_rows
from schemas.errors import InputError
from schemas.keys import canonical_json, key
from schemas.recipe import ImportStep
from schemas.records import Pair, PairVerdict, now
from warehouse.connect import connect
from warehouse.store import Warehouse

CHECK = "imported"
RULES = "1"
# The most that a judge may say: the file says no more than which is better, and a lower score would not be kept.
SCORE = 2.0
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Preference:
    """A pair of replies as a file has it, and where."""

    chosen: Reply
    rejected: Reply
    place: str

    @property
    def ends(self) -> tuple[str, str]:
        """The two trajectories' ids, a and b: in an order that does not tell which was chosen."""
        a, b = sorted((self.chosen.trajectory_id, self.rejected.trajectory_id))
        return a, b

    @property
    def pair_id(self) -> str:
        """The pair's id."""
        return key(*self.ends)

    def rows(self, run_id: str) -> tuple[Pair, PairVerdict]:
        """The pair, and what the file says of it."""
        a, b = self.ends
        better = a == self.chosen.trajectory_id
        pair = Pair(
            pair_id=self.pair_id,
            prompt_id=self.chosen.prompt.prompt_id,
            a_id=a,
            b_id=b,
            run_id=run_id,
            created_at=now(),
        )
        verdict = PairVerdict(
            pair_id=self.pair_id,
            check=CHECK,
            version=RULES,
            draw=0,
            draws=1,
            a_first=True,
            outcome="pass" if better else "fail",
            score=SCORE if better else -SCORE,
            reason="chosen_in_file",
            details=canonical_json({"source": self.chosen.name, "place": self.place}),
            run_id=run_id,
            created_at=now(),
        )
        return pair, verdict


@dataclass
class FoundPairs:
    """What a file holds: read = the preferences + `repeated` + as many as there are `notes`."""

    preferences: list[Preference]
    read: int
    repeated: int
    notes: list[str]


def find_pairs(step: ImportStep) -> FoundPairs:
    """Reads the preferences of a file; a pair that stands there the other way round is left out and named.

    Raises ConfigError or InputError for a file that holds none.
    """
    path = Path(step.path).expanduser()
    fields_of = reader_of(step)
    found = FoundPairs([], 0, 0, [])
    seen: dict[tuple[str, str], Preference] = {}
    for row in read_rows(path):
        found.read += 1
        try:
            if row.problem:
                raise ValueError(row.problem)
            preference = _preference(step, fields_of(row.value), row.place)
            first = seen.setdefault(preference.ends, preference)
            if first.chosen.trajectory_id != preference.chosen.trajectory_id:
                raise ValueError(f"the pair of {first.place} the other way round")
        except (ValueError, KeyError, TypeError) as e:
            found.notes.append(f"{row.place}: left out: {reason_of(e, row.value)}")
            continue
        if first is preference:
            found.preferences.append(preference)
        else:
            found.repeated += 1
    if not found.preferences:
        detail = f"; first problem: {found.notes[0]}" if found.notes else ""
        raise InputError(f"{path}: no pair in it{detail}")
    return found


def _preference(step: ImportStep, fields: Mapping[str, Any], place: str) -> Preference:
    (name,) = step.names
    before, chosen = _reply(fields["chosen"])
    also_before, rejected = _reply(fields["rejected"])
    if before != also_before:
        raise ValueError("`chosen` and `rejected` answer different conversations")
    if chosen == rejected:
        raise ValueError("`chosen` and `rejected` say the same")
    given = dict(fields)
    if step.layout in CHATS and "response" in given:
        raise ValueError("the conversation before `chosen` and `rejected` ends with an answer")
    if before:
        given["messages"] = before
    elif isinstance(given.get("prompt"), list):
        given["messages"] = turns_of(given["prompt"])
    if given.get("messages"):
        given["messages"] = turns_of(given["messages"])
        refuse_no_question(given["messages"])
    prompt = prompt_of(given, name, place, step.license)
    made = [Reply.make(prompt, text, step.stage, step.policy, name) for text in (chosen, rejected)]
    return Preference(made[0], made[1], place)


def _reply(given: Any) -> tuple[list[Turn], str]:
    """What was asked, where the reply comes with it, and the reply: text, one turn, or a conversation."""
    if isinstance(given, str):
        turns = [{"role": "assistant", "content": given}]
    elif isinstance(given, Mapping):
        turns = [turn_of(given)]
    else:
        turns = turns_of(given)
    if len(turns) > 1:
        return answered(turns)
    if turns[0]["role"] != "assistant":
        raise ValueError("`chosen` or `rejected` is no turn of an assistant")
    if not turns[0]["content"].strip():
        raise ValueError("`chosen` or `rejected` is empty")
    return [], turns[0]["content"]


def take_pairs(warehouse: Warehouse, run: RunLog, step: ImportStep, found: FoundPairs) -> Taken:
    """Writes the replies of each pair, the pair, and what the file says of it; what is there stays as it is.

    May be killed anywhere and called again: a pair is written after its replies, and its verdict last.
    """
    added = 0
    missing = iter(_missing(warehouse.path, found.preferences))
    while batch := list(islice(missing, _BATCH)):
        run.begin()
        replies = [reply for p in batch for reply in (p.chosen, p.rejected)]
        rows = [p.rows(run.run_id) for p in batch]
        warehouse.append("prompts", [p.chosen.prompt for p in batch])
        warehouse.append("trajectories", [reply.row(run.run_id) for reply in replies])
        warehouse.append("pairs", [pair for pair, _ in rows])
        added += len(warehouse.append("pair_verdicts", [verdict for _, verdict in rows]).added)
    ids = list(dict.fromkeys(ident for p in found.preferences for ident in p.ends))
    return Taken(added, check_missing(warehouse, run, "import", step.check_specs, ids))


def _missing(path: Path, preferences: Sequence[Preference]) -> list[Preference]:
    with connect(path, only=("pair_verdicts",)) as connection:
        said = 'SELECT pair_id FROM pair_verdicts WHERE "check" = ? AND version = ?'
        there = {row[0] for row in connection.execute(said, [CHECK, RULES]).fetchall()}
    return [p for p in preferences if p.pair_id not in there]
