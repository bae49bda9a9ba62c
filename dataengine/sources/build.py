"""Prompt sets of a recipe as rows, ready for the warehouse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dataengine.curate.trivial import sifted
from schemas.recipe import (
    DatasetsSource,
    Demonstration,
    FileSource,
    InlineSource,
    ReasoningGymSource,
    Source,
    Thought,
)
from schemas.records import Message, Prompt


@dataclass
class PromptSet:
    """The prompts of one set, in order, and what came with them."""

    prompts: list[Prompt]
    demonstrations: dict[str, list[Demonstration]] = field(default_factory=dict)
    """By the prompts' `source`."""
    notes: list[str] = field(default_factory=list)
    """One line per input that was left out, with its place and the reason."""
    read: int = 0
    """How many rows of the file were looked at."""
    solutions: dict[str, str] = field(default_factory=dict)
    """Worked solutions by prompt_id, where they were asked for and the file has them."""

    def limited(self, limit: int | None) -> "PromptSet":
        """At most `limit` prompts, taken from its sources in turn so that each is there."""
        if limit is None or len(self.prompts) <= limit:
            return self
        by_source: dict[str, list[Prompt]] = {}
        for prompt in self.prompts:
            by_source.setdefault(prompt.source, []).append(prompt)
        kept: set[str] = set()
        depth = 0
        while len(kept) < limit:
            for prompts in by_source.values():
                if depth < len(prompts) and len(kept) < limit:
                    kept.add(prompts[depth].prompt_id)
            depth += 1
        return PromptSet([p for p in self.prompts if p.prompt_id in kept], self.demonstrations, self.notes)

    def sifted(self, only: Thought | None) -> "PromptSet":
        """The trivial questions alone, or the others alone; all of them for None."""
        return self if only is None else replace(self, prompts=sifted(self.prompts, only))


def build(name: str, sources: Mapping[str, Source]) -> PromptSet:
    """The prompts of set `name`, without those of the sets it excludes. Raises ConfigError or InputError."""
    source = sources[name]
    if isinstance(source, InlineSource):
        return _inline(source)
    excluded = {p.prompt_id for other in source.exclude for p in build(other, sources).prompts}
    if isinstance(source, ReasoningGymSource):
        from dataengine.sources.reasoning_gym import generate_tasks

        return generate_tasks(source, excluded)
    return _file(source, excluded)


def _inline(source: InlineSource) -> PromptSet:
    rows = []
    for number, item in enumerate(source.prompts, start=1):
        messages = [Message(role="user", content=item.prompt)] if isinstance(item.prompt, str) else item.prompt
        rows.append(
            Prompt.make(
                messages,
                domain=source.domain,
                source=source.name,
                source_ref=str(number),
                language=item.language,
                reference=item.reference,
                verifier=item.verifier,
                license=source.license,
                metadata={"verify": {"aliases": item.aliases}} if item.aliases else {},
            )
        )
    return _apart(rows, source.demonstrations, [])


def _file(source: FileSource | DatasetsSource, excluded: set[str]) -> PromptSet:
    from dataengine.sources.files import prompts_of

    found = prompts_of(source)
    prompts = [p for p in found.prompts if p.prompt_id not in excluded]
    return _apart(prompts, source.demonstrations, found.notes)


def _apart(prompts: Sequence[Prompt], shown: list[Demonstration], notes: list[str]) -> PromptSet:
    """The prompts with their demonstrations; one that a demonstration answers is left out and named."""
    questions = {d.question.strip() for d in shown}
    asked = [p for p in prompts if p.messages[-1].content.strip() not in questions]
    notes = notes + [
        f"{p.source}:{p.source_ref}: left out: a demonstration answers it"
        for p in prompts
        if p.messages[-1].content.strip() in questions
    ]
    return PromptSet(asked, {p.source: shown for p in asked}, notes)


def join(names: Sequence[str], sources: Mapping[str, Source], limit: int | None = None) -> PromptSet:
    """Several prompt sets as one, at most `limit` prompts of each. Raises as `build`."""
    joined = PromptSet([])
    for name in names:
        made = build(name, sources).limited(limit)
        joined.prompts += made.prompts
        joined.demonstrations |= made.demonstrations
        joined.notes += made.notes
        joined.read += made.read
    return joined
