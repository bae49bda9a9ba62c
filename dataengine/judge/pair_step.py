"""A judge of pairs asked about what it has not compared: draw by draw, each a row."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from dataengine.checks import Opinion
from dataengine.engines.fleet import Fleet
from dataengine.in_flight import ask_all
from dataengine.judge.judge import question_of
from dataengine.judge.preference import Draw, PairCase, PairJudge
from dataengine.judge.step import Judged, judge_fleets, read_aside
from dataengine.progress import Progress
from dataengine.runlog import RunLog
from schemas.keys import canonical_json
from schemas.records import Message, PairVerdict, now
from warehouse.connect import connect
from warehouse.store import Warehouse
from warehouse.views import names_in

# Pairs that are read at once while others are asked about.
_WINDOW = 256


@dataclass(frozen=True, slots=True)
class _Due:
    """A draw that is missing."""

    case: PairCase
    draw: int


def judge_pairs(warehouse: Warehouse, run: RunLog, label: str, judge: PairJudge, pair_ids: Sequence[str]) -> Judged:
    """Makes those draws of the pairs that this very judge has not made, and writes each, in batches as they come.

    Raises EngineError when an engine cannot be reached; what was answered before is kept.
    """
    with connect(warehouse.path, only=names_in(_DUE + _TEXTS)) as connection:
        connection.execute("CREATE TABLE wanted AS SELECT unnest(?::VARCHAR[]) AS pair_id", [list(pair_ids)])
        parameters = {"name": judge.name, "version": judge.version, "draws": judge.asked}
        count = connection.execute(f"WITH due AS ({_DUE}) SELECT coalesce(sum(len(draws)), 0) FROM due", parameters)
        ((missing,),) = count.fetchall()
        if not missing:
            return Judged()
        step = _Step(warehouse, run, judge)
        asyncio.run(step.ask(label, _due(connection, judge, parameters), int(missing)))
        return step.judged


class PairAsker:
    """Puts pairs to a judge's engines; may be called from many tasks. `failed` counts replies that never came."""

    def __init__(self, judge: PairJudge, fleets: Sequence[Fleet], progress: Progress, failed: Judged) -> None:
        self._judge = judge
        self._fleets = fleets
        self._progress = progress
        self._failed = failed

    async def draw(self, case: PairCase, draw: int) -> Draw | None:
        """One draw; None when the request failed for good: what is missing is asked for again, not made up."""
        if (known := self._judge.unasked(case, draw)) is not None:
            self._progress.advance(1)
            return known
        number, _ = self._judge.policy_of(draw)
        self._progress.started()
        reply = await self._fleets[number].complete(self._judge.request_of(case, draw))
        self._progress.finished(reply.completion_tokens or 0, reply.error)
        if reply.error is not None:
            self._failed.fail(reply.error)
            return None
        return self._judge.draw_of(case, draw, reply)

    async def opinion(self, case: PairCase) -> Opinion | None:
        """What all draws say together; None when one is missing."""
        draws = await asyncio.gather(*(self.draw(case, number) for number in range(self._judge.asked)))
        made = [draw for draw in draws if draw is not None]
        return self._judge.opinion(made) if len(made) == len(draws) else None


class _Step:
    def __init__(self, warehouse: Warehouse, run: RunLog, judge: PairJudge) -> None:
        self._warehouse = warehouse
        self._run = run
        self._judge = judge
        self.judged = Judged()

    async def ask(self, label: str, windows: Iterator[list[_Due]], count: int) -> None:
        log = self._warehouse.path / "logs" / f"{self._run.run_id}-{self._judge.name}"
        self.judged.asked = count
        async with judge_fleets(self._judge, log) as fleets:
            # Nothing is written before there is somebody to ask.
            self._run.begin()
            with Progress(label, count) as progress:
                asker = PairAsker(self._judge, fleets, progress, self.judged)

                async def verdict(due: _Due) -> PairVerdict | None:
                    said = await asker.draw(due.case, due.draw)
                    return None if said is None else self._verdict(due, said)

                await ask_all(read_aside(windows), count, fleets, verdict, self._write)

    def _verdict(self, due: _Due, said: Draw) -> PairVerdict:
        return PairVerdict(
            pair_id=due.case.pair_id,
            check=self._judge.name,
            version=self._judge.version,
            draw=due.draw,
            draws=self._judge.asked,
            a_first=said.a_first,
            outcome=said.outcome,  # type: ignore[arg-type]  # checked by the record
            score=said.score,
            reason=said.reason,
            details=canonical_json({"votes": [said.vote] if said.vote else []}),
            seconds=said.seconds,
            run_id=self._run.run_id,
            created_at=now(),
        )

    async def _write(self, verdicts: list[PairVerdict]) -> None:
        done = await asyncio.to_thread(self._warehouse.append, "pair_verdicts", verdicts)
        for verdict in done.added:
            assert isinstance(verdict, PairVerdict)
            self.judged.checked.count(verdict.check, verdict.outcome)


_DUE = """
SELECT p.pair_id, list(d.draw ORDER BY d.draw) AS draws
FROM pairs p
SEMI JOIN wanted USING (pair_id)
CROSS JOIN (SELECT unnest(range($draws)) AS draw) d
ANTI JOIN (SELECT * FROM pair_verdicts WHERE "check" = $name AND version = $version) v
    ON v.pair_id = p.pair_id AND v.draw = d.draw
GROUP BY p.pair_id
"""
_TEXTS = """
SELECT due.pair_id, due.draws, p.prompt_id, of_a.messages, a.text, a.answer, of_b.messages, b.text, b.answer
FROM due
JOIN pairs p USING (pair_id)
JOIN trajectories_current a ON a.trajectory_id = p.a_id
JOIN trajectories_current b ON b.trajectory_id = p.b_id
JOIN prompts_current of_a ON of_a.prompt_id = a.prompt_id
JOIN prompts_current of_b ON of_b.prompt_id = b.prompt_id
ORDER BY p.prompt_id, due.pair_id
"""


def _due(
    connection: duckdb.DuckDBPyConnection, judge: PairJudge, parameters: dict[str, object]
) -> Iterator[list[_Due]]:
    cursor = connection.cursor().execute(f"WITH due AS ({_DUE}) {_TEXTS}", parameters)
    whole = judge.prompt.front.response == "whole"
    while batch := cursor.fetchmany(_WINDOW):
        window = []
        for pair_id, draws, prompt_id, of_a, a, a_answer, of_b, b, b_answer in batch:
            shown = (a, b) if whole else (a_answer or "", b_answer or "")
            sides = _sides([Message(**m) for m in of_a], [Message(**m) for m in of_b], *shown)
            case = PairCase(pair_id, *sides, group=prompt_id)
            window += [_Due(case, draw) for draw in draws]
        yield window


def _sides(of_a: Sequence[Message], of_b: Sequence[Message], a: str, b: str) -> tuple[str, str, str]:
    """The question of a pair and its two responses, as a judge is shown them.

    Of two talks in which each side has answered before, the question is what the user said; to each side's response
    belong its own earlier answers, with what the user said in between. One without a last answer stays empty.
    """
    if of_a == of_b:
        return question_of(of_a), a, b
    asked = [m for m in of_a if m.role != "assistant"]
    return question_of(asked), _talk(of_a, a), _talk(of_b, b)


def _talk(messages: Sequence[Message], answer: str) -> str:
    if not answer.strip():
        return ""
    first = next(place for place, m in enumerate(messages) if m.role == "assistant")
    return question_of([*messages[first:], Message(role="assistant", content=answer)])
