"""The two sides of a comparison: who goes on with a conversation, a model that is asked or a file of answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataengine.checks import metadata_of
from dataengine.generate import Asking, Wanted, insert_ids, plan
from dataengine.policy import Policy
from dataengine.prompting import take_apart
from dataengine.reusing import Reply, missing_replies
from dataengine.runlog import RunLog
from dataengine.sampling import sample_and_check
from dataengine.sources.build import PromptSet
from dataengine.sources.open_ended import Answers, read_answers
from schemas.keys import key
from schemas.recipe import CheckSpec
from schemas.records import Message, Prompt
from warehouse.connect import connect
from warehouse.store import Warehouse


@dataclass(frozen=True, slots=True)
class Talk:
    """A question with one side's conversation so far, which that side is to go on with."""

    question: Prompt
    index: int
    """Which sample of the question it is."""
    prompt: Prompt
    turn: int = 1

    @property
    def name(self) -> tuple[str, int]:
        """The same for both sides."""
        return self.question.prompt_id, self.index

    def after(self, answer: str) -> "Talk | None":
        """The talk at its next turn, after an answer without its thinking; None after the question's last."""
        later = later_turns(self.question)
        if self.turn > len(later):
            return None
        question, turn = self.question, self.turn + 1
        said = [Message(role="assistant", content=answer), Message(role="user", content=later[self.turn - 1])]
        prompt = Prompt.make(
            [*self.prompt.messages, *said],
            domain=question.domain,
            source=question.source,
            source_ref=question.source_ref,
            language=question.language,
            license=question.license,
            metadata={"of": question.prompt_id, "turn": turn},
        )
        return Talk(question, self.index, prompt, turn)


def talks_of(prompts: Iterable[Prompt], samples: int) -> list[Talk]:
    """Every sample of every question, at its first turn."""
    return [Talk(prompt, index, prompt) for prompt in prompts for index in range(samples)]


@dataclass(frozen=True, slots=True)
class Said:
    """A reply that is in the warehouse. The answer is empty where the model thought to its end and gave none."""

    trajectory_id: str
    answer: str


@dataclass
class Asked:
    """A policy that is asked for what the warehouse lacks; with a name alone, what is there is all that there is."""

    asking: Asking
    specs: list[CheckSpec]
    policy: Policy | None
    demonstrated: PromptSet
    """For what prompts are shown with, by their source."""
    notes: list[str] = field(default_factory=list)
    requests: int = 0
    errors: int = 0

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.asking.policy

    @property
    def identity(self) -> str:
        """What a comparison with it depends on: the name, as it is asked in the same way as the other side."""
        return key(self.name)

    def wanted(self, talks: Sequence[Talk]) -> list[Wanted]:
        """The samples that the talks go on with."""
        planned = {
            t.prompt.prompt_id: plan([t.prompt], self.asking) for t in {t.prompt.prompt_id: t for t in talks}.values()
        }
        return [planned[t.prompt.prompt_id][t.index] for t in talks]

    def say(self, warehouse: Warehouse, log: RunLog, label: str, talks: Sequence[Talk]) -> list[Said | None]:
        """The replies to the talks, all of one turn, in their order; None where there is none.

        Raises EngineError when the policy cannot be reached; what it answered before is kept.
        """
        wanted = self.wanted(talks)
        if self.policy is not None:
            once = list({w.trajectory_id: w for w in wanted}.values())
            prompts = replace(self.demonstrated, prompts=list({t.prompt.prompt_id: t.prompt for t in talks}.values()))
            done = sample_and_check(warehouse, log, label, prompts, self.policy, self.asking, self.specs, once)
            self.requests += done.asked
            self.errors += done.failed + done.checked.errors
        known = _answers(warehouse.path, [w.trajectory_id for w in wanted])
        return [Said(w.trajectory_id, known[w.trajectory_id]) if w.trajectory_id in known else None for w in wanted]


def _answers(path: Path, ids: Sequence[str]) -> dict[str, str]:
    with connect(path, only=("trajectories_current",)) as connection:
        connection.execute("CREATE TABLE wanted (trajectory_id VARCHAR)")
        insert_ids(connection, ids)
        rows = connection.execute(
            "SELECT trajectory_id, coalesce(answer, '') FROM trajectories_current "
            "SEMI JOIN wanted USING (trajectory_id) WHERE error IS NULL"
        )
        return dict(rows.fetchall())


@dataclass
class Written:
    """Answers that a file has; they become rows of stage `eval`."""

    path: Path

    def __post_init__(self) -> None:
        """Raises InputError for a file that is none of a model's answers."""
        self._answers: Answers = read_answers(self.path)
        model = self._answers.model
        self.name = model if "@" in model else f"{model}@unknown"
        self.identity = key(self.name, self._answers.by_id, self._answers.by_text)
        self.notes = self._answers.notes

    def say(self, warehouse: Warehouse, log: RunLog, label: str, talks: Sequence[Talk]) -> list[Said | None]:
        """The same; what the warehouse lacks is written."""
        replies = [self._reply(talk) for talk in talks]
        given = {r.trajectory_id: r for r in replies if r is not None}
        missing = missing_replies(warehouse.path, list(given))
        if missing:
            log.begin()
            warehouse.append("prompts", [given[i].prompt for i in sorted(missing)])
            warehouse.append("trajectories", [given[i].row(log.run_id) for i in sorted(missing)])
        return [None if r is None else Said(r.trajectory_id, take_apart(r.text).answer or "") for r in replies]

    def _reply(self, talk: Talk) -> Reply | None:
        samples = self._answers.to(talk.question)
        turns = samples[talk.index % len(samples)] if samples else []
        if talk.turn > len(turns):
            return None
        return Reply.make(talk.prompt, turns[talk.turn - 1], "eval", self.name, self.path.name)


Side = Asked | Written


def later_turns(question: Prompt) -> list[str]:
    """What the user says after the first answer, turn by turn."""
    return list(metadata_of(question.metadata).get("later_turns") or [])
